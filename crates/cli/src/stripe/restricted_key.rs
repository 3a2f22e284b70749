//! Checks the permissions of the key with which the function follows references.

use std::collections::BTreeSet;

use secrecy::{ExposeSecret as _, SecretString};
use stripe_amplitude::stripe::reference::Permission;
use stripe_amplitude::stripe::reference::permission::{
    CARDHOLDERS, CHARGES, CHECKOUT_SESSIONS, CUSTOMERS, INVOICES, PAYMENT_INTENTS, PRICES, PRODUCTS, SUBSCRIPTIONS,
};

use super::api::{Api, ApiError, Operation, Problem};

/// Objects that do not exist. Stripe answers 404 to a key that may read such objects, and 403 otherwise.
const NONEXISTENT: [(Permission, &str); 9] = [
    (CARDHOLDERS, "/v1/issuing/cardholders/ich_nonexistent"),
    (CHARGES, "/v1/charges/ch_nonexistent"),
    (CHECKOUT_SESSIONS, "/v1/checkout/sessions/cs_nonexistent"),
    (CUSTOMERS, "/v1/customers/cus_nonexistent"),
    (INVOICES, "/v1/invoices/in_nonexistent"),
    (PAYMENT_INTENTS, "/v1/payment_intents/pi_nonexistent"),
    (PRICES, "/v1/prices/price_nonexistent"),
    (PRODUCTS, "/v1/products/prod_nonexistent"),
    (SUBSCRIPTIONS, "/v1/subscriptions/sub_nonexistent"),
];

/// The permissions that the key of `api` lacks. Reads no data of the account.
///
/// # Errors
/// If Stripe rejects the key or does not respond.
pub(crate) async fn missing(api: &Api, needed: &BTreeSet<Permission>) -> Result<Vec<Permission>, ApiError> {
    let mut missing = Vec::new();
    for (permission, path) in NONEXISTENT.into_iter().filter(|(permission, _)| needed.contains(permission)) {
        let error = match api.get(path, &[], Operation::Read(permission)).await {
            Err(error) => error,
            Ok(answer) => return Err(answer.unreadable()),
        };
        match &error.problem {
            Problem::Refused { about, .. } if about.iter().any(|code| code == "resource_missing") => {}
            Problem::Forbidden { .. } => missing.push(permission),
            _ => return Err(error),
        }
    }
    Ok(missing)
}

/// Like in the dashboard: `Customers: Read (rak_customer_read), …`.
pub(crate) fn in_words<'p>(permissions: impl IntoIterator<Item = &'p Permission>) -> String {
    permissions.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Why the check of the key in `place` failed.
pub(crate) fn refusal(place: &str, error: &ApiError) -> String {
    match &error.problem {
        Problem::UnknownKey => error.of_key_in(place),
        _ => format!("cannot check the permissions of the key in {place}: {error}"),
    }
}

/// Whether it is a secret key, which has every permission.
pub(crate) fn is_full(key: &SecretString) -> bool {
    key.expose_secret().starts_with("sk_")
}

/// A warning about a secret key.
pub(crate) fn full_in_words(place: &str) -> String {
    format!(
        "{place} holds a secret key (sk_…), which has every permission in the Stripe account; a restricted key (rk_…) with read permissions is enough"
    )
}

#[cfg(test)]
mod tests {
    use stripe_amplitude::stripe::reference::ReferenceKind;

    use super::*;

    #[test]
    fn every_permission_can_be_checked() {
        for permission in ReferenceKind::ALL.into_iter().flat_map(ReferenceKind::permissions) {
            assert!(NONEXISTENT.iter().any(|(known, _)| known == permission), "{permission}");
        }
    }

    #[test]
    fn secret_key_is_recognized() {
        assert!(is_full(&"sk_test_x".into()) && !is_full(&"rk_test_x".into()));
    }
}
