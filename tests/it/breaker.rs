//! An outage of Amplitude with a queue: after one failed delivery, the next ones do not wait for Amplitude.

use std::net::Ipv4Addr;
use std::time::Duration;

use amplitude_emulator::Fault;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::harness::queue::QueueStage;
use crate::harness::{SHOP, eventually, stripe};

/// The maximum of the first pause.
const PAUSE: Duration = Duration::from_secs(5);

/// The time limit for a delivery that does not wait for Amplitude, on a busy machine.
const SHORT: Duration = Duration::from_millis(1500);

const SILENCE: Fault = Fault::Hang { milliseconds: 60_000, ingest: false };

#[tokio::test]
async fn outage_delays_one_delivery_until_a_probe_succeeds() {
    let setup = QueueStage::start().await;
    let QueueStage { stage, queue, .. } = &setup;
    let first = stripe::new_event("payment_intent.succeeded");
    stage.amplitude.fail(SILENCE);
    stage.deliver(&first).await.expect_code(202, "deferred", "amplitude_timeout");
    let requests = stage.amplitude.requests();
    let mut events = vec![first];
    for _ in 0..3 {
        let event = stripe::new_event("payment_intent.succeeded");
        let start = Instant::now();
        let answer = stage.deliver(&event).await;
        answer.expect_code(202, "deferred", "breaker_open");
        assert!(start.elapsed() < SHORT, "{:?}", start.elapsed());
        let line = stage.function.line_of(&event, 1).await;
        assert_eq!((&line["deferred"], &line["code"], line.get("attempts")), (&json!(1), &json!("breaker_open"), None));
        events.push(event);
    }
    // Ignored events are still ignored and do not enter the queue.
    let mut unsupported = stripe::new_event("charge.succeeded");
    unsupported["type"] = "customer.created".into();
    stage.deliver(&unsupported).await.expect_code(200, "ignored", "type_not_selected");
    assert_eq!((stage.amplitude.requests(), queue.len().await), (requests, 4));

    stage.amplitude.recover();
    eventually("a probe", async || {
        let event = stripe::new_event("payment_intent.succeeded");
        let status = stage.deliver(&event).await.status;
        events.push(event);
        (status == 200).then_some(())
    })
    .await;
    let event = stripe::new_event("payment_intent.succeeded");
    stage.deliver(&event).await.expect_forwarded();
    events.push(event);

    let messages = queue.receive().await;
    let codes: Vec<_> = messages.iter().map(|message| &message["MessageAttributes"]["code"]["StringValue"]).collect();
    assert!(codes.iter().all(|code| *code == "breaker_open" || *code == "amplitude_timeout"), "{codes:?}");
    queue.make_visible(&messages).await;
    while !setup.poll().await.is_empty() {}
    for event in &events {
        stage.amplitude.accepted(event);
    }
}

#[tokio::test]
async fn only_one_concurrent_delivery_probes() {
    const AT_ONCE: usize = 8;
    let setup = QueueStage::with_variables(100, &[("AWS_LAMBDA_MAX_CONCURRENCY", &AT_ONCE.to_string())], &[]).await;
    let stage = &setup.stage;
    let deliver = async || {
        let events: Vec<Value> = (0..AT_ONCE).map(|_| stripe::new_event("charge.succeeded")).collect();
        let before = stage.amplitude.requests();
        let answers = join_all(events.iter().map(|event| stage.deliver(event))).await;
        let with = |code: &str| answers.iter().filter(|answer| answer.body["code"] == code).count();
        (with("amplitude_unavailable"), with("breaker_open"), stage.amplitude.requests() - before)
    };
    stage.amplitude.fail(Fault::answer(503));
    let (failed, straight, _) = deliver().await;
    assert!(failed >= 1 && failed + straight == AT_ONCE, "{failed} {straight}");
    assert_eq!(deliver().await, (0, AT_ONCE, 0));
    sleep(PAUSE).await;
    assert_eq!(deliver().await, (1, AT_ONCE - 1, 3), "one event, with the retries of a fast failure");
    assert_eq!(deliver().await, (0, AT_ONCE, 0));
}

#[tokio::test]
async fn first_delivery_of_a_process_is_fast_in_an_outage() {
    // Connections are accepted but never answered.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/2/httpapi", silent.local_addr().unwrap());
    let setup = QueueStage::with_variables(100, &[("WARM_PROJECTS", SHOP), ("AMPLITUDE_URL", &url)], &[]).await;
    setup.stage.function.line_with("warm-up of the connection to Amplitude took too long").await;
    let start = Instant::now();
    let answer = setup.stage.deliver(&stripe::new_event("charge.succeeded")).await;
    answer.expect_code(202, "deferred", "breaker_open");
    assert!(start.elapsed() < SHORT, "{:?}", start.elapsed());
}
