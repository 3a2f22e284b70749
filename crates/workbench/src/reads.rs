//! Records what the handler reads from Stripe's API, and why.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::body::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stripe_amplitude::amplitude::properties::Property;
use stripe_amplitude::projects::parameters::parameter::STRIPE_TEST_API_KEY;
use stripe_amplitude::projects::project::AmplitudeConfig;
use stripe_amplitude::stripe::event::Event;
use stripe_amplitude::stripe::field_path::FieldPath;
use stripe_amplitude::stripe::json::Json;
use stripe_amplitude::stripe::purchase::{Found, Objects};
use stripe_amplitude::stripe::reference::{Reference, ReferenceKind};
use stripe_amplitude::stripe::references::api::{STRIPE_API_URL, StripeApi, classify_response};
use stripe_amplitude::stripe::references::source::{Access, ObjectSource, ReferenceError};
use stripe_amplitude::translate::{Context, resolve};
use stripe_amplitude_common::http::without_user;
use stripe_emulator::Emulator;

use crate::exchange::{DELIVERY, milliseconds};
use crate::explanation::{Explanation, PreviewOutcome, Translated};

const ONLY_ID_KNOWN: &str = "the local Stripe knows only its ID";

/// A preface for the explanation that lists the objects of which the local Stripe knew only the ID. Empty if there are
/// none.
pub(crate) fn only_named(reads: &[Read]) -> String {
    let mut paths: Vec<_> = reads.iter().filter(|read| read.only_named).map(|read| &*read.path).collect();
    paths.dedup();
    if paths.is_empty() {
        return String::new();
    }
    let paths: String = paths.into_iter().map(|path| format!("  GET {path}\n")).collect();
    format!(
        "Read, but {ONLY_ID_KNOWN}:\n{paths}  It knows only fields that were in an event. Add objects with --objects FILE, or use\n  --stripe real to read from your account.\n\n"
    )
}

/// A read of an object that an event needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Read {
    /// Relative to the API's address.
    pub(crate) path: String,
    /// Served from the cache, without a request.
    pub(crate) cached: bool,
    /// Since the delivery began.
    pub(crate) after_milliseconds: f64,
    /// Until the response, or until the function timed out.
    pub(crate) milliseconds: f64,
    /// `None` without a response or a request.
    pub(crate) status: Option<u16>,
    /// Why the read failed.
    pub(crate) problem: Option<String>,
    /// The local Stripe knows only the ID, or nothing. Missing in files of earlier versions.
    #[serde(default)]
    pub(crate) only_named: bool,
    /// The object as JSON, so that the event can still be explained later.
    pub(crate) object: Option<String>,
}

/// Reads from Stripe's API. Clones share their state.
#[derive(Clone)]
pub(crate) struct Reader(Arc<Inner>);

struct Inner {
    api: StripeApi,
    url: String,
    local: Option<Emulator>,
    active: Mutex<HashMap<u64, ActiveDelivery>>,
}

/// A delivery in progress.
struct ActiveDelivery {
    began: Instant,
    /// The event, until the local Stripe has learned from it.
    event: Option<Bytes>,
    reads: Vec<Read>,
}

impl Reader {
    /// Reads from `local`, or else from this URL, or else from Stripe itself.
    pub(crate) fn new(http: reqwest::Client, local: Option<Emulator>, url: Option<String>) -> Self {
        let url = local.as_ref().map(|local| local.url().to_owned()).or(url);
        let api = StripeApi::new(http, url.clone());
        let url = without_user(&url.unwrap_or_else(|| STRIPE_API_URL.to_owned()));
        Self(Arc::new(Inner { api, url, local, active: Mutex::default() }))
    }

    /// The local Stripe, if objects are read from it.
    pub(crate) fn local(&self) -> Option<&Emulator> {
        self.0.local.as_ref()
    }

    /// The URL that objects are read from.
    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    /// Starts to record the reads of this delivery.
    pub(crate) fn watch(&self, delivery: u64, event: Bytes) {
        let event = self.local().map(|_| event);
        self.active().insert(delivery, ActiveDelivery { began: Instant::now(), event, reads: Vec::new() });
    }

    /// Returns the reads of this delivery, which has ended, and stops recording. The local Stripe learns from the event if it
    /// is `signed`.
    pub(crate) fn take(&self, delivery: u64, signed: bool) -> Vec<Read> {
        if signed {
            self.learn(delivery);
        }
        let Some(ActiveDelivery { began, mut reads, .. }) = self.active().remove(&delivery) else { return Vec::new() };
        for read in reads.iter_mut().filter(|read| read.is_unanswered()) {
            read.milliseconds = milliseconds(began) - read.after_milliseconds;
            read.problem = Some("timed out".to_owned());
        }
        reads
    }

    fn learn(&self, delivery: u64) {
        let event = self.active().get_mut(&delivery).and_then(|active| active.event.take());
        let event = event.and_then(|event| serde_json::from_slice::<Value>(&event).ok());
        if let (Some(local), Some(event)) = (self.local(), event) {
            local.learn(&event);
        }
    }

    fn active(&self) -> MutexGuard<'_, HashMap<u64, ActiveDelivery>> {
        // Each change is complete, so the map is valid even after a panic.
        self.0.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the start of a read and returns its index within the delivery.
    fn record_start(&self, delivery: u64, reference: &Reference, cached: bool) -> Option<usize> {
        let mut active = self.active();
        let ActiveDelivery { began, reads, .. } = active.get_mut(&delivery)?;
        reads.push(Read {
            path: reference.path(),
            cached,
            after_milliseconds: milliseconds(*began),
            milliseconds: 0.0,
            status: None,
            problem: None,
            only_named: false,
            object: None,
        });
        Some(reads.len() - 1)
    }

    fn record_result(
        &self,
        delivery: u64,
        place: Option<usize>,
        status: Option<u16>,
        result: &Result<Found, ReferenceError>,
    ) {
        let mut active = self.active();
        let Some(ActiveDelivery { began, reads, .. }) = active.get_mut(&delivery) else { return };
        let Some(read) = place.and_then(|place| reads.get_mut(place)) else { return };
        if !read.cached {
            read.milliseconds = milliseconds(*began) - read.after_milliseconds;
        }
        read.status = status;
        read.only_named = self.0.local.is_some() && is_only_named(result);
        match result {
            Ok(Found::Object(object)) => read.object = serde_json::to_string(object.as_ref()).ok(),
            Ok(Found::Nothing) => {}
            Err(error) => read.problem = Some(error.to_string()),
        }
    }
}

impl ObjectSource for Reader {
    /// Reads with the function's own client. The handler reads for signed events only.
    async fn read(&self, access: &Access<'_>, reference: &Reference) -> Result<Found, ReferenceError> {
        let delivery = delivery();
        self.learn(delivery);
        let place = self.record_start(delivery, reference, false);
        let (status, result) = match self.0.api.get(access, reference).await {
            Ok((status, body)) => (Some(status.as_u16()), classify_response(status.as_u16(), &body, reference, access)),
            Err(_) => (None, Err(ReferenceError::Connection)),
        };
        self.record_result(delivery, place, status, &result);
        result
    }

    fn shared(&self, reference: &Reference, result: &Result<Found, ReferenceError>) {
        let delivery = delivery();
        let place = self.record_start(delivery, reference, true);
        self.record_result(delivery, place, None, result);
    }
}

/// Whether the result has nothing but an ID.
fn is_only_named(result: &Result<Found, ReferenceError>) -> bool {
    match result {
        Ok(Found::Nothing) | Err(ReferenceError::NotFound(_)) => true,
        Err(_) => false,
        Ok(Found::Object(object)) => {
            let object = serde_json::to_value(object.as_ref()).unwrap_or_default();
            let is_trivial = |(name, value): (&String, &Value)| match name.as_str() {
                "id" | "object" | "url" | "has_more" => true,
                "data" => value.as_array().is_some_and(Vec::is_empty),
                _ => false,
            };
            object.as_object().is_some_and(|fields| fields.iter().all(is_trivial))
        }
    }
}

fn delivery() -> u64 {
    DELIVERY.try_with(|delivery| *delivery).unwrap_or_default()
}

impl Read {
    fn is_unanswered(&self) -> bool {
        !self.cached && self.status.is_none() && self.problem.is_none()
    }

    /// The result, if the read succeeded.
    fn found(&self) -> Option<Found> {
        match &self.object {
            Some(object) => {
                serde_json::from_str::<Json<'_>>(object).ok().map(|json| Found::Object(Arc::new(json.into_owned())))
            }
            None => (self.problem.is_none()).then_some(Found::Nothing),
        }
    }
}

/// The objects that were read for an event, and why.
#[derive(Default)]
pub(crate) struct Replay {
    pub(crate) objects: Objects,
    purposes: Vec<Purpose>,
}

/// Why an object was read.
struct Purpose {
    kind: ReferenceKind,
    /// The index among the reads.
    read: usize,
    /// The first path of `user_id_paths` that needed it; `None` if the product names did.
    path: Option<FieldPath>,
}

impl Replay {
    /// Repeats the handler's steps with the objects that it read. `None` if the settings allow no reads.
    pub(crate) fn of(
        reads: &[Read],
        event: &Event<'_>,
        delivery: &AmplitudeConfig,
        context: &Context<'_>,
    ) -> Option<Self> {
        let has_test_key = || delivery.stripe_key_parameters().any(|name| name.starts_with(STRIPE_TEST_API_KEY));
        if !delivery.settings.follow() || (event.livemode == Some(false) && !has_test_key()) {
            return None;
        }
        let paths = &delivery.settings.user_id_paths;
        let mut replay = Self::default();
        loop {
            // For a refund, each path is tried on the payment first.
            let mut tried = 0;
            let context = Context { objects: Some(&replay.objects), ..*context };
            let Err(unread) = resolve(event, &context, &mut |_, _| tried += 1) else { return Some(replay) };
            let path = paths.iter().cycle().nth(tried).filter(|_| !unread.is_for_products).cloned();
            // After a broken connection, the second read counts.
            let wanted = unread.reference.path();
            let read = reads.iter().rposition(|read| read.path == wanted);
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

    /// The reads for the page: why each was made, and the values at the paths, but not the whole objects, which contain
    /// more than was used.
    pub(crate) fn shown(&self, reads: &[Read], explanation: &Explanation<'_>) -> Vec<Value> {
        let translated = match &explanation.outcome {
            PreviewOutcome::WithoutUser(_, translated) | PreviewOutcome::Sent(translated) => Some(&**translated),
            PreviewOutcome::NotSelected(_) | PreviewOutcome::Unread(_) => None,
        };
        let reads = reads.iter().enumerate().map(|(place, read)| {
            let purpose = self.purposes.iter().find(|purpose| purpose.read == place);
            let path = purpose.map(|purpose| purpose.path.as_ref().map_or("product_names", FieldPath::as_str));
            let known = purpose.filter(|_| read.object.is_some()).zip(translated);
            let found = known.map(|(purpose, translated)| self.found(purpose, translated, read.only_named));
            json!({
                "path": read.path,
                "cached": read.cached,
                "after_milliseconds": read.after_milliseconds,
                "milliseconds": read.milliseconds,
                "status": read.status,
                "problem": read.problem,
                "only_named": read.only_named,
                "is_there": read.object.is_some(),
                "served": path,
                "found": found.unwrap_or_default(),
            })
        });
        reads.collect()
    }

    /// The results of the paths into an object: a value, or why there is none.
    fn found(&self, purpose: &Purpose, translated: &Translated<'_>, only_named: bool) -> Vec<Value> {
        let names: &[&str] = match purpose.kind {
            ReferenceKind::Customer => &["customer"],
            ReferenceKind::Subscription => &["subscription"],
            // An invoice has a snapshot of the subscription's metadata, which suffices if it has the value.
            ReferenceKind::Invoice if !self.has_read(ReferenceKind::Subscription) => &["invoice", "subscription"],
            ReferenceKind::Invoice => &["invoice"],
            ReferenceKind::PaymentIntent | ReferenceKind::Charge => &["payment_intent"],
            ReferenceKind::Cardholder => &["cardholder"],
            ReferenceKind::SessionOfPayment | ReferenceKind::SessionOfSubscription => &["checkout_session"],
            ReferenceKind::InvoiceLines | ReferenceKind::SessionLines => {
                let names = match translated.event.event_properties.get("product_names") {
                    Some(Property::Json(Json::List(names))) => names.iter().filter_map(Json::as_str).collect(),
                    _ => Vec::new(),
                };
                return vec![json!({"at": "product_names", "value": names.join(", ")})];
            }
        };
        let leads_there = |path: &FieldPath| {
            let (first, rest) = path.split_first();
            names.contains(&first) && rest.is_some()
        };
        let user = &translated.user;
        let passed_over = user.passed_over.iter().filter(|(path, _)| leads_there(path));
        let passed_over = passed_over.map(|(path, reason)| {
            let why = if only_named { ONLY_ID_KNOWN.to_owned() } else { reason.to_string() };
            json!({"at": path.as_str(), "not": why})
        });
        let given = user.found.iter().filter(|(path, _)| leads_there(path));
        let given = given.map(|(path, id)| json!({"at": path.as_str(), "value": id}));
        let mut found: Vec<_> = passed_over.chain(given).collect();
        // For a refund, each path is tried on the payment and on the refund.
        found.dedup();
        found
    }

    fn has_read(&self, kind: ReferenceKind) -> bool {
        self.purposes.iter().any(|purpose| purpose.kind == kind)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stripe_amplitude::projects::parameters::Parameter;
    use stripe_amplitude::projects::project::Project;
    use stripe_amplitude::stripe::signature::VerifiedBody;

    use super::*;

    const SETTINGS: &str = r#"{"references": "follow", "products": "follow", "max_age_days": 0,
        "user_id_paths": ["metadata.user_id", "subscription.metadata.user_id", "checkout_session.client_reference_id"]}"#;

    fn read(path: &str, object: Option<Value>) -> Read {
        Read {
            path: path.to_owned(),
            cached: false,
            after_milliseconds: 1.0,
            milliseconds: 2.0,
            status: Some(200),
            problem: None,
            only_named: false,
            object: object.map(|object| object.to_string()),
        }
    }

    /// The reads for the page, and the user.
    fn shown(object: &Value, reads: &[Read]) -> (Vec<Value>, Option<String>) {
        let parameter = |name: &str, value: &str| Parameter { name: name.to_owned(), value: value.into() };
        let parameters = vec![
            parameter("stripe-signing-secret", "whsec_a"),
            parameter("amplitude-api-key", "key"),
            parameter("stripe-api-key", "rk_live_1"),
            parameter("settings", SETTINGS),
        ];
        let delivery = Project::from_parameters(parameters, "/p").delivery.unwrap();
        let event = json!({"id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "created": 1,
                           "livemode": true, "data": {"object": object}});
        let body = VerifiedBody::trusted(event.to_string().into());
        let (event, project) = (Event::parse(&body).unwrap(), "demo".parse().unwrap());
        let mut context = Context {
            project: &project,
            source: None,
            settings: &delivery.settings,
            has_test_key: false,
            objects: None,
        };
        let replay = Replay::of(reads, &event, &delivery, &context).unwrap();
        context.objects = Some(&replay.objects);
        let explanation = Explanation::of(event, &context, 1, 1).unwrap();
        let user = explanation.sent().and_then(|event| event.user_id.clone());
        (replay.shown(reads, &explanation), user)
    }

    #[test]
    fn reads_show_purpose_and_value_only() {
        let payment = json!({"id": "pi_1", "object": "payment_intent", "customer": "cus_1", "invoice": "in_1"});
        let hidden = json!({"id": "in_1", "object": "invoice", "subscription": "sub_1", "customer_email": "a@example.com",
                            "subscription_details": {"metadata": {"user_id": "user_1"}}});
        let lines = json!({"object": "list", "data": [{"price": {"product": {"id": "prod_1", "name": "Plan"}}}]});
        let lines_path = "/v1/invoices/in_1/lines?limit=100&expand%5B%5D=data.price.product";
        let reads = [read("/v1/invoices/in_1", Some(hidden)), read(lines_path, Some(lines))];
        let (shown, user) = shown(&payment, &reads);
        assert_eq!(user.as_deref(), Some("user_1"));
        assert_eq!(shown[0]["served"], "subscription.metadata.user_id");
        assert_eq!(shown[0]["found"], json!([{"at": "subscription.metadata.user_id", "value": "user_1"}]));
        assert_eq!(shown[1]["found"], json!([{"at": "product_names", "value": "Plan"}]));
        assert!(!json!(shown).to_string().contains("a@example.com"), "{shown:?}");
    }

    #[test]
    fn the_local_stripe_learns_from_signed_events_only() {
        let local = Emulator::start().unwrap();
        let reader = Reader::new(stripe_amplitude_common::http::build().unwrap(), Some(local.clone()), None);
        let event = r#"{"data": {"object": {"id": "cus_1", "object": "customer"}}}"#;
        for (delivery, signed) in [(1, false), (2, true)] {
            reader.watch(delivery, Bytes::from(event));
            assert_eq!(reader.take(delivery, signed), []);
            let mut is_known = false;
            local.update("cus_1", |_| is_known = true);
            assert_eq!(is_known, signed);
        }
    }

    #[tokio::test]
    async fn objects_known_only_by_id_are_marked() {
        let local = Emulator::start().unwrap();
        local.allow_any_key();
        local.learn(&json!({"livemode": true, "data": {"object": {"id": "pi_1", "object": "payment_intent",
                                                                  "customer": "cus_1"}}}));
        local.put(json!({"id": "cus_2", "object": "customer", "metadata": {}})).unwrap();
        let reader = Reader::new(stripe_amplitude_common::http::build().unwrap(), Some(local), None);
        let key = "rk_live_1".into();
        let access = Access { key: &key, parameter: "/p/stripe-api-key".to_owned(), account: None, is_live: true };
        reader.watch(1, Bytes::new());
        for (kind, id) in [
            (ReferenceKind::Customer, "cus_1"),
            (ReferenceKind::Customer, "cus_2"),
            (ReferenceKind::Invoice, "in_1"),
            (ReferenceKind::SessionOfPayment, "pi_1"),
        ] {
            let reference = Reference { kind, id: id.to_owned() };
            let _ = DELIVERY.scope(1, reader.read(&access, &reference)).await;
        }
        let reads = reader.take(1, true);
        let marks: Vec<_> = reads.iter().map(|read| read.only_named).collect();
        assert_eq!(marks, [true, false, true, true]);
        let words = only_named(&reads);
        assert!(words.contains("\n  GET /v1/customers/cus_1\n") && !words.contains("cus_2"), "{words}");
        assert_eq!(only_named(&reads[1..2]), "");
    }

    #[test]
    fn unknown_fields_are_not_called_missing() {
        let payment = json!({"id": "pi_1", "object": "payment_intent", "invoice": "in_1"});
        let invoice = json!({"id": "in_1", "object": "invoice", "subscription": "sub_1"});
        let mut subscription = read("/v1/subscriptions/sub_1", Some(json!({"id": "sub_1", "object": "subscription"})));
        subscription.only_named = true;
        let sessions = read("/v1/checkout/sessions?subscription=sub_1&limit=1", None);
        let of_payment = read("/v1/checkout/sessions?payment_intent=pi_1&limit=1", None);
        let lines = read("/v1/invoices/in_1/lines?limit=100&expand%5B%5D=data.price.product", None);
        let reads = [read("/v1/invoices/in_1", Some(invoice)), subscription, sessions, of_payment, lines];
        let (shown, _) = shown(&payment, &reads);
        assert_eq!(shown[1]["only_named"], true);
        assert_eq!(shown[1]["found"], json!([{"at": "subscription.metadata.user_id", "not": ONLY_ID_KNOWN}]));
    }

    #[tokio::test]
    async fn reads_are_recorded_without_the_key() {
        let local = Emulator::start().unwrap();
        local.put(json!({"id": "cus_1", "object": "customer", "metadata": {"user_id": "user_1"}})).unwrap();
        let reader = Reader::new(stripe_amplitude_common::http::build().unwrap(), Some(local), None);
        let key = "rk_test_hidden".into();
        let access =
            Access { key: &key, parameter: "/p/stripe-test-api-key".to_owned(), account: None, is_live: false };
        let reference = Reference { kind: ReferenceKind::Customer, id: "cus_1".to_owned() };
        reader.watch(1, Bytes::new());
        let refused = DELIVERY.scope(1, reader.read(&access, &reference)).await;
        assert_eq!(refused, Err(ReferenceError::KeyRefused));
        reader.local().unwrap().allow_any_key();
        let read = DELIVERY.scope(1, reader.read(&access, &reference)).await;
        DELIVERY.scope(1, async { reader.shared(&reference, &read) }).await;
        let reads = reader.take(1, true);
        let recorded: Vec<_> = reads.iter().map(|read| (read.status, read.cached, read.object.is_some())).collect();
        assert_eq!(recorded, [(Some(401), false, false), (Some(200), false, true), (None, true, true)]);
        assert!(reads.iter().all(|read| read.path == "/v1/customers/cus_1"));
        assert!(!json!(reads).to_string().contains("rk_test_hidden"), "{reads:?}");
    }

    #[test]
    fn a_failed_read_ends_the_replay() {
        let payment = json!({"id": "pi_1", "object": "payment_intent", "invoice": null});
        let mut failed = read("/v1/checkout/sessions?payment_intent=pi_1&limit=1", None);
        (failed.status, failed.problem) = (Some(500), Some("500".to_owned()));
        let (shown, user) = shown(&payment, &[failed]);
        assert_eq!((shown[0]["served"].as_str(), user), (Some("checkout_session.client_reference_id"), None));
        assert_eq!((&shown[0]["found"], &shown[0]["problem"]), (&json!([]), &json!("500")));
    }
}
