//! Stripe's event: an envelope around the object that changed.

use std::borrow::Cow;
use std::fmt;

use serde::de::IgnoredAny;
use thiserror::Error;

use super::json::{self, Json, Object, Unread};
use super::signature::VerifiedBody;

/// A snapshot event of any API version, in its body. Unknown keys of the envelope are ignored. Of duplicate keys, the
/// last one counts, here and in all nested objects.
///
/// Half a surrogate pair in a text or a name becomes U+FFFD. A number beyond every float (`1e400`) becomes the text of
/// its digits, so that it is not an amount or a time.
#[derive(Clone, PartialEq)]
pub struct Event<'b> {
    /// `evt_…`, the same for every delivery of the event.
    pub id: Cow<'b, str>,
    /// For example `charge.refunded`.
    pub event_type: Cow<'b, str>,
    /// When it happened, in Unix seconds.
    pub created: i64,
    /// Whether it is live, as opposed to test mode. Stripe always sets it; a missing value counts as neither.
    pub livemode: Option<bool>,
    /// The API version that the object is rendered in.
    pub api_version: Option<Cow<'b, str>>,
    /// The connected account, on Connect events only.
    pub account: Option<Cow<'b, str>>,
    /// `data.object`: the object that changed, as it was when the event happened.
    pub object: Object<'b>,
    /// `data.previous_attributes`: the fields of the object that the event changed, as they were before. Stripe may
    /// omit them.
    pub previous_attributes: Option<Object<'b>>,
    /// The size of the whole body in bytes: an upper bound for all its contents.
    pub body_length: usize,
}

impl<'b> Event<'b> {
    /// Reads an event from a body that Stripe signed.
    ///
    /// ```
    /// # use stripe_amplitude::stripe::event::{Event, EventError};
    /// # use stripe_amplitude::stripe::signature::VerifiedBody;
    /// let json = r#"{"id": "evt_1", "object": "event", "type": "charge.succeeded", "created": 1720000000,
    ///     "livemode": true, "data": {"object": {"id": "ch_1", "object": "charge"}}}"#;
    /// let body = VerifiedBody::trusted(json.into());
    /// let event = Event::parse(&body)?;
    /// assert_eq!((&*event.event_type, event.kind()), ("charge.succeeded", "charge"));
    /// # Ok::<(), EventError>(())
    /// ```
    ///
    /// # Errors
    /// If the body is not JSON, or not a snapshot event.
    pub fn parse(body: &'b VerifiedBody) -> Result<Self, EventError> {
        let mut envelope = match read(body)? {
            Json::Object(envelope) if envelope.get("object").and_then(Json::as_str) == Some("event") => envelope,
            other => return Err(EventError::of(&other)),
        };

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
            // Amplitude counts milliseconds; a time out of their range is not a time.
            .filter(|seconds| seconds.checked_mul(1000).is_some())
            .ok_or(EventError::NotAnEvent("`created` is not a number of Unix seconds"))?;
        let livemode = envelope.get("livemode").and_then(Json::as_bool);
        let mut data = envelope.remove("data");
        let mut object_in_data = |name: &str| match data.as_mut()?.as_object_mut()?.remove(name)? {
            Json::Object(object) => Some(object),
            _ => None,
        };
        let object = object_in_data("object").ok_or(if event_type.starts_with(API_V2) {
            EventError::ThinOnly
        } else {
            EventError::NotAnEvent("`data.object` is not an object")
        })?;
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
    /// Omits the object, which is full of personal data.
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

/// The prefix of the types of Stripe's API v2, whose events are thin at every endpoint.
const API_V2: &str = "v2.";

/// The `object` of a thin event.
const THIN: &str = "v2.core.event";

fn text_of<'j>(json: &'j Json<'_>, name: &str) -> Option<&'j str> {
    json.get(name).and_then(Json::as_str)
}

fn read(body: &VerifiedBody) -> Result<Json<'_>, EventError> {
    // Checked as a whole, which is faster than text by text.
    let Ok(text) = body.text() else {
        // The parser finds the place.
        let error = serde_json::from_slice::<Json<'_>>(body.as_bytes()).err();
        return Err(EventError::of_malformed(body.as_bytes(), error));
    };
    let error = match json::read(text) {
        Ok(json) => return Ok(json),
        Err(Unread::TooManyValues) => return Err(EventError::TooManyValues),
        Err(Unread::Malformed(error)) => error,
    };
    let error = match body.repaired().map(json::read) {
        Some(Ok(json)) => return Ok(json),
        Some(Err(Unread::TooManyValues)) => return Err(EventError::TooManyValues),
        // The repair shifts a place by two columns for each number before it.
        Some(Err(Unread::Malformed(error))) => error,
        None => error,
    };
    Err(EventError::of_malformed(text.as_bytes(), Some(error)))
}

/// Why a signed body is refused. The operator reads the texts in Stripe's dashboard. They repeat nothing of the body
/// but a known kind of Stripe object.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EventError {
    /// The body is not JSON.
    #[error("malformed JSON at line {line}, column {column}; expected a Stripe event")]
    Json {
        /// Starts at 1.
        line: usize,
        /// Starts at 1.
        column: usize,
    },
    /// More JSON values than any Stripe event has.
    #[error("not a Stripe event: it has more than 500,000 JSON values")]
    TooManyValues,
    /// The body is UTF-16, the default of some editors and shells on Windows.
    #[error("not a Stripe event: the text is UTF-16; convert it to UTF-8")]
    Utf16,
    /// Several JSON objects in a row.
    #[error("not a Stripe event but several JSON objects, one after the other; send one event at a time")]
    Several,
    /// A list of events: from Stripe's API, or an array.
    #[error("not a Stripe event but a list of events; send one event at a time")]
    List,
    /// An event in the form of Amazon EventBridge.
    #[error(
        "not a Stripe event but an EventBridge event, which has Stripe's event in `detail`; point a webhook endpoint in Stripe at the function's URL"
    )]
    EventBridge,
    /// An object of Stripe's API without an event.
    #[error("not a Stripe event but {}, without the event around it", .kind.map_or_else(|| "a bare object".to_owned(), |kind| format!("a bare object of the kind `{kind}`")))]
    BareObject {
        /// Its `object`, if that is a known kind.
        kind: Option<&'static str>,
    },
    /// Any other JSON.
    #[error("not a Stripe event: {0}")]
    NotAnEvent(&'static str),
    /// An event without `data.object`, of a type that also has snapshots.
    #[error(
        "a thin event: it does not carry the object that it is about; choose the payload style \"snapshot\" for the event destination in Stripe"
    )]
    Thin,
    /// An event of Stripe's API v2, whose types have no snapshots.
    #[error(
        "a thin event of Stripe's API v2: it does not carry the object that it is about, and there is no snapshot of it; remove this type from the endpoint in Stripe"
    )]
    ThinOnly,
}

impl EventError {
    /// A description of the body, if its form is known, for callers that expected something else.
    pub fn noun(&self) -> Option<&'static str> {
        match self {
            Self::Json { .. } | Self::NotAnEvent(_) | Self::TooManyValues => None,
            Self::Utf16 => Some("UTF-16 text"),
            Self::Several => Some("several JSON objects, one after the other"),
            Self::List => Some("a list of Stripe events"),
            Self::EventBridge => Some("an EventBridge event"),
            Self::BareObject { .. } => Some("an object of Stripe's API"),
            Self::Thin | Self::ThinOnly => Some("a thin event of Stripe's"),
        }
    }

    /// Classifies a text that is not JSON. `error` is the parser's.
    fn of_malformed(text: &[u8], error: Option<serde_json::Error>) -> Self {
        if is_utf16(text) {
            return Self::Utf16;
        }
        if are_several(text) {
            return Self::Several;
        }
        let (line, column) = error.map_or((1, 1), |error| (error.line(), error.column()));
        Self::Json { line, column }
    }

    /// Classifies JSON that is not an event.
    fn of(json: &Json<'_>) -> Self {
        let is_any_event = |json: &Json<'_>| matches!(text_of(json, "object"), Some("event" | THIN));
        let is_list = |items: Option<&[Json<'_>]>| items.and_then(<[_]>::first).is_some_and(is_any_event);
        let Some(fields) = json.as_object() else {
            return match json {
                Json::List(items) if is_list(Some(items)) => Self::List,
                Json::Text(text) if text.trim_start().starts_with('{') => {
                    Self::NotAnEvent("it is a text with JSON in it; send the JSON itself")
                }
                _ => Self::NotAnEvent("it is not a JSON object"),
            };
        };
        let is_api_v2 = text_of(json, "type").is_some_and(|event_type| event_type.starts_with(API_V2));
        match text_of(json, "object") {
            Some(THIN) | None if is_api_v2 => Self::ThinOnly,
            Some(THIN) => Self::Thin,
            _ if is_list(json.get("data").and_then(Json::as_list)) => Self::List,
            Some(kind) if !kind.is_empty() => Self::BareObject { kind: KINDS.into_iter().find(|known| *known == kind) },
            _ if text_of(json, "detail-type").is_some() && json.get("detail").is_some_and(Json::nests) => {
                Self::EventBridge
            }
            _ if fields.iter().any(|(_, field)| is_any_event(field)) => {
                Self::NotAnEvent("it is an object that has the event in one of its fields; send the event itself")
            }
            _ => Self::NotAnEvent("`object` is not \"event\""),
        }
    }
}

/// Kinds of Stripe objects that people send without the event. Only these are repeated: any other text is the sender's.
const KINDS: [&str; 20] = [
    "application_fee",
    "balance",
    "charge",
    "checkout.session",
    "customer",
    "dispute",
    "fee_refund",
    "invoice",
    "issuing.authorization",
    "issuing.transaction",
    "list",
    "payment_intent",
    "payment_method",
    "payout",
    "price",
    "product",
    "refund",
    "search_result",
    "setup_intent",
    "subscription",
];

/// Whether a text is UTF-16, judging by its byte order mark or by a first ASCII character in two bytes. JSON starts
/// with such a character.
/// such a character.
pub fn is_utf16(text: &[u8]) -> bool {
    match text {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [0, ascii, ..] | [ascii, 0, ..] => (1..0x80).contains(ascii),
        _ => false,
    }
}

/// Whether a text holds more than one JSON object, and nothing else before the second.
fn are_several(text: &[u8]) -> bool {
    let mut documents = serde_json::Deserializer::from_slice(text).into_iter::<IgnoredAny>();
    let mut next_is_object = |place: usize| {
        let begins = text.get(place..).is_some_and(|rest| rest.trim_ascii_start().starts_with(b"{"));
        begins.then(|| documents.next()?.ok().map(|_| documents.byte_offset())).flatten()
    };
    next_is_object(0).and_then(next_is_object).is_some()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::signature::{SignatureHeader, SigningSecret, sign, verify};
    use super::*;

    /// Signs and verifies: tests also take the only way to a verified body.
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

    /// Sample events in the shapes of later API versions: 2025-09-30.clover and 2026-10-28.endive. Each has the same
    /// object as the [`sample`] of its type.
    pub(crate) fn later_samples() -> impl Iterator<Item = Value> {
        [2025, 2026].into_iter().flat_map(|year| {
            let directory = format!("{}/tests/data/stripe-events-{year}", env!("CARGO_MANIFEST_DIR"));
            let read = |path| serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
            std::fs::read_dir(directory).unwrap().map(move |entry| read(entry.unwrap().path()))
        })
    }

    /// The body is leaked, so that the event can be `'static`.
    pub(crate) fn event(envelope: &Value) -> Event<'static> {
        Event::parse(Box::leak(Box::new(verified(envelope.to_string().as_bytes())))).unwrap()
    }

    fn refused(body: &str) -> EventError {
        Event::parse(&verified(body.as_bytes())).unwrap_err()
    }

    #[test]
    fn unknown_keys_of_the_envelope_are_ignored() {
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
    fn errors_have_the_place() {
        assert_eq!(refused("{\n  oops"), EventError::Json { line: 2, column: 3 });
        for body in [
            "",
            "\u{0}",
            "{\"object\":\"event\",}",
            "[",
            "{\"a\":1e}",
            "{1e999:1}",
            "{\"a\":\"\\ud8\"}",
            "{}}",
            "{},{}",
        ] {
            assert!(matches!(refused(body), EventError::Json { .. }), "{body}");
        }
        let whole =
            json!({"id": "evt_1", "object": "event", "type": "charge.failed", "created": 1, "data": {"object": {}}});
        assert!(Event::parse(&verified(whole.to_string().as_bytes())).is_ok());
        for (field, value) in [
            ("object", json!(null)),
            ("object", json!("")),
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
    fn other_payloads_are_recognized() {
        let event = sample("charge.succeeded");
        let object = &event["data"]["object"];
        let thin = |event_type: &str| json!({"id": "evt_test_1", "object": "v2.core.event", "type": event_type, "created": "2024-09-26T17:46:22.134Z"});
        let bare = |kind| EventError::BareObject { kind: Some(kind) };
        for (body, error) in [
            (thin("v1.billing.meter.error_report_triggered"), EventError::Thin),
            (thin("v2.core.account.updated"), EventError::ThinOnly),
            (json!({"id": "evt_test_1", "type": "v2.core.account.updated"}), EventError::ThinOnly),
            (
                json!({"id": "evt_1", "object": "event", "type": "v2.core.account.updated", "created": 1}),
                EventError::ThinOnly,
            ),
            (
                json!({"version": "0", "id": "1", "detail-type": "charge.succeeded", "detail": event}),
                EventError::EventBridge,
            ),
            (
                json!({"version": "0", "id": "1", "detail-type": "v2.x", "detail": thin("v2.x")}),
                EventError::EventBridge,
            ),
            (json!({"object": "list", "url": "/v1/events", "has_more": false, "data": [event]}), EventError::List),
            (json!({"data": [thin("v2.x")], "next_page_url": null}), EventError::List),
            (json!([event, event]), EventError::List),
            (object.clone(), bare("charge")),
            (json!({"id": "cs_1", "object": "checkout.session"}), bare("checkout.session")),
            (json!({"object": "list", "data": [object]}), bare("list")),
            (json!({"object": "search_result", "data": []}), bare("search_result")),
            (json!({"object": "v2.core.event_destination"}), EventError::BareObject { kind: None }),
            (json!({"object": "jenny_rosen"}), EventError::BareObject { kind: None }),
            (json!({"object": "Guest <guest@example.com>"}), EventError::BareObject { kind: None }),
        ] {
            assert_eq!(refused(&body.to_string()), error, "{body}");
            assert_eq!(refused(&format!("\u{feff}{body:#}")), error, "{body}");
        }
        for (body, words) in [
            (json!({"reason": "400", "event": event}), "one of its fields"),
            (json!(event.to_string()), "a text with JSON in it"),
            (json!([object]), "not a JSON object"),
        ] {
            assert!(refused(&body.to_string()).to_string().contains(words), "{body}");
        }
        for several in [event.to_string().repeat(2), format!("{event:#}\n{event:#}\n"), format!("{event}\n\n{{}}oops")]
        {
            assert_eq!(refused(&several), EventError::Several);
        }
        assert!(bare("charge").to_string().contains("`charge`"));
    }

    #[test]
    fn utf_16_is_recognized_and_byte_order_marks_are_skipped() {
        let text = sample("charge.succeeded").to_string();
        let parsed = |body: &[u8]| Event::parse(&verified(body)).map(|event| event.id.into_owned());
        assert_eq!(parsed(format!("\u{feff}{text}").as_bytes()), parsed(text.as_bytes()));
        assert!(parsed(format!("\u{feff}\u{feff}{text}").as_bytes()).is_err());
        for mark in ["", "\u{feff}"] {
            let units: Vec<u16> = format!("{mark}{text}").encode_utf16().collect();
            for body in [
                units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<_>>(),
                units.iter().flat_map(|unit| unit.to_be_bytes()).collect(),
            ] {
                assert_eq!(parsed(&body), Err(EventError::Utf16));
            }
        }
    }

    #[test]
    fn errors_never_quote_the_body() {
        for body in [
            r#"{"object": "Hidden hidden"}"#,
            r#"{"object": "hidden1"}"#,
            r#"{"hidden": }"#,
            r#""hidden""#,
            r#""{hidden""#,
            r#"{"detail-type": "hidden", "detail": {"hidden": 1}}"#,
            r#"{"hidden": {"object": "event"}}"#,
            r#"{"type": "v2.hidden"}"#,
        ] {
            assert!(!refused(body).to_string().contains("hidden"));
        }
    }

    /// With this text in place of `"@"`.
    fn with_field(place: &str, json: &str) -> String {
        let mut event = sample("payment_intent.succeeded");
        *event.pointer_mut(place).unwrap() = json!("@");
        event.to_string().replace("\"@\"", json)
    }

    #[test]
    fn unpaired_surrogates_become_the_replacement_character() {
        for place in ["/id", "/type", "/api_version", "/data/object/id", "/data/object/metadata/user_id", "/request"] {
            for half in [r"\ud83d", r"\uDE00"] {
                let body = verified(with_field(place, &format!("\"cut {half}\"")).as_bytes());
                let repaired = verified(with_field(place, "\"cut \u{fffd}\"").as_bytes());
                assert_eq!(
                    Event::parse(&body),
                    Event::parse(&repaired).map(|event| Event { body_length: body.as_bytes().len(), ..event })
                );
            }
        }
        let key = with_field("/data/object/metadata", r#"{"cut \ud83d": "a"}"#);
        let body = verified(key.as_bytes());
        let event = Event::parse(&body).unwrap();
        assert_eq!(event.object.get("metadata").unwrap().get("cut \u{fffd}").and_then(Json::as_str), Some("a"));
    }

    #[test]
    fn huge_numbers_become_text() {
        let digits = "7".repeat(1000);
        for number in ["1e400", "-1e999", &digits] {
            let body = verified(with_field("/data/object/amount_received", number).as_bytes());
            let event = Event::parse(&body).unwrap();
            let amount = event.object.get("amount_received").unwrap();
            assert_eq!((amount.as_i64(), amount.as_str()), (None, Some(number)));
            assert!(matches!(refused(&with_field("/created", number)), EventError::NotAnEvent(_)));
        }
    }

    #[test]
    fn deep_nesting_is_an_error() {
        assert!(matches!(refused(&"[".repeat(100_000)), EventError::Json { .. }));
    }

    proptest! {
        #[test]
        fn any_body_never_panics(body: Vec<u8>) {
            let _ = Event::parse(&verified(&body));
        }
    }
}
