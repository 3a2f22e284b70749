//! The local Stripe knows what the function knows.

use stripe_amplitude::stripe::event_types;
use stripe_emulator::{API_VERSION, SAMPLE_TYPES};

#[test]
fn it_has_a_sample_of_every_type_that_is_forwarded_by_default() {
    assert_eq!(SAMPLE_TYPES, event_types::TYPES);
}

#[test]
fn it_keeps_objects_in_the_api_version_that_the_rules_were_written_for() {
    assert_eq!(API_VERSION, event_types::API_VERSION);
}
