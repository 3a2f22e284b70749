//! An event of the shop: the sample of its type with other IDs, amounts, buyers and times.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use stripe_amplitude_common::clock::DAY;

use super::buyer::{Buyer, Habit};
use super::market::Market;
use super::product::Product;
use super::purchase::{Invoice, Line, Purchase, Step};
use crate::samples::SAMPLES;

/// When the prices were created, in Unix seconds: at the beginning of 2024.
pub(crate) const PRICED: i64 = 1_704_067_200;

/// An event of the shop.
#[derive(Clone, Copy, Debug)]
pub struct Event<'s> {
    /// In Unix seconds.
    pub(crate) created: i64,
    buyer: &'s Buyer,
    purchase: &'s Purchase,
    step: Step,
    /// The index among the events of the purchase.
    index: usize,
}

/// The sample events by type.
pub struct Templates(HashMap<&'static str, Value>);

impl Templates {
    /// # Errors
    /// If a sample is not JSON.
    pub fn new() -> Result<Self, serde_json::Error> {
        let read = |event: &str| serde_json::from_str(event);
        SAMPLES.iter().map(|sample| Ok((sample.event_type, read(sample.json)?))).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn of(&self, event_type: &str) -> Value {
        self.0.get(event_type).cloned().unwrap_or_default()
    }
}

impl<'s> Event<'s> {
    /// The events of a purchase, in order.
    pub(crate) fn all_of(buyer: &'s Buyer, purchase: &'s Purchase) -> impl Iterator<Item = Self> {
        let steps = purchase.steps().into_iter().enumerate();
        steps.map(move |(index, (created, step))| Self { created, buyer, purchase, step, index })
    }

    pub(crate) fn event_type(&self) -> &'static str {
        self.step.event_type()
    }

    pub(crate) fn id(&self) -> String {
        self.purchase.seed.derive(self.index as u64).id("evt")
    }

    /// The same for all events of the same objects.
    pub(crate) fn lane(&self, lanes: u32) -> u32 {
        // Guests are numbered separately, but share no object with a customer.
        self.buyer.number % lanes
    }

    /// The event's object in its state at that time.
    pub(crate) fn object(&self, templates: &Templates) -> Value {
        let mut event = templates.of(self.event_type());
        let mut object = event.pointer_mut("/data/object").map(Value::take).unwrap_or_default();
        self.write(&mut object);
        object
    }

    /// What Stripe would sign and send.
    pub(crate) fn body(&self, templates: &Templates) -> Vec<u8> {
        let mut event = templates.of(self.event_type());
        set(&mut event, "id", self.id());
        set(&mut event, "created", self.created);
        set(&mut event, "request", self.request());
        if let Some(object) = event.pointer_mut("/data/object") {
            self.write(object);
        }
        if let (Step::Refunded { amount, before, .. }, Some(data)) = (self.step, event.pointer_mut("/data")) {
            let mut previous = json!({"amount_refunded": before});
            if before + amount == self.amount() {
                set(&mut previous, "refunded", false);
            }
            set(data, "previous_attributes", previous);
        }
        event.to_string().into_bytes()
    }

    /// Events without an API request have no ID.
    fn request(&self) -> Value {
        let id = (!self.purchase.is_renewal()).then(|| self.purchase.seed.derive(self.index as u64).id("req"));
        json!({"id": id, "idempotency_key": null})
    }

    fn write(&self, object: &mut Value) {
        match self.step {
            Step::InvoiceCreated
            | Step::InvoiceFinalized
            | Step::InvoicePaymentFailed { .. }
            | Step::InvoicePaid { .. }
            | Step::InvoicePaymentSucceeded { .. } => {
                if let Some(invoice) = &self.purchase.invoice {
                    self.write_invoice(object, invoice);
                }
            }
            Step::ChargeFailed { attempt } | Step::ChargeSucceeded { attempt } => {
                self.write_charge(object, attempt, 0);
            }
            Step::SessionCompleted { .. } => write_session(object, self.buyer, self.purchase),
            Step::Refunded { attempt, amount, before } => self.write_charge(object, attempt, before + amount),
            Step::PaymentFailed { attempt } | Step::PaymentSucceeded { attempt } => {
                self.write_payment(object, attempt);
            }
        }
    }

    fn write_payment(&self, payment: &mut Value, attempt: usize) {
        let id = self.purchase.payment_id();
        let succeeded = matches!(self.step, Step::PaymentSucceeded { .. });
        set(payment, "client_secret", format!("{id}_secret_EXAMPLEEXAMPLEEXAMPLE"));
        set(payment, "amount_received", if succeeded { self.amount() } else { 0 });
        set(payment, "created", self.purchase.attempts.first().map(|attempt| attempt.at));
        set(payment, "latest_charge", self.purchase.charge_id(attempt));
        set(payment, "id", id);
        if succeeded {
            set(payment, "payment_method", self.payment_method(attempt));
        } else if let Some(error) = payment.get_mut("last_payment_error") {
            set(error, "charge", self.purchase.charge_id(attempt));
            if let Some(method) = error.get_mut("payment_method") {
                set(method, "id", self.payment_method(attempt));
                set(method, "created", self.created - 1);
                self.write_card(method);
            }
        }
        self.write_common_fields(payment);
    }

    fn write_charge(&self, charge: &mut Value, attempt: usize, refunded: i64) {
        let id = self.purchase.charge_id(attempt);
        let amount = self.amount();
        let captured = if matches!(self.step, Step::ChargeFailed { .. }) { 0 } else { amount };
        set(charge, "amount_captured", captured);
        set(charge, "amount_refunded", refunded);
        set(charge, "created", self.purchase.attempts.get(attempt).map(|attempt| attempt.at));
        set(charge, "payment_intent", self.purchase.payment_id());
        set(charge, "payment_method", self.payment_method(attempt));
        set(charge, "refunded", refunded == amount);
        if charge.get("balance_transaction").is_some_and(Value::is_string) {
            set(charge, "balance_transaction", self.purchase.seed.id("txn"));
        }
        if charge.get("receipt_url").is_some_and(Value::is_string) {
            set(charge, "receipt_url", format!("https://pay.stripe.com/receipts/payment/{id}"));
        }
        if let Some(card) = charge.pointer_mut("/payment_method_details/card/overcapture") {
            set(card, "maximum_amount_capturable", amount);
        }
        set(charge, "id", id);
        if let Some(details) = charge.get_mut("payment_method_details") {
            self.write_card(details);
        }
        self.write_billing_details(charge);
        self.write_common_fields(charge);
    }

    fn write_common_fields(&self, object: &mut Value) {
        set(object, "amount", self.amount());
        set(object, "currency", self.buyer.market.code());
        set(object, "customer", self.buyer.customer());
        set(object, "description", self.purchase.description(self.buyer.market));
        set(object, "invoice", self.purchase.invoice.as_ref().map(|_| self.purchase.invoice_id()));
        set(object, "metadata", self.metadata_of_payment());
        let by_app = self.purchase.invoice.is_none() && !self.purchase.by_checkout;
        set(object, "receipt_email", self.buyer.email().filter(|_| by_app));
    }

    fn write_card(&self, method: &mut Value) {
        self.write_billing_details(method);
        if let Some(card) = method.get_mut("card") {
            set(card, "exp_year", 2031);
            set(card, "fingerprint", self.buyer.seed.id("card"));
        }
    }

    fn write_billing_details(&self, object: &mut Value) {
        if let Some(details) = object.get_mut("billing_details") {
            set(details, "email", self.buyer.email());
            set(details, "name", Value::Null);
        }
    }

    fn write_invoice(&self, object: &mut Value, invoice: &Invoice) {
        let id = self.purchase.invoice_id();
        let amount = self.amount();
        let paid = matches!(self.step, Step::InvoicePaid { .. } | Step::InvoicePaymentSucceeded { .. });
        for name in ["amount_due", "subtotal", "subtotal_excluding_tax", "total", "total_excluding_tax"] {
            set(object, name, amount);
        }
        set(object, "amount_paid", if paid { amount } else { 0 });
        set(object, "amount_remaining", if paid { 0 } else { amount });
        set(object, "created", invoice.created);
        set(object, "currency", self.buyer.market.code());
        set(object, "customer", self.buyer.customer());
        set(object, "customer_email", self.buyer.email());
        set(object, "customer_name", Value::Null);
        let user = self.buyer.user_id_by(Habit::Api).filter(|_| invoice.subscription.is_none());
        set(object, "metadata", metadata([("user_id", user)]));
        set(object, "webhooks_delivered_at", (self.step != Step::InvoiceCreated).then_some(invoice.created));
        self.write_invoice_state(object, invoice);
        self.write_subscription(object, invoice);

        let line = object.pointer("/lines/data/0").cloned().unwrap_or_default();
        let lines = self.purchase.lines.iter().enumerate();
        let lines: Vec<_> = lines.map(|(index, sold)| self.line(line.clone(), index, sold, invoice)).collect();
        if let Some(list) = object.get_mut("lines") {
            set(list, "total_count", lines.len());
            set(list, "data", lines);
            set(list, "url", format!("/v1/invoices/{id}/lines"));
        }
        set(object, "id", id);
    }

    /// The fields that differ between the events of an invoice and are not in the samples.
    fn write_invoice_state(&self, object: &mut Value, invoice: &Invoice) {
        let is_created = self.step == Step::InvoiceCreated;
        let (attempt, next) = match self.step {
            Step::InvoicePaymentFailed { attempt, next } => (Some(attempt), next),
            Step::InvoicePaid { attempt } | Step::InvoicePaymentSucceeded { attempt } => (Some(attempt), None),
            _ => (None, self.purchase.attempts.first().map(|attempt| attempt.at)),
        };
        let paid_at = attempt.and_then(|attempt| self.purchase.attempts.get(attempt));
        let paid_at = paid_at.filter(|attempt| attempt.succeeded).map(|attempt| attempt.at);
        set(object, "attempt_count", attempt.map_or(0, |attempt| attempt + 1));
        set(object, "automatically_finalizes_at", is_created.then_some(invoice.finalized));
        set(object, "charge", attempt.map(|attempt| self.purchase.charge_id(attempt)));
        set(object, "effective_at", (!is_created).then_some(invoice.finalized));
        set(object, "next_payment_attempt", next);
        let number = || format!("DEMO{:04}-{:04}", self.buyer.number, invoice.number);
        set(object, "number", (!is_created).then(number));
        set(object, "payment_intent", (!is_created).then(|| self.purchase.payment_id()));
        if let Some(transitions) = object.get_mut("status_transitions") {
            set(transitions, "finalized_at", (!is_created).then_some(invoice.finalized));
            set(transitions, "paid_at", paid_at);
        }
    }

    fn write_subscription(&self, object: &mut Value, invoice: &Invoice) {
        let period = invoice.subscription;
        let reason = match period {
            Some(period) if period.is_first => "subscription_create",
            Some(_) => "subscription_cycle",
            None => "manual",
        };
        // The invoice of a renewal has the previous period, which ends when the new one starts.
        let before = period.filter(|period| !period.is_first).map(|period| 2 * period.start - period.end);
        set(object, "billing_reason", reason);
        set(object, "period_start", before.unwrap_or(invoice.created));
        set(object, "period_end", invoice.created);
        set(object, "subscription", period.map(|period| period.subscription_id()));
        set(object, "subscription_details", period.map(|_| json!({"metadata": metadata_of_subscription(self.buyer)})));
    }

    fn line(&self, mut line: Value, index: usize, sold: &Line, invoice: &Invoice) -> Value {
        let market = self.buyer.market;
        let (product, period) = (sold.product, invoice.subscription);
        let unit_amount = product.price(market);
        let id = |prefix: &str| self.purchase.seed.derive(index as u64).id(prefix);
        set(&mut line, "id", id("il"));
        set(&mut line, "amount", sold.amount(market));
        set(&mut line, "amount_excluding_tax", sold.amount(market));
        set(&mut line, "currency", market.code());
        set(&mut line, "description", sold.description(market));
        set(&mut line, "invoice", self.purchase.invoice_id());
        set(&mut line, "metadata", period.map_or_else(Map::new, |_| metadata_of_subscription(self.buyer)));
        let (start, end) = sold
            .proration
            .map(|proration| (proration.at, proration.end))
            .unwrap_or_else(|| period.map_or((invoice.created, invoice.created), |period| (period.start, period.end)));
        let is_item = period.is_none() || sold.proration.is_some();
        set(&mut line, "period", json!({"end": end, "start": start}));
        set(&mut line, "quantity", sold.quantity);
        set(&mut line, "subscription", period.map(|period| period.subscription_id()));
        set(&mut line, "subscription_item", period.map(|period| period.item_id()));
        if is_item {
            set(&mut line, "invoice_item", id("ii"));
        }
        set(&mut line, "type", if is_item { "invoiceitem" } else { "subscription" });
        set(&mut line, "proration", sold.proration.is_some());
        set(&mut line, "unit_amount_excluding_tax", unit_amount.to_string());
        if let Some(price) = line.get_mut("price") {
            write_price(price, product, market);
        }
        line
    }

    fn amount(&self) -> i64 {
        self.purchase.amount(self.buyer.market)
    }

    fn payment_method(&self, attempt: usize) -> String {
        // The card that succeeded is used again.
        let seed = if attempt == 0 { self.buyer.seed } else { self.purchase.seed.derive(attempt as u64) };
        seed.id("pm")
    }

    /// The app's metadata on a payment that it creates itself; Stripe copies it to the charges. Payments of invoices and
    /// checkout sessions have none, because Stripe creates them.
    fn metadata_of_payment(&self) -> Map<String, Value> {
        if self.purchase.invoice.is_some() || self.purchase.by_checkout {
            return Map::new();
        }
        let order = Some(self.purchase.seed.id("order"));
        metadata([("order_id", order), ("user_id", self.buyer.user_id_by(Habit::Api))])
    }
}

/// The app's metadata on a subscription; its invoices have a snapshot.
pub(crate) fn metadata_of_subscription(buyer: &Buyer) -> Map<String, Value> {
    metadata([("user_id", buyer.user_id_by(Habit::Api))])
}

pub(crate) fn metadata<const N: usize>(values: [(&str, Option<String>); N]) -> Map<String, Value> {
    values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))).collect()
}

/// The checkout session of a purchase in its final state.
pub(crate) fn write_session(session: &mut Value, buyer: &Buyer, purchase: &Purchase) {
    let amount = purchase.amount(buyer.market);
    let (period, started, user) = (purchase.period(), purchase.started(), buyer.user_id_by(Habit::Checkout));
    let paid = purchase.paid().is_some();
    set(session, "id", purchase.session_id());
    set(session, "amount_subtotal", amount);
    set(session, "amount_total", amount);
    set(session, "created", started - 60);
    set(session, "currency", buyer.market.code());
    set(session, "customer", buyer.customer());
    if let Some(details) = session.get_mut("customer_details") {
        set(details, "email", buyer.email());
        set(details, "name", Value::Null);
    }
    set(session, "expires_at", started - 60 + DAY);
    set(session, "invoice", period.map(|_| purchase.invoice_id()));
    set(session, "mode", if period.is_some() { "subscription" } else { "payment" });
    set(session, "payment_intent", period.is_none().then(|| purchase.payment_id()));
    set(session, "payment_status", if paid { "paid" } else { "unpaid" });
    set(session, "status", if paid { "complete" } else { "expired" });
    set(session, "subscription", period.map(|period| period.subscription_id()));
    // The app uses `client_reference_id` for a subscription and metadata for an order. Stripe copies neither.
    let order = period.is_none().then(|| purchase.seed.id("order"));
    set(session, "metadata", metadata([("order_id", order), ("user_id", user.clone().filter(|_| period.is_none()))]));
    set(session, "client_reference_id", user.filter(|_| period.is_some()));
}

/// The price of a product.
pub(crate) fn write_price(price: &mut Value, product: &Product, market: Market) {
    let unit_amount = product.price(market);
    set(price, "id", product.price_id(market));
    set(price, "created", PRICED);
    set(price, "currency", market.code());
    set(price, "product", product.id);
    set(price, "unit_amount", unit_amount);
    set(price, "unit_amount_decimal", unit_amount.to_string());
    match (product.interval, price.get_mut("recurring")) {
        (Some(interval), Some(recurring)) => set(recurring, "interval", interval.name()),
        _ => {
            set(price, "recurring", Value::Null);
            set(price, "type", "one_time");
        }
    }
}

/// Sets or adds a field of an object.
pub(crate) fn set(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value.into());
    }
}
