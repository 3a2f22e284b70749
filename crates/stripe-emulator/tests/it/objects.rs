//! Objects have the documented shapes.

use std::time::Duration;

use crate::client::{Client, assert_refused, json_of};
use crate::shop::shop;
use reqwest::Method;
use serde_json::{Value, json};
use stripe_emulator::{Fault, Permission, UnknownObject};

const BASIL: &str = "2025-03-31.basil";

async fn in_version(client: &Client, version: &str, path: &str) -> (u16, Value) {
    json_of(client.request(Method::GET, path).header("stripe-version", version).send().await.unwrap()).await
}

#[tokio::test]
async fn objects_are_read_at_the_path_of_their_kind() {
    let (_stripe, client) = shop();
    for (path, name, param) in [
        ("customers/cus_1", "customer", "id"),
        ("subscriptions/sub_1", "subscription", "id"),
        ("payment_intents/pi_1", "payment_intent", "intent"),
        ("charges/ch_1", "charge", "id"),
        ("invoices/in_1", "invoice", "invoice"),
        ("issuing/cardholders/ich_1", "issuing.cardholder", "cardholder"),
        ("products/prod_1", "product", "id"),
        ("prices/price_1", "price", "price"),
        ("checkout/sessions/cs_1", "checkout.session", "session"),
    ] {
        let (kind, id) = path.rsplit_once('/').unwrap();
        let (status, object) = client.get(&format!("/v1/{path}")).await;
        assert_eq!((status, &object["id"], &object["object"]), (200, &json!(id), &json!(name)), "{object}");
        for other in ["none_1", if id == "cus_1" { "sub_1" } else { "cus_1" }] {
            let missing = client.get(&format!("/v1/{kind}/{other}")).await;
            assert_eq!(missing.1["error"]["param"], param);
            assert_refused(missing, 404, Some("resource_missing"), &format!("No such {name}: '{other}'"));
        }
        let unknown = client.get(&format!("/v1/{path}?limit=1")).await;
        assert_refused(unknown, 400, Some("parameter_unknown"), "Received unknown parameter: limit");
    }
    for path in ["/v1/customers", "/v1/products/prod_1/lines", "/v1/invoices/in_1/lines/il_1", "/v1/checkout/cs_1"] {
        assert_refused(client.get(path).await, 404, None, "Unrecognized request URL");
    }
    assert_refused(client.post("/v1/customers/cus_1", "email=b").await, 404, None, "Unrecognized request URL (POST");
}

#[tokio::test]
async fn objects_are_changed_deleted_and_removed() {
    let (stripe, client) = shop();
    let read = async || client.get("/v1/customers/cus_1").await;
    stripe.update("cus_1", |customer| customer["metadata"] = json!({"amplitude_id": "late"}));
    assert_eq!(read().await.1["metadata"], json!({"amplitude_id": "late"}));
    stripe.delete("cus_1");
    let deleted = json!({"id": "cus_1", "object": "customer", "deleted": true});
    assert_eq!(read().await, (200, deleted.clone()));
    let (_, payment) = client.get("/v1/payment_intents/pi_1?expand[]=customer").await;
    assert_eq!(payment["customer"], deleted);
    stripe.remove("cus_1");
    assert_refused(read().await, 404, Some("resource_missing"), "No such customer: 'cus_1'");
    stripe.put(json!({"id": "cus_1", "object": "customer"})).unwrap();
    assert_eq!(read().await.0, 200);
    for unknown in [json!({"object": "customer"}), json!({"id": "x_1", "object": "coupon"}), json!("cus_1")] {
        assert_eq!(stripe.put(unknown), Err(UnknownObject));
    }
}

#[tokio::test]
async fn objects_from_events_keep_known_values() {
    let (stripe, client) = shop();
    let event =
        |account: Value, object: Value| json!({"account": account, "livemode": false, "data": {"object": object}});
    // Later versions omit the invoice of a payment, and no event contains more than ten lines.
    stripe.learn(&event(json!(null), json!({"id": "pi_1", "object": "payment_intent", "status": "succeeded"})));
    let (_, payment) = client.get("/v1/payment_intents/pi_1").await;
    assert_eq!((&payment["status"], &payment["invoice"]), (&json!("succeeded"), &json!("in_1")));
    let lines = json!({"data": [{"id": "il_0"}], "has_more": true});
    stripe.learn(&event(json!(null), json!({"id": "in_1", "object": "invoice", "status": "paid", "lines": lines})));
    let (_, invoice) = client.get("/v1/invoices/in_1").await;
    assert_eq!((&invoice["status"], &invoice["lines"]["total_count"]), (&json!("paid"), &json!(25)));
    // Objects that an event names exist.
    let refund = json!({"id": "re_1", "object": "refund", "charge": "ch_9", "payment_intent": "pi_9"});
    stripe.learn(&event(json!(null), refund));
    assert_eq!(client.get("/v1/charges/ch_9").await.0, 200);
    assert_eq!(client.get("/v1/payment_intents/pi_9").await.0, 200);
    // The same sample is sent in both modes.
    let live = Client::with_key(&stripe, "rk_live_shop");
    stripe.allow("rk_live_shop", &Permission::ALL);
    assert_eq!(live.get("/v1/charges/ch_9").await.0, 404);
    let charge = json!({"id": "ch_8", "object": "charge", "charge": "ch_9", "livemode": false});
    stripe.learn(&json!({"livemode": true, "data": {"object": charge}}));
    for client in [&live, &client] {
        assert_eq!(client.get("/v1/charges/ch_9").await.0, 200);
    }
    assert_eq!(live.get("/v1/charges/ch_8").await.0, 200);
    // The account of an event is connected.
    stripe.learn(&event(json!("acct_1Other"), json!({"id": "cus_9", "object": "customer", "email": "d@shop.example"})));
    assert_eq!(client.get("/v1/customers/cus_9").await.0, 404);
    let of_other = client.request(Method::GET, "/v1/customers/cus_9").header("stripe-account", "acct_1Other");
    assert_eq!(json_of(of_other.send().await.unwrap()).await.1["email"], "d@shop.example");
}

#[tokio::test]
async fn objects_expanded_in_events_are_stored() {
    let (stripe, client) = shop();
    let learn = |object: Value| stripe.learn(&json!({"livemode": false, "data": {"object": object}}));
    let customer = json!({"id": "cus_8", "object": "customer", "metadata": {"user_id": "user_8"}});
    learn(json!({"id": "pi_8", "object": "payment_intent", "customer": customer}));
    assert_eq!(client.get("/v1/customers/cus_8").await.1["metadata"]["user_id"], "user_8");
    assert_eq!(client.get("/v1/payment_intents/pi_8").await.1["customer"], "cus_8");
    // The metadata of a subscription, in invoices of earlier and of later versions.
    let details = json!({"metadata": {"user_id": "user_7"}});
    learn(json!({"id": "in_7", "object": "invoice", "subscription": "sub_7", "subscription_details": details}));
    let details = json!({"subscription": "sub_8", "metadata": {"user_id": "user_8"}});
    learn(json!({"id": "in_8", "object": "invoice", "parent": {"subscription_details": details}}));
    for (id, user) in [("sub_7", "user_7"), ("sub_8", "user_8")] {
        assert_eq!(client.get(&format!("/v1/subscriptions/{id}")).await.1["metadata"]["user_id"], user);
    }
    assert_eq!(client.get("/v1/invoices/in_8").await.1["subscription"], "sub_8");
    // The subscription's own event is newer.
    learn(json!({"id": "sub_7", "object": "subscription", "metadata": {}}));
    learn(json!({"id": "in_9", "object": "invoice", "subscription": "sub_7",
                 "subscription_details": {"metadata": {"user_id": "old"}}}));
    assert_eq!(client.get("/v1/subscriptions/sub_7").await.1["metadata"], json!({}));
}

#[tokio::test]
async fn any_key_can_be_made_valid() {
    let (stripe, _) = shop();
    let client = Client::with_key(&stripe, "rk_test_of_somebody");
    assert_eq!(client.get("/v1/customers/cus_1").await.0, 401);
    stripe.allow_any_key();
    assert_eq!(client.get("/v1/customers/cus_1").await.0, 200);
    stripe.allow("rk_test_of_somebody", &[Permission::ChargeRead]);
    assert_eq!(client.get("/v1/customers/cus_1").await.0, 403);
}

#[tokio::test]
async fn account_is_read_as_a_customer() {
    let (stripe, client) = shop();
    stripe
        .put(json!({"id": "acct_1Buyer", "object": "v2.core.account", "contact_email": "b@shop.example",
                    "metadata": {"user_id": "user_3"}, "livemode": false}))
        .unwrap();
    let (status, customer) = client.get("/v1/customers/acct_1Buyer").await;
    assert_eq!((status, &customer["object"]), (200, &json!("customer")));
    assert_eq!((&customer["email"], &customer["metadata"]["user_id"]), (&json!("b@shop.example"), &json!("user_3")));
}

#[tokio::test]
async fn lines_are_truncated_and_paged() {
    let (_stripe, client) = shop();
    let (_, invoice) = client.get("/v1/invoices/in_1").await;
    let lines = &invoice["lines"];
    assert_eq!((lines["data"].as_array().unwrap().len(), &lines["has_more"]), (10, &json!(true)));
    assert_eq!((&lines["total_count"], &lines["url"]), (&json!(25), &json!("/v1/invoices/in_1/lines")));
    let (_, session) = client.get("/v1/checkout/sessions/cs_1").await;
    assert!(session.get("line_items").is_none(), "{session}");

    let ids = |kind: &str, numbers: std::ops::Range<u32>| -> Vec<_> {
        numbers.map(|number| format!("{kind}_{number}")).collect()
    };
    let (lines, items) = ("/v1/invoices/in_1/lines", "/v1/checkout/sessions/cs_1/line_items");
    for (path, query, expected, has_more) in [
        (lines, "", ids("il", 0..10), true),
        (lines, "?limit=100", ids("il", 0..25), false),
        (lines, "?limit=15&starting_after=il_9", ids("il", 10..25), false),
        (lines, "?limit=14&starting_after=il_9", ids("il", 10..24), true),
        (lines, "?limit=3&ending_before=il_5", ids("il", 2..5), true),
        (lines, "?starting_after=il_24", ids("il", 0..0), false),
        (items, "", ids("li", 0..10), true),
        (items, "?starting_after=li_9", ids("li", 10..12), false),
    ] {
        assert_eq!(client.list(&format!("{path}{query}")).await, (expected, has_more), "{path}{query}");
    }
    for (query, code, words) in [
        ("limit=101", "parameter_invalid_integer", "less than or equal to 100"),
        ("limit=0", "parameter_invalid_integer", "greater than or equal to 1"),
        ("starting_after=il_none", "resource_missing", "il_none"),
    ] {
        assert_refused(client.get(&format!("{lines}?{query}")).await, 400, Some(code), words);
    }
    assert_eq!(client.get("/v1/invoices/in_none/lines").await.0, 404);
}

#[tokio::test]
async fn object_lists_are_newest_first_and_filtered() {
    let (stripe, client) = shop();
    stripe.put(json!({"id": "cs_3", "object": "checkout.session", "created": 190, "payment_intent": "pi_2"})).unwrap();
    for (path, expected, has_more) in [
        ("checkout/sessions", &["cs_3", "cs_1", "cs_2"][..], false),
        ("checkout/sessions?limit=1", &["cs_3"], true),
        ("checkout/sessions?payment_intent=pi_2", &["cs_3", "cs_1"], false),
        ("checkout/sessions?payment_intent=pi_2&limit=1", &["cs_3"], true),
        ("checkout/sessions?subscription=sub_1", &["cs_2"], false),
        ("checkout/sessions?customer=cus_1", &["cs_2"], false),
        ("checkout/sessions?payment_intent=pi_1", &[], false),
        ("payment_intents", &["pi_2", "pi_1"], false),
        ("payment_intents?limit=1", &["pi_2"], true),
        ("payment_intents?limit=1&starting_after=pi_2", &["pi_1"], false),
        ("payment_intents?created[gte]=200", &["pi_2"], false),
        ("payment_intents?created[lt]=200", &["pi_1"], false),
        ("payment_intents?customer=cus_1", &["pi_1"], false),
        ("charges", &["ch_1"], false),
        ("charges?payment_intent=pi_1", &["ch_1"], false),
        ("charges?created[gt]=101", &[], false),
    ] {
        let (ids, more) = client.list(&format!("/v1/{path}")).await;
        assert_eq!((ids.iter().map(|id| &**id).collect::<Vec<_>>(), more), (expected.to_vec(), has_more), "{path}");
    }
    for (path, code, words) in [
        ("payment_intents?starting_after=pi_none", "resource_missing", "No such payment_intent: 'pi_none'"),
        ("payment_intents?invoice=in_1", "parameter_unknown", "Received unknown parameter: invoice"),
        ("charges?limit=101", "parameter_invalid_integer", "less than or equal to 100"),
    ] {
        assert_refused(client.get(&format!("/v1/{path}")).await, 400, Some(code), words);
    }
}

#[tokio::test]
async fn ids_expand_up_to_four_levels() {
    let (_stripe, client) = shop();
    let user = |pointer: &'static str| (pointer, json!("user_1"));
    for (path, (pointer, expected)) in [
        ("payment_intents/pi_1?expand[]=customer", user("/customer/metadata/user_id")),
        ("payment_intents/pi_1?expand[]=invoice.subscription", user("/invoice/subscription/metadata/user_id")),
        (
            "payment_intents/pi_1?expand[]=invoice.subscription.customer",
            user("/invoice/subscription/customer/metadata/user_id"),
        ),
        (
            "payment_intents/pi_1?expand[]=customer&expand[]=invoice.customer",
            user("/invoice/customer/metadata/user_id"),
        ),
        ("payment_intents/pi_1?expand[]=latest_charge", ("/latest_charge/object", json!("charge"))),
        ("charges/ch_1?expand[0]=payment_intent.customer", user("/payment_intent/customer/metadata/user_id")),
        ("invoices/in_1?expand[]=lines.data.price.product", ("/lines/data/9/price/product/name", json!("Pro"))),
        ("invoices/in_1/lines?expand[]=data.price.product", ("/data/0/price/product/name", json!("Pro"))),
        ("subscriptions/sub_1?expand[]=items.data.price.product", ("/items/data/0/price/product/name", json!("Pro"))),
        ("checkout/sessions/cs_1?expand[]=line_items", ("/line_items/data/9/id", json!("li_9"))),
        ("checkout/sessions/cs_1?expand[]=line_items", ("/line_items/has_more", json!(true))),
        (
            "checkout/sessions/cs_1?expand[]=line_items.data.price.product",
            ("/line_items/data/0/price/product/name", json!("Pro")),
        ),
        ("checkout/sessions/cs_1/line_items?expand[]=data.price.product", ("/data/9/price/product/name", json!("Pro"))),
        ("checkout/sessions?expand[]=data.customer", user("/data/1/customer/metadata/user_id")),
        ("payment_intents?expand[]=data.invoice.subscription", user("/data/1/invoice/subscription/metadata/user_id")),
        // Null stays null.
        ("payment_intents?expand[]=data.invoice.subscription", ("/data/0/invoice", Value::Null)),
        ("products/prod_1?expand[]=default_price", ("/default_price/unit_amount", json!(2500))),
    ] {
        let (status, answer) = client.get(&format!("/v1/{path}")).await;
        assert_eq!((status, answer.pointer(pointer)), (200, Some(&expected)), "{path}: {answer}");
    }
    for (path, words) in [
        ("payment_intents/pi_1?expand[]=buyer", "This property cannot be expanded (buyer)."),
        ("payment_intents/pi_1?expand[]=customer.email", "This property cannot be expanded (customer.email)."),
        ("invoices/in_1?expand[]=lines.data.price", "This property cannot be expanded (lines.data.price)."),
        ("invoices/in_1?expand[]=lines", "This property cannot be expanded (lines)."),
        ("payment_intents?expand[]=customer", "(customer). You may want to try expanding 'data.customer' instead."),
        ("payment_intents/pi_1?expand[]=data.customer", "This property cannot be expanded (data.customer)."),
        (
            "payment_intents?expand[]=data.invoice.lines.data.price",
            "You cannot expand more than 4 levels of a property.",
        ),
    ] {
        assert_refused(client.get(&format!("/v1/{path}")).await, 400, None, words);
    }
}

#[tokio::test]
async fn response_version_is_the_requests_or_the_accounts() {
    let (stripe, client) = shop();
    let parent = json!({
        "type": "subscription_details",
        "quote_details": null,
        "subscription_details": {"subscription": "sub_1", "metadata": {"user_id": "user_1"}},
    });
    let pricing = json!({"price": "price_1", "product": "prod_1"});
    for default in [None, Some("2024-06-20"), Some("2025-09-30.clover")] {
        if let Some(version) = default {
            stripe.set_default_version(version);
        }
        for header in [None, Some("2024-06-20"), Some("2025-02-24.acacia"), Some(BASIL), Some("2026-10-28.endive")] {
            let is_later = header.or(default).is_some_and(|version| version >= "2025-03-31");
            let read = async |path: &str| {
                let request = client.request(Method::GET, &format!("/v1/{path}"));
                let request =
                    header.into_iter().fold(request, |request, version| request.header("stripe-version", version));
                let answer = request.send().await.unwrap();
                assert_eq!(answer.headers()["stripe-version"], header.or(default).unwrap_or("2024-06-20"));
                json_of(answer).await.1
            };
            for path in ["payment_intents/pi_1", "charges/ch_1"] {
                assert_eq!(read(path).await.get("invoice").is_none(), is_later, "{path} {header:?} {default:?}");
            }
            let invoice = read("invoices/in_1").await;
            for name in ["subscription", "subscription_details", "payment_intent", "charge", "paid"] {
                assert_eq!(invoice.get(name).is_none(), is_later, "{name} {header:?} {default:?}");
            }
            assert_eq!(invoice.get("parent"), is_later.then_some(&parent));
            for line in [&invoice["lines"]["data"][0], &read("invoices/in_1/lines").await["data"][0]] {
                assert_eq!((line.get("price").is_none(), line.get("plan").is_none()), (is_later, is_later), "{line}");
                assert_eq!(line.pointer("/pricing/price_details"), is_later.then_some(&pricing));
            }
            // Line items of sessions are the same in all versions.
            assert_eq!(read("checkout/sessions/cs_1/line_items").await["data"][0]["price"]["product"], "prod_1");
        }
    }
}

#[tokio::test]
async fn fields_missing_in_a_version_cannot_be_expanded() {
    let (_stripe, client) = shop();
    for (path, pointer) in [
        (
            "invoices/in_1?expand[]=parent.subscription_details.subscription",
            "/parent/subscription_details/subscription/metadata",
        ),
        (
            "invoices/in_1/lines?expand[]=data.pricing.price_details.price",
            "/data/0/pricing/price_details/price/unit_amount",
        ),
    ] {
        let (status, answer) = in_version(&client, BASIL, &format!("/v1/{path}")).await;
        assert!(status == 200 && answer.pointer(pointer).is_some(), "{path}: {answer}");
        assert_refused(client.get(&format!("/v1/{path}")).await, 400, None, "cannot be expanded");
    }
    for path in [
        "payment_intents/pi_1?expand[]=invoice",
        "invoices/in_1?expand[]=subscription",
        "invoices/in_1/lines?expand[]=data.price.product",
    ] {
        assert_eq!(client.get(&format!("/v1/{path}")).await.0, 200);
        assert_refused(in_version(&client, BASIL, &format!("/v1/{path}")).await, 400, None, "cannot be expanded");
    }
}

#[tokio::test]
async fn invalid_version_is_rejected() {
    let (_stripe, client) = shop();
    for version in ["latest", "2024-6-20", "2025-03-31", "2024-06-20.acacia"] {
        let answer = in_version(&client, version, "/v1/customers/cus_1").await;
        assert_refused(answer, 400, None, &format!("Invalid Stripe API version: {version}"));
    }
}

#[tokio::test]
async fn account_only_sees_its_own_objects() {
    let (stripe, client) = shop();
    stripe.connect("acct_1Shop");
    stripe.put_in("acct_1Shop", json!({"id": "cus_shop", "object": "customer"})).unwrap();
    stripe.put_in("acct_1Shop", json!({"id": "pi_shop", "object": "payment_intent", "customer": "cus_shop"})).unwrap();
    let read = async |account: Option<&str>, path: &str| {
        let request = client.request(Method::GET, &format!("/v1/{path}"));
        let request = account.into_iter().fold(request, |request, account| request.header("stripe-account", account));
        json_of(request.send().await.unwrap()).await
    };
    for (account, path, expected) in [
        (None, "customers/cus_1", 200),
        (None, "customers/cus_shop", 404),
        (Some("acct_1Shop"), "customers/cus_shop", 200),
        (Some("acct_1Shop"), "customers/cus_1", 404),
        (Some("acct_1Other"), "customers/cus_shop", 403),
    ] {
        let (status, answer) = read(account, path).await;
        let code = match expected {
            404 => json!("resource_missing"),
            403 => json!("account_invalid"),
            _ => Value::Null,
        };
        assert_eq!((status, &answer["error"]["code"]), (expected, &code), "{account:?} {path}");
    }
    let (_, list) = read(Some("acct_1Shop"), "payment_intents?expand[]=data.customer").await;
    assert_eq!((list["data"].as_array().unwrap().len(), &list["data"][0]["customer"]["id"]), (1, &json!("cus_shop")));
    assert_eq!(client.list("/v1/payment_intents").await.0, ["pi_2", "pi_1"]);
    assert_eq!(stripe.requests()[0].account(), None);
    assert_eq!(stripe.requests()[2].account(), Some("acct_1Shop"));
}

#[tokio::test]
async fn key_only_sees_objects_of_its_mode() {
    let (stripe, client) = shop();
    stripe.allow("sk_live_51Emulated", &Permission::ALL);
    let live = Client::with_key(&stripe, "sk_live_51Emulated");
    stripe.put(json!({"id": "cus_test", "object": "customer", "livemode": false})).unwrap();
    stripe.put(json!({"id": "cus_live", "object": "customer", "livemode": true})).unwrap();
    stripe.put(json!({"id": "pi_live", "object": "payment_intent", "livemode": true, "created": 300})).unwrap();
    for (key, id, expected) in [
        (&client, "cus_1", 200),
        (&live, "cus_1", 200),
        (&client, "cus_test", 200),
        (&live, "cus_live", 200),
        (&client, "cus_live", 404),
        (&live, "cus_test", 404),
    ] {
        assert_eq!(key.get(&format!("/v1/customers/{id}")).await.0, expected, "{} {id}", key.key);
    }
    for (key, id, has, asked) in [(&live, "cus_test", "test", "live"), (&client, "cus_live", "live", "test")] {
        let words = format!(
            "No such customer: '{id}'; a similar object exists in {has} mode, but a {asked} mode key was used to make \
             this request."
        );
        assert_refused(key.get(&format!("/v1/customers/{id}")).await, 404, Some("resource_missing"), &words);
    }
    stripe.delete("cus_live");
    assert_eq!(client.get("/v1/customers/cus_live").await.0, 404);
    assert_eq!(live.list("/v1/payment_intents").await.0, ["pi_live", "pi_2", "pi_1"]);
    assert_eq!(client.list("/v1/payment_intents").await.0, ["pi_2", "pi_1"]);
}

#[tokio::test]
async fn kinds_and_expansions_require_permissions() {
    let (stripe, _) = shop();
    for (path, needed) in [
        ("customers/cus_1", &[(Permission::CustomerRead, "rak_customer_read")][..]),
        ("subscriptions/sub_1", &[(Permission::SubscriptionRead, "rak_subscription_read")]),
        ("invoices/in_1", &[(Permission::InvoiceRead, "rak_invoice_read")]),
        ("invoices/in_1/lines", &[(Permission::InvoiceRead, "rak_invoice_read")]),
        ("payment_intents/pi_1", &[(Permission::PaymentIntentRead, "rak_payment_intent_read")]),
        ("payment_intents", &[(Permission::PaymentIntentRead, "rak_payment_intent_read")]),
        ("charges", &[(Permission::ChargeRead, "rak_charge_read")]),
        ("charges/ch_1", &[(Permission::ChargeRead, "rak_charge_read")]),
        ("checkout/sessions", &[(Permission::CheckoutSessionRead, "rak_checkout_session_read")]),
        ("checkout/sessions/cs_1", &[(Permission::CheckoutSessionRead, "rak_checkout_session_read")]),
        ("checkout/sessions/cs_1/line_items", &[(Permission::CheckoutSessionRead, "rak_checkout_session_read")]),
        ("issuing/cardholders/ich_1", &[(Permission::IssuingCardholderRead, "rak_issuing_cardholder_read")]),
        ("products/prod_1", &[(Permission::ProductRead, "rak_product_read")]),
        ("prices/price_1", &[(Permission::PlanRead, "'plan_read'")]),
        (
            "payment_intents/pi_1?expand[]=invoice.subscription",
            &[
                (Permission::PaymentIntentRead, "rak_payment_intent_read"),
                (Permission::InvoiceRead, "rak_invoice_read"),
                (Permission::SubscriptionRead, "rak_subscription_read"),
            ],
        ),
        // Even if there is nothing to expand.
        (
            "payment_intents/pi_2?expand[]=customer",
            &[
                (Permission::PaymentIntentRead, "rak_payment_intent_read"),
                (Permission::CustomerRead, "rak_customer_read"),
            ],
        ),
        (
            "invoices/in_1/lines?expand[]=data.price.product",
            &[
                (Permission::InvoiceRead, "rak_invoice_read"),
                (Permission::PlanRead, "'plan_read'"),
                (Permission::ProductRead, "rak_product_read"),
            ],
        ),
    ] {
        let mut permissions = Vec::new();
        for (permission, name) in needed {
            let key = stripe.restricted_key(&permissions);
            let code = (*permission == Permission::PlanRead).then_some("more_permissions_required");
            let refused = Client::with_key(&stripe, &key).get(&format!("/v1/{path}")).await;
            assert_refused(refused, 403, code, name);
            permissions.push(*permission);
        }
        let key = stripe.restricted_key(&permissions);
        assert_eq!(Client::with_key(&stripe, &key).get(&format!("/v1/{path}")).await.0, 200, "{path}");
    }
    let wrong = Client::with_key(&stripe, "rk_test_wrong1234").get("/v1/customers/cus_1").await;
    assert_refused(wrong, 401, None, "Invalid API Key provided: rk_test_*****1234");
}

#[tokio::test]
async fn outage_and_rate_limit_reason_are_set() {
    let (stripe, client) = shop();
    let get = async || client.request(Method::GET, "/v1/customers/cus_1").send().await.unwrap();
    for reason in ["global-rate", "endpoint-rate"] {
        stripe.set_rate_limited_reason(reason);
        stripe.fail_at("/v1/customers", 1, Fault::TooManyRequests);
        let refused = get().await;
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["stripe-rate-limited-reason"]),
            (429, &reason.parse().unwrap())
        );
        assert!(refused.headers().get("retry-after").is_none());
    }
    stripe.set_outage(Some(Fault::Unavailable));
    stripe.fail_at("/v1/customers", 1, Fault::InternalError);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(get().await.status().as_u16());
    }
    assert_eq!(statuses, [500, 503, 503, 503]);
    stripe.set_outage(None);
    assert_eq!(get().await.status(), 200);
    stripe.set_outage(Some(Fault::Cut));
    assert!(client.request(Method::GET, "/v1/customers/cus_1").timeout(Duration::from_secs(5)).send().await.is_err());
    stripe.clear_faults();
    assert_eq!(get().await.status(), 200);
}

#[tokio::test]
async fn reads_are_counted_with_their_headers() {
    let (stripe, client) = shop();
    client.get("/v1/customers/cus_1").await;
    in_version(&client, BASIL, "/v1/payment_intents/pi_1?expand[]=customer&expand[]=latest_charge").await;
    assert_eq!(stripe.count("GET", "/v1/customers/cus_1"), 1);
    let [first, second] = &*stripe.requests() else { panic!("two requests") };
    assert_eq!((first.version(), first.account(), first.key()), (None, None, Some(client.key.clone())));
    assert_eq!((second.version(), second.query("expand[]")), (Some(BASIL), vec!["customer", "latest_charge"]));
}

#[tokio::test]
async fn malformed_requests_do_not_stop_the_server() {
    let (stripe, client) = shop();
    for (path, expected) in [
        ("/", 404),
        ("/v1", 404),
        ("/v1/", 404),
        ("/v1//", 404),
        ("/v1/customers/", 404),
        ("/v1/customers/%00%ff", 404),
        ("/v1/checkout", 404),
        ("/v1/checkout/sessions/", 404),
        ("/v1/payment_intents?limit=99999999999999999999", 400),
        ("/v1/payment_intents?created[gt]=9223372036854775807&created[lt]=-9223372036854775808", 200),
        ("/v1/events?created[gt]=9223372036854775807&created[lt]=-9223372036854775808", 200),
        ("/v1/payment_intents?expand[]=", 400),
        ("/v1/payment_intents?expand[]=....", 400),
        ("/v1/payment_intents?expand[]=...", 400),
        ("/v1/payment_intents?expand=data.customer", 400),
        ("/v1/payment_intents?%5B%5D=1&=&&", 400),
    ] {
        assert_eq!(client.get(path).await.0, expected, "{path}");
    }
    for key in ["", "_", "a_b_c", "schlüssel_ü_ü", "sk_test_"] {
        assert_eq!(
            Client { key: key.to_owned(), ..Client::of(&stripe) }.get("/v1/customers/cus_1").await.0,
            401,
            "{key}"
        );
    }
    assert_eq!(client.get("/v1/customers/cus_1").await.0, 200);
}
