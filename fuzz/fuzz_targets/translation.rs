//! Any Stripe event with any settings, translated: nothing panics, the result is an event that Amplitude accepts and
//! that holds nothing that must not leave (`src/event.rs`), and a second translation is equal.
//!
//! The input is up to three JSON documents, one per line: the settings, the event as Stripe sends it, and the object in
//! Stripe's API for every reference. Invalid settings are replaced by the default ones.

#![no_main]

use std::sync::Arc;

use bytes::Bytes;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use stripe_amplitude::forward::{Decision, forward, unaudited};
use stripe_amplitude::settings::Settings;
use stripe_amplitude::stripe::event::Event;
use stripe_amplitude::stripe::json::Json;
use stripe_amplitude::stripe::purchase::{Found, Objects};
use stripe_amplitude::stripe::signature::VerifiedBody;
use stripe_amplitude::translate::Context;
use stripe_amplitude_fuzz::abbreviation::expand;
use stripe_amplitude_fuzz::{event, mutation};

/// Enough to exceed Amplitude's limit.
const LARGEST: usize = 3 * 1024 * 1024;

/// A user ID needs six objects at most, and product names as many.
const MOST_READS: usize = 12;

fuzz_target!(|input: &[u8]| {
    let input = expand(input, LARGEST);
    let mut lines = input.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (settings, body, object) = (line(), line(), line());
    let settings = str::from_utf8(settings).ok().and_then(|text| Settings::parse(text).ok()).unwrap_or_default();
    let found = match serde_json::from_slice::<Json<'_>>(object) {
        Ok(json @ Json::Object(_)) => Found::Object(Arc::new(json.into_owned())),
        _ => Found::Nothing,
    };
    let body = VerifiedBody::trusted(Bytes::copy_from_slice(body));
    let Ok(event) = Event::parse(&body) else { return };
    let (project, source) = ("demo".parse().expect("a name"), "eu".parse().expect("a label"));
    let received = u64::try_from(event.created).unwrap_or_default();
    let decide = || {
        let (mut objects, mut reads) = (Objects::default(), 0);
        loop {
            let objects_so_far = Some(&objects);
            let context = Context {
                project: &project,
                source: Some(&source),
                settings: &settings,
                has_test_key: false,
                objects: objects_so_far,
            };
            match forward(event.clone(), &context, received, &mut unaudited) {
                Ok(Decision::Read(_, unread)) => objects.insert(unread.reference, found.clone()),
                decision => return decision,
            }
            reads += 1;
            assert!(reads <= MOST_READS, "{reads} reads");
        }
    };
    let Ok(Decision::Send(translation)) = decide() else { return };
    let json = event::check(&translation.event, Some(&settings));
    let Ok(Decision::Send(again)) = decide() else { panic!("not as before") };
    assert_eq!(json, event::check(&again.event, Some(&settings)), "a repeat is the same event");
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutation::json(data, size, max_size, seed, "\n")
});
