//! The payloads of gateways: lambda_http's `run_concurrent`, for a function that is open to the internet.
//!
//! lambda_http trusts its payloads. An invalid header makes the payload unreadable, which is an error of the function.
//! A `Host` or a query that is not valid in a URL, and a body that is declared as Base64 but is not, make it panic.
//! Real gateways let some of that through. [`Payload`] removes it first, so that strangers cannot raise the alarm for
//! errors of the function. None of it is needed: the handler uses the method, the raw path, the signature and the body.
//!
//! [`Payload`] reads any JSON, because lambda_runtime logs and reports serde's message about an unreadable payload,
//! which can quote it. A payload that is not from a gateway gets the status 400.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::HOST;
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use lambda_http::aws_lambda_events::apigw::ApiGatewayProxyResponse;
use lambda_http::lambda_runtime::Diagnostic;
use lambda_http::request::LambdaRequest;
use lambda_http::tower::ServiceExt as _;
use lambda_http::{
    Adapter, Body, Context, Error, IntoResponse, LambdaEvent, Request, RequestExt as _, Service, lambda_runtime,
    service_fn,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::time_left;
use crate::outcome::Failure;
use crate::record::Record;
use crate::webhook::{self, conclude};

/// The longest path that is read, in bytes. API Gateway accepts 10,240 bytes for a request without its body, and an
/// [`http::Uri`] holds 65,534, in which one byte of the path can become three.
const LONGEST_PATH: usize = 8 * 1024;

/// Serves the requests of gateways until Lambda ends the process, several at once on Managed Instances:
/// [`lambda_http::run_concurrent`] with [`Payload`].
///
/// # Errors
/// If Lambda's runtime interface fails. Lambda then starts another process.
pub async fn run_concurrent<R, S, E>(handler: S) -> Result<(), Error>
where
    S: Service<Request, Response = R, Error = E> + Clone + Send + 'static,
    S::Future: Send + 'static,
    R: IntoResponse + Send + Sync + 'static,
    E: std::fmt::Debug + Into<Diagnostic> + Send + 'static,
{
    let adapter = Adapter::from(handler);
    lambda_runtime::run_concurrent(service_fn(move |event: LambdaEvent<Payload>| {
        let adapter = adapter.clone();
        async move {
            let LambdaEvent { payload: Payload(request), context } = event;
            match request {
                Some(request) => adapter.oneshot(LambdaEvent::new(request, context)).await.map(Answer::Handler),
                None => Ok(Answer::Unreadable(Box::new(refuse_unreadable(&context)))),
            }
        }
    }))
    .await
}

/// The request for the handler of webhooks.
pub fn webhook_request(parts: &Parts, body: Body) -> webhook::Request<'_> {
    let context = parts.lambda_context_ref();
    webhook::Request {
        method: &parts.method,
        path: parts.raw_http_path(),
        headers: &parts.headers,
        body: match body {
            Body::Text(text) => text.into(),
            Body::Binary(bytes) => bytes.into(),
            _ => Bytes::new(),
        },
        request_id: context.map(|context| &*context.request_id),
        function: context.map(|context| &*context.env_config.function_name),
        time_left: context.and_then(|context| time_left(context.deadline)),
    }
}

/// A request that lambda_http's [`Adapter`] accepts without a panic; `None` if the payload is not from a gateway.
///
/// Any JSON deserializes.
pub struct Payload(pub Option<LambdaRequest>);

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        let request = read(json).or_else(|| read_without_impossible_headers(json));
        Ok(Self(request.map(without_what_panics)))
    }
}

/// Like lambda_http, but without its copy of the payload, and with HTTP APIs and Function URLs first. No payload is of
/// both kinds: theirs have `requestContext.http`, and a REST API's do not.
fn read(json: &str) -> Option<LambdaRequest> {
    let http_api = serde_json::from_str(json).map(LambdaRequest::ApiGatewayV2);
    http_api.or_else(|_| serde_json::from_str(json).map(LambdaRequest::ApiGatewayV1)).ok()
}

/// Reads the payload without invalid headers, such as one whose name is not ASCII.
#[cold]
fn read_without_impossible_headers(json: &str) -> Option<LambdaRequest> {
    let mut payload: Map<String, Value> = serde_json::from_str(json).ok()?;
    for headers in ["headers", "multiValueHeaders"] {
        if let Some(Value::Object(headers)) = payload.get_mut(headers) {
            headers.retain(|name, value| is_header(name, value));
        }
    }
    read(&serde_json::to_string(&payload).ok()?)
}

fn is_header(name: &str, value: &Value) -> bool {
    let is_value = |value: &Value| value.as_str().is_some_and(|value| HeaderValue::from_str(value).is_ok());
    let is_value_or_list = match value {
        Value::Array(values) => values.iter().all(is_value),
        value => is_value(value),
    };
    is_value_or_list && HeaderName::from_bytes(name.as_bytes()).is_ok()
}

/// Without a host, lambda_http builds the URL from the path alone.
fn without_what_panics(mut request: LambdaRequest) -> LambdaRequest {
    match &mut request {
        LambdaRequest::ApiGatewayV2(request) => {
            request.headers.remove(HOST);
            request.request_context.domain_name = None;
            request.request_context.stage = None;
            request.raw_query_string = None;
            replace_impossible_path(&mut request.raw_path);
            request.is_base64_encoded &= is_base64(request.body.as_deref());
        }
        LambdaRequest::ApiGatewayV1(request) => {
            request.headers.remove(HOST);
            request.request_context.domain_name = None;
            request.request_context.stage = None;
            request.query_string_parameters = Default::default();
            request.multi_value_query_string_parameters = Default::default();
            replace_impossible_path(&mut request.path);
            request.is_base64_encoded &= is_base64(request.body.as_deref());
        }
        // The enabled features have no other kinds.
        _ => {}
    }
    request
}

/// Such a path is not one of our routes, and neither is `/`.
fn replace_impossible_path(path: &mut Option<String>) {
    if let Some(path) = path
        && (!path.starts_with('/') || path.len() > LONGEST_PATH)
    {
        "/".clone_into(path);
    }
}

/// An invalid body is treated as text. Its signature does not match.
fn is_base64(body: Option<&str>) -> bool {
    body.is_some_and(|body| BASE64_STANDARD.decode(body).is_ok())
}

/// A response in the form that gateways accept.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer<A> {
    /// The handler's, by lambda_http.
    Handler(A),
    /// The response to an unreadable payload.
    Unreadable(Box<ApiGatewayProxyResponse>),
}

/// Writes the log line, and returns the response.
fn refuse_unreadable(context: &Context) -> ApiGatewayProxyResponse {
    let record = Record::new(Some(&context.env_config.function_name), Some(&context.request_id), false);
    let (parts, body) = conclude(Err(Failure::Unreadable), &record).into_parts();
    let mut response = ApiGatewayProxyResponse::default();
    response.status_code = i64::from(parts.status.as_u16());
    response.headers = parts.headers;
    response.body = Some(Body::Text(body));
    response
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;
    use crate::stripe::signature;

    const HTTP_API: &str = include_str!("../../events/invocations/http-api.json");
    const REST_API: &str = include_str!("../../events/invocations/rest-api.json");
    const FUNCTION_URL: &str = include_str!("../../events/invocations/function-url.json");

    fn payload(json: &str) -> Option<LambdaRequest> {
        serde_json::from_str::<Payload>(json).unwrap().0
    }

    /// The parts and the body that the handler gets, after lambda_http has read the payload.
    fn request(payload: &Value) -> (Parts, Body) {
        let request = super::tests::payload(&payload.to_string());
        Request::from(request.unwrap_or_else(|| panic!("{payload}"))).into_parts()
    }

    /// An invocation of an HTTP API and one of a REST API, each with the same change.
    fn changed(change: impl Fn(&mut Value)) -> [Value; 2] {
        [HTTP_API, REST_API].map(|json| {
            let mut payload = serde_json::from_str(json).unwrap();
            change(&mut payload);
            payload
        })
    }

    #[test]
    fn the_committed_invocations_are_read() {
        for (json, is_rest_api) in [(HTTP_API, false), (REST_API, true), (FUNCTION_URL, false)] {
            let request = payload(json).unwrap();
            assert_eq!(matches!(request, LambdaRequest::ApiGatewayV1(_)), is_rest_api, "{json}");
            let (parts, body) = Request::from(request).into_parts();
            let request = webhook_request(&parts, body);
            assert_eq!((request.method, request.path), (&Method::POST, "/stripe/demo"));
            assert!(request.headers[signature::HEADER].to_str().unwrap().starts_with("t=1721948600,v1="));
            assert_eq!(serde_json::from_slice::<Value>(&request.body).unwrap()["type"], "payment_intent.succeeded");
        }
    }

    #[test]
    fn the_invocation_has_its_id_and_time_left() {
        let mut context = lambda_http::Context::default();
        context.request_id = "id".to_owned();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        context.deadline = u64::try_from(now.as_millis()).unwrap() + 60_000;
        let (parts, body) = Request::from(payload(HTTP_API).unwrap()).with_lambda_context(context).into_parts();
        let request = webhook_request(&parts, body);
        assert_eq!(request.request_id, Some("id"));
        assert!((1..=60).contains(&request.time_left.unwrap().as_secs()), "{:?}", request.time_left);
    }

    #[test]
    fn the_url_does_not_change_the_request() {
        for host in ["[x", "", "a b", "localhost:99999999", "%", "shop.example.com"] {
            for proto in ["", "https", "no scheme", ":"] {
                for payload in changed(|payload| {
                    payload["headers"]["Host"] = host.into();
                    payload["headers"]["X-Forwarded-Proto"] = proto.into();
                    payload["requestContext"]["domainName"] = host.into();
                    payload["requestContext"]["stage"] = host.into();
                }) {
                    assert_eq!(request(&payload).0.raw_http_path(), "/stripe/demo", "{payload}");
                }
            }
        }
        for query in ["a=<&b=\"", " ", "\u{e4}", "#\n\0", "%", &"x".repeat(100_000)] {
            for payload in changed(|payload| {
                payload["rawQueryString"] = query.into();
                payload["queryStringParameters"] = json!({query: query});
                if payload.get("multiValueHeaders").is_some() {
                    payload["multiValueQueryStringParameters"] = json!({query: [query, query]});
                }
            }) {
                assert_eq!(request(&payload).0.raw_http_path(), "/stripe/demo", "{payload}");
            }
        }
    }

    #[test]
    fn invalid_paths_are_unknown_routes() {
        let long = format!("/{}/stripe/demo", "\u{e4}".repeat(LONGEST_PATH));
        for (path, expected) in [
            (":99999999", "/"),
            ("@/stripe/demo", "/"),
            ("", "/"),
            (&long, "/"),
            ("/prod/stripe/demo", "/prod/stripe/demo"),
            ("/<\"\u{e4} \n?#%^`{|}\\", "/<\"\u{e4} \n?#%^`{|}\\"),
            ("//[x:y/stripe/demo", "//[x:y/stripe/demo"),
        ] {
            for payload in changed(|payload| {
                let name = if payload.get("rawPath").is_some() { "rawPath" } else { "path" };
                payload[name] = path.into();
            }) {
                assert_eq!(request(&payload).0.raw_http_path(), expected);
            }
        }
        let longest = format!("/{}", "\u{e4}".repeat(LONGEST_PATH / 2 - 1));
        for payload in changed(|payload| {
            let name = if payload.get("rawPath").is_some() { "rawPath" } else { "path" };
            payload[name] = longest.as_str().into();
        }) {
            assert_eq!(request(&payload).0.raw_http_path(), longest, "it fits, written with percent signs");
        }
    }

    #[test]
    fn impossible_headers_are_dropped() {
        for (name, value) in [
            ("X-Gr\u{fc}\u{df}e", json!("a")),
            ("", json!("a")),
            ("a b", json!("a")),
            ("X-Line", json!("a\nb")),
            ("X-Null", json!(null)),
            ("X-Number", json!(7)),
        ] {
            for payload in changed(|payload| {
                payload["headers"][name] = value.clone();
                if let Some(lists) = payload.get_mut("multiValueHeaders") {
                    lists[name] = json!([value]);
                }
            }) {
                let (parts, _) = request(&payload);
                assert!(!parts.headers.keys().any(|key| key.as_str().eq_ignore_ascii_case(name)), "{name}");
                let signature = parts.headers[signature::HEADER].to_str().unwrap();
                assert!(signature.starts_with("t=1721948600,v1="), "the others are there: {signature}");
            }
        }
        for payload in changed(|payload| payload["headers"]["X-Latin"] = "Gr\u{fc}\u{df}e".into()) {
            assert_eq!(request(&payload).0.headers["x-latin"].as_bytes(), "Gr\u{fc}\u{df}e".as_bytes());
        }
    }

    #[test]
    fn bodies_are_text_or_base64_or_none() {
        for (body, is_base64, expected) in [
            (json!("{\"\u{e4}\": 1}"), false, &b"{\"\xc3\xa4\": 1}"[..]),
            (json!("eyLDpCI6IDF9"), true, b"{\"\xc3\xa4\": 1}"),
            (json!("/wA="), true, b"\xff\0"),
            (json!("no Base64"), true, b"no Base64"),
            (json!("/wA"), true, b"/wA"),
            (json!(null), false, b""),
            (json!(null), true, b""),
        ] {
            for payload in changed(|payload| {
                payload["body"] = body.clone();
                payload["isBase64Encoded"] = is_base64.into();
            }) {
                let (parts, body) = request(&payload);
                assert_eq!(webhook_request(&parts, body).body, expected, "{payload}");
            }
        }
    }

    #[test]
    fn foreign_payloads_are_read_as_none() {
        for json in [
            "null",
            "7",
            "\"text\"",
            "[\"text\"]",
            "{}",
            r#"{"Records": []}"#,
            r#"{"httpMethod": "POST", "path": "/stripe/demo"}"#,
            r#"{"rawPath": "/stripe/demo", "requestContext": {"http": "text"}}"#,
            r#"{"rawPath": "/stripe/demo", "requestContext": {"http": {"method": "NO METHOD"}}, "headers": {"\n": "a"}}"#,
            &format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
        ] {
            assert!(payload(json).is_none());
        }
    }

    #[test]
    fn unreadable_payloads_get_a_valid_response() {
        let answer =
            serde_json::to_value(Answer::<()>::Unreadable(Box::new(refuse_unreadable(&Context::default())))).unwrap();
        assert_eq!(answer["statusCode"], 400);
        assert_eq!(answer["headers"], json!({"content-type": "application/json"}));
        assert_eq!(answer["isBase64Encoded"], false);
        // A REST API returns 502 for members that it does not know, such as `cookies`.
        let mut members: Vec<_> = answer.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["body", "headers", "isBase64Encoded", "multiValueHeaders", "statusCode"]);
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert_eq!((&body["outcome"], &body["code"]), (&json!("refused"), &json!("unreadable_request")));
        assert!(body["reason"].is_string());
    }
}
