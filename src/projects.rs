//! The projects that the function serves: their signing secrets, Amplitude keys and settings.

mod cache;
#[cfg(feature = "aws")]
pub mod parameter_store;

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use self::cache::{Cache, EarlyRefresh, Lookup};
use crate::amplitude::Destination;
use crate::money::exchange_rate::MissingRate;
use crate::settings::{Settings, SettingsError};
use crate::stripe::signature::SigningSecret;

/// The longest time to wait for parameters where none are at hand.
const FIRST_LOAD_LIMIT: Duration = Duration::from_millis(1500);

/// The longest time to wait for parameters where old ones are at hand.
const REFRESH_LIMIT: Duration = Duration::from_millis(500);

/// The names of the parameters below `{prefix}/{project}/`.
pub mod parameter {
    /// The signing secret of a webhook endpoint; further ones have a label behind it, after a slash.
    pub const SIGNING_SECRET: &str = "stripe-signing-secret";
    /// The secret that is about to take its place, in a rotation; with the same label, so that events of both are alike.
    pub const NEXT_SIGNING_SECRET: &str = "stripe-signing-secret-next";
    /// The API key of the Amplitude project.
    pub const API_KEY: &str = "amplitude-api-key";
    /// That of the Amplitude project for test-mode events, if they have one of their own.
    pub const TEST_API_KEY: &str = "amplitude-test-api-key";
    /// How the project wants its events.
    pub const SETTINGS: &str = "settings";
}

/// Where projects come from. The network edge of the cache; Parameter Store is the real one.
pub trait ProjectSource: Send + Sync {
    /// The folder of the project's parameters, for messages: `/stripe-amplitude/demo`.
    fn folder(&self, project: &ProjectName) -> String;

    /// All parameters of a project; none where there is no such project.
    fn load(&self, project: &ProjectName) -> impl Future<Output = Result<Vec<Parameter>, LoadError>> + Send;
}

/// A parameter of a project.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name below the project's folder, for example `stripe-signing-secret/eu`.
    pub name: String,
    /// Its value, hidden from `Debug`.
    pub value: SecretString,
}

/// Why the parameters of a project could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// No connection, or one that broke.
    #[error("no connection")]
    Connection,
    /// Parameter Store answered with an error.
    #[error("{words} ({code})")]
    Refused {
        /// The error code of AWS, for example `ThrottlingException`.
        code: String,
        /// What it means, and what to do.
        words: &'static str,
    },
}

/// Why there is no project to a name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unavailable {
    /// There are no parameters.
    #[error(
        "no such project: there are no parameters under {folder}/ in this account and Region; after creating them, wait a minute"
    )]
    Unknown {
        /// Where they would be.
        folder: String,
    },
    /// They could not be read, and no old ones are at hand.
    #[error("Parameter Store could not be read: {0}")]
    Unreadable(LoadError),
    /// Too many projects are asked for that this process does not know yet.
    #[error("too many projects are asked for at once that are not loaded yet")]
    Exhausted,
}

/// The name of a project, as in the path: `[A-Za-z0-9_-]{1,64}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProjectName(String);

impl ProjectName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProjectName {
    type Err = InvalidProjectName;

    fn from_str(name: &str) -> Result<Self, InvalidProjectName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let valid = (1..=64).contains(&name.len()) && name.bytes().all(allowed);
        valid.then(|| Self(name.to_owned())).ok_or(InvalidProjectName)
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is no name of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a project's name has 1 to 64 of the characters A-Z, a-z, 0-9, _ and -")]
pub struct InvalidProjectName;

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
#[derive(Debug)]
pub struct DeliverySettings {
    api_key: SecretString,
    test_api_key: Option<SecretString>,
    /// The parameter `settings`.
    pub settings: Settings,
    /// For messages.
    folder: String,
}

impl DeliverySettings {
    /// Test-mode events go to the test key, if there is one.
    pub fn destination(&self, livemode: Option<bool>) -> Destination<'_> {
        let is_test = livemode == Some(false) && self.test_api_key.is_some();
        self.destination_of(if is_test { parameter::TEST_API_KEY } else { parameter::API_KEY })
    }

    /// Whether test-mode events have a key of their own.
    pub fn has_test_key(&self) -> bool {
        self.test_api_key.is_some()
    }

    /// The destination whose key this parameter holds.
    pub fn destination_of(&self, parameter: &'static str) -> Destination<'_> {
        let api_key = match &self.test_api_key {
            Some(test_api_key) if parameter == parameter::TEST_API_KEY => test_api_key,
            _ => &self.api_key,
        };
        Destination { region: self.settings.amplitude_region, api_key, parameter }
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

#[derive(Clone, Debug, PartialEq, Eq, Error)]
enum Problem {
    #[error("is missing; create it as a SecureString")]
    Missing,
    #[error("is empty")]
    Empty,
    #[error(
        "holds an API key of Stripe; it takes the signing secret of the webhook endpoint, which starts with whsec_"
    )]
    StripeApiKey,
    #[error("cannot be used: {0}")]
    Settings(SettingsError),
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
                Ok(DeliverySettings { api_key, test_api_key, settings, folder: folder.to_owned() })
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

/// The projects, through a cache: fresh for a time, loaded once for all who wait, and kept when Parameter Store fails.
#[derive(Debug)]
pub struct Projects<S> {
    source: S,
    cache: Mutex<Cache>,
}

/// A project from the cache.
#[derive(Clone, Debug)]
pub struct Found {
    /// The project.
    pub project: Arc<Project>,
    /// Whether it was loaded for this very request, so that loading it again cannot help.
    pub just_loaded: bool,
}

impl<S: ProjectSource> Projects<S> {
    /// `ttl` is how long a project is used before it is read again.
    pub fn new(source: S, ttl: Duration) -> Self {
        Self { source, cache: Mutex::new(Cache::new(ttl)) }
    }

    /// The project of this name.
    ///
    /// # Errors
    /// Where there is none, or where that cannot be found out now.
    pub async fn get(&self, name: &ProjectName, deadline: Instant) -> Result<Found, Unavailable> {
        let lookup = self.cache().lookup(name, SystemTime::now());
        match lookup {
            Lookup::Known(result) => self.explain(name, result).map(|project| Found { project, just_loaded: false }),
            Lookup::Load(ticket) => {
                let limit = if ticket.has_old_value { REFRESH_LIMIT } else { FIRST_LOAD_LIMIT };
                self.load(name, &ticket, deadline.min(Instant::now() + limit)).await;
                let result = self.cache().result(name, SystemTime::now());
                self.explain(name, result).map(|project| Found { project, just_loaded: true })
            }
        }
    }

    /// Reads the project again, because a signature matches none of the secrets of `seen`: a new secret works at once.
    /// `None` where that brings nothing new.
    pub async fn refresh(&self, name: &ProjectName, seen: &Arc<Project>, deadline: Instant) -> Option<Arc<Project>> {
        let limit = deadline.min(Instant::now() + REFRESH_LIMIT);
        let refresh = self.cache().early_refresh(name, seen, SystemTime::now());
        match refresh {
            EarlyRefresh::Newer(project) => return Some(project),
            EarlyRefresh::Load(ticket) => self.load(name, &ticket, limit).await,
            EarlyRefresh::Join(gate) => {
                // Somebody may be loading at this moment; what they find serves us, too.
                let _ = timeout_at(limit, gate.lock()).await;
            }
        }
        self.cache().newer(name, seen, SystemTime::now())
    }

    /// Loads these projects at the same time, before anybody asks for them, and gives those that are there.
    pub async fn warm(
        &self,
        names: &[ProjectName],
        deadline: Instant,
    ) -> Vec<(ProjectName, Result<Arc<Project>, Unavailable>)> {
        join_all(names.iter().map(|name| async move {
            let ticket = self.cache().warm(name);
            self.load(name, &ticket, deadline).await;
            let result = self.cache().result(name, SystemTime::now());
            (name.clone(), self.explain(name, result))
        }))
        .await
    }

    /// Loads the project and records what came of it, unless somebody else did while we waited for our turn.
    async fn load(&self, name: &ProjectName, ticket: &cache::Ticket, limit: Instant) {
        let load = async {
            let _turn = ticket.gate.lock().await;
            if self.cache().is_settled(name, ticket) {
                return;
            }
            let result = timeout_at(limit, self.source.load(name)).await.unwrap_or(Err(LoadError::Timeout));
            let loaded = match result {
                Ok(parameters) if parameters.is_empty() => Ok(None),
                Ok(parameters) => {
                    let project = Project::from_parameters(parameters, &self.source.folder(name));
                    for parameter in &project.unknown_parameters {
                        tracing::warn!(project = name.as_str(), parameter, "an unknown parameter is passed over");
                    }
                    Ok(Some(Arc::new(project)))
                }
                Err(error) => Err(error),
            };
            let error = loaded.as_ref().err().cloned();
            let now = SystemTime::now();
            self.cache().record(name, loaded, now);
            // Where there is no old value, the answer says what is wrong.
            if let Some(error) = error
                && self.cache().result(name, now).is_ok()
            {
                tracing::warn!(project = name.as_str(), %error, "Parameter Store could not be read; the old parameters are used");
            }
        };
        // Waiting for the turn is limited, too; whoever has it records the result.
        let _ = timeout_at(limit, load).await;
    }

    fn explain(
        &self,
        name: &ProjectName,
        result: Result<Arc<Project>, cache::Absent>,
    ) -> Result<Arc<Project>, Unavailable> {
        result.map_err(|absent| match absent {
            cache::Absent::Unknown => Unavailable::Unknown { folder: self.source.folder(name) },
            cache::Absent::Unreadable(error) => Unavailable::Unreadable(error),
            cache::Absent::Exhausted => Unavailable::Exhausted,
        })
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // The cache holds nothing that a panic could leave half done.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

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

    /// Takes a moment to load, and answers with what it holds.
    pub(crate) struct Fake {
        pub(crate) answer: Mutex<Result<Vec<Parameter>, LoadError>>,
        pub(crate) loads: AtomicUsize,
        pub(crate) takes: Duration,
    }

    impl Fake {
        pub(crate) fn new(answer: &[(&str, &str)]) -> Self {
            Self { answer: Mutex::new(Ok(parameters(answer))), loads: AtomicUsize::new(0), takes: Duration::ZERO }
        }

        pub(crate) fn set(&self, answer: Result<&[(&str, &str)], LoadError>) {
            *self.answer.lock().unwrap() = answer.map(parameters);
        }

        pub(crate) fn loads(&self) -> usize {
            self.loads.load(Ordering::Relaxed)
        }
    }

    impl ProjectSource for Arc<Fake> {
        fn folder(&self, project: &ProjectName) -> String {
            format!("/stripe-amplitude/{project}")
        }

        async fn load(&self, _: &ProjectName) -> Result<Vec<Parameter>, LoadError> {
            self.loads.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(self.takes).await;
            self.answer.lock().unwrap().clone()
        }
    }

    fn name() -> ProjectName {
        "demo".parse().unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(4)
    }

    #[test]
    fn names_of_projects_are_short_and_plain() {
        for name in ["a", "Shop_1-eu", &"x".repeat(64)] {
            assert!(name.parse::<ProjectName>().is_ok(), "{name}");
        }
        for name in ["", "a b", "a/b", "a%2Fb", "..", "é", "a\0", &"x".repeat(65)] {
            assert!(name.parse::<ProjectName>().is_err(), "{name}");
        }
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
            assert_eq!((destination.api_key.expose_secret(), destination.parameter), (key, parameter));
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

    #[tokio::test(start_paused = true)]
    async fn those_who_come_at_once_share_one_load() {
        let source = Arc::new(Fake { takes: Duration::from_millis(100), ..Fake::new(&COMPLETE) });
        let projects = Projects::new(Arc::clone(&source), Duration::from_secs(300));
        let name = name();
        let found = join_all((0..8).map(|_| projects.get(&name, soon()))).await;
        assert!(found.iter().all(Result::is_ok));
        assert_eq!(source.loads(), 1);
        assert!(!projects.get(&name, soon()).await.unwrap().just_loaded);
        assert_eq!(source.loads(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_load_ends_after_a_second_and_a_half_and_its_failure_is_shared() {
        let source = Arc::new(Fake { takes: Duration::from_secs(60), ..Fake::new(&COMPLETE) });
        let projects = Projects::new(Arc::clone(&source), Duration::from_secs(300));
        let (start, name) = (Instant::now(), name());
        for result in join_all((0..4).map(|_| projects.get(&name, soon()))).await {
            assert_eq!(result.unwrap_err(), Unavailable::Unreadable(LoadError::Timeout));
        }
        assert_eq!((start.elapsed(), source.loads()), (FIRST_LOAD_LIMIT, 1));
    }

    #[tokio::test]
    async fn a_project_that_is_not_there_is_unknown() {
        let projects = Projects::new(Arc::new(Fake::new(&[])), Duration::from_secs(300));
        let error = projects.get(&name(), soon()).await.unwrap_err();
        assert!(error.to_string().contains("/stripe-amplitude/demo/"), "{error}");
    }

    #[tokio::test]
    async fn an_old_value_is_used_when_a_refresh_fails() {
        let source = Arc::new(Fake::new(&COMPLETE));
        let projects = Projects::new(Arc::clone(&source), Duration::ZERO);
        projects.get(&name(), soon()).await.unwrap();
        source.set(Err(LoadError::Connection));
        assert!(projects.get(&name(), soon()).await.is_ok());
        assert_eq!(source.loads(), 2);
    }

    #[tokio::test]
    async fn a_refresh_brings_a_new_project_and_only_then() {
        let source = Arc::new(Fake::new(&COMPLETE));
        let projects = Projects::new(Arc::clone(&source), Duration::from_secs(300));
        let seen = projects.get(&name(), soon()).await.unwrap().project;
        source.set(Ok(&[("stripe-signing-secret", "whsec_b"), ("amplitude-api-key", "key")]));
        assert!(projects.refresh(&name(), &seen, soon()).await.is_some());
        let now = projects.get(&name(), soon()).await.unwrap().project;
        assert!(projects.refresh(&name(), &now, soon()).await.is_none(), "it is too early for another one");
        assert_eq!(source.loads(), 2);
    }
}
