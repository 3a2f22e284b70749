//! `reconcile`: what Stripe has of a day beside what Amplitude has of it.

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

use self::comparison::{Asked, Comparison};
use self::day::{AmplitudesDay, Expected, StripesDay};
use self::report::{Repair, Report};
use crate::amplitude::export::Export;
use crate::amplitude::import::{self, Import, ImportError, Wanted};
use crate::clock::DAY;
use crate::exit::{Action, Exit, Untouched, Usage};
use crate::history::{HistoryOutcome, Translated, Translator};
use crate::interrupt::Interrupt;
use crate::key::{self, Key};
use crate::stripe::api::{self, Api};
use crate::stripe::event_types;
use crate::stripe::events::{Filter, OldestFirst, REACH};
use crate::terminal::{self, count, wrap};
use crate::{clock, http, projects};

/// Compare a day in Stripe with the same day in Amplitude, event by event
///
/// What Stripe lists of the day (in UTC) is translated with today's settings, so that only what would be forwarded is
/// expected; what Amplitude has comes from its Export API, and is matched by insert ID. Sums are of the revenue of an event,
/// or else of its main amount. Nothing is changed, but by --repair, which sends what is missing.
///
/// STRIPE_SECRET_KEY has the key of the Stripe account; a restricted one needs the permission `Events`: Read.
/// AMPLITUDE_SECRET_KEY has the secret key of the Amplitude project, and AMPLITUDE_TEST_SECRET_KEY that of the project of
/// test-mode events, if they have their own.
///
/// The exit code is 1 if events are missing, counted more than once, unknown to Stripe, or have other figures than in Stripe.
/// It is 0 with what settings of another time explain, and with what Amplitude's export may not have yet; both are listed.
/// With --repair, it is 0 if all that was missing has arrived, and nothing else is wrong.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo cli reconcile --project shop --day 2026-11-20
  cargo cli reconcile --project shop --day 2026-11-20 --repair
  cargo cli reconcile --project shop --projects projects.toml --day 2026-11-20 --json | jq .differences")]
pub(crate) struct Arguments {
    #[command(flatten)]
    choice: projects::Choice,
    /// Which day, in UTC; Stripe's list goes back 30 days
    #[arg(long, value_name = "2026-11-20", value_parser = clock::parse_day)]
    day: i64,
    /// The events of an account that is connected to the key's platform
    #[arg(long, value_name = "acct_…")]
    account: Option<String>,
    /// The label of the account's signing secret, where the project has several: its events have it as `stripe_source`
    #[arg(long, value_name = "LABEL")]
    source: Option<String>,
    /// Send what is missing, after asking
    #[arg(long)]
    repair: bool,
    /// Do not ask
    #[arg(long, requires = "repair")]
    yes: bool,
    /// Print one JSON object, with all differences
    #[arg(long)]
    json: bool,
    /// Requests to Stripe in a second, at the most
    #[arg(long, value_name = "NUMBER", default_value_t = api::RATE, value_parser = clap::value_parser!(u32).range(1..=100))]
    rate: u32,
}

/// Succeeds only if nothing is wrong, or is any more.
pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
    let now = clock::now().cast_signed();
    if arguments.json && arguments.repair && !arguments.yes {
        let text = "the output of --json is one object, and has no limits for a question: say --yes to --repair";
        return Err(Usage(text.to_owned()).into());
    }
    let created = span(arguments.day, now)?;
    let date = clock::in_utc(arguments.day, "%Y-%m-%d");
    let delivery = arguments.choice.delivery(arguments.source.as_deref()).await?;
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
        return Ok(Untouched::Interrupted.end(Action::Sent)?);
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
        format!(
            "Send {events} to {amplitude}? What is in Amplitude cannot be taken back; what it has already, it drops."
        )
    };
    let untouched = match () {
        () if !arguments.repair => Some(None),
        () if repairable.is_empty() => Some(Some(Untouched::NothingToSend)),
        () if arguments.yes => None,
        () => {
            terminal::print("\n")?;
            reconciliation.interrupt.confirmed(question()).await?.err().map(Some)
        }
    };
    if let Some(Some(why)) = untouched
        && !arguments.json
    {
        // What was found decides the exit code.
        why.end(Action::Sent)?;
    }
    let is_repaired = untouched.is_none();
    if is_repaired {
        repair = reconciliation.repair(&repairable).await;
        report.repaired = Some(&repair);
        if !arguments.json {
            terminal::print(&format!("\n{}", report::repaired(&repair)))?;
        }
    }
    let all_sent = repair.results.values().all(Option::is_none) && repair.results.len() == repairable.len();
    let is_right = if is_repaired { all_sent && comparison.is_right_when_repaired() } else { comparison.is_right() };
    report.is_right = is_right;
    if arguments.json {
        terminal::print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    }
    Ok(Exit::of(is_right))
}

/// The time of a day, as far as it is over.
fn span(day: i64, now: i64) -> Result<Range<i64>, String> {
    if day > now {
        return Err(format!("--day is in the future: it is {} in UTC", clock::show(now)));
    }
    if day < now - REACH {
        let oldest = (now - REACH + DAY - 1).div_euclid(DAY) * DAY;
        return Err(format!(
            "Stripe's list goes back 30 days; the oldest day that can be compared as a whole is {}",
            clock::in_utc(oldest, "%Y-%m-%d")
        ));
    }
    Ok(day..(day + DAY).min(now))
}

/// What it takes to look at both sides.
struct Reconciliation {
    http: Http,
    api: Api,
    filter: Filter,
    translator: Translator,
    interrupt: Interrupt,
    progress: ProgressBar,
}

impl Reconciliation {
    /// Stripe first: what happens while we look is then in Amplitude at the most too much, and of another day. `None`
    /// where it is asked to stop before the end.
    async fn compare(&self, now: i64) -> Result<Option<Comparison>, String> {
        let reached = |reached| {
            let reads = match self.translator.reads() {
                0 => String::new(),
                reads => format!(", {} read", count(usize::try_from(reads).unwrap_or(usize::MAX), "object")),
            };
            self.progress.set_message(format!("Stripe's events, until {}{reads}", clock::show(reached)));
        };
        let stripe = StripesDay::read(&self.api, self.filter.clone(), &self.translator, reached);
        let Some(stripe) = self.interrupt.or(stripe).await else { return Ok(None) };
        let stripe = stripe?;
        for note in self.translator.take_notes() {
            self.progress.suspend(|| terminal::tell(&wrap("note: ", 6, &note)));
        }

        let livemode = !self.api.is_test();
        let delivery = &self.translator.delivery;
        let mut keys: BTreeSet<AmplitudeKey> = stripe.expected.values().map(|event| event.key).collect();
        // Where nothing is expected, there can be too much.
        keys.insert(delivery.destination(Some(livemode)).key);
        let mut amplitude = HashMap::new();
        for destination in delivery.destinations().filter(|destination| keys.contains(&destination.key)) {
            let day = self.read_export(destination, &stripe.expected, now);
            let Some(day) = self.interrupt.or(day).await else { return Ok(None) };
            amplitude.insert(destination.key, day?);
        }
        let asked = Asked {
            types: &delivery.settings.events,
            livemode,
            account: self.api.account(),
            source: self.translator.source.as_deref(),
        };
        Ok(Some(Comparison::of(&stripe, &amplitude, &asked, now)))
    }

    async fn read_export(
        &self,
        destination: &Destination,
        expected: &BTreeMap<String, Expected>,
        now: i64,
    ) -> Result<AmplitudesDay, String> {
        let secret_key = self.progress.suspend(|| Key::amplitude_secret(destination.key).required())?;
        let export = Export::new(self.http.clone(), destination, secret_key)?;
        // An event is uploaded after it has happened, and may be after days.
        let uploaded = self.filter.created.start..now;
        let reached =
            |reached| self.progress.set_message(format!("Amplitude's export, until {}", clock::show(reached)));
        day::read_export(&export, uploaded, self.filter.created.clone(), expected, reached).await
    }

    /// Sends these events: their Stripe IDs, with their insert IDs.
    async fn repair(&self, wanted: &BTreeMap<&str, &str>) -> Repair {
        let mut repair = Repair::default();
        let why = match self.send_all(wanted, &mut repair).await {
            Ok(()) => "Stripe does not list it any more".to_owned(),
            Err(ImportError::Interrupted) => "stopped; the same command goes on".to_owned(),
            Err(ImportError::Fatal(why) | ImportError::Refused(why)) => why,
        };
        for insert_id in wanted.values() {
            repair.results.entry((*insert_id).to_owned()).or_insert_with(|| Some(why.clone()));
        }
        repair
    }

    /// Reads Stripe's list once more, so that a day of any size fits into memory.
    async fn send_all(&self, wanted: &BTreeMap<&str, &str>, repair: &mut Repair) -> Result<(), ImportError> {
        let mut import = Import::new(self.http.clone(), self.interrupt.clone()).map_err(ImportError::Refused)?;
        let mut spans = OldestFirst::new(&self.api, self.filter.clone(), None);
        loop {
            let span = self.interrupt.or(spans.next()).await.ok_or(ImportError::Interrupted)?;
            let Some((events, _)) = span.map_err(|error| ImportError::Fatal(error.to_string()))? else { return Ok(()) };
            let mut by_key: HashMap<AmplitudeKey, Vec<Translated>> = HashMap::new();
            for event in events.iter().filter(|event| wanted.contains_key(event.place.id.as_str())) {
                // It was translated before, by the same settings.
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

/// Events in as many requests as it takes.
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
    fn a_day_is_one_that_stripe_still_lists() {
        let (now, today) = (1_795_608_000, 1_795_564_800);
        assert_eq!(span(today - DAY, now).unwrap(), today - DAY..today);
        assert_eq!(span(today, now).unwrap(), today..now);
        assert!(span(today + DAY, now).unwrap_err().contains("in the future: it is 2026-11-25 12:00:00"));
        assert!(span(today - 29 * DAY, now).is_ok());
        let error = span(today - 30 * DAY, now).unwrap_err();
        assert!(error.contains("the oldest day that can be compared as a whole is 2026-10-27"), "{error}");
    }
}
