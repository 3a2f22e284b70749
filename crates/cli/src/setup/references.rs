//! Whether the project's events follow references: the setting, and the key that it needs.

use std::error::Error;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use stripe_amplitude::projects::parameters::{Parameter, parameter, stripe_key};
use stripe_amplitude::projects::project::AmplitudeConfig;
use stripe_amplitude::settings::{References, Settings};

use super::context::Context;
use super::parameters::value;
use crate::http;
use crate::key::{self, Key};
use crate::permissions;
use crate::stripe::api::{self, Api};
use crate::stripe::restricted_key;
use crate::terminal::{self, say, wrap};

/// The settings of a new project.
const SETTINGS: &str = r#"{"references": "follow"}"#;

/// What Parameter Store holds about them.
pub(super) struct State {
    settings: Settings,
    /// Whether the project has no settings and has never received an event, so that following cannot split a user.
    is_new: bool,
    /// Whether the operator has decided: the settings have the key `references`.
    is_decided: bool,
    key: Option<SecretString>,
}

impl State {
    /// `has_endpoint`: whether Stripe has an endpoint for the project.
    pub(super) fn of(parameters: &[Parameter], settings: Settings, key_name: &str, has_endpoint: bool) -> Self {
        let text = value(parameters, parameter::SETTINGS);
        let is_secret = |one: &Parameter| one.name.starts_with(parameter::SIGNING_SECRET);
        let written: Option<Value> = text.as_ref().and_then(|text| serde_json::from_str(text.expose_secret()).ok());
        Self {
            settings,
            is_new: text.is_none() && !has_endpoint && !parameters.iter().any(is_secret),
            is_decided: written.is_some_and(|settings| settings.get("references").is_some()),
            key: value(parameters, key_name),
        }
    }
}

/// What will be written, in this order.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) key: Option<SecretString>,
    pub(super) writes_settings: bool,
    /// What will change, for the operator.
    pub(super) lines: Vec<String>,
    /// What the operator should know first.
    pub(super) notes: Vec<String>,
}

const QUEUE: &str = "following references needs the redelivery queue, which the template creates by default: an event waits there if Stripe's API does not respond in time; without the queue, the function returns 502, and Stripe retries";

impl Context {
    /// The name of the parameter with the key, in the mode of STRIPE_SECRET_KEY and with the label.
    pub(super) fn key_name(&self) -> String {
        AmplitudeConfig::stripe_key_parameter(Some(!self.api.is_test()), self.arguments.source.as_ref())
    }

    /// Plans what to write. Prompts for the key if needed, and checks its permissions.
    pub(super) async fn plan_references(&self, state: &State) -> Result<Plan, Box<dyn Error>> {
        let mut plan = Plan::default();
        // One change at a time.
        if self.arguments.rotate {
            return Ok(plan);
        }
        let (folder, name, variable) = (&self.target.folder, self.key_name(), key::STRIPE_RESTRICTED.variable);
        let State { settings, is_new, key: stored, .. } = state;
        let given = self.given_key(state)?;
        let is_given = given.is_some();
        let Some(used) = given.as_ref().or(stored.as_ref()).filter(|_| settings.follow() || *is_new) else {
            if *is_new {
                plan.notes.push(self.without(
                    "this new project does not follow references",
                    "Decide before the first event: Amplitude cannot merge IDs later.",
                ));
            } else if key::STRIPE_RESTRICTED.given().is_some() {
                plan.notes.push(format!(
                    "the key in {variable} is neither used nor written: this project's settings do not follow references, and a key alone changes nothing. To follow them, add \"references\": \"follow\" to {folder}/{}, and run setup again",
                    parameter::SETTINGS
                ));
            }
            return Ok(plan);
        };
        let wanted = if settings.follow() { settings.clone() } else { followed() };
        let place = if is_given { variable.to_owned() } else { format!("{folder}/{name}") };
        self.check_key(used, &place, &wanted).await?;
        if restricted_key::is_full(used) {
            plan.notes.push(restricted_key::full_in_words(&place));
        }
        if self.arguments.connect {
            plan.notes.push(
                "for connected accounts, the key also needs each permission in the column Connect, which setup cannot check"
                    .to_owned(),
            );
        }
        if *is_new {
            plan.writes_settings = true;
            plan.lines.push(format!(
                "{SETTINGS} will be written to {folder}/settings, so that the user ID of an event is also looked up on its customer through Stripe's API, and one person is one user"
            ));
            plan.notes.push(QUEUE.to_owned());
        }
        let differs = stored.as_ref().is_none_or(|stored| stored.expose_secret() != used.expose_secret());
        if differs {
            plan.lines.push(match stored {
                None => format!("the restricted Stripe key will be written to {folder}/{name}"),
                Some(_) => format!("{folder}/{name} differs from {variable}, and will be overwritten"),
            });
            plan.key = given;
        }
        Ok(plan)
    }

    /// Carries out the plan. The key first: with the settings alone, no event could be attributed.
    pub(super) async fn write_references(&self, plan: &Plan) -> Result<(), Box<dyn Error>> {
        let (project, folder, name) = (&self.arguments.project, &self.target.folder, self.key_name());
        if let Some(key) = &plan.key {
            self.projects.put(project, &name, key).await?;
            say!("The restricted Stripe key is in {folder}/{name}.")?;
        }
        if plan.writes_settings {
            self.projects.put_text(project, parameter::SETTINGS, SETTINGS).await?;
            say!("{folder}/{} is {SETTINGS}.", parameter::SETTINGS)?;
        }
        Ok(())
    }

    /// Prints how a project that has received events could follow references, and what that means. Changes nothing.
    pub(super) fn print_how_to_follow(&self, state: &State) -> Result<(), Box<dyn Error>> {
        let State { settings, is_new, is_decided, .. } = state;
        if *is_new || *is_decided || self.arguments.rotate || settings.references == References::Follow {
            return Ok(());
        }
        let text = self.without(
            "this project does not follow references",
            "Amplitude cannot merge IDs later: a buyer who has had one ID until now can become another user; `doctor --identity` shows which IDs there are.",
        );
        Ok(terminal::print(&wrap("note: ", 6, &text))?)
    }

    fn without(&self, what: &str, meaning: &str) -> String {
        let (folder, name) = (&self.target.folder, self.key_name());
        let permissions = permissions::needed(&followed()).permissions;
        format!(
            "{what}: the user ID comes from the event alone, and subscription payments and refunds rarely contain one. With \"references\": \"follow\" in {folder}/settings and a restricted Stripe key in {folder}/{name} ({}), the user ID is also read from Stripe's API; {QUEUE}. {meaning}",
            restricted_key::in_words(&permissions)
        )
    }

    /// The key from the environment or the terminal, if one is needed.
    fn given_key(&self, state: &State) -> Result<Option<SecretString>, String> {
        let State { settings, is_new, key: stored, .. } = state;
        let Key { variable, .. } = key::STRIPE_RESTRICTED;
        let given = match (stored, settings.follow(), is_new) {
            (None, true, _) => Some(key::STRIPE_RESTRICTED.required()?),
            (None, false, true) if !self.arguments.yes => {
                let permissions = permissions::needed(&followed()).permissions;
                key::STRIPE_RESTRICTED.offered(&format!(
                    "A new project follows references if it has a restricted Stripe key. Create one in Stripe's dashboard (Developers, API keys) with {}.",
                    restricted_key::in_words(&permissions)
                ))?
            }
            (_, true, _) | (_, _, true) => key::STRIPE_RESTRICTED.given(),
            // A key alone changes nothing.
            (_, false, false) => None,
        };
        if let Some(key) = &given {
            self.check_kind(key, variable)?;
        }
        Ok(given)
    }

    /// Rejects what is easily mistaken for the key.
    fn check_kind(&self, key: &SecretString, place: &str) -> Result<(), String> {
        let result = stripe_key(key.expose_secret(), !self.api.is_test());
        result.map(drop).map_err(|problem| format!("{place} {problem}"))
    }

    /// Checks each permission that the settings need.
    async fn check_key(&self, key: &SecretString, place: &str, settings: &Settings) -> Result<(), Box<dyn Error>> {
        self.check_kind(key, place)?;
        let api = Api::new(http::build()?, key.clone(), None, self.arguments.rate.min(api::RATE))?;
        let needed = permissions::needed(settings).permissions;
        let missing = restricted_key::missing(&api, &needed).await;
        let missing = missing.map_err(|error| restricted_key::refusal(place, &error))?;
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!(
            "the key in {place} lacks permissions that the settings need: {}. Edit the key in Stripe's dashboard (Developers, API keys), and run setup again",
            restricted_key::in_words(&missing)
        )
        .into())
    }
}

/// The settings of a new project.
fn followed() -> Settings {
    Settings::parse(SETTINGS).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(parameters: &[(&str, &str)], has_endpoint: bool) -> State {
        let parameter = |(name, value): &(&str, &str)| Parameter { name: (*name).to_owned(), value: (*value).into() };
        let parameters: Vec<_> = parameters.iter().map(parameter).collect();
        State::of(&parameters, Settings::default(), "stripe-api-key/eu", has_endpoint)
    }

    #[test]
    fn project_is_new_without_settings_and_events() {
        for (parameters, has_endpoint, is_new) in [
            (&[][..], false, true),
            (&[("amplitude-api-key", "k"), ("stripe-api-key", "rk_live_x")], false, true),
            (&[], true, false),
            (&[("settings", "{}")], false, false),
            (&[("stripe-signing-secret/us", "whsec_x")], false, false),
            (&[("stripe-signing-secret-next", "whsec_x")], false, false),
        ] {
            assert_eq!(state(parameters, has_endpoint).is_new, is_new, "{parameters:?}");
        }
    }

    #[test]
    fn setting_in_parameter_store_is_a_decision() {
        assert!(state(&[("settings", r#"{"references": "off"}"#)], true).is_decided);
        assert!(
            !state(&[("settings", r#"{"refunds": "as_events"}"#)], true).is_decided && !state(&[], true).is_decided
        );
    }

    #[test]
    fn key_has_the_label() {
        let key = |name| state(&[(name, "rk_live_x")], true).key;
        assert!(key("stripe-api-key/eu").is_some() && key("stripe-api-key").is_none());
    }

    #[test]
    fn new_project_follows_references() {
        assert!(followed().follow());
    }
}
