//! What both functions do before and around their work under Lambda's runtime interface.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_runtime::Error;
use serde_json::json;

use crate::environment::{self, Environment};
use crate::log;

/// Starts the log, reads the environment, and runs the function until Lambda ends it. `name` is the binary's, for a
/// message to whoever starts it elsewhere.
pub fn run(name: &str, function: impl AsyncFnOnce(Environment) -> Result<(), Error>) -> ExitCode {
    if variable("AWS_LAMBDA_RUNTIME_API").is_none() {
        eprintln!(
            "{name} is a Lambda function and runs under Lambda's runtime interface; to try stripe-amplitude on this machine: make run"
        );
        return ExitCode::FAILURE;
    }
    match start(function) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not through the log, whose level may be what is wrong, or off; but in its form.
            let line = json!({"level": "ERROR", "message": "the function cannot start", "error": error.to_string()});
            eprintln!("{line}");
            ExitCode::FAILURE
        }
    }
}

fn start(function: impl AsyncFnOnce(Environment) -> Result<(), Error>) -> Result<(), Error> {
    log::start(environment::log_level(variable)?);
    let environment = Environment::read(variable)?;
    runtime()?.block_on(function(environment))
}

/// One thread does for one request at a time. Several requests at once, on Managed Instances, get all cores.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let concurrency = std::env::var("AWS_LAMBDA_MAX_CONCURRENCY").ok().and_then(|number| number.parse().ok());
    let mut builder = match concurrency.unwrap_or(1_u32) {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build()
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// What is left until Lambda's deadline, in Unix milliseconds. One in the past is none: Lambda would have stopped us.
pub fn time_left(deadline: u64) -> Option<Duration> {
    let deadline = UNIX_EPOCH.checked_add(Duration::from_millis(deadline))?;
    deadline.duration_since(SystemTime::now()).ok()
}
