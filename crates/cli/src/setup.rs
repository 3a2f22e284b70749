//! `setup`: the webhook endpoint of a project, its signing secret, and the proof that both fit; and the rotation of that
//! secret.

mod difference;
mod mark;
mod proof;
mod references;
mod rotation;
mod stack;

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use stripe_amplitude::amplitude::client::{Client, DeliveryError};
use stripe_amplitude::amplitude::{AmplitudeKey, Destination, Region};
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::projects::parameters::{Parameter, parameter};
use stripe_amplitude::projects::source::ProjectSource as _;
use stripe_amplitude::settings::Settings;
use stripe_amplitude::stripe::event_types::API_VERSION;
use stripe_amplitude::stripe::source_label::SourceLabel;
use tokio::time::{Instant, sleep};

use self::difference::{Difference, count_of};
use self::mark::Names;
use self::rotation::{HARMLESS_TYPE, State, Step};
use crate::amplitude::import;
use crate::amplitude::key_check::check_key;
use crate::exit::{Action, Exit, Usage};
use crate::projects::Projects;
use crate::stripe::api::{self, Api};
use crate::stripe::endpoints::{self, WebhookEndpoint};
use crate::stripe::event_types;
use crate::stripe::events::{self, Filter};
use crate::terminal::{self, confirmed, count, say, wrap};
use crate::{clock, http, key, webhook_url};

/// Create the webhook endpoint of a project in Stripe, put its secret into Parameter Store, and prove that they fit
///
/// It creates the endpoint for exactly the event types that the project's settings want, with the API version that the
/// rules were written for, writes its signing secret and the Amplitude API key to Parameter Store, and delivers a signed
/// event of a type that nobody wants, which lands nowhere. Run again, it shows what differs, and asks before it changes
/// anything. The exit code is 0 only if all is as it should be, and proven.
///
/// STRIPE_SECRET_KEY has the key of the Stripe account; a restricted one needs the permission `Webhook Endpoints`: Write,
/// and to rotate `Events`: Read. AMPLITUDE_API_KEY has the API key of the Amplitude project, where Parameter Store does not
/// have it yet. Where a variable is not set, the key is asked for.
///
/// STRIPE_RESTRICTED_KEY has another key of the same account and mode, with which the function follows references. A new
/// project follows them if the key is given. Of one that may have received events, the settings stay as they are, because
/// IDs cannot be merged later. Stripe is asked for each permission that the settings need.
///
/// The credentials and the Region are taken from AWS's own variables. They need ssm:GetParametersByPath and
/// ssm:PutParameter on the project's parameters, and to rotate ssm:DeleteParameter. The parameters are encrypted with the
/// account's key aws/ssm, which takes no further permission.
///
/// With --rotate, the signing secret is rotated without losing an event: a second endpoint with the same URL gets every
/// event beside the first one, which is deleted when it owes nothing any more. It stops where events are still to be
/// delivered; run again, it goes on.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  eval \"$(aws configure export-credentials --format env)\"; export AWS_REGION=eu-central-1
  cargo cli-aws setup --project shop --url https://…/stripe/shop
  cargo cli-aws setup --project shop --url https://…/stripe/shop --source germany
  cargo cli-aws setup --project shop --url https://…/stripe/shop --rotate

`sam deploy` and `cargo lambda deploy` print the URL.")]
pub(crate) struct Arguments {
    /// The project, the last part of the webhook's path
    #[arg(long, value_name = "NAME")]
    project: ProjectName,
    /// The URL that Stripe calls
    #[arg(long, value_name = "URL")]
    url: String,
    /// The label of the signing secret, where several Stripe accounts feed the project: its events have it as
    /// `stripe_source`
    #[arg(long, value_name = "LABEL")]
    source: Option<SourceLabel>,
    /// For the events of the accounts that are connected to the key's platform
    #[arg(long)]
    connect: bool,
    /// For the events of the account itself; only to be said before an endpoint that was made by hand is replaced
    #[arg(long, conflicts_with = "connect")]
    own_account: bool,
    /// Rotate the signing secret, or go on with it
    #[arg(long)]
    rotate: bool,
    /// End the rotation although events are still to be delivered to the old endpoint
    #[arg(long, requires = "rotate")]
    finish: bool,
    /// The name of the stack that is deployed, or will be: whether SQS takes the names of its queues. Without it, that of
    /// samconfig.toml in this folder
    #[arg(long, value_name = "NAME", value_parser = stack::name)]
    stack: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Requests to Stripe in a second, at the most
    #[arg(long, value_name = "NUMBER", default_value_t = api::RATE, value_parser = clap::value_parser!(u32).range(1..=100))]
    rate: u32,
}

/// After the second endpoint was opened, so long is left for every part of Stripe to know it.
const MARGIN: i64 = 5;

/// Whether Amplitude knows the API key is not waited for longer.
const KEY_CHECK_LIMIT: Duration = Duration::from_secs(10);

/// What the old endpoint owes is waited for so long; what fails, Stripe tries again only after minutes.
const PATIENCE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_secs(2);

/// More are many. They are counted again and again.
const MOST_COUNTED: usize = 1000;

pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
    let Arguments { project, url, .. } = &arguments;
    // Most do not need the AWS SDK, which takes longer to compile than all the rest.
    if !cfg!(feature = "aws") {
        return Err(
            format!("this build cannot reach AWS; use: cargo cli-aws setup --project {project} --url {url}").into()
        );
    }
    let url = webhook_url::parse(url, project).map_err(Usage)?;
    let projects = Projects::parameter_store()?.with_cli_timeouts();
    let api = Api::new(http::build()?, key::STRIPE.required()?, None, arguments.rate)?;
    let names = Names::new(arguments.source.as_ref());
    Setup { folder: projects.folder(project), projects, api, names, url, arguments }.run().await
}

struct Setup {
    arguments: Arguments,
    /// As browsers write it.
    url: String,
    names: Names,
    projects: Projects,
    /// Where the project's parameters are, for messages.
    folder: String,
    api: Api,
}

/// What Parameter Store and Stripe have.
struct Found {
    amplitude_key: Option<SecretString>,
    current_secret: Option<SecretString>,
    next_secret: Option<SecretString>,
    /// What the project wants.
    types: Vec<String>,
    region: Region,
    /// The endpoint whose secret is in the parameter, or should be.
    endpoint: Option<WebhookEndpoint>,
    /// The one that is about to take its place.
    next: Option<WebhookEndpoint>,
    /// Further ones with the URL that are nobody's, or as good as the one.
    others: Vec<String>,
    references: references::State,
}

impl Found {
    fn state(&self) -> State<'_> {
        State {
            old: self.endpoint.as_ref(),
            next: self.next.as_ref(),
            current_secret: self.current_secret.as_ref().map(|secret| secret.expose_secret()),
            next_secret: self.next_secret.as_ref().map(|secret| secret.expose_secret()),
            types: &self.types,
        }
    }
}

/// What is to be done with the endpoint.
enum Work {
    Nothing,
    Create,
    /// Fix what differs.
    Update,
    /// Put another one into its place, or go on with that.
    Replace {
        /// Whether it has begun.
        is_under_way: bool,
    },
}

impl Setup {
    async fn run(self) -> Result<Exit, Box<dyn Error>> {
        let found = self.look().await?;
        let amplitude_key = self.new_amplitude_key(&found)?;
        let (work, mut lines) = self.plan(&found)?;
        let mut references = self.plan_references(&found.references).await?;
        lines.append(&mut references.lines);
        if amplitude_key.is_some() {
            let (folder, name) = (&self.folder, parameter::API_KEY);
            lines.push(match found.amplitude_key {
                None => format!("the Amplitude API key goes to {folder}/{name}"),
                Some(_) => format!("{folder}/{name} has another value than AMPLITUDE_API_KEY, which takes its place"),
            });
        }
        let mode = if self.api.is_test() { "test mode" } else { "live mode" };
        say!("{}, in {mode} of Stripe:", self.url)?;
        if lines.is_empty() {
            say!("  all is as it should be")?;
        }
        for line in lines.iter().flat_map(|line| line.split('\n')) {
            terminal::print(&wrap("  ", 4, line))?;
        }
        let stack = match self.arguments.stack {
            Some(_) => None,
            None => stack::note(Path::new(".")),
        };
        for note in stack.iter().chain(&references.notes) {
            terminal::print(&wrap("note: ", 6, note))?;
        }
        for id in &found.others {
            terminal::print(&wrap(
                "note: ",
                6,
                &format!(
                    "{id} has the same URL, and is not looked after; its deliveries are refused, unless its secret is in Parameter Store, too."
                ),
            ))?;
        }
        // Whoever goes on with a rotation has been asked.
        let is_asked = self.arguments.yes
            || (self.arguments.rotate
                && amplitude_key.is_none()
                && matches!(work, Work::Replace { is_under_way: true }));
        if !lines.is_empty()
            && !is_asked
            && let Err(why) = confirmed("Go ahead?")?
        {
            return Ok(why.end(Action::Changed)?);
        }

        // The key first: it tells whether Parameter Store may be written before there is anything to write that Stripe
        // tells only once.
        if let Some(key) = &amplitude_key {
            self.check_amplitude_key(key, found.region).await?;
            self.projects.put(&self.arguments.project, parameter::API_KEY, key).await?;
            say!("The Amplitude API key is in {}/{}.", self.folder, parameter::API_KEY)?;
        }
        self.write_references(&references).await?;
        let created = match work {
            Work::Nothing => None,
            Work::Create => Some(self.create(&self.names.current, &found.types, self.arguments.connect).await?),
            Work::Update => {
                self.update(&found).await?;
                None
            }
            Work::Replace { is_under_way } => {
                if !self.replace(&found, is_under_way).await? {
                    return Ok(Exit::Failure);
                }
                self.look().await?.current_secret
            }
        };
        let Some(secret) = created.as_ref().or(found.current_secret.as_ref()) else {
            return Err(format!("{}/{} is not there any more", self.folder, self.names.current).into());
        };
        proof::prove(&self.url, secret).await.map_err(|why| {
            format!("{} does not work yet: {why}. What was created stays; run this again when that is fixed", self.url)
        })?;
        say!("Proven: the function is there, and knows the signing secret.")?;
        self.tell_how_to_follow(&found.references)?;
        Ok(Exit::Success)
    }

    async fn look(&self) -> Result<Found, Box<dyn Error>> {
        let Self { arguments: Arguments { project, .. }, folder, names, .. } = self;
        let parameters = self.projects.load(project).await;
        let parameters = parameters.map_err(|error| format!("{folder} cannot be read: {error}"))?;
        let settings = settings(&parameters, folder)?;
        let types = event_types::of(&settings.events);
        if types.is_empty() {
            return Err(format!("{folder}/settings removes every type of event that Stripe knows").into());
        }
        let all = endpoints::list(&self.api).await?;
        let (mut with_url, elsewhere): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|endpoint| webhook_url::is_same(&endpoint.url, &self.url));
        // Where the webhook has moved, its endpoint is known by its mark, and keeps its secret. Without a secret, it may be
        // the endpoint of another deployment.
        if value(&parameters, &names.current).is_some() {
            for name in [&names.current, &names.next] {
                let is_it = |endpoint: &&WebhookEndpoint| mark::of(endpoint).is_some_and(|mark| mark.is(project, name));
                if !with_url.iter().any(|endpoint| is_it(&endpoint)) {
                    with_url.extend(elsewhere.iter().filter(is_it).cloned());
                }
            }
        }
        let (marked, unmarked): (Vec<_>, Vec<_>) =
            with_url.into_iter().partition(|endpoint| mark::of(endpoint).is_some());
        let of = |name: &str| -> Vec<WebhookEndpoint> {
            let is_of = |endpoint: &&WebhookEndpoint| mark::of(endpoint).is_some_and(|mark| mark.is(project, name));
            let mut endpoints: Vec<_> = marked.iter().filter(is_of).cloned().collect();
            endpoints.sort_by_key(|endpoint| endpoint.created);
            endpoints
        };
        let (mut current, mut next) = (of(&names.current).into_iter(), of(&names.next).into_iter());
        let (mut endpoint, next_endpoint) = (current.next(), next.next());
        let mut others: Vec<_> = current.chain(next).map(|endpoint| endpoint.id).collect();
        let mut unmarked = unmarked.into_iter();
        // One that somebody has made by hand, if there is no doubt.
        if endpoint.is_none() && next_endpoint.is_none() {
            endpoint = unmarked.next();
            if unmarked.len() > 0 {
                let ids: Vec<_> = endpoint.into_iter().chain(unmarked).map(|endpoint| endpoint.id).collect();
                return Err(format!(
                    "{} have this URL, and nothing says which one is this project's: delete all but one in Stripe",
                    ids.join(" and ")
                )
                .into());
            }
        }
        others.extend(unmarked.map(|endpoint| endpoint.id));
        let has_endpoint = endpoint.is_some() || next_endpoint.is_some() || !others.is_empty();
        let region = settings.amplitude_region;
        Ok(Found {
            references: references::State::of(&parameters, settings, &self.key_name(), has_endpoint),
            amplitude_key: value(&parameters, parameter::API_KEY),
            current_secret: value(&parameters, &names.current).filter(is_signing_secret),
            next_secret: value(&parameters, &names.next).filter(is_signing_secret),
            types,
            region,
            endpoint,
            next: next_endpoint,
            others,
        })
    }

    /// The same, with what the step before has changed.
    async fn look_after(&self, done: Option<rotation::Kind>) -> Result<Found, Box<dyn Error>> {
        let start = Instant::now();
        loop {
            let found = self.look().await?;
            if !rotation::is_outdated(done, rotation::next_step(found.state()).kind()) {
                return Ok(found);
            }
            if start.elapsed() > PATIENCE {
                return Err("what was changed is not seen yet in Stripe or in Parameter Store; run this again, and it goes on from here".into());
            }
            sleep(PAUSE).await;
        }
    }

    /// A wrong one would be noticed only by the first event.
    async fn check_amplitude_key(&self, key: &SecretString, region: Region) -> Result<(), Box<dyn Error>> {
        let destination = Destination { region, api_key: key.clone(), key: AmplitudeKey::Main };
        let client = Client::new(http::build()?, import::url_given()?);
        match check_key(&client, &destination, Instant::now() + KEY_CHECK_LIMIT).await {
            Ok(()) => Ok(()),
            Err(error @ DeliveryError::InvalidApiKey) => Err(format!("AMPLITUDE_API_KEY: {error}").into()),
            Err(error) => {
                terminal::print(&wrap(
                    "note: ",
                    6,
                    &format!("whether Amplitude knows the API key cannot be told: {error}"),
                ))?;
                Ok(())
            }
        }
    }

    /// The key to write, if it is not what is there.
    fn new_amplitude_key(&self, found: &Found) -> Result<Option<SecretString>, String> {
        match (&found.amplitude_key, key::AMPLITUDE.given()) {
            (None, _) => key::AMPLITUDE.required().map(Some),
            // One thing at a time.
            (Some(_), _) if self.arguments.rotate => Ok(None),
            (Some(stored), given) => Ok(given.filter(|given| given.expose_secret() != stored.expose_secret())),
        }
    }

    /// What is to be done, and in words, what is not as it should be.
    fn plan(&self, found: &Found) -> Result<(Work, Vec<String>), String> {
        let Self { arguments, folder, names, .. } = self;
        let Arguments { rotate, connect, own_account, .. } = *arguments;
        if rotation::is_under_way(found.state()) {
            let line = "another endpoint is taking the place of the old one; that goes on";
            return Ok((Work::Replace { is_under_way: true }, vec![line.to_owned()]));
        }
        let Some(endpoint) = &found.endpoint else {
            if found.current_secret.is_some() {
                return Err(format!(
                    "{folder}/{current} has the secret of an endpoint that this key of Stripe's does not see. If that is one of another account or mode, give this one a label: --source LABEL. If it is gone, delete the parameter: aws ssm delete-parameter --name {folder}/{current}",
                    current = names.current
                ));
            }
            if rotate {
                return Err(
                    "there is no endpoint of this URL, and so nothing to rotate; without --rotate, it is created"
                        .to_owned(),
                );
            }
            let of_accounts = if connect { " of connected accounts" } else { "" };
            let create = format!(
                "an endpoint is created, for {}{of_accounts}, with API version {API_VERSION}",
                count_of(&found.types)
            );
            let write = format!("its signing secret goes to {folder}/{}", names.current);
            return Ok((Work::Create, vec![create, write]));
        };
        let (own, connected) = ("of the account itself", "of connected accounts");
        let (is, wanted) = match mark::is_connect(endpoint) {
            Some(false) if connect => (own, connected),
            Some(true) if own_account => (connected, own),
            _ => ("", ""),
        };
        if !is.is_empty() {
            return Err(format!(
                "{} is for the events {is}, which cannot be changed; an endpoint for those {wanted} takes a secret of its own: --source LABEL",
                endpoint.id
            ));
        }
        let differences = difference::between(endpoint, &self.url, &found.types, found.current_secret.is_some());
        let mut lines: Vec<_> = differences.iter().map(|difference| format!("{}: {difference}", endpoint.id)).collect();
        if rotate {
            lines.push(format!("{}: its signing secret is rotated", endpoint.id));
        }
        let is_left = found.next_secret.is_some();
        if is_left {
            lines.push(format!("{folder}/{} has the secret of an endpoint that is gone, and is deleted", names.next));
        }
        let work = if rotate || differences.iter().any(Difference::takes_another_endpoint) {
            if self.is_connect(endpoint).is_none() {
                return Err(format!(
                    "another endpoint would take the place of {id}, which was made by hand, and Stripe does not say whose events it gets: say --own-account, or --connect if it is for connected accounts. {lines}",
                    id = endpoint.id,
                    lines = lines.join("; "),
                ));
            }
            Work::Replace { is_under_way: false }
        } else if differences.is_empty() && !is_left {
            Work::Nothing
        } else {
            Work::Update
        };
        Ok((work, lines))
    }

    /// Creates an endpoint and writes its secret, and gives it. Stripe tells it this once: without it, an endpoint is
    /// worth nothing.
    async fn create(&self, parameter: &str, types: &[String], connect: bool) -> Result<SecretString, Box<dyn Error>> {
        let project = &self.arguments.project;
        let mut fields = vec![
            ("url", self.url.clone()),
            ("api_version", API_VERSION.to_owned()),
            ("description", format!("stripe-amplitude, project {project}")),
        ];
        fields.extend(types.iter().map(|event_type| ("enabled_events[]", event_type.clone())));
        // An empty one takes back what is there, and nothing is.
        let mark = mark::fields(project, parameter, Some(connect)).into_iter().filter(|(_, value)| !value.is_empty());
        fields.extend(mark);
        fields.extend(connect.then(|| ("connect", "true".to_owned())));
        let created = endpoints::create(&self.api, &fields).await;
        let (id, secret) = created.map_err(|error| match error.problem {
            api::Problem::Refused { status: 400, .. } => format!(
                "{error}; an account may have 16 endpoints in each mode, and a URL has to be one that Stripe can reach"
            ),
            _ => error.to_string(),
        })?;
        if let Err(why) = self.projects.put(project, parameter, &secret).await {
            // It may have been written all the same, where there was no answer.
            let _ = self.projects.delete(project, parameter).await;
            return Err(match endpoints::delete(&self.api, &id).await {
                Ok(()) => format!("{why}. The new endpoint {id} is deleted again: nobody knows its secret any more"),
                Err(error) => format!(
                    "{why}. Nobody knows the secret of the new endpoint {id} any more; delete it in Stripe, because that failed, too: {error}"
                ),
            }
            .into());
        }
        say!("{id} is created, and its signing secret is in {}/{parameter}.", self.folder)?;
        Ok(secret)
    }

    /// Fixes what can be changed.
    async fn update(&self, found: &Found) -> Result<(), Box<dyn Error>> {
        let Some(endpoint) = &found.endpoint else { return Ok(()) };
        let mut fields = vec![("disabled", "false".to_owned()), ("url", self.url.clone())];
        fields.extend(found.types.iter().map(|event_type| ("enabled_events[]", (*event_type).to_owned())));
        fields.extend(self.mark(endpoint, &self.names.current));
        endpoints::update(&self.api, &endpoint.id, &fields).await?;
        if !endpoint.is_enabled() {
            let project = &self.arguments.project;
            let text = format!(
                "what happened while {} was disabled does not come automatically; this brings it, after the setup: cargo cli-aws backfill --project {project} --since …",
                endpoint.id
            );
            terminal::print(&wrap("note: ", 6, &text))?;
        }
        if found.next_secret.is_some() {
            self.projects.delete(&self.arguments.project, &self.names.next).await?;
        }
        say!("{} is as it should be.", endpoint.id)?;
        Ok(())
    }

    fn mark(&self, endpoint: &WebhookEndpoint, parameter: &str) -> Vec<(&'static str, String)> {
        mark::fields(&self.arguments.project, parameter, self.is_connect(endpoint))
    }

    /// Whether an endpoint gets the events of connected accounts, as far as it, or somebody, says so.
    fn is_connect(&self, endpoint: &WebhookEndpoint) -> Option<bool> {
        let Arguments { connect, own_account, .. } = self.arguments;
        mark::is_connect(endpoint).or((connect || own_account).then_some(connect))
    }

    /// Puts another endpoint into the place of the one that is there, from wherever that stopped. Tells whether it is
    /// done.
    async fn replace(&self, found: &Found, is_under_way: bool) -> Result<bool, Box<dyn Error>> {
        let Self { api, names, folder, projects, arguments: Arguments { project, .. }, .. } = self;
        if !is_under_way && let Some(old) = &found.endpoint {
            // So that it is known again when the second one is there. And whether what it owes may be asked, before
            // anything is begun.
            self.owed(&found.types, clock::now().cast_signed(), old).await?;
            if mark::of(old).is_none() || mark::is_connect(old).is_none() {
                endpoints::update(api, &old.id, &self.mark(old, &names.current)).await?;
            }
        }
        let mut has_begun = is_under_way;
        let mut done = None;
        loop {
            let found = self.look_after(done).await?;
            let step = rotation::next_step(found.state());
            done = Some(step.kind());
            match step {
                Step::Begin if has_begun => return Ok(true),
                Step::Begin => {
                    let connect = found.endpoint.as_ref().and_then(|old| self.is_connect(old)).unwrap_or(false);
                    self.create(&names.next, &[HARMLESS_TYPE.to_owned()], connect).await?;
                    has_begun = true;
                }
                Step::Discard { id } => {
                    endpoints::delete(api, id).await?;
                    say!("{id} is deleted: its signing secret was lost on the way.")?;
                    has_begun = false;
                }
                Step::Open { id, secret } => {
                    proof::prove(&self.url, &secret.into()).await.map_err(|why| {
                        format!("the function does not know the new signing secret yet: {why}. The old one works as before; run this again when that is fixed")
                    })?;
                    // If it was open before, it was closed meanwhile: it gets every event from now on, and not from then on.
                    let mut fields = vec![("disabled", "false".to_owned()), mark::forget_complete_since()];
                    fields.extend(found.types.iter().map(|event_type| ("enabled_events[]", (*event_type).to_owned())));
                    endpoints::update(api, id, &fields).await?;
                    say!("{id} works, and gets every event from now on.")?;
                }
                Step::Note { id } => {
                    let now = self.stripes_clock(id).await?;
                    endpoints::update(api, id, &[mark::complete_since(now + MARGIN)]).await?;
                }
                Step::Retire { old, complete_since } => {
                    if !self.drain_old_endpoint(&found, old, complete_since).await? {
                        return Ok(false);
                    }
                    endpoints::delete(api, &old.id).await?;
                    say!("{} is deleted.", old.id)?;
                }
                Step::Overwrite { secret } => {
                    projects.put(project, &names.current, &secret.into()).await?;
                    say!("The new signing secret is in {folder}/{}.", names.current)?;
                }
                Step::Mark { id } => {
                    let Some(next) = &found.next else { continue };
                    endpoints::update(api, id, &self.mark(next, &names.current)).await?;
                }
                Step::Tidy { is_end } => {
                    projects.delete(project, &names.next).await?;
                    say!("{folder}/{} is deleted.", names.next)?;
                    has_begun |= is_end;
                }
            }
        }
    }

    /// Waits for what the old endpoint alone is to get; `false` where that takes longer than anybody waits.
    async fn drain_old_endpoint(
        &self,
        found: &Found,
        old: &WebhookEndpoint,
        complete_since: i64,
    ) -> Result<bool, Box<dyn Error>> {
        let Arguments { project, source, finish, .. } = &self.arguments;
        let id = &old.id;
        // Of more than what is missing: who knows what Stripe says of events of an endpoint that is gone. Amplitude drops
        // what it has.
        let since = clock::in_utc(rotation::oldest_tried(complete_since), "%Y-%m-%dT%H:%M:%SZ");
        let source = source.as_ref().map(|label| format!(" --source {label}")).unwrap_or_default();
        let account = if mark::is_connect(old) == Some(true) {
            " --account acct_…, for each of the connected accounts"
        } else {
            ""
        };
        let backfill = format!("cargo cli-aws backfill --project {project} --since {since}{source}{account}");
        let start = Instant::now();
        let mut told = 0;
        loop {
            let now = self.stripes_clock(id).await?;
            if !rotation::may_owe(found.state(), old, complete_since, now) {
                if now < rotation::given_up_at(complete_since) {
                    let text = format!(
                        "the events of the last days that {id} could not deliver are not in Amplitude; this brings them, after the setup: {backfill}"
                    );
                    terminal::print(&wrap("note: ", 6, &text))?;
                }
                return Ok(true);
            }
            if now >= complete_since {
                // The events of connected accounts are in the lists of those accounts.
                let is_connect = mark::is_connect(old) == Some(true);
                let owed = if is_connect { 0 } else { self.owed(&found.types, complete_since, old).await? };
                if owed == 0 && !is_connect {
                    return Ok(true);
                }
                let owes = if is_connect {
                    "Stripe does not tell in one list what is still to be delivered of connected accounts".to_owned()
                } else {
                    format!(
                        "{} still to be delivered, to {id} or to another endpoint: Stripe does not say which",
                        are(owed)
                    )
                };
                if *finish {
                    let text = format!("{owes}. What {id} had still to deliver, this brings: {backfill}");
                    terminal::print(&wrap("note: ", 6, &text))?;
                    return Ok(true);
                }
                if is_connect || start.elapsed() > PATIENCE {
                    let at = clock::show(rotation::given_up_at(complete_since));
                    let text = format!(
                        "{owes}. Both endpoints work meanwhile. Run `setup --rotate` again later, and it goes on from here: when they are delivered, or after {at} (UTC), when Stripe has given up. Or add --finish, and then bring what is missing: {backfill}"
                    );
                    terminal::print(&wrap("Waiting: ", 0, &text))?;
                    return Ok(false);
                }
                if told != owed {
                    say!("Waiting: {} still to be delivered.", are(owed))?;
                    told = owed;
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// How many events Stripe still tries to deliver, of those before a time, to one endpoint at least.
    async fn owed(&self, types: &[String], before: i64, old: &WebhookEndpoint) -> Result<usize, Box<dyn Error>> {
        let now = self.stripes_clock(&old.id).await?;
        let created = rotation::oldest_tried(now)..before;
        let filter = Filter { types: types.to_vec(), created, undelivered: true };
        Ok(events::count(&self.api, &filter, MOST_COUNTED).await?)
    }

    /// In Unix seconds. Ours may be another one.
    async fn stripes_clock(&self, id: &str) -> Result<i64, Box<dyn Error>> {
        let date = endpoints::date(&self.api, id).await?;
        Ok(date.as_deref().and_then(clock::parse_http_date).unwrap_or_else(|| clock::now().cast_signed()))
    }
}

fn are(number: usize) -> String {
    let at_least = if number >= MOST_COUNTED { "at least " } else { "" };
    format!("{at_least}{} {}", count(number, "event"), if number == 1 { "is" } else { "are" })
}

/// The defaults, where the project has no settings.
fn settings(parameters: &[Parameter], folder: &str) -> Result<Settings, String> {
    let Some(text) = parameters.iter().find(|parameter| parameter.name == parameter::SETTINGS) else {
        return Ok(Settings::default());
    };
    Settings::parse(text.value.expose_secret().trim())
        .map_err(|error| format!("the parameter {folder}/{} cannot be used: {error}", parameter::SETTINGS))
}

/// Trimmed, as the function does; an empty one counts as none.
fn value(parameters: &[Parameter], name: &str) -> Option<SecretString> {
    let parameter = parameters.iter().find(|parameter| parameter.name == name)?;
    let value = parameter.value.expose_secret().trim();
    (!value.is_empty()).then(|| value.into())
}

/// The commonest mistake is to write an API key of Stripe's.
fn is_signing_secret(secret: &SecretString) -> bool {
    secret.expose_secret().starts_with("whsec_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(parameters: &[(&str, &str)]) -> Vec<Parameter> {
        let parameter = |(name, value): &(&str, &str)| Parameter { name: (*name).to_owned(), value: (*value).into() };
        parameters.iter().map(parameter).collect()
    }

    #[test]
    fn values_are_trimmed_and_nothing_is_none() {
        let parameters = parameters(&[("a", " x\n"), ("b", " ")]);
        assert_eq!(value(&parameters, "a").unwrap().expose_secret(), "x");
        assert!(value(&parameters, "b").is_none() && value(&parameters, "c").is_none());
    }

    #[test]
    fn settings_that_cannot_be_used_are_named_and_missing_ones_are_the_default() {
        assert_eq!(settings(&[], "/f").unwrap(), Settings::default());
        let error = settings(&parameters(&[("settings", "{\"hidden\": 1}")]), "/f/shop").unwrap_err();
        assert!(error.contains("/f/shop/settings cannot be used"), "{error}");
    }
}
