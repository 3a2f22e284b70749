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

/// Reads of single objects per second. It is low because the function may use the same key.
const READS_PER_SECOND: u32 = 5;

/// For one read, including the wait for its turn.
const READ_LIMIT: Duration = Duration::from_secs(20);

/// Maximum attempts to read one object.
const ATTEMPTS: u32 = 5;

/// More than the listed payments, because events of other payments may be in between.
const EVENTS: usize = 1000;

/// The objects of a purchase where an app can store an ID.
const PARTS: [Name; 4] = [Name::Customer, Name::Invoice, Name::Subscription, Name::CheckoutSession];

/// Reads with a key from `place`.
///
/// # Errors
/// If the payments themselves cannot be read, or Stripe rejects the key.
pub(super) async fn read(http: Http, key: SecretString, place: &str, rate: u32) -> Result<Payments, ApiError> {
    // Later versions lack the invoice of a payment.
    let api = Api::new(http.clone(), key.clone(), None, rate)?.in_version(API_VERSION);
    let mut read = Payments { is_test: api.is_test(), payments: list(&api).await?, ..Payments::default() };
    read.at_event = at_event(&api).await?;
    let read_rate = ReadRate::unhurried(rate.min(READS_PER_SECOND) as usize);
    let references = References::new(api::objects(http)?, read_rate);
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
                    match read_with_retries(&references, &access, &reference).await {
                        Ok(found) => found,
                        Err(ReferenceError::KeyRefused) => {
                            return Err(ApiError::of_read(Problem::UnknownKey, &reference));
                        }
                        Err(ReferenceError::PermissionMissing(kind)) => {
                            read.forbidden.insert(kind);
                            Found::Nothing
                        }
                        // A payment can name a deleted object.
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

/// The metadata of payments in their events; `None` if the key may not read events.
async fn at_event(api: &Api) -> Result<Option<HashMap<String, Json<'static>>>, ApiError> {
    let now = clock::now().cast_signed();
    let types = vec!["payment_intent.succeeded".to_owned()];
    // The oldest listed events may disappear any moment.
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

/// Retries failures for which the function would defer an event.
async fn read_with_retries(
    references: &References<StripeApi>,
    access: &Access<'_>,
    reference: &Reference,
) -> Result<Found, ReferenceError> {
    let mut attempts = 1;
    loop {
        let result = references.read(access, reference, Turn::Later, Instant::now() + READ_LIMIT).await.result;
        let is_temporary = matches!(
            result,
            Err(ReferenceError::Timeout
                | ReferenceError::Connection
                | ReferenceError::TooManyRequests
                | ReferenceError::Rate
                | ReferenceError::Status(500..))
        );
        if !is_temporary || attempts == ATTEMPTS {
            return result;
        }
        sleep(Duration::from_secs(1) * attempts).await;
        attempts += 1;
    }
}

/// Shown on standard error if that is a terminal.
fn progress_bar(payments: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} payments, {eta} left");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(payments.try_into().unwrap_or(u64::MAX)).with_style(style)
}
