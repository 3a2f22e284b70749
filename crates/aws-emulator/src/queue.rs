//! SQS's rules, for standard queues. Pure: `now` is an argument. Source: Amazon SQS's API reference.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use md5::{Digest as _, Md5};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::AwsError;

/// How long a received message is invisible by default.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(30);

/// The maximum time for which a message can be invisible, in seconds.
const MAX_VISIBILITY_TIMEOUT: u64 = 12 * 60 * 60;

/// The maximum size of a message.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// The maximum number of messages or entries in a call.
const MAX_BATCH_ENTRIES: usize = 10;

/// All queues, by name.
#[derive(Debug, Default)]
pub struct Queues {
    queues: BTreeMap<String, Queue>,
    /// The number of the latest message or receipt.
    last_number: u64,
}

#[derive(Debug, Default)]
struct Queue {
    attributes: BTreeMap<String, String>,
    messages: VecDeque<Message>,
}

#[derive(Debug)]
struct Message {
    id: String,
    body: String,
    attributes: Map<String, Value>,
    /// Measured from an arbitrary start, like every time here.
    sent: Duration,
    visible_from: Duration,
    receive_count: u32,
    first_received: Option<Duration>,
    receipt: Option<String>,
}

/// A message in a queue, for inspection by a test or rehearsal.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// The text.
    pub body: String,
    /// The message attributes in SQS's JSON format.
    pub attributes: Map<String, Value>,
    /// The number of times it was received.
    pub receive_count: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    id: String,
    receipt_handle: String,
    #[serde(default)]
    visibility_timeout: u64,
}

impl Queues {
    /// The messages of a queue, whether visible or not.
    pub fn waiting(&self, name: &str) -> Vec<Waiting> {
        let messages = self.queues.get(name).into_iter().flat_map(|queue| &queue.messages);
        let waiting = |message: &Message| Waiting {
            body: message.body.clone(),
            attributes: message.attributes.clone(),
            receive_count: message.receive_count,
        };
        messages.map(waiting).collect()
    }

    /// Handles a call. `address` is the base of the queues' URLs (`http://127.0.0.1:8093`).
    ///
    /// # Errors
    /// If SQS would reject it.
    pub fn call(&mut self, operation: &str, input: &Value, address: &str, now: Duration) -> Result<Value, AwsError> {
        let url = |name: &str| json!({ "QueueUrl": format!("{address}/{ACCOUNT}/{name}") });
        match operation {
            "CreateQueue" => {
                let name = text(input, "QueueName")?;
                let queue = self.queues.entry(name.to_owned()).or_default();
                queue.set_attributes(input);
                Ok(url(name))
            }
            "GetQueueUrl" => {
                let name = text(input, "QueueName")?;
                self.queues.get(name).ok_or_else(no_queue)?;
                Ok(url(name))
            }
            "GetQueueAttributes" => self.attributes(input, now),
            "SetQueueAttributes" => {
                self.queue(input)?.set_attributes(input);
                Ok(json!({}))
            }
            "SendMessage" => self.send(input, now),
            "ReceiveMessage" => self.receive(input, now),
            "DeleteMessage" => {
                let receipt = text(input, "ReceiptHandle")?.to_owned();
                self.queue(input)?.messages.retain(|message| message.receipt.as_deref() != Some(&receipt));
                Ok(json!({}))
            }
            "DeleteMessageBatch" => self.batch(input, |queue, entry| {
                queue.messages.retain(|message| message.receipt.as_deref() != Some(&entry.receipt_handle));
                Ok(())
            }),
            "ChangeMessageVisibilityBatch" => self.batch(input, |queue, entry| {
                if entry.visibility_timeout > MAX_VISIBILITY_TIMEOUT {
                    return Err("InvalidParameterValue");
                }
                let is_wanted = |message: &&mut Message| message.receipt.as_deref() == Some(&entry.receipt_handle);
                let message = queue.messages.iter_mut().find(is_wanted).ok_or("ReceiptHandleIsInvalid")?;
                message.visible_from = now + Duration::from_secs(entry.visibility_timeout);
                Ok(())
            }),
            _ => Err(AwsError::new("UnknownOperationException", format!("{operation} is not emulated"))),
        }
    }

    fn queue(&mut self, input: &Value) -> Result<&mut Queue, AwsError> {
        let name = name_of(text(input, "QueueUrl")?);
        self.queues.get_mut(name).ok_or_else(no_queue)
    }

    fn attributes(&mut self, input: &Value, now: Duration) -> Result<Value, AwsError> {
        let name = name_of(text(input, "QueueUrl")?).to_owned();
        let queue = self.queue(input)?;
        let visible = queue.messages.iter().filter(|message| message.visible_from <= now).count();
        let mut all = queue.attributes.clone();
        all.insert("QueueArn".to_owned(), format!("arn:aws:sqs:us-east-1:{ACCOUNT}:{name}"));
        all.insert("ApproximateNumberOfMessages".to_owned(), visible.to_string());
        let hidden = queue.messages.len() - visible;
        all.insert("ApproximateNumberOfMessagesNotVisible".to_owned(), hidden.to_string());
        let wanted: Vec<_> = texts(input, "AttributeNames").collect();
        all.retain(|name, _| wanted.iter().any(|wanted| *wanted == "All" || *wanted == name));
        Ok(json!({ "Attributes": all }))
    }

    fn send(&mut self, input: &Value, now: Duration) -> Result<Value, AwsError> {
        let body = text(input, "MessageBody")?.to_owned();
        let attributes = input.get("MessageAttributes").and_then(Value::as_object).cloned().unwrap_or_default();
        let size =
            body.len() + attributes.iter().map(|(name, value)| name.len() + attribute_size(value)).sum::<usize>();
        if body.is_empty() || size > MAX_MESSAGE_BYTES || attributes.len() > 10 {
            return Err(AwsError::new(
                "InvalidParameterValue",
                "a message has 1 byte to 1 MiB, and at most 10 attributes",
            ));
        }
        self.last_number += 1;
        let id = format!("message-{}", self.last_number);
        let answer = json!({ "MessageId": id, "MD5OfMessageBody": md5(body.as_bytes()) });
        self.queue(input)?.messages.push_back(Message {
            id,
            body,
            attributes,
            sent: now,
            visible_from: now,
            receive_count: 0,
            first_received: None,
            receipt: None,
        });
        Ok(answer)
    }

    fn receive(&mut self, input: &Value, now: Duration) -> Result<Value, AwsError> {
        let most = input.get("MaxNumberOfMessages").and_then(Value::as_u64).unwrap_or(1);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if !(1..=MAX_BATCH_ENTRIES).contains(&most) {
            return Err(AwsError::new("InvalidParameterValue", "MaxNumberOfMessages is 1 to 10"));
        }
        let mut number = self.last_number;
        let queue = self.queue(input)?;
        let timeout = input
            .get("VisibilityTimeout")
            .and_then(Value::as_u64)
            .map_or(queue.visibility_timeout(), Duration::from_secs);
        let dead_letters = queue.redrive_policy();
        let mut received = Vec::new();
        let mut dead = Vec::new();
        let mut index = 0;
        while let Some(message) = queue.messages.get_mut(index).filter(|_| received.len() < most) {
            if message.visible_from > now {
                index += 1;
            } else if dead_letters.as_ref().is_some_and(|(_, limit)| message.receive_count >= *limit) {
                dead.extend(queue.messages.remove(index));
            } else {
                number += 1;
                message.receive_count += 1;
                message.first_received.get_or_insert(now);
                message.visible_from = now + timeout;
                message.receipt = Some(format!("receipt-{number}"));
                received.push(message.shown());
                index += 1;
            }
        }
        self.last_number = number;
        let target = dead_letters.and_then(|(name, _)| self.queues.get_mut(&name));
        if let Some(target) = target {
            target.messages.extend(dead.into_iter().map(|message| Message {
                receive_count: 0,
                visible_from: now,
                ..message
            }));
        }
        Ok(if received.is_empty() { json!({}) } else { json!({ "Messages": received }) })
    }

    fn batch(
        &mut self,
        input: &Value,
        mut each: impl FnMut(&mut Queue, &Entry) -> Result<(), &'static str>,
    ) -> Result<Value, AwsError> {
        let entries = input.get("Entries").cloned().unwrap_or_default();
        let entries: Vec<Entry> =
            serde_json::from_value(entries).map_err(|error| AwsError::invalid(error.to_string()))?;
        let queue = self.queue(input)?;
        match entries.len() {
            0 => return Err(AwsError::new("EmptyBatchRequest", "a batch has at least one entry")),
            1..=MAX_BATCH_ENTRIES => {}
            _ => return Err(AwsError::new("TooManyEntriesInBatchRequest", "a batch has at most ten entries")),
        }
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for entry in entries {
            match each(queue, &entry) {
                Ok(()) => successful.push(json!({ "Id": entry.id })),
                Err(code) => failed.push(json!({ "Id": entry.id, "SenderFault": true, "Code": code })),
            }
        }
        Ok(json!({ "Successful": successful, "Failed": failed }))
    }
}

/// The account of all queues and callers.
pub const ACCOUNT: &str = "000000000000";

impl Queue {
    fn set_attributes(&mut self, input: &Value) {
        for (name, value) in input.get("Attributes").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            // SQS removes an attribute that is set to an empty value.
            if value.is_empty() {
                self.attributes.remove(name);
            } else {
                self.attributes.insert(name.clone(), value.to_owned());
            }
        }
    }

    fn visibility_timeout(&self) -> Duration {
        let seconds = self.attributes.get("VisibilityTimeout").and_then(|seconds| seconds.parse().ok());
        seconds.map_or(VISIBILITY_TIMEOUT, Duration::from_secs)
    }

    /// The name of the dead-letter queue and the number of receives after which a message moves to it.
    fn redrive_policy(&self) -> Option<(String, u32)> {
        let policy: Value = serde_json::from_str(self.attributes.get("RedrivePolicy")?).ok()?;
        let limit = policy.get("maxReceiveCount")?;
        let limit = limit.as_u64().or_else(|| limit.as_str()?.parse().ok())?;
        let target = policy.get("deadLetterTargetArn")?.as_str()?.rsplit(':').next()?.to_owned();
        Some((target, u32::try_from(limit).ok()?))
    }
}

impl Message {
    fn shown(&self) -> Value {
        let milliseconds = |time: Duration| time.as_millis().to_string();
        json!({
            "MessageId": self.id,
            "ReceiptHandle": self.receipt,
            "Body": self.body,
            "MD5OfBody": md5(self.body.as_bytes()),
            "MessageAttributes": self.attributes,
            "Attributes": {
                "ApproximateReceiveCount": self.receive_count.to_string(),
                "SentTimestamp": milliseconds(self.sent),
                "ApproximateFirstReceiveTimestamp": self.first_received.map(milliseconds),
            },
        })
    }
}

/// Extracts `orders` from `http://127.0.0.1:8093/000000000000/orders`.
fn name_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

fn attribute_size(value: &Value) -> usize {
    value.as_object().into_iter().flat_map(|fields| fields.values()).filter_map(Value::as_str).map(str::len).sum()
}

fn text<'v>(input: &'v Value, name: &str) -> Result<&'v str, AwsError> {
    let missing = || AwsError::new("MissingParameter", format!("the request must contain the parameter {name}"));
    input.get(name).and_then(Value::as_str).ok_or_else(missing)
}

fn texts<'v>(input: &'v Value, name: &str) -> impl Iterator<Item = &'v str> {
    input.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn no_queue() -> AwsError {
    AwsError::new("QueueDoesNotExist", "the specified queue does not exist")
}

fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "http://127.0.0.1:1";

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Two queues, the second of which moves messages to the first after two receives.
    fn queues() -> (Queues, String, String) {
        let mut queues = Queues::default();
        let mut create = |name: &str, attributes: Value| {
            let input = json!({"QueueName": name, "Attributes": attributes});
            let answer = queues.call("CreateQueue", &input, ADDRESS, at(0)).unwrap();
            answer["QueueUrl"].as_str().unwrap().to_owned()
        };
        let dead = create("dead", json!({}));
        let policy =
            json!({"deadLetterTargetArn": format!("arn:aws:sqs:us-east-1:{ACCOUNT}:dead"), "maxReceiveCount": 2});
        let queue = create("queue", json!({"VisibilityTimeout": "60", "RedrivePolicy": policy.to_string()}));
        (queues, queue, dead)
    }

    fn receive(queues: &mut Queues, url: &str, seconds: u64) -> Vec<Value> {
        let input = json!({"QueueUrl": url, "MaxNumberOfMessages": 10});
        let answer = queues.call("ReceiveMessage", &input, ADDRESS, at(seconds)).unwrap();
        answer["Messages"].as_array().cloned().unwrap_or_default()
    }

    #[test]
    fn received_message_is_invisible_until_its_timeout() {
        let (mut queues, url, _) = queues();
        queues.call("SendMessage", &json!({"QueueUrl": url, "MessageBody": "{}"}), ADDRESS, at(0)).unwrap();
        let receipt = receive(&mut queues, &url, 1)[0]["ReceiptHandle"].clone();
        assert!(receive(&mut queues, &url, 60).is_empty());
        let entries = json!([{"Id": "0", "ReceiptHandle": receipt, "VisibilityTimeout": 0}]);
        let input = json!({"QueueUrl": url, "Entries": entries});
        queues.call("ChangeMessageVisibilityBatch", &input, ADDRESS, at(2)).unwrap();
        let again = receive(&mut queues, &url, 2);
        assert_eq!(again[0]["Attributes"]["ApproximateReceiveCount"], "2");
    }

    #[test]
    fn message_moves_to_the_dead_letters_after_max_receives() {
        let (mut queues, url, dead) = queues();
        queues.call("SendMessage", &json!({"QueueUrl": url, "MessageBody": "{}"}), ADDRESS, at(0)).unwrap();
        for (seconds, received) in [(0, 1), (60, 1), (120, 0)] {
            assert_eq!(receive(&mut queues, &url, seconds).len(), received, "{seconds}");
        }
        assert!(queues.waiting("queue").is_empty());
        assert_eq!(receive(&mut queues, &dead, 120).len(), 1);
    }

    #[test]
    fn only_deletion_removes_a_message() {
        let (mut queues, url, _) = queues();
        for body in ["1", "2"] {
            queues.call("SendMessage", &json!({"QueueUrl": url, "MessageBody": body}), ADDRESS, at(0)).unwrap();
        }
        let receipt = receive(&mut queues, &url, 0)[0]["ReceiptHandle"].clone();
        let input = json!({"QueueUrl": url, "Entries": [{"Id": "0", "ReceiptHandle": receipt}]});
        let answer = queues.call("DeleteMessageBatch", &input, ADDRESS, at(0)).unwrap();
        assert_eq!(answer["Successful"].as_array().unwrap().len(), 1);
        assert_eq!(queues.waiting("queue").len(), 1);
    }

    #[test]
    fn errors_have_the_codes_of_sqs() {
        let (mut queues, url, _) = queues();
        for (operation, input, code) in [
            ("SendMessage", json!({"QueueUrl": format!("{url}x"), "MessageBody": "a"}), "QueueDoesNotExist"),
            ("SendMessage", json!({"QueueUrl": url}), "MissingParameter"),
            ("SendMessage", json!({"QueueUrl": url, "MessageBody": "a".repeat(1_048_577)}), "InvalidParameterValue"),
            ("ReceiveMessage", json!({"QueueUrl": url, "MaxNumberOfMessages": 11}), "InvalidParameterValue"),
            ("DeleteMessageBatch", json!({"QueueUrl": url, "Entries": []}), "EmptyBatchRequest"),
            ("PurgeQueue", json!({"QueueUrl": url}), "UnknownOperationException"),
        ] {
            let error = queues.call(operation, &input, ADDRESS, at(0)).unwrap_err();
            assert_eq!(error.code, code, "{operation}");
        }
    }
}
