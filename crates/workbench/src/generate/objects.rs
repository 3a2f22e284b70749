//! The objects of the shop's events, in their final state in Stripe's API.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::buyer::{Buyer, Habit};
use super::event::{Event, PRICED, Templates, metadata, metadata_of_subscription, write_price, write_session};
use super::market::Market;
use super::product::{PRODUCTS, Product};
use super::purchase::{Line, Period, Purchase};

/// The products.
pub(crate) fn of_catalogue() -> Vec<Value> {
    let product = |product: &Product| {
        json!({"id": product.id, "object": "product", "active": true, "created": PRICED, "livemode": false,
               "metadata": {}, "name": product.name})
    };
    PRODUCTS.into_iter().map(product).collect()
}

/// The customer.
pub(crate) fn of_buyer(buyer: &Buyer, purchases: &[Purchase]) -> Option<Value> {
    let created = purchases.iter().map(Purchase::started).min();
    let metadata = metadata([("user_id", buyer.user_id_by(Habit::Customer))]);
    Some(json!({"id": buyer.customer()?, "object": "customer", "created": created, "currency": buyer.market.code(),
                "email": buyer.email(), "livemode": false, "metadata": metadata, "name": null}))
}

/// The objects of a purchase: the subscription, the checkout session with its line items, the invoice with all lines, the
/// payment and its charges.
pub(crate) fn of_purchase(buyer: &Buyer, purchase: &Purchase, templates: &Templates) -> Vec<Value> {
    let mut objects: Vec<Value> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    objects.extend(purchase.period().map(|period| subscription(buyer, purchase, period)));
    if purchase.by_checkout && !purchase.is_renewal() {
        objects.push(session(buyer, purchase, templates));
    }
    for event in Event::all_of(buyer, purchase).filter(|event| event.event_type() != SESSION) {
        let object = event.object(templates);
        let id = object.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        // The last state wins.
        match places.get(&id).and_then(|place| objects.get_mut(*place)) {
            Some(known) => *known = object,
            None => {
                places.insert(id, objects.len());
                objects.push(object);
            }
        }
    }
    objects
}

const SESSION: &str = "checkout.session.completed";

fn subscription(buyer: &Buyer, purchase: &Purchase, period: Period) -> Value {
    let line = purchase.lines.first();
    let price = line.map(|line| price(line.product, buyer.market));
    json!({
        "id": period.subscription_id(),
        "object": "subscription",
        "created": period.start,
        "currency": buyer.market.code(),
        "current_period_end": period.end,
        "current_period_start": period.start,
        "customer": buyer.customer(),
        "items": {
            "object": "list",
            "data": [{"id": period.item_id(), "object": "subscription_item", "price": price,
                      "quantity": line.map(|line| line.quantity), "subscription": period.subscription_id()}],
            "has_more": false,
        },
        "latest_invoice": purchase.invoice_id(),
        "livemode": false,
        "metadata": metadata_of_subscription(buyer),
        "status": if purchase.paid().is_some() { "active" } else { "past_due" },
    })
}

fn session(buyer: &Buyer, purchase: &Purchase, templates: &Templates) -> Value {
    let mut event = templates.of(SESSION);
    let mut session = event.pointer_mut("/data/object").map(Value::take).unwrap_or_default();
    write_session(&mut session, buyer, purchase);
    let items: Vec<_> =
        purchase.lines.iter().enumerate().map(|(index, line)| item(buyer, purchase, index, line)).collect();
    super::event::set(&mut session, "line_items", json!({"object": "list", "data": items, "has_more": false}));
    session
}

/// A line item of a session. Its description is the product's name.
fn item(buyer: &Buyer, purchase: &Purchase, index: usize, line: &Line) -> Value {
    let amount = line.amount(buyer.market);
    json!({"id": purchase.seed.derive(index as u64).id("li"), "object": "item", "amount_subtotal": amount,
           "amount_total": amount, "currency": buyer.market.code(), "description": line.product.name,
           "price": price(line.product, buyer.market), "quantity": line.quantity})
}

fn price(product: &Product, market: Market) -> Value {
    let mut price = json!({"object": "price", "active": true, "livemode": false, "metadata": {}, "type": "recurring",
                           "recurring": {"interval_count": 1}});
    write_price(&mut price, product, market);
    price
}
