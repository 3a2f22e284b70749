//! Webhook endpoints in Stripe's API. Source: docs.stripe.com/api/webhook_endpoints.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Deserialize;
use serde::de::IgnoredAny;
use stripe_amplitude::projects::name::ProjectName;

use super::api::{Api, ApiError, Operation};

const PATH: &str = "/v1/webhook_endpoints";

/// A webhook endpoint in Stripe.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct WebhookEndpoint {
    pub(crate) id: String,
    pub(crate) url: String,
    status: String,
    /// `None`: the account's default.
    pub(crate) api_version: Option<String>,
    /// Types, or `*` alone.
    pub(crate) enabled_events: Vec<String>,
    #[serde(default)]
    pub(crate) metadata: BTreeMap<String, String>,
    /// Unix seconds.
    pub(crate) created: i64,
}

impl WebhookEndpoint {
    /// Whether Stripe delivers to it.
    pub(crate) fn is_enabled(&self) -> bool {
        self.status == "enabled"
    }

    /// Whether its path ends with the project's.
    pub(crate) fn is_of(&self, project: &ProjectName) -> bool {
        let path = self.url.split(['?', '#']).next().unwrap_or_default();
        path.ends_with(&format!("/stripe/{project}"))
    }

    /// The given types that it is not enabled for, and the other types that it is enabled for.
    pub(crate) fn types_between(&self, types: &[String]) -> (Vec<String>, Vec<String>) {
        let enabled = &self.enabled_events;
        let missing = types.iter().filter(|wanted| !enabled.contains(wanted));
        let unwanted = enabled.iter().filter(|event_type| !types.contains(event_type));
        (missing.cloned().collect(), unwanted.cloned().collect())
    }
}

#[derive(Deserialize)]
struct Page {
    data: Vec<WebhookEndpoint>,
    has_more: bool,
}

/// All endpoints of the account, in the mode of the key.
///
/// # Errors
/// If Stripe does not return them.
pub(crate) async fn list(api: &Api) -> Result<Vec<WebhookEndpoint>, ApiError> {
    let mut endpoints: Vec<WebhookEndpoint> = Vec::new();
    loop {
        let mut query = vec![("limit", "100".to_owned())];
        query.extend(endpoints.last().map(|last| ("starting_after", last.id.clone())));
        let Page { data, has_more } = api.get(PATH, &query, Operation::ListEndpoints).await?.read()?;
        let is_last = !has_more || data.is_empty();
        endpoints.extend(data);
        if is_last {
            return Ok(endpoints);
        }
    }
}

/// A new endpoint. Stripe reveals its secret only once.
#[derive(Deserialize)]
struct Created {
    id: String,
    secret: String,
}

/// Creates an endpoint, and returns its ID and its signing secret.
///
/// # Errors
/// If it was not created.
pub(crate) async fn create(api: &Api, fields: &[(&str, String)]) -> Result<(String, SecretString), ApiError> {
    let Created { id, secret } = api.post(PATH, fields, Operation::CreateEndpoint).await?;
    Ok((id, secret.into()))
}

/// Updates the given fields of an endpoint.
///
/// # Errors
/// If it was not updated.
pub(crate) async fn update(api: &Api, id: &str, fields: &[(&str, String)]) -> Result<(), ApiError> {
    let IgnoredAny = api.post(&path_of(id), fields, Operation::UpdateEndpoint).await?;
    Ok(())
}

/// Deletes an endpoint. Succeeds if it does not exist.
///
/// # Errors
/// If it was not deleted.
pub(crate) async fn delete(api: &Api, id: &str) -> Result<(), ApiError> {
    api.delete(&path_of(id), Operation::DeleteEndpoint).await
}

/// Stripe's clock, if the response has a date.
///
/// # Errors
/// If Stripe does not respond.
pub(crate) async fn date(api: &Api, id: &str) -> Result<Option<String>, ApiError> {
    api.date(&path_of(id), &[], Operation::ReadEndpoint).await
}

fn path_of(id: &str) -> String {
    format!("{PATH}/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_identifies_the_project() {
        let project = "shop".parse().unwrap();
        for (url, is_of) in [
            ("https://example.com/stripe/shop", true),
            ("https://example.com/prod/stripe/shop?x=/other", true),
            ("https://example.com/stripe/shop/", false),
            ("https://example.com/stripe/workshop", false),
            ("https://example.com/xstripe/shop", false),
            ("https://example.com/?/stripe/shop", false),
        ] {
            let endpoint =
                serde_json::json!({"id": "we_1", "url": url, "status": "enabled", "enabled_events": [], "created": 1});
            let endpoint: WebhookEndpoint = serde_json::from_value(endpoint).unwrap();
            assert_eq!(endpoint.is_of(&project), is_of, "{url}");
        }
    }
}
