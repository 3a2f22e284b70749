//! Malicious input: each request is answered according to the contract, in time, and the process stays available.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::amplitude::Amplitude;
use crate::harness::gateway::{Answer, Gateway, Request, http_api, rest_api};
use crate::harness::lambda::Function;
use crate::harness::parameter_store::ParameterStore;
use crate::harness::{SECRET, SHOP, Stage, hostile, queue, stripe};

/// The time limit for an answer. This is a debug build, perhaps on a busy machine; the release build computes twenty
/// times as fast.
const IN_TIME: Duration = Duration::from_secs(15);

/// Lambda's limit for the payload of an invocation, in bytes.
const MAX_INVOCATION_BYTES: usize = 6 * 1024 * 1024;

/// The memory limit of the process in KiB, out of the 128 MB that it has when deployed.
const MEMORY: u64 = 110_000_000 / 1024;

/// Lambda's limit for a batch from the queue, and SQS's for a message including its attributes, in bytes.
const MAX_BATCH_BYTES: usize = 6_000_000;
const MAX_MESSAGE_BYTES: usize = 1024 * 1024 - 4096;

/// Sends a request, and checks that the answer arrives in time and that the next event is delivered. `what` is for
/// messages.
async fn send(stage: &Stage, what: &str, request: &Request) -> Answer {
    let start = Instant::now();
    let answer = stage.send(request).await;
    assert!(start.elapsed() < IN_TIME, "{what}: {:?}", start.elapsed());
    stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    answer
}

/// A body that is not ASCII is encoded as Base64.
fn signed(body: impl Into<Vec<u8>>) -> Request {
    let request = Request::signed(SHOP, SECRET, body);
    Request { base64: !request.body.is_ascii(), ..request }
}

/// A new event in which `"amount"` has this JSON text as its value.
fn with_amount(event_type: &str, amount: &str) -> String {
    let mut event = stripe::new_event(event_type);
    event["data"]["object"]["amount_received"] = "the amount".into();
    event.to_string().replace("\"the amount\"", amount)
}

/// Sends a request through an HTTP API and a REST API whose payloads are changed on the way. None of them may make the
/// function fail.
async fn send_changed(stage: &Stage, request: &Request, change: impl Fn(&mut Value)) -> [Answer; 2] {
    let mut payloads = [http_api(request), rest_api(request)];
    payloads.iter_mut().for_each(change);
    let [http_api, rest_api] = payloads;
    let send = async |payload: Value| match stage.function.invoke(&payload).await {
        Ok(answer) => Answer::of_payload(&answer),
        Err(error) => panic!("{payload}: {error}"),
    };
    [send(http_api).await, send(rest_api).await]
}

/// No unauthenticated request may cause an error of the function, or appear in its log.
fn expect_no_errors_logged(stage: &Stage) {
    let output = stage.function.output();
    assert!(!output.contains("ERROR") && !output.contains("guest"), "{output}");
}

/// A stage whose function logs everything that it can.
async fn verbose_stage() -> Stage {
    Stage::with_variables(&[("RUST_LOG", "trace")]).await
}

fn new_request() -> Request {
    Request::signed(SHOP, SECRET, stripe::new_event("charge.succeeded").to_string())
}

#[tokio::test]
async fn unknown_invocation_is_answered_without_details() {
    let stage = verbose_stage().await;
    for payload in [
        json!({}),
        json!(null),
        json!(7),
        json!("guest@example.com"),
        json!(["guest@example.com"]),
        json!({"guest@example.com": 1}),
        json!({"Records": [{"body": "guest@example.com"}]}),
        json!({"rawPath": "/stripe/shop", "requestContext": {"http": "guest@example.com"}}),
        json!({"rawPath": "/stripe/shop", "requestContext": {"http": {"method": "guest@example.com"}}}),
        json!({"httpMethod": "POST", "path": ["guest@example.com"]}),
        json!({"httpMethod": "POST", "path": "/stripe/guest@example.com", "headers": {"guest@example.com": "\n"}}),
    ] {
        let answer = stage.function.invoke(&payload).await.unwrap();
        assert!(!answer.to_string().contains("guest"), "{answer}");
        let answer = Answer::of_payload(&answer);
        answer.expect(400, "refused");
        assert_eq!(answer.body["code"], "unreadable_request");
        stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    }
    expect_no_errors_logged(&stage);
}

#[tokio::test]
async fn deeply_nested_json_is_refused() {
    let stage = Stage::start().await;
    let deep = 100_000;
    for (what, body) in [
        ("arrays", "[".repeat(deep)),
        ("objects", r#"{"a":"#.repeat(deep)),
        ("closed arrays in an event", hostile::with_field(&format!("{}{}", "[".repeat(deep), "]".repeat(deep)))),
        (
            "closed objects in an event",
            hostile::with_field(&format!("{}1{}", r#"{"a":"#.repeat(deep), "}".repeat(deep))),
        ),
    ] {
        send(&stage, what, &signed(body)).await.expect_code(400, "refused", "malformed_json");
    }
    // Depths that the parser accepts are forwarded, up to Amplitude's limit.
    let body = hostile::with_field(&format!("{}{}", "[".repeat(100), "]".repeat(100)));
    send(&stage, "100 layers", &signed(body)).await.expect_forwarded();
}

#[tokio::test]
async fn numbers_out_of_range_are_refused_or_carry_no_revenue() {
    let stage = Stage::start().await;
    for number in ["1e", "-", "1e999.5", "0x10", "01", "+1", ".5", "NaN", "Infinity"] {
        let body = with_amount("payment_intent.succeeded", number);
        send(&stage, number, &signed(body)).await.expect_code(400, "refused", "malformed_json");
    }
    for number in ["9223372036854775808", "18446744073709551616", "-9223372036854775809", "1e30", "1.5", "\"1\""] {
        let body = with_amount("payment_intent.succeeded", number);
        send(&stage, number, &signed(body.clone())).await.expect_forwarded();
        let event: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(stage.amplitude.accepted(&event).event.get("revenue"), None, "{number}");
    }
    // Values outside a float's range appear in Stripe's own text only.
    let digits = "9".repeat(400);
    for number in ["1e400", "1e999", "-1e999", &digits] {
        let body = with_amount("payment_intent.succeeded", number);
        send(&stage, number, &signed(body.clone())).await.expect_forwarded();
        let event: Value = serde_json::from_str(&body.replace(number, "null")).unwrap();
        let kept = stage.amplitude.accepted(&event).event;
        assert_eq!(kept.get("revenue"), None, "{number}");
        assert_eq!(kept["event_properties"]["amount_received"], number);
        assert_eq!(kept["event_properties"].get("normalized_amount_received"), None);
        let body =
            with_amount("charge.succeeded", "1").replace("\"livemode\"", &format!("\"new\":[{number}],\"livemode\""));
        send(&stage, number, &signed(body)).await.expect_forwarded();
    }
    // As large as an integer gets, and exact: Amplitude reads the digits as written.
    let body = with_amount("payment_intent.succeeded", "9223372036854775807");
    send(&stage, "i64::MAX", &signed(body.clone())).await.expect_forwarded();
    let kept = stage.amplitude.accepted(&serde_json::from_str(&body).unwrap());
    assert_eq!(kept.event["revenue"].as_f64(), Some(92_233_720_368_547_758.07));

    for created in
        ["9223372036854775808", "9223372036854775807", "-9223372036854775808", "1e30", "1e400", "1.5", "\"1\""]
    {
        let mut event = stripe::new_event("charge.succeeded");
        event["created"] = "the time".into();
        let body = event.to_string().replace("\"the time\"", created);
        let answer = send(&stage, created, &signed(body)).await;
        answer.expect_code(400, "refused", "not_an_event");
        answer.expect_reason_contains("`created`");
    }
}

/// The last one counts, wherever it is, as in `JSON.parse` and in Stripe's libraries. So the function selects by the
/// same value that it sends.
#[tokio::test]
async fn last_duplicate_key_counts() {
    let stage = Stage::start().await;
    let event = stripe::new_event("charge.succeeded");
    for (key, other) in [
        ("id", json!("evt_other")),
        ("type", json!("customer.created")),
        ("created", json!(stripe::now() - 60)),
        ("livemode", json!(true)),
        ("object", json!("charge")),
        ("data", json!({"object": {"id": "other"}})),
    ] {
        let mut event = event.clone();
        event["id"] = format!("evt_twice_{key}").into();
        let rest = {
            let mut rest = event.clone();
            rest.as_object_mut().unwrap().remove(key);
            let rest = rest.to_string();
            rest.trim_start_matches('{').to_owned()
        };
        // The first one before all other keys, the last one after them.
        let body = |first: &Value, last: &Value| {
            format!(
                "{{\"{key}\":{first},{},\"{key}\":{last}}}",
                rest.trim_end_matches('}').to_owned() + &"}".repeat(closing(&rest))
            )
        };
        let request = signed(body(&other, &event[key]));
        let answer = send(&stage, key, &request).await;
        answer.expect_forwarded();
        assert_eq!((&answer.body["event"], &answer.body["type"]), (&event["id"], &event["type"]), "{key}");
        let kept = stage.amplitude.accepted(&event).event;
        assert_eq!(kept["event_type"], "[Stripe] charge.succeeded", "{key}");
        assert_eq!(kept["time"], event["created"].as_i64().unwrap() * 1000, "{key}");
        assert_eq!(kept["event_properties"]["id"], event["data"]["object"]["id"], "{key}");
        assert_eq!(stage.function.line_of(&event, 1).await["livemode"], event["livemode"], "{key}");

        let answer = send(&stage, key, &signed(body(&event[key], &other))).await;
        match key {
            "type" => answer.expect_code(200, "ignored", "type_not_selected"),
            "object" => answer.expect_code(400, "refused", "bare_object"),
            _ => answer.expect_forwarded(),
        }
        if key == "id" {
            assert_eq!(answer.body["event"], "evt_other");
        }
    }
}

/// The number of braces that close everything inside the outermost object.
fn closing(text: &str) -> usize {
    text.bytes().rev().take_while(|byte| *byte == b'}').count() - 1
}

#[tokio::test]
async fn invalid_text_is_refused_and_unusual_text_forwarded() {
    let stage = Stage::start().await;
    let with_bytes = |bytes: &[u8]| {
        let body = hostile::with_field("\"@@\"");
        let (before, after) = body.split_once("@@").unwrap();
        [before.as_bytes(), bytes, after.as_bytes()].concat()
    };
    for bytes in
        [&b"\xff"[..], b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\0", b"\n", br"\ud8", br"\x"]
    {
        let answer = send(&stage, &format!("{bytes:?}"), &signed(with_bytes(bytes))).await;
        answer.expect_code(400, "refused", "malformed_json");
    }
    let body = hostile::with_field("1");
    for (what, body, code) in [
        ("UTF-16", body.encode_utf16().flat_map(u16::to_le_bytes).collect(), "utf16_body"),
        (
            "UTF-16 with a byte order mark",
            format!("\u{feff}{body}").encode_utf16().flat_map(u16::to_be_bytes).collect(),
            "utf16_body",
        ),
        ("a NUL behind it", format!("{body}\0").into_bytes(), "malformed_json"),
        ("two events", body.repeat(2).into_bytes(), "event_list"),
        ("NULs", vec![0; 1000], "malformed_json"),
    ] {
        send(&stage, what, &signed(body)).await.expect_code(400, "refused", code);
    }
    send(&stage, "a byte order mark", &signed(format!("\u{feff}{body}"))).await.expect_forwarded();
    for bytes in [
        br"\ud800".as_slice(),
        br"\uDE00\ud83d",
        br"\u0000",
        br"\u202e\u2028",
        br"\ud83e\udd80",
        "🦀\u{202e}\u{7f}".as_bytes(),
        br#"\"}],\u0022"#,
    ] {
        send(&stage, &format!("{bytes:?}"), &signed(with_bytes(bytes))).await.expect_forwarded();
    }
    // The remainder of a text that was cut in the middle of an emoji.
    let mut event = stripe::new_event("payment_intent.succeeded");
    event["data"]["object"]["metadata"] = json!({"user_id": "user_7", "@@": "@@"});
    let answer = send(&stage, "half a pair", &signed(event.to_string().replace("@@", r"cut \ud83d"))).await;
    answer.expect_forwarded();
    let kept = stage.amplitude.accepted(&event).event;
    assert_eq!(kept["event_properties"]["metadata"]["cut \u{fffd}"], "cut \u{fffd}");
    assert!(kept["user_id"] == "user_7" && kept["revenue"].is_number(), "{kept:?}");
    // Also if it appears in the answer and in the log line.
    for text in ["\0", "a\nb", "\u{1b}[31m", "\u{2028}", "\"},{\"", "\u{202e}"] {
        let mut event = stripe::new_event("charge.succeeded");
        event["type"] = text.into();
        let answer = send(&stage, text, &signed(event.to_string())).await;
        answer.expect_code(200, "ignored", "type_not_selected");
        assert_eq!(answer.body["type"], text);
        assert_eq!(stage.function.line_of(&event, 1).await["type"], text, "it is one line, and well-formed");
    }
}

/// Lambda accepts 6 MB; the function reads four. Signed bodies of that size are forwarded, cut to Amplitude's limits.
#[tokio::test]
async fn large_bodies_fit_into_memory() {
    let stage = Stage::start().await;
    let largest_text = MAX_INVOCATION_BYTES - 4096;
    send(&stage, "6 MB of text", &signed(vec![b' '; largest_text])).await.expect_code(413, "refused", "body_too_large");
    let unsigned = Request::unsigned(SHOP, vec![b'['; largest_text]);
    send(&stage, "6 MB, unsigned", &unsigned).await.expect_code(413, "refused", "body_too_large");
    let binary = vec![0xff; largest_text / 4 * 3];
    send(&stage, "6 MB of Base64", &signed(binary)).await.expect_code(413, "refused", "body_too_large");
    for answer in send_changed(&stage, &unsigned, |payload| payload["headers"]["a b"] = "".into()).await {
        answer.expect_code(413, "refused", "body_too_large");
    }
    for (what, unit, open, close) in
        [("too many numbers", "0,", "[", "0]"), ("too many arrays", "[],", "[", "0]"), ("too many lists", "[", "", "")]
    {
        let many = unit.repeat(600_000);
        let body = hostile::with_field(&format!("{open}{many}{close}"));
        let answer = send(&stage, what, &signed(body)).await;
        match unit {
            // Nested deeper than the parser's limit.
            "[" => answer.expect_code(400, "refused", "malformed_json"),
            _ => answer.expect_code(413, "refused", "too_many_values"),
        }
    }
    // The largest are sent twice: memory left from the first must not add up.
    let bodies = hostile::bodies();
    let again = bodies.iter().filter(|(_, body)| body.len() > hostile::MAX_BODY_BYTES - 100_000);
    for (what, body) in bodies.iter().chain(again) {
        // Sent like binary data through an HTTP API. With escaped quotation marks, some would exceed Lambda's limit.
        let request = Request { base64: true, ..signed(&**body) };
        let answer = send(&stage, what, &request).await;
        // This is a debug build, like the emulator; together they may use all the time there is.
        if answer.body["code"] != "amplitude_timeout" {
            answer.expect_forwarded();
        }
        if let Some(peak) = stage.function.peak_memory() {
            println!("{what}: peak so far {peak} KiB");
            assert!(peak < MEMORY, "{what}: {peak} KiB");
        }
    }
}

/// The memory limit of redelivery in KiB, out of the 256 MB that it has when deployed.
const MEMORY_OF_REDELIVERY: u64 = 128_000_000 / 1024;

/// A batch has at most 6 MB, and a message at most 1 MiB.
#[tokio::test]
async fn largest_batches_fit_into_redeliverys_memory() {
    let (store, amplitude) = (ParameterStore::start_with_shop().await, Amplitude::start().await);
    // A Stripe that does not answer: all events wait for it at the same time.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stripe_url = format!("http://{}", silent.local_addr().unwrap());
    store.put_project("following", "whsec_following", "following-key").await;
    store.put("following/stripe-api-key", "rk_live_51OfTheShop0123456789").await;
    store.put("following/stripe-test-api-key", "rk_test_51OfTheShop0123456789").await;
    let follow = json!({"references": "follow", "user_id_paths": ["customer.metadata.user_id"]});
    store.put("following/settings", &follow.to_string()).await;
    let batch_url = amplitude.batch_url();
    let redelivery = Function::start_redelivery(&[
        ("PARAMETER_PREFIX", store.prefix()),
        ("AWS_ENDPOINT_URL_SSM", store.url()),
        ("AMPLITUDE_URL", &batch_url),
        ("STRIPE_API_URL", &stripe_url),
    ])
    .await;
    let large = hostile::units().into_iter().map(|(what, unit)| (what, unit, MAX_MESSAGE_BYTES));
    // A short number becomes a long one, and an event of this size keeps all of them.
    let growing = hostile::units().into_iter().filter(|(what, _)| *what == "many floats");
    for (what, unit, length) in large.chain(growing.map(|(what, unit)| (what, unit, 230_000))) {
        for project in [SHOP, "following"] {
            let body = hostile::filled(&unit, length, hostile::MAX_VALUES);
            let message = |number: usize| {
                json!({
                    "MessageId": number.to_string(),
                    "ReceiptHandle": number.to_string(),
                    "Body": body,
                    "Attributes": {"ApproximateReceiveCount": "1"},
                    "MessageAttributes": {"project": {"DataType": "String", "StringValue": project}},
                })
            };
            let length = queue::invocation(&[message(0)]).to_string().len();
            let messages: Vec<_> = (0..MAX_BATCH_BYTES / length).map(message).collect();
            let answer = redelivery.invoke(&queue::invocation(&messages)).await;
            let failed = answer.as_ref().map(|answer| answer["batchItemFailures"].as_array().unwrap().len());
            let expected = if project == SHOP { 0 } else { messages.len() };
            let peak = redelivery.peak_memory();
            println!("{what}, {} messages of {project}: peak so far {peak:?} KiB", messages.len());
            assert_eq!(failed, Ok(expected), "{what}: {}", redelivery.output());
            assert!(peak.is_none_or(|peak| peak < MEMORY_OF_REDELIVERY), "{what}: {peak:?} KiB");
        }
    }
}

#[tokio::test]
async fn large_headers_are_read_in_time() {
    let stage = Stage::start().await;
    let wrong = ",v1=".to_owned() + &"0".repeat(64);
    let body = || stripe::new_event("charge.succeeded").to_string();

    let request = signed(body());
    let right = request.headers[1].1.clone();
    let (time, v1) = right.split_once(',').unwrap();
    let many = wrong.repeat(10_000);
    let request = Request::with_signature(SHOP, &format!("{time}{many}"), request.body);
    send(&stage, "10,000 wrong signatures", &request).await.expect_code(400, "refused", "signature_mismatch");
    let request = Request::with_signature(SHOP, &format!("{time}{many},{v1}"), request.body);
    send(&stage, "10,000 wrong signatures and the right one", &request).await.expect_forwarded();
    let elements = ",x=y".repeat(250_000);
    let request = signed(body());
    let right = request.headers[1].1.clone();
    let request = Request::with_signature(SHOP, &format!("{right}{elements}"), request.body);
    send(&stage, "a signature header of a megabyte", &request).await.expect_forwarded();

    for (what, signature) in [
        ("commas", ",".repeat(1_000_000)),
        ("no element", "x".repeat(1_000_000)),
        ("a long t", format!("t={},v1=00", "1".repeat(1_000_000))),
    ] {
        let request = Request::with_signature(SHOP, &signature, body());
        send(&stage, what, &request).await.expect_code(400, "refused", "signature_malformed");
    }
    let request = Request::with_signature(SHOP, &format!("t=1,v1={}", "0".repeat(1_000_000)), body());
    send(&stage, "a long v1", &request).await.expect_code(400, "refused", "signature_mismatch");

    let request = signed(body()).header("X-Long", &"x".repeat(1_000_000));
    send(&stage, "another header of a megabyte", &request).await.expect_forwarded();
    let request = (0..5_000).fold(signed(body()), |request, number| request.header(&format!("X-{number}"), "y"));
    send(&stage, "5,000 headers", &request).await.expect_forwarded();
    let request = signed(body()).header("X-Empty", "");
    send(&stage, "an empty header", &request).await.expect_forwarded();
}

#[tokio::test]
async fn invalid_project_names_are_not_found() {
    let stage = Stage::start().await;
    let mut names: Vec<String> = [
        "..",
        ".",
        "../shop",
        "..%2fshop",
        "shop/..",
        "./shop/.",
        "%73hop",
        "shop%00",
        "shop\0",
        "sh\u{f6}p",
        "\u{455}hop",
        "shop\u{200b}",
        "shop\u{301}",
        "日本",
        "🦀",
        "shop ",
        " shop",
        "shop\n",
        "shop\r\nX: y",
        "shop\t",
        "shop;a",
        "shop?",
        "shop#",
        "shop*",
        "shop,elsewhere",
        "a:b",
        "@shop",
        "[::1]",
        "%",
        "%zz",
        "{project}",
        "$(id)",
        "'",
        "\"",
        "\\",
        "shop\\..",
        "<shop>",
        "|",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("a".repeat(65));
    names.push("a".repeat(10_000));
    for name in names {
        // A valid signature makes no difference.
        let mut request = signed(stripe::new_event("charge.succeeded").to_string());
        request.path = format!("/stripe/{name}");
        let answer = send(&stage, &name, &request).await;
        answer.expect_code(404, "refused", "unknown_route");
        assert!(name.len() < 3 || !answer.body.to_string().contains(&format!("{name} ")), "{}", answer.body);
    }
    assert_eq!(stage.store.calls(), 1, "only for the shop");
}

#[tokio::test]
async fn invalid_host_or_scheme_is_harmless() {
    let stage = verbose_stage().await;
    for gateway in [Gateway::HttpApi, Gateway::RestApi] {
        for (host, scheme) in [
            ("[guest", "https"),
            ("", "https"),
            ("a b", "https"),
            ("localhost:99999999", "https"),
            ("%", "https"),
            ("shop.example.com", "no guest"),
            ("shop.example.com", ""),
            ("shop.example.com", ":"),
        ] {
            let request = new_request().header("Host", host).header("X-Forwarded-Proto", scheme);
            stage.function.send(gateway, &request).await.expect_forwarded();
        }
    }
    // A Function URL is never reached with an invalid host. It is reached with this header.
    let request = new_request().header("X-Forwarded-Proto", "no guest");
    stage.function.send(Gateway::FunctionUrl, &request).await.expect_forwarded();
    for answer in send_changed(&stage, &new_request(), |payload| {
        payload["requestContext"]["domainName"] = "[guest".into();
        payload["requestContext"]["stage"] = "[guest".into();
    })
    .await
    {
        answer.expect_forwarded();
    }
    expect_no_errors_logged(&stage);
}

#[tokio::test]
async fn invalid_query_is_harmless() {
    let stage = verbose_stage().await;
    for query in ["a=<guest>", "\"", " ", "\u{e4}", "\0", "#", "%", "a=1&a=2", &"x".repeat(100_000)] {
        for answer in send_changed(&stage, &new_request(), |payload| {
            payload["rawQueryString"] = query.into();
            payload["queryStringParameters"] = json!({query: query});
            if payload.get("multiValueQueryStringParameters").is_some() {
                payload["multiValueQueryStringParameters"] = json!({query: [query, query]});
            }
        })
        .await
        {
            answer.expect_forwarded();
        }
    }
    for query in ["a=<guest>", "%", "\u{e4}", "a=1&a=2"] {
        let mut request = new_request();
        request.path = format!("{}?{query}", request.path);
        stage.function.send(Gateway::FunctionUrl, &request).await.expect_forwarded();
    }
    expect_no_errors_logged(&stage);
}

#[tokio::test]
async fn invalid_header_is_harmless() {
    let stage = verbose_stage().await;
    for gateway in Gateway::ALL {
        let request = new_request().header("X-Latin", "Gr\u{fc}\u{df}e");
        stage.function.send(gateway, &request).await.expect_forwarded();
    }
    for (name, value) in [
        ("X-Gr\u{fc}\u{df}e", json!("a")),
        ("", json!("a")),
        ("a b", json!("a")),
        ("X-Line", json!("guest\nb")),
        ("X-NUL", json!("\0")),
        ("X-Null", json!(null)),
        ("X-Number", json!(7)),
    ] {
        for answer in send_changed(&stage, &new_request(), |payload| {
            payload["headers"][name] = value.clone();
            if let Some(lists) = payload.get_mut("multiValueHeaders") {
                lists[name] = json!([value]);
            }
        })
        .await
        {
            answer.expect_forwarded();
        }
    }
    // A malformed signature header counts as missing.
    for answer in send_changed(&stage, &Request::unsigned(SHOP, "{}"), |payload| {
        payload["headers"]["Stripe-Signature"] = "t=guest,v1=\n".into();
    })
    .await
    {
        answer.expect_code(400, "refused", "signature_missing");
    }
    expect_no_errors_logged(&stage);
}

#[tokio::test]
async fn invalid_base64_body_is_refused() {
    let stage = verbose_stage().await;
    for body in [stripe::new_event("charge.succeeded").to_string(), "guest".to_owned(), "\u{e4}".to_owned()] {
        let request = Request::signed(SHOP, "whsec_of_a_stranger", body);
        for answer in send_changed(&stage, &request, |payload| payload["isBase64Encoded"] = true.into()).await {
            answer.expect_code(400, "refused", "signature_mismatch");
        }
    }
    for answer in send_changed(&stage, &new_request(), |payload| {
        payload["body"] = Value::Null;
        payload["isBase64Encoded"] = true.into();
    })
    .await
    {
        answer.expect_code(400, "refused", "signature_mismatch");
    }
    expect_no_errors_logged(&stage);
}

#[tokio::test]
async fn invalid_path_is_not_found() {
    let stage = verbose_stage().await;
    for path in [":99999999", "guest@/stripe/shop", "stripe/shop", "", &format!("/{}/stripe/shop", "a".repeat(70_000))]
    {
        let mut request = new_request();
        path.clone_into(&mut request.path);
        for answer in send_changed(&stage, &request, |_| {}).await {
            answer.expect_code(404, "refused", "unknown_route");
        }
    }
    expect_no_errors_logged(&stage);
}
