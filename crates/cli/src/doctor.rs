//! `doctor`: whether everything that a project needs is as it should be, and what to do where it is not.

mod clocks;
mod finding;
mod identity;
mod parameters;
mod payments;
mod references;
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
use stripe_amplitude::permissions;
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::projects::parameters::{AmplitudeConfig, Project};
use stripe_amplitude::projects::source::ProjectSource as _;
use stripe_amplitude::settings::{ProductsFrom, References};
use stripe_amplitude::stripe::signature::SigningSecret;
use tokio::time::Instant;

use self::finding::{Finding, Grade};
use self::identity::Identity;
use self::users::Users;
use self::webhook::Wanted;
use crate::amplitude::export::{Export, LAG};
use crate::amplitude::import;
use crate::amplitude::key_check::check_key;
use crate::clock::{DAY, HOUR};
use crate::endpoint::Endpoint;
use crate::exit::{Exit, Usage};
use crate::history::{HistoryOutcome, Translator};
use crate::key::{self, Key};
use crate::private_file;
use crate::proof::{self, Attempt, Verdict};
use crate::property_names::PropertyNames;
use crate::stripe::api::{self, Api, Operation, Problem};
use crate::stripe::endpoints;
use crate::stripe::event_types;
use crate::stripe::events::{self, Filter, REACH};
use crate::stripe::restricted_key;
use crate::terminal::{self, count, say};
use crate::{clock, http, projects, webhook_url};

/// Look at everything that a project needs: parameters, Stripe, Amplitude, clocks
///
/// Each check is a line: ok, warning or problem, with what to do; what cannot be looked at is skipped, and the line says why.
/// Nothing is changed, and nothing is left in Amplitude.
///
/// STRIPE_SECRET_KEY has the key of the Stripe account; a restricted one needs the permissions `Events`: Read and `Webhook
/// Endpoints`: Read. AMPLITUDE_SECRET_KEY has the secret key of the Amplitude project, and AMPLITUDE_TEST_SECRET_KEY that of
/// the project of test-mode events; both are only needed to see whether the keys fit. None is asked for.
///
/// With --identity, the key is STRIPE_SECRET_KEY or, where it is not set, the project's own `stripe-api-key`. A restricted one
/// needs `PaymentIntents`, `Customers`, `Invoices`, `Subscriptions`, `Checkout Sessions` and `Events`: Read; what it may not
/// read is not counted. IDs are masked.
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
    /// The URL that Stripe calls; a signed event of a type that nobody wants is delivered to it
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// How many of the newest events are looked at for their user IDs and property names
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    recent: u32,
    /// Where to put the customers whose events have no user ID that you have put there
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Look at nothing but where the IDs of buyers are: on some 200 recent payments and what belongs to them, for some
    /// minutes; and which `user_id_paths` would find them
    #[arg(long, conflicts_with_all = ["url", "csv"])]
    identity: bool,
    /// Requests to Stripe in a second, at the most
    #[arg(long, value_name = "NUMBER", default_value_t = api::RATE, value_parser = clap::value_parser!(u32).range(1..=100))]
    rate: u32,
}

/// On no list, and in no family that a project can name by mistake.
const EVENT_TYPE: &str = "stripe_amplitude.doctor";

/// So long Stripe delivers again what has failed.
const STRIPE_RETRIES_FOR: i64 = 3 * DAY;

/// More undelivered events are many.
const MOST_COUNTED: usize = 1000;

/// Amplitude's uploads answer within a second or so.
const LIMIT: Duration = Duration::from_secs(20);

/// Fails if there is a problem.
pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
    let name = arguments.choice.project.clone();
    let url = arguments.url.as_deref().map(|url| webhook_url::parse(url, &name).map_err(Usage)).transpose()?;
    if arguments.identity {
        return look_for_identity(&arguments).await;
    }
    let projects = arguments.choice.source()?;
    let http = http::build()?;
    let mut report = Report::default();

    let folder = projects.folder(&name);
    let project = match projects.load(&name).await {
        Err(error) => {
            report.tell(Finding::problem(format!(
                "{folder} cannot be read with the credentials of this machine: {error}"
            )))?;
            None
        }
        Ok(parameters) if parameters.is_empty() => {
            report.tell(Finding::problem(format!(
                "there is no project {name}: nothing is under {folder}/; look at the name, the account and the Region"
            )))?;
            None
        }
        Ok(parameters) => {
            let project = Project::from_parameters(parameters.clone(), &folder);
            report.tell_all(parameters::check(&parameters, &project, &folder))?;
            Some(project)
        }
    };
    let (secrets, delivery) = match project {
        Some(Project { secrets, delivery, .. }) => (secrets, delivery.ok()),
        None => (Vec::new(), None),
    };
    let labels: Vec<_> = secrets.iter().map(|secret| secret.label().map(str::to_owned)).collect();
    let mut doctor = Doctor { arguments, name, url, http, labels, delivery, report };
    doctor.check_references().await?;
    doctor.check_stripe().await?;
    doctor.check_url(secrets).await?;
    doctor.check_amplitude().await?;
    let Report { problems, warnings } = doctor.report;
    say!("\n{}, {}.", count(problems, "problem"), count(warnings, "warning"))?;
    Ok(Exit::of(problems == 0))
}

/// Where the IDs of buyers are.
async fn look_for_identity(arguments: &Arguments) -> Result<Exit, Box<dyn Error>> {
    let name = &arguments.choice.project;
    let given = key::STRIPE.given_and_checked()?;
    // Before there is a project, there can be payments.
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
        let Key { variable, meaning } = key::STRIPE;
        let missing = format!("{variable} is not set; it takes {meaning}");
        return Err(match delivery {
            Ok(delivery) => format!("{missing}; and there is no {}/stripe-api-key", delivery.folder()),
            Err(why) => format!("{missing}; and the project's own key is not to be had: {why}"),
        }
        .into());
    };
    let payments = payments::read(http::build()?, key, &place, arguments.rate).await;
    let payments = payments.map_err(|error| error.of_key_in(&place))?;
    let identity = Identity::of(&payments, delivery.as_ref().ok().map(|delivery| &delivery.settings));
    terminal::print(&identity.to_string())?;
    let mut report = Report::default();
    report.tell_all(identity.findings())?;
    if let Some(line) = identity.line() {
        say!("\nFor the parameter `settings`, with what else is there:\n{line}")?;
    }
    Ok(Exit::Success)
}

/// What has been told.
#[derive(Default)]
struct Report {
    problems: usize,
    warnings: usize,
}

impl Report {
    fn tell(&mut self, finding: Finding) -> io::Result<()> {
        match finding.grade {
            Grade::Problem => self.problems += 1,
            Grade::Warning => self.warnings += 1,
            Grade::Ok | Grade::Skipped => {}
        }
        terminal::print(&finding.to_string())
    }

    fn tell_all(&mut self, findings: Vec<Finding>) -> io::Result<()> {
        findings.into_iter().try_for_each(|finding| self.tell(finding))
    }
}

struct Doctor {
    arguments: Arguments,
    name: ProjectName,
    /// As browsers write it.
    url: Option<String>,
    http: Http,
    /// Of the project's signing secrets.
    labels: Vec<Option<String>>,
    /// `None` where the parameters cannot be used.
    delivery: Option<AmplitudeConfig>,
    report: Report,
}

/// Without them, it is not known what the project wants.
const NO_PARAMETERS: &str = "the parameters of the project cannot be used";

/// The keys with which references are followed.
impl Doctor {
    async fn check_references(&mut self) -> Result<(), Box<dyn Error>> {
        let Some(delivery) = &self.delivery else { return Ok(()) };
        self.report.tell_all(references::check(delivery, &self.labels))?;
        let needed = permissions::needed(&delivery.settings).permissions;
        for parameter in references::used(delivery, &self.labels) {
            let Ok(Some(key)) = delivery.stripe_key(&parameter) else { continue };
            let api = Api::new(self.http.clone(), key.clone(), None, self.arguments.rate)?;
            let missing = restricted_key::missing(&api, &needed).await;
            self.report.tell(references::of_permissions(&parameter, &needed, missing))?;
        }
        Ok(())
    }
}

/// Stripe.
impl Doctor {
    async fn check_stripe(&mut self) -> Result<(), Box<dyn Error>> {
        let given = match key::STRIPE.given_and_checked() {
            Ok(given) => given,
            Err(words) => return Ok(self.report.tell(Finding::problem(words))?),
        };
        let Some(key) = given else {
            let Key { variable, meaning } = key::STRIPE;
            let words = format!(
                "Stripe's endpoints, recent events and what is undelivered: {variable} is not set; it takes {meaning}"
            );
            return Ok(self.report.tell(Finding::skipped(words))?);
        };
        let api = Api::new(self.http.clone(), key, None, self.arguments.rate)?;
        let mode = if api.is_test() { "test mode" } else { "live mode" };
        let one = [("limit", "1".to_owned())];
        let reads_events = match api.date(events::PATH, &one, Operation::ListEvents).await {
            Ok(date) => {
                self.report.tell(Finding::ok(format!("the key of Stripe is of {mode}, and may read events")))?;
                let date = date.and_then(|date| clock::parse_http_date(&date));
                self.report.tell(clocks::check("Stripe's", date, clock::now().cast_signed()))?;
                true
            }
            Err(error) => {
                self.report.tell(Finding::problem(error.to_string()))?;
                // Nothing else would be answered, either.
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
                .tell(Finding::skipped("recent events, and what is undelivered: the key may not read events"))?);
        }
        let Some(delivery) = &self.delivery else {
            return Ok(self
                .report
                .tell(Finding::skipped(format!("recent events, and what is undelivered: {NO_PARAMETERS}")))?);
        };
        let types = event_types::of(&delivery.settings.events);
        self.check_undelivered(&api, &types).await?;
        self.check_recent(&api, types).await
    }

    async fn check_endpoints(&mut self, api: &Api, mode: &'static str) -> Result<(), Box<dyn Error>> {
        let all = match endpoints::list(api).await {
            Ok(all) => all,
            Err(error) => return Ok(self.report.tell(Finding::problem(error.to_string()))?),
        };
        let Some(delivery) = &self.delivery else {
            return Ok(self.report.tell(Finding::skipped(format!("the endpoints in Stripe: {NO_PARAMETERS}")))?);
        };
        let types = event_types::of(&delivery.settings.events);
        let wanted =
            Wanted { project: &self.name, url: self.url.as_deref(), types: &types, secrets: self.labels.len(), mode };
        let found = webhook::of(&all, &wanted);
        let findings = webhook::check(&found, &wanted);
        Ok(self.report.tell_all(findings)?)
    }

    async fn check_undelivered(&mut self, api: &Api, types: &[String]) -> io::Result<()> {
        let now = clock::now().cast_signed();
        let since = now - STRIPE_RETRIES_FOR;
        let filter = Filter { types: types.to_vec(), created: since..now, undelivered: true };
        let finding = match events::count(api, &filter, MOST_COUNTED).await {
            Err(error) => Finding::problem(error.to_string()),
            Ok(0) => Finding::ok("all events of the last three days are delivered"),
            Ok(number) => Finding::warning(format!(
                "{}{} of the last three days {} pending or failed, at one endpoint at least, whichever it was. Stripe delivers again for three days; what it does not, this brings in: `backfill --project {} --since {} --undelivered`",
                if number >= MOST_COUNTED { "at least " } else { "" },
                count(number, "event"),
                if number == 1 { "is" } else { "are" },
                self.name,
                clock::in_utc(since, "%Y-%m-%d")
            )),
        };
        self.report.tell(finding)
    }

    /// Whose the recent events are, and what their properties are called.
    async fn check_recent(&mut self, api: &Api, types: Vec<String>) -> Result<(), Box<dyn Error>> {
        let Some(delivery) = &self.delivery else { return Ok(()) };
        let now = clock::now().cast_signed();
        // What is listed at its far end may be gone a moment later.
        let created: Range<i64> = now - REACH + HOUR..now + 1;
        let filter = Filter { types, created, undelivered: false };
        let recent = usize::try_from(self.arguments.recent).unwrap_or(usize::MAX);
        let newest = match events::newest(api, &filter, recent).await {
            Ok(newest) => newest,
            Err(error) => return Ok(self.report.tell(Finding::problem(error.to_string()))?),
        };
        let events = newest.iter().map(|event| (&event.body, &event.place));
        let users = Users::of(events, &self.name, &delivery.settings);
        self.report.tell(users.finding())?;
        terminal::print(&users.to_string())?;
        // What properties are called does not depend on what is read.
        let mut delivery = delivery.clone();
        (delivery.settings.references, delivery.settings.products) = (References::Off, ProductsFrom::Event);
        let translator = Translator::new(self.name.clone(), delivery, None, api::objects(self.http.clone())?);
        let mut names = PropertyNames::default();
        for event in &newest {
            if let HistoryOutcome::Sent(event) = translator.translate(&event.body).await? {
                names.add(&event.json);
            }
        }
        self.report.tell_all(finding::property_names(&names).into_iter().collect())?;
        if let Some(path) = &self.arguments.csv {
            let name = path.display();
            match write(path, &users.csv()) {
                Ok(()) => say!("{} are in {name}.", count(users.customers(), "customer"))?,
                Err(error) => self.report.tell(Finding::problem(format!("--csv: {name}: {error}")))?,
            }
        }
        Ok(())
    }
}

/// The function.
impl Doctor {
    async fn check_url(&mut self, secrets: Vec<SigningSecret>) -> Result<(), Box<dyn Error>> {
        let Some(url) = &self.url else {
            let words = "the function itself: --url is not given; with --url https://…, a signed event is delivered that no project wants";
            return Ok(self.report.tell(Finding::skipped(words))?);
        };
        let Some(secret) = secrets.into_iter().next() else {
            return Ok(self
                .report
                .tell(Finding::skipped("the function itself: there is no signing secret to sign with"))?);
        };
        let endpoint = Endpoint::with_secret(url.clone(), secret)?;
        let Attempt { verdict, date, is_not_warm } = proof::attempt(&endpoint, EVENT_TYPE).await;
        let now = clock::now().cast_signed();
        self.report.tell(match verdict {
            Verdict::Proven => Finding::ok(format!(
                "{url} is the function, and knows the signing secret: it has answered `ignored` to an event that no project wants"
            )),
            Verdict::NotYet(why) => Finding::problem(format!(
                "{url} does not work: {why}; what was changed within the last five minutes, it may not know yet"
            )),
            Verdict::Failed(why) => Finding::problem(format!("{url} does not work: {why}")),
        })?;
        if is_not_warm {
            self.report.tell(webhook::not_warm(&self.name))?;
        }
        if date.is_some() {
            self.report.tell(clocks::check("the gateway's", date, now))?;
        }
        Ok(())
    }
}

/// Amplitude.
impl Doctor {
    async fn check_amplitude(&mut self) -> Result<(), Box<dyn Error>> {
        let Self { delivery: Some(delivery), report, http, .. } = self else {
            return Ok(self.report.tell(Finding::skipped(format!("the keys of Amplitude: {NO_PARAMETERS}")))?);
        };
        let region = delivery.settings.amplitude_region;
        let amplitude = match region {
            Region::Us => "Amplitude (US)",
            Region::Eu => "Amplitude (EU)",
        };
        let url = match import::url_given() {
            Ok(url) => url,
            Err(words) => return Ok(report.tell(Finding::problem(words))?),
        };
        let date = date_of(http, url.as_deref().unwrap_or(region.batch_url())).await;
        let client = Client::new(http.clone(), url);
        for destination in delivery.destinations() {
            let key = destination.key.parameter();
            let result = check_key(&client, destination, Instant::now() + LIMIT).await;
            let secret = Key::amplitude_secret(destination.key);
            let is_refused = result.is_err();
            report.tell(match result {
                Ok(()) => Finding::ok(format!("{amplitude} does not refuse the key in {key}")),
                Err(error @ DeliveryError::InvalidApiKey) => Finding::problem(format!("{key}: {error}")),
                Err(error) => Finding::problem(format!("{amplitude}, asked with {key}: {error}")),
            })?;
            let Some(secret_key) = secret.given() else {
                report.tell(Finding::skipped(format!(
                    "whether {key} is the project that you look at in Amplitude: {} is not set; it takes {}",
                    secret.variable, secret.meaning
                )))?;
                continue;
            };
            if is_refused {
                continue;
            }
            // An hour that is complete.
            let hour = clock::now().cast_signed() - LAG - HOUR;
            let export = Export::new(http.clone(), destination, secret_key);
            let checked = match &export {
                Ok(export) => export.check(hour).await,
                Err(words) => Err(words.clone()),
            };
            report.tell(match checked {
                Ok(()) => Finding::ok(format!("{key} and {} are of the same project", secret.variable)),
                Err(why) => Finding::problem(why),
            })?;
        }
        match date {
            Some((date, now)) => report.tell(clocks::check("Amplitude's", date, now))?,
            None => report.tell(Finding::skipped("Amplitude's clock: it does not answer"))?,
        }
        Ok(())
    }
}

/// What the clock of a server says, and this machine's, in Unix seconds; `None` where it does not answer.
async fn date_of(http: &Http, url: &str) -> Option<(Option<i64>, i64)> {
    // Nothing is asked for, and any answer has a date.
    let answer = http.get(url).timeout(LIMIT).send().await.ok()?;
    let date = answer.headers().get(DATE).and_then(|date| clock::parse_http_date(date.to_str().ok()?));
    Some((date, clock::now().cast_signed()))
}

/// For nobody else on this machine: customers are in it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    private_file::replace(path)?.write_all(text.as_bytes())
}
