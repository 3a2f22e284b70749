//! What counts as revenue, so that one payment is counted once, and a refund takes back what was counted and no more.
//!
//! One purchase fires several events (`payment_intent.succeeded`, `charge.succeeded`, with Billing also `invoice.paid`),
//! and Amplitude cannot take back what it ingested: only the first of them carries revenue. Refunds and disputes subtract
//! where the project's setting `refunds` says so. Nothing is guessed: a refund whose amount an event does not tell is
//! marked, and carries no revenue. Source: docs.stripe.com/api/events/types and docs.stripe.com/refunds.

use std::fmt;

use crate::money::currency::Currency;
use crate::settings::{Refunds, Settings};
use crate::stripe::event::{Event, id_of};
use crate::stripe::json::{Json, Object};

/// What an event adds to revenue, before any conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revenue {
    /// It counts.
    Counted {
        /// Negative for a refund; never 0, because a revenue of 0 may still mark a user as paying.
        minor_units: i64,
        /// Of the minor units.
        currency: Currency,
        /// Why so much.
        rule: Rule,
    },
    /// It does not.
    NotCounted(NotCounted),
    /// It is a refund, and the event does not tell of how much.
    UnknownRefund,
}

/// The rule by which an event carries revenue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// What a succeeded PaymentIntent received.
    Received,
    /// What was newly refunded of what was captured.
    NewlyRefunded {
        /// `amount_refunded`: all refunds of the charge until now.
        refunded: i64,
        /// The same before this event.
        previously: i64,
        /// `amount` − `amount_captured`: released, not paid back, so never counted.
        never_captured: i64,
    },
    /// A refund of a payment that has no charge.
    RefundWithoutCharge,
    /// A refund that failed, so that the money stayed.
    RefundFailed,
    /// What a dispute withdrew.
    DisputeWithdrawn,
    /// What came back when a dispute was won.
    DisputeReinstated,
}

impl Rule {
    /// Its name in the log line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::NewlyRefunded { .. } => "newly_refunded",
            Self::RefundWithoutCharge => "refund_without_charge",
            Self::RefundFailed => "refund_failed",
            Self::DisputeWithdrawn => "dispute_withdrawn",
            Self::DisputeReinstated => "dispute_reinstated",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Received => f.write_str("what the payment received: `amount_received`"),
            Self::NewlyRefunded { refunded, previously, never_captured } => write!(
                f,
                "what was newly refunded, in minor units: max(0, {refunded} − {never_captured}) − max(0, {previously} − {never_captured}), \
                 where {refunded} is refunded in all, {previously} was before, and {never_captured} was never captured"
            ),
            Self::RefundWithoutCharge => f.write_str("the `amount` of a refund that has no charge"),
            Self::RefundFailed => f.write_str("the `amount` of a refund that failed, added back"),
            Self::DisputeWithdrawn => f.write_str("the dispute's `amount`, withdrawn, without Stripe's fee"),
            Self::DisputeReinstated => f.write_str("the dispute's `amount`, reinstated, without Stripe's fee"),
        }
    }
}

/// Why an event carries no revenue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCounted {
    /// Events of the type never do.
    Type,
    /// Refunds and disputes do not, by the settings.
    AsEvents,
    /// There is no amount or no currency.
    NoAmount,
    /// The amount is 0.
    Zero,
    /// The payment has no PaymentIntent, so that it was never counted.
    PaymentNotCounted,
    /// Another event of the same refund counts.
    CountedBy(&'static str),
    /// The refund has not failed with this event.
    NotFailedNow,
    /// The event that would have subtracted it is not on the project's list.
    NeverSubtracted(&'static str),
}

impl fmt::Display for NotCounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type => f.write_str(
                "events of this type carry none: a purchase fires several events, and payment_intent.succeeded alone counts",
            ),
            Self::AsEvents => f.write_str("the setting `refunds` is \"as_events\""),
            Self::NoAmount => f.write_str("the object has no amount or no currency"),
            Self::Zero => f.write_str("the amount is 0"),
            Self::PaymentNotCounted => {
                f.write_str("the payment has no PaymentIntent, so it was never counted and nothing is taken back")
            }
            Self::CountedBy(event_type) => write!(f, "{event_type} counts for this refund"),
            Self::NotFailedNow => f.write_str("the refund has not failed with this event"),
            Self::NeverSubtracted(event_type) => {
                write!(f, "it was never subtracted: {event_type} is not on the list of types")
            }
        }
    }
}

const CHARGE_REFUNDED: &str = "charge.refunded";
const CHARGE_REFUND_UPDATED: &str = "charge.refund.updated";
const REFUND_CREATED: &str = "refund.created";
const REFUND_FAILED: &str = "refund.failed";
const FUNDS_WITHDRAWN: &str = "charge.dispute.funds_withdrawn";
const FUNDS_REINSTATED: &str = "charge.dispute.funds_reinstated";

/// From this API version on, `refund.…` events are sent for all refunds; before, only for those without a charge.
const REFUND_EVENTS_FOR_ALL: &str = "2024-10-28";

/// The revenue of an event of a project with these settings.
pub fn revenue(event: &Event<'_>, settings: &Settings) -> Revenue {
    let object = &event.object;
    match &*event.event_type {
        "payment_intent.succeeded" => counted(object, "amount_received", 1, Rule::Received),
        CHARGE_REFUNDED
        | CHARGE_REFUND_UPDATED
        | REFUND_CREATED
        | REFUND_FAILED
        | FUNDS_WITHDRAWN
        | FUNDS_REINSTATED => {
            if settings.refunds == Refunds::AsEvents {
                return Revenue::NotCounted(NotCounted::AsEvents);
            }
            // Legacy charges, and refunds of a cash balance, say so.
            if object.get("payment_intent").is_some_and(Json::is_null) {
                return Revenue::NotCounted(NotCounted::PaymentNotCounted);
            }
            taken_back(event, settings)
        }
        _ => Revenue::NotCounted(NotCounted::Type),
    }
}

fn taken_back(event: &Event<'_>, settings: &Settings) -> Revenue {
    let object = &event.object;
    let has_charge = id_of(object.get("charge")).is_some();
    match &*event.event_type {
        CHARGE_REFUNDED => refunded(event),
        REFUND_CREATED if has_charge => Revenue::NotCounted(NotCounted::CountedBy(CHARGE_REFUNDED)),
        REFUND_CREATED => counted(object, "amount", -1, Rule::RefundWithoutCharge),
        FUNDS_WITHDRAWN => counted(object, "amount", -1, Rule::DisputeWithdrawn),
        FUNDS_REINSTATED if !settings.events.contains(FUNDS_WITHDRAWN) => {
            Revenue::NotCounted(NotCounted::NeverSubtracted(FUNDS_WITHDRAWN))
        }
        FUNDS_REINSTATED => counted(object, "amount", 1, Rule::DisputeReinstated),
        _ => match failed(event, settings, has_charge) {
            Some(reason) => Revenue::NotCounted(reason),
            None => counted(object, "amount", 1, Rule::RefundFailed),
        },
    }
}

/// The amount in this field, if there is one.
fn counted(object: &Object<'_>, field: &str, sign: i64, rule: Rule) -> Revenue {
    let amount = object.get(field).and_then(Json::as_i64).and_then(|amount| amount.checked_mul(sign));
    match (amount, currency(object)) {
        (Some(0), _) => Revenue::NotCounted(NotCounted::Zero),
        (Some(minor_units), Some(currency)) => Revenue::Counted { minor_units, currency, rule },
        _ => Revenue::NotCounted(NotCounted::NoAmount),
    }
}

fn currency(object: &Object<'_>) -> Option<Currency> {
    Currency::parse(object.get("currency")?.as_str()?)
}

/// `charge.refunded` has the sum of all refunds of a charge, and is also sent when an authorization, or the rest of one
/// after a partial capture, is released. That rest was never counted.
fn refunded(event: &Event<'_>) -> Revenue {
    let delta = || {
        let amount = |name: &str| event.object.get(name).and_then(Json::as_i64);
        let refunded = amount("amount_refunded")?;
        let never_captured = amount("amount")?.checked_sub(amount("amount_captured")?)?;
        let paid_back = |refunded: i64| Some(refunded.checked_sub(never_captured)?.max(0));
        let previously = match previously_refunded(event, refunded) {
            Some(previously) => previously,
            // Refunds add up: where nothing that was captured is refunded now, nothing was before.
            None if paid_back(refunded)? == 0 => 0,
            None => return None,
        };
        let delta = paid_back(refunded)?.checked_sub(paid_back(previously)?)?;
        Some((delta, Rule::NewlyRefunded { refunded, previously, never_captured }))
    };
    match (delta(), currency(&event.object)) {
        (Some((0, _)), _) => Revenue::NotCounted(NotCounted::Zero),
        // Not the negative of i64::MIN: it is a difference of two numbers that are not negative.
        (Some((delta, rule)), Some(currency)) => Revenue::Counted { minor_units: -delta, currency, rule },
        _ => Revenue::UnknownRefund,
    }
}

/// What was refunded of the charge before this event: what Stripe says changed; or else, in API versions before
/// 2022-11-15, what the newest entry of the charge's list of refunds leaves.
fn previously_refunded(event: &Event<'_>, refunded: i64) -> Option<i64> {
    let said = event.previous_attributes.as_ref().and_then(|previous| previous.get("amount_refunded")?.as_i64());
    let listed = || {
        let refunds = event.object.get("refunds")?.get("data")?.as_list()?;
        let created = |refund: &&Json<'_>| refund.get("created").and_then(Json::as_i64);
        // Stripe lists the newest first; among those of one second, the first is the newest.
        let newest = refunds.iter().rev().max_by_key(created)?;
        let previously = refunded.checked_sub(newest.get("amount")?.as_i64()?)?;
        (0..=refunded).contains(&previously).then_some(previously)
    };
    said.or_else(listed)
}

/// Why a refund is not added back with this event; `None` where it is.
///
/// Two types tell of a refund that failed. Where a project has both, one of them counts: for a refund that both are sent
/// for, `refund.failed`.
fn failed(event: &Event<'_>, settings: &Settings, has_charge: bool) -> Option<NotCounted> {
    let refund_failed_is_sent =
        !has_charge || event.api_version.as_deref().is_some_and(|version| version >= REFUND_EVENTS_FOR_ALL);
    let (counting, other) = if refund_failed_is_sent {
        (REFUND_FAILED, CHARGE_REFUND_UPDATED)
    } else {
        (CHARGE_REFUND_UPDATED, REFUND_FAILED)
    };
    let subtracted_by = if has_charge { CHARGE_REFUNDED } else { REFUND_CREATED };
    let status = event.object.get("status").and_then(Json::as_str);
    // What an update of something else leaves out, for example of the metadata of a refund that had failed before.
    let changed = event.previous_attributes.as_ref().is_none_or(|previous| previous.get("status").is_some());
    let failed_now = status == Some("failed") && (changed || event.event_type == REFUND_FAILED);
    if !failed_now {
        Some(NotCounted::NotFailedNow)
    } else if !settings.events.contains(subtracted_by) {
        Some(NotCounted::NeverSubtracted(subtracted_by))
    } else if event.event_type == other && settings.events.contains(counting) {
        Some(NotCounted::CountedBy(counting))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::stripe::event::tests::{event, sample};
    use crate::stripe::event_types;

    const REFUND_TYPES: &str = r#"{"refunds": "negative_revenue", "events": {"add": ["refund.created", "refund.failed",
        "charge.refund.updated", "charge.dispute.*"]}}"#;

    fn settings(text: &str) -> Settings {
        Settings::parse(text).unwrap()
    }

    fn negative() -> Settings {
        settings(REFUND_TYPES)
    }

    /// An event about an object of a payment in US dollars.
    fn about(event_type: &str, object: Value, previous: Value) -> Event<'static> {
        let mut object = object;
        for (name, value) in [("currency", json!("usd")), ("payment_intent", json!("pi_1"))] {
            if object.get(name).is_none() {
                object[name] = value;
            }
        }
        event(&json!({
            "id": "evt_1", "object": "event", "type": event_type, "created": 1, "api_version": "2024-06-20",
            "data": {"object": object, "previous_attributes": previous},
        }))
    }

    /// `Some` minor units, or the reason why there are none.
    fn told(revenue: Revenue) -> Result<i64, &'static str> {
        match revenue {
            Revenue::Counted { minor_units, .. } => Ok(minor_units),
            Revenue::UnknownRefund => Err("unknown"),
            Revenue::NotCounted(reason) => Err(match reason {
                NotCounted::Type => "type",
                NotCounted::AsEvents => "as events",
                NotCounted::NoAmount => "no amount",
                NotCounted::Zero => "zero",
                NotCounted::PaymentNotCounted => "payment not counted",
                NotCounted::CountedBy(event_type) | NotCounted::NeverSubtracted(event_type) => event_type,
                NotCounted::NotFailedNow => "not failed now",
            }),
        }
    }

    fn refund_of_charge(amounts: [i64; 3], previous: Value, more: Value) -> Result<i64, &'static str> {
        let [amount, captured, refunded] = amounts;
        let mut charge =
            json!({"object": "charge", "amount": amount, "amount_captured": captured, "amount_refunded": refunded});
        charge.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        told(revenue(&about("charge.refunded", charge, previous), &negative()))
    }

    #[test]
    fn by_default_only_a_succeeded_payment_intent_carries_revenue() {
        for event_type in event_types::TYPES {
            let revenue = revenue(&event(&sample(event_type)), &Settings::default());
            assert_eq!(told(revenue).is_ok(), event_type == "payment_intent.succeeded", "{event_type}");
        }
    }

    #[test]
    fn revenue_is_what_was_received() {
        for (amount, received, currency, expected) in [
            (2000, json!(2000), json!("usd"), Ok(2000)),
            (2000, json!(1500), json!("usd"), Ok(1500)),
            (500, json!(500), json!("jpy"), Ok(500)),
            (2000, json!(0), json!("usd"), Err("zero")),
            (2000, json!(null), json!("usd"), Err("no amount")),
            (2000, json!("2000"), json!("usd"), Err("no amount")),
            (2000, json!(2000), json!(null), Err("no amount")),
            (2000, json!(2000), json!("usdc"), Err("no amount")),
        ] {
            let mut envelope = sample("payment_intent.succeeded");
            let object = &mut envelope["data"]["object"];
            object["amount"] = json!(amount);
            object["amount_received"] = received;
            object["currency"] = currency;
            assert_eq!(told(revenue(&event(&envelope), &Settings::default())), expected);
        }
    }

    #[test]
    fn a_refund_in_three_steps_subtracts_each_step() {
        for (refunded, previously, expected) in [(500, 0, -500), (800, 500, -300), (2000, 800, -1200)] {
            let previous = json!({"amount_refunded": previously});
            assert_eq!(refund_of_charge([2000, 2000, refunded], previous, json!({})), Ok(expected));
        }
    }

    #[test]
    fn what_was_never_captured_was_never_counted_and_is_not_subtracted() {
        for (name, amounts, previously, expected) in [
            ("a cancelled authorization", [2000, 0, 2000], 0, Err("zero")),
            ("the rest of a partial capture is released", [2000, 1500, 500], 0, Err("zero")),
            ("then 1 of the 1500 is refunded", [2000, 1500, 501], 500, Ok(-1)),
            ("then the rest", [2000, 1500, 2000], 501, Ok(-1499)),
            ("or all at once, the release included", [2000, 1500, 2000], 0, Ok(-1500)),
            ("part of the release and more", [2000, 1500, 700], 300, Ok(-200)),
            ("nothing new", [2000, 2000, 500], 500, Err("zero")),
        ] {
            let previous = json!({"amount_refunded": previously});
            assert_eq!(refund_of_charge(amounts, previous, json!({})), expected, "{name}");
        }
    }

    #[test]
    fn without_previous_attributes_the_newest_refund_tells_or_nobody() {
        let list = |refunds: Value| json!({"refunds": {"object": "list", "data": refunds}});
        for (previous, more, expected) in [
            (json!(null), json!({}), Err("unknown")),
            (json!({}), json!({}), Err("unknown")),
            (json!({"refunded": false}), json!({}), Err("unknown")),
            (json!({"amount_refunded": null}), json!({}), Err("unknown")),
            (json!({"amount_refunded": "0"}), json!({}), Err("unknown")),
            (json!(null), json!({"refunds": null}), Err("unknown")),
            (json!(null), list(json!([])), Err("unknown")),
            (json!(null), list(json!([{"amount": "300", "created": 2}])), Err("unknown")),
            (json!(null), list(json!([{"amount": 900, "created": 2}])), Err("unknown")),
            (json!(null), list(json!([{"amount": -1, "created": 2}])), Err("unknown")),
            (json!(null), list(json!([{"amount": 300, "created": 2}, {"amount": 500, "created": 1}])), Ok(-300)),
            // In whatever order.
            (json!(null), list(json!([{"amount": 500, "created": 1}, {"amount": 300, "created": 2}])), Ok(-300)),
            // In the same second, Stripe's order counts.
            (json!(null), list(json!([{"amount": 300, "created": 2}, {"amount": 500, "created": 2}])), Ok(-300)),
            // What Stripe says changed comes first.
            (json!({"amount_refunded": 700}), list(json!([{"amount": 300, "created": 2}])), Ok(-100)),
        ] {
            let told = refund_of_charge([2000, 2000, 800], previous.clone(), more.clone());
            assert_eq!(told, expected, "{previous} {more}");
        }
        // Nothing that was captured is refunded, so nothing was before, either.
        assert_eq!(refund_of_charge([2000, 0, 2000], json!(null), json!({})), Err("zero"));
        assert_eq!(refund_of_charge([2000, 1500, 500], json!(null), json!({})), Err("zero"));
    }

    #[test]
    fn amounts_that_make_no_sense_are_unknown_and_no_panic() {
        for (name, value) in [
            ("amount_captured", json!(null)),
            ("amount_captured", json!(i64::MIN)),
            ("amount", json!("2000")),
            ("amount_refunded", json!(1.5)),
            ("currency", json!(null)),
        ] {
            let told = refund_of_charge([2000, 2000, 500], json!({"amount_refunded": 0}), json!({name: value}));
            assert_eq!(told, Err("unknown"), "{name}");
        }
        let told = refund_of_charge([i64::MAX, i64::MIN, i64::MAX], json!({"amount_refunded": i64::MIN}), json!({}));
        assert_eq!(told, Err("unknown"));
    }

    #[test]
    fn a_refund_counts_with_its_charge_and_without_one_when_it_is_created() {
        for (charge, expected) in [
            (json!(null), Ok(-700)),
            (json!("ch_1"), Err("charge.refunded")),
            (json!({"id": "ch_1"}), Err("charge.refunded")),
        ] {
            let refund = json!({"object": "refund", "amount": 700, "charge": charge, "status": "succeeded"});
            assert_eq!(told(revenue(&about("refund.created", refund, json!(null)), &negative())), expected);
        }
    }

    #[test]
    fn a_refund_that_fails_is_added_back_once() {
        let only = |event_type: &str| {
            settings(&json!({"refunds": "negative_revenue", "events": {"add": [event_type]}}).to_string())
        };
        let both = negative;
        let (with_charge, without) = (json!("ch_1"), json!(null));
        let (old, new) = ("2024-06-20", "2024-10-28.acacia");
        let pending = json!({"status": "pending"});
        for (event_type, settings, charge, version, status, previous, expected) in [
            // The one type that the project has.
            ("charge.refund.updated", only("charge.refund.updated"), &with_charge, old, "failed", &pending, Ok(700)),
            (
                "charge.refund.updated",
                only("charge.refund.updated"),
                &with_charge,
                old,
                "failed",
                &json!(null),
                Ok(700),
            ),
            ("refund.failed", only("refund.failed"), &with_charge, new, "failed", &json!(null), Ok(700)),
            ("refund.failed", only("refund.failed"), &with_charge, old, "failed", &json!(null), Ok(700)),
            // Both: in every version, and with a charge or without, one of them.
            ("charge.refund.updated", both(), &with_charge, old, "failed", &pending, Ok(700)),
            ("refund.failed", both(), &with_charge, old, "failed", &json!(null), Err("charge.refund.updated")),
            ("charge.refund.updated", both(), &with_charge, new, "failed", &pending, Err("refund.failed")),
            ("refund.failed", both(), &with_charge, new, "failed", &json!(null), Ok(700)),
            ("charge.refund.updated", both(), &without, old, "failed", &pending, Err("refund.failed")),
            ("refund.failed", both(), &without, old, "failed", &json!(null), Ok(700)),
            // Not with this event.
            ("charge.refund.updated", both(), &with_charge, old, "succeeded", &pending, Err("not failed now")),
            ("charge.refund.updated", both(), &with_charge, old, "canceled", &pending, Err("not failed now")),
            (
                "charge.refund.updated",
                both(),
                &with_charge,
                old,
                "failed",
                &json!({"metadata": {}}),
                Err("not failed now"),
            ),
            // Never subtracted, so not added back.
            ("refund.failed", only("refund.failed"), &without, old, "failed", &json!(null), Err("refund.created")),
        ] {
            let refund = json!({"object": "refund", "amount": 700, "charge": charge, "status": status});
            let mut event = about(event_type, refund, previous.clone());
            event.api_version = Some(version.into());
            assert_eq!(
                told(revenue(&event, &settings)),
                expected,
                "{event_type} {charge} {version} {status} {previous}"
            );
        }
    }

    #[test]
    fn a_dispute_subtracts_what_it_withdraws_and_adds_what_it_reinstates() {
        let dispute = json!({"object": "dispute", "amount": 1500, "charge": "ch_1", "currency": "eur",
            "balance_transactions": [{"amount": -1500, "fee": 1500}]});
        for (event_type, expected) in [
            ("charge.dispute.created", Err("type")),
            ("charge.dispute.funds_withdrawn", Ok(-1500)),
            ("charge.dispute.funds_reinstated", Ok(1500)),
            ("charge.dispute.closed", Err("type")),
        ] {
            let event = about(event_type, dispute.clone(), json!(null));
            assert_eq!(told(revenue(&event, &negative())), expected, "{event_type}");
        }
        let won_only =
            settings(r#"{"refunds": "negative_revenue", "events": {"add": ["charge.dispute.funds_reinstated"]}}"#);
        let event = about("charge.dispute.funds_reinstated", dispute, json!(null));
        assert_eq!(told(revenue(&event, &won_only)), Err("charge.dispute.funds_withdrawn"));
    }

    #[test]
    fn what_was_paid_without_a_payment_intent_was_never_counted() {
        for event_type in [CHARGE_REFUNDED, REFUND_CREATED, REFUND_FAILED, FUNDS_WITHDRAWN, FUNDS_REINSTATED] {
            let object = json!({"amount": 2000, "amount_captured": 2000, "amount_refunded": 500, "status": "failed",
                "charge": null, "payment_intent": null});
            let event = about(event_type, object, json!({"amount_refunded": 0}));
            assert_eq!(told(revenue(&event, &negative())), Err("payment not counted"), "{event_type}");
        }
    }

    #[test]
    fn without_the_setting_nothing_is_subtracted() {
        let events = r#"{"events": {"add": ["refund.created", "charge.dispute.*"]}}"#;
        for event_type in [CHARGE_REFUNDED, REFUND_CREATED, FUNDS_WITHDRAWN] {
            let object = json!({"amount": 2000, "amount_captured": 2000, "amount_refunded": 500});
            let event = about(event_type, object, json!(null));
            assert_eq!(told(revenue(&event, &settings(events))), Err("as events"), "{event_type}");
        }
    }

    proptest! {
        /// Whatever is captured, and in however many steps it is refunded: the steps add up to what was paid back.
        #[test]
        fn refunds_add_up_to_what_was_paid_back(
            captured in 0_i64..5000, released in 0_i64..5000, steps in prop::collection::vec(1_i64..2000, 1..8),
        ) {
            let amount = captured + released;
            let (mut refunded, mut subtracted) = (0, 0);
            for step in steps {
                let previously = refunded;
                refunded = (refunded + step).min(amount);
                let told = refund_of_charge([amount, captured, refunded], json!({"amount_refunded": previously}), json!({}));
                subtracted += told.unwrap_or(0);
            }
            prop_assert_eq!(-subtracted, (refunded - released).max(0));
        }
    }
}
