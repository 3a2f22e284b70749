//! The user IDs of recent events: which paths gave them, and which customers have none that can be trusted. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use bytes::Bytes;
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::settings::{References, Settings};
use stripe_amplitude::stripe::event::{Event, id_of};
use stripe_amplitude::stripe::field_path::FieldPath;
use stripe_amplitude::stripe::json::{Json, Object};
use stripe_amplitude::stripe::signature::VerifiedBody;
use stripe_amplitude::translate::{device, user};

use super::finding::Finding;
use crate::clock;
use crate::stripe::events::Place;
use crate::terminal::{count, wrap};

/// Fields of an object that can identify a user.
const NAMING: [&str; 5] = ["metadata", "customer", "customer_email", "receipt_email", "client_reference_id"];

/// Where to put the user ID, by prefix of the type.
const REMEDIES: [(&str, &str); 6] = [
    ("payment_intent.", "the metadata of the PaymentIntent; with Checkout, `payment_intent_data.metadata`"),
    (
        "charge.",
        "the metadata of the PaymentIntent, which its charge inherits; with Checkout, `payment_intent_data.metadata`",
    ),
    ("checkout.session.", "the metadata of the session; or `client_reference_id`, with that path in `user_id_paths`"),
    (
        "invoice.",
        "the metadata of the subscription, with `subscription_details.metadata.user_id` in `user_id_paths`; or of the invoice",
    ),
    ("customer.subscription.", "the metadata of the subscription; with Checkout, `subscription_data.metadata`"),
    ("issuing_", "the metadata of the authorization or the transaction"),
];

/// Recent events, counted.
#[derive(Debug, Default)]
pub(super) struct Users {
    /// Whether the function also reads user IDs from Stripe's API, which this check does not.
    follows: bool,
    /// By the path that gave the user ID; `None` if none did.
    paths: BTreeMap<Option<String>, usize>,
    /// Events without a trustworthy user ID, and all events.
    types: BTreeMap<String, (usize, usize)>,
    /// Events of types that never identify a user.
    userless: BTreeMap<String, usize>,
    unreadable: usize,
    customers: HashMap<String, Customer>,
    /// Devices of events with a trustworthy user ID.
    devices: HashSet<String>,
    /// Events without a user ID: their types, devices, customers and places.
    anonymous: Vec<(String, String, Option<String>, Place)>,
    /// How many of them are attributed to the user of another event on the same device, for example a refund to the payer.
    by_device: usize,
}

/// A Stripe customer with events that have no trustworthy user ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Customer {
    events: usize,
    /// The path that gave the user ID of the last one.
    found_by: Option<String>,
    last: Place,
}

/// Whether the app put the user ID there. An e-mail address can change and be shared, and Stripe's customer ID is unknown in
/// the product.
pub(super) fn is_trustworthy(path: &str) -> bool {
    let mut segments = path.split('.');
    if segments.clone().any(|segment| segment == "metadata") {
        return true;
    }
    let last = segments.next_back().unwrap_or_default();
    let is_email = last.to_lowercase().contains("email");
    let is_stripes = last == "customer" || path == "id" || path.ends_with("customer.id");
    !is_email && !is_stripes
}

impl Users {
    /// Counts events.
    pub(super) fn of<'e>(
        events: impl IntoIterator<Item = (&'e Bytes, &'e Place)>,
        project: &ProjectName,
        settings: &Settings,
    ) -> Self {
        let mut users = Self { follows: settings.references == References::Follow, ..Self::default() };
        for (body, place) in events {
            users.add(body, place, project, &settings.user_id_paths);
        }
        // All devices are known now.
        for (event_type, device, customer, place) in std::mem::take(&mut users.anonymous) {
            if users.devices.contains(&device) {
                users.by_device += 1;
            } else {
                users.count(event_type, None, customer, &place);
            }
        }
        users
    }

    fn add(&mut self, body: &Bytes, place: &Place, project: &ProjectName, paths: &[FieldPath]) {
        let body = VerifiedBody::trusted(body.clone());
        let Ok(event) = Event::parse(&body) else { return self.unreadable += 1 };
        let event_type = event.event_type.to_string();
        let user = user::user(&event.object, None, paths, &mut user::no_audit).ok().flatten();
        if user.is_none() && !can_name(&event.object) {
            *self.userless.entry(event_type).or_default() += 1;
            return;
        }
        let customer = customer_of(&event.object);
        let device = device::device_id(&event, project);
        let Some(user) = user else { return self.anonymous.push((event_type, device, customer, place.clone())) };
        let path = user.path.to_string();
        if is_trustworthy(&path) {
            self.devices.insert(device);
        }
        self.count(event_type, Some(path), customer, place);
    }

    fn count(&mut self, event_type: String, path: Option<String>, customer: Option<String>, place: &Place) {
        let trusted = path.as_deref().is_some_and(is_trustworthy);
        let (untrusted, all) = self.types.entry(event_type).or_default();
        (*untrusted, *all) = (*untrusted + usize::from(!trusted), *all + 1);
        if !trusted && let Some(customer) = customer {
            let new = || Customer { events: 0, found_by: None, last: Place { created: i64::MIN, id: String::new() } };
            let customer = self.customers.entry(customer).or_insert_with(new);
            customer.events += 1;
            if *place > customer.last {
                (customer.found_by, customer.last) = (path.clone(), place.clone());
            }
        }
        *self.paths.entry(path).or_default() += 1;
    }

    /// Events that could have a user ID.
    fn all(&self) -> usize {
        self.paths.values().sum()
    }

    fn untrusted(&self) -> usize {
        self.types.values().map(|(untrusted, _)| untrusted).sum()
    }

    pub(super) fn finding(&self) -> Finding {
        let (all, untrusted) = (self.all(), self.untrusted());
        if all == 0 {
            return Finding::skipped("user IDs: no recent event could have one");
        }
        if self.follows {
            return Finding::skipped(
                "user IDs of the recent events: they come from references, which this check does not read; `doctor --identity` shows where the IDs are",
            );
        }
        if untrusted == 0 {
            return Finding::ok(format!("all of {} have a user ID from your app", count(all, "recent event")));
        }
        let mut words = format!(
            "{untrusted} of {} ({:.1} %) have no user ID from your app, but an e-mail address, Stripe's customer ID, or nothing, and no recent event of the same payment or customer has one: they are not attributed to your users. Put the user ID into",
            count(all, "recent event"),
            100.0 * untrusted as f64 / all as f64
        );
        let concerned =
            |prefix: &str| self.types.iter().any(|(name, (number, _))| *number > 0 && name.starts_with(prefix));
        let remedies: Vec<_> = REMEDIES
            .into_iter()
            .filter(|(prefix, _)| concerned(prefix))
            .map(|(prefix, remedy)| format!(" {prefix}…: {remedy}"))
            .collect();
        words.push_str(if remedies.is_empty() { " the metadata of the object" } else { "" });
        words.push_str(&remedies.join(";"));
        words.push('.');
        Finding::warning(words)
    }

    /// The affected customers, those with most events first, as CSV with a header, without e-mail addresses.
    pub(super) fn csv(&self) -> String {
        let mut customers: Vec<_> = self.customers.iter().collect();
        customers.sort_by(|(id, one), (other_id, other)| other.events.cmp(&one.events).then_with(|| id.cmp(other_id)));
        let mut csv = "customer,events,user_id_from,last_event,last_time\n".to_owned();
        for (id, Customer { events, found_by, last }) in customers {
            let found_by = found_by.as_deref().unwrap_or("");
            let time = clock::in_utc(last.created, "%Y-%m-%dT%H:%M:%SZ");
            let fields = [id, &events.to_string(), found_by, &last.id, &time].map(field);
            csv.push_str(&format!("{}\n", fields.join(",")));
        }
        csv
    }

    pub(super) fn customers(&self) -> usize {
        self.customers.len()
    }
}

impl fmt::Display for Users {
    /// Tables by path and by type.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Vec::new();
        if self.follows {
            return Ok(());
        }
        for (path, number) in &self.paths {
            let path = match path.as_deref() {
                None => "(none)".to_owned(),
                Some(path) if is_trustworthy(path) => path.to_owned(),
                Some(path) => format!("{path} (not from your app)"),
            };
            rows.push((number.to_string(), path));
        }
        if self.by_device > 0 {
            rows.push((
                self.by_device.to_string(),
                "(none, but attributed to the user of the same payment or customer)".to_owned(),
            ));
        }
        for (event_type, (untrusted, all)) in self.types.iter().filter(|(_, (untrusted, _))| *untrusted > 0) {
            rows.push((format!("{untrusted} of {all}"), format!("{event_type}: without a user ID from your app")));
        }
        for (event_type, number) in &self.userless {
            rows.push((number.to_string(), format!("{event_type}, which never has a user")));
        }
        if self.unreadable > 0 {
            rows.push((self.unreadable.to_string(), "unreadable".to_owned()));
        }
        rows.iter().try_for_each(|(number, what)| f.write_str(&wrap(&format!("{number:>20}  "), 22, what)))
    }
}

/// Whether an object has any field that can identify a user.
fn can_name(object: &Object<'_>) -> bool {
    NAMING.iter().any(|name| object.get(name).is_some())
}

fn customer_of(object: &Object<'_>) -> Option<String> {
    let customer = match object.get("object").and_then(Json::as_str) {
        Some("customer") => id_of(object.get("id")),
        _ => id_of(object.get("customer")),
    };
    customer.map(str::to_owned)
}

/// A field of CSV (RFC 4180). A field that a spreadsheet would evaluate becomes text.
fn field(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::doctor::finding::Grade;

    /// Counts these events, given by type, number and object.
    fn users(events: &[(&str, i64, Value)]) -> Users {
        let body = |(event_type, number, object): &(&str, i64, Value)| {
            let id = format!("evt_{number}");
            let event =
                json!({"id": id, "object": "event", "type": event_type, "created": number, "data": {"object": object}});
            (Bytes::from(event.to_string()), Place { created: *number, id })
        };
        let events: Vec<_> = events.iter().map(body).collect();
        let events = events.iter().map(|(body, place)| (body, place));
        Users::of(events, &"shop".parse().unwrap(), &Settings::default())
    }

    #[test]
    fn followed_references_skip_the_check() {
        let body = json!({"id": "evt_1", "object": "event", "type": "charge.failed", "created": 1,
            "data": {"object": {"object": "charge", "customer": "cus_1", "metadata": {}}}});
        let event = (&Bytes::from(body.to_string()), &Place { created: 1, id: "evt_1".to_owned() });
        let settings = Settings { references: References::Follow, ..Settings::default() };
        let users = Users::of([event], &"shop".parse().unwrap(), &settings);
        assert_eq!((users.finding().grade, users.to_string().as_str()), (Grade::Skipped, ""));
    }

    #[test]
    fn user_ids_from_the_app_are_trustworthy() {
        for (path, trusted) in [
            ("metadata.user_id", true),
            ("metadata.email", true),
            ("subscription_details.metadata.user_id", true),
            ("client_reference_id", true),
            ("lines.data.0.price.product", true),
            ("customer", false),
            ("customer.id", false),
            ("customer_email", false),
            ("customer.email", false),
            ("receipt_email", false),
            ("customer_details.email", false),
            ("billing_details.Email", false),
        ] {
            assert_eq!(is_trustworthy(path), trusted, "{path}");
        }
    }

    #[test]
    fn customers_without_a_user_id_are_listed() {
        let charge = |changes: Value| {
            let mut charge = json!({"object": "charge", "metadata": {}, "customer": null, "receipt_email": null});
            charge.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            charge
        };
        let failed = "charge.failed";
        let users = users(&[
            (failed, 3, charge(json!({"customer": "cus_1"}))),
            (failed, 2, charge(json!({"customer": "cus_1", "receipt_email": "hidden@example.com"}))),
            (failed, 4, charge(json!({"customer": {"id": "cus_2", "email": "hidden@example.com"}}))),
            (failed, 5, charge(json!({"metadata": {"user_id": "hidden"}, "customer": "cus_3"}))),
            (failed, 6, charge(json!({"id": "ch_6"}))),
            ("balance.available", 7, json!({"object": "balance", "available": []})),
        ]);
        let expected = "customer,events,user_id_from,last_event,last_time
cus_1,2,customer,evt_3,1970-01-01T00:00:03Z
cus_2,1,customer.email,evt_4,1970-01-01T00:00:04Z
";
        assert_eq!((users.csv().as_str(), users.customers()), (expected, 2));
        let finding = users.finding();
        assert_eq!(finding.grade, Grade::Warning);
        for words in ["4 of 5 recent events (80.0 %)", "payment_intent_data.metadata"] {
            assert!(finding.words.contains(words), "{finding:?}");
        }
        let table = users.to_string();
        for words in [
            "1  (none)\n",
            "1  customer (not from your app)\n",
            "4 of 5  charge.failed",
            "1  balance.available, which never",
        ] {
            assert!(table.contains(words), "{table}");
        }
        assert!(!format!("{table}{finding}").contains("hidden"));
    }

    #[test]
    fn event_without_a_user_is_attributed_by_payment() {
        let object = |kind: &str, user: Option<&str>| json!({"object": kind, "id": "x_1", "payment_intent": "pi_1", "metadata": {"user_id": user}});
        let (payment, refund) = (object("charge", Some("user_1")), object("refund", None));
        let users = users(&[("refund.created", 2, refund.clone()), ("charge.succeeded", 1, payment)]);
        assert_eq!((users.finding().grade, users.by_device), (Grade::Ok, 1));
        assert!(users.to_string().contains("attributed to the user of the same payment"), "{users}");
        assert_eq!(super::Users::finding(&self::users(&[("refund.created", 2, refund)])).grade, Grade::Warning);
    }

    #[test]
    fn formulas_become_text() {
        for (text, expected) in [("cus_1", "cus_1"), ("=1+1", "'=1+1"), ("a,b", "\"a,b\""), ("a\"b", "\"a\"\"b\"")] {
            assert_eq!(field(text), expected);
        }
    }
}
