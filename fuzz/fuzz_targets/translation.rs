//! Any event of Stripe's with any settings, translated: nothing panics, the result is an event that Amplitude takes and
//! that holds nothing that must not leave (`src/event.rs`), and a second translation gives the same.
//!
//! The input is two JSON documents in two lines: the settings, and the event as Stripe sends it. Settings that cannot be
//! used stand for the default ones.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use stripe_amplitude::forward::{Decision, forward, unaudited};
use stripe_amplitude::settings::Settings;
use stripe_amplitude::stripe::event::Event;
use stripe_amplitude::stripe::signature::VerifiedBody;
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
    let body = VerifiedBody::trusted(Bytes::copy_from_slice(body));
    let Ok(event) = Event::parse(&body) else { return };
    let project = "demo".parse().expect("a name");
    let context = Context { project: &project, source: Some("eu"), settings: &settings, has_test_key: false, objects: None };
    // `preview` explains types that are not on the list, too.
    let _ = translate(event.clone(), &context, &mut unaudited);
    let received = u64::try_from(event.created).unwrap_or_default();
    let decide = || forward(event.clone(), &context, received, &mut unaudited);
    let Ok(Decision::Send(translation)) = decide() else { return };
    let json = event::check(&translation.event, Some(&settings));
    let Ok(Decision::Send(again)) = decide() else { panic!("not as before") };
    assert_eq!(json, event::check(&again.event, Some(&settings)), "a repeat is the same event");
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutation::json(data, size, max_size, seed, "\n")
});
