//! Any text as the parameter `settings`: nothing panics, an error never repeats a value, and accepted settings work in
//! the selection and translation of events (`src/event.rs`).

#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use stripe_amplitude::forward::{Decision, forward, unaudited};
use stripe_amplitude::settings::Settings;
use stripe_amplitude::stripe::event::Event;
use stripe_amplitude::stripe::signature::VerifiedBody;
use stripe_amplitude::translate::Context;
use stripe_amplitude_fuzz::abbreviation::expand;
use stripe_amplitude_fuzz::{event, mutation};

/// Parameter Store accepts 8 KB; a little more.
const LARGEST: usize = 64 * 1024;

/// Events that use every setting: with a user, with revenue, a refund, a list. The events borrow from them.
static BODIES: LazyLock<[VerifiedBody; 4]> = LazyLock::new(|| {
    [
        include_str!("../../events/stripe/payment_intent.succeeded.json"),
        include_str!("../../events/stripe/charge.refunded.json"),
        include_str!("../../events/stripe/invoice.paid.json"),
        include_str!("../../events/stripe/issuing_authorization.created.json"),
    ]
    .map(|body| VerifiedBody::trusted(Bytes::from_static(body.as_bytes())))
});

static EVENTS: LazyLock<Vec<Event<'static>>> =
    LazyLock::new(|| BODIES.iter().map(|body| Event::parse(body).expect("a sample")).collect());

fuzz_target!(|input: &[u8]| {
    let input = expand(input, LARGEST);
    let Ok(text) = str::from_utf8(&input) else { return };
    let settings = match Settings::parse(text) {
        Ok(settings) => settings,
        Err(error) => {
            let _ = error.to_string();
            return;
        }
    };
    assert!(!settings.user_id_paths.is_empty());
    assert_eq!(Settings::parse(text), Ok(settings.clone()));
    let project = "demo".parse().expect("a name");
    let context = Context { project: &project, source: None, settings: &settings, has_test_key: false, objects: None };
    for event in &*EVENTS {
        for now in [0, 1_721_948_600, u64::MAX] {
            let decision = forward(event.clone(), &context, now, &mut unaudited);
            if let Ok(Decision::Send(translation) | Decision::Ignore(_, Some(translation))) = decision {
                event::check(&translation.event, Some(&settings));
            }
        }
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutation::json(data, size, max_size, seed, "")
});
