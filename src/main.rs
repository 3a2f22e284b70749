//! The Lambda function: wiring only.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use lambda_http::request::LambdaRequest;
use lambda_http::{Adapter, Body, LambdaEvent, RequestExt as _, Service as _, lambda_runtime, service_fn};
use serde_json::json;
use stripe_amplitude::amplitude::client::Client;
use stripe_amplitude::environment::{self, Environment};
use stripe_amplitude::http_client;
use stripe_amplitude::log;
use stripe_amplitude::projects::Projects;
use stripe_amplitude::projects::parameter_store::ParameterStore;
use stripe_amplitude::webhook::{Request, Webhook};

fn main() -> ExitCode {
    if variable("AWS_LAMBDA_RUNTIME_API").is_none() {
        eprintln!(
            "stripe-amplitude is a Lambda function and runs under Lambda's runtime interface; to try it on this machine: make run"
        );
        return ExitCode::FAILURE;
    }
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not through the log, whose level may be what is wrong, or off; but in its form.
            let line = json!({"level": "ERROR", "message": "the function cannot start", "error": error.to_string()});
            eprintln!("{line}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), lambda_http::Error> {
    log::start(environment::log_level(variable)?);
    let environment = Environment::read(variable)?;
    runtime()?.block_on(run(environment))
}

async fn run(environment: Environment) -> Result<(), lambda_http::Error> {
    let http = http_client::build(environment.extra_ca_file.as_deref())?;
    let source = ParameterStore::new(environment.parameter_store, http.clone(), environment.parameter_prefix);
    let projects = Projects::new(source, environment.parameter_ttl);
    let amplitude = Client::new(http, environment.amplitude_url);
    let webhook = Arc::new(Webhook::new(projects, amplitude, environment.signature_tolerance));
    webhook.warm_up(&environment.warm_projects).await;

    let adapter = Adapter::from(service_fn(move |request: lambda_http::Request| {
        let webhook = Arc::clone(&webhook);
        async move {
            let context = request.lambda_context();
            let (parts, body) = request.into_parts();
            let answer = webhook.handle(Request {
                method: &parts.method,
                path: lambda_http::RequestExt::raw_http_path(&parts),
                headers: &parts.headers,
                body: bytes(body),
                request_id: Some(&context.request_id),
                time_left: time_left(context.deadline),
            });
            Ok::<_, lambda_http::Error>(answer.await)
        }
    }));
    // What `lambda_http::run_concurrent` does, but for the headers.
    lambda_runtime::run_concurrent(service_fn(move |mut event: LambdaEvent<LambdaRequest>| {
        keep_repeated_headers(&mut event.payload);
        adapter.clone().call(event)
    }))
    .await
}

/// A REST API hands headers over twice: as lists, and each with its last value. lambda_http would let the last value
/// replace the list, and a second `Stripe-Signature` would go unseen.
fn keep_repeated_headers(request: &mut LambdaRequest) {
    if let LambdaRequest::ApiGatewayV1(request) = request
        && !request.multi_value_headers.is_empty()
    {
        request.headers.clear();
    }
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

fn bytes(body: Body) -> Bytes {
    match body {
        Body::Text(text) => text.into(),
        Body::Binary(bytes) => bytes.into(),
        _ => Bytes::new(),
    }
}

/// From Lambda's deadline in Unix milliseconds. One in the past is none: Lambda would have stopped us.
fn time_left(deadline: u64) -> Option<Duration> {
    let deadline = UNIX_EPOCH.checked_add(Duration::from_millis(deadline))?;
    deadline.duration_since(SystemTime::now()).ok()
}
