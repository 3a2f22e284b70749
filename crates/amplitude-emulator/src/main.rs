//! The emulator as a program: parses options, prints its address, and serves.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use amplitude_emulator::{Configuration, Emulator, Throttle, tls};
use clap::Parser;
use rustls::ServerConfig;
use tokio::net::TcpListener;

const EXAMPLE: &str = "\
Example:
  amplitude-emulator &
  curl http://127.0.0.1:8091/2/httpapi --json \\
    '{\"api_key\":\"k\",\"events\":[{\"event_type\":\"paid\",\"user_id\":\"user-1\"}]}'
  curl http://127.0.0.1:8091/emulator/events
  curl -u k:any -o export.zip \\
    \"http://127.0.0.1:8091/api/2/export?start=$(date -u +%Y%m%dT00)&end=$(date -u +%Y%m%dT23)\"";

/// A local Amplitude: HTTP V2 (/2/httpapi), Batch (/batch) and Export (/api/2/export), with the documented rules and
/// errors, and with injected faults (/emulator/faults).
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE, disable_version_flag = true)]
struct Options {
    /// Address to listen on; port 0 picks a free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8091")]
    listen: SocketAddr,

    /// A valid API key (can be repeated); without any, every key is valid
    #[arg(long, value_name = "KEY")]
    api_key: Vec<String>,

    /// A valid secret key for exports (can be repeated); without any, every key is valid
    #[arg(long, value_name = "KEY")]
    secret_key: Vec<String>,

    /// Milliseconds to wait before every response
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    delay: u64,

    /// Count dropped repeats in events_ingested
    #[arg(long)]
    count_repeats: bool,

    /// Events per second that HTTP V2 accepts from a user or device
    #[arg(long, value_name = "N", default_value_t = Throttle::HTTP_V2.events_per_second)]
    http_v2_threshold: u64,

    /// Events per second that Batch accepts from a user or device, averaged over 30 s
    #[arg(long, value_name = "N", default_value_t = Throttle::BATCH.events_per_second)]
    batch_threshold: u64,

    /// Never throttle
    #[arg(long)]
    no_throttle: bool,

    /// Seconds from the end of an hour until it can be exported (7200 at Amplitude); without it, everything can be
    /// exported immediately
    #[arg(long, value_name = "SECONDS")]
    export_lag: Option<u64>,

    /// Serve HTTPS with this certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,

    /// The private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,

    /// Serve HTTPS with a newly generated certificate, and write its authority's certificate to this file for clients
    /// to trust
    #[arg(long, value_name = "FILE", conflicts_with = "tls_certificate")]
    tls_self_signed: Option<PathBuf>,

    /// An additional host name or IP address for the self-signed certificate (can be repeated)
    #[arg(long, value_name = "NAME", requires = "tls_self_signed")]
    tls_name: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        // Standard output is closed, so nobody can learn the address: exit quietly, with the shell's code for that.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(141),
        Err(error) => {
            let _ = writeln!(io::stderr(), "amplitude-emulator: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> io::Result<()> {
    let tls = options.tls()?;
    let emulator = Emulator::new(options.configuration());
    let listener = TcpListener::bind(options.listen)
        .await
        .map_err(|error| with_description(&options.listen.to_string(), error))?;

    let scheme = if tls.is_some() { "https" } else { "http" };
    let address = listener.local_addr()?;
    let mut stdout = io::stdout();
    writeln!(stdout, "amplitude-emulator listening on {scheme}://{address}")?;
    stdout.flush()?;

    match tls {
        None => emulator.serve(listener).await,
        Some(tls) => emulator.serve_tls(listener, tls).await,
    }
    Ok(())
}

impl Options {
    fn configuration(&self) -> Configuration {
        let throttle = |events_per_second, default: Throttle| {
            (!self.no_throttle).then_some(Throttle { events_per_second, ..default })
        };
        Configuration {
            api_keys: self.api_key.clone(),
            secret_keys: self.secret_key.clone(),
            http_v2_throttle: throttle(self.http_v2_threshold, Throttle::HTTP_V2),
            batch_throttle: throttle(self.batch_threshold, Throttle::BATCH),
            count_repeats: self.count_repeats,
            delay: Duration::from_millis(self.delay),
            export_lag: self.export_lag.map(Duration::from_secs),
        }
    }

    fn tls(&self) -> io::Result<Option<Arc<ServerConfig>>> {
        if let Some(file) = &self.tls_self_signed {
            let (authority, server) = tls::self_signed(&self.tls_name)?;
            std::fs::write(file, authority).map_err(|error| with_file_name(file, error))?;
            return Ok(Some(server));
        }
        let (Some(certificate), Some(key)) = (&self.tls_certificate, &self.tls_key) else {
            return Ok(None);
        };
        let read = |file: &Path| std::fs::read(file).map_err(|error| with_file_name(file, error));
        tls::from_pem(&read(certificate)?, &read(key)?).map(Some)
    }
}

fn with_file_name(file: &Path, error: io::Error) -> io::Error {
    with_description(&file.display().to_string(), error)
}

fn with_description(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
