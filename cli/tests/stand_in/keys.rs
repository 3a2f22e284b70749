//! Who may ask what.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};

use super::answer::Refusal;
use super::{ACCOUNT, SECRET_KEY};

/// What a restricted key may be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    AccountRead,
    EventsRead,
    WebhookEndpointsRead,
    /// Whoever may write, may read.
    WebhookEndpointsWrite,
    /// To read objects of a kind, as Stripe names it.
    Object(&'static str),
}

impl Permission {
    pub const ALL: [Self; 4] =
        [Self::AccountRead, Self::EventsRead, Self::WebhookEndpointsRead, Self::WebhookEndpointsWrite];

    /// As Stripe names it where it is missing.
    fn name(self) -> &'static str {
        match self {
            Self::AccountRead => "rak_accounts_kyc_basic_read",
            Self::EventsRead => "rak_event_read",
            Self::WebhookEndpointsRead => "rak_webhook_read",
            Self::WebhookEndpointsWrite => "rak_webhook_write",
            Self::Object(name) => name,
        }
    }

    fn includes(self, other: Self) -> bool {
        self == other || (self == Self::WebhookEndpointsWrite && other == Self::WebhookEndpointsRead)
    }
}

/// The valid keys.
pub struct Keys(HashMap<String, Vec<Permission>>);

impl Default for Keys {
    fn default() -> Self {
        Self([(SECRET_KEY.to_owned(), Permission::ALL.to_vec())].into())
    }
}

impl Keys {
    pub fn allow(&mut self, key: &str, permissions: &[Permission]) {
        self.0.insert(key.to_owned(), permissions.to_vec());
    }

    pub fn revoke(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// The key of a request, if it may do what it is about to.
    pub fn check(&self, headers: &HeaderMap, needed: Permission) -> Result<String, Refusal> {
        let key = key_of(headers).filter(|key| !key.is_empty()).ok_or_else(|| {
            Refusal::new(
                401,
                "You did not provide an API key. You need to provide your API key in the Authorization header, using \
                 Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
            )
        })?;
        let Some(permissions) = self.0.get(&key) else {
            return Err(Refusal::new(401, format!("Invalid API Key provided: {}", masked(&key))));
        };
        let is_all = key == SECRET_KEY && matches!(needed, Permission::Object(_));
        if !is_all && !permissions.iter().any(|permission| permission.includes(needed)) {
            let message = format!(
                "The provided key '{}' does not have the required permissions for this endpoint on account \
                 '{ACCOUNT}'. Having the '{}' permission would allow this request to continue.",
                masked(&key),
                needed.name()
            );
            return Err(Refusal::new(403, message));
        }
        Ok(key)
    }
}

/// It is the user name of `Basic`, or what follows `Bearer`.
fn key_of(headers: &HeaderMap) -> Option<String> {
    let (scheme, credentials) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(credentials.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let credentials = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    Some(credentials.split_once(':').map_or(&*credentials, |(user, _)| user).to_owned())
}

/// A key as Stripe shows it: its kind and its last characters.
pub fn masked(key: &str) -> String {
    let kind = key.match_indices('_').nth(1).map_or(0, |(index, _)| index + 1);
    let hidden = key.len().saturating_sub(kind + 4);
    format!("{}{}{}", &key[..kind], "*".repeat(hidden), &key[kind + hidden..])
}
