//! Injected faults: a few all the time, and all of them at times.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use amplitude_emulator::{Fault as AmplitudeFault, FaultyAnswer};
use fastrand::Rng;
use serde_json::json;
use stripe_emulator::Fault as StripeFault;
use tokio::time::sleep;

use super::{Setup, Stripe};
use crate::harness::amplitude::{json_answer, text_answer};
use crate::harness::parameter_store::Fault;

pub struct Chaos<'s> {
    setup: &'s Setup,
    stripe: &'s Stripe<'s>,
    rng: Rng,
    counts: BTreeMap<&'static str, u64>,
    /// The end of the current fault of Parameter Store, the queue or Stripe's API, or of Amplitude's downtime.
    store_until: Option<Instant>,
    queue_until: Option<Instant>,
    stripe_api_until: Option<Instant>,
    amplitude_until: Option<Instant>,
    refuses_until: Option<Instant>,
}

impl<'s> Chaos<'s> {
    pub fn new(setup: &'s Setup, stripe: &'s Stripe<'s>, seed: u64) -> Self {
        let (rng, counts) = (Rng::with_seed(seed ^ 2), BTreeMap::new());
        Self {
            setup,
            stripe,
            rng,
            counts,
            store_until: None,
            queue_until: None,
            stripe_api_until: None,
            amplitude_until: None,
            refuses_until: None,
        }
    }

    /// The number of requests, periods and kills by fault.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.clone()
    }

    /// Injects faults until Stripe has delivered everything, then clears them.
    pub async fn run(&mut self, delivered: &AtomicBool) {
        while !delivered.load(Ordering::Relaxed) {
            self.wait().await;
            match self.rng.u32(0..100) {
                0..60 => self.amplitude(),
                60..70 => self.stripe_api(),
                70..72 => self.amplitude_is_down().await,
                72 => self.amplitude_refuses(),
                73..82 => self.parameter_store(),
                82..92 => self.queue(),
                92..97 => self.kill(),
                _ => {}
            }
        }
        let over = Instant::now() + Duration::from_secs(3600);
        self.recover(over).await;
        self.setup.amplitude.recover();
    }

    /// Waits until Stripe has delivered some more events, or is waiting itself.
    async fn wait(&mut self) {
        let (deliveries, time) = (self.stripe.deliveries() + self.rng.u64(5..30), self.after(200..400));
        while self.stripe.deliveries() < deliveries && Instant::now() < time {
            sleep(Duration::from_millis(10)).await;
            self.recover(Instant::now()).await;
        }
    }

    /// Ends the faults whose time is over.
    async fn recover(&mut self, now: Instant) {
        let is_over = |until: &mut Option<Instant>| until.take_if(|until| *until <= now).is_some();
        if is_over(&mut self.store_until) {
            self.setup.store.recover();
        }
        if is_over(&mut self.queue_until)
            && let Some(queue) = &self.setup.queue
        {
            queue.recover();
        }
        if is_over(&mut self.stripe_api_until) {
            self.setup.stripe_api.clear_faults();
        }
        if is_over(&mut self.refuses_until) {
            self.setup.amplitude.recover();
        }
        if is_over(&mut self.amplitude_until) {
            self.setup.amplitude.restart().await;
        }
    }

    fn amplitude(&mut self) {
        let ingest = self.rng.bool();
        let answer = |status| AmplitudeFault::Answer(FaultyAnswer { status, ingest, ..FaultyAnswer::default() });
        let requests = self.rng.u32(1..4);
        let first_is_named = json!({"code": 400, "error": "x", "events_with_invalid_fields": {"user_id": [0]}});
        let throttled = json!({"code": 429, "error": "x", "throttled_events": [0]});
        let (name, fault, requests) = match self.rng.u32(0..17) {
            0..2 => ("429", AmplitudeFault::answer(429), requests),
            2 => ("429, the first event", json_answer(429, throttled), requests),
            3 => ("400", AmplitudeFault::answer(400), requests),
            // Often enough that some messages become dead letters.
            4 => ("400, the first event", json_answer(400, first_is_named), 6),
            5 => ("400, the API key", AmplitudeFault::InvalidApiKey, 1),
            6 => ("500", answer(500), requests),
            7..9 => ("503", answer(503), requests),
            // More than the attempts of one delivery.
            9 => ("503, for a while", answer(503), 12),
            10 => ("garbage", text_answer(200, "<html>It works!</html>"), requests),
            11 => ("half an answer", AmplitudeFault::CutBody { ingest }, requests),
            12..14 => ("cut", AmplitudeFault::Cut { ingest }, requests),
            14 => ("late", AmplitudeFault::Delay { milliseconds: 300 }, requests),
            15 => ("hang", AmplitudeFault::Hang { milliseconds: 500, ingest }, requests),
            _ if self.rng.u32(0..4) == 0 => ("hang for long", AmplitudeFault::Hang { milliseconds: 9_000, ingest }, 1),
            _ => return,
        };
        *self.counts.entry(name).or_default() += u64::from(requests);
        self.setup.amplitude.inject(fault, requests);
    }

    async fn amplitude_is_down(&mut self) {
        if self.amplitude_until.is_none() {
            self.setup.amplitude.stop().await;
            self.amplitude_until = Some(self.after(300..1500));
            *self.counts.entry("Amplitude is down").or_default() += 1;
        }
    }

    /// Rejects everything for long enough that messages become dead letters. Rare, because each of them is sent again
    /// in the end.
    fn amplitude_refuses(&mut self) {
        let times = self.counts.entry("400 for seconds").or_default();
        if *times < 2 && self.refuses_until.is_none() {
            *times += 1;
            self.setup.amplitude.fail(AmplitudeFault::answer(400));
            self.refuses_until = Some(self.after(2500..4000));
        }
    }

    fn parameter_store(&mut self) {
        if self.store_until.is_none() {
            let (name, fault) = match self.rng.u32(0..5) {
                0..2 => ("Parameter Store throttles", Fault::Throttled),
                2 => ("Parameter Store denies", Fault::Denied),
                3 => ("Parameter Store is down", Fault::Down),
                _ => ("Parameter Store hangs", Fault::Hang),
            };
            self.setup.store.fail(fault);
            self.store_until = Some(self.after(50..600));
            *self.counts.entry(name).or_default() += 1;
        }
    }

    /// For a while, or for one request.
    fn stripe_api(&mut self) {
        if self.stripe_api_until.is_none() {
            let (name, fault) = match self.rng.u32(0..7) {
                0 => ("Stripe's API answers 429", StripeFault::TooManyRequests),
                1 => ("Stripe's API answers 500", StripeFault::InternalError),
                2 => ("Stripe's API is down", StripeFault::Unavailable),
                3 => ("Stripe's API answers a page", StripeFault::Html(200)),
                4 => ("Stripe's API cuts", StripeFault::Cut),
                5 => ("Stripe's API cuts half-way", StripeFault::CutHalfWay),
                _ => ("Stripe's API hangs", StripeFault::Hang(Duration::from_secs(3))),
            };
            if self.rng.bool() {
                self.setup.stripe_api.fail(1, fault);
            } else {
                self.setup.stripe_api.set_outage(Some(fault));
                self.stripe_api_until = Some(self.after(50..600));
            }
            *self.counts.entry(name).or_default() += 1;
        }
    }

    fn queue(&mut self) {
        if let (Some(queue), None) = (&self.setup.queue, self.queue_until) {
            let (name, fault) = match self.rng.u32(0..5) {
                0..2 => ("SQS throttles", Fault::Throttled),
                2 => ("SQS denies", Fault::Denied),
                3 => ("SQS is down", Fault::Down),
                _ => ("SQS hangs", Fault::Hang),
            };
            queue.fail(fault);
            self.queue_until = Some(self.after(50..600));
            *self.counts.entry(name).or_default() += 1;
        }
    }

    fn kill(&mut self) {
        let (webhooks, redeliveries) = (&self.setup.webhooks, &self.setup.redeliveries);
        let number = self.rng.usize(..webhooks.len() + redeliveries.len());
        let (name, instance) = match webhooks.get(number) {
            Some(instance) => ("kill", instance),
            None => ("kill of redelivery", &redeliveries[number - webhooks.len()]),
        };
        instance.kill();
        *self.counts.entry(name).or_default() += 1;
    }

    fn after(&mut self, milliseconds: std::ops::Range<u64>) -> Instant {
        Instant::now() + Duration::from_millis(self.rng.u64(milliseconds))
    }
}
