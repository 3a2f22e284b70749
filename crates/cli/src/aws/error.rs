//! Errors of calls to AWS.

use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use stripe_amplitude::queue::QueueError;

/// Why a call to AWS failed. Without a response, a change may have been made or not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AwsError {
    /// The service did not respond in time.
    #[error("timed out")]
    Timeout,
    /// The connection failed.
    #[error("no connection")]
    Connection,
    /// The event exceeds a message of SQS.
    #[error("the event exceeds 1 MiB, the limit of an SQS message")]
    TooLarge,
    /// The service returned an error.
    #[error("{explanation} ({code})")]
    Refused {
        /// AWS's error code, for example `AccessDeniedException`.
        code: String,
        /// What it means, and what to do.
        explanation: String,
    },
}

impl AwsError {
    /// Keeps the code only, because AWS's messages can contain ARNs and key IDs.
    pub(crate) fn of<E: ProvideErrorMetadata>(error: &SdkError<E>, explain: impl FnOnce(&str) -> String) -> Self {
        let code = match error {
            SdkError::TimeoutError(_) => return Self::Timeout,
            SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => return Self::Connection,
            error => error.code().unwrap_or("no code"),
        };
        Self::Refused { code: code.to_owned(), explanation: explain(code) }
    }

    /// Whether the caller lacks a permission.
    pub(crate) fn is_access_denied(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code.starts_with("AccessDenied"))
    }
}

/// The function's own calls to the queue.
impl From<QueueError> for AwsError {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::TooLarge => Self::TooLarge,
            QueueError::Timeout => Self::Timeout,
            QueueError::Connection => Self::Connection,
            QueueError::Refused { code, words } => Self::Refused { code, explanation: words.to_owned() },
        }
    }
}
