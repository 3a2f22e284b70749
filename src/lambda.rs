//! Lambda's runtime interface: what both functions do before, around and after their work.
//!
//! Three calls over HTTP make it up. Source: "Using the Lambda runtime API for custom runtimes" in AWS Lambda's
//! documentation. They are made here and not by lambda_runtime, because that writes the trace ID of each invocation into
//! the environment, where the C library keeps every value for ever: 160 bytes each, 16 MB after 100,000 deliveries.

use std::env::VarError;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;

use crate::environment::{self, Environment};
use crate::log;

/// Whatever ends a function.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Where Lambda's runtime interface is.
const RUNTIME_API: &str = "AWS_LAMBDA_RUNTIME_API";

/// Starts the log, reads the environment, and runs the function until Lambda ends it. `name` is the binary's, for a
/// message to whoever starts it elsewhere.
pub fn run(name: &str, function: impl AsyncFnOnce(Environment) -> Result<(), Error>) -> ExitCode {
    if variable(RUNTIME_API).is_none() {
        eprintln!(
            "{name} is a Lambda function and runs under Lambda's runtime interface; to try stripe-amplitude on this machine: make run"
        );
        return ExitCode::FAILURE;
    }
    match start(function) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not through the log, whose level may be what is wrong, or off; but in its form.
            let line =
                json!({"level": "ERROR", "message": "the function cannot start or go on", "error": error.to_string()});
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
    let mut builder = match concurrency() {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.enable_all().build()
}

/// How many invocations Lambda hands out at once; several on Managed Instances only.
fn concurrency() -> usize {
    let number = std::env::var("AWS_LAMBDA_MAX_CONCURRENCY").ok().and_then(|number| number.parse().ok());
    number.unwrap_or(1).max(1)
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// An invocation.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Lambda's ID of it.
    pub request_id: String,
    /// How long Lambda will let us work.
    pub time_left: Option<Duration>,
    /// JSON, of up to 6 MB.
    pub payload: Bytes,
}

/// Asks for invocations and answers them, as many at once as Lambda hands out. What the handler cannot read at all is its
/// error, a sentence for whoever invoked it.
///
/// # Errors
/// Where the runtime interface fails. Lambda then starts another process.
pub async fn serve<A, F>(
    http: &reqwest::Client,
    handler: impl Fn(Invocation) -> F + Clone + Send + 'static,
) -> Result<(), Error>
where
    A: Serialize + Send + 'static,
    F: Future<Output = Result<A, String>> + Send + 'static,
{
    let interface = RuntimeInterface::new(http.clone())?;
    let mut slots = JoinSet::new();
    for _ in 0..concurrency() {
        slots.spawn(one_by_one(interface.clone(), handler.clone()));
    }
    slots.join_next().await.unwrap_or(Ok(Ok(())))?
}

async fn one_by_one<A, F>(interface: RuntimeInterface, handler: impl Fn(Invocation) -> F) -> Result<(), Error>
where
    A: Serialize,
    F: Future<Output = Result<A, String>>,
{
    loop {
        let Some(invocation) = interface.next().await? else { continue };
        let request_id = invocation.request_id.clone();
        match handler(invocation).await {
            Ok(answer) => interface.post(&request_id, "response", serde_json::to_vec(&answer)?).await?,
            Err(error) => {
                tracing::error!(error, "the invocation cannot be read");
                let problem = json!({"errorType": "UnreadableInvocation", "errorMessage": error});
                interface.post(&request_id, "error", serde_json::to_vec(&problem)?).await?;
            }
        }
    }
}

#[derive(Clone)]
struct RuntimeInterface {
    http: reqwest::Client,
    next: reqwest::Url,
}

impl RuntimeInterface {
    fn new(http: reqwest::Client) -> Result<Self, Error> {
        let address = std::env::var(RUNTIME_API).map_err(|error: VarError| format!("{RUNTIME_API}: {error}"))?;
        // Lambda gives host and port, cargo-lambda's emulator a URL.
        let base = if address.contains("://") { address.clone() } else { format!("http://{address}") };
        let next = format!("{base}/2018-06-01/runtime/invocation/next");
        Ok(Self { http, next: next.parse().map_err(|error| format!("{RUNTIME_API} is {address}: {error}"))? })
    }

    /// Waits for an invocation, which may take hours. Emulators give up waiting, and there is none.
    async fn next(&self) -> Result<Option<Invocation>, Error> {
        let answer = self.http.get(self.next.clone()).send().await?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NO_CONTENT => return Ok(None),
            status => return Err(format!("Lambda's runtime interface has no invocation, but status {status}").into()),
        }
        let headers = answer.headers();
        let request_id = text(headers, "lambda-runtime-aws-request-id").ok_or("an invocation has no ID")?.to_owned();
        let deadline = text(headers, "lambda-runtime-deadline-ms").and_then(|deadline| deadline.parse().ok());
        let time_left = deadline.and_then(time_left);
        Ok(Some(Invocation { request_id, time_left, payload: answer.bytes().await? }))
    }

    async fn post(&self, request_id: &str, what: &str, body: Vec<u8>) -> Result<(), Error> {
        let url = self.next.join(&format!("{request_id}/{what}"))?;
        let answer = self.http.post(url).body(body).send().await?;
        // An invocation that Lambda has given up takes no answer any more.
        if !answer.status().is_success() {
            tracing::warn!(request_id, status = answer.status().as_u16(), "Lambda does not take the answer");
        }
        // To its end, so that the connection can be used again.
        answer.bytes().await?;
        Ok(())
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// What is left until Lambda's deadline, in Unix milliseconds. One in the past is none: Lambda would have stopped us.
fn time_left(deadline: u64) -> Option<Duration> {
    let deadline = UNIX_EPOCH.checked_add(Duration::from_millis(deadline))?;
    deadline.duration_since(SystemTime::now()).ok()
}
