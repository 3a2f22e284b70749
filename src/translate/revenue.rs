//! Which events carry revenue. One payment is counted once, and a refund takes back exactly what was counted.
//!
//! A purchase fires several events (`payment_intent.succeeded`, `charge.succeeded`, with Billing also `invoice.paid`),
//! and Amplitude cannot take back what it ingested. So only one of them carries revenue, according to the setting
//! `revenue_from`. Refunds and disputes subtract if the setting `refunds` says so. Nothing is guessed: an event without
//! its amount is marked and carries no revenue. No rule depends on the API version in which an event is rendered,
//! because a webhook and a backfill may render the same event in different ones. Sources:
//! docs.stripe.com/api/events/types, docs.stripe.com/refunds, docs.stripe.com/disputes.

use std::fmt;

use crate::money::currency::Currency;
use crate::settings::{Refunds, RevenueFrom, Settings};
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
        /// The rule for this amount.
        rule: Rule,
    },
    /// It does not count.
    NotCounted(NotCounted),
    /// It counts or takes back an unknown amount.
    Unknown,
}

/// The rule by which an event carries revenue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The amount that a succeeded PaymentIntent received.
    Received,
    /// The captured amount of a charge without a PaymentIntent.
    Captured,
    /// An application fee.
    ApplicationFee,
    /// The newly refunded part of a captured amount.
    NewlyRefunded {
        /// `amount_refunded`: all refunds of the charge so far.
        refunded: i64,
        /// The same before this event.
        previously: i64,
        /// `amount` − `amount_captured`: released instead of paid back, so never counted.
        never_captured: i64,
    },
    /// The newly refunded part of an application fee.
    FeeRefunded {
        /// `amount_refunded`: all refunds of the fee so far.
        refunded: i64,
        /// The same before this event.
        previously: i64,
    },
    /// A refund of a payment without a charge.
    RefundWithoutCharge,
    /// A refund that failed or was canceled, so that the money is back.
    RefundReversed,
    /// The amount that a dispute withdrew.
    DisputeWithdrawn,
    /// The amount that came back when a dispute was won.
    DisputeReinstated,
}

impl Rule {
    /// Its name in the log line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Captured => "captured",
            Self::ApplicationFee => "application_fee",
            Self::NewlyRefunded { .. } => "newly_refunded",
            Self::FeeRefunded { .. } => "fee_refunded",
            Self::RefundWithoutCharge => "refund_without_charge",
            Self::RefundReversed => "refund_reversed",
            Self::DisputeWithdrawn => "dispute_withdrawn",
            Self::DisputeReinstated => "dispute_reinstated",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Received => f.write_str("what the payment received: `amount_received`"),
            Self::Captured => f.write_str("what was captured of a charge that has no PaymentIntent"),
            Self::ApplicationFee => f.write_str("the `amount` of the application fee"),
            Self::NewlyRefunded { refunded, previously, never_captured } => write!(
                f,
                "what was newly refunded, in minor units: max(0, {refunded} − {never_captured}) − max(0, {previously} − {never_captured}), \
                 where {refunded} is refunded in all, {previously} was before, and {never_captured} was never captured"
            ),
            Self::FeeRefunded { refunded, previously } => write!(
                f,
                "what was newly refunded of the fee, in minor units: {refunded} − {previously}, where {refunded} is refunded in all, and {previously} was before"
            ),
            Self::RefundWithoutCharge => f.write_str("the `amount` of a refund that has no charge"),
            Self::RefundReversed => {
                f.write_str("the `amount` of a refund that failed or was canceled, added back once")
            }
            Self::DisputeWithdrawn => f.write_str("what the dispute withdrew, without Stripe's fee"),
            Self::DisputeReinstated => f.write_str("what the dispute gave back, without Stripe's fee"),
        }
    }
}

/// Why an event carries no revenue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCounted {
    /// Events of the type never do.
    Type,
    /// The setting `revenue_from` counts something else.
    OtherSource,
    /// The settings do not subtract refunds and disputes.
    AsEvents,
    /// The amount is 0.
    Zero,
    /// The charge is authorized, but not captured yet.
    NotCaptured,
    /// The charge is a transfer from the platform, where the payment counts.
    Transfer,
    /// The refunded or disputed payment was never counted.
    PaymentNotCounted,
    /// Another event of the same refund counts.
    CountedBy(&'static str),
    /// The refund did not fail and was not canceled in this event.
    NotReversedNow,
    /// The event that would have subtracted it is not forwarded.
    NeverSubtracted(&'static str),
}

impl fmt::Display for NotCounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type => f.write_str(
                "events of this type carry none: a purchase fires several events, and only one of them counts, payment_intent.succeeded by default",
            ),
            Self::OtherSource => f.write_str("the setting `revenue_from` counts other events"),
            Self::AsEvents => f.write_str("the setting `refunds` is \"as_events\""),
            Self::Zero => f.write_str("the amount is 0"),
            Self::NotCaptured => f.write_str("the charge is only authorized: charge.captured counts"),
            Self::Transfer => f.write_str("the charge is a transfer from the platform, where the payment counts"),
            Self::PaymentNotCounted => f.write_str("the payment was never counted, so nothing is taken back"),
            Self::CountedBy(event_type) => write!(f, "{event_type} counts for this refund"),
            Self::NotReversedNow => f.write_str("the refund has not failed or been canceled with this event"),
            Self::NeverSubtracted(event_type) => {
                write!(f, "it was never subtracted: {event_type} is not on the list of types")
            }
        }
    }
}

const PAYMENT_SUCCEEDED: &str = "payment_intent.succeeded";
const CHARGE_SUCCEEDED: &str = "charge.succeeded";
const CHARGE_CAPTURED: &str = "charge.captured";
const CHARGE_REFUNDED: &str = "charge.refunded";
const CHARGE_REFUND_UPDATED: &str = "charge.refund.updated";
const REFUND_CREATED: &str = "refund.created";
const REFUND_UPDATED: &str = "refund.updated";
const REFUND_FAILED: &str = "refund.failed";
const FUNDS_WITHDRAWN: &str = "charge.dispute.funds_withdrawn";
const FUNDS_REINSTATED: &str = "charge.dispute.funds_reinstated";
const FEE_CREATED: &str = "application_fee.created";
const FEE_REFUNDED: &str = "application_fee.refunded";

/// The revenue of an event of a project with these settings.
pub fn revenue(event: &Event<'_>, settings: &Settings) -> Revenue {
    let result = match &*event.event_type {
        PAYMENT_SUCCEEDED | CHARGE_SUCCEEDED | CHARGE_CAPTURED | FEE_CREATED => received(event, settings),
        CHARGE_REFUNDED
        | CHARGE_REFUND_UPDATED
        | REFUND_CREATED
        | REFUND_UPDATED
        | REFUND_FAILED
        | FUNDS_WITHDRAWN
        | FUNDS_REINSTATED
        | FEE_REFUNDED => taken_back(event, settings),
        _ => Err(NotCounted::Type),
    };
    let (amount, rule) = match result {
        Ok(counted) => counted,
        Err(reason) => return Revenue::NotCounted(reason),
    };
    match (amount, currency(&event.object)) {
        (Some(0), _) => Revenue::NotCounted(NotCounted::Zero),
        (Some(minor_units), Some(currency)) => Revenue::Counted { minor_units, currency, rule },
        _ => Revenue::Unknown,
    }
}

/// The amount in minor units, if the event has it, and the rule that counts it.
type Amount = (Option<i64>, Rule);

fn received(event: &Event<'_>, settings: &Settings) -> Result<Amount, NotCounted> {
    let object = &event.object;
    match (&*event.event_type, settings.revenue_from) {
        (FEE_CREATED, RevenueFrom::ApplicationFees) => Ok((integer(object, "amount"), Rule::ApplicationFee)),
        (FEE_CREATED, _) => Err(NotCounted::Type),
        (_, RevenueFrom::ApplicationFees) => Err(NotCounted::OtherSource),
        (PAYMENT_SUCCEEDED, _) => Ok((integer(object, "amount_received"), Rule::Received)),
        _ => captured(event, settings),
    }
}

/// A charge without a PaymentIntent, of the old Charges API, is a separate payment. It counts when it is captured: at
/// once with `charge.succeeded`, or later with `charge.captured`.
fn captured(event: &Event<'_>, settings: &Settings) -> Result<Amount, NotCounted> {
    let object = &event.object;
    if !has_no_payment_intent(object) {
        return Err(NotCounted::Type);
    }
    if settings.revenue_from == RevenueFrom::PaymentIntents {
        return Err(NotCounted::OtherSource);
    }
    if is_set(object, "source_transfer") {
        return Err(NotCounted::Transfer);
    }
    let captured = integer(object, "amount_captured");
    match &*event.event_type {
        CHARGE_SUCCEEDED if object.get("captured").and_then(Json::as_bool) == Some(false) => {
            Err(NotCounted::NotCaptured)
        }
        // API versions without `amount_captured` capture at once.
        CHARGE_SUCCEEDED => Ok((captured.or_else(|| integer(object, "amount")), Rule::Captured)),
        _ => Ok((captured, Rule::Captured)),
    }
}

fn taken_back(event: &Event<'_>, settings: &Settings) -> Result<Amount, NotCounted> {
    if (event.event_type == FEE_REFUNDED) != (settings.revenue_from == RevenueFrom::ApplicationFees) {
        let is_fee = event.event_type == FEE_REFUNDED;
        return Err(if is_fee { NotCounted::Type } else { NotCounted::OtherSource });
    }
    if settings.refunds == Refunds::AsEvents {
        return Err(NotCounted::AsEvents);
    }
    let object = &event.object;
    let has_charge = id_of(object.get("charge")).is_some();
    match &*event.event_type {
        FEE_REFUNDED => Ok(fee_refunded(event)),
        _ if !was_counted(object, settings) => Err(NotCounted::PaymentNotCounted),
        CHARGE_REFUNDED => Ok(newly_refunded(event)),
        REFUND_CREATED if has_charge => Err(NotCounted::CountedBy(CHARGE_REFUNDED)),
        REFUND_CREATED => Ok((negative(integer(object, "amount")), Rule::RefundWithoutCharge)),
        FUNDS_WITHDRAWN => Ok((withdrawn(event), Rule::DisputeWithdrawn)),
        FUNDS_REINSTATED if !settings.events.contains(FUNDS_WITHDRAWN) => {
            Err(NotCounted::NeverSubtracted(FUNDS_WITHDRAWN))
        }
        FUNDS_REINSTATED => Ok((reinstated(event), Rule::DisputeReinstated)),
        _ => reversed(event, settings, has_charge),
    }
}

/// Whether the refunded or disputed payment was counted. The object is a charge, a refund or a dispute.
fn was_counted(object: &Object<'_>, settings: &Settings) -> bool {
    if !has_no_payment_intent(object) {
        return true;
    }
    // A refund of a transfer has a field for it. A refund without a charge returns a cash balance, which was not a
    // payment.
    let is_charge = object.get("object").and_then(Json::as_str) == Some("charge");
    settings.revenue_from == RevenueFrom::Payments
        && (is_charge || id_of(object.get("charge")).is_some())
        && !is_set(object, "source_transfer")
        && !is_set(object, "source_transfer_reversal")
}

/// Charges of the old API have a null; a missing field means nothing.
fn has_no_payment_intent(object: &Object<'_>) -> bool {
    object.get("payment_intent").is_some_and(Json::is_null)
}

fn is_set(object: &Object<'_>, field: &str) -> bool {
    object.get(field).is_some_and(|value| !value.is_null())
}

fn integer(object: &Object<'_>, field: &str) -> Option<i64> {
    object.get(field).and_then(Json::as_i64)
}

fn negative(amount: Option<i64>) -> Option<i64> {
    amount?.checked_neg()
}

fn currency(object: &Object<'_>) -> Option<Currency> {
    Currency::parse(object.get("currency")?.as_str()?)
}

/// `charge.refunded` has the sum of all refunds of a charge. It is also sent when an authorization is released, or the
/// rest of one after a partial capture. That rest was never counted.
fn newly_refunded(event: &Event<'_>) -> Amount {
    let mut rule = Rule::NewlyRefunded { refunded: 0, previously: 0, never_captured: 0 };
    let mut delta = || {
        let refunded = integer(&event.object, "amount_refunded")?;
        let never_captured =
            integer(&event.object, "amount")?.checked_sub(integer(&event.object, "amount_captured")?)?;
        let paid_back = |refunded: i64| Some(refunded.checked_sub(never_captured)?.max(0));
        let previously = match previously_refunded(event, refunded) {
            Some(previously) => previously,
            // Refunds add up: if no captured amount is refunded now, none was before.
            None if paid_back(refunded)? == 0 => 0,
            None => return None,
        };
        rule = Rule::NewlyRefunded { refunded, previously, never_captured };
        paid_back(refunded)?.checked_sub(paid_back(previously)?)
    };
    (negative(delta()), rule)
}

/// `application_fee.refunded` has the sum of all refunds of a fee.
fn fee_refunded(event: &Event<'_>) -> Amount {
    let refunded = integer(&event.object, "amount_refunded");
    let previously = refunded.and_then(|refunded| previously_refunded(event, refunded));
    let delta = refunded.zip(previously).and_then(|(refunded, previously)| refunded.checked_sub(previously));
    let (refunded, previously) = (refunded.unwrap_or_default(), previously.unwrap_or_default());
    (negative(delta), Rule::FeeRefunded { refunded, previously })
}

/// The refunds of the charge or fee before this event: Stripe's previous value, or else, if the object lists its
/// refunds (charges before 2022-11-15, fees in every API version), the sum without the newest.
fn previously_refunded(event: &Event<'_>, refunded: i64) -> Option<i64> {
    let said = event.previous_attributes.as_ref().and_then(|previous| previous.get("amount_refunded")?.as_i64());
    let listed = || {
        let refunds = event.object.get("refunds")?.get("data")?.as_list()?;
        let created = |refund: &&Json<'_>| refund.get("created").and_then(Json::as_i64);
        // Stripe lists the newest first, also within one second.
        let newest = refunds.iter().rev().max_by_key(created)?;
        let previously = refunded.checked_sub(newest.get("amount")?.as_i64()?)?;
        (0..=refunded).contains(&previously).then_some(previously)
    };
    said.or_else(listed)
}

/// A refund that ends `failed` or `canceled` is added back. Which event reports it differs by payment method and API
/// version, and several may: all of them add it back under one `insert_id`, and Amplitude counts one.
fn reversed(event: &Event<'_>, settings: &Settings, has_charge: bool) -> Result<Amount, NotCounted> {
    let subtracted_by = if has_charge { CHARGE_REFUNDED } else { REFUND_CREATED };
    let status = event.object.get("status").and_then(Json::as_str);
    // Other updates omit the status, for example of the metadata of a refund that had failed before.
    let changed = event.previous_attributes.as_ref().is_none_or(|previous| previous.get("status").is_some());
    let is_reversed = matches!(status, Some("failed" | "canceled")) && (changed || event.event_type == REFUND_FAILED);
    if !is_reversed {
        Err(NotCounted::NotReversedNow)
    } else if !settings.events.contains(subtracted_by) {
        Err(NotCounted::NeverSubtracted(subtracted_by))
    } else {
        Ok((integer(&event.object, "amount"), Rule::RefundReversed))
    }
}

/// A movement of money in a dispute, in the currency of its settlement.
#[derive(Clone, Copy)]
struct Movement<'e> {
    amount: i64,
    currency: &'e str,
}

/// The movements of a dispute in one direction, and whether all of them are in the dispute's currency.
struct Movements<'e> {
    rows: Vec<Movement<'e>>,
    is_in_currency: bool,
}

impl Movements<'_> {
    fn sum(&self) -> Option<i64> {
        self.rows.iter().try_fold(0_i64, |sum, row| sum.checked_add(row.amount))
    }
}

/// The movements in the direction of `sign`. With `new_only`, without those in `previous_attributes`.
fn movements<'e>(event: &'e Event<'_>, sign: i64, new_only: bool) -> Movements<'e> {
    const FIELD: &str = "balance_transactions";
    let list = |object: &'e Object<'_>| object.get(FIELD).and_then(Json::as_list).unwrap_or_default();
    let known = event.previous_attributes.as_ref().filter(|_| new_only).map(list).unwrap_or_default();
    let is_known = |row: &Json<'_>| {
        let id = id_of(Some(row));
        id.is_some() && known.iter().any(|known| id_of(Some(known)) == id)
    };
    let movement = |row: &'e Json<'_>| {
        let amount = row.get("amount")?.as_i64()?;
        let currency = row.get("currency").and_then(Json::as_str).unwrap_or_default();
        (amount.signum() == sign).then_some(Movement { amount, currency })
    };
    let rows: Vec<_> = list(&event.object).iter().filter(|row| !is_known(row)).filter_map(movement).collect();
    let currency = event.object.get("currency").and_then(Json::as_str);
    let is_in_currency = !rows.is_empty() && rows.iter().all(|row| Some(row.currency) == currency);
    Movements { rows, is_in_currency }
}

/// A withdrawal takes the sum of its movements; if they are in another currency than the dispute, the dispute's amount.
fn withdrawn(event: &Event<'_>) -> Option<i64> {
    let movements = movements(event, -1, true);
    if movements.is_in_currency { movements.sum() } else { negative(integer(&event.object, "amount")) }
}

/// Less may come back than was withdrawn. If the movements are in another currency than the dispute, the dispute's
/// amount came back only if they cancel each other out exactly.
fn reinstated(event: &Event<'_>) -> Option<i64> {
    let returned = movements(event, 1, true);
    if returned.is_in_currency {
        return returned.sum();
    }
    let (returned, withdrawn) = (movements(event, 1, false), movements(event, -1, false));
    let mut currencies = returned.rows.iter().chain(&withdrawn.rows).map(|row| row.currency);
    let currency = currencies.next()?;
    let cancel_out = currencies.all(|other| other == currency) && returned.sum()?.checked_add(withdrawn.sum()?)? == 0;
    integer(&event.object, "amount").filter(|_| cancel_out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::stripe::event::tests::{event, sample};
    use crate::stripe::event_types;

    const REFUND_TYPES: &str = r#"{"refunds": "negative_revenue", "events": {"add": ["refund.created"]}}"#;

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

    /// `Some` minor units, or the reason for none.
    fn amount_or_reason(revenue: Revenue) -> Result<i64, &'static str> {
        match revenue {
            Revenue::Counted { minor_units, .. } => Ok(minor_units),
            Revenue::Unknown => Err("unknown"),
            Revenue::NotCounted(reason) => Err(match reason {
                NotCounted::Type => "type",
                NotCounted::AsEvents => "as events",
                NotCounted::OtherSource => "other source",
                NotCounted::NotCaptured => "not captured",
                NotCounted::Transfer => "transfer",
                NotCounted::Zero => "zero",
                NotCounted::PaymentNotCounted => "payment not counted",
                NotCounted::CountedBy(event_type) | NotCounted::NeverSubtracted(event_type) => event_type,
                NotCounted::NotReversedNow => "not reversed now",
            }),
        }
    }

    fn refund_of_charge(amounts: [i64; 3], previous: Value, more: Value) -> Result<i64, &'static str> {
        let [amount, captured, refunded] = amounts;
        let mut charge =
            json!({"object": "charge", "amount": amount, "amount_captured": captured, "amount_refunded": refunded});
        charge.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        amount_or_reason(revenue(&about("charge.refunded", charge, previous), &negative()))
    }

    #[test]
    fn only_payment_intent_succeeded_carries_revenue() {
        for event_type in event_types::TYPES {
            let revenue = revenue(&event(&sample(event_type)), &Settings::default());
            assert_eq!(amount_or_reason(revenue).is_ok(), event_type == "payment_intent.succeeded", "{event_type}");
        }
    }

    #[test]
    fn revenue_is_the_received_amount() {
        for (amount, received, currency, expected) in [
            (2000, json!(2000), json!("usd"), Ok(2000)),
            (2000, json!(1500), json!("usd"), Ok(1500)),
            (500, json!(500), json!("jpy"), Ok(500)),
            (2000, json!(0), json!("usd"), Err("zero")),
            (2000, json!(null), json!("usd"), Err("unknown")),
            (2000, json!("2000"), json!("usd"), Err("unknown")),
            (2000, json!(2000), json!(null), Err("unknown")),
            (2000, json!(2000), json!("usdc"), Err("unknown")),
        ] {
            let mut envelope = sample("payment_intent.succeeded");
            let object = &mut envelope["data"]["object"];
            object["amount"] = json!(amount);
            object["amount_received"] = received;
            object["currency"] = currency;
            assert_eq!(amount_or_reason(revenue(&event(&envelope), &Settings::default())), expected);
        }
    }

    #[test]
    fn each_partial_refund_subtracts_its_part() {
        for (refunded, previously, expected) in [(500, 0, -500), (800, 500, -300), (2000, 800, -1200)] {
            let previous = json!({"amount_refunded": previously});
            assert_eq!(refund_of_charge([2000, 2000, refunded], previous, json!({})), Ok(expected));
        }
    }

    #[test]
    fn releases_are_not_refunds() {
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
    fn the_newest_refund_replaces_previous_attributes() {
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
            // In any order.
            (json!(null), list(json!([{"amount": 500, "created": 1}, {"amount": 300, "created": 2}])), Ok(-300)),
            // Within the same second, Stripe's order counts.
            (json!(null), list(json!([{"amount": 300, "created": 2}, {"amount": 500, "created": 2}])), Ok(-300)),
            // Stripe's previous value takes precedence.
            (json!({"amount_refunded": 700}), list(json!([{"amount": 300, "created": 2}])), Ok(-100)),
        ] {
            let result = refund_of_charge([2000, 2000, 800], previous.clone(), more.clone());
            assert_eq!(result, expected, "{previous} {more}");
        }
        // No captured amount is refunded, so none was before.
        assert_eq!(refund_of_charge([2000, 0, 2000], json!(null), json!({})), Err("zero"));
        assert_eq!(refund_of_charge([2000, 1500, 500], json!(null), json!({})), Err("zero"));
    }

    #[test]
    fn invalid_amounts_are_unknown() {
        for (name, value) in [
            ("amount_captured", json!(null)),
            ("amount_captured", json!(i64::MIN)),
            ("amount", json!("2000")),
            ("amount_refunded", json!(1.5)),
            ("currency", json!(null)),
        ] {
            let result = refund_of_charge([2000, 2000, 500], json!({"amount_refunded": 0}), json!({name: value}));
            assert_eq!(result, Err("unknown"), "{name}");
        }
        let result = refund_of_charge([i64::MAX, i64::MIN, i64::MAX], json!({"amount_refunded": i64::MIN}), json!({}));
        assert_eq!(result, Err("unknown"));
    }

    #[test]
    fn refunds_count_once() {
        for (charge, expected) in [
            (json!(null), Ok(-700)),
            (json!("ch_1"), Err("charge.refunded")),
            (json!({"id": "ch_1"}), Err("charge.refunded")),
        ] {
            let refund = json!({"object": "refund", "amount": 700, "charge": charge, "status": "succeeded"});
            assert_eq!(amount_or_reason(revenue(&about("refund.created", refund, json!(null)), &negative())), expected);
        }
    }

    #[test]
    fn reversed_refunds_are_added_back() {
        let without_refunded =
            settings(r#"{"refunds": "negative_revenue", "events": {"remove": ["charge.refunded"]}}"#);
        let without_created = settings(r#"{"refunds": "negative_revenue"}"#);
        let (with_charge, without_charge) = (json!("ch_1"), json!(null));
        let pending = json!({"status": "pending"});
        for (event_type, settings, charge, status, previous, expected) in [
            ("charge.refund.updated", negative(), &with_charge, "failed", &pending, Ok(700)),
            ("charge.refund.updated", negative(), &with_charge, "canceled", &pending, Ok(700)),
            ("charge.refund.updated", negative(), &with_charge, "failed", &json!(null), Ok(700)),
            ("refund.updated", negative(), &with_charge, "failed", &pending, Ok(700)),
            ("refund.updated", negative(), &without_charge, "canceled", &json!({"status": "requires_action"}), Ok(700)),
            ("refund.failed", negative(), &with_charge, "failed", &json!(null), Ok(700)),
            ("refund.failed", negative(), &without_charge, "failed", &json!({"metadata": {}}), Ok(700)),
            // Not with this event.
            ("charge.refund.updated", negative(), &with_charge, "succeeded", &pending, Err("not reversed now")),
            ("refund.updated", negative(), &with_charge, "requires_action", &pending, Err("not reversed now")),
            ("refund.updated", negative(), &with_charge, "failed", &json!({"metadata": {}}), Err("not reversed now")),
            (
                "charge.refund.updated",
                negative(),
                &with_charge,
                "canceled",
                &json!({"metadata": {}}),
                Err("not reversed now"),
            ),
            // Never subtracted, so not added back.
            ("refund.failed", without_refunded, &with_charge, "failed", &json!(null), Err("charge.refunded")),
            ("refund.failed", without_created, &without_charge, "failed", &json!(null), Err("refund.created")),
        ] {
            for version in [None, Some("2020-08-27"), Some("2024-06-20"), Some("2024-10-28.acacia"), Some("2026-10-28")]
            {
                let refund = json!({"object": "refund", "amount": 700, "charge": charge, "status": status});
                let mut event = about(event_type, refund, previous.clone());
                event.api_version = version.map(Into::into);
                assert_eq!(
                    amount_or_reason(revenue(&event, &settings)),
                    expected,
                    "{event_type} {charge} {status} {previous}"
                );
            }
        }
    }

    fn dispute(movements: Value) -> Value {
        json!({"object": "dispute", "amount": 1500, "charge": "ch_1", "currency": "eur", "balance_transactions": movements})
    }

    fn movement(id: &str, amount: i64, currency: &str) -> Value {
        json!({"id": id, "amount": amount, "currency": currency, "fee": 1500})
    }

    #[test]
    fn disputes_count_their_movements() {
        let (out, back) = (movement("txn_1", -1500, "eur"), movement("txn_2", 1500, "eur"));
        let part = movement("txn_2", 400, "eur");
        let (dollars_out, dollars_back) = (movement("txn_1", -1620, "usd"), movement("txn_2", 1620, "usd"));
        for (event_type, movements, expected) in [
            ("charge.dispute.created", json!([out]), Err("type")),
            ("charge.dispute.closed", json!([out, back]), Err("type")),
            ("charge.dispute.funds_withdrawn", json!([out]), Ok(-1500)),
            ("charge.dispute.funds_withdrawn", json!([movement("txn_1", -900, "eur")]), Ok(-900)),
            ("charge.dispute.funds_withdrawn", json!([dollars_out]), Ok(-1500)),
            ("charge.dispute.funds_withdrawn", json!([]), Ok(-1500)),
            ("charge.dispute.funds_withdrawn", json!(null), Ok(-1500)),
            ("charge.dispute.funds_withdrawn", json!(["txn_1"]), Ok(-1500)),
            ("charge.dispute.funds_reinstated", json!([out, back]), Ok(1500)),
            ("charge.dispute.funds_reinstated", json!([out, part]), Ok(400)),
            ("charge.dispute.funds_reinstated", json!([out, part, movement("txn_3", 100, "eur")]), Ok(500)),
            // In another currency, only movements that cancel each other out are known.
            ("charge.dispute.funds_reinstated", json!([dollars_out, dollars_back]), Ok(1500)),
            ("charge.dispute.funds_reinstated", json!([dollars_out, movement("txn_2", 1600, "usd")]), Err("unknown")),
            ("charge.dispute.funds_reinstated", json!([dollars_out, movement("txn_2", 1620, "gbp")]), Err("unknown")),
            ("charge.dispute.funds_reinstated", json!([out]), Err("unknown")),
            ("charge.dispute.funds_reinstated", json!([]), Err("unknown")),
        ] {
            let event = about(event_type, dispute(movements.clone()), json!(null));
            assert_eq!(amount_or_reason(revenue(&event, &negative())), expected, "{event_type} {movements}");
        }
        let event = about("charge.dispute.funds_reinstated", dispute(json!([out, back])), json!(null));
        let won_only =
            settings(r#"{"refunds": "negative_revenue", "events": {"remove": ["charge.dispute.funds_withdrawn"]}}"#);
        assert_eq!(amount_or_reason(revenue(&event, &won_only)), Err("charge.dispute.funds_withdrawn"));
    }

    #[test]
    fn dispute_movements_count_once() {
        let rows = [movement("txn_1", -1500, "eur"), movement("txn_2", 1500, "eur"), movement("txn_3", -1500, "eur")];
        let event = about(
            "charge.dispute.funds_withdrawn",
            dispute(json!(rows)),
            json!({"balance_transactions": [rows[0], rows[1]]}),
        );
        assert_eq!(amount_or_reason(revenue(&event, &negative())), Ok(-1500));
    }

    fn charge(changes: Value) -> Value {
        let mut charge = json!({"object": "charge", "id": "ch_1", "amount": 2000, "amount_captured": 2000,
            "amount_refunded": 0, "captured": true, "payment_intent": null, "source_transfer": null});
        charge.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        charge
    }

    #[test]
    fn charges_without_a_payment_intent_count() {
        let intents = settings(r#"{"revenue_from": "payment_intents", "refunds": "negative_revenue"}"#);
        for (event_type, settings, changes, expected) in [
            ("charge.succeeded", negative(), json!({}), Ok(2000)),
            ("charge.succeeded", negative(), json!({"amount_captured": null}), Ok(2000)),
            ("charge.succeeded", negative(), json!({"captured": false, "amount_captured": 0}), Err("not captured")),
            ("charge.captured", negative(), json!({"amount_captured": 1500}), Ok(1500)),
            ("charge.captured", negative(), json!({"amount_captured": null}), Err("unknown")),
            ("charge.succeeded", negative(), json!({"source_transfer": "tr_1"}), Err("transfer")),
            ("charge.succeeded", negative(), json!({"payment_intent": "pi_1"}), Err("type")),
            ("charge.captured", negative(), json!({"payment_intent": "pi_1"}), Err("type")),
            ("charge.succeeded", intents.clone(), json!({}), Err("other source")),
            ("charge.updated", negative(), json!({}), Err("type")),
            // Refunds subtract what was counted.
            ("charge.refunded", negative(), json!({"amount_refunded": 500}), Ok(-500)),
            (
                "charge.refunded",
                negative(),
                json!({"amount_refunded": 500, "source_transfer": "tr_1"}),
                Err("payment not counted"),
            ),
            ("charge.refunded", intents, json!({"amount_refunded": 500}), Err("payment not counted")),
        ] {
            let event = about(event_type, charge(changes.clone()), json!({"amount_refunded": 0}));
            assert_eq!(amount_or_reason(revenue(&event, &settings)), expected, "{event_type} {changes}");
        }
    }

    #[test]
    fn platforms_can_count_fees() {
        let fees = settings(r#"{"revenue_from": "application_fees", "refunds": "negative_revenue"}"#);
        let fee = |refunded: i64| json!({"object": "application_fee", "id": "fee_1", "amount": 300, "amount_refunded": refunded});
        let listed = json!({"object": "application_fee", "amount": 300, "amount_refunded": 200,
            "refunds": {"data": [{"amount": 50, "created": 2}, {"amount": 150, "created": 1}]}});
        for (event_type, settings, object, previous, expected) in [
            ("application_fee.created", &fees, fee(0), json!(null), Ok(300)),
            ("application_fee.created", &negative(), fee(0), json!(null), Err("type")),
            ("application_fee.refunded", &fees, fee(200), json!({"amount_refunded": 50}), Ok(-150)),
            ("application_fee.refunded", &fees, listed, json!(null), Ok(-50)),
            ("application_fee.refunded", &fees, fee(200), json!(null), Err("unknown")),
            ("application_fee.refunded", &negative(), fee(200), json!({"amount_refunded": 0}), Err("type")),
            ("charge.succeeded", &fees, charge(json!({})), json!(null), Err("other source")),
            (
                "charge.refunded",
                &fees,
                charge(json!({"amount_refunded": 5})),
                json!({"amount_refunded": 0}),
                Err("other source"),
            ),
        ] {
            let event = about(event_type, object.clone(), previous);
            assert_eq!(amount_or_reason(revenue(&event, settings)), expected, "{event_type} {object}");
        }
        let as_events = settings(r#"{"revenue_from": "application_fees"}"#);
        let event = about("application_fee.refunded", fee(200), json!({"amount_refunded": 0}));
        assert_eq!(amount_or_reason(revenue(&event, &as_events)), Err("as events"));
        let payment = crate::stripe::event::tests::event(&sample("payment_intent.succeeded"));
        assert_eq!(amount_or_reason(revenue(&payment, &fees)), Err("other source"));
    }

    #[test]
    fn uncounted_payments_are_not_subtracted() {
        for event_type in [CHARGE_REFUNDED, REFUND_CREATED, REFUND_FAILED, FUNDS_WITHDRAWN, FUNDS_REINSTATED] {
            let object = json!({"amount": 2000, "amount_captured": 2000, "amount_refunded": 500, "status": "failed",
                "charge": null, "payment_intent": null});
            let event = about(event_type, object, json!({"amount_refunded": 0}));
            assert_eq!(amount_or_reason(revenue(&event, &negative())), Err("payment not counted"), "{event_type}");
        }
    }

    #[test]
    fn without_the_setting_nothing_is_subtracted() {
        let events = r#"{"events": {"add": ["refund.created", "charge.dispute.*"]}}"#;
        for event_type in [CHARGE_REFUNDED, REFUND_CREATED, FUNDS_WITHDRAWN] {
            let object = json!({"amount": 2000, "amount_captured": 2000, "amount_refunded": 500});
            let event = about(event_type, object, json!(null));
            assert_eq!(amount_or_reason(revenue(&event, &settings(events))), Err("as events"), "{event_type}");
        }
    }

    proptest! {
        /// For any captured amount and any steps of refunds: the steps add up to the refunded amount.
        #[test]
        fn refunds_add_up_to_what_was_paid_back(
            captured in 0_i64..5000, released in 0_i64..5000, steps in prop::collection::vec(1_i64..2000, 1..8),
        ) {
            let amount = captured + released;
            let (mut refunded, mut subtracted) = (0, 0);
            for step in steps {
                let previously = refunded;
                refunded = (refunded + step).min(amount);
                let result = refund_of_charge([amount, captured, refunded], json!({"amount_refunded": previously}), json!({}));
                subtracted += result.unwrap_or(0);
            }
            prop_assert_eq!(-subtracted, (refunded - released).max(0));
        }
    }
}
