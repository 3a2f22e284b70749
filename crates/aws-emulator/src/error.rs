//! AWS's error responses.

use std::fmt;

/// An error with AWS's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsError {
    /// For example `ParameterNotFound`; SDKs identify errors by it.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl AwsError {
    /// An error with this code.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// An invalid value.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }
}

impl fmt::Display for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for AwsError {}
