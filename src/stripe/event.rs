//! Stripe's event: an envelope around the object that it is about.

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

use super::json::{Json, Object};
use super::signature::VerifiedBody;

/// A snapshot event, of any API version, in the body that it came in. Unknown keys of the envelope are left out; of a key
/// that stands twice, the last one counts, here and in all that is inside.
#[derive(Clone, PartialEq)]
pub struct Event<'b> {
    /// `evt_…`, the same for every delivery of the event.
    pub id: Cow<'b, str>,
    /// For example `charge.refunded`.
    pub event_type: Cow<'b, str>,
    /// When it happened, in Unix seconds.
    pub created: i64,
    /// Whether it is live, as opposed to test mode. Stripe always says; absent is not taken for either.
    pub livemode: Option<bool>,
    /// The API version that the object is rendered in.
    pub api_version: Option<Cow<'b, str>>,
    /// The connected account, on Connect events only.
    pub account: Option<Cow<'b, str>>,
    /// `data.object`: what the event is about, as it was when the event happened.
    pub object: Object<'b>,
    /// `data.previous_attributes`: the fields of the object that the event changed, as they were before. Stripe may leave
    /// them out.
    pub previous_attributes: Option<Object<'b>>,
    /// Bytes of the whole body: an upper bound of everything that stands in it.
    pub body_length: usize,
}

impl<'b> Event<'b> {
    /// Reads an event from a body that Stripe signed.
    ///
    /// # Errors
    /// Where the body is no JSON, no event, or a thin event.
    pub fn parse(body: &'b VerifiedBody) -> Result<Self, EventError> {
        let bytes = body.as_bytes();
        let envelope: Json<'b> = match str::from_utf8(bytes) {
            // Checked as a whole, which takes less time than text by text.
            Ok(text) => serde_json::from_str(text),
            // It will say where.
            Err(_) => serde_json::from_slice(bytes),
        }
        .map_err(|error| EventError::Json { line: error.line(), column: error.column() })?;
        let Json::Object(mut envelope) = envelope else {
            return Err(EventError::NotAnEvent("it is not a JSON object"));
        };
        match envelope.get("object").and_then(Json::as_str) {
            Some("event") => {}
            Some(object) if object.starts_with("v2.") => return Err(EventError::Thin),
            _ => return Err(EventError::NotAnEvent("`object` is not \"event\"")),
        }

        let mut text = |name: &str| match envelope.remove(name) {
            Some(Json::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        };
        let id = text("id").ok_or(EventError::NotAnEvent("`id` is not a string"))?;
        let event_type = text("type").ok_or(EventError::NotAnEvent("`type` is not a string"))?;
        let api_version = text("api_version");
        let account = text("account");
        let created = envelope
            .get("created")
            .and_then(Json::as_i64)
            // Amplitude counts milliseconds; what has none is no time.
            .filter(|seconds| seconds.checked_mul(1000).is_some())
            .ok_or(EventError::NotAnEvent("`created` is not a number of Unix seconds"))?;
        let livemode = envelope.get("livemode").and_then(Json::as_bool);
        let mut data = envelope.remove("data");
        let mut object_in_data = |name: &str| match data.as_mut()?.as_object_mut()?.remove(name)? {
            Json::Object(object) => Some(object),
            _ => None,
        };
        let object = object_in_data("object").ok_or(EventError::NotAnEvent("`data.object` is not an object"))?;
        let previous_attributes = object_in_data("previous_attributes");
        let body_length = body.as_bytes().len();
        Ok(Self { id, event_type, created, livemode, api_version, account, object, previous_attributes, body_length })
    }

    /// The kind of `data.object`, for example `payment_intent`.
    pub fn kind(&self) -> &str {
        self.object.get("object").and_then(Json::as_str).unwrap_or_default()
    }
}

impl fmt::Debug for Event<'_> {
    /// Without the object, which is full of personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event({} {})", self.event_type, self.id)
    }
}

/// The ID in a field that Stripe may expand: a string, or an object with an `id`.
pub fn id_of<'e>(field: Option<&'e Json<'_>>) -> Option<&'e str> {
    let id = match field? {
        Json::Object(expanded) => expanded.get("id")?.as_str(),
        field => field.as_str(),
    };
    id.filter(|id| !id.is_empty())
}

/// Why a signed body is not taken. The texts are read by the operator in Stripe's dashboard, and hold nothing of the
/// body.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EventError {
    /// The body is not JSON.
    #[error("malformed JSON at line {line}, column {column}; a Stripe event was expected")]
    Json {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// JSON, but not a Stripe event.
    #[error("not a Stripe event: {0}")]
    NotAnEvent(&'static str),
    /// An event of Stripe's API v2 without `data.object`.
    #[error(
        "a thin event: it does not carry the object that it is about; choose the payload style \"snapshot\" for the event destination in Stripe"
    )]
    Thin,
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::signature::{SignatureHeader, SigningSecret, sign, verify};
    use super::*;

    /// Signs and verifies: tests take the only way to a verified body, too.
    pub(crate) fn verified(body: &[u8]) -> VerifiedBody {
        let secrets = [SigningSecret::new("whsec_test".into(), None)];
        let value = sign(&secrets[0], 1, body);
        let header = SignatureHeader::parse(value.as_bytes()).unwrap();
        verify(&header, Bytes::copy_from_slice(body), &secrets, 1, Duration::from_secs(1)).unwrap().0
    }

    /// The sample event of a type.
    pub(crate) fn sample(event_type: &str) -> Value {
        let path = format!("{}/events/stripe/{event_type}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    /// Sample events in the shapes of later API versions: 2025-09-30.clover and 2026-10-28.endive. Each is the one that
    /// [`sample`] gives for its type, of the same object.
    pub(crate) fn later_samples() -> impl Iterator<Item = Value> {
        [2025, 2026].into_iter().flat_map(|year| {
            let directory = format!("{}/tests/data/stripe-events-{year}", env!("CARGO_MANIFEST_DIR"));
            let read = |path| serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
            std::fs::read_dir(directory).unwrap().map(move |entry| read(entry.unwrap().path()))
        })
    }

    /// It is left in memory, so that it borrows from nobody.
    pub(crate) fn event(envelope: &Value) -> Event<'static> {
        Event::parse(Box::leak(Box::new(verified(envelope.to_string().as_bytes())))).unwrap()
    }

    fn refused(body: &str) -> EventError {
        Event::parse(&verified(body.as_bytes())).unwrap_err()
    }

    #[test]
    fn the_envelope_is_read_and_unknown_keys_are_not_refused() {
        let mut envelope = sample("charge.refunded");
        envelope["account"] = json!("acct_1");
        envelope["context"] = json!({"new": true});
        let event = event(&envelope);
        assert_eq!(event.id, "evt_3PgcEx0002B7WZ01zgkW1Test");
        assert_eq!(event.event_type, "charge.refunded");
        assert_eq!(event.created, 1_721_948_600);
        assert_eq!(event.livemode, Some(false));
        assert_eq!(event.api_version.as_deref(), Some("2024-06-20"));
        assert_eq!(event.account.as_deref(), Some("acct_1"));
        assert_eq!(event.kind(), "charge");
        let previously = event.previous_attributes.as_ref().and_then(|previous| previous.get("amount_refunded"));
        assert_eq!(previously.and_then(Json::as_i64), Some(0));
    }

    #[test]
    fn what_is_no_event_is_refused_with_the_place() {
        assert_eq!(refused("{\n  oops"), EventError::Json { line: 2, column: 3 });
        for body in ["", "\u{0}", "{\"object\":\"event\",}", "[", "{\"a\":1e999}"] {
            assert!(matches!(refused(body), EventError::Json { .. }), "{body}");
        }
        let whole =
            json!({"id": "evt_1", "object": "event", "type": "charge.failed", "created": 1, "data": {"object": {}}});
        assert!(Event::parse(&verified(whole.to_string().as_bytes())).is_ok());
        for (field, value) in [
            ("object", json!("charge")),
            ("object", json!(null)),
            ("id", json!(7)),
            ("id", json!("")),
            ("type", json!(null)),
            ("created", json!("2024-07-26T00:00:00Z")),
            ("created", json!(1.5)),
            ("created", json!(i64::MAX)),
            ("data", json!(null)),
            ("data", json!({"object": "ch_1"})),
        ] {
            let mut envelope = whole.clone();
            envelope[field] = value;
            let error = refused(&envelope.to_string());
            assert!(matches!(error, EventError::NotAnEvent(_)), "{envelope}");
        }
        assert!(matches!(refused("[]"), EventError::NotAnEvent(_)));
    }

    #[test]
    fn a_thin_event_is_told_apart() {
        let thin = json!({"id": "evt_test_1", "object": "v2.core.event", "type": "v1.billing.meter.error_report_triggered", "created": "2024-09-26T17:46:22.134Z"});
        assert_eq!(refused(&thin.to_string()), EventError::Thin);
    }

    #[test]
    fn errors_hold_nothing_of_the_body() {
        for body in [r#"{"object": "hidden"}"#, r#"{"hidden": }"#, r#""hidden""#] {
            assert!(!refused(body).to_string().contains("hidden"));
        }
    }

    #[test]
    fn nesting_without_end_is_an_error_and_no_crash() {
        assert!(matches!(refused(&"[".repeat(100_000)), EventError::Json { .. }));
    }

    proptest! {
        #[test]
        fn any_body_never_panics(body: Vec<u8>) {
            let _ = Event::parse(&verified(&body));
        }
    }
}
