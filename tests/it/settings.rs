//! The settings of a project, from Parameter Store to Amplitude: one test for each key.

use serde_json::{Value, json};

use crate::harness::amplitude::Amplitude;
use crate::harness::gateway::Request;
use crate::harness::parameter_store::ParameterStore;
use crate::harness::{API_KEY, SECRET, SHOP, Stage, parameters_expire, stripe};

impl Stage {
    /// Starts with the project [`SHOP`] and its settings.
    async fn with_settings(settings: Value) -> Self {
        let store = ParameterStore::start_with_shop().await;
        store.put(&format!("{SHOP}/settings"), &settings.to_string()).await;
        Self::from_parts(store, Amplitude::start().await, &[("PARAMETER_TTL_SECONDS", "1")]).await
    }

    /// A property of an event in Amplitude.
    fn property(&self, event: &Value, name: &str) -> Value {
        self.amplitude.accepted(event).event["event_properties"].get(name).cloned().unwrap_or_default()
    }

    /// A user's total revenue in a currency, in hundredths.
    fn revenue(&self, user: &str, currency: &str) -> i64 {
        let events = self.amplitude.events().into_iter().filter(|kept| {
            kept.attributed_user_id.as_deref() == Some(user)
                && kept.event.get("currency").is_some_and(|found| found == currency)
        });
        // Exact for small numbers with two decimals.
        events.map(|kept| (kept.event["revenue"].as_f64().unwrap() * 100.0).round() as i64).sum()
    }
}

/// A new event of any type about any object.
fn event_about(event_type: &str, object: Value, previous: Value) -> Value {
    let mut event = stripe::new_event("charge.refunded");
    event["type"] = event_type.into();
    event["data"] = json!({"object": object, "previous_attributes": previous});
    event
}

/// A new sample event of a type, with other fields in its object.
fn sample_with(event_type: &str, fields: Value) -> Value {
    let mut event = stripe::new_event(event_type);
    event["data"]["object"].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    event
}

#[tokio::test]
async fn user_id_paths_are_followed_and_reported() {
    let paths = [
        "customer_details.email",
        "client_reference_id",
        "billing_details.email",
        "subscription_details.metadata.user_id",
        "lines.data.0.price.product",
    ];
    let no_user = json!({"customer_details": null, "client_reference_id": null});
    for (event, first, path) in [
        (stripe::new_event("checkout.session.completed"), 0, Some(paths[0])),
        (sample_with("checkout.session.completed", json!({"customer_details": null})), 0, Some(paths[1])),
        (sample_with("checkout.session.completed", json!({"client_reference_id": 42})), 1, Some(paths[1])),
        (sample_with("charge.succeeded", json!({"customer": null, "metadata": {}})), 0, Some(paths[2])),
        (stripe::new_event("invoice.paid"), 0, Some(paths[3])),
        (stripe::new_event("invoice.paid"), 4, Some(paths[4])),
        (sample_with("checkout.session.completed", no_user), 0, None),
    ] {
        let stage = Stage::with_settings(json!({"user_id_paths": paths[first..]})).await;
        let answer = stage.deliver(&event).await;
        answer.expect_forwarded();
        assert_eq!(answer.body["user_id_from"], json!(path));
        let line = stage.function.line_of(&event, 1).await;
        assert_eq!(line.get("user_id_from").cloned().unwrap_or_default(), json!(path));
        assert_eq!(stage.amplitude.accepted(&event).event.contains_key("user_id"), path.is_some());
    }
}

#[tokio::test]
async fn types_are_added_and_removed() {
    let events = json!({
        "add": ["customer.subscription.*", "refund.created"],
        "remove": ["charge.updated", "customer.subscription.trial_will_end"],
    });
    let stage = Stage::with_settings(json!({ "events": events })).await;
    for (event_type, forwarded) in [
        ("customer.subscription.created", true),
        ("customer.subscription.pending_update_applied", true),
        ("customer.subscription.trial_will_end", false),
        ("refund.created", true),
        ("refund.updated", false),
        ("charge.updated", false),
        ("charge.succeeded", true),
    ] {
        let event = event_about(event_type, json!({"object": "thing", "id": "x_1", "customer": "cus_1"}), Value::Null);
        let answer = stage.deliver(&event).await;
        if forwarded {
            answer.expect_forwarded();
            assert_eq!(stage.amplitude.accepted(&event).event["event_type"], format!("[Stripe] {event_type}"));
        } else {
            answer.expect_code(200, "ignored", "type_not_selected");
        }
    }
}

#[tokio::test]
async fn invalid_settings_are_reported_by_key_without_the_value() {
    for (settings, named) in [
        (json!({"events": {"add": ["issusing_transaction.created"]}}), "issuing_transaction.created"),
        (json!({"events": {"add": ["Hidden"]}}), "`events.add[0]`"),
        (json!({"refunds": "hidden"}), "`refunds`"),
        (json!({"hidden_not": 1, "without_user": "forward"}), "\"hidden_not\""),
    ] {
        let stage = Stage::with_settings(settings).await;
        let event = stripe::new_event("charge.succeeded");
        let answer = stage.deliver(&event).await;
        answer.expect_code(500, "failed", "settings_invalid");
        answer.expect_reason_contains(named);
        answer.expect_reason_contains("/shop/settings");
        assert!(!answer.body.to_string().contains("\"hidden\""));
        stage.deliver_to(SHOP, "whsec_other", &event).await.expect_code(400, "refused", "signature_mismatch");
    }
}

/// All of them are attributed to the payer, whom neither the refund nor the dispute names.
#[tokio::test]
async fn negative_revenue_is_exact() {
    let add = ["refund.created", "charge.dispute.*"];
    let settings = json!({"refunds": "negative_revenue", "events": {"add": add}});
    let stage = Stage::with_settings(settings).await;
    let payment = |id: &str, received: i64| {
        sample_with(
            "payment_intent.succeeded",
            json!({"id": id, "amount_received": received, "metadata": {"user_id": id}}),
        )
    };
    let charge = |id: &str, [amount, captured, refunded]: [i64; 3], previous: Value| {
        let object = json!({
            "object": "charge", "id": format!("ch_{id}"), "payment_intent": id, "currency": "usd", "amount": amount,
            "amount_captured": captured, "amount_refunded": refunded,
        });
        event_about("charge.refunded", object, previous)
    };
    let before = |refunded: i64| json!({ "amount_refunded": refunded });
    let of_refund = |event_type: &str, id: &str, charge: Value, status: &str, previous: Value| {
        let object = json!({
            "object": "refund", "id": format!("re_{id}"), "payment_intent": id, "charge": charge, "currency": "usd",
            "amount": 700, "status": status,
        });
        event_about(event_type, object, previous)
    };
    let dispute = |what: &str, id: &str| {
        let withdrawn = json!({"id": "txn_1", "amount": -1500, "currency": "usd", "fee": 1500, "net": -3000});
        let reinstated = json!({"id": "txn_2", "amount": 1500, "currency": "usd", "fee": 0, "net": 1500});
        let movements = if what == "funds_reinstated" { json!([withdrawn, reinstated]) } else { json!([withdrawn]) };
        let object = json!({
            "object": "dispute", "id": format!("dp_{id}"), "payment_intent": id, "charge": format!("ch_{id}"),
            "currency": "usd", "amount": 1500, "balance_transactions": movements,
        });
        event_about(&format!("charge.dispute.{what}"), object, Value::Null)
    };
    let charged = |id: &str| json!(format!("ch_{id}"));
    for (id, received, events, left) in [
        (
            "three_steps",
            2000,
            vec![
                charge("three_steps", [2000, 2000, 500], before(0)),
                charge("three_steps", [2000, 2000, 800], before(500)),
                charge("three_steps", [2000, 2000, 2000], before(800)),
            ],
            0,
        ),
        (
            "partial_capture",
            1500,
            vec![
                charge("partial_capture", [2000, 1500, 500], before(0)),
                charge("partial_capture", [2000, 1500, 700], before(500)),
            ],
            1300,
        ),
        ("cancelled", 0, vec![charge("cancelled", [2000, 0, 2000], before(0))], 0),
        ("not_told", 2000, vec![charge("not_told", [2000, 2000, 500], Value::Null)], 2000),
        (
            "failed_refund",
            2000,
            vec![
                charge("failed_refund", [2000, 2000, 700], before(0)),
                of_refund("refund.created", "failed_refund", charged("failed_refund"), "pending", Value::Null),
                of_refund(
                    "charge.refund.updated",
                    "failed_refund",
                    charged("failed_refund"),
                    "failed",
                    json!({"status": "pending"}),
                ),
                // Another change of the refund, and the other types that report the same failure.
                of_refund(
                    "charge.refund.updated",
                    "failed_refund",
                    charged("failed_refund"),
                    "failed",
                    json!({"metadata": {}}),
                ),
                of_refund("refund.failed", "failed_refund", charged("failed_refund"), "failed", Value::Null),
                of_refund(
                    "refund.updated",
                    "failed_refund",
                    charged("failed_refund"),
                    "failed",
                    json!({"status": "pending"}),
                ),
            ],
            2000,
        ),
        (
            "without_charge",
            2000,
            vec![of_refund("refund.created", "without_charge", Value::Null, "succeeded", Value::Null)],
            1300,
        ),
        (
            "lost",
            2000,
            vec![dispute("created", "lost"), dispute("funds_withdrawn", "lost"), dispute("closed", "lost")],
            500,
        ),
        ("won", 2000, vec![dispute("funds_withdrawn", "won"), dispute("funds_reinstated", "won")], 2000),
    ] {
        let payment = payment(id, received);
        stage.deliver(&payment).await.expect_forwarded();
        for event in &events {
            // Twice: a repeat counts once.
            stage.deliver(event).await.expect_forwarded();
            stage.deliver(event).await.expect_forwarded();
            let object = &event["data"]["object"];
            let is_reversed =
                object["status"] == "failed" && event["data"]["previous_attributes"].get("metadata").is_none();
            let kept = if is_reversed {
                stage.amplitude.accepted_with_insert_id(&format!("{}:reversed", object["id"].as_str().unwrap()))
            } else {
                stage.amplitude.accepted(event)
            };
            assert_eq!(kept.attributed_user_id.as_deref(), Some(id));
            let kept = kept.event;
            assert_eq!(kept.contains_key("revenue"), kept.contains_key("currency"), "{id}");
            assert_ne!(kept.get("revenue"), Some(&json!(0)), "{id}");
        }
        assert_eq!(stage.revenue(id, "USD"), left, "{id}");
        let line = stage.function.line_of(&events[0], 1).await;
        if id == "not_told" {
            assert_eq!(stage.property(&events[0], "normalized_revenue_unknown"), true);
            assert_eq!((&line["unknown_revenue"], &line["level"]), (&json!(1), &json!("WARN")));
            assert_eq!(line.get("revenue_rule"), None);
        } else if id == "three_steps" {
            assert_eq!((&line["revenue_rule"], &line["level"]), (&json!("newly_refunded"), &json!("INFO")));
        }
    }
}

#[tokio::test]
async fn refunds_are_events_by_default() {
    let stage = Stage::start().await;
    let event = stripe::new_event("charge.refunded");
    stage.deliver(&event).await.expect_forwarded();
    assert!(!stage.amplitude.accepted(&event).event.contains_key("revenue"));
    assert_eq!(stage.function.line_of(&event, 1).await.get("unknown_revenue"), None);
}

#[tokio::test]
async fn currency_without_a_rate_waits_for_it() {
    let with_rates = |rates: Value| json!({"preferred_currency": {"code": "USD", "rates": rates}});
    let stage = Stage::with_settings(with_rates(json!({"JPY": "0.0067", "KWD": "3.25"}))).await;
    for (currency, received, revenue) in
        [("jpy", 1000, json!(6.7)), ("kwd", 5120, json!(16.64)), ("usd", 1999, json!(19.99))]
    {
        let event = sample_with("payment_intent.succeeded", json!({"currency": currency, "amount_received": received}));
        stage.deliver(&event).await.expect_forwarded();
        let kept = stage.amplitude.accepted(&event).event;
        assert_eq!((&kept["revenue"], &kept["currency"]), (&revenue, &json!("USD")));
        assert_eq!(stage.property(&event, "normalized_amount_received"), revenue);
        assert_eq!(stage.property(&event, "amount_received"), received);
        let converted = currency != "usd";
        let from = if converted { json!(currency.to_uppercase()) } else { Value::Null };
        assert_eq!(stage.property(&event, "normalized_original_currency"), from);
        assert_eq!(stage.property(&event, "normalized_rate").is_number(), converted);
        let line = stage.function.line_of(&event, 1).await;
        assert_eq!(line.get("converted_from").cloned().unwrap_or_default(), from);
        assert_eq!(line["revenue_rule"], "received");
    }

    let event = sample_with("payment_intent.succeeded", json!({"currency": "eur", "amount_received": 1000}));
    let answer = stage.deliver(&event).await;
    answer.expect_code(500, "failed", "missing_rate");
    answer.expect_reason_contains("/shop/settings");
    answer.expect_reason_contains("from EUR to USD");
    stage.store.put(&format!("{SHOP}/settings"), &with_rates(json!({"EUR": "1.08"})).to_string()).await;
    parameters_expire().await;
    stage.deliver(&event).await.expect_forwarded();
    assert_eq!(stage.amplitude.accepted(&event).event["revenue"], 10.8);
}

#[tokio::test]
async fn events_without_user_follow_the_setting() {
    let guest = json!({"metadata": {}, "customer": null, "receipt_email": null});
    for (without_user, plain, paying, code) in [
        ("forward", true, true, ""),
        ("revenue_only", false, true, "no_user_no_revenue"),
        ("ignore", false, false, "no_user"),
    ] {
        let stage = Stage::with_settings(json!({ "without_user": without_user })).await;
        for (event_type, forwarded) in [("charge.succeeded", plain), ("payment_intent.succeeded", paying)] {
            let answer = stage.deliver(&sample_with(event_type, guest.clone())).await;
            if forwarded {
                answer.expect_forwarded();
                assert_eq!(answer.body["user_id_from"], Value::Null);
            } else {
                answer.expect_code(200, "ignored", code);
                answer.expect_reason_contains("`without_user`");
            }
            stage.deliver(&stripe::new_event(event_type)).await.expect_forwarded();
        }
    }
}

#[tokio::test]
async fn old_events_are_ignored() {
    let stage = Stage::start().await;
    let mut event = stripe::new_event("charge.succeeded");
    event["created"] = (stripe::now() - 8 * 86_400).into();
    let answer = stage.deliver(&event).await;
    answer.expect_code(200, "ignored", "too_old");
    answer.expect_reason_contains("7 days");
    event["created"] = (stripe::now() - 6 * 86_400).into();
    stage.deliver(&event).await.expect_forwarded();
    let stage = Stage::with_settings(json!({"max_age_days": 0})).await;
    event["created"] = 1.into();
    stage.deliver(&event).await.expect_forwarded();
}

#[tokio::test]
async fn test_events_follow_the_setting() {
    for (settings, test_key, destination) in [
        (json!({}), false, Some(API_KEY)),
        (json!({}), true, Some("amplitude-key-for-tests")),
        (json!({"test_events": "drop"}), false, None),
        (json!({"test_events": "drop"}), true, None),
    ] {
        let stage = Stage::with_settings(settings).await;
        if test_key {
            stage.store.put(&format!("{SHOP}/amplitude-test-api-key"), "amplitude-key-for-tests").await;
        }
        let test = stripe::new_event("charge.succeeded");
        let mut live = stripe::new_event("charge.succeeded");
        live["livemode"] = true.into();
        let answer = stage.deliver(&test).await;
        match destination {
            Some(key) => {
                answer.expect_forwarded();
                assert_eq!(stage.amplitude.accepted(&test).api_key, key);
                assert_eq!(stage.property(&test, "stripe_livemode"), false);
                let parameter = if test_key { "amplitude-test-api-key" } else { "amplitude-api-key" };
                let line = stage.function.line_of(&test, 1).await;
                assert_eq!((&line["amplitude_key"], &line["livemode"]), (&json!(parameter), &json!(false)));
            }
            None => answer.expect_code(200, "ignored", "test_event"),
        }
        stage.deliver(&live).await.expect_forwarded();
        assert_eq!(stage.amplitude.accepted(&live).api_key, API_KEY);
    }
}

#[tokio::test]
async fn personal_data_is_kept_on_demand_but_not_credentials() {
    let event = stripe::new_event("payment_intent.succeeded");
    let secret = event["data"]["object"]["client_secret"].as_str().unwrap();
    for (personal_data, kept) in [("drop", false), ("keep", true)] {
        let stage = Stage::with_settings(json!({ "personal_data": personal_data })).await;
        stage.deliver(&event).await.expect_forwarded();
        let properties = serde_json::to_string(&stage.amplitude.accepted(&event).event["event_properties"]).unwrap();
        assert_eq!(properties.contains("jenny.rosen@example.com"), kept);
        assert!(!properties.contains(secret) && !properties.contains("client_secret"));
    }
}

#[tokio::test]
async fn configured_properties_are_dropped() {
    let drop = ["metadata.*", "description", "lines.data.*.period", "stripe_livemode"];
    let stage = Stage::with_settings(json!({ "drop_properties": drop })).await;
    let event = stripe::new_event("invoice.paid");
    let answer = stage.deliver(&event).await;
    answer.expect_forwarded();
    assert_eq!(answer.body["user_id_from"], "metadata.user_id", "the user is resolved before");
    assert_eq!(stage.property(&event, "metadata"), json!({}));
    assert_eq!(stage.property(&event, "stripe_livemode"), Value::Null);
    let line = &stage.property(&event, "lines")["data"][0];
    assert!(line.get("amount").is_some() && line.get("period").is_none());
}

#[tokio::test]
async fn accounts_and_projects_combine_freely() {
    let stage = Stage::start().await;
    stage.store.put(&format!("{SHOP}/stripe-signing-secret/germany"), "whsec_of_the_german_account").await;
    stage.store.put_project("finance", "whsec_of_the_second_endpoint", "amplitude-key-of-finance").await;
    let event = stripe::new_event("payment_intent.succeeded");
    let german = stripe::new_event("payment_intent.succeeded");
    stage.deliver(&event).await.expect_forwarded();
    stage.deliver_to(SHOP, "whsec_of_the_german_account", &german).await.expect_forwarded();
    assert_eq!(stage.property(&event, "stripe_source"), Value::Null);
    assert_eq!(stage.property(&german, "stripe_source"), "germany");
    assert_eq!(stage.function.line_of(&german, 1).await["source"], "germany");

    // The same event from another project's endpoint counts in each project.
    stage.deliver_to("finance", "whsec_of_the_second_endpoint", &german).await.expect_forwarded();
    let keys: Vec<_> = stage
        .amplitude
        .events()
        .into_iter()
        .filter(|kept| kept.event["insert_id"] == german["id"])
        .map(|kept| kept.api_key)
        .collect();
    assert_eq!(keys, [API_KEY, "amplitude-key-of-finance"]);
    stage.deliver_to("finance", SECRET, &event).await.expect_code(400, "refused", "signature_mismatch");
}

#[tokio::test]
async fn events_over_amplitudes_limits_are_cut_and_arrive() {
    let stage = Stage::start().await;
    let lines: Vec<_> = (0..3000).map(|number| json!({"id": number, "note": "x".repeat(400)})).collect();
    let deep = (0..60).fold(json!({}), |inner, _| json!({ "inner": inner }));
    let long = "é".repeat(3000);
    let event = sample_with(
        "invoice.paid",
        json!({
            "lines": {"object": "list", "data": lines}, "footer": long, "custom": deep,
            "metadata": {"user_id": "u".repeat(2000)}, "customer_email": "NULL", "customer": "x",
        }),
    );
    stage.deliver(&event).await.expect_forwarded();
    let kept = stage.amplitude.accepted(&event).event;
    assert_eq!(kept["user_id"], "x", "the long ID and the forbidden ID are skipped in favour of the short one");
    assert_eq!(kept["event_properties"]["footer"], "é".repeat(1023) + "…");
    assert_eq!(kept["event_properties"]["lines"], json!({"object": "list"}));
    assert_eq!(kept["event_properties"]["normalized_amount_paid"], 25);
    let marked = kept["event_properties"]["stripe_truncated"].as_array().unwrap();
    for path in ["footer", "lines.data", "metadata.user_id"] {
        assert!(marked.contains(&json!(path)), "{path} in {marked:?}");
    }
    assert_eq!(marked.len(), 4);
    assert_eq!(stage.function.line_of(&event, 1).await["truncated_fields"], 4);
}

/// The signature is verified first, so an unauthenticated caller learns nothing about the settings.
#[tokio::test]
async fn strangers_learn_nothing_about_the_settings() {
    let stage = Stage::with_settings(json!({"refunds": "wrong"})).await;
    let answer = stage.send(&Request::with_signature(SHOP, "t=1,v1=00", "{}")).await;
    answer.expect(400, "refused");
    assert!(!answer.body.to_string().contains("settings"));
}
