//! Metadata that mark an endpoint as a project's. Stripe keeps them, so setup needs no state file.

use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::projects::parameters::parameter;
use stripe_amplitude::stripe::source_label::SourceLabel;

use crate::stripe::endpoints::WebhookEndpoint;

const PROJECT: &str = "stripe_amplitude_project";
const PARAMETER: &str = "stripe_amplitude_parameter";
const CONNECT: &str = "stripe_amplitude_connect";
const COMPLETE_SINCE: &str = "stripe_amplitude_complete_since";

/// The names of the parameters of a signing secret, relative to the project's folder.
#[derive(Clone, Debug)]
pub(super) struct ParameterNames {
    /// For the secret in use.
    pub(super) current: String,
    /// For its successor during a rotation.
    pub(super) next: String,
}

impl ParameterNames {
    pub(super) fn new(label: Option<&SourceLabel>) -> Self {
        let name = |secret: &str| label.map_or_else(|| secret.to_owned(), |label| format!("{secret}/{label}"));
        Self { current: name(parameter::SIGNING_SECRET), next: name(parameter::NEXT_SIGNING_SECRET) }
    }
}

/// The fields that mark an endpoint as the one whose secret is in this parameter of the project, and clear a rotation's
/// note. `connect`: whether it receives the events of connected accounts, if that is known.
pub(super) fn fields(project: &ProjectName, parameter: &str, connect: Option<bool>) -> Vec<(&'static str, String)> {
    let connect = connect.map_or("", |connect| if connect { "true" } else { "false" });
    vec![
        ("metadata[stripe_amplitude_project]", project.to_string()),
        ("metadata[stripe_amplitude_parameter]", parameter.to_owned()),
        ("metadata[stripe_amplitude_connect]", connect.to_owned()),
        forget_complete_since(),
    ]
}

/// The field that clears since when an endpoint receives every event.
pub(super) fn forget_complete_since() -> (&'static str, String) {
    ("metadata[stripe_amplitude_complete_since]", String::new())
}

/// The field that notes since when an endpoint receives every event.
pub(super) fn complete_since(seconds: i64) -> (&'static str, String) {
    ("metadata[stripe_amplitude_complete_since]", seconds.to_string())
}

/// Which project and parameter an endpoint belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark<'e> {
    project: &'e str,
    parameter: &'e str,
}

impl Mark<'_> {
    pub(super) fn is(self, project: &ProjectName, parameter: &str) -> bool {
        self.project == project.as_str() && self.parameter == parameter
    }
}

/// `None` if setup did not create or adopt the endpoint.
pub(super) fn of(endpoint: &WebhookEndpoint) -> Option<Mark<'_>> {
    let project = endpoint.metadata.get(PROJECT)?;
    Some(Mark { project, parameter: endpoint.metadata.get(PARAMETER).map_or("", String::as_str) })
}

/// Whether the endpoint receives the events of connected accounts. Stripe's API does not reveal it, so it is unknown for an
/// endpoint that was created by hand.
pub(super) fn is_connect(endpoint: &WebhookEndpoint) -> Option<bool> {
    endpoint.metadata.get(CONNECT)?.parse().ok()
}

/// Since when the endpoint receives every event, if that is noted, in Unix seconds.
pub(super) fn noted_complete_since(endpoint: &WebhookEndpoint) -> Option<i64> {
    endpoint.metadata.get(COMPLETE_SINCE)?.parse().ok()
}
