//! The Lambda function: wiring only.

use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HOST;
use lambda_http::request::LambdaRequest;
use lambda_http::{Adapter, Body, LambdaEvent, RequestExt as _, Service as _, lambda_runtime, service_fn};
use stripe_amplitude::amplitude::client::Client;
use stripe_amplitude::environment::Environment;
use stripe_amplitude::projects::Projects;
use stripe_amplitude::projects::parameter_store::ParameterStore;
use stripe_amplitude::queue::sqs::Sqs;
use stripe_amplitude::webhook::{Request, Webhook};
use stripe_amplitude::{http_client, lambda};

fn main() -> ExitCode {
    lambda::run("stripe-amplitude", run)
}

async fn run(environment: Environment) -> Result<(), lambda_http::Error> {
    let http = http_client::build(environment.extra_ca_file.as_deref())?;
    let source = ParameterStore::new(&environment.access, http.clone(), environment.parameter_prefix);
    let projects = Projects::new(source, environment.parameter_ttl);
    let queue = environment.redelivery_queue_url.map(|url| Sqs::new(&environment.access, http.clone(), url));
    let amplitude = Client::new(http, environment.amplitude_url);
    let webhook = Webhook::new(projects, amplitude, environment.signature_tolerance);
    let webhook = Arc::new(webhook.with_queue(queue, environment.queue_first));
    let function: Option<Arc<str>> = environment.function_name.map(Into::into);
    webhook.warm_up(&environment.warm_projects).await;

    let adapter = Adapter::from(service_fn(move |request: lambda_http::Request| {
        let (webhook, function) = (Arc::clone(&webhook), function.clone());
        async move {
            let context = request.lambda_context();
            let (parts, body) = request.into_parts();
            let answer = webhook.handle(Request {
                method: &parts.method,
                path: lambda_http::RequestExt::raw_http_path(&parts),
                headers: &parts.headers,
                body: bytes(body),
                request_id: Some(&context.request_id),
                function: function.as_deref(),
                time_left: lambda::time_left(context.deadline),
            });
            Ok::<_, lambda_http::Error>(answer.await)
        }
    }));
    // What `lambda_http::run_concurrent` does, but for the headers.
    lambda_runtime::run_concurrent(service_fn(move |mut event: LambdaEvent<LambdaRequest>| {
        prepare(&mut event.payload);
        adapter.clone().call(event)
    }))
    .await
}

/// Takes away what lambda_http would stumble over.
///
/// A REST API hands headers over twice: as lists, and each with its last value. lambda_http would let the last value
/// replace the list, and a second `Stripe-Signature` would go unseen. And it makes a URL with the header `Host`, which we
/// do not need, and panics where that is none.
fn prepare(request: &mut LambdaRequest) {
    match request {
        LambdaRequest::ApiGatewayV1(request) => {
            if !request.multi_value_headers.is_empty() {
                request.headers.clear();
            }
            request.headers.remove(HOST);
            request.multi_value_headers.remove(HOST);
        }
        LambdaRequest::ApiGatewayV2(request) => {
            request.headers.remove(HOST);
        }
        _ => {}
    }
}

fn bytes(body: Body) -> Bytes {
    match body {
        Body::Text(text) => text.into(),
        Body::Binary(bytes) => bytes.into(),
        _ => Bytes::new(),
    }
}
