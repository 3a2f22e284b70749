//! `redrive`, against a real SQS API: moto's server.

#![cfg(feature = "aws")]
// Helpers panic like tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;
mod local_amplitude;
mod moto;

use amplitude_emulator::Configuration;
use common::{DAY, Ended, ended_with, now, program};
use local_amplitude::LocalAmplitude;
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

    /// The dead-letter queue, and the queue that it belongs to.
    async fn both(&self) -> (String, String) {
        let (dead, queue) = (self.queue("dead").await, self.queue("queue").await);
        let policy =
            json!({"deadLetterTargetArn": "arn:aws:sqs:eu-central-1:123456789012:dead", "maxReceiveCount": 100});
        let attributes = json!({"RedrivePolicy": policy.to_string()});
        self.call("SetQueueAttributes", json!({"QueueUrl": queue, "Attributes": attributes})).await;
        (dead, queue)
    }

    /// Without a code, like an older version.
    async fn put(&self, queue: &str, id: &str, code: Option<&str>, reason: &str) {
        self.put_of(queue, id, code, reason, now()).await;
    }

    async fn put_of(&self, queue: &str, id: &str, code: Option<&str>, reason: &str, created: i64) {
        let text = |text: &str| json!({"DataType": "String", "StringValue": text});
        let body =
            json!({"id": id, "object": "event", "type": "charge.failed", "created": created, "data": {"object": {}}});
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

    /// Up to ten messages, which stay visible.
    async fn messages(&self, queue: &str) -> Vec<Value> {
        let input = json!({
            "QueueUrl": queue, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0, "MessageAttributeNames": ["All"],
        });
        self.call("ReceiveMessage", input).await["Messages"].as_array().cloned().unwrap_or_default()
    }

    fn redrive(&self, arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
        self.redrive_with(arguments, input, &[])
    }

    fn redrive_with(
        &self,
        arguments: &[&str],
        input: &str,
        variables: &[(&str, String)],
    ) -> (Option<i32>, String, String) {
        let mut command = program();
        command.arg("redrive").args(arguments).envs(CREDENTIALS).env("AWS_ENDPOINT_URL", self.0.url());
        let Ended { code, out, error } = ended_with(input, command.envs(variables.iter().cloned()));
        (code, out, error)
    }
}

#[tokio::test]
async fn dead_letters_are_counted_and_sent_again() {
    let queues = Queues::start();
    let (dead, queue) = queues.both().await;
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
        let row = format!("\n{cause}\n       {number}        0 h  shop  charge.failed\n");
        assert!(out.contains(&row), "{cause}: {out}");
    }

    let send = ["--dead-letters", &dead, "--send", "--to", &queue];
    let only = [&send[..], &["--code", "amplitude_rejected"]].concat();
    let (code, out, _) = queues.redrive(&only, "n\n");
    assert_eq!((code, out.ends_with("Nothing was sent. The answer was not yes.\n")), (Some(1), true), "{out}");
    assert_eq!(queues.messages(&queue).await.len(), 0);
    let (code, out, error) = queues.redrive(&only, "y\n");
    assert_eq!(code, Some(0), "{out}{error}");
    assert!(out.contains("Send these 9 again? [y/N]") && out.contains("9 of 9 sent to the queue again."), "{out}");
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
        // No dead letter has both.
        (&["--code", "not_an_event", "--reason", "the value"][..], 0),
        (&["--reason", "missing"], 3),
        (&["--code", "unknown"], 2),
    ] {
        let (code, out, _) = queues.redrive(&[&send[..], filter, &["--yes"]].concat(), "");
        let sent = number == 0 || out.contains(&format!("{number} of {number} sent to the queue again."));
        assert_eq!((code, sent), (Some(0), true), "{filter:?}: {out}");
        assert!(number > 0 || !out.contains("to the queue again"), "{out}");
    }
    let (_, out, _) = queues.redrive(&["--dead-letters", &dead], "");
    assert!(out.starts_with("About 0 dead letters.\n"), "{out}");
}

#[tokio::test]
async fn letters_without_a_project_stay() {
    let queues = Queues::start();
    let (dead, queue) = queues.both().await;
    queues.put(&dead, "evt_1", Some("not_an_event"), "why").await;
    queues.call("SendMessage", json!({"QueueUrl": dead, "MessageBody": "junk"})).await;
    let (code, out, error) = queues.redrive(&["--dead-letters", &dead, "--send", "--to", &queue, "--yes"], "");
    assert_eq!((code, &*error), (Some(1), ""), "{out}");
    let end = "1 left in the dead-letter queue. They name no project, so they are not the function's messages.\n1 of 2 sent to the queue again.\n";
    assert!(out.ends_with(end), "{out}");
    assert_eq!((queues.messages(&queue).await.len(), queues.messages(&dead).await.len()), (1, 1));
}

#[tokio::test]
async fn wrong_queues_are_rejected() {
    let queues = Queues::start();
    let (dead, queue) = queues.both().await;
    let other = queues.queue("other").await;
    queues.put(&dead, "evt_1", Some("amplitude_timeout"), "why").await;
    let nothing = format!("http://{}/123456789012/nothing", queues.0.address);
    for (dead_letters, to, code, words) in [
        (&*nothing, None, 1, "--dead-letters: the queue does not exist"),
        (&*dead, Some(&*nothing), 1, "--to: the queue does not exist"),
        (&*queue, Some(&*dead), 1, "--dead-letters names a queue with a dead-letter queue, dead"),
        (&*other, Some(&*queue), 1, "--dead-letters names other, but the dead-letter queue of --to is dead"),
        (&*dead, Some(&*other), 1, "--to names other, which has no dead-letter queue"),
        (&*dead, Some(&*dead), 2, "--dead-letters and --to name the same queue"),
        ("dead", Some(&*queue), 2, "for --dead-letters; expected the URL of a queue"),
        (&*dead, Some("queue"), 2, "for --to; expected the URL of a queue"),
    ] {
        let mut arguments = vec!["--dead-letters", dead_letters];
        arguments.extend(to.iter().flat_map(|to| ["--send", "--yes", "--to", to]));
        let (exit, out, error) = queues.redrive(&arguments, "");
        assert!(exit == Some(code) && error.contains(words) && out.is_empty(), "{words}: {out}{error}");
    }
    assert_eq!(queues.messages(&dead).await.len(), 1);
    let (code, _, error) = queues.redrive(&["--dead-letters", &dead, "--send"], "");
    assert_eq!((code, error.contains("--to")), (Some(2), true), "{error}");
}

#[tokio::test]
async fn control_characters_are_escaped() {
    let queues = Queues::start();
    let (dead, _) = queues.both().await;
    queues.put(&dead, "evt_1", Some("not_an_event"), "a\u{202e}b\nforged: 99").await;
    let (code, out, error) = queues.redrive(&["--dead-letters", &dead], "");
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("not_an_event: a\\u202eb\\u000aforged: 99\n"), "{out}");
    assert!(out.ends_with("Nothing was sent. Pass --send to send them again; it asks first.\n"), "{out}");
}

/// After its window, Amplitude would count the event again.
#[tokio::test]
async fn old_dead_letter_is_looked_up() {
    let queues = Queues::start();
    let (dead, queue) = queues.both().await;
    let amplitude = LocalAmplitude::start(Configuration::default());
    let stored = |id: &str| json!({"insert_id": id, "event_type": "[Stripe] charge.failed", "device_id": "stripe-pi_1", "time": (now() - 9 * DAY) * 1000});
    let upload = json!({"api_key": "key", "events": [stored("evt_there"), stored("evt_also_there")]});
    let http = stripe_amplitude::http_client::build(None).unwrap();
    let sent = http.post(amplitude.http_v2()).body(upload.to_string()).send().await.unwrap();
    assert_eq!(sent.status(), 200);
    for (id, code, days) in [
        ("evt_there", "amplitude_timeout", 9),
        ("evt_missing", "amplitude_timeout", 9),
        ("evt_new", "amplitude_timeout", 1),
        ("evt_late", "needs_lookup", 8),
    ] {
        queues.put_of(&dead, id, Some(code), "why", now() - days * DAY).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let projects = folder.path().join("projects.toml");
    let project = "[shop]\nstripe-signing-secret = \"whsec_a\"\namplitude-api-key = \"key\"\n";
    std::fs::write(&projects, project).unwrap();

    let (code, out, error) = queues.redrive(&["--dead-letters", &dead], "");
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("       3   24 h-9 d  shop  charge.failed"), "{out}");
    assert!(out.contains("3 dead letters may already be in Amplitude"), "{out}");

    let projects = projects.to_str().unwrap();
    let send = ["--dead-letters", &dead, "--send", "--to", &queue, "--yes", "--projects", projects];
    let (code, _, error) = queues.redrive_with(&send, "", &amplitude.variables());
    assert_eq!((code, error.contains("AMPLITUDE_SECRET_KEY is not set")), (Some(1), true), "{error}");
    assert_eq!(queues.messages(&queue).await.len(), 0);

    let mut variables = amplitude.variables().to_vec();
    variables.push(("AMPLITUDE_SECRET_KEY", "secret".to_owned()));
    let (code, out, error) = queues.redrive_with(&send, "", &variables);
    assert_eq!(code, Some(0), "{out}{error}");
    assert!(out.contains("1 deleted, because Amplitude has them.\n3 of 4 sent to the queue again."), "{out}");
    let mut sent: Vec<_> = queues.messages(&queue).await.iter().map(id_and_is_looked_up).collect();
    sent.sort();
    let expected = [("evt_late", true), ("evt_missing", true), ("evt_new", false)];
    assert_eq!(sent, expected.map(|(id, is_looked_up)| (id.to_owned(), is_looked_up)));
    assert_eq!(queues.messages(&dead).await.len(), 0);

    queues.put_of(&dead, "evt_also_there", Some("needs_lookup"), "why", now() - 9 * DAY).await;
    let (code, out, error) = queues.redrive(&[&send[..6], &["--assume-missing"]].concat(), "");
    assert_eq!((code, out.contains("1 of 1 sent to the queue again.")), (Some(0), true), "{out}{error}");
}

fn id_and_is_looked_up(message: &Value) -> (String, bool) {
    let body: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
    let looked_up = message["MessageAttributes"].get("looked_up");
    (body["id"].as_str().unwrap().to_owned(), looked_up.is_some_and(|looked_up| looked_up["DataType"] == "Number"))
}

/// Receiving a dead letter counts and hides it, so the policy is checked before.
#[tokio::test]
async fn missing_send_permission_is_found_first() {
    let queues = Queues::start();
    let (dead, queue) = queues.both().await;
    queues.put(&dead, "evt_1", Some("amplitude_timeout"), "why").await;
    let policy = async |patterns: Value| {
        let policy = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Deny", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*",
            "Condition": {"ArnNotLike": {"aws:PrincipalArn": patterns}},
        }]});
        let input = json!({"QueueUrl": queue, "Attributes": {"Policy": policy.to_string()}});
        queues.call("SetQueueAttributes", input).await;
    };
    let function = "arn:aws:iam::123456789012:role/stack-FunctionRole-1";
    policy(json!(function)).await;
    let send = ["--dead-letters", &dead, "--send", "--to", &queue, "--yes"];
    let (code, out, error) = queues.redrive(&send, "");
    assert_eq!((code, out.as_str()), (Some(1), ""), "{error}");
    assert!(error.contains("OperatorRoles"), "{error}");
    let input = json!({"QueueUrl": dead, "AttributeNames": ["All"], "VisibilityTimeout": 0});
    let letter = queues.call("ReceiveMessage", input).await["Messages"][0].clone();
    assert_eq!(letter["Attributes"]["ApproximateReceiveCount"], "1", "{letter}");

    policy(json!([function, "arn:aws:sts::*:user/moto"])).await;
    let (code, out, error) = queues.redrive(&send, "");
    assert_eq!((code, out.contains("1 of 1 sent to the queue again.")), (Some(0), true), "{out}{error}");
}
