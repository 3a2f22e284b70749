//! Parameter Store with the right to write: only an operator has it, never the function.

use std::time::Duration;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::config::timeout::TimeoutConfig;
use aws_sdk_ssm::types::ParameterType;
use reqwest::Client as Http;
use secrecy::{ExposeSecret as _, SecretString};
use stripe_amplitude::aws::Access;
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::projects::parameter_store::ParameterStore;
use stripe_amplitude::projects::source::ProjectSource as _;

use super::error::AwsError;

/// An operator's connection may be slow, and nobody waits with a delivery at hand.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);

/// Parameter Store, to read and to write.
#[derive(Clone, Debug)]
pub(crate) struct WritableStore {
    store: ParameterStore,
    client: Client,
}

impl WritableStore {
    /// `prefix` is the folder of the projects, without a slash at its end.
    pub(crate) fn new(access: &Access, http: Http, prefix: String) -> Self {
        let configuration = access.configuration(http.clone(), access.parameter_store_url.as_deref());
        let limits = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_LIMIT).build();
        let configuration = aws_sdk_ssm::config::Builder::from(&configuration).timeout_config(limits).build();
        let store = ParameterStore::new(access, http, prefix);
        Self { store, client: Client::from_conf(configuration) }
    }

    /// The same with an operator's time limits for reads.
    pub(crate) fn with_cli_timeouts(self) -> Self {
        Self { store: self.store.with_attempt_limit(ATTEMPT_LIMIT), ..self }
    }

    /// To read with.
    pub(crate) fn store(&self) -> &ParameterStore {
        &self.store
    }

    /// Writes a secret parameter, whether it is there or not, encrypted with the account's own key for that, `aws/ssm`.
    ///
    /// # Errors
    /// Where it is not written, or nobody knows.
    pub(crate) async fn put(&self, project: &ProjectName, name: &str, value: &SecretString) -> Result<(), AwsError> {
        self.write(project, name, ParameterType::SecureString, value.expose_secret()).await
    }

    /// The same for a parameter that is no secret.
    ///
    /// # Errors
    /// As for [`Self::put`].
    pub(crate) async fn put_text(&self, project: &ProjectName, name: &str, value: &str) -> Result<(), AwsError> {
        self.write(project, name, ParameterType::String, value).await
    }

    async fn write(&self, project: &ProjectName, name: &str, kind: ParameterType, value: &str) -> Result<(), AwsError> {
        let name = format!("{}/{name}", self.store.folder(project));
        let request = self.client.put_parameter().name(name).r#type(kind).overwrite(true).value(value);
        request.send().await.map(drop).map_err(|error| AwsError::of(&error, |code| explain(code, "ssm:PutParameter")))
    }

    /// Deletes a parameter. One that is not there is deleted.
    ///
    /// # Errors
    /// Where it is not deleted, or nobody knows.
    pub(crate) async fn delete(&self, project: &ProjectName, name: &str) -> Result<(), AwsError> {
        let name = format!("{}/{name}", self.store.folder(project));
        let request = self.client.delete_parameter().name(name);
        match request.send().await.map_err(|error| AwsError::of(&error, |code| explain(code, "ssm:DeleteParameter"))) {
            Err(AwsError::Refused { code, .. }) if code == "ParameterNotFound" => Ok(()),
            result => result.map(drop),
        }
    }
}

fn explain(code: &str, action: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_is_denied_says_which_permission_is_missing() {
        assert!(explain("AccessDeniedException", "ssm:DeleteParameter").contains("need ssm:DeleteParameter on"));
        assert_eq!(explain("InternalServerError", "ssm:PutParameter"), "it answered with an error");
    }
}
