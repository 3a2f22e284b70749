//! A shop that never was: its customers, what they bought, and the events that Stripe would have fired.

use std::ops::Range;

use super::buyer::{Buyer, Identity};
use super::event::Event;
use super::life;
use super::market::Market;
use super::purchase::Purchase;
use super::seed::Seed;
use super::summary::Summary;
use crate::clock::{DAY, WEEK};

/// How large a shop is, and which of all that are so large.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Customers. For every eight of them there is a guest.
    pub(crate) users: u32,
    /// For so long it was open.
    pub(crate) weeks: u32,
    pub(crate) seed: u64,
}

/// All that happened.
#[derive(Debug)]
pub(crate) struct Shop {
    buyers: Vec<(Buyer, Vec<Purchase>)>,
}

impl Shop {
    /// The shop of these weeks, until the day of `now` (Unix seconds) began, in UTC: so it is the same all day, and
    /// nothing in it is still to come. A smaller number of users gives the first ones of a larger; the IDs are the same
    /// on every day.
    pub(crate) fn new(size: Size, now: i64) -> Self {
        let end = now - now.rem_euclid(DAY);
        let season = end - i64::from(size.weeks) * WEEK..end;
        // Other weeks are another shop.
        let seed = Seed::new(size.seed).derive(size.weeks.into());
        let buyers = (1..=size.users).flat_map(|number| {
            let customer = visit(customer(seed, number), &season, life::of_customer);
            let guest = number % 8 == 0;
            let guest = guest.then(|| visit(self::guest(seed, number / 8), &season, life::of_guest));
            [Some(customer), guest].into_iter().flatten()
        });
        Self { buyers: buyers.collect() }
    }

    /// Oldest first. The events of one buyer are in the order in which they were caused.
    pub(crate) fn events(&self) -> Vec<Event<'_>> {
        let purchases = self.buyers.iter().flat_map(|(buyer, purchases)| purchases.iter().map(move |one| (buyer, one)));
        let mut events: Vec<_> = purchases.flat_map(|(buyer, purchase)| Event::all_of(buyer, purchase)).collect();
        // A stable order.
        events.sort_by_key(|event| event.created);
        events
    }

    pub(crate) fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for (buyer, purchases) in &self.buyers {
            summary.add(buyer, purchases);
        }
        summary
    }
}

fn visit(buyer: Buyer, season: &Range<i64>, life: fn(&Buyer, Range<i64>) -> Vec<Purchase>) -> (Buyer, Vec<Purchase>) {
    let purchases = life(&buyer, season.clone());
    (buyer, purchases)
}

fn customer(shop: Seed, number: u32) -> Buyer {
    let seed = shop.derive(0).derive(number.into());
    let mut rng = seed.derive(0).rng();
    let identity = if rng.u32(0..100) < 6 { Identity::Customer } else { Identity::User };
    Buyer { seed, number, identity, market: Market::of_somebody(&mut rng) }
}

fn guest(shop: Seed, number: u32) -> Buyer {
    let seed = shop.derive(1).derive(number.into());
    let mut rng = seed.derive(0).rng();
    let identity = if rng.u32(0..100) < 60 { Identity::GuestWithEmail } else { Identity::Guest };
    Buyer { seed, number, identity, market: Market::of_somebody(&mut rng) }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

    use serde_json::{Value, json};
    use stripe_amplitude::forward::{Decision, forward, unaudited};
    use stripe_amplitude::settings::Settings;
    use stripe_amplitude::stripe;
    use stripe_amplitude::translate::Context;

    use stripe_amplitude::stripe::signature::VerifiedBody;

    use super::*;
    use crate::generate::event::Templates;
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

    /// What the function sends to Amplitude, by the settings that a project has without any.
    fn translated(body: Vec<u8>) -> Value {
        let (project, settings) = ("demo".parse().unwrap(), Settings::default());
        let body = VerifiedBody::trusted(body.into());
        let event = stripe::event::Event::parse(&body).unwrap();
        let context =
            Context { project: &project, source: None, settings: &settings, has_test_key: false, objects: None };
        let happened = event.created.try_into().unwrap();
        let decision = forward(event, &context, happened, &mut unaudited).unwrap();
        let Decision::Send(translation) = decision else { panic!("it is on the list") };
        assert_eq!(translation.truncated, 0);
        serde_json::to_value(&translation.event).unwrap()
    }

    /// The decimals of a number of major units are gone.
    fn minor_units(amount: &Value, currency: &str) -> i64 {
        let unit = if currency == "JPY" { 1.0 } else { 100.0 };
        (amount.as_f64().unwrap() * unit).round() as i64
    }

    #[test]
    fn a_shop_is_the_same_all_day_and_its_ids_are_on_every_day() {
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
    fn fewer_users_are_the_first_ones_of_more() {
        let more: HashSet<_> = bodies(SMALL, NOW).into_iter().collect();
        let fewer = bodies(Size { users: 16, ..SMALL }, NOW);
        assert!(fewer.len() < more.len() && fewer.iter().all(|body| more.contains(body)));
    }

    #[test]
    fn events_come_oldest_first_with_an_id_each_and_none_is_still_to_come() {
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

    #[test]
    fn what_lands_in_amplitude_is_what_the_summary_says() {
        let shop = Shop::new(SMALL, NOW);
        let templates = Templates::new().unwrap();
        let events: Vec<_> = shop.events().iter().map(|event| translated(event.body(&templates))).collect();
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
        // No user is two.
        assert_eq!(counted("user_") + counted("cus_"), 64);
    }

    #[test]
    fn every_event_lands_on_its_buyer_with_what_was_bought() {
        let templates = Templates::new().unwrap();
        let shop = Shop::new(Size { users: 40, weeks: 6, seed: 3 }, NOW);
        for (buyer, purchases) in &shop.buyers {
            for purchase in purchases {
                let names: BTreeSet<_> = purchase.lines.iter().map(|line| line.product.name.to_owned()).collect();
                let ids: BTreeSet<_> = purchase.lines.iter().map(|line| line.product.id.to_owned()).collect();
                for event in Event::all_of(buyer, purchase) {
                    let landed = translated(event.body(&templates));
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
                    if event.event_type().starts_with("invoice.") {
                        assert_eq!((texts("product_names"), texts("product_ids")), (names.clone(), ids.clone()));
                    } else if purchase.invoice.is_none() {
                        assert_eq!(texts("product_names"), names);
                    }
                }
            }
        }
    }

    #[test]
    fn the_events_of_a_purchase_agree() {
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
                "invoice.created" => continue,
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

    /// The names of all fields, with their place; of a list, those of its first element.
    fn fields(value: &Value, path: &str, fields: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => object.iter().for_each(|(name, value)| {
                // What is in there is the shop's.
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
    fn an_event_has_the_fields_of_the_sample_and_nothing_else_of_it() {
        // Those that only one or the other kind of line, price or refund has.
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
