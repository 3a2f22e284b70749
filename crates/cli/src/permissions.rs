//! What a restricted key of Stripe needs, by the settings of its project.
//!
//! It is found out, not listed: the purchases below are resolved as an event is, with a user ID nowhere, so that every path is
//! tried and every object is read. A list would say something else than the code sooner or later.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::settings::Settings;
use stripe_amplitude::stripe::event::Event;
use stripe_amplitude::stripe::event_types::TypePattern;
use stripe_amplitude::stripe::json::Json;
use stripe_amplitude::stripe::purchase::{Found, Objects};
use stripe_amplitude::stripe::reference::{Permission, Reference, ReferenceKind};
use stripe_amplitude::stripe::signature::VerifiedBody;
use stripe_amplitude::translate::{Context, resolve, user};

/// What it takes to follow references.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needed {
    /// The permissions that the key needs, over all types of events. Empty where nothing is read.
    pub(crate) permissions: BTreeSet<Permission>,
    /// The most reads that one event may take.
    pub(crate) most_reads: usize,
}

/// What the settings of a project need.
pub(crate) fn needed(settings: &Settings) -> Needed {
    let mut needed = Needed::default();
    if !settings.follow() {
        return needed;
    }
    let is_wanted = |types: &[&str]| types.iter().any(|event_type| settings.events.contains(event_type));
    let is_known =
        |added: &TypePattern| EVENT_OBJECTS.iter().any(|(.., types)| types.iter().any(|it| added.matches(it)));
    let has_others = settings.events.add.iter().any(|added| !is_known(added));
    let others = has_others.then_some(OTHER_OBJECT);
    let objects = EVENT_OBJECTS.iter().filter(|(.., types)| is_wanted(types)).map(|(kind, fields, _)| (*kind, *fields));
    for (kind, fields) in objects.chain(others) {
        for purchase in Purchase::all() {
            let reads = purchase.reads(kind, fields, settings);
            needed.most_reads = needed.most_reads.max(reads.len());
            needed.permissions.extend(reads.into_iter().flat_map(ReferenceKind::permissions));
        }
    }
    needed
}

/// The objects of events, which of their fields lead to others, where an API version has another set than the one before
/// it, and types of events that have such an object. A permission is needed only where the project wants one of these.
const EVENT_OBJECTS: [(&str, &[&str], &[&str]); 16] = [
    ("payment_intent", &["customer", "invoice"], &PAYMENTS),
    ("payment_intent", &["customer"], &PAYMENTS),
    ("charge", &["customer", "invoice", "payment_intent"], &CHARGES),
    ("charge", &["customer", "payment_intent"], &CHARGES),
    ("invoice", &["customer", "payment_intent", "subscription"], &INVOICES),
    ("invoice", &["customer", "subscription"], &INVOICES),
    ("checkout.session", &["customer", "invoice", "payment_intent", "subscription"], &SESSIONS),
    ("issuing.transaction", &["cardholder"], &["issuing_transaction.created", "issuing_authorization.created"]),
    ("refund", &["charge", "payment_intent"], &REFUNDS),
    ("dispute", &["charge", "payment_intent"], &DISPUTES),
    ("subscription", &["customer", "latest_invoice"], &SUBSCRIPTIONS),
    ("customer", &[], &["customer.created", "customer.updated", "customer.deleted"]),
    ("setup_intent", &["customer"], &["setup_intent.succeeded", "setup_intent.created", "setup_intent.setup_failed"]),
    ("credit_note", &["customer", "invoice"], &["credit_note.created", "credit_note.updated", "credit_note.voided"]),
    ("invoiceitem", &["customer", "invoice", "subscription"], &["invoiceitem.created", "invoiceitem.deleted"]),
    ("review", &["charge", "payment_intent"], &["review.opened", "review.closed"]),
];

/// An object of a type that is not among them, which may have any of the links.
const OTHER_OBJECT: (&str, &[&str]) =
    ("other", &["customer", "invoice", "payment_intent", "subscription", "charge", "cardholder"]);

const PAYMENTS: [&str; 5] = [
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "payment_intent.created",
    "payment_intent.amount_capturable_updated",
];
const CHARGES: [&str; 5] =
    ["charge.succeeded", "charge.refunded", "charge.captured", "charge.updated", "charge.failed"];
const INVOICES: [&str; 9] = [
    "invoice.created",
    "invoice.finalized",
    "invoice.sent",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice.payment_failed",
    "invoice.voided",
    "invoice.marked_uncollectible",
    "invoice.updated",
];
const SESSIONS: [&str; 4] = [
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
];
const REFUNDS: [&str; 4] = ["refund.created", "refund.updated", "refund.failed", "charge.refund.updated"];
const DISPUTES: [&str; 5] = [
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
];
const SUBSCRIPTIONS: [&str; 4] = [
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.trial_will_end",
];

/// A purchase as it is stored in Stripe: which of its objects there are.
#[derive(Clone, Copy)]
struct Purchase(u8);

/// The fields that lead from one object of a purchase to another, and the ID that stands there.
const LINKS: [(&str, &str); 7] = [
    ("customer", "cus_1"),
    ("invoice", "in_1"),
    ("latest_invoice", "in_1"),
    ("payment_intent", "pi_1"),
    ("subscription", "sub_1"),
    ("charge", "ch_1"),
    ("cardholder", "ich_1"),
];

const CUSTOMER: u8 = 1;
const INVOICE: u8 = 1 << 1;
const PAYMENT_INTENT: u8 = 1 << 2;
const SUBSCRIPTION: u8 = 1 << 3;
const SESSION_OF_PAYMENT: u8 = 1 << 4;
const SESSION_OF_SUBSCRIPTION: u8 = 1 << 5;

impl Purchase {
    fn all() -> impl Iterator<Item = Self> {
        (0..1 << 6).map(Self)
    }

    fn has(self, part: u8) -> bool {
        self.0 & part != 0
    }

    /// The kinds that an event of this object has to read, in their order.
    fn reads(self, kind: &str, fields: &[&str], settings: &Settings) -> Vec<ReferenceKind> {
        let mut reads = Vec::new();
        let event = Map::from_iter([
            ("id".to_owned(), "evt_1".into()),
            ("object".to_owned(), "event".into()),
            ("type".to_owned(), kind.into()),
            ("created".to_owned(), 1.into()),
            ("data".to_owned(), Map::from_iter([("object".to_owned(), self.object(kind, fields))]).into()),
        ]);
        let body = VerifiedBody::trusted(Value::Object(event).to_string().into());
        // Neither can fail: the project's name and the event are ours.
        let (Ok(project), Ok(event)) = ("project".parse::<ProjectName>(), Event::parse(&body)) else { return reads };
        let mut objects = Objects::default();
        loop {
            let context =
                Context { project: &project, source: None, settings, has_test_key: false, objects: Some(&objects) };
            match resolve(&event, &context, &mut user::no_audit) {
                Ok(_) => return reads,
                Err(unread) => {
                    reads.push(unread.reference.kind);
                    let found = self.found(&unread.reference);
                    objects.insert(unread.reference, found);
                }
            }
        }
    }

    /// As Stripe answers in 2024-06-20.
    fn found(self, reference: &Reference) -> Found {
        let object = match reference.kind {
            ReferenceKind::Customer => self.object("customer", &[]),
            ReferenceKind::Subscription => self.object("subscription", &["customer", "latest_invoice"]),
            ReferenceKind::Invoice => self.object("invoice", &["customer", "payment_intent", "subscription"]),
            ReferenceKind::PaymentIntent => self.object("payment_intent", &["customer", "invoice"]),
            ReferenceKind::Charge => self.object("charge", &["customer", "invoice", "payment_intent"]),
            ReferenceKind::Cardholder => self.object("issuing.cardholder", &[]),
            ReferenceKind::SessionOfPayment if !self.has(SESSION_OF_PAYMENT) => return Found::Nothing,
            ReferenceKind::SessionOfSubscription if !self.has(SESSION_OF_SUBSCRIPTION) => return Found::Nothing,
            ReferenceKind::SessionOfPayment | ReferenceKind::SessionOfSubscription => {
                self.object("checkout.session", &["customer", "invoice", "payment_intent", "subscription"])
            }
            ReferenceKind::InvoiceLines | ReferenceKind::SessionLines => self.object("list", &[]),
        };
        let json = serde_json::from_str(&object.to_string()).map(Json::into_owned);
        json.map_or(Found::Nothing, |json| Found::Object(Arc::new(json)))
    }

    /// An object with its ID, and with those of the purchase in these fields.
    fn object(self, kind: &str, fields: &[&str]) -> Value {
        let link = |field: &&str| {
            let is_there = match *field {
                "customer" => self.has(CUSTOMER),
                "invoice" | "latest_invoice" => self.has(INVOICE),
                "payment_intent" => self.has(PAYMENT_INTENT),
                "subscription" => self.has(SUBSCRIPTION),
                _ => true,
            };
            let id = LINKS.iter().find(|(name, _)| name == field).filter(|_| is_there);
            ((*field).to_owned(), id.map_or(Value::Null, |(_, id)| (*id).into()))
        };
        let name = if kind == "issuing.cardholder" { "cardholder" } else { kind };
        let own = LINKS.iter().find(|(field, _)| *field == name).map_or("x_1", |(_, id)| id);
        let own = [("object".to_owned(), kind.into()), ("id".to_owned(), own.into())];
        Map::from_iter(fields.iter().map(link).chain(own)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::{EVENT_OBJECTS, Needed, Permission, Settings, needed};
    use stripe_amplitude::stripe::reference::permission::*;

    fn of(settings: &str) -> (Vec<Permission>, usize) {
        let Needed { permissions, most_reads } = needed(&Settings::parse(settings).unwrap());
        (permissions.into_iter().collect(), most_reads)
    }

    fn of_paths(paths: &[&str], events: &[&str]) -> (Vec<Permission>, usize) {
        let settings = serde_json::json!({"references": "follow", "user_id_paths": paths, "events": {"add": events}});
        of(&settings.to_string())
    }

    #[test]
    fn nothing_is_needed_where_nothing_is_followed() {
        assert_eq!(of("{}"), (vec![], 0));
        assert_eq!(of(r#"{"user_id_paths": ["customer.metadata.id"]}"#), (vec![], 0));
    }

    #[test]
    fn each_permission_is_needed_only_where_a_path_and_a_type_need_it() {
        let refunds = &["refund.*"][..];
        for (paths, events, permissions, most_reads) in [
            (&["metadata.user_id"][..], &[][..], &[][..], 0),
            (&["customer"], &[], &[], 0),
            // The payment of a refund, whatever the paths are.
            (&["metadata.user_id"], refunds, &[CHARGES, PAYMENT_INTENTS], 1),
            (&["customer"], &["charge.dispute.created"], &[CHARGES, PAYMENT_INTENTS], 1),
            (&["customer.metadata.id"], &[], &[CUSTOMERS], 1),
            (&["customer.metadata.id"], refunds, &[CHARGES, CUSTOMERS, PAYMENT_INTENTS], 2),
            (&["payment_intent.metadata.id"], &[], &[INVOICES, PAYMENT_INTENTS], 2),
            (&["invoice.metadata.id"], &[], &[INVOICES, PAYMENT_INTENTS], 2),
            (&["subscription.metadata.id"], &[], &[INVOICES, PAYMENT_INTENTS, SUBSCRIPTIONS], 3),
            (&["cardholder.metadata.id"], &[], &[CARDHOLDERS], 1),
            // A type that may have any object.
            (&["customer.metadata.id"], &["quote.accepted"], &[CUSTOMERS], 1),
        ] {
            assert_eq!(of_paths(paths, events), (permissions.to_vec(), most_reads), "{paths:?} {events:?}");
        }
        let (session, _) = of_paths(&["checkout_session.client_reference_id"], &[]);
        assert!(session.contains(&CHECKOUT_SESSIONS) && !session.contains(&CUSTOMERS), "{session:?}");
    }

    #[test]
    fn by_default_the_customer_is_followed() {
        assert_eq!(of(r#"{"references": "follow"}"#), (vec![CUSTOMERS], 1));
        let with_refunds = of(r#"{"references": "follow", "refunds": "negative_revenue"}"#);
        assert_eq!(with_refunds, (vec![CHARGES, CUSTOMERS, PAYMENT_INTENTS], 2));
    }

    /// Every type that is forwarded by default, and every one that a setting adds, is of one of the objects.
    #[test]
    fn no_type_is_forgotten() {
        let without_references = ["application_fee.", "balance."];
        let added = [
            &stripe_amplitude::stripe::event_types::TYPES[..],
            &stripe_amplitude::stripe::event_types::NEGATIVE_REVENUE_TYPES,
        ]
        .concat();
        for event_type in added {
            let known = EVENT_OBJECTS.iter().any(|(.., types)| types.contains(&event_type));
            assert!(known || without_references.iter().any(|begin| event_type.starts_with(begin)), "{event_type}");
        }
    }

    #[test]
    fn products_need_the_lists_and_no_payment_of_a_refund() {
        let (permissions, most_reads) = of(r#"{"products": "follow"}"#);
        for permission in [INVOICES, CHECKOUT_SESSIONS, PRICES, PRODUCTS] {
            assert!(permissions.contains(&permission), "{permission}");
        }
        assert!(!permissions.contains(&CHARGES) && !permissions.contains(&CUSTOMERS), "{permissions:?}");
        assert!(most_reads <= 5, "{most_reads}");
    }

    #[test]
    fn no_event_takes_more_than_six_reads_for_its_user() {
        let paths = ["cardholder", "checkout_session", "customer", "invoice", "payment_intent", "subscription"];
        let all = paths.map(|name| format!("{name}.metadata.id"));
        let (permissions, most_reads) =
            of_paths(&all.each_ref().map(String::as_str), &["refund.*", "customer.*", "quote.accepted"]);
        assert_eq!(permissions.len(), 7);
        assert_eq!(most_reads, 6);
    }
}
