//! The fields of [`API_VERSION`](super::event_types::API_VERSION), for which the rules were written, that later API
//! versions removed, and where their values are now.
//!
//! The table has fields that a user would miss in a chart or in the settings, of the objects of all types that are
//! forwarded by default, and of subscriptions, customers and discounts, whose types are often added. It covers versions
//! until 2026-10-28. Sources: docs.stripe.com/changelog, and the types in Stripe's official libraries for 2024-06-20,
//! for the first version under each name since, and for the newest, compared field by field.

use std::fmt;

/// A field of an object in 2024-06-20 that later API versions removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RemovedField {
    /// The kind of the object that had it, for example `invoice`.
    pub kind: &'static str,
    /// Its path inside the object; `*` is the index of any element of a list.
    pub field: &'static str,
    /// The date of the first API version without it.
    pub since: &'static str,
    /// The path of its value now, if there is one; each `*` is the same as in `field`.
    pub now: Option<&'static str>,
    /// The effect on the data in Amplitude: the end of a sentence.
    pub meaning: &'static str,
}

/// The effect if the field only moved.
const MOVED: &str = "charts need the new path, and the paths in `user_id_paths` and `drop_properties` mean both";

const ONE_OF_SEVERAL: &str = "the property is gone, because an invoice may now have several payments";
const ONLY_IDS: &str = "only the IDs of the price and of its product are left, and `product_names` and `product_ids` are as before; charts need the new path";
const PAYMENTS_ALIKE: &str =
    "the property is gone, and with it the distinction between payments of invoices and subscriptions and others";
const DISCOUNTS: &str = "the property is gone; `discounts` lists the IDs";
const PRESENTED: &str = "the property is gone; what the buyer saw is in `presentment_details`";
const COUPON: &str = "only its ID is left; charts need the new path";

/// docs.stripe.com/changelog/basil/2025-03-31: invoice-tax-configurations, adds-new-parent-field-to-invoicing-objects,
/// add-support-for-multiple-partial-payments-on-invoices, checkout-session-remove-shipping-details.
const BASIL: &str = "2025-03-31";

/// docs.stripe.com/changelog/clover/2025-09-30: add-discount-source-property,
/// remove-checkout-session-currency-conversion-field.
const CLOVER: &str = "2025-09-30";

const REMOVED_FIELDS: &[RemovedField] = &[
    moved("checkout.session", "shipping_details", BASIL, "collected_information.shipping_details", MOVED),
    gone("checkout.session", "currency_conversion", CLOVER, PRESENTED),
    gone("charge", "invoice", BASIL, PAYMENTS_ALIKE),
    gone("payment_intent", "invoice", BASIL, PAYMENTS_ALIKE),
    gone(
        "invoice",
        "tax",
        BASIL,
        "`normalized_tax` is the sum of `total_taxes`, which is the same; only `tax` is gone",
    ),
    moved("invoice", "total_tax_amounts", BASIL, "total_taxes", MOVED),
    moved("invoice", "subscription", BASIL, "parent.subscription_details.subscription", MOVED),
    moved("invoice", "subscription_details", BASIL, "parent.subscription_details", MOVED),
    moved("invoice", "quote", BASIL, "parent.quote_details.quote", MOVED),
    gone("invoice", "charge", BASIL, ONE_OF_SEVERAL),
    gone("invoice", "payment_intent", BASIL, ONE_OF_SEVERAL),
    gone("invoice", "paid", BASIL, "the property is gone; where it was true, `status` is \"paid\""),
    gone(
        "invoice",
        "paid_out_of_band",
        BASIL,
        "the property is gone, and `amount_paid` and `normalized_amount_paid` count what was paid outside of Stripe, too",
    ),
    gone(
        "invoice",
        "application_fee_amount",
        BASIL,
        "it and `normalized_application_fee_amount` are gone; those of charges and PaymentIntents are as before",
    ),
    gone("invoice", "transfer_data", BASIL, "the property is gone; that of charges and PaymentIntents is as before"),
    gone("invoice", "discount", BASIL, DISCOUNTS),
    moved("invoice", "lines.data.*.price", BASIL, "lines.data.*.pricing.price_details", ONLY_IDS),
    moved("invoice", "lines.data.*.plan", BASIL, "lines.data.*.pricing.price_details", ONLY_IDS),
    moved("invoice", "lines.data.*.tax_amounts", BASIL, "lines.data.*.taxes", MOVED),
    gone("subscription", "current_period_start", BASIL, "the property is gone; each of `items` has its own"),
    gone("subscription", "current_period_end", BASIL, "the property is gone; each of `items` has its own"),
    gone("subscription", "discount", BASIL, DISCOUNTS),
    moved("customer", "discount.coupon", CLOVER, "discount.source.coupon", COUPON),
    moved("discount", "coupon", CLOVER, "source.coupon", COUPON),
];

const fn gone(kind: &'static str, field: &'static str, since: &'static str, meaning: &'static str) -> RemovedField {
    RemovedField { kind, field, since, now: None, meaning }
}

const fn moved(
    kind: &'static str,
    field: &'static str,
    since: &'static str,
    now: &'static str,
    meaning: &'static str,
) -> RemovedField {
    RemovedField { kind, field, since, now: Some(now), meaning }
}

/// The fields that an object of this kind lacks in this API version. Only the date of the version counts; the rest
/// (`.basil`) is a name. A version without a date is assumed to lack nothing.
pub fn removed_fields(kind: &str, api_version: &str) -> impl Iterator<Item = &'static RemovedField> {
    let date = api_version.get(..10).filter(|date| date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-'));
    REMOVED_FIELDS.iter().filter(move |field| field.kind == kind && date.is_some_and(|date| date >= field.since))
}

/// Where the value at a path is in later API versions: the kind of the object, and the path in it. In the given path,
/// `*` may stand for any one segment.
pub(crate) fn later_places(path: &str) -> impl Iterator<Item = (&'static str, String)> {
    REMOVED_FIELDS.iter().filter_map(move |field| Some((field.kind, field.later_place(path)?)))
}

impl RemovedField {
    fn later_place(&self, path: &str) -> Option<String> {
        let now = self.now?;
        let mut segments = path.split('.');
        let mut indices = Vec::new();
        for name in self.field.split('.') {
            match segments.next()? {
                index if name == "*" => indices.push(index),
                segment if segment == name || segment == "*" => {}
                _ => return None,
            }
        }
        let mut indices = indices.into_iter();
        let place = now.split('.').map(|name| if name == "*" { indices.next().unwrap_or(name) } else { name });
        Some(place.chain(segments).collect::<Vec<_>>().join("."))
    }
}

impl fmt::Display for RemovedField {
    /// A sentence for people who look at the data in Amplitude.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, field, since, now, meaning } = self;
        match now {
            Some(now) => write!(f, "From API version {since} on, `{field}` of `{kind}` is `{now}`: {meaning}."),
            None => write!(f, "From API version {since} on, `{kind}` has no `{field}`: {meaning}."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::tests::{later_samples, sample};
    use super::super::event_types;
    use super::*;

    fn fields(kind: &str, api_version: &str) -> Vec<&'static str> {
        removed_fields(kind, api_version).map(|field| field.field).collect()
    }

    #[test]
    fn removed_fields_depend_on_the_kind_and_the_date() {
        for (kind, api_version, lacks) in [
            ("charge", "2024-06-20", &[][..]),
            ("charge", "2020-08-27", &[]),
            ("charge", "2025-02-24.acacia", &[]),
            ("charge", "2025-03-31.basil", &["invoice"]),
            ("charge", "2025-03-31.preview", &["invoice"]),
            ("charge", "2025-03-31", &["invoice"]),
            ("charge", "2026-10-28.endive", &["invoice"]),
            ("checkout.session", "2025-08-27.basil", &["shipping_details"]),
            ("checkout.session", "2026-10-28.endive", &["shipping_details", "currency_conversion"]),
            ("customer", "2025-08-27.basil", &[]),
            ("customer", "2025-09-30.clover", &["discount.coupon"]),
            ("refund", "2026-10-28.endive", &[]),
            ("", "2026-10-28.endive", &[]),
            ("charge", "", &[]),
            ("charge", "2025", &[]),
            ("charge", "unversioned", &[]),
            ("charge", "2025-03-3é", &[]),
        ] {
            assert_eq!(fields(kind, api_version), lacks, "{kind} {api_version}");
        }
        for expected in ["tax", "subscription", "paid_out_of_band", "lines.data.*.price"] {
            assert!(fields("invoice", "2025-03-31.basil").contains(&expected), "{expected}");
        }
        assert_eq!(fields("invoice", event_types::API_VERSION), [""; 0]);
    }

    #[test]
    fn each_removed_field_is_explained() {
        let sentences: Vec<_> = REMOVED_FIELDS.iter().map(ToString::to_string).collect();
        for sentence in [
            "From API version 2025-03-31 on, `invoice` has no `tax`: `normalized_tax` is the sum of `total_taxes`, which is \
             the same; only `tax` is gone.",
            "From API version 2025-03-31 on, `subscription` of `invoice` is `parent.subscription_details.subscription`: \
             charts need the new path, and the paths in `user_id_paths` and `drop_properties` mean both.",
        ] {
            assert!(sentences.iter().any(|removed| removed == sentence), "{sentence}");
        }
        for sentence in sentences {
            assert!(!sentence.contains("..") && !sentence.contains(":."), "{sentence}");
        }
    }

    #[test]
    fn paths_lead_to_the_later_place() {
        for (path, kind, later) in [
            ("subscription", "invoice", "parent.subscription_details.subscription"),
            ("subscription_details.metadata.user_id", "invoice", "parent.subscription_details.metadata.user_id"),
            ("subscription_details.*", "invoice", "parent.subscription_details.*"),
            ("*.metadata", "invoice", "parent.subscription_details.metadata"),
            ("lines.data.3.price.product", "invoice", "lines.data.3.pricing.price_details.product"),
            ("lines.data.*.price", "invoice", "lines.data.*.pricing.price_details"),
            ("lines.*.0.plan", "invoice", "lines.data.0.pricing.price_details"),
            ("shipping_details.name", "checkout.session", "collected_information.shipping_details.name"),
        ] {
            assert!(later_places(path).any(|place| place == (kind, later.to_owned())), "{path}");
        }
        // Parents do not move, and removed fields are nowhere.
        for path in
            ["metadata.user_id", "customer", "lines", "lines.data.*", "lines.data.0.description", "tax", "charge"]
        {
            assert_eq!(later_places(path).count(), 0, "{path}");
        }
    }

    /// Of the top-level fields, all of which the samples have.
    #[test]
    fn later_samples_lack_exactly_the_listed_fields() {
        for later in later_samples() {
            let (event_type, version) = (later["type"].as_str().unwrap(), later["api_version"].as_str().unwrap());
            let object = &sample(event_type)["data"]["object"];
            let removed = fields(object["object"].as_str().unwrap(), version);
            for name in object.as_object().unwrap().keys() {
                let is_there = later["data"]["object"].get(name).is_some();
                assert_eq!(is_there, !removed.contains(&name.as_str()), "{event_type} {version} {name}");
            }
        }
    }
}
