//! `reconcile`: compares a day in Stripe with the same day in Amplitude.

mod amount;
mod comparison;
mod day;
mod report;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::ops::Range;

use indicatif::ProgressBar;
use reqwest::Client as Http;
use stripe_amplitude::amplitude::batch::{BatchDelivery, BatchLimits};
use stripe_amplitude::amplitude::{AmplitudeKey, Destination};
use stripe_amplitude::stripe::source_label::SourceLabel;

use self::comparison::{Comparison, Scope};
use self::day::{AmplitudeDay, Expected, StripeDay};
use self::report::{Repair, Report};
use crate::amplitude::export::Export;
use crate::amplitude::import::{self, Import, ImportError, Wanted};
use crate::clock::DAY;
use crate::exit::{Action, Exit, NoChange, Usage};
use crate::history::{HistoryOutcome, Translated, Translator};
use crate::interrupt::Interrupt;
use crate::key::{self, Key};
use crate::stripe::api::{self, Api};
use crate::stripe::event_types;
use crate::stripe::events::{Filter, OldestFirst, REACH};
use crate::terminal::{self, count, wrap};
use crate::{clock, http, projects, stripe};

/// Compare a day in Stripe with the same day in Amplitude, event by event
///
/// Stripe's events of the day (in UTC) are translated with today's settings, so only events that would be forwarded are
/// expected. Amplitude's events come from its Export API and are matched by insert ID. Sums use an event's revenue, or its
/// main amount if it has none. Only --repair changes anything: it sends missing events.
///
/// STRIPE_SECRET_KEY is a key of the Stripe account. A restricted key needs the permission `Events`: Read.
/// AMPLITUDE_SECRET_KEY is the secret key of the Amplitude project, and AMPLITUDE_TEST_SECRET_KEY that of a separate project
/// for test-mode events.
///
/// The exit code is 1 if events are missing, counted more than once, unknown to Stripe, or have other amounts than in Stripe.
/// Differences that earlier settings explain, and events too recent for Amplitude's export, are listed but do not count.
/// With --repair, the exit code is 0 if all missing events were sent and nothing else is wrong.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo cli reconcile --project shop --day 2026-11-20
  cargo cli reconcile --project shop --day 2026-11-20 --repair
  cargo cli reconcile --project shop --projects projects.toml --day 2026-11-20 --json | jq .differences")]
pub(crate) struct Arguments {
    #[command(flatten)]
    choice: projects::Choice,
    /// The day, in UTC, within the last 30 days
    #[arg(long, value_name = "2026-11-20", value_parser = clock::parse_day)]
    day: i64,
    /// The events of an account connected to the key's platform
    #[arg(long, value_name = "acct_…", value_parser = stripe::account)]
    account: Option<String>,
    /// The label of the account's signing secret, if the project has several; events carry it as `stripe_source`
    #[arg(long, value_name = "LABEL")]
    source: Option<SourceLabel>,
    /// Send missing events, after asking
    #[arg(long)]
    repair: bool,
    /// Do not ask
    #[arg(long, requires = "repair")]
    yes: bool,
    /// Print all differences as one JSON object
    #[arg(long)]
    json: bool,
    /// Maximum requests to Stripe per second
    #[arg(long, value_name = "NUMBER", default_value_t = api::RATE, value_parser = clap::value_parser!(u32).range(1..=100))]
    rate: u32,
}

/// Succeeds only if nothing is wrong, if need be after the repair.
pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
    let now = clock::now().cast_signed();
    if arguments.json && arguments.repair && !arguments.yes {
        let text = "cannot prompt with --json; pass --yes";
        return Err(Usage(text.to_owned()).into());
    }
    let created = span(arguments.day, now)?;
    let date = clock::in_utc(arguments.day, "%Y-%m-%d");
    let delivery = arguments.choice.delivery(arguments.source.as_ref()).await?;
    let amplitude = import::place(delivery.settings.amplitude_region)?;
    let http = http::build()?;
    let project = arguments.choice.project.clone();
    let reconciliation = Reconciliation {
        api: Api::new(http.clone(), key::STRIPE.required()?, arguments.account.clone(), arguments.rate)?,
        filter: Filter { types: event_types::of(&delivery.settings.events), created, undelivered: false },
        translator: Translator::new(project.clone(), delivery, arguments.source.clone(), api::objects(http.clone())?),
        interrupt: Interrupt::listen(),
        progress: ProgressBar::new_spinner(),
        http,
    };
    let Some(comparison) = reconciliation.compare(now).await? else {
        reconciliation.progress.finish_and_clear();
        return Ok(NoChange::Interrupted.end(Action::Sent)?);
    };
    reconciliation.progress.finish_and_clear();

    let mut report = Report {
        project: project.as_str(),
        date: &date,
        amplitude: &amplitude,
        comparison: &comparison,
        is_right: comparison.is_right(),
        repaired: None,
    };
    if !arguments.json {
        terminal::print(&report.to_string())?;
    }
    let repairable = comparison.repairable();
    let mut repair = Repair::default();
    let question = || {
        let events = count(repairable.len(), "event");
        format!("Send {events} to {amplitude}? This cannot be undone; Amplitude drops repeats.")
    };
    let no_repair = match () {
        () if !arguments.repair => Some(None),
        () if repairable.is_empty() => Some(Some(NoChange::NothingToSend)),
        () if arguments.yes => None,
        () => {
            terminal::print("\n")?;
            reconciliation.interrupt.confirmed(question()).await?.err().map(Some)
        }
    };
    if let Some(Some(why)) = no_repair
        && !arguments.json
    {
        // The comparison decides the exit code.
        why.end(Action::Sent)?;
    }
    let is_repaired = no_repair.is_none();
    if is_repaired {
        repair = reconciliation.repair(&repairable).await;
        report.repaired = Some(&repair);
        if !arguments.json {
            terminal::print(&format!("\n{}", report::repaired(&repair)))?;
        }
    }
    let all_sent = repair.results.values().all(Option::is_none) && repair.results.len() == repairable.len();
    let is_right = if is_repaired { all_sent && comparison.is_right_after_repair() } else { comparison.is_right() };
    report.is_right = is_right;
    if arguments.json {
        terminal::print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    }
    Ok(Exit::of(is_right))
}

/// The time range of a day, up to now.
fn span(day: i64, now: i64) -> Result<Range<i64>, String> {
    if day > now {
        return Err(format!("--day is in the future: the time is {} (UTC)", clock::show(now)));
    }
    if day < now - REACH {
        let oldest = (now - REACH + DAY - 1).div_euclid(DAY) * DAY;
        return Err(format!(
            "Stripe lists events of the last 30 days only; the oldest complete day is {}",
            clock::in_utc(oldest, "%Y-%m-%d")
        ));
    }
    Ok(day..(day + DAY).min(now))
}

/// Access to both sides.
struct Reconciliation {
    http: Http,
    api: Api,
    filter: Filter,
    translator: Translator,
    interrupt: Interrupt,
    progress: ProgressBar,
}

impl Reconciliation {
    /// Reads Stripe first: events that arrive meanwhile can then only be additional in Amplitude, and on another day. `None`
    /// if interrupted.
    async fn compare(&self, now: i64) -> Result<Option<Comparison>, String> {
        let reached = |reached| {
            let reads = match self.translator.reads() {
                0 => String::new(),
                reads => format!(", {} read", count(usize::try_from(reads).unwrap_or(usize::MAX), "object")),
            };
            self.progress.set_message(format!("Stripe's events up to {}{reads}", clock::show(reached)));
        };
        let stripe = StripeDay::read(&self.api, self.filter.clone(), &self.translator, reached);
        let Some(stripe) = self.interrupt.or(stripe).await else { return Ok(None) };
        let stripe = stripe?;
        for note in self.translator.take_notes() {
            self.progress.suspend(|| terminal::tell(&wrap("note: ", 6, &note)));
        }

        let livemode = !self.api.is_test();
        let delivery = &self.translator.delivery;
        let mut keys: BTreeSet<AmplitudeKey> = stripe.expected.values().map(|event| event.key).collect();
        // Even if nothing is expected, Amplitude may have events.
        keys.insert(delivery.destination(Some(livemode)).key);
        let mut amplitude = HashMap::new();
        for destination in delivery.destinations().filter(|destination| keys.contains(&destination.key)) {
            let day = self.read_export(destination, &stripe.expected, now);
            let Some(day) = self.interrupt.or(day).await else { return Ok(None) };
            amplitude.insert(destination.key, day?);
        }
        let scope = Scope {
            types: &delivery.settings.events,
            livemode,
            account: self.api.account(),
            source: self.translator.source.as_ref().map(SourceLabel::as_str),
        };
        Ok(Some(Comparison::of(&stripe, &amplitude, &scope, now)))
    }

    async fn read_export(
        &self,
        destination: &Destination,
        expected: &BTreeMap<String, Expected>,
        now: i64,
    ) -> Result<AmplitudeDay, String> {
        let secret_key = self.progress.suspend(|| Key::amplitude_secret(destination.key).required())?;
        let export = Export::new(self.http.clone(), destination, secret_key)?;
        // An event is uploaded after it was created, maybe days later.
        let uploaded = self.filter.created.start..now;
        let reached = |reached| self.progress.set_message(format!("Amplitude's export up to {}", clock::show(reached)));
        day::read_export(&export, uploaded, self.filter.created.clone(), expected, reached).await
    }

    /// Sends events, given by their Stripe IDs with their insert IDs.
    async fn repair(&self, wanted: &BTreeMap<&str, &str>) -> Repair {
        let mut repair = Repair::default();
        let why = match self.send_all(wanted, &mut repair).await {
            Ok(()) => "Stripe no longer lists it".to_owned(),
            Err(ImportError::Interrupted) => "stopped; run the same command again".to_owned(),
            Err(ImportError::Fatal(why) | ImportError::Refused(why)) => why,
        };
        for insert_id in wanted.values() {
            repair.results.entry((*insert_id).to_owned()).or_insert_with(|| Some(why.clone()));
        }
        repair
    }

    /// Reads Stripe's list again, to bound memory for a day of any size.
    async fn send_all(&self, wanted: &BTreeMap<&str, &str>, repair: &mut Repair) -> Result<(), ImportError> {
        let mut import = Import::new(self.http.clone(), self.interrupt.clone()).map_err(ImportError::Refused)?;
        let mut spans = OldestFirst::new(&self.api, self.filter.clone(), None);
        loop {
            let span = self.interrupt.or(spans.next()).await.ok_or(ImportError::Interrupted)?;
            let Some((events, _)) = span.map_err(|error| ImportError::Fatal(error.to_string()))? else { return Ok(()) };
            let mut by_key: HashMap<AmplitudeKey, Vec<Translated>> = HashMap::new();
            for event in events.iter().filter(|event| wanted.contains_key(event.place.id.as_str())) {
                // Translated before with the same settings.
                let outcome = self.translator.translate(&event.body).await.map_err(ImportError::Fatal)?;
                if let HistoryOutcome::Sent(event) = outcome {
                    by_key.entry(event.key).or_default().push(*event);
                }
            }
            for destination in self.translator.delivery.destinations() {
                let Some(events) = by_key.remove(&destination.key) else { continue };
                for request in requests(&events) {
                    let bodies = request.iter().map(|event| Wanted { json: &event.json, device_id: &event.device_id });
                    let bodies: Vec<_> = bodies.collect();
                    import.wait(&bodies).await?;
                    let BatchDelivery { results, not_ingested } = import.send(&bodies, destination).await?;
                    repair.not_ingested += not_ingested;
                    let errors = results.into_iter().map(|result| result.err().map(|error| error.to_string()));
                    let insert_ids = request.iter().map(|event| event.insert_id.clone());
                    repair.results.extend(insert_ids.zip(errors));
                }
            }
        }
    }
}

/// Splits events into requests.
fn requests(events: &[Translated]) -> Vec<Vec<&Translated>> {
    let mut requests = vec![Vec::new()];
    let mut limits = BatchLimits::default();
    for event in events {
        let bytes = event.json.get().len();
        if !limits.try_add(bytes) {
            limits = BatchLimits::default();
            limits.try_add(bytes);
            requests.push(Vec::new());
        }
        if let Some(request) = requests.last_mut() {
            request.push(event);
        }
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn day_must_be_listed_by_stripe() {
        let (now, today) = (1_795_608_000, 1_795_564_800);
        assert_eq!(span(today - DAY, now).unwrap(), today - DAY..today);
        assert_eq!(span(today, now).unwrap(), today..now);
        assert!(span(today + DAY, now).unwrap_err().contains("in the future: the time is 2026-11-25 12:00:00"));
        assert!(span(today - 29 * DAY, now).is_ok());
        let error = span(today - 30 * DAY, now).unwrap_err();
        assert!(error.contains("the oldest complete day is 2026-10-27"), "{error}");
    }
}
