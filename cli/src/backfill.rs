//! `backfill`: what happened in Stripe before the webhook was there, or while it was not, into Amplitude.

mod cursor;
mod rejected;
mod source;
mod survey;

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use reqwest::Client as Http;

use self::cursor::{Counts, Cursor, Job, Position};
use self::rejected::Rejected;
use self::source::{Chunk, Item, Source};
use self::survey::Survey;
use crate::amplitude::import::{self, Import, Room, Stopped, Wanted};
use crate::amplitude::known::{Known, SecretKeys, is_beyond_the_window};
use crate::history::{Fate, Translated, Translator};
use crate::interrupt::Interrupt;
use crate::stripe::api::{self, Api};
use crate::stripe::event_types;
use crate::stripe::events::{Filter, REACH};
use crate::terminal::{self, confirmed, wrap};
use crate::{clock, http, input, key, projects};

/// Send events of the past to Amplitude, as the function would have
///
/// They come from Stripe's list of events, which goes back 30 days, or from a file. Their insert IDs and device IDs are
/// those of a webhook, so that Amplitude drops what it has seen within seven days. Older ones are looked up in Amplitude
/// first, by its Export API: that takes AMPLITUDE_SECRET_KEY. User properties are left as they are today.
///
/// STRIPE_SECRET_KEY has the key of the Stripe account; a restricted one needs the permission `Events`: Read. After it
/// was stopped, or died, the same command goes on where it was. The exit code is 0 only if all events are sent.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo cli-aws backfill --project shop --since 2026-11-01 --dry-run
  cargo cli-aws backfill --project shop --since 2026-11-20 --undelivered
  cargo cli-aws backfill --project shop --since 2026-11-01 --account acct_1…
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
    /// A file with an event of Stripe's in each line, or of those that were rejected; - is standard input
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
    /// Count first: events by type, user IDs, revenue, and the users that Amplitude will bill; then ask
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Send events of more than seven days ago without looking whether Amplitude has them
    #[arg(long)]
    assume_missing: bool,
    /// Do not ask
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

const FROM_STRIPE: &str = "Stripe";

/// Succeeds only if every event is sent, or left out on purpose.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let now = clock::now().cast_signed();
    let project = arguments.choice.project.clone();
    let delivery = arguments.choice.delivery().await?;
    let file_of = |file: &Option<PathBuf>, kind: &str| {
        file.clone().unwrap_or_else(|| format!("stripe-amplitude-{project}.{kind}").into())
    };
    let rejected = file_of(&arguments.rejected, "rejected.ndjson");
    if arguments.from_file.as_ref() == Some(&rejected) {
        return Err(
            "what cannot be sent would go into the file that is read; choose another one with --rejected".into()
        );
    }
    let is_standard_input = arguments.from_file.as_deref().is_some_and(input::is_standard_input);
    if is_standard_input && !arguments.yes && !arguments.dry_run {
        return Err("with --from-file -, standard input has the events, so nobody can be asked: say --yes".into());
    }
    let region = delivery.settings.amplitude_region;
    let types = event_types::of(&delivery.settings.events);
    let (cursor, is_resumed) = Cursor::open(&file_of(&arguments.cursor, "cursor.json"), arguments.job(), now)?;
    let created = arguments.since.unwrap_or(i64::MIN)..cursor.progress.until;
    if created.is_empty() {
        return Err("--since is not before --until".into());
    }
    let http = http::build()?;
    let (source, oldest) = match &arguments.from_file {
        None => {
            // What is done with may be gone by now.
            let start = match &cursor.progress.done {
                Some(Position::Place(place)) => place.created,
                _ => created.start,
            };
            if start < now - REACH {
                return Err(format!(
                    "Stripe's list goes back 30 days, to {}; what is older has to come from a file",
                    clock::show(now - REACH)
                )
                .into());
            }
            let api = Api::new(http.clone(), key::STRIPE.required()?, arguments.account.clone(), arguments.rate);
            let undelivered = arguments.undelivered;
            (
                Source::Stripe(Arc::new(api), Filter { types, created: created.clone(), undelivered }),
                Some(created.start),
            )
        }
        Some(file) => (Source::File(file.clone(), created), oldest_of(file, arguments.since)?),
    };
    let translator = Arc::new(Translator::new(project, delivery, arguments.source.clone()));
    let mut backfill = Backfill {
        known: Knowledge::new(http.clone(), oldest.unwrap_or(now), arguments.assume_missing),
        rejected: Rejected::open(&rejected, is_resumed.then_some(cursor.progress.rejected_length))?,
        interrupt: Interrupt::listen(),
        translator,
        source,
        sent_before: cursor.progress.counts.sent,
        cursor,
    };
    let doubt = backfill.check(now).err();
    if let Some(why) = doubt.as_ref().filter(|_| !arguments.dry_run) {
        return Err(why.as_str().into());
    }
    if arguments.undelivered {
        eprint!(
            "{}",
            wrap(
                "note: ",
                6,
                "--undelivered has what is pending or has failed at one webhook endpoint at least, whichever it was; so some of it may be in Amplitude, which is then as for any other event."
            )
        );
    }
    let amplitude = import::place(region);
    let question = if arguments.dry_run {
        let survey = backfill.survey().await?;
        terminal::print(&survey.to_string())?;
        if let Some(why) = doubt {
            eprint!("{}", wrap("\nnote: ", 6, &format!("It cannot be sent like this: {why}")));
            return Ok(ExitCode::SUCCESS);
        }
        if survey.events() == 0 || !std::io::stdin().is_terminal() {
            return Ok(ExitCode::SUCCESS);
        }
        Some(survey::question(&survey, &amplitude))
    } else if arguments.yes || is_resumed {
        None
    } else {
        Some(format!(
            "Send all of them to {amplitude}? What is in Amplitude cannot be taken back; --dry-run counts first."
        ))
    };
    if is_resumed {
        println!("Going on where it stopped.");
    }
    if let Some(question) = question
        && !confirmed(&question)?
    {
        println!("Nothing is sent.");
        return Ok(ExitCode::FAILURE);
    }
    let import = Import::new(http, backfill.interrupt.clone());
    backfill.send_all(import).await
}

impl Arguments {
    fn job(&self) -> Job {
        Job {
            project: self.choice.project.to_string(),
            from: self.from_file.as_deref().map_or_else(|| FROM_STRIPE.to_owned(), input::name),
            since: self.since,
            until: self.until,
            account: self.account.clone(),
            undelivered: self.undelivered,
            source: self.source.clone(),
        }
    }
}

/// Standard input can be read only once.
fn oldest_of(file: &Path, since: Option<i64>) -> Result<Option<i64>, String> {
    match since {
        Some(since) => Ok(Some(since)),
        None if input::is_standard_input(file) => {
            Err("with --from-file -, say --since: when the oldest of the events happened".to_owned())
        }
        None => source::oldest(file),
    }
}

/// A backfill on its way.
struct Backfill {
    translator: Arc<Translator>,
    source: Source,
    cursor: Cursor,
    /// In the runs before this one.
    sent_before: u64,
    known: Knowledge,
    rejected: Rejected,
    interrupt: Interrupt,
}

/// What Amplitude has already, read when the first event needs it, from each of the projects that events go to.
struct Knowledge {
    http: Http,
    secret_keys: SecretKeys,
    oldest: i64,
    assume_missing: bool,
    /// By the parameter of the API key.
    known: HashMap<&'static str, Known>,
}

impl Knowledge {
    fn new(http: Http, oldest: i64, assume_missing: bool) -> Self {
        Self { http, secret_keys: SecretKeys::given(), oldest, assume_missing, known: HashMap::new() }
    }

    /// Whether Amplitude has an event, where its own rule does not reach.
    async fn has(
        &mut self,
        event: &Translated,
        translator: &Translator,
        progress: &ProgressBar,
    ) -> Result<bool, String> {
        let now = clock::now().cast_signed();
        // Without a key, only a dry run comes here, which says so.
        let is_looked_up = !self.assume_missing && !self.secret_keys.is_empty();
        if !is_looked_up || !is_beyond_the_window(event.created, now) {
            return Ok(false);
        }
        let key = event.key;
        if !self.known.contains_key(key) {
            let destination = translator.delivery.destination_of(key);
            let secret_key = self.secret_keys.of(key)?;
            progress.println("Asking Amplitude what it has, hour by hour; this may take a while.");
            // An event is uploaded after it has happened.
            let uploaded = self.oldest..now;
            let reached =
                |reached| progress.set_message(format!(", Amplitude's export is at {}", clock::show(reached)));
            let known = Known::load(&self.http, &destination, secret_key, uploaded, reached).await?;
            progress.set_message("");
            self.known.insert(key, known);
        }
        Ok(self.known.get(key).is_some_and(|known| known.contains(&event.id)))
    }
}

impl Backfill {
    /// Whether it may begin: nothing shall count twice.
    fn check(&self, now: i64) -> Result<(), String> {
        let Knowledge { secret_keys, oldest, assume_missing, .. } = &self.known;
        if self.cursor.is_in_doubt(now) {
            return Err(
                "the run before died more than seven days ago with a request on its way, which Amplitude may have and would not drop any more: delete the cursor's file and begin again, with AMPLITUDE_SECRET_KEY, so that all are looked up".to_owned(),
            );
        }
        if !assume_missing && secret_keys.is_empty() && is_beyond_the_window(*oldest, now) {
            return Err(
                "some of it is more than seven days old, so that Amplitude would count again what it has: set AMPLITUDE_SECRET_KEY, and each is looked up before it is sent; or say --assume-missing, if you know that Amplitude has none of them".to_owned(),
            );
        }
        Ok(())
    }

    /// Counts what is left to do.
    async fn survey(&mut self) -> Result<Survey, String> {
        let progress = progress_bar(self.source.length());
        let mut survey = Survey::default();
        let mut chunks = self.source.read(self.cursor.progress.done.clone(), &self.translator);
        while let Some(chunk) = self.interrupt.or(chunks.next()).await.ok_or("stopped; nothing is sent")? {
            let Chunk { items, reached } = chunk?;
            self.tell(&progress);
            for Item { fate, .. } in &items {
                let is_known = match fate {
                    Fate::Sent(event) => self.known.has(event, &self.translator, &progress).await?,
                    _ => false,
                };
                survey.add(fate, is_known);
            }
            self.show(&progress, reached);
        }
        progress.finish_and_clear();
        Ok(survey)
    }

    async fn send_all(mut self, mut import: Import) -> Result<ExitCode, Box<dyn Error>> {
        let progress = progress_bar(self.source.length());
        // What was done before takes no time now.
        if let Some(done) = &self.cursor.progress.done {
            progress.set_position(self.source.reached(done));
            progress.reset_eta();
        }
        let stopped = self.send(&mut import, &progress).await;
        progress.finish_and_clear();
        let Counts { sent, known, left_out, rejected } = self.cursor.progress.counts;
        let mut report = format!("{sent} sent, {left_out} left out by the settings, {rejected} rejected");
        if known > 0 {
            report.push_str(&format!(", {known} in Amplitude already"));
        }
        println!("{report}.");
        if rejected > 0 {
            print!(
                "{}",
                wrap(
                    "",
                    0,
                    &format!(
                        "Those that were rejected are in {}, each with the reason. When that is mended, --from-file takes them from there.",
                        self.rejected.path().display()
                    )
                )
            );
        }
        match stopped {
            Ok(()) => {
                self.cursor.delete();
                Ok(if rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Err(Stopped::Interrupted) => {
                println!("Stopped. The same command goes on from here.");
                Ok(ExitCode::FAILURE)
            }
            Err(Stopped::Hopeless(why)) => {
                Err(format!("{why}. When that is mended, the same command goes on from here").into())
            }
        }
    }

    /// Request by request, until all is done with.
    async fn send(&mut self, import: &mut Import, progress: &ProgressBar) -> Result<(), Stopped> {
        let mut chunks = self.source.read(self.cursor.progress.done.clone(), &self.translator);
        let mut request: Vec<Item> = Vec::new();
        let mut room = Room::default();
        let mut reached = 0;
        while let Some(chunk) = self.or_stop(chunks.next()).await? {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(why) => {
                    // What came before it is good.
                    self.settle(std::mem::take(&mut request), import, progress).await?;
                    return Err(Stopped::Hopeless(why));
                }
            };
            self.tell(progress);
            for item in chunk.items {
                let bytes = if let Fate::Sent(event) = &item.fate { event.json.get().len() } else { 0 };
                if !room.takes(bytes) {
                    self.settle(std::mem::take(&mut request), import, progress).await?;
                    self.show(progress, reached);
                    room = Room::default();
                    room.takes(bytes);
                }
                request.push(item);
            }
            reached = chunk.reached;
        }
        self.settle(request, import, progress).await
    }

    async fn or_stop<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stopped> {
        match self.interrupt.clone().or(work).await {
            Some(result) => Ok(result),
            None => {
                self.cursor.save(true).map_err(Stopped::Hopeless)?;
                Err(Stopped::Interrupted)
            }
        }
    }

    /// Brings the events of a request to their end, and remembers that.
    async fn settle(&mut self, items: Vec<Item>, import: &mut Import, progress: &ProgressBar) -> Result<(), Stopped> {
        let Some(last) = items.last().map(|item| item.position.clone()) else { return Ok(()) };
        let mut counts = self.cursor.progress.counts;
        let mut wanted: HashMap<&'static str, Vec<(&Item, &Translated)>> = HashMap::new();
        let mut rejected = Vec::new();
        for item in &items {
            match &item.fate {
                Fate::LeftOut(_) => counts.left_out += 1,
                Fate::Unusable(reason) => rejected.push((reason.clone(), &item.body)),
                Fate::Sent(event) => {
                    let has = self.known.has(event, &self.translator, progress).await;
                    if has.map_err(Stopped::Hopeless)? {
                        counts.known += 1;
                    } else {
                        wanted.entry(event.key).or_default().push((item, event));
                    }
                }
            }
        }
        // From here on, Amplitude may have more than the cursor says.
        if !wanted.is_empty() {
            self.cursor.save(false).map_err(Stopped::Hopeless)?;
        }
        for (key, events) in wanted {
            let destination = self.translator.delivery.destination_of(key);
            let request: Vec<_> =
                events.iter().map(|(_, event)| Wanted { json: &event.json, device_id: &event.device_id }).collect();
            let results = import.send(&request, &destination).await?;
            for ((item, _), result) in events.iter().zip(results) {
                match result {
                    Ok(()) => counts.sent += 1,
                    Err(error) => rejected.push((error.to_string(), &item.body)),
                }
            }
        }
        for (reason, body) in rejected {
            self.rejected.add(&reason, body).map_err(Stopped::Hopeless)?;
            counts.rejected += 1;
        }
        let state = &mut self.cursor.progress;
        (state.counts, state.done, state.rejected_length) = (counts, Some(last), self.rejected.length());
        self.cursor.save(true).map_err(Stopped::Hopeless)
    }

    fn tell(&self, progress: &ProgressBar) {
        for note in self.translator.take_notes() {
            progress.suspend(|| eprint!("{}", wrap("note: ", 6, &note)));
        }
    }

    fn show(&self, progress: &ProgressBar, reached: u64) {
        progress.set_position(reached);
        let Counts { sent, .. } = self.cursor.progress.counts;
        if sent > self.sent_before {
            let rate = (sent - self.sent_before) as f64 / progress.elapsed().as_secs_f64().max(0.001);
            progress.set_prefix(format!("{sent} sent, {rate:.0} a second, "));
        }
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
