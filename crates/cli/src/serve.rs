//! `serve`: the function's handler on this machine, in the workbench.

use std::error::Error;
use std::path::PathBuf;

use stripe_amplitude::logging;
use stripe_amplitude_workbench::{Amplitude, Stripe, Workbench, listener, server};
use tracing::level_filters::LevelFilter;

use crate::exit::{Exit, Usage};
use crate::http::without_user;
use crate::projects::{DEMO_SECRET, Projects};
use crate::terminal::{self, Output, say};

const LOCAL_STRIPE: &str = "The local Stripe knows only objects from events; add objects with --objects FILE, or read from your account with --stripe real";

/// Serve the function's handler on this machine, and show in the browser what lands in Amplitude and why
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo cli serve
  cargo cli serve --data deliveries.db
  cargo cli serve --projects projects.toml --amplitude real

A file of projects has a table per project, with the names of the parameters:
  [shop]
  stripe-signing-secret = \"whsec_…\"
  amplitude-api-key = \"…\"
  settings = { amplitude_region = \"eu\" }")]
pub(crate) struct Arguments {
    /// The port
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// A TOML file of projects, instead of the built-in project `demo`
    #[arg(long, value_name = "FILE", conflicts_with = "parameter_store")]
    projects: Option<PathBuf>,
    /// The projects in Parameter Store, configured by PARAMETER_PREFIX, EXTRA_CA_FILE and AWS's own variables
    #[arg(long)]
    parameter_store: bool,
    /// Where to send events: `emulator` (on this machine), `real`, or the URL of an ingestion endpoint
    #[arg(long, value_name = "WHERE", default_value = "emulator")]
    amplitude: Amplitude,
    /// Where to read referenced objects: `local` (on this machine, learns objects from events), `real`, or the URL of an API
    /// like Stripe's
    #[arg(long, value_name = "WHERE", default_value = "local")]
    stripe: Stripe,
    /// A file of Stripe objects for the local Stripe, one per line, in the shape of API version 2024-06-20 (can be repeated)
    #[arg(long, value_name = "FILE")]
    objects: Vec<PathBuf>,
    /// A file that keeps the deliveries across restarts; created if missing. It contains customers' data
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
    let projects = match &arguments.projects {
        Some(file) => Projects::from_file(file)?,
        None if arguments.parameter_store => Projects::parameter_store()?,
        None => Projects::built_in(),
    };
    projects.check()?;
    if !arguments.objects.is_empty() && arguments.stripe != Stripe::Local {
        return Err(Usage("--objects is for the local Stripe, --stripe local".to_owned()).into());
    }
    let listener = listener::listen(arguments.port).await?;
    let address = format!("http://{}", listener.local_addr()?);
    let url = format!("{address}/stripe/");
    let names: Vec<String> = projects.names().into_iter().map(str::to_owned).collect();
    let follows = projects.any_follows();
    let Arguments { amplitude, stripe, data, .. } = &arguments;
    let workbench =
        Workbench::new(projects.for_workbench(), amplitude.clone(), stripe.clone(), data.as_deref()).await?;
    if let Some(local) = workbench.stripe() {
        arguments.objects.iter().try_for_each(|file| local.load(file))?;
    }
    match &*names {
        [] => say!("Serving {url}NAME, for every project NAME of Parameter Store.")?,
        names => names.iter().try_for_each(|name| say!("Serving {url}{name}"))?,
    }
    say!("What lands in Amplitude, and why: {address}/")?;
    let example = names.first().map_or("NAME", String::as_str);
    match amplitude {
        Amplitude::Emulator => {
            let (_, amplitude) = workbench.emulator().ok_or("the local Amplitude is missing")?;
            say!("Events go to a local Amplitude; to list them: curl {amplitude}/emulator/events")?;
        }
        Amplitude::Real => say!("Events go to Amplitude, in each project's region.")?,
        Amplitude::Url(url) => say!("Events go to {}", without_user(url))?,
    }
    match (stripe, workbench.stripe()) {
        (_, Some(local)) => {
            say!("References are read from a local Stripe: {}", local.url())?;
            if follows {
                say!("{LOCAL_STRIPE}")?;
            }
        }
        (Stripe::Url(url), _) => say!("References are read from {}", without_user(url))?,
        _ => say!("References are read from Stripe itself, with each project's key.")?,
    }
    say!("To forward your Stripe account's events: stripe listen --forward-to {url}{example}")?;
    if arguments.projects.is_none() && !arguments.parameter_store {
        say!(
            "(put the secret that it prints into a file for --projects, as stripe-signing-secret; the secret of `demo` is {DEMO_SECRET})"
        )?;
    }
    // Names the file instead of printing the secret.
    let secret = match &arguments.projects {
        Some(file) => format!(" --projects {}", file.display()),
        None => String::new(),
    };
    say!("To send a sample: cargo cli send events/stripe/invoice.paid.json --to {url}{example}{secret}")?;
    if arguments.parameter_store {
        say!("(with the project's name instead of NAME, and its signing secret in STRIPE_SIGNING_SECRET)")?;
    }
    say!("")?;

    logging::start_on(LevelFilter::INFO, || Box::new(Output));
    tokio::select! {
        ended = server::serve(listener, workbench) => ended?,
        closed = terminal::closed() => closed?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(Exit::Success)
}
