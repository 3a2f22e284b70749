//! The Lambda function: wiring only.

use std::process::ExitCode;
use std::sync::Arc;

use stripe_amplitude::amplitude::client::Client;
use stripe_amplitude::environment::Environment;
use stripe_amplitude::gateway::{Answer, Invocation};
use stripe_amplitude::projects::Projects;
use stripe_amplitude::projects::parameter_store::ParameterStore;
use stripe_amplitude::queue::sqs::Sqs;
use stripe_amplitude::webhook::{Request, Webhook};
use stripe_amplitude::{http_client, lambda};

fn main() -> ExitCode {
    lambda::run("stripe-amplitude", run)
}

async fn run(environment: Environment) -> Result<(), lambda::Error> {
    let http = http_client::build(environment.extra_ca_file.as_deref())?;
    let source = ParameterStore::new(&environment.access, http.clone(), environment.parameter_prefix);
    let projects = Projects::new(source, environment.parameter_ttl);
    let queue = environment.redelivery_queue_url.map(|url| Sqs::new(&environment.access, http.clone(), url));
    let amplitude = Client::new(http.clone(), environment.amplitude_url);
    let webhook = Webhook::new(projects, amplitude, environment.signature_tolerance);
    let webhook = Arc::new(webhook.with_queue(queue, environment.queue_first));
    let function: Option<Arc<str>> = environment.function_name.map(Into::into);
    webhook.warm_up(&environment.warm_projects).await;

    lambda::serve(&http, move |invocation| {
        let (webhook, function) = (Arc::clone(&webhook), function.clone());
        // Boxed, or the compiler nests the type of this future in that of the runtime deeper than it allows itself.
        Box::pin(async move {
            let Invocation { version, method, path, headers, body } = Invocation::read(&invocation.payload)?;
            let response = webhook.handle(Request {
                method: &method,
                path: &path,
                headers: &headers,
                body,
                request_id: Some(&invocation.request_id),
                function: function.as_deref(),
                time_left: invocation.time_left,
            });
            Ok(Answer { version, response: response.await })
        })
    })
    .await
}
