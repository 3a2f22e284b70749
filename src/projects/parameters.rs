//! A project as its parameters describe it.

use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;

use crate::amplitude::{AmplitudeKey, Destination};
use crate::money::exchange_rate::MissingRate;
use crate::settings::{Settings, SettingsError};
use crate::stripe::signature::SigningSecret;

/// The names of the parameters below `{prefix}/{project}/`.
pub mod parameter {
    use crate::amplitude::AmplitudeKey;

    /// The signing secret of a webhook endpoint; further ones have a label behind it, after a slash.
    pub const SIGNING_SECRET: &str = "stripe-signing-secret";
    /// The secret that is about to take its place, in a rotation; with the same label, so that events of both are alike.
    pub const NEXT_SIGNING_SECRET: &str = "stripe-signing-secret-next";
    /// The API key of the Amplitude project.
    pub const API_KEY: &str = AmplitudeKey::Main.parameter();
    /// The API key of the Amplitude project for test-mode events, if they have one of their own.
    pub const TEST_API_KEY: &str = AmplitudeKey::Test.parameter();
    /// How the project wants its events.
    pub const SETTINGS: &str = "settings";
}

/// A parameter of a project.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name below the project's folder, for example `stripe-signing-secret/eu`.
    pub name: String,
    /// Its value, hidden from `Debug`.
    pub value: SecretString,
}

/// A project as its parameters describe it.
#[derive(Debug)]
pub struct Project {
    /// In the order in which they are tried: the unlabelled one first, then by label.
    pub secrets: Vec<SigningSecret>,
    /// The rest, kept apart: a problem with it is reported only to a caller whose signature matched.
    pub delivery: Result<DeliverySettings, ConfigurationError>,
    /// Parameters that this version does not know.
    unknown_parameters: Vec<String>,
}

/// Where and how the events of a project are delivered.
#[derive(Clone, Debug)]
pub struct DeliverySettings {
    main: Destination,
    /// For test-mode events.
    test: Option<Destination>,
    /// The parameter `settings`.
    pub settings: Settings,
    /// For messages.
    folder: String,
}

impl DeliverySettings {
    /// Where an event goes: a test-mode event to the test key, if there is one.
    pub fn destination(&self, livemode: Option<bool>) -> &Destination {
        match &self.test {
            Some(test) if livemode == Some(false) => test,
            _ => &self.main,
        }
    }

    /// All destinations: the main one, and the one of test-mode events if they have their own.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        std::iter::once(&self.main).chain(&self.test)
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

/// A parameter of the project cannot be used. It names the parameter, never its value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the parameter {folder}/{name} {problem}")]
pub struct ConfigurationError {
    folder: String,
    name: String,
    problem: Problem,
}

impl ConfigurationError {
    /// What is wrong with the parameter.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

/// What is wrong with a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// It is required and not there.
    #[error("is missing; create it as a SecureString")]
    Missing,
    /// It holds nothing but white space.
    #[error("is empty")]
    Empty,
    /// It should hold a signing secret.
    #[error(
        "holds an API key of Stripe; it takes the signing secret of the webhook endpoint, which starts with whsec_"
    )]
    StripeApiKey,
    /// It is `settings`, and cannot be read.
    #[error("cannot be used: {0}")]
    Settings(SettingsError),
    /// It is `settings`, and lacks a rate that an event needs.
    #[error("cannot be used for this event: {0}")]
    MissingRate(MissingRate),
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
        for Parameter { name, value } in parameters {
            let text = value.expose_secret().trim();
            let result = match (name.as_str(), label(&name)) {
                (_, Some(label)) => signing_secret(text).map(|secret| secrets.push((label.map(str::to_owned), secret))),
                (parameter::API_KEY, _) => filled(text).map(|key| api_key = Some(key)),
                (parameter::TEST_API_KEY, _) => filled(text).map(|key| test_api_key = Some(key)),
                (parameter::SETTINGS, _) => match Settings::parse(text) {
                    _ if text.is_empty() => Err(Problem::Empty),
                    Ok(parsed) => {
                        settings = parsed;
                        Ok(())
                    }
                    Err(error) => Err(Problem::Settings(error)),
                },
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
                Ok(DeliverySettings { main, test, settings, folder: folder.to_owned() })
            }
        };
        let secrets = secrets.into_iter().map(|(label, secret)| SigningSecret::new(secret, label)).collect();
        Self { secrets, delivery, unknown_parameters }
    }

    /// The full names of parameters that this version does not know, and passes over.
    pub fn unknown_parameters(&self) -> &[String] {
        &self.unknown_parameters
    }
}

/// The label of a signing secret, if it has one, by the name of its parameter. `None` where it is another parameter.
fn label(name: &str) -> Option<Option<&str>> {
    let next = name.strip_prefix(parameter::NEXT_SIGNING_SECRET);
    let rest = next.or_else(|| name.strip_prefix(parameter::SIGNING_SECRET))?;
    match rest.strip_prefix('/') {
        Some(label) => (!label.is_empty() && !label.contains('/')).then_some(Some(label)),
        None => rest.is_empty().then_some(None),
    }
}

/// The commonest mistake is to paste an API key of Stripe's; it would never match, and nobody would know why.
fn signing_secret(text: &str) -> Result<SecretString, Problem> {
    if ["sk_", "rk_", "pk_"].iter().any(|prefix| text.starts_with(prefix)) {
        return Err(Problem::StripeApiKey);
    }
    filled(text)
}

fn filled(text: &str) -> Result<SecretString, Problem> {
    if text.is_empty() { Err(Problem::Empty) } else { Ok(text.into()) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::amplitude::Region;

    pub(crate) fn parameters(parameters: &[(&str, &str)]) -> Vec<Parameter> {
        let parameter = |(name, value): &(&str, &str)| Parameter { name: (*name).to_owned(), value: (*value).into() };
        parameters.iter().map(parameter).collect()
    }

    pub(crate) const COMPLETE: [(&str, &str); 2] = [("stripe-signing-secret", "whsec_a"), ("amplitude-api-key", "key")];

    fn project(parameters_of_it: &[(&str, &str)]) -> Project {
        Project::from_parameters(parameters(parameters_of_it), "/stripe-amplitude/demo")
    }

    #[test]
    fn a_project_is_read_from_its_parameters_trimmed() {
        let project = project(&[
            ("settings", r#"{"amplitude_region": "eu"}"#),
            ("amplitude-test-api-key", " test-key\n"),
            ("stripe-signing-secret/us", "whsec_us"),
            ("amplitude-api-key", "\tkey "),
            ("stripe-signing-secret", " whsec_main\n"),
            ("stripe-signing-secret/eu", "whsec_eu"),
        ]);
        let labels: Vec<_> = project.secrets.iter().map(SigningSecret::label).collect();
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
    fn a_secret_that_is_about_to_take_the_place_of_another_has_its_label() {
        let project = project(&[
            COMPLETE[1],
            ("stripe-signing-secret-next", "whsec_b"),
            ("stripe-signing-secret-next/eu", "whsec_eu_b"),
            ("stripe-signing-secret", "whsec_a"),
            ("stripe-signing-secret/eu", "whsec_eu_a"),
        ]);
        let labels: Vec<_> = project.secrets.iter().map(SigningSecret::label).collect();
        assert_eq!(labels, [None, None, Some("eu"), Some("eu")]);
        assert!(project.delivery.is_ok() && project.unknown_parameters.is_empty());
    }

    #[test]
    fn test_events_go_to_the_one_key_where_there_is_one() {
        let delivery = project(&COMPLETE).delivery.unwrap();
        assert_eq!(delivery.destination(Some(false)).api_key.expose_secret(), "key");
    }

    #[test]
    fn what_cannot_be_used_is_named_and_its_value_is_not() {
        for (parameters, words) in [
            (vec![COMPLETE[0]], "/stripe-amplitude/demo/amplitude-api-key is missing"),
            (vec![COMPLETE[1]], "/stripe-amplitude/demo/stripe-signing-secret is missing"),
            (vec![COMPLETE[0], ("amplitude-api-key", " \n")], "amplitude-api-key is empty"),
            (vec![("stripe-signing-secret", " "), COMPLETE[1]], "stripe-signing-secret is empty"),
            (vec![("stripe-signing-secret/eu", ""), COMPLETE[0], COMPLETE[1]], "stripe-signing-secret/eu is empty"),
            (vec![("stripe-signing-secret", "sk_hidden"), COMPLETE[1]], "starts with whsec_"),
            (vec![("stripe-signing-secret", "rk_hidden"), COMPLETE[1]], "starts with whsec_"),
            (vec![COMPLETE[0], COMPLETE[1], ("amplitude-test-api-key", "")], "amplitude-test-api-key is empty"),
            (vec![COMPLETE[0], COMPLETE[1], ("settings", "")], "settings is empty"),
            (vec![COMPLETE[0], COMPLETE[1], ("settings", "{hidden}")], "settings cannot be used: malformed JSON"),
        ] {
            let error = project(&parameters).delivery.unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn a_problem_leaves_the_secrets_usable_so_that_it_is_told_to_the_right_caller() {
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
