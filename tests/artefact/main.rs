//! The deployed artefact: the build of `sam build` under AWS's own runtime interface emulator, and `cargo lambda
//! deploy` against a local AWS.
//!
//! `make artefact` builds the artefact and installs the emulator. The build is for arm64; on other processors it runs
//! under QEMU.

// As in `tests/it`. This uses a part of its harness.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    missing_docs,
    unreachable_pub
)]

#[path = "../it/harness/mod.rs"]
mod harness;

mod deploy;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::amplitude::Amplitude;
use crate::harness::gateway::{Answer, Gateway, Request};
use crate::harness::lambda::REGION;
use crate::harness::parameter_store::ParameterStore;
use crate::harness::program::{Server, free_address, log_of, scratch};
use crate::harness::{API_KEY, SECRET, SHOP, eventually, http_client, secrets, stripe};

#[tokio::test]
async fn release_build_forwards_every_type() {
    let stage = Stage::start("deployed", ".aws-sam/build/Function/bootstrap").await;
    for gateway in [Gateway::HttpApi, Gateway::RestApi] {
        for event_type in stripe_amplitude::stripe::event_types::TYPES {
            let event = stripe::new_event(event_type);
            stage.send(gateway, &Request::signed(SHOP, SECRET, event.to_string())).await.expect_forwarded();
            assert_eq!(stage.amplitude.accepted(&event).event["event_type"], format!("[Stripe] {event_type}"));
        }
    }
    let answer = stage.send(Gateway::HttpApi, &Request::signed(SHOP, "whsec_wrong", "{}")).await;
    answer.expect_code(400, "refused", "signature_mismatch");
    // This build does not have the other build's route.
    let answer = stage.send(Gateway::HttpApi, &Request::signed("panic-for-tests", SECRET, "{}")).await;
    answer.expect_code(404, "refused", "unknown_project");
}

#[tokio::test]
async fn release_build_redelivers_from_the_queue() {
    let stage = Stage::start("redelivery", ".aws-sam/build/RedeliveryFunction/bootstrap").await;
    let batch = std::fs::read_to_string(root().join("events/redelivery.json")).unwrap();
    let mut batch: Value = serde_json::from_str(&batch).unwrap();
    batch["Records"][0]["messageAttributes"]["project"]["stringValue"] = SHOP.into();
    let url = format!("http://{}/2015-03-31/functions/function/invocations", stage.emulator.address);
    let answer = stage.http.post(url).body(batch.to_string()).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&answer).unwrap(), json!({"batchItemFailures": []}));
    assert_eq!(stage.amplitude.events()[0].event["event_type"], "[Stripe] payment_intent.succeeded");
}

/// cargo-lambda would choose `panic = "abort"`, which would also end the process for every other request.
#[tokio::test]
async fn process_survives_a_panic() {
    let stage = Stage::start("panicking", "target/lambda/panic-for-tests/stripe-amplitude/bootstrap").await;
    // The panic's message contains the headers and the body, which is full of secrets.
    let body = stripe::sample("checkout.session.completed").to_string() + SECRET + API_KEY;
    for _ in 0..3 {
        let answer = stage.send(Gateway::HttpApi, &Request::signed("panic-for-tests", SECRET, body.clone())).await;
        secrets::expect_none_in("the answer to a panic", &answer.body.to_string());
        answer.expect_code(500, "failed", "internal_error");
        let event = stripe::new_event("charge.succeeded");
        stage.send(Gateway::HttpApi, &Request::signed(SHOP, SECRET, event.to_string())).await.expect_forwarded();
    }
    let log = eventually("the lines about panics", async || {
        let log = std::fs::read_to_string(log_of("rie-panicking")).unwrap();
        (log.matches("this is a bug").count() == 3).then_some(log)
    })
    .await;
    assert!(log.contains("src/webhook.rs:"), "the location is logged");
    assert!(!log.contains("a panic for tests"), "the message is not logged, because it may contain anything");
    secrets::expect_none_in("the log of a process that panicked", &log);
    assert_eq!(stage.store.calls(), 1, "the same process still has its cache");
}

/// A release build under the emulator, with everything around it.
struct Stage {
    store: ParameterStore,
    amplitude: Amplitude,
    emulator: Server,
    http: reqwest::Client,
}

impl Stage {
    /// `name` determines the log file; `bootstrap` is the executable.
    async fn start(name: &str, bootstrap: &str) -> Self {
        let store = ParameterStore::start_with_shop().await;
        let amplitude = Amplitude::start().await;
        let bootstrap = executable(name, &root().join(bootstrap));

        let shell = || {
            let mut shell = Command::new("sh");
            shell.env_clear().envs([
                ("PATH", "/usr/bin:/bin"),
                ("AWS_REGION", REGION),
                ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
                ("AWS_SECRET_ACCESS_KEY", "aws-secret-of-the-function"),
                ("AWS_LAMBDA_FUNCTION_TIMEOUT", "10"),
                ("PARAMETER_PREFIX", store.prefix()),
                ("AWS_ENDPOINT_URL_SSM", store.url()),
                ("AMPLITUDE_URL", amplitude.url()),
            ]);
            shell
        };
        let emulator = Server::start_in(shell, &format!("rie-{name}"), &emulator(), |port| {
            [
                "--runtime-interface-emulator-address",
                &format!("127.0.0.1:{port}"),
                "--runtime-api-address",
                &free_address().to_string(),
                bootstrap.to_str().unwrap(),
            ]
            .map(str::to_owned)
            .to_vec()
        });
        Self { store, amplitude, emulator, http: http_client() }
    }

    async fn send(&self, gateway: Gateway, request: &Request) -> Answer {
        // The emulator has a single function with this name.
        gateway.send(&self.http, &format!("http://{}", self.emulator.address), "function", request).await
    }
}

/// SAM includes AWS's runtime interface emulator for both processors.
fn emulator() -> PathBuf {
    let lib = root().join(".venv-check/lib");
    let python = std::fs::read_dir(&lib)
        .unwrap_or_else(|error| panic!("{}: {error}: run `make artefact`, which installs it", lib.display()))
        .next()
        .unwrap()
        .unwrap();
    let processor = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    python.path().join(format!("site-packages/samcli/local/rapid/aws-lambda-rie-{processor}"))
}

/// The build, or a script that runs it under QEMU.
fn executable(name: &str, bootstrap: &Path) -> PathBuf {
    assert!(bootstrap.exists(), "{} is missing: run `make artefact`", bootstrap.display());
    if cfg!(target_arch = "aarch64") {
        return bootstrap.to_owned();
    }
    let libraries = "/usr/aarch64-linux-gnu";
    assert!(
        Path::new("/usr/bin/qemu-aarch64").exists() && Path::new(libraries).exists(),
        "QEMU and the libraries of arm64 are missing; on Debian and Ubuntu: \
         apt-get install qemu-user libc6-arm64-cross libgcc-s1-arm64-cross"
    );
    let script = scratch().join(format!("bootstrap-{name}"));
    std::fs::write(&script, format!("#!/bin/sh\nexec qemu-aarch64 -L {libraries} {}\n", bootstrap.display())).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
