//! Checks a project's parameters. Pure.

use secrecy::ExposeSecret as _;
use stripe_amplitude::projects::parameters::{Parameter, parameter};
use stripe_amplitude::projects::project::Project;

use super::finding::Finding;
use crate::settings;
use crate::terminal::count;

pub(super) fn check(parameters: &[Parameter], project: &Project, folder: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &project.delivery {
        Err(error) => findings.push(Finding::problem(format!(
            "{error}; until this is fixed, the function returns 500, and Stripe retries for three days"
        ))),
        Ok(delivery) => {
            let next = parameters.iter().filter(|one| one.name.starts_with(parameter::NEXT_SIGNING_SECRET)).count();
            let secrets = count(project.secrets.len().saturating_sub(next), "signing secret");
            if next > 0 {
                findings.push(Finding::warning(format!(
                    "a rotation of a signing secret is unfinished ({folder}/{}): run `setup --rotate` to continue it",
                    parameter::NEXT_SIGNING_SECRET
                )));
            }
            let test_events = if delivery.has_test_key() { "have a separate key" } else { "use the same key" };
            findings.push(Finding::ok(format!(
                "{folder} has {secrets} and the Amplitude key; test-mode events {test_events}"
            )));
            let value = parameters.iter().find(|one| one.name == parameter::SETTINGS);
            let warnings =
                settings::warnings(&delivery.settings, value.map_or(0, |one| one.value.expose_secret().len()));
            findings.push(Finding::ok(match value {
                Some(_) => format!("{folder}/settings is valid"),
                None => format!("{folder}/settings does not exist: all settings have their defaults"),
            }));
            findings.extend(warnings.into_iter().map(Finding::warning));
        }
    }
    findings.extend(project.unknown_parameters().iter().map(|name| {
        Finding::warning(format!("{name} is not a known parameter, and is ignored: check the spelling, or delete it"))
    }));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(parameters: &[(&str, &str)]) -> String {
        let own = |(name, value): &(&str, &str)| Parameter { name: (*name).to_owned(), value: (*value).into() };
        let parameters: Vec<_> = parameters.iter().map(own).collect();
        let project = Project::from_parameters(parameters.clone(), "/x/shop");
        check(&parameters, &project, "/x/shop")
            .iter()
            .map(|finding| format!("{:?}: {}\n", finding.grade, finding.words))
            .collect()
    }

    const COMPLETE: [(&str, &str); 2] = [("stripe-signing-secret", "hidden"), ("amplitude-api-key", "hidden")];

    #[test]
    fn findings_name_the_parameter() {
        let with = |name: &'static str, value: &'static str| [COMPLETE.as_slice(), &[(name, value)]].concat();
        for (parameters, words) in [
            (COMPLETE.to_vec(), &["Ok: /x/shop has 1 signing secret", "/x/shop/settings does not exist"][..]),
            (with("amplitude-test-api-key", "hidden"), &["have a separate key"]),
            (vec![COMPLETE[0]], &["Problem: the parameter /x/shop/amplitude-api-key is missing"]),
            (vec![COMPLETE[1]], &["Problem: the parameter /x/shop/stripe-signing-secret is missing"]),
            (
                with("stripe-signing-secret-next", "hidden"),
                &["Warning: a rotation of a signing secret is unfinished", "has 1 signing secret "],
            ),
            (with("amplitude-key", "hidden"), &["Warning: /x/shop/amplitude-key is not a known parameter"]),
            (with("settings", "{"), &["Problem: the parameter /x/shop/settings cannot be used"]),
            (with("settings", r#"{"max_age_days": 8}"#), &["settings is valid", "Warning: `max_age_days` is 8"]),
        ] {
            let text = checked(&parameters);
            assert!(words.iter().all(|words| text.contains(words)) && !text.contains("hidden"), "{text}");
        }
    }
}
