//! The command line of stripe-amplitude: try, set up, check and repair a Stripe-to-Amplitude webhook.

// They panic if the output is closed, and print control characters; `terminal` does neither.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod amplitude;
#[cfg(feature = "aws")]
mod aws;
mod backfill;
mod confirmation;
#[cfg(feature = "workbench")]
mod demo;
mod doctor;
mod event_file;
mod exit;
#[cfg(feature = "workbench")]
mod generate;
mod history;
mod input;
mod interrupt;
mod invocation;
mod key;
mod permissions;
#[cfg(feature = "workbench")]
mod preview;
mod projects;
mod proof;
mod property_names;
mod reconcile;
mod redrive;
mod send;
#[cfg(feature = "workbench")]
mod serve;
mod settings;
mod setup;
mod stripe;
mod terminal;
mod webhook_url;

use std::error::Error;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use stripe_amplitude_common::{clock, endpoint, http, money, private_file};

use self::exit::Exit;

const NAME: &str = "stripe-amplitude-cli";

#[derive(Parser)]
#[command(name = NAME, version, about = "Try, set up, check and repair a Stripe-to-Amplitude webhook")]
#[command(after_help = "Examples:
  cargo cli demo
  cargo cli serve
  cargo cli send events/stripe/invoice.paid.json
  cargo cli generate --users 500 --weeks 12
  cargo cli preview events/stripe/invoice.paid.json
  cargo cli settings check settings.json

`cargo cli` runs in a clone. If you have installed the program, its name is `stripe-amplitude-cli`.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[cfg(feature = "workbench")]
    Demo(demo::Arguments),
    #[cfg(feature = "workbench")]
    Serve(serve::Arguments),
    Send(send::Arguments),
    #[cfg(feature = "workbench")]
    Generate(generate::Arguments),
    #[cfg(feature = "workbench")]
    Preview(preview::Arguments),
    Settings(settings::Arguments),
    Setup(setup::Arguments),
    Invocation(invocation::Arguments),
    Redrive(redrive::Arguments),
    Backfill(backfill::Arguments),
    Reconcile(reconcile::Arguments),
    Doctor(doctor::Arguments),
    /// Print the completions for a shell
    #[command(after_help = "Example:
  stripe-amplitude-cli completions bash > ~/.local/share/bash-completion/completions/stripe-amplitude-cli")]
    Completions {
        shell: Shell,
    },
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(unread) => return explain(&unread),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::code(Err(error.into())),
    };
    let result = runtime.block_on(run(arguments.command));
    // A thread may still be blocked on standard input.
    runtime.shutdown_background();
    exit::code(result)
}

async fn run(command: Command) -> Result<Exit, Box<dyn Error>> {
    match command {
        #[cfg(feature = "workbench")]
        Command::Demo(arguments) => demo::run(&arguments).await,
        #[cfg(feature = "workbench")]
        Command::Serve(arguments) => serve::run(arguments).await,
        Command::Send(arguments) => send::run(arguments).await,
        #[cfg(feature = "workbench")]
        Command::Generate(arguments) => generate::run(arguments).await,
        #[cfg(feature = "workbench")]
        Command::Preview(arguments) => preview::run(arguments).await,
        Command::Settings(arguments) => settings::run(arguments),
        Command::Setup(arguments) => setup::run(arguments).await,
        Command::Invocation(arguments) => invocation::run(arguments),
        Command::Redrive(arguments) => redrive::run(arguments).await,
        Command::Backfill(arguments) => backfill::run(arguments).await,
        Command::Reconcile(arguments) => reconcile::run(arguments).await,
        Command::Doctor(arguments) => doctor::run(arguments).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), NAME, &mut script);
            terminal::print(&String::from_utf8_lossy(&script))?;
            Ok(Exit::Success)
        }
    }
}

/// Prints the requested help, or why the arguments are invalid.
fn explain(unread: &clap::Error) -> ExitCode {
    let text = unread.render().to_string();
    if unread.use_stderr() {
        terminal::tell(&text);
        return exit::USAGE.into();
    }
    exit::code(terminal::print(&text).map(|()| Exit::Success).map_err(Into::into))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
