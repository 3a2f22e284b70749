//! Stripe's responses.

use bytes::Bytes;
use serde_json::{Map, Value};

/// A response, before any fault affects it on its way.
#[derive(Clone)]
pub(crate) struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    /// In addition to those of every response.
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

impl Answer {
    pub(crate) fn ok(body: impl Into<Bytes>) -> Self {
        Self { status: 200, content_type: "application/json", headers: Vec::new(), body: body.into() }
    }

    /// Indented, like Stripe's.
    pub(crate) fn json(value: &Value) -> Self {
        Self::ok(format!("{value:#}"))
    }

    pub(crate) fn html(status: u16) -> Self {
        let body = "<html>\n<head><title>Something else</title></head>\n<body>This is not Stripe.</body>\n</html>\n";
        Self { status, content_type: "text/html; charset=utf-8", headers: Vec::new(), body: body.into() }
    }
}

impl From<Result<Answer, ApiError>> for Answer {
    fn from(result: Result<Answer, ApiError>) -> Self {
        result.unwrap_or_else(ApiError::into_answer)
    }
}

/// An error response.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    status: u16,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
    /// The value of `Stripe-Rate-Limited-Reason`.
    rate_limited_reason: Option<String>,
}

impl ApiError {
    /// An `invalid_request_error`.
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, kind: "invalid_request_error", code: None, param: None, message, rate_limited_reason: None }
    }

    /// An error about a parameter, with the error's code if there is one.
    pub(crate) fn of(param: &str, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { code, param: Some(param.to_owned()), ..Self::new(400, message) }
    }

    pub(crate) fn with_code(self, code: Option<&'static str>) -> Self {
        Self { code, ..self }
    }

    /// A missing object, named in the path or in a parameter.
    pub(crate) fn no_such(status: u16, object: &str, id: &str, param: &str) -> Self {
        Self { status, ..Self::of(param, Some("resource_missing"), format!("No such {object}: '{id}'")) }
    }

    /// An object that only exists in the other mode.
    pub(crate) fn in_other_mode(object: &str, id: &str, param: &str, is_live: bool) -> Self {
        let (has, asked) = if is_live { ("live", "test") } else { ("test", "live") };
        let message = format!(
            "No such {object}: '{id}'; a similar object exists in {has} mode, but a {asked} mode key was used to make \
             this request."
        );
        Self { status: 404, ..Self::of(param, Some("resource_missing"), message) }
    }

    pub(crate) fn no_access(key: &str, account: &str) -> Self {
        let message = format!(
            "The provided key '{key}' does not have access to account '{account}' (or that account does not exist). \
             Application access may have been revoked."
        );
        Self { code: Some("account_invalid"), ..Self::new(403, message) }
    }

    pub(crate) fn other_parameters(key: &str) -> Self {
        let message = format!(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. Try \
             using a key other than '{key}' if you meant to execute a different request."
        );
        Self { kind: "idempotency_error", ..Self::new(400, message) }
    }

    /// Source: docs.stripe.com/rate-limits. There is no `Retry-After`.
    pub(crate) fn too_many_requests(reason: &str) -> Self {
        let message = "Request rate limit exceeded. You can learn more about rate limits here \
                       https://stripe.com/docs/rate-limits.";
        let rate_limited_reason = Some(reason.to_owned());
        Self { code: Some("rate_limit"), rate_limited_reason, ..Self::new(429, message) }
    }

    /// The emulator's own error, not one of Stripe's.
    pub(crate) fn from_web_page() -> Self {
        Self::new(403, "The emulator does not accept requests from web pages.")
    }

    /// A server error at Stripe.
    pub(crate) fn of_stripe(status: u16) -> Self {
        let message = "Sorry! There was an error while talking to one of our backends. Support has been notified.";
        Self { kind: "api_error", ..Self::new(status, message) }
    }

    pub(crate) fn into_answer(self) -> Answer {
        let mut error = Map::new();
        if let Some(code) = self.code {
            error.insert("code".to_owned(), code.into());
            let page = code.replace('_', "-");
            error.insert("doc_url".to_owned(), format!("https://stripe.com/docs/error-codes/{page}").into());
        }
        error.insert("message".to_owned(), self.message.into());
        if let Some(param) = self.param {
            error.insert("param".to_owned(), param.into());
        }
        error.insert("type".to_owned(), self.kind.into());
        let mut answer =
            Answer::json(&Value::Object([("error".to_owned(), Value::Object(error))].into_iter().collect()));
        answer.status = self.status;
        answer.headers.extend(self.rate_limited_reason.map(|reason| ("stripe-rate-limited-reason", reason)));
        if self.status == 401 {
            answer.headers.push(("www-authenticate", "Basic realm=\"Stripe\"".to_owned()));
        }
        answer
    }
}
