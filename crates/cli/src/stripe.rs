//! Stripe: its webhook requests, and its API.

pub(crate) mod api;
pub(crate) mod endpoints;
pub(crate) mod event_types;
pub(crate) mod events;
pub(crate) mod restricted_key;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use stripe_amplitude::stripe::signature;

/// Stripe's own.
pub(crate) const USER_AGENT: &str = "Stripe/1.0 (+https://stripe.com/docs/webhooks)";

/// The headers of every delivery except the signature, with names in Stripe's spelling.
pub(crate) const HEADERS: [(&str, &str); 3] = [
    ("Accept", "*/*; q=0.5, application/xml"),
    ("Content-Type", "application/json; charset=utf-8"),
    ("User-Agent", USER_AGENT),
];

/// The same with the signature.
pub(crate) fn headers(signature: &str) -> HeaderMap {
    let headers = HEADERS.into_iter().chain([(signature::HEADER, signature)]);
    let headers = headers.filter_map(|(name, value)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
    });
    headers.collect()
}

/// The ID of a connected account, as an argument.
///
/// # Errors
/// A sentence that says what it is.
pub(crate) fn account(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("acct_").unwrap_or_default();
    let is_id = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let error = || "it takes the ID of a connected account, which starts with acct_".to_owned();
    is_id.then(|| text.to_owned()).ok_or_else(error)
}
