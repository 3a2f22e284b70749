//! Bodies of any shape and of up to 4 MiB, signed, through the whole handler, and in batches through redelivery: their
//! memory stays below the functions' memory, and the work grows linearly with the length.
//!
//! The input is a shape (`src/shape.rs`). With the line `queue`, bodies of up to 1 MiB are a batch of the redelivery
//! queue, as large as Lambda allows, of a project that follows references to a Stripe that does not respond, so that
//! all events wait at the same time. `settings 1` to `settings 3` are the project's settings. Every allocation is
//! counted.

#![no_main]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use serde_json::json;
use stripe_amplitude::redelivery::{Batch, Invocation};
use stripe_amplitude::stripe::signature::{SigningSecret, sign};
use stripe_amplitude::webhook::{LARGEST_BODY, Request};
use stripe_amplitude_fuzz::message::Message;
use stripe_amplitude_fuzz::shape::{Shape, mutate};
use stripe_amplitude_fuzz::stage::{SECRET, Stage};

/// What is left of the function's 110 MB after its process has started and has the body and its payload.
const MEMORY: u64 = 80_000_000;

/// What is left of redelivery's 256 MB, in the same way.
const MEMORY_OF_REDELIVERY: u64 = 200_000_000;

/// The largest overhead of an allocation: the allocator's own words, and its rounding.
const ALLOCATION: u64 = 31;

/// Lambda's own limit of an invocation is 6 MB.
const LARGEST_BATCH: usize = 6_000_000;

/// SQS's own limit of a message is 1 MiB, attributes included.
const LARGEST_MESSAGE: usize = 1024 * 1024 - 4096;

/// The project's settings, by the number in the line `settings`.
const SETTINGS: [&str; 4] = [
    r#"{"max_age_days": 0}"#,
    r#"{"max_age_days": 0, "refunds": "negative_revenue", "personal_data": "keep"}"#,
    r#"{"max_age_days": 0, "drop_properties": ["*.x", "hostile.*.*.data", "metadata.*"]}"#,
    r#"{"max_age_days": 0, "user_id_paths": ["hostile.x", "metadata.x", "customer"], "preferred_currency": {"code": "USD", "rates": {"EUR": "1.08"}}}"#,
];

const FOLLOWING: &str =
    r#"{"max_age_days": 0, "references": "follow", "user_id_paths": ["customer.metadata.user_id"]}"#;

/// The maximum of the webhook and of redelivery so far, for the output.
static MOST: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

fuzz_target!(|input: &[u8]| {
    let Ok(input) = str::from_utf8(input) else { return };
    let settings = input.lines().find_map(|line| line.strip_prefix("settings ")?.parse().ok()).unwrap_or(0);
    let settings = SETTINGS[usize::min(settings, SETTINGS.len() - 1)];
    let is_batch = input.lines().any(|line| line == "queue");
    let mut shape = Shape::read(input);
    if is_batch {
        shape.size = shape.size.min(LARGEST_MESSAGE);
    }
    let sample = sample(&shape.event_type);
    let [half, whole] = [2, 1].map(|part| {
        let body = shape.body(sample, part);
        assert!(body.len() <= LARGEST_BODY, "{}", body.len());
        let start = Instant::now();
        let counted = if is_batch { redeliver(&body) } else { deliver(body.into(), settings) };
        (counted, start.elapsed())
    });

    let (counted, time) = whole;
    let peak = counted.bytes_max + counted.count_max * ALLOCATION;
    let limit = if is_batch { MEMORY_OF_REDELIVERY } else { MEMORY };
    let most = MOST[usize::from(is_batch)].fetch_max(peak, Ordering::Relaxed);
    if peak > most + most / 100 {
        eprintln!("bounds: {peak} bytes, limit {limit}, for {input:?}");
    }
    assert!(peak < limit, "{peak} bytes: {counted:?}");
    // A constant part is not compared.
    let (of_half, time_of_half) = half;
    assert!(counted.bytes_total < of_half.bytes_total * 3 + 16_000_000, "{of_half:?} {counted:?}");
    assert!(counted.count_total < of_half.count_total * 3 + 100_000, "{of_half:?} {counted:?}");
    // The machine may be busy.
    assert!(time < time_of_half * 4 + Duration::from_secs(3), "{time_of_half:?} {time:?}");
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut rng = Rng::with_seed(seed.into());
    let mutated = mutate(&String::from_utf8_lossy(&data[..size]), &mut rng);
    let length = mutated.len().min(max_size);
    data[..length].copy_from_slice(&mutated.as_bytes()[..length]);
    length
});

fn sample(event_type: &str) -> &'static str {
    match event_type {
        "invoice.paid" => include_str!("../../events/stripe/invoice.paid.json"),
        "payment_intent.succeeded" => include_str!("../../events/stripe/payment_intent.succeeded.json"),
        "charge.refunded" => include_str!("../../events/stripe/charge.refunded.json"),
        _ => include_str!("../../events/stripe/charge.succeeded.json"),
    }
}

fn deliver(body: Bytes, settings: &str) -> AllocationInfo {
    let stage = stage(&format!(":parameter settings={settings}\n"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let signature = sign(&SigningSecret::new(SECRET.into(), None), now, &body);
    let headers = HeaderMap::from_iter([(
        HeaderName::from_static("stripe-signature"),
        HeaderValue::from_str(&signature).expect("a signature"),
    )]);
    let webhook = stage.webhook(false, false);
    measure(|| {
        let request = Request {
            method: &Method::POST,
            path: "/stripe/demo",
            headers: &headers,
            body,
            request_id: None,
            function: None,
            time_left: None,
        };
        let answer = stage.block_on(webhook.handle(request));
        assert!([200, 400, 413].contains(&answer.status().as_u16()), "{answer:?}");
    })
}

/// A batch of as many messages with this body as fit.
fn redeliver(body: &str) -> AllocationInfo {
    let stage = stage(&format!(
        ":parameter settings={FOLLOWING}\n:parameter stripe-api-key=rk_live_of_the_fuzzer\n:parameter stripe-test-api-key=rk_test_of_the_fuzzer\n:stripe hangs\n"
    ));
    let record = |number: usize| {
        json!({
            "messageId": number.to_string(),
            "body": body,
            "messageAttributes": {"project": {"stringValue": "demo", "dataType": "String"}},
        })
        .to_string()
    };
    let count = (LARGEST_BATCH / (record(0).len() + 10)).clamp(1, 500);
    let records: Vec<_> = (0..count).map(record).collect();
    let payload = format!("{{\"Records\":[{}]}}", records.join(","));
    let redelivery = stage.redelivery();
    measure(|| {
        let batch: Batch = serde_json::from_str(&payload).expect("a batch");
        let invocation = Invocation { request_id: None, function: None, time_left: None };
        stage.block_on(redelivery.handle(batch, invocation));
    })
}

/// A stage whose Amplitude does not check its requests, which would need memory as well.
fn stage(directives: &str) -> Stage {
    let stage = Stage::new();
    stage.direct(&Message::read(format!("{directives}:amplitude unseen\n").as_bytes()));
    stage
}
