//! The metrics in the log lines: CloudWatch can parse them, and unauthenticated callers cannot add any.

use std::collections::{BTreeSet, HashSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use amplitude_emulator::Fault;
use serde_json::{Value, json};

use crate::harness::gateway::{Gateway, Request};
use crate::harness::parameter_store::Fault as StoreFault;
use crate::harness::program::installed;
use crate::harness::{API_KEY, SECRET, SHOP, Stage, stripe};

/// All metrics.
const METRICS: [&str; 15] = [
    "forwarded",
    "ignored",
    "refused",
    "failed",
    "deferred",
    "dead",
    "queued",
    "cold_start",
    "not_ingested",
    "secret_rolling",
    "unknown_revenue",
    "without_user",
    "seconds_behind_stripe",
    "amplitude_milliseconds",
    "parameter_store_milliseconds",
];

#[tokio::test]
async fn request_lines_use_the_embedded_metric_format() {
    let stage = Stage::start().await;
    let mut sent = all_outcomes(&stage).await;
    sent += strangers_requests(&stage).await;
    let lines = stage.function.request_lines(sent).await;
    assert_eq!(lines.len(), sent);
    validate(&lines);
    for line in &lines {
        expect_rules(line);
    }
    // The intended outcomes have occurred.
    let outcomes: BTreeSet<_> = lines.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, BTreeSet::from(["failed", "forwarded", "ignored", "refused"]));
    let names: HashSet<_> = lines.iter().flat_map(names).collect();
    for name in ["cold_start", "secret_rolling", "without_user", "seconds_behind_stripe"] {
        assert!(names.contains(name), "{name}");
    }
}

#[tokio::test]
async fn requests_cannot_add_metrics_or_dimensions() {
    let stage = Stage::start().await;
    all_outcomes(&stage).await;
    let before = stage.function.request_lines(1).await;
    let sent = strangers_requests(&stage).await;
    let lines = stage.function.request_lines(before.len() + sent).await;
    let functions: HashSet<_> = lines.iter().map(|line| line["function"].as_str().unwrap()).collect();
    assert_eq!(functions.len(), 1, "the only dimension has the one value set by Lambda: {functions:?}");
    for line in &lines {
        let directives = &line["_aws"]["CloudWatchMetrics"];
        assert_eq!(directives.as_array().unwrap().len(), 1, "{line}");
        assert_eq!(directives[0]["Namespace"], "stripe-amplitude");
        assert_eq!(directives[0]["Dimensions"], json!([["function"]]));
        for name in names(line) {
            assert!(METRICS.contains(&name), "{name} in {line}");
        }
    }
}

/// Produces each outcome at least once, and returns the number of requests.
async fn all_outcomes(stage: &Stage) -> usize {
    let mut event = stripe::new_event("charge.succeeded");
    event["type"] = "customer.created".into();
    stage.deliver(&event).await.expect(200, "ignored");
    for event_type in ["charge.succeeded", "balance.available"] {
        stage.deliver(&stripe::new_event(event_type)).await.expect_forwarded();
    }
    let (body, now) = (stripe::new_event("charge.succeeded").to_string(), stripe::now());
    let both = stripe::sign(SECRET, now, body.as_bytes()) + ",v1=" + &"0".repeat(64);
    stage.send(&Request::with_signature(SHOP, &both, body.clone())).await.expect_forwarded();
    stage.send(&Request::unsigned(SHOP, body)).await.expect(400, "refused");
    stage.amplitude.inject(Fault::answer(400), 1);
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect(502, "failed");
    stage.store.put_project("unreadable", SECRET, API_KEY).await;
    stage.store.fail_next(StoreFault::Denied, 1);
    stage.deliver_to("unreadable", SECRET, &stripe::new_event("charge.succeeded")).await.expect(503, "failed");
    7
}

/// Sends names and types that would add metrics, dimensions or members to the line if they could. Returns the number of
/// requests.
async fn strangers_requests(stage: &Stage) -> usize {
    let words = ["_aws", "function", "forwarded", "evil", "amplitude_milliseconds", "CloudWatchMetrics", "__proto__"];
    let mut requests = Vec::new();
    for word in words {
        requests.push(Request::with_signature(word, "t=1,v1=00", "{}"));
        let header = Request::unsigned(SHOP, "{}").header(word, word).header("X-Amz-Function", word);
        requests.push(header.header("Lambda-Runtime-Invoked-Function-Arn", word));
        let injected = json!({"_aws": {"Timestamp": 0, "CloudWatchMetrics": [{"Namespace": "evil"}]}}).to_string();
        requests.push(Request::with_signature(SHOP, &format!("t=1,v1=00,{injected}"), injected));
        // Nor can a caller with the secret.
        for event_type in [word, "charge.succeeded"] {
            let mut event = stripe::new_event("charge.succeeded");
            event["type"] = event_type.into();
            event["id"] = format!("evt\",\"{word}\":1,\"x\":\"{event_type}").into();
            for member in words {
                event[member] = 1.into();
                event["data"]["object"][member] = 1.into();
            }
            requests.push(Request::signed(SHOP, SECRET, event.to_string()));
        }
    }
    for request in &requests {
        stage.function.send(Gateway::HttpApi, request).await;
    }
    requests.len()
}

fn names(line: &Value) -> impl Iterator<Item = &str> {
    let metrics = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap();
    metrics.iter().map(|metric| metric["Name"].as_str().unwrap())
}

/// Validates with an independent validator.
fn validate(lines: &[Value]) {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut python = Command::new(installed("python"))
        .arg(format!("{root}/tests/it/validate.py"))
        .arg(format!("{root}/tests/data/embedded-metric-format.schema.json"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    python.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "a line is not in the embedded metric format");
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), lines.len().to_string());
}

/// Rules that a schema cannot express: each referenced name must be a member of the line, with the right type.
fn expect_rules(line: &Value) {
    let mut seen = HashSet::new();
    for name in names(line) {
        assert!(line[name].is_number(), "{name} in {line}");
        assert!(seen.insert(name), "{name} occurs twice in {line}");
    }
    for dimension in line["_aws"]["CloudWatchMetrics"][0]["Dimensions"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|set| set.as_array().unwrap())
    {
        let value = line[dimension.as_str().unwrap()].as_str();
        assert!(value.is_some_and(|value| (1..=1024).contains(&value.len())), "{dimension} in {line}");
    }
    let seconds = i64::try_from(stripe::now()).unwrap() - line["_aws"]["Timestamp"].as_i64().unwrap() / 1000;
    assert!((0..60).contains(&seconds), "CloudWatch expects the time in milliseconds: {line}");
    assert!(line.to_string().len() < 256 * 1024, "CloudWatch cuts longer lines and ignores their metrics");
}
