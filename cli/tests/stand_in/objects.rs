//! Objects that are read by their path, until the emulator of Stripe has them: a path with its query, and its answer.

use std::collections::HashMap;

use serde_json::Value;

use super::answer::{Answer, Refusal};
use super::log::Request;

/// By the path and the query as they are asked for.
#[derive(Default)]
pub struct Objects(HashMap<String, Value>);

/// What such paths begin with, and what a restricted key needs for them, as Stripe names it.
const PATHS: [(&str, &str); 9] = [
    ("/v1/charges", "rak_charge_read"),
    ("/v1/checkout/sessions", "rak_checkout_session_read"),
    ("/v1/customers", "rak_customer_read"),
    ("/v1/invoices", "rak_invoice_read"),
    ("/v1/issuing/cardholders", "rak_issuing_cardholder_read"),
    ("/v1/payment_intents", "rak_payment_intent_read"),
    ("/v1/prices", "rak_plan_read"),
    ("/v1/products", "rak_product_read"),
    ("/v1/subscriptions", "rak_subscription_read"),
];

/// What a key needs to read this path; `None` where nothing here is meant.
pub fn permission(path: &str) -> Option<&'static str> {
    PATHS.iter().find(|(begin, _)| path.starts_with(begin)).map(|(_, name)| *name)
}

impl Objects {
    pub fn add(&mut self, path: &str, answer: Value) {
        self.0.insert(path.to_owned(), answer);
    }

    /// A search that nobody has answered finds nothing; any other object is not there.
    pub fn get(&self, request: &Request) -> Result<Answer, Refusal> {
        let query: Vec<_> = request.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let path =
            if query.is_empty() { request.path.clone() } else { format!("{}?{}", request.path, query.join("&")) };
        match self.0.get(&path) {
            Some(answer) => Ok(Answer::json(answer)),
            None if query.is_empty() => Err(Refusal::no_such(404, "object", &path, "id")),
            None => Ok(Answer::json(&serde_json::json!({"object": "list", "data": [], "has_more": false}))),
        }
    }
}
