//! Checks that a URL leads to the function and that the function has the secret, with a signed test event of an unused type,
//! which is ignored.

use std::time::Duration;

use reqwest::header::DATE;
use serde::Deserialize;
use serde_json::json;
use stripe_amplitude::code::Code;
use stripe_amplitude::outcome::Outcome;
use stripe_amplitude::stripe::event_types::API_VERSION;
use tokio::time::timeout;

use crate::clock;
use crate::endpoint::{Endpoint, cause};

/// The function answers within 4.5 s.
const LIMIT: Duration = Duration::from_secs(20);

/// The result of one delivery.
pub(crate) struct Attempt {
    pub(crate) verdict: Verdict,
    /// The server's clock, in Unix seconds.
    pub(crate) date: Option<i64>,
    /// Whether the function reports that the project is not in `WARM_PROJECTS`.
    pub(crate) is_not_warm: bool,
}

impl Attempt {
    fn without_answer(verdict: Verdict) -> Self {
        Self { verdict, date: None, is_not_warm: false }
    }
}

/// Delivers an event of this type, which must be on no list, and not in a family that a project could select by mistake.
pub(crate) async fn attempt(endpoint: &Endpoint, event_type: &str) -> Attempt {
    let answer = timeout(LIMIT, async {
        let answer = endpoint.deliver(event(event_type)).await?;
        let date = answer.headers().get(DATE).and_then(|date| clock::parse_http_date(date.to_str().ok()?));
        let status = answer.status().as_u16();
        Ok::<_, reqwest::Error>((status, date, answer.bytes().await?))
    });
    match answer.await {
        Ok(Ok((status, date, body))) => {
            Attempt { verdict: judge(status, &body), date, is_not_warm: says_not_warm(&body) }
        }
        Ok(Err(error)) => Attempt::without_answer(Verdict::Failed(format!("no connection: {}", cause(&error)))),
        Err(_) => Attempt::without_answer(Verdict::NotYet(format!("timed out after {} s", LIMIT.as_secs()))),
    }
}

fn event(event_type: &str) -> Vec<u8> {
    let now = clock::now();
    json!({
        "id": format!("evt_stripe_amplitude_{now}"),
        "object": "event",
        "api_version": API_VERSION,
        "created": now,
        "data": {"object": {"object": event_type}},
        "livemode": false,
        "type": event_type,
    })
    .to_string()
    .into_bytes()
}

/// The meaning of a response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Proven,
    /// Retrying may help.
    NotYet(String),
    Failed(String),
}

/// The function's response. Older versions send no code.
#[derive(Deserialize)]
struct Answer {
    outcome: Outcome,
    #[serde(default)]
    code: String,
    #[serde(default)]
    reason: String,
    /// Sent only if `false`.
    #[serde(default)]
    in_warm_projects: Option<bool>,
}

fn says_not_warm(body: &[u8]) -> bool {
    serde_json::from_slice::<Answer>(body).is_ok_and(|answer| answer.in_warm_projects == Some(false))
}

fn judge(status: u16, body: &[u8]) -> Verdict {
    let Ok(Answer { outcome, code, reason, .. }) = serde_json::from_slice(body) else {
        // The text is not shown, because another server's may contain anything.
        return match status {
            429 | 500.. => Verdict::NotYet(format!("{status} from a gateway or another server, not from the function")),
            403 => Verdict::Failed(
                "403 from a gateway or another server, not from the function: allow public access to it, or correct --url".to_owned(),
            ),
            status => Verdict::Failed(format!(
                "{status} from a gateway or another server, not from the function: correct --url"
            )),
        };
    };
    let message = match code.as_str() {
        "" => format!("{status}, {reason}"),
        code => format!("{status}, {code}: {reason}"),
    };
    match (status, outcome) {
        (200, Outcome::Ignored) if code == Code::TypeNotSelected.as_str() => Verdict::Proven,
        // With a queue, unusable parameters are answered 202.
        (202 | 404 | 500.., _) => Verdict::NotYet(message),
        // From a process that has not loaded a new secret yet.
        (400, _) if code == Code::SignatureMismatch.as_str() => Verdict::NotYet(message),
        (200, _) => Verdict::Failed(
            "the function did not ignore an event of an unused type, so it is an incompatible version; update it"
                .to_owned(),
        ),
        _ => Verdict::Failed(message),
    }
}

#[cfg(test)]
mod tests {
    use stripe_amplitude::stripe::event::Event;
    use stripe_amplitude::stripe::event_types::EventTypes;
    use stripe_amplitude::stripe::signature::VerifiedBody;

    use super::*;

    #[test]
    fn test_event_is_valid_and_unused() {
        let body = VerifiedBody::trusted(event("stripe_amplitude.test").into());
        let event = Event::parse(&body).unwrap();
        assert!(!EventTypes::default().contains(&event.event_type));
    }

    #[test]
    fn not_warm_is_reported_by_the_function_only() {
        for (body, is_not_warm) in [
            (json!({"outcome": "ignored", "in_warm_projects": false}), true),
            (json!({"outcome": "ignored", "in_warm_projects": true}), false),
            (json!({"outcome": "ignored"}), false),
            (json!({"in_warm_projects": false}), false),
        ] {
            assert_eq!(says_not_warm(body.to_string().as_bytes()), is_not_warm, "{body}");
        }
    }

    #[test]
    fn only_temporary_failures_are_retried() {
        let ours = |outcome: &str, code: &str| json!({"outcome": outcome, "code": code, "reason": "x"}).to_string();
        for (status, body, expected) in [
            (200, ours("ignored", "type_not_selected"), "Proven"),
            (200, ours("ignored", "test_event"), "Failed"),
            (200, json!({"outcome": "ignored", "reason": "x"}).to_string(), "Failed"),
            (200, json!({"outcome": "forwarded"}).to_string(), "Failed"),
            (202, ours("deferred", "settings_invalid"), "NotYet"),
            (202, ours("queued", "delivery_queue"), "NotYet"),
            (400, ours("refused", "signature_mismatch"), "NotYet"),
            (400, ours("refused", "timestamp_too_old"), "Failed"),
            (404, ours("refused", "unknown_project"), "NotYet"),
            (405, ours("refused", "method_not_allowed"), "Failed"),
            (500, ours("failed", "parameter_missing"), "NotYet"),
            (503, ours("failed", "parameter_store_unavailable"), "NotYet"),
            (200, "<html>hidden".to_owned(), "Failed"),
            (200, json!({"outcome": "hidden"}).to_string(), "Failed"),
            (301, String::new(), "Failed"),
            (403, json!({"message": "hidden"}).to_string(), "Failed"),
            (404, json!({"message": "hidden"}).to_string(), "Failed"),
            (503, json!({"message": "hidden"}).to_string(), "NotYet"),
        ] {
            let verdict = format!("{:?}", judge(status, body.as_bytes()));
            assert!(verdict.starts_with(expected) && !verdict.contains("hidden"), "{status} {body}: {verdict}");
        }
    }
}
