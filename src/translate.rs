//! From a Stripe event to an Amplitude event. Pure: no I/O, no clock.
//!
//! Every delivery of the same Stripe event gives the same `insert_id` and the same `device_id`, so that Amplitude drops
//! the repeats.

pub mod identity;
pub mod properties;
mod redaction;
pub mod revenue;

use sha2::{Digest as _, Sha256};

use crate::amplitude::event::{Event, LIBRARY};
use crate::projects::ProjectName;
use crate::stripe;

/// An event for Amplitude, and how its user was found.
pub struct Translation {
    /// What is sent.
    pub event: Event,
    /// The path inside `data.object` that gave the user ID, if one did.
    pub user_id_from: Option<&'static str>,
}

/// Translates an event of a project. `source` is the label of the signing secret that matched.
pub fn translate(event: stripe::event::Event, project: &ProjectName, source: Option<&str>) -> Translation {
    let user = identity::user(&event.object);
    let user_id_from = user.as_ref().map(|user| user.path);
    let revenue = revenue::revenue(&event);
    let event = Event {
        event_type: format!("[Stripe] {}", event.event_type),
        // The parser has refused times that do not fit.
        time: event.created.saturating_mul(1000),
        event_id: event_id(&event.id),
        user_id: user.map(|user| user.id),
        device_id: identity::device_id(&event, project),
        revenue: revenue.map(|(amount, _)| amount),
        currency: revenue.map(|(_, currency)| currency),
        insert_id: event.id.clone(),
        event_properties: properties::properties(event, source),
        library: LIBRARY,
    };
    Translation { event, user_id_from }
}

/// 31 bits that differ from event to event and never change: Amplitude's second rule of deduplication drops events with
/// equal `event_id`, `time` and `device_id`, and Stripe's one-second clock makes equal times common.
fn event_id(insert_id: &str) -> u32 {
    let [a, b, c, d, ..] = Sha256::digest(insert_id).0;
    u32::from_be_bytes([a, b, c, d]) >> 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::stripe::catalog;
    use crate::stripe::event::tests::{event, sample};

    fn translated(envelope: &Value) -> (Value, Option<&'static str>) {
        let translation = translate(event(envelope), &"demo".parse().unwrap(), Some("eu"));
        (serde_json::to_value(&translation.event).unwrap(), translation.user_id_from)
    }

    #[test]
    fn a_payment_becomes_an_event_with_user_device_and_revenue() {
        let (event, user_id_from) = translated(&sample("payment_intent.succeeded"));
        assert_eq!(event["event_type"], "[Stripe] payment_intent.succeeded");
        assert_eq!(event["time"], 1_721_948_600_000_i64);
        assert_eq!(event["insert_id"], "evt_3PgcEx0014B7WZ01zgkW1Test");
        assert_eq!(event["user_id"], "user_42");
        assert_eq!(user_id_from, Some("metadata.user_id"));
        assert_eq!(event["device_id"], "stripe-pi_3PgafuB7WZ01zgkW1kJo3Sjx");
        assert_eq!((&event["revenue"], &event["currency"]), (&json!(20), &json!("USD")));
        assert_eq!(event["event_properties"]["normalized_amount_received"], 20);
        assert_eq!(event["event_properties"]["stripe_source"], "eu");
        assert_eq!(event["library"], concat!("stripe-amplitude/", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn event_ids_are_stable_and_fit_31_bits() {
        assert_eq!(event_id("evt_1"), 0x3ea7_2d3b);
        for event_type in catalog::TYPES {
            let (event, _) = translated(&sample(event_type));
            assert!(event["event_id"].as_u64().unwrap() < 1 << 31);
        }
    }

    #[test]
    fn fields_without_a_value_are_left_out() {
        let (event, user_id_from) = translated(&sample("charge.failed"));
        let fields = event.as_object().unwrap();
        assert_eq!(user_id_from, None);
        for absent in ["user_id", "revenue", "currency"] {
            assert!(!fields.contains_key(absent), "{absent}");
        }
    }

    #[test]
    fn a_repeat_stays_the_same_event_on_the_same_device_when_its_user_changed() {
        for event_type in catalog::TYPES {
            let first = sample(event_type);
            let mut later = first.clone();
            later["data"]["object"]["metadata"] = json!({"amplitude_id": "user_43"});
            later["data"]["object"]["receipt_email"] = json!("other@example.com");
            let (first, _) = translated(&first);
            let (later, _) = translated(&later);
            for field in ["insert_id", "device_id", "event_id", "time"] {
                assert_eq!(first[field], later[field], "{event_type} {field}");
            }
            assert_eq!(later["user_id"], "user_43");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        let key = prop_oneof![
            "[a-z_]{1,8}",
            prop::sample::select(vec![
                "object", "id", "currency", "amount", "customer", "metadata", "lines", "data", "name", "price"
            ])
            .prop_map(str::to_owned),
        ];
        leaf.prop_recursive(5, 60, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(key.clone(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_object_of_any_type_translates_without_a_panic(
            object in any_json(),
            kind in prop::sample::select(vec!["payment_intent", "charge", "invoice", "balance", "issuing.card", "x"]),
        ) {
            let Value::Object(mut object) = object else { return Ok(()) };
            object.insert("object".to_owned(), json!(kind));
            let envelope = json!({
                "id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "created": 1,
                "data": {"object": object},
            });
            let (event, _) = translated(&envelope);
            prop_assert!(event["device_id"].as_str().unwrap().starts_with("stripe-"));
        }
    }
}
