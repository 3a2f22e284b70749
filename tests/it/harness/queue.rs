//! The redelivery queue: SQS behind a proxy that can inject faults, and Lambda's poller between the queue and the
//! function `redelivery`.
//!
//! The clock is compressed: delays are recorded, and a message becomes visible when the test says so.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};

use super::amplitude::Amplitude;
use super::aws::{Fault, Proxy, SQS};
use super::lambda::{Function, REGION};
use super::parameter_store::ParameterStore;
use super::{Stage, eventually};

/// A separate queue with its dead-letter queue, behind its own proxy.
pub struct Queue {
    url: String,
    dead_letters_url: String,
    proxy: Arc<Proxy>,
    /// The delays that the functions have set, in seconds, by receipt handle.
    delays: Mutex<HashMap<String, u64>>,
}

impl Queue {
    /// Starts a queue that moves a message to the dead-letter queue after this many receives.
    pub async fn start(max_receive_count: u32) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let name = format!("queue-{}", STARTED.fetch_add(1, Ordering::Relaxed));
        let dead_letters = format!("{name}-dead-letters");
        let proxy = Proxy::start(SQS, true).await;
        let url = |name: &str| format!("https://sqs.{REGION}.amazonaws.com/123456789012/{name}");
        let redrive = json!({
            "deadLetterTargetArn": format!("arn:aws:sqs:{REGION}:123456789012:{dead_letters}"),
            "maxReceiveCount": max_receive_count,
        });
        for (name, attributes) in [
            (&dead_letters, json!({})),
            (&name, json!({"RedrivePolicy": redrive.to_string(), "VisibilityTimeout": "180"})),
        ] {
            let answer =
                proxy.call_as_administrator("CreateQueue", &json!({"QueueName": name, "Attributes": attributes})).await;
            assert_eq!(answer.status(), 200, "{name}");
        }
        Self { url: url(&name), dead_letters_url: url(&dead_letters), proxy, delays: Mutex::default() }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn dead_letters_url(&self) -> &str {
        &self.dead_letters_url
    }

    /// The endpoint of SQS, for the functions.
    pub fn endpoint(&self) -> &str {
        self.proxy.url()
    }

    /// Fails the next calls from the functions.
    pub fn fail_next(&self, fault: Fault, calls: usize) {
        self.proxy.fail_next(fault, calls);
    }

    /// Fails every call from the functions from now on.
    pub fn fail(&self, fault: Fault) {
        self.proxy.fail(fault);
    }

    /// Clears the fault.
    pub fn recover(&self) {
        self.proxy.recover();
    }

    /// Sends a message to the queue as another sender. Attributes are strings.
    pub async fn put(&self, body: &str, attributes: &[(&str, &str)]) {
        let attributes: Map<_, _> = attributes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!({"DataType": "String", "StringValue": value})))
            .collect();
        self.call("SendMessage", json!({"MessageBody": body, "MessageAttributes": attributes})).await;
    }

    /// Receives up to ten messages, in SQS's format. They stay invisible until they are made visible again.
    pub async fn receive(&self) -> Vec<Value> {
        self.receive_of(&self.url).await
    }

    /// Receives and deletes all dead letters.
    pub async fn take_dead_letters(&self) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let letters = self.receive_of(&self.dead_letters_url).await;
            if letters.is_empty() {
                return all;
            }
            for letter in &letters {
                let input = json!({"QueueUrl": self.dead_letters_url, "ReceiptHandle": letter["ReceiptHandle"]});
                self.proxy.call_as_administrator("DeleteMessage", &input).await;
            }
            all.extend(letters);
        }
    }

    /// Sends a dead letter again, like an operator.
    pub async fn redrive(&self, letter: &Value) {
        let input = json!({"MessageBody": letter["Body"], "MessageAttributes": letter["MessageAttributes"]});
        self.call("SendMessage", input).await;
    }

    /// The number of messages in the queue, visible or not.
    pub async fn len(&self) -> u64 {
        let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
        let answer = self.call("GetQueueAttributes", json!({"AttributeNames": names})).await;
        let count = |name: &str| answer["Attributes"][name].as_str().unwrap().parse::<u64>().unwrap();
        names.into_iter().map(count).sum()
    }

    /// Makes messages visible again immediately.
    pub async fn make_visible<'m>(&self, messages: impl IntoIterator<Item = &'m Value>) {
        self.make_visible_in(0, messages).await;
    }

    /// Makes messages visible again after this many seconds.
    pub async fn make_visible_in<'m>(&self, seconds: u64, messages: impl IntoIterator<Item = &'m Value>) {
        let entry = |receipt: &Value| json!({"ReceiptHandle": receipt, "VisibilityTimeout": seconds});
        self.batch("ChangeMessageVisibilityBatch", messages, entry).await;
    }

    async fn delete<'m>(&self, messages: impl IntoIterator<Item = &'m Value>) {
        self.batch("DeleteMessageBatch", messages, |receipt| json!({ "ReceiptHandle": receipt })).await;
    }

    /// Calls a batch operation for up to ten messages.
    async fn batch<'m>(
        &self,
        operation: &str,
        messages: impl IntoIterator<Item = &'m Value>,
        entry: impl Fn(&Value) -> Value,
    ) {
        let entries = messages.into_iter().enumerate().map(|(number, message)| {
            let mut entry = entry(&message["ReceiptHandle"]);
            entry["Id"] = number.to_string().into();
            entry
        });
        let entries: Vec<_> = entries.collect();
        if !entries.is_empty() {
            self.call(operation, json!({ "Entries": entries })).await;
        }
    }

    /// The delay in seconds that the function has set for a message.
    fn delay_of(&self, message: &Value) -> Option<u64> {
        let mut delays = self.delays.lock().unwrap();
        for (operation, input) in self.proxy.passed() {
            if operation == "ChangeMessageVisibilityBatch" {
                for entry in input["Entries"].as_array().unwrap() {
                    let receipt = entry["ReceiptHandle"].as_str().unwrap().to_owned();
                    delays.insert(receipt, entry["VisibilityTimeout"].as_u64().unwrap());
                }
            }
        }
        delays.remove(message["ReceiptHandle"].as_str().unwrap())
    }

    async fn receive_of(&self, url: &str) -> Vec<Value> {
        let input = json!({
            "QueueUrl": url, "MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ["All"],
            "AttributeNames": ["All"], "MessageAttributeNames": ["All"],
        });
        // moto fails if two clients receive at the same moment. An empty answer would look like an empty queue.
        let answer = eventually("an answer to ReceiveMessage", async || {
            let answer = self.proxy.call_as_administrator("ReceiveMessage", &input).await;
            (answer.status() == 200).then_some(answer)
        });
        let mut answer: Value = serde_json::from_str(&answer.await.text().await.unwrap()).unwrap();
        serde_json::from_value(answer["Messages"].take()).unwrap_or_default()
    }

    async fn call(&self, operation: &str, mut input: Value) -> Value {
        input["QueueUrl"] = self.url.clone().into();
        let answer = self.proxy.call_as_administrator(operation, &input).await;
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(status, 200, "{operation}: {text}");
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
    }
}

/// The outcome of passing a message to the function.
#[derive(Debug)]
pub struct ProcessedMessage {
    /// The message in SQS's format.
    pub message: Value,
    /// Whether it is still in the queue.
    pub failed: bool,
    /// The delay that the function has set, in seconds.
    pub delay: Option<u64>,
}

/// Does one round of Lambda's event source mapping with `ReportBatchItemFailures`: it receives a batch, invokes the
/// function and deletes the messages that did not fail. Failed messages stay invisible.
pub async fn poll(queue: &Queue, function: &Function) -> Vec<ProcessedMessage> {
    let messages = queue.receive().await;
    if messages.is_empty() {
        return Vec::new();
    }
    let answer = function.invoke(&invocation(&messages)).await;
    settle(queue, messages, answer).await
}

/// The last part of [`poll`]. If the invocation fails, all messages have failed.
pub async fn settle(queue: &Queue, messages: Vec<Value>, answer: Result<Value, String>) -> Vec<ProcessedMessage> {
    let failed: Vec<String> = match answer {
        Ok(answer) => {
            let failures = answer["batchItemFailures"].as_array().expect("the list of those that failed").iter();
            failures.map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned()).collect()
        }
        Err(_) => messages.iter().map(|message| message["MessageId"].as_str().unwrap().to_owned()).collect(),
    };
    let processed = messages.into_iter().map(|message| ProcessedMessage {
        failed: failed.iter().any(|id| message["MessageId"] == **id),
        delay: queue.delay_of(&message),
        message,
    });
    let processed: Vec<_> = processed.collect();
    queue.delete(processed.iter().filter(|processed| !processed.failed).map(|processed| &processed.message)).await;
    processed
}

/// Source: AWS Lambda's documentation, "Using Lambda with Amazon SQS", the example of a standard queue's event.
pub fn invocation(messages: &[Value]) -> Value {
    let camel_case = |object: &Value| -> Map<String, Value> {
        let fields = object.as_object().into_iter().flatten();
        fields.map(|(name, value)| (name[..1].to_lowercase() + &name[1..], value.clone())).collect()
    };
    let record = |message: &Value| {
        let attributes: Map<String, Value> = message["MessageAttributes"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| {
                let mut value = camel_case(value);
                value.insert("stringListValues".to_owned(), json!([]));
                value.insert("binaryListValues".to_owned(), json!([]));
                (name.clone(), value.into())
            })
            .collect();
        json!({
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": attributes,
            "md5OfMessageAttributes": message["MD5OfMessageAttributes"],
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": format!("arn:aws:sqs:{REGION}:123456789012:queue"),
            "awsRegion": REGION,
        })
    };
    json!({"Records": messages.iter().map(record).collect::<Vec<_>>()})
}

/// A stage with a queue and the function `redelivery`.
pub struct QueueStage {
    pub stage: Stage,
    pub queue: Queue,
    pub redelivery: Function,
}

impl QueueStage {
    /// Starts with the default project.
    pub async fn start() -> Self {
        Self::with_variables(100, &[], &[]).await
    }

    /// Starts with further variables for both functions and for `redelivery` alone.
    pub async fn with_variables(max_receive_count: u32, both: &[(&str, &str)], redelivery: &[(&str, &str)]) -> Self {
        Self::with_store(ParameterStore::start_with_shop().await, max_receive_count, both, redelivery).await
    }

    /// Starts with a prepared Parameter Store.
    pub async fn with_store(
        store: ParameterStore,
        max_receive_count: u32,
        both: &[(&str, &str)],
        redelivery: &[(&str, &str)],
    ) -> Self {
        let queue = Queue::start(max_receive_count).await;
        let wiring = [("REDELIVERY_QUEUE_URL", queue.url()), ("AWS_ENDPOINT_URL_SQS", queue.endpoint())];
        let variables = [&wiring[..], &[("PARAMETER_TTL_SECONDS", "1")], both].concat();
        let stage = Stage::from_parts(store, Amplitude::start().await, &variables).await;
        let batch_url = stage.amplitude.batch_url();
        let wiring = [
            ("PARAMETER_PREFIX", stage.store.prefix()),
            ("AWS_ENDPOINT_URL_SSM", stage.store.url()),
            ("AMPLITUDE_URL", &batch_url),
            ("DEAD_LETTER_QUEUE_URL", queue.dead_letters_url()),
        ];
        let redelivery = Function::start_redelivery(&[&variables[..], &wiring, redelivery].concat()).await;
        Self { stage, queue, redelivery }
    }

    /// Processes one batch.
    pub async fn poll(&self) -> Vec<ProcessedMessage> {
        poll(&self.queue, &self.redelivery).await
    }

    /// Makes the failed messages visible again, as if their delays were over.
    pub async fn make_failed_visible(&self, processed: &[ProcessedMessage]) {
        self.queue
            .make_visible(processed.iter().filter(|processed| processed.failed).map(|processed| &processed.message))
            .await;
    }
}
