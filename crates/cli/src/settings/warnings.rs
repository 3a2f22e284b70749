//! Warnings about valid settings that are likely mistakes.

use std::fmt::Display;

use stripe_amplitude::settings::{PersonalData, Refunds, RevenueFrom, Settings, WithoutUser};
use stripe_amplitude::stripe::event_types::{EventTypes, TYPES};

use super::paths::{self, MAX_TYPO};
use super::types::{
    CHARGE_CAPTURED, CHARGE_REFUNDED, CHARGE_SUCCEEDED, FEE_CREATED, FEE_REFUNDED, FUNDS_WITHDRAWN, PAYMENT_SUCCEEDED,
    REFUND_TYPES, covers,
};
use crate::stripe::event_types::EVENT_TYPES;

/// The size of a parameter of the standard tier, in bytes.
const STANDARD_TIER: usize = 4096;

/// The size of a parameter of the advanced tier, in bytes.
pub(super) const ADVANCED_TIER: usize = 8192;

/// Amplitude drops repeats for this long. Source: Amplitude's HTTP V2 documentation, "Event deduplication".
const REPEATS_ARE_DROPPED_FOR_DAYS: u32 = 7;

/// Stripe retries failed deliveries for this long. Source: docs.stripe.com/webhooks, "Retry behavior".
const STRIPE_RETRIES_FOR_DAYS: u32 = 3;

/// The warnings, as sentences. `length` is that of the parameter, in bytes.
pub(crate) fn warnings(settings: &Settings, length: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(repeated("user_id_paths", &settings.user_id_paths));
    warnings.extend(event_types(&settings.events));
    warnings.extend(revenue(settings));
    warnings.extend(age(settings.max_age_days));
    warnings.extend(paths::warnings(settings));
    if settings.personal_data == PersonalData::Keep {
        warnings.push(
            "`personal_data` is \"keep\": names, e-mail addresses, telephone numbers and everything else listed there is sent to Amplitude".to_owned(),
        );
    }
    warnings.extend(repeated("drop_properties", settings.drop_properties.as_slice()));
    if length > STANDARD_TIER {
        warnings.push(format!(
            "the settings have {length} bytes, but a standard parameter holds {STANDARD_TIER}; `aws ssm put-parameter --tier Advanced` creates one for {ADVANCED_TIER} bytes, at a monthly price"
        ));
    }
    warnings
}

fn event_types(events: &EventTypes) -> Vec<String> {
    let EventTypes { add, remove, needed } = events;
    let mut warnings = repeated("events.add", add);
    for entry in add {
        if TYPES.contains(&&*entry.to_string()) {
            warnings.push(format!("`events.add` has {entry}, which is already on the default list"));
        }
        if !EVENT_TYPES.iter().any(|event_type| entry.matches(event_type)) {
            let remedy = match nearest(&entry.to_string()) {
                Some(event_type) => format!("did you mean {event_type}?"),
                None => "check the spelling, unless the type is new".to_owned(),
            };
            warnings.push(format!("`events.add` has {entry}, which is none of Stripe's types; {remedy}"));
        }
        if let Some(remover) = remove.iter().find(|remover| covers(remover, entry)) {
            warnings.push(format!(
                "`events.add` has {entry}, which {remover} in `events.remove` removes again; `remove` has precedence"
            ));
        }
    }
    warnings.extend(repeated("events.remove", remove));
    for entry in remove {
        let removes_a_default = TYPES.iter().chain(*needed).any(|event_type| entry.matches(event_type));
        let removes_an_added = add.iter().any(|added| covers(entry, added) || covers(added, entry));
        if !removes_a_default && !removes_an_added {
            warnings.push(format!(
                "`events.remove` has {entry}, but no such type would be forwarded without it; check the spelling"
            ));
        }
    }
    let nothing_is_added = add.iter().all(|added| remove.iter().any(|remover| covers(remover, added)));
    if nothing_is_added && !TYPES.iter().any(|event_type| events.contains(event_type)) {
        warnings.push("`events` removes every type: nothing is forwarded".to_owned());
    }
    warnings
}

/// Stripe's type that the written one probably misspells.
fn nearest(written: &str) -> Option<&'static str> {
    let distance = |event_type: &str| strsim::levenshtein(written, event_type);
    EVENT_TYPES.iter().copied().min_by_key(|one| distance(one)).filter(|one| distance(one) <= MAX_TYPO)
}

fn revenue(settings: &Settings) -> Vec<String> {
    if settings.revenue_from == RevenueFrom::ApplicationFees {
        return fees(settings);
    }
    if settings.refunds == Refunds::AsEvents {
        return Vec::new();
    }
    let has = |event_type: &str| settings.events.contains(event_type);
    let mut warnings = Vec::new();
    let mut warn = |words: &str| warnings.push(format!("`refunds` is \"negative_revenue\", {words}"));
    if !has(PAYMENT_SUCCEEDED) {
        warn(
            "but payment_intent.succeeded is not on the list of types: refunds and disputes of a PaymentIntent subtract what was never added",
        );
    }
    let charges_add = has(CHARGE_SUCCEEDED) || has(CHARGE_CAPTURED);
    let charges_subtract = has(CHARGE_REFUNDED) || has(FUNDS_WITHDRAWN);
    if settings.revenue_from == RevenueFrom::Payments && charges_subtract && !charges_add {
        warn(
            "but charge.succeeded and charge.captured are not on the list of types: refunds and disputes of a charge without a PaymentIntent (the old Charges API) subtract what was never added; with \"revenue_from\": \"payment_intents\", they subtract nothing",
        );
    }
    if !has(CHARGE_REFUNDED) {
        warn("but charge.refunded is not on the list of types: most refunds are not subtracted");
    }
    let of_no_customer = REFUND_TYPES.iter().any(|(event_type, _)| *event_type != CHARGE_REFUNDED && has(event_type));
    if settings.without_user == WithoutUser::Ignore && of_no_customer {
        warn(
            "and `without_user` is \"ignore\": Stripe's refunds and disputes have no customer, so most of their events have no user ID and are ignored, including what they would subtract; \"revenue_only\" forwards them",
        );
    }
    warnings
}

/// If application fees are the revenue, no other type carries any.
fn fees(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    if !settings.events.contains(FEE_CREATED) {
        warnings.push(
            "`revenue_from` is \"application_fees\", but application_fee.created is not on the list of types: nothing adds to revenue".to_owned(),
        );
    }
    if settings.refunds == Refunds::NegativeRevenue && !settings.events.contains(FEE_REFUNDED) {
        warnings.push(
            "`refunds` is \"negative_revenue\", but application_fee.refunded is not on the list of types: fees that are refunded stay counted".to_owned(),
        );
    }
    warnings
}

fn age(days: Option<u32>) -> Option<String> {
    let Some(days) = days else {
        return Some(
            "`max_age_days` is 0: an event that is resent from Stripe after more than a week counts twice".to_owned(),
        );
    };
    if days > REPEATS_ARE_DROPPED_FOR_DAYS {
        return Some(format!(
            "`max_age_days` is {days}, but Amplitude drops repeats within {REPEATS_ARE_DROPPED_FOR_DAYS} days only: an older event that it already has counts again"
        ));
    }
    (days <= STRIPE_RETRIES_FOR_DAYS).then(|| {
        format!(
            "`max_age_days` is {days}, but Stripe retries for {STRIPE_RETRIES_FOR_DAYS} days: an event that arrives late is not sent; {} days are enough",
            STRIPE_RETRIES_FOR_DAYS + 1
        )
    })
}

/// Entries that occur in a list more than once.
fn repeated<T: Display + PartialEq>(key: &str, list: &[T]) -> Vec<String> {
    let is_second = |index: usize, entry: &T| list.iter().take(index).filter(|other| *other == entry).count() == 1;
    let seconds = list.iter().enumerate().filter(|(index, entry)| is_second(*index, entry));
    seconds.map(|(_, entry)| format!("`{key}` has {entry} more than once; only the first counts")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(settings: &str) -> Vec<String> {
        warnings(&Settings::parse(settings).unwrap(), settings.len())
    }

    #[test]
    fn likely_mistakes_are_warned_about() {
        for (settings, words) in [
            ("{}", &[][..]),
            (r#"{"user_id_paths": ["a", "b", "a", "a"]}"#, &["`user_id_paths` has a more than once"]),
            (
                r#"{"user_id_paths": ["customer.metadata.id", "subscription.metadata.id", "customer.email", "invoice"]}"#,
                &["has customer.metadata.id, which never finds", "the ID of the subscription"],
            ),
            (r#"{"user_id_paths": ["customer.metadata.id"], "references": "follow"}"#, &[]),
            (r#"{"events": {"add": ["charge.refunded"]}}"#, &["has charge.refunded, which is already on the default"]),
            (r#"{"events": {"add": ["charge.*", "charge.dispute.created"]}}"#, &[]),
            (
                r#"{"events": {"add": ["charge.dispute.creatd"]}}"#,
                &["charge.dispute.creatd, which is none of Stripe's types; did you mean charge.dispute.created?"],
            ),
            (
                r#"{"events": {"add": ["customers.*", "charge.frozen"]}}"#,
                &["customers.*, which is none of Stripe's types", "charge.frozen, which is none of Stripe's types"],
            ),
            (r#"{"events": {"add": ["refund.created", "refund.created"]}}"#, &["has refund.created more than once"]),
            (
                r#"{"events": {"add": ["charge.dispute.created"], "remove": ["charge.*"]}}"#,
                &["charge.dispute.created, which charge.* in `events.remove`"],
            ),
            (
                r#"{"events": {"add": ["charge.dispute.*"], "remove": ["charge.dispute.*"]}}"#,
                &["charge.dispute.*, which charge.dispute.* in `events.remove`"],
            ),
            (r#"{"events": {"add": ["charge.*"], "remove": ["charge.dispute.*"]}}"#, &[]),
            (r#"{"events": {"add": ["charge.*"], "remove": ["charge.dispute.created"]}}"#, &[]),
            (r#"{"events": {"remove": ["invoice.created", "charge.*"]}}"#, &[]),
            (r#"{"events": {"remove": ["invoices.created"]}}"#, &["`events.remove` has invoices.created"]),
            (r#"{"events": {"remove": ["customer.*"]}}"#, &["`events.remove` has customer.*"]),
            (
                r#"{"events": {"remove": ["application_fee.*", "balance.*", "charge.*", "checkout.*", "invoice.*",
                    "payment_intent.*", "issuing_authorization.*", "issuing_transaction.*"]}}"#,
                &["nothing is forwarded"],
            ),
            (r#"{"refunds": "negative_revenue"}"#, &[]),
            (
                r#"{"refunds": "negative_revenue", "events": {"remove": ["payment_intent.succeeded", "charge.refunded"]}}"#,
                &["of a PaymentIntent subtract what was never added", "not subtracted"],
            ),
            // A charge without a PaymentIntent is a separate payment, unless only PaymentIntents count.
            (
                r#"{"refunds": "negative_revenue", "events": {"remove": ["charge.succeeded", "charge.captured"]}}"#,
                &["of a charge without a PaymentIntent (the old Charges API) subtract what was never added"],
            ),
            (r#"{"refunds": "negative_revenue", "events": {"remove": ["charge.succeeded"]}}"#, &[]),
            (
                r#"{"refunds": "negative_revenue", "events": {"remove": ["charge.*"]}}"#,
                &["most refunds are not subtracted"],
            ),
            (
                r#"{"revenue_from": "payment_intents", "refunds": "negative_revenue",
                    "events": {"remove": ["charge.succeeded", "charge.captured"]}}"#,
                &[],
            ),
            (r#"{"revenue_from": "application_fees", "refunds": "negative_revenue"}"#, &[]),
            (
                r#"{"revenue_from": "application_fees", "refunds": "negative_revenue",
                    "events": {"remove": ["payment_intent.*", "charge.*"]}}"#,
                &[],
            ),
            (
                r#"{"revenue_from": "application_fees", "events": {"remove": ["application_fee.*"]}}"#,
                &["nothing adds to revenue"],
            ),
            (
                r#"{"revenue_from": "application_fees", "refunds": "negative_revenue",
                    "events": {"remove": ["application_fee.created", "application_fee.refunded"]}}"#,
                &["nothing adds to revenue", "fees that are refunded stay counted"],
            ),
            (
                r#"{"refunds": "negative_revenue", "without_user": "ignore", "events": {"add": ["charge.dispute.*"]}}"#,
                &["\"revenue_only\" forwards them"],
            ),
            (r#"{"refunds": "negative_revenue", "without_user": "ignore"}"#, &["\"revenue_only\" forwards them"]),
            // A charge has the customer, or the metadata, of its payment.
            (
                r#"{"refunds": "negative_revenue", "without_user": "ignore",
                    "events": {"remove": ["charge.dispute.*", "charge.refund.updated", "refund.*"]}}"#,
                &[],
            ),
            (
                r#"{"user_id_paths": ["client_reference_id", "customer"]}"#,
                &["`client_reference_id` is only on checkout sessions"],
            ),
            (r#"{"user_id_paths": ["customer_details.email", "customer"]}"#, &["only on checkout sessions"]),
            (r#"{"user_id_paths": ["client_reference_id", "metadata.user_id"]}"#, &[]),
            (r#"{"max_age_days": 0}"#, &["`max_age_days` is 0"]),
            (
                r#"{"refunds": "negative_revenue", "without_user": "revenue_only", "events": {"add": ["refund.*"]}}"#,
                &[],
            ),
            (r#"{"without_user": "ignore"}"#, &[]),
            (r#"{"max_age_days": 3}"#, &["3 days: an event that arrives late"]),
            (r#"{"max_age_days": 4}"#, &[]),
            (r#"{"max_age_days": 7}"#, &[]),
            (r#"{"max_age_days": 8}"#, &["counts again"]),
            (r#"{"personal_data": "keep"}"#, &["names, e-mail addresses"]),
            (r#"{"drop_properties": ["metadata.*", "metadata.*"]}"#, &["`drop_properties` has metadata.*"]),
        ] {
            let warnings = warned(settings);
            assert_eq!(warnings.len(), words.len(), "{settings}: {warnings:?}");
            for (warning, words) in warnings.iter().zip(words) {
                assert!(warning.contains(words), "{settings}: {warning}");
            }
        }
    }

    #[test]
    fn standard_parameter_is_small() {
        let of = |length| warnings(&Settings::default(), length).len();
        assert_eq!((of(STANDARD_TIER), of(STANDARD_TIER + 1)), (0, 1));
    }
}
