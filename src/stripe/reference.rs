//! A reference to an object in Stripe's API, and its path there.

use std::fmt;

/// An object that must be read from Stripe's API before the event can be translated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The kind of object.
    pub kind: ReferenceKind,
    /// The ID by which Stripe finds it: its own, or that of its payment or subscription.
    pub id: String,
}

/// The kinds of objects that can be read. Source of the paths: Stripe's API reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ReferenceKind {
    /// A customer, or an Accounts v2 account in its place.
    Customer,
    /// A subscription.
    Subscription,
    /// An invoice.
    Invoice,
    /// A PaymentIntent.
    PaymentIntent,
    /// A charge, if there is no PaymentIntent.
    Charge,
    /// A cardholder of Stripe Issuing.
    Cardholder,
    /// The checkout session of a PaymentIntent, by the PaymentIntent's ID.
    SessionOfPayment,
    /// The checkout session that started a subscription, by the subscription's ID.
    SessionOfSubscription,
    /// The lines of an invoice with their products, by the invoice's ID.
    InvoiceLines,
    /// The line items of a checkout session with the products, by the session's ID.
    SessionLines,
}

impl ReferenceKind {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Customer,
        Self::Subscription,
        Self::Invoice,
        Self::PaymentIntent,
        Self::Charge,
        Self::Cardholder,
        Self::SessionOfPayment,
        Self::SessionOfSubscription,
        Self::InvoiceLines,
        Self::SessionLines,
    ];

    /// The permissions that a restricted key needs for it, as Stripe's dashboard and Stripe's errors name them.
    pub fn permissions(self) -> &'static [Permission] {
        use permission::*;
        match self {
            Self::Customer => &[CUSTOMERS],
            Self::Subscription => &[SUBSCRIPTIONS],
            Self::Invoice => &[INVOICES],
            Self::PaymentIntent => &[PAYMENT_INTENTS],
            Self::Charge => &[CHARGES],
            Self::Cardholder => &[CARDHOLDERS],
            Self::SessionOfPayment | Self::SessionOfSubscription => &[CHECKOUT_SESSIONS],
            Self::InvoiceLines => &[INVOICES, PRICES, PRODUCTS],
            Self::SessionLines => &[CHECKOUT_SESSIONS, PRICES, PRODUCTS],
        }
    }

    /// Whether a 404 means that the key is of another account or mode: an event refers to such an object only after it
    /// exists, and Stripe does not remove it. A search for a session returns 404 only if the payment or subscription is
    /// unknown; otherwise it returns an empty list.
    pub fn must_exist(self) -> bool {
        self.is_search() || matches!(self, Self::Customer | Self::PaymentIntent | Self::Charge | Self::Subscription)
    }

    /// The `object` of the response.
    pub(crate) fn object(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Subscription => "subscription",
            Self::Invoice => "invoice",
            Self::PaymentIntent => "payment_intent",
            Self::Charge => "charge",
            Self::Cardholder => "issuing.cardholder",
            Self::SessionOfPayment | Self::SessionOfSubscription | Self::InvoiceLines | Self::SessionLines => "list",
        }
    }

    /// Whether Stripe returns a list, of which the first element counts.
    pub(crate) fn is_search(self) -> bool {
        matches!(self, Self::SessionOfPayment | Self::SessionOfSubscription)
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Subscription => "subscription",
            Self::Invoice => "invoice",
            Self::PaymentIntent => "payment",
            Self::Charge => "charge",
            Self::Cardholder => "cardholder",
            Self::SessionOfPayment => "checkout session of the payment",
            Self::SessionOfSubscription => "checkout session of the subscription",
            Self::InvoiceLines => "lines of the invoice",
            Self::SessionLines => "line items of the checkout session",
        }
    }
}

impl fmt::Display for ReferenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.noun())
    }
}

impl Reference {
    /// The path and the query below `https://api.stripe.com`. The ID is escaped: it comes from an event's body.
    pub fn path(&self) -> String {
        let id = Escaped(&self.id);
        match self.kind {
            ReferenceKind::Customer => format!("/v1/customers/{id}"),
            ReferenceKind::Subscription => format!("/v1/subscriptions/{id}"),
            ReferenceKind::Invoice => format!("/v1/invoices/{id}"),
            ReferenceKind::PaymentIntent => format!("/v1/payment_intents/{id}"),
            ReferenceKind::Charge => format!("/v1/charges/{id}"),
            ReferenceKind::Cardholder => format!("/v1/issuing/cardholders/{id}"),
            ReferenceKind::SessionOfPayment => format!("/v1/checkout/sessions?payment_intent={id}&limit=1"),
            ReferenceKind::SessionOfSubscription => format!("/v1/checkout/sessions?subscription={id}&limit=1"),
            ReferenceKind::InvoiceLines => format!("/v1/invoices/{id}/lines?{WITH_PRODUCTS}"),
            ReferenceKind::SessionLines => format!("/v1/checkout/sessions/{id}/line_items?{WITH_PRODUCTS}"),
        }
    }
}

/// A page holds a hundred lines at most.
const WITH_PRODUCTS: &str = "limit=100&expand%5B%5D=data.price.product";

/// A permission of a restricted key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Permission {
    /// As in the dashboard, where each one is set to "Read".
    pub resource: &'static str,
    /// As in Stripe's errors.
    pub name: &'static str,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: Read ({})", self.resource, self.name)
    }
}

/// Source: Stripe's documentation, "Restricted API keys", and its errors.
pub mod permission {
    use super::Permission;

    /// Customers.
    pub const CUSTOMERS: Permission = Permission { resource: "Customers", name: "rak_customer_read" };
    /// Subscriptions.
    pub const SUBSCRIPTIONS: Permission = Permission { resource: "Subscriptions", name: "rak_subscription_read" };
    /// Invoices and their lines.
    pub const INVOICES: Permission = Permission { resource: "Invoices", name: "rak_invoice_read" };
    /// PaymentIntents.
    pub const PAYMENT_INTENTS: Permission = Permission { resource: "PaymentIntents", name: "rak_payment_intent_read" };
    /// Charges and refunds.
    pub const CHARGES: Permission = Permission { resource: "Charges and Refunds", name: "rak_charge_read" };
    /// Checkout sessions and their line items.
    pub const CHECKOUT_SESSIONS: Permission =
        Permission { resource: "Checkout Sessions", name: "rak_checkout_session_read" };
    /// Cardholders of Stripe Issuing.
    pub const CARDHOLDERS: Permission = Permission { resource: "Cardholders", name: "rak_issuing_cardholder_read" };
    /// Products.
    pub const PRODUCTS: Permission = Permission { resource: "Products", name: "rak_product_read" };
    /// Prices, which Stripe's errors call plans.
    pub const PRICES: Permission = Permission { resource: "Prices", name: "plan_read" };
}

/// Percent-encodes everything except the characters of Stripe's IDs.
struct Escaped<'i>(&'i str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.bytes().try_for_each(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => write!(f, "{}", char::from(byte)),
            byte => write!(f, "%{byte:02X}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_escaped() {
        for (id, escaped) in [
            ("cus_A1-b", "cus_A1-b"),
            ("../accounts", "%2E%2E%2Faccounts"),
            ("cus_1?expand[]=x", "cus_1%3Fexpand%5B%5D%3Dx"),
            ("cus_1#", "cus_1%23"),
            ("é\n", "%C3%A9%0A"),
        ] {
            let reference = Reference { kind: ReferenceKind::Customer, id: id.to_owned() };
            assert_eq!(reference.path(), format!("/v1/customers/{escaped}"));
        }
    }

    #[test]
    fn every_kind_has_permissions() {
        assert!(ReferenceKind::ALL.iter().all(|kind| !kind.permissions().is_empty()));
    }
}
