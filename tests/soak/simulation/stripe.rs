//! Stripe: the order and time of deliveries, and its reaction to the answers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::time::sleep;

use super::Instance;
use super::world::Event;
use crate::harness::gateway::{Answer, Request, http_api};
use crate::harness::parameter_store::ParameterStore;
use crate::harness::{SECRET, SHOP, stripe};

/// The signing secret after it was rolled.
const NEW_SECRET: &str = "whsec_of_the_shop_after_it_was_rolled";

/// The maximum distance over which two events may change places.
const DISORDER: usize = 200;

/// How long Stripe also signs with the old secret after the operator has replaced it. It exceeds the time for which
/// parameters are cached.
const OVERLAP: Duration = Duration::from_millis(1500);

/// The share of events that are delivered again despite a 2xx answer.
const DELIVERED_AGAIN: f64 = 0.05;

/// The pause before the first retry; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub struct Stripe<'w> {
    events: &'w [Event],
    state: Mutex<State>,
}

struct State {
    rng: Rng,
    /// Events that were never delivered.
    fresh: VecDeque<usize>,
    /// Retries: their time, the event and the number of the attempt.
    again: BinaryHeap<Reverse<(Instant, usize, u32)>>,
    on_their_way: usize,
    /// The current signing secrets.
    secrets: Vec<&'static str>,
    counts: Counts,
    examples: BTreeMap<&'static str, String>,
}

#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub deliveries: u64,
    /// Deliveries after a 2xx.
    pub repeats: u64,
    /// By outcome.
    pub delivered: BTreeMap<String, u64>,
    /// By cause.
    pub not_delivered: BTreeMap<&'static str, u64>,
    pub most_attempts: u32,
}

enum Next {
    Delivery { event: usize, attempt: u32 },
    Later,
    Nothing,
}

impl<'w> Stripe<'w> {
    pub fn new(events: &'w [Event], seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed ^ 1);
        let mut fresh: Vec<_> = (0..events.len()).collect();
        fresh.sort_by_cached_key(|index| index + rng.usize(..DISORDER));
        let state = State {
            rng,
            fresh: fresh.into(),
            again: BinaryHeap::new(),
            on_their_way: 0,
            secrets: vec![SECRET],
            counts: Counts::default(),
            examples: BTreeMap::new(),
        };
        Self { events, state: Mutex::new(state) }
    }

    /// Delivers to a process, one event after the other, until all have arrived.
    pub async fn deliver(&self, instance: &Instance) {
        loop {
            match self.next() {
                Next::Nothing => return,
                Next::Later => sleep(Duration::from_millis(5)).await,
                Next::Delivery { event, attempt } => {
                    let request = self.request(&self.events[event]);
                    let answer = instance.invoke(&http_api(&request)).await;
                    self.note(event, attempt, answer.map(|payload| Answer::of_payload(&payload)));
                }
            }
        }
    }

    /// Rolls the signing secret half-way: Stripe signs with both secrets for a while, during which the operator
    /// replaces the old one.
    pub async fn roll_secret(&self, store: &ParameterStore) {
        let progress = async |share: f64| {
            while self.progress() < share {
                sleep(Duration::from_millis(5)).await;
            }
        };
        progress(0.4).await;
        self.sign_with(&[SECRET, NEW_SECRET]);
        progress(0.5).await;
        store.put(&format!("{SHOP}/stripe-signing-secret"), NEW_SECRET).await;
        sleep(OVERLAP).await;
        self.sign_with(&[NEW_SECRET]);
    }

    fn sign_with(&self, secrets: &[&'static str]) {
        self.state.lock().unwrap().secrets = secrets.to_vec();
    }

    /// The number of deliveries so far.
    pub fn deliveries(&self) -> u64 {
        self.state.lock().unwrap().counts.deliveries
    }

    pub fn counts(&self) -> Counts {
        self.state.lock().unwrap().counts.clone()
    }

    /// A description of the progress.
    pub fn describe_progress(&self) -> String {
        let state = self.state.lock().unwrap();
        let (fresh, again) = (state.fresh.len(), state.again.len() + state.on_their_way);
        format!("{} deliveries; {fresh} events not yet delivered, {again} waiting for a retry", state.counts.deliveries)
    }

    /// An example answer for each cause of a failed delivery.
    pub fn examples(&self) -> BTreeMap<&'static str, String> {
        self.state.lock().unwrap().examples.clone()
    }

    /// The share of events that have been delivered at least once.
    fn progress(&self) -> f64 {
        1.0 - self.state.lock().unwrap().fresh.len() as f64 / self.events.len() as f64
    }

    fn next(&self) -> Next {
        let state = &mut *self.state.lock().unwrap();
        let due = state.again.peek().is_some_and(|Reverse((due, ..))| *due <= Instant::now());
        let again = if due { state.again.pop() } else { None };
        let (event, attempt) = match again {
            Some(Reverse((_, event, attempt))) => (event, attempt),
            None => match state.fresh.pop_front() {
                Some(event) => (event, 1),
                None if state.again.is_empty() && state.on_their_way == 0 => return Next::Nothing,
                None => return Next::Later,
            },
        };
        state.on_their_way += 1;
        state.counts.deliveries += 1;
        state.counts.most_attempts = state.counts.most_attempts.max(attempt);
        Next::Delivery { event, attempt }
    }

    /// Signed now, with the current secrets.
    fn request(&self, event: &Event) -> Request {
        let now = stripe::now();
        let mut header = format!("t={now}");
        for secret in &self.state.lock().unwrap().secrets {
            let signed = stripe::sign(secret, now, event.body.as_bytes());
            header.extend([",", signed.split_once(',').unwrap().1]);
        }
        Request::with_signature(SHOP, &header, &*event.body)
    }

    fn note(&self, event: usize, attempt: u32, answer: Result<Answer, &'static str>) {
        let state = &mut *self.state.lock().unwrap();
        state.on_their_way -= 1;
        let refused = match &answer {
            Ok(answer) if (200..300).contains(&answer.status) => {
                let outcome = answer.body["outcome"].as_str().unwrap().to_owned();
                assert_eq!(outcome == "ignored", !self.events[event].selected, "{}", answer.body);
                *state.counts.delivered.entry(outcome).or_default() += 1;
                None
            }
            Ok(answer) => Some((cause(answer), format!("{} {}", answer.status, answer.body))),
            Err(cause) => Some((*cause, String::new())),
        };
        if let Some((cause, example)) = refused {
            *state.counts.not_delivered.entry(cause).or_default() += 1;
            state.examples.insert(cause, example);
            let pause = FIRST_PAUSE.saturating_mul(1 << attempt.min(10)).min(LONGEST_PAUSE);
            let pause = pause.mul_f64(0.5 + 0.5 * state.rng.f64());
            state.again.push(Reverse((Instant::now() + pause, event, attempt + 1)));
        } else if state.rng.f64() < DELIVERED_AGAIN {
            state.counts.repeats += 1;
            let pause = Duration::from_millis(state.rng.u64(..3000));
            state.again.push(Reverse((Instant::now() + pause, event, 1)));
        }
    }
}

/// The cause of a failed delivery.
fn cause(answer: &Answer) -> &'static str {
    let text = |name: &str| answer.body[name].as_str().unwrap_or_default();
    let code = text("code");
    match answer.status {
        503 if code.starts_with("parameter_store_") => "Parameter Store",
        // The code is that of the first cause.
        502 if text("reason").contains("the redelivery queue could not take the event") => "the queue",
        502 if code.starts_with("amplitude_") || ["not_amplitude", "deadline"].contains(&code) => "Amplitude",
        502 if code.starts_with("stripe_") => "Stripe's API",
        // The function could not read the new secret.
        400 if code == "signature_mismatch" => "the rolled secret",
        _ => "other",
    }
}
