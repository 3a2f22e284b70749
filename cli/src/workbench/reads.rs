//! What the handler reads from Stripe's API, noted on its way, and what it was read for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::body::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stripe_amplitude::amplitude::properties::Property;
use stripe_amplitude::projects::parameters::DeliverySettings;
use stripe_amplitude::projects::parameters::parameter::STRIPE_TEST_API_KEY;
use stripe_amplitude::stripe::event::Event;
use stripe_amplitude::stripe::field_path::FieldPath;
use stripe_amplitude::stripe::json::Json;
use stripe_amplitude::stripe::purchase::{Found, Objects};
use stripe_amplitude::stripe::reference::{Reference, ReferenceKind};
use stripe_amplitude::stripe::references::api::{STRIPE_API_URL, StripeApi, understand};
use stripe_amplitude::stripe::references::source::{Access, ObjectSource, ReferenceError};
use stripe_amplitude::translate::{Context, resolve};
use stripe_emulator::Emulator;

use super::exchange::{DELIVERY, milliseconds, without_user};
use crate::explanation::{Explanation, Fate, Translated};

/// One object that an event needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Read {
    /// Behind the address of the API.
    pub(crate) path: String,
    /// No request was made for it.
    pub(crate) cached: bool,
    /// After the delivery began.
    pub(crate) after_milliseconds: f64,
    /// Until the answer, or until the function gave up.
    pub(crate) milliseconds: f64,
    /// None where there was no answer, or no request.
    pub(crate) status: Option<u16>,
    /// Why it was not read.
    pub(crate) problem: Option<String>,
    /// The object as JSON, so that what became of the event can still be explained.
    pub(crate) object: Option<String>,
}

/// The way to Stripe's API. Its clones are the same one.
#[derive(Clone)]
pub(crate) struct Reader(Arc<Inner>);

struct Inner {
    api: StripeApi,
    url: String,
    local: Option<Emulator>,
    under: Mutex<HashMap<u64, Under>>,
}

/// A delivery that is under way.
struct Under {
    began: Instant,
    /// The event, which the local Stripe has not learned from yet.
    event: Option<Bytes>,
    reads: Vec<Read>,
}

impl Reader {
    /// Reads from `local`, else at this URL, else from Stripe itself.
    pub(crate) fn new(http: reqwest::Client, local: Option<Emulator>, url: Option<String>) -> Self {
        let url = local.as_ref().map(|local| local.url().to_owned()).or(url);
        let api = StripeApi::new(http, url.clone());
        let url = without_user(&url.unwrap_or_else(|| STRIPE_API_URL.to_owned()));
        Self(Arc::new(Inner { api, url, local, under: Mutex::default() }))
    }

    /// The local Stripe, if that is where objects are read.
    pub(crate) fn local(&self) -> Option<&Emulator> {
        self.0.local.as_ref()
    }

    /// Where objects are read.
    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    /// From now on, what is read for this delivery is noted.
    pub(crate) fn watch(&self, delivery: u64, event: Bytes) {
        let event = self.local().map(|_| event);
        self.under().insert(delivery, Under { began: Instant::now(), event, reads: Vec::new() });
    }

    /// What was read for this delivery, which is answered now. The local Stripe learns from its event, if it is `signed`.
    pub(crate) fn take(&self, delivery: u64, signed: bool) -> Vec<Read> {
        if signed {
            self.learn(delivery);
        }
        let Some(Under { began, mut reads, .. }) = self.under().remove(&delivery) else { return Vec::new() };
        for read in reads.iter_mut().filter(|read| read.is_unanswered()) {
            read.milliseconds = milliseconds(began) - read.after_milliseconds;
            read.problem = Some("there was no answer for as long as the function waited".to_owned());
        }
        reads
    }

    fn learn(&self, delivery: u64) {
        let event = self.under().get_mut(&delivery).and_then(|under| under.event.take());
        let event = event.and_then(|event| serde_json::from_slice::<Value>(&event).ok());
        if let (Some(local), Some(event)) = (self.local(), event) {
            local.learn(&event);
        }
    }

    fn under(&self) -> MutexGuard<'_, HashMap<u64, Under>> {
        // No step leaves it half-done, so it is good even after a panic.
        self.0.under.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a read that begins, and gives its place among those of its delivery.
    fn note(&self, delivery: u64, reference: &Reference, cached: bool) -> Option<usize> {
        let mut under = self.under();
        let Under { began, reads, .. } = under.get_mut(&delivery)?;
        reads.push(Read {
            path: reference.path(),
            cached,
            after_milliseconds: milliseconds(*began),
            milliseconds: 0.0,
            status: None,
            problem: None,
            object: None,
        });
        Some(reads.len() - 1)
    }

    fn note_result(
        &self,
        delivery: u64,
        place: Option<usize>,
        status: Option<u16>,
        result: &Result<Found, ReferenceError>,
    ) {
        let mut under = self.under();
        let Some(Under { began, reads, .. }) = under.get_mut(&delivery) else { return };
        let Some(read) = place.and_then(|place| reads.get_mut(place)) else { return };
        if !read.cached {
            read.milliseconds = milliseconds(*began) - read.after_milliseconds;
        }
        read.status = status;
        match result {
            Ok(Found::Object(object)) => read.object = serde_json::to_string(object.as_ref()).ok(),
            Ok(Found::Nothing) => {}
            Err(error) => read.problem = Some(error.to_string()),
        }
    }
}

impl ObjectSource for Reader {
    /// As the function's own client, which it is. The handler reads for signed events only.
    async fn read(&self, access: &Access<'_>, reference: &Reference) -> Result<Found, ReferenceError> {
        let delivery = delivery();
        self.learn(delivery);
        let place = self.note(delivery, reference, false);
        let (status, result) = match self.0.api.get(access, reference).await {
            Ok((status, body)) => (Some(status.as_u16()), understand(status.as_u16(), &body, reference, access)),
            Err(_) => (None, Err(ReferenceError::Connection)),
        };
        self.note_result(delivery, place, status, &result);
        result
    }

    fn shared(&self, reference: &Reference, result: &Result<Found, ReferenceError>) {
        let delivery = delivery();
        let place = self.note(delivery, reference, true);
        self.note_result(delivery, place, None, result);
    }
}

fn delivery() -> u64 {
    DELIVERY.try_with(|delivery| *delivery).unwrap_or_default()
}

impl Read {
    fn is_unanswered(&self) -> bool {
        !self.cached && self.status.is_none() && self.problem.is_none()
    }

    /// What was found, if it was read at all.
    fn found(&self) -> Option<Found> {
        match &self.object {
            Some(object) => {
                serde_json::from_str::<Json<'_>>(object).ok().map(|json| Found::Object(Arc::new(json.into_owned())))
            }
            None => (self.problem.is_none()).then_some(Found::Nothing),
        }
    }
}

/// The objects that were read for an event, and what for.
#[derive(Default)]
pub(crate) struct Replay {
    pub(crate) objects: Objects,
    purposes: Vec<Purpose>,
}

/// Why an object was read.
struct Purpose {
    kind: ReferenceKind,
    /// The place among the reads.
    read: usize,
    /// The path of `user_id_paths` that needed it first; without one, the names of products did.
    path: Option<FieldPath>,
}

impl Replay {
    /// Goes the handler's way once more, with what it read then. `None` where it could read nothing.
    pub(crate) fn of(
        reads: &[Read],
        event: &Event<'_>,
        delivery: &DeliverySettings,
        context: &Context<'_>,
    ) -> Option<Self> {
        let has_test_key = || delivery.stripe_key_parameters().any(|name| name.starts_with(STRIPE_TEST_API_KEY));
        if !delivery.settings.follow() || (event.livemode == Some(false) && !has_test_key()) {
            return None;
        }
        let paths = &delivery.settings.user_id_paths;
        let mut replay = Self::default();
        loop {
            // Of a refund, every path is tried on the payment first.
            let mut tried = 0;
            let context = Context { objects: Some(&replay.objects), ..*context };
            let Err(unread) = resolve(event, &context, &mut |_, _| tried += 1) else { return Some(replay) };
            let path = paths.iter().cycle().nth(tried).filter(|_| !unread.is_for_products).cloned();
            // After a connection that broke, the second read of it is the one that counts.
            let asked = unread.reference.path();
            let read = reads.iter().rposition(|read| read.path == asked);
            if let Some(read) = read {
                replay.purposes.push(Purpose { kind: unread.reference.kind, read, path });
            }
            match read.and_then(|read| reads.get(read)?.found()) {
                Some(found) => replay.objects.insert(unread.reference, found),
                None if unread.is_for_products => replay.objects.give_up_lines(),
                None => return Some(replay),
            }
        }
    }

    /// The reads as the page shows them: with what each was for, and with the values that were found at paths, but not the
    /// objects, in which is more than anybody looked at.
    pub(crate) fn shown(&self, reads: &[Read], explanation: &Explanation<'_>) -> Vec<Value> {
        let translated = match &explanation.fate {
            Fate::WithoutUser(_, translated) | Fate::Sent(translated) => Some(&**translated),
            Fate::NotSelected(_) | Fate::Unread(_) => None,
        };
        let reads = reads.iter().enumerate().map(|(place, read)| {
            let purpose = self.purposes.iter().find(|purpose| purpose.read == place);
            let path = purpose.map(|purpose| purpose.path.as_ref().map_or("product_names", FieldPath::as_str));
            let found = purpose.zip(translated).map(|(purpose, translated)| found(purpose, translated));
            json!({
                "path": read.path,
                "cached": read.cached,
                "after_milliseconds": read.after_milliseconds,
                "milliseconds": read.milliseconds,
                "status": read.status,
                "problem": read.problem,
                "is_there": read.object.is_some(),
                "served": path,
                "found": found.unwrap_or_default(),
            })
        });
        reads.collect()
    }
}

/// What was found at the paths that lead into an object: a value, or why there is none.
fn found(purpose: &Purpose, translated: &Translated<'_>) -> Vec<Value> {
    let name = match purpose.kind {
        ReferenceKind::Customer => "customer",
        ReferenceKind::Subscription => "subscription",
        ReferenceKind::Invoice => "invoice",
        ReferenceKind::PaymentIntent | ReferenceKind::Charge => "payment_intent",
        ReferenceKind::Cardholder => "cardholder",
        ReferenceKind::SessionOfPayment | ReferenceKind::SessionOfSubscription => "checkout_session",
        ReferenceKind::InvoiceLines | ReferenceKind::SessionLines => {
            let names = match translated.event.event_properties.get("product_names") {
                Some(Property::Json(Json::List(names))) => names.iter().filter_map(Json::as_str).collect(),
                _ => Vec::new(),
            };
            return vec![json!({"at": "product_names", "value": names.join(", ")})];
        }
    };
    let leads_there = |path: &FieldPath| path.split_first().0 == name && path.split_first().1.is_some();
    let user = &translated.user;
    let passed_over = user.passed_over.iter().filter(|(path, _)| leads_there(path));
    let passed_over = passed_over.map(|(path, reason)| json!({"at": path.as_str(), "not": reason.to_string()}));
    let given = user.found.iter().filter(|(path, _)| leads_there(path));
    let given = given.map(|(path, id)| json!({"at": path.as_str(), "value": id}));
    let mut found: Vec<_> = passed_over.chain(given).collect();
    // Every path is tried on a refund's payment and on the refund.
    found.dedup();
    found
}
