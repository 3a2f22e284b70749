//! What Parameter Store and Stripe hold for a project.

use std::error::Error;

use secrecy::SecretString;
use stripe_amplitude::amplitude::Region;
use stripe_amplitude::projects::parameters::parameter;
use stripe_amplitude::projects::source::ProjectSource as _;

use super::context::Context;
use super::parameters::{settings, signing_secret, value};
use super::references;
use super::webhook::{Endpoints, Webhook};
use crate::stripe::{endpoints, event_types};

pub(super) struct Inventory {
    pub(super) amplitude_key: Option<SecretString>,
    pub(super) region: Region,
    pub(super) webhook: Webhook,
    pub(super) references: references::State,
}

/// Reads it.
pub(super) async fn read(context: &Context) -> Result<Inventory, Box<dyn Error>> {
    let Context { arguments, target, projects, api } = context;
    let (folder, names) = (&target.folder, &target.names);
    let parameters = projects.load(&arguments.project).await;
    let parameters = parameters.map_err(|error| format!("cannot read {folder}: {error}"))?;
    let settings = settings(&parameters, folder)?;
    let types = event_types::of(&settings.events);
    if types.is_empty() {
        return Err(format!("{folder}/settings removes every event type that Stripe has").into());
    }
    let has_secret = value(&parameters, &names.current).is_some();
    let endpoints = Endpoints::find(endpoints::list(api).await?, &arguments.project, target, has_secret)?;
    Ok(Inventory {
        amplitude_key: value(&parameters, parameter::API_KEY),
        region: settings.amplitude_region,
        references: references::State::of(&parameters, settings, &context.key_name(), !endpoints.is_empty()),
        webhook: Webhook {
            current_secret: signing_secret(&parameters, &names.current),
            next_secret: signing_secret(&parameters, &names.next),
            types,
            endpoints,
        },
    })
}
