//! Where projects come from.

use thiserror::Error;

use super::name::ProjectName;
use super::parameters::Parameter;

/// Where projects come from. The network edge of the cache; Parameter Store is the real one.
pub trait ProjectSource: Send + Sync {
    /// The folder of the project's parameters, for messages: `/stripe-amplitude/demo`.
    fn folder(&self, project: &ProjectName) -> String;

    /// Why there is no such project, and what to do: goes on after `no such project: `.
    fn absence(&self, project: &ProjectName) -> String {
        let folder = self.folder(project);
        format!(
            "there are no parameters under {folder}/ in this account and Region; after creating them, wait a minute"
        )
    }

    /// All parameters of a project; none where there is no such project.
    fn load(&self, project: &ProjectName) -> impl Future<Output = Result<Vec<Parameter>, LoadError>> + Send;
}

/// Why the parameters of a project could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// No connection, or one that broke.
    #[error("no connection")]
    Connection,
    /// Its rate limit is reached.
    #[error("its rate limit is reached; it is asked again, and Stripe delivers again ({code})")]
    Throttled {
        /// AWS's error code, for example `ThrottlingException`.
        code: String,
    },
    /// The function's role may not read the parameters.
    #[error(
        "access is denied: the function's role needs ssm:GetParametersByPath on the project's folder, and kms:Decrypt where the parameters are encrypted with a key of yours ({code})"
    )]
    AccessDenied {
        /// AWS's error code, for example `AccessDeniedException`.
        code: String,
    },
    /// Parameter Store answered with another error.
    #[error("{words} ({code})")]
    Refused {
        /// AWS's error code, for example `InvalidKeyId`.
        code: String,
        /// What it means, and what to do.
        words: &'static str,
    },
}
