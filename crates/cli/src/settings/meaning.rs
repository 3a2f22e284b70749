//! Explains what each key of the settings does.

use std::fmt;

use stripe_amplitude::amplitude::Region;
use stripe_amplitude::money::currency::Currency;
use stripe_amplitude::money::exchange_rate::{Conversion, PreferredCurrency};
use stripe_amplitude::projects::parameters::parameter;
use stripe_amplitude::settings::{
    PersonalData, ProductsFrom, References, Refunds, RevenueFrom, Settings, TestEvents, WithoutUser,
};
use stripe_amplitude::stripe::event_types::{EventTypes, TYPES, TypePattern};
use stripe_amplitude::stripe::field_path::{FieldPath, FieldPattern};
use stripe_amplitude::stripe::purchase::Name;
use stripe_amplitude::translate::redaction::kinds_of_personal_data;

use super::types::{
    CHARGE_CAPTURED, CHARGE_SUCCEEDED, FEE_CREATED, FEE_REFUNDED, FUNDS_REINSTATED, FUNDS_WITHDRAWN, PAYMENT_SUCCEEDED,
    REFUND_TYPES, covers,
};
use crate::money::shown;
use crate::permissions;
use crate::property_names::LIMIT;
use crate::terminal::{count, wrap};

/// A key of the settings, and the effect of its value.
pub(super) struct Meaning {
    key: &'static str,
    /// Abbreviated.
    value: String,
    is_default: bool,
    effect: Vec<Line>,
}

enum Line {
    Text(String),
    Item(String),
    /// Separated by commas.
    List(Vec<String>),
}

impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, is_default, effect } = self;
        let default = if *is_default { " (the default)" } else { "" };
        f.write_str(&wrap(&format!("{key}: "), 2, &format!("{value}{default}")))?;
        for line in effect {
            f.write_str(&match line {
                Line::Text(text) => wrap("  ", 2, text),
                Line::Item(item) => wrap("    ", 6, item),
                Line::List(list) => wrap("    ", 4, &list.join(", ")),
            })?;
        }
        Ok(())
    }
}

fn text(text: impl Into<String>) -> Line {
    Line::Text(text.into())
}

fn item(item: impl Into<String>) -> Line {
    Line::Item(item.into())
}

/// All keys, in the order of the README.
pub(super) fn meanings(settings: &Settings) -> [Meaning; 13] {
    let default = Settings::default();
    let meaning = |key, (value, effect), is_default| Meaning { key, value, is_default, effect };
    [
        meaning(
            "amplitude_region",
            region(settings.amplitude_region),
            settings.amplitude_region == default.amplitude_region,
        ),
        meaning(
            "user_id_paths",
            user_id_paths(&settings.user_id_paths),
            settings.user_id_paths == default.user_id_paths,
        ),
        meaning("references", references(settings), settings.references == default.references),
        meaning("products", products(settings), settings.products == default.products),
        meaning("events", events(settings), settings.events == default.events),
        meaning("revenue_from", revenue_from(settings.revenue_from), settings.revenue_from == default.revenue_from),
        meaning("refunds", refunds(settings), settings.refunds == default.refunds),
        meaning(
            "preferred_currency",
            preferred_currency(settings.preferred_currency.as_ref()),
            settings.preferred_currency == default.preferred_currency,
        ),
        meaning("without_user", without_user(settings.without_user), settings.without_user == default.without_user),
        meaning("max_age_days", max_age_days(settings.max_age_days), settings.max_age_days == default.max_age_days),
        meaning("test_events", test_events(settings.test_events), settings.test_events == default.test_events),
        meaning(
            "personal_data",
            personal_data(settings.personal_data),
            settings.personal_data == default.personal_data,
        ),
        meaning(
            "drop_properties",
            drop_properties(settings.drop_properties.as_slice()),
            settings.drop_properties == default.drop_properties,
        ),
    ]
}

/// The abbreviated value, and its effect.
type Explanation = (String, Vec<Line>);

fn region(region: Region) -> Explanation {
    let (name, place) = match region {
        Region::Us => ("\"us\"", "the United States"),
        Region::Eu => ("\"eu\"", "the European Union"),
    };
    let url = region.http_v2_url();
    let effect =
        format!("Events go to Amplitude's data centre in {place}, {url}. A project's API key is known there only.");
    (name.to_owned(), vec![text(effect)])
}

fn user_id_paths(paths: &[FieldPath]) -> Explanation {
    let mut effect =
        vec![text("The user ID is the first of these inside `data.object` that Amplitude accepts as an ID:")];
    effect.extend(paths.iter().zip(1..).map(|(path, number)| item(format!("{number}. {path}"))));
    let is_of_stripe = |path: &FieldPath| path.as_str() == "customer" || path.as_str().ends_with("email");
    if !paths.iter().any(is_of_stripe) {
        effect.push(text(
            "Neither `customer` nor an e-mail address is among them, so an event without such an ID has no user; see `without_user`.",
        ));
    }
    (count(paths.len(), "path"), effect)
}

fn references(settings: &Settings) -> Explanation {
    if settings.references == References::Off {
        let effect = "Paths end at the event's own object: Stripe's events contain only the IDs of customers, subscriptions and other objects.";
        return ("\"off\"".to_owned(), vec![text(effect)]);
    }
    let names: Vec<_> = Name::ALL.iter().map(|(name, _)| *name).collect();
    let of_paths = |paths: &[FieldPath]| {
        let alone = Settings { user_id_paths: paths.to_vec(), products: ProductsFrom::Event, ..settings.clone() };
        permissions::needed(&alone)
    };
    let needed = of_paths(&settings.user_id_paths);
    // For any path, because paths are tried on the payment of a refund or dispute first.
    let of_refunds = of_paths(&[]);
    let mut effect = vec![
        text(format!(
            "A path may begin with {}, which means that object of the purchase, for every event. If the event does not contain it, it is read from Stripe's API. Refunds and disputes are attributed by their payment: all paths are tried on it first.",
            names.join(", ")
        )),
        text(format!(
            "This needs a restricted key of the Stripe account in the parameter {}, and for test-mode events in {}, each with the label of the signing secret, if it has one. {}",
            parameter::STRIPE_API_KEY,
            parameter::STRIPE_TEST_API_KEY,
            if needed.permissions.is_empty() {
                "It needs no permission: no path leads beyond the event."
            } else {
                "It needs:"
            }
        )),
    ];
    if needed.permissions.is_empty() {
        return ("\"follow\"".to_owned(), effect);
    }
    effect.extend(needed.permissions.iter().map(|permission| {
        let needs = |path: &&FieldPath| of_paths(std::slice::from_ref(*path)).permissions.contains(permission);
        let paths: Vec<_> = settings.user_id_paths.iter().filter(needs).map(FieldPath::as_str).collect();
        let reason = if of_refunds.permissions.contains(permission) {
            "refunds and disputes".to_owned()
        } else {
            paths.join(", ")
        };
        item(format!("{permission}, for {reason}"))
    }));
    effect.push(text(format!("An event needs at most {}.", count(needed.most_reads, "read"))));
    effect.push(text(QUEUE));
    ("\"follow\"".to_owned(), effect)
}

const QUEUE: &str = "Deploy it with the redelivery queue, which is the template's default: an event waits there while Stripe's API does not respond. Without the queue, Stripe has to retry.";

fn products(settings: &Settings) -> Explanation {
    if settings.products == ProductsFrom::Event {
        let effect = "`product_names` and `product_ids` come from the event itself: the first ten lines of an invoice, and usually none for a payment.";
        return ("\"event\"".to_owned(), vec![text(effect)]);
    }
    let without = permissions::needed(&Settings { products: ProductsFrom::Event, ..settings.clone() });
    let alone = permissions::needed(&Settings { references: References::Off, ..settings.clone() });
    let with = permissions::needed(settings);
    let more = count(with.most_reads.saturating_sub(without.most_reads), "read");
    let mut effect = vec![
        text(
            "Payments get the products of their invoice or checkout session, and invoices those of up to a hundred lines, with the products' own names, read from Stripe's API. An event whose products cannot be read is sent without them, and marked with `products_incomplete`.",
        ),
        text(format!("The restricted key in {} needs:", parameter::STRIPE_API_KEY)),
    ];
    effect.extend(alone.permissions.iter().map(|permission| item(permission.to_string())));
    effect.push(text(format!(
        "An event needs at most {}, which is {more} more than without `products`.",
        count(with.most_reads, "read")
    )));
    ("\"follow\"".to_owned(), effect)
}

fn events(settings: &Settings) -> Explanation {
    let events = &settings.events;
    let EventTypes { add, remove, needed } = events;
    let listed = TYPES.iter().chain(*needed);
    let forwarded = listed.filter(|event_type| events.contains(event_type)).map(ToString::to_string);
    let forwarded: Vec<_> = forwarded.chain(left_of_added(events)).collect();
    let mut effect = Vec::new();
    if !needed.is_empty() {
        effect.push(text(format!(
            "The setting `refunds` adds {}; enable them on the webhook endpoint in Stripe as well.",
            needed.join(", ")
        )));
    }
    if !add.is_empty() {
        effect.push(text("Added; enable them on the webhook endpoint in Stripe as well:"));
        effect.extend(add.iter().map(|entry| {
            let all = if is_family(entry) { ": every type that begins with this" } else { "" };
            item(format!("{entry}{all}"))
        }));
    }
    if !remove.is_empty() {
        effect.push(text("Removed:"));
        effect.extend(remove.iter().map(|entry| {
            let removed: Vec<_> = TYPES.into_iter().filter(|event_type| entry.matches(event_type)).collect();
            if is_family(entry) && !removed.is_empty() {
                item(format!("{entry}: from the default list, {}", removed.join(", ")))
            } else {
                item(entry.to_string())
            }
        }));
    }
    effect.push(text("These types are forwarded; all others get 200 and are ignored:"));
    effect.push(if forwarded.is_empty() { item("none") } else { Line::List(forwarded) });
    effect.extend(nothing_adds(settings).map(text));
    let number = TYPES.len();
    let changed = |entries: usize, how| if entries == 0 { String::new() } else { format!(", {entries} {how}") };
    let value = match (add.len(), remove.len()) {
        (0, 0) if needed.is_empty() => format!("{number} types"),
        (added, removed) => format!(
            "the default list of {number} types{}{}",
            changed(added + needed.len(), "added"),
            changed(removed, "removed")
        ),
    };
    (value, effect)
}

/// Says what adds nothing to revenue because its types are not forwarded.
fn nothing_adds(settings: &Settings) -> Option<String> {
    let has = |event_type: &str| settings.events.contains(event_type);
    if settings.revenue_from == RevenueFrom::ApplicationFees {
        return (!has(FEE_CREATED))
            .then(|| format!("{FEE_CREATED} is not among them, so no application fee adds to revenue."));
    }
    // Without a PaymentIntent, a charge is a separate payment.
    let charges_count = settings.revenue_from == RevenueFrom::Payments;
    let has_charges = has(CHARGE_SUCCEEDED) || has(CHARGE_CAPTURED);
    match (has(PAYMENT_SUCCEEDED), charges_count, has_charges) {
        (false, true, true) => Some(format!(
            "{PAYMENT_SUCCEEDED} is not among them, so no PaymentIntent adds to revenue, only a charge that has none (the old Charges API)."
        )),
        (false, true, false) => Some(format!(
            "{PAYMENT_SUCCEEDED}, {CHARGE_SUCCEEDED} and {CHARGE_CAPTURED} are not among them, so no payment adds to revenue."
        )),
        (false, false, _) => Some(format!("{PAYMENT_SUCCEEDED} is not among them, so no payment adds to revenue.")),
        (true, true, false) => Some(format!(
            "{CHARGE_SUCCEEDED} and {CHARGE_CAPTURED} are not among them, so a charge that has no PaymentIntent (the old Charges API) does not add to revenue."
        )),
        (true, ..) => None,
    }
}

/// The entries that add something to the default list, with what is removed from them.
fn left_of_added(events: &EventTypes) -> impl Iterator<Item = String> {
    let EventTypes { add, remove, needed } = events;
    let left = move |entry: &&TypePattern| !remove.iter().any(|remover| covers(remover, entry));
    let new = |entry: &&TypePattern| {
        let entry = entry.to_string();
        !TYPES.contains(&&*entry) && !needed.contains(&&*entry)
    };
    add.iter().filter(new).filter(left).map(move |entry| {
        let removed: Vec<_> = remove.iter().filter(|removed| covers(entry, removed)).map(ToString::to_string).collect();
        if removed.is_empty() { entry.to_string() } else { format!("{entry} (without {})", removed.join(" and ")) }
    })
}

fn is_family(entry: &TypePattern) -> bool {
    entry.to_string().ends_with('*')
}

fn revenue_from(revenue_from: RevenueFrom) -> Explanation {
    let (name, effect) = match revenue_from {
        RevenueFrom::Payments => (
            "payments",
            "A payment counts when it has succeeded: payment_intent.succeeded with the amount received, and a charge without a PaymentIntent (the old Charges API) with the amount captured. Tax is included.",
        ),
        RevenueFrom::PaymentIntents => (
            "payment_intents",
            "payment_intent.succeeded counts, with the amount received; charges do not. Tax is included.",
        ),
        RevenueFrom::ApplicationFees => {
            ("application_fees", "application_fee.created counts, with your platform's fee; payments do not.")
        }
    };
    let connected = "Payments on connected accounts are those accounts' revenue. Those accounts choose their own metadata, so IDs in it can be the same for different people.";
    (format!("\"{name}\""), vec![text(effect), text(connected)])
}

fn refunds(settings: &Settings) -> Explanation {
    if settings.refunds == Refunds::AsEvents {
        let effect = match settings.revenue_from {
            RevenueFrom::ApplicationFees => {
                "Refunds of application fees are events without revenue: a refunded fee stays counted."
            }
            RevenueFrom::Payments | RevenueFrom::PaymentIntents => {
                "Refunds and disputes are events without revenue: the payment stays counted."
            }
        };
        return ("\"as_events\"".to_owned(), vec![text(effect)]);
    }
    if settings.revenue_from == RevenueFrom::ApplicationFees {
        return ("\"negative_revenue\"".to_owned(), fee_refunds(&settings.events));
    }
    let (listed, missing): (Vec<_>, Vec<_>) =
        REFUND_TYPES.into_iter().partition(|(event_type, _)| settings.events.contains(event_type));
    let describe = |(event_type, how): (&str, &str)| item(format!("{event_type} {how}"));
    let mut effect = Vec::new();
    if !listed.is_empty() {
        effect.push(text("Refunds and disputes change revenue:"));
        effect.extend(listed.into_iter().map(describe));
    }
    if settings.events.contains(FUNDS_REINSTATED) && !settings.events.contains(FUNDS_WITHDRAWN) {
        effect.push(text(format!(
            "But while {FUNDS_WITHDRAWN} is not on the list of types, {FUNDS_REINSTATED} has nothing to add back, and does not count."
        )));
    }
    if !missing.is_empty() {
        effect.push(text(
            "These are not on the list of types, so they do not count; add them with `events.add`, and enable them on the webhook endpoint in Stripe:",
        ));
        effect.extend(missing.into_iter().map(describe));
    }
    effect.push(text(
        "A refund or dispute whose event lacks the amount changes nothing, and is marked with `normalized_revenue_unknown`.",
    ));
    ("\"negative_revenue\"".to_owned(), effect)
}

/// The effect of `negative_revenue` if application fees are the revenue.
fn fee_refunds(events: &EventTypes) -> Vec<Line> {
    let how = format!("{FEE_REFUNDED} subtracts what was newly refunded of the fee");
    let mut effect = if events.contains(FEE_REFUNDED) {
        vec![text("Refunds of application fees change revenue:"), item(how)]
    } else {
        vec![text("This is not on the list of types, so it does not count, and refunded fees stay counted:"), item(how)]
    };
    effect.push(text(
        "Refunds and disputes of payments change nothing, because `revenue_from` counts fees, not payments.",
    ));
    effect.push(text(
        "A refund of a fee whose event lacks the amount changes nothing, and is marked with `normalized_revenue_unknown`.",
    ));
    effect
}

fn preferred_currency(preferred: Option<&PreferredCurrency>) -> Explanation {
    let Some(preferred) = preferred else {
        let effect = "Amounts stay in the currency of each payment, in major units.";
        return ("none".to_owned(), vec![text(effect)]);
    };
    let code = preferred.code;
    let mut effect = Vec::new();
    if preferred.rates.is_empty() {
        effect.push(text(format!("Revenue and all `normalized_…` amounts are in {code}; there are no other rates.")));
    } else {
        effect.push(text(format!("Revenue and all `normalized_…` amounts are converted to {code}:")));
        effect.extend(preferred.rates.keys().filter_map(|from| example(*from, preferred)).map(item));
    }
    effect.push(text(
        "An event with an amount in any other currency gets 500 until `rates` has it; Stripe retries for three days.",
    ));
    (code.to_string(), effect)
}

/// An example conversion of an amount that is large enough for the rate to show.
fn example(from: Currency, preferred: &PreferredCurrency) -> Option<String> {
    const MOST: i64 = 1_000_000_000;
    let conversion = Conversion::of(from, Some(preferred)).ok()?;
    let rate = conversion.rate()?;
    let decimals = from.decimals();
    let converted = |major_units: i64| conversion.amount(major_units * 10_i64.pow(decimals.into()));
    let is_small = |major_units: i64| converted(major_units).to_string().starts_with('0');
    let mut major_units = 10;
    while is_small(major_units) && major_units < MOST {
        major_units *= 10;
    }
    let to = shown(converted(major_units), conversion.currency().code());
    Some(format!("{from} at {rate}: {} become {to}", shown(major_units, from.code())))
}

fn without_user(without_user: WithoutUser) -> Explanation {
    let (name, effect) = match without_user {
        WithoutUser::Forward => (
            "\"forward\"",
            "An event without a user ID is forwarded. It is attributed by device ID to the latest user of the same payment or customer, or to an anonymous user if there is none, which Amplitude bills.",
        ),
        WithoutUser::RevenueOnly => (
            "\"revenue_only\"",
            "An event without a user ID is forwarded if it carries revenue, or if it moved an unknown amount of money; otherwise, it gets 200 and is ignored.",
        ),
        WithoutUser::Ignore => {
            ("\"ignore\"", "An event without a user ID gets 200 and is ignored, including its revenue.")
        }
    };
    (name.to_owned(), vec![text(effect)])
}

fn max_age_days(days: Option<u32>) -> Explanation {
    match days {
        None => {
            let effect = "Events of any age are forwarded. Amplitude drops repeats within 7 days: an event that you resend from Stripe later counts again.";
            ("none".to_owned(), vec![text(effect)])
        }
        Some(days) => {
            let after = count(days as usize, "day");
            let effect = format!(
                "An event that was created more than {after} before it arrives is not sent, because Amplitude might count it twice. With the queue, it becomes a dead letter, which `redrive` looks up in Amplitude; without the queue, it is ignored, and `backfill` looks it up."
            );
            (days.to_string(), vec![text(effect)])
        }
    }
}

fn test_events(test_events: TestEvents) -> Explanation {
    let key = parameter::TEST_API_KEY;
    let connected = if test_events == TestEvents::ForwardAll {
        "Those of connected accounts also go there: the owner of a connected account can book any amount for any user."
    } else {
        "Without the parameter, those of connected accounts are ignored: live Connect endpoints receive them, and the owner of a connected account can create them."
    };
    let (name, effect) = match test_events {
        TestEvents::Forward | TestEvents::ForwardAll => (
            if test_events == TestEvents::Forward { "\"forward\"" } else { "\"forward_all\"" },
            format!(
                "Test-mode events go to the same Amplitude project as live ones, with `stripe_livemode: false`, or, if the project has the parameter {key}, to the Amplitude project of that key. We recommend the parameter, because events cannot be removed from Amplitude. {connected}"
            ),
        ),
        TestEvents::Drop => (
            "\"drop\"",
            format!(
                "Test-mode events get 200 and are ignored, even if the project has the parameter {key}. To send them to a separate Amplitude project, which we recommend, remove `test_events` and set that parameter."
            ),
        ),
    };
    (name.to_owned(), vec![text(effect)])
}

fn personal_data(personal_data: PersonalData) -> Explanation {
    let kinds = || Line::List(kinds_of_personal_data().map(str::to_owned).collect());
    let (name, mut effect) = match personal_data {
        PersonalData::Drop => ("\"drop\"", vec![text("These are removed from the event properties:"), kinds()]),
        PersonalData::Keep => ("\"keep\"", vec![text("These stay in the event properties:"), kinds()]),
    };
    effect.push(text(
        "Credentials, and links that let their holder see or pay, are always removed. The user ID is sent as found by `user_id_paths`, even if it is an e-mail address. `metadata` and `description` are your own, and stay.",
    ));
    (name.to_owned(), effect)
}

fn drop_properties(patterns: &[FieldPattern]) -> Explanation {
    let drops_metadata =
        patterns.iter().any(|pattern| matches!(pattern.to_string().as_str(), "metadata" | "metadata.*"));
    let names = (!drops_metadata).then(|| {
        text(format!(
            "Each metadata key is a property. If your keys are SKUs or IDs, add metadata.*, so that they do not use up the {LIMIT} event properties that Amplitude keeps per project. `doctor` counts them."
        ))
    });
    if patterns.is_empty() {
        let effect = [Some(text("Nothing else is removed from the event properties.")), names];
        return ("none".to_owned(), effect.into_iter().flatten().collect());
    }
    let mut effect = vec![text("These are also removed from the event properties, with everything below them:")];
    effect.extend(patterns.iter().map(|pattern| item(pattern.to_string())));
    if patterns.iter().any(|pattern| pattern.to_string().contains('*')) {
        effect.push(text("A * stands for any one key, or any one element of a list."));
    }
    effect.push(text("The user ID is found before that."));
    effect.extend(names);
    (count(patterns.len(), "path"), effect)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stripe_amplitude::translate::revenue::{NotCounted, Revenue, revenue};

    use stripe_amplitude::stripe::signature::VerifiedBody;

    use super::*;
    use stripe_amplitude::stripe::event::Event;

    fn settings(text: &str) -> Settings {
        Settings::parse(text).unwrap()
    }

    /// The explanation of a key, on one line.
    fn explained(text: &str, key: &str) -> String {
        let settings = settings(text);
        let meaning = meanings(&settings).into_iter().find(|meaning| meaning.key == key).unwrap();
        meaning.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn metadata_keys_are_mentioned_unless_dropped() {
        for (text, is_mentioned) in [
            ("{}", true),
            (r#"{"drop_properties": ["tax"]}"#, true),
            (r#"{"drop_properties": ["metadata.*"]}"#, false),
            (r#"{"drop_properties": ["tax", "metadata"]}"#, false),
        ] {
            let explained = explained(text, "drop_properties");
            assert_eq!(explained.contains("SKUs or IDs, add metadata.*"), is_mentioned, "{explained}");
        }
    }

    #[test]
    fn keys_have_the_order_of_the_library() {
        let known = Settings::parse(r#"{"x": 1}"#).unwrap_err().to_string();
        let keys = meanings(&Settings::default()).map(|meaning| meaning.key);
        assert!(known.ends_with(&keys.join(", ")), "{known}");
        assert!(meanings(&Settings::default()).iter().all(|meaning| meaning.is_default));
    }

    #[test]
    fn other_values_are_not_called_default() {
        let whole = settings(
            r#"{"amplitude_region": "eu", "user_id_paths": ["a"], "references": "follow", "products": "follow", "events": {"add": ["refund.created"]},
                "revenue_from": "payment_intents", "refunds": "negative_revenue",
                "preferred_currency": {"code": "USD"}, "without_user": "ignore", "max_age_days": 30,
                "test_events": "drop", "personal_data": "keep", "drop_properties": ["a.*"]}"#,
        );
        assert!(meanings(&whole).iter().all(|meaning| !meaning.is_default));
    }

    #[test]
    fn forwarded_types_are_listed() {
        let explained = |text: &str| explained(text, "events");
        let default = explained("{}");
        assert!(default.starts_with("events: 26 types (the default) These types are forwarded"));
        assert!(TYPES.iter().all(|event_type| default.contains(event_type)));
        let changed = explained(
            r#"{"events": {"add": ["charge.*", "refund.created", "charge.failed"],
            "remove": ["invoice.*", "charge.dispute.*", "payment_intent.succeeded"]}}"#,
        );
        for words in [
            "the default list of 26 types, 3 added, 3 removed ",
            "charge.*: every type that begins with this refund.created",
            "invoice.*: from the default list, invoice.created, invoice.finalized",
            "issuing_transaction.created, charge.* (without charge.dispute.*), refund.created payment_intent.succeeded",
            "no PaymentIntent adds to revenue, only a charge that has none",
        ] {
            assert!(changed.contains(words), "{words}: {changed}");
        }
        let (_, in_all) = changed.split_once("and are ignored:").unwrap();
        assert!(!in_all.contains("invoice"), "{in_all}");
        let one = explained(r#"{"events": {"add": ["charge.pending"], "remove": ["charge.*"]}}"#);
        let (_, in_all) = one.split_once("and are ignored:").unwrap();
        let (in_all, _) = in_all.split_once("charge.succeeded and charge.captured are not among them").unwrap();
        assert!(!in_all.contains("charge"), "{one}");
    }

    #[test]
    fn refund_types_that_do_not_count_are_named() {
        let explained = |text: &str| explained(text, "refunds");
        let some = explained(r#"{"refunds": "negative_revenue", "events": {"remove": ["charge.dispute.*"]}}"#);
        let (listed, missing) = some.split_once("not on the list of types").unwrap();
        for (event_type, _) in REFUND_TYPES {
            let is_missing = event_type.starts_with("charge.dispute.") || event_type == "refund.created";
            assert_eq!(listed.contains(event_type), !is_missing, "{event_type}: {some}");
            assert_eq!(missing.contains(event_type), is_missing, "{event_type}: {some}");
        }
        let all = explained(r#"{"refunds": "negative_revenue", "events": {"add": ["refund.created"]}}"#);
        assert!(!all.contains("not on the list"), "{all}");
        let won_only =
            explained(r#"{"refunds": "negative_revenue", "events": {"remove": ["charge.dispute.funds_withdrawn"]}}"#);
        assert!(won_only.contains("has nothing to add back"), "{won_only}");
    }

    #[test]
    fn permissions_are_listed_with_their_paths() {
        let settings = r#"{"references": "follow", "refunds": "negative_revenue", "user_id_paths": ["metadata.id", "customer.metadata.id", "subscription.metadata.id"]}"#;
        let explained = explained(settings, "references");
        for words in [
            "rak_customer_read), for customer.metadata.id ",
            "rak_subscription_read), for subscription.metadata.id ",
            "rak_payment_intent_read), for refunds and disputes ",
            "rak_charge_read), for refunds and disputes ",
            "stripe-api-key",
            "An event needs at most 4 reads.",
            "redelivery queue",
        ] {
            assert!(explained.contains(words), "{words}: {explained}");
        }
        assert!(!explained.contains("rak_product_read"), "{explained}");
    }

    #[test]
    fn no_permission_is_listed_if_no_path_needs_one() {
        let explained = |paths: &str| {
            explained(
                &format!(
                    r#"{{"references": "follow", "user_id_paths": {paths}, "events": {{"remove": ["charge.*"]}}}}"#
                ),
                "references",
            )
        };
        let none = explained(r#"["metadata.user_id"]"#);
        assert!(none.ends_with("It needs no permission: no path leads beyond the event."), "{none}");
        assert!(!none.contains("It needs:") && explained(r#"["customer.email"]"#).contains("It needs: "));
    }

    #[test]
    fn paths_without_a_stripe_id_may_find_no_user() {
        for (paths, is_mentioned) in [
            (r#"["subscription.metadata.user_id"]"#, true),
            (r#"["metadata.user_id", "customer"]"#, false),
            (r#"["metadata.user_id", "receipt_email"]"#, false),
        ] {
            let explained =
                explained(&format!(r#"{{"references": "follow", "user_id_paths": {paths}}}"#), "user_id_paths");
            assert_eq!(explained.contains("has no user; see `without_user`"), is_mentioned, "{explained}");
        }
    }

    #[test]
    fn products_have_their_own_permissions() {
        let explained = |settings| explained(settings, "products");
        let follow = explained(r#"{"products": "follow"}"#);
        for words in ["rak_product_read", "(plan_read)", "rak_invoice_read", "`products_incomplete`"] {
            assert!(follow.contains(words), "{words}: {follow}");
        }
        assert!(!follow.contains("rak_customer_read"), "{follow}");
        assert!(!explained("{}").contains("rak_"));
    }

    #[test]
    fn types_added_by_refunds_are_named() {
        let explained = explained(r#"{"refunds": "negative_revenue"}"#, "events");
        assert!(explained.contains("the default list of 26 types, 5 added"), "{explained}");
        assert!(explained.contains("The setting `refunds` adds charge.dispute.funds_reinstated"), "{explained}");
    }

    #[test]
    fn refund_types_match_the_library() {
        let refund_types = REFUND_TYPES.map(|(event_type, _)| event_type);
        let others = ["charge.dispute.created", "refund.canceled"];
        for (settings, counted) in [
            (settings("{}"), &refund_types[..]),
            (settings(r#"{"revenue_from": "payment_intents"}"#), &refund_types[..]),
            (settings(r#"{"revenue_from": "application_fees"}"#), &[FEE_REFUNDED]),
        ] {
            for event_type in TYPES.into_iter().chain(refund_types).chain(others) {
                let event = json!({"id": "evt_1", "object": "event", "type": event_type, "created": 1,
                    "data": {"object": {"object": "refund"}}});
                let body = VerifiedBody::trusted(event.to_string().into_bytes().into());
                let event = Event::parse(&body).unwrap();
                let by_the_setting = revenue(&event, &settings) == Revenue::NotCounted(NotCounted::AsEvents);
                assert_eq!(by_the_setting, counted.contains(&event_type), "{event_type}: {settings:?}");
            }
        }
    }

    #[test]
    fn fee_refunds_subtract_from_fees() {
        let explained = |text: &str| explained(text, "refunds");
        let fees = explained(r#"{"revenue_from": "application_fees", "refunds": "negative_revenue"}"#);
        assert!(fees.contains("change revenue: application_fee.refunded subtracts"), "{fees}");
        assert!(fees.contains("Refunds and disputes of payments change nothing"), "{fees}");
        assert!(REFUND_TYPES.iter().all(|(event_type, _)| !fees.contains(event_type)), "{fees}");
        let removed = explained(
            r#"{"revenue_from": "application_fees", "refunds": "negative_revenue",
                "events": {"remove": ["application_fee.refunded"]}}"#,
        );
        assert!(removed.contains("not on the list of types") && removed.contains("stay counted"), "{removed}");
        let as_events = explained(r#"{"revenue_from": "application_fees"}"#);
        assert!(as_events.contains("a refunded fee stays counted"), "{as_events}");
    }

    #[test]
    fn missing_revenue_types_are_named() {
        for (text, words) in [
            ("{}", None),
            (
                r#"{"events": {"remove": ["payment_intent.*"]}}"#,
                Some("so no PaymentIntent adds to revenue, only a charge that has none"),
            ),
            (
                r#"{"events": {"remove": ["payment_intent.*", "charge.*"]}}"#,
                Some("charge.captured are not among them, so no payment adds"),
            ),
            (
                r#"{"events": {"remove": ["charge.*"]}}"#,
                Some("a charge that has no PaymentIntent (the old Charges API) does not add"),
            ),
            (r#"{"revenue_from": "payment_intents", "events": {"remove": ["charge.*"]}}"#, None),
            (
                r#"{"revenue_from": "payment_intents", "events": {"remove": ["payment_intent.*"]}}"#,
                Some("payment_intent.succeeded is not among them, so no payment adds"),
            ),
            (r#"{"revenue_from": "application_fees", "events": {"remove": ["payment_intent.*", "charge.*"]}}"#, None),
            (
                r#"{"revenue_from": "application_fees", "events": {"remove": ["application_fee.created"]}}"#,
                Some("application_fee.created is not among them, so no application fee adds"),
            ),
        ] {
            let explained = explained(text, "events");
            let matches = words.map_or_else(|| !explained.contains("to revenue"), |words| explained.contains(words));
            assert!(matches, "{text}: {explained}");
        }
    }

    #[test]
    fn rates_have_an_example() {
        let explained = explained(
            r#"{"preferred_currency": {"code": "USD", "rates": {"EUR": "1.08", "JPY": "0.0067", "KWD": "3.25",
                "VND": "0.000000000000001"}}}"#,
            "preferred_currency",
        );
        for words in [
            "EUR at 1.08: 10.00 EUR become 10.80 USD",
            "JPY at 0.0067: 1000 JPY become 6.70 USD",
            "KWD at 3.25: 10.000 KWD become 32.50 USD",
            "VND at 0.000000000000001: 1000000000 VND become 0.00 USD",
            "gets 500",
        ] {
            assert!(explained.contains(words), "{words}: {explained}");
        }
    }
}
