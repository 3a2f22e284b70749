//! A place where an app may have stored an ID, and whether its values look like IDs of persons.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use stripe_amplitude::stripe::purchase::Name;

/// One person may pay as several buyers, with different addresses, but hardly more than this.
pub(super) const MAX_ADDRESSES: usize = 5;

/// An object with its own metadata. Those with the most events come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Holder {
    /// The same for all events of a buyer.
    Customer,
    Payment,
    Subscription,
    CheckoutSession,
    Invoice,
}

impl Holder {
    pub(super) const ALL: [Self; 5] =
        [Self::Customer, Self::Payment, Self::Subscription, Self::CheckoutSession, Self::Invoice];

    pub(super) fn name(self) -> Name {
        match self {
            Self::Customer => Name::Customer,
            Self::Payment => Name::PaymentIntent,
            Self::Subscription => Name::Subscription,
            Self::CheckoutSession => Name::CheckoutSession,
            Self::Invoice => Name::Invoice,
        }
    }

    /// The beginning of its paths.
    fn path(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Payment => "payment_intent",
            Self::Subscription => "subscription",
            Self::CheckoutSession => "checkout_session",
            Self::Invoice => "invoice",
        }
    }
}

/// A field of an object of the purchase.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) holder: Holder,
    /// `metadata.` and a key, or `client_reference_id`.
    pub(super) field: String,
}

impl Place {
    /// The key alone.
    pub(super) fn key(&self) -> &str {
        self.field.strip_prefix("metadata.").unwrap_or(&self.field)
    }

    /// Whether its name suggests the ID of a person.
    pub(super) fn suggests_person(&self) -> bool {
        self.contains_any(&OF_PERSONS) && !self.contains_any(&OF_NEITHER) && !self.contains_any(&OF_PURCHASES)
    }

    fn contains_any(&self, words: &[&str]) -> bool {
        let key = self.key().to_lowercase();
        words.iter().any(|word| key.contains(word))
    }

    /// The paths for `user_id_paths`, those without reads first.
    pub(super) fn paths(&self) -> Vec<String> {
        // A payment's charge has a copy of its metadata.
        let own = (self.holder == Holder::Payment).then(|| self.field.clone());
        own.into_iter().chain([self.to_string()]).collect()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.holder.path(), self.field)
    }
}

/// What the values of a place look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A person's ID: nearly one per buyer, with a suitable name.
    Person,
    /// One value for many buyers: a tenant or a constant.
    Shared,
    /// A new value for each payment: an order or a cart.
    PerPayment,
    Unclear,
}

/// In the names of keys for the ID of a person.
const OF_PERSONS: [&str; 10] =
    ["user", "uid", "account", "customer", "member", "external", "client", "person", "amplitude", "subscriber"];

/// In the names of keys for the ID of a purchase.
const OF_PURCHASES: [&str; 8] = ["order", "cart", "basket", "booking", "checkout", "transaction", "payment", "invoice"];

/// In the names of keys for other values, or for IDs that change.
const OF_NEITHER: [&str; 11] =
    ["name", "mail", "phone", "type", "plan", "date", "created", "url", "agent", "tier", "country"];

impl Kind {
    /// `uses` are the IDs and their buyers, one pair for each payment.
    pub(super) fn of(place: &Place, uses: &[(&str, &str)]) -> Self {
        let mut ids_of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut buyers_of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (id, buyer) in uses {
            ids_of.entry(buyer).or_default().push(id);
            buyers_of.entry(id).or_default().insert(buyer);
        }
        let is_shared = |id: &str| buyers_of.get(id).is_some_and(|buyers| buyers.len() > MAX_ADDRESSES);
        if 2 * uses.iter().filter(|(id, _)| is_shared(id)).count() > uses.len() {
            return Self::Shared;
        }
        let again: Vec<_> = ids_of.values().filter(|ids| ids.len() > 1).collect();
        let same = again.iter().filter(|ids| ids.windows(2).all(|pair| pair.first() == pair.last())).count();
        if 2 * same < again.len() || place.contains_any(&OF_PURCHASES) {
            return Self::PerPayment;
        }
        let is_nearly_unique = !uses.is_empty() && 10 * buyers_of.len() >= 8 * ids_of.len();
        if is_nearly_unique && place.suggests_person() { Self::Person } else { Self::Unclear }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Person => "looks like the ID of a person",
            Self::Shared => "shared by many buyers: a tenant or a constant, not a person",
            Self::PerPayment => "differs for each payment: an order or a cart, not a person",
            Self::Unclear => "does not look like the ID of a person",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(field: &str, uses: &[(&str, &str)]) -> Kind {
        Kind::of(&Place { holder: Holder::Payment, field: field.to_owned() }, uses)
    }

    #[test]
    fn id_of_a_person_is_unique_and_has_a_suitable_name() {
        let unique = [("u1", "cus_1"), ("u1", "cus_1"), ("u2", "cus_2"), ("u3", "cus_3")];
        for (field, expected) in [
            ("metadata.user_id", Kind::Person),
            ("metadata.UID", Kind::Person),
            ("metadata.externalId", Kind::Person),
            ("client_reference_id", Kind::Person),
            ("metadata.order_id", Kind::PerPayment),
            ("metadata.customer_order", Kind::PerPayment),
            ("metadata.customer_name", Kind::Unclear),
            ("metadata.colour", Kind::Unclear),
        ] {
            assert_eq!(kind(field, &unique), expected, "{field}");
        }
        assert_eq!(kind("metadata.user_id", &[]), Kind::Unclear);
    }

    #[test]
    fn new_value_for_each_payment_is_no_person() {
        let anew = [("a", "cus_1"), ("b", "cus_1"), ("c", "cus_2"), ("d", "cus_2"), ("e", "cus_3")];
        assert_eq!(kind("client_reference_id", &anew), Kind::PerPayment);
    }

    #[test]
    fn shared_value_is_no_person() {
        let buyers: Vec<_> = (0..7).map(|number| format!("cus_{number}")).collect();
        let shared: Vec<_> = buyers.iter().map(|buyer| ("acme", buyer.as_str())).collect();
        assert_eq!(kind("metadata.account_id", &shared), Kind::Shared);
        // A few buyers may be one person.
        assert_eq!(kind("metadata.account_id", &shared[..5]), Kind::Unclear);
        // Most are IDs of persons, and one is a constant for guests.
        let own: Vec<_> = (0..40).map(|number| (format!("u{number}"), format!("cus_own_{number}"))).collect();
        let own = own.iter().map(|(id, buyer)| (id.as_str(), buyer.as_str()));
        assert_eq!(kind("metadata.account_id", &own.chain(shared).collect::<Vec<_>>()), Kind::Person);
    }
}
