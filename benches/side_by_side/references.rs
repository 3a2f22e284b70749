//! The cost of following references: the reads for each event, and the time that they add if Stripe responds after 100
//! ms.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::{Value, json};
use stripe_emulator::{Emulator, Fault, Permission};

use crate::Effort;
use crate::contestant::Contestant;
use crate::delivery::{Envelope, SECRET, sample};
use crate::report::Report;
use crate::runtime_api::Invocations;
use crate::stage::Stage;
use crate::statistics::{Sample, microseconds, milliseconds, number};

/// The key of the local Stripe.
const KEY: &str = "rk_live_of_the_bench";

/// Stripe's delay.
const DELAY: Duration = Duration::from_millis(100);

/// Where the app has put its ID, the settings that find it, and whether the objects of one event are still cached for
/// the next.
struct SetUp {
    name: &'static str,
    project: &'static str,
    settings: Value,
}

fn set_ups() -> Vec<SetUp> {
    let follow = |name, project, path: &str| SetUp {
        name,
        project,
        settings: json!({"references": "follow", "user_id_paths": ["metadata.user_id", path, "customer"]}),
    };
    vec![
        SetUp { name: "references off", project: "refs-off", settings: json!({}) },
        follow("`follow`, the ID on the event", "refs-event", "customer.metadata.user_id"),
        follow("`follow`, on the customer", "refs-customer", "customer.metadata.user_id"),
        follow("`follow`, on the subscription", "refs-subscription", "subscription.metadata.user_id"),
        follow("`follow`, `client_reference_id`", "refs-session", "checkout_session.client_reference_id"),
        SetUp {
            name: "`follow`, on the customer, and products",
            project: "refs-products",
            settings: json!({"references": "follow", "products": "follow",
                "user_id_paths": ["metadata.user_id", "customer.metadata.user_id", "customer"]}),
        },
    ]
}

pub fn measure(stage: &Stage, effort: Effort, report: &mut Report) {
    let stripe = Emulator::start().unwrap();
    stripe.allow(KEY, &Permission::ALL);
    let deliveries = effort.choose(200, 20);
    let mut rows = Vec::new();
    for SetUp { name, project, settings } in set_ups() {
        for (parameter, value) in [
            ("stripe-signing-secret", SECRET),
            ("amplitude-api-key", "amplitude-key-of-the-bench"),
            ("stripe-api-key", KEY),
            ("settings", &settings.to_string()),
        ] {
            stage.aws.put(project, parameter, value);
        }
        for is_cached in [true, false] {
            let payments = Arc::new(Payments::new(&stripe, project, is_cached));
            let contestant = Contestant::function().with("STRIPE_API_URL", stripe.url());
            let running = stage.start_with(&contestant, &stage.prompt, payments, None);
            // The cache is filled by the first of them.
            running.api.run(10);
            running.api.wait_until_idle();
            stripe.set_outage(Some(Fault::Hang(DELAY)));
            stripe.clear_requests();
            let before = running.process.cpu();
            let mut wall = Sample::default();
            for answered in running.api.run(deliveries) {
                wall.add(milliseconds(answered.duration()));
            }
            running.api.wait_until_idle();
            let cpu = (running.process.cpu() - before) / deliveries as u32;
            let reads = stripe.requests().len() as f64 / deliveries as f64;
            stripe.set_outage(None);
            let times = [50.0, 99.0].map(|percent| number(wall.percentile(percent)));
            let of = if is_cached { "one buyer" } else { "a buyer each" };
            let row = vec![format!("{name}, {of}"), format!("{reads:.2}"), number(microseconds(cpu))];
            rows.push([row, times.to_vec()].concat());
        }
    }
    report.say(&format!(
        "`payment_intent.succeeded` of a subscription, {deliveries} in each row, one after the other in one process. Stripe's \
         API answers after {} ms, Amplitude at once. With one buyer, what was read for the first event is in the cache; with \
         a buyer each, every event has objects of its own, in a connected account of its own, so that no rate of ours is \
         reached. Times are milliseconds by the clock, from handing out to the answer.",
        DELAY.as_millis()
    ));
    report.table(&["", "reads per event", "CPU µs", "p50", "p99"], &rows);
}

/// Payments of subscriptions, whose objects are in Stripe.
struct Payments {
    envelope: Envelope,
    stripe: Emulator,
    project: &'static str,
    is_cached: bool,
    made: AtomicUsize,
}

impl Payments {
    fn new(stripe: &Emulator, project: &'static str, is_cached: bool) -> Self {
        let (envelope, stripe) = (Envelope::new(project), stripe.clone());
        Self { envelope, stripe, project, is_cached, made: AtomicUsize::new(0) }
    }

    /// Adds all objects of a subscription to Stripe, and returns its payment.
    fn payment(&self, number: usize, account: &str) -> Value {
        self.stripe.connect(account);
        let id = |prefix: &str| format!("{prefix}_{}{number}", self.project.replace('-', ""));
        let user = json!({"user_id": format!("user_{number}")});
        let mut payment = sample("payment_intent.succeeded")["data"]["object"].take();
        for (name, value) in [
            ("id", json!(id("pi"))),
            ("customer", json!(id("cus"))),
            ("invoice", json!(id("in"))),
            ("livemode", json!(true)),
            ("metadata", if self.project == "refs-event" { user.clone() } else { json!({}) }),
        ] {
            payment[name] = value;
        }
        let product = json!({"id": id("prod"), "object": "product", "livemode": true, "name": "Pro"});
        let line = json!({"id": id("il"), "object": "line_item", "description": "1 × Pro (at $20.00 / month)",
            "price": {"id": id("price"), "object": "price", "product": id("prod")}});
        for object in [
            payment.clone(),
            product,
            json!({"id": id("cus"), "object": "customer", "livemode": true, "metadata": user}),
            json!({"id": id("in"), "object": "invoice", "livemode": true, "customer": id("cus"), "payment_intent": id("pi"),
                "subscription": id("sub"), "subscription_details": {"metadata": user},
                "lines": {"object": "list", "data": [line]}}),
            json!({"id": id("sub"), "object": "subscription", "livemode": true, "customer": id("cus"), "metadata": user}),
            json!({"id": id("cs"), "object": "checkout.session", "livemode": true, "customer": id("cus"),
                "payment_intent": null, "subscription": id("sub"), "client_reference_id": user["user_id"]}),
        ] {
            self.stripe.put_in(account, object).unwrap();
        }
        payment
    }
}

impl Invocations for Payments {
    fn payload(&self) -> Bytes {
        let made = self.made.fetch_add(1, Ordering::Relaxed);
        let number = if self.is_cached { 0 } else { made };
        let account = format!("acct_{}{number}", self.project);
        self.envelope.payload("payment_intent.succeeded", &self.payment(number, &account), &account)
    }

    fn is_success(&self, answer: &[u8]) -> bool {
        self.envelope.is_success(answer)
    }
}
