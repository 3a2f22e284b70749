//! The handler of webhooks: one Stripe delivery, from the request to the response.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use http::{HeaderMap, Method, Response};
use tokio::time::{Instant, timeout};

use crate::amplitude::Region;
use crate::amplitude::breaker::{Breaker, Route};
use crate::amplitude::client::{DeliveryError, EventSink, SendReport};
use crate::clock::{Clock, unix_seconds};
use crate::code::Code;
use crate::follow::{Decided, Received, decide};
use crate::forward::{IgnoreReason, select};
use crate::outcome::{Failure, Report, Success};
use crate::projects::name::ProjectName;
use crate::projects::project::Project;
use crate::projects::source::ProjectSource;
use crate::projects::{Found, Projects};
use crate::queue::{Cause, EventQueue, Message, in_time};
use crate::record::{ColdStart, Record};
use crate::response;
use crate::stripe::event::Event;
use crate::stripe::references::References;
use crate::stripe::references::source::ObjectSource;
use crate::stripe::signature::{self, SignatureError, SignatureHeader, VerifiedBody};
use crate::stripe::source_label::SourceLabel;

/// The latest response: Stripe holds an invoice back, and a buyer waits, until then.
const RESPONSE_LIMIT: Duration = Duration::from_millis(4500);

/// The part of Lambda's own time that is left when we respond.
const LAMBDA_RESERVE: Duration = Duration::from_millis(500);

/// The part of that time that is reserved for the queue, if there is one.
const QUEUE_RESERVE: Duration = Duration::from_secs(1);

/// The time limit for all reads from Stripe's API.
const STRIPE_LIMIT: Duration = Duration::from_millis(1500);

/// The time that must be left for Amplitude; otherwise no request is sent.
const AMPLITUDE_RESERVE: Duration = Duration::from_secs(1);

/// The time limit for a probe of Amplitude: one attempt. While Amplitude is unavailable, each probe holds a process.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// The time limit for the queue if it comes first; then the event is delivered directly.
const QUEUE_FIRST_LIMIT: Duration = Duration::from_millis(1500);

/// The time limit of the warm-up.
const WARM_UP_LIMIT: Duration = Duration::from_millis(1500);

/// How long the warm-up waits for Amplitude. After that, Amplitude counts as unavailable.
const CONNECT_LIMIT: Duration = AMPLITUDE_RESERVE;

/// The largest accepted body.
pub const LARGEST_BODY: usize = 4 * 1024 * 1024;

/// A request from any gateway.
#[derive(Clone)]
pub struct Request<'r> {
    /// `POST`, or it is refused.
    pub method: &'r Method,
    /// The raw path, of which the end counts.
    pub path: &'r str,
    /// Header names in any case.
    pub headers: &'r HeaderMap,
    /// The bytes that Stripe sent.
    pub body: Bytes,
    /// Lambda's ID of the invocation, for the log line.
    pub request_id: Option<&'r str>,
    /// Lambda's name of the function, for the metrics. Without it, the log line has none.
    pub function: Option<&'r str>,
    /// The time that Lambda leaves us, if it sets a deadline.
    pub time_left: Option<Duration>,
}

/// The handler and what it needs.
#[derive(Debug)]
pub struct Webhook<S, A, O, Q> {
    projects: Projects<S>,
    amplitude: A,
    references: References<O>,
    queue: Option<Q>,
    queue_first: bool,
    breaker: Mutex<Breaker>,
    signature_tolerance: Duration,
    clock: Clock,
    cold_start: ColdStart,
}

impl<S: ProjectSource, A: EventSink, O: ObjectSource> Webhook<S, A, O, Infallible> {
    /// A handler without a redelivery queue. `signature_tolerance` is the allowed clock difference, in both directions.
    pub fn new(projects: Projects<S>, amplitude: A, references: References<O>, signature_tolerance: Duration) -> Self {
        Self {
            projects,
            amplitude,
            references,
            queue: None,
            queue_first: false,
            breaker: Mutex::default(),
            signature_tolerance,
            clock: SystemTime::now,
            cold_start: ColdStart::default(),
        }
    }

    /// Adds a queue for events that cannot be delivered, or with `queue_first`, for all events.
    pub fn with_queue<Q: EventQueue>(self, queue: Option<Q>, queue_first: bool) -> Webhook<S, A, O, Q> {
        let Self { projects, amplitude, references, breaker, signature_tolerance, clock, cold_start, .. } = self;
        Webhook { projects, amplitude, references, queue, queue_first, breaker, signature_tolerance, clock, cold_start }
    }

    /// Replaces the system's clock, for simulations.
    #[must_use]
    pub fn with_clock(self, clock: fn() -> SystemTime) -> Self {
        Self { clock, ..self }
    }
}

impl<S: ProjectSource, A: EventSink, O: ObjectSource, Q: EventQueue> Webhook<S, A, O, Q> {
    /// Responds to one delivery in all cases, and writes the log line. After a panic, the status is 500, and Stripe
    /// retries.
    pub async fn handle(&self, request: Request<'_>) -> Response<String> {
        let time =
            request.time_left.map_or(RESPONSE_LIMIT, |left| left.saturating_sub(LAMBDA_RESERVE).min(RESPONSE_LIMIT));
        let deadline = Instant::now() + time;
        let mut record = Record::new(request.function, request.request_id, self.cold_start.take());
        let result = AssertUnwindSafe(self.process(&request, deadline, &mut record)).catch_unwind().await;
        conclude(result.unwrap_or(Err(Failure::Panic)), &record)
    }

    async fn process(&self, request: &Request<'_>, deadline: Instant, record: &mut Record) -> Result<Success, Failure> {
        let name = route(request, record)?;
        let header = signature_header(request)?;
        let project = record.parameter_store.time(self.projects.get(&name, deadline)).await?;
        let (body, project, source) = self.verify(&name, &header, request, project, deadline, record).await?;
        record.secret_rolling = header.is_rolling();
        record.is_warm = self.projects.is_warm(&name);
        let received = unix_seconds(self.now());
        let message = Message { project: name, source, received, looked_up: None, body };
        let event = Event::parse(&message.body)?;
        record.event(&event, message.source.as_ref(), message.received);
        match self.deliver(event, &message, &project, deadline, record).await {
            Err(failure) => self.defer(&message, failure, deadline).await,
            success => success,
        }
    }

    /// Decides what to do with a verified event, and does it.
    async fn deliver(
        &self,
        event: Event<'_>,
        message: &Message,
        project: &Project,
        deadline: Instant,
        record: &mut Record,
    ) -> Result<Success, Failure> {
        let amplitude_config = project.delivery.as_ref().map_err(Clone::clone)?;
        let mut pass = None;
        if let Some(queue) = &self.queue {
            let context = Received::from(message).context(amplitude_config, None);
            if let Err(reason) = select(&event, &context, message.received) {
                return self.ignore(reason);
            }
            let pass = pass.insert(self.breaker().pass(self.now()));
            if let Some(success) = self.bypass(queue, message, pass.route, deadline).await {
                return Ok(success);
            }
        }
        let destination = amplitude_config.destination(event.livemode);
        let deadline = if self.queue.is_some() { before(deadline, QUEUE_RESERVE) } else { deadline };
        let read_until = before(deadline, AMPLITUDE_RESERVE).min(Instant::now() + STRIPE_LIMIT);
        let reads = &mut record.stripe;
        let decision = decide(event, message.into(), amplitude_config, &self.references, reads, read_until).await?;
        let translation = match decision {
            Decided::Send(translation) => translation,
            Decided::Ignore(reason, translation) => {
                translation.iter().for_each(|translation| record.translation(translation));
                return self.ignore(reason);
            }
        };
        record.translation(&translation);
        // Without a queue, a short attempt is better than none.
        if self.queue.is_some() && Instant::now() + AMPLITUDE_RESERVE > deadline {
            return Err(Failure::Deadline);
        }
        let is_probe = pass.as_ref().is_some_and(|pass| pass.route == Route::Probe);
        let deadline = if is_probe { deadline.min(Instant::now() + PROBE_LIMIT) } else { deadline };
        let delivery = self.amplitude.send(&translation.event, destination, deadline);
        let SendReport { attempts, result } = record.amplitude.time(delivery).await;
        if let Some(pass) = pass {
            self.breaker().record(&pass, &result, self.now(), fastrand::f64());
        }
        record.delivery(destination.key, attempts, &result);
        result.map(|_| Success::Forwarded).map_err(|error| Failure::Delivery { error, key: destination.key })
    }

    /// Puts the event into the queue without a request to Amplitude, if all events take this path or Amplitude is
    /// unavailable. `None` if the event must be delivered directly, for example because the queue did not accept it.
    async fn bypass(&self, queue: &Q, message: &Message, route: Route, deadline: Instant) -> Option<Success> {
        let (success, code, reason) = match route {
            _ if self.queue_first => (Success::Queued, Code::DeliveryQueue, "every event goes to the queue first"),
            Route::Queue => {
                let (code, reason) = (
                    Code::BreakerOpen,
                    "Amplitude was recently unavailable, so events go to the queue for up to a minute",
                );
                (Success::Deferred { code, reason: reason.to_owned() }, code, reason)
            }
            Route::Direct | Route::Probe => return None,
        };
        let cause = Cause { code: Some(code.as_str()), reason };
        let limit = deadline.min(Instant::now() + QUEUE_FIRST_LIMIT);
        match in_time(limit, queue.put(message, cause)).await {
            Ok(()) => Some(success),
            Err(error) => {
                tracing::warn!(%error, "the queue did not accept the event; delivering it directly");
                None
            }
        }
    }

    /// With a queue, an event that is too old is deferred instead of dropped.
    fn ignore(&self, reason: IgnoreReason) -> Result<Success, Failure> {
        match (reason, &self.queue) {
            (IgnoreReason::TooOld { days }, Some(_)) => Err(Failure::NeedsLookup { days }),
            _ => Ok(Success::Ignored(reason)),
        }
    }

    /// Puts an undelivered event into the queue, if there is one.
    async fn defer(&self, message: &Message, failure: Failure, deadline: Instant) -> Result<Success, Failure> {
        let Some(queue) = &self.queue else { return Err(failure) };
        let (code, reason) = (failure.code(), failure.to_string());
        let cause = Cause { code: Some(code.as_str()), reason: &reason };
        match in_time(deadline, queue.put(message, cause)).await {
            Ok(()) => Ok(Success::Deferred { code, reason }),
            Err(error) => Err(Failure::NotDeferred { failure: Box::new(failure), error }),
        }
    }

    /// Verifies against the cached project. If nothing matches, verifies once more against the current project, so that
    /// a new secret works at once. Also returns the label of the matched secret.
    async fn verify(
        &self,
        name: &ProjectName,
        header: &SignatureHeader<'_>,
        request: &Request<'_>,
        found: Found,
        deadline: Instant,
        record: &mut Record,
    ) -> Result<(VerifiedBody, Arc<Project>, Option<SourceLabel>), Failure> {
        let verify = |project: Arc<Project>| {
            // Without any secret, no caller can be authenticated: the operator must see which parameter is wrong.
            if project.secrets.is_empty()
                && let Err(error) = &project.delivery
            {
                return Err(Failure::Configuration(error.clone()));
            }
            let result = signature::verify(
                header,
                request.body.clone(),
                &project.secrets,
                unix_seconds(self.now()),
                self.signature_tolerance,
            );
            let (body, secret) = result?;
            let label = secret.label().cloned();
            Ok((body, project, label))
        };
        let Found { project, just_loaded } = found;
        let result = verify(Arc::clone(&project));
        let may_be_outdated =
            matches!(result, Err(Failure::Signature(SignatureError::Mismatch) | Failure::Configuration(_)));
        if just_loaded || !may_be_outdated {
            return result;
        }
        match record.parameter_store.time(self.projects.refresh(name, &project, deadline)).await {
            Some(newer) => verify(newer),
            None => result,
        }
    }

    /// Loads the warm projects and connects to Amplitude before the first delivery. Failures are logged, and retried
    /// when needed.
    pub async fn warm_up(&self) {
        let deadline = Instant::now() + WARM_UP_LIMIT;
        let mut regions: Vec<Region> = Vec::new();
        for (name, project) in self.projects.warm_up(deadline).await {
            let failed =
                |error: &dyn std::fmt::Display| tracing::warn!(project = name.as_str(), %error, "warm-up failed");
            match project.as_ref().map(|project| project.delivery.as_ref()) {
                Ok(Ok(delivery)) => {
                    let region = delivery.settings.amplitude_region;
                    if !regions.contains(&region) {
                        regions.push(region);
                    }
                }
                Ok(Err(error)) => failed(error),
                Err(error) => failed(error),
            }
        }
        let limit = deadline.saturating_duration_since(Instant::now()).min(CONNECT_LIMIT);
        join_all(regions.into_iter().map(|region| async move {
            match timeout(limit, self.amplitude.connect(region)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "warm-up of the connection to Amplitude failed"),
                Err(_) => {
                    tracing::warn!("warm-up of the connection to Amplitude took too long");
                    // Most processes that start during an outage start because of it. The first delivery of each would
                    // be held for seconds, and more would start. If Parameter Store took the time, Amplitude may be
                    // available.
                    if limit == CONNECT_LIMIT {
                        let (mut breaker, now) = (self.breaker(), self.now());
                        let pass = breaker.pass(now);
                        breaker.record::<()>(&pass, &Err(DeliveryError::Timeout), now, fastrand::f64());
                    }
                }
            }
        }))
        .await;
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        // A panic leaves nothing in it half done.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> SystemTime {
        (self.clock)()
    }
}

/// Writes the log line of a request, and returns its response.
pub(crate) fn conclude(result: Result<Success, Failure>, record: &Record) -> Response<String> {
    let status = response::status(&result);
    let report = Report::from(result);
    record.write(&report, Some(status.as_u16()));
    response::response(status, &report, record)
}

fn before(deadline: Instant, reserve: Duration) -> Instant {
    deadline.checked_sub(reserve).unwrap_or(deadline)
}

/// The project of the request, before anything is loaded: `POST …/stripe/{project}` with a body that is not too large.
fn route(request: &Request<'_>, record: &mut Record) -> Result<ProjectName, Failure> {
    let name = project_at_the_end(request.path).ok_or_else(|| {
        let without_slash = request.path.trim_end_matches('/');
        if project_at_the_end(without_slash).is_some() { Failure::TrailingSlash } else { Failure::Route }
    })?;
    #[cfg(feature = "panic-for-tests")]
    assert!(name.as_str() != "panic-for-tests", "a panic for tests: {:?} {:?}", request.headers, request.body);
    record.project = Some(name.clone());
    if request.method != Method::POST {
        return Err(Failure::Method);
    }
    if request.body.len() > LARGEST_BODY {
        return Err(Failure::TooLarge);
    }
    Ok(name)
}

fn project_at_the_end(path: &str) -> Option<ProjectName> {
    let (before, name) = path.rsplit_once('/')?;
    before.ends_with("/stripe").then(|| name.parse().ok()).flatten()
}

/// Refused before anything is loaded, so that strangers cause no calls.
fn signature_header<'r>(request: &Request<'r>) -> Result<SignatureHeader<'r>, SignatureError> {
    SignatureHeader::from_values(request.headers.get_all(signature::HEADER).iter().map(http::HeaderValue::as_bytes))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use secrecy::ExposeSecret as _;
    use serde_json::{Value, json};

    use super::*;
    use crate::amplitude::Destination;
    use crate::amplitude::client::Accepted;
    use crate::aws::AwsError;
    use crate::clock::now;
    use crate::projects::parameters::tests::COMPLETE;
    use crate::projects::tests::Fake;
    use crate::queue::QueueError;
    use crate::stripe::reference::{Reference, ReferenceKind};
    use crate::stripe::references::ReadRate;
    use crate::stripe::references::source::ReferenceError;
    use crate::stripe::references::tests::{FakeStripe, customer, found};
    use crate::stripe::signature::{SigningSecret, sign};

    /// Records the sent events, with their keys.
    #[derive(Default)]
    struct FakeAmplitude {
        sent: Mutex<Vec<(Value, String)>>,
        /// The time limit of each.
        times: Mutex<Vec<Duration>>,
        fails: Mutex<Option<DeliveryError>>,
        /// Whether it never completes a connection.
        is_silent: bool,
        panics: bool,
    }

    impl FakeAmplitude {
        fn that_fails(error: impl Into<Option<DeliveryError>>) -> Self {
            Self { fails: Mutex::new(error.into()), ..Self::default() }
        }
    }

    impl EventSink for Arc<FakeAmplitude> {
        async fn send(
            &self,
            event: &crate::amplitude::event::Event<'_>,
            destination: &Destination,
            deadline: Instant,
        ) -> SendReport {
            assert!(!self.panics, "whsec_hidden");
            self.times.lock().unwrap().push(deadline - Instant::now());
            let event = serde_json::to_value(event).unwrap();
            self.sent.lock().unwrap().push((event, destination.api_key.expose_secret().to_owned()));
            let fails = self.fails.lock().unwrap().clone();
            SendReport { attempts: 1, result: fails.map_or(Ok(Accepted { events_ingested: Some(1) }), Err) }
        }

        async fn connect(&self, _: Region) -> Result<(), DeliveryError> {
            if self.is_silent {
                std::future::pending::<()>().await;
            }
            self.fails.lock().unwrap().clone().map_or(Ok(()), Err)
        }
    }

    struct Setup {
        source: Arc<Fake>,
        amplitude: Arc<FakeAmplitude>,
        stripe: Arc<FakeStripe>,
        webhook: Webhook<Arc<Fake>, Arc<FakeAmplitude>, Arc<FakeStripe>, Infallible>,
    }

    impl Setup {
        fn new(parameters: &[(&str, &str)], amplitude: FakeAmplitude) -> Self {
            let (source, amplitude) = (Arc::new(Fake::new(parameters)), Arc::new(amplitude));
            let projects = Projects::new(Arc::clone(&source), Duration::from_secs(300));
            let stripe = Arc::new(FakeStripe::default());
            let references = References::new(Arc::clone(&stripe), ReadRate::WEBHOOK);
            let webhook = Webhook::new(projects, Arc::clone(&amplitude), references, Duration::from_secs(300));
            Self { source, amplitude, stripe, webhook }
        }

        async fn deliver(&self, body: &str, secret: &str) -> (u16, Value) {
            let header = sign(&SigningSecret::new(secret.into(), None), now(), body.as_bytes());
            self.request(&Method::POST, "/stripe/demo", &[("Stripe-Signature", &header)], body.to_owned()).await
        }

        async fn request(&self, method: &Method, path: &str, headers: &[(&str, &str)], body: String) -> (u16, Value) {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
            }
            let request = Request {
                method,
                path,
                headers: &map,
                body: body.into(),
                request_id: None,
                function: None,
                time_left: None,
            };
            let answer = self.webhook.handle(request).await;
            assert_eq!(answer.headers()["content-type"], "application/json");
            (answer.status().as_u16(), serde_json::from_str(answer.body()).unwrap())
        }

        fn sent(&self) -> usize {
            self.amplitude.sent.lock().unwrap().len()
        }
    }

    /// The sample event of a type, happening now.
    fn sample(event_type: &str) -> Value {
        let mut event = crate::stripe::event::tests::sample(event_type);
        event["created"] = json!(now());
        event
    }

    fn body(event_type: &str) -> String {
        sample(event_type).to_string()
    }

    #[tokio::test]
    async fn a_signed_event_is_forwarded() {
        let setup = Setup::new(&COMPLETE, FakeAmplitude::default());
        let (status, answer) = setup.deliver(&body("payment_intent.succeeded"), "whsec_a").await;
        let expected = json!({
            "outcome": "forwarded", "event": "evt_3PgcEx0014B7WZ01zgkW1Test", "type": "payment_intent.succeeded",
            "user_id_from": "metadata.user_id",
        });
        assert_eq!((status, answer), (200, expected));
        let (_, answer) = setup.deliver(&body("charge.failed"), "whsec_a").await;
        assert_eq!(answer.get("user_id_from"), Some(&Value::Null));
    }

    #[tokio::test]
    async fn other_types_are_ignored() {
        let setup = Setup::new(&COMPLETE, FakeAmplitude::default());
        let mut event = sample("charge.succeeded");
        event["type"] = json!("customer.created");
        let (status, answer) = setup.deliver(&event.to_string(), "whsec_a").await;
        assert_eq!((status, &answer["outcome"], setup.sent()), (200, &json!("ignored"), 0));
        assert_eq!(answer["code"], "type_not_selected");
    }

    /// With a Stripe key, and references followed.
    const FOLLOWING: [(&str, &str); 4] =
        [COMPLETE[0], COMPLETE[1], ("stripe-api-key", "rk_live_1"), ("settings", r#"{"references": "follow"}"#)];

    /// A live payment of `cus_1` without another user.
    fn payment() -> Value {
        let mut event = sample("payment_intent.succeeded");
        event["livemode"] = json!(true);
        let object = event["data"]["object"].as_object_mut().unwrap();
        for (name, value) in [("metadata", json!({})), ("receipt_email", json!(null)), ("customer", json!("cus_1"))] {
            object.insert(name.to_owned(), value);
        }
        event
    }

    #[tokio::test]
    async fn the_customer_gives_the_user() {
        let setup = Setup::new(&FOLLOWING, FakeAmplitude::default());
        let known = found(&json!({"id": "cus_1", "object": "customer", "metadata": {"user_id": "user_7"}}));
        setup.stripe.answer(&customer("cus_1"), Ok(known));
        for _ in 0..2 {
            let (status, answer) = setup.deliver(&payment().to_string(), "whsec_a").await;
            assert_eq!((status, &answer["user_id_from"]), (200, &json!("customer.metadata.user_id")));
        }
        let sent = setup.amplitude.sent.lock().unwrap();
        assert!(sent.iter().all(|(event, _)| event["user_id"] == "user_7"));
        assert!(sent.iter().all(|(event, _)| !event.to_string().contains("rk_live_1")));
        assert_eq!(setup.stripe.reads(), 1);
    }

    #[tokio::test]
    async fn unreadable_references_fail_the_delivery() {
        use ReferenceError::*;
        for (error, status, code) in [
            (Timeout, 502, "stripe_unavailable"),
            (Connection, 502, "stripe_unavailable"),
            (TooManyRequests, 502, "stripe_unavailable"),
            (Status(500), 502, "stripe_unavailable"),
            (NotStripe(200), 502, "stripe_unavailable"),
            (Rate, 502, "stripe_rate"),
            (KeyRefused, 500, "stripe_key_refused"),
            (AccountRefused, 500, "stripe_key_refused"),
            (PermissionMissing(ReferenceKind::Customer), 500, "stripe_permission_missing"),
            (NotFound(ReferenceKind::Customer), 500, "stripe_object_not_found"),
        ] {
            let setup = Setup::new(&FOLLOWING, FakeAmplitude::default());
            setup.stripe.answer(&customer("cus_1"), Err(error));
            let (answered, answer) = setup.deliver(&payment().to_string(), "whsec_a").await;
            assert_eq!((answered, answer["code"].as_str().unwrap(), setup.sent()), (status, code, 0), "{answer}");
            let reason = answer["reason"].as_str().unwrap();
            assert!(status == 502 || reason.contains("/stripe-amplitude/demo/stripe-api-key"), "{reason}");
            assert!(!reason.contains("rk_live") && !reason.contains("cus_1"), "{reason}");
        }
    }

    #[tokio::test]
    async fn a_key_is_needed_only_for_reads() {
        let other = ("stripe-api-key/eu", "rk_live_2");
        let setup = Setup::new(&[COMPLETE[0], COMPLETE[1], other, FOLLOWING[3]], FakeAmplitude::default());
        let (status, answer) = setup.deliver(&payment().to_string(), "whsec_a").await;
        assert_eq!((status, &answer["code"]), (500, &json!("stripe_key_missing")));
        assert!(answer["reason"].as_str().unwrap().contains("/stripe-amplitude/demo/stripe-api-key "), "{answer}");
        let mut named = payment();
        named["data"]["object"]["metadata"]["user_id"] = json!("u");
        assert_eq!(setup.deliver(&named.to_string(), "whsec_a").await.0, 200);
        assert_eq!(setup.stripe.reads(), 0);
    }

    #[tokio::test]
    async fn an_invalid_key_fails_only_events_that_need_it() {
        let parameters = [FOLLOWING[0], FOLLOWING[1], ("stripe-api-key", "pk_live_1"), FOLLOWING[3]];
        let setup = Setup::new(&parameters, FakeAmplitude::default());
        let (status, answer) = setup.deliver(&payment().to_string(), "whsec_a").await;
        assert_eq!((status, &answer["code"]), (500, &json!("parameter_mixed_up")));
        assert!(answer["reason"].as_str().unwrap().contains("/stripe-amplitude/demo/stripe-api-key "), "{answer}");
        let mut named = payment();
        named["data"]["object"]["metadata"]["user_id"] = json!("u");
        assert_eq!(setup.deliver(&named.to_string(), "whsec_a").await.0, 200);
        // One of another label or mode, and one that no event needs.
        for unused in ["stripe-api-key/eu", "stripe-test-api-key"] {
            let setup = Setup::new(&[FOLLOWING[0], FOLLOWING[1], (unused, "pk_live_1")], FakeAmplitude::default());
            assert_eq!(setup.deliver(&payment().to_string(), "whsec_a").await.0, 200);
        }
    }

    #[tokio::test]
    async fn a_key_alone_changes_nothing() {
        let setup = Setup::new(&[COMPLETE[0], COMPLETE[1], FOLLOWING[2]], FakeAmplitude::default());
        let (status, answer) = setup.deliver(&payment().to_string(), "whsec_a").await;
        assert_eq!((status, &answer["user_id_from"], setup.stripe.reads()), (200, &json!("customer"), 0));
    }

    #[tokio::test]
    async fn following_test_events_needs_a_test_key() {
        let mut event = payment();
        event["livemode"] = json!(false);
        let known = found(&json!({"id": "cus_1", "object": "customer", "metadata": {"user_id": "user_7"}}));
        let with_key = [FOLLOWING[0], FOLLOWING[1], FOLLOWING[2], FOLLOWING[3], ("stripe-test-api-key", "rk_test_1")];
        for (parameters, path, reads) in
            [(&FOLLOWING[..], "customer", 0), (&with_key[..], "customer.metadata.user_id", 1)]
        {
            let setup = Setup::new(parameters, FakeAmplitude::default());
            setup.stripe.answer(&customer("cus_1"), Ok(known.clone()));
            let (status, answer) = setup.deliver(&event.to_string(), "whsec_a").await;
            assert_eq!((status, &answer["user_id_from"], setup.stripe.reads()), (200, &json!(path), reads));
        }
    }

    #[tokio::test]
    async fn no_event_fails_for_product_names() {
        let settings = ("settings", r#"{"products": "follow"}"#);
        let setup = Setup::new(&[COMPLETE[0], COMPLETE[1], FOLLOWING[2], settings], FakeAmplitude::default());
        let mut event = payment();
        event["data"]["object"]["invoice"] = json!("in_1");
        let lines = crate::stripe::reference::Reference {
            kind: crate::stripe::reference::ReferenceKind::InvoiceLines,
            id: "in_1".to_owned(),
        };
        setup.stripe.answer(&lines, Err(ReferenceError::Status(500)));
        assert_eq!(setup.deliver(&event.to_string(), "whsec_a").await.0, 200);
        let list = json!({"object": "list", "has_more": false,
            "data": [{"description": "1 × Pro (at $1.00 / month)", "price": {"product": {"id": "prod_1", "name": "Pro"}}}]});
        setup.stripe.answer(&lines, Ok(found(&list)));
        assert_eq!(setup.deliver(&event.to_string(), "whsec_a").await.0, 200);
        let sent = setup.amplitude.sent.lock().unwrap();
        let properties: Vec<_> = sent.iter().map(|(event, _)| &event["event_properties"]).collect();
        assert_eq!(properties[0]["products_incomplete"], true);
        assert_eq!(
            (&properties[1]["product_names"], &properties[1]["product_ids"]),
            (&json!(["Pro"]), &json!(["prod_1"]))
        );
        assert_eq!(properties[1].get("products_incomplete"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn reads_leave_time_for_amplitude() {
        let settings = r#"{"references": "follow", "user_id_paths": ["customer.metadata.x", "invoice.metadata.x"]}"#;
        let parameters = [COMPLETE[0], COMPLETE[1], FOLLOWING[2], ("settings", settings)];
        let (source, amplitude) = (Arc::new(Fake::new(&parameters)), Arc::new(FakeAmplitude::default()));
        let projects = Projects::new(Arc::clone(&source), Duration::from_secs(300));
        let stripe = Arc::new(FakeStripe { takes: Duration::from_millis(1000), ..FakeStripe::default() });
        let references = References::new(Arc::clone(&stripe), ReadRate::WEBHOOK);
        let webhook = Webhook::new(projects, Arc::clone(&amplitude), references, Duration::from_secs(300));
        let setup = Setup { source, amplitude, stripe, webhook };
        let mut event = payment();
        event["data"]["object"]["invoice"] = json!("in_1");
        let start = Instant::now();
        let (status, answer) = setup.deliver(&event.to_string(), "whsec_a").await;
        assert_eq!((status, &answer["code"], setup.stripe.reads()), (502, &json!("stripe_unavailable"), 2));
        assert_eq!(start.elapsed(), STRIPE_LIMIT);
    }

    /// A charge of API version 2025, and the session that started its subscription: these paths need six reads.
    #[tokio::test(start_paused = true)]
    async fn an_event_with_six_reads_is_delivered_directly() {
        let settings = r#"{"references": "follow", "user_id_paths": ["metadata.user_id", "customer.metadata.user_id",
            "subscription.metadata.user_id", "checkout_session.client_reference_id", "customer"]}"#;
        let parameters = [COMPLETE[0], COMPLETE[1], FOLLOWING[2], ("settings", settings)];
        for takes in [20, 100, 150, 200] {
            let (source, amplitude) = (Arc::new(Fake::new(&parameters)), Arc::new(FakeAmplitude::default()));
            let projects = Projects::new(Arc::clone(&source), Duration::from_secs(300));
            let stripe = Arc::new(FakeStripe { takes: Duration::from_millis(takes), ..FakeStripe::default() });
            for (kind, id, object) in [
                (ReferenceKind::Customer, "cus_1", json!({"object": "customer", "metadata": {}})),
                (ReferenceKind::PaymentIntent, "pi_1", json!({"object": "payment_intent", "invoice": "in_1"})),
                (ReferenceKind::Invoice, "in_1", json!({"object": "invoice", "subscription": "sub_1"})),
                (ReferenceKind::Subscription, "sub_1", json!({"object": "subscription", "metadata": {}})),
                (
                    ReferenceKind::SessionOfSubscription,
                    "sub_1",
                    json!({"object": "checkout.session", "client_reference_id": "user_7"}),
                ),
            ] {
                stripe.answer(&Reference { kind, id: id.to_owned() }, Ok(found(&object)));
            }
            let references = References::new(Arc::clone(&stripe), ReadRate::WEBHOOK);
            let webhook = Webhook::new(projects, Arc::clone(&amplitude), references, Duration::from_secs(300));
            let setup = Setup { source, amplitude, stripe, webhook };
            let mut event = sample("charge.succeeded");
            event["livemode"] = json!(true);
            event["data"]["object"] = json!({"object": "charge", "id": "ch_1", "amount": 100, "currency": "usd",
                "customer": "cus_1", "payment_intent": "pi_1", "metadata": {}});
            let (status, answer) = setup.deliver(&event.to_string(), "whsec_a").await;
            assert_eq!((status, setup.stripe.reads()), (200, 6), "{takes} ms: {answer}");
            assert_eq!(answer["user_id_from"], "checkout_session.client_reference_id");
        }
    }

    /// Records the queued messages, with their codes.
    #[derive(Default)]
    struct FakeQueue {
        put: Mutex<Vec<(Vec<u8>, String)>>,
        fails: Mutex<Option<QueueError>>,
    }

    impl EventQueue for Arc<FakeQueue> {
        async fn put(&self, message: &Message, cause: Cause<'_>) -> Result<(), QueueError> {
            assert_eq!(message.project.as_str(), "demo");
            if let Some(error) = self.fails.lock().unwrap().clone() {
                return Err(error);
            }
            self.put.lock().unwrap().push((message.body.as_bytes().to_vec(), cause.code.unwrap().to_owned()));
            Ok(())
        }

        async fn delay(&self, _: Vec<(String, Duration)>) -> Result<(), QueueError> {
            Ok(())
        }

        async fn delete(&self, _: Vec<String>) -> Result<(), QueueError> {
            Ok(())
        }
    }

    /// One delivery through a handler with a queue: the response, the queued messages, and how many events were sent
    /// directly.
    async fn deliver_with_queue(
        parameters: &[(&str, &str)],
        amplitude_fails: Option<DeliveryError>,
        queue_fails: Option<QueueError>,
        queue_first: bool,
        event_type: &str,
    ) -> (u16, Value, Vec<(Vec<u8>, String)>, usize) {
        let amplitude = Arc::new(FakeAmplitude::that_fails(amplitude_fails));
        let queue = Arc::new(FakeQueue { fails: Mutex::new(queue_fails), ..FakeQueue::default() });
        let projects = Projects::new(Arc::new(Fake::new(parameters)), Duration::from_secs(300));
        let references = References::new(Arc::new(FakeStripe::default()), ReadRate::WEBHOOK);
        let webhook = Webhook::new(projects, Arc::clone(&amplitude), references, Duration::from_secs(300));
        let webhook = webhook.with_queue(Some(Arc::clone(&queue)), queue_first);
        let mut event = sample("charge.succeeded");
        event["type"] = json!(event_type);
        let body = event.to_string();
        let header = sign(&SigningSecret::new("whsec_a".into(), None), now(), body.as_bytes());
        let headers =
            HeaderMap::from_iter([(http::HeaderName::from_static(signature::HEADER), header.parse().unwrap())]);
        let request = Request {
            method: &Method::POST,
            path: "/stripe/demo",
            headers: &headers,
            body: body.clone().into(),
            request_id: None,
            function: None,
            time_left: None,
        };
        let answer = webhook.handle(request).await;
        let put = queue.put.lock().unwrap().clone();
        assert!(put.iter().all(|(put, _)| *put == body.as_bytes()), "as it was signed");
        let sent = amplitude.sent.lock().unwrap().len();
        (answer.status().as_u16(), serde_json::from_str(answer.body()).unwrap(), put, sent)
    }

    #[tokio::test]
    async fn undelivered_events_are_deferred() {
        let down = Some(DeliveryError::Unavailable { status: 503 });
        let (status, answer, put, sent) =
            deliver_with_queue(&COMPLETE, down.clone(), None, false, "charge.failed").await;
        assert_eq!((status, &answer["outcome"], put.len(), sent), (202, &json!("deferred"), 1, 1));
        assert_eq!((&answer["code"], &*put[0].1), (&json!("amplitude_unavailable"), "amplitude_unavailable"));

        let full = Some(QueueError::TooLarge);
        let (status, answer, _, _) = deliver_with_queue(&COMPLETE, down, full, false, "charge.failed").await;
        assert_eq!((status, &answer["outcome"]), (502, &json!("failed")));
        assert_eq!(answer["code"], "amplitude_unavailable");
        assert!(answer["reason"].as_str().unwrap().contains("larger than an SQS message"));
    }

    #[tokio::test]
    async fn invalid_parameters_defer_verified_events() {
        let unusable = [COMPLETE[0], COMPLETE[1], ("settings", "[]")];
        let (status, answer, put, _) = deliver_with_queue(&unusable, None, None, false, "charge.failed").await;
        assert_eq!((status, put.len()), (202, 1));
        assert_eq!(answer["code"], "settings_invalid");
        assert!(answer["reason"].as_str().unwrap().contains("settings"));
    }

    #[tokio::test]
    async fn queue_first_sends_only_if_the_queue_fails() {
        let (status, answer, put, sent) = deliver_with_queue(&COMPLETE, None, None, true, "charge.failed").await;
        assert_eq!((status, &answer["outcome"], put.len(), sent), (202, &json!("queued"), 1, 0));
        assert_eq!((&answer["code"], &*put[0].1), (&json!("delivery_queue"), "delivery_queue"));
        let full = Some(QueueError::TooLarge);
        let (status, _, _, sent) = deliver_with_queue(&COMPLETE, None, full, true, "charge.failed").await;
        assert_eq!((status, sent), (200, 1));
        let (status, answer, put, sent) = deliver_with_queue(&COMPLETE, None, None, true, "customer.created").await;
        assert_eq!((status, &answer["outcome"], put.len(), sent), (200, &json!("ignored"), 0, 0));
    }

    thread_local! {
        /// Seconds since the start of a test with its own clock.
        static TIME: std::cell::Cell<f64> = const { std::cell::Cell::new(0.0) };
    }

    fn clock() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(1_720_000_000.0 + TIME.get())
    }

    /// A handler whose Amplitude and queue can fail on demand, and whose clock is [`clock`].
    struct Outage {
        amplitude: Arc<FakeAmplitude>,
        queue: Arc<FakeQueue>,
        webhook: Webhook<Arc<Fake>, Arc<FakeAmplitude>, Arc<FakeStripe>, Arc<FakeQueue>>,
        /// What Lambda leaves to each delivery.
        time_left: Option<Duration>,
    }

    impl Outage {
        fn new(parameters: &[(&str, &str)], has_queue: bool) -> Self {
            Self::with(FakeAmplitude::default(), parameters, has_queue)
        }

        fn with(amplitude: FakeAmplitude, parameters: &[(&str, &str)], has_queue: bool) -> Self {
            TIME.set(0.0);
            let (amplitude, queue) = (Arc::new(amplitude), Arc::new(FakeQueue::default()));
            let projects = Projects::new(Arc::new(Fake::new(parameters)), Duration::from_secs(300))
                .with_clock(clock)
                .with_warm(vec!["demo".parse().unwrap()]);
            let stripe = Arc::new(FakeStripe::default());
            stripe.answer(&customer("cus_1"), Err(ReferenceError::Timeout));
            let references = References::new(stripe, ReadRate::WEBHOOK);
            let webhook = Webhook::new(projects, Arc::clone(&amplitude), references, Duration::from_secs(300));
            let webhook = webhook.with_clock(clock).with_queue(has_queue.then(|| Arc::clone(&queue)), false);
            Self { amplitude, queue, webhook, time_left: None }
        }

        /// Sets how Amplitude fails from now on, or that it works.
        fn amplitude(&self, fails: impl Into<Option<DeliveryError>>) {
            *self.amplitude.fails.lock().unwrap() = fails.into();
        }

        /// Delivers an event this many seconds after the start: the status, the code, and whether Amplitude was called.
        async fn deliver_at(&self, seconds: f64, event_type: &str) -> (u16, String, bool) {
            TIME.set(seconds);
            let mut event = payment();
            event["created"] = json!(unix_seconds(clock()));
            event["type"] = json!(event_type);
            let body = event.to_string();
            let header = sign(&SigningSecret::new("whsec_a".into(), None), unix_seconds(clock()), body.as_bytes());
            let headers =
                HeaderMap::from_iter([(http::HeaderName::from_static(signature::HEADER), header.parse().unwrap())]);
            let request = Request {
                method: &Method::POST,
                path: "/stripe/demo",
                headers: &headers,
                body: body.into(),
                request_id: None,
                function: None,
                time_left: self.time_left,
            };
            let before = self.amplitude.sent.lock().unwrap().len();
            let answer = self.webhook.handle(request).await;
            let body: Value = serde_json::from_str(answer.body()).unwrap();
            let code = body["code"].as_str().unwrap_or("forwarded").to_owned();
            (answer.status().as_u16(), code, self.amplitude.sent.lock().unwrap().len() > before)
        }

        async fn expect_at(&self, seconds: f64, status: u16, code: &str, is_asked: bool) {
            let got = self.deliver_at(seconds, "payment_intent.succeeded").await;
            assert_eq!(got, (status, code.to_owned(), is_asked), "after {seconds} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_opens_the_breaker() {
        let outage = Outage::new(&COMPLETE, true);
        outage.expect_at(0.0, 200, "forwarded", true).await;
        outage.amplitude(DeliveryError::Timeout);
        outage.expect_at(1.0, 202, "amplitude_timeout", true).await;
        for seconds in [1.0, 2.0, 4.7] {
            outage.expect_at(seconds, 202, "breaker_open", false).await;
        }
        // Ignored events need no probe.
        assert_eq!(outage.deliver_at(6.0, "customer.created").await, (200, "type_not_selected".to_owned(), false));
        outage.expect_at(6.0, 202, "amplitude_timeout", true).await;
        outage.expect_at(6.0, 202, "breaker_open", false).await;
        outage.expect_at(13.4, 202, "breaker_open", false).await;
        outage.amplitude(None);
        outage.expect_at(16.0, 200, "forwarded", true).await;
        outage.expect_at(16.0, 200, "forwarded", true).await;
        let put: Vec<_> = outage.queue.put.lock().unwrap().iter().map(|(_, code)| code.clone()).collect();
        let mut expected = vec!["breaker_open"; 7];
        (expected[0], expected[4]) = ("amplitude_timeout", "amplitude_timeout");
        assert_eq!(put, expected);
        let times = outage.amplitude.times.lock().unwrap();
        let whole = RESPONSE_LIMIT - QUEUE_RESERVE;
        assert_eq!(*times, [whole, whole, PROBE_LIMIT, PROBE_LIMIT, whole], "a probe has the time of one attempt");
    }

    #[tokio::test(start_paused = true)]
    async fn with_a_queue_amplitude_is_called_only_with_a_second_left() {
        // Of the time, half a second is Lambda's, and a second is the queue's.
        for (milliseconds, has_queue, status, code, is_asked) in [
            (2_499, true, 202, "deadline", false),
            (2_500, true, 200, "forwarded", true),
            (2_499, false, 200, "forwarded", true),
        ] {
            let time_left = Some(Duration::from_millis(milliseconds));
            let outage = Outage { time_left, ..Outage::new(&COMPLETE, has_queue) };
            outage.expect_at(0.0, status, code, is_asked).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_amplitude_opens_the_breaker_at_the_start() {
        let silent = || FakeAmplitude { is_silent: true, ..FakeAmplitude::default() };
        let start = Instant::now();
        let outage = Outage::with(silent(), &COMPLETE, true);
        outage.webhook.warm_up().await;
        assert_eq!(start.elapsed(), CONNECT_LIMIT);
        outage.expect_at(0.0, 202, "breaker_open", false).await;
        outage.expect_at(5.0, 200, "forwarded", true).await;
        // Without a queue, there is no alternative.
        let outage = Outage::with(silent(), &COMPLETE, false);
        outage.webhook.warm_up().await;
        outage.expect_at(0.0, 200, "forwarded", true).await;
        // Parameter Store took the time.
        let mut outage = Outage::with(silent(), &COMPLETE, true);
        let slow = Arc::new(Fake { takes: Duration::from_secs(1), ..Fake::new(&COMPLETE) });
        outage.webhook.projects =
            Projects::new(slow, Duration::from_secs(300)).with_clock(clock).with_warm(vec!["demo".parse().unwrap()]);
        outage.webhook.warm_up().await;
        outage.expect_at(0.0, 200, "forwarded", true).await;
        // An immediate failure holds no process.
        let outage = Outage::with(FakeAmplitude::that_fails(DeliveryError::Connect), &COMPLETE, true);
        outage.webhook.warm_up().await;
        outage.expect_at(0.0, 202, "amplitude_unreachable", true).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_warm_up_has_a_time_limit() {
        let source = Arc::new(Fake { takes: Duration::from_secs(60), ..Fake::new(&COMPLETE) });
        let projects = Projects::new(source, Duration::from_secs(300)).with_warm(vec!["demo".parse().unwrap()]);
        let references = References::new(Arc::new(FakeStripe::default()), ReadRate::WEBHOOK);
        let webhook = Webhook::new(projects, Arc::<FakeAmplitude>::default(), references, Duration::from_secs(300));
        let start = Instant::now();
        webhook.warm_up().await;
        assert_eq!(start.elapsed(), WARM_UP_LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn events_too_large_for_the_queue_are_sent_directly() {
        let outage = Outage::new(&COMPLETE, true);
        outage.amplitude(DeliveryError::Unavailable { status: 503 });
        outage.expect_at(0.0, 202, "amplitude_unavailable", true).await;
        *outage.queue.fails.lock().unwrap() = Some(QueueError::TooLarge);
        outage.expect_at(1.0, 502, "amplitude_unavailable", true).await;
        outage.amplitude(None);
        outage.expect_at(2.0, 200, "forwarded", true).await;
        *outage.queue.fails.lock().unwrap() = None;
        outage.expect_at(2.0, 200, "forwarded", true).await;
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_queue_amplitude_is_always_called() {
        let outage = Outage::new(&COMPLETE, false);
        outage.amplitude(DeliveryError::Timeout);
        for _ in 0..3 {
            outage.expect_at(0.0, 502, "amplitude_timeout", true).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn other_errors_keep_the_breaker_closed() {
        for (error, code) in [
            (DeliveryError::Throttled, "amplitude_throttled"),
            (DeliveryError::InvalidApiKey, "amplitude_invalid_key"),
            (DeliveryError::TooLarge { is_page: false }, "amplitude_too_large"),
            (DeliveryError::NotAmplitude { status: 200 }, "not_amplitude"),
        ] {
            let outage = Outage::new(&COMPLETE, true);
            outage.amplitude(error);
            for _ in 0..3 {
                outage.expect_at(0.0, 202, code, true).await;
            }
        }
        // Stripe's API cannot be read, or a parameter is invalid: Amplitude is not called.
        for (parameters, code) in [
            (&FOLLOWING[..], "stripe_unavailable"),
            (&[COMPLETE[0], COMPLETE[1], ("settings", "[]")], "settings_invalid"),
        ] {
            let outage = Outage::new(parameters, true);
            for _ in 0..3 {
                outage.expect_at(0.0, 202, code, false).await;
            }
        }
    }

    #[tokio::test]
    async fn only_the_end_of_the_path_counts() {
        let setup = Setup::new(&COMPLETE, FakeAmplitude::default());
        for (path, status) in [
            ("/stripe/demo", 400),
            ("/prod/stripe/demo", 400),
            ("/a/b/stripe/demo", 400),
            ("/", 404),
            ("", 404),
            ("/demo", 404),
            ("/stripe", 404),
            ("/stripe/", 404),
            ("stripe/demo", 404),
            ("/stripes/demo", 404),
            ("/xstripe/demo", 404),
            ("/stripe/demo/", 404),
            ("/stripe/de%6Do", 404),
            ("/stripe/../demo", 404),
            ("/stripe/a b", 404),
        ] {
            let (answered, answer) = setup.request(&Method::POST, path, &[], String::new()).await;
            assert_eq!((answered, &answer["outcome"]), (status, &json!("refused")), "{path}");
        }
    }

    #[tokio::test]
    async fn a_trailing_slash_is_explained() {
        let setup = Setup::new(&COMPLETE, FakeAmplitude::default());
        for (path, is_named) in [
            ("/stripe/demo/", true),
            ("/prod/stripe/demo/", true),
            ("/stripe/demo//", true),
            ("/stripe/", false),
            ("/stripe/stripe/", true),
            ("/stripe//", false),
            ("/demo/", false),
            ("/stripe/a b/", false),
        ] {
            let (status, answer) = setup.request(&Method::POST, path, &[], String::new()).await;
            assert_eq!((status, &answer["code"]), (404, &json!("unknown_route")), "{path}");
            assert_eq!(answer["reason"].as_str().unwrap().contains("ends with a slash"), is_named, "{path}");
        }
        assert_eq!(setup.source.loads(), 0);
    }

    #[tokio::test]
    async fn malformed_requests_load_nothing() {
        let setup = Setup::new(&COMPLETE, FakeAmplitude::default());
        let signature = ("stripe-signature", "t=1,v1=a");
        let large = "x".repeat(LARGEST_BODY + 1);
        for (method, headers, body, status) in [
            (Method::GET, &[signature][..], "", 405),
            (Method::PUT, &[signature], "", 405),
            (Method::POST, &[signature], &*large, 413),
            (Method::POST, &[], "", 400),
            (Method::POST, &[("stripe-signature", "t=1")], "", 400),
            (Method::POST, &[("stripe-signature", "")], "", 400),
            (Method::POST, &[signature, signature], "", 400),
        ] {
            let (answered, answer) = setup.request(&method, "/stripe/demo", headers, body.to_owned()).await;
            assert_eq!((answered, &answer["outcome"]), (status, &json!("refused")));
        }
        assert_eq!(setup.source.loads(), 0);
    }

    #[tokio::test]
    async fn a_new_secret_works_at_once() {
        let setup = Setup::new(&COMPLETE, FakeAmplitude::default());
        let body = body("charge.succeeded");
        assert_eq!(setup.deliver(&body, "whsec_a").await.0, 200);
        setup.source.set(Ok(&[("stripe-signing-secret", "whsec_b"), ("amplitude-api-key", "key")]));
        assert_eq!(setup.deliver(&body, "whsec_b").await.0, 200);
        for _ in 0..5 {
            assert_eq!(setup.deliver(&body, "whsec_a").await.0, 400, "the old secret is gone");
        }
        assert_eq!(setup.source.loads(), 2);
    }

    #[tokio::test]
    async fn a_project_is_loaded_once_per_request() {
        let setup = Setup::new(&COMPLETE, FakeAmplitude::default());
        assert_eq!(setup.deliver("{}", "whsec_b").await.0, 400);
        assert_eq!(setup.source.loads(), 1);
    }

    #[tokio::test]
    async fn only_signed_callers_see_invalid_parameters() {
        let setup = Setup::new(&[COMPLETE[0]], FakeAmplitude::default());
        let (status, answer) = setup.deliver(&body("charge.succeeded"), "whsec_b").await;
        assert_eq!((status, &answer["outcome"]), (400, &json!("refused")));
        assert!(!answer.to_string().contains("amplitude"), "{answer}");
        let (status, answer) = setup.deliver(&body("charge.succeeded"), "whsec_a").await;
        assert_eq!((status, &answer["outcome"]), (500, &json!("failed")));
        assert_eq!(answer["code"], "parameter_missing");
        assert!(answer["reason"].as_str().unwrap().contains("amplitude-api-key"));
    }

    #[tokio::test]
    async fn without_a_valid_secret_the_reason_is_shown() {
        let body = body("charge.succeeded");
        for secret in ["sk_hidden", "we_hidden", "\"whsec_hidden\"", "'whsec_hidden'"] {
            let setup = Setup::new(&[("stripe-signing-secret", secret), COMPLETE[1]], FakeAmplitude::default());
            for _ in 0..2 {
                let (status, answer) = setup.deliver(&body, "whsec_a").await;
                assert_eq!((status, &answer["outcome"]), (500, &json!("failed")));
                assert_eq!(answer["code"], "parameter_mixed_up");
                assert!(!answer.to_string().contains("hidden"));
            }
        }
        let setup = Setup::new(&[COMPLETE[1]], FakeAmplitude::default());
        assert_eq!(setup.deliver(&body, "whsec_a").await.0, 500);
        setup.source.set(Ok(&COMPLETE));
        assert_eq!(setup.deliver(&body, "whsec_a").await.0, 200);
    }

    #[tokio::test]
    async fn parameter_store_errors_are_503() {
        let setup = Setup::new(&COMPLETE, FakeAmplitude::default());
        setup.source.set(Err(AwsError::Connection));
        let (status, answer) = setup.deliver("{}", "whsec_a").await;
        assert_eq!((status, &answer["outcome"]), (503, &json!("failed")));
        assert_eq!(answer["code"], "parameter_store_unavailable");
    }

    #[tokio::test]
    async fn amplitude_errors_are_502() {
        let amplitude = FakeAmplitude::that_fails(DeliveryError::InvalidApiKey);
        let setup = Setup::new(&COMPLETE, amplitude);
        let (status, answer) = setup.deliver(&body("charge.succeeded"), "whsec_a").await;
        assert_eq!((status, &answer["outcome"]), (502, &json!("failed")));
        assert_eq!(answer["code"], "amplitude_invalid_key");
        assert!(answer["reason"].as_str().unwrap().contains("amplitude-api-key"), "{answer}");
    }

    #[tokio::test]
    async fn a_panic_is_500_without_its_message() {
        let setup = Setup::new(&COMPLETE, FakeAmplitude { panics: true, ..FakeAmplitude::default() });
        let (status, answer) = setup.deliver(&body("charge.succeeded"), "whsec_a").await;
        assert_eq!((status, &answer["outcome"]), (500, &json!("failed")));
        assert!(!answer.to_string().contains("hidden"));
    }

    #[tokio::test]
    async fn test_events_go_to_the_test_key() {
        let parameters = [COMPLETE[0], COMPLETE[1], ("amplitude-test-api-key", "test-key")];
        let setup = Setup::new(&parameters, FakeAmplitude::default());
        let mut live = sample("charge.succeeded");
        live["livemode"] = json!(true);
        for event in [sample("charge.succeeded"), live] {
            assert_eq!(setup.deliver(&event.to_string(), "whsec_a").await.0, 200);
        }
        let keys: Vec<_> = setup.amplitude.sent.lock().unwrap().iter().map(|(_, key)| key.clone()).collect();
        assert_eq!(keys, ["test-key", "key"]);
    }

    #[tokio::test]
    async fn events_have_the_label_of_the_secret() {
        let setup =
            Setup::new(&[COMPLETE[0], COMPLETE[1], ("stripe-signing-secret/eu", "whsec_eu")], FakeAmplitude::default());
        assert_eq!(setup.deliver(&body("charge.succeeded"), "whsec_eu").await.0, 200);
        let sent = setup.amplitude.sent.lock().unwrap();
        assert_eq!(sent[0].0["event_properties"]["stripe_source"], "eu");
    }

    #[tokio::test]
    async fn warm_projects_are_loaded_at_the_start() {
        let mut setup = Setup::new(&COMPLETE, FakeAmplitude::default());
        setup.webhook.projects = setup.webhook.projects.with_warm(vec!["demo".parse().unwrap()]);
        setup.webhook.warm_up().await;
        assert_eq!(setup.source.loads(), 1);
        assert_eq!(setup.deliver(&body("charge.succeeded"), "whsec_a").await.0, 200);
        assert_eq!(setup.source.loads(), 1);
    }
}
