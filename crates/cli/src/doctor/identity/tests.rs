use serde_json::{Value, json};
use stripe_amplitude::stripe::reference::ReferenceKind::{Customer, Invoice, SessionOfPayment, Subscription};

use super::*;
use crate::doctor::finding::Finding;

fn owned(value: &Value) -> Json<'static> {
    serde_json::from_str::<Json<'_>>(&value.to_string()).unwrap().into_owned()
}

/// Made-up payments, as they are added.
#[derive(Default)]
struct Shop(Payments);

impl Shop {
    /// A payment of this customer that bears revenue, with these changes. Its ID is `pi_` and its number, from 0 on.
    fn pay(&mut self, customer: &str, changes: &Value) {
        let id = format!("pi_{}", self.0.payments.len());
        let mut payment = json!({"object": "payment_intent", "id": id, "customer": customer, "invoice": null,
            "status": "succeeded", "amount_received": 500, "metadata": {}, "receipt_email": null});
        payment.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        self.0.payments.push(owned(&payment));
    }

    fn has(&mut self, kind: ReferenceKind, id: &str, object: &Value) {
        self.0.found.insert(Reference { kind, id: id.to_owned() }, Found::Object(owned(object).into()));
    }

    fn customer(&mut self, id: &str, metadata: &Value) {
        self.has(Customer, id, &json!({"object": "customer", "id": id, "metadata": metadata}));
    }

    /// What is found, and all that is printed.
    fn look(&self) -> (Identity, String) {
        let identity = Identity::of(&self.0, Some(&Settings::default()));
        let mut text = format!("{identity}{}\n", identity.line().unwrap_or_default());
        for finding in identity.findings() {
            text.push_str(&format!("{:?}: {}\n", finding.grade, finding.words));
        }
        assert!(!text.contains("hidden"), "{text}");
        // Lines are broken between words.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        (identity, text)
    }
}

#[track_caller]
fn assert_says(text: &str, words: &[&str]) {
    for words in words {
        assert!(text.contains(words), "{words}:\n{text}");
    }
}

#[test]
fn the_ids_of_subscriptions_are_found_on_the_customer() {
    let mut shop = Shop::default();
    for number in 0..10 {
        let (customer, invoice, subscription) =
            (format!("cus_{number}"), format!("in_{number}"), format!("sub_{number}"));
        shop.pay(&customer, &json!({"invoice": invoice}));
        shop.customer(&customer, &json!({"user_id": format!("hidden_{number}"), "plan": "pro"}));
        shop.has(
            Invoice,
            &invoice,
            &json!({"object": "invoice", "id": invoice, "customer": customer, "subscription": subscription}),
        );
        let held = json!({"object": "subscription", "id": subscription, "metadata": {}});
        shop.has(Subscription, &subscription, &held);
    }
    let (identity, text) = shop.look();
    assert_eq!(
        identity.line(),
        Some(r#"{"references":"follow","user_id_paths":["customer.metadata.user_id","customer"]}"#)
    );
    assert_says(
        &text,
        &[
            "10 payments, of which 10 bear revenue",
            "customer.metadata.user_id: 10 IDs, such as hi…_0; looks like",
            "recommended, for 100 % (10) of the payments; by the present settings, 0 %",
            "It takes 1.0 reads for the event of a payment on average, 1 at the most",
            "The key needs Customers: Read",
        ],
    );
    assert!(Settings::parse(identity.line().unwrap()).is_ok());
}

#[test]
fn what_covers_most_revenue_comes_first_and_what_adds_something_follows() {
    let mut shop = Shop::default();
    for number in 0..10 {
        let metadata = if number < 7 { json!({"user_id": format!("hidden_{number}")}) } else { json!({}) };
        shop.pay(&format!("cus_{number}"), &json!({"metadata": metadata}));
        let session = json!({"object": "checkout.session", "id": "cs", "client_reference_id": format!("hidden_{number}"), "metadata": {}});
        if number > 5 {
            shop.has(SessionOfPayment, &format!("pi_{number}"), &session);
        }
    }
    shop.pay("cus_x", &json!({"status": "canceled", "amount_received": 0}));
    let (identity, text) = shop.look();
    let paths =
        r#"["metadata.user_id","payment_intent.metadata.user_id","checkout_session.client_reference_id","customer"]"#;
    assert!(identity.line().unwrap().contains(paths), "{text}");
    assert_says(&text, &["64 % of all, 70 % of revenue", "payment_intent.metadata.user_id: 7 IDs", "91 % (10)"]);
    assert!(identity.disagreements.is_empty());
}

#[test]
fn places_that_disagree_are_told_with_a_payment() {
    let mut shop = Shop::default();
    for number in 0..6 {
        let customer = format!("cus_{number}");
        let id = |differs: bool| if differs { "hidden_other".to_owned() } else { format!("hidden_{number}") };
        shop.pay(&customer, &json!({"metadata": {"user_id": id(number == 4)}}));
        shop.customer(&customer, &json!({"user_id": id(false), "account_id": format!("A-hidden-{number}")}));
    }
    let (identity, text) = shop.look();
    assert_says(
        &text,
        &[
            "customer.metadata.user_id and payment_intent.metadata.user_id have different IDs for 1 payment of 6, such as pi_4: hi…_4 and hi…er",
            "customer.metadata.account_id and customer.metadata.user_id never agree (6 payments",
            "Not in it, because the IDs there are others, or add nothing: customer.metadata.account_id",
        ],
    );
    // An ID of another kind is not mixed in.
    assert!(!identity.line().unwrap().contains("account_id"));
}

#[test]
fn a_user_comes_before_an_account_that_covers_a_little_more() {
    let mut shop = Shop::default();
    for number in 0..10 {
        let customer = format!("cus_{number}");
        shop.pay(&customer, &json!({}));
        let mut metadata = json!({"account_id": format!("A-hidden-{number}")});
        if number > 1 {
            metadata["user_id"] = json!(format!("hidden_{number}"));
        }
        shop.customer(&customer, &metadata);
    }
    let (identity, text) = shop.look();
    assert!(identity.line().unwrap().contains(r#"["customer.metadata.user_id","customer"]"#), "{text}");
    assert_says(&text, &["recommended, for 80 % (8)", "add nothing: customer.metadata.account_id"]);
}

#[test]
fn an_id_that_was_written_late_is_told_where_the_event_says_so() {
    let mut shop = Shop::default();
    for number in 0..4 {
        shop.pay(&format!("cus_{number}"), &json!({"metadata": {"user_id": format!("hidden_{number}")}}));
    }
    let (_, text) = shop.look();
    assert_says(&text, &["Skipped: whether IDs are written after the payment: the key may not read events"]);
    let event = |metadata: Value| owned(&metadata);
    shop.0.at_event = Some(HashMap::new());
    assert_says(&shop.look().1, &["Skipped: whether IDs are written after the payment: no event"]);
    shop.0.at_event = Some(HashMap::from([("pi_0".to_owned(), event(json!({"user_id": "hidden_0"})))]));
    assert_says(&shop.look().1, &["Ok: the events of 1 payment had the same metadata"]);
    shop.0.at_event.as_mut().unwrap().insert("pi_1".to_owned(), event(json!({})));
    shop.0.at_event.as_mut().unwrap().insert("pi_2".to_owned(), event(json!({"user_id": "hidden_before"})));
    assert_says(
        &shop.look().1,
        &[
            "after the event was sent (payment_intent.metadata.user_id: 2 payments; of 3 payments that could be compared)",
            "it cannot be told when an ID was written",
        ],
    );
}

#[test]
fn one_id_of_many_customers_is_no_person() {
    let mut shop = Shop::default();
    for number in 0..20 {
        let customer = format!("cus_{number}");
        shop.pay(&customer, &json!({}));
        shop.customer(&customer, &json!({"account_id": "hidden_tenant", "colour": "hidden_blue"}));
    }
    let (identity, text) = shop.look();
    assert_says(
        &text,
        &[
            "Warning: customer.metadata.account_id: 1 ID is shared by more than 5 buyers each, one by 20",
            "no place holds what looks like the ID of a person",
        ],
    );
    assert!(!text.contains("Warning: customer.metadata.colour") && identity.line().is_none());
}

#[test]
fn ways_of_writing_and_refused_values_are_told() {
    let mut shop = Shop::default();
    for (number, id) in
        ["Hidden_1", "hidden_1", " hidden_2", "hidden_2", "undefined", "[object Object]", "hidden@hidden.org"]
            .into_iter()
            .enumerate()
    {
        shop.pay(&format!("cus_{number}"), &json!({"metadata": {"user_id": id, "a..b": "x", "x*": "y"}}));
    }
    let (_, text) = shop.look();
    assert_says(
        &text,
        &[
            "2 IDs are written in more than one way, which differ only by case or by the space around them (`Hi…_1` and `hi…_1`)",
            "payment_intent.metadata.user_id: values that are no user IDs are skipped: 1 a placeholder that a program wrote by accident, 1 on Amplitude's list of refused IDs",
            "with names that no path can lead to",
        ],
    );
}

#[test]
fn an_order_is_no_person_and_an_address_is_masked() {
    let mut shop = Shop::default();
    for number in 0..8 {
        let metadata =
            json!({"order_id": format!("hidden_{number}"), "user_uid": format!("hidden{}@hidden.org", number / 2)});
        shop.pay(&format!("cus_{}", number / 2), &json!({"metadata": metadata, "receipt_email": "hidden@hidden.org"}));
    }
    let (identity, text) = shop.look();
    assert_says(&text, &["metadata.order_id: 8 IDs, such as hi…_0; of each payment", "4 IDs, such as h…@h….org"]);
    assert!(identity.line().unwrap().contains("user_uid") && !identity.line().unwrap().contains("order_id"));
}

#[test]
fn what_could_not_be_read_is_said() {
    let mut shop = Shop::default();
    assert_eq!(shop.look().0.findings(), [Finding::skipped("IDs of buyers: there is no payment yet")]);
    shop.0.is_test = true;
    assert_eq!(shop.look().0.findings(), [Finding::skipped("IDs of buyers: there is no payment yet in test mode")]);
    shop.pay("cus_1", &json!({"metadata": {"user_id": "hidden_1"}}));
    assert!(shop.look().0.line().is_some());
    shop.0.forbidden = [SessionOfPayment, ReferenceKind::SessionOfSubscription].into();
    shop.0.failed = 2;
    let (identity, text) = shop.look();
    assert_says(
        &text,
        &[
            "lacks a permission to read Checkout Sessions",
            "2 reads failed again and again",
            "Skipped: where the IDs of buyers are cannot be told, and nothing is recommended: the key lacks Checkout Sessions: Read (rak_checkout_session_read). Add",
            "it reads PaymentIntents, Customers, Invoices, Subscriptions, Checkout Sessions",
        ],
    );
    assert!(
        identity.line().is_none() && !text.contains("no place holds") && !text.contains("recommended, for"),
        "{text}"
    );
}
