//! `generate`: the events of a made-up shop, delivered like Stripe's.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use clap::value_parser;
use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use serde_json::Value;
use stripe_amplitude_workbench::generate::{Shop, Size, Subscriber, Tally, Templates, deliver, put_objects};

use crate::endpoint::Endpoint;
use crate::exit::Exit;
use crate::projects::DEMO_SECRET;
use crate::terminal::wrap;
use crate::{clock, key, terminal};

/// Sign the events of a made-up shop and post them as Stripe would
///
/// The shop has subscriptions and single orders, refunds, failed payments, guests and four currencies, so that every chart
/// has data. It sells through Checkout and Stripe's API. Like most apps, it writes its user ID on one object only: the
/// checkout session, the subscription, the invoice, the payment or the customer. `serve` also gets these objects, so that
/// it can follow references. The events depend on --users, --weeks, --seed and today's date: they end at the start of today,
/// in UTC. So the same command sends the same events all day, byte for byte. The IDs are the same on every day, so that
/// Amplitude drops repeats within seven days. A different seed gives a different shop with the same user IDs.
///
/// The exit code is 0 only if every response was 2xx.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo cli generate
  cargo cli generate --users 50 --weeks 4 --seed 2
  read -rs STRIPE_SIGNING_SECRET; export STRIPE_SIGNING_SECRET
  cargo cli generate --to https://example.com/stripe/shop")]
pub(crate) struct Arguments {
    /// How many customers the shop has, 1 to 100000
    #[arg(long, value_name = "NUMBER", default_value_t = 500, value_parser = value_parser!(u32).range(1..=100_000))]
    users: u32,
    /// How many weeks it was open, 1 to 104
    #[arg(long, value_name = "NUMBER", default_value_t = 12, value_parser = value_parser!(u32).range(1..=104))]
    weeks: u32,
    /// Random seed
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// A file to write Stripe's objects to, one per line, for `stripe-emulator --objects`; `serve` always gets them
    #[arg(long, value_name = "FILE")]
    objects: Option<PathBuf>,
    /// The webhook's URL
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3000/stripe/demo")]
    to: String,
    /// The signing secret, whsec_…; use the variable to hide it from other users of this machine
    #[arg(long, env = "STRIPE_SIGNING_SECRET", hide_env_values = true, default_value = DEMO_SECRET)]
    secret: String,
}

const AGAIN: &str = "Run the same command again to send them all; Amplitude drops repeats within seven days.";

/// A buyer of a small shop whose user ID is only on a checkout session.
///
/// # Errors
/// If a sample is not JSON, or the shop has no such buyer.
pub(crate) fn subscriber() -> Result<Subscriber, Box<dyn Error>> {
    let shop = Shop::new(Size { users: 100, weeks: 8, seed: 1 }, i64::try_from(clock::now())?);
    Ok(shop.subscriber(&Templates::new()?).ok_or("no buyer subscribes in Checkout")?)
}

/// Succeeds only if every response was 2xx.
pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
    let Arguments { users, weeks, seed, objects, to, secret } = arguments;
    let templates = Templates::new()?;
    let shop = Shop::new(Size { users, weeks, seed }, i64::try_from(clock::now())?);
    let events = shop.events();

    if let Some(file) = objects {
        write_objects(&file, shop.objects(&templates)).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    put_objects(&to, shop.objects(&templates)).await?;
    let endpoint = Endpoint::with_secret(to, key::signing_secret(&secret)?)?;
    let progress = progress_bar(events.len() as u64)?;
    let tally = Tally::default();
    let interrupted = tokio::select! {
        () = deliver(&endpoint, &events, &templates, &tally, || progress.inc(1)) => false,
        interrupted = tokio::signal::ctrl_c() => { interrupted?; true },
    };
    progress.finish_and_clear();

    let delivered = tally.delivered();
    let sent = format!("{delivered} of {} events sent in {}", events.len(), HumanDuration(progress.elapsed()));
    if delivered == events.len() {
        let user_ids = user_ids(&tally.paths());
        terminal::print(&format!("{sent}.\n\n{}{user_ids}", shop.summary()))?;
        return Ok(Exit::Success);
    }
    if delivered == 0 && tally.is_unreachable() {
        return Err(tally.reasons().concat().into());
    }
    for reason in tally.reasons() {
        terminal::tell(&wrap("error: ", 7, &reason));
    }
    let why = if interrupted { "; interrupted" } else { "" };
    terminal::print(&wrap("", 0, &format!("{sent}{why}. {AGAIN}")))?;
    Ok(Exit::Failure)
}

/// The paths of the user IDs, if the responses had them.
fn user_ids(paths: &[(Option<String>, usize)]) -> String {
    if paths.is_empty() {
        return String::new();
    }
    let on = |(path, number): &(Option<String>, usize)| match path {
        Some(path) => format!("{number} from {path}"),
        None => format!("{number} without a user ID"),
    };
    let paths: Vec<_> = paths.iter().map(on).collect();
    let line = format!("{}. This depends on the project's settings user_id_paths and references.", paths.join(", "));
    wrap("User IDs:      ", 15, &line)
}

fn write_objects(file: &Path, objects: impl Iterator<Item = Value>) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(file)?);
    for object in objects {
        writeln!(file, "{object}")?;
    }
    file.flush()
}

/// Shown if standard error is a terminal.
fn progress_bar(events: u64) -> Result<ProgressBar, Box<dyn Error>> {
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} events, {rate}, {eta} left")?;
    let rate = |state: &ProgressState, text: &mut dyn fmt::Write| {
        // A progress bar cannot report errors.
        let _ = write!(text, "{:.0} a second", state.per_sec());
    };
    Ok(ProgressBar::new(events).with_style(style.with_key("rate", rate)))
}
