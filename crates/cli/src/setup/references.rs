//! The references that events of the project follow: the setting, and the key that it takes.

use std::error::Error;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use stripe_amplitude::projects::parameters::{Parameter, parameter, stripe_key};
use stripe_amplitude::projects::project::AmplitudeConfig;
use stripe_amplitude::settings::{References, Settings};

use super::{Setup, value};
use crate::http;
use crate::key::{self, Key};
use crate::permissions;
use crate::stripe::api::{self, Api};
use crate::stripe::restricted_key;
use crate::terminal::{self, say, wrap};

/// What a new project gets.
const SETTINGS: &str = r#"{"references": "follow"}"#;

/// What Parameter Store says of them.
pub(super) struct State {
    settings: Settings,
    /// Whether the project has no settings and has never received an event, so that no user can be split by them.
    is_new: bool,
    /// Whether somebody has decided: the settings have the key `references`.
    is_decided: bool,
    key: Option<SecretString>,
}

impl State {
    /// `has_endpoint`: whether Stripe has one for the project.
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

/// What is to be written, in the order in which it is.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) key: Option<SecretString>,
    pub(super) writes_settings: bool,
    /// In words, what is not as it should be.
    pub(super) lines: Vec<String>,
    /// What is to be known before.
    pub(super) notes: Vec<String>,
}

const QUEUE: &str = "following takes the redelivery queue, which the template makes unless it is told not to: an event whose objects Stripe's API does not tell in time waits there; without the queue, it is answered 502, and Stripe delivers it again";

impl Setup {
    /// The name of the parameter with the key: of the mode of the key that sets up, and with the label.
    pub(super) fn key_name(&self) -> String {
        AmplitudeConfig::stripe_key_parameter(Some(!self.api.is_test()), self.arguments.source.as_ref())
    }

    /// What is to be done, after asking for the key and asking Stripe what it may.
    pub(super) async fn plan_references(&self, state: &State) -> Result<Plan, Box<dyn Error>> {
        let mut plan = Plan::default();
        // One thing at a time.
        if self.arguments.rotate {
            return Ok(plan);
        }
        let (folder, name, variable) = (&self.folder, self.key_name(), key::STRIPE_RESTRICTED.variable);
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
                    "the key in {variable} is not used, and not written: the settings of this project follow no references, and a key alone changes nothing. To follow them, write \"references\": \"follow\" into {folder}/{}, and run this again",
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
                "of connected accounts, the key needs each permission in the column Connect, too; that cannot be asked for here"
                    .to_owned(),
            );
        }
        if *is_new {
            plan.writes_settings = true;
            plan.lines.push(format!(
                "{folder}/settings is written: {SETTINGS}. The user ID of an event is also looked for on its customer, which is read from Stripe's API: one person is one user"
            ));
            plan.notes.push(QUEUE.to_owned());
        }
        let differs = stored.as_ref().is_none_or(|stored| stored.expose_secret() != used.expose_secret());
        if differs {
            plan.lines.push(match stored {
                None => format!("the restricted key of Stripe goes to {folder}/{name}"),
                Some(_) => format!("{folder}/{name} has another value than {variable}, which takes its place"),
            });
            plan.key = given;
        }
        Ok(plan)
    }

    /// Writes what is to be written. The key first: with the settings alone, no event could be attributed.
    pub(super) async fn write_references(&self, plan: &Plan) -> Result<(), Box<dyn Error>> {
        let (project, folder, name) = (&self.arguments.project, &self.folder, self.key_name());
        if let Some(key) = &plan.key {
            self.projects.put(project, &name, key).await?;
            say!("The restricted key of Stripe is in {folder}/{name}.")?;
        }
        if plan.writes_settings {
            self.projects.put_text(project, parameter::SETTINGS, SETTINGS).await?;
            say!("{folder}/{} is {SETTINGS}.", parameter::SETTINGS)?;
        }
        Ok(())
    }

    /// For a project that has received events: how it would follow references, and what that means. Nothing is changed.
    pub(super) fn tell_how_to_follow(&self, state: &State) -> Result<(), Box<dyn Error>> {
        let State { settings, is_new, is_decided, .. } = state;
        if *is_new || *is_decided || self.arguments.rotate || settings.references == References::Follow {
            return Ok(());
        }
        let text = self.without(
            "this project does not follow references",
            "Amplitude cannot merge IDs later: a buyer who was known by one ID until now can be another user from then on; `doctor --identity` shows which IDs there are.",
        );
        Ok(terminal::print(&wrap("note: ", 6, &text))?)
    }

    fn without(&self, what: &str, meaning: &str) -> String {
        let (folder, name) = (&self.folder, self.key_name());
        let permissions = permissions::needed(&followed()).permissions;
        format!(
            "{what}: only the event itself tells whose it is, and the payment of a subscription or a refund hardly does. With \"references\": \"follow\" in {folder}/settings and a restricted key of Stripe in {folder}/{name} ({}), the user ID is read from Stripe's API, too; {QUEUE}. {meaning}",
            restricted_key::in_words(&permissions)
        )
    }

    /// The key that was given, or typed, where one is wanted.
    fn given_key(&self, state: &State) -> Result<Option<SecretString>, String> {
        let State { settings, is_new, key: stored, .. } = state;
        let Key { variable, .. } = key::STRIPE_RESTRICTED;
        let given = match (stored, settings.follow(), is_new) {
            (None, true, _) => Some(key::STRIPE_RESTRICTED.required()?),
            (None, false, true) if !self.arguments.yes => {
                let permissions = permissions::needed(&followed()).permissions;
                key::STRIPE_RESTRICTED.offered(&format!(
                    "A new project follows references if it has a restricted key of Stripe. Create one in Stripe's dashboard (Developers, API keys) with {}.",
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

    /// What is easily taken for the key is not written.
    fn check_kind(&self, key: &SecretString, place: &str) -> Result<(), String> {
        let result = stripe_key(key.expose_secret(), !self.api.is_test());
        result.map(drop).map_err(|problem| format!("{place} {problem}"))
    }

    /// Asks Stripe for each permission that the settings need.
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
            "the key in {place} lacks what the settings need: {}. Edit the key in Stripe's dashboard (Developers, API keys), and run this again",
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
    fn a_project_is_new_until_there_are_settings_or_there_may_have_been_events() {
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
    fn whoever_has_written_the_key_of_the_settings_has_decided() {
        assert!(state(&[("settings", r#"{"references": "off"}"#)], true).is_decided);
        assert!(
            !state(&[("settings", r#"{"refunds": "as_events"}"#)], true).is_decided && !state(&[], true).is_decided
        );
    }

    #[test]
    fn the_key_is_the_one_with_the_label() {
        let key = |name| state(&[(name, "rk_live_x")], true).key;
        assert!(key("stripe-api-key/eu").is_some() && key("stripe-api-key").is_none());
    }

    #[test]
    fn a_new_project_follows() {
        assert!(followed().follow());
    }
}
