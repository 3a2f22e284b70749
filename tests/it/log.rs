//! The function's output: one line per request, and no secrets or personal data.

use amplitude_emulator::Fault;
use serde_json::{Value, json};

use crate::harness::amplitude::json_answer;
use crate::harness::gateway::{Gateway, Request};
use crate::harness::parameter_store::Fault as StoreFault;
use crate::harness::{API_KEY, SECRET, SHOP, Stage, stripe};

#[tokio::test]
async fn forwarded_event_has_a_complete_log_line() {
    let stage = Stage::start().await;
    let mut event = stripe::new_event("charge.succeeded");
    event["created"] = (stripe::now() - 100).into();
    stage.deliver(&event).await.expect_forwarded();
    let line = stage.function.line_of(&event, 1).await;
    for (field, value) in [
        ("level", json!("INFO")),
        ("outcome", json!("forwarded")),
        ("status", json!(200)),
        ("project", json!(SHOP)),
        ("event", event["id"].clone()),
        ("type", json!("charge.succeeded")),
        ("user_id_from", json!("metadata.user_id")),
        ("attempts", json!(1)),
        ("amplitude_code", json!(200)),
        ("events_ingested", json!(1)),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
    for field in ["parameter_store_milliseconds", "amplitude_milliseconds"] {
        assert!(line[field].as_u64().is_some_and(|milliseconds| milliseconds < 5000), "{field} in {line}");
    }
    let behind = line["seconds_behind_stripe"].as_i64().unwrap();
    assert!((100..=110).contains(&behind), "{line}");
    assert!(line["request_id"].is_string());
    assert_eq!((line.get("code"), line.get("reason")), (None, None));
    assert_eq!(line.get("api_version"), None, "it is the default version");
}

#[tokio::test]
async fn other_api_version_is_logged() {
    let stage = Stage::start().await;
    let mut event = stripe::new_event("charge.succeeded");
    event["api_version"] = "2025-09-30.clover".into();
    stage.deliver(&event).await.expect_forwarded();
    assert_eq!(stage.function.line_of(&event, 1).await["api_version"], "2025-09-30.clover");
}

#[tokio::test]
async fn missing_user_has_no_path_in_the_log() {
    let stage = Stage::start().await;
    let event = stripe::new_event("balance.available");
    stage.deliver(&event).await.expect_forwarded();
    assert_eq!(stage.function.line_of(&event, 1).await.get("user_id_from"), None);
}

#[tokio::test]
async fn refusal_is_logged_with_code_and_reason() {
    let stage = Stage::start().await;
    let answer = stage.send(&Request::unsigned(SHOP, "{}")).await;
    let line = &stage.function.request_lines(1).await[0];
    assert_eq!((&line["level"], &line["status"]), (&json!("WARN"), &json!(400)));
    assert_eq!((&line["code"], &line["reason"]), (&json!("signature_missing"), &answer.body["reason"]));
    assert_eq!(line["project"], SHOP);
    for field in ["event", "attempts", "parameter_store_milliseconds", "amplitude_milliseconds"] {
        assert_eq!(line.get(field), None, "{field} in {line}");
    }
}

/// All types through all gateways, and all kinds of failures, at the common log levels and at the most verbose.
#[tokio::test]
async fn log_has_one_line_per_request_and_no_secrets() {
    for level in [&[][..], &[("RUST_LOG", "trace")], &[("AWS_LAMBDA_LOG_LEVEL", "DEBUG")]] {
        let stage = Stage::with_variables(level).await;
        let (requests, signatures) = send_everything(&stage).await;

        let lines = stage.function.request_lines(requests).await;
        let output = stage.function.output();
        assert_eq!(lines.len(), requests, "one line per request:\n{output}");
        for line in &lines {
            // `_aws` lists the members that are metrics.
            let mut values = line.as_object().unwrap().iter().filter(|(name, _)| *name != "_aws");
            let flat = values.all(|(_, value)| !value.is_object() && !value.is_array());
            assert!(flat, "{line}");
        }
        for line in output.lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()), "no JSON: {line}");
        }
        let hidden = [
            // Credentials.
            SECRET,
            API_KEY,
            "hidden",
            "aws-secret-of-the-function",
            "aws-token-of-the-function",
            // Users and personal data.
            "user_42",
            "jenny",
            "Jenny",
            "example.com",
            "cus_QXg1o8vcGmoR32",
            "Order 6735",
            // Parts of bodies.
            "client_secret",
            "_secret_",
            "pi_3PgafuB7WZ01zgkW1kJo3Sjx",
            "stripe-pi_",
            "usd",
            "metadata\"",
        ];
        for hidden in hidden.into_iter().chain(signatures.iter().map(String::as_str)) {
            assert!(!output.contains(hidden), "{hidden} is in:\n{output}");
        }
    }
}

/// Returns the number of requests and the signatures that were used.
async fn send_everything(stage: &Stage) -> (usize, Vec<String>) {
    let mut requests = Vec::new();
    for event_type in stripe_amplitude::stripe::event_types::TYPES {
        requests.push(Request::signed(SHOP, SECRET, stripe::sample_bytes(event_type)));
    }
    let body = stripe::sample_bytes("charge.succeeded");
    let old = stripe::sign(SECRET, 1_700_000_000, &body);
    for path in ["/", "/stripe/jenny%20hidden", "/stripe/", "/jenny.rosen@example.com"] {
        let mut request = Request::signed(SHOP, SECRET, body.clone());
        path.clone_into(&mut request.path);
        requests.push(request);
    }
    let mut another_method = Request::signed(SHOP, SECRET, body.clone());
    another_method.method = "PUT";
    requests.extend([
        another_method,
        Request::unsigned(SHOP, body.clone()),
        Request::with_signature(SHOP, "hidden", body.clone()),
        Request::with_signature(SHOP, "t=hidden,v1=hidden", body.clone()),
        Request::with_signature(SHOP, &old, body.clone()),
        Request::signed(SHOP, "whsec_hidden", body.clone()),
        Request::signed("elsewhere", SECRET, body.clone()),
        Request::signed(SHOP, SECRET, "{\"hidden\": user_42}"),
        Request::signed(SHOP, SECRET, "{\"object\": \"hidden\"}"),
        Request::signed(SHOP, SECRET, "{\"object\": \"v2.hidden\"}"),
        Request::signed("broken", "whsec_hidden", body.clone()),
    ]);
    stage.store.put_project("broken", "whsec_hidden", "hidden").await;
    stage.store.put("broken/settings", "{\"amplitude_region\": \"hidden\"}").await;
    stage.store.put("broken/not-known", "hidden").await;

    let mut sent = 0;
    for gateway in Gateway::ALL {
        for request in &requests {
            stage.function.send(gateway, request).await;
            sent += 1;
        }
    }
    // Error messages of Amplitude and Parameter Store can contain all of these.
    let words = json!({"code": 400, "error": "hidden user_42 jenny.rosen@example.com", "missing_field": API_KEY});
    for fault in [
        Fault::InvalidApiKey,
        json_answer(400, words.clone()),
        json_answer(418, words),
        Fault::answer(429),
        Fault::Cut { ingest: true },
        Fault::CutBody { ingest: true },
    ] {
        stage.amplitude.inject(fault, 1);
        stage.deliver(&stripe::new_event("charge.succeeded")).await;
        sent += 1;
    }
    stage.store.put_project("unreadable", SECRET, API_KEY).await;
    for fault in [StoreFault::Denied, StoreFault::Undecryptable, StoreFault::Down] {
        stage.store.fail(fault);
        stage.deliver_to("unreadable", SECRET, &stripe::new_event("charge.succeeded")).await.expect(503, "failed");
        sent += 1;
    }
    let signatures = requests
        .iter()
        .flat_map(|request| &request.headers)
        .filter_map(|(_, value)| value.split_once(",v1=").map(|(_, signature)| signature.to_owned()))
        .filter(|signature| signature.len() == 64);
    (sent, signatures.collect())
}
