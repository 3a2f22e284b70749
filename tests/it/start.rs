//! The start of the function: its work before the first delivery, and the errors that prevent it from starting.

use crate::harness::amplitude::Amplitude;
use crate::harness::lambda::run_to_exit;
use crate::harness::parameter_store::{Fault, ParameterStore};
use crate::harness::program::{free_address, scratch};
use crate::harness::{SHOP, Stage, eventually, stripe};

#[tokio::test]
async fn warm_up_precedes_the_first_delivery() {
    let stage = Stage::from_parts(
        ParameterStore::start_with_shop().await,
        Amplitude::start().await,
        &[("WARM_PROJECTS", SHOP)],
    )
    .await;
    eventually("the warm-up", async || (stage.amplitude.connections() == 1).then_some(())).await;
    assert_eq!(stage.store.calls(), 1);
    assert!(stage.amplitude.events().is_empty());

    let event = stripe::new_event("charge.succeeded");
    stage.deliver(&event).await.expect_forwarded();
    assert_eq!(stage.store.calls(), 1, "the parameters are already loaded");
    assert_eq!(stage.amplitude.connections(), 1, "the connection is already open");
    let line = stage.function.line_of(&event, 1).await;
    assert_eq!(line["parameter_store_milliseconds"], 0, "{line}");
}

#[tokio::test]
async fn unusable_warm_project_is_logged() {
    let store = ParameterStore::start_with_shop().await;
    store.put("broken/stripe-signing-secret", "whsec_broken").await;
    let variables = [("WARM_PROJECTS", "elsewhere, broken ,shop")];
    let stage = Stage::from_parts(store, Amplitude::start().await, &variables).await;
    let line = stage.function.line_with("\"project\":\"elsewhere\"").await;
    assert!(line.contains("\"WARN\"") && line.contains("no such project"), "{line}");
    let line = stage.function.line_with("\"project\":\"broken\"").await;
    assert!(line.contains("\"WARN\"") && line.contains("amplitude-api-key is missing"), "{line}");
    eventually("the connection", async || (stage.amplitude.connections() == 1).then_some(())).await;
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    assert_eq!(stage.store.calls(), 3);
}

#[tokio::test]
async fn failed_warm_up_is_repeated_by_the_first_delivery() {
    for fault in [Fault::Down, Fault::Denied, Fault::Hang] {
        let store = ParameterStore::start_with_shop().await;
        store.fail(fault);
        let stage = Stage::from_parts(store, Amplitude::start().await, &[("WARM_PROJECTS", SHOP)]).await;
        stage.function.line_with("warm-up failed").await;
        stage.store.recover();
        stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    }
}

#[tokio::test]
async fn unreachable_amplitude_is_logged_at_start() {
    let stage = Stage::from_parts(
        ParameterStore::start_with_shop().await,
        Amplitude::unreachable(),
        &[("WARM_PROJECTS", SHOP)],
    )
    .await;
    let line = stage.function.line_with("connection to Amplitude").await;
    assert!(line.contains("\"WARN\""), "{line}");
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect(502, "failed");
}

#[tokio::test]
async fn invalid_variable_stops_the_start_and_is_named() {
    // Nothing listens there, so a function that starts in spite of the variable ends with another error.
    let closed_address = free_address().to_string();
    for (name, value, expected) in [
        ("PARAMETER_PREFIX", "stripe-amplitude", "a path"),
        ("PARAMETER_TTL_SECONDS", "0", "1 or more"),
        ("PARAMETER_TTL_SECONDS", "5m", "a whole number of seconds"),
        ("WARM_PROJECTS", "shop,a/b", "names of projects, separated by commas"),
        ("SIGNATURE_TOLERANCE_SECONDS", "0", "1 or more"),
        ("SIGNATURE_TOLERANCE_SECONDS", "-5", "a whole number of seconds"),
        ("DELIVERY", "sometimes", "`direct`"),
        ("AMPLITUDE_URL", "api2.amplitude.com", "an https URL"),
        ("AMPLITUDE_URL", "http://amplitude.example/2/httpapi", "an https URL"),
        ("STRIPE_API_URL", "http://10.0.0.1", "an https URL"),
        ("AWS_ENDPOINT_URL_SSM", "localhost", "an http or https URL"),
        ("AWS_ENDPOINT_URL", "ftp://localhost", "an http or https URL"),
        ("RUST_LOG", "loud", "one of off, error, warn, info, debug, trace"),
        ("AWS_LAMBDA_LOG_LEVEL", "loud", "one of off, error, warn, info, debug, trace"),
    ] {
        // Even if nothing else is logged.
        let quiet = ("RUST_LOG", if name == "AWS_LAMBDA_LOG_LEVEL" { "" } else { "off" });
        let (status, output) = run_to_exit(&[("AWS_LAMBDA_RUNTIME_API", &*closed_address), quiet, (name, value)]).await;
        assert!(!status.success(), "{name}");
        assert_eq!(output.lines().count(), 1, "{output}");
        let line: serde_json::Value = serde_json::from_str(&output).unwrap();
        assert_eq!(line["level"], "ERROR");
        let error = line["error"].as_str().unwrap();
        for words in [name, value, expected] {
            assert!(error.contains(words), "{words:?} is not in {error:?}");
        }
    }
}

#[tokio::test]
async fn extra_ca_file_without_certificate_stops_the_start() {
    let closed_address = free_address().to_string();
    let empty = scratch().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let missing = scratch().join("missing.pem");
    for file in [empty.to_str().unwrap(), missing.to_str().unwrap()] {
        let (status, output) =
            run_to_exit(&[("AWS_LAMBDA_RUNTIME_API", &closed_address), ("EXTRA_CA_FILE", file)]).await;
        assert!(!status.success());
        assert_eq!(output.lines().count(), 1, "{output}");
        assert!(output.contains("EXTRA_CA_FILE") && output.contains(file) && output.contains("PEM"), "{output}");
    }
}

#[tokio::test]
async fn start_outside_lambda_explains_how_to_run_it() {
    let (status, output) = run_to_exit(&[]).await;
    assert!(!status.success());
    assert_eq!(output.lines().count(), 1, "{output}");
    assert!(output.contains("make run"), "{output}");
}

/// A template can therefore declare all variables.
#[tokio::test]
async fn empty_variables_count_as_unset() {
    let empty = [
        "PARAMETER_TTL_SECONDS",
        "WARM_PROJECTS",
        "REDELIVERY_QUEUE_URL",
        "DELIVERY",
        "SIGNATURE_TOLERANCE_SECONDS",
        "EXTRA_CA_FILE",
        "AWS_ENDPOINT_URL",
        "RUST_LOG",
        "AWS_LAMBDA_LOG_LEVEL",
    ]
    .map(|name| (name, ""));
    let stage = Stage::with_variables(&empty).await;
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
}
