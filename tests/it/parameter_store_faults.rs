//! Parameter Store fails.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::parameter_store::Fault;
use crate::harness::{SHOP, Stage, eventually, stripe};

/// Each fault with its code, a distinctive part of its reason, and the number of calls it costs.
const FAULTS: [(Fault, &str, &str, usize); 5] = [
    (Fault::Throttled, "parameter_store_throttled", "ThrottlingException", 6),
    (Fault::Denied, "parameter_store_denied", "ssm:GetParametersByPath", 1),
    (Fault::Undecryptable, "parameter_store_unavailable", "the KMS key is disabled", 1),
    (Fault::Hang, "parameter_store_unavailable", "timed out", 2),
    (Fault::Down, "parameter_store_unavailable", "no connection", 3),
];

#[tokio::test]
async fn throttled_call_is_retried_within_the_delivery() {
    let stage = Stage::start().await;
    stage.store.fail_next(Fault::Throttled, 5);
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    assert_eq!(stage.store.calls(), 6);
}

#[tokio::test]
async fn broken_connection_is_retried_within_the_delivery() {
    let stage = Stage::start().await;
    stage.store.fail_next(Fault::Down, 1);
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    assert_eq!(stage.store.calls(), 2);
}

#[tokio::test]
async fn delivery_without_old_values_fails_until_the_fault_ends() {
    let stage = Stage::start().await;
    for (fault, code, named, calls) in FAULTS {
        let before = stage.store.calls();
        stage.store.fail(fault);
        let start = Instant::now();
        let answer = stage.deliver(&stripe::new_event("charge.succeeded")).await;
        answer.expect_code(503, "failed", code);
        answer.expect_reason_contains(named);
        assert!(!answer.body.to_string().contains("arn:"), "AWS's own message is not passed on: {}", answer.body);
        // The limit is 1.5 s; the rest allows for a busy machine.
        assert!(start.elapsed() < Duration::from_millis(3500), "{fault:?}: {:?}", start.elapsed());
        assert_eq!(stage.store.calls() - before, calls, "{fault:?}");
        let line: Value = serde_json::from_str(&stage.function.line_with(named).await).unwrap();
        let logged = (&line["outcome"], &line["code"], &line["reason"]);
        assert_eq!(logged, (&json!("failed"), &json!(code), &answer.body["reason"]), "the request's log line has it");
        assert_eq!(stage.function.output().matches(named).count(), 1, "and no other line has it");
    }
    assert!(!stage.function.output().contains("arn:"));
    stage.store.recover();
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    assert_eq!(stage.amplitude.events().len(), 1);
}

/// The code must not change to that of the rate limit, although the back-off reduces the calls.
#[tokio::test]
async fn repeated_failures_keep_the_code() {
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
async fn old_values_survive_throttling() {
    old_values_survive(Fault::Throttled).await;
}

#[tokio::test]
async fn old_values_survive_denied_access() {
    old_values_survive(Fault::Denied).await;
}

#[tokio::test]
async fn old_values_survive_a_disabled_kms_key() {
    old_values_survive(Fault::Undecryptable).await;
}

#[tokio::test]
async fn old_values_survive_a_hang() {
    old_values_survive(Fault::Hang).await;
}

#[tokio::test]
async fn old_values_survive_an_outage() {
    old_values_survive(Fault::Down).await;
}

async fn old_values_survive(fault: Fault) {
    let stage = Stage::with_variables(&[("PARAMETER_TTL_SECONDS", "1")]).await;
    let deliver = async || {
        let start = Instant::now();
        let event = stripe::new_event("charge.succeeded");
        stage.deliver(&event).await.expect_forwarded();
        // Half a second for Parameter Store; the rest allows for a busy machine.
        assert!(start.elapsed() < Duration::from_millis(2500), "{:?}", start.elapsed());
        stage.amplitude.accepted(&event).api_key
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
    // During the pause, the function does not call.
    let calls = stage.store.calls();
    deliver().await;
    assert_eq!(stage.store.calls(), calls);
    stage.store.recover();
    eventually("a refresh that succeeds", async || (deliver().await == "the-new-key").then_some(())).await;
}

/// An early refresh must neither turn an unauthenticated request into an outage nor drop the cached project.
#[tokio::test]
async fn wrong_signature_in_an_outage_is_refused_in_time() {
    let stage = Stage::start().await;
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    stage.store.fail(Fault::Hang);
    let start = Instant::now();
    let answer = stage.deliver_to(SHOP, "whsec_wrong", &stripe::new_event("charge.succeeded")).await;
    answer.expect_code(400, "refused", "signature_mismatch");
    assert!(start.elapsed() < Duration::from_millis(2500), "{:?}", start.elapsed());
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
}
