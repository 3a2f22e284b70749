//! The one place where an outcome becomes a status, a JSON body and a log line.
//!
//! The body is what the operator sees in Stripe's dashboard beside the delivery: it names the reason and the remedy. The
//! line is flat JSON whose names carry their units. Neither holds a secret or a personal datum.

use std::io::Write as _;
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use thiserror::Error;
use tokio::time::Instant;
use tracing::Level;

use crate::amplitude::client::{Accepted, DeliveryError};
use crate::projects::{ConfigurationError, ProjectName, Unavailable};
use crate::selection::LeftOut;
use crate::stripe::catalog::API_VERSION;
use crate::stripe::currency::Currency;
use crate::stripe::event::{Event, EventError};
use crate::stripe::signature::SignatureError;
use crate::translate::Translation;
use crate::translate::path::FieldPath;
use crate::translate::revenue::Revenue;

/// The event is safe, or left out on purpose. Only these are answered 2xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Success {
    /// Amplitude accepted the event.
    Forwarded,
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
            Self::Project(Unavailable::Unreadable(_) | Unavailable::Exhausted) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// What is found out about a delivery on its way, for the log line.
#[derive(Debug)]
pub struct Record {
    /// The project that the path names.
    pub project: Option<ProjectName>,
    /// Time spent in Parameter Store.
    pub parameter_store: Stopwatch,
    /// Time spent in Amplitude.
    pub amplitude: Stopwatch,
    request_id: Option<String>,
    source: Option<String>,
    event: Option<String>,
    event_type: Option<String>,
    unusual_api_version: Option<String>,
    seconds_behind_stripe: Option<i64>,
    livemode: Option<bool>,
    rules: Rules,
    amplitude_key: Option<&'static str>,
    attempts: Option<u32>,
    amplitude_code: Option<u16>,
    events_ingested: Option<u64>,
}

/// Which rules of the translation applied.
#[derive(Debug, Default, Serialize)]
struct Rules {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id_from: Option<FieldPath>,
    /// The rule by which the event carries revenue.
    #[serde(skip_serializing_if = "Option::is_none")]
    revenue_rule: Option<&'static str>,
    /// A refund that could not be subtracted, because the event does not tell of how much it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    unknown_refunds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    converted_from: Option<Currency>,
    /// Fields over one of Amplitude's limits.
    #[serde(skip_serializing_if = "Option::is_none")]
    truncated_fields: Option<usize>,
}

impl Record {
    /// An empty record of the invocation with this ID.
    pub fn new(request_id: Option<&str>) -> Self {
        Self {
            project: None,
            parameter_store: Stopwatch::default(),
            amplitude: Stopwatch::default(),
            request_id: request_id.map(str::to_owned),
            source: None,
            event: None,
            event_type: None,
            unusual_api_version: None,
            seconds_behind_stripe: None,
            livemode: None,
            rules: Rules::default(),
            amplitude_key: None,
            attempts: None,
            amplitude_code: None,
            events_ingested: None,
        }
    }

    /// Notes which event it is, the label of the secret that signed it, and its age at `now` (Unix seconds).
    pub fn event(&mut self, event: &Event, source: Option<&str>, now: u64) {
        self.source = source.map(str::to_owned);
        self.livemode = event.livemode;
        self.event = Some(event.id.clone());
        self.event_type = Some(event.event_type.clone());
        self.unusual_api_version = event.api_version.clone().filter(|version| version != API_VERSION);
        self.seconds_behind_stripe = i64::try_from(now).ok().map(|now| now.saturating_sub(event.created));
    }

    /// Notes which rules of the translation applied.
    pub fn translation(&mut self, translation: &Translation) {
        self.rules = Rules {
            user_id_from: translation.user_id_from.clone(),
            revenue_rule: match &translation.revenue {
                Revenue::Counted { rule, .. } => translation.event.revenue.map(|_| rule.name()),
                Revenue::NotCounted(_) | Revenue::UnknownRefund => None,
            },
            unknown_refunds: (translation.revenue == Revenue::UnknownRefund).then_some(1),
            converted_from: translation.converted_from,
            truncated_fields: Some(translation.truncated).filter(|fields| *fields > 0),
        };
    }

    /// Notes how the delivery to Amplitude went, with the key in this parameter.
    pub fn delivery(&mut self, key: &'static str, attempts: u32, result: &Result<Accepted, DeliveryError>) {
        self.amplitude_key = Some(key);
        self.attempts = Some(attempts);
        self.amplitude_code = match result {
            Ok(_) => Some(200),
            Err(error) => error.code(),
        };
        self.events_ingested = result.as_ref().ok().map(|accepted| accepted.events_ingested);
    }
}

/// Adds up the time that one thing takes. Without a measurement there is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stopwatch(Option<Duration>);

impl Stopwatch {
    /// Adds the time until the future is ready.
    pub async fn time<F: Future>(&mut self, future: F) -> F::Output {
        let start = Instant::now();
        let output = future.await;
        self.0 = Some(self.0.unwrap_or_default() + start.elapsed());
        output
    }

    fn milliseconds(self) -> Option<u128> {
        self.0.map(|duration| duration.as_millis())
    }
}

/// The answer to a delivery. Writes the log line, to standard output, where the log level admits it.
pub fn answer(result: Result<Success, Failure>, record: &Record) -> Response<String> {
    let (status, outcome, reason) = match &result {
        Ok(Success::Forwarded) => (StatusCode::OK, "forwarded", None),
        Ok(Success::Ignored(left_out)) => (StatusCode::OK, "ignored", Some(left_out.to_string())),
        Err(failure) => {
            let status = failure.status();
            let outcome = if status.is_client_error() { "refused" } else { "failed" };
            (status, outcome, Some(failure.to_string()))
        }
    };
    let body = Body {
        outcome,
        reason: reason.as_deref(),
        event: record.event.as_deref(),
        event_type: record.event_type.as_deref(),
        user_id_from: (result == Ok(Success::Forwarded)).then_some(record.rules.user_id_from.as_ref()),
    };
    let level = match status.as_u16() {
        // Most often a repeat; many of them may be a sign of something else.
        200 if record.events_ingested == Some(0) => Level::WARN,
        // Revenue in Amplitude is too high by it.
        200 if record.rules.unknown_refunds.is_some() => Level::WARN,
        200 => Level::INFO,
        400..=499 => Level::WARN,
        _ => Level::ERROR,
    };
    write_line(
        level,
        &Line {
            level: level.as_str(),
            outcome,
            status: status.as_u16(),
            reason: reason.as_deref(),
            request_id: record.request_id.as_deref(),
            project: record.project.as_ref().map(ProjectName::as_str),
            source: record.source.as_deref(),
            event: record.event.as_deref(),
            event_type: record.event_type.as_deref(),
            unusual_api_version: record.unusual_api_version.as_deref(),
            livemode: record.livemode,
            rules: &record.rules,
            amplitude_key: record.amplitude_key,
            attempts: record.attempts,
            amplitude_code: record.amplitude_code,
            events_ingested: record.events_ingested,
            parameter_store_milliseconds: record.parameter_store.milliseconds(),
            amplitude_milliseconds: record.amplitude.milliseconds(),
            seconds_behind_stripe: record.seconds_behind_stripe,
        },
    );
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

#[derive(Serialize)]
struct Line<'r> {
    level: &'static str,
    outcome: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<&'r str>,
    /// The label of the signing secret that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "type")]
    event_type: Option<&'r str>,
    /// Where it is not the one that the rules were written for.
    #[serde(skip_serializing_if = "Option::is_none", rename = "api_version")]
    unusual_api_version: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    livemode: Option<bool>,
    #[serde(flatten)]
    rules: &'r Rules,
    /// The parameter that holds the key that Amplitude was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    amplitude_key: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amplitude_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events_ingested: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter_store_milliseconds: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    amplitude_milliseconds: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_behind_stripe: Option<i64>,
}

/// Not through tracing, whose formats wrap the fields: CloudWatch's embedded metric format wants the line as it is. The
/// log level is tracing's all the same; where nothing listens, as in tests, nothing is written.
fn write_line(level: Level, line: &Line<'_>) {
    let enabled = match level {
        Level::ERROR => tracing::enabled!(Level::ERROR),
        Level::WARN => tracing::enabled!(Level::WARN),
        _ => tracing::enabled!(Level::INFO),
    };
    if !enabled {
        return;
    }
    if let Ok(mut line) = serde_json::to_vec(line) {
        line.push(b'\n');
        // A log that cannot be written must not cost the event.
        let _ = std::io::stdout().lock().write_all(&line);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::projects::LoadError;

    fn answered(result: Result<Success, Failure>) -> (u16, Value) {
        let answer = answer(result, &Record::new(None));
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
        assert_eq!(answer(Err(Failure::Method), &Record::new(None)).headers()[header::ALLOW], "POST");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopwatch_adds_up() {
        let mut stopwatch = Stopwatch::default();
        assert_eq!(stopwatch.milliseconds(), None);
        for _ in 0..2 {
            stopwatch.time(tokio::time::sleep(Duration::from_millis(20))).await;
        }
        assert_eq!(stopwatch.milliseconds(), Some(40));
    }
}
