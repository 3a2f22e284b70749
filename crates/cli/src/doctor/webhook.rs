//! Checks a project's webhook endpoints in Stripe. Pure.

use std::collections::BTreeMap;

use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::stripe::event_types::API_VERSION;

use super::finding::Finding;
use crate::stripe::endpoints::WebhookEndpoint;
use crate::terminal::count;
use crate::webhook_url;

/// What a project needs of its endpoints.
pub(super) struct Wanted<'a> {
    pub(super) project: &'a ProjectName,
    /// If unknown, every URL that ends with the project counts.
    pub(super) url: Option<&'a str>,
    pub(super) types: &'a [String],
    /// The number of the project's signing secrets.
    pub(super) secrets: usize,
    /// For messages.
    pub(super) mode: &'static str,
}

/// The project's endpoints among all of an account.
pub(super) fn of<'e>(endpoints: &'e [WebhookEndpoint], wanted: &Wanted<'_>) -> Vec<&'e WebhookEndpoint> {
    let is_wanted = |endpoint: &&WebhookEndpoint| match wanted.url {
        Some(url) => webhook_url::is_same(&endpoint.url, url),
        None => endpoint.is_of(wanted.project),
    };
    endpoints.iter().filter(is_wanted).collect()
}

pub(super) fn check(endpoints: &[&WebhookEndpoint], wanted: &Wanted<'_>) -> Vec<Finding> {
    let Wanted { project, url, secrets, mode, .. } = *wanted;
    if endpoints.is_empty() {
        let what =
            url.map_or_else(|| format!("whose URL ends with /stripe/{project}"), |url| format!("with the URL {url}"));
        let url = url.unwrap_or("https://…");
        return vec![Finding::problem(format!(
            "the account has no webhook endpoint in {mode} {what}: run `setup --project {project} --url {url}` to create it"
        ))];
    }
    let mut findings: Vec<_> = endpoints.iter().flat_map(|endpoint| check_one(endpoint, wanted)).collect();
    let mut by_url: BTreeMap<&str, usize> = BTreeMap::new();
    for endpoint in endpoints {
        *by_url.entry(&endpoint.url).or_default() += 1;
    }
    let number = count(endpoints.len(), "endpoint");
    let secrets_found = count(secrets, "signing secret");
    // Each endpoint has its own secret.
    if by_url.values().any(|number| *number > secrets) {
        findings.push(Finding::problem(format!(
            "{number} but {secrets_found}: deliveries from an endpoint whose secret is not in the parameters are rejected; delete that endpoint in Stripe, or store its secret as stripe-signing-secret/LABEL"
        )));
    } else if endpoints.len() > secrets {
        findings.push(Finding::warning(format!(
            "{number} but {secrets_found}: correct only if the URLs belong to different stacks with separate parameters; choose one with --url"
        )));
    }
    findings
}

/// A warning that the function does not have the project in `WARM_PROJECTS`.
pub(super) fn not_warm(project: &ProjectName) -> Finding {
    Finding::warning(format!(
        "{project} is not in WARM_PROJECTS: strangers who request other projects can make a new process answer its events with 503. Deploy again with {project} in the stack's parameter, WarmProjects={project}, or with `cargo lambda deploy --env-var WARM_PROJECTS={project}`"
    ))
}

fn check_one(endpoint: &WebhookEndpoint, wanted: &Wanted<'_>) -> Vec<Finding> {
    let WebhookEndpoint { id, url, api_version, .. } = endpoint;
    let setup = format!("`setup --project {} --url {url}`", wanted.project);
    let mut findings = Vec::new();
    if !endpoint.is_enabled() {
        findings.push(Finding::problem(format!(
            "{id} is disabled, so Stripe delivers nothing to it: enable it, or run {setup}; then import missing events with `backfill`"
        )));
    }
    if api_version.as_deref() != Some(API_VERSION) {
        let version = api_version.as_deref().unwrap_or("of the account's default");
        findings.push(Finding::warning(format!(
            "{id} has the API version {version}, not {API_VERSION}: its events are translated, but some fields may be missing; the version cannot be changed, but {setup} replaces the endpoint"
        )));
    }
    let (missing, unwanted) = endpoint.types_between(wanted.types);
    if unwanted.iter().any(|event_type| event_type == "*") {
        findings.push(Finding::warning(format!(
            "{id} is enabled for every type, but the settings select {}: deliveries of the others are useless, and ignored; run {setup} to fix it",
            wanted.types.len()
        )));
    } else {
        if !missing.is_empty() {
            findings.push(Finding::problem(format!(
                "{id} is not enabled for {} that the settings select, so these events never arrive: {}; run {setup} to fix it",
                count(missing.len(), "type"),
                missing.join(", ")
            )));
        }
        if !unwanted.is_empty() {
            findings.push(Finding::warning(format!(
                "{id} is enabled for {} that the settings do not select, so these deliveries are useless: {}; run {setup} to fix it",
                count(unwanted.len(), "type"),
                unwanted.join(", ")
            )));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(format!(
            "{id} is enabled for exactly the {} that the settings select, with API version {API_VERSION}: {url}",
            count(wanted.types.len(), "type")
        )));
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::doctor::finding::Grade;

    const TYPES: [&str; 2] = ["charge.failed", "invoice.paid"];

    fn checked(secrets: usize, changes: &[Value]) -> Vec<Finding> {
        let endpoint = |change: &Value| -> WebhookEndpoint {
            let mut endpoint = json!({"id": "we_1", "url": "https://a.example/stripe/shop", "status": "enabled",
                "api_version": API_VERSION, "enabled_events": TYPES, "created": 1});
            endpoint.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            serde_json::from_value(endpoint).unwrap()
        };
        let all: Vec<_> = changes.iter().map(endpoint).collect();
        let project = "shop".parse().unwrap();
        let wanted =
            Wanted { project: &project, url: None, types: &TYPES.map(str::to_owned), secrets, mode: "test mode" };
        check(&of(&all, &wanted), &wanted)
    }

    #[test]
    fn each_fault_of_an_endpoint_is_found() {
        for (change, grade, words) in [
            (json!({}), Grade::Ok, "exactly the 2 types"),
            (json!({"status": "disabled"}), Grade::Problem, "is disabled"),
            (json!({"api_version": null}), Grade::Warning, "the account's default"),
            (json!({"api_version": "2025-03-31.basil"}), Grade::Warning, "2025-03-31.basil, not 2024-06-20"),
            (
                json!({"enabled_events": ["invoice.paid"]}),
                Grade::Problem,
                "1 type that the settings select, so these events never arrive: charge.failed",
            ),
            (
                json!({"enabled_events": ["invoice.paid", "charge.failed", "plan.created"]}),
                Grade::Warning,
                "useless: plan.created",
            ),
            (json!({"enabled_events": ["*"]}), Grade::Warning, "every type"),
            (json!({"url": "https://a.example/stripe/other"}), Grade::Problem, "no webhook endpoint in test mode"),
        ] {
            let findings = checked(1, &[change]);
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert_eq!(findings[0].grade, grade);
            assert!(findings[0].words.contains(words), "{findings:?}");
        }
    }

    #[test]
    fn cold_project_is_a_warning() {
        let finding = not_warm(&"shop".parse().unwrap());
        assert_eq!(finding.grade, Grade::Warning);
        for remedy in ["WarmProjects=shop", "WARM_PROJECTS=shop"] {
            assert!(finding.words.contains(remedy), "{finding:?}");
        }
    }

    #[test]
    fn endpoint_without_a_secret_is_found() {
        let same = [json!({}), json!({})];
        let elsewhere = [json!({}), json!({"url": "https://b.example/stripe/shop"})];
        for (secrets, endpoints, grade) in [
            (1, &same, Some(Grade::Problem)),
            (2, &same, None),
            (1, &elsewhere, Some(Grade::Warning)),
            (2, &elsewhere, None),
        ] {
            let findings = checked(secrets, endpoints);
            assert_eq!(findings.get(2).map(|finding| finding.grade), grade, "{findings:?}");
        }
    }
}
