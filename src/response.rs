//! The response to a delivery: status and JSON body.
//!
//! The operator sees the body in Stripe's dashboard beside the delivery: it has the code, the reason and the remedy. It
//! holds no secret and no personal data.

use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::code::Code;
use crate::outcome::{Failure, Outcome, Report, Success};
use crate::projects::Unavailable;
use crate::record::Record;
use crate::stripe::event::EventError;
use crate::stripe::field_path::FieldPath;

/// The status of a response, as in `docs/codes.md`.
pub fn status(result: &Result<Success, Failure>) -> StatusCode {
    match result {
        Ok(Success::Forwarded | Success::Ignored(_)) => StatusCode::OK,
        Ok(Success::Queued | Success::Deferred { .. }) => StatusCode::ACCEPTED,
        Err(failure) => status_of_failure(failure),
    }
}

fn status_of_failure(failure: &Failure) -> StatusCode {
    match failure {
        Failure::Route | Failure::TrailingSlash | Failure::Project(Unavailable::Unknown { .. }) => {
            StatusCode::NOT_FOUND
        }
        Failure::Method => StatusCode::METHOD_NOT_ALLOWED,
        Failure::TooLarge | Failure::Event(EventError::TooManyValues) => StatusCode::PAYLOAD_TOO_LARGE,
        Failure::Unreadable | Failure::Signature(_) | Failure::Event(_) => StatusCode::BAD_REQUEST,
        Failure::Configuration(_) | Failure::Panic => StatusCode::INTERNAL_SERVER_ERROR,
        Failure::Delivery { .. } | Failure::Reference { .. } | Failure::NeedsLookup { .. } | Failure::Deadline => {
            StatusCode::BAD_GATEWAY
        }
        Failure::NotDeferred { failure, .. } => status_of_failure(failure),
        Failure::Project(Unavailable::Unreadable(_) | Unavailable::Exhausted) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The response with this status. `record` has the event and its user.
pub fn response(status: StatusCode, report: &Report, record: &Record) -> Response<String> {
    let body = Body {
        outcome: report.outcome.name(),
        code: report.code,
        reason: report.reason.as_deref(),
        event: record.event_id(),
        event_type: record.event_type(),
        user_id_from: (report.outcome == Outcome::Forwarded).then_some(record.user_id_from()),
        in_warm_projects: record.is_warm.filter(|is_warm| !is_warm),
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
    code: Option<Code>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "type")]
    event_type: Option<&'r str>,
    /// Always present for a forwarded event: `null` means that no path gave a user ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id_from: Option<Option<&'r FieldPath>>,
    /// `false` if strangers can lock the project out of a new process; `doctor` warns about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_warm_projects: Option<bool>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::amplitude::AmplitudeKey;
    use crate::amplitude::client::{DeliveryError, RejectionReason};
    use crate::aws::AwsError;
    use crate::forward::IgnoreReason;
    use crate::stripe::event::EventError;
    use crate::stripe::reference::ReferenceKind;
    use crate::stripe::references::source::ReferenceError;
    use crate::stripe::signature::SignatureError;

    fn respond(result: Result<Success, Failure>, record: &Record) -> Response<String> {
        response(status(&result), &result.into(), record)
    }

    fn answered(result: Result<Success, Failure>) -> (u16, Value) {
        let answer = respond(result, &Record::new(None, None, false));
        let status = answer.status();
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(answer.headers().contains_key(header::ALLOW), status == StatusCode::METHOD_NOT_ALLOWED);
        (status.as_u16(), serde_json::from_str(answer.body()).unwrap())
    }

    /// Scripts and `doctor` rely on these names. They are part of the contract: list a change in CHANGELOG.md.
    #[test]
    fn the_fields_are_stable() {
        let body = Body {
            outcome: "forwarded",
            code: Some(Code::Deadline),
            reason: Some("x"),
            event: Some("evt_1"),
            event_type: Some("charge.failed"),
            user_id_from: Some(None),
            in_warm_projects: Some(false),
        };
        let body = serde_json::to_value(body).unwrap();
        let names: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = ["outcome", "code", "reason", "event", "type", "user_id_from", "in_warm_projects"];
        expected.sort_unstable();
        assert_eq!(names, expected);
    }

    #[test]
    fn only_projects_that_are_not_warm_are_marked() {
        for (is_warm, expected) in [(None, None), (Some(true), None), (Some(false), Some(&json!(false)))] {
            let mut record = Record::new(None, None, false);
            record.is_warm = is_warm;
            let answer = respond(Ok(Success::Forwarded), &record);
            let body: Value = serde_json::from_str(answer.body()).unwrap();
            assert_eq!(body.get("in_warm_projects"), expected);
        }
    }

    #[test]
    fn only_safe_or_ignored_events_get_2xx() {
        assert_eq!(answered(Ok(Success::Forwarded)), (200, json!({"outcome": "forwarded", "user_id_from": null})));
        for (success, status, outcome, code) in [
            (Success::Queued, 202, "queued", "delivery_queue"),
            (
                Success::Deferred { code: Code::AmplitudeTimeout, reason: "x".to_owned() },
                202,
                "deferred",
                "amplitude_timeout",
            ),
            (Success::Ignored(IgnoreReason::EventType), 200, "ignored", "type_not_selected"),
            (Success::Ignored(IgnoreReason::TestEvent), 200, "ignored", "test_event"),
            (Success::Ignored(IgnoreReason::TooOld { days: 7 }), 200, "ignored", "too_old"),
            (Success::Ignored(IgnoreReason::NoUser), 200, "ignored", "no_user"),
            (Success::Ignored(IgnoreReason::NoUserNoRevenue), 200, "ignored", "no_user_no_revenue"),
        ] {
            let (answered_status, body) = answered(Ok(success));
            assert_eq!((answered_status, &body["outcome"], &body["code"]), (status, &json!(outcome), &json!(code)));
            assert!(body["reason"].is_string(), "{body}");
        }
    }

    #[test]
    fn every_failure_has_a_status_a_code_and_a_reason() {
        let reference = |error| Failure::Reference { kind: ReferenceKind::Customer, error };
        let delivery = |error| Failure::Delivery { error, key: AmplitudeKey::Main };
        let unreadable = |error| Failure::Project(Unavailable::Unreadable(error));
        let unknown = Unavailable::Unknown { why: "there are no parameters".to_owned() };
        let aws = || "Code".to_owned();
        let not_deferred = Failure::NotDeferred {
            failure: Box::new(delivery(DeliveryError::Timeout)),
            error: AwsError::Timeout.into(),
        };
        for (failure, status, outcome, code) in [
            (Failure::Route, 404, "refused", "unknown_route"),
            (Failure::TrailingSlash, 404, "refused", "unknown_route"),
            (Failure::Project(unknown), 404, "refused", "unknown_project"),
            (Failure::Method, 405, "refused", "method_not_allowed"),
            (Failure::TooLarge, 413, "refused", "body_too_large"),
            (Failure::Unreadable, 400, "refused", "unreadable_request"),
            (SignatureError::NoHeader.into(), 400, "refused", "signature_missing"),
            (SignatureError::Malformed("x").into(), 400, "refused", "signature_malformed"),
            (SignatureError::NoV1.into(), 400, "refused", "signature_without_v1"),
            (SignatureError::Mismatch.into(), 400, "refused", "signature_mismatch"),
            (SignatureError::TooOld { seconds: 301, tolerance: 300 }.into(), 400, "refused", "timestamp_too_old"),
            (
                SignatureError::TooFarInTheFuture { seconds: 301, tolerance: 300 }.into(),
                400,
                "refused",
                "timestamp_in_future",
            ),
            (EventError::Json { line: 1, column: 2 }.into(), 400, "refused", "malformed_json"),
            (EventError::NotAnEvent("x").into(), 400, "refused", "not_an_event"),
            (EventError::Thin.into(), 400, "refused", "thin_event"),
            (EventError::ThinOnly.into(), 400, "refused", "thin_event"),
            (EventError::EventBridge.into(), 400, "refused", "eventbridge_event"),
            (EventError::List.into(), 400, "refused", "event_list"),
            (EventError::Several.into(), 400, "refused", "event_list"),
            (EventError::BareObject { kind: None }.into(), 400, "refused", "bare_object"),
            (EventError::Utf16.into(), 400, "refused", "utf16_body"),
            (Failure::Panic, 500, "failed", "internal_error"),
            (delivery(DeliveryError::InvalidApiKey), 502, "failed", "amplitude_invalid_key"),
            (delivery(DeliveryError::InvalidRequest(RejectionReason::Silenced)), 502, "failed", "amplitude_silenced"),
            (delivery(DeliveryError::InvalidRequest(RejectionReason::IdLength)), 502, "failed", "amplitude_rejected"),
            (delivery(DeliveryError::Timeout), 502, "failed", "amplitude_timeout"),
            (reference(ReferenceError::Timeout), 502, "failed", "stripe_unavailable"),
            (reference(ReferenceError::TooManyRequests), 502, "failed", "stripe_unavailable"),
            (reference(ReferenceError::Rate), 502, "failed", "stripe_rate"),
            (Failure::Deadline, 502, "failed", "deadline"),
            (not_deferred, 502, "failed", "amplitude_timeout"),
            (unreadable(AwsError::AccessDenied { code: aws(), needs: "x" }), 503, "failed", "parameter_store_denied"),
            (unreadable(AwsError::Throttled { code: aws() }), 503, "failed", "parameter_store_throttled"),
            (
                unreadable(AwsError::Refused { code: aws(), explanation: "x" }),
                503,
                "failed",
                "parameter_store_unavailable",
            ),
            (unreadable(AwsError::Timeout), 503, "failed", "parameter_store_unavailable"),
            (Failure::Project(Unavailable::Exhausted), 503, "failed", "too_many_new_projects"),
        ] {
            let (answered_status, body) = answered(Err(failure));
            assert_eq!((answered_status, &body["outcome"], &body["code"]), (status, &json!(outcome), &json!(code)));
            assert!(body["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{body}");
        }
    }
}
