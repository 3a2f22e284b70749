//! Any JSON as an invocation by an HTTP API, a REST API or a Function URL: what is taken for one becomes a request without a
//! panic, the whole handler answers it, and the answer is one that the gateway takes.
//!
//! The input is the invocation's JSON. `{a}` in the header `Stripe-Signature` is the signature of the body, whole or
//! damaged, and `{now}` the time (`fill_in` in `src/reference.rs`).

#![no_main]

use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use serde_json::Value;
use stripe_amplitude::gateway::{Answer, Invocation};
use stripe_amplitude::stripe::signature::HEADER;
use stripe_amplitude::webhook::Request;
use stripe_amplitude_fuzz::abbreviation::expand;
use stripe_amplitude_fuzz::mutation;
use stripe_amplitude_fuzz::reference::fill_in;
use stripe_amplitude_fuzz::stage::{Stage, check};

/// Lambda's own limit of an invocation is 6 MB.
const LARGEST: usize = 6_000_000;

fuzz_target!(|input: &[u8]| {
    let input = expand(input, LARGEST);
    // What is none is an error of the invocation, which Lambda's runtime interface reports.
    let Ok(mut invocation) = Invocation::read(&input) else { return };
    let stage = Stage::new();
    let (secrets, now) = (stage.secrets(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
    let signatures = invocation.headers.iter_mut().filter(|(name, _)| *name == HEADER);
    for (_, value) in signatures {
        if let Ok(signed) = HeaderValue::from_bytes(&fill_in(value.as_bytes(), &invocation.body, &secrets, now)) {
            *value = signed;
        }
    }
    let answer = stage.block_on(stage.webhook(false, false).handle(Request {
        method: &invocation.method,
        path: &invocation.path,
        headers: &invocation.headers,
        body: invocation.body.clone(),
        request_id: None,
        function: None,
        time_left: None,
    }));
    check(&answer, &input);

    let (status, body) = (answer.status().as_u16(), answer.body().clone());
    let answer = Answer { version: invocation.version, response: answer };
    let response = serde_json::to_value(answer).expect("an answer is JSON");
    assert_eq!(response["statusCode"], status);
    assert_eq!(response["body"], body);
    assert_eq!(response["isBase64Encoded"], Value::Bool(false));
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutation::json(data, size, max_size, seed, "")
});
