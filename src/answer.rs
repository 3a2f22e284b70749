//! The one place where an outcome becomes a status and a JSON body, and the record of it a log line.
//!
//! The body is what the operator sees in Stripe's dashboard beside the delivery: it names the reason and the remedy. It
//! holds no secret and no personal datum.

use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use thiserror::Error;

use crate::amplitude::client::DeliveryError;
use crate::projects::{ConfigurationError, Unavailable};
use crate::queue::QueueError;
use crate::record::{Outcome, Record};
use crate::selection::LeftOut;
use crate::stripe::event::EventError;
use crate::stripe::field_path::FieldPath;
use crate::stripe::signature::SignatureError;

/// The event is safe, or left out on purpose. Only these are answered 2xx.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Success {
    /// Amplitude accepted the event.
    Forwarded,
    /// It is in the redelivery queue, where every event goes.
    Queued,
    /// It is in the redelivery queue, because it could not be delivered.
    Deferred {
        /// Why not.
        reason: String,
    },
    /// It is not meant to be forwarded.
    Ignored(LeftOut),
}

/// The event is not safe: Stripe shall deliver it again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// Another path.
    #[error(
        "no such route: the webhook's path ends with /stripe/ and the name of a project (1 to 64 of A-Z a-z 0-9 _ -)"
    )]
    Route,
    /// Another method.
    #[error("no such method: Stripe's webhooks are sent with POST")]
    Method,
    /// A body that no event of Stripe's has.
    #[error("the body is over 4 MiB")]
    TooLarge,
    /// The signature is refused.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The signed body is no event.
    #[error(transparent)]
    Event(#[from] EventError),
    /// There is no project, or it cannot be read.
    #[error(transparent)]
    Project(#[from] Unavailable),
    /// A parameter of the project cannot be used.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// Amplitude does not have the event.
    #[error("not delivered to Amplitude (key: {parameter}): {error}")]
    Delivery {
        /// Why.
        error: DeliveryError,
        /// The parameter that holds the key.
        parameter: &'static str,
    },
    /// And the redelivery queue does not have it, either.
    #[error("{failure}; and the redelivery queue could not take the event: {error}")]
    NotDeferred {
        /// Why it was not delivered.
        failure: Box<Failure>,
        /// Why it is not in the queue.
        error: QueueError,
    },
    /// A bug.
    #[error("an unexpected error in the function; its log has the place, please report it")]
    Panic,
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Route | Self::Project(Unavailable::Unknown { .. }) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Signature(_) | Self::Event(_) => StatusCode::BAD_REQUEST,
            Self::Configuration(_) | Self::Panic => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Delivery { .. } => StatusCode::BAD_GATEWAY,
            Self::NotDeferred { failure, .. } => failure.status(),
            Self::Project(Unavailable::Unreadable(_) | Unavailable::Exhausted) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// The answer to a delivery. Writes the log line, to standard output, where the log level admits it.
pub fn answer(result: Result<Success, Failure>, record: &Record) -> Response<String> {
    let (status, outcome, reason) = match &result {
        Ok(Success::Forwarded) => (StatusCode::OK, Outcome::Forwarded, None),
        Ok(Success::Queued) => {
            (StatusCode::ACCEPTED, Outcome::Queued, Some("every event goes by the redelivery queue".to_owned()))
        }
        Ok(Success::Deferred { reason }) => (StatusCode::ACCEPTED, Outcome::Deferred, Some(reason.clone())),
        Ok(Success::Ignored(left_out)) => (StatusCode::OK, Outcome::Ignored, Some(left_out.to_string())),
        Err(failure) => {
            let status = failure.status();
            let outcome = if status.is_client_error() { Outcome::Refused } else { Outcome::Failed };
            (status, outcome, Some(failure.to_string()))
        }
    };
    let reason = reason.as_deref();
    record.write(outcome, Some(status.as_u16()), reason);
    let body = Body {
        outcome: outcome.name(),
        reason,
        event: record.event_id(),
        event_type: record.event_type(),
        user_id_from: (outcome == Outcome::Forwarded).then_some(record.user_id_from()),
    };
    let mut response = Response::new(serde_json::to_string(&body).unwrap_or_default());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

#[derive(Serialize)]
struct Body<'r> {
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "type")]
    event_type: Option<&'r str>,
    /// For a forwarded event always there: `null` says that no path gave a user ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id_from: Option<Option<&'r FieldPath>>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::projects::LoadError;

    fn answered(result: Result<Success, Failure>) -> (u16, Value) {
        let answer = answer(result, &Record::new(None, None, false));
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
        (answer.status().as_u16(), serde_json::from_str(answer.body()).unwrap())
    }

    #[test]
    fn only_an_event_that_is_safe_or_left_out_is_answered_2xx() {
        let forwarded = json!({"outcome": "forwarded", "user_id_from": null});
        assert_eq!(answered(Ok(Success::Forwarded)), (200, forwarded));
        let ignored = json!({"outcome": "ignored", "reason": LeftOut::TestEvent.to_string()});
        assert_eq!(answered(Ok(Success::Ignored(LeftOut::TestEvent))), (200, ignored));
    }

    #[test]
    fn every_failure_has_its_status_and_its_reason() {
        let delivery = |error| Failure::Delivery { error, parameter: "amplitude-api-key" };
        let refused = LoadError::Refused { code: "AccessDeniedException".to_owned(), words: "words" };
        let unreadable = |error| Failure::Project(Unavailable::Unreadable(error));
        let unknown = Unavailable::Unknown { folder: "/stripe-amplitude/demo".to_owned() };
        for (failure, status, outcome, words) in [
            (Failure::Route, 404, "refused", "/stripe/"),
            (Failure::Project(unknown), 404, "refused", "/stripe-amplitude/demo/"),
            (Failure::Method, 405, "refused", "POST"),
            (Failure::TooLarge, 413, "refused", "4 MiB"),
            (SignatureError::NoHeader.into(), 400, "refused", "no signature header"),
            (SignatureError::Malformed("x").into(), 400, "refused", "malformed signature header"),
            (SignatureError::NoV1.into(), 400, "refused", "no v1 signature"),
            (SignatureError::Mismatch.into(), 400, "refused", "signature does not match"),
            (
                SignatureError::TooOld { seconds: 301, tolerance: 300 }.into(),
                400,
                "refused",
                "too old: signed 301 s ago",
            ),
            (
                SignatureError::TooFarInTheFuture { seconds: 301, tolerance: 300 }.into(),
                400,
                "refused",
                "too far in the future: 301 s",
            ),
            (EventError::Json { line: 1, column: 2 }.into(), 400, "refused", "malformed JSON"),
            (EventError::NotAnEvent("x").into(), 400, "refused", "not a Stripe event"),
            (EventError::Thin.into(), 400, "refused", "snapshot"),
            (Failure::Panic, 500, "failed", "unexpected"),
            (delivery(DeliveryError::InvalidApiKey), 502, "failed", "amplitude_region"),
            (delivery(DeliveryError::Timeout), 502, "failed", "no answer in time"),
            (unreadable(refused), 503, "failed", "AccessDeniedException"),
            (unreadable(LoadError::Timeout), 503, "failed", "no answer in time"),
            (Failure::Project(Unavailable::Exhausted), 503, "failed", "at once"),
        ] {
            let (answered_status, body) = answered(Err(failure));
            assert_eq!((answered_status, &body["outcome"]), (status, &json!(outcome)), "{words}");
            assert!(body["reason"].as_str().unwrap().contains(words), "{body}");
        }
    }

    #[test]
    fn another_method_is_told_which_is_allowed() {
        assert_eq!(answer(Err(Failure::Method), &Record::new(None, None, false)).headers()[header::ALLOW], "POST");
    }
}
