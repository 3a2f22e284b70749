//! The redelivery queue: the messages in it, and their delivery.

use std::collections::BTreeSet;
use std::time::Duration;

use amplitude_emulator::{Endpoint, Fault, FaultyAnswer};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::amplitude::json_answer;
use crate::harness::lambda::Function;
use crate::harness::parameter_store::{Fault as AwsFault, ParameterStore};
use crate::harness::queue::{self, ProcessedMessage, QueueStage};
use crate::harness::{API_KEY, SECRET, SHOP, eventually, parameters_expire, stripe};

/// The time limit for an answer: 4.5 s, plus an allowance for a busy machine.
const ANSWER_LIMIT: Duration = Duration::from_millis(4900);

impl QueueStage {
    /// Delivers new events to the shop while Amplitude is down, so that they enter the queue.
    async fn deferred(&self, count: usize) -> Vec<Value> {
        self.stage.amplitude.fail(Fault::answer(429));
        let events: Vec<_> = (0..count).map(|_| stripe::new_event("payment_intent.succeeded")).collect();
        for event in &events {
            self.stage.deliver(event).await.expect(202, "deferred");
        }
        self.stage.amplitude.recover();
        events
    }

    /// Processes batches until the queue is empty, and checks that none fails.
    async fn drain(&self) {
        loop {
            let processed = self.poll().await;
            assert!(processed.iter().all(|processed| !processed.failed), "{processed:?}\n{}", self.redelivery.output());
            if processed.is_empty() {
                assert_eq!(self.queue.len().await, 0);
                return;
            }
        }
    }

    async fn settings(&self, settings: Value) {
        self.stage.store.put(&format!("{SHOP}/settings"), &settings.to_string()).await;
        parameters_expire().await;
    }
}

fn failed(processed: &[ProcessedMessage]) -> Vec<bool> {
    processed.iter().map(|processed| processed.failed).collect()
}

/// The attributes of a message: names, and values with their types.
fn attributes(message: &Value) -> BTreeSet<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let attributes = message["MessageAttributes"].as_object().into_iter().flatten();
    attributes.map(|(name, value)| (name.clone(), text(&value["DataType"]), text(&value["StringValue"]))).collect()
}

#[tokio::test]
async fn failed_deliveries_are_deferred_and_arrive_once() {
    let setup = QueueStage::start().await;
    let QueueStage { stage, queue, redelivery } = &setup;
    stage.store.put_project("other", "whsec_other", "other-key").await;
    let mut events = Vec::new();
    for (fault, code) in [
        (Fault::answer(503), "amplitude_unavailable"),
        (Fault::Cut { ingest: false }, "amplitude_connection_broken"),
        (Fault::Hang { milliseconds: 60_000, ingest: false }, "amplitude_timeout"),
        (Fault::InvalidApiKey, "amplitude_invalid_key"),
        (Fault::answer(429), "amplitude_throttled"),
        // It has already reached Amplitude, which nobody can know.
        (Fault::Hang { milliseconds: 60_000, ingest: true }, "amplitude_timeout"),
    ] {
        stage.amplitude.fail(fault);
        for (project, secret) in [(SHOP, SECRET), ("other", "whsec_other")] {
            // Each by a process that has not seen the outage yet.
            stage.function.kill_and_restart();
            let event = stripe::new_event("payment_intent.succeeded");
            let start = Instant::now();
            let answer = stage.deliver_to(project, secret, &event).await;
            assert!(start.elapsed() < ANSWER_LIMIT, "{:?}", start.elapsed());
            answer.expect_code(202, "deferred", code);
            answer.expect_reason_contains("amplitude-api-key");
            let line = stage.function.line_of(&event, 1).await;
            assert_eq!((&line["deferred"], &line["level"]), (&json!(1), &json!("WARN")), "{line}");
            assert_eq!((&line["outcome"], &line["code"]), (&json!("deferred"), &json!(code)), "{line}");
            assert_eq!(line.get("failed"), None);
            events.push((event, project));
        }
    }
    stage.amplitude.recover();
    let in_between = stage.amplitude.events().len();
    assert_eq!(in_between, 2, "those that were ingested before the hang");
    assert_eq!(queue.len().await, 12);

    let processed = setup.poll().await;
    assert_eq!(processed.len(), 10);
    assert_eq!(stage.amplitude.batch_requests(), 2, "one per project");
    setup.drain().await;
    assert_eq!(stage.amplitude.batch_requests(), 4);
    for (event, project) in &events {
        let kept = stage.amplitude.accepted(event);
        assert_eq!(kept.api_key, if *project == SHOP { API_KEY } else { "other-key" });
        let line = redelivery.line_of(event, 1).await;
        assert_eq!((&line["outcome"], &line["project"]), (&json!("forwarded"), &json!(project)));
    }
    assert_eq!(stage.amplitude.events().len(), 12);
    assert!(stage.amplitude.events()[in_between..].iter().all(|kept| kept.endpoint == Endpoint::Batch));
    assert!(queue.take_dead_letters().await.is_empty());
}

#[tokio::test]
async fn message_has_the_signed_body_and_attributes() {
    let setup = QueueStage::start().await;
    setup.stage.store.put(&format!("{SHOP}/stripe-signing-secret/germany"), "whsec_germany").await;
    setup.stage.amplitude.fail(Fault::answer(503));
    // As Stripe writes it: with line feeds, and with characters of several bytes.
    let mut event = stripe::new_event("payment_intent.succeeded");
    event["data"]["object"]["description"] = "Schnürsenkel 👟".into();
    let body = serde_json::to_string_pretty(&event).unwrap();
    for (secret, source) in [(SECRET, None), ("whsec_germany", Some("germany"))] {
        // A process that has not seen the outage yet.
        setup.stage.function.kill_and_restart();
        let before = stripe::now();
        let request = crate::harness::gateway::Request::signed(SHOP, secret, body.clone());
        let answer = setup.stage.send(&request).await;
        answer.expect_code(202, "deferred", "amplitude_unavailable");
        let messages = setup.queue.receive().await;
        let [message] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!(message["Body"], body);
        let found = attributes(message);
        let received = found.iter().find(|(name, ..)| name == "received").unwrap();
        let seconds: u64 = received.2.parse().unwrap();
        assert!((before..=stripe::now()).contains(&seconds));
        let text = |name: &str, value: &str| (name.to_owned(), "String".to_owned(), value.to_owned());
        let mut expected = BTreeSet::from([
            text("project", SHOP),
            text("code", "amplitude_unavailable"),
            text("reason", answer.body["reason"].as_str().unwrap()),
            ("received".to_owned(), "Number".to_owned(), received.2.clone()),
        ]);
        expected.extend(source.map(|source| text("source", source)));
        assert_eq!(found, expected);
        setup.queue.make_visible(&messages).await;
        setup.stage.amplitude.recover();
        setup.drain().await;
        setup.stage.amplitude.fail(Fault::answer(503));
    }
    let kept = setup.stage.amplitude.accepted(&event);
    assert_eq!(kept.event["event_properties"]["description"], "Schnürsenkel 👟");
}

#[tokio::test]
async fn queue_delivery_queues_every_selected_event() {
    let setup = QueueStage::with_variables(100, &[("DELIVERY", "queue")], &[]).await;
    let stage = &setup.stage;
    stage.store.put(&format!("{SHOP}/stripe-signing-secret/germany"), "whsec_germany").await;
    let event = stripe::new_event("payment_intent.succeeded");
    let answer = stage.deliver_to(SHOP, "whsec_germany", &event).await;
    answer.expect_code(202, "queued", "delivery_queue");
    let line = stage.function.line_of(&event, 1).await;
    assert_eq!((&line["outcome"], &line["code"]), (&json!("queued"), &json!("delivery_queue")), "{line}");
    assert_eq!((&line["queued"], line.get("deferred"), &line["level"]), (&json!(1), None, &json!("INFO")), "{line}");
    assert_eq!(stage.amplitude.requests(), 0);
    // Events that the project does not select do not enter the queue.
    let mut unsupported = stripe::new_event("charge.succeeded");
    unsupported["type"] = "customer.created".into();
    stage.deliver(&unsupported).await.expect_code(200, "ignored", "type_not_selected");
    let messages = setup.queue.receive().await;
    let [message] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(message["MessageAttributes"]["code"]["StringValue"], "delivery_queue");
    setup.queue.make_visible(&messages).await;
    setup.drain().await;
    assert_eq!(stage.amplitude.accepted(&event).event["event_properties"]["stripe_source"], "germany");

    // If the queue cannot take the event, it is delivered directly.
    for fault in [AwsFault::Throttled, AwsFault::Denied, AwsFault::Undecryptable, AwsFault::Down, AwsFault::Hang] {
        setup.queue.fail(fault);
        let event = stripe::new_event("payment_intent.succeeded");
        let start = Instant::now();
        stage.deliver(&event).await.expect_forwarded();
        assert!(start.elapsed() < ANSWER_LIMIT, "{fault:?}: {:?}", start.elapsed());
        assert_eq!(stage.amplitude.accepted(&event).endpoint, Endpoint::HttpV2);
    }
    setup.queue.recover();
    assert_eq!(setup.queue.len().await, 0);
}

#[tokio::test]
async fn failing_queue_leaves_the_retry_to_stripe() {
    let setup = QueueStage::start().await;
    let stage = &setup.stage;
    for (fault, named) in [
        (AwsFault::Throttled, "RequestThrottled"),
        (AwsFault::Denied, "sqs:SendMessage"),
        (AwsFault::Undecryptable, "the KMS key is disabled"),
        (AwsFault::Down, "no connection"),
        (AwsFault::Hang, "timed out"),
    ] {
        for (amplitude, code) in [
            (Fault::answer(503), "amplitude_unavailable"),
            (Fault::Hang { milliseconds: 60_000, ingest: false }, "amplitude_timeout"),
        ] {
            stage.amplitude.fail(amplitude);
            setup.queue.fail(fault);
            let event = stripe::new_event("payment_intent.succeeded");
            let start = Instant::now();
            let answer = stage.deliver(&event).await;
            assert!(start.elapsed() < ANSWER_LIMIT, "{fault:?}: {:?}", start.elapsed());
            answer.expect_code(502, "failed", code);
            answer.expect_reason_contains("; and the redelivery queue could not take the event: ");
            answer.expect_reason_contains(named);
            assert!(!answer.body.to_string().contains("arn:"), "{}", answer.body);
            setup.queue.recover();
            stage.amplitude.recover();
            // A process that has not seen the outage.
            stage.function.kill_and_restart();
            stage.deliver(&event).await.expect_forwarded();
            stage.amplitude.accepted(&event);
        }
    }
    assert!(!stage.function.output().contains("arn:"));
    assert_eq!(setup.queue.len().await, 0);
}

/// A call that fails temporarily is retried within the second reserved for it.
#[tokio::test]
async fn briefly_throttled_queue_takes_the_event() {
    let setup = QueueStage::start().await;
    setup.stage.amplitude.fail(Fault::answer(429));
    for fault in [AwsFault::Throttled, AwsFault::Down] {
        setup.queue.fail_next(fault, 2);
        setup.stage.deliver(&stripe::new_event("charge.succeeded")).await.expect(202, "deferred");
    }
    setup.stage.amplitude.recover();
    setup.drain().await;
    assert_eq!(setup.stage.amplitude.events().len(), 2);
}

#[tokio::test]
async fn oversized_event_is_left_to_stripes_retry() {
    let setup = QueueStage::start().await;
    let stage = &setup.stage;
    let sized = |size: usize| {
        let mut event = stripe::new_event("invoice.paid");
        event["data"]["object"]["description"] = "".into();
        let rest = size - event.to_string().len();
        event["data"]["object"]["description"] = "x".repeat(rest).into();
        assert_eq!(event.to_string().len(), size);
        event
    };
    let (fits, too_large) = (sized(1024 * 1024 - 4096), sized(1024 * 1024));
    stage.amplitude.fail(Fault::answer(429));
    stage.deliver(&fits).await.expect(202, "deferred");
    let answer = stage.deliver(&too_large).await;
    answer.expect_code(502, "failed", "amplitude_throttled");
    answer.expect_reason_contains("larger than an SQS message (1 MiB)");
    stage.amplitude.recover();
    setup.drain().await;
    stage.amplitude.accepted(&fits);
    stage.deliver(&too_large).await.expect_forwarded();
    stage.amplitude.accepted(&too_large);
}

#[tokio::test]
async fn unusable_parameters_lose_no_event() {
    let setup = QueueStage::start().await;
    let stage = &setup.stage;
    let rates = |rates: Value| json!({"preferred_currency": {"code": "EUR", "rates": rates}});
    for (broken, code, named, fixed) in [
        (json!({"refunds": "wrong"}), "settings_invalid", "`refunds`", json!({})),
        // The sample is in US dollars.
        (rates(json!({"GBP": "1.17"})), "missing_rate", "from USD to EUR", rates(json!({"USD": "0.5"}))),
    ] {
        setup.settings(broken).await;
        let event = stripe::new_event("payment_intent.succeeded");
        let answer = stage.deliver(&event).await;
        answer.expect_code(202, "deferred", code);
        answer.expect_reason_contains(named);
        let processed = setup.poll().await;
        assert_eq!(failed(&processed), [true]);
        let line = setup.redelivery.line_of(&event, 1).await;
        assert_eq!((&line["outcome"], &line["failed"], &line["code"]), (&json!("failed"), &json!(1), &json!(code)));
        assert!(line["reason"].as_str().unwrap().contains(named), "{line}");
        setup.settings(fixed).await;
        setup.make_failed_visible(&processed).await;
        setup.drain().await;
        stage.amplitude.accepted(&event);
    }
    // A missing key.
    let event = stripe::new_event("payment_intent.succeeded");
    stage.store.delete(&format!("{SHOP}/amplitude-api-key")).await;
    setup.settings(json!({})).await;
    let answer = stage.deliver(&event).await;
    answer.expect_code(202, "deferred", "parameter_missing");
    answer.expect_reason_contains("/amplitude-api-key");
    stage.store.put(&format!("{SHOP}/amplitude-api-key"), "the-new-key").await;
    parameters_expire().await;
    setup.drain().await;
    assert_eq!(stage.amplitude.accepted(&event).api_key, "the-new-key");
}

#[tokio::test]
async fn rejected_event_becomes_a_dead_letter() {
    let setup = QueueStage::start().await;
    let events = setup.deferred(5).await;
    let refuse = |positions: &[usize]| {
        let body = json!({"code": 400, "error": "hidden", "events_with_invalid_fields": {"hidden": positions}});
        setup.stage.amplitude.inject(json_answer(400, body), 1);
    };
    // All five, the other four, and the rejected one alone.
    refuse(&[2]);
    setup.stage.amplitude.inject(Fault::Delay { milliseconds: 1 }, 1);
    refuse(&[0]);
    let processed = setup.poll().await;
    assert_eq!(failed(&processed), [false; 5]);
    assert_eq!(setup.stage.amplitude.batch_requests(), 3);
    let refused = processed[2].message["Body"].as_str().unwrap().to_owned();
    assert_eq!(setup.queue.len().await, 0);
    let letters = setup.queue.take_dead_letters().await;
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!(letter["Body"], *refused);
    assert_eq!(letter["MessageAttributes"]["code"]["StringValue"], "amplitude_rejected");
    let reason = letter["MessageAttributes"]["reason"]["StringValue"].as_str().unwrap();
    assert!(reason.contains("the value of a field"), "{reason}");
    assert_eq!(attributes(letter).len(), 4, "project, received, code and reason");
    let refused: Value = serde_json::from_str(&refused).unwrap();
    let line = setup.redelivery.line_of(&refused, 1).await;
    assert_eq!((&line["outcome"], &line["dead"], &line["level"]), (&json!("dead"), &json!(1), &json!("ERROR")));
    assert_eq!((&line["code"], &line["receive_count"]), (&json!("amplitude_rejected"), &json!(1)));
    assert_eq!(line["amplitude_code"], 400);
    assert!(!setup.redelivery.output().contains("hidden"));
    assert_eq!(setup.stage.amplitude.events().len(), 4);
    // The operator fixes the cause and sends it again.
    setup.queue.redrive(letter).await;
    setup.drain().await;
    for event in &events {
        setup.stage.amplitude.accepted(event);
    }
}

/// Neither an outage nor a proxy's error page says anything about an event, however often it occurs.
#[tokio::test]
async fn only_amplitudes_own_rejection_makes_a_dead_letter() {
    let setup = QueueStage::start().await;
    let events = setup.deferred(1).await;
    let page = |status| Fault::Answer(FaultyAnswer { status, text: Some("<html>".to_owned()), ..Default::default() });
    for fault in [Fault::answer(503), Fault::answer(503), page(400), page(403), page(413), Fault::answer(429)] {
        setup.stage.amplitude.fail(fault.clone());
        let processed = setup.poll().await;
        assert_eq!(failed(&processed), [true], "{fault:?}");
        setup.make_failed_visible(&processed).await;
    }
    assert!(setup.queue.take_dead_letters().await.is_empty());
    setup.stage.amplitude.recover();
    setup.drain().await;
    setup.stage.amplitude.accepted(&events[0]);
}

#[tokio::test]
async fn throttled_events_wait_while_others_arrive() {
    let setup = QueueStage::start().await;
    let events = setup.deferred(4).await;
    let body = json!({"code": 429, "error": "hidden", "throttled_events": [1, 2]});
    setup.stage.amplitude.inject(json_answer(429, body), 1);
    let processed = setup.poll().await;
    assert_eq!(failed(&processed), [false, true, true, false]);
    assert_eq!(setup.stage.amplitude.events().len(), 2);
    let delays: Vec<_> = processed.iter().map(|processed| processed.delay.is_some()).collect();
    assert_eq!(delays, [false, true, true, false]);
    setup.make_failed_visible(&processed).await;
    setup.drain().await;
    for event in &events {
        setup.stage.amplitude.accepted(event);
    }
}

#[tokio::test]
async fn delays_double_up_to_an_hour() {
    let setup = QueueStage::start().await;
    let events = setup.deferred(1).await;
    setup.stage.amplitude.fail(Fault::answer(429));
    for (count, longest) in (1..).zip([30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]) {
        let processed = setup.poll().await;
        assert_eq!(failed(&processed), [true]);
        let delay = processed[0].delay.expect("the message waits");
        assert!((longest * 3 / 4..=longest).contains(&delay), "{count}: {delay} s");
        assert_eq!(setup.redelivery.line_of(&events[0], count).await["receive_count"], count);
        // It stays invisible until then.
        assert!(setup.poll().await.is_empty());
        setup.make_failed_visible(&processed).await;
    }
    setup.stage.amplitude.recover();
    setup.drain().await;
    setup.stage.amplitude.accepted(&events[0]);
}

#[tokio::test]
async fn failure_to_set_a_delay_is_logged() {
    let setup = QueueStage::start().await;
    let events = setup.deferred(1).await;
    setup.stage.amplitude.fail(Fault::answer(429));
    setup.queue.fail(AwsFault::Denied);
    let processed = setup.poll().await;
    assert_eq!((failed(&processed), processed[0].delay), (vec![true], None));
    let line = setup.redelivery.line_with("could not be delayed").await;
    assert!(line.contains("sqs:ChangeMessageVisibility") && !line.contains("arn:"), "{line}");
    setup.queue.recover();
    setup.stage.amplitude.recover();
    setup.make_failed_visible(&processed).await;
    setup.drain().await;
    setup.stage.amplitude.accepted(&events[0]);
}

#[tokio::test]
async fn foreign_message_stays_until_the_queue_moves_it() {
    let setup = QueueStage::with_variables(2, &[], &[]).await;
    setup.queue.put("{\"hello\": 1}", &[]).await;
    setup.queue.put("{\"hello\": 2}", &[("project", "no such name!")]).await;
    let events = setup.deferred(1).await;
    for _ in 0..2 {
        let processed = setup.poll().await;
        setup.make_failed_visible(&processed).await;
    }
    setup.stage.amplitude.accepted(&events[0]);
    assert_eq!(setup.redelivery.output().matches(r#""code":"foreign_message""#).count(), 4);
    setup.drain().await;
    assert_eq!(setup.queue.take_dead_letters().await.len(), 2);
}

#[tokio::test]
async fn invalid_event_becomes_a_dead_letter_immediately() {
    let setup = QueueStage::start().await;
    let bodies = [("no JSON", "malformed_json"), ("{\"object\": \"charge\"}", "bare_object")];
    for (body, _) in bodies {
        let attributes = [("project", SHOP), ("code", "hidden"), ("reason", "hidden")];
        setup.queue.put(body, &attributes).await;
    }
    setup.drain().await;
    let letters = setup.queue.take_dead_letters().await;
    assert_eq!(letters.len(), 2);
    for (body, code) in bodies {
        let letter = letters.iter().find(|letter| letter["Body"] == body).unwrap();
        assert_eq!(letter["MessageAttributes"]["code"]["StringValue"], code);
        assert_ne!(letter["MessageAttributes"]["reason"]["StringValue"], "hidden");
    }
    assert_eq!(setup.stage.amplitude.requests(), 0);
}

#[tokio::test]
async fn invalid_batch_fails_without_details() {
    let redelivery = Function::start_redelivery(&[("RUST_LOG", "trace")]).await;
    for payload in [
        json!(null),
        json!("guest@example.com"),
        json!({"guest@example.com": 1}),
        json!({"Records": "guest@example.com"}),
        json!({"Records": [{"messageId": "a", "body": {"guest@example.com": 1}}]}),
    ] {
        let error = redelivery.invoke(&payload).await.unwrap_err();
        assert!(error.contains("invalid SQS event") && !error.contains("guest"), "{error}");
    }
    let message = json!({"messageId": "a", "receiptHandle": "receipt", "body": "guest@example.com"});
    let answer = redelivery.invoke(&json!({"Records": [message]})).await.unwrap();
    assert_eq!(answer["batchItemFailures"], json!([{"itemIdentifier": "a"}]), "it stays available");
    let output = redelivery.output();
    assert!(output.contains("invalid SQS event") && !output.contains("guest"), "{output}");
}

#[tokio::test]
async fn repeated_message_counts_once() {
    let setup = QueueStage::start().await;
    let events = setup.deferred(3).await;
    let messages = setup.queue.receive().await;
    let twice = [&messages[..], &messages[..1]].concat();
    for batch in [&messages, &twice] {
        let answer = setup.redelivery.invoke(&queue::invocation(batch)).await.unwrap();
        assert_eq!(answer, json!({"batchItemFailures": []}));
    }
    // Stripe also delivers one of them again.
    setup.stage.deliver(&events[0]).await.expect_forwarded();
    for event in &events {
        setup.stage.amplitude.accepted(event);
    }
    assert_eq!(setup.stage.amplitude.events().len(), 3);
}

/// The user of a payment becomes known after its refund, or before.
#[tokio::test]
async fn refund_before_payment_is_attributed_to_the_payer() {
    for payment_first in [true, false] {
        let setup = QueueStage::start().await;
        let payment = stripe::new_event("payment_intent.succeeded");
        let mut refund = stripe::new_event("charge.refunded");
        let charge = &mut refund["data"]["object"];
        charge["metadata"] = json!({});
        charge["customer"] = Value::Null;
        charge["receipt_email"] = Value::Null;
        let (direct, later) = if payment_first { (&payment, &refund) } else { (&refund, &payment) };
        setup.stage.amplitude.fail(Fault::answer(429));
        setup.stage.deliver(later).await.expect(202, "deferred");
        setup.stage.amplitude.recover();
        setup.stage.deliver(direct).await.expect_forwarded();
        setup.drain().await;
        assert_eq!(setup.stage.amplitude.accepted(&refund).attributed_user_id.as_deref(), Some("user_42"));
        assert_eq!(setup.stage.amplitude.accepted(&payment).event["time"], payment["created"].as_u64().unwrap() * 1000);
    }
}

#[tokio::test]
async fn killed_function_loses_no_event() {
    for ingest in [false, true] {
        let setup = QueueStage::start().await;
        let events = setup.deferred(4).await;
        setup.stage.amplitude.inject(Fault::Hang { milliseconds: 60_000, ingest }, 1);
        let messages = setup.queue.receive().await;
        let before = setup.stage.amplitude.requests();
        let invocation = queue::invocation(&messages);
        let killed = async {
            eventually("a request", async || (setup.stage.amplitude.requests() > before).then_some(())).await;
            setup.redelivery.kill_and_restart();
        };
        tokio::select! {
            answer = setup.redelivery.invoke(&invocation) => panic!("{answer:?}"),
            () = killed => {}
        }
        assert_eq!(setup.stage.amplitude.events().len(), if ingest { 4 } else { 0 });
        setup.queue.make_visible(&messages).await;
        setup.drain().await;
        for event in &events {
            setup.stage.amplitude.accepted(event);
        }
    }
}

#[tokio::test]
async fn messages_wait_while_parameter_store_fails() {
    let setup = QueueStage::start().await;
    let events = setup.deferred(2).await;
    setup.stage.store.fail(AwsFault::Down);
    let processed = setup.poll().await;
    assert_eq!(failed(&processed), [true, true]);
    for event in &events {
        assert_eq!(setup.redelivery.line_of(event, 1).await["code"], "parameter_store_unavailable");
    }
    setup.stage.store.recover();
    setup.make_failed_visible(&processed).await;
    setup.drain().await;
    for event in &events {
        setup.stage.amplitude.accepted(event);
    }
}

#[tokio::test]
async fn queue_moves_rejected_messages_without_dead_letter_url() {
    let setup = QueueStage::with_variables(4, &[], &[("DEAD_LETTER_QUEUE_URL", "")]).await;
    let events = setup.deferred(1).await;
    setup.stage.amplitude.fail(Fault::answer(400));
    for receive_count in 1..=4 {
        let processed = setup.poll().await;
        assert_eq!(failed(&processed), [true], "{receive_count}");
        assert!(processed[0].delay.is_some());
        setup.make_failed_visible(&processed).await;
    }
    assert!(setup.poll().await.is_empty());
    let letters = setup.queue.take_dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert!(letters[0]["Body"].as_str().unwrap().contains(events[0]["id"].as_str().unwrap()));
}

#[tokio::test]
async fn every_message_has_a_log_line_with_metrics() {
    let setup = QueueStage::start().await;
    let events = setup.deferred(3).await;
    let body = json!({"code": 429, "error": "hidden", "throttled_events": [2]});
    setup.stage.amplitude.inject(json_answer(429, body), 1);
    let processed = setup.poll().await;
    setup.make_failed_visible(&processed).await;
    setup.drain().await;
    let lines = setup.redelivery.request_lines(4).await;
    assert_eq!(lines.len(), 4);
    for (index, (event, outcome, receive_count)) in
        [(0, "forwarded", 1), (1, "forwarded", 1), (2, "failed", 1), (2, "forwarded", 2)].into_iter().enumerate()
    {
        let deliveries = if receive_count == 2 { 2 } else { 1 };
        let line = setup.redelivery.line_of(&events[event], deliveries).await;
        assert_eq!((&line["outcome"], &line["receive_count"]), (&json!(outcome), &json!(receive_count)), "{index}");
        assert_eq!((&line[outcome], &line["project"], line.get("status")), (&json!(1), &json!(SHOP), None));
        let code = (outcome == "failed").then(|| json!("amplitude_throttled"));
        assert_eq!(line.get("code"), code.as_ref(), "{index}");
        let metrics = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(
            (&metrics["Namespace"], &metrics["Dimensions"]),
            (&json!("stripe-amplitude"), &json!([["function"]]))
        );
        let names: BTreeSet<_> =
            metrics["Metrics"].as_array().unwrap().iter().map(|metric| metric["Name"].as_str().unwrap()).collect();
        assert!(names.contains(outcome), "{names:?}");
        for name in names {
            assert!(line[name].is_number(), "{name}: {line}");
        }
        assert!(line["function"].as_str().unwrap().starts_with("function-"));
    }
    // The duration of a request counts once, and so does a start.
    for (name, count) in [("amplitude_milliseconds", 2), ("cold_start", 1)] {
        assert_eq!(lines.iter().filter(|line| line.get(name).is_some()).count(), count, "{name}");
    }
    for hidden in ["hidden", API_KEY, SECRET, "user_42"] {
        assert!(!setup.redelivery.output().contains(hidden), "{hidden}");
    }
}

/// An event that arrived in time does not become too old by waiting.
#[tokio::test]
async fn age_of_an_event_is_measured_at_receipt() {
    let store = ParameterStore::start_with_shop().await;
    store.put(&format!("{SHOP}/settings"), r#"{"max_age_days": 1}"#).await;
    let setup = QueueStage::with_store(store, 100, &[], &[]).await;
    let mut event = stripe::new_event("charge.succeeded");
    event["created"] = (stripe::now() - 3 * 86_400).into();
    let received = (stripe::now() - 3 * 86_400 + 60).to_string();
    setup.queue.put(&event.to_string(), &[("project", SHOP), ("received", &received)]).await;
    setup.drain().await;
    setup.stage.amplitude.accepted(&event);
}

/// Amplitude may already have the event, and would no longer drop the repeat.
#[tokio::test]
async fn late_event_is_a_dead_letter_until_looked_up() {
    for delivery in ["direct", "queue"] {
        let setup = QueueStage::with_variables(100, &[("DELIVERY", delivery)], &[]).await;
        let mut event = stripe::new_event("charge.succeeded");
        event["created"] = (stripe::now() - 8 * 86_400).into();
        setup.stage.deliver(&event).await.expect_code(202, "deferred", "needs_lookup");
        setup.drain().await;
        assert!(setup.stage.amplitude.events().is_empty());
        let letters = setup.queue.take_dead_letters().await;
        let [letter] = &letters[..] else { panic!("{letters:?}") };
        assert_eq!(letter["MessageAttributes"]["code"]["StringValue"], "needs_lookup");
        let line = setup.redelivery.line_of(&event, 1).await;
        assert_eq!((&line["outcome"], &line["code"]), (&json!("dead"), &json!("needs_lookup")));

        let mut looked_up = letter.clone();
        looked_up["MessageAttributes"]["looked_up"] =
            json!({"DataType": "Number", "StringValue": stripe::now().to_string()});
        setup.queue.redrive(&looked_up).await;
        setup.drain().await;
        setup.stage.amplitude.accepted(&event);
    }
}

/// SQS does not report which message of a batch ended the process.
#[tokio::test]
async fn new_messages_precede_repeated_ones() {
    let setup = QueueStage::start().await;
    setup.deferred(3).await;
    setup.stage.amplitude.fail(Fault::answer(429));
    let processed = setup.poll().await;
    assert_eq!(failed(&processed), [true; 3]);
    setup.make_failed_visible(&processed).await;
    let new = setup.deferred(2).await;
    let before = setup.stage.amplitude.batch_requests();
    let processed = setup.poll().await;
    assert_eq!(failed(&processed), [false; 5]);
    assert_eq!(setup.stage.amplitude.batch_requests() - before, 4, "the new messages together, the others one by one");
    let stored = setup.stage.amplitude.events();
    let first: BTreeSet<_> =
        stored.iter().take(2).map(|event| event.event["insert_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(first, new.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect());
}
