//! Inputs that once caused a bug, in `tests/data/cases`, each with the expected result.

use serde_json::{Value, json};
use stripe_emulator::{Emulator, Permission};

use crate::harness::amplitude::Amplitude;
use crate::harness::parameter_store::ParameterStore;
use crate::harness::{SHOP, Stage, stripe};

/// A file of a case.
fn read(case: &str, file: &str) -> Value {
    let path = format!("{}/tests/data/cases/{case}/{file}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))).unwrap()
}

/// An event of a case, created now.
fn event(case: &str, file: &str) -> Value {
    let mut event = read(case, file);
    event["created"] = stripe::now().into();
    event
}

async fn stage(settings: &Value) -> Stage {
    let store = ParameterStore::start_with_shop().await;
    store.put(&format!("{SHOP}/settings"), &settings.to_string()).await;
    Stage::from_parts(store, Amplitude::start().await, &[]).await
}

async fn deliver_all(stage: &Stage, events: &[Value]) {
    for event in events {
        stage.deliver(event).await.expect_forwarded();
    }
}

/// The total revenue, in hundredths.
fn revenue(stage: &Stage) -> i64 {
    let of = |event: &serde_json::Map<String, Value>| event.get("revenue")?.as_f64();
    stage.amplitude.events().iter().filter_map(|kept| of(&kept.event)).map(|sum| (sum * 100.0).round() as i64).sum()
}

/// The payment that the refunds and disputes of the cases refer to.
fn payment() -> Value {
    event("dispute-partly-reinstated", "payment")
}

fn negative_revenue() -> Value {
    json!({"refunds": "negative_revenue"})
}

#[tokio::test]
async fn canceled_refund_is_added_back() {
    const CASE: &str = "refund-canceled";
    let stage = stage(&negative_revenue()).await;
    let events = [event(CASE, "charge.refunded"), event(CASE, "event"), event(CASE, "charge.refunded-again")];
    for (event, left) in [payment()].iter().chain(&events).zip([2500, 1500, 2500, 1000]) {
        stage.deliver(event).await.expect_forwarded();
        assert_eq!(revenue(&stage), left, "{}", event["id"]);
    }
}

#[tokio::test]
async fn failed_refund_is_added_back_once() {
    const CASE: &str = "refund-failed-two-versions";
    let files = ["event", "same-event-account-version", "refund.failed-account-version"];
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        let stage = stage(&negative_revenue()).await;
        deliver_all(&stage, &[payment(), event("refund-canceled", "charge.refunded")]).await;
        deliver_all(&stage, &order.map(|index| event(CASE, files[index]))).await;
        assert_eq!(revenue(&stage), 2500, "{order:?}");
        assert_eq!(stage.amplitude.accepted_with_insert_id("re_A1:reversed").event["revenue"], 10);
    }
}

#[tokio::test]
async fn partly_reinstated_dispute_adds_the_reinstated_amount() {
    const CASE: &str = "dispute-partly-reinstated";
    let stage = stage(&read(CASE, "settings")).await;
    let events = ["payment", "refund", "withdrawn", "event"].map(|file| event(CASE, file));
    for (event, left) in events.iter().zip([2500, 1500, -1000, 0]) {
        stage.deliver(event).await.expect_forwarded();
        assert_eq!(revenue(&stage), left, "{}", event["id"]);
    }
}

#[tokio::test]
async fn zero_amount_needs_no_rate() {
    const CASE: &str = "zero-without-rate";
    let stage = stage(&read(CASE, "settings")).await;
    let (invoice, payment) = (event(CASE, "event"), event(CASE, "pi-zero"));
    deliver_all(&stage, &[invoice.clone(), payment]).await;
    let properties = &stage.amplitude.accepted(&invoice).event["event_properties"];
    assert_eq!((&properties["normalized_total"], &properties["normalized_currency"]), (&json!(0), &json!("USD")));
    assert_eq!(properties["normalized_original_currency"], "GBP");
    let mut unpaid = invoice;
    unpaid["id"] = "evt_unpaid".into();
    unpaid["data"]["object"]["total"] = 1.into();
    let answer = stage.deliver(&unpaid).await;
    assert_eq!((answer.status, &answer.body["code"]), (500, &json!("missing_rate")));
}

#[tokio::test]
async fn metadata_keys_may_contain_dots() {
    const CASE: &str = "metadata-key-with-dot";
    let by_key = stage(&read(CASE, "settings")).await;
    let first = event(CASE, "event");
    let answer = by_key.deliver(&first).await;
    answer.expect_forwarded();
    assert_eq!(answer.body["user_id_from"], "metadata.user.id");
    let kept = by_key.amplitude.accepted(&first).event;
    assert_eq!(
        (&kept["user_id"], &kept["event_properties"]["stripe_user_id_from"]),
        (&json!("user_7"), &json!("metadata.user.id"))
    );

    let second = event(CASE, "drop-event");
    let both = read(CASE, "drop");
    for settings in [
        both.clone(),
        json!({"drop_properties": [both["drop_properties"][0]]}),
        json!({"drop_properties": [both["drop_properties"][1]]}),
    ] {
        let dropping = stage(&settings).await;
        dropping.deliver(&second).await.expect_forwarded();
        let metadata = &dropping.amplitude.accepted(&second).event["event_properties"]["metadata"];
        assert_eq!(metadata, &json!({"user_id": "user_7"}), "{settings}");
    }
    // A pattern that can match nothing is an error, because its author believes that something is removed.
    let answer =
        stage(&json!({"drop_properties": ["metadata.*", "data.object.metadata.*"]})).await.deliver(&second).await;
    assert_eq!((answer.status, &answer.body["code"]), (500, &json!("settings_invalid")));
    assert!(answer.body["reason"].as_str().unwrap().contains("`drop_properties[1]`"), "{}", answer.body);
}

#[tokio::test]
async fn customer_account_counts_as_customer() {
    const CASE: &str = "customer-account";
    let stage = Stage::start().await;
    for (file, device) in [("event", "stripe-pi_A1"), ("invoice", "stripe-acct_C1"), ("invoice2", "stripe-acct_C1")] {
        let event = event(CASE, file);
        stage.deliver(&event).await.expect_forwarded();
        let kept = stage.amplitude.accepted(&event).event;
        assert_eq!((&kept["user_id"], &kept["device_id"]), (&json!("acct_C1"), &json!(device)), "{file}");
        assert_eq!(kept["event_properties"]["stripe_user_id_from"], "customer");
    }
}

#[tokio::test]
async fn payment_without_an_amount_is_marked() {
    let stage = Stage::start().await;
    let mut event = stripe::new_event("payment_intent.succeeded");
    event["data"]["object"].as_object_mut().unwrap().remove("amount_received");
    stage.deliver(&event).await.expect_forwarded();
    let kept = stage.amplitude.accepted(&event).event;
    assert_eq!((kept.get("revenue"), &kept["event_properties"]["normalized_revenue_unknown"]), (None, &json!(true)));
    let line = stage.function.line_of(&event, 1).await;
    assert_eq!((&line["unknown_revenue"], &line["level"]), (&json!(1), &json!("WARN")));
}

#[tokio::test]
async fn test_event_of_a_connected_account_adds_no_revenue() {
    let stage = Stage::start().await;
    let mut event = stripe::new_event("payment_intent.succeeded");
    event["account"] = "acct_2".into();
    let answer = stage.deliver(&event).await;
    assert_eq!((answer.status, &answer.body["code"]), (200, &json!("connected_test_event")));
    event["livemode"] = true.into();
    stage.deliver(&event).await.expect_forwarded();
}

/// The four events of one subscriber, with the app's ID everywhere that the app can set it.
#[tokio::test]
async fn subscription_events_belong_to_one_user() {
    const CASE: &str = "subscription-payment";
    let stripe = Emulator::start().unwrap();
    let key = "rk_live_51OfTheSubscription";
    stripe.allow(key, &Permission::ALL);
    let metadata = json!({"user_id": "user_7"});
    let mut session = read(CASE, "checkout")["data"]["object"].clone();
    session["livemode"] = true.into();
    let mut objects = vec![session];
    objects.extend([
        json!({"id": "cus_A1", "object": "customer", "livemode": true, "metadata": metadata}),
        json!({"id": "sub_A1", "object": "subscription", "livemode": true, "customer": "cus_A1", "metadata": metadata}),
    ]);
    for file in ["event", "invoice.paid"] {
        let mut object = read(CASE, file)["data"]["object"].clone();
        object["livemode"] = true.into();
        objects.push(object);
    }
    for object in objects {
        stripe.put(object).unwrap();
    }
    for path in ["customer.metadata.user_id", "subscription.metadata.user_id", "checkout_session.client_reference_id"] {
        let settings = json!({"references": "follow", "user_id_paths": [path]});
        let store = ParameterStore::start_with_shop().await;
        store.put(&format!("{SHOP}/settings"), &settings.to_string()).await;
        store.put(&format!("{SHOP}/stripe-api-key"), key).await;
        let stage = Stage::from_parts(store, Amplitude::start().await, &[("STRIPE_API_URL", stripe.url())]).await;
        for file in ["event", "charge.succeeded", "checkout", "invoice.paid"] {
            let mut event = event(CASE, file);
            event["livemode"] = true.into();
            stage.deliver(&event).await.expect_forwarded();
            assert_eq!(stage.amplitude.accepted(&event).event["user_id"], "user_7", "{path} {file}");
        }
    }
}

#[tokio::test]
async fn omitted_invoice_lines_are_reported() {
    let stage = stage(&json!({})).await;
    let event = event("invoice-of-24-lines", "event");
    stage.deliver(&event).await.expect_forwarded();
    let properties = &stage.amplitude.accepted(&event).event["event_properties"];
    assert_eq!((&properties["products_incomplete"], &properties["product_ids"][9]), (&json!(true), &json!("prod_9")));
}

#[tokio::test]
async fn product_name_is_independent_of_proration_dates() {
    let stage = stage(&json!({})).await;
    let event = event("proration-lines", "event");
    stage.deliver(&event).await.expect_forwarded();
    let properties = &stage.amplitude.accepted(&event).event["event_properties"];
    assert_eq!(properties["product_names"], json!(["Basic", "Plus"]));
}
