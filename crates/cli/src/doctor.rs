//! `doctor`: checks everything that a project needs, and says how to fix problems.

mod clocks;
mod finding;
mod function;
mod identity;
mod parameters;
mod payments;
mod references;
mod undelivered;
mod users;
mod webhook;

use std::error::Error;
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Client as Http;
use reqwest::header::DATE;
use stripe_amplitude::amplitude::Region;
use stripe_amplitude::amplitude::client::{Client, DeliveryError};
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::projects::project::{AmplitudeConfig, Project};
use stripe_amplitude::projects::source::ProjectSource as _;
use stripe_amplitude::settings::{ProductsFrom, References};
use stripe_amplitude::stripe::signature::SigningSecret;
use stripe_amplitude::stripe::source_label::SourceLabel;
use tokio::time::Instant;

use self::finding::{Finding, Grade};
use self::identity::Identity;
use self::undelivered::{MAX_COUNTED, STRIPE_RETRIES_FOR};
use self::users::Users;
use self::webhook::Wanted;
use crate::amplitude::export::{Export, LAG};
use crate::amplitude::import;
use crate::amplitude::key_check::check_key;
use crate::clock::HOUR;
use crate::endpoint::Endpoint;
use crate::exit::{Exit, Usage};
use crate::history::{HistoryOutcome, Translator};
use crate::key::{self, Key};
use crate::permissions;
use crate::private_file;
use crate::proof::{self, Attempt};
use crate::property_names::PropertyNames;
use crate::stripe::api::{self, Api, Operation, Problem};
use crate::stripe::endpoints;
use crate::stripe::event_types;
use crate::stripe::events::{self, Filter, REACH};
use crate::stripe::restricted_key;
use crate::terminal::{self, count, say};
use crate::{clock, http, projects, webhook_url};

/// Check everything that a project needs: parameters, Stripe, Amplitude, clocks
///
/// Prints a line for each check: ok, warning or problem, with the remedy, or skipped, with the reason. Changes nothing, and
/// leaves nothing in Amplitude.
///
/// STRIPE_SECRET_KEY is a key of the Stripe account. A restricted key needs the permissions `Events`: Read and `Webhook
/// Endpoints`: Read. AMPLITUDE_SECRET_KEY is the secret key of the Amplitude project, and AMPLITUDE_TEST_SECRET_KEY that of
/// the project for test-mode events; both only serve to check that the keys belong together. There are no prompts.
///
/// --identity uses STRIPE_SECRET_KEY or, if it is not set, the project's own `stripe-api-key`. A restricted key needs
/// `PaymentIntents`, `Customers`, `Invoices`, `Subscriptions`, `Checkout Sessions` and `Events`: Read; what it cannot read is
/// not counted. IDs are masked.
///
/// The exit code is 1 if there is a problem.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo cli doctor --project shop --url https://…/stripe/shop
  cargo cli doctor --project shop --recent 5000 --csv customers.csv
  cargo cli doctor --project shop --identity
  cargo cli doctor --project shop --projects projects.toml")]
pub(crate) struct Arguments {
    #[command(flatten)]
    choice: projects::Choice,
    /// The URL that Stripe calls; receives a signed test event of an unused type
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// How many of the newest events to check for user IDs and property names
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    recent: u32,
    /// Where to write the customers whose events have no user ID from your app
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Only look for the IDs of buyers on some 200 recent payments and their objects, which takes some minutes, and recommend
    /// `user_id_paths`
    #[arg(long, conflicts_with_all = ["url", "csv"])]
    identity: bool,
    /// Maximum requests to Stripe per second
    #[arg(long, value_name = "NUMBER", default_value_t = api::RATE, value_parser = clap::value_parser!(u32).range(1..=100))]
    rate: u32,
}

/// On no list, and not in a family that a project could select by mistake.
const EVENT_TYPE: &str = "stripe_amplitude.doctor";

/// Amplitude responds within a second or so.
const LIMIT: Duration = Duration::from_secs(20);

/// Fails if there is a problem.
pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
    let name = arguments.choice.project.clone();
    let url = arguments.url.as_deref().map(|url| webhook_url::parse(url, &name).map_err(Usage)).transpose()?;
    if arguments.identity {
        return find_identity(&arguments).await;
    }
    let projects = arguments.choice.source()?;
    let http = http::build()?;
    let mut report = Report::default();

    let folder = projects.folder(&name);
    let project = match projects.load(&name).await {
        Err(error) => {
            report
                .add(Finding::problem(format!("cannot read {folder} with the credentials of this machine: {error}")))?;
            None
        }
        Ok(parameters) if parameters.is_empty() => {
            report.add(Finding::problem(format!("there is no project {name}: {}", projects.absence(&name))))?;
            None
        }
        Ok(parameters) => {
            let project = Project::from_parameters(parameters.clone(), &folder);
            report.add_all(parameters::check(&parameters, &project, &folder))?;
            Some(project)
        }
    };
    let (secrets, delivery) = match project {
        Some(Project { secrets, delivery, .. }) => (secrets, delivery.ok()),
        None => (Vec::new(), None),
    };
    let labels: Vec<_> = secrets.iter().map(|secret| secret.label().cloned()).collect();
    let mut doctor = Doctor { arguments, name, url, http, labels, delivery, report };
    doctor.check_references().await?;
    doctor.check_stripe().await?;
    doctor.check_url(secrets).await?;
    doctor.check_amplitude().await?;
    let Report { problems, warnings } = doctor.report;
    say!("\n{}, {}.", count(problems, "problem"), count(warnings, "warning"))?;
    Ok(Exit::of(problems == 0))
}

/// Finds the IDs of buyers.
async fn find_identity(arguments: &Arguments) -> Result<Exit, Box<dyn Error>> {
    let name = &arguments.choice.project;
    let given = key::STRIPE.given_and_checked()?;
    // There can be payments before there is a project.
    let delivery = match arguments.choice.source() {
        Ok(projects) => {
            projects.project(name).await.and_then(|project| project.delivery.map_err(|why| why.to_string()))
        }
        Err(why) => Err(why),
    };
    let own = delivery.as_ref().ok().and_then(|delivery| {
        let parameter = delivery.stripe_key_parameters().next()?;
        Some((delivery.stripe_key(parameter).ok()??.clone(), format!("{}/{parameter}", delivery.folder())))
    });
    let given = given.map(|key| (key, key::STRIPE.variable.to_owned()));
    let Some((key, place)) = given.or(own) else {
        let missing = key::STRIPE.missing();
        return Err(match delivery {
            Ok(delivery) => format!("{missing}; {}/stripe-api-key does not exist either", delivery.folder()),
            Err(why) => format!("{missing}; the project's own key is not available either: {why}"),
        }
        .into());
    };
    let payments = payments::read(http::build()?, key, &place, arguments.rate).await;
    let payments = payments.map_err(|error| error.of_key_in(&place))?;
    let identity = Identity::of(&payments, delivery.as_ref().ok().map(|delivery| &delivery.settings));
    terminal::print(&identity.to_string())?;
    let mut report = Report::default();
    report.add_all(identity.findings())?;
    if let Some(line) = identity.line() {
        say!("\nTo merge into the parameter `settings`:\n{line}")?;
    }
    Ok(Exit::Success)
}

/// Prints findings, and counts them.
#[derive(Default)]
struct Report {
    problems: usize,
    warnings: usize,
}

impl Report {
    fn add(&mut self, finding: Finding) -> io::Result<()> {
        match finding.grade {
            Grade::Problem => self.problems += 1,
            Grade::Warning => self.warnings += 1,
            Grade::Ok | Grade::Skipped => {}
        }
        terminal::print(&finding.to_string())
    }

    fn add_all(&mut self, findings: Vec<Finding>) -> io::Result<()> {
        findings.into_iter().try_for_each(|finding| self.add(finding))
    }
}

struct Doctor {
    arguments: Arguments,
    name: ProjectName,
    /// Normalized.
    url: Option<String>,
    http: Http,
    /// The labels of the project's signing secrets.
    labels: Vec<Option<SourceLabel>>,
    /// `None` if the parameters are unusable.
    delivery: Option<AmplitudeConfig>,
    report: Report,
}

/// Why checks that need the settings are skipped.
const NO_PARAMETERS: &str = "the parameters of the project are unusable";

impl Doctor {
    /// Checks the keys with which references are followed.
    async fn check_references(&mut self) -> Result<(), Box<dyn Error>> {
        let Some(delivery) = &self.delivery else { return Ok(()) };
        self.report.add_all(references::check(delivery, &self.labels))?;
        let needed = permissions::needed(&delivery.settings).permissions;
        for parameter in references::used(delivery, &self.labels) {
            let Ok(Some(key)) = delivery.stripe_key(&parameter) else { continue };
            let api = Api::new(self.http.clone(), key.clone(), None, self.arguments.rate)?;
            let missing = restricted_key::missing(&api, &needed).await;
            self.report.add(references::of_permissions(&parameter, &needed, missing))?;
        }
        Ok(())
    }
}

impl Doctor {
    async fn check_stripe(&mut self) -> Result<(), Box<dyn Error>> {
        let given = match key::STRIPE.given_and_checked() {
            Ok(given) => given,
            Err(words) => return Ok(self.report.add(Finding::problem(words))?),
        };
        let Some(key) = given else {
            let words = format!("endpoints, recent and undelivered events in Stripe: {}", key::STRIPE.missing());
            return Ok(self.report.add(Finding::skipped(words))?);
        };
        let api = Api::new(self.http.clone(), key, None, self.arguments.rate)?;
        let mode = if api.is_test() { "test mode" } else { "live mode" };
        let one = [("limit", "1".to_owned())];
        let reads_events = match api.date(events::PATH, &one, Operation::ListEvents).await {
            Ok(date) => {
                self.report.add(Finding::ok(format!("the Stripe key is for {mode}, and may read events")))?;
                let date = date.and_then(|date| clock::parse_http_date(&date));
                self.report.add(clocks::check("Stripe's", date, clock::now().cast_signed()))?;
                true
            }
            Err(error) => {
                self.report.add(Finding::problem(error.to_string()))?;
                // Other requests would fail, too.
                if matches!(error.problem, Problem::UnknownKey | Problem::Unreachable(_) | Problem::Unreadable) {
                    return Ok(());
                }
                false
            }
        };
        self.check_endpoints(&api, mode).await?;
        if !reads_events {
            return Ok(self
                .report
                .add(Finding::skipped("recent and undelivered events: the key may not read events"))?);
        }
        let Some(delivery) = &self.delivery else {
            return Ok(self.report.add(Finding::skipped(format!("recent and undelivered events: {NO_PARAMETERS}")))?);
        };
        let types = event_types::of(&delivery.settings.events);
        self.check_undelivered(&api, &types).await?;
        self.check_recent(&api, types).await
    }

    async fn check_endpoints(&mut self, api: &Api, mode: &'static str) -> Result<(), Box<dyn Error>> {
        let all = match endpoints::list(api).await {
            Ok(all) => all,
            Err(error) => return Ok(self.report.add(Finding::problem(error.to_string()))?),
        };
        let Some(delivery) = &self.delivery else {
            return Ok(self.report.add(Finding::skipped(format!("the endpoints in Stripe: {NO_PARAMETERS}")))?);
        };
        let types = event_types::of(&delivery.settings.events);
        let wanted =
            Wanted { project: &self.name, url: self.url.as_deref(), types: &types, secrets: self.labels.len(), mode };
        let found = webhook::of(&all, &wanted);
        let findings = webhook::check(&found, &wanted);
        Ok(self.report.add_all(findings)?)
    }

    async fn check_undelivered(&mut self, api: &Api, types: &[String]) -> io::Result<()> {
        let now = clock::now().cast_signed();
        let since = now - STRIPE_RETRIES_FOR;
        let filter = Filter { types: types.to_vec(), created: since..now, undelivered: true };
        let finding = match events::count(api, &filter, MAX_COUNTED).await {
            Err(error) => Finding::problem(error.to_string()),
            Ok(number) => undelivered::check(number, &self.name, since),
        };
        self.report.add(finding)
    }

    /// Checks user IDs and property names of recent events.
    async fn check_recent(&mut self, api: &Api, types: Vec<String>) -> Result<(), Box<dyn Error>> {
        let Some(delivery) = &self.delivery else { return Ok(()) };
        let now = clock::now().cast_signed();
        // The oldest listed events may disappear any moment.
        let created: Range<i64> = now - REACH + HOUR..now + 1;
        let filter = Filter { types, created, undelivered: false };
        let recent = usize::try_from(self.arguments.recent).unwrap_or(usize::MAX);
        let newest = match events::newest(api, &filter, recent).await {
            Ok(newest) => newest,
            Err(error) => return Ok(self.report.add(Finding::problem(error.to_string()))?),
        };
        let events = newest.iter().map(|event| (&event.body, &event.place));
        let users = Users::of(events, &self.name, &delivery.settings);
        self.report.add(users.finding())?;
        terminal::print(&users.to_string())?;
        // References do not affect property names, so nothing is read.
        let mut delivery = delivery.clone();
        (delivery.settings.references, delivery.settings.products) = (References::Off, ProductsFrom::Event);
        let translator = Translator::new(self.name.clone(), delivery, None, api::objects(self.http.clone())?);
        let mut names = PropertyNames::default();
        for event in &newest {
            if let HistoryOutcome::Sent(event) = translator.translate(&event.body).await? {
                names.add(&event.json);
            }
        }
        self.report.add_all(finding::property_names(&names).into_iter().collect())?;
        if let Some(path) = &self.arguments.csv {
            let name = path.display();
            match write(path, &users.csv()) {
                Ok(()) => say!("{} are in {name}.", count(users.customers(), "customer"))?,
                Err(error) => self.report.add(Finding::problem(format!("--csv: {name}: {error}")))?,
            }
        }
        Ok(())
    }
}

impl Doctor {
    async fn check_url(&mut self, secrets: Vec<SigningSecret>) -> Result<(), Box<dyn Error>> {
        let Some(url) = &self.url else {
            let words = "the function itself: --url is not set; pass --url https://… to send it a signed test event";
            return Ok(self.report.add(Finding::skipped(words))?);
        };
        let Some(secret) = secrets.into_iter().next() else {
            return Ok(self.report.add(Finding::skipped("the function itself: there is no signing secret"))?);
        };
        let endpoint = Endpoint::with_secret(url.clone(), secret)?;
        let Attempt { verdict, date, is_not_warm } = proof::attempt(&endpoint, EVENT_TYPE).await;
        let now = clock::now().cast_signed();
        self.report.add(function::check(url, &verdict))?;
        if is_not_warm {
            self.report.add(webhook::not_warm(&self.name))?;
        }
        if date.is_some() {
            self.report.add(clocks::check("the gateway's", date, now))?;
        }
        Ok(())
    }
}

impl Doctor {
    async fn check_amplitude(&mut self) -> Result<(), Box<dyn Error>> {
        let Self { delivery: Some(delivery), report, http, .. } = self else {
            return Ok(self.report.add(Finding::skipped(format!("the Amplitude keys: {NO_PARAMETERS}")))?);
        };
        let region = delivery.settings.amplitude_region;
        let amplitude = match region {
            Region::Us => "Amplitude (US)",
            Region::Eu => "Amplitude (EU)",
        };
        let url = match import::url_given() {
            Ok(url) => url,
            Err(words) => return Ok(report.add(Finding::problem(words))?),
        };
        let date = date_of(http, url.as_deref().unwrap_or(region.batch_url())).await;
        let client = Client::new(http.clone(), url);
        for destination in delivery.destinations() {
            let key = destination.key.parameter();
            let result = check_key(&client, destination, Instant::now() + LIMIT).await;
            let secret = Key::amplitude_secret(destination.key);
            let is_refused = result.is_err();
            report.add(match result {
                Ok(()) => Finding::ok(format!("{amplitude} accepts the key in {key}")),
                Err(error @ DeliveryError::InvalidApiKey) => Finding::problem(format!("{key}: {error}")),
                Err(error) => Finding::problem(format!("{amplitude}, with the key in {key}: {error}")),
            })?;
            let given = match secret.given_and_checked() {
                Ok(given) => given,
                Err(words) => {
                    report.add(Finding::problem(words))?;
                    continue;
                }
            };
            let Some(secret_key) = given else {
                let missing = secret.missing();
                report.add(Finding::skipped(format!("whether {key} belongs to your Amplitude project: {missing}")))?;
                continue;
            };
            if is_refused {
                continue;
            }
            // The last complete hour.
            let hour = clock::now().cast_signed() - LAG - HOUR;
            let export = Export::new(http.clone(), destination, secret_key);
            let checked = match &export {
                Ok(export) => export.check(hour).await,
                Err(words) => Err(words.clone()),
            };
            report.add(match checked {
                Ok(()) => Finding::ok(format!("{key} and {} belong to the same project", secret.variable)),
                Err(why) => Finding::problem(why),
            })?;
        }
        match date {
            Some((date, now)) => report.add(clocks::check("Amplitude's", date, now))?,
            None => report.add(Finding::skipped("Amplitude's clock: there was no response"))?,
        }
        Ok(())
    }
}

/// The time of a server and of this machine, in Unix seconds; `None` if the server does not respond.
async fn date_of(http: &Http, url: &str) -> Option<(Option<i64>, i64)> {
    // Any response has a date.
    let answer = http.get(url).timeout(LIMIT).send().await.ok()?;
    let date = answer.headers().get(DATE).and_then(|date| clock::parse_http_date(date.to_str().ok()?));
    Some((date, clock::now().cast_signed()))
}

/// Writes a private file, because it contains customers.
fn write(path: &Path, text: &str) -> io::Result<()> {
    private_file::replace(path)?.write_all(text.as_bytes())
}
