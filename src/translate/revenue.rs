//! What counts as revenue, so that one payment is counted once.
//!
//! One purchase fires several events (`payment_intent.succeeded`, `charge.succeeded`, with Billing also `invoice.paid`),
//! and Amplitude cannot take back what it ingested: only the first of them carries revenue.

use serde_json::Value;

use crate::stripe::currency::{Amount, Currency};
use crate::stripe::event::Event;

/// The revenue of an event: what a succeeded PaymentIntent received. A revenue of zero is left out, because it may still
/// mark a user as paying.
pub fn revenue(event: &Event) -> Option<(Amount, Currency)> {
    if event.event_type != "payment_intent.succeeded" {
        return None;
    }
    let currency = Currency::parse(event.object.get("currency")?.as_str()?)?;
    let amount = currency.amount(event.object.get("amount_received").and_then(Value::as_i64)?);
    (!amount.is_zero()).then_some((amount, currency))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stripe::catalog;
    use crate::stripe::event::tests::{event, sample};

    #[test]
    fn only_a_succeeded_payment_intent_carries_revenue() {
        for event_type in catalog::TYPES {
            let carries = revenue(&event(&sample(event_type))).is_some();
            assert_eq!(carries, event_type == "payment_intent.succeeded", "{event_type}");
        }
    }

    #[test]
    fn revenue_is_what_was_received_in_major_units() {
        for (amount, received, currency, expected) in [
            (2000, json!(2000), json!("usd"), Some("20 USD")),
            (2000, json!(1500), json!("usd"), Some("15 USD")),
            (500, json!(500), json!("jpy"), Some("500 JPY")),
            (500, json!(500), json!("isk"), Some("5 ISK")),
            (5120, json!(5120), json!("kwd"), Some("5.12 KWD")),
            (1050, json!(1050), json!("eur"), Some("10.5 EUR")),
            (2000, json!(0), json!("usd"), None),
            (2000, json!(null), json!("usd"), None),
            (2000, json!("2000"), json!("usd"), None),
            (2000, json!(2000), json!(null), None),
            (2000, json!(2000), json!("usdc"), None),
        ] {
            let mut envelope = sample("payment_intent.succeeded");
            let object = &mut envelope["data"]["object"];
            object["amount"] = json!(amount);
            object["amount_received"] = received;
            object["currency"] = currency;
            let revenue = revenue(&event(&envelope)).map(|(amount, currency)| format!("{amount} {currency}"));
            assert_eq!(revenue.as_deref(), expected);
        }
    }
}
