//! Access to AWS's services, by the SDK over our own HTTP client.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_ssm::config::retry::RetryConfig;
use aws_sdk_ssm::config::{BehaviorVersion, IdentityCache, Region, StalledStreamProtectionConfig};
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_types::SdkConfig;

/// How to reach AWS, as the environment configures it.
#[derive(Clone, Debug)]
pub struct Access {
    /// For example `eu-central-1`.
    pub region: String,
    /// Hidden from `Debug`.
    pub credentials: Credentials,
    /// An endpoint of Parameter Store other than AWS's own.
    pub parameter_store_url: Option<String>,
    /// An endpoint of SQS other than AWS's own.
    pub sqs_url: Option<String>,
}

impl Access {
    /// The configuration of a service's client.
    pub fn configuration(&self, http: reqwest::Client, endpoint_url: Option<&str>) -> SdkConfig {
        let mut configuration = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(self.region.clone()))
            .credentials_provider(SharedCredentialsProvider::new(self.credentials.clone()))
            .http_client(Adapter(http))
            .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
            // Three attempts, with jitter, fit into the 1.5 s of a first load.
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(3)
                    .with_initial_backoff(Duration::from_millis(100))
                    .with_max_backoff(Duration::from_millis(400)),
            )
            // Lambda passes the credentials once, in the environment; there is nothing to renew. Responses are short.
            .identity_cache(IdentityCache::no_cache())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        configuration.set_endpoint_url(endpoint_url.map(str::to_owned));
        configuration.build()
    }

    /// Access to nothing.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self {
            region: "eu-central-1".to_owned(),
            credentials: Credentials::new("AKIDEXAMPLE", "hidden", None, None, "test"),
            parameter_store_url: None,
            sqs_url: None,
        }
    }
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
            // Requests of the operations that we use are in memory.
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
