//! The redelivery queue in Amazon SQS.

use std::sync::OnceLock;
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    MessageAttributeValue,
};
use aws_types::SdkConfig;

use super::{Cause, EventQueue, LARGEST_MESSAGE, Message, QueueError, attribute};
use crate::aws::{self, Access, AwsError};

const NEEDS: &str = "the function's role needs sqs:SendMessage on the queue, and redelivery sqs:ChangeMessageVisibility and sqs:DeleteMessage";

/// The most entries that SQS accepts in one call.
const LARGEST_BATCH: usize = 10;

/// The most bytes of a message apart from its body: attributes, their names and types.
const LARGEST_ATTRIBUTES: usize = 4096;

/// A longer reason is of no more use.
const LONGEST_REASON: usize = 500;

/// A queue, by its URL.
#[derive(Debug)]
pub struct Sqs {
    configuration: SdkConfig,
    /// Created on first use, which most processes never need: it takes a quarter of a start, because the SDK reads its
    /// list of AWS Regions (`benches/RESULTS.md`).
    client: OnceLock<Client>,
    url: String,
}

impl Sqs {
    /// The queue with this URL.
    pub fn new(access: &Access, http: reqwest::Client, url: String) -> Self {
        let configuration = access.configuration(http, access.sqs_url.as_deref());
        Self { configuration, client: OnceLock::new(), url }
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| Client::new(&self.configuration))
    }
}

impl EventQueue for Sqs {
    async fn put(&self, message: &Message, cause: Cause<'_>) -> Result<(), QueueError> {
        let body = message.body.as_bytes();
        if body.len() + LARGEST_ATTRIBUTES > LARGEST_MESSAGE {
            return Err(QueueError::TooLarge);
        }
        // A parsed body is JSON, and JSON is UTF-8. SQS checks which characters it accepts.
        let reason: String = cause.reason.chars().take(LONGEST_REASON).collect();
        let request = self
            .client()
            .send_message()
            .queue_url(&self.url)
            .message_body(String::from_utf8_lossy(body))
            .message_attributes(attribute::PROJECT, text(message.project.as_str())?)
            .message_attributes(attribute::RECEIVED, value("Number", &message.received.to_string())?)
            .message_attributes(attribute::REASON, text(&reason)?);
        let request = match cause.code {
            Some(code) => request.message_attributes(attribute::CODE, text(code)?),
            None => request,
        };
        let request = match &message.source {
            Some(source) => request.message_attributes(attribute::SOURCE, text(source.as_str())?),
            None => request,
        };
        let request = match message.looked_up {
            Some(seconds) => request.message_attributes(attribute::LOOKED_UP, value("Number", &seconds.to_string())?),
            None => request,
        };
        request.send().await.map(drop).map_err(|error| map_sdk_error(&error))
    }

    async fn delay(&self, receipts: Vec<(String, Duration)>) -> Result<(), QueueError> {
        let mut result = Ok(());
        // A failure for some must not keep the others from their delay.
        for receipts in receipts.chunks(LARGEST_BATCH) {
            result = self.delay_batch(receipts).await.and(result);
        }
        result
    }

    async fn delete(&self, receipts: Vec<String>) -> Result<(), QueueError> {
        let mut result = Ok(());
        for receipts in receipts.chunks(LARGEST_BATCH) {
            result = self.delete_batch(receipts).await.and(result);
        }
        result
    }
}

impl Sqs {
    async fn delay_batch(&self, receipts: &[(String, Duration)]) -> Result<(), QueueError> {
        let mut request = self.client().change_message_visibility_batch().queue_url(&self.url);
        for (number, (receipt, delay)) in receipts.iter().enumerate() {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(number.to_string())
                .receipt_handle(receipt)
                .visibility_timeout(i32::try_from(delay.as_secs()).unwrap_or(i32::MAX));
            request = request.entries(entry.build().map_err(|_| unusable())?);
        }
        let answer = request.send().await.map_err(|error| map_sdk_error(&error))?;
        all(&answer.failed, "some messages were not delayed")
    }

    async fn delete_batch(&self, receipts: &[String]) -> Result<(), QueueError> {
        let mut request = self.client().delete_message_batch().queue_url(&self.url);
        for (number, receipt) in receipts.iter().enumerate() {
            let entry = DeleteMessageBatchRequestEntry::builder().id(number.to_string()).receipt_handle(receipt);
            request = request.entries(entry.build().map_err(|_| unusable())?);
        }
        let answer = request.send().await.map_err(|error| map_sdk_error(&error))?;
        all(&answer.failed, "some messages were not deleted")
    }
}

/// The response to a batch is a success even if every entry failed.
fn all(failed: &[BatchResultErrorEntry], explanation: &'static str) -> Result<(), QueueError> {
    match failed.first() {
        Some(failed) => Err(AwsError::Refused { code: failed.code.clone(), explanation }.into()),
        None => Ok(()),
    }
}

fn text(text: &str) -> Result<MessageAttributeValue, QueueError> {
    value("String", text)
}

fn value(data_type: &str, text: &str) -> Result<MessageAttributeValue, QueueError> {
    MessageAttributeValue::builder().data_type(data_type).string_value(text).build().map_err(|_| unusable())
}

/// The SDK refuses to build an incomplete request; ours are complete.
fn unusable() -> QueueError {
    AwsError::Refused { code: "no code".to_owned(), explanation: "the request cannot be built" }.into()
}

/// The error of a call to SQS.
pub fn map_sdk_error<E: ProvideErrorMetadata>(error: &SdkError<E>) -> QueueError {
    aws::map_sdk_error(error, NEEDS).into()
}
