//! Events that Stripe delivers, as they arrive in Amplitude.

use serde_json::{Value, json};

use crate::harness::gateway::{Gateway, Request};
use crate::harness::{API_KEY, SECRET, SHOP, Stage, stripe};

/// A user ID and the path that it was found at.
type User = Option<(&'static str, &'static str)>;

const CUSTOMER: &str = "stripe-cus_QXg1o8vcGmoR32";
const PAYMENT: &str = "stripe-pi_3PgafuB7WZ01zgkW1kJo3Sjx";
const CARDHOLDER: &str = "stripe-ich_1Pgag4B7WZ01zgkWdPVfBngi";
const CONNECTED_ACCOUNT: &str = "stripe-acct_1Pgc5xConnected01";
const USER: User = Some(("user_42", "metadata.user_id"));

/// For each type, the user of its sample and the device that it is pinned to.
const EXPECTED: [(&str, User, &str); 26] = [
    ("application_fee.created", None, CONNECTED_ACCOUNT),
    ("application_fee.refund.updated", USER, "stripe-fr_1Pgc70B7WZ01zgkWSr1ANtFu"),
    ("application_fee.refunded", None, CONNECTED_ACCOUNT),
    // A balance has no ID, so it belongs to the project.
    ("balance.available", None, "stripe-shop"),
    ("charge.captured", Some(("jenny-amp-1", "metadata.amplitude_id")), PAYMENT),
    ("charge.failed", None, PAYMENT),
    ("charge.refunded", USER, PAYMENT),
    ("charge.succeeded", USER, PAYMENT),
    ("charge.updated", USER, PAYMENT),
    ("checkout.session.async_payment_failed", Some(("cus_QXg1o8vcGmoR32", "customer")), PAYMENT),
    ("checkout.session.async_payment_succeeded", USER, PAYMENT),
    ("checkout.session.completed", USER, PAYMENT),
    ("invoice.created", USER, CUSTOMER),
    ("invoice.finalized", USER, CUSTOMER),
    ("invoice.marked_uncollectible", USER, CUSTOMER),
    ("invoice.paid", USER, CUSTOMER),
    ("invoice.payment_failed", USER, CUSTOMER),
    ("invoice.payment_succeeded", USER, CUSTOMER),
    ("invoice.sent", USER, CUSTOMER),
    ("invoice.voided", USER, CUSTOMER),
    ("issuing_authorization.created", USER, CARDHOLDER),
    ("issuing_transaction.created", USER, CARDHOLDER),
    ("payment_intent.amount_capturable_updated", USER, PAYMENT),
    ("payment_intent.canceled", None, PAYMENT),
    ("payment_intent.payment_failed", USER, PAYMENT),
    ("payment_intent.succeeded", USER, PAYMENT),
];

#[tokio::test]
async fn every_type_arrives_through_an_http_api() {
    every_type_arrives(Gateway::HttpApi).await;
}

#[tokio::test]
async fn every_type_arrives_through_a_rest_api() {
    every_type_arrives(Gateway::RestApi).await;
}

#[tokio::test]
async fn every_type_arrives_through_a_function_url() {
    every_type_arrives(Gateway::FunctionUrl).await;
}

/// Sends bodies as text, then as Base64.
async fn every_type_arrives(gateway: Gateway) {
    for base64 in [false, true] {
        let stage = Stage::with_variables(&[("WARM_PROJECTS", SHOP)]).await;
        for (number, (event_type, user, device)) in EXPECTED.into_iter().enumerate() {
            let context = format!("{event_type} through {gateway:?}, in Base64: {base64}");
            // As in the file, including white space: the signature covers bytes.
            let mut request = Request::signed(SHOP, SECRET, stripe::sample_bytes(event_type));
            request.base64 = base64;
            if base64 && matches!(gateway, Gateway::FunctionUrl) {
                // A Function URL decides on its own, by content type.
                request.headers[0].1 = "application/octet-stream".to_owned();
            }
            let answer = stage.function.send(gateway, &request).await;
            let sample = stripe::sample(event_type);

            answer.expect_forwarded();
            let expected_answer = json!({
                "outcome": "forwarded",
                "event": sample["id"],
                "type": event_type,
                "user_id_from": user.map(|(_, path)| path),
            });
            assert_eq!(answer.body, expected_answer, "{context}");

            let events = stage.amplitude.events();
            assert_eq!(events.len(), number + 1, "{context}");
            let event = &events[number];
            assert_eq!(event.api_key, API_KEY, "{context}");
            let field = |name: &str| event.event.get(name).cloned().unwrap_or_default();
            assert_eq!(field("event_type"), format!("[Stripe] {event_type}"), "{context}");
            assert_eq!(field("insert_id"), sample["id"], "{context}");
            assert_eq!(field("time"), sample["created"].as_i64().unwrap() * 1000, "{context}");
            assert_eq!(field("user_id"), json!(user.map(|(id, _)| id)), "{context}");
            assert_eq!(field("device_id"), device, "{context}");
            let revenue = (event_type == "payment_intent.succeeded").then_some((20, "USD"));
            assert_eq!(field("revenue"), json!(revenue.map(|(amount, _)| amount)), "{context}");
            assert_eq!(field("currency"), json!(revenue.map(|(_, currency)| currency)), "{context}");
        }
    }
}

#[tokio::test]
async fn path_prefix_is_ignored() {
    let stage = Stage::start().await;
    for gateway in Gateway::ALL {
        for before in ["", "/prod", "/$default", "/hooks/v1", "/stripe"] {
            let event = stripe::new_event("charge.failed");
            let mut request = Request::signed(SHOP, SECRET, event.to_string());
            request.path = format!("{before}/stripe/{SHOP}");
            let answer = stage.function.send(gateway, &request).await;
            assert_eq!(answer.status, 200, "{} through {gateway:?}: {}", request.path, answer.body);
        }
    }
}

#[tokio::test]
async fn signature_header_name_is_case_insensitive() {
    let stage = Stage::start().await;
    for gateway in Gateway::ALL {
        for name in ["stripe-signature", "Stripe-Signature", "STRIPE-SIGNATURE", "sTrIpE-sIgNaTuRe"] {
            let body = stripe::new_event("charge.failed").to_string();
            let signature = stripe::sign(SECRET, stripe::now(), body.as_bytes());
            let request = Request::unsigned(SHOP, body).header(name, &signature);
            let answer = stage.function.send(gateway, &request).await;
            assert_eq!(answer.status, 200, "{name} through {gateway:?}: {}", answer.body);
        }
    }
}

/// A gateway that re-serializes the JSON or changes the body's encoding would break the signature.
#[tokio::test]
async fn body_is_verified_byte_for_byte() {
    let stage = Stage::start().await;
    for gateway in Gateway::ALL {
        for base64 in [false, true] {
            let mut event = stripe::new_event("charge.succeeded");
            event["data"]["object"]["description"] = "Grüße, 日本語, 🦀, \u{7f}, <&'".into();
            let body = format!("\u{feff}\r\n {event}\n\n").replace('\u{feff}', " \t").replace(":", " :  ");
            let mut request = Request::signed(SHOP, SECRET, body);
            request.base64 = base64;
            stage.function.send(gateway, &request).await.expect_forwarded();
            let kept = stage.amplitude.accepted(&event);
            // In this text, colons occur only between keys and values.
            assert_eq!(kept.event["event_properties"]["description"], event["data"]["object"]["description"]);
        }
    }
}

#[tokio::test]
async fn test_events_go_to_the_test_key() {
    let stage = Stage::start().await;
    stage.store.put_project("with-test", "whsec_with_test", "key-of-live-mode").await;
    stage.store.put("with-test/amplitude-test-api-key", "key-of-test-mode").await;
    for (livemode, project, secret, api_key) in [
        (json!(false), SHOP, SECRET, API_KEY),
        (json!(true), SHOP, SECRET, API_KEY),
        (json!(false), "with-test", "whsec_with_test", "key-of-test-mode"),
        (json!(true), "with-test", "whsec_with_test", "key-of-live-mode"),
        (Value::Null, "with-test", "whsec_with_test", "key-of-live-mode"),
    ] {
        let mut event = stripe::new_event("charge.succeeded");
        event["livemode"] = livemode;
        stage.deliver_to(project, secret, &event).await.expect_forwarded();
        assert_eq!(stage.amplitude.accepted(&event).api_key, api_key, "{project}, livemode {}", event["livemode"]);
    }
}

#[tokio::test]
async fn parameter_values_are_trimmed() {
    let stage = Stage::start().await;
    stage.store.put("padded/stripe-signing-secret", " whsec_padded\n").await;
    stage.store.put("padded/amplitude-api-key", "\tkey-of-padded \n").await;
    stage.store.put("padded/settings", "\n{\"amplitude_region\": \"eu\"}\n").await;
    let event = stripe::new_event("charge.succeeded");
    stage.deliver_to("padded", "whsec_padded", &event).await.expect_forwarded();
    assert_eq!(stage.amplitude.accepted(&event).api_key, "key-of-padded");
}

/// Ensures that [`every_type_arrives_through_an_http_api`] and its siblings cover every type.
#[test]
fn expected_types_match_the_catalog() {
    let mut types = stripe_amplitude::stripe::event_types::TYPES;
    types.sort_unstable();
    assert_eq!(types, EXPECTED.map(|(event_type, ..)| event_type));
}
