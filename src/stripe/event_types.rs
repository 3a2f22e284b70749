//! The event types that are forwarded.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The API version for which the rules were written. Other snapshot versions are translated as well, and logged.
pub const API_VERSION: &str = "2024-06-20";

/// The types that are forwarded by default: those of Amplitude's own Stripe source.
///
/// Amplitude's page misspells the last two as `issusing_…`; Stripe never sends that spelling.
pub const TYPES: [&str; 26] = [
    "application_fee.created",
    "application_fee.refund.updated",
    "application_fee.refunded",
    "balance.available",
    "charge.captured",
    "charge.failed",
    "charge.refunded",
    "charge.succeeded",
    "charge.updated",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "invoice.created",
    "invoice.finalized",
    "invoice.marked_uncollectible",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.payment_succeeded",
    "invoice.sent",
    "invoice.voided",
    "payment_intent.amount_capturable_updated",
    "payment_intent.canceled",
    "payment_intent.payment_failed",
    "payment_intent.succeeded",
    "issuing_authorization.created",
    "issuing_transaction.created",
];

/// The types that `"refunds": "negative_revenue"` adds to [`TYPES`]. Without them, money that came back, or that a
/// dispute moved, would be missing.
pub const NEGATIVE_REVENUE_TYPES: [&str; 5] = [
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.refund.updated",
    "refund.failed",
    "refund.updated",
];

/// The types that a project wants: [`TYPES`], those that other settings need, and `add`, without those in `remove`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventTypes {
    /// Additional types.
    pub add: Vec<TypePattern>,
    /// Types that are ignored.
    pub remove: Vec<TypePattern>,
    /// Types that other settings need.
    pub needed: &'static [&'static str],
}

impl EventTypes {
    /// Whether events of this type are forwarded.
    pub fn contains(&self, event_type: &str) -> bool {
        let any = |patterns: &[TypePattern]| patterns.iter().any(|pattern| pattern.matches(event_type));
        let listed = TYPES.contains(&event_type) || self.needed.contains(&event_type) || any(&self.add);
        listed && !any(&self.remove)
    }
}

/// A type (`customer.subscription.created`) or a family of them (`customer.subscription.*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypePattern(String);

impl TypePattern {
    /// Whether it is this type or in this family, at any depth: `charge.*` includes `charge.dispute.created`.
    pub fn matches(&self, event_type: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(family) => event_type.strip_prefix(family).is_some_and(|rest| !rest.is_empty()),
            None => event_type == self.0,
        }
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TypePattern {
    type Err = InvalidType;

    fn from_str(text: &str) -> Result<Self, InvalidType> {
        let family = text.strip_suffix(".*");
        let mut words = family.unwrap_or(text).split('.');
        let is_word = |word: &str| {
            let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            !word.is_empty() && word.bytes().all(allowed)
        };
        if !words.all(is_word) || (family.is_none() && !text.contains('.')) {
            return Err(InvalidType::NotAType);
        }
        if let Some(rest) = text.strip_prefix("issusing_") {
            return Err(InvalidType::Misspelled { right: format!("issuing_{rest}") });
        }
        if ["v1.", "v2."].iter().any(|version| text.starts_with(version)) {
            return Err(InvalidType::Thin);
        }
        Ok(Self(text.to_owned()))
    }
}

/// Why a text cannot be an event type. Each message says what is expected.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidType {
    /// Not in the form of a type.
    #[error(
        "an event type, which is lower-case words joined by dots (customer.subscription.created), or a family of them (customer.subscription.*)"
    )]
    NotAType,
    /// The misspelling on Amplitude's page.
    #[error("Stripe's spelling, which is {right}")]
    Misspelled {
        /// Stripe's spelling.
        right: String,
    },
    /// Such an event does not carry its object.
    #[error("types of snapshot events; those of v1. and v2. are thin events, which carry no object")]
    Thin,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_sample_event() {
        let mut samples: Vec<String> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/events/stripe"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| name.trim_end_matches(".json").to_owned())
            .collect();
        samples.sort();
        let mut types: Vec<String> = TYPES.iter().map(ToString::to_string).collect();
        types.sort();
        assert_eq!(samples, types);
    }

    #[test]
    fn the_documented_endpoint_has_every_type() {
        let readme = include_str!("../../README.md");
        let mut enabled: Vec<_> =
            readme.split("enabled_events[]=").skip(1).filter_map(|rest| rest.split('\'').next()).collect();
        enabled.sort_unstable();
        let mut types = TYPES;
        types.sort_unstable();
        assert_eq!(enabled, types);
    }

    fn types(add: &[&str], remove: &[&str]) -> EventTypes {
        let parse = |patterns: &[&str]| patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
        EventTypes { add: parse(add), remove: parse(remove), needed: &[] }
    }

    #[test]
    fn other_types_and_misspellings_are_not_forwarded() {
        for event_type in ["customer.created", "issusing_transaction.created", "charge.Succeeded", "charge", ""] {
            assert!(!EventTypes::default().contains(event_type), "{event_type}");
        }
        assert!(TYPES.iter().all(|event_type| EventTypes::default().contains(event_type)));
    }

    #[test]
    fn removing_types_wins_over_adding() {
        for (add, remove, event_type, contained) in [
            (&["customer.subscription.created"][..], &[][..], "customer.subscription.created", true),
            (&["customer.subscription.created"], &[], "customer.subscription.updated", false),
            (&["customer.subscription.*"], &[], "customer.subscription.updated", true),
            (&["customer.subscription.*"], &[], "customer.subscription.pending_update.applied", true),
            (&["customer.subscription.*"], &[], "customer.subscription", false),
            (&["customer.subscription.*"], &[], "customer.subscription.", false),
            (&["customer.subscription.*"], &[], "customer.subscriptions.created", false),
            (&["charge.*"], &[], "charge.dispute.created", true),
            (&["charge.*"], &["charge.dispute.*"], "charge.dispute.created", false),
            (&["charge.*"], &["charge.dispute.*"], "charge.pending", true),
            (&["charge.pending"], &["charge.*"], "charge.pending", false),
            (&[], &["charge.*"], "charge.succeeded", false),
            (&[], &["invoice.created"], "invoice.created", false),
            (&[], &["invoice.created"], "invoice.paid", true),
            (&["refund.created"], &[], "invoice.paid", true),
        ] {
            assert_eq!(types(add, remove).contains(event_type), contained, "{add:?} {remove:?} {event_type}");
        }
    }

    #[test]
    fn other_settings_add_types() {
        let types = EventTypes { needed: &NEGATIVE_REVENUE_TYPES, ..types(&[], &["refund.*"]) };
        assert!(types.contains("charge.refund.updated"));
        assert!(!types.contains("refund.failed"));
        assert!(!EventTypes::default().contains("charge.refund.updated"));
    }

    #[test]
    fn invalid_types_are_explained() {
        for (text, words) in [
            ("", "lower-case words joined by dots"),
            ("charge", "lower-case words joined by dots"),
            ("*", "lower-case words joined by dots"),
            (".*", "lower-case words joined by dots"),
            ("charge*", "lower-case words joined by dots"),
            ("*.created", "lower-case words joined by dots"),
            ("charge.*.created", "lower-case words joined by dots"),
            ("charge.Succeeded", "lower-case words joined by dots"),
            ("charge..succeeded", "lower-case words joined by dots"),
            ("charge.succeeded ", "lower-case words joined by dots"),
            ("[Stripe] charge.succeeded", "lower-case words joined by dots"),
            ("issusing_transaction.created", "issuing_transaction.created"),
            ("issusing_authorization.*", "issuing_authorization.*"),
            ("v1.billing.meter.error_report_triggered", "thin"),
            ("v2.core.account.created", "thin"),
        ] {
            let error = text.parse::<TypePattern>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        for text in ["refund.created", "issuing_card.created", "radar.early_fraud_warning.created", "charge.*"] {
            assert_eq!(text.parse::<TypePattern>().unwrap().to_string(), text);
        }
    }
}
