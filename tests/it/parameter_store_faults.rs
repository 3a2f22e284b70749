//! What happens when Parameter Store does not do its work.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::parameter_store::Fault;
use crate::harness::{SHOP, Stage, eventually, stripe};

/// Each fault, its code, what tells it from others of this code, and how many calls it costs.
const FAULTS: [(Fault, &str, &str, usize); 5] = [
    (Fault::Throttled, "parameter_store_throttled", "ThrottlingException", 6),
    (Fault::Denied, "parameter_store_denied", "ssm:GetParametersByPath", 1),
    (Fault::Undecryptable, "parameter_store_unavailable", "the KMS key is disabled", 1),
    (Fault::Hang, "parameter_store_unavailable", "timed out", 2),
    (Fault::Down, "parameter_store_unavailable", "no connection", 3),
];

#[tokio::test]
async fn a_throttled_call_is_made_again_within_the_delivery() {
    let stage = Stage::start().await;
    stage.store.fail_next(Fault::Throttled, 5);
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    assert_eq!(stage.store.calls(), 6);
}

#[tokio::test]
async fn a_broken_connection_is_made_again_within_the_delivery() {
    let stage = Stage::start().await;
    stage.store.fail_next(Fault::Down, 1);
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    assert_eq!(stage.store.calls(), 2);
}

#[tokio::test]
async fn without_an_old_value_the_delivery_fails_with_the_reason_and_works_when_the_fault_is_over() {
    let stage = Stage::start().await;
    for (fault, code, named, calls) in FAULTS {
        let before = stage.store.calls();
        stage.store.fail(fault);
        let start = Instant::now();
        let answer = stage.deliver(&stripe::new_event("charge.succeeded")).await;
        answer.expect_code(503, "failed", code);
        answer.expect_named(named);
        assert!(!answer.body.to_string().contains("arn:"), "AWS's own text is not passed on: {}", answer.body);
        // The limit is 1.5 s; the rest is for a busy machine.
        assert!(start.elapsed() < Duration::from_millis(3500), "{fault:?}: {:?}", start.elapsed());
        assert_eq!(stage.store.calls() - before, calls, "{fault:?}");
        let line: Value = serde_json::from_str(&stage.function.line_with(named).await).unwrap();
        let told = (&line["outcome"], &line["code"], &line["reason"]);
        assert_eq!(told, (&json!("failed"), &json!(code), &answer.body["reason"]), "the line of the request says it");
        assert_eq!(stage.function.output().matches(named).count(), 1, "and no other line does");
    }
    assert!(!stage.function.output().contains("arn:"));
    stage.store.recover();
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    assert_eq!(stage.amplitude.events().len(), 1);
}

/// Not that too many projects were asked for, though they are not looked for as often any longer.
#[tokio::test]
async fn the_code_stays_the_same_however_often_it_fails() {
    let stage = Stage::start().await;
    stage.store.fail(Fault::Denied);
    for _ in 0..40 {
        let answer = stage.deliver(&stripe::new_event("charge.succeeded")).await;
        answer.expect_code(503, "failed", "parameter_store_denied");
    }
    assert!(stage.store.calls() < 40, "{}", stage.store.calls());
    stage.store.recover();
    eventually("a delivery", async || {
        (stage.deliver(&stripe::new_event("charge.succeeded")).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_old_value_outlives_throttling() {
    an_old_value_outlives(Fault::Throttled).await;
}

#[tokio::test]
async fn an_old_value_outlives_denied_access() {
    an_old_value_outlives(Fault::Denied).await;
}

#[tokio::test]
async fn an_old_value_outlives_a_key_that_cannot_decrypt() {
    an_old_value_outlives(Fault::Undecryptable).await;
}

#[tokio::test]
async fn an_old_value_outlives_silence() {
    an_old_value_outlives(Fault::Hang).await;
}

#[tokio::test]
async fn an_old_value_outlives_an_outage() {
    an_old_value_outlives(Fault::Down).await;
}

async fn an_old_value_outlives(fault: Fault) {
    let stage = Stage::with(&[("PARAMETER_TTL_SECONDS", "1")]).await;
    let deliver = async || {
        let start = Instant::now();
        let event = stripe::new_event("charge.succeeded");
        stage.deliver(&event).await.expect_forwarded();
        // Half a second for Parameter Store; the rest is for a busy machine.
        assert!(start.elapsed() < Duration::from_millis(2500), "{:?}", start.elapsed());
        stage.amplitude.the(&event).api_key
    };
    deliver().await;
    stage.store.fail(fault);
    stage.store.put(&format!("{SHOP}/amplitude-api-key"), "the-new-key").await;
    let before = stage.store.calls();
    eventually("a refresh that fails", async || {
        assert_ne!(deliver().await, "the-new-key");
        (stage.store.calls() > before).then_some(())
    })
    .await;
    let named = FAULTS.iter().find(|(listed, ..)| *listed == fault).unwrap().2;
    let line = stage.function.line_with(named).await;
    assert!(line.contains("\"WARN\"") && line.contains("using the old parameters"), "{line}");
    // For a pause nothing is asked for.
    let calls = stage.store.calls();
    deliver().await;
    assert_eq!(stage.store.calls(), calls);
    stage.store.recover();
    eventually("a refresh that succeeds", async || (deliver().await == "the-new-key").then_some(())).await;
}

/// An early refresh must not turn a stranger's request into an outage, nor take the cached project away.
#[tokio::test]
async fn a_wrong_signature_during_an_outage_is_refused_in_time() {
    let stage = Stage::start().await;
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    stage.store.fail(Fault::Hang);
    let start = Instant::now();
    let answer = stage.deliver_to(SHOP, "whsec_wrong", &stripe::new_event("charge.succeeded")).await;
    answer.expect_code(400, "refused", "signature_mismatch");
    assert!(start.elapsed() < Duration::from_millis(2500), "{:?}", start.elapsed());
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
}
