//! The buyers.

use super::market::Market;
use super::seed::Seed;

/// A customer of the shop, or a guest.
#[derive(Clone, Debug)]
pub(crate) struct Buyer {
    /// The seed of everything random about the buyer.
    pub(crate) seed: Seed,
    /// From 1; customers and guests are numbered separately.
    pub(crate) number: u32,
    pub(crate) identity: Identity,
    pub(crate) habit: Habit,
    pub(crate) market: Market,
}

/// What Stripe knows about a buyer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// A customer, with the shop's own user ID in the metadata.
    User,
    /// A customer without a user ID, from before the shop wrote user IDs.
    Customer,
    /// Only the email address for the receipt.
    GuestWithEmail,
    /// Nothing.
    Guest,
}

/// How the app sells to a buyer, and on which object it writes the user ID. Stripe copies metadata to few other objects: from
/// a payment to its charges, and from a subscription to its invoices' `subscription_details`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Stripe Checkout: only on the checkout session.
    Checkout,
    /// Stripe's API: on the subscription, on the invoice, or on a payment without an invoice.
    Api,
    /// Stripe's API: only on the customer.
    Customer,
}

impl Buyer {
    /// Whether the buyer is not a customer.
    pub(crate) fn is_guest(&self) -> bool {
        matches!(self.identity, Identity::GuestWithEmail | Identity::Guest)
    }

    /// Stripe's ID of the customer.
    pub(crate) fn customer(&self) -> Option<String> {
        (!self.is_guest()).then(|| self.seed.id("cus"))
    }

    /// The shop's own ID of the user.
    pub(crate) fn user_id(&self) -> Option<String> {
        (self.identity == Identity::User).then(|| format!("user_{:04}", self.number))
    }

    /// If Stripe knows it.
    pub(crate) fn email(&self) -> Option<String> {
        match self.identity {
            Identity::User => self.user_id().map(|user| format!("{user}@example.com")),
            Identity::GuestWithEmail => Some(format!("guest_{:04}@example.com", self.number)),
            Identity::Customer | Identity::Guest => None,
        }
    }

    /// The user ID, if the app writes it this way.
    pub(crate) fn user_id_by(&self, habit: Habit) -> Option<String> {
        self.user_id().filter(|_| self.habit == habit)
    }

    /// The user in Amplitude with the settings of the project `demo`. An unknown guest is a separate anonymous user for each
    /// payment.
    #[cfg(test)]
    pub(crate) fn user_in_amplitude(&self) -> Option<String> {
        self.user_id().or_else(|| self.email()).or_else(|| self.customer())
    }
}
