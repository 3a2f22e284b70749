//! Stripe: its webhook requests, and its API.

pub(crate) mod api;
pub(crate) mod endpoints;
pub(crate) mod event_types;
pub(crate) mod events;
pub(crate) mod restricted_key;

/// The ID of a connected account, as an argument.
///
/// # Errors
/// A sentence that says what was expected.
pub(crate) fn account(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("acct_").unwrap_or_default();
    let is_id = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let error = || "expected the ID of a connected account, which starts with acct_".to_owned();
    is_id.then(|| text.to_owned()).ok_or_else(error)
}
