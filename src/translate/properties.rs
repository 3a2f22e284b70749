//! The event properties: all fields of Stripe's object that may leave, plus flat ones for charts.
//!
//! Amplitude charts scalars and arrays of strings; nested objects need a paid plan, and raw amounts are in minor units
//! of various currencies. So each amount is repeated in major units, under `normalized_…`.

use super::products::Products;
use super::redaction::{Reason, Redaction};
use crate::amplitude::properties::{Properties, Property};
use crate::money::currency::Currency;
use crate::money::exchange_rate::{Conversion, MissingRate, PreferredCurrency};
use crate::settings::Settings;
use crate::stripe::event::Event;
use crate::stripe::field_path::{FieldPath, Path};
use crate::stripe::json::{Json, Object};
use crate::stripe::source_label::SourceLabel;

/// The fields that are amounts in minor units of the object's `currency`.
const AMOUNTS: [&str; 16] = [
    "amount",
    "amount_captured",
    "amount_refunded",
    "amount_received",
    "amount_capturable",
    "amount_due",
    "amount_paid",
    "amount_remaining",
    "amount_total",
    "amount_subtotal",
    "subtotal",
    "subtotal_excluding_tax",
    "total",
    "total_excluding_tax",
    "tax",
    "application_fee_amount",
];

/// The properties of an event. `source` is the label of the signing secret that matched, `user_id_from` the path of the
/// user ID, `products` the ones that were read; `removed` is called with each removed field and the reason.
///
/// # Errors
/// If the project converts amounts and has no rate for the currency of this event.
pub fn properties<'b>(
    event: Event<'b>,
    source: Option<&SourceLabel>,
    user_id_from: Option<&FieldPath>,
    products: Option<Products>,
    settings: &Settings,
    removed: &mut impl FnMut(&Path<'_>, Reason),
) -> Result<Properties<'b>, MissingRate> {
    let preferred = settings.preferred_currency.as_ref();
    let redaction = Redaction::new(settings);
    let mut flat = Properties::default();
    normalize(&event.object, "", &AMOUNTS, preferred, &mut flat)?;
    normalize(&event.object, "merchant_", &["merchant_amount"], preferred, &mut flat)?;
    let mut object = event.object;
    redaction.redact(&mut object, removed);
    // After redaction: a description that the project drops must not leave as the name of a product.
    let Products { mut names, ids, are_incomplete } = products.unwrap_or_else(|| Products::of_object(&object));
    if names.is_empty() {
        let description =
            object.get("description").and_then(Json::as_str).filter(|description| !description.is_empty());
        names.extend(description.map(str::to_owned));
    }
    let list = |texts: Vec<String>| {
        let texts: Vec<Json<'b>> = texts.into_iter().map(Json::from).collect();
        (!texts.is_empty()).then(|| Json::from(texts))
    };
    let mut add = |name: &'static str, value: Option<Json<'b>>| {
        if let Some(value) = value {
            flat.insert(name, Property::Json(value));
        }
    };
    add("product_names", list(names));
    add("product_ids", list(ids));
    add("products_incomplete", are_incomplete.then(|| true.into()));
    add("stripe_livemode", event.livemode.map(Json::from));
    add("stripe_api_version", event.api_version.map(Json::from));
    add("stripe_account", event.account.map(Json::from));
    add("stripe_source", source.map(|source| source.as_str().to_owned().into()));
    add("stripe_user_id_from", user_id_from.map(|path| path.as_str().to_owned().into()));
    flat.retain(|name, _| {
        let path = Path::key(None, name);
        let dropped = redaction.drops(&path);
        if dropped {
            removed(&path, Reason::DropProperties);
        }
        !dropped
    });

    let mut properties = Properties::from(object);
    properties.extend(flat);
    Ok(properties)
}

/// Whether a line's description may give the name of a product: one that the project drops must not leave this way.
pub(super) fn names_by_description(settings: &Settings) -> bool {
    let (lines, redaction) = (Path::key(None, "lines"), Redaction::new(settings));
    let data = Path::key(Some(&lines), "data");
    let line = Path::index(&data, 0);
    !redaction.drops(&Path::key(Some(&line), "description"))
}

/// Each of these amounts in major units, under `normalized_` and its name. An object without a currency has none.
fn normalize(
    object: &Object<'_>,
    prefix: &str,
    amounts: &[&str],
    preferred: Option<&PreferredCurrency>,
    normalized: &mut Properties<'_>,
) -> Result<(), MissingRate> {
    let currency = object.get(&format!("{prefix}currency")).and_then(Json::as_str).and_then(Currency::parse);
    let Some(currency) = currency else { return Ok(()) };
    let amount = |name: &str| object.get(name).and_then(Json::as_i64).or_else(|| moved(object, name));
    let amounts: Vec<_> = amounts.iter().filter_map(|name| Some((name, amount(name)?))).collect();
    let mut add = |name: &str, value| normalized.insert(format!("normalized_{name}"), value);
    let code = |currency: Currency| Property::Json(currency.code().to_owned().into());
    let conversion = match Conversion::of(currency, preferred) {
        Ok(conversion) => conversion,
        // A subscription, for example, has a currency but no amount that could be wrong.
        Err(_) if amounts.is_empty() => return Ok(()),
        // Zero is zero in every currency.
        Err(missing) if amounts.iter().all(|(_, minor_units)| *minor_units == 0) => {
            add(&format!("{prefix}currency"), code(missing.to));
            add(&format!("{prefix}original_currency"), code(currency));
            for (name, _) in amounts {
                add(name, Property::Amount(missing.to.amount(0)));
            }
            return Ok(());
        }
        Err(missing) => return Err(missing),
    };
    add(&format!("{prefix}currency"), code(conversion.currency()));
    if let Some(rate) = conversion.rate() {
        add(&format!("{prefix}original_currency"), code(conversion.from));
        add(&format!("{prefix}rate"), Property::Rate(*rate));
    }
    for (name, minor_units) in amounts {
        add(name, Property::Amount(conversion.amount(minor_units)));
    }
    Ok(())
}

/// An amount that later API versions have in another place. From 2025-03-31 on, an invoice's `tax`, the sum of all
/// taxes, is listed by rate; without taxes, it was null. Source:
/// docs.stripe.com/changelog/basil/2025-03-31/invoice-tax-configurations.
fn moved(object: &Object<'_>, name: &str) -> Option<i64> {
    let of_invoice = || object.get("object").and_then(Json::as_str) == Some("invoice");
    if name != "tax" || object.get(name).is_some() || !of_invoice() {
        return None;
    }
    let mut taxes = object.get("total_taxes")?.as_list()?.iter().map(|tax| tax.get("amount")?.as_i64());
    let first = taxes.next()??;
    taxes.try_fold(first, |sum, amount| sum.checked_add(amount?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::stripe::event::tests::{event, later_samples, sample};
    use crate::stripe::event_types;

    fn properties_with(settings: &str, envelope: &Value) -> Result<Value, MissingRate> {
        let settings = Settings::parse(settings).unwrap();
        let properties =
            properties(event(envelope), Some(&"eu".parse().unwrap()), None, None, &settings, &mut |_, _| {})?;
        Ok(serde_json::to_value(properties).unwrap())
    }

    fn properties_of(envelope: &Value) -> Value {
        let mut properties = properties_with("{}", envelope).unwrap();
        assert_eq!(properties.as_object_mut().unwrap().remove("stripe_source"), Some(json!("eu")));
        properties
    }

    fn properties_of_object(object: Value) -> Value {
        properties_of(
            &json!({"id": "evt_1", "object": "event", "type": "x.y", "created": 1, "data": {"object": object}}),
        )
    }

    #[test]
    fn amounts_are_in_major_units() {
        for (object, expected) in [
            (
                json!({"currency": "usd", "amount": 2000, "amount_refunded": 505, "amount_captured": 0}),
                json!({"currency": "USD", "amount": 20, "amount_refunded": 5.05, "amount_captured": 0}),
            ),
            (json!({"currency": "jpy", "amount": 500}), json!({"currency": "JPY", "amount": 500})),
            (json!({"currency": "kwd", "amount": 5120}), json!({"currency": "KWD", "amount": 5.12})),
            (json!({"currency": "isk", "amount": 500}), json!({"currency": "ISK", "amount": 5})),
            (
                json!({"currency": "usd", "amount": -700, "merchant_currency": "jpy", "merchant_amount": -1000}),
                json!({"currency": "USD", "amount": -7, "merchant_currency": "JPY", "merchant_amount": -1000}),
            ),
            (
                json!({"merchant_currency": "eur", "merchant_amount": 150}),
                json!({"merchant_currency": "EUR", "merchant_amount": 1.5}),
            ),
            (json!({"currency": "usd", "amount": "2000", "tax": null, "total": 1.5}), json!({"currency": "USD"})),
            (json!({"currency": null, "amount": 2000}), json!({})),
            (json!({"amount": 2000}), json!({})),
            // An invoice of 2024-06-20, and of 2025-03-31 and later, where `total_taxes` replaces `tax`.
            (
                json!({"object": "invoice", "currency": "eur", "total": 1190, "tax": 190, "amount_paid": 1190}),
                json!({"currency": "EUR", "total": 11.9, "tax": 1.9, "amount_paid": 11.9}),
            ),
            (
                json!({"object": "invoice", "currency": "eur", "total": 1190, "total_taxes": [{"amount": 150}, {"amount": 40}], "amount_paid": 1190, "amount_overpaid": 0}),
                json!({"currency": "EUR", "total": 11.9, "tax": 1.9, "amount_paid": 11.9}),
            ),
            // 2026: the presentment amount is in another currency, and is not converted.
            (
                json!({"object": "payment_intent", "currency": "usd", "amount": 1000, "presentment_details": {"presentment_amount": 900, "presentment_currency": "eur"}}),
                json!({"currency": "USD", "amount": 10}),
            ),
        ] {
            let properties = properties_of_object(object.clone());
            let normalized: Map<String, Value> = properties
                .as_object()
                .unwrap()
                .iter()
                .filter_map(|(name, value)| Some((name.strip_prefix("normalized_")?.to_owned(), value.clone())))
                .collect();
            assert_eq!(Value::Object(normalized), expected, "{object}");
        }
    }

    #[test]
    fn the_tax_of_later_invoices_is_summed() {
        for (object, tax) in [
            (json!({"total_taxes": [{"amount": 190}]}), json!(1.9)),
            (json!({"total_taxes": [{"amount": 190}, {"amount": -40}]}), json!(1.5)),
            (json!({"total_taxes": [{"amount": 0}]}), json!(0)),
            // In 2024-06-20 it is null without taxes.
            (json!({"total_taxes": []}), json!(null)),
            (json!({"total_taxes": null}), json!(null)),
            (json!({}), json!(null)),
            // Values that cannot be added up.
            (json!({"total_taxes": [{"amount": 190}, {"amount": "40"}]}), json!(null)),
            (json!({"total_taxes": [{"amount": i64::MAX}, {"amount": 1}]}), json!(null)),
            (json!({"total_taxes": [null]}), json!(null)),
            // The field itself takes precedence, and a credit note never had one.
            (json!({"tax": 100, "total_taxes": [{"amount": 190}]}), json!(1)),
            (json!({"tax": null, "total_taxes": [{"amount": 190}]}), json!(null)),
            (json!({"object": "credit_note", "total_taxes": [{"amount": 190}]}), json!(null)),
        ] {
            let mut invoice = json!({"object": "invoice", "currency": "eur"});
            invoice.as_object_mut().unwrap().extend(object.as_object().unwrap().clone());
            assert_eq!(properties_of_object(invoice)["normalized_tax"], tax, "{object}");
        }
    }

    #[test]
    fn amounts_are_in_the_preferred_currency() {
        let settings = r#"{"preferred_currency": {"code": "USD", "rates": {"EUR": "1.08", "JPY": "0.0067"}}}"#;
        let of = |object: Value| {
            let envelope =
                json!({"id": "evt_1", "object": "event", "type": "x.y", "created": 1, "data": {"object": object}});
            properties_with(settings, &envelope)
        };
        let mut properties = of(json!({
            "currency": "eur", "amount": 1050, "tax": 5, "merchant_currency": "jpy", "merchant_amount": -1000,
        }))
        .unwrap();
        properties.as_object_mut().unwrap().remove("stripe_source");
        let expected = json!({
            "currency": "eur", "amount": 1050, "tax": 5, "merchant_currency": "jpy", "merchant_amount": -1000,
            "normalized_currency": "USD", "normalized_amount": 11.34, "normalized_tax": 0.05,
            "normalized_original_currency": "EUR", "normalized_rate": 1.08,
            "normalized_merchant_currency": "USD", "normalized_merchant_amount": -6.7,
            "normalized_merchant_original_currency": "JPY", "normalized_merchant_rate": 0.0067,
        });
        assert_eq!(properties, expected);
        // Already in the preferred currency: nothing is converted or marked.
        let same = of(json!({"currency": "usd", "amount": 1050})).unwrap();
        assert_eq!(same["normalized_amount"], 10.5);
        assert_eq!(same.get("normalized_rate"), None);
        // No amount is better than a wrong one.
        assert!(of(json!({"currency": "gbp", "amount": 1050})).is_err());
        assert!(of(json!({"currency": "usd", "merchant_currency": "gbp", "merchant_amount": 1})).is_err());
        assert_eq!(of(json!({"currency": "gbp"})).unwrap().get("normalized_currency"), None);
    }

    #[test]
    fn dropped_properties_include_derived_ones() {
        let invoice = sample("invoice.paid");
        let settings = r#"{"drop_properties": ["metadata.*", "lines.data.*.description", "normalized_total",
            "stripe_source", "product_ids", "customer", "lines.data.0.period"]}"#;
        let properties = properties_with(settings, &invoice).unwrap();
        let whole = properties_of(&invoice);
        assert_eq!(properties["metadata"], json!({}));
        for name in ["normalized_total", "stripe_source", "product_ids", "customer", "product_names"] {
            assert_eq!(properties.get(name), None, "{name}");
        }
        let line = &properties["lines"]["data"][0];
        assert_eq!((line.get("description"), line.get("period")), (None, None));
        assert_eq!(properties["normalized_amount_paid"], whole["normalized_amount_paid"]);
        // A payment's description is the product name, unless it is dropped.
        let charge = properties_with(r#"{"drop_properties": ["description"]}"#, &sample("charge.refunded")).unwrap();
        assert_eq!((charge.get("description"), charge.get("product_names")), (None, None));
    }

    #[test]
    fn dropped_fields_are_dropped_in_later_versions() {
        let settings =
            r#"{"drop_properties": ["subscription_details.metadata", "lines.data.*.price", "shipping_details"]}"#;
        for later in later_samples() {
            let object = &later["data"]["object"];
            let properties = properties_with(settings, &later).unwrap();
            match object["object"].as_str().unwrap() {
                "invoice" => {
                    let details = json!({"subscription": object["parent"]["subscription_details"]["subscription"]});
                    assert_eq!(properties["parent"]["subscription_details"], details);
                    let pricing = &properties["lines"]["data"][0]["pricing"];
                    assert_eq!(pricing, &json!({"type": "price_details", "unit_amount_decimal": "2500"}));
                    assert_eq!(properties.get("product_ids"), None);
                }
                "checkout.session" => assert_eq!(properties["collected_information"], json!({})),
                _ => assert_eq!(properties, properties_with("{}", &later).unwrap()),
            }
        }
    }

    #[test]
    fn every_amount_is_normalized() {
        let mut object = json!({"currency": "eur"});
        for name in AMOUNTS {
            object[name] = json!(1234);
        }
        let properties = properties_of_object(object);
        for name in AMOUNTS {
            assert_eq!(properties[name], 1234);
            assert_eq!(properties[format!("normalized_{name}")], 12.34);
        }
    }

    #[test]
    fn products_come_from_the_lines_of_every_api_version() {
        for (object, names, ids) in [
            // 2024-06-20, with the same product twice.
            (
                json!({"lines": {"data": [
                    {"description": "Pro", "price": {"product": "prod_1"}},
                    {"description": "Pro", "price": {"product": {"id": "prod_1", "name": "Pro"}}},
                    {"description": "Seat", "plan": {"product": "prod_2"}, "price": null},
                ]}}),
                json!(["Pro", "Seat"]),
                json!(["prod_1", "prod_2"]),
            ),
            // 2025-03-31 to 2026.
            (
                json!({"lines": {"data": [{"description": "Pro", "pricing": {"price_details": {"product": "prod_1"}, "type": "price_details"}}]},
                       "parent": {"subscription_details": {"subscription": "sub_1"}}}),
                json!(["Pro"]),
                json!(["prod_1"]),
            ),
            (
                json!({"lines": {"data": [{"description": null}]}, "description": "Order"}),
                json!(["Order"]),
                json!(null),
            ),
            (json!({"description": "Order 1"}), json!(["Order 1"]), json!(null)),
            (json!({"description": null}), json!(null), json!(null)),
            (json!({"lines": []}), json!(null), json!(null)),
        ] {
            let properties = properties_of_object(object);
            assert_eq!((&properties["product_names"], &properties["product_ids"]), (&names, &ids));
        }
    }

    #[test]
    fn envelope_fields_become_properties() {
        let mut envelope = sample("charge.succeeded");
        envelope["account"] = json!("acct_9");
        let properties = properties_with("{}", &envelope).unwrap();
        assert_eq!(properties["stripe_livemode"], false);
        assert_eq!(properties["stripe_api_version"], "2024-06-20");
        assert_eq!(properties["stripe_account"], "acct_9");
        assert_eq!(properties["stripe_source"], "eu");
        let without = properties_of_object(json!({"id": "ch_1"}));
        assert_eq!(without, json!({"id": "ch_1"}));
    }

    #[test]
    fn samples_lose_only_nulls() {
        for event_type in event_types::TYPES {
            let properties = properties_of(&sample(event_type));
            assert!(!properties.to_string().contains("null"), "{event_type}");
            assert_eq!(properties["object"], sample(event_type)["data"]["object"]["object"]);
            let currency = match event_type {
                "balance.available" => json!(null),
                "charge.captured" | "checkout.session.async_payment_failed" => json!("EUR"),
                "checkout.session.async_payment_succeeded" => json!("JPY"),
                _ => json!("USD"),
            };
            assert_eq!(properties["normalized_currency"], currency, "{event_type}");
        }
        let invoice = properties_of(&sample("invoice.paid"));
        assert_eq!(invoice["normalized_amount_paid"], 25);
        assert_eq!(invoice["product_names"], json!(["Pro plan"]));
        assert_eq!(invoice["product_ids"], json!(["prod_QXg1hqf4jFNsqG"]));
        assert_eq!(invoice["lines"]["data"][0]["amount"], 2500);
    }

    #[test]
    fn metadata_and_description_are_unchanged() {
        let properties = properties_of(&sample("charge.refunded"));
        assert_eq!(properties["metadata"], json!({"order_id": "6735", "user_id": "user_42"}));
        assert_eq!(properties["description"], "Order 6735");
    }
}
