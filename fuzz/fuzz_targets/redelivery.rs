//! Any JSON as a batch of the redelivery queue, to its whole handler with a Parameter Store, an Amplitude and queues in
//! memory: nothing panics, everything sent is an event (`src/event.rs`), and a message that is neither sent, nor
//! deliberately ignored, nor a dead letter has failed, so that it is not deleted.
//!
//! The input is directives (`direct` in `src/stage.rs`), one per line, an empty line, and the batch as Lambda passes
//! it.

#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use serde::Deserialize;
use serde_json::Value;
use stripe_amplitude::redelivery::{Batch, Invocation};
use stripe_amplitude_fuzz::abbreviation::expand;
use stripe_amplitude_fuzz::message::Message;
use stripe_amplitude_fuzz::mutation;
use stripe_amplitude_fuzz::stage::Stage;

/// Lambda's own limit of an invocation is 6 MB.
const LARGEST: usize = 6_000_000;

/// The response of the handler.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    batch_item_failures: Vec<Failed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failed {
    item_identifier: String,
}

fuzz_target!(|input: &[u8]| {
    let input = expand(input, LARGEST);
    let message = Message::read(&input);
    // An invalid batch is an error of the invocation: all of its messages have failed.
    let Ok(batch) = serde_json::from_slice::<Batch>(message.body) else { return };
    let stage = Stage::new();
    stage.direct(&message);
    let invocation = Invocation { request_id: None, function: message.directive("function"), time_left: None };
    let answer = stage.block_on(stage.redelivery().handle(batch, invocation));

    let answer: Answer = serde_json::from_value(serde_json::to_value(answer).expect("JSON")).expect("Lambda's form");
    let failed: HashSet<_> = answer.batch_item_failures.into_iter().map(|failed| failed.item_identifier).collect();
    // A second reading, of batches in which every message is an object with a unique ID. It is strict about what the
    // first ignores.
    let Ok(batch) = serde_json::from_slice::<Value>(message.body) else { return };
    let Some(records) = batch["Records"].as_array() else { return };
    let ids: HashSet<_> = records.iter().filter_map(|record| record["messageId"].as_str()).collect();
    if ids.len() < records.len() {
        return;
    }
    assert!(failed.iter().all(|id| ids.contains(id.as_str())), "only messages of the batch can fail");
    if message.directive("amplitude") == Some("throttled") {
        assert!(failed.len() >= stage.sent(), "an event that Amplitude did not accept is deleted");
    }
    for record in records {
        let names_a_project = !record["messageAttributes"]["project"].is_null();
        let has_failed = failed.contains(record["messageId"].as_str().unwrap_or_default());
        assert!(names_a_project || has_failed, "a foreign message is deleted");
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutation::json(data, size, max_size, seed, "\n\n")
});
