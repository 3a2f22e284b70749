//! The products of a purchase, under stable names.
//!
//! A line's description changes with the quantity, the price, the currency and the dates of a proration, so a chart by
//! description has a bar for each. The product's own name comes first. From a description, only the part without
//! Stripe's generated wording is used.

use std::collections::HashSet;

use crate::stripe::event::{Event, id_of};
use crate::stripe::json::{Json, Object};
use crate::stripe::purchase::{Lines, Objects, Purchase};
use crate::stripe::reference::Reference;

/// The known products.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Products {
    /// The names, without repeats.
    pub names: Vec<String>,
    /// The IDs, without repeats.
    pub ids: Vec<String>,
    /// Some lines are unknown.
    pub are_incomplete: bool,
}

impl Products {
    /// The products on the lines in an object: an event holds ten lines of an invoice at most.
    pub fn of_object(object: &Object<'_>) -> Self {
        object.get("lines").map(|lines| Self::of_list(lines, true)).unwrap_or_default()
    }

    /// The products of a payment or an invoice, if they need a read. `describes` is whether a line's description may
    /// give a name. `None` if the event's own lines are complete.
    ///
    /// # Errors
    /// The object that must be read first.
    pub fn followed(event: &Event<'_>, objects: &Objects, describes: bool) -> Result<Option<Self>, Reference> {
        if !matches!(event.kind(), "payment_intent" | "charge" | "invoice") {
            return Ok(None);
        }
        Ok(match Purchase::seen_from(&event.object, objects).lines()? {
            Lines::Read(lines) => Some(Self::of_list(&lines, describes)),
            Lines::Unreadable => Some(Self { are_incomplete: true, ..Self::of_object(&event.object) }),
            Lines::None => None,
        })
    }

    /// The size of all names and IDs, in bytes.
    pub fn length(&self) -> usize {
        self.names.iter().chain(&self.ids).map(String::len).sum()
    }

    /// The products on the lines of a Stripe list.
    fn of_list(list: &Json<'_>, describes: bool) -> Self {
        let lines = list.get("data").and_then(Json::as_list).unwrap_or_default();
        let name = |line| product_name(line).or_else(|| plain_description(line).filter(|_| describes));
        Self {
            names: distinct(lines.iter().filter_map(name)),
            ids: distinct(lines.iter().filter_map(|line| id_of(product(line)))),
            are_incomplete: list.get("has_more").and_then(Json::as_bool) == Some(true),
        }
    }
}

/// Lines have `price` and `plan` in API versions before 2025, and `pricing` in later ones. A line of a checkout session
/// has `price` in all of them.
fn product<'l>(line: &'l Json<'l>) -> Option<&'l Json<'l>> {
    let of = |name: &str| line.get(name)?.get("product").filter(|product| !product.is_null());
    of("price").or_else(|| of("plan")).or_else(|| line.get("pricing")?.get("price_details")?.get("product"))
}

fn product_name<'l>(line: &'l Json<'l>) -> Option<&'l str> {
    product(line)?.get("name")?.as_str()
}

fn plain_description<'l>(line: &'l Json<'l>) -> Option<&'l str> {
    let description = line.get("description")?.as_str()?;
    let details = ["subscription_item_details", "invoice_item_details"];
    let of_parent = || details.iter().find_map(|name| line.get("parent")?.get(name)?.get("proration")?.as_bool());
    let is_proration = line.get("proration").and_then(Json::as_bool).or_else(of_parent);
    Some(plain(description, is_proration != Some(false)))
}

/// A description without the wording that Stripe generates around the product name. Source: the descriptions in
/// Stripe's documentation of subscriptions, prorations and trials.
fn plain(description: &str, may_be_proration: bool) -> &str {
    let without_dates = || {
        let rest =
            ["Unused time on ", "Remaining time on ", "Time on "].iter().find_map(|s| description.strip_prefix(s))?;
        // The name may contain the word, so the last one counts.
        let (name, date) = rest.rsplit_once(" after ").or_else(|| rest.rsplit_once(" from "))?;
        date.starts_with(|first: char| first.is_ascii_digit()).then_some(name)
    };
    let proration = if may_be_proration { without_dates() } else { None };
    let trial = || ["Trial period for ", "Free trial for "].iter().find_map(|start| description.strip_prefix(start));
    let name = proration.or_else(trial).unwrap_or(description);
    without_price(without_quantity(name))
}

/// `2 × Plan`, or `2 seats × Plan` if the price has a unit label.
fn without_quantity(text: &str) -> &str {
    match text.split_once(" × ") {
        Some((quantity, name)) if quantity.starts_with(|first: char| first.is_ascii_digit()) => name,
        _ => text,
    }
}

/// `Plan (at $29.00 / month)`, and `Plan (Tier 1 at $29.00 / month)`.
fn without_price(text: &str) -> &str {
    let is_price = |inside: &str| {
        let tier = || inside.strip_prefix("Tier ")?.split_once(" at ").map(|(_, price)| price);
        inside.strip_prefix("at ").or_else(tier).is_some_and(|price| price.contains(" / "))
    };
    match text.strip_suffix(')').and_then(|text| text.rsplit_once(" (")) {
        Some((name, inside)) if is_price(inside) => name,
        _ => text,
    }
}

fn distinct<'v>(values: impl Iterator<Item = &'v str>) -> Vec<String> {
    let mut known = HashSet::new();
    values.filter(|value| !value.is_empty() && known.insert(*value)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::stripe::event::tests::{event, sample};
    use crate::stripe::json;

    fn of_lines(lines: Value) -> Products {
        Products::of_object(&json::tests::object(&json!({"object": "invoice", "lines": lines})))
    }

    #[test]
    fn stripes_wording_is_removed_from_names() {
        for (description, name) in [
            ("1 × Pro (at $25.00 / month)", "Pro"),
            ("12 × Pro Plus (at €1,290.00 / every 3 months)", "Pro Plus"),
            ("3 seats × Team (Tier 2 at $8.00 / month)", "Team"),
            ("0 × API calls (at $0.01 / month)", "API calls"),
            ("Unused time on 5 × Basic after 14 Jul 2025", "Basic"),
            ("Remaining time on Plus after 14 Jul 2025", "Plus"),
            ("Remaining time on Look after me after 1 Jan 2026", "Look after me"),
            ("Time on Pro from 12 Oct 2026 until 12 Nov 2026", "Pro"),
            ("Trial period for Pro", "Pro"),
            ("Free trial for 2 × Pro", "Pro"),
            ("Pro (at home)", "Pro (at home)"),
            ("Pro (yearly)", "Pro (yearly)"),
            ("Unused time on Mars", "Unused time on Mars"),
            ("Item 00", "Item 00"),
            ("4 × 4 tyre", "4 tyre"),
            ("a × b", "a × b"),
        ] {
            assert_eq!(plain(description, true), name, "{description}");
        }
        assert_eq!(plain("Unused time on X after 1 Jan", false), "Unused time on X after 1 Jan");
    }

    proptest! {
        /// For any quantity, price and dates.
        #[test]
        fn names_do_not_depend_on_the_wording(
            name in "[A-Z][a-z]{1,8}( [A-Z][a-z]{1,8})?", quantity in 0..9999_u32, cents in 0..99999_u32, day in 1..28_u8,
        ) {
            let price = format!("${}.{:02}", cents / 100, cents % 100);
            for description in [
                format!("{quantity} × {name} (at {price} / month)"),
                format!("{quantity} seats × {name} (Tier 1 at {price} / year)"),
                format!("Unused time on {quantity} × {name} after {day} Feb 2026"),
                format!("Remaining time on {name} after {day} Feb 2026"),
                format!("Trial period for {name}"),
                name.clone(),
            ] {
                prop_assert_eq!(plain(&description, true), &name);
            }
        }
    }

    #[test]
    fn product_names_come_first() {
        let products = of_lines(json!({"data": [
            {"description": "1 × Pro (at $25.00 / month)", "price": {"product": {"id": "prod_pro", "name": "Pro!"}}},
            {"description": "2 × Pro (at $20.00 / month)", "price": {"product": {"id": "prod_pro", "name": "Pro!"}}},
            {"description": "1 × Old (at $2.00 / month)", "plan": {"product": "prod_old"}},
            {"description": "1 × New (at $2.00 / month)", "pricing": {"price_details": {"product": "prod_new"}}},
            {"description": "1 × Gone (at $2.00 / month)", "price": {"product": {"id": "prod_gone", "deleted": true}}},
            {"description": "By hand", "price": null},
            {"description": ""},
            {},
        ]}));
        assert_eq!(products.names, ["Pro!", "Old", "New", "Gone", "By hand"]);
        assert_eq!(products.ids, ["prod_pro", "prod_old", "prod_new", "prod_gone"]);
        assert!(!products.are_incomplete);
    }

    #[test]
    fn missing_lines_are_marked() {
        assert!(of_lines(json!({"data": [{"description": "Item"}], "has_more": true})).are_incomplete);
        assert_eq!(of_lines(json!(null)), Products::default());
        assert_eq!(Products::of_object(&Object::default()), Products::default());
    }

    /// It has no ID, and its lines are on the event.
    #[test]
    fn upcoming_invoices_use_their_own_lines() {
        let mut envelope = sample("invoice.created");
        envelope["data"]["object"] = json!({"object": "invoice", "subscription": "sub_1", "customer": "cus_1",
            "lines": {"object": "list", "has_more": false, "data": [{"description": "1 × Pro (at $9.00 / month)"}]}});
        assert_eq!(Products::followed(&event(&envelope), &Objects::default(), true), Ok(None));
    }
}
