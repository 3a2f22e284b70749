//! Who buys.

use super::market::Market;
use super::seed::Seed;

/// A customer of the shop, or a guest.
#[derive(Clone, Debug)]
pub(crate) struct Buyer {
    /// All that is random about them comes from it.
    pub(crate) seed: Seed,
    /// From 1; customers and guests are counted apart.
    pub(crate) number: u32,
    pub(crate) identity: Identity,
    pub(crate) habit: Habit,
    pub(crate) market: Market,
}

/// What the shop tells Stripe about a buyer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// A customer, with the shop's own user ID in the metadata.
    User,
    /// A customer, and nothing else: one from before the shop wrote user IDs.
    Customer,
    /// No customer, but the e-mail address that the receipt goes to.
    GuestWithEmail,
    /// Nothing.
    Guest,
}

/// How the app sells to a buyer, and where it writes its own ID of a user. Stripe copies it to few other objects: from
/// a payment to its charges, and from a subscription to its invoices' `subscription_details`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// By Stripe's Checkout: on the checkout session alone.
    Checkout,
    /// By Stripe's API: on the subscription, on the invoice, or on a payment without an invoice.
    Api,
    /// By Stripe's API: on the customer alone, once.
    Customer,
}

impl Buyer {
    /// Whether the shop knows no customer.
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

    /// Where Stripe knows it.
    pub(crate) fn email(&self) -> Option<String> {
        match self.identity {
            Identity::User => self.user_id().map(|user| format!("{user}@example.com")),
            Identity::GuestWithEmail => Some(format!("guest_{:04}@example.com", self.number)),
            Identity::Customer | Identity::Guest => None,
        }
    }

    /// The user ID, where the app writes it there.
    pub(crate) fn user_id_by(&self, habit: Habit) -> Option<String> {
        self.user_id().filter(|_| self.habit == habit)
    }

    /// Whom Amplitude counts the buyer as, by the settings of the project `demo`. A guest of whom nothing is known is
    /// as many anonymous users as there are payments.
    #[cfg(test)]
    pub(crate) fn user_in_amplitude(&self) -> Option<String> {
        self.user_id().or_else(|| self.email()).or_else(|| self.customer())
    }
}
