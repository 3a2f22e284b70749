//! A place where an app may have put an ID, and whether that looks like a person's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use stripe_amplitude::stripe::purchase::Name;

use super::HANDFUL;

/// An object that has metadata of its own. Those whose events are the most come first.
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

    /// As paths begin with it.
    fn written(self) -> &'static str {
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
    /// A key of metadata with `metadata.` before it, or `client_reference_id`.
    pub(super) field: String,
}

impl Place {
    /// The key, without what is before it.
    pub(super) fn key(&self) -> &str {
        self.field.strip_prefix("metadata.").unwrap_or(&self.field)
    }

    /// Whether its name is that of a person's ID.
    pub(super) fn says_person(&self) -> bool {
        self.says(&OF_PERSONS) && !self.says(&OF_NEITHER) && !self.says(&OF_PURCHASES)
    }

    fn says(&self, words: &[&str]) -> bool {
        let key = self.key().to_lowercase();
        words.iter().any(|word| key.contains(word))
    }

    /// As paths of `user_id_paths`, the ones that read nothing first.
    pub(super) fn paths(&self) -> Vec<String> {
        // The charge of a payment has a copy of its metadata.
        let own = (self.holder == Holder::Payment).then(|| self.field.clone());
        own.into_iter().chain([self.to_string()]).collect()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.holder.written(), self.field)
    }
}

/// What the values of a place look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A person's ID: nearly as many as buyers, and named so.
    Person,
    /// One value of many buyers: a tenant or a constant.
    Shared,
    /// Another one with each payment: an order or a cart.
    PerPayment,
    Unclear,
}

/// In the names of keys that hold an ID of a person.
const OF_PERSONS: [&str; 10] =
    ["user", "uid", "account", "customer", "member", "external", "client", "person", "amplitude", "subscriber"];

/// In the names of keys that hold one of a purchase.
const OF_PURCHASES: [&str; 8] = ["order", "cart", "basket", "booking", "checkout", "transaction", "payment", "invoice"];

/// In the names of keys that hold no ID, or one that changes.
const OF_NEITHER: [&str; 11] =
    ["name", "mail", "phone", "type", "plan", "date", "created", "url", "agent", "tier", "country"];

impl Kind {
    /// `uses` are the IDs there with their buyers, one for each payment.
    pub(super) fn of(place: &Place, uses: &[(&str, &str)]) -> Self {
        let mut ids_of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut buyers_of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (id, buyer) in uses {
            ids_of.entry(buyer).or_default().push(id);
            buyers_of.entry(id).or_default().insert(buyer);
        }
        let is_shared = |id: &str| buyers_of.get(id).is_some_and(|buyers| buyers.len() > HANDFUL);
        if 2 * uses.iter().filter(|(id, _)| is_shared(id)).count() > uses.len() {
            return Self::Shared;
        }
        let again: Vec<_> = ids_of.values().filter(|ids| ids.len() > 1).collect();
        let same = again.iter().filter(|ids| ids.windows(2).all(|pair| pair.first() == pair.last())).count();
        if 2 * same < again.len() || place.says(&OF_PURCHASES) {
            return Self::PerPayment;
        }
        let is_nearly_unique = !uses.is_empty() && 10 * buyers_of.len() >= 8 * ids_of.len();
        if is_nearly_unique && place.says_person() { Self::Person } else { Self::Unclear }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Person => "looks like the ID of a person",
            Self::Shared => "shared by many buyers: a tenant or a constant, not a person",
            Self::PerPayment => "of each payment: an order or a cart, not a person",
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
    fn a_persons_id_is_nearly_unique_and_named_so() {
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
    fn what_each_payment_has_anew_is_no_person_whatever_it_is_named() {
        let anew = [("a", "cus_1"), ("b", "cus_1"), ("c", "cus_2"), ("d", "cus_2"), ("e", "cus_3")];
        assert_eq!(kind("client_reference_id", &anew), Kind::PerPayment);
    }

    #[test]
    fn what_many_buyers_share_is_no_person() {
        let buyers: Vec<_> = (0..7).map(|number| format!("cus_{number}")).collect();
        let shared: Vec<_> = buyers.iter().map(|buyer| ("acme", buyer.as_str())).collect();
        assert_eq!(kind("metadata.account_id", &shared), Kind::Shared);
        // A handful may be one person.
        assert_eq!(kind("metadata.account_id", &shared[..5]), Kind::Unclear);
        // Most are persons', and one is a guest's.
        let own: Vec<_> = (0..40).map(|number| (format!("u{number}"), format!("cus_own_{number}"))).collect();
        let own = own.iter().map(|(id, buyer)| (id.as_str(), buyer.as_str()));
        assert_eq!(kind("metadata.account_id", &own.chain(shared).collect::<Vec<_>>()), Kind::Person);
    }
}
