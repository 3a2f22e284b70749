//! Amplitude fails or rejects an event.

use std::time::Duration;

use amplitude_emulator::{Fault, FaultyAnswer};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::amplitude::{Amplitude, json_answer, text_answer};
use crate::harness::gateway::Answer;
use crate::harness::parameter_store::{Fault as StoreFault, ParameterStore};
use crate::harness::{API_KEY, SECRET, SHOP, Stage, stripe};

/// An expected error answer, and the number of attempts. The reason also names the parameter with the key.
struct Refusal {
    code: &'static str,
    /// Further text in the reason: the status, the kind of field or the remedy.
    named: &'static str,
    status: Option<u16>,
    attempts: u64,
}

/// Delivers a new event, checks that it fails as expected, and returns the time that took.
async fn expect_refusal(stage: &Stage, expected: &Refusal) -> Duration {
    let before = stage.amplitude.requests();
    let event = stripe::new_event("charge.succeeded");
    let start = Instant::now();
    let answer = stage.deliver(&event).await;
    let elapsed = start.elapsed();
    answer.expect_code(502, "failed", expected.code);
    answer.expect_reason_contains(expected.named);
    answer.expect_reason_contains("amplitude-api-key");
    assert_eq!((&answer.body["event"], &answer.body["type"]), (&event["id"], &json!("charge.succeeded")));
    let line = stage.function.line_of(&event, 1).await;
    assert_eq!((&line["level"], &line["code"]), (&json!("ERROR"), &json!(expected.code)), "{line}");
    assert_eq!(line["attempts"], expected.attempts, "{line}");
    assert_eq!(line.get("amplitude_code").cloned(), expected.status.map(Value::from), "{line}");
    if stage.amplitude.requests() > 0 {
        assert_eq!(stage.amplitude.requests() - before, expected.attempts, "{line}");
    }
    expect_no_secrets(stage, &answer);
    elapsed
}

/// Amplitude's responses can contain the key and user IDs. The injected bodies contain this word.
fn expect_no_secrets(stage: &Stage, answer: &Answer) {
    for hidden in [API_KEY, SECRET, "hidden", "user_42"] {
        assert!(!answer.body.to_string().contains(hidden), "{hidden} is in {}", answer.body);
        assert!(!stage.function.output().contains(hidden), "{hidden} is in {}", stage.function.output());
    }
}

#[tokio::test]
async fn permanent_rejection_is_not_retried() {
    let stage = Stage::start().await;
    let bad_request = |field: &str, value: Value| {
        let mut body = json!({"code": 400, "error": "Request missing required field: hidden user_42"});
        body[field] = value;
        json_answer(400, body)
    };
    let redirect = FaultyAnswer {
        status: 307,
        text: Some("hidden".to_owned()),
        location: Some("http://hidden.example.com/".to_owned()),
        ..FaultyAnswer::default()
    };
    for (fault, status, code, named) in [
        (Fault::InvalidApiKey, 400, "amplitude_invalid_key", "400"),
        (bad_request("missing_field", json!("hidden")), 400, "amplitude_rejected", "a missing field"),
        (
            bad_request("events_with_missing_fields", json!({"hidden": [0]})),
            400,
            "amplitude_rejected",
            "a missing field",
        ),
        (
            bad_request("events_with_invalid_fields", json!({"hidden": [0]})),
            400,
            "amplitude_rejected",
            "the value of a field",
        ),
        (
            bad_request("events_with_invalid_id_lengths", json!({"user_id": [0]})),
            400,
            "amplitude_rejected",
            "the length of the user ID",
        ),
        (bad_request("silenced_devices", json!(["hidden"])), 400, "amplitude_silenced", "400"),
        (bad_request("silenced_events", json!([0])), 400, "amplitude_silenced", "400"),
        (bad_request("hidden", json!(true)), 400, "amplitude_rejected", "Amplitude did not say what"),
        (text_answer(400, "<html>hidden"), 400, "not_amplitude", "400"),
        (Fault::answer(403), 403, "amplitude_forbidden", "403"),
        (Fault::answer(413), 413, "amplitude_too_large", "413"),
        // Amplitude asks clients to wait 30 s, which Stripe does.
        (Fault::answer(429), 429, "amplitude_throttled", "429"),
        (text_answer(404, "hidden"), 404, "amplitude_unexpected", "404"),
        (text_answer(418, "hidden"), 418, "amplitude_unexpected", "418"),
        (text_answer(200, "<html>hidden</html>"), 200, "not_amplitude", "200"),
        (text_answer(200, ""), 200, "not_amplitude", "200"),
        (json_answer(200, json!({"hidden": 200})), 200, "not_amplitude", "200"),
        (json_answer(200, json!({"code": 400})), 200, "not_amplitude", "200"),
        (text_answer(204, ""), 204, "not_amplitude", "204"),
        (Fault::Answer(redirect), 307, "not_amplitude", "307: a redirect"),
    ] {
        stage.amplitude.inject(fault, 1);
        expect_refusal(&stage, &Refusal { code, named, status: Some(status), attempts: 1 }).await;
    }
    assert!(stage.amplitude.events().is_empty());
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
}

#[tokio::test]
async fn invalid_test_key_is_named() {
    let stage = Stage::start().await;
    stage.store.put(&format!("{SHOP}/amplitude-test-api-key"), "hidden-test-key").await;
    stage.amplitude.inject(Fault::InvalidApiKey, 1);
    let answer = stage.deliver(&stripe::new_event("charge.succeeded")).await;
    answer.expect_code(502, "failed", "amplitude_invalid_key");
    answer.expect_reason_contains("amplitude-test-api-key");
    expect_no_secrets(&stage, &answer);
}

/// A client that follows a 307 sends the body again, and the key with it.
#[tokio::test]
async fn redirects_are_not_followed() {
    let stage = Stage::start().await;
    let elsewhere = Amplitude::start().await;
    for status in [301, 302, 303, 307, 308] {
        let redirect = FaultyAnswer {
            status,
            text: Some(String::new()),
            location: Some(elsewhere.url().to_owned()),
            ..FaultyAnswer::default()
        };
        stage.amplitude.inject(Fault::Answer(redirect), 1);
        let refusal = Refusal { code: "not_amplitude", named: "a redirect", status: Some(status), attempts: 1 };
        expect_refusal(&stage, &refusal).await;
    }
    assert_eq!(elsewhere.requests(), 0);
}

#[tokio::test]
async fn transient_fault_is_retried_without_duplicates() {
    let stage = Stage::start().await;
    let ingested = |status| Fault::Answer(FaultyAnswer { status, ingest: true, ..FaultyAnswer::default() });
    for (fault, times) in [
        (Fault::answer(500), 1),
        (Fault::answer(502), 1),
        (Fault::answer(503), 1),
        (Fault::answer(504), 1),
        (Fault::answer(503), 2),
        (text_answer(502, "<html>hidden</html>"), 1),
        // Ingested, although the response says or suggests otherwise: the second attempt is a repeat.
        (ingested(500), 1),
        (Fault::Cut { ingest: false }, 1),
        (Fault::Cut { ingest: true }, 1),
        // The first broken connection is free; the second and third are counted attempts.
        (Fault::Cut { ingest: false }, 3),
        (Fault::CutBody { ingest: false }, 1),
        (Fault::CutBody { ingest: true }, 1),
    ] {
        let event = stripe::new_event("charge.succeeded");
        let before = stage.amplitude.requests();
        stage.amplitude.inject(fault.clone(), times);
        let answer = stage.deliver(&event).await;
        answer.expect_forwarded();
        stage.amplitude.accepted(&event);
        let attempts = u64::from(times) + 1;
        assert_eq!(stage.amplitude.requests() - before, attempts, "{fault:?}");
        let line = stage.function.line_of(&event, 1).await;
        assert_eq!((&line["attempts"], &line["amplitude_code"]), (&json!(attempts), &json!(200)), "{fault:?}");
        expect_no_secrets(&stage, &answer);
    }
}

/// A connection that died while the environment was frozen must not delay the buyer.
#[tokio::test]
async fn broken_connection_is_retried_immediately() {
    let stage = Stage::start().await;
    // The first delivery completes all loading and connecting.
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        stage.amplitude.inject(Fault::Cut { ingest: false }, 1);
        let event = stripe::new_event("charge.succeeded");
        stage.deliver(&event).await.expect_forwarded();
        let line = stage.function.line_of(&event, 1).await;
        assert_eq!(line["attempts"], 2);
        fastest = fastest.min(Duration::from_millis(line["amplitude_milliseconds"].as_u64().unwrap()));
    }
    // With a pause of up to 200 ms, this would succeed once in a hundred runs.
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
}

#[tokio::test]
async fn persistent_fault_is_502_after_three_attempts() {
    let stage = Stage::start().await;
    for (fault, status, attempts, code, named) in [
        (Fault::answer(500), Some(500), 3, "amplitude_unavailable", "500"),
        (Fault::answer(503), Some(503), 3, "amplitude_unavailable", "503"),
        (Fault::Cut { ingest: false }, None, 4, "amplitude_connection_broken", ""),
    ] {
        stage.amplitude.inject(fault, u32::try_from(attempts).unwrap());
        let elapsed = expect_refusal(&stage, &Refusal { code, named, status, attempts }).await;
        assert!(elapsed < Duration::from_millis(4500), "{elapsed:?}");
    }
    assert!(stage.amplitude.events().is_empty());
}

#[tokio::test]
async fn hung_attempt_is_retried() {
    let stage = Stage::start().await;
    stage.amplitude.inject(Fault::Hang { milliseconds: 10_000, ingest: true }, 1);
    let event = stripe::new_event("charge.succeeded");
    let start = Instant::now();
    stage.deliver(&event).await.expect_forwarded();
    assert!(start.elapsed() < Duration::from_millis(4500), "{:?}", start.elapsed());
    stage.amplitude.accepted(&event);
    assert_eq!(stage.function.line_of(&event, 1).await["attempts"], 2);
}

#[tokio::test]
async fn hung_amplitude_is_502_within_the_deadline() {
    let stage = Stage::start().await;
    stage.amplitude.inject(Fault::Hang { milliseconds: 60_000, ingest: false }, 10);
    let start = Instant::now();
    let event = stripe::new_event("charge.succeeded");
    stage.deliver(&event).await.expect_code(502, "failed", "amplitude_timeout");
    // The limit is 4.5 s; the rest allows for a busy machine.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let attempts = stage.function.line_of(&event, 1).await["attempts"].as_u64().unwrap();
    assert!((2..=3).contains(&attempts), "{attempts}");
}

#[tokio::test]
async fn parameter_store_and_amplitude_share_one_deadline() {
    let stage = Stage::start().await;
    stage.store.fail_next(StoreFault::Throttled, 2);
    stage.amplitude.inject(Fault::Hang { milliseconds: 60_000, ingest: false }, 10);
    let start = Instant::now();
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect(502, "failed");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn refused_connection_is_502() {
    let store = ParameterStore::start_with_shop().await;
    let stage = Stage::from_parts(store, Amplitude::unreachable(), &[]).await;
    let refusal = Refusal { code: "amplitude_unreachable", named: "", status: None, attempts: 4 };
    expect_refusal(&stage, &refusal).await;
}

#[tokio::test]
async fn untrusted_certificate_is_502_with_the_remedy() {
    let stage =
        Stage::from_parts(ParameterStore::start_with_shop().await, Amplitude::start_with_tls().await, &[]).await;
    let refusal = Refusal { code: "amplitude_untrusted", named: "EXTRA_CA_FILE", status: None, attempts: 1 };
    expect_refusal(&stage, &refusal).await;
}

#[tokio::test]
async fn extra_ca_file_is_trusted() {
    let amplitude = Amplitude::start_with_tls().await;
    let authority = amplitude.ca_file();
    let stage =
        Stage::from_parts(ParameterStore::start_with_shop().await, amplitude, &[("EXTRA_CA_FILE", &authority)]).await;
    let event = stripe::new_event("charge.succeeded");
    stage.deliver(&event).await.expect_forwarded();
    stage.amplitude.accepted(&event);
}
