//! Events on their way to an endpoint, each again until it is safe, as Stripe does it, but within seconds.

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

/// So many objects go in one request, of some five kilobytes each.
const BATCH: usize = 500;

/// So many events are on their way at once.
const LANES: u32 = 8;

/// Before each further attempt. Amplitude throttles who sends more than 30 events a second, as an average over a second
/// or more.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// When so many events were not taken, no further one is sent.
const HOPELESS: usize = 20;

/// The same, as long as none was taken: the secret is another one, or the URL.
const HOPELESS_AT_FIRST: usize = LANES as usize;

/// So many reasons are kept.
const REASONS: usize = 3;

/// So many characters of an answer are kept, which may be a whole page of somebody else's.
const LONGEST_REASON: usize = 500;

/// What has become of the events until now.
#[derive(Default)]
pub struct Tally {
    delivered: Cell<usize>,
    undelivered: Cell<usize>,
    /// Nobody is there.
    unreachable: Cell<bool>,
    reasons: RefCell<Vec<String>>,
    /// How many of the delivered ones got their user ID from which path, as the answers say; without a path, from none.
    paths: RefCell<BTreeMap<Option<String>, usize>>,
}

impl Tally {
    /// How many are safe.
    pub fn delivered(&self) -> usize {
        self.delivered.get()
    }

    /// Whether nobody answered any more.
    pub fn is_unreachable(&self) -> bool {
        self.unreachable.get()
    }

    /// Why others are not; the first ones, each once.
    pub fn reasons(&self) -> Vec<String> {
        self.reasons.borrow().clone()
    }

    /// From where the user IDs are of those that are safe, the most frequent path first. Empty where no answer told.
    pub fn paths(&self) -> Vec<(Option<String>, usize)> {
        let mut paths: Vec<_> = self.paths.borrow().clone().into_iter().collect();
        paths.sort_by_key(|(_, number)| Reverse(*number));
        paths
    }

    /// Notes what the answer to a delivered event says.
    fn note_path(&self, answer: &str) {
        let answer: Value = serde_json::from_str(answer).unwrap_or_default();
        if let Some(path) = answer.get("user_id_from") {
            *self.paths.borrow_mut().entry(path.as_str().map(str::to_owned)).or_default() += 1;
        }
    }

    fn is_hopeless(&self) -> bool {
        let bound = if self.delivered() == 0 { HOPELESS_AT_FIRST } else { HOPELESS };
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

/// Hands the objects that the events name over to the local Stripe of `serve`, if it is `serve` that has this webhook:
/// on this machine, and with a workbench. Anybody else gets the events alone.
///
/// # Errors
/// Where there is no HTTP client to be had.
pub async fn hand_over(webhook: &str, mut objects: impl Iterator<Item = Value>) -> Result<(), HttpClientError> {
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

/// Sends the events, several at once, those that concern the same objects one after the other. What stays undelivered
/// is told in the tally, which is right also when this is dropped half-way.
pub async fn deliver(
    endpoint: &Endpoint,
    events: &[Event<'_>],
    templates: &Templates,
    tally: &Tally,
    advance: impl Fn(),
) {
    let lanes = (0..LANES).map(async |lane| {
        for event in events.iter().filter(|event| event.lane(LANES) == lane) {
            if tally.is_hopeless() {
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
/// Why it is not safe after the last attempt.
async fn deliver_one(endpoint: &Endpoint, body: Vec<u8>, tally: &Tally) -> Result<(), String> {
    let mut pauses = PAUSES.iter();
    loop {
        let result = attempt(endpoint, body.clone(), tally).await;
        let error = match result {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let pause = match &error {
            // Where nobody was ever met, nobody is waited for.
            NotTaken::Unreachable(_) if tally.delivered() == 0 => None,
            // The same again would be refused again: the secret or the URL is wrong.
            NotTaken::Refused(_) => None,
            _ => pauses.next(),
        };
        match (pause, error) {
            (Some(pause), _) => sleep(*pause).await,
            (None, NotTaken::Unreachable(reason)) => {
                tally.unreachable.set(true);
                return Err(reason);
            }
            (None, NotTaken::Answered(reason) | NotTaken::Refused(reason)) => return Err(reason),
        }
    }
}

/// Why an attempt was in vain.
enum NotTaken {
    Unreachable(String),
    Answered(String),
    Refused(String),
}

async fn attempt(endpoint: &Endpoint, body: Vec<u8>, tally: &Tally) -> Result<(), NotTaken> {
    let unreachable = |error: reqwest::Error| NotTaken::Unreachable(endpoint.explain(&error));
    let answer = endpoint.deliver(body).await.map_err(unreachable)?;
    let status = answer.status();
    // To the end, or the connection could not be used again.
    let body = answer.text().await.map_err(unreachable)?;
    if status.is_success() {
        tally.note_path(&body);
        return Ok(());
    }
    let body: String = body.trim_end().chars().take(LONGEST_REASON).collect();
    let reason = format!("{} {body}", status.as_u16()).trim_end().to_owned();
    let is_refusal = status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS;
    Err(if is_refusal { NotTaken::Refused(reason) } else { NotTaken::Answered(reason) })
}
