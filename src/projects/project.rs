//! A project as its parameters describe it.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};

use super::configuration_error::{ConfigurationError, Problem, StripeKeyProblem};
use super::parameters::{Parameter, amplitude_key, parameter, parse_settings, signing_secret, stripe_key};
use crate::amplitude::{AmplitudeKey, Destination};
use crate::money::exchange_rate::MissingRate;
use crate::settings::Settings;
use crate::stripe::signature::SigningSecret;
use crate::stripe::source_label::SourceLabel;

/// A project as its parameters describe it.
#[derive(Debug)]
pub struct Project {
    /// In the order in which they are tried: the unlabelled one first, then by label.
    pub secrets: Vec<SigningSecret>,
    /// Everything else, kept apart: a problem with it is reported only to callers whose signature matched.
    pub delivery: Result<AmplitudeConfig, ConfigurationError>,
    /// Parameters that this version does not know.
    unknown_parameters: Vec<String>,
}

impl Project {
    /// Reads a project from its parameters. `folder` is for messages.
    pub fn from_parameters(parameters: Vec<Parameter>, folder: &str) -> Self {
        let mut secrets = Vec::new();
        let mut api_key = None;
        let mut test_api_key = None;
        let mut settings = Settings::default();
        let mut problem = None;
        let mut unknown_parameters = Vec::new();
        let mut stripe_keys = BTreeMap::new();
        for Parameter { name, value } in parameters {
            let text = value.expose_secret();
            let result = match (name.as_str(), label(&name)) {
                _ if labelled(&name, parameter::STRIPE_API_KEY).is_some() => {
                    stripe_keys.insert(name.clone(), stripe_key(text, true));
                    Ok(())
                }
                _ if labelled(&name, parameter::STRIPE_TEST_API_KEY).is_some() => {
                    stripe_keys.insert(name.clone(), stripe_key(text, false));
                    Ok(())
                }
                (_, Some(label)) => signing_secret(text).map(|secret| secrets.push((label, secret))),
                (parameter::API_KEY, _) => amplitude_key(text).map(|key| api_key = Some(key)),
                (parameter::TEST_API_KEY, _) => amplitude_key(text).map(|key| test_api_key = Some(key)),
                (parameter::SETTINGS, _) => parse_settings(text).map(|parsed| settings = parsed),
                _ => {
                    unknown_parameters.push(format!("{folder}/{name}"));
                    Ok(())
                }
            };
            if let Err(what) = result {
                problem.get_or_insert((name, what));
            }
        }
        if secrets.is_empty() {
            problem.get_or_insert((parameter::SIGNING_SECRET.to_owned(), Problem::Missing));
        }
        secrets.sort_by(|(one, _), (other, _)| one.cmp(other));

        let error = |(name, problem)| ConfigurationError { folder: folder.to_owned(), name, problem };
        let delivery = match (problem, api_key) {
            (Some(problem), _) => Err(error(problem)),
            (None, None) => Err(error((parameter::API_KEY.to_owned(), Problem::Missing))),
            (None, Some(api_key)) => {
                let region = settings.amplitude_region;
                let main = Destination { region, api_key, key: AmplitudeKey::Main };
                let test = test_api_key.map(|api_key| Destination { region, api_key, key: AmplitudeKey::Test });
                Ok(AmplitudeConfig { main, test, settings, stripe_keys, folder: folder.to_owned() })
            }
        };
        let secrets = secrets.into_iter().map(|(label, secret)| SigningSecret::new(secret, label)).collect();
        Self { secrets, delivery, unknown_parameters }
    }

    /// The names of all parameters. Stripe's may have a label at the end, after a slash.
    pub const PARAMETERS: [&str; 7] = [
        parameter::SIGNING_SECRET,
        parameter::NEXT_SIGNING_SECRET,
        parameter::API_KEY,
        parameter::TEST_API_KEY,
        parameter::STRIPE_API_KEY,
        parameter::STRIPE_TEST_API_KEY,
        parameter::SETTINGS,
    ];

    /// The full names of parameters that this version does not know and ignores.
    pub fn unknown_parameters(&self) -> &[String] {
        &self.unknown_parameters
    }
}

/// Where and how the events of a project are delivered.
#[derive(Clone, Debug)]
pub struct AmplitudeConfig {
    main: Destination,
    /// For test-mode events.
    test: Option<Destination>,
    /// The parameter `settings`.
    pub settings: Settings,
    /// Stripe's keys, by parameter name. An invalid key affects only the events that need it.
    stripe_keys: BTreeMap<String, Result<SecretString, Problem>>,
    /// For messages.
    folder: String,
}

impl AmplitudeConfig {
    /// Where an event goes: a test-mode event to the test key, if there is one.
    pub fn destination(&self, livemode: Option<bool>) -> &Destination {
        match &self.test {
            Some(test) if livemode == Some(false) => test,
            _ => &self.main,
        }
    }

    /// Whether test-mode events go to an Amplitude project of their own.
    pub fn has_test_key(&self) -> bool {
        self.test.is_some()
    }

    /// All destinations: the main one, and the one of test-mode events if they have their own.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        std::iter::once(&self.main).chain(&self.test)
    }

    /// The name of the parameter with the Stripe key for an event: the one with the label of the matched secret. There
    /// is no fallback, because another account's key would read other objects.
    pub fn stripe_key_parameter(livemode: Option<bool>, label: Option<&SourceLabel>) -> String {
        let name = if livemode == Some(false) { parameter::STRIPE_TEST_API_KEY } else { parameter::STRIPE_API_KEY };
        label.map_or_else(|| name.to_owned(), |label| format!("{name}/{label}"))
    }

    /// The key in a parameter, if it exists.
    ///
    /// # Errors
    /// If the parameter holds another kind of value.
    pub fn stripe_key(&self, parameter: &str) -> Result<Option<&SecretString>, ConfigurationError> {
        let key = self.stripe_keys.get(parameter).map(Result::as_ref).transpose();
        key.map_err(|problem| ConfigurationError {
            folder: self.folder.clone(),
            name: parameter.to_owned(),
            problem: problem.clone(),
        })
    }

    /// The names of the parameters with Stripe keys.
    pub fn stripe_key_parameters(&self) -> impl Iterator<Item = &str> {
        self.stripe_keys.keys().map(String::as_str)
    }

    /// The folder of the project's parameters, for messages.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// The Stripe key in this parameter cannot be used for an event.
    pub fn with_unusable_key(&self, parameter: &str, problem: StripeKeyProblem) -> ConfigurationError {
        ConfigurationError {
            folder: self.folder.clone(),
            name: parameter.to_owned(),
            problem: Problem::StripeKey(problem),
        }
    }

    /// The settings cannot be used for an event.
    pub fn without_rate(&self, missing: MissingRate) -> ConfigurationError {
        ConfigurationError {
            folder: self.folder.clone(),
            name: parameter::SETTINGS.to_owned(),
            problem: Problem::MissingRate(missing),
        }
    }
}

/// The label of a signing secret, if it has one, from the name of its parameter. `None` for other parameters.
fn label(name: &str) -> Option<Option<SourceLabel>> {
    labelled(name, parameter::NEXT_SIGNING_SECRET).or_else(|| labelled(name, parameter::SIGNING_SECRET))
}

/// The label in a parameter name that starts with `begin`, if it has one. `None` for other parameters.
fn labelled(name: &str, begin: &str) -> Option<Option<SourceLabel>> {
    let rest = name.strip_prefix(begin)?;
    match rest.strip_prefix('/') {
        Some(label) => label.parse().ok().map(Some),
        None => rest.is_empty().then_some(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amplitude::Region;
    use crate::projects::parameters::tests::{COMPLETE, parameters};

    fn project(parameters_of_it: &[(&str, &str)]) -> Project {
        Project::from_parameters(parameters(parameters_of_it), "/stripe-amplitude/demo")
    }

    #[test]
    fn parameters_are_trimmed() {
        let project = project(&[
            ("settings", r#"{"amplitude_region": "eu"}"#),
            ("amplitude-test-api-key", " test-key\n"),
            ("stripe-signing-secret/us", "whsec_us"),
            ("amplitude-api-key", "\tkey "),
            ("stripe-signing-secret", "\u{feff} whsec_main\n"),
            ("stripe-signing-secret/eu", "whsec_eu"),
        ]);
        let labels: Vec<_> = project.secrets.iter().map(|secret| secret.label().map(SourceLabel::as_str)).collect();
        assert_eq!(labels, [None, Some("eu"), Some("us")]);
        let delivery = project.delivery.unwrap();
        assert_eq!(delivery.settings.amplitude_region, Region::Eu);
        for (livemode, key, parameter) in [
            (Some(true), "key", "amplitude-api-key"),
            (Some(false), "test-key", "amplitude-test-api-key"),
            (None, "key", "amplitude-api-key"),
        ] {
            let destination = delivery.destination(livemode);
            assert_eq!((destination.api_key.expose_secret(), destination.key.parameter()), (key, parameter));
            assert_eq!(destination.region, Region::Eu);
        }
    }

    #[test]
    fn the_next_secret_has_the_label_of_the_current() {
        let project = project(&[
            COMPLETE[1],
            ("stripe-signing-secret-next", "whsec_b"),
            ("stripe-signing-secret-next/eu", "whsec_eu_b"),
            ("stripe-signing-secret", "whsec_a"),
            ("stripe-signing-secret/eu", "whsec_eu_a"),
        ]);
        let labels: Vec<_> = project.secrets.iter().map(|secret| secret.label().map(SourceLabel::as_str)).collect();
        assert_eq!(labels, [None, None, Some("eu"), Some("eu")]);
        assert!(project.delivery.is_ok() && project.unknown_parameters.is_empty());
    }

    #[test]
    fn without_a_test_key_test_events_go_to_the_main_key() {
        let delivery = project(&COMPLETE).delivery.unwrap();
        assert_eq!(delivery.destination(Some(false)).api_key.expose_secret(), "key");
    }

    #[test]
    fn errors_name_the_parameter_but_never_its_value() {
        let hexadecimal = "0123456789abcdef".repeat(2);
        for (parameters, words) in [
            (vec![COMPLETE[0]], "/stripe-amplitude/demo/amplitude-api-key is missing"),
            (vec![COMPLETE[1]], "/stripe-amplitude/demo/stripe-signing-secret is missing"),
            (vec![COMPLETE[0], ("amplitude-api-key", " \n")], "amplitude-api-key is empty"),
            (vec![("stripe-signing-secret", " "), COMPLETE[1]], "stripe-signing-secret is empty"),
            (vec![("stripe-signing-secret/eu", ""), COMPLETE[0], COMPLETE[1]], "stripe-signing-secret/eu is empty"),
            (vec![("stripe-signing-secret", "sk_hidden"), COMPLETE[1]], "starts with whsec_"),
            (vec![("stripe-signing-secret", "rk_hidden"), COMPLETE[1]], "starts with whsec_"),
            (vec![("stripe-signing-secret", "pk_hidden"), COMPLETE[1]], "starts with whsec_"),
            (vec![("stripe-signing-secret", "we_hidden"), COMPLETE[1]], "the ID of a webhook endpoint"),
            (vec![("stripe-signing-secret/eu", "ed_hidden"), COMPLETE[0]], "eu holds the ID of a webhook endpoint"),
            (vec![("stripe-signing-secret", &hexadecimal), COMPLETE[1]], "like an Amplitude key"),
            (vec![("stripe-signing-secret", "\"whsec_hidden\""), COMPLETE[1]], "is in quotation marks"),
            (vec![("stripe-signing-secret", "'whsec_hidden'\n"), COMPLETE[1]], "is in quotation marks"),
            (vec![("stripe-signing-secret-next", "“whsec_hidden”"), COMPLETE[0]], "next is in quotation marks"),
            (vec![("stripe-signing-secret", "whsec_hidden\""), COMPLETE[1]], "is in quotation marks"),
            (vec![("stripe-signing-secret", "\"sk_hidden\""), COMPLETE[1]], "is in quotation marks"),
            (vec![COMPLETE[0], ("amplitude-api-key", "\"hidden\"")], "amplitude-api-key is in quotation marks"),
            (vec![COMPLETE[0], ("amplitude-api-key", "whsec_hidden")], "expected the API key of the Amplitude project"),
            (vec![COMPLETE[0], ("amplitude-api-key", "rk_hidden")], "expected the API key of the Amplitude project"),
            (vec![COMPLETE[0], ("amplitude-api-key", "we_hidden")], "expected the API key of the Amplitude project"),
            (vec![COMPLETE[0], COMPLETE[1], ("amplitude-test-api-key", "sk_hidden")], "amplitude-test-api-key holds"),
            (vec![COMPLETE[0], COMPLETE[1], ("settings", "'{\"hidden\": 1}'")], "settings is in quotation marks"),
            (vec![COMPLETE[0], COMPLETE[1], ("settings", r#""{\"hidden\": 1}""#)], "settings is in quotation marks"),
            (vec![COMPLETE[0], COMPLETE[1], ("amplitude-test-api-key", "")], "amplitude-test-api-key is empty"),
            (vec![COMPLETE[0], COMPLETE[1], ("settings", "")], "settings is empty"),
            (vec![COMPLETE[0], COMPLETE[1], ("settings", "{hidden}")], "settings cannot be used: malformed JSON"),
        ] {
            let error = project(&parameters).delivery.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("hidden") && !error.contains(&hexadecimal), "{error}");
        }
    }

    #[test]
    fn a_bad_stripe_key_concerns_only_the_events_that_need_it() {
        let hexadecimal = "0123456789abcdef".repeat(2);
        for (name, text, problem) in [
            ("stripe-api-key", " rk_live_1\n", None),
            ("stripe-api-key/eu", "sk_live_1", None),
            ("stripe-test-api-key", "rk_test_1", None),
            ("stripe-api-key", "rk_test_1", Some(Problem::TestKey)),
            ("stripe-api-key/eu", "sk_test_1", Some(Problem::TestKey)),
            ("stripe-test-api-key", "rk_live_1", Some(Problem::LiveKey)),
            ("stripe-test-api-key/eu", "sk_live_1", Some(Problem::LiveKey)),
            ("stripe-api-key", "pk_live_1", Some(Problem::PublishableKey)),
            ("stripe-test-api-key", "pk_test_1", Some(Problem::PublishableKey)),
            ("stripe-api-key", "whsec_1", Some(Problem::NotAStripeKey)),
            ("stripe-api-key", "we_1", Some(Problem::NotAStripeKey)),
            ("stripe-api-key", &hexadecimal, Some(Problem::NotAStripeKey)),
            ("stripe-api-key", "\"rk_live_1\"", Some(Problem::Quoted)),
            ("stripe-api-key", " ", Some(Problem::Empty)),
            // Otherwise Stripe would seem to be unreachable.
            ("stripe-api-key", "rk_live_1\nrk_live_2", Some(Problem::NotAStripeKey)),
            ("stripe-api-key", "rk_live_1 # of the shop", Some(Problem::NotAStripeKey)),
            ("stripe-api-key", "rk_live_1\u{200b}", Some(Problem::NotAStripeKey)),
            ("stripe-test-api-key", "rk_test_…", Some(Problem::NotAStripeKey)),
        ] {
            let delivery = project(&[COMPLETE[0], COMPLETE[1], (name, text)]).delivery.unwrap();
            let key = delivery.stripe_key(name);
            assert_eq!(key.as_ref().err().map(|error| error.problem().clone()), problem, "{name} {text:?}");
            assert_eq!(key.ok().flatten().map(SecretString::expose_secret), problem.is_none().then(|| text.trim()));
        }
    }

    #[test]
    fn a_problem_leaves_the_secrets_usable() {
        let project = project(&[COMPLETE[0], ("stripe-signing-secret/eu", ""), ("settings", "[]")]);
        assert_eq!(project.secrets.len(), 1);
        assert!(project.delivery.is_err());
    }

    #[test]
    fn unknown_parameters_are_named() {
        let project = project(&[
            COMPLETE[0],
            COMPLETE[1],
            ("amplitude-key", "x"),
            ("stripe-signing-secret/", "x"),
            ("stripe-signing-secret/eu/old", "x"),
            ("stripe-signing-secrets", "x"),
            ("stripe-signing-secret-next/", "x"),
            ("stripe-signing-secret-nextish", "x"),
        ]);
        let folder = "/stripe-amplitude/demo";
        let expected = [
            "amplitude-key",
            "stripe-signing-secret/",
            "stripe-signing-secret/eu/old",
            "stripe-signing-secrets",
            "stripe-signing-secret-next/",
            "stripe-signing-secret-nextish",
        ];
        assert_eq!(project.unknown_parameters, expected.map(|name| format!("{folder}/{name}")));
        assert_eq!(project.secrets.len(), 1);
    }
}
