//! The shape of an object in a response: in an API version, and with as many of its lines as Stripe includes.

use serde_json::{Map, Value, json};

use crate::kinds::Kind;
use crate::versions::{ApiVersion, BASIL};

/// The number of lines that an object includes. Source: docs.stripe.com/api/invoices/invoice_lines and
/// docs.stripe.com/api/checkout/sessions/line_items.
const INCLUDED_LINES: usize = 10;

/// Converts an object from [`API_VERSION`](crate::API_VERSION) to another version.
pub(crate) fn object(kind: &Kind, object: &Value, version: &ApiVersion) -> Value {
    let mut shown = object.clone();
    let Some(fields) = shown.as_object_mut() else { return shown };
    if fields.contains_key("deleted") {
        return shown;
    }
    if let Some(lines) = &kind.lines {
        fields.remove(lines.field);
    }
    if kind.object == "invoice" {
        fields.insert("lines".to_owned(), first_lines(kind, object, version));
    }
    if version.is_from(BASIL) {
        remove_dropped_fields(kind.object, fields);
    }
    shown
}

/// Converts an object of any version to [`API_VERSION`](crate::API_VERSION) as far as its subscription is concerned,
/// which later invoices only have in `parent`.
pub(crate) fn to_stored_version(object: &Value) -> Value {
    let mut kept = object.clone();
    let details = object.pointer("/parent/subscription_details").and_then(Value::as_object);
    if let (Some(details), Some(fields)) = (details, kept.as_object_mut())
        && fields.get("object").is_some_and(|kind| kind == "invoice")
    {
        let detail = |name: &str| details.get(name).cloned().unwrap_or_default();
        fields.entry("subscription").or_insert_with(|| detail("subscription"));
        fields.entry("subscription_details").or_insert_with(|| json!({"metadata": detail("metadata")}));
    }
    kept
}

/// The list of an object's lines that the object itself contains.
pub(crate) fn first_lines(kind: &Kind, object: &Value, version: &ApiVersion) -> Value {
    let all = lines(kind, object);
    let data: Vec<_> = all.iter().take(INCLUDED_LINES).map(|shown| line(kind, shown, version)).collect();
    json!({
        "object": "list",
        "data": data,
        "has_more": all.len() > INCLUDED_LINES,
        "total_count": all.len(),
        "url": lines_url(kind, object),
    })
}

/// All lines of a stored object.
pub(crate) fn lines<'o>(kind: &Kind, object: &'o Value) -> &'o [Value] {
    let field = kind.lines.as_ref().map_or("", |lines| lines.field);
    object.get(field).and_then(|lines| lines.get("data")?.as_array()).map_or(&[], Vec::as_slice)
}

pub(crate) fn lines_url(kind: &Kind, object: &Value) -> String {
    let segment = kind.lines.as_ref().map_or("", |lines| lines.segment);
    format!("/v1/{}/{}/{segment}", kind.path.join("/"), text(object, "id"))
}

/// Converts a line to a version. Those of checkout sessions are the same in all versions.
pub(crate) fn line(kind: &Kind, line: &Value, version: &ApiVersion) -> Value {
    let mut shown = line.clone();
    if let (true, "invoice", Some(fields)) = (version.is_from(BASIL), kind.object, shown.as_object_mut()) {
        fields.remove("plan");
        let price = fields.remove("price").unwrap_or_default();
        let details = json!({"price": id_of(&price), "product": id_of(price.get("product").unwrap_or(&Value::Null))});
        let pricing = json!({
            "type": "price_details",
            "price_details": details,
            "unit_amount_decimal": price.get("unit_amount_decimal"),
        });
        fields.insert("pricing".to_owned(), if price.is_null() { Value::Null } else { pricing });
    }
    shown
}

/// Source: docs.stripe.com/changelog/basil/2025-03-31, adds-new-parent-field-to-invoicing-objects and
/// add-support-for-multiple-partial-payments-on-invoices.
fn remove_dropped_fields(object: &str, fields: &mut Map<String, Value>) {
    match object {
        "payment_intent" | "charge" => {
            fields.remove("invoice");
        }
        "invoice" => {
            let [subscription, details, ..] =
                ["subscription", "subscription_details", "payment_intent", "charge", "paid"]
                    .map(|name| fields.remove(name).unwrap_or_default());
            let parent = json!({
                "type": "subscription_details",
                "quote_details": null,
                "subscription_details": {"subscription": subscription, "metadata": details.get("metadata")},
            });
            fields.insert("parent".to_owned(), if subscription.is_null() { Value::Null } else { parent });
        }
        _ => {}
    }
}

/// The ID of an object, expanded or not.
fn id_of(value: &Value) -> &Value {
    value.get("id").unwrap_or(value)
}

fn text<'o>(object: &'o Value, field: &str) -> &'o str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}
