//! `backfill`: what happened in Stripe before the webhook was there, or while it was not, into Amplitude.

mod cursor;
mod documents;
mod lock;
mod rejected;
mod source;
mod survey;

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fmt;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use reqwest::Client as Http;
use secrecy::ExposeSecret as _;
use stripe_amplitude::amplitude::AmplitudeKey;
use stripe_amplitude::amplitude::batch::{BatchDelivery, BatchLimits};
use stripe_amplitude::projects::parameters::AmplitudeConfig;

use self::cursor::{Counts, Cursor, Job, Position};
use self::lock::Lock;
use self::rejected::Rejected;
use self::source::{Chunk, Item, Source};
use self::survey::Survey;
use crate::amplitude::import::{self, Import, ImportError, Wanted};
use crate::amplitude::known::{Known, Presence, SecretKeys, is_beyond_the_window};
use crate::exit::{Action, Exit, Untouched, Usage};
use crate::history::{HistoryOutcome, Translated, Translator};
use crate::interrupt::Interrupt;
use crate::stripe::api::{self, Api};
use crate::stripe::event_types;
use crate::stripe::events::{Filter, REACH};
use crate::terminal::{self, count, wrap};
use crate::{clock, http, input, key, projects};

/// Send events of the past to Amplitude, as the function would have
///
/// They come from Stripe's list of events, which goes back 30 days, or from a file. Their insert IDs and device IDs are
/// those of a webhook, so that Amplitude drops what it has seen within seven days. Older ones are looked up in Amplitude
/// first, by its Export API: that takes AMPLITUDE_SECRET_KEY. In Amplitude's charts, an event has the user properties that
/// its user has today.
///
/// STRIPE_SECRET_KEY has the key of the Stripe account; a restricted one needs the permission `Events`: Read. After it
/// was stopped, or died, the same command goes on where it was. The exit code is 0 only if all events are sent.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo cli backfill --project shop --since 2026-11-01 --dry-run
  cargo cli backfill --project shop --since 2026-11-20 --undelivered
  cargo cli backfill --project shop --since 2026-11-01 --account acct_1…
  cargo cli backfill --project shop --projects projects.toml --from-file events.ndjson")]
pub(crate) struct Arguments {
    #[command(flatten)]
    choice: projects::Choice,
    /// From when on, in UTC: a day (2026-11-01), a time (2026-11-01T12:00:00Z) or Unix seconds
    #[arg(long, value_name = "TIME", value_parser = clock::parse_time, required_unless_present = "from_file")]
    since: Option<i64>,
    /// Until when, exclusive; now, where it is not said
    #[arg(long, value_name = "TIME", value_parser = clock::parse_time)]
    until: Option<i64>,
    /// A file of Stripe's events, one after the other, or of those that were rejected; - is standard input
    #[arg(long, value_name = "EVENTS.ndjson", conflicts_with_all = ["undelivered", "account"])]
    from_file: Option<PathBuf>,
    /// Only events whose delivery is pending or has failed, to one webhook endpoint at least: Stripe does not say which
    #[arg(long)]
    undelivered: bool,
    /// The events of an account that is connected to the key's platform
    #[arg(long, value_name = "acct_…")]
    account: Option<String>,
    /// The label of the account's signing secret, where the project has several: its events have it as `stripe_source`
    #[arg(long, value_name = "LABEL")]
    source: Option<String>,
    /// Only count: events by type, user IDs, revenue, and the users that Amplitude will bill; nothing is sent
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Send events of more than seven days ago without looking whether Amplitude has them
    #[arg(long)]
    assume_missing: bool,
    /// Neither count first nor ask
    #[arg(long)]
    yes: bool,
    /// Requests to Stripe in a second, at the most
    #[arg(long, value_name = "NUMBER", default_value_t = api::RATE, value_parser = clap::value_parser!(u32).range(1..=100))]
    rate: u32,
    /// Where to keep how far it is
    #[arg(long, value_name = "FILE")]
    cursor: Option<PathBuf>,
    /// Where to put events that cannot be sent, with the reason; customers' data is in them
    #[arg(long, value_name = "FILE")]
    rejected: Option<PathBuf>,
}

/// Without `$skip_user_properties_sync`: with it, an event has only the user properties that are sent with it, and we send
/// none, so that it would be missing in every segmented chart.
const USER_PROPERTIES: &str = "Amplitude gives each event the user properties that its user has today, not those of the day on which it happened.";

const WITHOUT_DRY_RUN: &str = "Without --dry-run, the question follows whether to.";

const FROM_STRIPE: &str = "Stripe";

/// So many documents without an event at the beginning of a file are no accident.
const MANY: usize = 100;

/// Succeeds only if every event is sent or ignored.
pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
    let now = clock::now().cast_signed();
    let project = arguments.choice.project.clone();
    let delivery = arguments.choice.delivery(arguments.source.as_deref()).await?;
    let file_of = |file: &Option<PathBuf>, kind: &str| {
        file.clone().unwrap_or_else(|| format!("stripe-amplitude-{project}.{kind}").into())
    };
    let rejected = file_of(&arguments.rejected, "rejected.ndjson");
    arguments.check(&rejected)?;

    let http = http::build()?;
    let amplitude = import::place(delivery.settings.amplitude_region)?;
    let api = match &arguments.from_file {
        None => Some(Api::new(http.clone(), key::STRIPE.required()?, arguments.account.clone(), arguments.rate)?),
        Some(_) => None,
    };
    let until = arguments.until.unwrap_or(if api.is_some() { now } else { i64::MAX });
    let job = arguments.job(&delivery, api.as_ref(), &amplitude);
    let cursor = file_of(&arguments.cursor, "cursor.json");
    // A dry run changes nothing.
    let _lock = (!arguments.dry_run).then(|| Lock::take(&cursor)).transpose()?;
    let (cursor, is_resumed) = Cursor::open(&cursor, job, until)?;
    let created = arguments.since.unwrap_or(i64::MIN)..cursor.progress.until;
    if created.is_empty() {
        return Err(Usage("--since is not before --until".to_owned()).into());
    }
    let livemode = api.as_ref().map(|api| !api.is_test());
    let index = ExportIndex {
        http: http.clone(),
        secret_keys: SecretKeys::given(),
        oldest: arguments.oldest()?.unwrap_or(now),
        expected: livemode.map(|livemode| delivery.destination(Some(livemode)).key),
        assume_missing: arguments.assume_missing,
        known: HashMap::new(),
    };
    let source = match (api, &arguments.from_file) {
        (Some(api), _) => {
            let types = event_types::of(&delivery.settings.events);
            Source::Stripe(Arc::new(api), Filter { types, created, undelivered: arguments.undelivered })
        }
        (None, file) => Source::File(file.clone().unwrap_or_default(), created),
    };
    let mut backfill = Backfill {
        index,
        rejected: Rejected::open(&rejected, is_resumed.then_some(cursor.progress.rejected_length))?,
        interrupt: Interrupt::listen(),
        translator: Arc::new(Translator::new(project, delivery, arguments.source.clone(), api::objects(http.clone())?)),
        source,
        sent_before: cursor.progress.counts.sent,
        has_seen_an_event: false,
        cursor,
    };
    backfill.check_reach()?;
    if arguments.undelivered {
        note(
            "--undelivered has what is pending or has failed at one webhook endpoint at least, whichever it was; so some of it may be in Amplitude, which is then as for any other event.",
        );
    }
    if !arguments.dry_run {
        backfill.ask_for_the_secret_key()?;
    }
    let is_asked = !arguments.dry_run && !arguments.yes && !is_resumed;
    let mut question = None;
    if arguments.dry_run || is_asked {
        let Some(survey) = backfill.survey().await? else { return Ok(Untouched::Interrupted.end(Action::Sent)?) };
        terminal::print(&format!("{survey}\n"))?;
        if arguments.dry_run {
            if let Err(why) = backfill.check_window() {
                note(&format!("It cannot be sent like this: {why}"));
            }
            return Ok(Untouched::OnlyLooked(WITHOUT_DRY_RUN).end(Action::Sent)?);
        }
        if survey.is_empty() {
            return Ok(Untouched::NothingToSend.end(Action::Sent)?);
        }
        // What cannot be sent is written down without a question.
        question = (survey.events() > 0).then(|| survey::question(&survey, &amplitude));
    }
    note(USER_PROPERTIES);
    if is_resumed {
        terminal::print("Going on where it stopped.\n")?;
    }
    if let Some(question) = question
        && let Err(why) = backfill.interrupt.confirmed(question).await?
    {
        return Ok(why.end(Action::Sent)?);
    }
    // Who asks may wait for an answer for days.
    backfill.check_reach()?;
    backfill.check_window()?;
    let import = Import::new(http, backfill.interrupt.clone())?;
    backfill.send_all(import).await
}

impl Arguments {
    fn check(&self, rejected: &Path) -> Result<(), Usage> {
        let Some(file) = &self.from_file else { return Ok(()) };
        let is_same = |one: &Path, other: &Path| {
            one.canonicalize().ok().is_some_and(|one| other.canonicalize().is_ok_and(|other| one == other))
        };
        if is_same(file, rejected) {
            let text = "what cannot be sent would go into the file that is read; choose another one with --rejected";
            return Err(Usage(text.to_owned()));
        }
        if input::is_standard_input(file) && !self.yes && !self.dry_run {
            let text = "with --from-file -, standard input has the events, so nobody can be asked: say --yes";
            return Err(Usage(text.to_owned()));
        }
        Ok(())
    }

    fn job(&self, delivery: &AmplitudeConfig, api: Option<&Api>, to: &str) -> Job {
        let key_of = |livemode| delivery.destination(Some(livemode)).api_key.expose_secret().as_bytes();
        let keys = [key_of(true), key_of(false), api.map_or(&b""[..], |api| api.key().expose_secret().as_bytes())];
        Job {
            project: self.choice.project.to_string(),
            from: self.from_file.as_deref().map_or_else(|| FROM_STRIPE.to_owned(), input::name),
            since: self.since,
            until: self.until,
            account: self.account.clone(),
            undelivered: self.undelivered,
            source: self.source.clone(),
            to: to.to_owned(),
            keys: cursor::digest(keys),
        }
    }

    /// When the oldest of the events may have happened, where that matters.
    fn oldest(&self) -> Result<Option<i64>, Box<dyn Error>> {
        match &self.from_file {
            _ if self.since.is_some() || self.assume_missing => Ok(self.since),
            // It can be read only once.
            Some(file) if input::is_standard_input(file) => {
                let text = "with --from-file -, say --since: when the oldest of the events happened";
                Err(Usage(text.to_owned()).into())
            }
            Some(file) => Ok(source::oldest(file)?),
            None => Ok(None),
        }
    }
}

fn note(text: &str) {
    terminal::tell(&wrap("note: ", 6, text));
}

/// A backfill on its way.
struct Backfill {
    translator: Arc<Translator>,
    source: Source,
    cursor: Cursor,
    /// In the runs before this one.
    sent_before: u64,
    has_seen_an_event: bool,
    index: ExportIndex,
    rejected: Rejected,
    interrupt: Interrupt,
}

/// What Amplitude has already, read when the first event needs it, from each of the projects that events go to.
struct ExportIndex {
    http: Http,
    secret_keys: SecretKeys,
    oldest: i64,
    /// The API key that events go to, where that is known beforehand.
    expected: Option<AmplitudeKey>,
    assume_missing: bool,
    /// By the API key.
    known: HashMap<AmplitudeKey, Known>,
}

impl ExportIndex {
    /// Whether Amplitude has an event, where its own rule does not reach.
    async fn has(
        &mut self,
        event: &Translated,
        translator: &Translator,
        progress: &ProgressBar,
    ) -> Result<Presence, String> {
        let now = clock::now().cast_signed();
        // Events that share an insert ID tell of the same moment, so that the age of one is that of the others.
        if self.assume_missing || !is_beyond_the_window(event.created, now) {
            return Ok(Presence::Absent);
        }
        let key = event.key;
        if !self.known.contains_key(&key) {
            let destination = translator.delivery.destination(event.livemode);
            let secret_key = self.secret_keys.of(key).map_err(|missing| {
                format!(
                    "some of it is more than seven days old by now, and has to be looked up in Amplitude: {missing}"
                )
            })?;
            progress.println("Asking Amplitude what it has, hour by hour; this may take a while.");
            // An event is uploaded after it has happened.
            let uploaded = self.oldest..now;
            let reached =
                |reached| progress.set_message(format!(", Amplitude's export is at {}", clock::show(reached)));
            let known = Known::load(&self.http, destination, secret_key, uploaded, reached).await?;
            progress.set_message("");
            self.known.insert(key, known);
        }
        let known = self.known.get(&key);
        Ok(known.map_or(Presence::Absent, |known| known.look_up(&event.insert_id, event.created)))
    }
}

impl Backfill {
    /// Whether Stripe still lists what is left to do.
    fn check_reach(&self) -> Result<(), String> {
        let Source::Stripe(_, Filter { created, .. }) = &self.source else { return Ok(()) };
        let start = match &self.cursor.progress.done {
            Some(Position::Place(place)) => place.created,
            _ => created.start,
        };
        let oldest = clock::now().cast_signed() - REACH;
        if start < oldest {
            let oldest = clock::show(oldest);
            return Err(format!("Stripe's list goes back 30 days, to {oldest}; what is older has to come from a file"));
        }
        Ok(())
    }

    /// Whether nothing would count twice.
    fn check_window(&self) -> Result<(), String> {
        let now = clock::now().cast_signed();
        let is_looked_up = !self.index.assume_missing && !self.index.secret_keys.is_empty();
        if !is_looked_up && self.cursor.is_in_doubt(now) {
            return Err(
                "the run before died more than seven days ago with a request on its way, which Amplitude may have and would not drop any more: set AMPLITUDE_SECRET_KEY, without --assume-missing, and each event is looked up before it is sent".to_owned(),
            );
        }
        if !is_looked_up && !self.index.assume_missing && is_beyond_the_window(self.index.oldest, now) {
            return Err(
                "some of it is more than seven days old, so that Amplitude would count again what it has: set AMPLITUDE_SECRET_KEY, and each is looked up before it is sent; or say --assume-missing, if you know that Amplitude has none of them".to_owned(),
            );
        }
        Ok(())
    }

    /// Of whoever sits at the terminal, where events have to be looked up.
    fn ask_for_the_secret_key(&mut self) -> Result<(), String> {
        let ExportIndex { secret_keys, oldest, assume_missing, expected, .. } = &mut self.index;
        let is_needed = !*assume_missing && is_beyond_the_window(*oldest, clock::now().cast_signed());
        if is_needed && std::io::stdin().is_terminal() {
            let is_enough = expected.map_or(!secret_keys.is_empty(), |key| secret_keys.of(key).is_ok());
            if !is_enough {
                secret_keys.ask(expected.unwrap_or(AmplitudeKey::Main))?;
            }
        }
        self.check_window()
    }

    /// Counts what is left to do. `None` where it is asked to stop before the end.
    async fn survey(&mut self) -> Result<Option<Survey>, String> {
        let progress = progress_bar(self.source.length());
        let mut survey = Survey::default();
        let mut chunks = self.source.read(self.cursor.progress.done.clone(), &self.translator);
        // Without a key, it is only said that it cannot be sent.
        let can_look = !self.index.secret_keys.is_empty();
        loop {
            let Some(chunk) = self.interrupt.or(chunks.next()).await else { return Ok(None) };
            let Some(chunk) = chunk else { break };
            let Chunk { items, reached } = chunk?;
            self.look_at(&items, &progress)?;
            for Item { outcome, .. } in &items {
                let presence = match outcome {
                    HistoryOutcome::Sent(event) if can_look => {
                        let has = self.index.has(event, &self.translator, &progress);
                        let Some(has) = self.interrupt.or(has).await else { return Ok(None) };
                        has?
                    }
                    _ => Presence::Absent,
                };
                survey.add(outcome, presence);
            }
            self.show(&progress, reached);
        }
        progress.finish_and_clear();
        Ok(Some(survey))
    }

    async fn send_all(mut self, mut import: Import) -> Result<Exit, Box<dyn Error>> {
        let progress = progress_bar(self.source.length());
        // What was done before takes no time now.
        if let Some(done) = &self.cursor.progress.done {
            progress.set_position(self.source.reached(done));
            progress.reset_eta();
        }
        let stopped = self.send(&mut import, &progress).await;
        progress.finish_and_clear();
        let Counts { sent, known, ignored, rejected, of_another_time, not_ingested } = self.cursor.progress.counts;
        if stopped.is_ok() {
            self.cursor.delete();
        }
        let mut report = format!("{sent} sent, {ignored} ignored by the settings, {rejected} rejected");
        for (number, what) in [(known, "in Amplitude already"), (of_another_time, "of another time")] {
            if number > 0 {
                report.push_str(&format!(", {number} {what}"));
            }
        }
        report.push_str(".\n");
        if let Some(words) = import::not_ingested(not_ingested) {
            report.push_str(&wrap("", 0, &words));
        }
        if rejected > 0 {
            let place = self.rejected.path().display();
            report.push_str(&wrap(
                "",
                0,
                &format!(
                    "Those that were rejected are in {place}, each with the reason. When that is fixed, --from-file takes them from there."
                ),
            ));
        }
        terminal::print(&report)?;
        match stopped {
            Ok(()) => Ok(Exit::of(rejected == 0)),
            Err(ImportError::Interrupted) => {
                terminal::print("ImportError. The same command goes on from here.\n")?;
                Ok(Exit::Failure)
            }
            Err(ImportError::Fatal(why) | ImportError::Refused(why)) => {
                Err(format!("{why}. When that is fixed, the same command goes on from here").into())
            }
        }
    }

    /// Request by request, until all is done with.
    async fn send(&mut self, import: &mut Import, progress: &ProgressBar) -> Result<(), ImportError> {
        let mut chunks = self.source.read(self.cursor.progress.done.clone(), &self.translator);
        let mut request: Vec<Item> = Vec::new();
        let mut limits = BatchLimits::default();
        let mut reached = 0;
        while let Some(chunk) = self.interrupt.or(chunks.next()).await.ok_or(ImportError::Interrupted)? {
            let chunk = chunk.and_then(|chunk| self.look_at(&chunk.items, progress).map(|()| chunk));
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(why) => {
                    // What came before it is good.
                    self.settle(std::mem::take(&mut request), import, progress).await?;
                    return Err(ImportError::Fatal(why));
                }
            };
            for item in chunk.items {
                // What is not sent is kept all the same until the others are.
                let bytes = if let HistoryOutcome::Sent(event) = &item.outcome {
                    event.json.get().len()
                } else {
                    item.body.len()
                };
                if !limits.try_add(bytes) {
                    self.settle(std::mem::take(&mut request), import, progress).await?;
                    self.show(progress, reached);
                    limits = BatchLimits::default();
                    limits.try_add(bytes);
                }
                request.push(item);
            }
            reached = chunk.reached;
        }
        self.settle(request, import, progress).await
    }

    /// Tells what there is to tell of some events.
    ///
    /// # Errors
    /// A sentence, where what is read is no file of events.
    fn look_at(&mut self, items: &[Item], progress: &ProgressBar) -> Result<(), String> {
        for text in self.translator.take_notes() {
            progress.suspend(|| note(&text));
        }
        self.has_seen_an_event |= items.iter().any(|item| !matches!(item.outcome, HistoryOutcome::Unusable(_)));
        let Source::File(path, _) = &self.source else { return Ok(()) };
        if self.has_seen_an_event || items.len() < MANY {
            return Ok(());
        }
        Err(format!(
            "the first {MANY} JSON documents of {} hold no event: it takes events of Stripe's, one after the other, as `jq -c '.data[]'` writes them of a list",
            input::name(path)
        ))
    }

    /// Brings the events of a request to their end, and remembers that.
    async fn settle(
        &mut self,
        items: Vec<Item>,
        import: &mut Import,
        progress: &ProgressBar,
    ) -> Result<(), ImportError> {
        let Some(last) = items.last() else { return Ok(()) };
        let mut done = last.position.clone();
        if let Position::Line { digest, .. } = &mut done {
            *digest = Some(source::digest_of(&last.body));
        }
        let mut counts = self.cursor.progress.counts;
        let mut wanted: BTreeMap<AmplitudeKey, Vec<(&Item, &Translated)>> = BTreeMap::new();
        let mut rejected = Vec::new();
        for item in &items {
            match &item.outcome {
                HistoryOutcome::Ignored(..) => counts.ignored += 1,
                HistoryOutcome::OfAnotherTime => counts.of_another_time += 1,
                HistoryOutcome::Unusable(reason) => rejected.push((item, reason.clone())),
                HistoryOutcome::Sent(event) => {
                    let has = self.index.has(event, &self.translator, progress);
                    let has = self.interrupt.or(has).await.ok_or(ImportError::Interrupted)?;
                    match has.map_err(ImportError::Fatal)? {
                        Presence::There => counts.known += 1,
                        Presence::Absent => wanted.entry(event.key).or_default().push((item, event)),
                        Presence::Unknown(why) => {
                            return Err(ImportError::Fatal(format!("{}: {why}", event.insert_id)));
                        }
                    }
                }
            }
        }
        for destination in self.translator.delivery.destinations() {
            let Some(events) = wanted.remove(&destination.key) else { continue };
            let request: Vec<_> =
                events.iter().map(|(_, event)| Wanted { json: &event.json, device_id: &event.device_id }).collect();
            import.wait(&request).await?;
            let in_flight_since = self.cursor.progress.in_flight_since;
            self.cursor.save_in_flight(clock::now().cast_signed()).map_err(ImportError::Fatal)?;
            let results = import.send(&request, destination).await;
            if let Err(ImportError::Refused(_)) = &results {
                self.cursor.save_refused(in_flight_since).map_err(ImportError::Fatal)?;
            }
            let BatchDelivery { results, not_ingested } = results?;
            counts.not_ingested += not_ingested;
            for ((item, _), result) in events.into_iter().zip(results) {
                match result {
                    Ok(()) => counts.sent += 1,
                    Err(error) => rejected.push((item, error.to_string())),
                }
            }
        }
        for (item, reason) in &rejected {
            let reason = match &item.position {
                Position::Line { line, .. } => format!("line {line}: {reason}"),
                Position::Place(_) => reason.clone(),
            };
            self.rejected.add(&reason, &item.body).map_err(ImportError::Fatal)?;
            counts.rejected += 1;
        }
        if !rejected.is_empty() {
            self.rejected.sync().map_err(ImportError::Fatal)?;
        }
        let state = &mut self.cursor.progress;
        (state.counts, state.done, state.rejected_length) = (counts, Some(done), self.rejected.length());
        self.cursor.save_done().map_err(ImportError::Fatal)
    }

    fn show(&self, progress: &ProgressBar, reached: u64) {
        progress.set_position(reached);
        let Counts { sent, .. } = self.cursor.progress.counts;
        let mut prefix = String::new();
        if sent > self.sent_before {
            let rate = (sent - self.sent_before) as f64 / progress.elapsed().as_secs_f64().max(0.001);
            prefix = format!("{sent} sent, {rate:.0} a second, ");
        }
        let reads = self.translator.reads();
        if reads > 0 {
            let reads = count(usize::try_from(reads).unwrap_or(usize::MAX), "object");
            prefix.push_str(&format!("{reads} read, "));
        }
        progress.set_prefix(prefix);
    }
}

/// On standard error, where it is a terminal. It measures the time or the file that is behind.
fn progress_bar(length: u64) -> ProgressBar {
    let percent = |state: &ProgressState, text: &mut dyn fmt::Write| {
        // The bar has nowhere to tell an error to.
        let _ = write!(text, "{:.0} %", 100.0 * state.fraction());
    };
    let style = ProgressStyle::with_template("{bar:40} {part} done, {prefix}{eta} left{msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style.with_key("part", percent))
}
