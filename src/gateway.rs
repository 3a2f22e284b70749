//! The gateways: the request that they hand over in an invocation, and the answer that they take.
//!
//! HTTP APIs and Function URLs speak version 2.0 of the payload, REST APIs version 1.0. Sources: "Working with AWS Lambda
//! proxy integrations for HTTP APIs" and "Lambda proxy integrations in API Gateway" in the API Gateway developer guide.
//!
//! lambda_http knows them, too. It reads each payload as every form in turn, makes a URL of its host and query, which
//! nobody here needs and which panics where they are none, and lets the last of several `Stripe-Signature` headers through
//! a REST API replace the others.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{SerializeStruct as _, Serializer};
use serde::{Deserialize, Serialize};

use crate::stripe::json::Name;
use crate::stripe::signature;

/// Of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Of REST APIs.
    One,
    /// Of HTTP APIs and Function URLs.
    Two,
}

/// The request in an invocation, as far as the handler looks at it.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The answer's has to be the same.
    pub version: Version,
    /// As it came.
    pub method: Method,
    /// The raw path, without a query.
    pub path: String,
    /// `Stripe-Signature`, as often as it was sent; no others.
    pub headers: HeaderMap,
    /// The bytes that were sent.
    pub body: Bytes,
}

/// Both versions of the payload.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    /// 1.0
    http_method: Option<String>,
    /// 1.0
    path: Option<String>,
    /// 1.0: each with all its values.
    multi_value_headers: Option<Signatures>,
    /// 2.0: the values of repeated ones are joined by commas. 1.0: each with its last value.
    headers: Option<Signatures>,
    /// 2.0
    raw_path: Option<String>,
    #[serde(default)]
    request_context: RequestContext,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Default, Deserialize)]
struct RequestContext {
    /// 2.0
    http: Option<Http>,
}

#[derive(Deserialize)]
struct Http {
    method: String,
}

impl Invocation {
    /// Reads the payload of an invocation.
    ///
    /// # Errors
    /// A sentence, for whoever invokes the function by hand. It holds nothing of the payload.
    pub fn read(payload: &[u8]) -> Result<Self, String> {
        let none = |what: &str| format!("the payload is none of an HTTP API, a REST API or a Function URL: {what}");
        let payload: Payload = serde_json::from_slice(payload).map_err(|error| {
            none(&format!("something else stands at line {}, column {}", error.line(), error.column()))
        })?;
        let (version, method, path) = match (payload.request_context.http, payload.raw_path) {
            (Some(http), Some(path)) => (Version::Two, http.method, path),
            _ => (
                Version::One,
                payload.http_method.ok_or_else(|| none("it has no method"))?,
                payload.path.ok_or_else(|| none("it has no path"))?,
            ),
        };
        let lists = payload.multi_value_headers.filter(|lists| !lists.0.is_empty());
        let Signatures(signatures) = lists.or(payload.headers).unwrap_or_default();
        let body = payload.body.unwrap_or_default();
        // Where it says Base64 and is something else, which no gateway does, the signature will not match.
        let decoded = if payload.is_base64_encoded { BASE64_STANDARD.decode(&body).ok() } else { None };
        Ok(Self {
            version,
            method: method.parse().map_err(|_| none("its method is none"))?,
            path,
            headers: signatures
                .into_iter()
                .map(|value| (http::HeaderName::from_static(signature::HEADER), value))
                .collect(),
            body: decoded.map_or_else(|| body.into(), Bytes::from),
        })
    }
}

/// The values of all headers `Stripe-Signature`, whatever the case of its letters.
#[derive(Default)]
struct Signatures(Vec<HeaderValue>);

impl<'de> Deserialize<'de> for Signatures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeadersVisitor)
    }
}

struct HeadersVisitor;

impl<'de> Visitor<'de> for HeadersVisitor {
    type Value = Signatures;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("headers by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut headers: A) -> Result<Signatures, A::Error> {
        let mut signatures = Signatures::default();
        while let Some(Name(name)) = headers.next_key()? {
            if name.eq_ignore_ascii_case(signature::HEADER) {
                let values = match headers.next_value()? {
                    Values::None => Vec::new(),
                    Values::One(value) => vec![value],
                    Values::All(values) => values,
                };
                signatures.0.extend(values.iter().map(|value| header_value(value)));
            } else {
                headers.next_value::<IgnoredAny>()?;
            }
        }
        Ok(signatures)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    All(Vec<String>),
    None,
}

/// What no header can hold, and no gateway passes on, is a header all the same, and a malformed one.
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("not a header"))
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// That of the invocation.
    pub version: Version,
    /// The handler's.
    pub response: Response<String>,
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { version, response } = self;
        let mut answer = serializer.serialize_struct("Answer", 5)?;
        answer.serialize_field("statusCode", &response.status().as_u16())?;
        answer.serialize_field("headers", &Headers(response.headers()))?;
        answer.serialize_field("body", response.body())?;
        answer.serialize_field("isBase64Encoded", &false)?;
        match version {
            // A REST API answers 502 to fields that it does not know.
            Version::One => {}
            // Lambda itself can do without; cargo-lambda's emulator cannot.
            Version::Two => answer.serialize_field("cookies", &[(); 0])?,
        }
        answer.end()
    }
}

struct Headers<'r>(&'r HeaderMap);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Each of ours stands once, and is text.
        serializer.collect_map(self.0.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(payload: &Value) -> Result<Invocation, String> {
        Invocation::read(payload.to_string().as_bytes())
    }

    fn signatures(invocation: &Invocation) -> Vec<&str> {
        let values = invocation.headers.get_all(signature::HEADER);
        values.iter().map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn the_committed_invocations_are_read() {
        for (file, payload) in [
            ("http-api", include_str!("../events/invocations/http-api.json")),
            ("rest-api", include_str!("../events/invocations/rest-api.json")),
            ("function-url", include_str!("../events/invocations/function-url.json")),
        ] {
            let invocation = Invocation::read(payload.as_bytes()).unwrap();
            assert_eq!((&invocation.method, &*invocation.path), (&Method::POST, "/stripe/demo"), "{file}");
            assert_eq!(invocation.version == Version::One, file == "rest-api");
            assert!(signatures(&invocation)[0].starts_with("t=1721948600,v1="), "{file}");
            let event: Value = serde_json::from_slice(&invocation.body).unwrap();
            assert_eq!(event["type"], "payment_intent.succeeded", "{file}");
        }
    }

    #[test]
    fn every_signature_of_a_rest_api_counts() {
        for (headers, lists, expected) in [
            (json!({"Stripe-Signature": "b"}), json!({"Stripe-Signature": ["a", "b"]}), vec!["a", "b"]),
            (
                json!({"Stripe-Signature": "b"}),
                json!({"STRIPE-signature": ["a"], "stripe-signature": ["b"]}),
                vec!["a", "b"],
            ),
            (json!({"Stripe-Signature": "a"}), json!(null), vec!["a"]),
            (json!({"stripe-signature": "a"}), json!({}), vec!["a"]),
            (json!({"Stripe-Signature": null, "Host": 7}), json!(null), vec![]),
            (json!({"Stripe-Signature": "a\nb"}), json!(null), vec!["not a header"]),
            (json!(null), json!(null), vec![]),
        ] {
            let payload =
                json!({"httpMethod": "POST", "path": "/stripe/demo", "headers": headers, "multiValueHeaders": lists});
            assert_eq!(signatures(&read(&payload).unwrap()), expected, "{payload}");
        }
    }

    #[test]
    fn bodies_are_text_or_base64_or_none() {
        for (body, is_base64, expected) in [
            (json!("{\"ä\": 1}"), false, "{\"ä\": 1}"),
            (json!("eyLDpCI6IDF9"), true, "{\"ä\": 1}"),
            (json!("no Base64"), true, "no Base64"),
            (json!(null), false, ""),
        ] {
            let payload = json!({
                "rawPath": "/", "requestContext": {"http": {"method": "GET"}}, "body": body, "isBase64Encoded": is_base64,
            });
            assert_eq!(read(&payload).unwrap().body, expected);
        }
    }

    #[test]
    fn what_no_gateway_sends_says_so() {
        for (payload, words) in [
            (json!({"Records": []}), "it has no method"),
            (json!({"httpMethod": "POST"}), "it has no path"),
            (json!({"httpMethod": "NO METHOD", "path": "/"}), "its method is none"),
            (json!(["secret"]), "line 1, column 10"),
            (json!({"body": {"email": "e"}}), "line 1, column"),
        ] {
            let error = read(&payload).unwrap_err();
            assert!(error.contains(words) && !error.contains("secret") && !error.contains("email"), "{error}");
        }
    }

    #[test]
    fn an_answer_has_the_form_that_gateways_take() {
        let mut expected =
            json!({"statusCode": 405, "headers": {"allow": "POST"}, "body": "{}", "isBase64Encoded": false});
        for version in [Version::One, Version::Two] {
            let response = Response::builder().status(405).header("Allow", "POST").body("{}".to_owned()).unwrap();
            assert_eq!(serde_json::to_value(Answer { version, response }).unwrap(), expected);
            expected["cookies"] = json!([]);
        }
    }
}
