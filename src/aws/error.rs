//! Why a call to AWS failed.

#[cfg(feature = "aws")]
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use thiserror::Error;

/// Why a call to AWS failed. AWS's own messages can hold ARNs and key IDs, so only its codes are kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AwsError {
    /// No response in time.
    #[error("timed out")]
    Timeout,
    /// No connection, or one that broke.
    #[error("no connection")]
    Connection,
    /// A rate limit is reached.
    #[error("rate limit reached ({code})")]
    Throttled {
        /// AWS's error code, for example `ThrottlingException`.
        code: String,
    },
    /// The caller lacks a permission.
    #[error("access denied: {needs} ({code})")]
    AccessDenied {
        /// AWS's error code, for example `AccessDeniedException`.
        code: String,
        /// Who needs which permission: follows `access denied: `.
        needs: &'static str,
    },
    /// Any other error.
    #[error("{explanation} ({code})")]
    Refused {
        /// AWS's error code, for example `InvalidKeyId`.
        code: String,
        /// What it means, and what to do.
        explanation: &'static str,
    },
}

/// The error of a call by the SDK. `needs` says who needs which permission, if access is denied.
#[cfg(feature = "aws")]
pub fn map_sdk_error<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>, needs: &'static str) -> AwsError {
    match error {
        SdkError::TimeoutError(_) => AwsError::Timeout,
        SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => AwsError::Connection,
        error => classify(error.code().unwrap_or("no code"), needs),
    }
}

/// Codes of Parameter Store and of SQS.
#[cfg(feature = "aws")]
fn classify(code: &str, needs: &'static str) -> AwsError {
    let explanation = match code.trim_start_matches("AWS.SimpleQueueService.") {
        "ThrottlingException" | "Throttling" | "TooManyRequestsException" | "RequestThrottled" | "OverLimit" => {
            return AwsError::Throttled { code: code.to_owned() };
        }
        "AccessDenied" | "AccessDeniedException" => {
            return AwsError::AccessDenied { code: code.to_owned(), needs };
        }
        "InvalidKeyId" | "KMSInvalidStateException" => {
            "the KMS key is disabled, deleted or not accessible to the caller"
        }
        code if code.starts_with("Kms") => "the KMS key is disabled, deleted or not accessible to the caller",
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "ExpiredTokenException"
        | "InvalidClientTokenId" => "the credentials are not valid",
        "QueueDoesNotExist" | "NonExistentQueue" => "the queue does not exist; check its URL",
        "InvalidMessageContents" => "the event has characters that SQS does not accept",
        _ => "AWS returned an error",
    };
    AwsError::Refused { code: code.to_owned(), explanation }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "aws")]
    use super::*;

    #[cfg(feature = "aws")]
    #[test]
    fn errors_are_classified_by_code() {
        let throttled = |code: &str| AwsError::Throttled { code: code.to_owned() };
        let denied = |code: &str| AwsError::AccessDenied { code: code.to_owned(), needs: "x" };
        for code in ["ThrottlingException", "RequestThrottled", "AWS.SimpleQueueService.OverLimit"] {
            assert_eq!(classify(code, "x"), throttled(code));
        }
        for code in ["AccessDenied", "AccessDeniedException"] {
            assert_eq!(classify(code, "x"), denied(code));
        }
        for code in ["InvalidKeyId", "KmsDisabled", "ExpiredTokenException", "InternalServerError", "no code"] {
            assert!(matches!(classify(code, "x"), AwsError::Refused { code: kept, .. } if kept == code));
        }
    }
}
