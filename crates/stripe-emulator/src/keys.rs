//! API keys and their permissions.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};

use crate::answer::ApiError;
use crate::{ACCOUNT, SECRET_KEY};

/// A permission of a restricted key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// The account itself.
    AccountRead,
    /// Events.
    EventsRead,
    /// Webhook endpoints.
    WebhookEndpointsRead,
    /// Write permission includes read permission.
    WebhookEndpointsWrite,
    /// Customers.
    CustomerRead,
    /// Subscriptions.
    SubscriptionRead,
    /// Invoices and their lines.
    InvoiceRead,
    /// PaymentIntents.
    PaymentIntentRead,
    /// Charges.
    ChargeRead,
    /// Checkout sessions and their line items.
    CheckoutSessionRead,
    /// Cardholders of Issuing.
    IssuingCardholderRead,
    /// Products.
    ProductRead,
    /// Prices.
    PlanRead,
}

impl Permission {
    /// All permissions.
    pub const ALL: [Self; 13] = [
        Self::AccountRead,
        Self::EventsRead,
        Self::WebhookEndpointsRead,
        Self::WebhookEndpointsWrite,
        Self::CustomerRead,
        Self::SubscriptionRead,
        Self::InvoiceRead,
        Self::PaymentIntentRead,
        Self::ChargeRead,
        Self::CheckoutSessionRead,
        Self::IssuingCardholderRead,
        Self::ProductRead,
        Self::PlanRead,
    ];

    /// Stripe's name for a missing permission. Since 2026 some names have no `rak_`; the emulator uses both forms.
    fn name(self) -> &'static str {
        match self {
            Self::AccountRead => "rak_accounts_kyc_basic_read",
            Self::EventsRead => "rak_event_read",
            Self::WebhookEndpointsRead => "rak_webhook_read",
            Self::WebhookEndpointsWrite => "rak_webhook_write",
            Self::CustomerRead => "rak_customer_read",
            Self::SubscriptionRead => "rak_subscription_read",
            Self::InvoiceRead => "rak_invoice_read",
            Self::PaymentIntentRead => "rak_payment_intent_read",
            Self::ChargeRead => "rak_charge_read",
            Self::CheckoutSessionRead => "rak_checkout_session_read",
            Self::IssuingCardholderRead => "rak_issuing_cardholder_read",
            Self::ProductRead => "rak_product_read",
            Self::PlanRead => "plan_read",
        }
    }

    /// The error code for a missing permission, which exists for the names without `rak_`.
    fn code(self) -> Option<&'static str> {
        (self == Self::PlanRead).then_some("more_permissions_required")
    }

    fn includes(self, other: Self) -> bool {
        self == other || (self == Self::WebhookEndpointsWrite && other == Self::WebhookEndpointsRead)
    }
}

/// The valid keys.
pub(crate) struct Keys {
    known: HashMap<String, Vec<Permission>>,
    /// Whether unknown keys are also valid, with every permission.
    pub(crate) any: bool,
}

impl Default for Keys {
    fn default() -> Self {
        Self { known: [(SECRET_KEY.to_owned(), Permission::ALL.to_vec())].into(), any: false }
    }
}

impl Keys {
    pub(crate) fn allow(&mut self, key: &str, permissions: &[Permission]) {
        self.known.insert(key.to_owned(), permissions.to_vec());
    }

    pub(crate) fn revoke(&mut self, key: &str) {
        self.known.remove(key);
    }

    /// The key of a request, if it is valid.
    pub(crate) fn of(&self, headers: &HeaderMap) -> Result<String, ApiError> {
        let key = key_of(headers).filter(|key| !key.is_empty()).ok_or_else(|| {
            ApiError::new(
                401,
                "You did not provide an API key. You need to provide your API key in the Authorization header, using \
                 Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
            )
        })?;
        if !self.any && !self.known.contains_key(&key) {
            return Err(ApiError::new(401, format!("Invalid API Key provided: {}", masked(&key))));
        }
        Ok(key)
    }

    /// Rejects what a valid key has no permission for.
    pub(crate) fn require(&self, key: &str, needed: Permission) -> Result<(), ApiError> {
        let known = self.known.get(key);
        if known.map_or(self.any, |has| has.iter().any(|permission| permission.includes(needed))) {
            return Ok(());
        }
        let message = format!(
            "The provided key '{}' does not have the required permissions for this endpoint on account '{ACCOUNT}'. \
             Having the '{}' permission would allow this request to continue.",
            masked(key),
            needed.name()
        );
        Err(ApiError::new(403, message).with_code(needed.code()))
    }
}

/// The user name of `Basic`, or the token of `Bearer`.
pub(crate) fn key_of(headers: &HeaderMap) -> Option<String> {
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

/// A key as Stripe displays it: its kind and its last characters.
pub(crate) fn masked(key: &str) -> String {
    let kind = key.match_indices('_').nth(1).map_or(0, |(index, _)| index + 1);
    let (kind, rest) = key.split_at(kind);
    let hidden = rest.chars().count().saturating_sub(4);
    let shown: String = rest.chars().skip(hidden).collect();
    format!("{kind}{}{shown}", "*".repeat(hidden))
}
