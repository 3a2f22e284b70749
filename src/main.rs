//! The Lambda function: wiring only.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;

use lambda_http::{Error, Request, service_fn};
use stripe_amplitude::amplitude::client::Client;
use stripe_amplitude::environment::Environment;
use stripe_amplitude::lambda::gateway;
use stripe_amplitude::projects::Projects;
use stripe_amplitude::projects::parameter_store::ParameterStore;
use stripe_amplitude::queue::sqs::Sqs;
use stripe_amplitude::stripe::references::api::StripeApi;
use stripe_amplitude::stripe::references::{ReadRate, References};
use stripe_amplitude::webhook::Webhook;
use stripe_amplitude::{http_client, lambda};

fn main() -> ExitCode {
    lambda::run("stripe-amplitude", run)
}

async fn run(environment: Environment) -> Result<(), Error> {
    let http = http_client::build(environment.extra_ca_file.as_deref())?;
    let source = ParameterStore::new(&environment.access, http.clone(), environment.parameter_prefix);
    let projects = Projects::new(source, environment.parameter_ttl).with_warm(environment.warm_projects);
    let queue = environment.redelivery_queue_url.map(|url| Sqs::new(&environment.access, http.clone(), url));
    let stripe = StripeApi::new(http.clone(), environment.stripe_api_url);
    let references = References::new(stripe, ReadRate::WEBHOOK);
    let amplitude = Client::new(http, environment.amplitude_url);
    let webhook = Webhook::new(projects, amplitude, references, environment.signature_tolerance);
    let webhook = Arc::new(webhook.with_queue(queue, environment.queue_first));
    webhook.warm_up().await;

    gateway::run_concurrent(service_fn(move |request: Request| {
        let webhook = Arc::clone(&webhook);
        async move {
            let (parts, body) = request.into_parts();
            Ok::<_, Infallible>(webhook.handle(gateway::webhook_request(&parts, body)).await)
        }
    }))
    .await
}
