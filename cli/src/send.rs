//! `send`: events, signed now, to an endpoint, as Stripe sends them.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::endpoint::Endpoint;
use crate::event_file::{self, Created};
use crate::projects::DEMO_SECRET;
use crate::terminal::say;
use crate::{clock, input, key};

/// Sign events now and post them as Stripe would
///
/// Prints the answer to each. The exit code is 0 only if all were answered 2xx.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  stripe-amplitude-cli send events/stripe/invoice.paid.json
  stripe-amplitude-cli send events/stripe/*.json --to https://example.com/stripe/shop
  stripe events retrieve evt_1… | stripe-amplitude-cli send - --created keep")]
pub(crate) struct Arguments {
    /// Files of events; - is standard input
    #[arg(required = true, value_name = "EVENT.json")]
    events: Vec<PathBuf>,
    /// The webhook's URL
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3000/stripe/demo")]
    to: String,
    /// The signing secret, whsec_…
    #[arg(long, env = "STRIPE_SIGNING_SECRET", hide_env_values = true, default_value = DEMO_SECRET)]
    secret: String,
    /// When the events happened
    #[arg(long, value_enum, default_value_t = Created::Now)]
    created: Created,
}

pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let endpoint = Endpoint::with_secret(arguments.to, key::signing_secret(&arguments.secret)?)?;
    let mut all_safe = true;
    for path in &arguments.events {
        let body = event_file::read(path, arguments.created, clock::now())?;
        let answer = endpoint.deliver(body).await.map_err(|error| endpoint.explain(&error))?;
        let status = answer.status();
        all_safe &= status.is_success();
        say!("{}: {} {}", input::name(path), status.as_u16(), answer.text().await?.trim_end())?;
    }
    Ok(if all_safe { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
