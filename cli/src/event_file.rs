//! Events that the user hands over: files, or standard input.

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::Value;
use stripe_amplitude::stripe::signature::{self, SignatureHeader, SigningSecret, VerifiedBody};

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

/// The body as the function has it when it reads the event. Only a verified one can be read, so it is signed first, with
/// a secret that is good for nothing else.
///
/// # Errors
/// A sentence, which nobody has seen yet.
pub(crate) fn verified(body: Vec<u8>, now: u64) -> Result<VerifiedBody, String> {
    let secrets = [SigningSecret::new("whsec_thrown_away".into(), None)];
    let [secret] = &secrets;
    let header = signature::sign(secret, now, &body);
    let header = SignatureHeader::parse(header.as_bytes()).map_err(|error| error.to_string())?;
    let verified = signature::verify(&header, body.into(), &secrets, now, Duration::from_secs(1));
    verified.map(|(body, _)| body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use stripe_amplitude::stripe::event::Event;

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

    #[test]
    fn an_event_is_read_as_the_function_reads_it() {
        let body = verified(include_bytes!("../../events/stripe/charge.refunded.json").to_vec(), 1).unwrap();
        assert_eq!(Event::parse(&body).unwrap().event_type, "charge.refunded");
        for (body, words) in [
            ("{", "malformed JSON at line 1"),
            ("{}", "not a Stripe event"),
            (r#"{"object": "v2.core.event", "id": "evt_1"}"#, "a thin event"),
        ] {
            let error = Event::parse(&verified(body.into(), 1).unwrap()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
