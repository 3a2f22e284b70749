//! The sample events, and the expected result of each in Amplitude.

/// A sample event and its expected result.
pub struct Sample {
    /// Stripe's type.
    pub event_type: &'static str,
    /// The event as Stripe sends it.
    pub json: &'static str,
    /// The user that it is attributed to, if any.
    pub user: Option<&'static str>,
    /// The path with the user ID. Without one, the event is attributed to the device's latest user.
    pub user_id_from: Option<&'static str>,
    /// In major units, with the currency.
    pub revenue: Option<&'static str>,
}

macro_rules! samples {
    ($($event_type:literal: $user:expr, $user_id_from:expr, $revenue:expr;)*) => {
        [$(Sample {
            event_type: $event_type,
            json: include_str!(concat!("../../../events/stripe/", $event_type, ".json")),
            user: $user,
            user_id_from: $user_id_from,
            revenue: $revenue,
        }),*]
    };
}

const METADATA: Option<&str> = Some("metadata.user_id");

/// In the order in which they are sent, which matters for events without a user: `charge.failed` and
/// `payment_intent.canceled` are attributed to the user of an earlier event of the same payment.
pub const SAMPLES: [Sample; 26] = samples! {
    "payment_intent.amount_capturable_updated": Some("user_42"), METADATA, None;
    "payment_intent.succeeded": Some("user_42"), METADATA, Some("20.00 USD");
    "payment_intent.payment_failed": Some("user_42"), METADATA, None;
    "payment_intent.canceled": Some("user_42"), None, None;
    "charge.succeeded": Some("user_42"), METADATA, None;
    "charge.updated": Some("user_42"), METADATA, None;
    "charge.refunded": Some("user_42"), METADATA, None;
    "charge.failed": Some("user_42"), None, None;
    "charge.captured": Some("jenny-amp-1"), Some("metadata.amplitude_id"), None;
    "checkout.session.completed": Some("user_42"), METADATA, None;
    "checkout.session.async_payment_succeeded": Some("user_42"), METADATA, None;
    "checkout.session.async_payment_failed": Some("user_42"), Some("checkout_session.client_reference_id"), None;
    "invoice.created": Some("user_42"), METADATA, None;
    "invoice.finalized": Some("user_42"), METADATA, None;
    "invoice.sent": Some("user_42"), METADATA, None;
    "invoice.paid": Some("user_42"), METADATA, None;
    "invoice.payment_succeeded": Some("user_42"), METADATA, None;
    "invoice.payment_failed": Some("user_42"), METADATA, None;
    "invoice.voided": Some("user_42"), METADATA, None;
    "invoice.marked_uncollectible": Some("user_42"), METADATA, None;
    "application_fee.created": None, None, None;
    "application_fee.refunded": None, None, None;
    "application_fee.refund.updated": Some("user_42"), METADATA, None;
    "balance.available": None, None, None;
    "issuing_authorization.created": Some("user_42"), METADATA, None;
    "issuing_transaction.created": Some("user_42"), METADATA, None;
};

#[cfg(test)]
mod tests {
    use stripe_amplitude::stripe::event_types;

    use super::*;

    #[test]
    fn every_type_has_a_sample() {
        let mut types = SAMPLES.map(|sample| sample.event_type);
        types.sort_unstable();
        let mut expected = event_types::TYPES;
        expected.sort_unstable();
        assert_eq!(types, expected);
    }
}
