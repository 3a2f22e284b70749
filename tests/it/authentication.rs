//! Without the secret, a caller can neither deliver anything, nor exhaust memory, nor learn anything.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::harness::gateway::{Answer, Gateway, Request};
use crate::harness::{API_KEY, SECRET, SHOP, Stage, stripe};

/// A small event.
fn small_body() -> String {
    let created = stripe::sample("charge.failed")["created"].take();
    json!({"id": "evt_small", "object": "event", "type": "charge.failed", "created": created, "data": {"object": {}}})
        .to_string()
}

/// The signature in hex.
fn v1(secret: &str, time: u64, body: &str) -> String {
    stripe::sign(secret, time, body.as_bytes()).split_once(",v1=").unwrap().1.to_owned()
}

#[tokio::test]
async fn any_flipped_bit_is_refused() {
    let stage = Stage::start().await;
    let body = small_body();
    let signature = stripe::sign(SECRET, stripe::now(), body.as_bytes());
    for position in 0..body.len() {
        let mut changed = body.clone().into_bytes();
        changed[position] ^= 1 << (position % 8);
        let request = Request { base64: true, ..Request::with_signature(SHOP, &signature, changed) };
        stage.send(&request).await.expect_code(400, "refused", "signature_mismatch");
    }
    for position in signature.len() - 64..signature.len() {
        let mut changed = signature.clone().into_bytes();
        changed[position] = if changed[position] == b'0' { b'1' } else { b'0' };
        let changed = String::from_utf8(changed).unwrap();
        let answer = stage.send(&Request::with_signature(SHOP, &changed, body.clone())).await;
        answer.expect_code(400, "refused", "signature_mismatch");
    }
    for body in [format!("{body} "), format!(" {body}"), format!("{body}\n"), body[..body.len() - 1].to_owned()] {
        let answer = stage.send(&Request::with_signature(SHOP, &signature, body)).await;
        answer.expect_code(400, "refused", "signature_mismatch");
    }
    assert_eq!(stage.amplitude.requests(), 0);
    stage.send(&Request::with_signature(SHOP, &signature, body)).await.expect_forwarded();
}

#[tokio::test]
async fn secret_opens_only_its_own_project() {
    let stage = Stage::start().await;
    let secrets = [
        ("one", "whsec_a"),
        ("two", "whsec_ab"),
        ("three", "whsec_abc"),
        ("upper", "whsec_A"),
        ("four", "whsec_a0"),
        ("five", "whsec_a\\0"),
    ];
    for (project, secret) in secrets {
        stage.store.put_project(project, secret, API_KEY).await;
    }
    for (project, own) in secrets {
        for (_, secret) in secrets.into_iter().chain([("", SECRET), ("", "whsec_"), ("", "a"), ("", ""), ("", " ")]) {
            let answer = stage.deliver_to(project, secret, &stripe::new_event("charge.succeeded")).await;
            if secret == own {
                answer.expect_forwarded();
            } else {
                answer.expect_code(400, "refused", "signature_mismatch");
            }
        }
    }
    let answer = stage.deliver_to(SHOP, "whsec_ab", &stripe::new_event("charge.succeeded")).await;
    answer.expect_code(400, "refused", "signature_mismatch");
}

/// An empty secret next to a valid one is a mistake and must not open the project. Whatever it would sign is refused.
#[tokio::test]
async fn empty_secret_verifies_nothing() {
    let stage = Stage::start().await;
    stage.store.put_project("half", "whsec_of_half", API_KEY).await;
    // Like AWS, moto rejects empty values; white space is what such a mistake leaves.
    for (label, blank) in [("/space", " "), ("/line", "\n"), ("/tab", "\t \r\n")] {
        stage.store.put(&format!("half/stripe-signing-secret{label}"), blank).await;
    }
    for secret in ["", " ", "\n", "\t \r\n", "\0"] {
        let answer = stage.deliver_to("half", secret, &stripe::new_event("charge.succeeded")).await;
        answer.expect_code(400, "refused", "signature_mismatch");
    }
    let answer = stage.deliver_to("half", "whsec_of_half", &stripe::new_event("charge.succeeded")).await;
    answer.expect_code(500, "failed", "parameter_empty");
    assert_eq!(stage.amplitude.requests(), 0);
}

#[tokio::test]
async fn other_schemes_and_spellings_are_refused() {
    let stage = Stage::start().await;
    let (body, now) = (small_body(), stripe::now());
    let hex = v1(SECRET, now, &body);
    let wrong = "0".repeat(64);
    for (signature, code) in [
        (format!("t={now},v0={hex}"), "signature_without_v1"),
        (format!("t={now},v2={hex}"), "signature_without_v1"),
        (format!("t={now},V1={hex}"), "signature_without_v1"),
        (format!("t={now},v01={hex}"), "signature_without_v1"),
        (format!("t={now},v11={hex}"), "signature_without_v1"),
        (format!("t={now},{hex}"), "signature_malformed"),
        (format!("t={now},v1:{hex}"), "signature_malformed"),
        (format!("t={now};v1={hex}"), "signature_malformed"),
        (format!("T={now},v1={hex}"), "signature_malformed"),
        (format!("t={now},v1={wrong},v0={hex}"), "signature_mismatch"),
        (format!("t={now},v1={wrong},v2={hex}"), "signature_mismatch"),
        (format!("t={now},v1="), "signature_mismatch"),
        (format!("t={now},v1=={hex}"), "signature_mismatch"),
        (format!("t={now},v1=v1={hex}"), "signature_mismatch"),
        (format!("t={now},v1=sha256={hex}"), "signature_mismatch"),
        (format!("t={now},v1=\"{hex}\""), "signature_mismatch"),
        (format!("t={now},v1={}", hex.to_uppercase()), "signature_mismatch"),
        (format!("t={now},v1={}", hex.replace(['a', 'b', 'c', 'd', 'e', 'f'], "A")), "signature_mismatch"),
        (format!("t={now},v1={}", &hex[..63]), "signature_mismatch"),
        (format!("t={now},v1={hex}0"), "signature_mismatch"),
        (format!("t={now},v1={hex}{hex}"), "signature_mismatch"),
        (format!("t=0{now},v1={hex}"), "signature_malformed"),
        (format!("t=+{now},v1={hex}"), "signature_malformed"),
        (format!("t={now}.0,v1={hex}"), "signature_malformed"),
        (format!("t={now},t={now},v1={hex}"), "signature_malformed"),
        (format!("t={now},v1={hex} "), "signature_malformed"),
        (format!("t={now}, v1={hex}"), "signature_malformed"),
    ] {
        let answer = stage.send(&Request::with_signature(SHOP, &signature, body.clone())).await;
        answer.expect_code(400, "refused", code);
    }
    assert_eq!(stage.amplitude.requests(), 0);
}

/// The signed text is `t`, a dot and the body. If `t` could contain a dot, one signature would be valid for two
/// requests.
#[tokio::test]
async fn moving_the_dot_of_the_signed_text_is_refused() {
    let stage = Stage::start().await;
    let (event, now) = (small_body(), stripe::now());
    // Signed: a body that begins with digits and a dot. Sent: those digits as part of the time.
    let signed = v1(SECRET, now, &format!("5.{event}"));
    for (time, body) in [
        (format!("{now}.5"), event.clone()),
        (format!("{now}5"), event.clone()),
        (now.to_string(), event.clone()),
        (now.to_string(), format!(".5.{event}")),
        (format!("{now}."), format!("5.{event}")),
    ] {
        let request = Request::with_signature(SHOP, &format!("t={time},v1={signed}"), body);
        assert_eq!(stage.send(&request).await.status, 400, "{time}");
    }
    // Signed for a shorter time, sent with a digit of the body moved into it.
    let (head, tail) = (now / 10, now % 10);
    let signed = v1(SECRET, head, &format!("{tail}.{event}"));
    let request = Request::with_signature(SHOP, &format!("t={now},v1={signed}"), event.clone());
    stage.send(&request).await.expect_code(400, "refused", "signature_mismatch");
    // The unmodified request gets its regular answer.
    let request = Request::with_signature(SHOP, &format!("t={now},v1={}", v1(SECRET, now, &event)), event);
    stage.send(&request).await.expect_forwarded();
    assert_eq!(stage.amplitude.events().len(), 1);
}

/// A recorded request is valid during the tolerance only, in whichever direction the clock is wrong. A newer time needs
/// a new signature.
#[tokio::test]
async fn replay_after_the_tolerance_is_refused() {
    let stage = Stage::with_variables(&[("SIGNATURE_TOLERANCE_SECONDS", "60")]).await;
    let (body, now) = (small_body(), stripe::now());
    for (time, code) in [
        (now - 3600, "timestamp_too_old"),
        (now - 65, "timestamp_too_old"),
        (now + 65, "timestamp_in_future"),
        (999_999_999_999, "timestamp_in_future"),
        (1, "timestamp_too_old"),
    ] {
        let hex = v1(SECRET, time, &body);
        for _ in 0..2 {
            let request = Request::with_signature(SHOP, &format!("t={time},v1={hex}"), body.clone());
            stage.send(&request).await.expect_code(400, "refused", code);
        }
        let request = Request::with_signature(SHOP, &format!("t={now},v1={hex}"), body.clone());
        stage.send(&request).await.expect_code(400, "refused", "signature_mismatch");
    }
    assert_eq!(stage.amplitude.requests(), 0);
}

#[tokio::test]
async fn bad_requests_cause_almost_no_parameter_store_calls() {
    let stage = Stage::start().await;
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    let started = stripe::now();
    for number in 0..150 {
        let mut malformed = Request::signed("x", "whsec_wrong", small_body());
        malformed.path = format!("/stripe/%{number:02x}..{number}");
        stage.send(&malformed).await.expect(404, "refused");
        stage.send(&Request::signed(SHOP, "whsec_wrong", small_body())).await.expect(400, "refused");
        stage.send(&Request::unsigned(&format!("x{number}"), small_body())).await.expect(400, "refused");
        let malformed = Request::with_signature(&format!("y{number}"), "t=1,v1", small_body());
        stage.send(&malformed).await.expect(400, "refused");
    }
    // The first load, and one early refresh in 10 s.
    let allowed = 2 + usize::try_from((stripe::now() - started) / 10).unwrap();
    assert!(stage.store.calls() <= allowed, "{} calls", stage.store.calls());
}

/// The number of unauthenticated requests; `STRANGERS=100000` takes some minutes.
const STRANGERS: usize = 6_000;

/// The growth in KiB allowed between the first and second half of those requests. The names that are remembered, at
/// most 1,024, are a fraction of it.
const GROWTH: u64 = 1024;

#[tokio::test]
async fn strangers_cannot_exhaust_memory() {
    // As on Managed Instances. Otherwise the runtime sets an environment variable for each invocation, and glibc keeps
    // all former values of a variable, 150 bytes each.
    let stage = Stage::with_variables(&[("AWS_LAMBDA_MAX_CONCURRENCY", "2")]).await;
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    let strangers: usize = std::env::var("STRANGERS").ok().and_then(|number| number.parse().ok()).unwrap_or(STRANGERS);
    let mut memory = Vec::new();
    for number in 0..strangers {
        let name = format!("stranger-{number}-{}", "x".repeat(40));
        let answer = stage.send(&Request::with_signature(&name, "t=1,v1=00", "{}")).await;
        assert!(matches!(answer.status, 404 | 503), "{}", answer.body);
        if (number + 1) % (strangers / 4) == 0 {
            memory.extend(memory_now(&stage));
        }
    }
    eprintln!("{strangers} strangers: {memory:?} KiB");
    if let [_, half, .., end] = memory[..] {
        assert!(end <= half + GROWTH, "{memory:?} KiB");
    }
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
}

/// The process's current memory in KiB. Only Linux reports it.
fn memory_now(stage: &Stage) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", stage.function.process_id())).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

/// Whatever else a project's folder contains, right or wrong, callers that cannot sign get the same answer. They can
/// see that a project of this name exists and, because the operator has to see it, that it has no usable signing
/// secret.
#[tokio::test]
async fn strangers_cannot_probe_a_project() {
    let stage = Stage::start().await;
    let secret = ("stripe-signing-secret", "whsec_of_this_one");
    let key = ("amplitude-api-key", API_KEY);
    let projects = [
        vec![secret, key],
        vec![secret],
        vec![secret, key, ("amplitude-test-api-key", "key-of-tests")],
        vec![secret, key, ("settings", r#"{"amplitude_region": "eu"}"#)],
        vec![secret, key, ("settings", "{broken")],
        vec![secret, ("amplitude-api-key", " ")],
        vec![("stripe-signing-secret/eu", "whsec_of_this_one"), key],
        vec![secret, ("stripe-signing-secret/eu", "whsec_eu"), ("stripe-signing-secret/us", "whsec_us"), key],
        vec![secret, ("stripe-signing-secret/eu", "sk_of_stripe"), key],
        vec![secret, key, ("what-is-this", "value-of-an-unknown-parameter")],
    ];
    let body = small_body();
    let strangers_answers = async |project: &str| {
        let now = stripe::now();
        let mut answers = Vec::new();
        for gateway in Gateway::ALL {
            for request in [
                Request::unsigned(project, body.clone()),
                Request::with_signature(project, "nonsense", body.clone()),
                Request::with_signature(project, &format!("t={now},v0=00"), body.clone()),
                Request::with_signature(project, &stripe::sign("whsec_wrong", now, body.as_bytes()), body.clone()),
                Request::with_signature(project, &stripe::sign("whsec_wrong", 1, body.as_bytes()), body.clone()),
                Request::with_signature(project, &stripe::sign("whsec_wrong", now, b"[]"), "[]"),
            ] {
                answers.push(seen(&stage.function.send(gateway, &request).await));
            }
        }
        answers
    };
    let mut different = HashSet::new();
    for (number, parameters) in projects.iter().enumerate() {
        let project = format!("project-{number}");
        for (name, value) in parameters {
            stage.store.put(&format!("{project}/{name}"), value).await;
        }
        let answers = strangers_answers(&project).await;
        assert!(answers.iter().all(|answer| answer.0 == 400), "{project}: {answers:?}");
        different.insert(format!("{answers:?}"));
    }
    assert_eq!(different.len(), 1, "{different:#?}");

    // The remaining differences.
    stage.store.put("without-secret/amplitude-api-key", API_KEY).await;
    for (project, status, code) in [("nobodys", 404, "unknown_project"), ("without-secret", 500, "parameter_missing")] {
        for (status_of_it, _, answer) in strangers_answers(project).await {
            // Without a well-formed header, these do not differ either.
            assert!(status_of_it == 400 || (status_of_it == status && answer["code"] == code), "{answer}");
        }
    }
}

/// Everything that an unauthenticated caller sees of an answer.
fn seen(answer: &Answer) -> (u16, Vec<String>, Value) {
    // The Function URL emulator adds the time and its own IDs.
    let of_the_function = |name: &str| !["date", "x-amzn-requestid", "x-amzn-trace-id"].contains(&name);
    let headers = answer.headers.iter().filter(|(name, _)| of_the_function(name.as_str()));
    (answer.status, headers.map(|(name, value)| format!("{name}: {value:?}")).collect(), answer.body.clone())
}
