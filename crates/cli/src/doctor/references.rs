//! Checks the keys with which references are followed. Pure.

use std::collections::BTreeSet;

use stripe_amplitude::projects::parameters::parameter;
use stripe_amplitude::projects::project::AmplitudeConfig;
use stripe_amplitude::settings::{References, TestEvents};
use stripe_amplitude::stripe::reference::Permission;
use stripe_amplitude::stripe::source_label::SourceLabel;

use super::finding::Finding;
use crate::stripe::api::ApiError;
use crate::stripe::restricted_key;

/// The parameters of existing keys that events use, according to the labels of the signing secrets.
pub(super) fn used(delivery: &AmplitudeConfig, labels: &[Option<SourceLabel>]) -> Vec<String> {
    if !delivery.settings.follow() {
        return Vec::new();
    }
    let used: BTreeSet<_> = [Some(true), Some(false)]
        .into_iter()
        .flat_map(|livemode| labels.iter().map(move |label| (livemode, label.as_ref())))
        .map(|(livemode, label)| AmplitudeConfig::stripe_key_parameter(livemode, label))
        .collect();
    used.into_iter().filter(|name| matches!(delivery.stripe_key(name), Ok(Some(_)))).collect()
}

/// Finds missing and unused keys.
pub(super) fn check(delivery: &AmplitudeConfig, labels: &[Option<SourceLabel>]) -> Vec<Finding> {
    let (folder, settings) = (delivery.folder(), &delivery.settings);
    let unusable = delivery.stripe_key_parameters().filter_map(|name| delivery.stripe_key(name).err());
    let unusable = unusable.map(|error| Finding::problem(error.to_string()));
    if !settings.follow() {
        let unused = delivery.stripe_key_parameters().map(|name| {
            Finding::ok(format!(
                "{folder}/{name} is not used: a key alone changes nothing; add \"references\": \"follow\" to the settings to follow references with it"
            ))
        });
        return unusable.chain(unused).collect();
    }
    let mut findings: Vec<_> = unusable.collect();
    // In a rotation, two secrets have the same label.
    let labels: BTreeSet<_> = labels.iter().map(Option::as_ref).collect();
    for label in &labels {
        let [live, test] = [true, false].map(|is_live| AmplitudeConfig::stripe_key_parameter(Some(is_live), *label));
        // Unusable keys were reported above.
        let [has_live, has_test] = [&live, &test].map(|name| !matches!(delivery.stripe_key(name), Ok(None)));
        if !has_live {
            let missing = format!("{folder}/{live} is missing, but the settings follow references");
            findings.push(match settings.references {
                References::Off => Finding::warning(format!(
                    "{missing} for product names; until it exists, the names come from the events alone"
                )),
                // The project is set up for test mode only.
                References::Follow if has_test => Finding::warning(format!(
                    "{missing}: a live-mode event with a reference gets 500, and Stripe retries for three days"
                )),
                References::Follow => Finding::problem(format!(
                    "{missing}: an event with a reference gets 500, and Stripe retries for three days; create the key as a SecureString, or run `setup` with STRIPE_RESTRICTED_KEY"
                )),
            });
        }
        if !has_test && settings.references == References::Follow && settings.test_events != TestEvents::Drop {
            findings.push(Finding::warning(format!(
                "test-mode events are forwarded, but their references are not followed, because {folder}/{test} is missing, so their users differ from live mode; store a restricted test-mode key there, or ignore the events with \"test_events\": \"drop\""
            )));
        }
    }
    for name in delivery.stripe_key_parameters() {
        let label = name.split_once('/').map(|(_, label)| label);
        if !labels.iter().any(|known| known.map(SourceLabel::as_str) == label) {
            let secret = parameter::SIGNING_SECRET;
            findings.push(Finding::warning(format!(
                "{folder}/{name} is unused, because no signing secret has its label ({folder}/{secret}{})",
                label.map(|label| format!("/{label}")).unwrap_or_default()
            )));
        }
        if delivery.stripe_key(name).is_ok_and(|key| key.is_some_and(restricted_key::is_full)) {
            findings.push(Finding::warning(restricted_key::full_in_words(&format!("{folder}/{name}"))));
        }
    }
    findings
}

/// The result of checking a key's permissions.
pub(super) fn of_permissions(
    name: &str,
    needed: &BTreeSet<Permission>,
    missing: Result<Vec<Permission>, ApiError>,
) -> Finding {
    match missing {
        Err(error) => Finding::problem(restricted_key::refusal(name, &error)),
        Ok(_) if needed.is_empty() => Finding::ok(format!("the settings need no permission of the key in {name}")),
        Ok(missing) if missing.is_empty() => Finding::ok(format!(
            "the key in {name} has the permissions that the settings need: {}",
            needed.iter().map(|permission| permission.resource).collect::<Vec<_>>().join(", ")
        )),
        Ok(missing) => Finding::problem(format!(
            "the key in {name} lacks permissions that the settings need: {}; edit the key in Stripe's dashboard (Developers, API keys)",
            restricted_key::in_words(&missing)
        )),
    }
}

#[cfg(test)]
mod tests {
    use stripe_amplitude::projects::parameters::Parameter;
    use stripe_amplitude::projects::project::Project;
    use stripe_amplitude::stripe::reference::permission::{CHARGES, CUSTOMERS};

    use super::*;
    use crate::doctor::finding::Grade;
    use crate::stripe::api::Problem;

    /// A project that follows, with further parameters and settings; and the labels of its secrets.
    fn project(settings: &str, further: &[(&str, &str)]) -> (AmplitudeConfig, Vec<Option<SourceLabel>>) {
        let complete = [("stripe-signing-secret", "hidden"), ("amplitude-api-key", "hidden"), ("settings", settings)];
        let parameter = |(name, value): &(&str, &str)| Parameter { name: (*name).to_owned(), value: (*value).into() };
        let parameters = complete.iter().chain(further).map(parameter).collect();
        let project = Project::from_parameters(parameters, "/x/shop");
        let labels = project.secrets.iter().map(|secret| secret.label().cloned()).collect();
        (project.delivery.unwrap(), labels)
    }

    fn checked(settings: &str, further: &[(&str, &str)]) -> Vec<String> {
        let (delivery, labels) = project(settings, further);
        let findings = check(&delivery, &labels);
        let lines = findings.iter().map(|finding| format!("{:?}: {}", finding.grade, finding.words));
        let lines: Vec<_> = lines.inspect(|line| assert!(!line.contains("hidden"), "{line}")).collect();
        lines
    }

    const FOLLOW: &str = r#"{"references": "follow"}"#;
    const LIVE: (&str, &str) = ("stripe-api-key", "rk_live_hidden");
    const TEST: (&str, &str) = ("stripe-test-api-key", "rk_test_hidden");

    #[test]
    fn complete_keys_have_no_findings() {
        assert!(checked("{}", &[]).is_empty() && checked(FOLLOW, &[LIVE, TEST]).is_empty());
        assert!(checked(r#"{"references": "follow", "test_events": "drop"}"#, &[LIVE]).is_empty());
    }

    #[test]
    fn missing_unused_and_secret_keys_are_named() {
        let secret_eu = ("stripe-signing-secret/eu", "hidden");
        for (settings, further, expected) in [
            ("{}", &[LIVE][..], &["Ok: /x/shop/stripe-api-key is not used"][..]),
            (FOLLOW, &[], &["Problem: /x/shop/stripe-api-key is missing", "Warning: test-mode events are forwarded"]),
            (FOLLOW, &[LIVE], &["Warning: test-mode events are forwarded"]),
            (FOLLOW, &[TEST], &["Warning: /x/shop/stripe-api-key is missing"]),
            (
                FOLLOW,
                &[LIVE, TEST, secret_eu],
                &["Problem: /x/shop/stripe-api-key/eu is missing", "Warning: test-mode"],
            ),
            (
                FOLLOW,
                &[LIVE, TEST, ("stripe-api-key/eu", "rk_live_hidden")],
                &["Warning: /x/shop/stripe-api-key/eu is unused"],
            ),
            (
                FOLLOW,
                &[("stripe-api-key", "sk_live_hidden"), TEST],
                &["Warning: /x/shop/stripe-api-key holds a secret"],
            ),
            (r#"{"products": "follow"}"#, &[], &["Warning: /x/shop/stripe-api-key is missing"]),
        ] {
            let lines = checked(settings, further);
            let is_expected = |(line, expected): (&String, &&str)| line.starts_with(*expected);
            assert!(lines.len() == expected.len() && lines.iter().zip(expected).all(is_expected), "{lines:#?}");
        }
    }

    #[test]
    fn only_used_keys_are_checked() {
        let keys = [LIVE, TEST, ("stripe-api-key/eu", "rk_live_hidden")];
        let (delivery, labels) = project(FOLLOW, &keys);
        assert_eq!(used(&delivery, &labels), ["stripe-api-key", "stripe-test-api-key"]);
        let (delivery, labels) = project("{}", &keys);
        assert!(used(&delivery, &labels).is_empty());
    }

    #[test]
    fn permissions_have_the_dashboards_names() {
        let needed = [CHARGES, CUSTOMERS].into();
        let of = |missing| of_permissions("stripe-api-key", &needed, missing);
        assert_eq!(of(Ok(vec![])).grade, Grade::Ok);
        let none = of_permissions("stripe-api-key", &BTreeSet::new(), Ok(vec![]));
        assert_eq!(none, Finding::ok("the settings need no permission of the key in stripe-api-key"));
        let missing = of(Ok(vec![CUSTOMERS]));
        assert!(missing.grade == Grade::Problem && missing.words.contains("Customers: Read (rak_customer_read)"));
        let unknown = of(Err(Problem::UnknownKey.into()));
        assert!(unknown.words.contains("rejects the key in stripe-api-key"), "{unknown:?}");
    }
}
