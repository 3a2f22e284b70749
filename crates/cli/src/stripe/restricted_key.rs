//! The key with which the function follows references: what it needs, and whether it has that.

use std::collections::BTreeSet;

use secrecy::{ExposeSecret as _, SecretString};
use stripe_amplitude::stripe::reference::Permission;
use stripe_amplitude::stripe::reference::permission::{
    CARDHOLDERS, CHARGES, CHECKOUT_SESSIONS, CUSTOMERS, INVOICES, PAYMENT_INTENTS, PRICES, PRODUCTS, SUBSCRIPTIONS,
};

use super::api::{Api, ApiError, Operation, Problem};

/// Objects that do not exist: whoever may read such objects is answered 404, and whoever may not 403.
const NOWHERE: [(Permission, &str); 9] = [
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

/// Which of these permissions the key of `api` lacks. Nothing of the account is read.
///
/// # Errors
/// Where Stripe does not know the key, or does not answer.
pub(crate) async fn missing(api: &Api, needed: &BTreeSet<Permission>) -> Result<Vec<Permission>, ApiError> {
    let mut missing = Vec::new();
    for (permission, path) in NOWHERE.into_iter().filter(|(permission, _)| needed.contains(permission)) {
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

/// As the dashboard lists them: `Customers: Read (rak_customer_read), …`.
pub(crate) fn in_words<'p>(permissions: impl IntoIterator<Item = &'p Permission>) -> String {
    permissions.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Why Stripe does not answer with the key in `place`, in words.
pub(crate) fn refusal(place: &str, error: &ApiError) -> String {
    match &error.problem {
        Problem::UnknownKey => error.of_key_in(place),
        _ => format!("whether the key in {place} has its permissions cannot be told: {error}"),
    }
}

/// What is to be said of a key that Stripe does not know.
pub(crate) fn unknown(place: &str) -> String {
    format!(
        "Stripe does not know the key in {place}: it was revoked, has expired or is not complete; create a restricted key (rk_…) in Stripe's dashboard"
    )
}

/// Whether it is a secret key, which can do everything.
pub(crate) fn is_full(key: &SecretString) -> bool {
    key.expose_secret().starts_with("sk_")
}

/// What is to be said of a secret key.
pub(crate) fn full_in_words(place: &str) -> String {
    format!(
        "{place} holds a secret key (sk_…), which can do everything in the Stripe account; a restricted key (rk_…) that may read what is needed is enough"
    )
}

#[cfg(test)]
mod tests {
    use stripe_amplitude::stripe::reference::ReferenceKind;

    use super::*;

    #[test]
    fn every_permission_can_be_asked_for() {
        for permission in ReferenceKind::ALL.into_iter().flat_map(ReferenceKind::permissions) {
            assert!(NOWHERE.iter().any(|(known, _)| known == permission), "{permission}");
        }
    }

    #[test]
    fn a_secret_key_is_known() {
        assert!(is_full(&"sk_test_x".into()) && !is_full(&"rk_test_x".into()));
    }
}
