//! Stripe's official library signs for us, and verifies our signatures.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::harness::gateway::{Gateway, Request};
use crate::harness::program::installed;
use crate::harness::{SECRET, SHOP, Stage, stripe};

/// Runs `sign.py` with these arguments and this input, and returns its output.
fn library(arguments: &[&str], input: &[u8]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/sign.py");
    let mut python = Command::new(installed("python"))
        .arg(script)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(input).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{script} failed");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Bodies as Stripe sends them, and one that is not ASCII.
fn bodies() -> [Vec<u8>; 3] {
    let mut event = stripe::new_event("charge.succeeded");
    event["data"]["object"]["description"] = "Grüße, 日本語, 🦀".into();
    [
        stripe::sample_bytes("payment_intent.succeeded"),
        stripe::sample_bytes("invoice.paid"),
        event.to_string().into_bytes(),
    ]
}

#[tokio::test]
async fn official_signatures_are_forwarded() {
    let stage = Stage::start().await;
    let timestamp = stripe::now().to_string();
    for body in bodies() {
        let header = library(&["sign", SECRET, &timestamp], &body);
        for gateway in Gateway::ALL {
            let request = Request::with_signature(SHOP, &header, body.clone());
            stage.function.send(gateway, &request).await.expect_forwarded();
        }
    }
    let header = library(&["sign", "whsec_another", &timestamp], &bodies()[0]);
    let answer = stage.send(&Request::with_signature(SHOP, &header, bodies()[0].clone())).await;
    answer.expect_code(400, "refused", "signature_mismatch");
}

#[test]
fn official_library_accepts_our_signatures() {
    for body in bodies() {
        let header = stripe::sign(SECRET, stripe::now(), &body);
        let event: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(library(&["verify", SECRET, &header], &body), event["id"].as_str().unwrap());
    }
}
