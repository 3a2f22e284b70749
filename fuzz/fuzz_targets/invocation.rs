//! Any JSON as an invocation by an HTTP API, a REST API or a Function URL: lambda_http makes a request of it without a
//! panic, the whole handler answers it, and the gateway accepts the response.
//!
//! The input is the invocation's JSON. `{a}` in the header `Stripe-Signature` is the signature of the body, whole or
//! damaged, and `{now}` the time (`fill_in` in `src/reference.rs`).

#![no_main]

use std::convert::Infallible;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use lambda_http::{Request, TransformResponse};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use serde_json::Value;
use serde_json::value::RawValue;
use stripe_amplitude::lambda::gateway::{Payload, webhook_request};
use stripe_amplitude::stripe::signature::HEADER;
use stripe_amplitude_fuzz::abbreviation::expand;
use stripe_amplitude_fuzz::mutation;
use stripe_amplitude_fuzz::reference::fill_in;
use stripe_amplitude_fuzz::stage::{Stage, check};

/// Lambda's own limit of an invocation is 6 MB.
const LARGEST: usize = 6_000_000;

fuzz_target!(|input: &[u8]| {
    let input = expand(input, LARGEST);
    // Lambda only passes JSON.
    let Ok(json) = serde_json::from_slice::<&RawValue>(&input) else { return };
    let Payload(request) = serde_json::from_str(json.get()).expect("any JSON deserializes");
    // A payload that is not from a gateway is answered without the handler.
    let Some(request) = request else { return };
    let origin = request.request_origin();
    let (mut parts, body) = Request::from(request).into_parts();

    let stage = Stage::new();
    let (secrets, now) = (stage.secrets(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
    let signatures = parts.headers.iter_mut().filter(|(name, _)| *name == HEADER);
    for (_, value) in signatures {
        if let Ok(signed) = HeaderValue::from_bytes(&fill_in(value.as_bytes(), &body, &secrets, now)) {
            *value = signed;
        }
    }
    let answer = stage.block_on(stage.webhook(false, false).handle(webhook_request(&parts, body)));
    check(&answer, &input);

    let (status, body) = (answer.status().as_u16(), answer.body().clone());
    let response = TransformResponse::Request(origin, Box::pin(async { Ok::<_, Infallible>(answer) }));
    let Ok(response) = stage.block_on(response);
    let response = serde_json::to_value(response).expect("an answer is JSON");
    assert_eq!(response["statusCode"], status);
    assert_eq!(response["body"], body);
    assert_eq!(response["isBase64Encoded"], Value::Bool(false));
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutation::json(data, size, max_size, seed, "")
});
