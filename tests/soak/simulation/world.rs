//! The simulated payments, their later changes, and the revenue they must leave.
//!
//! The expected revenue is recorded while the events are generated; it is not derived from them.

use std::collections::BTreeMap;

use fastrand::Rng;
use serde_json::{Value, json};
use stripe_amplitude::stripe::event_types::{NEGATIVE_REVENUE_TYPES, TYPES};

use crate::harness::stripe;

/// The types that the project adds to the default ones.
pub const ADDED: [&str; 3] = ["refund.created", "charge.dispute.created", "charge.dispute.closed"];

/// Unsupported types that an endpoint with too many subscriptions also receives.
const UNSUPPORTED: [&str; 4] = ["customer.created", "payment_method.attached", "transfer.created", "payout.paid"];

/// Where an app may store its ID, in order of precedence.
pub const USER_ID_PATHS: [&str; 4] = [
    "metadata.user_id",
    "customer.metadata.user_id",
    "subscription.metadata.user_id",
    "checkout_session.client_reference_id",
];

const CURRENCIES: [&str; 5] = ["usd", "eur", "jpy", "kwd", "isk"];

/// From the second one on, Stripe documents `refund.…` events for all refunds.
const VERSIONS: [&str; 2] = ["2024-06-20", "2024-10-28.acacia"];

/// A version in which a payment does not name its invoice.
const LATER_VERSION: &str = "2025-09-30.clover";

/// A Stripe event.
pub struct Event {
    pub id: String,
    /// Its insert ID in Amplitude. Several events that report one reversed refund share one.
    pub insert_id: String,
    pub event_type: String,
    pub body: String,
    /// Whether the project selects it.
    pub selected: bool,
    /// Its user, if only references name them.
    pub user: Option<String>,
}

pub struct World {
    /// In the order in which they happened.
    pub events: Vec<Event>,
    /// In minor units, by user and currency, without zero totals.
    pub revenue: BTreeMap<(String, String), i128>,
    /// The Stripe objects that events refer to, with their connected accounts.
    pub objects: Vec<(String, Value)>,
}

impl World {
    /// Generates about this many events; every payment is completed. There is one user for each 20 events.
    pub fn new(seed: u64, events: usize) -> Self {
        let mut generator = Generator {
            rng: Rng::with_seed(seed),
            seed,
            users: (events / 20).max(1),
            events: Vec::new(),
            revenue: BTreeMap::new(),
            objects: Vec::new(),
        };
        generator.subscription();
        // Each type at least once, then at random.
        for event_type in
            TYPES.into_iter().filter(|name| *name != "payment_intent.succeeded" && *name != "charge.refunded")
        {
            generator.unrelated_event(event_type);
        }
        while generator.events.len() < events {
            generator.scenario();
        }
        generator.revenue.retain(|_, minor_units| *minor_units != 0);
        Self { events: generator.events, revenue: generator.revenue, objects: generator.objects }
    }
}

struct Generator {
    rng: Rng,
    seed: u64,
    users: usize,
    events: Vec<Event>,
    revenue: BTreeMap<(String, String), i128>,
    objects: Vec<(String, Value)>,
}

/// A payment, as far as its later events need it.
struct Payment {
    number: usize,
    user: String,
    currency: &'static str,
    authorized: i64,
    captured: i64,
    version: &'static str,
}

impl Generator {
    fn scenario(&mut self) {
        match self.rng.u32(0..18) {
            0..5 => {
                self.payment(false);
            }
            5..7 => {
                let payment = self.payment(false);
                self.refund_in_steps(&payment, 0);
            }
            7 => {
                let payment = self.payment(true);
                // The rest of the authorization is released, and then part of the captured amount is refunded.
                let released = payment.authorized - payment.captured;
                self.charge(&payment, "charge.refunded", released, Some(0));
                self.refund_in_steps(&payment, released);
            }
            8 => self.failed_refund(),
            9 => self.refund_without_charge(),
            10 => self.dispute(),
            11 => self.cancelled_authorization(),
            12..14 => self.subscription(),
            14..17 => {
                let event_type = TYPES[self.rng.usize(..TYPES.len())];
                if event_type != "payment_intent.succeeded" && event_type != "charge.refunded" {
                    self.unrelated_event(event_type);
                }
            }
            _ => {
                let event_type = UNSUPPORTED[self.rng.usize(..UNSUPPORTED.len())];
                let user = self.user();
                self.emit(
                    event_type,
                    VERSIONS[0],
                    json!({"object": "thing", "metadata": {"user_id": user}}),
                    Value::Null,
                );
            }
        }
    }

    /// It succeeds, perhaps for a part of what was authorized.
    fn payment(&mut self, partial: bool) -> Payment {
        let authorized = self.rng.i64(2..2_000_000);
        let captured = if partial { self.rng.i64(1..authorized) } else { authorized };
        let payment = self.authorization(authorized, captured);
        let mut object = sample("payment_intent.succeeded");
        object["id"] = payment.id().into();
        object["amount"] = authorized.into();
        object["amount_received"] = captured.into();
        object["currency"] = payment.currency.into();
        object["metadata"] = json!({ "user_id": payment.user });
        self.emit("payment_intent.succeeded", payment.version, object, Value::Null);
        self.add_revenue(&payment, captured);
        self.charge(&payment, if partial { "charge.captured" } else { "charge.succeeded" }, 0, None);
        payment
    }

    fn authorization(&mut self, authorized: i64, captured: i64) -> Payment {
        let currency = CURRENCIES[self.rng.usize(..CURRENCIES.len())];
        let version = VERSIONS[self.rng.usize(..VERSIONS.len())];
        Payment { number: self.events.len(), user: self.user(), currency, authorized, captured, version }
    }

    /// A subscription through Checkout, in a separate connected account with its own rate limit. Only one of its
    /// objects names the user. Part of it is refunded or disputed.
    fn subscription(&mut self) {
        let first = self.events.len();
        let seed = self.seed;
        let id = |prefix: &str| format!("{prefix}_{seed}_{first}");
        let (account, user) = (id("acct"), self.user());
        let place = self.rng.usize(..3);
        let metadata = |of: usize| if of == place { json!({"user_id": user}) } else { json!({}) };
        let (amount, currency) = (self.rng.i64(2..2_000_000), CURRENCIES[self.rng.usize(..CURRENCIES.len())]);
        let is_later = self.rng.bool();
        let version = if is_later { LATER_VERSION } else { VERSIONS[0] };
        let common = |object: &str, prefix: &str| json!({"object": object, "id": id(prefix), "livemode": true, "customer": id("cus"), "currency": currency, "metadata": {}});
        let with = |mut object: Value, fields: Value| {
            object.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            object
        };
        let payment = with(common("payment_intent", "pi"), json!({"amount_received": amount, "invoice": id("in")}));
        let charge = with(
            common("charge", "ch"),
            json!({"amount": amount, "amount_captured": amount, "payment_intent": id("pi"), "invoice": id("in")}),
        );
        let invoice = with(
            common("invoice", "in"),
            json!({"amount_paid": amount, "payment_intent": id("pi"), "subscription": id("sub"), "subscription_details": {"metadata": metadata(1)}}),
        );
        let session = with(
            common("checkout.session", "cs"),
            json!({"subscription": id("sub"), "invoice": id("in"), "payment_intent": null,
                "client_reference_id": if place == 2 { json!(user) } else { Value::Null }}),
        );
        let customer = json!({"object": "customer", "id": id("cus"), "livemode": true, "metadata": metadata(0)});
        let subscription = with(common("subscription", "sub"), json!({"metadata": metadata(1)}));
        for object in [&payment, &charge, &invoice, &session, &customer, &subscription] {
            self.objects.push((account.clone(), object.clone()));
        }

        let mut events = Vec::new();
        for (event_type, object) in [
            ("payment_intent.succeeded", &payment),
            ("charge.succeeded", &charge),
            ("invoice.paid", &invoice),
            ("checkout.session.completed", &session),
        ] {
            events.push((event_type, in_later_version(object, is_later), Value::Null));
        }
        let mut sum = amount;
        let taken = self.rng.i64(1..=amount);
        let of_payment =
            json!({"amount": taken, "payment_intent": id("pi"), "charge": id("ch"), "status": "succeeded"});
        match self.rng.u32(0..3) {
            0 => {
                let refunded = with(in_later_version(&charge, is_later), json!({"amount_refunded": taken}));
                let refund = with(json!({"object": "refund", "id": id("re"), "currency": currency}), of_payment);
                events.push(("charge.refunded", refunded, json!({"amount_refunded": 0})));
                events.push(("refund.created", refund, Value::Null));
                sum -= taken;
            }
            1 => {
                let movements = json!([{"id": "txn_1", "amount": -taken, "currency": currency}]);
                let dispute = with(json!({"object": "dispute", "id": id("dp"), "currency": currency}), of_payment);
                let dispute = with(dispute, json!({ "balance_transactions": movements }));
                events.push(("charge.dispute.funds_withdrawn", dispute, Value::Null));
                sum -= taken;
            }
            _ => {}
        }
        for (event_type, object, previous) in events {
            self.emit(event_type, version, object, previous);
            if let Some(event) = self.events.last_mut() {
                let mut body: Value = serde_json::from_str(&event.body).unwrap();
                body["account"] = account.as_str().into();
                body["livemode"] = true.into();
                (event.body, event.user) = (body.to_string(), Some(user.clone()));
            }
        }
        *self.revenue.entry((user, currency.to_uppercase())).or_default() += i128::from(sum);
    }

    fn refund_in_steps(&mut self, payment: &Payment, released: i64) {
        let mut refunded = 0;
        for _ in 0..self.rng.usize(1..4) {
            let left = payment.captured - refunded;
            if left == 0 {
                return;
            }
            let step = self.rng.i64(1..=left);
            self.charge(payment, "charge.refunded", released + refunded + step, Some(released + refunded));
            let refund = Refund { number: self.events.len(), has_charge: true, amount: step };
            self.refund(payment, &refund, "refund.created", "succeeded", Value::Null);
            self.add_revenue(payment, -step);
            refunded += step;
        }
    }

    fn failed_refund(&mut self) {
        let payment = self.payment(false);
        let amount = self.rng.i64(1..=payment.captured);
        let refund = Refund { number: self.events.len(), has_charge: true, amount };
        let (end, pending) = (["failed", "canceled"][self.rng.usize(..2)], json!({"status": "pending"}));
        self.charge(&payment, "charge.refunded", amount, Some(0));
        self.refund(&payment, &refund, "refund.created", "pending", Value::Null);
        // Whichever of them Stripe sends, in whatever order they arrive.
        self.refund(&payment, &refund, "charge.refund.updated", end, pending.clone());
        if self.rng.bool() {
            self.refund(&payment, &refund, "refund.updated", end, pending);
        }
        if end == "failed" && self.rng.bool() {
            self.refund(&payment, &refund, "refund.failed", end, Value::Null);
        }
        // The metadata of the refund are edited.
        self.refund(&payment, &refund, "charge.refund.updated", end, json!({"metadata": {}}));
    }

    fn refund_without_charge(&mut self) {
        let payment = self.payment(false);
        let amount = self.rng.i64(1..=payment.captured);
        let refund = Refund { number: self.events.len(), has_charge: false, amount };
        self.refund(&payment, &refund, "refund.created", "pending", Value::Null);
        self.add_revenue(&payment, -amount);
        if self.rng.bool() {
            self.refund(&payment, &refund, "refund.failed", "failed", Value::Null);
            self.add_revenue(&payment, amount);
        }
    }

    fn dispute(&mut self) {
        let payment = self.payment(false);
        let amount = self.rng.i64(1..=payment.captured);
        self.dispute_event(&payment, "created", amount, None);
        self.dispute_event(&payment, "funds_withdrawn", amount, None);
        self.add_revenue(&payment, -amount);
        let returned = self.rng.bool().then(|| self.rng.i64(1..=amount));
        if let Some(returned) = returned {
            self.dispute_event(&payment, "funds_reinstated", amount, Some(returned));
            self.add_revenue(&payment, returned);
        }
        self.dispute_event(&payment, "closed", amount, returned);
    }

    fn cancelled_authorization(&mut self) {
        let authorized = self.rng.i64(1..100_000);
        let payment = self.authorization(authorized, 0);
        let mut object = sample("payment_intent.canceled");
        object["id"] = payment.id().into();
        object["metadata"] = json!({ "user_id": payment.user });
        self.emit("payment_intent.canceled", payment.version, object, Value::Null);
        self.charge(&payment, "charge.refunded", authorized, Some(0));
    }

    /// An event of any type that does not affect revenue.
    fn unrelated_event(&mut self, event_type: &str) {
        let user = self.user();
        let mut object = sample(event_type);
        object["id"] = format!("other_{}", self.events.len()).into();
        // Without one, a charge would be a payment of its own.
        object["payment_intent"] = format!("pi_other_{}", self.events.len()).into();
        object["metadata"] = json!({ "user_id": user });
        self.emit(event_type, VERSIONS[0], object, Value::Null);
    }

    /// Half of the charges name no user; they are attributed to the payer.
    fn charge(&mut self, payment: &Payment, event_type: &str, refunded: i64, previously: Option<i64>) {
        let mut object = sample(event_type);
        for (name, value) in [
            ("id", format!("ch_{}_{}", self.seed, payment.number).into()),
            ("payment_intent", payment.id().into()),
            ("amount", payment.authorized.into()),
            ("amount_captured", payment.captured.into()),
            ("amount_refunded", refunded.into()),
            ("currency", payment.currency.into()),
        ] {
            object[name] = value;
        }
        self.set_user(&mut object, payment);
        let previous = previously.map_or(Value::Null, |refunded| json!({ "amount_refunded": refunded }));
        self.emit(event_type, payment.version, object, previous);
    }

    fn refund(&mut self, payment: &Payment, refund: &Refund, event_type: &str, status: &str, previous: Value) {
        let id = format!("re_{}_{}", self.seed, refund.number);
        let object = json!({
            "object": "refund", "id": id, "payment_intent": payment.id(),
            "charge": refund.has_charge.then(|| format!("ch_{}_{}", self.seed, payment.number)),
            "currency": payment.currency, "amount": refund.amount, "status": status,
        });
        let is_reversed = ["failed", "canceled"].contains(&status) && previous.get("metadata").is_none();
        // Half of them are rendered in another version, as by a backfill.
        let version = if self.rng.bool() { payment.version } else { VERSIONS[1] };
        self.emit(event_type, version, object, previous);
        if is_reversed && let Some(event) = self.events.last_mut() {
            event.insert_id = format!("{id}:reversed");
        }
    }

    fn dispute_event(&mut self, payment: &Payment, what: &str, amount: i64, returned: Option<i64>) {
        let movement = |id: &str, amount: i64| json!({"id": id, "amount": amount, "currency": payment.currency});
        let returned = returned.map(|returned| movement("txn_2", returned));
        let movements: Vec<_> = [movement("txn_1", -amount)].into_iter().chain(returned).collect();
        let object = json!({
            "object": "dispute", "id": format!("dp_{}", payment.number), "payment_intent": payment.id(),
            "charge": format!("ch_{}_{}", self.seed, payment.number), "currency": payment.currency, "amount": amount,
            "balance_transactions": movements,
        });
        self.emit(&format!("charge.dispute.{what}"), payment.version, object, Value::Null);
    }

    fn set_user(&mut self, object: &mut Value, payment: &Payment) {
        let named = self.rng.bool();
        object["metadata"] = if named { json!({ "user_id": payment.user }) } else { json!({}) };
        object["customer"] = Value::Null;
        object["receipt_email"] = Value::Null;
    }

    fn emit(&mut self, event_type: &str, version: &str, object: Value, previous: Value) {
        let number = self.events.len();
        let mut event = stripe::sample("charge.refunded");
        let id = format!("evt_{}_{number}", self.seed);
        event["id"] = id.as_str().into();
        event["type"] = event_type.into();
        event["api_version"] = version.into();
        event["created"] = (stripe::now() - 3600 + number as u64 / 100).into();
        event["data"] = json!({ "object": object });
        if !previous.is_null() {
            event["data"]["previous_attributes"] = previous;
        }
        let selected = [&TYPES[..], &NEGATIVE_REVENUE_TYPES, &ADDED].concat().contains(&event_type);
        let insert_id = id.clone();
        let (event_type, body) = (event_type.to_owned(), event.to_string());
        self.events.push(Event { id, insert_id, event_type, body, selected, user: None });
    }

    fn add_revenue(&mut self, payment: &Payment, minor_units: i64) {
        let key = (payment.user.clone(), payment.currency.to_uppercase());
        *self.revenue.entry(key).or_default() += i128::from(minor_units);
    }

    fn user(&mut self) -> String {
        format!("user_{}", self.rng.usize(..self.users))
    }
}

struct Refund {
    number: usize,
    has_charge: bool,
    amount: i64,
}

impl Payment {
    fn id(&self) -> String {
        format!("pi_{}", self.number)
    }
}

/// An object in the shape of later API versions.
fn in_later_version(object: &Value, is_later: bool) -> Value {
    let mut object = object.clone();
    let fields = object.as_object_mut().unwrap();
    match fields["object"].as_str() {
        Some("payment_intent" | "charge") if is_later => drop(fields.remove("invoice")),
        Some("invoice") if is_later => {
            fields.remove("payment_intent");
            let metadata = fields.remove("subscription_details").map(|details| details["metadata"].clone());
            let details = json!({"metadata": metadata, "subscription": fields.remove("subscription")});
            fields.insert("parent".to_owned(), json!({ "subscription_details": details }));
        }
        _ => {}
    }
    object
}

fn sample(event_type: &str) -> Value {
    stripe::sample(event_type)["data"]["object"].take()
}
