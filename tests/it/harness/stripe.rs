//! Stripe: sample events, and the header that it signs them with.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use stripe_amplitude::stripe::signature::{self, SigningSecret};

/// The creation time of the sample events in this run, in Unix seconds.
static CREATED: LazyLock<u64> = LazyLock::new(now);

/// The sample event of a type as bytes, created now.
pub fn sample_bytes(event_type: &str) -> Vec<u8> {
    let path = format!("{}/events/stripe/{event_type}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (created, now) = ("\n  \"created\": 1721948600,", format!("\n  \"created\": {},", *CREATED));
    assert!(text.contains(created), "{path}");
    text.replace(created, &now).into_bytes()
}

/// The sample event of a type. Every call returns the same event.
pub fn sample(event_type: &str) -> Value {
    serde_json::from_slice(&sample_bytes(event_type)).unwrap()
}

/// An event of a type with a new ID.
pub fn new_event(event_type: &str) -> Value {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let mut event = sample(event_type);
    event["id"] = format!("evt_new_{}", COUNT.fetch_add(1, Ordering::Relaxed)).into();
    event
}

/// The `Stripe-Signature` of a body. `time` is in Unix seconds.
pub fn sign(secret: &str, time: u64, body: &[u8]) -> String {
    signature::sign(&SigningSecret::new(secret.into(), None), time, body)
}

/// Unix seconds.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
