//! Memory and work for a verified body, from the body to the request to Amplitude. Allocations are counted one by one,
//! so neither the machine nor the optimization level matters.
//!
//! This is a separate binary because the counting allocator applies to the whole program. `tests/it` sends the same
//! bodies to the real process and checks its memory.

// As in `tests/it`, which has these bodies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, dead_code, unreachable_pub)]
#![allow(missing_docs)]

#[path = "it/harness/hostile.rs"]
mod hostile;
#[path = "it/harness/stripe.rs"]
mod stripe;

use allocation_counter::{AllocationInfo, measure};
use stripe_amplitude::amplitude::client::Request;
use stripe_amplitude::forward::{Decision, forward, unaudited};
use stripe_amplitude::settings::Settings;
use stripe_amplitude::stripe::event::Event;
use stripe_amplitude::stripe::signature::VerifiedBody;
use stripe_amplitude::translate::Context;

/// The maximum overhead of an allocation: the allocator's metadata and rounding.
const ALLOCATION: u64 = 31;

/// Counts allocations from a body to the request for Amplitude, in the same steps as the handlers.
fn count(body: &str) -> AllocationInfo {
    let body = VerifiedBody::trusted(body.to_owned().into());
    let (project, settings) = ("shop".parse().unwrap(), Settings::default());
    measure(|| {
        let context =
            Context { project: &project, source: None, settings: &settings, has_test_key: false, objects: None };
        let event = Event::parse(&body).unwrap();
        let Decision::Send(translation) = forward(event, &context, stripe::now(), &mut unaudited).unwrap() else {
            panic!("expected an event to send");
        };
        let request = serde_json::to_vec(&Request::new(&[translation.event], "key")).unwrap();
        assert!(request.len() < 1_000_000);
    })
}

/// The maximum memory in bytes.
fn peak(counted: AllocationInfo) -> u64 {
    counted.bytes_max + counted.count_max * ALLOCATION
}

/// The remainder of 110 MB after the process has started and received the body and its payload.
const MEMORY: u64 = 80_000_000;

#[test]
fn memory_and_work_are_bounded_by_the_body() {
    for (what, body) in hostile::bodies() {
        let counted = count(&body);
        let (peak, length) = (peak(counted), body.len() as u64);
        println!("{what}: at most {peak} bytes for {length}: {counted:?}");
        assert!(peak < MEMORY, "{what}: {peak} bytes");
        assert!(counted.bytes_total < 200_000 + 100 * length, "{what}: {counted:?}");
        assert!(counted.count_total < 1_000 + length / 2, "{what}: {counted:?}");
    }
}

#[test]
fn work_is_linear_in_the_body() {
    for (what, unit) in hostile::units() {
        let [once, twice] =
            [100_000, 200_000].map(|values| count(&hostile::filled(&unit, hostile::MAX_BODY_BYTES, values)));
        // A vector that has just grown has twice the capacity it needs.
        assert!(twice.bytes_total < once.bytes_total * 3, "{what}: {once:?} {twice:?}");
        assert!(twice.count_total < once.count_total * 5 / 2, "{what}: {once:?} {twice:?}");
    }
}
