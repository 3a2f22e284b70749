//! Projects from AWS Systems Manager Parameter Store.

use std::time::Duration;

use aws_sdk_ssm::config::timeout::TimeoutConfig;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::operation::get_parameters_by_path::GetParametersByPathError;
use aws_sdk_ssm::types::{Parameter as SsmParameter, ParameterType};
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;

use super::name::ProjectName;
use super::parameters::Parameter;
use super::source::{LoadError, ProjectSource};
use crate::aws::Access;

/// No attempt takes longer, so that another one, on a new connection, still fits into the time of a first load: a
/// connection may have died without a word while the environment was frozen.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(900);

/// The same for the command line, whose way may be long, and where nobody waits with a delivery at hand.
const PATIENT_LIMIT: Duration = Duration::from_secs(5);

/// Reads projects with one `GetParametersByPath` each: recursive, decrypted, paged.
#[derive(Clone, Debug)]
pub struct ParameterStore {
    client: aws_sdk_ssm::Client,
    prefix: String,
}

impl ParameterStore {
    /// `prefix` is the folder of the projects, without a slash at its end.
    pub fn new(access: &Access, http: reqwest::Client, prefix: String) -> Self {
        let configuration = access.configuration(http, access.parameter_store_url.as_deref());
        let limits = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_LIMIT).build();
        let configuration = aws_sdk_ssm::config::Builder::from(&configuration).timeout_config(limits).build();
        Self { client: aws_sdk_ssm::Client::from_conf(configuration), prefix }
    }

    /// The same with more patience.
    pub fn patient(self) -> Self {
        let limits = TimeoutConfig::builder().operation_attempt_timeout(PATIENT_LIMIT).build();
        let configuration = self.client.config().to_builder().timeout_config(limits).build();
        Self { client: aws_sdk_ssm::Client::from_conf(configuration), ..self }
    }

    /// Writes a secret parameter, whether it is there or not, encrypted with the account's own key for that, `aws/ssm`.
    /// Only the command line does; the function has no such permission.
    ///
    /// # Errors
    /// Where it is not written, or nobody knows.
    pub async fn put(&self, project: &ProjectName, name: &str, value: &SecretString) -> Result<(), ChangeError> {
        self.write(project, name, ParameterType::SecureString, value.expose_secret()).await
    }

    /// The same for a parameter that is no secret.
    ///
    /// # Errors
    /// As for [`Self::put`].
    pub async fn put_text(&self, project: &ProjectName, name: &str, value: &str) -> Result<(), ChangeError> {
        self.write(project, name, ParameterType::String, value).await
    }

    async fn write(
        &self,
        project: &ProjectName,
        name: &str,
        kind: ParameterType,
        value: &str,
    ) -> Result<(), ChangeError> {
        let name = format!("{}/{name}", self.folder(project));
        let request = self.client.put_parameter().name(name).r#type(kind).overwrite(true).value(value);
        request.send().await.map(drop).map_err(|error| ChangeError::of(&error, "ssm:PutParameter"))
    }

    /// Deletes a parameter. One that is not there is deleted.
    ///
    /// # Errors
    /// Where it is not deleted, or nobody knows.
    pub async fn delete(&self, project: &ProjectName, name: &str) -> Result<(), ChangeError> {
        let name = format!("{}/{name}", self.folder(project));
        let request = self.client.delete_parameter().name(name);
        match request.send().await.map_err(|error| ChangeError::of(&error, "ssm:DeleteParameter")) {
            Err(ChangeError::Refused { code, .. }) if code == "ParameterNotFound" => Ok(()),
            result => result.map(drop),
        }
    }
}

impl ProjectSource for ParameterStore {
    fn folder(&self, project: &ProjectName) -> String {
        format!("{}/{project}", self.prefix)
    }

    async fn load(&self, project: &ProjectName) -> Result<Vec<Parameter>, LoadError> {
        let folder = self.folder(project);
        let mut pages = self
            .client
            .get_parameters_by_path()
            .path(&folder)
            .recursive(true)
            .with_decryption(true)
            .into_paginator()
            .send();
        let mut parameters = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| understand(&error))?;
            parameters.extend(page.parameters.unwrap_or_default().into_iter().filter_map(
                |SsmParameter { name, value, .. }| {
                    let name = name?.strip_prefix(&folder)?.strip_prefix('/')?.to_owned();
                    Some(Parameter { name, value: value?.into() })
                },
            ));
        }
        Ok(parameters)
    }
}

/// Why a parameter is not changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// No answer in time: it may be changed or not.
    #[error("no answer in time")]
    Timeout,
    /// No connection, or one that broke: it may be changed or not.
    #[error("no connection")]
    Connection,
    /// Parameter Store answered with an error.
    #[error("{words} ({code})")]
    Refused {
        /// The error code of AWS, for example `AccessDeniedException`.
        code: String,
        /// What it means, and what to do.
        words: String,
    },
}

impl ChangeError {
    /// AWS's texts can hold ARNs and key IDs; only the code passes.
    fn of<E: ProvideErrorMetadata>(error: &SdkError<E>, action: &str) -> Self {
        let code = match error {
            SdkError::TimeoutError(_) => return Self::Timeout,
            SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => return Self::Connection,
            error => error.code().unwrap_or("no code"),
        };
        Self::Refused { code: code.to_owned(), words: change_words(code, action) }
    }
}

fn change_words(code: &str, action: &str) -> String {
    let words = match code {
        "AccessDeniedException" => {
            return format!(
                "access is denied: your credentials need {action} on the project's parameters, and kms:Encrypt where a policy keeps you from the key aws/ssm"
            );
        }
        "ThrottlingException" | "Throttling" | "TooManyUpdates" | "TooManyRequestsException" => {
            "it takes no more changes at the moment; try again"
        }
        "ParameterLimitExceeded" => "the account has as many parameters as it may have",
        "ParameterMaxVersionLimitExceeded" => {
            "the parameter has as many versions as it may have, and its oldest one has a label: remove the label"
        }
        "HierarchyTypeMismatch" | "UnsupportedParameterType" => {
            "the parameter is there with another type than it should have: delete it first"
        }
        "InvalidKeyId" | "KMSInvalidStateException" => "the KMS key is disabled, deleted or not open to you",
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "ExpiredTokenException"
        | "InvalidClientTokenId" => "the credentials are not valid",
        _ => "it answered with an error",
    };
    words.to_owned()
}

/// AWS's texts can hold ARNs and key IDs; only the code passes.
fn understand(error: &SdkError<GetParametersByPathError>) -> LoadError {
    let code = match error {
        SdkError::TimeoutError(_) => return LoadError::Timeout,
        SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => return LoadError::Connection,
        error => error.code().unwrap_or("no code").to_owned(),
    };
    let words = match code.as_str() {
        "ThrottlingException" | "Throttling" | "TooManyRequestsException" => return LoadError::Throttled { code },
        "AccessDeniedException" => return LoadError::AccessDenied { code },
        "InvalidKeyId" | "KMSInvalidStateException" => {
            "a parameter cannot be decrypted: its KMS key is disabled, deleted or not open to the function's role"
        }
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "ExpiredTokenException"
        | "InvalidClientTokenId" => "the credentials are not valid",
        _ => "it answered with an error",
    };
    LoadError::Refused { code, words }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> ParameterStore {
        let http = crate::http_client::build(None).unwrap();
        ParameterStore::new(&Access::for_tests(), http, "/stripe-amplitude".to_owned())
    }

    #[test]
    fn a_project_has_a_folder_below_the_prefix() {
        assert_eq!(store().folder(&"demo".parse().unwrap()), "/stripe-amplitude/demo");
    }

    #[test]
    fn a_change_that_is_denied_says_which_permission_is_missing() {
        assert!(change_words("AccessDeniedException", "ssm:DeleteParameter").contains("need ssm:DeleteParameter on"));
        assert_eq!(change_words("InternalServerError", "ssm:PutParameter"), "it answered with an error");
    }

    #[test]
    fn debug_shows_no_credentials() {
        assert!(!format!("{:?}", store()).contains("hidden"));
    }
}
