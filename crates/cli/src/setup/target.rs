//! The endpoint that a project should have.

use super::mark::{self, ParameterNames};
use crate::stripe::endpoints::WebhookEndpoint;

/// What the operator asked for.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The webhook's URL, normalized.
    pub(super) url: String,
    /// The project's folder in Parameter Store, for messages.
    pub(super) folder: String,
    pub(super) names: ParameterNames,
    pub(super) rotate: bool,
    pub(super) connect: bool,
    pub(super) own_account: bool,
}

impl Target {
    /// Whether an endpoint receives the events of connected accounts. `None` if neither its metadata nor the operator says
    /// so.
    pub(super) fn is_connect(&self, endpoint: &WebhookEndpoint) -> Option<bool> {
        let Self { connect, own_account, .. } = *self;
        mark::is_connect(endpoint).or((connect || own_account).then_some(connect))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::setup) const URL: &str = "https://a.example/stripe/shop";

    pub(in crate::setup) fn target() -> Target {
        Target {
            url: URL.to_owned(),
            folder: "/f/shop".to_owned(),
            names: ParameterNames::new(None),
            rotate: false,
            connect: false,
            own_account: false,
        }
    }
}
