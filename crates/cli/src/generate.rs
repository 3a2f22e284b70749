//! `generate`: a shop that never was, sent to an endpoint as Stripe would have sent it.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use clap::value_parser;
use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};
use serde_json::Value;
use stripe_amplitude_workbench::generate::{Shop, Size, Subscriber, Tally, Templates, deliver, hand_over};

use crate::endpoint::Endpoint;
use crate::exit::Exit;
use crate::projects::DEMO_SECRET;
use crate::terminal::wrap;
use crate::{clock, key, terminal};

/// Sign the events of a made-up shop and post them as Stripe would
///
/// The shop has subscriptions and single orders, refunds, payments that fail, guests and four currencies, so that every
/// chart has something to show. It sells by Checkout and by Stripe's API, and writes its user IDs on one object only,
/// as apps do: on the checkout session, the subscription, the invoice, the payment or the customer. `serve` is handed
/// those objects, so that it finds the users by reference. What happened in the shop depends on --users, --weeks, --seed and
/// today's date: it ends when today began, in UTC. So the same command sends the same events all day, byte for byte;
/// and on every day they have the same IDs, so that what has landed within seven days is not counted twice. Another
/// seed is another shop; its users have the same user IDs.
///
/// The exit code is 0 only if all events were answered 2xx.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  stripe-amplitude-cli generate
  stripe-amplitude-cli generate --users 50 --weeks 4 --seed 2
  read -rs STRIPE_SIGNING_SECRET; export STRIPE_SIGNING_SECRET
  stripe-amplitude-cli generate --to https://example.com/stripe/shop")]
pub(crate) struct Arguments {
    /// How many customers the shop has, 1 to 100000
    #[arg(long, value_name = "NUMBER", default_value_t = 500, value_parser = value_parser!(u32).range(1..=100_000))]
    users: u32,
    /// How many weeks it was open, 1 to 104
    #[arg(long, value_name = "NUMBER", default_value_t = 12, value_parser = value_parser!(u32).range(1..=104))]
    weeks: u32,
    /// Which of all such shops
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// A file for Stripe's objects, one in each line, for `stripe-emulator --objects`; `serve` gets them in any case
    #[arg(long, value_name = "FILE")]
    objects: Option<PathBuf>,
    /// The webhook's URL
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3000/stripe/demo")]
    to: String,
    /// The signing secret, whsec_…; in the variable, others on this machine do not see it
    #[arg(long, env = "STRIPE_SIGNING_SECRET", hide_env_values = true, default_value = DEMO_SECRET)]
    secret: String,
}

const AGAIN: &str =
    "The same command sends them all once more; those that have landed are not counted twice, for seven days.";

/// A buyer of a small shop whose ID is on a checkout session alone.
///
/// # Errors
/// Where a sample is not JSON, or there is no such buyer.
pub(crate) fn subscriber() -> Result<Subscriber, Box<dyn Error>> {
    let shop = Shop::new(Size { users: 100, weeks: 8, seed: 1 }, i64::try_from(clock::now())?);
    Ok(shop.subscriber(&Templates::new()?).ok_or("nobody in the shop subscribes by Checkout")?)
}

/// Succeeds only if every event was answered 2xx.
pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
    let Arguments { users, weeks, seed, objects, to, secret } = arguments;
    let templates = Templates::new()?;
    let shop = Shop::new(Size { users, weeks, seed }, i64::try_from(clock::now())?);
    let events = shop.events();

    if let Some(file) = objects {
        write_objects(&file, shop.objects(&templates)).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    hand_over(&to, shop.objects(&templates)).await?;
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
        let landed = landed(&tally.paths());
        terminal::print(&format!("{sent}.\n\n{}{landed}", shop.summary()))?;
        return Ok(Exit::Success);
    }
    if delivered == 0 && tally.is_unreachable() {
        return Err(tally.reasons().concat().into());
    }
    for reason in tally.reasons() {
        terminal::tell(&wrap("error: ", 7, &reason));
    }
    let why = if interrupted { "; you stopped it" } else { "" };
    terminal::print(&wrap("", 0, &format!("{sent}{why}. {AGAIN}")))?;
    Ok(Exit::Failure)
}

/// On which IDs the events landed, if the answers told.
fn landed(paths: &[(Option<String>, usize)]) -> String {
    if paths.is_empty() {
        return String::new();
    }
    let on = |(path, number): &(Option<String>, usize)| match path {
        Some(path) => format!("{number} from {path}"),
        None => format!("{number} without one"),
    };
    let paths: Vec<_> = paths.iter().map(on).collect();
    let line = format!("{}. The project's settings decide it: user_id_paths, references.", paths.join(", "));
    wrap("User IDs:      ", 15, &line)
}

fn write_objects(file: &Path, objects: impl Iterator<Item = Value>) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(file)?);
    for object in objects {
        writeln!(file, "{object}")?;
    }
    file.flush()
}

/// On standard error, where it is a terminal.
fn progress_bar(events: u64) -> Result<ProgressBar, Box<dyn Error>> {
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} events, {rate}, {eta} left")?;
    let rate = |state: &ProgressState, text: &mut dyn fmt::Write| {
        // The bar has nowhere to tell an error to.
        let _ = write!(text, "{:.0} a second", state.per_sec());
    };
    Ok(ProgressBar::new(events).with_style(style.with_key("rate", rate)))
}
