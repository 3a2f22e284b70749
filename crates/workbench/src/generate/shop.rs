//! The made-up shop: its buyers, their purchases, and the events that Stripe would have sent.

use std::ops::Range;

use serde_json::Value;
use stripe_amplitude_common::clock::{DAY, WEEK};

use super::buyer::{Buyer, Habit, Identity};
use super::event::{Event, Templates};
use super::life;
use super::market::Market;
use super::objects;
use super::purchase::Purchase;
use super::seed::Seed;
use super::summary::Summary;

/// The size of a shop, and its seed.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Customers. The shop also has one guest for every eight.
    pub users: u32,
    /// The number of weeks that it was open.
    pub weeks: u32,
    /// A different seed gives a different shop of this size.
    pub seed: u64,
}

/// The shop with everything that happened.
#[derive(Debug)]
pub struct Shop {
    buyers: Vec<(Buyer, Vec<Purchase>)>,
}

impl Shop {
    /// The shop until the start of the day of `now` (Unix seconds) in UTC, so it is the same all day and has no events in the
    /// future. A smaller shop has the first users of a larger one. The IDs are the same on every day.
    pub fn new(size: Size, now: i64) -> Self {
        let end = now - now.rem_euclid(DAY);
        let season = end - i64::from(size.weeks) * WEEK..end;
        // A different number of weeks gives a different shop.
        let seed = Seed::new(size.seed).derive(size.weeks.into());
        let buyers = (1..=size.users).flat_map(|number| {
            let customer = visit(customer(seed, number), &season, life::of_customer);
            let guest = number % 8 == 0;
            let guest = guest.then(|| visit(self::guest(seed, number / 8), &season, life::of_guest));
            [Some(customer), guest].into_iter().flatten()
        });
        Self { buyers: buyers.collect() }
    }

    /// All events, oldest first. Those of a buyer are in causal order.
    pub fn events(&self) -> Vec<Event<'_>> {
        let purchases = self.buyers.iter().flat_map(|(buyer, purchases)| purchases.iter().map(move |one| (buyer, one)));
        let mut events: Vec<_> = purchases.flat_map(|(buyer, purchase)| Event::all_of(buyer, purchase)).collect();
        // A stable order.
        events.sort_by_key(|event| event.created);
        events
    }

    /// All objects of the events and those that they refer to, in their final state.
    pub fn objects<'s>(&'s self, templates: &'s Templates) -> impl Iterator<Item = Value> + 's {
        let of_buyers = self.buyers.iter().flat_map(move |(buyer, purchases)| {
            let of_purchases = purchases.iter().flat_map(move |one| objects::of_purchase(buyer, one, templates));
            objects::of_buyer(buyer, purchases).into_iter().chain(of_purchases)
        });
        objects::of_catalogue().into_iter().chain(of_buyers)
    }

    /// A buyer who subscribed in Checkout, so that the user ID is only on the checkout session.
    pub fn subscriber(&self, templates: &Templates) -> Option<Subscriber> {
        self.buyers.iter().find_map(|(buyer, purchases)| {
            let user_id = buyer.user_id_by(Habit::Checkout)?;
            let of_subscription: Vec<_> = purchases.iter().filter(|purchase| purchase.period().is_some()).collect();
            of_subscription.iter().find(|purchase| purchase.is_renewal() && purchase.paid().is_some())?;
            let objects = of_subscription.iter().flat_map(|one| objects::of_purchase(buyer, one, templates));
            let events = of_subscription.iter().flat_map(|one| Event::all_of(buyer, one));
            Some(Subscriber {
                user_id,
                objects: objects::of_catalogue()
                    .into_iter()
                    .chain(objects::of_buyer(buyer, purchases))
                    .chain(objects)
                    .collect(),
                events: events.map(|event| event.body(templates)).collect(),
            })
        })
    }

    /// What the shop sold.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for (buyer, purchases) in &self.buyers {
            summary.add(buyer, purchases);
        }
        summary
    }
}

/// A buyer with a subscription.
pub struct Subscriber {
    /// The app's user ID.
    pub user_id: String,
    /// The buyer's objects in Stripe.
    pub objects: Vec<Value>,
    /// The bodies of the subscription's events, oldest first.
    pub events: Vec<Vec<u8>>,
}

fn visit(buyer: Buyer, season: &Range<i64>, life: fn(&Buyer, Range<i64>) -> Vec<Purchase>) -> (Buyer, Vec<Purchase>) {
    let purchases = life(&buyer, season.clone());
    (buyer, purchases)
}

fn customer(shop: Seed, number: u32) -> Buyer {
    let seed = shop.derive(0).derive(number.into());
    let mut rng = seed.derive(0).rng();
    let identity = if rng.u32(0..100) < 6 { Identity::Customer } else { Identity::User };
    let market = Market::random(&mut rng);
    let habit = match rng.u32(0..100) {
        0..40 => Habit::Checkout,
        40..75 => Habit::Api,
        _ => Habit::Customer,
    };
    Buyer { seed, number, identity, habit, market }
}

fn guest(shop: Seed, number: u32) -> Buyer {
    let seed = shop.derive(1).derive(number.into());
    let mut rng = seed.derive(0).rng();
    let identity = if rng.u32(0..100) < 60 { Identity::GuestWithEmail } else { Identity::Guest };
    Buyer { seed, number, identity, habit: Habit::Api, market: Market::random(&mut rng) }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
    use std::time::Duration;

    use serde_json::json;
    use stripe_amplitude::follow::{Decided, Received, decide};
    use stripe_amplitude::projects::name::ProjectName;
    use stripe_amplitude::projects::project::{AmplitudeConfig, Project};
    use stripe_amplitude::record::Reads;
    use stripe_amplitude::stripe;
    use stripe_amplitude::stripe::references::api::StripeApi;
    use stripe_amplitude::stripe::references::{ReadRate, References};
    use stripe_amplitude::stripe::signature::VerifiedBody;
    use stripe_amplitude_common::demo;
    use stripe_emulator::Emulator;
    use tokio::time::Instant;

    use super::*;
    use crate::samples::SAMPLES;

    /// A day at noon.
    const NOW: i64 = 20_000 * DAY + DAY / 2;
    const SMALL: Size = Size { users: 64, weeks: 8, seed: 1 };

    fn bodies(size: Size, now: i64) -> Vec<Vec<u8>> {
        let templates = Templates::new().unwrap();
        Shop::new(size, now).events().iter().map(|event| event.body(&templates)).collect()
    }

    fn parsed(size: Size) -> Vec<Value> {
        bodies(size, NOW).iter().map(|body| serde_json::from_slice(body).unwrap()).collect()
    }

    /// The function with the project `demo`, and a Stripe that has the shop's objects.
    struct Function {
        project: ProjectName,
        delivery: AmplitudeConfig,
        references: References<StripeApi>,
        stripe: Emulator,
    }

    impl Function {
        async fn of(shop: &Shop) -> Self {
            let stripe = Emulator::start().unwrap();
            stripe.allow_any_key();
            shop.objects(&Templates::new().unwrap()).for_each(|object| stripe.put(object).unwrap());
            let project: ProjectName = demo::DEMO.parse().unwrap();
            let delivery = Project::from_parameters(demo::parameters(), "test").delivery.unwrap();
            let api = StripeApi::new(stripe_amplitude_common::http::build().unwrap(), Some(stripe.url().to_owned()));
            let pace = ReadRate::unhurried(100_000);
            Self { project, delivery, references: References::new(api, pace), stripe }
        }

        /// What is sent to Amplitude.
        async fn translated(&self, body: Vec<u8>) -> Value {
            let body = VerifiedBody::trusted(body.into());
            let event = stripe::event::Event::parse(&body).unwrap();
            let at = event.created.try_into().unwrap();
            let received = Received { project: &self.project, source: None, at, is_looked_up: false };
            let deadline = Instant::now() + Duration::from_secs(30);
            let reads = &mut Reads::default();
            let decided = decide(event, received, &self.delivery, &self.references, reads, deadline).await;
            let Ok(Decided::Send(translation)) = decided else { panic!("it is on the list") };
            assert_eq!(translation.truncated, 0);
            serde_json::to_value(&translation.event).unwrap()
        }
    }

    /// Converts major units.
    fn minor_units(amount: &Value, currency: &str) -> i64 {
        let unit = if currency == "JPY" { 1.0 } else { 100.0 };
        (amount.as_f64().unwrap() * unit).round() as i64
    }

    #[test]
    fn a_shop_is_stable_all_day_and_its_ids_always() {
        let shop = bodies(SMALL, NOW);
        assert!(shop == bodies(SMALL, NOW - DAY / 2) && shop == bodies(SMALL, NOW + DAY / 2 - 1));
        let ids = |size: Size, now: i64| -> BTreeSet<String> {
            Shop::new(size, now).events().iter().map(|event| event.id()).collect()
        };
        let today = ids(SMALL, NOW);
        assert_eq!(today, ids(SMALL, NOW + DAY));
        assert!(shop != bodies(SMALL, NOW + DAY));
        for other in [Size { seed: 2, ..SMALL }, Size { weeks: 9, ..SMALL }] {
            assert!(today.is_disjoint(&ids(other, NOW)), "{other:?}");
        }
    }

    #[test]
    fn a_smaller_shop_is_a_subset() {
        let more: HashSet<_> = bodies(SMALL, NOW).into_iter().collect();
        let fewer = bodies(Size { users: 16, ..SMALL }, NOW);
        assert!(fewer.len() < more.len() && fewer.iter().all(|body| more.contains(body)));
    }

    #[test]
    fn events_are_sorted_distinct_and_past() {
        for seed in 0..5 {
            let shop = Shop::new(Size { users: 300, weeks: 5, seed }, NOW);
            let events = shop.events();
            assert!(events.is_sorted_by_key(|event| event.created));
            assert!(events.first().unwrap().created >= 20_000 * DAY - 5 * 7 * DAY);
            assert!(events.last().unwrap().created < 20_000 * DAY);
            let ids: HashSet<_> = events.iter().map(|event| event.id()).collect();
            assert_eq!((ids.len(), events.len()), (events.len(), shop.summary().events));
        }
    }

    #[tokio::test]
    async fn the_summary_matches_amplitude() {
        let shop = Shop::new(SMALL, NOW);
        let templates = Templates::new().unwrap();
        let function = Function::of(&shop).await;
        let mut events = Vec::new();
        for event in shop.events() {
            events.push(function.translated(event.body(&templates)).await);
        }
        let of_type =
            |name: &'static str| events.iter().filter(move |event| event["event_type"] == format!("[Stripe] {name}"));
        let user = |event: &Value| event.get("user_id").unwrap_or(&event["device_id"]).as_str().unwrap().to_owned();

        let mut first = HashMap::new();
        for event in &events {
            first.entry(user(event)).or_insert(event["time"].as_i64().unwrap());
        }
        let mut revenue: BTreeMap<String, i64> = BTreeMap::new();
        let mut early: HashMap<String, i64> = HashMap::new();
        for event in of_type("payment_intent.succeeded") {
            let currency = event["currency"].as_str().unwrap();
            let amount = minor_units(&event["revenue"], currency);
            *revenue.entry(currency.to_owned()).or_default() += amount;
            let first_week = event["time"].as_i64().unwrap() < first[&user(event)] + 7 * DAY * 1000;
            if currency == "USD" && first_week {
                *early.entry(user(event)).or_default() += amount;
            }
        }
        let mut refunded: BTreeMap<String, i64> = BTreeMap::new();
        for event in of_type("charge.refunded") {
            let properties = &event["event_properties"];
            let currency = properties["normalized_currency"].as_str().unwrap();
            *refunded.entry(currency.to_owned()).or_default() +=
                minor_units(&properties["normalized_amount_refunded"], currency);
        }

        let summary = shop.summary();
        let amounts = |amounts: &BTreeMap<Market, i64>| -> BTreeMap<String, i64> {
            amounts.iter().map(|(market, amount)| (market.code().to_uppercase(), *amount)).collect()
        };
        assert_eq!(events.len(), summary.events);
        assert_eq!(of_type("payment_intent.succeeded").count(), summary.purchases);
        assert_eq!(of_type("charge.refunded").count(), summary.refunds);
        assert_eq!(revenue, amounts(&summary.revenue));
        assert_eq!(early.values().filter(|spent| **spent > 10_000).count(), summary.big_spenders);
        assert!(revenue.contains_key("JPY") && summary.big_spenders > 0 && !refunded.is_empty(), "{summary}");
        let users: BTreeSet<_> = events.iter().map(user).collect();
        let counted = |start: &str| users.iter().filter(|user| user.starts_with(start)).count();
        assert!(counted("user_") > 50 && counted("cus_") > 0 && counted("guest_") > 0 && counted("stripe-pi_") > 0);
        // No user is counted twice.
        assert_eq!(counted("user_") + counted("cus_"), 64);
    }

    #[tokio::test]
    async fn events_have_their_buyer_and_products() {
        let templates = Templates::new().unwrap();
        let shop = Shop::new(Size { users: 60, weeks: 8, seed: 3 }, NOW);
        let function = Function::of(&shop).await;
        let mut found_by = BTreeSet::new();
        for (buyer, purchases) in &shop.buyers {
            for purchase in purchases {
                let names: BTreeSet<_> = purchase.lines.iter().map(|line| line.product.name.to_owned()).collect();
                let ids: BTreeSet<_> = purchase.lines.iter().map(|line| line.product.id.to_owned()).collect();
                for event in Event::all_of(buyer, purchase) {
                    let landed = function.translated(event.body(&templates)).await;
                    assert_eq!(landed["event_type"], format!("[Stripe] {}", event.event_type()));
                    assert_eq!(
                        (&landed["time"], &landed["insert_id"]),
                        (&json!(event.created * 1000), &json!(event.id()))
                    );
                    assert_eq!(landed.get("user_id"), buyer.user_in_amplitude().map(Value::from).as_ref());
                    let paid = event.event_type() == "payment_intent.succeeded";
                    let revenue =
                        landed.get("revenue").map(|amount| minor_units(amount, landed["currency"].as_str().unwrap()));
                    assert_eq!(revenue, paid.then(|| purchase.amount(buyer.market)));
                    let texts = |name: &str| -> BTreeSet<String> {
                        serde_json::from_value(landed["event_properties"][name].clone()).unwrap_or_default()
                    };
                    // A payment without an invoice or session has only its description.
                    if purchase.invoice.is_some() || purchase.by_checkout {
                        let of_session = event.event_type() == "checkout.session.completed";
                        assert!(
                            of_session
                                || (texts("product_names"), texts("product_ids")) == (names.clone(), ids.clone())
                        );
                    } else {
                        assert_eq!(texts("product_names"), names);
                    }
                    found_by.extend(landed["event_properties"]["stripe_user_id_from"].as_str().map(str::to_owned));
                }
            }
        }
        for path in [
            "metadata.user_id",
            "customer.metadata.user_id",
            "subscription.metadata.user_id",
            "invoice.metadata.user_id",
            "checkout_session.client_reference_id",
            "checkout_session.metadata.user_id",
            "receipt_email",
            "customer",
        ] {
            assert!(found_by.contains(path), "{path}: {found_by:?}");
        }
        assert!(function.stripe.counts().keys().all(|request| request.starts_with("GET /v1/")));
    }

    #[test]
    fn metadata_is_only_where_app_or_stripe_write_it() {
        let templates = Templates::new().unwrap();
        let shop = Shop::new(SMALL, NOW);
        let user_in = |object: &Value, pointer: &str| object.pointer(pointer).is_some_and(Value::is_string);
        let mut prorations = 0;
        for object in shop.objects(&templates).chain(parsed(SMALL).iter().map(|event| event["data"]["object"].clone()))
        {
            let has_invoice = object["invoice"].is_string();
            let user = user_in(&object, "/metadata/user_id");
            match object["object"].as_str().unwrap() {
                // A subscription's payment has no receipt address either.
                "payment_intent" | "charge" if has_invoice => {
                    assert_eq!((&object["metadata"], &object["receipt_email"]), (&json!({}), &Value::Null));
                }
                "invoice" if object["subscription"].is_string() => {
                    assert_eq!(object["metadata"], json!({}));
                    let description = |line: &Value| line["description"].as_str().unwrap().to_owned();
                    let lines = object["lines"]["data"].as_array().unwrap();
                    let prorated = lines.iter().filter(|line| description(line).contains(" time on "));
                    prorations += prorated.filter(|line| line["proration"] == true).count();
                }
                "invoice" => assert_eq!(object["subscription_details"], Value::Null),
                "checkout.session" => {
                    assert!(!(user && user_in(&object, "/client_reference_id")), "{object}");
                }
                _ => {}
            }
        }
        assert!(prorations > 0);
    }

    #[test]
    fn events_of_a_purchase_are_consistent() {
        let mut payments: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
        let mut refunded: HashMap<String, i64> = HashMap::new();
        for event in parsed(SMALL) {
            let object = &event["data"]["object"];
            let integer = |name: &str| object[name].as_i64().unwrap();
            let payment = |name: &str| object[name].as_str().unwrap().to_owned();
            let (payment, amount) = match event["type"].as_str().unwrap() {
                "payment_intent.succeeded" => (payment("id"), integer("amount_received")),
                "payment_intent.payment_failed" => (payment("id"), integer("amount") + integer("amount_received")),
                "charge.succeeded" => (payment("payment_intent"), integer("amount_captured")),
                "charge.failed" => (payment("payment_intent"), integer("amount") + integer("amount_captured")),
                "charge.refunded" => {
                    let before = refunded.insert(payment("id"), integer("amount_refunded")).unwrap_or_default();
                    let previous = &event["data"]["previous_attributes"];
                    assert_eq!(previous["amount_refunded"], before);
                    let whole = integer("amount_refunded") == integer("amount");
                    assert_eq!((&object["refunded"], previous.get("refunded").is_some()), (&json!(whole), whole));
                    (payment("payment_intent"), integer("amount"))
                }
                "invoice.created" | "checkout.session.completed" => continue,
                _ => {
                    assert_eq!(integer("amount_paid") + integer("amount_remaining"), integer("amount_due"));
                    let lines = object["lines"]["data"].as_array().unwrap();
                    assert_eq!(object["lines"]["total_count"], lines.len());
                    let lines: i64 = lines.iter().map(|line| line["amount"].as_i64().unwrap()).sum();
                    assert_eq!(lines, integer("total"));
                    (payment("payment_intent"), integer("total"))
                }
            };
            payments.entry(payment).or_default().insert(amount);
        }
        assert!(payments.len() > 100 && payments.values().all(|amounts| amounts.len() == 1), "{payments:?}");
    }

    /// The paths of all fields; of a list, those of its first element.
    fn fields(value: &Value, path: &str, fields: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => object.iter().for_each(|(name, value)| {
                // Its content is the shop's.
                let path = format!("{path}/{name}");
                if name != "metadata" {
                    self::fields(value, &path, fields);
                }
                fields.insert(path);
            }),
            Value::Array(values) => values.iter().take(1).for_each(|value| self::fields(value, path, fields)),
            _ => {}
        }
    }

    #[test]
    fn events_have_the_samples_fields_but_not_its_values() {
        // Fields of only one kind of line, price or refund.
        let may_differ = |path: &String| {
            path.ends_with("/data/invoice_item")
                || path.contains("/recurring")
                || path.ends_with("previous_attributes/refunded")
                || path.contains("/subscription_details")
        };
        let of = |value: &Value| {
            let mut names = BTreeSet::new();
            fields(value, "", &mut names);
            names.retain(|path| !may_differ(path));
            names
        };
        for event in parsed(SMALL) {
            let sample = SAMPLES.iter().find(|sample| event["type"] == sample.event_type).unwrap();
            let sample: Value = serde_json::from_str(sample.json).unwrap();
            assert_eq!(of(&event), of(&sample), "{}", event["type"]);
            assert_eq!((&event["livemode"], &event["api_version"]), (&json!(false), &json!("2024-06-20")));
            let text = event.to_string();
            for foreign in ["Jenny", "jenny", "7WZ01", "QXg1", "172194", "EXAMPLE0"] {
                assert!(!text.contains(foreign), "{foreign}: {text}");
            }
            for (before, _) in text.match_indices('@') {
                assert!(text[before..].starts_with("@example.com\""), "{text}");
            }
        }
    }
}
