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

    /// Without a code, as an older version does.
    async fn put(&self, queue: &str, id: &str, code: Option<&str>, reason: &str) {
        let text = |text: &str| json!({"DataType": "String", "StringValue": text});
        let body = json!({"id": id, "object": "event", "type": "charge.failed", "created": 1, "data": {"object": {}}});
        let mut attributes = json!({
            "project": text("shop"), "source": text("eu"), "reason": text(reason),
            "received": {"DataType": "Number", "StringValue": "1721948700"},
        });
        if let Some(code) = code {
            attributes["code"] = text(code);
        }
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
async fn dead_letters_are_counted_by_code_and_reason_and_sent_again_on_demand() {
    let queues = Queues::start();
    let (dead, queue) = (queues.queue("dead").await, queues.queue("queue").await);
    for number in 0..14 {
        let (code, reason) = match number {
            0..7 => (Some("amplitude_rejected"), "the value of a field"),
            7..9 => (Some("amplitude_rejected"), "a missing field"),
            9..12 => (Some("not_an_event"), "a missing field"),
            _ => (None, "the value of a field"),
        };
        queues.put(&dead, &format!("evt_{number}"), code, reason).await;
    }

    let (code, out, error) = queues.redrive(&["--dead-letters", &dead], "");
    assert_eq!(code, Some(0), "{error}");
    assert!(out.starts_with("About 14 dead letters.\n"), "{out}");
    for (cause, number) in [
        ("amplitude_rejected: the value of a field", 7),
        ("amplitude_rejected: a missing field", 2),
        ("not_an_event: a missing field", 3),
        ("unknown: the value of a field", 2),
    ] {
        assert!(out.contains(&format!("\n{cause}\n       {number}  shop  charge.failed\n")), "{cause}: {out}");
    }

    let send = ["--dead-letters", &dead, "--send", "--to", &queue];
    let only = [&send[..], &["--code", "amplitude_rejected"]].concat();
    let (code, out, _) = queues.redrive(&only, "n\n");
    assert_eq!((code, out.ends_with("Nothing is sent. The answer was not yes.\n")), (Some(1), true), "{out}");
    assert_eq!(queues.messages(&queue).await.len(), 0);
    let (code, out, error) = queues.redrive(&only, "y\n");
    assert_eq!(code, Some(0), "{out}{error}");
    assert!(out.contains("Send these 9 again? [y/N]") && out.contains("9 of 9 are in the queue again."), "{out}");
    let sent = queues.messages(&queue).await;
    assert_eq!(sent.len(), 9);
    for message in &sent {
        let attribute = |name: &str| &message["MessageAttributes"][name]["StringValue"];
        assert_eq!(
            (attribute("project"), attribute("source"), attribute("received"), attribute("code")),
            (&json!("shop"), &json!("eu"), &json!("1721948700"), &json!("amplitude_rejected"))
        );
        assert!(message["Body"].as_str().unwrap().contains("\"object\":\"event\""));
    }

    for (filter, number) in [
        // Of another code and of another reason.
        (&["--code", "not_an_event", "--reason", "the value"][..], 0),
        (&["--reason", "missing"], 3),
        (&["--code", "unknown"], 2),
    ] {
        let (code, out, _) = queues.redrive(&[&send[..], filter, &["--yes"]].concat(), "");
        let sent = number == 0 || out.contains(&format!("{number} of {number} are in the queue again."));
        assert_eq!((code, sent), (Some(0), true), "{filter:?}: {out}");
        assert!(number > 0 || !out.contains("in the queue again"), "{out}");
    }
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
