//! What the handler reads from Stripe's API, noted on its way, and what it was read for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::body::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stripe_amplitude::amplitude::properties::Property;
use stripe_amplitude::projects::parameters::AmplitudeConfig;
use stripe_amplitude::projects::parameters::parameter::STRIPE_TEST_API_KEY;
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

const KNOWS_NO_MORE: &str = "the local Stripe does not know more of it";

/// What the local Stripe knew too little of, in words for the beginning of an explanation. Empty where that is nothing.
pub(crate) fn little_known(reads: &[Read]) -> String {
    let mut paths: Vec<_> = reads.iter().filter(|read| read.only_named).map(|read| &*read.path).collect();
    paths.dedup();
    if paths.is_empty() {
        return String::new();
    }
    let paths: String = paths.into_iter().map(|path| format!("  GET {path}\n")).collect();
    format!(
        "Read, but {KNOWS_NO_MORE}:\n{paths}  What an event did not tell is not there. --objects FILE adds objects, --stripe real asks\n  your account.\n\n"
    )
}

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
    /// The local Stripe has no more of it than its ID, if that. A file of earlier versions does not tell.
    #[serde(default)]
    pub(crate) only_named: bool,
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

    /// What was read for this delivery, which is answered now. The local Stripe learns from its event, if it is
    /// `signed`.
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
            only_named: false,
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
        read.only_named = self.0.local.is_some() && is_only_named(result);
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
            Ok((status, body)) => (Some(status.as_u16()), classify_response(status.as_u16(), &body, reference, access)),
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

/// Whether what was found tells nothing that an ID does not.
fn is_only_named(result: &Result<Found, ReferenceError>) -> bool {
    match result {
        Ok(Found::Nothing) | Err(ReferenceError::NotFound(_)) => true,
        Err(_) => false,
        Ok(Found::Object(object)) => {
            let object = serde_json::to_value(object.as_ref()).unwrap_or_default();
            let says_nothing = |(name, value): (&String, &Value)| match name.as_str() {
                "id" | "object" | "url" | "has_more" => true,
                "data" => value.as_array().is_some_and(Vec::is_empty),
                _ => false,
            };
            object.as_object().is_some_and(|fields| fields.iter().all(says_nothing))
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

    /// The reads as the page shows them: with what each was for, and with the values that were found at paths, but not
    /// the objects, in which is more than anybody looked at.
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

    /// What was found at the paths that lead into an object: a value, or why there is none.
    fn found(&self, purpose: &Purpose, translated: &Translated<'_>, only_named: bool) -> Vec<Value> {
        let names: &[&str] = match purpose.kind {
            ReferenceKind::Customer => &["customer"],
            ReferenceKind::Subscription => &["subscription"],
            // It shows a snapshot of the subscription's metadata, which is enough where it has the value.
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
            let why = if only_named { KNOWS_NO_MORE.to_owned() } else { reason.to_string() };
            json!({"at": path.as_str(), "not": why})
        });
        let given = user.found.iter().filter(|(path, _)| leads_there(path));
        let given = given.map(|(path, id)| json!({"at": path.as_str(), "value": id}));
        let mut found: Vec<_> = passed_over.chain(given).collect();
        // Every path is tried on a refund's payment and on the refund.
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
    use stripe_amplitude::projects::parameters::{Parameter, Project};
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

    /// The reads as the page shows them, and the user.
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
    fn each_read_says_what_it_was_for_and_shows_the_value_at_the_path_alone() {
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
    async fn what_the_local_stripe_has_only_the_id_of_is_marked() {
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
        let words = little_known(&reads);
        assert!(words.contains("\n  GET /v1/customers/cus_1\n") && !words.contains("cus_2"), "{words}");
        assert_eq!(little_known(&reads[1..2]), "");
    }

    #[test]
    fn what_is_not_known_is_no_fact_about_the_object() {
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
        assert_eq!(shown[1]["found"], json!([{"at": "subscription.metadata.user_id", "not": KNOWS_NO_MORE}]));
    }

    #[tokio::test]
    async fn what_is_read_is_noted_with_its_delivery_and_without_the_key() {
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
        let told: Vec<_> = reads.iter().map(|read| (read.status, read.cached, read.object.is_some())).collect();
        assert_eq!(told, [(Some(401), false, false), (Some(200), false, true), (None, true, true)]);
        assert!(reads.iter().all(|read| read.path == "/v1/customers/cus_1"));
        assert!(!json!(reads).to_string().contains("rk_test_hidden"), "{reads:?}");
    }

    #[test]
    fn what_could_not_be_read_ends_the_replay_where_it_ended_the_run() {
        let payment = json!({"id": "pi_1", "object": "payment_intent", "invoice": null});
        let mut failed = read("/v1/checkout/sessions?payment_intent=pi_1&limit=1", None);
        (failed.status, failed.problem) = (Some(500), Some("500".to_owned()));
        let (shown, user) = shown(&payment, &[failed]);
        assert_eq!((shown[0]["served"].as_str(), user), (Some("checkout_session.client_reference_id"), None));
        assert_eq!((&shown[0]["found"], &shown[0]["problem"]), (&json!([]), &json!("500")));
    }
}
