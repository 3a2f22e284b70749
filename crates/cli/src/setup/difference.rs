//! Differences between an endpoint and its target.

use std::fmt;

use stripe_amplitude::stripe::event_types::API_VERSION;

use super::mark;
use crate::stripe::endpoints::WebhookEndpoint;
use crate::terminal::count;
use crate::webhook_url;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// It is enabled for other types than the settings select.
    Types { missing: Vec<String>, unwanted: Vec<String> },
    /// Its URL is out of date.
    Url { from: String },
    /// Stripe does not deliver to it.
    Disabled,
    /// Its metadata do not name this project.
    Unmarked,
    /// It has another API version; `None`: the account's default.
    ApiVersion(Option<String>),
    /// Its signing secret is not in the parameter.
    NoSecret,
}

impl Difference {
    /// Stripe can neither change an endpoint's API version nor reveal its secret again, so another one must replace it.
    pub(super) fn needs_another_endpoint(&self) -> bool {
        matches!(self, Self::ApiVersion(_) | Self::NoSecret)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Types { missing, unwanted } => {
                f.write_str("its event types differ from the project's settings:")?;
                for event_type in missing {
                    write!(f, "\n    + {event_type}")?;
                }
                for event_type in unwanted {
                    let all = if event_type == "*" { " (every type)" } else { "" };
                    write!(f, "\n    - {event_type}{all}")?;
                }
                Ok(())
            }
            Self::Url { from } => write!(f, "its URL is {from}; it will get the new one and keep its secret"),
            Self::Disabled => f.write_str("it is disabled, so Stripe delivers nothing to it"),
            Self::Unmarked => f.write_str(
                "its metadata do not name this project yet; setup assumes that its secret is the one in Parameter Store",
            ),
            Self::ApiVersion(version) => {
                let version = version.as_deref().unwrap_or("the account's default");
                write!(f, "its API version is {version}, not {API_VERSION}, and cannot be changed; another endpoint will replace it")
            }
            Self::NoSecret => f.write_str(
                "its signing secret is not in Parameter Store, and Stripe does not reveal it again; another endpoint will replace it",
            ),
        }
    }
}

/// All differences. `types` are those that the project's settings select.
pub(super) fn between(endpoint: &WebhookEndpoint, url: &str, types: &[String], has_secret: bool) -> Vec<Difference> {
    let mut differences = Vec::new();
    if !webhook_url::is_same(&endpoint.url, url) {
        differences.push(Difference::Url { from: endpoint.url.clone() });
    }
    if endpoint.api_version.as_deref() != Some(API_VERSION) {
        differences.push(Difference::ApiVersion(endpoint.api_version.clone()));
    }
    if !has_secret {
        differences.push(Difference::NoSecret);
    }
    if !endpoint.is_enabled() {
        differences.push(Difference::Disabled);
    }
    let (missing, unwanted) = endpoint.types_between(types);
    if !missing.is_empty() || !unwanted.is_empty() {
        differences.push(Difference::Types { missing, unwanted });
    }
    if mark::of(endpoint).is_none() {
        differences.push(Difference::Unmarked);
    }
    differences
}

/// Whether Stripe delivers exactly these types to the endpoint.
pub(super) fn is_open(endpoint: &WebhookEndpoint, types: &[String]) -> bool {
    let (missing, unwanted) = endpoint.types_between(types);
    endpoint.is_enabled() && missing.is_empty() && unwanted.is_empty()
}

/// `26 event types`.
pub(super) fn count_of(types: &[String]) -> String {
    count(types.len(), "event type")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const TYPES: [&str; 2] = ["charge.failed", "invoice.paid"];

    fn differences(change: impl FnOnce(&mut Value), has_secret: bool) -> Vec<Difference> {
        let mut endpoint = json!({
            "id": "we_1", "url": "https://a.example/stripe/shop", "status": "enabled", "api_version": "2024-06-20",
            "enabled_events": ["invoice.paid", "charge.failed"], "created": 1,
            "metadata": {"stripe_amplitude_project": "shop", "stripe_amplitude_parameter": "stripe-signing-secret"},
        });
        change(&mut endpoint);
        between(
            &serde_json::from_value(endpoint).unwrap(),
            "https://a.example/stripe/shop",
            &TYPES.map(str::to_owned),
            has_secret,
        )
    }

    #[test]
    fn order_of_types_is_no_difference() {
        assert_eq!(differences(|_| {}, true), []);
    }

    #[test]
    fn each_difference_is_found() {
        let version = |version: &str| vec![Difference::ApiVersion(Some(version.to_owned()))];
        assert_eq!(differences(|endpoint| endpoint["status"] = json!("disabled"), true), [Difference::Disabled]);
        assert_eq!(differences(|endpoint| endpoint["metadata"] = json!({}), true), [Difference::Unmarked]);
        assert_eq!(
            differences(|endpoint| endpoint["api_version"] = json!("2025-03-31.basil"), true),
            version("2025-03-31.basil")
        );
        assert_eq!(differences(|endpoint| endpoint["api_version"] = Value::Null, true), [Difference::ApiVersion(None)]);
        assert_eq!(differences(|_| {}, false), [Difference::NoSecret]);
        let types = differences(|endpoint| endpoint["enabled_events"] = json!(["invoice.paid", "plan.created"]), true);
        let expected =
            Difference::Types { missing: vec!["charge.failed".to_owned()], unwanted: vec!["plan.created".to_owned()] };
        assert_eq!(types, [expected]);
        assert!(types[0].to_string().ends_with(":\n    + charge.failed\n    - plan.created"), "{}", types[0]);
    }

    #[test]
    fn wildcard_is_unwanted() {
        let types = differences(|endpoint| endpoint["enabled_events"] = json!(["*"]), true);
        assert!(types[0].to_string().contains("+ invoice.paid\n    - * (every type)"), "{}", types[0]);
    }

    #[test]
    fn only_version_and_secret_need_another_endpoint() {
        assert!(Difference::NoSecret.needs_another_endpoint() && Difference::ApiVersion(None).needs_another_endpoint());
        assert!(!Difference::Disabled.needs_another_endpoint() && !Difference::Unmarked.needs_another_endpoint());
    }
}
