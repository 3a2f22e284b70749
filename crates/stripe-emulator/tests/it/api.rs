//! Keys, events, endpoints, deliveries and faults.

use std::collections::HashSet;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::client::{Client, assert_refused, json_of};
use crate::shop::shop;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use stripe_emulator::{
    ACCOUNT, API_VERSION, Delivery, EVENT_TYPES, Emulator, Event, Fault, Permission, SAMPLE_TYPES, SECRET_KEY, history,
    sample,
};

/// The time that determines the age of the tests' events.
const NOW: i64 = 1_721_950_000;
const DAY: i64 = 24 * 60 * 60;

async fn start() -> (Emulator, Client) {
    let stripe = Emulator::start().unwrap();
    stripe.set_now(NOW);
    let client = Client::of(&stripe);
    (stripe, client)
}

#[tokio::test]
async fn unknown_keys_are_rejected() {
    let (stripe, client) = start().await;
    assert_eq!(client.get("/v1/account").await.0, 200);
    let url = format!("{}/v1/account", stripe.url());
    let bearer = client.http.get(&url).bearer_auth(SECRET_KEY).send().await.unwrap();
    assert_eq!(bearer.status(), 200);
    let (status, account) = json_of(bearer).await;
    assert_eq!((status, &account["id"], &account["object"]), (200, &json!(ACCOUNT), &json!("account")));

    let nobody = client.http.get(&url).send().await.unwrap();
    assert_eq!(nobody.headers()["www-authenticate"], "Basic realm=\"Stripe\"");
    assert_refused(json_of(nobody).await, 401, None, "You did not provide an API key");
    let other = Client::with_key(&stripe, "sk_test_other1234");
    assert_refused(other.get("/v1/events").await, 401, None, "Invalid API Key provided: sk_test_*****1234");
    stripe.revoke(SECRET_KEY);
    assert_refused(client.get("/v1/account").await, 401, None, "Invalid API Key provided: sk_test_");
    assert_eq!(stripe.requests().iter().filter(|request| request.status == Some(401)).count(), 3);
}

#[tokio::test]
async fn restricted_key_has_only_its_permissions() {
    let (stripe, _) = start().await;
    stripe.add([sample("charge.failed", 1, NOW)]);
    let (event, new) = (
        stripe.event(&sample("charge.failed", 1, NOW).id).unwrap().id,
        stripe.add_endpoint("https://a.example", &["*"]).id,
    );
    let (event, endpoint) = (format!("/v1/events/{event}"), format!("/v1/webhook_endpoints/{new}"));
    for (permissions, may) in [
        (&[][..], [403, 403, 403, 403, 403]),
        (&[Permission::EventsRead], [403, 200, 200, 403, 403]),
        (&[Permission::WebhookEndpointsRead], [403, 403, 403, 200, 403]),
        (&[Permission::WebhookEndpointsWrite], [403, 403, 403, 200, 200]),
        (&[Permission::AccountRead, Permission::EventsRead], [200, 200, 200, 403, 403]),
        (&Permission::ALL, [200, 200, 200, 200, 200]),
    ] {
        let client = Client::with_key(&stripe, &stripe.restricted_key(permissions));
        let statuses = [
            client.get("/v1/account").await.0,
            client.get("/v1/events").await.0,
            client.get(&event).await.0,
            client.get("/v1/webhook_endpoints").await.0,
            client.post(&endpoint, "description=Mine").await.0,
        ];
        assert_eq!(statuses, may, "{permissions:?}");
    }
    let client = Client::with_key(&stripe, &stripe.restricted_key(&[]));
    for (path, words) in
        [("/v1/events", "Having the 'rak_event_read' permission"), ("/v1/webhook_endpoints", "'rak_webhook_read'")]
    {
        assert_refused(client.get(path).await, 403, None, words);
    }
    assert_refused(client.delete(&endpoint).await, 403, None, "'rak_webhook_write'");
}

#[tokio::test]
async fn connected_account_has_its_own_events() {
    let (stripe, client) = start().await;
    stripe.connect("acct_1Shop");
    stripe.add([sample("charge.failed", 1, NOW), sample("charge.failed", 2, NOW).in_account("acct_1Shop")]);
    let of = async |account: &str| {
        let request = client.request(Method::GET, "/v1/events").header("stripe-account", account);
        json_of(request.send().await.unwrap()).await
    };
    let (_, shop) = of("acct_1Shop").await;
    assert_eq!((shop["data"].as_array().unwrap().len(), &shop["data"][0]["account"]), (1, &json!("acct_1Shop")));
    let (_, own) = of(ACCOUNT).await;
    assert_eq!(own["data"][0]["id"], sample("charge.failed", 1, NOW).id);
    assert_eq!(client.list("/v1/events").await.0, [sample("charge.failed", 1, NOW).id]);
    assert_refused(of("acct_1Other").await, 403, Some("account_invalid"), "does not have access to account");
}

#[tokio::test]
async fn every_response_has_an_id_and_a_date() {
    let (stripe, client) = start().await;
    let mut ids = HashSet::new();
    for path in ["/v1/events", "/v1/account", "/v1/nothing", "/v1/events?limit=0"] {
        let answer = client.request(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.headers()["date"], "Thu, 25 Jul 2024 23:26:40 GMT");
        assert_eq!(answer.headers()["stripe-version"], API_VERSION);
        assert!(ids.insert(answer.headers()["request-id"].clone()));
    }
    stripe.set_date(NOW + 3_600);
    let request = client.request(Method::GET, "/v1/account").header("stripe-version", "2025-03-31.basil");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["date"], "Fri, 26 Jul 2024 00:26:40 GMT");
    assert_eq!(answer.headers()["stripe-version"], "2025-03-31.basil");
    assert_refused(client.get("/v1/nothing").await, 404, None, "Unrecognized request URL (GET: /v1/nothing)");
}

#[tokio::test]
async fn events_are_listed_newest_first_and_unchanged() {
    let (stripe, client) = start().await;
    let (first, second) = (sample("invoice.paid", 1, NOW - 5), sample("charge.failed", 1, NOW - 5));
    let odd = Event::new(format!(
        "{{ \"id\":\"evt_odd\", \"type\":\"charge.updated\",\n\"created\":{},\"data\":{{\"object\":{{\"amount\":1.0e2,\"ü\":\"\\u00fc\"}}}} }}",
        NOW - 9
    ))
    .unwrap();
    stripe.add([first.clone(), odd.clone(), second.clone()]);
    let answer = client.request(Method::GET, "/v1/events").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    let text = answer.text().await.unwrap();
    let bodies = [&second, &first, &odd].map(|event| str::from_utf8(&event.body).unwrap()).join(",");
    assert_eq!(text, format!(r#"{{"object":"list","url":"/v1/events","has_more":false,"data":[{bodies}]}}"#));

    let alone = client.request(Method::GET, "/v1/events/evt_odd").send().await.unwrap();
    assert_eq!(alone.bytes().await.unwrap(), odd.body);
    assert_refused(client.get("/v1/events/evt_none").await, 404, Some("resource_missing"), "No such event: 'evt_none'");
}

#[tokio::test]
async fn event_lists_are_filtered() {
    let (stripe, client) = start().await;
    let types = ["charge.failed", "charge.dispute.created", "invoice.paid", "customer.created"];
    let events: Vec<_> = (0..).zip(types).map(|(index, event_type)| sample(event_type, 1, NOW - 10 + index)).collect();
    stripe.add(events.iter().cloned().map(|event| match &*event.event_type {
        "invoice.paid" => event.undelivered(),
        _ => event,
    }));
    let at = |second: i64| NOW - 10 + second;
    for (query, expected) in [
        (String::new(), &[3, 2, 1, 0][..]),
        ("types[]=charge.failed&types[]=invoice.paid".to_owned(), &[2, 0]),
        ("types%5B0%5D=charge.failed&types%5B1%5D=invoice.paid".to_owned(), &[2, 0]),
        ("type=customer.created".to_owned(), &[3]),
        ("type=charge.*".to_owned(), &[1, 0]),
        ("types[]=charge.expired".to_owned(), &[]),
        (format!("created[gte]={}", at(1)), &[3, 2, 1]),
        (format!("created[gt]={}", at(1)), &[3, 2]),
        (format!("created[lte]={}", at(1)), &[1, 0]),
        (format!("created[lt]={}", at(1)), &[0]),
        (format!("created[gt]={}&created[lt]={}", at(0), at(3)), &[2, 1]),
        (format!("created[gte]={}&created[lte]={}", at(3), at(0)), &[]),
        (format!("created={}", at(2)), &[2]),
        ("delivery_success=false".to_owned(), &[2]),
        ("delivery_success=true".to_owned(), &[3, 1, 0]),
        ("expand[]=data.data&limit=1".to_owned(), &[3]),
    ] {
        let (ids, _) = client.list(&format!("/v1/events?{query}")).await;
        assert_eq!(ids, expected.iter().map(|index| events[*index].id.clone()).collect::<Vec<_>>(), "{query}");
    }
}

#[tokio::test]
async fn events_expire_after_30_days() {
    let (stripe, client) = start().await;
    let (kept, gone) = (sample("charge.failed", 1, NOW - 30 * DAY), sample("charge.failed", 2, NOW - 30 * DAY - 1));
    stripe.add([kept.clone(), gone.clone()]);
    assert_eq!(client.list("/v1/events?created[gte]=0").await, (vec![kept.id.clone()], false));
    assert_eq!(client.get(&format!("/v1/events/{}", gone.id)).await.0, 404);
    assert_eq!(client.get(&format!("/v1/events?starting_after={}", gone.id)).await.0, 400);
    stripe.set_now(NOW + 1);
    assert_eq!(client.list("/v1/events").await, (vec![], false));
}

#[tokio::test]
async fn pages_continue_after_or_before_an_event() {
    let (stripe, client) = start().await;
    // Several in each second.
    let events: Vec<_> =
        (0..25_u32).map(|number| sample("charge.failed", number.into(), NOW - i64::from((24 - number) / 4))).collect();
    stripe.add(events.clone());
    let newest_first: Vec<_> = events.iter().rev().map(|event| event.id.clone()).collect();
    assert_eq!(client.list("/v1/events").await, (newest_first[..10].to_vec(), true));
    let after = |id: &str, limit: usize| format!("/v1/events?limit={limit}&starting_after={id}");
    assert_eq!(client.list(&after(&newest_first[9], 10)).await, (newest_first[10..20].to_vec(), true));
    assert_eq!(client.list(&after(&newest_first[19], 10)).await, (newest_first[20..].to_vec(), false));
    assert_eq!(client.list(&after(&newest_first[19], 5)).await, (newest_first[20..].to_vec(), false));
    assert_eq!(client.list(&after(&newest_first[24], 5)).await, (vec![], false));
    let before = |id: &str, limit: usize| format!("/v1/events?limit={limit}&ending_before={id}");
    assert_eq!(client.list(&before(&newest_first[9], 5)).await, (newest_first[4..9].to_vec(), true));
    assert_eq!(client.list(&before(&newest_first[9], 9)).await, (newest_first[..9].to_vec(), false));
    assert_eq!(client.list(&before(&newest_first[0], 9)).await, (vec![], false));
    // New events do not change later pages.
    stripe.add([sample("charge.failed", 99, NOW)]);
    assert_eq!(client.list(&after(&newest_first[9], 10)).await, (newest_first[10..20].to_vec(), true));
}

#[tokio::test]
async fn invalid_list_requests_are_rejected() {
    let (_stripe, client) = start().await;
    let many = "types[]=charge.failed&".repeat(21);
    let number = Some("parameter_invalid_integer");
    for (query, code, words) in [
        (&*many, None, "up to 20"),
        ("type=charge.failed&types[]=charge.failed", None, "not both"),
        ("limit=0", number, "greater than or equal to 1 (it currently is '0')"),
        ("limit=101", number, "less than or equal to 100 (it currently is '101')"),
        ("limit=ten", number, "Invalid integer: ten"),
        ("created[gte]=yesterday", number, "Invalid integer: yesterday"),
        ("created[from]=1", Some("parameter_unknown"), "Received unknown parameter: created[from]"),
        ("kind=charge.failed", Some("parameter_unknown"), "Received unknown parameter: kind"),
        ("delivery_success=no", None, "Invalid boolean: no"),
        ("starting_after=evt_none", Some("resource_missing"), "No such event: 'evt_none'"),
        ("ending_before=evt_none", Some("resource_missing"), "No such event: 'evt_none'"),
        ("starting_after=evt_a&ending_before=evt_b", None, "both"),
    ] {
        assert_refused(client.get(&format!("/v1/events?{query}")).await, 400, code, words);
    }
    assert_eq!(client.get(&format!("/v1/events?{}", "types[]=charge.failed&".repeat(20))).await.0, 200);
}

#[tokio::test]
async fn paging_200_000_events_is_fast() {
    let (stripe, client) = start().await;
    stripe.add(history(200_000, NOW - 29 * DAY, NOW));
    assert_eq!(stripe.number_of_events(), 200_000);
    let began = Instant::now();
    let mut seen = HashSet::new();
    let mut path = "/v1/events?limit=100".to_owned();
    loop {
        let answer = client.request(Method::GET, &path).send().await.unwrap().bytes().await.unwrap();
        let page: Page = serde_json::from_slice(&answer).unwrap();
        path = format!("/v1/events?limit=100&starting_after={}", page.data.last().unwrap().id);
        seen.extend(page.data.into_iter().map(|event| event.id));
        if !page.has_more {
            break;
        }
    }
    assert_eq!((seen.len(), stripe.requests().len()), (200_000, 2_000));
    // None of them exists, so all events are searched.
    assert_eq!(client.list("/v1/events?types[]=customer.created").await, (vec![], false));
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

/// Parses no more than this, so that the test mainly measures the emulator.
#[derive(serde::Deserialize)]
struct Page {
    has_more: bool,
    data: Vec<EventId>,
}

#[derive(serde::Deserialize)]
struct EventId {
    id: String,
}

#[tokio::test]
async fn endpoint_is_created_read_changed_and_deleted() {
    let (stripe, client) = start().await;
    let form = "url=https%3A%2F%2Fa.example%2Fstripe%2Fshop&enabled_events[]=charge.failed&enabled_events[]=invoice.paid\
                &api_version=2024-06-20&description=Our+shop&metadata[made_by]=us";
    let (status, created) = client.post("/v1/webhook_endpoints", form).await;
    let id = created["id"].as_str().unwrap();
    let secret = created["secret"].as_str().unwrap();
    let mut expected = json!({
        "id": id, "object": "webhook_endpoint", "api_version": "2024-06-20", "application": null, "created": NOW,
        "description": "Our shop", "enabled_events": ["charge.failed", "invoice.paid"], "livemode": false,
        "metadata": {"made_by": "us"}, "status": "enabled", "url": "https://a.example/stripe/shop", "secret": secret,
    });
    assert_eq!((status, &created), (200, &expected));
    assert!(id.starts_with("we_") && secret.starts_with("whsec_") && secret.len() == 38, "{created}");

    // The secret is only returned on creation.
    expected.as_object_mut().unwrap().remove("secret");
    let path = format!("/v1/webhook_endpoints/{id}");
    assert_eq!(client.get(&path).await, (200, expected.clone()));
    assert_eq!(client.get("/v1/webhook_endpoints").await.1["data"], json!([expected]));
    assert_eq!(stripe.endpoint(id).unwrap().secret, secret);

    let form = "url=https://b.example&enabled_events[0]=charge.updated&disabled=true&description=&metadata[made_by]=\
                &metadata[by]=me";
    expected["url"] = "https://b.example".into();
    expected["enabled_events"] = json!(["charge.updated"]);
    expected["status"] = "disabled".into();
    expected["description"] = Value::Null;
    expected["metadata"] = json!({"by": "me"});
    assert_eq!(client.post(&path, form).await, (200, expected.clone()));
    expected["status"] = "enabled".into();
    expected["metadata"] = json!({});
    assert_eq!(client.post(&path, "disabled=false&metadata=").await, (200, expected.clone()));
    assert_eq!(client.get(&path).await, (200, expected));

    let deleted = json!({"id": id, "object": "webhook_endpoint", "deleted": true});
    assert_eq!(client.delete(&path).await, (200, deleted));
    for answer in [client.get(&path).await, client.post(&path, "disabled=true").await, client.delete(&path).await] {
        assert_refused(answer, 404, Some("resource_missing"), "No such webhook endpoint");
    }
    assert!(stripe.endpoints().is_empty());
}

#[tokio::test]
async fn invalid_endpoints_are_rejected() {
    let (stripe, client) = start().await;
    let url = "url=https://a.example";
    for (form, code, words) in [
        ("enabled_events[]=charge.failed", Some("parameter_missing"), "Missing required param: url"),
        (url, Some("parameter_missing"), "Missing required param: enabled_events"),
        ("url=nonsense&enabled_events[]=*", Some("url_invalid"), "Not a valid URL"),
        (&format!("{url}&enabled_events[]=charge.failed&enabled_events[]=charge.*"), None, "Invalid enabled_events[1]"),
        (&format!("{url}&enabled_events[]=*&enabled_events[]=charge.failed"), None, "Invalid enabled_events[0]"),
        (&format!("{url}&enabled_events[]=*&api_version=latest"), None, "Invalid Stripe API version: latest"),
        (&format!("{url}&enabled_events[]=*&secret=whsec_mine"), Some("parameter_unknown"), "secret"),
    ] {
        assert_refused(client.post("/v1/webhook_endpoints", form).await, 400, code, words);
    }
    assert!(stripe.endpoints().is_empty());

    let endpoint = stripe.add_endpoint("https://a.example", &["charge.failed"]);
    let path = format!("/v1/webhook_endpoints/{}", endpoint.id);
    for (form, code, words) in [
        ("api_version=2024-06-20&disabled=true", Some("parameter_unknown"), "Received unknown parameter: api_version"),
        ("disabled=true&enabled_events[]=charge.Failed", None, "Invalid enabled_events[0]"),
        ("disabled=yes", None, "Invalid boolean"),
        ("disabled=true&url=nonsense", Some("url_invalid"), "Not a valid URL"),
    ] {
        assert_refused(client.post(&path, form).await, 400, code, words);
    }
    assert!(!stripe.endpoints()[0].disabled);
    // Every type that can be enabled.
    let all: String = EVENT_TYPES.iter().map(|event_type| format!("&enabled_events[]={event_type}")).collect();
    assert_eq!(client.post(&path, all.trim_start_matches('&')).await.0, 200);
}

#[tokio::test]
async fn account_has_at_most_16_endpoints() {
    let (stripe, client) = start().await;
    let mut newest_first = Vec::new();
    for number in 0..16 {
        let form = format!("url=https://a.example/{number}&enabled_events[]=*");
        let (status, endpoint) = client.post("/v1/webhook_endpoints", &form).await;
        assert_eq!(status, 200);
        newest_first.insert(0, endpoint["id"].as_str().unwrap().to_owned());
    }
    let one_more = client.post("/v1/webhook_endpoints", "url=https://a.example&enabled_events[]=*").await;
    assert_refused(one_more, 400, None, "maximum of 16");
    assert_eq!(stripe.endpoints().len(), 16);

    let path = "/v1/webhook_endpoints";
    assert_eq!(client.list(path).await, (newest_first[..10].to_vec(), true));
    let after = format!("{path}?starting_after={}", newest_first[9]);
    assert_eq!(client.list(&after).await, (newest_first[10..].to_vec(), false));
    let before = format!("{path}?ending_before={}&limit=2", newest_first[9]);
    assert_eq!(client.list(&before).await, (newest_first[7..9].to_vec(), true));
    assert_eq!(client.list(&format!("{path}?limit=100")).await, (newest_first.clone(), false));
    assert_refused(client.get(&format!("{path}?starting_after=we_1")).await, 400, Some("resource_missing"), "we_1");
    assert_refused(client.get(&format!("{path}?url=a")).await, 400, Some("parameter_unknown"), "url");

    client.delete(&format!("{path}/{}", newest_first[3])).await;
    assert_eq!(client.post(path, "url=https://a.example&enabled_events[]=*").await.0, 200);
}

#[tokio::test]
async fn idempotency_key_prevents_repetition() {
    let (stripe, client) = start().await;
    let path = "/v1/webhook_endpoints";
    let create = async |form: &str| client.form(path, form).header("idempotency-key", "once").send().await;
    let wrong = json_of(create("url=nonsense&enabled_events[]=*").await.unwrap()).await;
    assert_eq!(wrong.0, 400);
    stripe.fail(1, Fault::AnswerLost);
    let form = "url=https://a.example&enabled_events[]=*";
    assert!(create(form).await.is_err());
    let again = create(form).await.unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    let (status, endpoint) = json_of(again).await;
    assert_eq!((status, stripe.endpoints().len()), (200, 1));
    assert_eq!(endpoint["secret"], stripe.endpoints()[0].secret);

    let (status, error) = json_of(create("url=https://b.example&enabled_events[]=*").await.unwrap()).await;
    assert_eq!((status, &error["error"]["type"]), (400, &json!("idempotency_error")));
    assert_eq!(client.post(path, form).await.0, 200);
    assert_eq!(stripe.endpoints().len(), 2);
}

#[tokio::test]
async fn faults_apply_to_the_chosen_path_and_count() {
    let (stripe, client) = start().await;
    stripe.fail(2, Fault::TooManyRequests);
    stripe.fail_at("/v1/webhook_endpoints", 1, Fault::InternalError);
    stripe.fail_at("/v1/events", 1, Fault::Unavailable);
    for (path, expected, kind, code) in [
        ("/v1/account", 429, "invalid_request_error", json!("rate_limit")),
        ("/v1/events", 429, "invalid_request_error", json!("rate_limit")),
        ("/v1/webhook_endpoints", 500, "api_error", Value::Null),
        ("/v1/events", 503, "api_error", Value::Null),
    ] {
        let (status, answer) = client.get(path).await;
        let error = &answer["error"];
        assert_eq!((status, error["type"].as_str().unwrap(), &error["code"]), (expected, kind, &code), "{answer}");
    }
    for path in ["/v1/account", "/v1/events", "/v1/webhook_endpoints"] {
        assert_eq!(client.get(path).await.0, 200);
    }
    stripe.fail(9, Fault::InternalError);
    stripe.clear_faults();
    assert_eq!(client.get("/v1/account").await.0, 200);
    assert_eq!(stripe.too_many_requests(), 2);
}

#[tokio::test]
async fn connection_faults_can_be_injected() {
    let (stripe, client) = start().await;
    let get = async || client.request(Method::GET, "/v1/account").send().await;
    stripe.fail(1, Fault::Cut);
    assert!(get().await.is_err());
    assert_eq!(stripe.requests().last().unwrap().status, None);

    stripe.fail(1, Fault::CutHalfWay);
    let half = get().await.unwrap();
    assert_eq!(half.status(), 200);
    assert!(half.bytes().await.is_err());

    stripe.fail(1, Fault::Html(502));
    let page = get().await.unwrap();
    assert_eq!((page.status().as_u16(), &page.headers()["content-type"] == "text/html; charset=utf-8"), (502, true));
    assert!(page.headers().get("request-id").is_none());
    assert!(page.text().await.unwrap().starts_with("<html>"));

    stripe.fail(2, Fault::Hang(Duration::from_millis(300)));
    let began = Instant::now();
    assert_eq!(get().await.unwrap().status(), 200);
    assert!(began.elapsed() >= Duration::from_millis(300));
    let impatient = client.request(Method::GET, "/v1/account").timeout(Duration::from_millis(50)).send().await;
    assert!(impatient.unwrap_err().is_timeout());
    assert_eq!(get().await.unwrap().status(), 200);
}

#[tokio::test]
async fn requests_above_the_rate_limit_get_429() {
    let (stripe, client) = start().await;
    stripe.set_rate_limit(Some(0));
    let refused = client.request(Method::GET, "/v1/account").send().await.unwrap();
    assert_eq!(refused.headers()["stripe-rate-limited-reason"], "global-rate");
    assert_refused(json_of(refused).await, 429, Some("rate_limit"), "rate limit");
    assert_eq!((stripe.too_many_requests(), stripe.most_in_a_second()), (1, 1));
    stripe.set_rate_limit(None);
    assert_eq!(client.get("/v1/account").await.0, 200);
    assert_eq!(stripe.too_many_requests(), 1);
    stripe.clear_requests();
    assert_eq!((stripe.too_many_requests(), stripe.most_in_a_second()), (0, 0));
}

#[tokio::test]
async fn requests_are_recorded_and_counted() {
    let (stripe, client) = start().await;
    client.get("/v1/events?types[]=charge.failed&types[]=invoice.paid&limit=3").await;
    client.get("/v1/events").await;
    client
        .form("/v1/webhook_endpoints", "url=a&metadata[by]=a+b%26")
        .header("idempotency-key", "k")
        .send()
        .await
        .unwrap();
    assert_eq!(stripe.count("GET", "/v1/events"), 2);
    let counts = stripe.counts();
    assert_eq!(
        counts.into_iter().collect::<Vec<_>>(),
        [("GET /v1/events".to_owned(), 2), ("POST /v1/webhook_endpoints".to_owned(), 1)]
    );
    let requests = stripe.requests();
    assert_eq!(requests[0].query("types[]"), ["charge.failed", "invoice.paid"]);
    assert_eq!((requests[0].query("limit"), requests[0].status), (vec!["3"], Some(200)));
    assert_eq!((requests[2].form("metadata[by]"), requests[2].status), (vec!["a b&"], Some(400)));
    assert_eq!((requests[2].header("idempotency-key"), &*requests[2].method), (Some("k"), "POST"));
    stripe.clear_requests();
    assert_eq!((stripe.requests().len(), stripe.most_in_a_second()), (0, 0));
}

#[test]
fn samples_have_distinct_ids_times_and_users() {
    let mut ids = HashSet::new();
    for event_type in SAMPLE_TYPES.iter().copied().chain(["customer.subscription.created", "refund.failed"]) {
        let (one, other) = (sample(event_type, 1, NOW), sample(event_type, 2, NOW + 1));
        let values = [&one, &other].map(|event| serde_json::from_slice::<Value>(&event.body).unwrap());
        for (event, value) in [&one, &other].into_iter().zip(&values) {
            let read = Event::new(event.body.clone()).unwrap();
            assert_eq!((&read.id, &read.event_type, read.created), (&event.id, &event.event_type, event.created));
            assert_eq!((&*event.event_type, &value["object"]), (event_type, &json!("event")));
            assert!(ids.insert(event.id.clone()), "{}", event.id);
            if !value["data"]["object"]["created"].is_null() {
                assert_eq!(value["data"]["object"]["created"], event.created, "{event_type}");
            }
        }
        let [one, other] = values.map(|value| value["data"]["object"].clone());
        for field in ["id", "customer"] {
            assert!(one[field].is_null() || one[field] != other[field], "{event_type}: {field}");
        }
    }
    let object = |event_type: &str| -> Value {
        serde_json::from_slice::<Value>(&sample(event_type, 7, NOW).body).unwrap()["data"]["object"].take()
    };
    // One purchase, reported by several events.
    let (payment, charge) = (object("payment_intent.succeeded"), object("charge.succeeded"));
    assert_eq!(charge["payment_intent"], payment["id"]);
    assert_eq!((&charge["metadata"]["user_id"], &charge["customer"]), (&json!("user_7"), &payment["customer"]));

    let times: Vec<_> = history(5, NOW - 8, NOW).map(|event| event.created).collect();
    assert_eq!(times, [NOW - 8, NOW - 6, NOW - 4, NOW - 2, NOW]);
    assert_eq!(history(1, NOW, NOW).count(), 1);
}

/// A server that accepts deliveries signed with its secret, and responds as configured.
#[derive(Clone)]
struct Receiver {
    url: String,
    status: Arc<AtomicU16>,
    secret: Arc<Mutex<String>>,
    taken: Arc<Mutex<Vec<Bytes>>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/stripe/shop", listener.local_addr().unwrap());
        let receiver = Self { url, status: Arc::new(200.into()), secret: Arc::default(), taken: Arc::default() };
        let router = Router::new().fallback(Self::receive).with_state(receiver.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        receiver
    }

    async fn receive(State(receiver): State<Self>, headers: HeaderMap, body: Bytes) -> StatusCode {
        let (time, signature) = headers["stripe-signature"].to_str().unwrap().split_once(",v1=").unwrap();
        let time = time.strip_prefix("t=").unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(receiver.secret.lock().unwrap().as_bytes()).unwrap();
        mac.update(format!("{time}.").as_bytes());
        mac.update(&body);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        if mac.verify_slice(&hex::decode(signature).unwrap()).is_err() || now.abs_diff(time.parse().unwrap()) > 60 {
            return StatusCode::BAD_REQUEST;
        }
        receiver.taken.lock().unwrap().push(body);
        StatusCode::from_u16(receiver.status.load(Ordering::Relaxed)).unwrap()
    }

    fn taken(&self) -> usize {
        self.taken.lock().unwrap().len()
    }
}

#[tokio::test]
async fn events_reach_the_subscribed_endpoints() {
    let (stripe, _) = start().await;
    let receivers = [Receiver::start().await, Receiver::start().await, Receiver::start().await];
    let types = [&["charge.failed"][..], &["*"], &["invoice.paid"]];
    for (receiver, types) in receivers.iter().zip(types) {
        *receiver.secret.lock().unwrap() = stripe.add_endpoint(&receiver.url, types).secret;
    }
    let event = sample("charge.failed", 1, NOW);
    let deliveries = stripe.deliver(event.clone()).await;
    assert!(deliveries.len() == 2 && deliveries.iter().all(|delivery| delivery.succeeded()), "{deliveries:?}");
    assert_eq!(receivers.each_ref().map(Receiver::taken), [1, 1, 0]);
    assert_eq!(receivers[0].taken.lock().unwrap()[0], event.body);
    assert!(stripe.event(&event.id).unwrap().delivery_success);

    // Nothing here is subscribed to events of connected accounts.
    let deliveries = stripe.deliver(sample("charge.failed", 2, NOW).in_account("acct_1Shop")).await;
    assert!(deliveries.is_empty());
}

#[tokio::test]
async fn failed_deliveries_are_retried_until_accepted() {
    let (stripe, client) = start().await;
    let receivers = [Receiver::start().await, Receiver::start().await];
    for receiver in &receivers {
        *receiver.secret.lock().unwrap() = stripe.add_endpoint(&receiver.url, &["*"]).secret;
    }
    receivers[0].status.store(302, Ordering::Relaxed);
    let event = sample("charge.failed", 1, NOW);
    let statuses =
        |deliveries: Vec<Delivery>| -> Vec<_> { deliveries.into_iter().map(|delivery| delivery.status).collect() };
    let mut delivered = statuses(stripe.deliver(event.clone()).await);
    delivered.sort_unstable();
    assert_eq!(delivered, [Some(200), Some(302)]);
    let undelivered = "/v1/events?delivery_success=false";
    assert_eq!(client.list(undelivered).await.0, [&*event.id]);

    // Signed with the wrong secret, and retried.
    let secret = std::mem::take(&mut *receivers[0].secret.lock().unwrap());
    assert_eq!(statuses(stripe.redeliver().await), [Some(400)]);
    *receivers[0].secret.lock().unwrap() = secret;
    receivers[0].status.store(204, Ordering::Relaxed);
    assert_eq!(statuses(stripe.redeliver().await), [Some(204)]);
    assert_eq!(client.list(undelivered).await.0.len(), 0);
    assert!(stripe.redeliver().await.is_empty());
    assert_eq!((receivers[0].taken(), receivers[1].taken()), (2, 1));
}

#[tokio::test]
async fn removed_endpoint_receives_no_retries() {
    let (stripe, client) = start().await;
    let endpoint = stripe.add_endpoint("http://127.0.0.1:1/", &["*"]);
    let path = format!("/v1/webhook_endpoints/{}", endpoint.id);
    let missed = stripe.deliver(sample("charge.failed", 1, NOW)).await;
    assert_eq!((missed.len(), missed[0].status), (1, None));
    client.post(&path, "disabled=true").await;
    assert!(stripe.redeliver().await.is_empty());
    assert!(stripe.deliver(sample("charge.failed", 2, NOW)).await.is_empty());
    client.post(&path, "disabled=false").await;
    assert_eq!(stripe.redeliver().await.len(), 1);
    client.delete(&path).await;
    assert!(stripe.redeliver().await.is_empty());
    let undelivered = client.list("/v1/events?delivery_success=false").await;
    assert_eq!(undelivered, (vec![sample("charge.failed", 1, NOW).id], false));
}

#[tokio::test]
async fn official_client_works_with_the_emulator() {
    let (stripe, _) = shop();
    stripe.put(json!({"id": "cus_2", "object": "customer"})).unwrap();
    stripe.delete("cus_2");
    stripe.connect("acct_1Shop");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let now = i64::try_from(now).unwrap();
    stripe.add(history(257, now - DAY, now));
    stripe.add([sample("charge.failed", 1_000, now).in_account("acct_1Shop")]);
    // The client itself retries, except after the last of them.
    stripe.fail_at("/v1/account", 1, Fault::InternalError);
    stripe.fail_at("/v1/account", 1, Fault::Cut);
    stripe.fail_at("/v1/account", 1, Fault::TooManyRequests);
    let restricted = stripe.restricted_key(&[Permission::EventsRead]);
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let python = Command::new(format!("{root}/.venv/bin/python"))
        .arg("crates/stripe-emulator/tests/it/official_client.py")
        .args([stripe.url(), SECRET_KEY, &restricted, "acct_1Shop"])
        .current_dir(root)
        .output()
        .expect("run `make test`, which installs what the tests need");
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));

    let seen: Value = serde_json::from_slice(&python.stdout).unwrap();
    let newest_first: Vec<_> = history(257, now - DAY, now).map(|event| event.id).collect();
    let newest_first: Vec<_> = newest_first.into_iter().rev().collect();
    assert_eq!(seen["events"], json!(newest_first));
    let failed: Vec<_> = history(257, now - DAY, now)
        .filter(|event| event.event_type == "charge.failed")
        .map(|event| event.id)
        .collect();
    assert_eq!(seen["failed"], json!(failed.into_iter().rev().collect::<Vec<_>>()));
    assert_eq!(seen["connected"], json!([sample("charge.failed", 1_000, now).id]));
    assert_eq!(seen["account"], ACCOUNT);
    assert!(stripe.endpoints().is_empty());
}
