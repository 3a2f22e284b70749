//! The Stripe emulator matches the function.

use stripe_amplitude::stripe::event_types;
use stripe_emulator::{API_VERSION, SAMPLE_TYPES};

#[test]
fn has_samples_of_all_default_types() {
    assert_eq!(SAMPLE_TYPES, event_types::TYPES);
}

#[test]
fn has_the_api_version_of_the_rules() {
    assert_eq!(API_VERSION, event_types::API_VERSION);
}
