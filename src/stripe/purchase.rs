//! The objects of a purchase: the customer, the payment, the invoice, the subscription and the checkout session that
//! belong to the object of an event.
//!
//! Stripe copies metadata to few objects, so a buyer's ID is often on another object than the event's. Each name means
//! the same object from every event and in every API version: the expanded object in the event, else the object of the
//! ID there, else the one found along payment → invoice → subscription. Pure: a look-up fails with the object that must
//! be read first.

use std::collections::HashMap;
use std::sync::Arc;

use super::event::id_of;
use super::field_path::FieldPath;
use super::json::{Json, Object};
use super::reference::{Reference, ReferenceKind};

/// The objects that were read for an event so far.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    found: HashMap<Reference, Found>,
    lines_are_unreadable: bool,
}

/// The result of a read.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// The object, in [`API_VERSION`](super::event_types::API_VERSION).
    Object(Arc<Json<'static>>),
    /// It does not exist, or was deleted.
    Nothing,
}

/// The list of products.
#[derive(Clone, Debug, PartialEq)]
pub enum Lines {
    /// It was read.
    Read(Arc<Json<'static>>),
    /// It does not exist.
    None,
    /// It could not be read, and the event does not wait for it.
    Unreadable,
}

impl Objects {
    /// Adds the result of a read.
    pub fn insert(&mut self, reference: Reference, found: Found) {
        self.found.insert(reference, found);
    }

    /// Gives up reading the products: no event fails for their names.
    pub fn give_up_lines(&mut self) {
        self.lines_are_unreadable = true;
    }
}

/// A part of a purchase with which a path in `user_id_paths` may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// `customer`
    Customer,
    /// `subscription`
    Subscription,
    /// `invoice`
    Invoice,
    /// `payment_intent`
    PaymentIntent,
    /// `checkout_session`
    CheckoutSession,
    /// `cardholder`
    Cardholder,
}

impl Name {
    /// All names.
    pub const ALL: [(&'static str, Self); 6] = [
        ("customer", Self::Customer),
        ("subscription", Self::Subscription),
        ("invoice", Self::Invoice),
        ("payment_intent", Self::PaymentIntent),
        ("checkout_session", Self::CheckoutSession),
        ("cardholder", Self::Cardholder),
    ];

    /// The name with which a path starts, if any, and the path inside that object. Without a path inside, it means the
    /// object's ID.
    pub fn of(path: &FieldPath) -> Option<(Self, Option<&FieldPath>)> {
        let (first, rest) = path.split_first();
        Self::ALL.iter().find(|(name, _)| *name == first).map(|(_, name)| (*name, rest))
    }

    /// The kind of the object, as in its field `object`.
    fn object(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Subscription => "subscription",
            Self::Invoice => "invoice",
            Self::PaymentIntent => "payment_intent",
            Self::CheckoutSession => "checkout.session",
            Self::Cardholder => "issuing.cardholder",
        }
    }

    /// The kind of read by its own ID. A checkout session is searched by its payment or subscription.
    fn kind(self) -> Option<ReferenceKind> {
        match self {
            Self::Customer => Some(ReferenceKind::Customer),
            Self::Subscription => Some(ReferenceKind::Subscription),
            Self::Invoice => Some(ReferenceKind::Invoice),
            Self::PaymentIntent => Some(ReferenceKind::PaymentIntent),
            Self::Cardholder => Some(ReferenceKind::Cardholder),
            Self::CheckoutSession => None,
        }
    }
}

/// A purchase, seen from one of its objects.
#[derive(Debug)]
pub struct Purchase<'p> {
    seen_from: &'p Object<'p>,
    objects: &'p Objects,
    used: Vec<Reference>,
}

/// Where a link leads.
#[derive(Clone, Copy)]
enum Link<'p> {
    /// To an object in memory.
    Object(&'p Object<'p>),
    /// To the object with this ID.
    Id(&'p str),
    /// Nowhere: the purchase has no such object.
    Nothing,
    /// The object has no such field in its API version, or in any.
    Unknown,
}

/// The result, or the object that must be read first.
type Step<T> = Result<T, Reference>;

impl<'p> Purchase<'p> {
    /// The purchase that this object belongs to.
    pub fn seen_from(object: &'p Object<'p>, objects: &'p Objects) -> Self {
        Self { seen_from: object, objects, used: Vec::new() }
    }

    /// The payment of a refund or a dispute, which have no user themselves. `None` for other objects.
    ///
    /// # Errors
    /// The object that must be read first.
    pub fn payment(&mut self) -> Step<Option<&'p Object<'p>>> {
        if !matches!(kind(self.seen_from), "refund" | "dispute") {
            return Ok(None);
        }
        let link = |field: &str| followed(self.seen_from.get(field));
        match (link("payment_intent"), link("charge")) {
            (Link::Object(payment), _) => Ok(Some(payment)),
            (Link::Id(id), _) => self.read(ReferenceKind::PaymentIntent, id),
            (_, Link::Object(charge)) => Ok(Some(charge)),
            (_, Link::Id(id)) => self.read(ReferenceKind::Charge, id),
            _ => Ok(None),
        }
    }

    /// The ID of an object of the purchase.
    ///
    /// # Errors
    /// The object that must be read first.
    pub fn id(&mut self, name: Name) -> Step<Option<&'p str>> {
        Ok(match self.locate(name)? {
            Link::Object(object) => id_in(object),
            Link::Id(id) => Some(id),
            Link::Nothing | Link::Unknown => None,
        })
    }

    /// An object of the purchase.
    ///
    /// # Errors
    /// The object that must be read first.
    pub fn object(&mut self, name: Name) -> Step<Option<&'p Object<'p>>> {
        match (self.locate(name)?, name.kind()) {
            (Link::Object(object), _) => Ok(Some(object)),
            (Link::Id(id), Some(kind)) => self.read(kind, id),
            _ => Ok(None),
        }
    }

    /// The subscription's metadata on its invoice, as it was when the invoice was created.
    ///
    /// # Errors
    /// The object that must be read first. [`Self::object`] would read it as well.
    pub fn snapshot_of_subscription(&mut self) -> Step<Option<&'p Json<'p>>> {
        let invoice = match link(self.seen_from, Name::Subscription) {
            _ if kind(self.seen_from) == Name::Invoice.object() => Some(self.seen_from),
            Link::Object(_) | Link::Id(_) | Link::Nothing => None,
            Link::Unknown => self.object(Name::Invoice)?,
        };
        let details = |invoice: &'p Object<'p>| {
            let later = || invoice.get("parent")?.get("subscription_details");
            invoice.get("subscription_details").or_else(later)?.get("metadata")
        };
        Ok(invoice.and_then(details))
    }

    /// The list of products, each expanded: for a payment, the lines of its invoice, else of its checkout session; for
    /// an invoice, its own.
    ///
    /// # Errors
    /// The object that must be read first.
    pub fn lines(&mut self) -> Step<Lines> {
        if self.objects.lines_are_unreadable {
            return Ok(Lines::Unreadable);
        }
        // An upcoming invoice has no ID, and is not part of another purchase.
        if kind(self.seen_from) == Name::Invoice.object() && self.seen_from.get("id").is_none() {
            return Ok(Lines::None);
        }
        let (kind, id) = match self.id(Name::Invoice)? {
            Some(invoice) => (ReferenceKind::InvoiceLines, invoice),
            None => match self.id(Name::CheckoutSession)? {
                Some(session) => (ReferenceKind::SessionLines, session),
                None => return Ok(Lines::None),
            },
        };
        let reference = Reference { kind, id: id.to_owned() };
        match self.objects.found.get(&reference) {
            Some(Found::Object(lines)) => Ok(Lines::Read(Arc::clone(lines))),
            Some(Found::Nothing) => Ok(Lines::None),
            None => Err(reference),
        }
    }

    /// The objects that were read and used for the result.
    pub fn used(&self) -> &[Reference] {
        &self.used
    }

    fn locate(&mut self, name: Name) -> Step<Link<'p>> {
        let here = link(self.seen_from, name);
        match (name, here) {
            (_, Link::Object(_) | Link::Id(_)) => Ok(here),
            // The session of a subscription has no payment, but its invoice has one.
            (Name::PaymentIntent, _) => self.along(Name::Invoice, name),
            (Name::CheckoutSession, _) => self.session(),
            (_, Link::Nothing) => Ok(here),
            (Name::Invoice, _) => self.along(Name::PaymentIntent, name),
            (Name::Subscription, _) => {
                let invoice = self.object(Name::Invoice)?;
                Ok(invoice.map_or(Link::Nothing, |invoice| link(invoice, name)))
            }
            (Name::Customer, _) => {
                let payment = match self.object(Name::PaymentIntent)? {
                    Some(payment) => Some(payment),
                    None => self.object(Name::Invoice)?,
                };
                Ok(payment.map_or(Link::Nothing, |payment| link(payment, name)))
            }
            (Name::Cardholder, _) => Ok(here),
        }
    }

    /// From the object with one name to the object with another. If the first is in memory in an API version without
    /// the link, it is read again in the version that has it.
    fn along(&mut self, first: Name, name: Name) -> Step<Link<'p>> {
        let id = match link(self.seen_from, first) {
            Link::Id(id) => Some(id),
            Link::Object(object) => match link(object, name) {
                Link::Unknown => id_in(object),
                known => return Ok(known),
            },
            Link::Nothing | Link::Unknown => None,
        };
        let (Some(id), Some(kind)) = (id, first.kind()) else { return Ok(Link::Nothing) };
        Ok(self.read(kind, id)?.map_or(Link::Nothing, |object| link(object, name)))
    }

    /// By the payment, then by the subscription. An object with a subscription is not asked for its payment: Stripe
    /// does not find the session of a subscription by it.
    fn session(&mut self) -> Step<Link<'p>> {
        if !matches!(link(self.seen_from, Name::Subscription), Link::Object(_) | Link::Id(_))
            && kind(self.seen_from) != Name::Subscription.object()
            && let Some(payment) = self.id(Name::PaymentIntent)?
            && let Some(session) = self.read(ReferenceKind::SessionOfPayment, payment)?
        {
            return Ok(Link::Object(session));
        }
        let Some(subscription) = self.id(Name::Subscription)? else { return Ok(Link::Nothing) };
        let session = self.read(ReferenceKind::SessionOfSubscription, subscription)?;
        Ok(session.map_or(Link::Nothing, Link::Object))
    }

    fn read(&mut self, kind: ReferenceKind, id: &str) -> Step<Option<&'p Object<'p>>> {
        let reference = Reference { kind, id: id.to_owned() };
        let Some(found) = self.objects.found.get(&reference) else { return Err(reference) };
        self.used.push(reference);
        Ok(match found {
            Found::Object(object) => object.as_object(),
            Found::Nothing => None,
        })
    }
}

/// Where the fields of an object lead.
fn link<'p>(object: &'p Object<'p>, name: Name) -> Link<'p> {
    if kind(object) == name.object() {
        return Link::Object(object);
    }
    match name {
        Name::Customer => match followed(object.get("customer")) {
            // Accounts v2.
            none @ (Link::Nothing | Link::Unknown) => match followed(object.get("customer_account")) {
                Link::Nothing | Link::Unknown => none,
                account => account,
            },
            customer => customer,
        },
        Name::Subscription => {
            let later = || object.get("parent")?.get("subscription_details")?.get("subscription");
            followed(object.get("subscription").or_else(later))
        }
        Name::Invoice if kind(object) == Name::Subscription.object() => followed(object.get("latest_invoice")),
        Name::Invoice => followed(object.get("invoice")),
        Name::PaymentIntent => followed(object.get("payment_intent")),
        Name::CheckoutSession => Link::Unknown,
        Name::Cardholder => {
            let expanded = object.get("card").and_then(|card| card.get("cardholder")).filter(|card| card.nests());
            followed(expanded.or_else(|| object.get("cardholder")))
        }
    }
}

fn followed<'p>(field: Option<&'p Json<'p>>) -> Link<'p> {
    match field {
        None => Link::Unknown,
        Some(Json::Object(expanded)) => Link::Object(expanded),
        field => id_of(field).filter(|id| is_id(id)).map_or(Link::Nothing, Link::Id),
    }
}

fn id_in<'p>(object: &'p Object<'p>) -> Option<&'p str> {
    object.get("id").and_then(Json::as_str).filter(|id| is_id(id))
}

/// Whether it can be a Stripe ID, and so a part of a path.
fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !text.is_empty() && text.bytes().all(allowed)
}

fn kind<'o>(object: &'o Object<'_>) -> &'o str {
    object.get("object").and_then(Json::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::stripe::json;
    use crate::stripe::references::tests::found;

    /// All objects of a purchase in 2024-06-20, by what reads them.
    fn stripe() -> Vec<(Reference, Value)> {
        use ReferenceKind::*;
        let session = |id: &str| json!({"object": "checkout.session", "id": id, "metadata": {"from": "session"}});
        let reference = |kind, id: &str| Reference { kind, id: id.to_owned() };
        vec![
            (
                reference(PaymentIntent, "pi_sub"),
                json!({"object": "payment_intent", "id": "pi_sub", "customer": "cus_1", "invoice": "in_1", "metadata": {"from": "payment"}}),
            ),
            (
                reference(PaymentIntent, "pi_one"),
                json!({"object": "payment_intent", "id": "pi_one", "customer": "cus_1", "invoice": null, "metadata": {"from": "payment"}}),
            ),
            (
                reference(Invoice, "in_1"),
                json!({"object": "invoice", "id": "in_1", "customer": "cus_1", "payment_intent": "pi_sub", "subscription": "sub_1", "metadata": {"from": "invoice"}}),
            ),
            (
                reference(Subscription, "sub_1"),
                json!({"object": "subscription", "id": "sub_1", "customer": "cus_1", "metadata": {"from": "subscription"}}),
            ),
            (
                reference(Customer, "cus_1"),
                json!({"object": "customer", "id": "cus_1", "metadata": {"from": "customer"}}),
            ),
            (
                reference(Customer, "acct_9"),
                json!({"object": "customer", "id": "acct_9", "metadata": {"from": "customer"}}),
            ),
            (reference(SessionOfSubscription, "sub_1"), session("cs_sub")),
            (reference(SessionOfPayment, "pi_one"), session("cs_one")),
            (
                reference(Cardholder, "ich_1"),
                json!({"object": "issuing.cardholder", "id": "ich_1", "metadata": {"from": "cardholder"}}),
            ),
        ]
    }

    /// The metadata of the object with this name, and the kinds that were read for it, in order.
    fn read(object: &Value, name: Name) -> (Option<String>, Vec<ReferenceKind>) {
        let (object, stripe) = (json::tests::object(object), stripe());
        let (mut objects, mut reads) = (Objects::default(), Vec::new());
        loop {
            let mut purchase = Purchase::seen_from(&object, &objects);
            match purchase.object(name) {
                Ok(found) => {
                    let from = |object: &Object<'_>| object.get("metadata")?.get("from")?.as_str().map(str::to_owned);
                    return (found.and_then(from), reads);
                }
                Err(reference) => {
                    reads.push(reference.kind);
                    let value = stripe.iter().find(|(known, _)| *known == reference);
                    objects.insert(reference, value.map_or(Found::Nothing, |(_, value)| found(value)));
                }
            }
        }
    }

    /// Every name, from every kind of event, in the shapes of 2024 and of 2025.
    #[test]
    fn names_mean_the_same_object_in_every_event() {
        use ReferenceKind::*;
        let pi = json!({"object": "payment_intent", "id": "pi_sub", "customer": "cus_1", "invoice": "in_1", "metadata": {"from": "payment"}});
        let pi_2025 =
            json!({"object": "payment_intent", "id": "pi_sub", "customer": "cus_1", "metadata": {"from": "payment"}});
        let charge = json!({"object": "charge", "id": "ch_1", "customer": "cus_1", "payment_intent": "pi_sub", "invoice": "in_1"});
        let charge_2025 = json!({"object": "charge", "id": "ch_1", "customer": "cus_1", "payment_intent": "pi_sub"});
        let invoice = json!({"object": "invoice", "id": "in_1", "customer": "cus_1", "payment_intent": "pi_sub", "subscription": "sub_1", "metadata": {"from": "invoice"}});
        let invoice_2025 = json!({"object": "invoice", "id": "in_1", "customer": "cus_1", "metadata": {"from": "invoice"},
            "parent": {"type": "subscription_details", "subscription_details": {"subscription": "sub_1"}}});
        let session = json!({"object": "checkout.session", "id": "cs_sub", "customer": "cus_1", "payment_intent": null, "invoice": "in_1", "subscription": "sub_1", "metadata": {"from": "session"}});
        let subscription = json!({"object": "subscription", "id": "sub_1", "customer": "cus_1", "latest_invoice": "in_1", "metadata": {"from": "subscription"}});
        let customer = json!({"object": "customer", "id": "cus_1", "metadata": {"from": "customer"}});
        let one_off = json!({"object": "payment_intent", "id": "pi_one", "customer": "cus_1", "invoice": null, "metadata": {"from": "payment"}});
        let account = json!({"object": "invoice", "id": "in_2", "customer": null, "customer_account": "acct_9", "subscription": null, "payment_intent": null});
        let expanded = json!({"object": "payment_intent", "id": "pi_one", "invoice": null,
            "customer": {"object": "customer", "id": "cus_1", "metadata": {"from": "customer"}}});
        let issuing = json!({"object": "issuing.transaction", "id": "ipi_1", "cardholder": "ich_1", "card": "ic_1"});
        let authorization = json!({"object": "issuing.authorization", "id": "iauth_1", "cardholder": "ich_1",
            "card": {"object": "issuing.card", "cardholder": {"object": "issuing.cardholder", "id": "ich_1", "metadata": {"from": "cardholder"}}}});
        let fee = json!({"object": "application_fee", "id": "fee_1", "charge": "ch_1", "account": "acct_1"});
        for (object, name, from, reads) in [
            (&pi, Name::Customer, Some("customer"), &[Customer][..]),
            (&pi, Name::PaymentIntent, Some("payment"), &[]),
            (&pi, Name::Invoice, Some("invoice"), &[Invoice]),
            (&pi, Name::Subscription, Some("subscription"), &[Invoice, Subscription]),
            (&pi, Name::CheckoutSession, Some("session"), &[SessionOfPayment, Invoice, SessionOfSubscription]),
            (&pi, Name::Cardholder, None, &[]),
            (&pi_2025, Name::Customer, Some("customer"), &[Customer]),
            (&pi_2025, Name::Invoice, Some("invoice"), &[PaymentIntent, Invoice]),
            (&pi_2025, Name::Subscription, Some("subscription"), &[PaymentIntent, Invoice, Subscription]),
            (
                &pi_2025,
                Name::CheckoutSession,
                Some("session"),
                &[SessionOfPayment, PaymentIntent, Invoice, SessionOfSubscription],
            ),
            (&charge, Name::PaymentIntent, Some("payment"), &[PaymentIntent]),
            (&charge, Name::Invoice, Some("invoice"), &[Invoice]),
            (&charge, Name::Subscription, Some("subscription"), &[Invoice, Subscription]),
            (&charge_2025, Name::Invoice, Some("invoice"), &[PaymentIntent, Invoice]),
            (&charge_2025, Name::Subscription, Some("subscription"), &[PaymentIntent, Invoice, Subscription]),
            (&invoice, Name::Customer, Some("customer"), &[Customer]),
            (&invoice, Name::Invoice, Some("invoice"), &[]),
            (&invoice, Name::PaymentIntent, Some("payment"), &[PaymentIntent]),
            (&invoice, Name::Subscription, Some("subscription"), &[Subscription]),
            (&invoice, Name::CheckoutSession, Some("session"), &[SessionOfSubscription]),
            (&invoice_2025, Name::PaymentIntent, Some("payment"), &[Invoice, PaymentIntent]),
            (&invoice_2025, Name::Subscription, Some("subscription"), &[Subscription]),
            (&invoice_2025, Name::CheckoutSession, Some("session"), &[SessionOfSubscription]),
            (&session, Name::CheckoutSession, Some("session"), &[]),
            (&session, Name::Customer, Some("customer"), &[Customer]),
            (&session, Name::Subscription, Some("subscription"), &[Subscription]),
            (&session, Name::Invoice, Some("invoice"), &[Invoice]),
            (&session, Name::PaymentIntent, Some("payment"), &[Invoice, PaymentIntent]),
            (&subscription, Name::Subscription, Some("subscription"), &[]),
            (&subscription, Name::CheckoutSession, Some("session"), &[SessionOfSubscription]),
            (&subscription, Name::PaymentIntent, Some("payment"), &[Invoice, PaymentIntent]),
            (&customer, Name::Customer, Some("customer"), &[]),
            (&customer, Name::Subscription, None, &[]),
            (&one_off, Name::CheckoutSession, Some("session"), &[SessionOfPayment]),
            (&one_off, Name::Subscription, None, &[]),
            (&account, Name::Customer, Some("customer"), &[Customer]),
            (&account, Name::PaymentIntent, None, &[]),
            (&expanded, Name::Customer, Some("customer"), &[]),
            (&issuing, Name::Cardholder, Some("cardholder"), &[Cardholder]),
            (&issuing, Name::Customer, None, &[]),
            (&authorization, Name::Cardholder, Some("cardholder"), &[]),
            (&fee, Name::Customer, None, &[]),
            (&fee, Name::CheckoutSession, None, &[]),
        ] {
            assert_eq!(read(object, name), (from.map(str::to_owned), reads.to_vec()), "{name:?} from {object}");
        }
    }

    /// Settings that need more than six reads for a user ID are refused. There are none.
    #[test]
    fn all_names_together_need_six_reads() {
        for object in [
            json!({"object": "payment_intent", "id": "pi_sub", "customer": "cus_1"}),
            json!({"object": "charge", "id": "ch_1", "customer": "cus_1", "payment_intent": "pi_sub"}),
            json!({"object": "charge", "id": "ch_1", "payment_intent": "pi_sub"}),
            json!({"object": "invoice", "id": "in_1"}),
            json!({"object": "checkout.session", "id": "cs_1", "invoice": "in_1"}),
            json!({"object": "subscription", "id": "sub_1", "latest_invoice": "in_1"}),
            json!({"object": "refund", "id": "re_1", "payment_intent": "pi_sub"}),
            json!({"object": "refund", "id": "re_1", "charge": "ch_1"}),
            json!({"object": "review", "id": "prv_1", "payment_intent": "pi_sub", "charge": "ch_1"}),
        ] {
            let (root, stripe) = (json::tests::object(&object), stripe());
            let (mut objects, mut reads) = (Objects::default(), 0);
            'again: loop {
                let mut purchase = Purchase::seen_from(&root, &objects);
                let payment = purchase.payment();
                let mut looks: Vec<Step<()>> = vec![payment.clone().map(drop)];
                for seen_from in payment.ok().flatten().into_iter().chain([&root]) {
                    for (_, name) in Name::ALL {
                        looks.push(Purchase::seen_from(seen_from, &objects).object(name).map(drop));
                        looks.push(Purchase::seen_from(seen_from, &objects).snapshot_of_subscription().map(drop));
                    }
                }
                for look in looks {
                    if let Err(reference) = look {
                        reads += 1;
                        let value = stripe.iter().find(|(known, _)| *known == reference);
                        objects.insert(reference, value.map_or(Found::Nothing, |(_, value)| found(value)));
                        continue 'again;
                    }
                }
                break;
            }
            assert!(reads <= 6, "{reads} for {object}");
        }
    }

    #[test]
    fn invalid_ids_lead_nowhere() {
        for id in [".", "..", "../accounts", "cus 1", "cus_1?expand", ""] {
            let object = json!({"object": "charge", "id": "ch_1", "customer": id, "payment_intent": {"id": id}});
            for name in [Name::Customer, Name::Invoice, Name::CheckoutSession] {
                assert_eq!(read(&object, name), (None, vec![]), "{id}");
            }
        }
    }
}
