//! The event types that carry revenue, or change it.

use stripe_amplitude::stripe::event_types::TypePattern;

pub(super) const PAYMENT_SUCCEEDED: &str = "payment_intent.succeeded";
pub(super) const CHARGE_SUCCEEDED: &str = "charge.succeeded";
pub(super) const CHARGE_CAPTURED: &str = "charge.captured";
pub(super) const FEE_CREATED: &str = "application_fee.created";
pub(super) const FEE_REFUNDED: &str = "application_fee.refunded";
pub(super) const CHARGE_REFUNDED: &str = "charge.refunded";
pub(super) const FUNDS_WITHDRAWN: &str = "charge.dispute.funds_withdrawn";
pub(super) const FUNDS_REINSTATED: &str = "charge.dispute.funds_reinstated";

/// The types that change revenue with `negative_revenue` if payments are the revenue, and how.
pub(super) const REFUND_TYPES: [(&str, &str); 7] = [
    (CHARGE_REFUNDED, "subtracts what was newly refunded of what was captured"),
    ("refund.created", "subtracts a refund that has no charge"),
    ("refund.failed", REVERSED),
    ("refund.updated", REVERSED),
    ("charge.refund.updated", REVERSED),
    (FUNDS_WITHDRAWN, "subtracts what a dispute withdraws"),
    (FUNDS_REINSTATED, "adds back what returns when a dispute is won"),
];

const REVERSED: &str =
    "adds back a refund that failed or was canceled; Amplitude counts only one of several such events";

/// Whether the first pattern matches every type that the second one matches. A family's text can stand for all its types,
/// because it ends where they differ.
pub(super) fn covers(pattern: &TypePattern, other: &TypePattern) -> bool {
    pattern.matches(&other.to_string())
}
