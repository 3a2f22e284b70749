//! A queue for an operator, who may also count, receive and delete messages.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{Message as SqsMessage, QueueAttributeName};
use reqwest::Client as Http;
use serde::Deserialize;
use stripe_amplitude::aws::Access;
use stripe_amplitude::queue::sqs::{Sqs, map_sdk_error};
use stripe_amplitude::queue::{Cause, EventQueue as _, Message, QueueError, attribute};

/// A queue, by its URL.
pub(crate) struct Queue {
    client: Client,
    url: String,
    /// The function's access to the same queue.
    sqs: Sqs,
}

impl Queue {
    pub(crate) fn new(access: &Access, http: Http, url: &str) -> Self {
        let client = Client::new(&access.configuration(http.clone(), access.sqs_url.as_deref()));
        Self { client, url: url.to_owned(), sqs: Sqs::new(access, http, url.to_owned()) }
    }

    /// The approximate number of messages: SQS's own counts lag behind.
    ///
    /// # Errors
    /// If SQS fails.
    pub(crate) async fn count(&self) -> Result<u64, QueueError> {
        let name = QueueAttributeName::ApproximateNumberOfMessages;
        let request = self.client.get_queue_attributes().queue_url(&self.url).attribute_names(name.clone());
        let answer = request.send().await.map_err(|error| map_sdk_error(&error))?;
        let count = answer.attributes.and_then(|attributes| attributes.get(&name)?.parse().ok());
        Ok(count.unwrap_or_default())
    }

    /// The queue's policy, as JSON, if it has one.
    ///
    /// # Errors
    /// If SQS fails.
    pub(crate) async fn policy(&self) -> Result<Option<String>, QueueError> {
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = request.attribute_names(QueueAttributeName::Policy).send().await;
        let attributes = answer.map_err(|error| map_sdk_error(&error))?.attributes;
        Ok(attributes.and_then(|mut attributes| attributes.remove(&QueueAttributeName::Policy)))
    }

    /// The ARNs of the queue and of its dead-letter queue.
    ///
    /// # Errors
    /// If SQS fails.
    pub(crate) async fn place(&self) -> Result<Place, QueueError> {
        let names = [QueueAttributeName::QueueArn, QueueAttributeName::RedrivePolicy];
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = request.set_attribute_names(Some(names.to_vec())).send().await;
        let mut attributes = answer.map_err(|error| map_sdk_error(&error))?.attributes.unwrap_or_default();
        let [arn, redrive] = names.map(|name| attributes.remove(&name));
        let redrive: Option<RedrivePolicy> = redrive.and_then(|policy| serde_json::from_str(&policy).ok());
        Ok(Place { arn: arn.unwrap_or_default(), dead_letters: redrive.map(|policy| policy.dead_letter_target_arn) })
    }

    /// Up to ten messages, hidden from other consumers for this long. Empty if there are none.
    ///
    /// # Errors
    /// If SQS fails.
    pub(crate) async fn receive(&self, hidden_for: Duration) -> Result<Vec<ReceivedMessage>, QueueError> {
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(10)
            .visibility_timeout(i32::try_from(hidden_for.as_secs()).unwrap_or(i32::MAX))
            // Long polling queries all of the queue's servers.
            .wait_time_seconds(1)
            .message_attribute_names("All");
        let answer = request.send().await.map_err(|error| map_sdk_error(&error))?;
        Ok(answer.messages.unwrap_or_default().into_iter().map(ReceivedMessage::from).collect())
    }

    /// Puts an event into the queue, like the function.
    ///
    /// # Errors
    /// If SQS does not accept it.
    pub(crate) async fn put(&self, message: &Message, cause: Cause<'_>) -> Result<(), QueueError> {
        self.sqs.put(message, cause).await
    }

    /// Makes messages visible again.
    ///
    /// # Errors
    /// If that fails for one.
    pub(crate) async fn show(&self, receipts: Vec<String>) -> Result<(), QueueError> {
        self.sqs.delay(receipts.into_iter().map(|receipt| (receipt, Duration::ZERO)).collect()).await
    }

    /// Deletes a message.
    ///
    /// # Errors
    /// If it was not deleted.
    pub(crate) async fn delete(&self, receipt: &str) -> Result<(), QueueError> {
        self.sqs.delete(vec![receipt.to_owned()]).await
    }
}

/// The ARNs of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its own ARN.
    pub(crate) arn: String,
    /// The ARN of its dead-letter queue, if it has one.
    pub(crate) dead_letters: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RedrivePolicy {
    dead_letter_target_arn: String,
}

/// A message that was received from a queue.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedMessage {
    /// SQS's ID of the message, the same on every receive.
    pub(crate) id: String,
    /// For deleting it or making it visible again.
    pub(crate) receipt: String,
    /// Why it is in the queue: the stable code. `None` from another producer or an older version.
    pub(crate) code: Option<String>,
    /// Why it is in the queue, for people.
    pub(crate) reason: Option<String>,
    /// The event; `None` from another producer.
    pub(crate) message: Option<Message>,
}

impl From<SqsMessage> for ReceivedMessage {
    fn from(message: SqsMessage) -> Self {
        let attributes = message.message_attributes.unwrap_or_default();
        let attribute = |name: &str| attributes.get(name)?.string_value.as_deref();
        Self {
            id: message.message_id.unwrap_or_default(),
            receipt: message.receipt_handle.unwrap_or_default(),
            code: attribute(attribute::CODE).map(str::to_owned),
            reason: attribute(attribute::REASON).map(str::to_owned),
            message: Message::read(attribute, message.body.unwrap_or_default(), 0),
        }
    }
}
