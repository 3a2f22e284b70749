//! What a gateway hands over: the request inside an invocation.
//!
//! lambda_http knows the forms of the gateways. Its own way from them to a request builds a URL out of the host, the query
//! and more, and panics where that gives none (`?q=<`), which nobody here needs; and it lets the last value of a repeated
//! header replace the others, so that a second `Stripe-Signature` through a REST API would go unseen.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method};
use lambda_http::request::LambdaRequest;

/// A request as its gateway handed it over.
#[derive(Debug, Default)]
pub struct Invocation {
    /// As it came.
    pub method: Method,
    /// Without a stage or a query.
    pub path: String,
    /// All of them, repeated ones too.
    pub headers: HeaderMap,
    /// The bytes that were sent.
    pub body: Bytes,
}

impl From<LambdaRequest> for Invocation {
    fn from(request: LambdaRequest) -> Self {
        match request {
            // A REST API hands headers over twice: as lists, and each with its last value.
            LambdaRequest::ApiGatewayV1(request) => Self {
                method: request.http_method,
                path: request.path.unwrap_or_default(),
                headers: if request.multi_value_headers.is_empty() {
                    request.headers
                } else {
                    request.multi_value_headers
                },
                body: body(request.body, request.is_base64_encoded),
            },
            // An HTTP API, a Function URL.
            LambdaRequest::ApiGatewayV2(request) => Self {
                method: request.request_context.http.method,
                path: request.raw_path.unwrap_or_default(),
                headers: request.headers,
                body: body(request.body, request.is_base64_encoded),
            },
            // There are no others with the features that we have. It has no path, and is answered 404.
            _ => Self::default(),
        }
    }
}

/// No gateway says Base64 and sends something else; if one did, the signature would not match.
fn body(body: Option<String>, is_base64: bool) -> Bytes {
    let body = body.unwrap_or_default();
    let decoded = if is_base64 { BASE64_STANDARD.decode(&body).ok() } else { None };
    decoded.map_or_else(|| body.into(), Bytes::from)
}
