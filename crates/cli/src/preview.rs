//! `preview`: what the function would send to Amplitude, and why.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use stripe_amplitude::amplitude::client::Request;
use stripe_amplitude::code::Code;
use stripe_amplitude::follow;
use stripe_amplitude::outcome::Failure;
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::projects::parameters::{parameter, stripe_key};
use stripe_amplitude::settings::{References as FollowReferences, Settings};
use stripe_amplitude::stripe::event::Event;
use stripe_amplitude::stripe::purchase::{Found, Objects};
use stripe_amplitude::stripe::reference::Reference;
use stripe_amplitude::stripe::references::api::StripeApi;
use stripe_amplitude::stripe::references::source::Access;
use stripe_amplitude::stripe::references::{ReadRate, References, Turn};
use stripe_amplitude::stripe::signature::VerifiedBody;
use stripe_amplitude::stripe::source_label::SourceLabel;
use stripe_amplitude::translate::{Context, Unread};
use stripe_amplitude::webhook::LARGEST_BODY;
use stripe_amplitude_workbench::explanation::{Explanation, PreviewOutcome, ReadMade, Reading};
use tokio::time::Instant;

use crate::event_file::{self, Created};
use crate::exit::{Exit, Usage};
use crate::projects::DEMO;
use crate::stripe::api;
use crate::{clock, http, input, key, settings, terminal};

const UNREAD: &str = "The request depends on a read from Stripe's API. To read, add --follow and set STRIPE_RESTRICTED_KEY to a restricted key.";

/// Short, because the user waits.
const LONGEST_READ: Duration = Duration::from_secs(10);

/// Print the request that the function would send to Amplitude for an event, and explain it
///
/// Sends nothing. If the settings follow references, shows what the function would read from Stripe's API, and reads it with
/// --follow. The exit code is 1 if the function would refuse the event or fail, and otherwise 0, even if the event is ignored.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo cli preview events/stripe/charge.refunded.json
  cargo cli preview events/stripe/charge.refunded.json --settings settings.json
  cargo cli preview event.json --settings settings.json --follow
  cargo cli preview events/stripe/invoice.paid.json --request | jq '.events[].event_properties'
  stripe events retrieve evt_1… | cargo cli preview -")]
pub(crate) struct Arguments {
    /// The file of an event; - is standard input
    #[arg(value_name = "EVENT.json")]
    event: PathBuf,
    /// A file with the JSON of the project's parameter `settings` [default: the default settings]
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The project, the last part of the path
    #[arg(long, value_name = "NAME", default_value = DEMO)]
    project: ProjectName,
    /// The label of the signing secret, if the project has several
    #[arg(long, value_name = "LABEL")]
    source: Option<SourceLabel>,
    /// Event timestamp
    #[arg(long, value_enum, default_value_t = Created::Keep)]
    created: Created,
    /// Read referenced objects from Stripe's API, with the restricted key in STRIPE_RESTRICTED_KEY, like the project's
    /// stripe-api-key (or stripe-test-api-key for a test-mode event); changes nothing in Stripe
    #[arg(long)]
    follow: bool,
    /// Print only the body of the request, as sent
    #[arg(long)]
    request: bool,
}

pub(crate) async fn run(arguments: Arguments) -> Result<Exit, Box<dyn Error>> {
    let now = clock::now();
    let file = input::name(&arguments.event);
    let settings = settings(&arguments)?;
    let body = event_file::read(&arguments.event, arguments.created, now)?;
    if body.len() > LARGEST_BODY {
        return Err(refused(&file, 413, Code::BodyTooLarge, &Failure::TooLarge).into());
    }
    let body = VerifiedBody::trusted(body.into());
    let first = Event::parse(&body).map_err(|error| refused(&file, 400, (&error).into(), &error))?;
    // As if received at once.
    let received = u64::try_from(first.created).unwrap_or_default();
    let reader = if arguments.follow { Some(Reader::of(&first, &settings)?) } else { None };
    let mut objects = Objects::default();
    let mut reads = Vec::new();
    let mut explanation = loop {
        let event = Event::parse(&body).map_err(|error| refused(&file, 400, (&error).into(), &error))?;
        let context = Context {
            project: &arguments.project,
            source: arguments.source.as_ref(),
            settings: &settings,
            has_test_key: false,
            objects: Some(&objects),
        };
        let explanation = Explanation::of(event, &context, received, now)
            .map_err(|missing| refused(&file, 500, Code::MissingRate, &missing))?;
        let (PreviewOutcome::Unread(reading), Some(reader)) = (&explanation.outcome, &reader) else {
            break explanation;
        };
        let Reading { unread: Unread { reference, is_for_products }, purpose, .. } = &**reading;
        let result = reader.read(reference).await;
        let what = result.as_ref().map(|found| *found != Found::Nothing).map_err(Clone::clone);
        reads.push(ReadMade { reference: reference.clone(), purpose: purpose.clone(), result: what });
        match result {
            Ok(found) => objects.insert(reference.clone(), found),
            Err(_) if *is_for_products => objects.give_up_lines(),
            Err(why) => return Err(format!("{file}: {why}").into()),
        }
    };
    explanation.reads = reads;
    let key = format!("<{}>", parameter::API_KEY);
    if let PreviewOutcome::Unread(_) = explanation.outcome {
        let unread = format!("{}\n{explanation}", terminal::wrap("", 0, UNREAD));
        // With --request, standard output has only the request.
        if arguments.request {
            terminal::tell(&unread);
        } else {
            terminal::print(&unread)?;
        }
        return Ok(Exit::Success);
    }
    let request = explanation.sent().map(|event| Request::new(std::slice::from_ref(event), &key));
    match request {
        Some(request) if arguments.request => terminal::print(&format!("{}\n", serde_json::to_string(&request)?))?,
        // Standard output has only the request, and there is none.
        None if arguments.request => terminal::tell(&explanation.to_string()),
        Some(request) => {
            let url = explanation.region.http_v2_url();
            // Serialized directly, because an intermediate value would turn decimals into floats.
            let body = serde_json::to_string_pretty(&request)?;
            terminal::print(&format!("POST {url}\nContent-Type: application/json\n\n{body}\n\n{explanation}"))?;
        }
        None => terminal::print(&explanation.to_string())?,
    }
    Ok(Exit::Success)
}

/// Reads objects with the project's key.
struct Reader {
    references: References<StripeApi>,
    key: SecretString,
    account: Option<String>,
    is_live: bool,
}

impl Reader {
    /// For an event.
    fn of(event: &Event<'_>, settings: &Settings) -> Result<Self, Box<dyn Error>> {
        if !settings.follow() {
            return Err(unfollowed(settings).into());
        }
        let is_live = event.livemode != Some(false);
        let key = key::STRIPE_RESTRICTED;
        let text = key.required()?;
        let key = stripe_key(text.expose_secret(), is_live).map_err(|problem| format!("{} {problem}", key.variable))?;
        let references = References::new(api::objects(http::build()?)?, ReadRate::WEBHOOK);
        Ok(Self { references, key, account: event.account.as_deref().map(str::to_owned), is_live })
    }

    /// # Errors
    /// A sentence.
    async fn read(&self, reference: &Reference) -> Result<Found, String> {
        let parameter = key::STRIPE_RESTRICTED.variable;
        let Self { references, key, account, is_live } = self;
        let access = Access { key, parameter: parameter.to_owned(), account: account.clone(), is_live: *is_live };
        let read = references.read(&access, reference, Turn::Later, Instant::now() + LONGEST_READ).await;
        read.result.map_err(|error| match follow::key_problem(error) {
            Some(problem) => format!("the key in {parameter} {problem}"),
            None => Failure::Reference { kind: reference.kind, error }.to_string(),
        })
    }
}

/// Why nothing is read, and which paths therefore have no effect.
fn unfollowed(settings: &Settings) -> String {
    let followed = Settings { references: FollowReferences::Follow, ..settings.clone() };
    let anyway = settings::warnings(&followed, 0);
    let mut words = "--follow requires settings with \"references\" or \"products\": \"follow\"".to_owned();
    for warning in settings::warnings(settings, 0).iter().filter(|warning| !anyway.contains(warning)) {
        words.push_str(&format!("\nwarning: {warning}"));
    }
    words
}

/// The response of the function, which would not send the event.
fn refused(file: &str, status: u16, code: Code, reason: &dyn Error) -> String {
    format!("{file}: the function would respond with {status}, `{code}`: {reason}")
}

fn settings(arguments: &Arguments) -> Result<Settings, Box<dyn Error>> {
    let Some(path) = &arguments.settings else { return Ok(Settings::default()) };
    if input::is_standard_input(path) && input::is_standard_input(&arguments.event) {
        let text = "the event and the settings cannot both come from standard input; put one of them into a file";
        return Err(Usage(text.to_owned()).into());
    }
    Ok(settings::read(path)?.settings)
}
