//! What differs between an endpoint and what it should be.

use std::fmt;

use stripe_amplitude::stripe::event_types::API_VERSION;

use super::mark;
use crate::stripe::endpoints::WebhookEndpoint;
use crate::terminal::count;
use crate::webhook_url;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// It is enabled for other types than the project wants.
    Types { missing: Vec<String>, unwanted: Vec<String> },
    /// It has another URL.
    Url { from: String },
    /// Stripe does not deliver to it.
    Disabled,
    /// Nothing says that it is this project's.
    Unmarked,
    /// Its events are of another API version, or of whichever the account has.
    ApiVersion(Option<String>),
    /// Its signing secret is not in the parameter.
    NoSecret,
}

impl Difference {
    /// Stripe neither changes the API version of an endpoint nor tells its secret again: another one has to take its
    /// place.
    pub(super) fn takes_another_endpoint(&self) -> bool {
        matches!(self, Self::ApiVersion(_) | Self::NoSecret)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Types { missing, unwanted } => {
                f.write_str("it is not enabled for exactly the types that the project wants:")?;
                for event_type in missing {
                    write!(f, "\n    + {event_type}")?;
                }
                for event_type in unwanted {
                    let all = if event_type == "*" { " (every type)" } else { "" };
                    write!(f, "\n    - {event_type}{all}")?;
                }
                Ok(())
            }
            Self::Url { from } => write!(f, "its URL is {from}; it gets the new one, and keeps its secret"),
            Self::Disabled => f.write_str("it is disabled, so that Stripe delivers nothing to it"),
            Self::Unmarked => f.write_str(
                "its metadata do not say yet that it is this project's; that its secret is the one in Parameter Store is taken for granted",
            ),
            Self::ApiVersion(version) => {
                let version = version.as_deref().unwrap_or("the account's own");
                write!(f, "its API version is {version} and not {API_VERSION}; that cannot be changed, so another endpoint takes its place")
            }
            Self::NoSecret => f.write_str(
                "its signing secret is not in Parameter Store; Stripe does not tell it again, so another endpoint takes its place",
            ),
        }
    }
}

/// What differs. `types` are those that the project wants.
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

/// Whether Stripe delivers exactly these types to it.
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
    fn nothing_differs_whatever_the_order_of_the_types() {
        assert_eq!(differences(|_| {}, true), []);
    }

    #[test]
    fn everything_that_differs_is_found() {
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
    fn an_endpoint_for_every_type_gets_too_much() {
        let types = differences(|endpoint| endpoint["enabled_events"] = json!(["*"]), true);
        assert!(types[0].to_string().contains("+ invoice.paid\n    - * (every type)"), "{}", types[0]);
    }

    #[test]
    fn only_the_version_and_the_secret_take_another_endpoint() {
        assert!(Difference::NoSecret.takes_another_endpoint() && Difference::ApiVersion(None).takes_another_endpoint());
        assert!(!Difference::Disabled.takes_another_endpoint() && !Difference::Unmarked.takes_another_endpoint());
    }
}
