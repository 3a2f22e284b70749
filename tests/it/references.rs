//! References: one person is one user, wherever in Stripe the app has stored its ID and in whatever order events
//! arrive.
//!
//! `stripe-emulator` acts as Stripe's API, with the objects of a purchase in the shape of 2024-06-20. Events have the
//! shapes of three API versions.

use std::time::Duration;

use serde_json::{Value, json};
use stripe_emulator::{Emulator, Fault, Permission};
use tokio::time::{Instant, sleep};

use crate::harness::amplitude::Amplitude;
use crate::harness::gateway::Answer;
use crate::harness::parameter_store::ParameterStore;
use crate::harness::queue::QueueStage;
use crate::harness::{API_KEY, SECRET, SHOP, Stage, secrets, stripe};

/// A key with every permission.
const KEY: &str = "rk_live_51OfTheShop0123456789";

/// The app's ID for the buyer.
const USER: &str = "user_7";

const VERSIONS: [&str; 3] = ["2024-06-20", "2025-09-30.clover", "2026-07-29.preview"];

/// Every place where an app may have stored its ID.
const PATHS: [&str; 5] = [
    "metadata.user_id",
    "customer.metadata.user_id",
    "subscription.metadata.user_id",
    "checkout_session.client_reference_id",
    "payment_intent.metadata.user_id",
];

/// The time limit for an answer: 4.5 s, plus an allowance for a busy machine.
const ANSWER_LIMIT: Duration = Duration::from_millis(4900);

struct Shop {
    stage: Stage,
    stripe: Emulator,
}

impl Shop {
    async fn start(settings: &Value) -> Self {
        let (store, stripe) = (ParameterStore::start_with_shop().await, Emulator::start().unwrap());
        prepare(&store, &stripe, settings).await;
        let url = stripe.url().to_owned();
        let stage = Stage::from_parts(store, Amplitude::start().await, &[("STRIPE_API_URL", &url)]).await;
        Self { stage, stripe }
    }

    async fn following(paths: &[&str]) -> Self {
        Self::start(&json!({"references": "follow", "user_id_paths": paths})).await
    }

    /// Delivers an event like Stripe, again if the function's own rate limit deferred it.
    async fn deliver(&self, event: &Value) -> Answer {
        self.deliver_to(SHOP, event).await
    }

    async fn deliver_to(&self, project: &str, event: &Value) -> Answer {
        loop {
            let answer = self.stage.deliver_to(project, SECRET, event).await;
            if answer.body["code"] != "stripe_rate" {
                return answer;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Delivers an event and returns the user that Amplitude attributes it to.
    async fn user_of(&self, event: &Value) -> Value {
        self.deliver(event).await.expect_forwarded();
        self.stage.amplitude.accepted(event).event.get("user_id").cloned().unwrap_or_default()
    }
}

async fn prepare(store: &ParameterStore, stripe: &Emulator, settings: &Value) {
    store.put(&format!("{SHOP}/stripe-api-key"), KEY).await;
    store.put(&format!("{SHOP}/settings"), &settings.to_string()).await;
    stripe.allow(KEY, &Permission::ALL);
}

/// A shop with the redelivery queue.
async fn with_queue(settings: &Value, variables: &[(&str, &str)]) -> (QueueStage, Emulator) {
    let (store, stripe) = (ParameterStore::start_with_shop().await, Emulator::start().unwrap());
    prepare(&store, &stripe, settings).await;
    let url = stripe.url().to_owned();
    let both = [&[("STRIPE_API_URL", &*url), ("PARAMETER_TTL_SECONDS", "1")], variables].concat();
    (QueueStage::with_store(store, 100, &both, &[]).await, stripe)
}

/// Where the app has stored its ID.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Payment,
    Customer,
    Subscription,
    Session,
}

/// What is bought.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// The first payment of a subscription through Checkout.
    Subscription,
    /// A later one of the same subscription.
    Renewal,
    /// A one-off payment through Checkout.
    OneOff,
}

/// One purchase: its objects, whose IDs all contain this number, and its events.
#[derive(Clone)]
struct Purchase {
    number: u32,
    kind: Kind,
    account: Option<String>,
    payment: Value,
    charge: Value,
    customer: Value,
    session: Value,
    invoice: Option<Value>,
    subscription: Option<Value>,
}

impl Purchase {
    fn new(number: u32, kind: Kind, place: Place) -> Self {
        let metadata = |of: Place| if of == place { json!({"user_id": USER}) } else { json!({}) };
        let id = |prefix: &str| format!("{prefix}_{number}");
        let is_one_off = kind == Kind::OneOff;
        // A renewal has its own payment and invoice.
        let own = |prefix: &str| if kind == Kind::Renewal { format!("{prefix}_{number}r") } else { id(prefix) };
        let of_subscription = |value: String| if is_one_off { Value::Null } else { value.into() };
        let payment = json!({
            "id": own("pi"), "object": "payment_intent", "livemode": true, "amount": 2500, "amount_received": 2500,
            "currency": "usd", "customer": id("cus"), "invoice": of_subscription(own("in")),
            "metadata": metadata(Place::Payment), "receipt_email": null, "status": "succeeded",
        });
        let charge = json!({
            "id": own("ch"), "object": "charge", "livemode": true, "amount": 2500, "amount_captured": 2500,
            "amount_refunded": 0, "captured": true, "currency": "usd", "customer": id("cus"),
            "invoice": of_subscription(own("in")), "payment_intent": own("pi"), "metadata": metadata(Place::Payment),
            "receipt_email": null,
        });
        let customer = json!({
            "id": id("cus"), "object": "customer", "livemode": true, "email": null, "metadata": metadata(Place::Customer),
        });
        let session = json!({
            "id": id("cs"), "object": "checkout.session", "livemode": true, "amount_total": 2500, "currency": "usd",
            "client_reference_id": if place == Place::Session { json!(USER) } else { Value::Null },
            "customer": id("cus"), "customer_email": null, "metadata": {},
            "payment_intent": if is_one_off { json!(id("pi")) } else { Value::Null },
            "invoice": of_subscription(id("in")), "subscription": of_subscription(id("sub")),
        });
        let invoice = json!({
            "id": own("in"), "object": "invoice", "livemode": true, "amount_paid": 2500, "currency": "usd",
            "customer": id("cus"), "customer_email": "buyer@shop.example", "metadata": {},
            "payment_intent": own("pi"), "subscription": id("sub"),
            "subscription_details": {"metadata": metadata(Place::Subscription)},
            "lines": {"object": "list", "has_more": false, "data": []},
        });
        let subscription = json!({
            "id": id("sub"), "object": "subscription", "livemode": true, "customer": id("cus"),
            "latest_invoice": own("in"), "metadata": metadata(Place::Subscription),
        });
        Self {
            number,
            kind,
            account: None,
            payment,
            charge,
            customer,
            session,
            invoice: (!is_one_off).then_some(invoice),
            subscription: (!is_one_off).then_some(subscription),
        }
    }

    fn in_account(mut self, account: &str) -> Self {
        self.account = Some(account.to_owned());
        self
    }

    /// Stores the objects in Stripe before the events arrive.
    fn put(&self, stripe: &Emulator) {
        let objects = [Some(&self.payment), Some(&self.charge), Some(&self.customer), Some(&self.session)];
        for object in objects.into_iter().chain([self.invoice.as_ref(), self.subscription.as_ref()]).flatten() {
            match &self.account {
                Some(account) => stripe.put_in(account, object.clone()).unwrap(),
                None => stripe.put(object.clone()).unwrap(),
            }
        }
    }

    fn event(&self, event_type: &str, object: &Value, version: &str) -> Value {
        let mut event = stripe::new_event("charge.succeeded");
        event["type"] = event_type.into();
        event["livemode"] = true.into();
        event["api_version"] = version.into();
        event["data"] = json!({"object": in_version(object, version)});
        if let Some(account) = &self.account {
            event["account"] = account.clone().into();
        }
        event
    }

    /// All events of the purchase, in an API version.
    fn events(&self, version: &str) -> Vec<Value> {
        let mut events = vec![
            self.event("payment_intent.succeeded", &self.payment, version),
            self.event("charge.succeeded", &self.charge, version),
        ];
        if self.kind != Kind::Renewal {
            events.push(self.event("checkout.session.completed", &self.session, version));
        }
        events.extend(self.invoice.iter().map(|invoice| self.event("invoice.paid", invoice, version)));
        events
    }

    /// The reversals: a refund and a dispute, neither of which names a user.
    fn reversals(&self, version: &str) -> Vec<Value> {
        let of_payment = |object: &str, id: &str| {
            json!({"id": format!("{id}_{}", self.number), "object": object, "amount": 500, "currency": "usd",
                "charge": self.charge["id"], "payment_intent": self.payment["id"], "metadata": {}, "status": "succeeded",
                "balance_transactions": []})
        };
        vec![
            self.event("refund.created", &of_payment("refund", "re"), version),
            self.event("charge.dispute.created", &of_payment("dispute", "dp"), version),
        ]
    }
}

/// An object of 2024-06-20 in the shape of a later version.
fn in_version(object: &Value, version: &str) -> Value {
    let mut object = object.clone();
    let fields = object.as_object_mut().unwrap();
    if version < "2025-03-31" {
        return object;
    }
    match fields["object"].as_str().unwrap() {
        "payment_intent" | "charge" => drop(fields.remove("invoice")),
        "invoice" => {
            fields.remove("payment_intent");
            let details = json!({
                "metadata": fields.remove("subscription_details").map(|details| details["metadata"].clone()),
                "subscription": fields.remove("subscription"),
            });
            let parent = json!({"type": "subscription_details", "subscription_details": details});
            fields.insert("parent".to_owned(), parent);
        }
        _ => {}
    }
    object
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for next in 0..count {
        all = all
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                (0..=order.len()).map(move |place| {
                    let mut longer = order.clone();
                    longer.insert(place, next);
                    longer
                })
            })
            .collect();
    }
    all
}

#[tokio::test]
async fn names_resolve_equally_in_every_version() {
    let shop = Shop::following(&["metadata.user_id"]).await;
    let purchase = Purchase::new(1, Kind::Subscription, Place::Payment);
    let one_off = Purchase::new(2, Kind::OneOff, Place::Payment);
    for purchase in [&purchase, &one_off] {
        purchase.put(&shop.stripe);
    }
    for (name, id) in [
        ("customer", "cus_1"),
        ("subscription", "sub_1"),
        ("invoice", "in_1"),
        ("payment_intent", "pi_1"),
        ("checkout_session", "cs_1"),
    ] {
        let project = format!("by-{}", name.replace('_', "-"));
        let settings = json!({"references": "follow", "user_id_paths": [format!("{name}.metadata.marker")],
            "events": {"add": ["refund.*", "charge.dispute.*"]}});
        shop.stage.store.put_project(&project, SECRET, API_KEY).await;
        shop.stage.store.put(&format!("{project}/stripe-api-key"), KEY).await;
        shop.stage.store.put(&format!("{project}/settings"), &settings.to_string()).await;
        let marker = format!("marker-of-{name}");
        shop.stripe.update(id, |object| object["metadata"]["marker"] = marker.clone().into());
        let session_of_one_off = "marker-of-one-off";
        shop.stripe.update("cs_2", |object| object["metadata"]["marker"] = session_of_one_off.into());
        for version in VERSIONS {
            let mut events = purchase.events(version);
            events.extend(purchase.reversals(version));
            for event in &mut events {
                // The event's own fields are unchanged.
                let object = &mut event["data"]["object"];
                if object["id"] == id {
                    object["metadata"]["marker"] = marker.clone().into();
                }
            }
            for event in &events {
                shop.deliver_to(&project, event).await.expect_forwarded();
                let user = shop.stage.amplitude.accepted(event).event["user_id"].clone();
                assert_eq!(user, marker, "{name} from {} in {version}", event["type"]);
            }
        }
    }
}

#[tokio::test]
async fn buyer_is_one_user_in_any_order_of_events() {
    let shop = Shop::following(&PATHS).await;
    let mut number = 0;
    for (kind, place) in [
        // A subscription through Checkout with only `client_reference_id`; one with only its own metadata; an app that
        // only knows customers; a payment through Checkout; and a renewal months later.
        (Kind::Subscription, Place::Session),
        (Kind::Subscription, Place::Subscription),
        (Kind::Subscription, Place::Customer),
        (Kind::OneOff, Place::Session),
        (Kind::OneOff, Place::Payment),
        (Kind::OneOff, Place::Customer),
        (Kind::Renewal, Place::Session),
        (Kind::Renewal, Place::Subscription),
        (Kind::Renewal, Place::Customer),
    ] {
        let count = Purchase::new(0, kind, place).events(VERSIONS[0]).len();
        for (index, order) in permutations(count).into_iter().enumerate() {
            number += 1;
            // Each in a separate account with its own rate limit.
            let account = format!("acct_{number}");
            shop.stripe.connect(&account);
            let purchase = Purchase::new(number, kind, place).in_account(&account);
            if kind == Kind::Renewal {
                Purchase::new(number, Kind::Subscription, place).in_account(&account).put(&shop.stripe);
            }
            purchase.put(&shop.stripe);
            let events = purchase.events(VERSIONS[index % VERSIONS.len()]);
            for index in order {
                let user = shop.user_of(&events[index]).await;
                assert_eq!(user, USER, "{kind:?} {place:?} {}", events[index]["type"]);
            }
        }
    }
    let requests = shop.stripe.requests();
    assert!(requests.iter().all(|request| request.version() == Some("2024-06-20")));
    assert!(requests.iter().all(|request| request.account().is_some()), "each for the account of its event");
}

#[tokio::test]
async fn reversals_belong_to_the_payer_in_any_order() {
    for (number, refunds) in [(1, "as_events"), (2, "negative_revenue")] {
        let settings = json!({"references": "follow", "user_id_paths": PATHS, "refunds": refunds,
            "events": {"add": ["refund.created", "charge.dispute.created"]}});
        let shop = Shop::start(&settings).await;
        for (kind, place) in [(Kind::Subscription, Place::Session), (Kind::OneOff, Place::Payment)] {
            let number = number * 10 + u32::from(kind == Kind::OneOff);
            for version in VERSIONS {
                let purchase = Purchase::new(number, kind, place);
                purchase.put(&shop.stripe);
                let reversals = purchase.reversals(version);
                assert_eq!(shop.user_of(&reversals[0]).await, USER, "{kind:?} {version}");
                for event in purchase.events(version) {
                    assert_eq!(shop.user_of(&event).await, USER);
                }
                assert_eq!(shop.user_of(&reversals[1]).await, USER, "{kind:?} {version}");
            }
        }
    }
}

#[tokio::test]
async fn each_path_is_tried_on_the_payment_first() {
    let settings = json!({"references": "follow", "user_id_paths": ["metadata.user_id", "metadata.other"],
        "events": {"add": ["refund.created", "charge.dispute.created"]}});
    let shop = Shop::start(&settings).await;
    for (number, place, user) in [(1, Place::Payment, USER), (2, Place::Customer, "of the reversal")] {
        let purchase = Purchase::new(number, Kind::OneOff, place);
        purchase.put(&shop.stripe);
        for version in VERSIONS {
            for mut event in purchase.reversals(version) {
                event["data"]["object"]["metadata"] = json!({"other": "of the reversal"});
                assert_eq!(shop.user_of(&event).await, user, "{} {version}", event["type"]);
                // A charge, where there is no PaymentIntent.
                event["data"]["object"]["payment_intent"] = Value::Null;
                event["id"] = format!("{}c", event["id"].as_str().unwrap()).into();
                assert_eq!(shop.user_of(&event).await, user, "{} {version}", event["type"]);
            }
        }
    }
}

#[tokio::test]
async fn data_in_the_event_is_not_read() {
    let shop = Shop::following(&PATHS).await;
    let purchase = Purchase::new(1, Kind::Subscription, Place::Subscription);
    purchase.put(&shop.stripe);
    for version in VERSIONS {
        let invoice = purchase.event("invoice.paid", purchase.invoice.as_ref().unwrap(), version);
        assert_eq!(shop.user_of(&invoice).await, USER, "{version}");
    }
    assert_eq!(shop.stripe.counts().keys().collect::<Vec<_>>(), ["GET /v1/customers/cus_1"], "the snapshot suffices");
    shop.stripe.clear_requests();
    let mut expanded = purchase.event("charge.succeeded", &purchase.charge, VERSIONS[0]);
    expanded["data"]["object"]["customer"] =
        json!({"id": "cus_9", "object": "customer", "metadata": {"user_id": "user_9"}});
    assert_eq!(shop.user_of(&expanded).await, "user_9");
    assert!(shop.stripe.requests().is_empty());
}

#[tokio::test]
async fn id_written_seconds_late_counts_from_then_on() {
    let shop = Shop::following(&PATHS).await;
    let mut purchase = Purchase::new(1, Kind::OneOff, Place::Customer);
    purchase.customer["metadata"] = json!({});
    purchase.put(&shop.stripe);
    let before = purchase.event("payment_intent.succeeded", &purchase.payment, VERSIONS[0]);
    assert_eq!(shop.user_of(&before).await, Value::Null);
    shop.stripe.update("cus_1", |customer| customer["metadata"]["user_id"] = USER.into());
    let start = Instant::now();
    let found = loop {
        let event = purchase.event("charge.succeeded", &purchase.charge, VERSIONS[0]);
        let user = shop.user_of(&event).await;
        if user == USER || start.elapsed() > Duration::from_secs(20) {
            break user;
        }
        sleep(Duration::from_millis(500)).await;
    };
    assert_eq!(found, USER);
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
}

#[tokio::test]
async fn nothing_is_read_by_default() {
    let shop = Shop::start(&json!({"user_id_paths": PATHS})).await;
    let purchase = Purchase::new(1, Kind::Subscription, Place::Customer);
    purchase.put(&shop.stripe);
    for event in purchase.events(VERSIONS[0]) {
        assert_eq!(shop.user_of(&event).await, Value::Null);
    }
    assert!(shop.stripe.requests().is_empty());
}

#[tokio::test]
async fn unreadable_reference_fails_the_delivery_in_time() {
    let shop = Shop::following(&PATHS).await;
    let mut number = 0;
    for (fault, code) in [
        (Fault::InternalError, "stripe_unavailable"),
        (Fault::Unavailable, "stripe_unavailable"),
        (Fault::Html(502), "stripe_unavailable"),
        (Fault::Html(200), "stripe_unavailable"),
        (Fault::Cut, "stripe_unavailable"),
        (Fault::CutHalfWay, "stripe_unavailable"),
        (Fault::Hang(Duration::from_secs(60)), "stripe_unavailable"),
    ] {
        number += 1;
        // In a separate account with its own rate limit.
        let account = format!("acct_{number}");
        shop.stripe.connect(&account);
        let purchase = Purchase::new(number, Kind::OneOff, Place::Customer).in_account(&account);
        purchase.put(&shop.stripe);
        let event = purchase.event("payment_intent.succeeded", &purchase.payment, VERSIONS[0]);
        shop.stripe.set_outage(Some(fault));
        let start = Instant::now();
        shop.deliver(&event).await.expect_code(502, "failed", code);
        assert!(start.elapsed() < ANSWER_LIMIT, "{fault:?} {:?}", start.elapsed());
        let line = shop.stage.function.line_of(&event, 1).await;
        assert_eq!(
            (&line["code"], &line["stripe_reads_failed"], &line["level"]),
            (&json!(code), &json!(1), &json!("ERROR"))
        );
        shop.stripe.clear_faults();
        // Stripe delivers again.
        assert_eq!(shop.user_of(&event).await, USER, "{fault:?}");
        let line = shop.stage.function.line_of(&event, 2).await;
        assert_eq!((&line["stripe_reads"], &line["user_id_from"]), (&json!(1), &json!("customer.metadata.user_id")));
        assert!(line["stripe_milliseconds"].is_u64(), "{line}");
    }
    assert!(shop.stage.amplitude.events().iter().all(|kept| kept.event["user_id"] == USER));
}

#[tokio::test]
async fn only_broken_connections_are_retried_immediately() {
    let shop = Shop::following(&PATHS).await;
    let purchase = Purchase::new(1, Kind::OneOff, Place::Customer);
    purchase.put(&shop.stripe);
    shop.stripe.fail(1, Fault::Cut);
    let event = purchase.event("payment_intent.succeeded", &purchase.payment, VERSIONS[0]);
    assert_eq!(shop.user_of(&event).await, USER);
    assert_eq!(shop.stripe.requests().len(), 2);
}

#[tokio::test]
async fn reads_pause_after_a_429() {
    let shop = Shop::following(&PATHS).await;
    let purchase = Purchase::new(1, Kind::OneOff, Place::Customer);
    purchase.put(&shop.stripe);
    shop.stripe.fail(1, Fault::TooManyRequests);
    let event = purchase.event("payment_intent.succeeded", &purchase.payment, VERSIONS[0]);
    shop.stage.deliver(&event).await.expect_code(502, "failed", "stripe_unavailable");
    let start = Instant::now();
    shop.stage.deliver(&event).await.expect_code(502, "failed", "stripe_rate");
    assert_eq!(shop.stripe.requests().len(), 1);
    assert_eq!(shop.user_of(&event).await, USER);
    assert!(start.elapsed() > Duration::from_millis(1500), "{:?}", start.elapsed());
}

#[tokio::test]
async fn key_problem_is_named_without_the_key() {
    let weak = "rk_live_51WithoutCustomers";
    let revoked = "rk_live_51Revoked0123456789";
    for (key, has_customer, code, named) in [
        (Some(weak), true, "stripe_permission_missing", "Customers: Read (rak_customer_read)"),
        (Some(revoked), true, "stripe_key_refused", "/shop/stripe-api-key"),
        (None, true, "stripe_key_missing", "/shop/stripe-api-key"),
        (Some(KEY), false, "stripe_object_not_found", "/shop/stripe-api-key"),
        (Some("rk_test_51OfTestMode"), true, "parameter_mixed_up", "/shop/stripe-api-key"),
        (Some("pk_live_51Publishable"), true, "parameter_mixed_up", "/shop/stripe-api-key"),
        (Some("whsec_51SigningSecret"), true, "parameter_mixed_up", "/shop/stripe-api-key"),
    ] {
        let shop = Shop::following(&PATHS).await;
        let purchase = Purchase::new(1, Kind::OneOff, Place::Customer);
        purchase.put(&shop.stripe);
        shop.stripe.allow(weak, &[Permission::PaymentIntentRead]);
        match key {
            Some(key) => shop.stage.store.put(&format!("{SHOP}/stripe-api-key"), key).await,
            None => shop.stage.store.delete(&format!("{SHOP}/stripe-api-key")).await,
        }
        if !has_customer {
            shop.stripe.remove("cus_1");
        }
        let event = purchase.event("payment_intent.succeeded", &purchase.payment, VERSIONS[0]);
        let answer = shop.deliver(&event).await;
        answer.expect_code(500, "failed", code);
        answer.expect_reason_contains(named);
        assert!(shop.stage.amplitude.events().is_empty());
    }
}

#[tokio::test]
async fn deleted_and_lost_test_objects_are_skipped() {
    let shop = Shop::following(&["customer.metadata.user_id", "customer"]).await;
    let test_key = "rk_test_51OfTheShop0123456789";
    shop.stage.store.put(&format!("{SHOP}/stripe-test-api-key"), test_key).await;
    shop.stripe.allow(test_key, &Permission::ALL);
    let purchase = Purchase::new(1, Kind::OneOff, Place::Customer);
    purchase.put(&shop.stripe);
    shop.stripe.delete("cus_1");
    let event = purchase.event("payment_intent.succeeded", &purchase.payment, VERSIONS[0]);
    assert_eq!(shop.user_of(&event).await, "cus_1");
    let lost = Purchase::new(2, Kind::OneOff, Place::Customer);
    let mut event = lost.event("payment_intent.succeeded", &lost.payment, VERSIONS[0]);
    event["livemode"] = false.into();
    assert_eq!(shop.user_of(&event).await, "cus_2");
    let key = |request: &stripe_emulator::Request| request.key();
    assert_eq!(
        shop.stripe.requests().iter().map(key).collect::<Vec<_>>(),
        [Some(KEY.to_owned()), Some(test_key.to_owned())]
    );
}

#[tokio::test]
async fn test_events_without_test_key_are_not_followed() {
    let shop = Shop::following(&["customer.metadata.user_id", "customer"]).await;
    let purchase = Purchase::new(1, Kind::OneOff, Place::Customer);
    purchase.put(&shop.stripe);
    let mut event = purchase.event("payment_intent.succeeded", &purchase.payment, VERSIONS[0]);
    event["livemode"] = false.into();
    assert_eq!(shop.user_of(&event).await, "cus_1");
    assert!(shop.stripe.requests().is_empty());
    let line = shop.stage.function.line_of(&event, 1).await;
    assert_eq!(line["references_need"], "stripe-test-api-key");
}

#[tokio::test]
async fn queue_hides_an_outage_of_stripes_api() {
    let settings = json!({"references": "follow", "user_id_paths": PATHS});
    let (setup, stripe) = with_queue(&settings, &[]).await;
    let purchase = Purchase::new(1, Kind::Subscription, Place::Customer);
    purchase.put(&stripe);
    let mut events = Vec::new();
    let mut deliver = async |object: &Value, event_type: &str, code: &str| {
        let event = purchase.event(event_type, object, VERSIONS[0]);
        setup.stage.deliver(&event).await.expect_code(202, "deferred", code);
        events.push(event);
    };
    stripe.set_outage(Some(Fault::Unavailable));
    deliver(&purchase.payment, "payment_intent.succeeded", "stripe_unavailable").await;
    stripe.clear_faults();
    stripe.revoke(KEY);
    deliver(&purchase.charge, "charge.succeeded", "stripe_key_refused").await;
    // During the outage, events that need no read are still delivered.
    let mut named = purchase.event("charge.succeeded", &purchase.charge, VERSIONS[0]);
    named["data"]["object"]["metadata"]["user_id"] = USER.into();
    setup.stage.deliver(&named).await.expect_forwarded();
    let processed = setup.poll().await;
    assert_eq!(processed.iter().filter(|processed| processed.failed).count(), 2);
    setup.queue.make_visible(processed.iter().map(|processed| &processed.message)).await;

    let new_key = "rk_live_51NewKeyOfTheShop0";
    stripe.allow(new_key, &Permission::ALL);
    setup.stage.store.put(&format!("{SHOP}/stripe-api-key"), new_key).await;
    sleep(Duration::from_millis(1300)).await;
    let processed = setup.poll().await;
    assert!(processed.iter().all(|processed| !processed.failed), "{}", setup.redelivery.output());
    for event in events.iter().chain([&named]) {
        assert_eq!(setup.stage.amplitude.accepted(event).event["user_id"], USER);
    }
    assert!(setup.queue.take_dead_letters().await.is_empty());
}

#[tokio::test]
async fn redelivery_delays_only_unresolved_events() {
    let settings = json!({"references": "follow", "user_id_paths": PATHS});
    let (setup, stripe) = with_queue(&settings, &[("DELIVERY", "queue")]).await;
    let purchases: Vec<_> = (1..=4).map(|number| Purchase::new(number, Kind::OneOff, Place::Customer)).collect();
    let mut events = Vec::new();
    for purchase in &purchases {
        purchase.put(&stripe);
        let event = purchase.event("payment_intent.succeeded", &purchase.payment, VERSIONS[0]);
        setup.stage.deliver(&event).await.expect_code(202, "queued", "delivery_queue");
        events.push(event);
    }
    assert!(stripe.requests().is_empty(), "the webhook function reads nothing");
    stripe.fail_at("/v1/customers/cus_2", 1, Fault::InternalError);
    let processed = setup.poll().await;
    let failed: Vec<_> = processed.iter().filter(|processed| processed.failed).collect();
    assert_eq!((processed.len(), failed.len()), (4, 1));
    assert!(failed[0].delay.is_some_and(|delay| (22..=30).contains(&delay)), "{failed:?}");
    for event in [&events[0], &events[2], &events[3]] {
        assert_eq!(setup.stage.amplitude.accepted(event).event["user_id"], USER);
    }
    let line = setup.redelivery.line_of(&events[1], 1).await;
    assert_eq!((&line["outcome"], &line["code"]), (&json!("failed"), &json!("stripe_unavailable")));
}

#[tokio::test]
async fn keys_and_read_objects_are_not_exposed() {
    secrets::register(KEY);
    secrets::register("street-of-the-buyer");
    let shop = Shop::following(&PATHS).await;
    let mut purchase = Purchase::new(1, Kind::Subscription, Place::Customer);
    purchase.customer["description"] = "street-of-the-buyer".into();
    purchase.put(&shop.stripe);
    for event in purchase.events(VERSIONS[1]) {
        assert_eq!(shop.user_of(&event).await, USER);
        let kept = json!(shop.stage.amplitude.accepted(&event).event).to_string();
        assert!(!kept.contains(KEY) && !kept.contains("street-of-the-buyer"), "{kept}");
    }
}

#[tokio::test]
async fn products_are_read_for_payments_and_long_invoices() {
    let shop = Shop::start(&json!({"products": "follow"})).await;
    let line = |number: u32| {
        json!({"id": format!("il_{number}"), "object": "line_item", "description": format!("Item {number:02}"),
            "price": {"id": format!("price_{number}"), "object": "price", "product": format!("prod_{}", number % 12)}})
    };
    for number in 0..12 {
        let product = json!({"id": format!("prod_{number}"), "object": "product", "name": format!("Product {number}"), "livemode": true});
        shop.stripe.put(product).unwrap();
    }
    let mut purchase = Purchase::new(1, Kind::Subscription, Place::Payment);
    let lines: Vec<_> = (0..24).map(line).collect();
    let invoice = purchase.invoice.as_mut().unwrap();
    invoice["lines"] = json!({"object": "list", "data": lines});
    purchase.put(&shop.stripe);
    let mut shown = purchase.invoice.clone().unwrap();
    shown["lines"] = json!({"object": "list", "data": lines[..10], "has_more": true, "total_count": 24});
    let names: Vec<_> = (0..12).map(|number| format!("Product {number}")).collect();
    for version in VERSIONS {
        for (event_type, object) in [
            ("payment_intent.succeeded", &purchase.payment),
            ("charge.succeeded", &purchase.charge),
            ("invoice.paid", &shown),
        ] {
            let event = purchase.event(event_type, object, version);
            shop.deliver(&event).await.expect_forwarded();
            let properties = shop.stage.amplitude.accepted(&event).event["event_properties"].clone();
            assert_eq!(properties["product_names"], json!(names), "{event_type} {version}");
            assert_eq!(properties.get("products_incomplete"), None);
        }
    }
    // Products only get the reads per second that user IDs leave.
    sleep(Duration::from_millis(1100)).await;
    let one_off = Purchase::new(2, Kind::OneOff, Place::Payment);
    one_off.put(&shop.stripe);
    shop.stripe.put_line_items("cs_2", vec![line(3), line(4)]);
    let event = one_off.event("payment_intent.succeeded", &one_off.payment, VERSIONS[0]);
    shop.deliver(&event).await.expect_forwarded();
    let properties = shop.stage.amplitude.accepted(&event).event["event_properties"].clone();
    assert_eq!(properties["product_names"], json!(["Product 3", "Product 4"]));
    assert_eq!(properties["product_ids"], json!(["prod_3", "prod_4"]));

    // A failure never fails a delivery.
    shop.stripe.set_outage(Some(Fault::Unavailable));
    let other = Purchase::new(3, Kind::Subscription, Place::Payment);
    let event = other.event("payment_intent.succeeded", &other.payment, VERSIONS[0]);
    shop.deliver(&event).await.expect_forwarded();
    let properties = shop.stage.amplitude.accepted(&event).event["event_properties"].clone();
    assert_eq!(properties["products_incomplete"], true);
}
