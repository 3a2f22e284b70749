//! Projects from AWS Systems Manager Parameter Store.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_ssm::config::retry::RetryConfig;
use aws_sdk_ssm::config::{BehaviorVersion, IdentityCache, Region, StalledStreamProtectionConfig};
use aws_sdk_ssm::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_ssm::operation::get_parameters_by_path::GetParametersByPathError;
use aws_sdk_ssm::types::Parameter as SsmParameter;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;

use super::{LoadError, Parameter, ProjectName, ProjectSource};

/// How to reach Parameter Store, as the environment says.
#[derive(Clone, Debug)]
pub struct Access {
    /// For example `eu-central-1`.
    pub region: String,
    /// Hidden from `Debug`.
    pub credentials: Credentials,
    /// Another endpoint than AWS's own.
    pub endpoint_url: Option<String>,
}

/// Reads projects with one `GetParametersByPath` each: recursive, decrypted, paged.
#[derive(Clone, Debug)]
pub struct ParameterStore {
    client: aws_sdk_ssm::Client,
    prefix: String,
}

impl ParameterStore {
    /// `prefix` is the folder of the projects, without a slash at its end.
    pub fn new(access: Access, http: reqwest::Client, prefix: String) -> Self {
        let mut config = aws_sdk_ssm::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(access.region))
            .credentials_provider(access.credentials)
            .http_client(Adapter(http))
            .sleep_impl(TokioSleep::new())
            // Three attempts, with jitter, fit into the 1.5 s that a first load may take.
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(3)
                    .with_initial_backoff(Duration::from_millis(100))
                    .with_max_backoff(Duration::from_millis(400)),
            )
            // Lambda hands the credentials over once, in the environment; there is nothing to renew. Answers are short.
            .identity_cache(IdentityCache::no_cache())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        config.set_endpoint_url(access.endpoint_url);
        Self { client: aws_sdk_ssm::Client::from_conf(config.build()), prefix }
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

/// AWS's texts can hold ARNs and key IDs; only the code passes.
fn understand(error: &SdkError<GetParametersByPathError>) -> LoadError {
    let code = match error {
        SdkError::TimeoutError(_) => return LoadError::Timeout,
        SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => return LoadError::Connection,
        error => error.code().unwrap_or("no code"),
    };
    let words = match code {
        "ThrottlingException" | "Throttling" | "TooManyRequestsException" => {
            "its rate limit is reached; it is asked again, and Stripe delivers again"
        }
        "AccessDeniedException" => {
            "access is denied: the function's role needs ssm:GetParametersByPath on the project's folder, and kms:Decrypt where the parameters are encrypted with a key of yours"
        }
        "InvalidKeyId" | "KMSInvalidStateException" => {
            "a parameter cannot be decrypted: its KMS key is disabled, deleted or not open to the function's role"
        }
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "ExpiredTokenException"
        | "InvalidClientTokenId" => "the credentials are not valid",
        _ => "it answered with an error",
    };
    LoadError::Refused { code: code.to_owned(), words }
}

/// Our HTTP client as the SDK's: one pool, one TLS stack. Time limits are the caller's.
#[derive(Clone, Debug)]
struct Adapter(reqwest::Client);

impl HttpClient for Adapter {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Adapter {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            // Requests of this operation are in memory.
            let request = request.map(|body| body.bytes().unwrap_or_default().to_vec());
            let request = request.try_into().map_err(|error: reqwest::Error| ConnectorError::user(error.into()))?;
            let io = |error: reqwest::Error| ConnectorError::io(error.into());
            let answer = client.execute(request).await.map_err(io)?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            let mut response = http::Response::new(SdkBody::from(answer.bytes().await.map_err(io)?));
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> ParameterStore {
        let access = Access {
            region: "eu-central-1".to_owned(),
            credentials: Credentials::new("AKIDEXAMPLE", "hidden", None, None, "test"),
            endpoint_url: None,
        };
        ParameterStore::new(access, crate::http_client::build(None).unwrap(), "/stripe-amplitude".to_owned())
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
