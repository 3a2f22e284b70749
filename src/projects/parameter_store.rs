//! Projects from AWS Systems Manager Parameter Store.

use std::time::Duration;

use aws_sdk_ssm::config::timeout::TimeoutConfig;
use aws_sdk_ssm::types::Parameter as SsmParameter;

use super::name::ProjectName;
use super::parameters::Parameter;
use super::source::ProjectSource;
use crate::aws::{Access, AwsError, map_sdk_error};

/// The limit of an attempt. A second one, on a new connection, still fits into the time of a first load: a connection
/// may have died silently while the environment was frozen.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(900);

const NEEDS: &str = "the function's role needs ssm:GetParametersByPath on the project's folder, and kms:Decrypt if your own KMS key encrypts the parameters";

/// Reads projects with one `GetParametersByPath` each: recursive, decrypted, paged.
#[derive(Clone, Debug)]
pub struct ParameterStore {
    client: aws_sdk_ssm::Client,
    prefix: String,
}

impl ParameterStore {
    /// `prefix` is the folder of the projects, without a trailing slash.
    pub fn new(access: &Access, http: reqwest::Client, prefix: String) -> Self {
        let configuration = access.configuration(http, access.parameter_store_url.as_deref());
        let limits = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_LIMIT).build();
        let configuration = aws_sdk_ssm::config::Builder::from(&configuration).timeout_config(limits).build();
        Self { client: aws_sdk_ssm::Client::from_conf(configuration), prefix }
    }

    /// Sets the limit of an attempt: the command line has more time than a delivery.
    pub fn with_attempt_limit(self, limit: Duration) -> Self {
        let limits = TimeoutConfig::builder().operation_attempt_timeout(limit).build();
        let configuration = self.client.config().to_builder().timeout_config(limits).build();
        Self { client: aws_sdk_ssm::Client::from_conf(configuration), ..self }
    }
}

impl ProjectSource for ParameterStore {
    fn folder(&self, project: &ProjectName) -> String {
        format!("{}/{project}", self.prefix)
    }

    async fn load(&self, project: &ProjectName) -> Result<Vec<Parameter>, AwsError> {
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
            let page = page.map_err(|error| map_sdk_error(&error, NEEDS))?;
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
    fn debug_shows_no_credentials() {
        assert!(!format!("{:?}", store()).contains("hidden"));
    }
}
