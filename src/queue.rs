//! The redelivery queue, which holds verified events that could not be delivered.

#[cfg(feature = "aws")]
pub mod sqs;

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use crate::aws::AwsError;
use crate::projects::name::ProjectName;
use crate::stripe::signature::VerifiedBody;
use crate::stripe::source_label::SourceLabel;

/// The names of a message's attributes. Its body is Stripe's, unchanged.
pub mod attribute {
    /// The project's name.
    pub const PROJECT: &str = "project";
    /// The label of the signing secret that matched; absent if it has none.
    pub const SOURCE: &str = "source";
    /// When the function received the event, in Unix seconds.
    pub const RECEIVED: &str = "received";
    /// Why it was not delivered: the stable code.
    pub const CODE: &str = "code";
    /// Why it was not delivered: the sentence.
    pub const REASON: &str = "reason";
    /// When an operator verified that Amplitude does not have the event, in Unix seconds; absent if none did.
    pub const LOOKED_UP: &str = "looked_up";

    /// All of them.
    pub const ALL: [&str; 6] = [PROJECT, SOURCE, RECEIVED, CODE, REASON, LOOKED_UP];
}

/// Why an event is in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause<'c> {
    /// The stable code. A text, because another version may have written it; `None` if an older one wrote none.
    pub code: Option<&'c str>,
    /// The reason, a sentence for people.
    pub reason: &'c str,
}

/// The largest message, attributes included. Source: Amazon SQS's documentation, "message quotas".
pub const LARGEST_MESSAGE: usize = 1024 * 1024;

/// A queue of events. A network edge of the handlers; `sqs::Sqs` is the real one.
pub trait EventQueue: Send + Sync {
    /// Puts an event into the queue, with the cause why it was not delivered. Then it is safe.
    fn put(&self, message: &Message, cause: Cause<'_>) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Makes messages visible again after these delays, by their receipt handles.
    fn delay(&self, receipts: Vec<(String, Duration)>) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Deletes messages, by their receipt handles.
    fn delete(&self, receipts: Vec<String>) -> impl Future<Output = Result<(), QueueError>> + Send;
}

/// An event in the queue.
#[derive(Clone, Debug)]
pub struct Message {
    /// The project of the event.
    pub project: ProjectName,
    /// The label of the signing secret that matched.
    pub source: Option<SourceLabel>,
    /// When the function received it, in Unix seconds.
    pub received: u64,
    /// When an operator verified that Amplitude does not have the event, in Unix seconds. It is then sent at any age.
    pub looked_up: Option<u64>,
    /// The body, as Stripe signed it.
    pub body: VerifiedBody,
}

impl Message {
    /// The message with this body and these attributes; `None` if they name no valid project or label, because then
    /// another program sent it. `received` is the default for the time of receipt.
    pub fn read<'a>(attribute: impl Fn(&str) -> Option<&'a str>, body: String, received: u64) -> Option<Self> {
        Some(Self {
            project: attribute(attribute::PROJECT)?.parse().ok()?,
            source: attribute(attribute::SOURCE).map(str::parse).transpose().ok()?,
            received: attribute(attribute::RECEIVED).and_then(|seconds| seconds.parse().ok()).unwrap_or(received),
            looked_up: attribute(attribute::LOOKED_UP).and_then(|seconds| seconds.parse().ok()),
            body: VerifiedBody::trusted(Bytes::from(body)),
        })
    }
}

/// Why an event is not in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QueueError {
    /// Over [`LARGEST_MESSAGE`].
    #[error("the event is larger than an SQS message (1 MiB)")]
    TooLarge,
    /// The call to SQS failed.
    #[error(transparent)]
    Aws(#[from] AwsError),
}

/// Gives up at the limit.
pub(crate) async fn in_time(
    limit: Instant,
    work: impl Future<Output = Result<(), QueueError>>,
) -> Result<(), QueueError> {
    timeout_at(limit, work).await.unwrap_or(Err(AwsError::Timeout.into()))
}

/// The type of a queue that does not exist. It has no values.
impl EventQueue for Infallible {
    async fn put(&self, _: &Message, _: Cause<'_>) -> Result<(), QueueError> {
        match *self {}
    }

    async fn delay(&self, _: Vec<(String, Duration)>) -> Result<(), QueueError> {
        match *self {}
    }

    async fn delete(&self, _: Vec<String>) -> Result<(), QueueError> {
        match *self {}
    }
}
