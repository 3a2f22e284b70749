//! Any event of Stripe's with any settings, translated: nothing panics, the result is an event that Amplitude takes and
//! that holds nothing that must not leave (`src/event.rs`), and a second translation gives the same.
//!
//! The input is two JSON documents in two lines: the settings, and the event as Stripe sends it. Settings that cannot be
//! used stand for the default ones.

#![no_main]

use std::time::Duration;

use bytes::Bytes;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use stripe_amplitude::settings::Settings;
use stripe_amplitude::stripe::event::Event;
use stripe_amplitude::stripe::signature::{SignatureHeader, SigningSecret, VerifiedBody, sign, verify};
use stripe_amplitude::translate::{Context, translate};
use stripe_amplitude_fuzz::abbreviation::expand;
use stripe_amplitude_fuzz::{event, mutation};

/// Enough to be over Amplitude's limit.
const LARGEST: usize = 3 * 1024 * 1024;

fuzz_target!(|input: &[u8]| {
    let input = expand(input, LARGEST);
    let line_break = memchr::memchr(b'\n', &input).unwrap_or(0);
    let (settings, body) = input.split_at(line_break);
    let settings = str::from_utf8(settings).ok().and_then(|text| Settings::parse(text).ok()).unwrap_or_default();
    let body = verified(body);
    let Ok(event) = Event::parse(&body) else { return };
    let project = "demo".parse().expect("a name");
    let context = Context { project: &project, source: Some("eu"), settings: &settings };
    let Ok(translation) = translate(event.clone(), &context) else { return };
    // Types that are not on the list are not translated for anybody but `preview`.
    if !settings.events.contains(&event.event_type) {
        return;
    }
    let json = event::check(&translation.event, Some(&settings));
    let again = translate(event, &context).expect("as before");
    assert_eq!(json, event::check(&again.event, Some(&settings)), "a repeat is the same event");
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutation::json(data, size, max_size, seed, "\n")
});

/// Only what is signed can be parsed.
fn verified(body: &[u8]) -> VerifiedBody {
    let secrets = [SigningSecret::new("whsec_a".into(), None)];
    let signature = sign(&secrets[0], 1, body);
    let header = SignatureHeader::parse(signature.as_bytes()).expect("our own header");
    let verified = verify(&header, Bytes::copy_from_slice(body), &secrets, 1, Duration::ZERO);
    verified.expect("our own signature").0
}
