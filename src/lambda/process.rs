//! The process of a function: it starts the log, reads the environment and chooses a tokio runtime.

use std::ffi::OsString;
use std::process::ExitCode;

use lambda_http::Error;
use serde_json::json;

use crate::environment::{self, Environment};
use crate::logging;

/// Starts the log, reads the environment, and runs the function until Lambda ends it. `name` is the binary's, for the
/// message that is printed outside Lambda.
pub fn run(name: &str, function: impl AsyncFnOnce(Environment) -> Result<(), Error>) -> ExitCode {
    if variable("AWS_LAMBDA_RUNTIME_API").is_none() {
        eprintln!(
            "{name} is a Lambda function and needs Lambda's runtime interface; to try stripe-amplitude on this machine, run: make run"
        );
        return ExitCode::FAILURE;
    }
    match start(function) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Printed directly, because the log level may be the problem, but in the form of the log.
            let line = json!({"level": "ERROR", "message": "fatal error", "error": error.to_string()});
            eprintln!("{line}");
            ExitCode::FAILURE
        }
    }
}

fn start(function: impl AsyncFnOnce(Environment) -> Result<(), Error>) -> Result<(), Error> {
    logging::start(environment::log_level(variable)?);
    let environment = Environment::read(variable)?;
    runtime()?.block_on(function(environment))
}

/// One thread is enough for one request at a time. Several requests at once, on Managed Instances, get all cores.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let concurrency = std::env::var("AWS_LAMBDA_MAX_CONCURRENCY").ok().and_then(|number| number.parse::<u32>().ok());
    let mut builder = match concurrency {
        Some(2..) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    builder.enable_all().build()
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}
