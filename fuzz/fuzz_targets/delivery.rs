//! Any requests, one after the other, to the whole handler with a Parameter Store, an Amplitude and a queue in memory:
//! nothing panics, each gets a status of the contract and JSON with an outcome, no response holds a secret or an API
//! key, nothing unsigned is sent to Amplitude or queued, everything sent is an event (`src/event.rs`), and a delivery
//! that is neither sent nor queued is not reported as such.
//!
//! The input is messages (`src/message.rs`), split by a line `====`: `POST /stripe/demo`, headers, an empty line, the
//! body. `{a}` in a header is the signature by the project's first secret, whole or damaged, and `{now}` the time
//! (`fill_in` in `src/reference.rs`). Directives set how the fakes respond from then on (`direct` in `src/stage.rs`),
//! and `:time-left 900` sets the milliseconds that Lambda leaves. With `:queue` or `:queue-first` in the first message,
//! there is a redelivery queue.

#![no_main]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use memchr::memmem;
use stripe_amplitude::webhook::{LARGEST_BODY, Request, Webhook};
use stripe_amplitude_fuzz::abbreviation::expand;
use stripe_amplitude_fuzz::message::Message;
use stripe_amplitude_fuzz::reference::{fill_in, is_signed};
use stripe_amplitude_fuzz::stage::{Queue, Sink, Source, Stage, Stripe, TOLERANCE, check};

/// Larger than the limit.
const LARGEST: usize = LARGEST_BODY + 64 * 1024;

const MOST_REQUESTS: usize = 8;

fuzz_target!(|input: &[u8]| {
    let input = expand(input, LARGEST);
    let stage = Stage::new();
    let messages: Vec<_> = split(&input).into_iter().take(MOST_REQUESTS).map(Message::read).collect();
    let has_queue = |name: &str| messages[0].directive(name).is_some();
    let webhook = stage.webhook(has_queue("queue") || has_queue("queue-first"), has_queue("queue-first"));
    for message in &messages {
        deliver(&stage, &webhook, message, &input);
    }
});

fn deliver(stage: &Stage, webhook: &Webhook<Source, Sink, Stripe, Queue>, message: &Message<'_>, input: &[u8]) {
    stage.direct(message);
    let Some((first, headers)) = message.lines.split_first() else { return };
    let first = String::from_utf8_lossy(first);
    let (method, path) = first.split_once(' ').unwrap_or(("POST", &first));
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
    let (secrets, now) = (stage.secrets(), now());

    let mut map = HeaderMap::new();
    for header in headers {
        let colon = memchr::memchr(b':', header).unwrap_or(header.len());
        let (name, value) = header.split_at(colon);
        let value = fill_in(value.trim_ascii_start().strip_prefix(b":").unwrap_or(value), message.body, &secrets, now);
        let name = HeaderName::from_bytes(name.trim_ascii());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.trim_ascii())) {
            // Past 32,768 headers there is no room; no gateway passes that many.
            let _ = map.try_append(name, value);
        }
    }
    let (sent_before, queued_before) = (stage.sent(), stage.queued());
    let answer = stage.block_on(webhook.handle(Request {
        method: &method,
        path,
        headers: &map,
        body: Bytes::copy_from_slice(message.body),
        request_id: message.directive("request-id"),
        function: message.directive("function"),
        time_left: message.directive("time-left").and_then(|left| left.parse().ok()).map(Duration::from_millis),
    }));
    check(&answer, input);

    let (sent, queued) = (stage.sent() - sent_before, stage.queued() - queued_before);
    assert!(sent <= 1 && queued <= 1);
    assert_eq!(queued == 1, answer.status() == 202, "exactly queued events are deferred");
    if answer.body().contains(r#""outcome":"forwarded""#) {
        assert_eq!(sent, 1, "only sent events are forwarded");
    }
    if answer.status().is_success() || sent == 1 {
        let values: Vec<_> = map.get_all("stripe-signature").iter().map(|value| value.as_bytes().to_vec()).collect();
        let secrets = stage.secrets_ever();
        // The clock may have advanced.
        let signed = is_signed(&values, message.body, secrets.iter().map(String::as_str), now, TOLERANCE + 30);
        assert!(signed, "the request was not signed");
        assert_eq!(method, Method::POST);
        assert!(message.body.len() <= LARGEST_BODY);
    }
}

fn split(input: &[u8]) -> Vec<&[u8]> {
    const BETWEEN: &[u8] = b"\n====\n";
    let mut parts = Vec::new();
    let mut rest = input;
    while let Some(end) = memmem::find(rest, BETWEEN) {
        parts.push(&rest[..end]);
        rest = &rest[end + BETWEEN.len()..];
    }
    parts.push(rest);
    parts
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
