//! Stripe's webhook requests, besides the signature.

/// What Stripe calls itself.
pub(crate) const USER_AGENT: &str = "Stripe/1.0 (+https://stripe.com/docs/webhooks)";

/// The headers of every delivery, with names as Stripe writes them.
pub(crate) const HEADERS: [(&str, &str); 3] = [
    ("Accept", "*/*; q=0.5, application/xml"),
    ("Content-Type", "application/json; charset=utf-8"),
    ("User-Agent", USER_AGENT),
];
