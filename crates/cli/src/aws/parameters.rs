//! Parameter Store with write access, which only an operator has.

use std::time::Duration;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::config::timeout::TimeoutConfig;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::types::ParameterType;
use reqwest::Client as Http;
use secrecy::{ExposeSecret as _, SecretString};
use stripe_amplitude::aws::{Access, AwsError, map_sdk_error};
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::projects::parameter_store::ParameterStore;
use stripe_amplitude::projects::source::ProjectSource as _;

/// Longer than the function's, because no delivery is waiting.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);

const NEEDS_PUT: &str = "your credentials need ssm:PutParameter on the project's parameters, and kms:Encrypt if a policy denies you the key aws/ssm";
const NEEDS_DELETE: &str = "your credentials need ssm:DeleteParameter on the project's parameters";

#[derive(Clone, Debug)]
pub(crate) struct WritableStore {
    store: ParameterStore,
    client: Client,
}

impl WritableStore {
    /// `prefix`: the folder of the projects, without a trailing slash.
    pub(crate) fn new(access: &Access, http: Http, prefix: String) -> Self {
        let configuration = access.configuration(http.clone(), access.parameter_store_url.as_deref());
        let limits = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_LIMIT).build();
        let configuration = aws_sdk_ssm::config::Builder::from(&configuration).timeout_config(limits).build();
        let store = ParameterStore::new(access, http, prefix);
        Self { store, client: Client::from_conf(configuration) }
    }

    /// The same with longer timeouts for reads.
    pub(crate) fn with_cli_timeouts(self) -> Self {
        Self { store: self.store.with_attempt_limit(ATTEMPT_LIMIT), ..self }
    }

    /// The read access.
    pub(crate) fn store(&self) -> &ParameterStore {
        &self.store
    }

    /// Creates or overwrites a secret parameter, encrypted with the account's key `aws/ssm`.
    ///
    /// # Errors
    /// If it was not written, or that is unknown.
    pub(crate) async fn put(&self, project: &ProjectName, name: &str, value: &SecretString) -> Result<(), AwsError> {
        self.write(project, name, ParameterType::SecureString, value.expose_secret()).await
    }

    /// Creates or overwrites a parameter that is not secret.
    ///
    /// # Errors
    /// Like [`Self::put`].
    pub(crate) async fn put_text(&self, project: &ProjectName, name: &str, value: &str) -> Result<(), AwsError> {
        self.write(project, name, ParameterType::String, value).await
    }

    async fn write(&self, project: &ProjectName, name: &str, kind: ParameterType, value: &str) -> Result<(), AwsError> {
        let name = format!("{}/{name}", self.store.folder(project));
        let request = self.client.put_parameter().name(name).r#type(kind).overwrite(true).value(value);
        request.send().await.map(drop).map_err(|error| map_change_error(&error, NEEDS_PUT))
    }

    /// Deletes a parameter. Succeeds if it does not exist.
    ///
    /// # Errors
    /// If it was not deleted, or that is unknown.
    pub(crate) async fn delete(&self, project: &ProjectName, name: &str) -> Result<(), AwsError> {
        let name = format!("{}/{name}", self.store.folder(project));
        let request = self.client.delete_parameter().name(name);
        match request.send().await.map_err(|error| map_change_error(&error, NEEDS_DELETE)) {
            Err(AwsError::Refused { code, .. }) if code == "ParameterNotFound" => Ok(()),
            result => result.map(drop),
        }
    }
}

/// AWS's codes for changes are more than those that the function meets.
fn map_change_error<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>, needs: &'static str) -> AwsError {
    match map_sdk_error(error, needs) {
        AwsError::Refused { code, explanation } => {
            let explanation = explain(&code).unwrap_or(explanation);
            AwsError::Refused { code, explanation }
        }
        error => error,
    }
}

fn explain(code: &str) -> Option<&'static str> {
    Some(match code {
        "TooManyUpdates" => "throttled; try again",
        "ParameterLimitExceeded" => "the account has reached the limit of parameters",
        "ParameterMaxVersionLimitExceeded" => {
            "the parameter has reached the limit of versions, and its oldest version has a label: remove the label"
        }
        "HierarchyTypeMismatch" | "UnsupportedParameterType" => {
            "the parameter exists with another type: delete it first"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_ssm::error::ErrorMetadata;
    use aws_sdk_ssm::operation::put_parameter::PutParameterError;

    use super::*;

    #[test]
    fn errors_of_changes_are_explained_by_code() {
        for (code, words) in [
            (
                "AccessDeniedException",
                "access denied: your credentials need ssm:PutParameter on the project's parameters",
            ),
            ("ParameterLimitExceeded", "the account has reached the limit of parameters (ParameterLimitExceeded)"),
            ("InternalServerError", "AWS returned an error (InternalServerError)"),
        ] {
            let error = PutParameterError::generic(ErrorMetadata::builder().code(code).message("arn:hidden").build());
            let told = map_change_error(&SdkError::<_, ()>::service_error(error, ()), NEEDS_PUT).to_string();
            assert!(told.starts_with(words) && !told.contains("hidden"), "{told}");
        }
    }
}
