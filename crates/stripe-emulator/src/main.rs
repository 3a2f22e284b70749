//! The emulator as a program: parses options, prints its address, and serves.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use stripe_emulator::{Emulator, Permission, SECRET_KEY};

const EXAMPLE: &str = "\
Example:
  echo '{\"id\":\"cus_1\",\"object\":\"customer\",\"email\":\"a@shop.example\"}' > objects.ndjson
  stripe-emulator --objects objects.ndjson --key sk_test_mine &
  curl -u sk_test_mine: http://127.0.0.1:8092/v1/customers/cus_1";

/// A local Stripe: events, webhook endpoints and the objects of purchases (/v1/…), with the documented rules and errors.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE, disable_version_flag = true)]
struct Options {
    /// Address to listen on; port 0 picks a free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8092")]
    listen: SocketAddr,

    /// A valid key with every permission (can be repeated), in addition to the emulator's own
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,

    /// A file with one object per line, in the shape of API version 2024-06-20 (can be repeated)
    #[arg(long, value_name = "FILE")]
    objects: Vec<PathBuf>,

    /// The API version of requests without Stripe-Version
    #[arg(long, value_name = "VERSION", default_value = stripe_emulator::API_VERSION)]
    api_version: String,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(never) => match never {},
        // Standard output is closed, so nobody can learn the address: exit quietly, with the shell's code for that.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(141),
        Err(error) => {
            let _ = writeln!(io::stderr(), "stripe-emulator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<std::convert::Infallible> {
    let listener = TcpListener::bind(options.listen).map_err(|error| named(&options.listen.to_string(), error))?;
    let stripe = Emulator::start_on(listener)?;
    stripe.set_default_version(&options.api_version);
    options.key.iter().for_each(|key| stripe.allow(key, &Permission::ALL));
    options.objects.iter().try_for_each(|file| stripe.load(file))?;

    let mut stdout = io::stdout();
    writeln!(stdout, "stripe-emulator listening on {}, with the key {SECRET_KEY}", stripe.url())?;
    stdout.flush()?;
    // It serves on a separate thread.
    loop {
        std::thread::park();
    }
}

fn named(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
