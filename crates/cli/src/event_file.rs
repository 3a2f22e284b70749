//! Events from files or standard input.

use std::fmt;
use std::path::Path;

use bytes::Bytes;
use clap::ValueEnum;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use stripe_amplitude::stripe::event::{Event, EventError};
use stripe_amplitude::stripe::signature::{BYTE_ORDER_MARK, VerifiedBody};

use crate::input;

/// What to do with an event's `created`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Created {
    /// Rewrite `created`, so that the event shows in today's charts
    Now,
    /// Send the file unchanged
    Keep,
}

/// The bytes of an event, ready to be signed. `now` is in Unix seconds.
///
/// # Errors
/// A sentence that names the file and says what is wrong.
pub(crate) fn read(path: &Path, created: Created, now: u64) -> Result<Vec<u8>, String> {
    let bytes = input::read(path)?;
    match created {
        Created::Keep => Ok(bytes),
        Created::Now => happen_now(&bytes, now).map_err(|error| format!("{}: {error}", input::name(path))),
    }
}

/// The event with another `created`, but otherwise unchanged byte for byte: a parser would change lone surrogates or long
/// numbers, which the function should see.
///
/// # Errors
/// A sentence, if it is not an event.
pub(crate) fn happen_now(event: &[u8], now: u64) -> Result<Vec<u8>, String> {
    const CREATED: &str = "\"created\"";
    let not_an_event = |error: EventError| format!("{error}; pass --created keep to send it unchanged");

    let text = event.strip_prefix(BYTE_ORDER_MARK.as_bytes()).unwrap_or(event);
    let Ok(Envelope(mut fields)) = serde_json::from_slice(text) else {
        let why = Event::parse(&VerifiedBody::trusted(Bytes::copy_from_slice(event))).err();
        return Err(not_an_event(why.unwrap_or(EventError::NotAnEvent("it is not a JSON object"))));
    };
    let now = now.to_string();
    match fields.iter_mut().rfind(|(name, _)| *name == CREATED) {
        Some((_, created)) => *created = &now,
        None => fields.push((CREATED, &now)),
    }
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    let event = format!("{{{}}}", fields.join(",")).into_bytes();
    let body = VerifiedBody::trusted(event.into());
    Event::parse(&body).map_err(not_an_event)?;
    Ok(body.as_bytes().to_vec())
}

/// Names and values of an object, as written in the JSON.
struct Envelope<'e>(Vec<(&'e str, &'e str)>);

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Envelope<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = entries.next_entry::<&RawValue, &RawValue>()? {
                    fields.push((name.get(), value.get()));
                }
                Ok(Envelope(fields))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_created_changes() {
        let rest = r#""id": "evt_1","object":"event", "type":"x","data":{"object":{"b": 1e400, "a": "\ud800"}}"#;
        let expected = format!(
            "{{{},\"created\":1720000000}}",
            r#""id":"evt_1","object":"event","type":"x","data":{"object":{"b": 1e400, "a": "\ud800"}}"#
        );
        for event in [
            format!("{{{rest},\"created\":5}}"),
            format!("\u{feff}{{{rest},\"created\":null}}\n"),
            format!("{{{rest}}}"),
        ] {
            assert_eq!(happen_now(event.as_bytes(), 1_720_000_000).unwrap(), expected.as_bytes(), "{event}");
        }
    }

    #[test]
    fn other_documents_are_named() {
        let event = json!({"id": "evt_1", "object": "event", "type": "x", "created": 5, "data": {"object": {}}});
        let utf_16 = event.to_string().encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (body, words) in [
            (b"{".to_vec(), "malformed JSON at line 1, column 1"),
            (b"{}".to_vec(), "not a Stripe event"),
            (b"[]".to_vec(), "not a Stripe event"),
            (json!({"id": "ch_1", "object": "charge", "created": 5}).to_string().into_bytes(), "of the kind `charge`"),
            (json!({"object": "list", "data": [event]}).to_string().into_bytes(), "a list of events"),
            (json!([event]).to_string().into_bytes(), "a list of events"),
            (json!({"detail-type": "x", "detail": event}).to_string().into_bytes(), "an EventBridge event"),
            (
                json!({"id": "evt_1", "object": "v2.core.event", "type": "v2.x"}).to_string().into_bytes(),
                "remove this type",
            ),
            (format!("{event:#}\n{event:#}\n").into_bytes(), "several JSON objects"),
            (utf_16, "UTF-16"),
        ] {
            let error = happen_now(&body, 1).unwrap_err();
            assert!(error.contains(words) && error.contains("--created keep"), "{error}");
        }
    }

    #[test]
    fn error_names_the_file() {
        let error = read(Path::new("there-is-no-such-file.json"), Created::Now, 1).unwrap_err();
        assert!(error.contains("there-is-no-such-file.json"), "{error}");
    }
}
