//! `cargo lambda deploy`, as in the README, into moto's Lambda and IAM, and the resources that it creates.

use std::process::Command;

use serde_json::Value;

use crate::harness::http_client;
use crate::harness::lambda::REGION;
use crate::harness::program::{Server, installed, log_of, scratch};
use crate::root;

#[tokio::test]
async fn cargo_lambda_deploys_without_flags() {
    let shell = || {
        let mut shell = Command::new("sh");
        // Without it, moto has no AWS-managed policies, one of which cargo-lambda attaches to the role.
        shell.env("MOTO_IAM_LOAD_MANAGED_POLICIES", "true").current_dir(scratch());
        shell
    };
    let aws = Server::start_in(shell, "moto-lambda", &installed("moto_server"), |port| {
        ["-H", "127.0.0.1", "-p", &port].map(str::to_owned).to_vec()
    });
    let endpoint = format!("http://{}", aws.address);

    let log = std::fs::File::create(log_of("cargo-lambda-deploy")).unwrap();
    let status = Command::new(installed("cargo-lambda"))
        .args(["lambda", "deploy", "stripe-amplitude", "--endpoint-url", &endpoint])
        .current_dir(root())
        .envs([
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "a-secret-of-nobody"),
        ])
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .status()
        .unwrap();
    let log = std::fs::read_to_string(log_of("cargo-lambda-deploy")).unwrap();
    assert!(status.success(), "{log}");

    let configuration = read(&endpoint, "2015-03-31/functions/stripe-amplitude/configuration").await;
    for (name, expected) in [
        ("Runtime", Value::from("provided.al2023")),
        ("Handler", Value::from("bootstrap")),
        ("Architectures", Value::from(vec!["arm64"])),
        ("MemorySize", Value::from(128)),
        ("Timeout", Value::from(6)),
    ] {
        assert_eq!(configuration[name], expected, "{name}");
    }
    let url = read(&endpoint, "2021-10-31/functions/stripe-amplitude/url").await;
    assert_eq!(url["AuthType"], "NONE");
    // Since October 2025, a public Function URL needs both permissions.
    let policy = read(&endpoint, "2015-03-31/functions/stripe-amplitude/policy").await;
    let policy: Value = serde_json::from_str(policy["Policy"].as_str().unwrap()).unwrap();
    let mut actions: Vec<_> = policy["Statement"].as_array().unwrap().iter().map(|it| it["Action"].as_str()).collect();
    actions.sort_unstable();
    assert_eq!(actions, [Some("lambda:InvokeFunction"), Some("lambda:InvokeFunctionUrl")]);
}

async fn read(endpoint: &str, path: &str) -> Value {
    let signed = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20240726/{REGION}/lambda/aws4_request, SignedHeaders=host, Signature=0"
    );
    let answer = http_client().get(format!("{endpoint}/{path}")).header("authorization", signed).send().await.unwrap();
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}
