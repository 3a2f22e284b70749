//! `redrive`, against a real SQS API: moto's server.

#![cfg(feature = "aws")]
// As in the function's `tests/it`: a helper, like a test, stops where it meets what it does not expect.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod moto;

use std::io::Write as _;
use std::process::{Command, Stdio};

use moto::{CREDENTIALS, Moto, SQS};
use serde_json::{Value, json};

/// The queues of moto.
struct Queues(Moto);

impl Queues {
    fn start() -> Self {
        Self(Moto::start())
    }

    async fn call(&self, operation: &str, input: Value) -> Value {
        self.0.call(SQS, operation, input).await
    }

    async fn queue(&self, name: &str) -> String {
        self.call("CreateQueue", json!({"QueueName": name})).await["QueueUrl"].as_str().unwrap().to_owned()
    }

    async fn put(&self, queue: &str, id: &str, reason: &str) {
        let text = |text: &str| json!({"DataType": "String", "StringValue": text});
        let body = json!({"id": id, "object": "event", "type": "charge.failed", "created": 1, "data": {"object": {}}});
        let attributes = json!({
            "project": text("shop"), "source": text("eu"), "reason": text(reason),
            "received": {"DataType": "Number", "StringValue": "1721948700"},
        });
        let input = json!({"QueueUrl": queue, "MessageBody": body.to_string(), "MessageAttributes": attributes});
        self.call("SendMessage", input).await;
    }

    /// All messages, ten at most, which nobody else sees for a moment.
    async fn messages(&self, queue: &str) -> Vec<Value> {
        let input = json!({
            "QueueUrl": queue, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0, "MessageAttributeNames": ["All"],
        });
        self.call("ReceiveMessage", input).await["Messages"].as_array().cloned().unwrap_or_default()
    }

    fn redrive(&self, arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
        let mut process = Command::new(env!("CARGO_BIN_EXE_stripe-amplitude-cli"))
            .arg("redrive")
            .args(arguments)
            .env_clear()
            .envs(CREDENTIALS)
            .env("AWS_ENDPOINT_URL_SQS", self.0.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }
}

#[tokio::test]
async fn dead_letters_are_counted_by_reason_and_sent_again_on_demand() {
    let queues = Queues::start();
    let (dead, queue) = (queues.queue("dead").await, queues.queue("queue").await);
    for number in 0..12 {
        let reason = if number < 9 { "400: the event is not accepted" } else { "not a Stripe event" };
        queues.put(&dead, &format!("evt_{number}"), reason).await;
    }

    let (code, out, error) = queues.redrive(&["--dead-letters", &dead], "");
    assert_eq!(code, Some(0), "{error}");
    assert!(out.starts_with("About 12 dead letters.\n"), "{out}");
    assert!(out.contains("400: the event is not accepted\n       9  shop  charge.failed\n"), "{out}");
    assert!(out.contains("not a Stripe event\n       3  shop  charge.failed\n"), "{out}");

    let only = ["--dead-letters", &dead, "--send", "--to", &queue, "--reason", "400"];
    let (code, out, _) = queues.redrive(&only, "n\n");
    assert_eq!((code, out.contains("Nothing is sent.")), (Some(0), true), "{out}");
    assert_eq!(queues.messages(&queue).await.len(), 0);
    let (code, out, error) = queues.redrive(&only, "y\n");
    assert_eq!(code, Some(0), "{out}{error}");
    assert!(out.contains("Send these 9 again? [y/N]") && out.contains("9 of 9 are in the queue again."), "{out}");
    let sent = queues.messages(&queue).await;
    assert_eq!(sent.len(), 9);
    let attribute = |name: &str| &sent[0]["MessageAttributes"][name]["StringValue"];
    assert_eq!(
        (attribute("project"), attribute("source"), attribute("received")),
        (&json!("shop"), &json!("eu"), &json!("1721948700"))
    );
    assert!(sent[0]["Body"].as_str().unwrap().contains("\"object\":\"event\""));

    let (code, out, _) = queues.redrive(&["--dead-letters", &dead, "--send", "--to", &queue, "--yes"], "");
    assert_eq!((code, out.contains("3 of 3 are in the queue again.")), (Some(0), true), "{out}");
    let (_, out, _) = queues.redrive(&["--dead-letters", &dead], "");
    assert!(out.starts_with("About 0 dead letters.\n"), "{out}");
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_an_error() {
    let queues = Queues::start();
    let url = format!("http://{}/123456789012/nothing", queues.0.address);
    let (code, _, error) = queues.redrive(&["--dead-letters", &url], "");
    assert_eq!(code, Some(1));
    assert!(error.contains("there is no such queue"), "{error}");
    let (code, _, error) = queues.redrive(&["--dead-letters", &url, "--send"], "");
    assert_eq!((code, error.contains("--to")), (Some(2), true), "{error}");
}
