//! `setup`: creates a project's webhook endpoint, stores its signing secret, checks that both work, and rotates the secret.

mod arguments;
mod context;
mod difference;
mod endpoint;
mod inventory;
mod mark;
mod parameters;
mod plan;
mod proof;
mod references;
mod rotation;
mod stack;
mod step;
mod target;
mod webhook;

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use stripe_amplitude::amplitude::client::{Client, DeliveryError};
use stripe_amplitude::amplitude::{AmplitudeKey, Destination, Region};
use stripe_amplitude::projects::parameters::parameter;
use tokio::time::Instant;

pub(crate) use self::arguments::Arguments;
use self::context::Context;
use self::inventory::Inventory;
use self::plan::{Action, Plan, plan};
use crate::amplitude::import;
use crate::amplitude::key_check::check_key;
use crate::confirmation::confirmed;
use crate::exit::{self, Exit};
use crate::terminal::{self, say, wrap};
use crate::{http, key};

/// How long Amplitude may take to check the API key.
const KEY_CHECK_LIMIT: Duration = Duration::from_secs(10);

pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
    // Most users do not need the AWS SDK, which takes longer to compile than everything else.
    if !cfg!(feature = "aws") {
        let Arguments { project, url, .. } = &arguments;
        return Err(
            format!("this build does not include AWS; use: cargo cli setup --project {project} --url {url}").into()
        );
    }
    let context = Context::new(arguments)?;
    let inventory = inventory::read(&context).await?;
    let amplitude_key = new_amplitude_key(&context, &inventory)?;
    let Plan { action, mut lines } = plan(&inventory.webhook, &context.target)?;
    let mut references = context.plan_references(&inventory.references).await?;
    lines.append(&mut references.lines);
    lines.extend(amplitude_key.as_ref().map(|_| amplitude_key_line(&context, &inventory)));
    print_plan(&context, &inventory, &lines, &references.notes)?;
    if !lines.is_empty()
        && !is_confirmed(&context, action, amplitude_key.is_some())
        && let Err(why) = confirmed("Continue?")?
    {
        return Ok(why.end(exit::Action::Changed)?);
    }

    // The key first: it shows whether Parameter Store can be written before Stripe reveals a secret, which it does once.
    if let Some(key) = &amplitude_key {
        check_amplitude_key(key, inventory.region).await?;
        context.projects.put(&context.arguments.project, parameter::API_KEY, key).await?;
        say!("The Amplitude API key is in {}/{}.", context.target.folder, parameter::API_KEY)?;
    }
    context.write_references(&references).await?;
    let Some(secret) = carry_out(&context, action, &inventory).await? else { return Ok(Exit::Failure) };
    let url = &context.target.url;
    proof::prove(url, &secret).await.map_err(|why| {
        format!("{url} does not work yet: {why}. What was created remains; fix this and run setup again")
    })?;
    say!("Verified: the function responds and has the signing secret.")?;
    context.print_how_to_follow(&inventory.references)?;
    Ok(Exit::Success)
}

/// The key to write, if it differs from the stored one.
fn new_amplitude_key(context: &Context, inventory: &Inventory) -> Result<Option<SecretString>, String> {
    match (&inventory.amplitude_key, key::AMPLITUDE.given_and_checked()?) {
        (None, _) => key::AMPLITUDE.required().map(Some),
        // One change at a time.
        (Some(_), _) if context.arguments.rotate => Ok(None),
        (Some(stored), given) => Ok(given.filter(|given| given.expose_secret() != stored.expose_secret())),
    }
}

fn amplitude_key_line(context: &Context, inventory: &Inventory) -> String {
    let (folder, name) = (&context.target.folder, parameter::API_KEY);
    match inventory.amplitude_key {
        None => format!("the Amplitude API key will be written to {folder}/{name}"),
        Some(_) => format!("{folder}/{name} differs from AMPLITUDE_API_KEY, and will be overwritten"),
    }
}

fn print_plan(
    context: &Context,
    inventory: &Inventory,
    lines: &[String],
    notes: &[String],
) -> Result<(), Box<dyn Error>> {
    let mode = if context.api.is_test() { "test mode" } else { "live mode" };
    say!("{}, in {mode} of Stripe:", context.target.url)?;
    if lines.is_empty() {
        say!("  no changes needed")?;
    }
    for line in lines.iter().flat_map(|line| line.split('\n')) {
        terminal::print(&wrap("  ", 4, line))?;
    }
    let stack = match context.arguments.stack {
        Some(_) => None,
        None => stack::note(Path::new(".")),
    };
    let others = inventory.webhook.endpoints.others.iter().map(|id| {
        format!(
            "{id} has the same URL but is not managed by setup; its deliveries are rejected unless its secret is also in Parameter Store."
        )
    });
    for note in stack.iter().chain(notes).cloned().chain(others) {
        terminal::print(&wrap("note: ", 6, &note))?;
    }
    Ok(())
}

/// Whether there is no need to ask: a rotation that is under way was confirmed when it began.
fn is_confirmed(context: &Context, action: Action, writes_amplitude_key: bool) -> bool {
    let continues_rotation = context.arguments.rotate && action == Action::Replace { is_under_way: true };
    context.arguments.yes || (continues_rotation && !writes_amplitude_key)
}

/// Returns the signing secret that is in use afterwards; `None` if deliveries are still pending.
async fn carry_out(
    context: &Context,
    action: Action,
    inventory: &Inventory,
) -> Result<Option<SecretString>, Box<dyn Error>> {
    let webhook = &inventory.webhook;
    let names = &context.target.names;
    let secret = match action {
        Action::Nothing => webhook.current_secret.clone(),
        Action::Create => {
            let connect = context.target.connect;
            Some(endpoint::create(context, &names.current, &webhook.types, connect).await?)
        }
        Action::Update => {
            endpoint::update(context, webhook).await?;
            webhook.current_secret.clone()
        }
        Action::Replace { is_under_way } => {
            if !rotation::replace(context, webhook, is_under_way).await? {
                return Ok(None);
            }
            inventory::read(context).await?.webhook.current_secret
        }
    };
    let Some(secret) = secret else {
        return Err(format!("{}/{} no longer exists", context.target.folder, names.current).into());
    };
    Ok(Some(secret))
}

/// Otherwise the first event would be the first to notice a wrong key.
async fn check_amplitude_key(key: &SecretString, region: Region) -> Result<(), Box<dyn Error>> {
    let destination = Destination { region, api_key: key.clone(), key: AmplitudeKey::Main };
    let client = Client::new(http::build()?, import::url_given()?);
    match check_key(&client, &destination, Instant::now() + KEY_CHECK_LIMIT).await {
        Ok(()) => Ok(()),
        Err(error @ DeliveryError::InvalidApiKey) => Err(format!("AMPLITUDE_API_KEY: {error}").into()),
        Err(error) => {
            let note = format!("cannot check the API key with Amplitude: {error}");
            terminal::print(&wrap("note: ", 6, &note))?;
            Ok(())
        }
    }
}
