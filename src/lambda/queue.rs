//! The payload of the redelivery queue.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::redelivery::Batch;

/// A batch of messages, or why it cannot be read, in our own words.
///
/// Any JSON deserializes. If a payload did not, lambda_runtime would log and report serde's message, which can quote
/// the payload.
pub struct Payload(pub Result<Batch, String>);

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?;
        Ok(Self(Batch::read(json.get().as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_batches_are_never_quoted() {
        let read = |json| serde_json::from_str::<Payload>(json).unwrap().0;
        assert!(read(r#"{"Records": []}"#).is_ok());
        for json in
            ["null", r#""hidden""#, r#"{"hidden": 1}"#, r#"{"Records": ["hidden"]}"#, r#"{"Records": "hidden"}"#]
        {
            let error = read(json).unwrap_err();
            assert!(!error.contains("hidden"), "{error}");
        }
    }
}
