//! The device ID of an event, which pins every delivery of it to the same device.

use crate::amplitude::limits::short_id;
use crate::projects::name::ProjectName;
use crate::stripe::event::{Event, id_of};

/// A device ID that is the same for every delivery of an event, whatever its user, and for all events of one payment. A
/// refund without a user is then attributed to the payer: Amplitude attributes an event that has only a device to the
/// device's latest user.
pub fn device_id(event: &Event<'_>, project: &ProjectName) -> String {
    let Anchor { id, .. } = anchor(event, project);
    short_id(&format!("stripe-{id}")).into_owned()
}

/// The anchor of a device ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor<'e> {
    /// The field with the ID.
    pub from: &'static str,
    /// The ID.
    pub id: &'e str,
}

/// Depends only on the kind of object, in every API version.
pub fn anchor<'e>(event: &'e Event<'_>, project: &'e ProjectName) -> Anchor<'e> {
    let named = |name: &'static str| Some(Anchor { from: name, id: id_of(event.object.get(name))? });
    let first = |names: &[&'static str]| {
        names.iter().find_map(|name| match *name {
            "customer" => named("customer").or_else(|| named("customer_account")),
            name => named(name),
        })
    };
    let anchor = match event.kind() {
        "payment_intent" => first(&["id"]),
        "charge" | "refund" | "dispute" => first(&["payment_intent", "charge", "id"]),
        "checkout.session" => first(&["payment_intent", "customer", "id"]),
        "application_fee" => first(&["account", "id"]),
        "balance" => event.account.as_deref().map(|id| Anchor { from: "the event's account", id }),
        kind if kind.starts_with("issuing.") => first(&["cardholder", "id"]),
        _ => first(&["customer", "id"]),
    };
    anchor.unwrap_or(Anchor { from: "the project", id: project.as_str() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stripe::event::tests::{event, sample};

    #[test]
    fn the_anchor_depends_on_the_kind_of_object() {
        let event_type = "x.y";
        for (object, anchor) in [
            (json!({"object": "payment_intent", "id": "pi_1", "customer": "cus_1"}), "pi_1"),
            (json!({"object": "charge", "id": "ch_1", "payment_intent": "pi_1", "customer": "cus_1"}), "pi_1"),
            (json!({"object": "charge", "id": "ch_1", "payment_intent": {"id": "pi_1"}}), "pi_1"),
            (json!({"object": "charge", "id": "ch_1", "payment_intent": null, "customer": "cus_1"}), "ch_1"),
            (json!({"object": "refund", "id": "re_1", "payment_intent": "pi_1", "charge": "ch_1"}), "pi_1"),
            (json!({"object": "refund", "id": "re_1", "charge": "ch_1"}), "ch_1"),
            (json!({"object": "refund", "id": "re_1", "charge": null}), "re_1"),
            (json!({"object": "dispute", "id": "dp_1", "payment_intent": null, "charge": {"id": "ch_1"}}), "ch_1"),
            (
                json!({"object": "checkout.session", "id": "cs_1", "payment_intent": "pi_1", "customer": "cus_1"}),
                "pi_1",
            ),
            (json!({"object": "checkout.session", "id": "cs_1", "customer": {"id": "cus_1"}}), "cus_1"),
            (json!({"object": "checkout.session", "id": "cs_1"}), "cs_1"),
            // 2024-06-20, and 2025 and later, where an invoice has neither charge nor payment_intent.
            (json!({"object": "invoice", "id": "in_1", "customer": "cus_1", "payment_intent": "pi_1"}), "cus_1"),
            (json!({"object": "invoice", "id": "in_1", "customer": "cus_1"}), "cus_1"),
            (json!({"object": "invoice", "id": "in_1", "customer": null}), "in_1"),
            (json!({"object": "subscription", "id": "sub_1", "customer": "cus_1"}), "cus_1"),
            (json!({"object": "customer", "id": "cus_1"}), "cus_1"),
            // Accounts v2.
            (json!({"object": "invoice", "id": "in_1", "customer": null, "customer_account": "acct_9"}), "acct_9"),
            (json!({"object": "checkout.session", "id": "cs_1", "customer_account": {"id": "acct_9"}}), "acct_9"),
            (json!({"object": "invoice", "id": "in_1", "customer": "cus_1", "customer_account": "acct_9"}), "cus_1"),
            (json!({"object": "issuing.authorization", "id": "iauth_1", "cardholder": "ich_1"}), "ich_1"),
            (json!({"object": "issuing.transaction", "id": "ipi_1", "cardholder": {"id": "ich_1"}}), "ich_1"),
            (json!({"object": "issuing.transaction", "id": "ipi_1", "cardholder": null}), "ipi_1"),
            (json!({"object": "application_fee", "id": "fee_1", "account": "acct_2"}), "acct_2"),
            (json!({"object": "fee_refund", "id": "fr_1", "fee": "fee_1"}), "fr_1"),
            (json!({"object": "balance"}), "acct_1"),
            (json!({"object": "something.new"}), "demo"),
            (json!({}), "demo"),
        ] {
            let envelope = json!({"id": "evt_1", "object": "event", "type": event_type, "created": 1, "account": "acct_1",
                "data": {"object": object}});
            assert_eq!(device_id(&event(&envelope), &"demo".parse().unwrap()), format!("stripe-{anchor}"), "{object}");
        }
        let balance = event(&sample("balance.available"));
        assert_eq!(device_id(&balance, &"demo".parse().unwrap()), "stripe-demo");
    }
}
