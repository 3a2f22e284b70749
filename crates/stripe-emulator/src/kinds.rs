//! The kinds of objects: their paths, and the objects that they refer to.

use crate::keys::Permission;
use crate::versions::{ApiVersion, BASIL};

/// A kind of objects with IDs.
pub(crate) struct Kind {
    /// The value of their `object`.
    pub(crate) object: &'static str,
    /// The segments of their path after `/v1/`.
    pub(crate) path: &'static [&'static str],
    pub(crate) permission: Permission,
    /// Stripe's name for the ID parameter in errors.
    pub(crate) param: &'static str,
    /// The filters of their list, in addition to `created`. `None` if the emulator has no list of this kind.
    pub(crate) filters: Option<&'static [&'static str]>,
    pub(crate) lines: Option<Lines>,
}

/// A list inside an object, which can also be read page by page.
pub(crate) struct Lines {
    /// The field that contains the objects.
    pub(crate) field: &'static str,
    /// The last segment of their path.
    pub(crate) segment: &'static str,
    /// The name of a line in [`Field::of`].
    pub(crate) kind: &'static str,
}

/// Source: docs.stripe.com/api, and for the permissions docs.stripe.com/keys/restricted-api-keys.
pub(crate) const KINDS: &[Kind] = &[
    Kind { param: "id", ..kind("customer", &["customers"], Permission::CustomerRead) },
    kind("subscription", &["subscriptions"], Permission::SubscriptionRead),
    Kind {
        param: "invoice",
        lines: Some(Lines { field: "lines", segment: "lines", kind: "line_item" }),
        ..kind("invoice", &["invoices"], Permission::InvoiceRead)
    },
    Kind {
        param: "intent",
        filters: Some(&["customer"]),
        ..kind("payment_intent", &["payment_intents"], Permission::PaymentIntentRead)
    },
    Kind { filters: Some(&["customer", "payment_intent"]), ..kind("charge", &["charges"], Permission::ChargeRead) },
    Kind {
        param: "session",
        filters: Some(&["customer", "payment_intent", "subscription"]),
        lines: Some(Lines { field: "line_items", segment: "line_items", kind: "item" }),
        ..kind("checkout.session", &["checkout", "sessions"], Permission::CheckoutSessionRead)
    },
    Kind {
        param: "cardholder",
        ..kind("issuing.cardholder", &["issuing", "cardholders"], Permission::IssuingCardholderRead)
    },
    kind("product", &["products"], Permission::ProductRead),
    Kind { param: "price", ..kind("price", &["prices"], Permission::PlanRead) },
];

const fn kind(object: &'static str, path: &'static [&'static str], permission: Permission) -> Kind {
    Kind { object, path, permission, param: "id", filters: None, lines: None }
}

impl Kind {
    pub(crate) fn named(object: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.object == object)
    }
}

/// A field that refers to or contains another object.
#[derive(Clone, Copy)]
pub(crate) struct Field {
    /// The kind of the object that has the field.
    pub(crate) of: &'static str,
    pub(crate) name: &'static str,
    pub(crate) holds: Holds,
    versions: Versions,
}

/// The content of a field. The name is a kind, or the emulator's name for a part of an object.
#[derive(Clone, Copy)]
pub(crate) enum Holds {
    /// An ID, or the object itself if it is expanded.
    Id(&'static str),
    /// A part of the object, always present.
    Part(&'static str),
    /// A list that is always present.
    List(&'static str),
    /// A list that is only present if it is expanded.
    ListOnDemand(&'static str),
}

#[derive(Clone, Copy)]
enum Versions {
    All,
    Before(&'static str),
    From(&'static str),
}

/// Source: docs.stripe.com/api for the fields marked "Expandable", and docs.stripe.com/changelog/basil for what moved.
const FIELDS: &[Field] = &[
    field("charge", "customer", Holds::Id("customer"), Versions::All),
    field("charge", "invoice", Holds::Id("invoice"), Versions::Before(BASIL)),
    field("charge", "payment_intent", Holds::Id("payment_intent"), Versions::All),
    field("checkout.session", "customer", Holds::Id("customer"), Versions::All),
    field("checkout.session", "invoice", Holds::Id("invoice"), Versions::All),
    field("checkout.session", "line_items", Holds::ListOnDemand("item"), Versions::All),
    field("checkout.session", "payment_intent", Holds::Id("payment_intent"), Versions::All),
    field("checkout.session", "subscription", Holds::Id("subscription"), Versions::All),
    field("invoice", "charge", Holds::Id("charge"), Versions::Before(BASIL)),
    field("invoice", "customer", Holds::Id("customer"), Versions::All),
    field("invoice", "lines", Holds::List("line_item"), Versions::All),
    field("invoice", "parent", Holds::Part("invoice.parent"), Versions::From(BASIL)),
    field("invoice", "payment_intent", Holds::Id("payment_intent"), Versions::Before(BASIL)),
    field("invoice", "subscription", Holds::Id("subscription"), Versions::Before(BASIL)),
    field("invoice.parent", "subscription_details", Holds::Part("invoice.parent.details"), Versions::All),
    field("invoice.parent.details", "subscription", Holds::Id("subscription"), Versions::All),
    field("item", "price", Holds::Part("price"), Versions::All),
    field("line_item", "price", Holds::Part("price"), Versions::Before(BASIL)),
    field("line_item", "pricing", Holds::Part("line_item.pricing"), Versions::From(BASIL)),
    field("line_item.pricing", "price_details", Holds::Part("line_item.pricing.details"), Versions::All),
    field("line_item.pricing.details", "price", Holds::Id("price"), Versions::All),
    field("payment_intent", "customer", Holds::Id("customer"), Versions::All),
    field("payment_intent", "invoice", Holds::Id("invoice"), Versions::Before(BASIL)),
    field("payment_intent", "latest_charge", Holds::Id("charge"), Versions::All),
    field("price", "product", Holds::Id("product"), Versions::All),
    field("product", "default_price", Holds::Id("price"), Versions::All),
    field("subscription", "customer", Holds::Id("customer"), Versions::All),
    field("subscription", "items", Holds::List("subscription_item"), Versions::All),
    field("subscription", "latest_invoice", Holds::Id("invoice"), Versions::All),
    field("subscription_item", "price", Holds::Part("price"), Versions::All),
];

const fn field(of: &'static str, name: &'static str, holds: Holds, versions: Versions) -> Field {
    Field { of, name, holds, versions }
}

impl Field {
    pub(crate) fn find(of: &str, name: &str, version: &ApiVersion) -> Option<&'static Self> {
        FIELDS.iter().find(|field| field.of == of && field.name == name).filter(|field| match field.versions {
            Versions::All => true,
            Versions::Before(date) => !version.is_from(date),
            Versions::From(date) => version.is_from(date),
        })
    }
}
