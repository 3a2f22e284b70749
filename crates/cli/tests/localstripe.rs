//! The commands beside a Stripe that others have written: localstripe.

// As in the function's `tests/it`: a helper, like a test, stops where it meets what it does not expect.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod command_line;
mod local_amplitude;
mod localstripe_server;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use amplitude_emulator::Configuration;
use command_line::{Serving, cli};
use local_amplitude::LocalAmplitude;
use localstripe_server::Localstripe;
use serde_json::Value;

/// How many events there are of each type when all is bought. The function forwards payments and invoices by default.
const EVENTS: [(&str, usize); 9] = [
    ("customer.created", 2),
    ("customer.subscription.created", 2),
    ("customer.updated", 2),
    ("invoice.created", 2),
    ("invoice.payment_succeeded", 1),
    ("payment_intent.payment_failed", 1),
    ("payment_intent.succeeded", 2),
    ("plan.created", 1),
    ("product.created", 1),
];

fn is_forwarded(event_type: &str) -> bool {
    event_type.starts_with("invoice.") || event_type.starts_with("payment_intent.")
}

#[tokio::test]
async fn its_webhooks_are_taken_and_those_of_supported_types_land() {
    let localstripe = Localstripe::start().await;
    let mut serving = Serving::start(&[]);
    let amplitude = serving.amplitude();
    localstripe.send_webhooks(&serving.url, "whsec_demo").await;
    localstripe.buy().await;

    let mut types = BTreeMap::new();
    let mut forwarded = BTreeSet::new();
    while types.values().sum::<usize>() < 14 {
        let line = serving.lines.recv_timeout(Duration::from_secs(20)).unwrap();
        // Before the first delivery, `serve` prints what it serves.
        let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
        let event_type = line["type"].as_str().unwrap().to_owned();
        let outcome = if is_forwarded(&event_type) { "forwarded" } else { "ignored" };
        assert_eq!((line["outcome"].as_str(), line["status"].as_u64()), (Some(outcome), Some(200)), "{line}");
        if is_forwarded(&event_type) {
            forwarded.insert(line["event"].as_str().unwrap().to_owned());
        }
        *types.entry(event_type).or_insert(0) += 1;
    }
    assert_eq!(types, EVENTS.map(|(event_type, number)| (event_type.to_owned(), number)).into());
    let landed = serving.accepted(&amplitude);
    let landed: Vec<_> = landed.iter().map(|event| event["event"]["insert_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!((landed.len(), landed.into_iter().collect()), (6, forwarded));
}

#[tokio::test]
async fn its_events_are_listed_as_stripe_does() {
    let localstripe = Localstripe::start().await;
    localstripe.buy().await;
    let all = list(&localstripe, "limit=100").await;
    let mut types = BTreeMap::new();
    all.iter().for_each(|event| *types.entry(type_of(event)).or_insert(0) += 1);
    assert_eq!(types, EVENTS.into());
    assert!(all.iter().map(|event| event["created"].as_i64().unwrap()).rev().is_sorted());

    let wanted = "types[]=invoice.created&types[]=payment_intent.succeeded&limit=3";
    let expected: Vec<_> =
        all.iter().filter(|event| ["invoice.created", "payment_intent.succeeded"].contains(&type_of(event))).collect();
    let first = list(&localstripe, wanted).await;
    assert_eq!(first.iter().collect::<Vec<_>>(), expected[..3]);
    let rest = list(&localstripe, &format!("{wanted}&starting_after={}", first[2]["id"].as_str().unwrap())).await;
    assert_eq!(rest.iter().collect::<Vec<_>>(), expected[3..]);

    // The rest is its own.
    for (path, expected) in
        [(format!("/v1/events/{}", all[0]["id"].as_str().unwrap()), 200), ("/v1/account".to_owned(), 404)]
    {
        assert_eq!(get(&localstripe, &path, "sk_test_any").await.0, expected, "{path}");
    }
    assert_eq!(get(&localstripe, "/v1/events", "pk_test_any").await.0, 401);
}

#[tokio::test]
async fn its_events_of_supported_types_are_filled_in() {
    let localstripe = Localstripe::start().await;
    localstripe.buy().await;
    let amplitude = LocalAmplitude::start(Configuration::default());
    let folder = tempfile::tempdir().unwrap();
    let projects = "[shop]\nstripe-signing-secret = \"whsec_shop\"\namplitude-api-key = \"key\"\n";
    std::fs::write(folder.path().join("projects.toml"), projects).unwrap();
    let events = list(&localstripe, "limit=100").await;
    let newest = events[0]["created"].as_i64().unwrap();
    let (since, until) = ((newest - 60).to_string(), (newest + 1).to_string());
    let shop = ["backfill", "--project", "shop", "--projects", "projects.toml"];
    let output = cli(&[&shop[..], &["--since", &since, "--until", &until, "--yes"]].concat())
        .current_dir(folder.path())
        .envs(amplitude.variables())
        .env("STRIPE_API_URL", localstripe.url())
        .env("STRIPE_SECRET_KEY", "sk_test_any")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let expected = events.iter().filter(|event| is_forwarded(type_of(event)));
    let expected: BTreeMap<_, _> = expected.map(|event| (event["id"].as_str().unwrap().to_owned(), 1)).collect();
    assert_eq!((expected.len(), amplitude.insert_ids()), (6, expected));
}

async fn list(localstripe: &Localstripe, query: &str) -> Vec<Value> {
    let (status, list) = get(localstripe, &format!("/v1/events?{query}"), "sk_test_any").await;
    assert_eq!(status, 200, "{list}");
    list["data"].as_array().unwrap().clone()
}

async fn get(localstripe: &Localstripe, path: &str, key: &str) -> (u16, Value) {
    let http = stripe_amplitude::http_client::build(None).unwrap();
    let answer = http.get(format!("{}{path}", localstripe.url())).basic_auth(key, Some("")).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
}

fn type_of(event: &Value) -> &str {
    event["type"].as_str().unwrap()
}
