//! Replaces an endpoint by another one with a new signing secret, step by step.

use std::error::Error;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::context::Context;
use super::endpoint::create;
use super::inventory;
use super::mark;
use super::proof;
use super::step::{self, HARMLESS_TYPE, Step};
use super::webhook::Webhook;
use crate::clock;
use crate::stripe::endpoints::{self, WebhookEndpoint};
use crate::stripe::events::{self, Filter};
use crate::terminal::{self, count, say, wrap};

/// How long all parts of Stripe may take to notice that the second endpoint is open, in seconds.
const MARGIN: i64 = 5;

/// How long to wait for pending deliveries. Stripe retries a failed one only after minutes.
const PATIENCE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_secs(2);

/// Where counting stops. The events are counted again in each round.
const MAX_COUNTED: usize = 1000;

/// Replaces the endpoint, from wherever an earlier run stopped. Returns whether it is done.
pub(super) async fn replace(context: &Context, webhook: &Webhook, is_under_way: bool) -> Result<bool, Box<dyn Error>> {
    let Context { arguments, target, projects, api } = context;
    let (project, folder, names) = (&arguments.project, &target.folder, &target.names);
    if !is_under_way && let Some(old) = &webhook.endpoints.current {
        // Checks, before anything is begun, that the key may read pending deliveries.
        pending_deliveries(context, &webhook.types, clock::now().cast_signed(), old).await?;
        // So that it can be told from the second one.
        if mark::of(old).is_none() || mark::is_connect(old).is_none() {
            endpoints::update(api, &old.id, &context.mark(old, &names.current)).await?;
        }
    }
    let mut has_begun = is_under_way;
    let mut done = None;
    loop {
        let webhook = read_after(context, done).await?;
        let step = step::next_step(webhook.state());
        done = Some(step.kind());
        match step {
            Step::Begin if has_begun => return Ok(true),
            Step::Begin => {
                let old = webhook.endpoints.current.as_ref();
                let connect = old.and_then(|old| target.is_connect(old)).unwrap_or(false);
                create(context, &names.next, &[HARMLESS_TYPE.to_owned()], connect).await?;
                has_begun = true;
            }
            Step::Discard { id } => {
                endpoints::delete(api, id).await?;
                say!("{id} was deleted, because its signing secret was lost.")?;
                has_begun = false;
            }
            Step::Open { id, secret } => {
                proof::prove(&target.url, &secret.into()).await.map_err(|why| {
                    format!("the function does not accept the new signing secret yet: {why}. The old one still works; fix this and run setup again")
                })?;
                // If it was closed in between, it has missed events: it is complete from now on.
                let mut fields = vec![("disabled", "false".to_owned()), mark::forget_complete_since()];
                fields.extend(webhook.types.iter().map(|event_type| ("enabled_events[]", event_type.clone())));
                endpoints::update(api, id, &fields).await?;
                say!("{id} works, and receives every event from now on.")?;
            }
            Step::Note { id } => {
                let now = stripe_time(context, id).await?;
                endpoints::update(api, id, &[mark::complete_since(now + MARGIN)]).await?;
            }
            Step::Retire { old, complete_since } => {
                if !drain(context, &webhook, old, complete_since).await? {
                    return Ok(false);
                }
                endpoints::delete(api, &old.id).await?;
                say!("{} was deleted.", old.id)?;
            }
            Step::Overwrite { secret } => {
                projects.put(project, &names.current, &secret.into()).await?;
                say!("The new signing secret is in {folder}/{}.", names.current)?;
            }
            Step::Mark { id } => {
                let Some(next) = &webhook.endpoints.next else { continue };
                endpoints::update(api, id, &context.mark(next, &names.current)).await?;
            }
            Step::Tidy { is_end } => {
                projects.delete(project, &names.next).await?;
                say!("{folder}/{} was deleted.", names.next)?;
                has_begun |= is_end;
            }
        }
    }
}

/// Reads until the change of the last step is visible.
async fn read_after(context: &Context, done: Option<step::Kind>) -> Result<Webhook, Box<dyn Error>> {
    let start = Instant::now();
    loop {
        let webhook = inventory::read(context).await?.webhook;
        if !step::is_outdated(done, step::next_step(webhook.state()).kind()) {
            return Ok(webhook);
        }
        if start.elapsed() > PATIENCE {
            return Err(
                "the last change is not visible in Stripe or Parameter Store yet; run the same command again to continue"
                    .into(),
            );
        }
        sleep(PAUSE).await;
    }
}

/// Waits for the deliveries that only the old endpoint gets. Returns `false` if that takes too long.
async fn drain(
    context: &Context,
    webhook: &Webhook,
    old: &WebhookEndpoint,
    complete_since: i64,
) -> Result<bool, Box<dyn Error>> {
    let id = &old.id;
    // The events of connected accounts are listed by those accounts only.
    let is_connect = mark::is_connect(old) == Some(true);
    let backfill = backfill_command(context, complete_since, is_connect);
    let start = Instant::now();
    let mut printed = 0;
    loop {
        let now = stripe_time(context, id).await?;
        if !step::may_have_pending(webhook.state(), old, complete_since, now) {
            if now < step::given_up_at(complete_since) {
                let text = format!(
                    "events of the last days that {id} could not deliver are missing in Amplitude. Import them after setup: {backfill}"
                );
                terminal::print(&wrap("note: ", 6, &text))?;
            }
            return Ok(true);
        }
        if now >= complete_since {
            let pending =
                if is_connect { 0 } else { pending_deliveries(context, &webhook.types, complete_since, old).await? };
            if pending == 0 && !is_connect {
                return Ok(true);
            }
            let state = if is_connect {
                "Stripe has no list of pending deliveries across connected accounts".to_owned()
            } else {
                format!("{} pending, to {id} or to another endpoint: Stripe does not say which", are(pending))
            };
            if context.arguments.finish {
                let text = format!("{state}. Import the events that {id} did not deliver: {backfill}");
                terminal::print(&wrap("note: ", 6, &text))?;
                return Ok(true);
            }
            if is_connect || start.elapsed() > PATIENCE {
                let at = clock::show(step::given_up_at(complete_since));
                let text = format!(
                    "{state}. Both endpoints work in the meantime. Run `setup --rotate` again later to continue: when the deliveries are done, or after {at} (UTC), when Stripe has given up. Or pass --finish, and then import what is missing: {backfill}"
                );
                terminal::print(&wrap("Waiting: ", 0, &text))?;
                return Ok(false);
            }
            if printed != pending {
                say!("Waiting: {} pending.", are(pending))?;
                printed = pending;
            }
        }
        sleep(PAUSE).await;
    }
}

/// The command that imports what the old endpoint may not have delivered. It covers more than that, because Stripe does not
/// document how it lists the events of a deleted endpoint; Amplitude drops repeats.
fn backfill_command(context: &Context, complete_since: i64, is_connect: bool) -> String {
    let project = &context.arguments.project;
    let since = clock::in_utc(step::oldest_retried(complete_since), "%Y-%m-%dT%H:%M:%SZ");
    let source = context.arguments.source.as_ref().map(|label| format!(" --source {label}")).unwrap_or_default();
    let account = if is_connect { " --account acct_…, for each of the connected accounts" } else { "" };
    format!("cargo cli backfill --project {project} --since {since}{source}{account}")
}

/// How many events created before a time Stripe still tries to deliver, to any endpoint.
async fn pending_deliveries(
    context: &Context,
    types: &[String],
    before: i64,
    old: &WebhookEndpoint,
) -> Result<usize, Box<dyn Error>> {
    let now = stripe_time(context, &old.id).await?;
    let created = step::oldest_retried(now)..before;
    let filter = Filter { types: types.to_vec(), created, undelivered: true };
    Ok(events::count(&context.api, &filter, MAX_COUNTED).await?)
}

/// Stripe's clock, in Unix seconds. The local one may differ.
async fn stripe_time(context: &Context, id: &str) -> Result<i64, Box<dyn Error>> {
    let date = endpoints::date(&context.api, id).await?;
    Ok(date.as_deref().and_then(clock::parse_http_date).unwrap_or_else(|| clock::now().cast_signed()))
}

/// `1 event is`, `at least 1000 events are`.
fn are(number: usize) -> String {
    let at_least = if number >= MAX_COUNTED { "at least " } else { "" };
    format!("{at_least}{} {}", count(number, "event"), if number == 1 { "is" } else { "are" })
}
