//! The services that the function calls: Amplitude, Parameter Store and the queue. All processes share them.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stripe_amplitude::amplitude::client::{Accepted, DeliveryError, EventSink, SendReport, with_retries};
use stripe_amplitude::amplitude::event::Event;
use stripe_amplitude::amplitude::{Destination, Region};
use stripe_amplitude::aws::AwsError;
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::projects::parameters::Parameter;
use stripe_amplitude::projects::source::ProjectSource;
use stripe_amplitude::queue::{Cause, EventQueue, Message, QueueError};
use stripe_amplitude::stripe::purchase::Found;
use stripe_amplitude::stripe::reference::Reference;
use stripe_amplitude::stripe::references::source::{Access, ObjectSource, ReferenceError};
use tokio::time::{Instant, sleep};

use super::Outage;
use super::lambda::SECRET;

/// Amplitude's response time.
const AMPLITUDE: Duration = Duration::from_millis(100);

/// The duration of a call to Parameter Store, including KMS.
const PARAMETER_STORE: Duration = Duration::from_millis(15);

/// The attempts of AWS's SDK and its maximum pauses, which double, with full jitter. `src/aws.rs` sets them.
const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The duration of a call to SQS.
const QUEUE: Duration = Duration::from_millis(10);

/// All services.
#[derive(Clone)]
pub struct Edges(Arc<Inner>);

struct Inner {
    kind: Outage,
    outage: Range<Instant>,
    parameter_store: Mutex<Bucket>,
    /// Events accepted by Amplitude and by the queue.
    accepted: AtomicU64,
    taken: AtomicU64,
}

impl Edges {
    /// `reads` is Parameter Store's limit of calls per second. The model assumes that its burst is of the same size and
    /// that throttled calls do not count.
    pub fn new(kind: Outage, outage: Range<Instant>, reads: u32) -> Self {
        let parameter_store = Mutex::new(Bucket::new(reads.into(), reads.into()));
        let (accepted, taken) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Inner { kind, outage, parameter_store, accepted, taken }))
    }

    /// Events accepted by Amplitude and by the queue.
    pub fn events(&self) -> (u64, u64) {
        (self.0.accepted.load(Ordering::Relaxed), self.0.taken.load(Ordering::Relaxed))
    }
}

/// A token bucket that starts full.
pub struct Bucket {
    rate: f64,
    at_once: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    pub fn new(rate: f64, at_once: f64) -> Self {
        Self { rate, at_once, tokens: at_once, filled: Instant::now() }
    }

    pub fn take(&mut self) -> bool {
        let elapsed = self.filled.elapsed();
        self.filled = Instant::now();
        self.tokens = (self.tokens + elapsed.as_secs_f64() * self.rate).min(self.at_once);
        let available = self.tokens >= 1.0;
        if available {
            self.tokens -= 1.0;
        }
        available
    }
}

impl ProjectSource for Edges {
    fn folder(&self, project: &ProjectName) -> String {
        format!("/stripe-amplitude/{project}")
    }

    async fn load(&self, _: &ProjectName) -> Result<Vec<Parameter>, AwsError> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            sleep(PARAMETER_STORE).await;
            if self.0.parameter_store.lock().unwrap().take() {
                let parameters = [("stripe-signing-secret", SECRET), ("amplitude-api-key", "key")];
                return Ok(parameters
                    .map(|(name, value)| Parameter { name: name.to_owned(), value: value.into() })
                    .into());
            }
            if attempt < ATTEMPTS {
                sleep(pause.mul_f64(fastrand::f64())).await;
                pause *= 2;
            }
        }
        Err(AwsError::Throttled { code: "ThrottlingException".to_owned() })
    }
}

/// Amplitude, with the function's own retries.
pub struct Amplitude {
    pub edges: Edges,
    pub opens_breakers: bool,
}

/// How long the function waits for a connection to Amplitude when it starts.
const SILENT_CONNECTION: Duration = Duration::from_millis(999);

impl Amplitude {
    async fn attempt(&self) -> Result<Accepted, DeliveryError> {
        let Inner { kind, outage, accepted, .. } = &*self.edges.0;
        let fails = outage.contains(&Instant::now());
        if fails && *kind == Outage::Silence {
            std::future::pending::<()>().await;
        }
        sleep(AMPLITUDE).await;
        if fails {
            return Err(DeliveryError::Unavailable { status: 503 });
        }
        accepted.fetch_add(1, Ordering::Relaxed);
        Ok(Accepted { events_ingested: Some(1) })
    }
}

impl EventSink for Amplitude {
    async fn send(&self, _: &Event<'_>, _: &Destination, deadline: Instant) -> SendReport {
        let mut delivery = with_retries(deadline, || self.attempt()).await;
        if !self.opens_breakers && delivery.result.as_ref().is_err_and(DeliveryError::is_transient) {
            delivery.result = Err(DeliveryError::Throttled);
        }
        delivery
    }

    async fn connect(&self, _: Region) -> Result<(), DeliveryError> {
        let Inner { kind, outage, .. } = &*self.edges.0;
        if outage.contains(&Instant::now()) && *kind == Outage::Silence {
            if !self.opens_breakers {
                sleep(SILENT_CONNECTION).await;
                return Err(DeliveryError::Throttled);
            }
            std::future::pending::<()>().await;
        }
        sleep(AMPLITUDE).await;
        Ok(())
    }
}

impl EventQueue for Edges {
    async fn put(&self, _: &Message, _: Cause<'_>) -> Result<(), QueueError> {
        sleep(QUEUE).await;
        self.0.taken.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn delay(&self, _: Vec<(String, Duration)>) -> Result<(), QueueError> {
        Ok(())
    }

    async fn delete(&self, _: Vec<String>) -> Result<(), QueueError> {
        Ok(())
    }
}

/// No references are followed.
impl ObjectSource for Edges {
    async fn read(&self, _: &Access<'_>, _: &Reference) -> Result<Found, ReferenceError> {
        Err(ReferenceError::Timeout)
    }
}
