//! The keys with which references are followed. Pure.

use std::collections::BTreeSet;

use stripe_amplitude::projects::parameters::parameter;
use stripe_amplitude::projects::project::AmplitudeConfig;
use stripe_amplitude::settings::{References, TestEvents};
use stripe_amplitude::stripe::reference::Permission;
use stripe_amplitude::stripe::source_label::SourceLabel;

use super::finding::Finding;
use crate::stripe::api::ApiError;
use crate::stripe::restricted_key;

/// The names of the keys that there are and that events use, by the labels of the signing secrets.
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

/// Which keys are there, and which are missing or not used.
pub(super) fn check(delivery: &AmplitudeConfig, labels: &[Option<SourceLabel>]) -> Vec<Finding> {
    let (folder, settings) = (delivery.folder(), &delivery.settings);
    let unusable = delivery.stripe_key_parameters().filter_map(|name| delivery.stripe_key(name).err());
    let unusable = unusable.map(|error| Finding::problem(error.to_string()));
    if !settings.follow() {
        let unused = delivery.stripe_key_parameters().map(|name| {
            Finding::ok(format!(
                "{folder}/{name} is not used: a key alone changes nothing; \"references\": \"follow\" in the settings follows references with it"
            ))
        });
        return unusable.chain(unused).collect();
    }
    let mut findings: Vec<_> = unusable.collect();
    // In a rotation, two secrets have the same label.
    let labels: BTreeSet<_> = labels.iter().map(Option::as_ref).collect();
    for label in &labels {
        let [live, test] = [true, false].map(|is_live| AmplitudeConfig::stripe_key_parameter(Some(is_live), *label));
        // One that cannot be used is told above.
        let [has_live, has_test] = [&live, &test].map(|name| !matches!(delivery.stripe_key(name), Ok(None)));
        if !has_live {
            let missing = format!("{folder}/{live} is missing, and the settings follow references");
            findings.push(match settings.references {
                References::Off => Finding::warning(format!(
                    "{missing} for the names of products, which events have only from themselves until then"
                )),
                // It is set up for test mode alone.
                References::Follow if has_test => Finding::warning(format!(
                    "{missing}: an event of live mode that takes one is answered 500, and Stripe delivers it again for three days"
                )),
                References::Follow => Finding::problem(format!(
                    "{missing}: an event that takes one is answered 500, and Stripe delivers it again for three days; create the key as a SecureString, or run `setup` with STRIPE_RESTRICTED_KEY"
                )),
            });
        }
        if !has_test && settings.references == References::Follow && settings.test_events != TestEvents::Drop {
            findings.push(Finding::warning(format!(
                "test-mode events are forwarded, and their references are not followed, because {folder}/{test} is missing: their users are others than those of live mode; write a restricted key of test mode there, or ignore them with \"test_events\": \"drop\""
            )));
        }
    }
    for name in delivery.stripe_key_parameters() {
        let label = name.split_once('/').map(|(_, label)| label);
        if !labels.iter().any(|known| known.map(SourceLabel::as_str) == label) {
            let secret = parameter::SIGNING_SECRET;
            findings.push(Finding::warning(format!(
                "{folder}/{name} is used by no event: no signing secret has its label ({folder}/{secret}{})",
                label.map(|label| format!("/{label}")).unwrap_or_default()
            )));
        }
        if delivery.stripe_key(name).is_ok_and(|key| key.is_some_and(restricted_key::is_full)) {
            findings.push(Finding::warning(restricted_key::full_in_words(&format!("{folder}/{name}"))));
        }
    }
    findings
}

/// What Stripe says of the permissions of a key.
pub(super) fn of_permissions(
    name: &str,
    needed: &BTreeSet<Permission>,
    missing: Result<Vec<Permission>, ApiError>,
) -> Finding {
    match missing {
        Err(error) => Finding::problem(restricted_key::refusal(name, &error)),
        Ok(_) if needed.is_empty() => Finding::ok(format!("the settings need no permission of the key in {name}")),
        Ok(missing) if missing.is_empty() => Finding::ok(format!(
            "the key in {name} may read all that the settings need: {}",
            needed.iter().map(|permission| permission.resource).collect::<Vec<_>>().join(", ")
        )),
        Ok(missing) => Finding::problem(format!(
            "the key in {name} lacks what the settings need: {}; edit the key in Stripe's dashboard (Developers, API keys)",
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
    fn nothing_is_said_where_nothing_is_followed_or_all_is_there() {
        assert!(checked("{}", &[]).is_empty() && checked(FOLLOW, &[LIVE, TEST]).is_empty());
        assert!(checked(r#"{"references": "follow", "test_events": "drop"}"#, &[LIVE]).is_empty());
    }

    #[test]
    fn each_key_that_is_missing_or_not_used_or_can_do_everything_is_named() {
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
                &["Warning: /x/shop/stripe-api-key/eu is used by no event"],
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
    fn keys_that_events_use_are_asked_about() {
        let keys = [LIVE, TEST, ("stripe-api-key/eu", "rk_live_hidden")];
        let (delivery, labels) = project(FOLLOW, &keys);
        assert_eq!(used(&delivery, &labels), ["stripe-api-key", "stripe-test-api-key"]);
        let (delivery, labels) = project("{}", &keys);
        assert!(used(&delivery, &labels).is_empty());
    }

    #[test]
    fn permissions_are_named_as_the_dashboard_does() {
        let needed = [CHARGES, CUSTOMERS].into();
        let of = |missing| of_permissions("stripe-api-key", &needed, missing);
        assert_eq!(of(Ok(vec![])).grade, Grade::Ok);
        let none = of_permissions("stripe-api-key", &BTreeSet::new(), Ok(vec![]));
        assert_eq!(none, Finding::ok("the settings need no permission of the key in stripe-api-key"));
        let missing = of(Ok(vec![CUSTOMERS]));
        assert!(missing.grade == Grade::Problem && missing.words.contains("Customers: Read (rak_customer_read)"));
        let unknown = of(Err(Problem::UnknownKey.into()));
        assert!(unknown.words.contains("does not know the key in stripe-api-key"), "{unknown:?}");
    }
}
