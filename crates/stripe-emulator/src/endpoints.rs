//! The webhook endpoints of the account.

use std::collections::BTreeMap;

use hyper::Uri;
use serde_json::{Value, json};

use crate::answer::{Answer, ApiError};
use crate::event_types::EVENT_TYPES;
use crate::parameters::Parameters;
use crate::random;
use crate::versions::ApiVersion;

/// The maximum number per account.
const MAX_ENDPOINTS: usize = 16;

/// A webhook endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `we_…`
    pub id: String,
    /// The signing secret, which Stripe only returns on creation.
    pub secret: String,
    /// The address that receives events.
    pub url: String,
    /// Event types, or `*` alone.
    pub enabled_events: Vec<String>,
    /// The API version; without it, the account's.
    pub api_version: Option<String>,
    /// A description by its creator.
    pub description: Option<String>,
    /// Arbitrary values by name.
    pub metadata: BTreeMap<String, String>,
    /// Whether it receives the events of connected accounts, and only those.
    pub connect: bool,
    /// Whether it currently receives nothing.
    pub disabled: bool,
    /// Whether it is in live mode.
    pub livemode: bool,
    /// In Unix seconds.
    pub created: i64,
}

impl Endpoint {
    pub(crate) fn new(url: &str, enabled_events: &[&str], created: i64) -> Self {
        Self {
            id: format!("we_1Emulated{}", random(17)),
            secret: format!("whsec_{}", random(32)),
            url: url.to_owned(),
            enabled_events: enabled_events.iter().map(ToString::to_string).collect(),
            api_version: None,
            description: None,
            metadata: BTreeMap::new(),
            connect: false,
            disabled: false,
            livemode: false,
            created,
        }
    }

    /// Without the secret.
    fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "object": "webhook_endpoint",
            "api_version": self.api_version,
            "application": null,
            "created": self.created,
            "description": self.description,
            "enabled_events": self.enabled_events,
            "livemode": self.livemode,
            "metadata": self.metadata,
            "status": if self.disabled { "disabled" } else { "enabled" },
            "url": self.url,
        })
    }
}

/// All endpoints, newest first.
#[derive(Default)]
pub(crate) struct Endpoints(Vec<Endpoint>);

impl Endpoints {
    pub(crate) fn all(&self) -> &[Endpoint] {
        &self.0
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Endpoint> {
        self.0.iter().find(|endpoint| endpoint.id == id)
    }

    pub(crate) fn add(&mut self, endpoint: Endpoint) -> Endpoint {
        self.0.insert(0, endpoint.clone());
        endpoint
    }

    /// `GET /v1/webhook_endpoints`
    pub(crate) fn list(&self, mut parameters: Parameters) -> Result<Answer, ApiError> {
        let (limit, cursor) = (parameters.limit()?, parameters.cursor()?);
        parameters.nothing_else()?;
        let (data, has_more) =
            cursor.page(&self.0, limit, |endpoint| &endpoint.id, |id, name| no_such(400, id, name))?;
        let data: Vec<_> = data.iter().map(Endpoint::to_json).collect();
        let list = json!({"object": "list", "url": "/v1/webhook_endpoints", "has_more": has_more, "data": data});
        Ok(Answer::json(&list))
    }

    /// `GET /v1/webhook_endpoints/{id}`
    pub(crate) fn retrieve(&self, id: &str, parameters: Parameters) -> Result<Answer, ApiError> {
        parameters.nothing_else()?;
        self.get(id).map(|endpoint| Answer::json(&endpoint.to_json())).ok_or_else(|| unknown(id))
    }

    /// `POST /v1/webhook_endpoints`
    pub(crate) fn create(&mut self, mut parameters: Parameters, livemode: bool, now: i64) -> Result<Answer, ApiError> {
        let url = parameters.one("url").ok_or_else(|| missing("url"))?;
        check_url(&url)?;
        let enabled_events = parameters.list("enabled_events");
        if enabled_events.is_empty() {
            return Err(missing("enabled_events"));
        }
        check_events(&enabled_events)?;
        let endpoint = Endpoint {
            enabled_events,
            api_version: parameters.one("api_version").map(check_api_version).transpose()?,
            description: parameters.one("description").filter(|text| !text.is_empty()),
            metadata: parameters.map("metadata").into_iter().filter(|(_, value)| !value.is_empty()).collect(),
            connect: parameters.boolean("connect")?.unwrap_or_default(),
            livemode,
            ..Endpoint::new(&url, &[], now)
        };
        parameters.nothing_else()?;
        if self.0.len() >= MAX_ENDPOINTS {
            let mode = if livemode { "live" } else { "test" };
            return Err(ApiError::new(
                400,
                format!("You have reached the maximum of {MAX_ENDPOINTS} {mode} webhook endpoints."),
            ));
        }
        let endpoint = self.add(endpoint);
        let mut answer = endpoint.to_json();
        if let Some(answer) = answer.as_object_mut() {
            answer.insert("secret".to_owned(), endpoint.secret.into());
        }
        Ok(Answer::json(&answer))
    }

    /// `POST /v1/webhook_endpoints/{id}`
    pub(crate) fn update(&mut self, id: &str, mut parameters: Parameters) -> Result<Answer, ApiError> {
        let endpoint = self.0.iter_mut().find(|endpoint| endpoint.id == id).ok_or_else(|| unknown(id))?;
        // A rejected request must not change anything.
        let mut changed = endpoint.clone();
        if let Some(url) = parameters.one("url") {
            check_url(&url)?;
            changed.url = url;
        }
        let enabled_events = parameters.list("enabled_events");
        if !enabled_events.is_empty() {
            check_events(&enabled_events)?;
            changed.enabled_events = enabled_events;
        }
        if let Some(disabled) = parameters.boolean("disabled")? {
            changed.disabled = disabled;
        }
        if let Some(description) = parameters.one("description") {
            changed.description = Some(description).filter(|text| !text.is_empty());
        }
        if parameters.one("metadata").is_some_and(|value| value.is_empty()) {
            changed.metadata.clear();
        }
        changed.metadata.extend(parameters.map("metadata"));
        changed.metadata.retain(|_, value| !value.is_empty());
        parameters.nothing_else()?;
        *endpoint = changed;
        Ok(Answer::json(&endpoint.to_json()))
    }

    /// `DELETE /v1/webhook_endpoints/{id}`
    pub(crate) fn delete(&mut self, id: &str, parameters: Parameters) -> Result<Answer, ApiError> {
        parameters.nothing_else()?;
        let place = self.0.iter().position(|endpoint| endpoint.id == id).ok_or_else(|| unknown(id))?;
        self.0.remove(place);
        Ok(Answer::json(&json!({"id": id, "object": "webhook_endpoint", "deleted": true})))
    }
}

fn check_url(url: &str) -> Result<(), ApiError> {
    let is_url = url.parse().is_ok_and(|url: Uri| ["http", "https"].contains(&url.scheme_str().unwrap_or_default()));
    if is_url { Ok(()) } else { Err(ApiError::of("url", Some("url_invalid"), "Not a valid URL")) }
}

fn check_events(enabled_events: &[String]) -> Result<(), ApiError> {
    if enabled_events == ["*"] {
        return Ok(());
    }
    let unknown = enabled_events.iter().position(|event| !EVENT_TYPES.contains(&&**event));
    unknown.map_or(Ok(()), |index| {
        let param = format!("enabled_events[{index}]");
        Err(ApiError::of(&param, None, format!("Invalid {param}: must be one of {}", EVENT_TYPES.join(", "))))
    })
}

fn check_api_version(version: String) -> Result<String, ApiError> {
    if ApiVersion::parse(&version).is_some() {
        return Ok(version);
    }
    Err(ApiError::of("api_version", None, format!("Invalid Stripe API version: {version}")))
}

fn missing(param: &str) -> ApiError {
    ApiError::of(param, Some("parameter_missing"), format!("Missing required param: {param}."))
}

fn unknown(id: &str) -> ApiError {
    no_such(404, id, "id")
}

fn no_such(status: u16, id: &str, param: &str) -> ApiError {
    ApiError::no_such(status, "webhook endpoint", id, param)
}
