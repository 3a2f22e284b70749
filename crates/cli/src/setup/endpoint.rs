//! Creating an endpoint, and updating one.

use std::error::Error;

use secrecy::SecretString;
use stripe_amplitude::stripe::event_types::API_VERSION;

use super::context::Context;
use super::mark;
use super::webhook::Webhook;
use crate::stripe::{api, endpoints};
use crate::terminal::{self, say, wrap};

/// Creates an endpoint, writes its secret to the parameter, and returns it. Stripe reveals the secret only once; without
/// it, the endpoint is useless.
pub(super) async fn create(
    context: &Context,
    parameter: &str,
    types: &[String],
    connect: bool,
) -> Result<SecretString, Box<dyn Error>> {
    let Context { arguments, target, projects, api } = context;
    let project = &arguments.project;
    let mut fields = vec![
        ("url", target.url.clone()),
        ("api_version", API_VERSION.to_owned()),
        ("description", format!("stripe-amplitude, project {project}")),
    ];
    fields.extend(types.iter().map(|event_type| ("enabled_events[]", event_type.clone())));
    // An empty value deletes a key, and a new endpoint has none.
    let mark = mark::fields(project, parameter, Some(connect)).into_iter().filter(|(_, value)| !value.is_empty());
    fields.extend(mark);
    fields.extend(connect.then(|| ("connect", "true".to_owned())));
    let created = endpoints::create(api, &fields).await;
    let (id, secret) = created.map_err(|error| match error.problem {
        api::Problem::Refused { status: 400, .. } => format!(
            "{error}; an account may have 16 endpoints in each mode, and the URL must be one that Stripe can reach"
        ),
        _ => error.to_string(),
    })?;
    if let Err(why) = projects.put(project, parameter, &secret).await {
        // Without a response, it may have been written anyway.
        let _ = projects.delete(project, parameter).await;
        return Err(match endpoints::delete(api, &id).await {
            Ok(()) => format!("{why}. The new endpoint {id} was deleted again, because its secret is lost"),
            Err(error) => format!(
                "{why}. The secret of the new endpoint {id} is lost; delete the endpoint in Stripe, because that failed here: {error}"
            ),
        }
        .into());
    }
    say!("{id} was created, and its signing secret is in {}/{parameter}.", target.folder)?;
    Ok(secret)
}

/// Corrects what Stripe allows to change.
pub(super) async fn update(context: &Context, webhook: &Webhook) -> Result<(), Box<dyn Error>> {
    let Context { arguments, target, projects, api } = context;
    let Some(endpoint) = &webhook.endpoints.current else { return Ok(()) };
    let mut fields = vec![("disabled", "false".to_owned()), ("url", target.url.clone())];
    fields.extend(webhook.types.iter().map(|event_type| ("enabled_events[]", event_type.clone())));
    fields.extend(context.mark(endpoint, &target.names.current));
    endpoints::update(api, &endpoint.id, &fields).await?;
    let project = &arguments.project;
    if !endpoint.is_enabled() {
        let text = format!(
            "Stripe does not send the events from the time when {} was disabled. Import them after setup: cargo cli backfill --project {project} --since …",
            endpoint.id
        );
        terminal::print(&wrap("note: ", 6, &text))?;
    }
    if webhook.next_secret.is_some() {
        projects.delete(project, &target.names.next).await?;
    }
    say!("{} is up to date.", endpoint.id)?;
    Ok(())
}
