//! The event types that are forwarded, in Stripe's spelling.

/// The API version that the rules were written for. Other snapshot versions are translated too; the log line says so.
pub const API_VERSION: &str = "2024-06-20";

/// The types that are forwarded by default, those of Amplitude's own Stripe source.
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

/// Whether events of this type are forwarded by default.
pub fn is_forwarded(event_type: &str) -> bool {
    TYPES.contains(&event_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_sample_event_of_every_type_and_no_other() {
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
    fn the_endpoint_of_the_readme_is_sent_every_type_and_no_other() {
        let readme = include_str!("../../README.md");
        let mut enabled: Vec<_> =
            readme.split("enabled_events[]=").skip(1).filter_map(|rest| rest.split('\'').next()).collect();
        enabled.sort_unstable();
        let mut types = TYPES;
        types.sort_unstable();
        assert_eq!(enabled, types);
    }

    #[test]
    fn other_types_and_misspellings_are_not_forwarded() {
        for event_type in ["customer.created", "issusing_transaction.created", "charge.Succeeded", "charge", ""] {
            assert!(!is_forwarded(event_type), "{event_type}");
        }
    }
}
