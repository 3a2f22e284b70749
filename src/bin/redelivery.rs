//! The function of the redelivery queue: wiring only.

use std::process::ExitCode;
use std::sync::Arc;

use lambda_http::{Error, LambdaEvent, lambda_runtime, service_fn};
use stripe_amplitude::amplitude::client::Client;
use stripe_amplitude::environment::Environment;
use stripe_amplitude::lambda::queue::Payload;
use stripe_amplitude::projects::Projects;
use stripe_amplitude::projects::parameter_store::ParameterStore;
use stripe_amplitude::queue::sqs::Sqs;
use stripe_amplitude::redelivery::{Invocation, Redelivery};
use stripe_amplitude::stripe::references::api::StripeApi;
use stripe_amplitude::stripe::references::{ReadRate, References};
use stripe_amplitude::{http_client, lambda};

fn main() -> ExitCode {
    lambda::run("redelivery", run)
}

async fn run(environment: Environment) -> Result<(), Error> {
    let http = http_client::build(environment.extra_ca_file.as_deref())?;
    let source = ParameterStore::new(&environment.access, http.clone(), environment.parameter_prefix);
    let projects = Projects::new(source, environment.parameter_ttl);
    let sqs = |url| Sqs::new(&environment.access, http.clone(), url);
    let queue = environment.redelivery_queue_url.map(sqs);
    let dead_letters = environment.dead_letter_queue_url.map(sqs);
    let stripe = StripeApi::new(http.clone(), environment.stripe_api_url);
    let references = References::new(stripe, ReadRate::of_redelivery(environment.batches_at_once));
    let amplitude = Client::new(http.clone(), environment.amplitude_url);
    let redelivery = Arc::new(Redelivery::new(projects, amplitude, references, queue, dead_letters));

    lambda_runtime::run_concurrent(service_fn(move |event: LambdaEvent<Payload>| {
        let redelivery = Arc::clone(&redelivery);
        // Boxed, because the nested type of this future would exceed the compiler's recursion limit.
        Box::pin(async move {
            let LambdaEvent { payload: Payload(batch), context } = event;
            let invocation = Invocation {
                request_id: Some(&context.request_id),
                function: Some(&context.env_config.function_name),
                time_left: lambda::time_left(context.deadline),
            };
            Ok::<_, Error>(redelivery.handle(batch?, invocation).await)
        })
    }))
    .await
}
