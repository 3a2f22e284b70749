//! The explanation of an event as notes on single fields of Stripe's request and of the request to Amplitude.

use serde::Serialize;
use stripe_amplitude::amplitude::properties::Property;
use stripe_amplitude::stripe::json::Json;
use stripe_amplitude::translate::redaction::Reason;
use stripe_amplitude::translate::revenue::Rule;
use stripe_amplitude_common::money::shown;

use crate::explanation::text::capitalized;
use crate::explanation::{Explanation, Money, PreviewOutcome, Translated};

/// A note beside a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Note {
    /// The request that has the field.
    pub(crate) hop: Hop,
    /// Keys, and indices as text.
    pub(crate) path: Vec<String>,
    /// The subject.
    pub(crate) kind: Kind,
    /// A sentence, without a full stop.
    pub(crate) text: String,
}

/// A step of the request trail that has fields of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Hop {
    /// Stripe's request.
    Stripe,
    /// The request to Amplitude.
    Amplitude,
}

/// The subject of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The field gave the user ID, or is the user ID.
    UserId,
    /// The field was skipped as a user ID.
    PassedOver,
    /// The field gave the device ID, or is the device ID.
    DeviceId,
    /// The field gave the revenue, is the revenue, or is the reason for none.
    Revenue,
    /// The field is not forwarded.
    Removed,
    /// The field exceeded one of Amplitude's limits.
    Cut,
}

/// The notes on an event.
pub(crate) fn notes(explanation: &Explanation<'_>) -> Vec<Note> {
    match &explanation.outcome {
        PreviewOutcome::NotSelected(reason) => vec![stripe("type", Kind::Removed, format!("Ignored: {reason}"))],
        PreviewOutcome::Unread(_) => Vec::new(),
        PreviewOutcome::WithoutUser(_, translated) => stripe_notes(translated),
        PreviewOutcome::Sent(translated) => [stripe_notes(translated), amplitude_notes(translated)].concat(),
    }
}

fn stripe_notes(translated: &Translated<'_>) -> Vec<Note> {
    let Translated { user, anchor, money, removed, .. } = translated;
    let mut notes = Vec::new();
    for (path, reason) in &user.passed_over {
        notes.push(object(path.as_str(), Kind::PassedOver, format!("No user ID: {reason}")));
    }
    if let Some((path, id)) = &user.found {
        notes.push(object(path.as_str(), Kind::UserId, format!("Gives the user ID, {id}")));
    }
    let words = format!("Gives the device ID, which a repeat shares: {}", translated.event.device_id);
    match anchor.from {
        "the project" => {}
        "the event's account" => notes.push(stripe("account", Kind::DeviceId, words)),
        field => notes.push(object(field, Kind::DeviceId, words)),
    }
    notes.extend(money_note(money, translated));
    for (reason, paths) in removed {
        for path in paths {
            let words = if *reason == Reason::Null { "Removed: null".to_owned() } else { format!("Removed: {reason}") };
            notes.push(object(path, Kind::Removed, words));
        }
    }
    if let Some(Property::Json(Json::List(paths))) = translated.event.event_properties.get("stripe_truncated") {
        let cut = paths.iter().filter_map(Json::as_str);
        notes.extend(cut.map(|path| object(path, Kind::Cut, "Cut: exceeds one of Amplitude's limits".to_owned())));
    }
    notes
}

fn money_note(money: &Money, translated: &Translated<'_>) -> Option<Note> {
    match money {
        Money::Counted { amount, currency, rule, converted } => {
            let field = match rule {
                Rule::Received => "amount_received",
                Rule::Captured => "amount_captured",
                Rule::NewlyRefunded { .. } | Rule::FeeRefunded { .. } => "amount_refunded",
                Rule::DisputeWithdrawn | Rule::DisputeReinstated => "balance_transactions",
                Rule::ApplicationFee | Rule::RefundWithoutCharge | Rule::RefundReversed => "amount",
            };
            let counts = if translated.event.revenue.is_some() { "Counts as revenue" } else { "Too little to count" };
            let converted = converted
                .as_ref()
                .map(|to| format!(", converted at {} to {}", to.rate, shown(to.amount, to.currency.code())))
                .unwrap_or_default();
            let amount = shown(amount, currency.code());
            Some(object(field, Kind::Revenue, format!("{counts}, {amount}{converted}: {rule}")))
        }
        Money::NotCounted(reason) => Some(stripe("type", Kind::Revenue, format!("No revenue: {reason}"))),
        Money::Unknown => Some(stripe("type", Kind::Revenue, "Revenue unknown: the event lacks the amount".to_owned())),
    }
}

fn amplitude_notes(translated: &Translated<'_>) -> Vec<Note> {
    let source = if matches!(translated.money, Money::Counted { rule: Rule::RefundReversed, .. }) {
        "The refund's ID, because several of Stripe's events may report its reversal"
    } else {
        "Stripe's event ID"
    };
    let mut notes = vec![
        sent("device_id", Kind::DeviceId, format!("From {}", translated.anchor)),
        sent(
            "insert_id",
            Kind::DeviceId,
            format!("{source}: Amplitude drops events with the same one on the same device within 7 days"),
        ),
    ];
    if let Some((path, _)) = &translated.user.found {
        notes.push(sent("user_id", Kind::UserId, format!("From `{path}`")));
    }
    if let (Money::Counted { rule, .. }, Some(_)) = (&translated.money, &translated.event.revenue) {
        notes.push(sent("revenue", Kind::Revenue, capitalized(rule)));
    }
    notes
}

fn stripe(field: &str, kind: Kind, text: String) -> Note {
    Note { hop: Hop::Stripe, path: vec![field.to_owned()], kind, text }
}

/// A note on a field of the event's object. Dots join the segments of the path.
fn object(path: &str, kind: Kind, text: String) -> Note {
    let path = ["data", "object"].into_iter().chain(path.split('.')).map(str::to_owned);
    Note { hop: Hop::Stripe, path: path.collect(), kind, text }
}

fn sent(field: &str, kind: Kind, text: String) -> Note {
    Note { hop: Hop::Amplitude, path: ["events", "0", field].map(str::to_owned).to_vec(), kind, text }
}

#[cfg(test)]
mod tests {
    use stripe_amplitude::settings::Settings;
    use stripe_amplitude::stripe::event::Event;
    use stripe_amplitude::translate::Context;

    use stripe_amplitude::stripe::signature::VerifiedBody;

    use super::*;

    fn notes_on(event: &str, settings: &str) -> Vec<(Hop, String, Kind, String)> {
        let body = VerifiedBody::trusted(event.to_owned().into());
        let event = Event::parse(&body).unwrap();
        let (project, settings) = ("demo".parse().unwrap(), Settings::parse(settings).unwrap());
        let context =
            Context { project: &project, source: None, settings: &settings, has_test_key: false, objects: None };
        let explanation = Explanation::of(event, &context, 1, 1).unwrap();
        let notes = notes(&explanation).into_iter();
        notes.map(|Note { hop, path, kind, text }| (hop, path.join("."), kind, text)).collect()
    }

    #[track_caller]
    fn assert_note(notes: &[(Hop, String, Kind, String)], hop: Hop, path: &str, kind: Kind, words: &str) {
        let found =
            notes.iter().any(|(of, at, about, text)| (*of, &**at, *about) == (hop, path, kind) && text.contains(words));
        assert!(found, "{hop:?} {path} {kind:?} {words}: {notes:#?}");
    }

    #[test]
    fn a_payment_has_notes_on_all_subjects() {
        let notes = notes_on(include_str!("../../../events/stripe/payment_intent.succeeded.json"), "{}");
        let of = |hop, path, kind, words| assert_note(&notes, hop, path, kind, words);
        of(Hop::Stripe, "data.object.metadata.amplitude_id", Kind::PassedOver, "missing");
        of(Hop::Stripe, "data.object.metadata.user_id", Kind::UserId, "user_42");
        of(Hop::Stripe, "data.object.id", Kind::DeviceId, "stripe-pi_");
        of(Hop::Stripe, "data.object.amount_received", Kind::Revenue, "Counts as revenue, 20.00 USD");
        of(Hop::Stripe, "data.object.client_secret", Kind::Removed, "a credential");
        of(Hop::Amplitude, "events.0.user_id", Kind::UserId, "From `metadata.user_id`");
        of(Hop::Amplitude, "events.0.revenue", Kind::Revenue, "amount_received");
        of(Hop::Amplitude, "events.0.device_id", Kind::DeviceId, "From `id`");
    }

    #[test]
    fn a_reversal_uses_the_refunds_id() {
        let event = include_str!("../../../tests/data/cases/refund-canceled/event.json");
        let id = |settings: &str, words: &str| {
            assert_note(&notes_on(event, settings), Hop::Amplitude, "events.0.insert_id", Kind::DeviceId, words);
        };
        id(r#"{"refunds": "negative_revenue"}"#, "The refund's ID");
        id(r#"{"events": {"add": ["refund.*", "charge.refund.*"]}}"#, "Stripe's event ID");
    }

    #[test]
    fn the_type_has_the_reason_for_no_revenue() {
        let event = include_str!("../../../events/stripe/charge.refunded.json");
        assert_note(&notes_on(event, "{}"), Hop::Stripe, "type", Kind::Revenue, "No revenue");
        let notes = notes_on(event, r#"{"refunds": "negative_revenue"}"#);
        assert_note(&notes, Hop::Stripe, "data.object.amount_refunded", Kind::Revenue, "Counts as revenue, -");
        let notes = notes_on(event, r#"{"events": {"remove": ["charge.refunded"]}}"#);
        assert_note(&notes, Hop::Stripe, "type", Kind::Removed, "Ignored");
        assert_eq!(notes.len(), 1, "{notes:?}");
    }
}
