//! `send`: signs events now and posts them to an endpoint, like Stripe.

use std::error::Error;
use std::path::{Path, PathBuf};

use reqwest::Url;
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::stripe::signature::SigningSecret;

use crate::endpoint::Endpoint;
use crate::event_file::{self, Created};
use crate::exit::Exit;
use crate::projects::{DEMO_SECRET, Projects};
use crate::terminal::say;
use crate::{clock, input, key};

/// Sign events now and post them like Stripe
///
/// Prints each response. The exit code is 0 only if every response was 2xx.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo cli send events/stripe/invoice.paid.json
  cargo cli send events/stripe/*.json --to https://example.com/stripe/shop
  stripe events retrieve evt_1… | cargo cli send - --created keep")]
pub(crate) struct Arguments {
    /// Files of events; - is standard input
    #[arg(required = true, value_name = "EVENT.json")]
    events: Vec<PathBuf>,
    /// The webhook's URL
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3000/stripe/demo")]
    to: String,
    /// The signing secret, whsec_…; use the variable to hide it from other users of this machine
    #[arg(long, env = "STRIPE_SIGNING_SECRET", hide_env_values = true, default_value = DEMO_SECRET)]
    secret: String,
    /// A TOML file of projects, as for `serve`; the last part of the URL selects the project and its secret
    #[arg(long, value_name = "FILE")]
    projects: Option<PathBuf>,
    /// Event timestamp
    #[arg(long, value_enum, default_value_t = Created::Now)]
    created: Created,
}

pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
    let secret = match &arguments.projects {
        Some(file) => secret_in(file, &arguments.to).await?,
        None => key::signing_secret(&arguments.secret)?,
    };
    let hint = project_of(&arguments.to).is_none().then(|| not_a_webhook(&arguments.to)).flatten();
    let endpoint = Endpoint::with_secret(arguments.to, secret)?;
    let mut all_delivered = true;
    for path in &arguments.events {
        let body = event_file::read(path, arguments.created, clock::now())?;
        let answer = endpoint.deliver(body).await.map_err(|error| endpoint.explain(&error))?;
        let status = answer.status();
        all_delivered &= status.is_success();
        say!("{}: {} {}", input::name(path), status.as_u16(), answer.text().await?.trim_end())?;
        if let (false, Some(hint)) = (status.is_success(), &hint) {
            return Err(hint.as_str().into());
        }
    }
    Ok(Exit::of(all_delivered))
}

/// The project's name at the end of a webhook's URL.
fn project_of(url: &str) -> Option<ProjectName> {
    let url: Url = url.parse().ok()?;
    let mut segments = url.path_segments()?.rev();
    let name = segments.next()?;
    segments.next().filter(|segment| *segment == "stripe").and_then(|_| name.parse().ok())
}

/// A hint with the expected form of a webhook's URL.
fn not_a_webhook(url: &str) -> Option<String> {
    let mut like: Url = url.parse().ok()?;
    like.set_path("/stripe/demo");
    Some(format!(
        "{url} is not a webhook's URL; expected /stripe/ and the name of a project at its end, for example {like}"
    ))
}

async fn secret_in(file: &Path, url: &str) -> Result<SigningSecret, String> {
    let no_name =
        || format!("--projects needs a URL that ends with /stripe/ and the name of a project; {url} does not");
    let name = project_of(url).ok_or_else(no_name)?;
    let project = Projects::from_file(file)?.project(&name).await?;
    let no_secret = || format!("[{name}] of {} has no valid stripe-signing-secret", file.display());
    project.secrets.into_iter().next().ok_or_else(no_secret)
}
