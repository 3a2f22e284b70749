//! Delivers events to an endpoint, with retries like Stripe's, but within seconds.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{StatusCode, Url};
use serde_json::Value;
use stripe_amplitude::http_client::HttpClientError;
use stripe_amplitude_common::endpoint::Endpoint;
use stripe_amplitude_common::http;
use tokio::time::sleep;

use super::event::{Event, Templates};

/// Objects per request, of about five kilobytes each.
const BATCH: usize = 500;

/// Concurrent deliveries.
const LANES: u32 = 8;

/// The back-off before each retry. Amplitude throttles clients above an average of 30 events a second.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// Failed events after which no more are sent.
const MAX_FAILURES: usize = 20;

/// The same before the first success: the secret or the URL is wrong.
const MAX_FAILURES_AT_FIRST: usize = LANES as usize;

/// Reasons that are kept.
const REASONS: usize = 3;

/// Characters of a response that are kept, because it may be a whole page of another server.
const LONGEST_REASON: usize = 500;

/// The results so far.
#[derive(Default)]
pub struct Tally {
    delivered: Cell<usize>,
    undelivered: Cell<usize>,
    /// The endpoint did not respond.
    unreachable: Cell<bool>,
    reasons: RefCell<Vec<String>>,
    /// Delivered events by the path of their user ID, according to the responses; `None` without a user ID.
    paths: RefCell<BTreeMap<Option<String>, usize>>,
}

impl Tally {
    /// How many events were delivered.
    pub fn delivered(&self) -> usize {
        self.delivered.get()
    }

    /// Whether the endpoint could not be reached.
    pub fn is_unreachable(&self) -> bool {
        self.unreachable.get()
    }

    /// The first distinct reasons of failures.
    pub fn reasons(&self) -> Vec<String> {
        self.reasons.borrow().clone()
    }

    /// Delivered events by the path of their user ID, the most frequent first. Empty if no response had it.
    pub fn paths(&self) -> Vec<(Option<String>, usize)> {
        let mut paths: Vec<_> = self.paths.borrow().clone().into_iter().collect();
        paths.sort_by_key(|(_, number)| Reverse(*number));
        paths
    }

    /// Counts the path in the response to a delivered event.
    fn count_path(&self, answer: &str) {
        let answer: Value = serde_json::from_str(answer).unwrap_or_default();
        if let Some(path) = answer.get("user_id_from") {
            *self.paths.borrow_mut().entry(path.as_str().map(str::to_owned)).or_default() += 1;
        }
    }

    fn must_stop(&self) -> bool {
        let bound = if self.delivered() == 0 { MAX_FAILURES_AT_FIRST } else { MAX_FAILURES };
        self.unreachable.get() || self.undelivered.get() >= bound
    }

    fn add_undelivered(&self, reason: String) {
        self.undelivered.set(self.undelivered.get() + 1);
        let mut reasons = self.reasons.borrow_mut();
        if reasons.len() < REASONS && !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
}

/// Passes the objects of the events to the local Stripe of `serve`, if the webhook is on this machine and belongs to a
/// workbench. Other webhooks get only the events.
///
/// # Errors
/// If the HTTP client cannot be built.
pub async fn put_objects(webhook: &str, mut objects: impl Iterator<Item = Value>) -> Result<(), HttpClientError> {
    let Ok(url) = webhook.parse::<Url>() else { return Ok(()) };
    let is_here = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    let Some(url) = url.join("/workbench/objects").ok().filter(|_| is_here) else { return Ok(()) };
    let http = http::build()?;
    loop {
        let batch: Vec<_> = objects.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            return Ok(());
        }
        let request = http.post(url.clone()).header("content-type", "application/json");
        let answer = request.body(Value::Array(batch).to_string()).send().await;
        if !answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
    }
}

/// Delivers the events concurrently, but those of the same objects in order. `advance` is called after each. The tally has
/// the results, and is also correct if the future is dropped.
pub async fn deliver(
    endpoint: &Endpoint,
    events: &[Event<'_>],
    templates: &Templates,
    tally: &Tally,
    advance: impl Fn(),
) {
    let lanes = (0..LANES).map(async |lane| {
        for event in events.iter().filter(|event| event.lane(LANES) == lane) {
            if tally.must_stop() {
                return;
            }
            match deliver_one(endpoint, event.body(templates), tally).await {
                Ok(()) => tally.delivered.set(tally.delivered.get() + 1),
                Err(reason) => tally.add_undelivered(reason),
            }
            advance();
        }
    });
    join_all(lanes).await;
}

/// # Errors
/// Why the last attempt failed.
async fn deliver_one(endpoint: &Endpoint, body: Vec<u8>, tally: &Tally) -> Result<(), String> {
    let mut pauses = PAUSES.iter();
    loop {
        let result = attempt(endpoint, body.clone(), tally).await;
        let error = match result {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let pause = match &error {
            // No retry if the endpoint never responded.
            AttemptError::Unreachable(_) if tally.delivered() == 0 => None,
            // A retry would be rejected again: the secret or the URL is wrong.
            AttemptError::Rejected(_) => None,
            _ => pauses.next(),
        };
        match (pause, error) {
            (Some(pause), _) => sleep(*pause).await,
            (None, AttemptError::Unreachable(reason)) => {
                tally.unreachable.set(true);
                return Err(reason);
            }
            (None, AttemptError::Status(reason) | AttemptError::Rejected(reason)) => return Err(reason),
        }
    }
}

/// Why an attempt failed.
enum AttemptError {
    Unreachable(String),
    Status(String),
    Rejected(String),
}

async fn attempt(endpoint: &Endpoint, body: Vec<u8>, tally: &Tally) -> Result<(), AttemptError> {
    let unreachable = |error: reqwest::Error| AttemptError::Unreachable(endpoint.explain(&error));
    let answer = endpoint.deliver(body).await.map_err(unreachable)?;
    let status = answer.status();
    // Read to the end, so that the connection can be reused.
    let body = answer.text().await.map_err(unreachable)?;
    if status.is_success() {
        tally.count_path(&body);
        return Ok(());
    }
    let body: String = body.trim_end().chars().take(LONGEST_REASON).collect();
    let reason = format!("{} {body}", status.as_u16()).trim_end().to_owned();
    let is_refusal = status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS;
    Err(if is_refusal { AttemptError::Rejected(reason) } else { AttemptError::Status(reason) })
}
