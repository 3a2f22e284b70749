//! The webhook endpoints of the project in Stripe. Pure.

use std::collections::BTreeMap;

use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::stripe::event_types::API_VERSION;

use super::finding::Finding;
use crate::stripe::endpoints::WebhookEndpoint;
use crate::terminal::count;
use crate::webhook_url;

/// What a project is to its endpoints.
pub(super) struct Wanted<'a> {
    pub(super) project: &'a ProjectName,
    /// Where it is known; otherwise every path that ends with the project is taken for its own.
    pub(super) url: Option<&'a str>,
    pub(super) types: &'a [String],
    /// How many signing secrets the project has.
    pub(super) secrets: usize,
    /// For messages.
    pub(super) mode: &'static str,
}

/// The project's among all of an account.
pub(super) fn of<'e>(endpoints: &'e [WebhookEndpoint], wanted: &Wanted<'_>) -> Vec<&'e WebhookEndpoint> {
    let is_wanted = |endpoint: &&WebhookEndpoint| match wanted.url {
        Some(url) => webhook_url::is_same(&endpoint.url, url),
        None => endpoint.is_of(wanted.project),
    };
    endpoints.iter().filter(is_wanted).collect()
}

/// What is to be said of them.
pub(super) fn check(endpoints: &[&WebhookEndpoint], wanted: &Wanted<'_>) -> Vec<Finding> {
    let Wanted { project, url, secrets, mode, .. } = *wanted;
    if endpoints.is_empty() {
        let what =
            url.map_or_else(|| format!("whose URL ends with /stripe/{project}"), |url| format!("with the URL {url}"));
        let url = url.unwrap_or("https://…");
        return vec![Finding::problem(format!(
            "the account has no webhook endpoint in {mode} {what}: `setup --project {project} --url {url}` creates it"
        ))];
    }
    let mut findings: Vec<_> = endpoints.iter().flat_map(|endpoint| check_one(endpoint, wanted)).collect();
    let mut by_url: BTreeMap<&str, usize> = BTreeMap::new();
    for endpoint in endpoints {
        *by_url.entry(&endpoint.url).or_default() += 1;
    }
    let number = count(endpoints.len(), "endpoint");
    let secrets_there = count(secrets, "signing secret");
    // Each endpoint has a secret of its own.
    if by_url.values().any(|number| *number > secrets) {
        findings.push(Finding::problem(format!(
            "{number} and {secrets_there}: what comes from an endpoint whose secret is not among the parameters is refused; delete that endpoint in Stripe, or put its secret into stripe-signing-secret/ and a label"
        )));
    } else if endpoints.len() > secrets {
        findings.push(Finding::warning(format!(
            "{number} and {secrets_there}: right where the URLs are of different stacks, each with parameters of its own; --url chooses one"
        )));
    }
    findings
}

/// What is to be said of a function that does not have the project in `WARM_PROJECTS`.
pub(super) fn not_warm(project: &ProjectName) -> Finding {
    Finding::warning(format!(
        "{project} is not in WARM_PROJECTS: by asking for other projects, strangers can keep its events out of a process that has just started, which then answers 503. Deploy again with the stack's parameter WarmProjects={project}, beside the projects that it names already, or with `cargo lambda deploy --env-var WARM_PROJECTS={project}`"
    ))
}

fn check_one(endpoint: &WebhookEndpoint, wanted: &Wanted<'_>) -> Vec<Finding> {
    let WebhookEndpoint { id, url, api_version, .. } = endpoint;
    let repair = format!("`setup --project {} --url {url}` fixes it", wanted.project);
    let mut findings = Vec::new();
    if !endpoint.is_enabled() {
        findings.push(Finding::problem(format!(
            "{id} is disabled, so that Stripe delivers nothing to it: enable it, or {repair}; then `backfill` brings in what is missing"
        )));
    }
    if api_version.as_deref() != Some(API_VERSION) {
        let version = api_version.as_deref().unwrap_or("whichever the account has");
        findings.push(Finding::warning(format!(
            "{id} has the API version {version} and not {API_VERSION}: its events are translated, and some fields may be missing; it cannot be changed, and {repair} with another endpoint"
        )));
    }
    let (missing, unwanted) = endpoint.types_between(wanted.types);
    if unwanted.iter().any(|event_type| event_type == "*") {
        findings.push(Finding::warning(format!(
            "{id} is enabled for every type, and the project wants {} of them: each of the others is a delivery for nothing, which is answered `ignored`; {repair}",
            wanted.types.len()
        )));
    } else {
        if !missing.is_empty() {
            findings.push(Finding::problem(format!(
                "{id} is not enabled for {} that the project wants, so that they never arrive: {}; {repair}",
                count(missing.len(), "type"),
                missing.join(", ")
            )));
        }
        if !unwanted.is_empty() {
            findings.push(Finding::warning(format!(
                "{id} is enabled for {} that the project does not want, each of which is a delivery for nothing: {}; {repair}",
                count(unwanted.len(), "type"),
                unwanted.join(", ")
            )));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(format!(
            "{id} is enabled for exactly the {} that the project wants, with API version {API_VERSION}: {url}",
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
    fn each_fault_of_an_endpoint_is_found_on_its_own() {
        for (change, grade, words) in [
            (json!({}), Grade::Ok, "exactly the 2 types"),
            (json!({"status": "disabled"}), Grade::Problem, "is disabled"),
            (json!({"api_version": null}), Grade::Warning, "whichever the account has"),
            (json!({"api_version": "2025-03-31.basil"}), Grade::Warning, "2025-03-31.basil and not 2024-06-20"),
            (
                json!({"enabled_events": ["invoice.paid"]}),
                Grade::Problem,
                "1 type that the project wants, so that they never arrive: charge.failed",
            ),
            (
                json!({"enabled_events": ["invoice.paid", "charge.failed", "plan.created"]}),
                Grade::Warning,
                "for nothing: plan.created",
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
    fn a_project_that_strangers_can_keep_out_is_warned_of_with_the_remedy() {
        let finding = not_warm(&"shop".parse().unwrap());
        assert_eq!(finding.grade, Grade::Warning);
        for remedy in ["WarmProjects=shop", "WARM_PROJECTS=shop"] {
            assert!(finding.words.contains(remedy), "{finding:?}");
        }
    }

    #[test]
    fn an_endpoint_without_a_secret_is_found() {
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
