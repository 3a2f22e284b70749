//! Events that the user hands over: files, or standard input.

use std::path::Path;

use clap::ValueEnum;
use serde_json::Value;

use crate::input;

/// What to do with an event's `created`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Created {
    /// The event happens now, so that it shows in today's charts
    Now,
    /// The event is taken byte for byte as it is
    Keep,
}

/// The bytes of an event, ready to be signed. `now` is in Unix seconds.
///
/// # Errors
/// A sentence that says which file is wrong, and how.
pub(crate) fn read(path: &Path, created: Created, now: u64) -> Result<Vec<u8>, String> {
    let bytes = input::read(path)?;
    match created {
        Created::Keep => Ok(bytes),
        Created::Now => happen_now(&bytes, now).map_err(|error| format!("{}: {error}", input::name(path))),
    }
}

/// The event with another `created`.
///
/// # Errors
/// A sentence, where it is no event.
pub(crate) fn happen_now(event: &[u8], now: u64) -> Result<Vec<u8>, String> {
    let mut event: Value = serde_json::from_slice(event).map_err(|error| format!("it is not JSON: {error}"))?;
    match event.get_mut("created") {
        Some(created) => *created = now.into(),
        None => return Err("it is not an event: it has no `created`; --created keep takes it all the same".to_owned()),
    }
    Ok(event.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_happens_now() {
        let event = happen_now(br#"{"id": "evt_1", "created": 5}"#, 1_720_000_000).unwrap();
        assert_eq!(event, br#"{"created":1720000000,"id":"evt_1"}"#);
        assert!(happen_now(b"{}", 1).unwrap_err().contains("--created keep"));
        assert!(happen_now(b"{", 1).unwrap_err().contains("not JSON"));
    }

    #[test]
    fn an_error_names_the_file() {
        let error = read(Path::new("there-is-no-such-file.json"), Created::Now, 1).unwrap_err();
        assert!(error.contains("there-is-no-such-file.json"), "{error}");
    }
}
