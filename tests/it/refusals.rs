//! Events that are not forwarded, and what the answer and the log say about them.

use serde_json::json;

use crate::harness::gateway::{Gateway, Request};
use crate::harness::{API_KEY, SECRET, SHOP, Stage, eventually, stripe};

fn new_body() -> String {
    stripe::new_event("charge.succeeded").to_string()
}

#[tokio::test]
async fn unlisted_type_is_ignored_with_200() {
    let stage = Stage::start().await;
    for event_type in ["customer.created", "issusing_transaction.created"] {
        let mut event = stripe::new_event("charge.succeeded");
        event["type"] = event_type.into();
        let answer = stage.deliver(&event).await;
        answer.expect_code(200, "ignored", "type_not_selected");
        assert_eq!((&answer.body["event"], &answer.body["type"]), (&event["id"], &json!(event_type)));
        assert_eq!(answer.body.get("user_id_from"), None);
    }
    assert_eq!(stage.amplitude.requests(), 0, "nothing is sent to Amplitude");
}

#[tokio::test]
async fn bad_signature_is_refused_with_the_reason() {
    let stage = Stage::start().await;
    let (body, now) = (new_body(), stripe::now());
    let signature = stripe::sign(SECRET, now, body.as_bytes());
    let hex = signature.split_once(",v1=").unwrap().1;
    let with = |signature: &str| Request::with_signature(SHOP, signature, body.clone());
    let changed = Request::with_signature(SHOP, &signature, body.replace("usd", "eur"));
    for (request, code, named) in [
        (Request::unsigned(SHOP, body.clone()), "signature_missing", ""),
        (with(""), "signature_malformed", ""),
        (with("nonsense"), "signature_malformed", ""),
        (with(&format!("v1={hex}")), "signature_malformed", "no t"),
        (with(&format!("t=soon,v1={hex}")), "signature_malformed", "t is not"),
        (with(&format!("t={now},t={now},v1={hex}")), "signature_malformed", "more than one t"),
        (with(&format!("t={now}, v1={hex}")), "signature_malformed", "a space"),
        (with(&format!("t={now}")), "signature_without_v1", ""),
        (with(&format!("t={now},v0={hex}")), "signature_without_v1", ""),
        (with(&stripe::sign("whsec_of_another_endpoint", now, body.as_bytes())), "signature_mismatch", ""),
        (with(&format!("t={now},v1={}", hex.to_uppercase())), "signature_mismatch", ""),
        (with(&format!("t={},v1={hex}", now - 1)), "signature_mismatch", ""),
        (changed, "signature_mismatch", ""),
    ] {
        for gateway in Gateway::ALL {
            let answer = stage.function.send(gateway, &request).await;
            answer.expect_code(400, "refused", code);
            answer.expect_reason_contains(named);
            assert_eq!(answer.body.get("event"), None, "an unverified body is never parsed");
        }
    }
    assert_eq!(stage.amplitude.requests(), 0);
    assert!(hex.len() == 64 && !stage.function.output().contains(hex));
}

/// An HTTP API joins the values with a comma, which gives a header with two `t`. So does a Function URL, but its
/// emulator only passes one of them on.
#[tokio::test]
async fn http_api_refuses_two_signature_headers() {
    let stage = Stage::start().await;
    let request = Request::signed(SHOP, SECRET, new_body());
    let signature = request.headers[1].1.clone();
    for other in ["t=1,v1=00", &signature] {
        let request = request.clone().header("Stripe-Signature", other);
        stage.send(&request).await.expect_code(400, "refused", "signature_malformed");
    }
}

/// A REST API passes the last value and a list of all values. lambda_http uses the last one, which must verify.
#[tokio::test]
async fn rest_api_verifies_the_last_signature_header() {
    let stage = Stage::start().await;
    let request = Request::signed(SHOP, SECRET, new_body());
    let signature = &request.headers[1].1;
    let wrong = "t=1,v1=00";
    for (last, is_right) in [(wrong, false), (signature, true)] {
        let first = if is_right { wrong } else { signature };
        let request = Request::with_signature(SHOP, first, request.body.clone()).header("Stripe-Signature", last);
        let answer = stage.function.send(Gateway::RestApi, &request).await;
        if is_right {
            answer.expect_forwarded();
        } else {
            answer.expect_code(400, "refused", "signature_mismatch");
        }
    }
}

#[tokio::test]
async fn age_of_a_signature_is_limited_in_both_directions() {
    let stage = Stage::with_variables(&[("SIGNATURE_TOLERANCE_SECONDS", "100")]).await;
    let default = Stage::start().await;
    let signed_at = |time: u64| {
        let body = new_body();
        Request::with_signature(SHOP, &stripe::sign(SECRET, time, body.as_bytes()), body)
    };
    for (seconds, tolerated) in [(90, true), (110, false), (290, false)] {
        for (time, code) in
            [(stripe::now() - seconds, "timestamp_too_old"), (stripe::now() + seconds, "timestamp_in_future")]
        {
            let answer = stage.send(&signed_at(time)).await;
            if tolerated {
                answer.expect_forwarded();
                continue;
            }
            answer.expect_code(400, "refused", code);
            let reason = answer.body["reason"].as_str().unwrap();
            // One or two seconds may have passed since.
            let has_age = (seconds - 3..=seconds + 3).any(|seconds| reason.contains(&format!(" {seconds} s")));
            assert!(has_age && reason.contains("100 s"), "{reason}");
        }
    }
    default.send(&signed_at(stripe::now() - 290)).await.expect_forwarded();
    default.send(&signed_at(stripe::now() - 310)).await.expect_code(400, "refused", "timestamp_too_old");
}

#[tokio::test]
async fn only_signed_requests_learn_the_age() {
    let stage = Stage::start().await;
    let body = new_body();
    let signature = stripe::sign("whsec_of_another_endpoint", stripe::now() - 10_000, body.as_bytes());
    let answer = stage.send(&Request::with_signature(SHOP, &signature, body)).await;
    answer.expect_code(400, "refused", "signature_mismatch");
}

#[tokio::test]
async fn signed_body_must_be_a_snapshot_event() {
    let stage = Stage::start().await;
    let thin = json!({"id": "evt_test_1", "object": "v2.core.event", "type": "v1.billing.meter.error_report_triggered",
        "created": "2024-09-26T17:46:22.134Z", "related_object": {"id": "mtr_1", "type": "billing.meter"}});
    for (body, code, named) in [
        (String::new(), "malformed_json", "line 1"),
        ("{\n  oops".to_owned(), "malformed_json", "line 2, column 3"),
        (new_body()[..100].to_owned(), "malformed_json", "line 1"),
        ("[]".to_owned(), "not_an_event", ""),
        ("{}".to_owned(), "not_an_event", ""),
        (json!({"id": "ch_1", "object": "charge"}).to_string(), "bare_object", "`charge`"),
        (thin.to_string(), "thin_event", "payload style"),
        (thin.to_string().replace("v1.", "v2."), "thin_event", "there is no snapshot of it"),
        (json!({"detail-type": "x", "detail": thin}).to_string(), "eventbridge_event", ""),
        (json!({"object": "list", "data": [thin]}).to_string(), "event_list", ""),
    ] {
        for gateway in Gateway::ALL {
            let answer = stage.function.send(gateway, &Request::signed(SHOP, SECRET, body.clone())).await;
            answer.expect_code(400, "refused", code);
            answer.expect_reason_contains(named);
        }
    }
    let mut no_text = Request::signed(SHOP, SECRET, b"\xff\x00\xfe".to_vec());
    no_text.base64 = true;
    stage.send(&no_text).await.expect_code(400, "refused", "malformed_json");
    assert_eq!(stage.amplitude.requests(), 0);
}

#[tokio::test]
async fn invalid_paths_cause_no_parameter_store_call() {
    let stage = Stage::start().await;
    for path in [
        "/".to_owned(),
        "/stripe".to_owned(),
        "/stripe/".to_owned(),
        "/stripe/a%2Fb".to_owned(),
        "/stripe/a.b".to_owned(),
        "/stripe/a%20b".to_owned(),
        format!("/stripe/{}", "a".repeat(65)),
        format!("/stripe/{SHOP}/"),
        format!("/stripe/{SHOP}/more"),
        format!("/webhooks/{SHOP}"),
        format!("/xstripe/{SHOP}"),
        format!("/Stripe/{SHOP}"),
        format!("/{SHOP}"),
    ] {
        for gateway in Gateway::ALL {
            // A valid signature makes no difference.
            let mut request = Request::signed(SHOP, SECRET, new_body());
            request.path.clone_from(&path);
            let answer = stage.function.send(gateway, &request).await;
            assert_eq!(answer.status, 404, "{path} through {gateway:?}: {}", answer.body);
            answer.expect_code(404, "refused", "unknown_route");
        }
    }
    assert_eq!(stage.store.calls(), 0);
}

#[tokio::test]
async fn longest_project_name_is_accepted() {
    let stage = Stage::start().await;
    let name = format!("{}-_Z9", "a".repeat(60));
    stage.store.put_project(&name, "whsec_long", API_KEY).await;
    let event = stripe::new_event("charge.succeeded");
    stage.deliver_to(&name, "whsec_long", &event).await.expect_forwarded();
}

#[tokio::test]
async fn unknown_project_is_404_and_names_its_folder() {
    let stage = Stage::start().await;
    let answer = stage.deliver_to("elsewhere", SECRET, &stripe::new_event("charge.succeeded")).await;
    answer.expect_code(404, "refused", "unknown_project");
    answer.expect_reason_contains(&format!("{}/elsewhere/", stage.store.prefix()));
    // Parameters below another project's name do not belong to this one: `sho` is a prefix of `shop`.
    let answer = stage.deliver_to("sho", SECRET, &stripe::new_event("charge.succeeded")).await;
    answer.expect_code(404, "refused", "unknown_project");
}

#[tokio::test]
async fn other_methods_are_405() {
    let stage = Stage::start().await;
    for gateway in Gateway::ALL {
        for method in ["GET", "PUT", "DELETE", "PATCH"] {
            let mut request = Request::signed(SHOP, SECRET, new_body());
            request.method = method;
            let answer = stage.function.send(gateway, &request).await;
            answer.expect_code(405, "refused", "method_not_allowed");
            assert_eq!(answer.headers["allow"], "POST", "{method} through {gateway:?}");
        }
    }
    assert_eq!(stage.store.calls(), 0);
}

#[tokio::test]
async fn body_over_4_mib_is_refused() {
    let stage = Stage::start().await;
    for base64 in [false, true] {
        let mut request = Request::with_signature(SHOP, "t=1,v1=1", vec![b' '; 4 * 1024 * 1024 + 1]);
        request.base64 = base64;
        stage.send(&request).await.expect_code(413, "refused", "body_too_large");
        assert_eq!(stage.store.calls(), 0);
    }
    // One byte less is accepted, and found not to be JSON.
    let mut request = Request::signed(SHOP, SECRET, vec![b' '; 4 * 1024 * 1024]);
    request.base64 = true;
    stage.send(&request).await.expect_code(400, "refused", "malformed_json");
}

/// Unusable parameters, with text that the reason must contain and text that it must not contain.
#[tokio::test]
async fn only_signed_requests_learn_unusable_parameters() {
    let stage = Stage::start().await;
    let settings = |value: &str| vec![("amplitude-api-key", API_KEY.to_owned()), ("settings", value.to_owned())];
    for (number, (parameters, code, named, hidden)) in [
        (vec![], "parameter_missing", "/amplitude-api-key", "nothing"),
        (vec![("amplitude-api-key", " ".to_owned())], "parameter_empty", "/amplitude-api-key", "nothing"),
        (settings("{hidden}"), "settings_invalid", "/settings cannot be used: malformed JSON at line 1", "hidden"),
        (settings("[\"hidden\"]"), "settings_invalid", "/settings cannot be used: it is not a JSON object", "hidden"),
        (
            settings(r#"{"amplitude_regoin": "hidden"}"#),
            "settings_invalid",
            "/settings cannot be used: unknown setting \"amplitude_regoin\"",
            "hidden",
        ),
        (
            settings(r#"{"amplitude_region": "hidden"}"#),
            "settings_invalid",
            "/settings cannot be used: `amplitude_region`",
            "hidden",
        ),
        (settings(" "), "parameter_empty", "/settings", "nothing"),
        (
            vec![("amplitude-api-key", API_KEY.to_owned()), ("amplitude-test-api-key", "\n".to_owned())],
            "parameter_empty",
            "/amplitude-test-api-key",
            "nothing",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let project = format!("broken-{number}");
        stage.store.put(&format!("{project}/stripe-signing-secret"), "whsec_of_broken").await;
        for (name, value) in parameters {
            stage.store.put(&format!("{project}/{name}"), &value).await;
        }
        let event = stripe::new_event("charge.succeeded");
        let answer = stage.deliver_to(&project, "whsec_of_a_stranger", &event).await;
        answer.expect_code(400, "refused", "signature_mismatch");
        assert!(!answer.body.to_string().contains("settings") && !answer.body.to_string().contains("api-key"));

        let answer = stage.deliver_to(&project, "whsec_of_broken", &event).await;
        answer.expect_code(500, "failed", code);
        answer.expect_reason_contains(&format!("{}/{project}{named}", stage.store.prefix()));
        assert!(!answer.body.to_string().contains(hidden), "{}", answer.body);
        assert!(!stage.function.output().contains(hidden));
    }
    assert_eq!(stage.amplitude.requests(), 0);
}

/// Without any secret, callers cannot be told apart, and the operator has to see the problem.
#[tokio::test]
async fn unusable_signing_secret_is_named() {
    let stage = Stage::start().await;
    let event = stripe::new_event("charge.succeeded");

    stage.store.put("no-secret/amplitude-api-key", API_KEY).await;
    let answer = stage.deliver_to("no-secret", SECRET, &event).await;
    answer.expect_code(500, "failed", "parameter_missing");
    answer.expect_reason_contains("/no-secret/stripe-signing-secret ");

    stage.store.put_project("blank", " ", API_KEY).await;
    let answer = stage.deliver_to("blank", "", &event).await;
    answer.expect_code(500, "failed", "parameter_empty");
    answer.expect_reason_contains("/blank/stripe-signing-secret ");

    for (number, kind) in ["sk", "rk", "pk"].into_iter().enumerate() {
        // Assembled here, so that scanners do not mistake it for a real one.
        let pasted = format!("{kind}_{}_{}", "live", "0a1B".repeat(6));
        let project = format!("pasted-{number}");
        stage.store.put_project(&project, &pasted, API_KEY).await;
        let answer = stage.deliver_to(&project, &pasted, &event).await;
        answer.expect_code(500, "failed", "parameter_mixed_up");
        answer.expect_reason_contains(&format!("/{project}/stripe-signing-secret "));
        assert!(!answer.body.to_string().contains(&pasted));
        assert!(!stage.function.output().contains(&pasted));
    }
}

#[tokio::test]
async fn fixed_parameter_works_after_the_time_to_live() {
    let stage = Stage::with_variables(&[("PARAMETER_TTL_SECONDS", "1")]).await;
    stage.store.put("repaired/stripe-signing-secret", "whsec_repaired").await;
    let event = stripe::new_event("charge.succeeded");
    let answer = stage.deliver_to("repaired", "whsec_repaired", &event).await;
    answer.expect_code(500, "failed", "parameter_missing");
    answer.expect_reason_contains("/amplitude-api-key");
    stage.store.put("repaired/amplitude-api-key", API_KEY).await;
    eventually("the repaired project", async || {
        let answer = stage.deliver_to("repaired", "whsec_repaired", &event).await;
        (answer.status == 200).then_some(())
    })
    .await;
}
