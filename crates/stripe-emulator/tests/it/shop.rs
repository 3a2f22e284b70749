//! A shop with the objects of two purchases.

use serde_json::{Value, json};
use stripe_emulator::Emulator;

use crate::client::Client;

/// A subscription's payment with the objects that it refers to, and a one-off payment with its session.
pub fn shop() -> (Emulator, Client) {
    let stripe = Emulator::start().unwrap();
    for object in [
        json!({"id": "cus_1", "object": "customer", "email": "a@shop.example", "metadata": {"user_id": "user_1"}}),
        json!({"id": "prod_1", "object": "product", "name": "Pro", "default_price": "price_1"}),
        json!({"id": "price_1", "object": "price", "product": "prod_1", "unit_amount": 2500}),
        json!({"id": "sub_1", "object": "subscription", "customer": "cus_1", "latest_invoice": "in_1",
               "metadata": {"user_id": "user_1"}, "items": {"object": "list", "data": [price_of("si_1")]}}),
        json!({"id": "in_1", "object": "invoice", "customer": "cus_1", "subscription": "sub_1", "payment_intent": "pi_1",
               "charge": "ch_1", "paid": true, "subscription_details": {"metadata": {"user_id": "user_1"}},
               "lines": {"data": (0..25).map(|number| price_of(&format!("il_{number}"))).collect::<Vec<_>>()}}),
        json!({"id": "pi_1", "object": "payment_intent", "created": 100, "customer": "cus_1", "invoice": "in_1",
               "latest_charge": "ch_1"}),
        json!({"id": "ch_1", "object": "charge", "created": 101, "customer": "cus_1", "invoice": "in_1",
               "payment_intent": "pi_1"}),
        json!({"id": "pi_2", "object": "payment_intent", "created": 200, "customer": null, "invoice": null}),
        json!({"id": "cs_1", "object": "checkout.session", "created": 190, "payment_intent": "pi_2",
               "client_reference_id": "user_2", "customer": null, "subscription": null}),
        json!({"id": "cs_2", "object": "checkout.session", "created": 90, "subscription": "sub_1", "customer": "cus_1",
               "payment_intent": null}),
        json!({"id": "ich_1", "object": "issuing.cardholder", "email": "c@shop.example"}),
    ] {
        stripe.put(object).unwrap();
    }
    stripe.put_line_items("cs_1", (0..12).map(|number| price_of(&format!("li_{number}"))).collect());
    let client = Client::of(&stripe);
    (stripe, client)
}

/// A line or an item with its price.
fn price_of(id: &str) -> Value {
    json!({"id": id, "price": {"id": "price_1", "object": "price", "product": "prod_1"}, "plan": {"id": "price_1"}})
}
