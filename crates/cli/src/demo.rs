//! `demo`: one signed event of every type, through the handler, to a local Amplitude.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;

use amplitude_emulator::{AcceptedEvent, Emulator};
use serde_json::Value;
use stripe_amplitude_workbench::generate::Subscriber;
use stripe_amplitude_workbench::samples::{SAMPLES, Sample};
use stripe_amplitude_workbench::{Amplitude, Stripe, Workbench, listener, server};

use crate::endpoint::Endpoint;
use crate::exit::Exit;
use crate::generate;
use crate::money::shown;
use crate::projects::{DEMO, DEMO_SECRET, Projects};
use crate::terminal::say;
use crate::{clock, event_file};

/// Send one signed event of every type through the function's handler to a local Amplitude, and show the results
///
/// The exit code is 0 only if every event landed as expected.
#[derive(clap::Args)]
#[command(after_help = "Example:
  cargo cli demo --port 3001 --keep-serving")]
pub(crate) struct Arguments {
    /// Keep serving after the table
    #[arg(long)]
    keep_serving: bool,
    /// The port of the handler
    #[arg(long, default_value_t = 3000)]
    port: u16,
}

/// Succeeds only if every event landed as expected.
pub(crate) async fn run(arguments: &Arguments) -> Result<Exit, Box<dyn Error>> {
    let listener = listener::listen(arguments.port).await?;
    let workbench =
        Workbench::new(Projects::built_in().for_workbench(), Amplitude::Emulator, Stripe::Local, None).await?;
    let (emulator, amplitude_url) = workbench.emulator().ok_or("the local Amplitude is missing")?;
    let address = listener.local_addr()?;
    let url = format!("http://{address}/stripe/{DEMO}");
    say!("The function's handler: {url}. A local Amplitude: {amplitude_url}.")?;
    say!("One event of every type, signed now:\n")?;

    let serving = tokio::spawn(server::serve(listener, workbench.clone()));
    let as_expected = send_samples(&url, emulator).await?;
    say!("\n{as_expected} of {} landed as expected.", SAMPLES.len())?;
    let is_one_user = send_subscriber(&url, &workbench, emulator).await?;

    if arguments.keep_serving {
        say!("\nServing until Ctrl-C. See it in the browser: http://{address}/")?;
        tokio::select! {
            ended = serving => ended??,
            interrupted = tokio::signal::ctrl_c() => interrupted?,
        }
    }
    Ok(Exit::of(as_expected == SAMPLES.len() && is_one_user))
}

/// Prints a row per event, and returns how many landed as expected.
async fn send_samples(url: &str, emulator: &Emulator) -> Result<usize, Box<dyn Error>> {
    let endpoint = Endpoint::new(url.to_owned(), DEMO_SECRET.to_owned())?;
    let mut as_expected = 0;
    row(["TYPE", "STATUS", "USER ID", "FROM", "REVENUE"])?;
    for sample in &SAMPLES {
        let body = event_file::happen_now(sample.json.as_bytes(), clock::now())?;
        let answer = endpoint.deliver(body).await?;
        let status = answer.status().as_u16();
        let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;

        let id = answer.get("event").and_then(Value::as_str);
        let accepted = emulator.events().into_iter().rfind(|event| text(&event.event, "insert_id") == id);
        let landed = accepted.as_ref().map(Landed::of);
        let user_id_from = answer.get("user_id_from").and_then(Value::as_str);
        let expected = Landed::expected(sample);
        let ok = status == 200 && user_id_from == sample.user_id_from && landed.as_ref() == Some(&expected);
        as_expected += usize::from(ok);
        let Landed { user, revenue } = landed.unwrap_or_default();
        let from = match (user_id_from, &user) {
            (Some(path), _) => path,
            (None, Some(_)) => "(the payer of the same payment)",
            (None, None) => "(names no user)",
        };
        row([
            sample.event_type,
            &status.to_string(),
            user.as_deref().unwrap_or("-"),
            from,
            revenue.as_deref().unwrap_or("-"),
        ])?;
        if !ok {
            say!("  NOT AS EXPECTED: expected {expected:?} from {:?}; response {answer}", sample.user_id_from)?;
        }
    }
    Ok(as_expected)
}

/// Sends all events of a subscription whose user ID is only on a checkout session, and checks that they land on one user.
async fn send_subscriber(url: &str, workbench: &Workbench, emulator: &Emulator) -> Result<bool, Box<dyn Error>> {
    let Subscriber { user_id, objects, events } = generate::subscriber()?;
    let stripe = workbench.stripe().ok_or("the local Stripe is missing")?;
    objects.into_iter().try_for_each(|object| stripe.put(object))?;
    let endpoint = Endpoint::new(url.to_owned(), DEMO_SECRET.to_owned())?;
    let before = emulator.events().len();
    let number = events.len();
    for event in events {
        endpoint.deliver(event).await?.bytes().await?;
    }
    let landed = emulator.events().split_off(before);
    let users: BTreeSet<_> = landed.iter().filter_map(|event| event.attributed_user_id.as_deref()).collect();
    let is_one_user = landed.len() == number && users == BTreeSet::from([&*user_id]);
    if is_one_user {
        say!(
            "All {number} events of another buyer landed on {user_id}, an ID that only the checkout session has: references are followed."
        )?;
    } else {
        say!("NOT AS EXPECTED: {} of {number} events of {user_id} landed, on {users:?}", landed.len())?;
    }
    Ok(is_one_user)
}

fn row([event_type, status, user, from, revenue]: [&str; 5]) -> io::Result<()> {
    say!("{event_type:<41} {status:<6}  {user:<19} {from:<36} {revenue}")
}

/// The parts of an accepted event that the charts use.
#[derive(Debug, Default, PartialEq)]
struct Landed {
    user: Option<String>,
    revenue: Option<String>,
}

impl Landed {
    fn of(accepted: &AcceptedEvent) -> Self {
        let currency = text(&accepted.event, "currency").unwrap_or_default();
        let revenue = accepted.event.get("revenue").map(|revenue| shown(revenue, currency));
        Self { user: accepted.attributed_user_id.clone(), revenue }
    }

    fn expected(sample: &Sample) -> Self {
        Self { user: sample.user.map(str::to_owned), revenue: sample.revenue.map(str::to_owned) }
    }
}

fn text<'e>(event: &'e serde_json::Map<String, Value>, name: &str) -> Option<&'e str> {
    event.get(name)?.as_str()
}
