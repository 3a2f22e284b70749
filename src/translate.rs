//! Translates a Stripe event into an Amplitude event. Pure: no I/O, no clock.
//!
//! Every delivery of the same Stripe event has the same `insert_id` and the same `device_id`, so that Amplitude drops
//! repeats.

pub mod device;
pub mod products;
pub mod properties;
pub mod redaction;
pub mod revenue;
pub mod user;

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

use self::products::Products;
use self::redaction::Reason;
use self::revenue::{Revenue, Rule};
use self::user::{NotAnId, User};
use crate::amplitude::event::{Event, LIBRARY};
use crate::amplitude::limits;
use crate::amplitude::properties::Property;
use crate::money::currency::Currency;
use crate::money::exchange_rate::{Conversion, MissingRate};
use crate::projects::name::ProjectName;
use crate::settings::{ProductsFrom, References, Settings};
use crate::stripe;
use crate::stripe::event::id_of;
use crate::stripe::field_path::{FieldPath, Path};
use crate::stripe::purchase::Objects;
use crate::stripe::reference::Reference;
use crate::stripe::source_label::SourceLabel;

/// The project of an event, and what it wants.
#[derive(Clone, Copy, Debug)]
pub struct Context<'c> {
    /// The project's name, the last anchor of a device ID.
    pub project: &'c ProjectName,
    /// The label of the signing secret that matched.
    pub source: Option<&'c SourceLabel>,
    /// The project's settings.
    pub settings: &'c Settings,
    /// Whether test-mode events go to an Amplitude project of their own.
    pub has_test_key: bool,
    /// The objects that were read from Stripe's API for this event so far. `None` if nothing can be read; then
    /// references are not followed, whatever the settings.
    pub objects: Option<&'c Objects>,
}

impl<'c> Context<'c> {
    /// The objects for user IDs, if references are followed.
    fn references(&self) -> Option<&'c Objects> {
        self.objects.filter(|_| self.settings.references == References::Follow)
    }

    /// The objects for product names, if they are followed.
    fn lines(&self) -> Option<&'c Objects> {
        self.objects.filter(|_| self.settings.products == ProductsFrom::References)
    }
}

/// An object that must be read first, and its purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// The object.
    pub reference: Reference,
    /// Whether only product names need it: no event fails for those.
    pub is_for_products: bool,
}

/// The user and the products of an event, which may need reads.
#[derive(Debug)]
pub struct Resolved {
    /// The user, if a path gives one.
    pub user: Option<User>,
    /// The products, if the event's own lines are not complete.
    pub products: Option<Products>,
}

/// Finds the user and the products of an event. `skipped` is called with each path that gave no user ID, and the
/// reason.
///
/// # Errors
/// The object that must be read first.
pub fn resolve(
    event: &stripe::event::Event<'_>,
    context: &Context<'_>,
    skipped: &mut impl FnMut(&FieldPath, NotAnId),
) -> Result<Resolved, Unread> {
    let unread = |is_for_products| move |reference| Unread { reference, is_for_products };
    let user = user::user(&event.object, context.references(), &context.settings.user_id_paths, skipped);
    let user = user.map_err(unread(false))?;
    let products = match context.lines() {
        Some(objects) => Products::followed(event, objects, properties::names_by_description(context.settings))
            .map_err(unread(true))?,
        None => None,
    };
    Ok(Resolved { user, products })
}

/// An event for Amplitude, and how it was translated.
pub struct Translation<'b> {
    /// The event to send.
    pub event: Event<'b>,
    /// The path that gave the user ID, if one did.
    pub user_id_from: Option<FieldPath>,
    /// The objects of Stripe's API that the path led through.
    pub user_id_through: Vec<Reference>,
    /// What the event adds to revenue, before any conversion, and why.
    pub revenue: Revenue,
    /// The currency that revenue was converted from, if it was.
    pub converted_from: Option<Currency>,
    /// How many fields were over one of Amplitude's limits.
    pub truncated: usize,
}

/// Translates a [`resolve`]d event of a project. `audit` is called with each removed field and the reason.
///
/// # Errors
/// If the project converts amounts and has no rate for the currency of this event.
pub fn translate<'b>(
    event: stripe::event::Event<'b>,
    resolved: Resolved,
    context: &Context<'_>,
    audit: &mut impl FnMut(&Path<'_>, Reason),
) -> Result<Translation<'b>, MissingRate> {
    let Context { project, source, settings, .. } = *context;
    let Resolved { user, products } = resolved;
    let (user_id, user_id_from, user_id_through) = match user {
        Some(User { id, path, through }) => (Some(id), Some(path), through),
        None => (None, None, Vec::new()),
    };
    let revenue = revenue::revenue(&event, settings);
    let (amount, conversion) = match revenue {
        Revenue::Counted { minor_units, currency, .. } => {
            let conversion = Conversion::of(currency, settings.preferred_currency.as_ref())?;
            // A small amount of one currency may be zero in another.
            let amount = Some(conversion.amount(minor_units)).filter(|amount| !amount.is_zero());
            (amount, Some(conversion))
        }
        Revenue::NotCounted(_) | Revenue::Unknown => (None, None),
    };
    let event_type = limits::short_id(&format!("[Stripe] {}", event.event_type)).into_owned();
    // The parser has rejected times out of range.
    let time = event.created.saturating_mul(1000);
    let event_id = event_id(&event.id);
    let insert_id = limits::short_id(&insert_id(&event, &revenue)).into_owned();
    let device_id = device::device_id(&event, project);
    // The objects that were read are not in the body.
    let body_length = event.body_length + products.as_ref().map_or(0, Products::length);

    let mut event_properties = properties::properties(event, source, user_id_from.as_ref(), products, settings, audit)?;
    if revenue == Revenue::Unknown {
        event_properties.insert(REVENUE_UNKNOWN, Property::Json(true.into()));
    }
    let truncated = limits::fit(&mut event_properties, body_length);
    let event = Event {
        event_type,
        time,
        insert_id,
        event_id,
        user_id,
        device_id,
        revenue: amount,
        currency: conversion.filter(|_| amount.is_some()).map(|conversion| conversion.currency()),
        event_properties,
        library: LIBRARY,
    };
    let converted_from = conversion.filter(|conversion| conversion.rate().is_some()).map(|conversion| conversion.from);
    Ok(Translation { event, user_id_from, user_id_through, revenue, converted_from, truncated })
}

/// The property of an event that counts as revenue or takes it back, but has an unknown amount.
const REVENUE_UNKNOWN: &str = "normalized_revenue_unknown";

/// The insert ID of an event under these settings.
pub fn insert_id_of(event: &stripe::event::Event<'_>, settings: &Settings) -> String {
    limits::short_id(&insert_id(event, &revenue::revenue(event, settings))).into_owned()
}

/// The event's ID, or for an event that adds back a reversed refund, the refund's ID. Several events, of different
/// types and API versions, may report the same reversal, and Amplitude counts one.
fn insert_id<'e>(event: &'e stripe::event::Event<'_>, revenue: &Revenue) -> Cow<'e, str> {
    match (revenue, id_of(event.object.get("id"))) {
        (Revenue::Counted { rule: Rule::RefundReversed, .. }, Some(refund)) => format!("{refund}:reversed").into(),
        _ => Cow::Borrowed(&event.id),
    }
}

/// 31 bits that differ between events and never change. Amplitude's second rule of deduplication drops events with
/// equal `event_id`, `time` and `device_id`, and Stripe's one-second clock makes equal times common.
fn event_id(id: &str) -> u32 {
    let [a, b, c, d, ..] = Sha256::digest(id).0;
    u32::from_be_bytes([a, b, c, d]) >> 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::stripe::event::tests::{event, later_samples, sample};
    use crate::stripe::event_types;

    fn translated_with(settings: &str, envelope: &Value) -> Result<Translation<'static>, MissingRate> {
        let (project, source) = ("demo".parse().unwrap(), "eu".parse().unwrap());
        let settings = Settings::parse(settings).unwrap();
        let context = Context {
            project: &project,
            source: Some(&source),
            settings: &settings,
            has_test_key: false,
            objects: None,
        };
        let event = event(envelope);
        let resolved = resolve(&event, &context, &mut user::no_audit).unwrap();
        translate(event, resolved, &context, &mut |_, _| {})
    }

    fn translated(envelope: &Value) -> (Value, Option<String>) {
        let translation = translated_with("{}", envelope).unwrap();
        let user_id_from = translation.user_id_from.map(|path| path.to_string());
        (serde_json::to_value(&translation.event).unwrap(), user_id_from)
    }

    #[test]
    fn a_payment_has_a_user_a_device_and_revenue() {
        let (event, user_id_from) = translated(&sample("payment_intent.succeeded"));
        assert_eq!(event["event_type"], "[Stripe] payment_intent.succeeded");
        assert_eq!(event["time"], 1_721_948_600_000_i64);
        assert_eq!(event["insert_id"], "evt_3PgcEx0014B7WZ01zgkW1Test");
        assert_eq!(event["user_id"], "user_42");
        assert_eq!(user_id_from.as_deref(), Some("metadata.user_id"));
        assert_eq!(event["device_id"], "stripe-pi_3PgafuB7WZ01zgkW1kJo3Sjx");
        assert_eq!((&event["revenue"], &event["currency"]), (&json!(20), &json!("USD")));
        assert_eq!(event["event_properties"]["normalized_amount_received"], 20);
        assert_eq!(event["event_properties"]["stripe_source"], "eu");
        assert_eq!(event["library"], concat!("stripe-amplitude/", env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn three_refunds_take_back_the_payment() {
        for (currency, rates, expected) in [
            ("usd", json!(null), ["-5 USD", "-3 USD", "-12 USD"]),
            ("jpy", json!(null), ["-500 JPY", "-300 JPY", "-1200 JPY"]),
            ("kwd", json!(null), ["-0.5 KWD", "-0.3 KWD", "-1.2 KWD"]),
            ("isk", json!(null), ["-5 ISK", "-3 ISK", "-12 ISK"]),
            ("ugx", json!(null), ["-5 UGX", "-3 UGX", "-12 UGX"]),
            ("huf", json!(null), ["-5 HUF", "-3 HUF", "-12 HUF"]),
            ("mga", json!(null), ["-500 MGA", "-300 MGA", "-1200 MGA"]),
            ("eur", json!({"code": "USD", "rates": {"EUR": "1.08"}}), ["-5.4 USD", "-3.24 USD", "-12.96 USD"]),
            ("jpy", json!({"code": "USD", "rates": {"JPY": "0.0067"}}), ["-3.35 USD", "-2.01 USD", "-8.04 USD"]),
        ] {
            let mut settings = json!({"refunds": "negative_revenue"});
            if !rates.is_null() {
                settings["preferred_currency"] = rates;
            }
            for ((refunded, previously), expected) in [(500, 0), (800, 500), (2000, 800)].into_iter().zip(expected) {
                let mut envelope = sample("charge.refunded");
                envelope["data"]["object"]["currency"] = json!(currency);
                envelope["data"]["object"]["amount_refunded"] = json!(refunded);
                envelope["data"]["previous_attributes"] = json!({"amount_refunded": previously});
                let event = translated_with(&settings.to_string(), &envelope).unwrap().event;
                let revenue = format!("{} {}", event.revenue.unwrap(), event.currency.unwrap());
                assert_eq!(revenue, expected, "{currency}");
            }
        }
    }

    #[test]
    fn refunds_of_unknown_amount_are_marked() {
        let mut envelope = sample("charge.refunded");
        envelope["data"]["previous_attributes"] = json!(null);
        let translation = translated_with(r#"{"refunds": "negative_revenue"}"#, &envelope).unwrap();
        assert_eq!(translation.revenue, Revenue::Unknown);
        let event = serde_json::to_value(&translation.event).unwrap();
        assert_eq!((event.get("revenue"), event.get("currency")), (None, None));
        assert_eq!(event["event_properties"]["normalized_revenue_unknown"], true);
        let (as_event, _) = translated(&envelope);
        assert_eq!(as_event["event_properties"].get("normalized_revenue_unknown"), None);
    }

    #[test]
    fn revenue_is_in_the_preferred_currency() {
        let mut envelope = sample("payment_intent.succeeded");
        envelope["data"]["object"]["currency"] = json!("jpy");
        let of = |rates: &str| {
            translated_with(&format!(r#"{{"preferred_currency": {{"code": "USD", "rates": {rates}}}}}"#), &envelope)
        };
        let translation = of(r#"{"JPY": "0.0067"}"#).unwrap();
        assert_eq!(translation.converted_from, Currency::parse("JPY"));
        let event = serde_json::to_value(&translation.event).unwrap();
        assert_eq!((&event["revenue"], &event["currency"]), (&json!(13.4), &json!("USD")));
        assert!(of("{}").is_err());
        // Too small to count.
        let event = of(r#"{"JPY": "0.000001"}"#).unwrap().event;
        assert_eq!((event.revenue, event.currency), (None, None));
    }

    #[test]
    fn ids_of_any_length_fit() {
        let mut envelope = sample("payment_intent.succeeded");
        envelope["id"] = json!("e".repeat(3000));
        envelope["type"] = json!(format!("{}.x", "t".repeat(3000)));
        envelope["data"]["object"]["id"] = json!("é".repeat(3000));
        envelope["data"]["object"]["metadata"] = json!({"user_id": "u".repeat(1025)});
        envelope["data"]["object"]["receipt_email"] = json!(null);
        envelope["data"]["object"]["customer"] = json!("c".repeat(1024));
        let (event, user_id_from) = translated(&envelope);
        assert_eq!(event["insert_id"], "e".repeat(1024));
        assert_eq!(event["event_type"].as_str().unwrap().len(), 1024);
        assert_eq!(event["device_id"].as_str().unwrap().chars().count(), 1024);
        assert_eq!((event["user_id"].as_str().unwrap().len(), user_id_from.as_deref()), (1024, Some("customer")));
    }

    #[test]
    fn event_ids_are_stable_and_fit_31_bits() {
        assert_eq!(event_id("evt_1"), 0x3ea7_2d3b);
        for event_type in event_types::TYPES {
            let (event, _) = translated(&sample(event_type));
            assert!(event["event_id"].as_u64().unwrap() < 1 << 31);
        }
    }

    #[test]
    fn fields_without_a_value_are_omitted() {
        let (event, user_id_from) = translated(&sample("charge.failed"));
        let fields = event.as_object().unwrap();
        assert_eq!(user_id_from, None);
        for absent in ["user_id", "revenue", "currency"] {
            assert!(!fields.contains_key(absent), "{absent}");
        }
    }

    #[test]
    fn a_repeat_keeps_its_ids_if_the_user_changed() {
        for event_type in event_types::TYPES {
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

    /// Everything that no API version may change: all but Stripe's own properties.
    fn whatever_the_version(mut event: Value) -> Value {
        let is_ours = |name: &str| ["normalized_", "product_"].iter().any(|start| name.starts_with(start));
        event["event_properties"].as_object_mut().unwrap().retain(|name, _| is_ours(name));
        event
    }

    #[test]
    fn all_api_versions_give_the_same_event() {
        let by_subscription =
            r#"{"user_id_paths": ["subscription_details.metadata.user_id", "subscription", "customer"]}"#;
        let converted =
            r#"{"refunds": "negative_revenue", "preferred_currency": {"code": "EUR", "rates": {"USD": "0.9"}}}"#;
        let mut compared = 0;
        for mut later in later_samples() {
            let mut first = sample(later["type"].as_str().unwrap());
            if first["data"]["object"]["object"] == "invoice" {
                first["data"]["object"]["tax"] = json!(399);
                later["data"]["object"]["total_taxes"] = json!([{"amount": 300}, {"amount": 99}]);
            }
            for settings in ["{}", by_subscription, converted] {
                let of = |envelope: &Value| {
                    let translation = translated_with(settings, envelope).unwrap();
                    let user_id_from = translation.user_id_from.map(|path| path.to_string());
                    let event = serde_json::to_value(&translation.event).unwrap();
                    (whatever_the_version(event), translation.revenue, user_id_from)
                };
                assert_eq!(of(&later), of(&first), "{} {} {settings}", later["type"], later["api_version"]);
                compared += 1;
            }
        }
        assert_eq!(compared, 3 * 2 * 8);
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
        fn any_object_translates(
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
