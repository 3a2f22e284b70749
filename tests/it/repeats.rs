//! Repeated events, and objects that name no user.

use serde_json::{Value, json};

use crate::harness::{API_KEY, SECRET, SHOP, Stage, stripe};

#[tokio::test]
async fn repeat_counts_once_with_200_and_a_warning() {
    let stage = Stage::start().await;
    let event = stripe::new_event("payment_intent.succeeded");
    for (delivery, ingested, level) in [(1, 1, "INFO"), (2, 0, "WARN"), (3, 0, "WARN")] {
        stage.deliver(&event).await.expect_forwarded();
        let line = stage.function.line_of(&event, delivery).await;
        assert_eq!((&line["events_ingested"], &line["level"]), (&json!(ingested), &json!(level)), "{line}");
        assert_eq!(line.get("not_ingested"), (ingested == 0).then_some(&json!(1)), "{line}");
    }
    stage.amplitude.accepted(&event);
}

#[tokio::test]
async fn repeat_with_another_user_counts_once() {
    let stage = Stage::start().await;
    for event_type in stripe_amplitude::stripe::event_types::TYPES {
        let first = stripe::sample(event_type);
        let mut later = first.clone();
        later["pending_webhooks"] = 0.into();
        later["data"]["object"]["metadata"] = json!({"amplitude_id": "another-user"});
        later["data"]["object"]["receipt_email"] = json!("another@example.com");
        stage.deliver(&first).await.expect_forwarded();
        stage.deliver(&later).await.expect_forwarded();
        let kept = stage.amplitude.accepted(&first);
        assert_ne!(kept.event.get("user_id"), Some(&json!("another-user")), "{event_type}");
    }
}

/// Stripe's clock counts seconds. Two events in the same second on the same device must not be mistaken for each other.
#[tokio::test]
async fn events_of_the_same_second_and_device_are_all_kept() {
    let stage = Stage::start().await;
    let events: Vec<Value> = (0..10).map(|_| stripe::new_event("charge.updated")).collect();
    for event in &events {
        stage.deliver(event).await.expect_forwarded();
    }
    assert_eq!(stage.amplitude.events().len(), events.len());
}

#[tokio::test]
async fn refund_without_user_is_attributed_to_the_payer() {
    let stage = Stage::start().await;
    let payment = stripe::new_event("payment_intent.succeeded");
    stage.deliver(&payment).await.expect_forwarded();

    let mut refund = stripe::new_event("charge.refunded");
    let charge = &mut refund["data"]["object"];
    assert_eq!(charge["payment_intent"], payment["data"]["object"]["id"]);
    charge["metadata"] = json!({});
    charge["customer"] = Value::Null;
    charge["receipt_email"] = Value::Null;
    let answer = stage.deliver(&refund).await;
    answer.expect_forwarded();
    assert_eq!(answer.body["user_id_from"], Value::Null);
    let kept = stage.amplitude.accepted(&refund);
    assert_eq!(kept.event.get("user_id"), None);
    assert_eq!(kept.attributed_user_id.as_deref(), Some("user_42"));
}

/// Projects that share a key share Amplitude's deduplication, so a balance, which has no ID, is identified by the
/// project.
#[tokio::test]
async fn balances_of_two_projects_are_two_devices() {
    let stage = Stage::start().await;
    stage.store.put_project("other", "whsec_other", API_KEY).await;
    let (one, other) = (stripe::new_event("balance.available"), stripe::new_event("balance.available"));
    stage.deliver_to(SHOP, SECRET, &one).await.expect_forwarded();
    stage.deliver_to("other", "whsec_other", &other).await.expect_forwarded();
    assert_eq!(stage.amplitude.accepted(&one).event["device_id"], "stripe-shop");
    assert_eq!(stage.amplitude.accepted(&other).event["device_id"], "stripe-other");
}
