//! Concurrent deliveries in one process, as on Lambda's Managed Instances.

use std::time::Duration;

use amplitude_emulator::Fault;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::Instant;

use crate::harness::gateway::{Gateway, Request};
use crate::harness::parameter_store::Fault as StoreFault;
use crate::harness::{SECRET, SHOP, Stage, stripe};

const AT_ONCE: usize = 8;

#[tokio::test]
async fn concurrent_deliveries_share_one_load() {
    let stage = Stage::with_variables(&[("AWS_LAMBDA_MAX_CONCURRENCY", &AT_ONCE.to_string())]).await;
    let delay = Duration::from_secs(1);
    let milliseconds = u64::try_from(delay.as_millis()).unwrap();
    stage.amplitude.inject(Fault::Delay { milliseconds }, u32::try_from(AT_ONCE).unwrap());
    let events: Vec<Value> = (0..AT_ONCE).map(|_| stripe::new_event("charge.succeeded")).collect();
    let start = Instant::now();
    let answers = join_all(events.iter().map(|event| stage.deliver(event))).await;
    let elapsed = start.elapsed();
    for answer in answers {
        answer.expect_forwarded();
    }
    assert_eq!(stage.store.calls(), 1);
    for event in &events {
        stage.amplitude.accepted(event);
    }
    // One after the other, they would take 8 s.
    assert!((delay..delay * 4).contains(&elapsed), "{elapsed:?}");
}

#[tokio::test]
async fn failed_load_is_shared() {
    let stage = Stage::with_variables(&[("AWS_LAMBDA_MAX_CONCURRENCY", &AT_ONCE.to_string())]).await;
    stage.store.fail(StoreFault::Hang);
    let start = Instant::now();
    let events: Vec<Value> = (0..AT_ONCE).map(|_| stripe::new_event("charge.succeeded")).collect();
    for answer in join_all(events.iter().map(|event| stage.deliver(event))).await {
        answer.expect(503, "failed");
    }
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert!(stage.store.calls() < AT_ONCE, "{}", stage.store.calls());
    stage.store.recover();
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
}

/// The first wrong signature triggers the refresh; the others wait for it rather than be refused with the old secret.
#[tokio::test]
async fn new_secret_works_for_concurrent_deliveries() {
    let stage = Stage::with_variables(&[("AWS_LAMBDA_MAX_CONCURRENCY", &AT_ONCE.to_string())]).await;
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    stage.store.put(&format!("{SHOP}/stripe-signing-secret"), "whsec_new").await;
    let requests: Vec<Request> = (0..AT_ONCE)
        .map(|_| Request::signed(SHOP, "whsec_new", stripe::new_event("charge.succeeded").to_string()))
        .collect();
    for answer in join_all(requests.iter().map(|request| stage.send(request))).await {
        answer.expect_forwarded();
    }
    assert_eq!(stage.store.calls(), 2);
}

#[tokio::test]
async fn concurrent_wrong_signatures_do_no_harm() {
    let stage = Stage::with_variables(&[("AWS_LAMBDA_MAX_CONCURRENCY", &AT_ONCE.to_string())]).await;
    let requests: Vec<(Request, bool)> = (0..4 * AT_ONCE)
        .map(|number| {
            let right = number % 2 == 0;
            let secret = if right { SECRET } else { "whsec_wrong" };
            (Request::signed(SHOP, secret, stripe::new_event("charge.succeeded").to_string()), right)
        })
        .collect();
    let sent = requests.iter().enumerate().map(|(number, (request, _))| {
        let gateway = Gateway::ALL[number % Gateway::ALL.len()];
        stage.function.send(gateway, request)
    });
    for (answer, (_, right)) in join_all(sent).await.iter().zip(&requests) {
        assert_eq!(answer.status, if *right { 200 } else { 400 }, "{}", answer.body);
    }
    assert!(stage.store.calls() <= 2, "{}", stage.store.calls());
}
