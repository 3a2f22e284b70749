//! The handlers with fakes of their network edges, which follow the input.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::Response;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use stripe_amplitude::amplitude::batch::{BatchDelivery, BatchSink};
use stripe_amplitude::amplitude::client::{Accepted, DeliveryError, EventSink, RejectionReason, Request, SendReport};
use stripe_amplitude::amplitude::event::Event;
use stripe_amplitude::amplitude::{Destination, Region};
use stripe_amplitude::aws::AwsError;
use stripe_amplitude::code::Code;
use stripe_amplitude::projects::Projects;
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::projects::parameters::Parameter;
use stripe_amplitude::projects::source::ProjectSource;
use stripe_amplitude::queue::{self, Cause, EventQueue, QueueError};
use stripe_amplitude::redelivery::Redelivery;
use stripe_amplitude::stripe::json::Json;
use stripe_amplitude::stripe::purchase::Found;
use stripe_amplitude::stripe::reference::Reference;
use stripe_amplitude::stripe::references::source::{Access, ObjectSource, ReferenceError};
use stripe_amplitude::stripe::references::{ReadRate, References};
use stripe_amplitude::webhook::Webhook;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::event;
use crate::message::Message;

/// The default first signing secret of every project. The inputs do not contain it.
pub const SECRET: &str = "whsec_4kPq9ZrT2vXw";
const API_KEY: &str = "7be1c0ffee5a4d1e";

/// The allowed difference between Stripe's clock and ours, in seconds.
pub const TOLERANCE: u64 = 300;

/// The statuses of the contract with Stripe.
const STATUSES: [u16; 9] = [200, 202, 400, 404, 405, 413, 500, 502, 503];

/// The fakes, and a paused clock that advances when all wait, so that a call that hangs times out at once.
pub struct Stage {
    runtime: Runtime,
    script: Shared,
}

/// The behaviour and the records of the fakes.
#[derive(Clone)]
struct Shared(Arc<Mutex<Script>>);

struct Script {
    /// The parameters of every project.
    parameters: Vec<(String, String)>,
    /// These, and the replaced ones: the function may still have them cached.
    secrets_ever: Vec<String>,
    source: String,
    amplitude: String,
    stripe: String,
    queue: String,
    /// The events that Amplitude received.
    sent: usize,
    /// The events that the queue accepted.
    queued: usize,
}

impl Stage {
    /// A stage in which every project has a secret and a key, and nothing fails.
    pub fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
        // Most inputs are made of samples, which are years old, and old events are ignored.
        let settings = r#"{"max_age_days": 0}"#;
        let parameters = [("stripe-signing-secret", SECRET), ("amplitude-api-key", API_KEY), ("settings", settings)];
        let script = Script {
            parameters: parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            secrets_ever: vec![SECRET.to_owned()],
            source: String::new(),
            amplitude: String::new(),
            stripe: String::new(),
            queue: String::new(),
            sent: 0,
            queued: 0,
        };
        Self { runtime, script: Shared(Arc::new(Mutex::new(script))) }
    }

    /// Follows the directives of a message from now on: `:parameter settings={}` and `:without amplitude-api-key`
    /// change the parameters; `:source`, `:amplitude`, `:stripe` and `:queue` set the responses of Parameter Store,
    /// Amplitude, Stripe's API and the queue.
    pub fn direct(&self, message: &Message<'_>) {
        let mut script = self.script.get();
        for name in message.directives("without") {
            script.parameters.retain(|(of, _)| of != name);
        }
        for parameter in message.directives("parameter") {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            script.parameters.retain(|(of, _)| of != name);
            script.parameters.push((name.to_owned(), value.to_owned()));
        }
        let secrets = script.secrets();
        script.secrets_ever.extend(secrets);
        let answer = |name: &str, answer: &mut String| {
            if let Some(other) = message.directive(name) {
                other.clone_into(answer);
            }
        };
        answer("source", &mut script.source);
        answer("amplitude", &mut script.amplitude);
        answer("stripe", &mut script.stripe);
        answer("queue", &mut script.queue);
    }

    /// The handler of webhooks; with the queue, or with `queue_first`, for all events.
    pub fn webhook(&self, with_queue: bool, queue_first: bool) -> Webhook<Source, Sink, Stripe, Queue> {
        let projects = Projects::new(Source(self.script.clone()), Duration::from_secs(300));
        let webhook =
            Webhook::new(projects, Sink(self.script.clone()), self.references(), Duration::from_secs(TOLERANCE));
        webhook.with_queue(with_queue.then(|| Queue(self.script.clone())), queue_first)
    }

    /// The handler of the redelivery queue.
    pub fn redelivery(&self) -> Redelivery<Source, Sink, Stripe, Queue> {
        let projects = Projects::new(Source(self.script.clone()), Duration::from_secs(300));
        let queue = || Some(Queue(self.script.clone()));
        Redelivery::new(projects, Sink(self.script.clone()), self.references(), queue(), queue())
    }

    fn references(&self) -> References<Stripe> {
        References::new(Stripe(self.script.clone()), ReadRate::of_redelivery(1))
    }

    /// Waits in the stage's own time.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// The signing secrets of every project, in the order in which inputs refer to them.
    pub fn secrets(&self) -> Vec<String> {
        self.script.get().secrets()
    }

    /// Those, and the replaced ones: the function may still have them cached.
    pub fn secrets_ever(&self) -> Vec<String> {
        self.script.get().secrets_ever.clone()
    }

    /// How many events Amplitude received.
    pub fn sent(&self) -> usize {
        self.script.get().sent
    }

    /// How many events the queue accepted.
    pub fn queued(&self) -> usize {
        self.script.get().queued
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

impl Shared {
    fn get(&self) -> MutexGuard<'_, Script> {
        self.0.lock().expect("no panic before")
    }
}

impl Script {
    fn secrets(&self) -> Vec<String> {
        let secrets = self.parameters.iter().filter(|(name, _)| name.starts_with("stripe-signing-secret"));
        secrets.map(|(_, value)| value.trim().to_owned()).collect()
    }
}

/// Panics if a response to Stripe breaks a rule. The response may repeat `input`.
pub fn check(answer: &Response<String>, input: &[u8]) {
    #[derive(Deserialize)]
    struct Body {
        outcome: String,
        code: Option<String>,
        reason: Option<String>,
    }
    let (status, text) = (answer.status().as_u16(), answer.body());
    assert!(STATUSES.contains(&status), "{status}");
    let body: Body = serde_json::from_str(text).expect("JSON with an outcome");
    let outcomes: &[&str] = match status {
        200 => &["forwarded", "ignored"],
        202 => &["deferred", "queued"],
        400..=499 => &["refused"],
        _ => &["failed"],
    };
    assert!(outcomes.contains(&&*body.outcome), "{status} {text}");
    assert_eq!(body.reason.is_none(), body.outcome == "forwarded", "{text}");
    assert_eq!(body.code.is_none(), body.outcome == "forwarded", "{text}");
    let is_known = |code: String| Code::ALL.iter().any(|known| known.as_str() == code);
    assert!(body.code.is_none_or(is_known), "{text}");
    // The fuzzer aborts at a panic, even at one that is caught. This check is for a fuzzer that does not.
    assert!(!text.contains(Code::InternalError.as_str()), "{text}");
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers().contains_key("allow"), status == 405);
    for hidden in [SECRET, API_KEY] {
        let is_told = text.contains(hidden) && memchr::memmem::find(input, hidden.as_bytes()).is_none();
        assert!(!is_told, "{text}");
    }
}

/// A Parameter Store in memory, in which every project is the same.
pub struct Source(Shared);

impl ProjectSource for Source {
    fn folder(&self, project: &ProjectName) -> String {
        format!("/stripe-amplitude/{project}")
    }

    async fn load(&self, _: &ProjectName) -> Result<Vec<Parameter>, AwsError> {
        let (answer, parameters) = {
            let script = self.0.get();
            (script.source.clone(), script.parameters.clone())
        };
        match &*answer {
            "hangs" => std::future::pending().await,
            "is slow" => tokio::time::sleep(Duration::from_millis(400)).await,
            "timeout" => return Err(AwsError::Timeout),
            "connection" => return Err(AwsError::Connection),
            "refused" => {
                let code = "ThrottlingException".to_owned();
                return Err(AwsError::Refused { code, explanation: "too many calls" });
            }
            "unknown" => return Ok(Vec::new()),
            _ => {}
        }
        Ok(parameters.into_iter().map(|(name, value)| Parameter { name, value: value.into() }).collect())
    }
}

/// An Amplitude in memory, which checks its requests.
pub struct Sink(Shared);

impl Sink {
    async fn receive(&self, event: &(impl Serialize + Sync), deadline: Instant) -> Result<Accepted, DeliveryError> {
        let answer = {
            let mut script = self.0.get();
            script.sent += 1;
            script.amplitude.clone()
        };
        if answer == "unseen" {
            // As much as the real client does.
            let request = serde_json::to_vec(&Request::new(std::slice::from_ref(event), API_KEY)).expect("it is JSON");
            return Ok(Accepted { events_ingested: Some(u64::from(!request.is_empty())) });
        }
        event::check(event, None);
        let error = match &*answer {
            "hangs" => {
                tokio::time::sleep_until(deadline).await;
                DeliveryError::Timeout
            }
            "drops it" => return Ok(Accepted { events_ingested: Some(0) }),
            "key" => DeliveryError::InvalidApiKey,
            "request" => DeliveryError::InvalidRequest(RejectionReason::InvalidField),
            "forbidden" => DeliveryError::Forbidden { is_page: false },
            "size" => DeliveryError::TooLarge { is_page: false },
            "throttled" => DeliveryError::Throttled,
            "connect" => DeliveryError::Connect,
            "broken" => DeliveryError::Broken,
            "tls" => DeliveryError::Tls,
            "json" => DeliveryError::Unserializable,
            answer => match answer.split_once(' ').map(|(kind, status)| (kind, status.parse())) {
                Some(("unavailable", Ok(status))) => DeliveryError::Unavailable { status },
                Some(("unexpected", Ok(status))) => DeliveryError::Unexpected { status },
                Some(("stranger", Ok(status))) => DeliveryError::NotAmplitude { status },
                Some(("redirect", Ok(status))) => DeliveryError::Redirect { status },
                _ => return Ok(Accepted { events_ingested: Some(1) }),
            },
        };
        Err(error)
    }
}

impl EventSink for Sink {
    async fn send(&self, event: &Event<'_>, _: &Destination, deadline: Instant) -> SendReport {
        SendReport { attempts: 1, result: self.receive(event, deadline).await }
    }

    async fn connect(&self, _: Region) -> Result<(), DeliveryError> {
        Ok(())
    }
}

impl BatchSink for Sink {
    async fn send_batch(&self, events: &[Box<RawValue>], _: &Destination, deadline: Instant) -> BatchDelivery {
        let mut delivery = BatchDelivery { results: Vec::new(), not_ingested: 0 };
        for event in events {
            let result = self.receive(event, deadline).await;
            delivery.not_ingested += result.as_ref().map_or(0, |accepted| accepted.not_ingested(1));
            delivery.results.push(result.map(drop));
        }
        delivery
    }
}

/// Stripe's API in memory: an error, or the same object for all references.
pub struct Stripe(Shared);

impl ObjectSource for Stripe {
    async fn read(&self, access: &Access<'_>, reference: &Reference) -> Result<Found, ReferenceError> {
        let answer = self.0.get().stripe.clone();
        let path = reference.path();
        assert!(path.starts_with("/v1/") && path.is_ascii() && !path.contains("..") && !path.contains(' '), "{path}");
        Err(match &*answer {
            "hangs" => std::future::pending().await,
            "connection" => ReferenceError::Connection,
            "throttled" => ReferenceError::TooManyRequests,
            "status" => ReferenceError::Status(500),
            "stranger" => ReferenceError::NotStripe(200),
            "key" => ReferenceError::KeyRefused,
            "account" => ReferenceError::AccountRefused,
            "permission" => ReferenceError::PermissionMissing(reference.kind),
            "missing" if access.is_live => ReferenceError::NotFound(reference.kind),
            object => match serde_json::from_str::<Json<'_>>(object) {
                Ok(json) => return Ok(Found::Object(Arc::new(json.into_owned()))),
                Err(_) => return Ok(Found::Nothing),
            },
        })
    }
}

/// A queue in memory.
pub struct Queue(Shared);

impl EventQueue for Queue {
    async fn put(&self, message: &queue::Message, cause: Cause<'_>) -> Result<(), QueueError> {
        assert!(cause.code.is_some_and(|code| !code.is_empty()) && !cause.reason.is_empty());
        if message.body.as_bytes().len() > queue::LARGEST_MESSAGE {
            return Err(QueueError::TooLarge);
        }
        let answer = self.0.get().queue.clone();
        match &*answer {
            "hangs" => std::future::pending().await,
            "connection" => return Err(AwsError::Connection.into()),
            "refused" => return Err(AwsError::AccessDenied { code: "AccessDenied".to_owned(), needs: "x" }.into()),
            _ => {}
        }
        self.0.get().queued += 1;
        Ok(())
    }

    async fn delay(&self, receipts: Vec<(String, Duration)>) -> Result<(), QueueError> {
        // SQS's limit: twelve hours.
        assert!(receipts.iter().all(|(_, delay)| *delay <= Duration::from_secs(12 * 60 * 60)));
        if self.0.get().queue == "refused" { Err(AwsError::Connection.into()) } else { Ok(()) }
    }

    async fn delete(&self, _: Vec<String>) -> Result<(), QueueError> {
        if self.0.get().queue == "refused" { Err(AwsError::Connection.into()) } else { Ok(()) }
    }
}
