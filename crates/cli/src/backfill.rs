//! `backfill`: imports events of the past from Stripe into Amplitude.

mod age;
mod cursor;
mod documents;
mod lock;
mod rejected;
mod report;
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
use stripe_amplitude::projects::project::AmplitudeConfig;
use stripe_amplitude::stripe::source_label::SourceLabel;

use self::age::{Lookup, check_listed, check_lookup};
use self::cursor::{Counts, Cursor, Job, Position};
use self::lock::Lock;
use self::rejected::Rejected;
use self::report::report;
use self::source::{Chunk, Item, Source};
use self::survey::Survey;
use crate::amplitude::import::{self, Import, ImportError, Wanted};
use crate::amplitude::known::{Known, Presence, SecretKeys, is_beyond_the_window};
use crate::exit::{Action, Exit, NoChange, Usage};
use crate::history::{HistoryOutcome, Translated, Translator};
use crate::interrupt::Interrupt;
use crate::stripe::api::{self, Api};
use crate::stripe::event_types;
use crate::stripe::events::Filter;
use crate::terminal::{self, count, wrap};
use crate::{clock, http, input, key, projects, stripe};

/// Send past events to Amplitude, as the function would have sent them
///
/// The events come from Stripe's list of events, which covers 30 days, or from a file. They get the same insert IDs and
/// device IDs as from a webhook, so Amplitude drops what it has received within seven days. Older events are first looked up
/// with Amplitude's Export API, which needs AMPLITUDE_SECRET_KEY. In Amplitude's charts, an event has the user properties
/// that its user has today.
///
/// STRIPE_SECRET_KEY is a key of the Stripe account. A restricted key needs the permission `Events`: Read. If a backfill
/// stops or is killed, run the same command again to continue. The exit code is 0 only if every event was sent or ignored.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo cli backfill --project shop --since 2026-11-01 --dry-run
  cargo cli backfill --project shop --since 2026-11-20 --undelivered
  cargo cli backfill --project shop --since 2026-11-01 --account acct_1…
  cargo cli backfill --project shop --projects projects.toml --from-file events.ndjson")]
pub(crate) struct Arguments {
    #[command(flatten)]
    choice: projects::Choice,
    /// Start time, in UTC: a day (2026-11-01), a time (2026-11-01T12:00:00Z) or Unix seconds
    #[arg(long, value_name = "TIME", value_parser = clock::parse_time, required_unless_present = "from_file")]
    since: Option<i64>,
    /// End time, exclusive [default: now]
    #[arg(long, value_name = "TIME", value_parser = clock::parse_time)]
    until: Option<i64>,
    /// A file of Stripe events, one after another, or of rejected events; - is standard input
    #[arg(long, value_name = "EVENTS.ndjson", conflicts_with_all = ["undelivered", "account"])]
    from_file: Option<PathBuf>,
    /// Only events whose delivery to at least one endpoint is pending or failed; Stripe does not say which endpoint
    #[arg(long)]
    undelivered: bool,
    /// The events of an account connected to the key's platform
    #[arg(long, value_name = "acct_…", value_parser = stripe::account)]
    account: Option<String>,
    /// The label of the account's signing secret, if the project has several; events carry it as `stripe_source`
    #[arg(long, value_name = "LABEL")]
    source: Option<SourceLabel>,
    /// Only count events by type, user IDs, revenue, and the users that Amplitude will bill; send nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Send events that are more than seven days old without looking them up in Amplitude
    #[arg(long)]
    assume_missing: bool,
    /// Do not count first, and do not ask
    #[arg(long)]
    yes: bool,
    /// Maximum requests to Stripe per second
    #[arg(long, value_name = "NUMBER", default_value_t = api::RATE, value_parser = clap::value_parser!(u32).range(1..=100))]
    rate: u32,
    /// Where to store the progress [default: stripe-amplitude-NAME.cursor.json]
    #[arg(long, value_name = "FILE")]
    cursor: Option<PathBuf>,
    /// Where to write rejected events, with the reason; they contain customer data [default:
    /// stripe-amplitude-NAME.rejected.ndjson]
    #[arg(long, value_name = "FILE")]
    rejected: Option<PathBuf>,
}

/// We do not send `$skip_user_properties_sync`: with it, an event has only the user properties sent along, and we send none,
/// so it would be missing in every segmented chart.
const USER_PROPERTIES: &str =
    "Amplitude gives each event its user's properties of today, not those of the day when it happened.";

const WITHOUT_DRY_RUN: &str = "Run without --dry-run to send; it asks first.";

const FROM_STRIPE: &str = "Stripe";

/// A file that begins with this many documents without an event is not a file of events.
const MAX_DOCUMENTS_WITHOUT_EVENT: usize = 100;

/// Succeeds only if every event is sent or ignored.
pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
    let now = clock::now().cast_signed();
    let project = arguments.choice.project.clone();
    let delivery = arguments.choice.delivery(arguments.source.as_ref()).await?;
    let file_of = |file: &Option<PathBuf>, kind: &str| {
        file.clone().unwrap_or_else(|| format!("stripe-amplitude-{project}.{kind}").into())
    };
    let rejected = file_of(&arguments.rejected, "rejected.ndjson");
    let cursor = file_of(&arguments.cursor, "cursor.json");
    arguments.check(&rejected, &cursor)?;

    let http = http::build()?;
    let amplitude = import::place(delivery.settings.amplitude_region)?;
    let api = match &arguments.from_file {
        None => Some(Api::new(http.clone(), key::STRIPE.required()?, arguments.account.clone(), arguments.rate)?),
        Some(_) => None,
    };
    let until = arguments.until.unwrap_or(if api.is_some() { now } else { i64::MAX });
    let job = arguments.job(&delivery, api.as_ref(), &amplitude);
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
        secret_keys: SecretKeys::given()?,
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
            "--undelivered includes events that are pending or failed at any webhook endpoint, so some may be in Amplitude; they are treated like any other event.",
        );
    }
    if !arguments.dry_run {
        backfill.prompt_for_secret_key()?;
    }
    let is_asked = !arguments.dry_run && !arguments.yes && !is_resumed;
    let mut question = None;
    if arguments.dry_run || is_asked {
        let Some(survey) = backfill.survey().await? else { return Ok(NoChange::Interrupted.end(Action::Sent)?) };
        terminal::print(&format!("{survey}\n"))?;
        if survey.is_empty() {
            return Ok(NoChange::NothingToSend.end(Action::Sent)?);
        }
        if arguments.dry_run {
            if let Err(why) = backfill.check_lookup() {
                note(&format!("Sending would fail: {why}"));
            }
            return Ok(NoChange::DryRun(WITHOUT_DRY_RUN).end(Action::Sent)?);
        }
        // If every event is unusable, they are written to the file of rejected events without asking.
        question = (survey.events() > 0).then(|| survey::question(&survey, &amplitude));
    }
    note(USER_PROPERTIES);
    if is_resumed {
        terminal::print("Resuming.\n")?;
    }
    if let Some(question) = question
        && let Err(why) = backfill.interrupt.confirmed(question).await?
    {
        return Ok(why.end(Action::Sent)?);
    }
    // The answer may have taken days.
    backfill.check_reach()?;
    backfill.check_lookup()?;
    let import = Import::new(http, backfill.interrupt.clone())?;
    backfill.send_all(import).await
}

impl Arguments {
    fn check(&self, rejected: &Path, cursor: &Path) -> Result<(), Usage> {
        // A file that is not there yet has a name only.
        let place = |file: &Path| file.canonicalize().or_else(|_| std::path::absolute(file)).ok();
        let is_same = |one: &Path, other: &Path| place(one).is_some_and(|one| place(other) == Some(one));
        if is_same(cursor, rejected) {
            let text = "rejected events would be written to the cursor's file, which is overwritten with each step; choose another file with --cursor";
            return Err(Usage(text.to_owned()));
        }
        let Some(file) = &self.from_file else { return Ok(()) };
        if is_same(file, rejected) {
            let text =
                "rejected events would be written to the file that is being read; choose another file with --rejected";
            return Err(Usage(text.to_owned()));
        }
        if input::is_standard_input(file) && !self.yes && !self.dry_run {
            let text = "--from-file - reads events from standard input, so backfill cannot ask; pass --yes";
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
            source: self.source.as_ref().map(ToString::to_string),
            to: to.to_owned(),
            keys: cursor::digest(keys),
        }
    }

    /// When the oldest event may have been created, if that matters.
    fn oldest(&self) -> Result<Option<i64>, Box<dyn Error>> {
        match &self.from_file {
            _ if self.since.is_some() || self.assume_missing => Ok(self.since),
            // Standard input can be read only once.
            Some(file) if input::is_standard_input(file) => {
                let text = "--from-file - needs --since, the time of the oldest event";
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

struct Backfill {
    translator: Arc<Translator>,
    source: Source,
    cursor: Cursor,
    /// By earlier runs.
    sent_before: u64,
    has_seen_an_event: bool,
    index: ExportIndex,
    rejected: Rejected,
    interrupt: Interrupt,
}

/// What Amplitude already has, from each project that events go to. Exports are loaded when the first event needs them.
struct ExportIndex {
    http: Http,
    secret_keys: SecretKeys,
    oldest: i64,
    /// The API key that events go to, if that is known beforehand.
    expected: Option<AmplitudeKey>,
    assume_missing: bool,
    /// By the API key.
    known: HashMap<AmplitudeKey, Known>,
}

impl ExportIndex {
    /// Whether Amplitude has an event that it would not recognize as a repeat.
    async fn has(
        &mut self,
        event: &Translated,
        translator: &Translator,
        progress: &ProgressBar,
    ) -> Result<Presence, String> {
        let now = clock::now().cast_signed();
        // Events with the same insert ID describe the same moment, so they have the same age.
        if self.assume_missing || !is_beyond_the_window(event.created, now) {
            return Ok(Presence::Absent);
        }
        let key = event.key;
        if !self.known.contains_key(&key) {
            let destination = translator.delivery.destination(event.livemode);
            let secret_key = self.secret_keys.of(key).map_err(|missing| {
                format!("some events are now more than seven days old and must be looked up in Amplitude: {missing}")
            })?;
            progress.println("Loading Amplitude's export, hour by hour; this may take a while.");
            // An event is uploaded after it was created.
            let uploaded = self.oldest..now;
            let reached =
                |reached| progress.set_message(format!(", Amplitude's export up to {}", clock::show(reached)));
            let known = Known::load(&self.http, destination, secret_key, uploaded, reached).await?;
            progress.set_message("");
            self.known.insert(key, known);
        }
        let known = self.known.get(&key);
        Ok(known.map_or(Presence::Absent, |known| known.look_up(&event.insert_id, event.created)))
    }
}

impl Backfill {
    /// Checks that Stripe still lists the remaining events.
    fn check_reach(&self) -> Result<(), String> {
        let Source::Stripe(_, Filter { created, .. }) = &self.source else { return Ok(()) };
        let start = match &self.cursor.progress.done {
            Some(Position::Place(place)) => place.created,
            _ => created.start,
        };
        check_listed(start, clock::now().cast_signed())
    }

    /// Checks that no event can count twice.
    fn check_lookup(&self) -> Result<(), String> {
        let now = clock::now().cast_signed();
        let ExportIndex { secret_keys, oldest, assume_missing, .. } = &self.index;
        let lookup = Lookup {
            oldest: *oldest,
            has_secret_key: !secret_keys.is_empty(),
            assume_missing: *assume_missing,
            has_stale_request: self.cursor.has_stale_request(now),
        };
        check_lookup(lookup, now)
    }

    /// Prompts at a terminal, if events must be looked up.
    fn prompt_for_secret_key(&mut self) -> Result<(), String> {
        let ExportIndex { secret_keys, oldest, assume_missing, expected, .. } = &mut self.index;
        let is_needed = !*assume_missing && is_beyond_the_window(*oldest, clock::now().cast_signed());
        if is_needed && std::io::stdin().is_terminal() {
            let is_enough = expected.map_or(!secret_keys.is_empty(), |key| secret_keys.of(key).is_ok());
            if !is_enough {
                secret_keys.prompt(expected.unwrap_or(AmplitudeKey::Main))?;
            }
        }
        self.check_lookup()
    }

    /// Counts the remaining events. `None` if interrupted.
    async fn survey(&mut self) -> Result<Option<Survey>, String> {
        let progress = progress_bar(self.source.length());
        let mut survey = Survey::default();
        let mut chunks = self.source.read(self.cursor.progress.done.clone(), &self.translator);
        // Without a key, the caller reports that sending would fail.
        let can_look = !self.index.secret_keys.is_empty();
        loop {
            let Some(chunk) = self.interrupt.or(chunks.next()).await else { return Ok(None) };
            let Some(chunk) = chunk else { break };
            let Chunk { items, reached } = chunk?;
            self.inspect(&items, &progress)?;
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
        // So that earlier runs do not distort the estimate.
        if let Some(done) = &self.cursor.progress.done {
            progress.set_position(self.source.reached(done));
            progress.reset_eta();
        }
        let stopped = self.send(&mut import, &progress).await;
        progress.finish_and_clear();
        let counts = self.cursor.progress.counts;
        if stopped.is_ok() {
            self.cursor.delete();
        }
        terminal::print(&report(counts, self.rejected.path()))?;
        match stopped {
            Ok(()) => Ok(Exit::of(counts.rejected == 0)),
            Err(ImportError::Interrupted) => {
                terminal::print("Stopped. Run the same command again to continue.\n")?;
                Ok(Exit::Failure)
            }
            Err(ImportError::Fatal(why) | ImportError::Refused(why)) => {
                Err(format!("{why}. Once fixed, run the same command again to continue").into())
            }
        }
    }

    /// Sends everything, request by request.
    async fn send(&mut self, import: &mut Import, progress: &ProgressBar) -> Result<(), ImportError> {
        let mut chunks = self.source.read(self.cursor.progress.done.clone(), &self.translator);
        let mut request: Vec<Item> = Vec::new();
        let mut limits = BatchLimits::default();
        let mut reached = 0;
        while let Some(chunk) = self.interrupt.or(chunks.next()).await.ok_or(ImportError::Interrupted)? {
            let chunk = chunk.and_then(|chunk| self.inspect(&chunk.items, progress).map(|()| chunk));
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(why) => {
                    // The events before it are fine.
                    self.settle(std::mem::take(&mut request), import, progress).await?;
                    return Err(ImportError::Fatal(why));
                }
            };
            for item in chunk.items {
                // Events that are not sent also stay in memory until the others are settled.
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

    /// Prints the translator's notes.
    ///
    /// # Errors
    /// A sentence, if the file is not a file of events.
    fn inspect(&mut self, items: &[Item], progress: &ProgressBar) -> Result<(), String> {
        for text in self.translator.take_notes() {
            progress.suspend(|| note(&text));
        }
        self.has_seen_an_event |= items.iter().any(|item| !matches!(item.outcome, HistoryOutcome::Unusable(_)));
        let Source::File(path, _) = &self.source else { return Ok(()) };
        if self.has_seen_an_event || items.len() < MAX_DOCUMENTS_WITHOUT_EVENT {
            return Ok(());
        }
        Err(format!(
            "the first {MAX_DOCUMENTS_WITHOUT_EVENT} JSON documents of {} contain no event; expected Stripe events, one after another, as `jq -c '.data[]'` extracts them from a list",
            input::name(path)
        ))
    }

    /// Sends the events of a request, and saves the progress.
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
            prefix = format!("{sent} sent, {rate:.0} per second, ");
        }
        let reads = self.translator.reads();
        if reads > 0 {
            let reads = count(usize::try_from(reads).unwrap_or(usize::MAX), "object");
            prefix.push_str(&format!("{reads} read, "));
        }
        progress.set_prefix(prefix);
    }
}

/// Shown on standard error if that is a terminal. Measures the processed part of the time range or of the file.
fn progress_bar(length: u64) -> ProgressBar {
    let percent = |state: &ProgressState, text: &mut dyn fmt::Write| {
        // The bar cannot report an error.
        let _ = write!(text, "{:.0} %", 100.0 * state.fraction());
    };
    let style = ProgressStyle::with_template("{bar:40} {part} done, {prefix}{eta} left{msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style.with_key("part", percent))
}
