//! Any history of payments adds up to the money that moved, regardless of repeats, order, event types, API versions and
//! delivery path.
//!
//! The history itself computes the expected money; it is not derived from the events.

use amplitude_emulator::{Configuration, Emulator, Endpoint};
use proptest::prelude::*;
use serde_json::{Value, json};
use stripe_amplitude::amplitude::client::Request;
use stripe_amplitude::forward::{Decision, forward, unaudited};
use stripe_amplitude::settings::Settings;
use stripe_amplitude::stripe::event::Event;
use stripe_amplitude::stripe::signature::VerifiedBody;
use stripe_amplitude::translate::Context;

const NOW: u64 = 1_800_000_000;

const SETTINGS: &str = r#"{"refunds": "negative_revenue", "events": {"add": ["refund.created"]}}"#;

const VERSIONS: [&str; 4] = ["2022-08-01", "2024-06-20", "2024-10-28.acacia", "2026-10-28.endive"];

/// How a refund ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum RefundEnd {
    Succeeded,
    Failed,
    Canceled,
}

/// A payment with its refunds and disputes. Amounts are shares of the remainder.
#[derive(Clone, Debug)]
struct History {
    /// Whether it has a PaymentIntent or is a charge of the old API.
    has_payment_intent: bool,
    authorized: i64,
    released: f64,
    refunds: Vec<(f64, RefundEnd)>,
    /// The share of the remainder that a dispute withdraws, and the share of that which it reinstates.
    dispute: Option<(f64, f64)>,
}

fn history() -> impl Strategy<Value = History> {
    let end =
        prop_oneof![4 => Just(RefundEnd::Succeeded), 1 => Just(RefundEnd::Failed), 1 => Just(RefundEnd::Canceled)];
    (
        prop::bool::weighted(0.8),
        2_i64..1_000_000,
        prop_oneof![Just(0.0), 0.0..0.9],
        prop::collection::vec((0.01..1.0, end), 0..4),
        prop::option::of((0.01..1.0, 0.0..=1.0)),
    )
        .prop_map(|(has_payment_intent, authorized, released, refunds, dispute)| History {
            has_payment_intent,
            authorized,
            released,
            refunds,
            dispute,
        })
}

fn share(amount: i64, share: f64) -> i64 {
    (amount as f64 * share) as i64
}

/// The events of a history, one for each type that can report a movement, and the money that remains.
fn events_of(history: &History, number: usize) -> (Vec<Value>, i64) {
    let mut events = Vec::new();
    let payment_intent = if history.has_payment_intent { json!(format!("pi_{number}")) } else { Value::Null };
    let charge_id = format!("ch_{number}");
    let captured = history.authorized - share(history.authorized, history.released);
    let released = history.authorized - captured;
    let mut emit = |event_type: &str, mut object: Value, previous: Value| {
        object["currency"] = "usd".into();
        let id = format!("evt_{number}_{}", events.len());
        events.push(json!({
            "id": id, "object": "event", "type": event_type, "created": NOW, "livemode": true,
            "data": {"object": object, "previous_attributes": previous},
        }));
    };
    let charge = |refunded: i64, captured: i64| {
        json!({
            "object": "charge", "id": charge_id, "payment_intent": payment_intent, "source_transfer": null,
            "amount": history.authorized, "amount_captured": captured, "captured": captured > 0, "amount_refunded": refunded,
        })
    };

    // The payment. If its authorization is captured later, the authorization succeeds first.
    if released > 0 {
        emit("charge.succeeded", charge(0, 0), Value::Null);
        emit("charge.captured", charge(0, captured), json!({"captured": false}));
        emit("charge.refunded", charge(released, captured), json!({"amount_refunded": 0}));
    } else {
        emit("charge.succeeded", charge(0, captured), Value::Null);
    }
    if history.has_payment_intent {
        let object = json!({"object": "payment_intent", "id": payment_intent, "amount": history.authorized, "amount_received": captured});
        emit("payment_intent.succeeded", object, Value::Null);
    }
    emit("charge.updated", charge(0, captured), json!({"receipt_url": null}));

    let (mut refunded, mut left) = (0, captured);
    for (index, (part, end)) in history.refunds.iter().enumerate() {
        let amount = share(captured - refunded, *part);
        if amount == 0 {
            continue;
        }
        let refund = |status: &str| {
            json!({"object": "refund", "id": format!("re_{number}_{index}"), "charge": charge_id,
                "payment_intent": payment_intent, "amount": amount, "status": status})
        };
        let before = json!({"amount_refunded": released + refunded});
        emit("charge.refunded", charge(released + refunded + amount, captured), before);
        emit("refund.created", refund("pending"), Value::Null);
        let (status, is_reversed) = match end {
            RefundEnd::Succeeded => ("succeeded", false),
            RefundEnd::Failed => ("failed", true),
            RefundEnd::Canceled => ("canceled", true),
        };
        for event_type in ["refund.updated", "charge.refund.updated"] {
            emit(event_type, refund(status), json!({"status": "pending"}));
            emit(event_type, refund(status), json!({"metadata": {"note": null}}));
        }
        if *end == RefundEnd::Failed {
            emit("refund.failed", refund(status), Value::Null);
        }
        if is_reversed {
            // The charge has its money back, without an event that reports it.
        } else {
            (refunded, left) = (refunded + amount, left - amount);
        }
    }

    if let Some((withdrawn, returned)) = history.dispute {
        let withdrawn = share(left, withdrawn);
        let returned = share(withdrawn, returned);
        let row = |id: &str, amount: i64| json!({"id": id, "amount": amount, "currency": "usd", "fee": 1500});
        let dispute = |rows: Vec<Value>| {
            json!({"object": "dispute", "id": format!("dp_{number}"), "charge": charge_id,
                "payment_intent": payment_intent, "amount": withdrawn, "balance_transactions": rows})
        };
        if withdrawn > 0 {
            let out = row("txn_out", -withdrawn);
            emit("charge.dispute.created", dispute(vec![]), Value::Null);
            emit("charge.dispute.funds_withdrawn", dispute(vec![out.clone()]), Value::Null);
            left -= withdrawn;
            if returned > 0 {
                let rows = vec![out, row("txn_back", returned)];
                emit("charge.dispute.funds_reinstated", dispute(rows.clone()), Value::Null);
                emit("charge.dispute.closed", dispute(rows), json!({"status": "needs_response"}));
                left += returned;
            }
        }
    }
    (events, left)
}

/// Sends an event to Amplitude like the function.
fn deliver(emulator: &Emulator, envelope: &Value, way: usize) {
    let settings = Settings::parse(SETTINGS).unwrap();
    let project = "shop".parse().unwrap();
    let context = Context { project: &project, source: None, settings: &settings, has_test_key: false, objects: None };
    let body = VerifiedBody::trusted(envelope.to_string().into());
    let event = Event::parse(&body).unwrap();
    // A webhook is received a moment later, a queue message was received days ago, and a backfill acts as if it were a
    // webhook.
    let received = [NOW + 1, NOW - 86_400, event.created.cast_unsigned()][way];
    let Decision::Send(translation) = forward(event, &context, received, &mut unaudited).unwrap() else { return };
    let request = serde_json::to_vec(&Request::new(&[&translation.event], "key")).unwrap();
    let endpoint = if way == 0 { Endpoint::HttpV2 } else { Endpoint::Batch };
    emulator.replay(endpoint, &request, i64::try_from(NOW * 1000).unwrap());
}

/// In minor units.
fn revenue(emulator: &Emulator) -> i64 {
    let of = |event: &serde_json::Map<String, Value>| Some((event.get("revenue")?.as_f64()? * 100.0).round() as i64);
    emulator.events().iter().filter_map(|kept| of(&kept.event)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn revenue_is_the_money_that_moved(
        stories in prop::collection::vec(history(), 1..4),
        order in any::<u64>(),
    ) {
        let mut rng = fastrand::Rng::with_seed(order);
        let (mut deliveries, mut money) = (Vec::new(), 0);
        for (number, history) in stories.iter().enumerate() {
            let (events, left) = events_of(history, number);
            money += left;
            for event in events {
                for _ in 0..rng.usize(1..4) {
                    let mut delivery = event.clone();
                    delivery["api_version"] = VERSIONS[rng.usize(..VERSIONS.len())].into();
                    deliveries.push((delivery, rng.usize(..3)));
                }
            }
        }
        rng.shuffle(&mut deliveries);
        let emulator = Emulator::new(Configuration { http_v2_throttle: None, batch_throttle: None, ..Configuration::default() });
        for (delivery, way) in &deliveries {
            deliver(&emulator, delivery, *way);
        }
        prop_assert_eq!(revenue(&emulator), money);
    }
}
