//! The gateways between Stripe and the function: they turn a request into an invocation and the result into an answer.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};
use stripe_amplitude::code::Code;

use super::stripe;

/// A request to a gateway.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: &'static str,
    /// With any prefix before `/stripe/`.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the gateway encodes the body as Base64. A Function URL decides this on its own.
    pub base64: bool,
}

impl Request {
    /// A `POST` to a project, without a signature.
    pub fn unsigned(project: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            method: "POST",
            path: format!("/stripe/{project}"),
            headers: vec![("Content-Type".to_owned(), "application/json; charset=utf-8".to_owned())],
            body: body.into(),
            base64: false,
        }
    }

    /// A `POST` to a project with this `Stripe-Signature`.
    pub fn with_signature(project: &str, signature: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::unsigned(project, body).header("Stripe-Signature", signature)
    }

    /// A delivery signed by Stripe now.
    pub fn signed(project: &str, secret: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self::with_signature(project, &stripe::sign(secret, stripe::now(), &body), body)
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// The gateways that the function serves.
#[derive(Clone, Copy, Debug)]
pub enum Gateway {
    /// An HTTP API, with payloads of version 2.0.
    HttpApi,
    /// A REST API, with payloads of version 1.0.
    RestApi,
    /// A Function URL, for which the emulator builds the invocation.
    FunctionUrl,
}

impl Gateway {
    pub const ALL: [Self; 3] = [Self::HttpApi, Self::RestApi, Self::FunctionUrl];

    /// Invokes a function with a request. `emulator` is the address of Lambda's APIs.
    pub async fn send(self, http: &reqwest::Client, emulator: &str, function: &str, request: &Request) -> Answer {
        let invocation = match self {
            Self::HttpApi => http_api(request),
            Self::RestApi => rest_api(request),
            // The emulator's own HTTP server rejects anything that is not valid HTTP.
            Self::FunctionUrl => {
                let url = format!("{emulator}/lambda-url/{function}{}", request.path);
                let mut call = http.request(request.method.parse().unwrap(), url).body(request.body.clone());
                for (name, value) in &request.headers {
                    call = call.header(name, value);
                }
                return Answer::of_response(call.send().await.unwrap()).await;
            }
        };
        let url = format!("{emulator}/2015-03-31/functions/{function}/invocations");
        let response = http.post(url).body(invocation.to_string()).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, 200, "the function failed: {text}");
        Answer::of_payload(&serde_json::from_str(&text).unwrap())
    }
}

/// Version 2.0: header names are in lower case, and repeated headers are joined into one value.
/// /// Source: "Working with AWS Lambda proxy integrations for HTTP APIs" in the API Gateway developer guide.
pub fn http_api(request: &Request) -> Value {
    let mut headers = Map::new();
    for (name, value) in &request.headers {
        headers
            .entry(name.to_lowercase())
            .and_modify(|values| *values = format!("{},{value}", values.as_str().unwrap()).into())
            .or_insert_with(|| value.as_str().into());
    }
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api-id",
            "domainName": "api-id.execute-api.eu-central-1.amazonaws.com",
            "domainPrefix": "api-id",
            "http": {
                "method": request.method,
                "path": request.path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)"
            },
            "requestId": "request-id",
            "routeKey": "$default",
            "stage": "$default",
            "time": "26/Jul/2024:00:00:00 +0000",
            "timeEpoch": 1_721_952_000_000_i64
        },
        "body": body(request),
        "isBase64Encoded": request.base64
    })
}

/// Version 1.0: header names as sent, with the last value of each header and a list of all values.
/// /// Source: "Lambda proxy integrations in API Gateway" in the API Gateway developer guide.
pub fn rest_api(request: &Request) -> Value {
    let mut headers = Map::new();
    let mut lists: Map<String, Value> = Map::new();
    for (name, value) in &request.headers {
        headers.insert(name.clone(), value.as_str().into());
        lists.entry(name).or_insert_with(|| json!([])).as_array_mut().unwrap().push(value.as_str().into());
    }
    json!({
        "resource": "/{proxy+}",
        "path": request.path,
        "httpMethod": request.method,
        "headers": headers,
        "multiValueHeaders": lists,
        "queryStringParameters": null,
        "multiValueQueryStringParameters": null,
        "pathParameters": {"proxy": request.path.trim_start_matches('/')},
        "stageVariables": null,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api-id",
            "domainName": "api-id.execute-api.eu-central-1.amazonaws.com",
            "domainPrefix": "api-id",
            "httpMethod": request.method,
            "identity": {"sourceIp": "192.0.2.1", "userAgent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)"},
            "path": format!("/prod{}", request.path),
            "protocol": "HTTP/1.1",
            "requestId": "request-id",
            "requestTime": "26/Jul/2024:00:00:00 +0000",
            "requestTimeEpoch": 1_721_952_000_000_i64,
            "resourceId": "resource-id",
            "resourcePath": "/{proxy+}",
            "stage": "prod"
        },
        "body": body(request),
        "isBase64Encoded": request.base64
    })
}

fn body(request: &Request) -> String {
    match request.base64 {
        true => BASE64_STANDARD.encode(&request.body),
        false => String::from_utf8(request.body.clone()).expect("gateways encode binary bodies as Base64"),
    }
}

/// The answer that Stripe receives.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Value,
}

impl Answer {
    /// Checks status and outcome. Every answer other than success must have a code of the contract and a reason.
    #[track_caller]
    pub fn expect(&self, status: u16, outcome: &str) {
        assert_eq!((self.status, self.body["outcome"].as_str()), (status, Some(outcome)), "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/json");
        if outcome == "forwarded" {
            assert_eq!((self.body.get("code"), self.body.get("reason")), (None, None), "{}", self.body);
            return;
        }
        assert!(Code::ALL.iter().any(|code| self.body["code"] == code.as_str()), "{}", self.body);
        assert!(self.body["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{}", self.body);
    }

    /// Checks that the event was forwarded.
    #[track_caller]
    pub fn expect_forwarded(&self) {
        self.expect(200, "forwarded");
    }

    /// Checks status, outcome and code.
    #[track_caller]
    pub fn expect_code(&self, status: u16, outcome: &str, code: &str) {
        self.expect(status, outcome);
        assert_eq!(self.body["code"], code, "{}", self.body);
    }

    /// Checks that the reason contains this value, such as a parameter or a settings key.
    #[track_caller]
    pub fn expect_reason_contains(&self, value: &str) {
        let reason = self.body["reason"].as_str().unwrap_or_default();
        assert!(reason.contains(value), "{value:?} is not in {reason:?}");
    }

    async fn of_response(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        Self { status, headers, body: body_of_answer(&text) }
    }

    /// Parses the function's response to API Gateway.
    pub fn of_payload(payload: &Value) -> Self {
        let mut headers = http::HeaderMap::new();
        let single = payload["headers"].as_object().into_iter().flatten().map(|(name, value)| (name, value.clone()));
        let lists = payload["multiValueHeaders"].as_object().into_iter().flatten();
        for (name, value) in single.chain(lists.map(|(name, values)| (name, values[0].clone()))) {
            headers.insert(
                http::HeaderName::try_from(name).unwrap(),
                http::HeaderValue::from_str(value.as_str().unwrap()).unwrap(),
            );
        }
        assert_ne!(payload["isBase64Encoded"], json!(true), "{payload}");
        Self {
            status: payload["statusCode"].as_u64().unwrap().try_into().unwrap(),
            headers,
            body: body_of_answer(payload["body"].as_str().unwrap_or_default()),
        }
    }
}

/// Answers to `HEAD` have no body; all others are JSON.
fn body_of_answer(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { serde_json::from_str(text).unwrap_or_else(|_| panic!("no JSON: {text}")) }
}
