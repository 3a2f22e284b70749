//! Reads recent payments and the objects around them, for [`super::identity`].

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Client as Http;
use secrecy::SecretString;
use stripe_amplitude::stripe::event::Event;
use stripe_amplitude::stripe::event_types::API_VERSION;
use stripe_amplitude::stripe::json::Json;
use stripe_amplitude::stripe::purchase::{Found, Name, Objects, Purchase};
use stripe_amplitude::stripe::reference::Reference;
use stripe_amplitude::stripe::references::api::StripeApi;
use stripe_amplitude::stripe::references::source::{Access, ReferenceError};
use stripe_amplitude::stripe::references::{ReadRate, References, Turn};
use stripe_amplitude::stripe::signature::VerifiedBody;
use tokio::time::{Instant, sleep};

use super::identity::{Payments, id_of_payment};
use crate::clock::{self, HOUR};
use crate::stripe::api::{self, Api, ApiError, Operation, Problem};
use crate::stripe::events::{self, Filter, REACH};

const PATH: &str = "/v1/payment_intents";

/// Pages of a hundred payments.
const PAGES: usize = 2;

/// Reads of single objects in a second: the function may use the same key.
const READS_PER_SECOND: u32 = 5;

/// One read, with its turn.
const READ_LIMIT: Duration = Duration::from_secs(20);

/// Reads of one object, until it is given up.
const ATTEMPTS: u32 = 5;

/// More events of payments than there are payments: in between may be some that were not listed.
const EVENTS: usize = 1000;

/// The parts of a purchase on which an app can leave an ID.
const PARTS: [Name; 4] = [Name::Customer, Name::Invoice, Name::Subscription, Name::CheckoutSession];

/// Reads what there is, with a key that was found in `place`.
///
/// # Errors
/// Where the payments themselves cannot be read, or Stripe does not know the key.
pub(super) async fn read(http: Http, key: SecretString, place: &str, rate: u32) -> Result<Payments, ApiError> {
    // In later versions, a payment does not name its invoice.
    let api = Api::new(http.clone(), key.clone(), None, rate)?.in_version(API_VERSION);
    let mut read = Payments { is_test: api.is_test(), payments: list(&api).await?, ..Payments::default() };
    read.at_event = at_event(&api).await?;
    let pace = ReadRate::unhurried(rate.min(READS_PER_SECOND) as usize);
    let references = References::new(api::objects(http)?, pace);
    let access = Access { key: &key, parameter: place.to_owned(), account: None, is_live: !api.is_test() };
    let progress = progress_bar(read.payments.len());
    let mut objects = Objects::default();
    for payment in &read.payments {
        let Some(payment) = payment.as_object() else { continue };
        for part in PARTS {
            while let Err(reference) = Purchase::seen_from(payment, &objects).object(part) {
                let found = if read.forbidden.contains(&reference.kind) {
                    Found::Nothing
                } else {
                    match patiently(&references, &access, &reference).await {
                        Ok(found) => found,
                        Err(ReferenceError::KeyRefused) => {
                            return Err(ApiError::of_read(Problem::UnknownKey, &reference));
                        }
                        Err(ReferenceError::PermissionMissing(kind)) => {
                            read.forbidden.insert(kind);
                            Found::Nothing
                        }
                        // A payment can name what is gone.
                        Err(ReferenceError::NotFound(_)) => Found::Nothing,
                        Err(_) => {
                            read.failed += 1;
                            Found::Nothing
                        }
                    }
                };
                read.found.insert(reference.clone(), found.clone());
                objects.insert(reference, found);
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(read)
}

/// The newest payments.
async fn list(api: &Api) -> Result<Vec<Json<'static>>, ApiError> {
    let mut payments: Vec<Json<'static>> = Vec::new();
    for _ in 0..PAGES {
        let mut query = vec![("limit", "100".to_owned())];
        query.extend(payments.last().and_then(id_of_payment).map(|last| ("starting_after", last)));
        let answer = api.get(PATH, &query, Operation::ListPayments).await?;
        let page: Json<'_> = answer.read()?;
        let data = page.get("data").and_then(Json::as_list).ok_or_else(|| answer.unreadable())?;
        payments.extend(data.iter().cloned().map(Json::into_owned));
        if page.get("has_more").and_then(Json::as_bool) != Some(true) || data.is_empty() {
            break;
        }
    }
    Ok(payments)
}

/// The metadata of payments as their events had it; `None` where the key may not read events.
async fn at_event(api: &Api) -> Result<Option<HashMap<String, Json<'static>>>, ApiError> {
    let now = clock::now().cast_signed();
    let types = vec!["payment_intent.succeeded".to_owned()];
    // What is listed at its far end may be gone a moment later.
    let filter = Filter { types, created: now - REACH + HOUR..now + 1, undelivered: false };
    let events = match events::newest(api, &filter, EVENTS).await {
        Err(ApiError { problem: Problem::Forbidden { .. }, .. }) => return Ok(None),
        events => events?,
    };
    let metadata = events.into_iter().filter_map(|event| {
        let body = VerifiedBody::trusted(event.body);
        let event = Event::parse(&body).ok()?;
        let id = event.object.get("id")?.as_str()?.to_owned();
        Some((id, event.object.get("metadata")?.clone().into_owned()))
    });
    Ok(Some(metadata.collect()))
}

/// What the function would put off is tried again here.
async fn patiently(
    references: &References<StripeApi>,
    access: &Access<'_>,
    reference: &Reference,
) -> Result<Found, ReferenceError> {
    let mut attempts = 1;
    loop {
        let result = references.read(access, reference, Turn::Later, Instant::now() + READ_LIMIT).await.result;
        let is_passing = matches!(
            result,
            Err(ReferenceError::Timeout
                | ReferenceError::Connection
                | ReferenceError::TooManyRequests
                | ReferenceError::Rate
                | ReferenceError::Status(500..))
        );
        if !is_passing || attempts == ATTEMPTS {
            return result;
        }
        sleep(Duration::from_secs(1) * attempts).await;
        attempts += 1;
    }
}

/// On standard error, where it is a terminal.
fn progress_bar(payments: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} payments, {eta} left");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(payments.try_into().unwrap_or(u64::MAX)).with_style(style)
}
