//! The amounts of an event, read in the same way from Stripe's side and from Amplitude's.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::amplitude::line::{Content, number, whole_number};
use crate::money::{Money, shown};

/// The main amounts of objects, in order of precedence: a payment's or a charge's, a checkout session's, an invoice's.
const MAIN_AMOUNTS: [&str; 3] = ["normalized_amount", "normalized_amount_total", "normalized_total"];

/// Stripe's own amounts of an object, in minor units, which no setting changes.
const FIGURES: [&str; 5] = ["amount", "amount_received", "amount_refunded", "amount_total", "total"];

/// An amount in major units of its currency.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Amount {
    #[serde(rename = "amount")]
    pub(crate) money: Money,
    /// `None` if the event has none.
    pub(crate) currency: Option<String>,
}

/// Stripe's own amounts of an object, if present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    minor_units: [Option<i64>; FIGURES.len()],
    currency: Option<String>,
}

impl Amount {
    /// The event's revenue, or its main amount if it has none.
    pub(crate) fn of(event: &Content) -> Option<Self> {
        let properties = &event.properties;
        let money = |value: &Value| Money::of(&number(value)?.into());
        let property = |name: &str| properties.get(name).and_then(money);
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        // Revenue is converted to the same currency as the normalized amounts.
        let normalized = || text(properties.get("normalized_currency"));
        match money(&event.revenue).or_else(|| property("$revenue")) {
            Some(money) => {
                let currency = text(Some(&event.currency)).or_else(|| text(properties.get("$currency")));
                Some(Self { money, currency: currency.or_else(normalized) })
            }
            None => Some(Self { money: MAIN_AMOUNTS.into_iter().find_map(property)?, currency: normalized() }),
        }
    }

    /// Whether two amounts differ. A missing currency is not a difference.
    pub(crate) fn differs(one: Option<&Self>, other: Option<&Self>) -> bool {
        match (one, other) {
            (Some(one), Some(other)) => {
                let has_other_currency = one.currency.is_some() && other.currency.is_some();
                one.money != other.money || (has_other_currency && one.currency != other.currency)
            }
            (None, None) => false,
            _ => true,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { money, currency } = self;
        match currency {
            Some(currency) => f.write_str(&shown(money, currency)),
            None => write!(f, "{money} (no currency)"),
        }
    }
}

impl Figures {
    pub(crate) fn of(event: &Content) -> Self {
        let properties = &event.properties;
        Self {
            minor_units: FIGURES.map(|name| properties.get(name).and_then(whole_number)),
            currency: properties.get("currency").and_then(Value::as_str).map(str::to_owned),
        }
    }

    /// Whether they contradict each other. A figure that only one has may have been removed by a setting.
    pub(crate) fn contradict(&self, other: &Self) -> bool {
        let differ = |(one, other): (&Option<i64>, &Option<i64>)| one.is_some() && other.is_some() && one != other;
        let currencies_differ = self.currency.is_some() && other.currency.is_some() && self.currency != other.currency;
        currencies_differ || self.minor_units.iter().zip(&other.minor_units).any(differ)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn exported(event: Value) -> Content {
        let field = |name: &str| event.get(name).cloned().unwrap_or_default();
        let properties = field("event_properties").as_object().cloned().unwrap();
        Content { revenue: field("revenue"), currency: field("currency"), properties }
    }

    #[test]
    fn revenue_has_precedence_over_the_main_amount() {
        for (event, expected) in [
            (json!({"revenue": 19.99, "currency": "USD", "event_properties": {"normalized_amount": 25}}), "19.99 USD"),
            (
                json!({"event_properties": {"$revenue": 19.99, "$currency": "USD", "normalized_amount": 25}}),
                "19.99 USD",
            ),
            (json!({"event_properties": {"$revenue": -5, "normalized_currency": "EUR"}}), "-5.00 EUR"),
            (json!({"event_properties": {"$revenue": 5}}), "5 (no currency)"),
            (json!({"event_properties": {"$revenue": "1.2E7", "$currency": "JPY"}}), "12000000 JPY"),
            (json!({"revenue": "25", "currency": "USD", "event_properties": {}}), "25.00 USD"),
            (
                json!({"revenue": null, "event_properties": {"normalized_total": 7.005, "normalized_currency": "KWD"}}),
                "7.005 KWD",
            ),
            (
                json!({"event_properties": {"normalized_amount_total": 7, "normalized_total": 8, "normalized_currency": "JPY"}}),
                "7 JPY",
            ),
        ] {
            assert_eq!(Amount::of(&exported(event.clone())).unwrap().to_string(), expected, "{event}");
        }
        assert_eq!(Amount::of(&exported(json!({"event_properties": {"amount": 700}}))), None);
    }

    #[test]
    fn amounts_differ_in_number_or_currency() {
        let amount = |number: i64, currency: Option<&str>| {
            Some(Amount { money: Money::whole(number), currency: currency.map(str::to_owned) })
        };
        let usd = amount(1, Some("USD"));
        for (other, differs) in [
            (amount(1, Some("USD")), false),
            (amount(1, None), false),
            (amount(1, Some("EUR")), true),
            (amount(2, Some("USD")), true),
            (None, true),
        ] {
            assert_eq!(Amount::differs(usd.as_ref(), other.as_ref()), differs, "{other:?}");
        }
        assert!(!Amount::differs(None, None));
    }

    #[test]
    fn only_shared_figures_can_contradict() {
        let of = |properties: Value| Figures::of(&exported(json!({ "event_properties": properties })));
        let euros = of(json!({"amount": 700, "currency": "eur"}));
        for (other, contradict) in [
            (json!({"amount": 700, "currency": "eur", "total": 1}), false),
            (json!({}), false),
            (json!({"amount": 701, "currency": "eur"}), true),
            (json!({"amount": 700, "currency": "usd"}), true),
            (json!({"amount": "700", "currency": "eur"}), false),
            (json!({"amount": 7e2, "currency": "eur"}), false),
            (json!({"amount": "701"}), true),
        ] {
            assert_eq!(euros.contradict(&of(other.clone())), contradict, "{other}");
        }
    }
}
