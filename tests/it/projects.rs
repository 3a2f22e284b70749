//! How projects are read from Parameter Store: calls that unauthenticated requests can cause, new secrets, labels, and
//! many parameters.

use serde_json::json;
use tokio::time::Instant;

use crate::harness::amplitude::Amplitude;
use crate::harness::gateway::Request;
use crate::harness::parameter_store::{Fault, ParameterStore};
use crate::harness::{API_KEY, SECRET, SHOP, Stage, eventually, stripe};

#[tokio::test]
async fn project_is_read_once_per_time_to_live() {
    let stage = Stage::start().await;
    for _ in 0..5 {
        stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    }
    assert_eq!(stage.store.calls(), 1);
}

#[tokio::test]
async fn bad_signature_header_causes_no_call() {
    let stage = Stage::start().await;
    let body = stripe::sample_bytes("charge.succeeded");
    stage.send(&Request::unsigned(SHOP, body.clone())).await.expect(400, "refused");
    for header in ["", "nonsense", "t=1", "t=1,v0=00", "v1=00", "t=01,v1=00", "t=1,v1=00 "] {
        stage.send(&Request::with_signature(SHOP, header, body.clone())).await.expect(400, "refused");
    }
    assert_eq!(stage.store.calls(), 0);
}

#[tokio::test]
async fn unknown_project_is_looked_up_once() {
    let stage = Stage::start().await;
    for _ in 0..5 {
        stage.deliver_to("elsewhere", SECRET, &stripe::new_event("charge.succeeded")).await.expect(404, "refused");
    }
    assert_eq!(stage.store.calls(), 1);
}

#[tokio::test]
async fn strangers_cause_a_bounded_number_of_calls() {
    let stage = Stage::start().await;
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    let start = Instant::now();
    let (mut unknown, mut exhausted) = (0, 0);
    // Until the bucket is empty for a while, which takes more requests on a slow machine.
    for number in 0..1000 {
        if exhausted == 20 {
            break;
        }
        let request = Request::with_signature(&format!("stranger-{number}"), "t=1,v1=00", "{}");
        let answer = stage.send(&request).await;
        match answer.status {
            404 => unknown += 1,
            _ => {
                answer.expect_code(503, "failed", "too_many_new_projects");
                exhausted += 1;
            }
        }
    }
    // Twenty at once, one of which the shop has used, and then two a second.
    let refilled = start.elapsed().as_secs_f64() * 2.0;
    assert!(unknown >= 19 && f64::from(unknown) <= 20.0 + refilled, "{unknown} after {:?}", start.elapsed());
    assert_eq!(exhausted, 20);
    assert_eq!(stage.store.calls(), 1 + usize::try_from(unknown).unwrap());
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
}

/// The worst case: the warm-up has failed, and unauthenticated requests have emptied the token bucket before the first
/// delivery.
#[tokio::test]
async fn strangers_cannot_block_a_warm_project() {
    let store = ParameterStore::start_with_shop().await;
    store.fail(Fault::Down);
    let stage = Stage::from_parts(store, Amplitude::start().await, &[("WARM_PROJECTS", SHOP)]).await;
    stage.function.line_with("warm-up failed").await;
    let stranger = async |number: usize| {
        let name = format!("stranger-{number}-{}", stripe::now());
        stage.send(&Request::with_signature(&name, "t=1,v1=00", "{}")).await.status
    };
    // Parameter Store still fails, so each request takes a token and no project is remembered as unknown.
    for number in 0..30 {
        assert_eq!(stranger(number).await, 503);
    }
    stage.store.recover();
    for number in 30..60 {
        stranger(number).await;
        stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    }
    assert_eq!(stage.amplitude.events().len(), 30);
}

#[tokio::test]
async fn signed_answers_report_projects_that_are_not_warm() {
    let stage = Stage::with_variables(&[("WARM_PROJECTS", "warm,other")]).await;
    stage.store.put_project("warm", "whsec_warm", API_KEY).await;
    let mut ignored = stripe::new_event("charge.succeeded");
    ignored["type"] = "customer.created".into();
    for event in [stripe::new_event("charge.succeeded"), ignored, json!({"object": "charge"})] {
        let answer = stage.deliver(&event).await;
        assert_eq!(answer.body["in_warm_projects"], false, "{}", answer.body);
        let answer = stage.deliver_to("warm", "whsec_warm", &event).await;
        assert_eq!(answer.body.get("in_warm_projects"), None, "{}", answer.body);
    }
    let event = stripe::new_event("charge.succeeded");
    for (project, secret) in [(SHOP, "whsec_wrong"), ("warm", "whsec_wrong"), ("elsewhere", SECRET)] {
        let answer = stage.deliver_to(project, secret, &event).await;
        assert_eq!(answer.body.get("in_warm_projects"), None, "{}", answer.body);
    }
}

#[tokio::test]
async fn new_secret_replaces_the_old_one_immediately() {
    let stage = Stage::start().await;
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    stage.store.put(&format!("{SHOP}/stripe-signing-secret"), "whsec_new").await;
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    assert_eq!(stage.store.calls(), 1, "the old secret is valid until a signature fails");
    stage.deliver_to(SHOP, "whsec_new", &stripe::new_event("charge.succeeded")).await.expect_forwarded();
    assert_eq!(stage.store.calls(), 2);
    let answer = stage.deliver(&stripe::new_event("charge.succeeded")).await;
    answer.expect_code(400, "refused", "signature_mismatch");
}

/// While a secret is rolled, Stripe signs with both.
#[tokio::test]
async fn header_with_two_signatures_matches_either_secret() {
    let stage = Stage::start().await;
    stage.store.put_project("rolled", "whsec_new", API_KEY).await;
    for (project, secrets) in [SHOP, "rolled"].into_iter().flat_map(|project| {
        [[SECRET, "whsec_new"], ["whsec_new", SECRET]].into_iter().map(move |secrets| (project, secrets))
    }) {
        let (body, now) = (stripe::new_event("charge.succeeded").to_string(), stripe::now());
        let [one, other] = secrets.map(|secret| stripe::sign(secret, now, body.as_bytes()));
        let (_, other) = other.split_once(',').unwrap();
        let request = Request::with_signature(project, &format!("{one},{other},v0=00"), body);
        stage.send(&request).await.expect_forwarded();
    }
    assert_eq!(stage.store.calls(), 2, "one call per project and no early refresh");
}

#[tokio::test]
async fn wrong_signatures_cause_one_refresh_in_ten_seconds() {
    let stage = Stage::start().await;
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    let start = Instant::now();
    for _ in 0..10 {
        let answer = stage.deliver_to(SHOP, "whsec_wrong", &stripe::new_event("charge.succeeded")).await;
        answer.expect_code(400, "refused", "signature_mismatch");
    }
    let allowed = 1 + usize::try_from(start.elapsed().as_secs() / 10).unwrap();
    assert!((2..=1 + allowed).contains(&stage.store.calls()), "{} calls", stage.store.calls());
}

#[tokio::test]
async fn secrets_label_is_put_on_its_events() {
    let stage = Stage::start().await;
    for (name, secret) in [("/eu", "whsec_eu"), ("/us", "whsec_us"), ("", "whsec_plain")] {
        stage.store.put(&format!("labelled/stripe-signing-secret{name}"), secret).await;
    }
    stage.store.put("labelled/amplitude-api-key", API_KEY).await;
    for (secret, label) in [("whsec_us", Some("us")), ("whsec_eu", Some("eu")), ("whsec_plain", None)] {
        let event = stripe::new_event("charge.succeeded");
        stage.deliver_to("labelled", secret, &event).await.expect_forwarded();
        let source = stage.amplitude.accepted(&event).event["event_properties"].get("stripe_source").cloned();
        assert_eq!(source, label.map(Into::into), "{secret}");
    }
    // A project with labeled secrets only.
    stage.store.put("only-labels/stripe-signing-secret/eu", "whsec_eu").await;
    stage.store.put("only-labels/amplitude-api-key", API_KEY).await;
    let event = stripe::new_event("charge.succeeded");
    stage.deliver_to("only-labels", "whsec_eu", &event).await.expect_forwarded();
}

/// Parameter Store returns ten parameters per page.
#[tokio::test]
async fn parameters_are_read_from_all_pages() {
    let stage = Stage::start().await;
    stage.store.put("many/amplitude-api-key", API_KEY).await;
    for number in 0..24 {
        let name = format!("many/stripe-signing-secret/account-{number}");
        stage.store.put(&name, &format!("whsec_of_account_{number}")).await;
    }
    for number in [0, 9, 10, 23] {
        let event = stripe::new_event("charge.succeeded");
        stage.deliver_to("many", &format!("whsec_of_account_{number}"), &event).await.expect_forwarded();
        let kept = stage.amplitude.accepted(&event);
        assert_eq!(kept.event["event_properties"]["stripe_source"], format!("account-{number}"));
    }
    assert_eq!(stage.store.calls(), 3, "25 parameters are three pages");
}

#[tokio::test]
async fn unknown_parameter_is_named_in_a_warning() {
    let stage = Stage::start().await;
    stage.store.put(&format!("{SHOP}/amplitude-api-kee"), "hidden-value").await;
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    let name = format!("{}/{SHOP}/amplitude-api-kee", stage.store.prefix());
    let line = stage.function.line_with(&name).await;
    assert!(line.contains("\"WARN\"") && !line.contains("hidden-value"), "{line}");
}

#[tokio::test]
async fn removed_project_is_unknown_after_the_time_to_live() {
    let stage = Stage::with_variables(&[("PARAMETER_TTL_SECONDS", "1")]).await;
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    stage.store.delete(&format!("{SHOP}/stripe-signing-secret")).await;
    stage.store.delete(&format!("{SHOP}/amplitude-api-key")).await;
    let answer = eventually("another answer", async || {
        let answer = stage.deliver(&stripe::new_event("charge.succeeded")).await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    answer.expect_code(404, "refused", "unknown_project");
}
