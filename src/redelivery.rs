//! The handler of the redelivery queue: the same pipeline as for a webhook, for many events at once.
//!
//! Lambda passes a batch of messages, and gets back the failed ones. It deletes all others. A failed message becomes
//! visible again, later each time, and finally becomes a dead letter. Events are translated with the current settings,
//! so fixing a wrong key or a missing rate is enough.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::amplitude::batch::{BatchDelivery, BatchSink};
use crate::amplitude::client::DeliveryError;
use crate::amplitude::{AmplitudeKey, Destination};
use crate::back_off::{BackOff, shortened};
use crate::clock::now;
use crate::code::Code;
use crate::follow::{Decided, decide};
use crate::forward::IgnoreReason;
use crate::outcome::{Failure, Outcome, Report, Success};
use crate::projects::name::ProjectName;
use crate::projects::project::Project;
use crate::projects::source::ProjectSource;
use crate::projects::{Projects, Unavailable};
use crate::queue::{Cause, EventQueue, Message, attribute, in_time};
use crate::record::{ColdStart, Record, Stopwatch};
use crate::stripe::event::Event;
use crate::stripe::json::{MOST_VALUES, values_at_most};
use crate::stripe::references::References;
use crate::stripe::references::source::ObjectSource;

/// The part of Lambda's time that is reserved for moving dead letters and delaying the rest.
const LAMBDA_RESERVE: Duration = Duration::from_secs(5);

/// The limit for all dead letters, and for all delays, within that reserve. If a queue hangs, Lambda must not end the
/// process and fail all messages.
const QUEUE_LIMIT: Duration = Duration::from_secs(2);

/// The time for a batch if Lambda does not set a deadline.
const DEFAULT_TIME: Duration = Duration::from_secs(25);

/// The delay of a message after its first failure. Amplitude asks clients to wait 15 to 30 s.
const FIRST_DELAY: Duration = Duration::from_secs(30);

/// The part of a delay that is random, so that messages that failed together do not return together.
const RANDOM_PART: f64 = 0.25;

/// The longest delay. After an outage, all events are delivered within an hour.
const LONGEST_DELAY: Duration = Duration::from_secs(60 * 60);

/// The longest delay if the rate limit for reads was reached. The queue drops a message after 100 receives, which must
/// take about a day.
const LONGEST_RATE_DELAY: Duration = Duration::from_secs(15 * 60);

/// How long reads for a batch may start. Events without a turn by then are deferred, and the rest is sent: a busy
/// account must not delay others.
const READS_LIMIT: Duration = Duration::from_secs(6);

/// The most waves of messages that were received before.
const WAVES: usize = 8;

/// A batch of messages, as Lambda passes it. Source: AWS Lambda's documentation, "Using Lambda with Amazon SQS".
#[derive(Clone, Debug, Deserialize)]
pub struct Batch {
    #[serde(rename = "Records")]
    records: Vec<QueuedMessage>,
}

impl Batch {
    /// Reads the payload of an invocation.
    ///
    /// # Errors
    /// A sentence for a person who invokes the function by hand. It quotes nothing of the payload.
    pub fn read(payload: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(payload)
            .map_err(|error| format!("invalid SQS event at line {}, column {}", error.line(), error.column()))
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct QueuedMessage {
    message_id: String,
    #[serde(default)]
    receipt_handle: String,
    #[serde(default)]
    body: String,
    #[serde(default)]
    attributes: HashMap<String, String>,
    #[serde(default)]
    message_attributes: HashMap<String, MessageAttribute>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageAttribute {
    string_value: Option<String>,
}

/// The messages that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchResponse {
    batch_item_failures: Vec<Failed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failed {
    item_identifier: String,
}

/// An invocation, for the log line.
#[derive(Clone, Copy, Debug)]
pub struct Invocation<'i> {
    /// Lambda's ID of it.
    pub request_id: Option<&'i str>,
    /// Lambda's name of the function.
    pub function: Option<&'i str>,
    /// The time that Lambda leaves us, if it sets a deadline.
    pub time_left: Option<Duration>,
}

/// The handler and what it needs.
#[derive(Debug)]
pub struct Redelivery<S, A, O, Q> {
    projects: Projects<S>,
    amplitude: A,
    references: References<O>,
    queue: Option<Q>,
    dead_letters: Option<Q>,
    /// Limits the JSON values of all events that are parsed and not yet translated. Until then, an event takes many
    /// times its length, and all that wait for Stripe's API wait at the same time. One event of usual size takes a
    /// thousandth.
    room: Semaphore,
    cold_start: ColdStart,
}

/// What to do with a message.
enum Disposition {
    /// It is deleted: the event is in Amplitude, or deliberately ignored.
    Done(Report),
    /// It becomes visible again.
    Retry(Code, String),
    /// It becomes a dead letter.
    DeadLetter(Box<Message>, Code, String),
}

impl Disposition {
    fn retry(failure: impl Into<Failure>) -> Self {
        let failure = failure.into();
        Self::Retry(failure.code(), failure.to_string())
    }
}

/// A message in progress, with its record.
struct Item {
    queued: QueuedMessage,
    receive_count: u32,
    record: Record,
}

/// A translated event as JSON, and its destination.
struct Ready {
    message: Message,
    event: Box<RawValue>,
    destination: Destination,
}

/// The messages by result.
#[derive(Default)]
struct Settled {
    done: Vec<Done>,
    /// The receipt handles of failed messages, and their delays.
    delays: Vec<(String, Duration)>,
}

/// A message that can be deleted.
struct Done {
    message_id: String,
    receipt_handle: String,
}

/// The deadline of a wave, and the time until which it may start reads from Stripe's API.
#[derive(Clone, Copy)]
struct Times {
    deadline: Instant,
    read_until: Instant,
}

/// The events for one destination.
struct Group {
    destination: Destination,
    items: Vec<(Item, Message)>,
    events: Vec<Box<RawValue>>,
}

impl<S: ProjectSource, A: BatchSink, O: ObjectSource, Q: EventQueue> Redelivery<S, A, O, Q> {
    /// `queue` delays failed messages: without it, they become visible again after the queue's visibility timeout.
    /// `dead_letters` takes undeliverable messages at once: without it, the queue moves them eventually.
    pub fn new(
        projects: Projects<S>,
        amplitude: A,
        references: References<O>,
        queue: Option<Q>,
        dead_letters: Option<Q>,
    ) -> Self {
        let (room, cold_start) = (Semaphore::new(MOST_VALUES), ColdStart::default());
        Self { projects, amplitude, references, queue, dead_letters, room, cold_start }
    }

    /// Delivers a batch, and writes a log line for each message. After a panic, its whole wave has failed.
    pub async fn handle(&self, batch: Batch, invocation: Invocation<'_>) -> BatchResponse {
        let all: Vec<String> = batch.records.iter().map(|record| record.message_id.clone()).collect();
        let done = self.process(batch, invocation).await;
        // Computed from the whole batch, so that a message without a result counts as failed and is not deleted.
        let failed = all.into_iter().filter(|message_id| !done.contains(message_id));
        BatchResponse { batch_item_failures: failed.map(|item_identifier| Failed { item_identifier }).collect() }
    }

    /// Returns the IDs of the messages that can be deleted.
    async fn process(&self, batch: Batch, invocation: Invocation<'_>) -> HashSet<String> {
        let start = Instant::now();
        let deadline = start + invocation.time_left.map_or(DEFAULT_TIME, |left| left.saturating_sub(LAMBDA_RESERVE));
        let projects = self.projects_of(&batch, deadline).await;
        let waves = waves(batch.records);
        let last = waves.len().saturating_sub(1);
        let mut all = Settled::default();
        for (number, wave) in waves.into_iter().enumerate() {
            // Later waves get turns to read as well.
            let reads_limit = if number == 0 && last > 0 { READS_LIMIT / 2 } else { READS_LIMIT };
            let times = Times { deadline, read_until: deadline.min(start + reads_limit) };
            let delivered = AssertUnwindSafe(self.deliver_wave(wave, &projects, invocation, times)).catch_unwind();
            let Settled { done, delays } = delivered.await.unwrap_or_default();
            if number < last {
                self.delete(&done, deadline).await;
            }
            all.done.extend(done);
            all.delays.extend(delays);
        }
        if let Some(queue) = self.queue.as_ref().filter(|_| !all.delays.is_empty())
            && let Err(error) = in_time(Instant::now() + QUEUE_LIMIT, queue.delay(all.delays)).await
        {
            tracing::warn!(%error, "failed messages could not be delayed; they become visible after the queue's visibility timeout");
        }
        all.done.into_iter().map(|done| done.message_id).collect()
    }

    async fn deliver_wave(
        &self,
        wave: Vec<QueuedMessage>,
        projects: &HashMap<String, Result<Arc<Project>, Unavailable>>,
        invocation: Invocation<'_>,
        Times { deadline, read_until }: Times,
    ) -> Settled {
        // Concurrently, so that events that wait for Stripe's API do not delay others.
        let prepared = wave.into_iter().map(|queued| async {
            let mut item = self.item(queued, invocation);
            let ready = self.prepare(&mut item, projects, read_until).await;
            (item, ready)
        });
        let mut settled = Vec::new();
        let mut groups: BTreeMap<(String, AmplitudeKey), Group> = BTreeMap::new();
        for (item, ready) in join_all(prepared).await {
            match ready {
                Ok(Ready { message, event, destination }) => {
                    let group = groups.entry((message.project.to_string(), destination.key)).or_insert_with(|| Group {
                        destination,
                        items: Vec::new(),
                        events: Vec::new(),
                    });
                    group.items.push((item, message));
                    group.events.push(event);
                }
                Err(disposition) => settled.push((item, disposition)),
            }
        }
        let delivered = join_all(groups.into_values().map(|group| self.deliver(group, deadline)));
        settled.extend(delivered.await.into_iter().flatten());
        self.settle(settled, deadline).await
    }

    /// Deletes delivered messages before another wave, which may end the process before Lambda gets the response.
    async fn delete(&self, done: &[Done], deadline: Instant) {
        let Some(queue) = self.queue.as_ref().filter(|_| !done.is_empty()) else { return };
        let receipts = done.iter().map(|done| done.receipt_handle.clone()).collect();
        let limit = (deadline + QUEUE_LIMIT).min(Instant::now() + QUEUE_LIMIT);
        if let Err(error) = in_time(limit, queue.delete(receipts)).await {
            tracing::warn!(%error, "delivered messages could not be deleted early; Lambda deletes them at the end");
        }
    }

    fn item(&self, queued: QueuedMessage, invocation: Invocation<'_>) -> Item {
        let receive_count = queued.receive_count();
        let mut record = Record::new(invocation.function, invocation.request_id, self.cold_start.take());
        record.receive_count = Some(receive_count);
        Item { queued, receive_count, record }
    }

    /// From a message to an event for Amplitude.
    async fn prepare(
        &self,
        item: &mut Item,
        projects: &HashMap<String, Result<Arc<Project>, Unavailable>>,
        read_until: Instant,
    ) -> Result<Ready, Disposition> {
        let foreign = || {
            let reason = "not a message of stripe-amplitude: it names no project";
            Disposition::Retry(Code::ForeignMessage, reason.to_owned())
        };
        let body = std::mem::take(&mut item.queued.body);
        let message = Message::read(|name| item.queued.attribute(name), body, now()).ok_or_else(foreign)?;
        item.record.project = Some(message.project.clone());
        // It is never closed. An event that holds a permit waits until `read_until` at most, so no other waits longer.
        let _room = self.room.acquire_many(values_at_most(message.body.as_bytes())).await;
        let event = match Event::parse(&message.body) {
            Ok(event) => event,
            Err(error) => {
                let code = (&error).into();
                return Err(Disposition::DeadLetter(Box::new(message), code, error.to_string()));
            }
        };
        item.record.event(&event, message.source.as_ref(), now());

        let project = projects.get(message.project.as_str()).ok_or_else(foreign)?;
        let project = project.as_ref().map_err(|error| Disposition::retry(error.clone()))?;
        let delivery = project.delivery.as_ref().map_err(|error| Disposition::retry(error.clone()))?;
        let destination = delivery.destination(event.livemode).clone();
        let reads = &mut item.record.stripe;
        let decided = decide(event, (&message).into(), delivery, &self.references, reads, read_until).await;
        let translation = match decided.map_err(Disposition::retry)? {
            Decided::Send(translation) => translation,
            Decided::Ignore(IgnoreReason::TooOld { days }, _) => {
                let failure = Failure::NeedsLookup { days };
                return Err(Disposition::DeadLetter(Box::new(message), failure.code(), failure.to_string()));
            }
            Decided::Ignore(reason, translation) => {
                translation.iter().for_each(|translation| item.record.translation(translation));
                return Err(Disposition::Done(Success::Ignored(reason).into()));
            }
        };
        item.record.translation(&translation);
        let event = to_raw_value(&translation.event);
        drop(translation);
        match event {
            Ok(event) => Ok(Ready { message, event, destination }),
            Err(_) => {
                let (code, reason) = (Code::Unserializable, DeliveryError::Unserializable.to_string());
                Err(Disposition::DeadLetter(Box::new(message), code, reason))
            }
        }
    }

    /// The projects of the messages, loaded concurrently.
    async fn projects_of(
        &self,
        batch: &Batch,
        deadline: Instant,
    ) -> HashMap<String, Result<Arc<Project>, Unavailable>> {
        let mut names: Vec<ProjectName> =
            batch.records.iter().filter_map(|record| record.attribute(attribute::PROJECT)?.parse().ok()).collect();
        names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        let load = async |name: ProjectName| {
            let found = self.projects.get(&name, deadline).await;
            (name.to_string(), found.map(|found| found.project))
        };
        join_all(names.into_iter().map(load)).await.into_iter().collect()
    }

    /// Delivers the events for one destination.
    async fn deliver(&self, group: Group, deadline: Instant) -> Vec<(Item, Disposition)> {
        let Group { destination, mut items, events } = group;
        let sending = self.amplitude.send_batch(&events, &destination, deadline);
        let mut stopwatch = Stopwatch::default();
        let BatchDelivery { results, not_ingested } = stopwatch.time(sending).await;
        // The time of the request counts once, and so do the events that Amplitude did not count, because it does not
        // name them: both are in the line of the first event.
        if let Some((item, _)) = items.first_mut() {
            item.record.amplitude = stopwatch;
            item.record.not_ingested = not_ingested;
        }
        let settle = |((mut item, message), result): ((Item, Message), Result<(), DeliveryError>)| {
            item.record.redelivery(destination.key, &result);
            let disposition = match result {
                Ok(()) => Disposition::Done(Report::forwarded()),
                // One rejection is enough: a dead letter can be sent again.
                Err(error) if error.is_rejection() => {
                    Disposition::DeadLetter(Box::new(message), (&error).into(), error.to_string())
                }
                Err(error) => Disposition::retry(Failure::Delivery { error, key: destination.key }),
            };
            (item, disposition)
        };
        items.into_iter().zip(results).map(settle).collect()
    }

    /// Moves dead letters and writes the log lines.
    async fn settle(&self, dispositions: Vec<(Item, Disposition)>, deadline: Instant) -> Settled {
        let limit = (deadline + QUEUE_LIMIT).min(Instant::now() + QUEUE_LIMIT);
        let mut settled = Settled::default();
        for (item, disposition) in dispositions {
            let report = match disposition {
                Disposition::Done(report) => report,
                Disposition::Retry(code, reason) => Report::new(Outcome::Failed, code, reason),
                Disposition::DeadLetter(message, code, reason) => {
                    self.move_to_dead_letters(&message, code, reason, limit).await
                }
            };
            item.record.write(&report, None);
            let QueuedMessage { message_id, receipt_handle, .. } = item.queued;
            if report.outcome == Outcome::Failed {
                settled.delays.push((receipt_handle, delay(report.code, item.receive_count)));
            } else {
                settled.done.push(Done { message_id, receipt_handle });
            }
        }
        settled
    }

    /// Makes a message a dead letter. If that fails, or there is no dead-letter queue, the message stays in the queue.
    async fn move_to_dead_letters(&self, message: &Message, code: Code, reason: String, limit: Instant) -> Report {
        let Some(dead_letters) = &self.dead_letters else { return Report::new(Outcome::Failed, code, reason) };
        let cause = Cause { code: Some(code.as_str()), reason: &reason };
        match in_time(limit, dead_letters.put(message, cause)).await {
            Ok(()) => Report::new(Outcome::Dead, code, reason),
            Err(error) => {
                let reason = format!("{reason}; and it could not be moved to the dead-letter queue: {error}");
                Report::new(Outcome::Failed, code, reason)
            }
        }
    }
}

impl QueuedMessage {
    fn receive_count(&self) -> u32 {
        self.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1)
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        self.message_attributes.get(name)?.string_value.as_deref()
    }
}

/// The messages of a batch in the order of their delivery, so that no message delays others for long.
///
/// A message that once ended the process was received before; SQS does not tell which. So new messages come first. The
/// others follow a few at a time, or one by one if there are few, in a random order.
fn waves(records: Vec<QueuedMessage>) -> Vec<Vec<QueuedMessage>> {
    let (mut old, new): (Vec<_>, Vec<_>) = records.into_iter().partition(|record| record.receive_count() > 1);
    fastrand::shuffle(&mut old);
    let mut waves = vec![new];
    let size = old.len().div_ceil(WAVES).max(1);
    while !old.is_empty() {
        waves.push(old.split_off(old.len().saturating_sub(size)));
    }
    waves.retain(|wave| !wave.is_empty());
    waves
}

/// The delay of a message after this many receives, shortened at random. A message that had no turn to read from
/// Stripe's API waits less, because nothing is wrong with it.
fn delay(code: Option<Code>, receive_count: u32) -> Duration {
    let longest = if code == Some(Code::StripeRate) { LONGEST_RATE_DELAY } else { LONGEST_DELAY };
    let delay = BackOff { first: FIRST_DELAY, longest }.pause(receive_count);
    shortened(delay, RANDOM_PART, fastrand::f64())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::{Value, json};

    use super::*;
    use crate::amplitude::Destination;
    use crate::aws::AwsError;
    use crate::projects::parameters::tests::COMPLETE;
    use crate::projects::tests::Fake;
    use crate::queue::QueueError;
    use crate::stripe::event::tests::sample;
    use crate::stripe::reference::{Reference, ReferenceKind};
    use crate::stripe::references::ReadRate;
    use crate::stripe::references::source::ReferenceError;
    use crate::stripe::references::tests::{FakeStripe, customer, found};

    /// Records the insert IDs of each request, and fails those with a configured error.
    #[derive(Default)]
    struct FakeAmplitude {
        requests: Mutex<Vec<Vec<String>>>,
        fails: HashMap<String, DeliveryError>,
        not_ingested: u64,
        panics: bool,
        panics_for: Option<&'static str>,
    }

    impl BatchSink for Arc<FakeAmplitude> {
        async fn send_batch(&self, events: &[Box<RawValue>], _: &Destination, _: Instant) -> BatchDelivery {
            assert!(!self.panics);
            let insert_id = |event: &RawValue| -> String {
                let event: Value = serde_json::from_str(event.get()).unwrap();
                event["insert_id"].as_str().unwrap().to_owned()
            };
            let insert_ids: Vec<_> = events.iter().map(|event| insert_id(event)).collect();
            assert!(!insert_ids.iter().any(|id| self.panics_for == Some(id)));
            self.requests.lock().unwrap().push(insert_ids.clone());
            let results = insert_ids.iter().map(|id| self.fails.get(id).cloned().map_or(Ok(()), Err)).collect();
            BatchDelivery { results, not_ingested: self.not_ingested }
        }
    }

    #[derive(Default)]
    struct FakeQueue {
        put: Mutex<Vec<String>>,
        delayed: Mutex<Vec<(String, Duration)>>,
        deleted: Mutex<Vec<String>>,
        is_down: bool,
        hangs: bool,
    }

    impl EventQueue for Arc<FakeQueue> {
        async fn put(&self, _: &Message, cause: Cause<'_>) -> Result<(), QueueError> {
            if self.is_down {
                return Err(AwsError::Connection.into());
            }
            if self.hangs {
                std::future::pending().await
            }
            self.put.lock().unwrap().push(cause.code.unwrap().to_owned());
            Ok(())
        }

        async fn delay(&self, receipts: Vec<(String, Duration)>) -> Result<(), QueueError> {
            if self.hangs {
                std::future::pending().await
            }
            self.delayed.lock().unwrap().extend(receipts);
            Ok(())
        }

        async fn delete(&self, receipts: Vec<String>) -> Result<(), QueueError> {
            if self.hangs {
                std::future::pending().await
            }
            self.deleted.lock().unwrap().extend(receipts);
            Ok(())
        }
    }

    fn message(id: &str, project: &str, received: u32, event: &Value) -> Value {
        json!({
            "messageId": id, "receiptHandle": format!("receipt-{id}"), "body": event.to_string(),
            "attributes": {"ApproximateReceiveCount": received.to_string()},
            "messageAttributes": {
                "project": {"stringValue": project, "dataType": "String"},
                "received": {"stringValue": "1721948700", "dataType": "Number"},
            },
            "eventSource": "aws:sqs",
        })
    }

    fn event(id: &str) -> Value {
        let mut event = sample("payment_intent.succeeded");
        event["id"] = json!(id);
        event
    }

    struct Setup {
        source: Arc<Fake>,
        amplitude: Arc<FakeAmplitude>,
        stripe: Arc<FakeStripe>,
        pace: ReadRate,
        queue: Arc<FakeQueue>,
        dead_letters: Arc<FakeQueue>,
    }

    fn references() -> References<Arc<FakeStripe>> {
        References::new(Arc::default(), ReadRate::of_redelivery(1))
    }

    impl Setup {
        fn new(parameters: &[(&str, &str)], amplitude: FakeAmplitude) -> Self {
            Self {
                source: Arc::new(Fake::new(parameters)),
                amplitude: Arc::new(amplitude),
                stripe: Arc::default(),
                pace: ReadRate::of_redelivery(1),
                queue: Arc::default(),
                dead_letters: Arc::default(),
            }
        }

        async fn handle(&self, messages: Vec<Value>) -> Vec<String> {
            let projects = Projects::new(Arc::clone(&self.source), Duration::from_secs(300));
            let (queue, dead_letters) = (Some(Arc::clone(&self.queue)), Some(Arc::clone(&self.dead_letters)));
            let references = References::new(Arc::clone(&self.stripe), self.pace);
            let redelivery = Redelivery::new(projects, Arc::clone(&self.amplitude), references, queue, dead_letters);
            let batch = serde_json::from_value(json!({ "Records": messages })).unwrap();
            let invocation = Invocation { request_id: None, function: None, time_left: None };
            let answer = serde_json::to_value(redelivery.handle(batch, invocation).await).unwrap();
            let failures = answer["batchItemFailures"].as_array().unwrap();
            failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned()).collect()
        }
    }

    #[tokio::test]
    async fn a_project_needs_one_request() {
        let setup = Setup::new(&COMPLETE, FakeAmplitude::default());
        let failed = setup
            .handle(vec![
                message("a", "shop", 1, &event("evt_1")),
                message("b", "shop", 1, &event("evt_2")),
                message("c", "other", 1, &event("evt_3")),
            ])
            .await;
        assert_eq!(failed, [""; 0]);
        let mut requests = setup.amplitude.requests.lock().unwrap().clone();
        requests.sort();
        assert_eq!(requests, [vec!["evt_1", "evt_2"], vec!["evt_3"]]);
    }

    #[tokio::test]
    async fn the_first_record_has_the_uncounted_events() {
        let amplitude = Arc::new(FakeAmplitude { not_ingested: 2, ..FakeAmplitude::default() });
        let projects = Projects::new(Arc::new(Fake::new(&COMPLETE)), Duration::from_secs(300));
        let redelivery = Redelivery::new(projects, amplitude, references(), None::<Arc<FakeQueue>>, None);
        let messages: Vec<_> = (1..4).map(|number| message("a", "shop", 1, &event(&format!("evt_{number}")))).collect();
        let batch: Batch = serde_json::from_value(json!({ "Records": messages })).unwrap();
        let deadline = Instant::now() + DEFAULT_TIME;
        let projects = redelivery.projects_of(&batch, deadline).await;
        let mut group: Option<Group> = None;
        for queued in batch.records {
            let mut item = Item { queued, receive_count: 1, record: Record::new(None, None, false) };
            let ready = redelivery.prepare(&mut item, &projects, deadline).await.ok().unwrap();
            let Ready { message, event, destination } = ready;
            let group = group.get_or_insert_with(|| Group { destination, items: Vec::new(), events: Vec::new() });
            group.items.push((item, message));
            group.events.push(event);
        }
        let delivered = redelivery.deliver(group.unwrap(), deadline).await;
        let not_ingested: Vec<_> = delivered.iter().map(|(item, _)| item.record.not_ingested).collect();
        assert_eq!(not_ingested, [2, 0, 0]);
    }

    /// With a Stripe key, and references followed.
    const FOLLOWING: [(&str, &str); 4] = [
        COMPLETE[0],
        COMPLETE[1],
        ("stripe-api-key", "rk_live_1"),
        ("settings", r#"{"references": "follow", "max_age_days": 0}"#),
    ];

    #[tokio::test(start_paused = true)]
    async fn resolved_events_are_sent_and_the_rest_waits() {
        let setup = Setup::new(&FOLLOWING, FakeAmplitude::default());
        let of_customer = |id: &str, customer: &str| {
            let mut event = event(id);
            event["data"]["object"]["metadata"] = json!({});
            event["data"]["object"]["customer"] = json!(customer);
            event["livemode"] = json!(true);
            event
        };
        let known = found(&json!({"id": "cus_1", "object": "customer", "metadata": {"user_id": "u"}}));
        setup.stripe.answer(&customer("cus_1"), Ok(known));
        setup.stripe.answer(&customer("cus_2"), Err(ReferenceError::Status(500)));
        setup.stripe.answer(&customer("cus_3"), Err(ReferenceError::KeyRefused));
        let failed = setup
            .handle(vec![
                message("a", "shop", 1, &of_customer("evt_1", "cus_1")),
                message("b", "shop", 4, &of_customer("evt_2", "cus_2")),
                message("c", "shop", 1, &of_customer("evt_3", "cus_3")),
                message("d", "shop", 1, &of_customer("evt_4", "cus_1")),
                message("e", "shop", 1, &event("evt_5")),
            ])
            .await;
        assert_eq!(failed, ["b", "c"]);
        assert_eq!(*setup.amplitude.requests.lock().unwrap(), [["evt_1", "evt_4", "evt_5"]]);
        assert_eq!(setup.stripe.reads(), 3, "events of one customer share a read");
    }

    #[test]
    fn a_hundred_receives_take_most_of_a_day() {
        let whole: Duration = (1..=100).map(|count| delay(Some(Code::StripeRate), count)).sum();
        assert!(whole > Duration::from_secs(17 * 60 * 60) && whole < Duration::from_secs(25 * 60 * 60), "{whole:?}");
        assert!(delay(Some(Code::StripeRate), 50) <= LONGEST_RATE_DELAY);
        assert!(delay(Some(Code::StripeUnavailable), 50) > LONGEST_RATE_DELAY);
    }

    /// A project whose events need several reads of 100 ms each.
    fn with_slow_reads(batches_at_once: u32) -> Setup {
        let paths = r#"["subscription.metadata.id", "customer.metadata.id", "invoice.metadata.id", "checkout_session.metadata.id", "customer"]"#;
        let settings = format!(r#"{{"references": "follow", "user_id_paths": {paths}, "max_age_days": 0}}"#);
        let parameters = [COMPLETE[0], COMPLETE[1], ("stripe-api-key", "rk_live_1"), ("settings", &*settings)];
        Setup {
            stripe: Arc::new(FakeStripe { takes: Duration::from_millis(100), ..FakeStripe::default() }),
            pace: ReadRate::of_redelivery(batches_at_once),
            ..Setup::new(&parameters, FakeAmplitude::default())
        }
    }

    /// A payment of a buyer of its own, with its invoice in Stripe.
    fn payment_of_buyer(setup: &Setup, number: usize) -> Value {
        let id = format!("pi_{number}");
        let payment = json!({"id": id, "object": "payment_intent", "invoice": format!("in_{number}")});
        let reference = Reference { kind: ReferenceKind::PaymentIntent, id: id.clone() };
        setup.stripe.answer(&reference, Ok(found(&payment)));
        let mut event = event(&format!("evt_{number}"));
        let object = event["data"]["object"].as_object_mut().unwrap();
        object.extend([
            ("id".to_owned(), json!(id)),
            ("customer".to_owned(), json!(format!("cus_{number}"))),
            ("metadata".to_owned(), json!({})),
        ]);
        object.remove("invoice");
        event["livemode"] = json!(true);
        event
    }

    /// Events complete their reads one after the other, instead of all having some.
    #[tokio::test(start_paused = true)]
    async fn a_batch_sends_the_events_that_had_their_reads() {
        for batches in [1, 5, 20, 100] {
            let setup = with_slow_reads(batches);
            let messages =
                (0..200).map(|number| message(&number.to_string(), "shop", 1, &payment_of_buyer(&setup, number)));
            let start = Instant::now();
            let failed = setup.handle(messages.collect()).await;
            let (sent, took) = (200 - failed.len(), start.elapsed());
            assert!(sent >= 1 && took < READS_LIMIT + Duration::from_secs(2), "{batches}: {sent} in {took:?}");
            println!("{batches} batches at once: {sent} of 200 events with several reads, in {took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn new_messages_leave_reads_for_old_ones() {
        let setup = with_slow_reads(1);
        let messages = (0..150).map(|number| {
            let receives = if number < 100 { 1 } else { 5 };
            message(&number.to_string(), "shop", receives, &payment_of_buyer(&setup, number))
        });
        let failed = setup.handle(messages.collect()).await;
        let failed_new = failed.iter().filter(|id| id.parse::<usize>().unwrap() < 100).count();
        let sent = [100 - failed_new, 50 - (failed.len() - failed_new)];
        assert!(sent.iter().all(|sent| *sent >= 5), "{sent:?}");
    }

    #[tokio::test]
    async fn failed_messages_are_delayed_longer_each_time() {
        let unavailable = DeliveryError::Unavailable { status: 503 };
        let fails = [("evt_1", unavailable.clone()), ("evt_2", unavailable)];
        let fails = fails.map(|(id, error)| (id.to_owned(), error)).into();
        let setup = Setup::new(&COMPLETE, FakeAmplitude { fails, ..FakeAmplitude::default() });
        let messages = vec![
            message("a", "shop", 1, &event("evt_1")),
            message("b", "shop", 4, &event("evt_2")),
            message("c", "shop", 1, &event("evt_3")),
        ];
        assert_eq!(setup.handle(messages).await, ["a", "b"]);
        let delayed = setup.queue.delayed.lock().unwrap().clone();
        let [(one, first), (other, second)] = &delayed[..] else { panic!("{delayed:?}") };
        assert_eq!((one.as_str(), other.as_str()), ("receipt-a", "receipt-b"));
        assert!((22.5..=30.0).contains(&first.as_secs_f64()), "{first:?}");
        assert!((180.0..=240.0).contains(&second.as_secs_f64()), "{second:?}");
        assert_eq!(*setup.dead_letters.put.lock().unwrap(), [""; 0]);
    }

    #[tokio::test]
    async fn only_rejected_events_become_dead_letters() {
        use crate::amplitude::client::RejectionReason;
        let fails = [
            ("evt_1", DeliveryError::InvalidRequest(RejectionReason::InvalidField)),
            ("evt_2", DeliveryError::Forbidden { is_page: false }),
            ("evt_3", DeliveryError::TooLarge { is_page: false }),
            ("evt_4", DeliveryError::Forbidden { is_page: true }),
            ("evt_5", DeliveryError::TooLarge { is_page: true }),
            ("evt_6", DeliveryError::NotAmplitude { status: 400 }),
            ("evt_7", DeliveryError::Throttled),
            ("evt_8", DeliveryError::InvalidApiKey),
            ("evt_9", DeliveryError::Unavailable { status: 503 }),
        ];
        let fails = fails.map(|(id, error)| (id.to_owned(), error)).into();
        let setup = Setup::new(&COMPLETE, FakeAmplitude { fails, ..FakeAmplitude::default() });
        let messages = (1..10).map(|number| message(&number.to_string(), "shop", 1, &event(&format!("evt_{number}"))));
        assert_eq!(setup.handle(messages.collect()).await, ["4", "5", "6", "7", "8", "9"]);
        let dead = setup.dead_letters.put.lock().unwrap().clone();
        assert_eq!(dead, ["amplitude_rejected", "amplitude_forbidden", "amplitude_too_large"]);
        for (number, count) in [(4, 50), (9, 99)] {
            let old = message("old", "shop", count, &event(&format!("evt_{number}")));
            assert_eq!(setup.handle(vec![old]).await, ["old"]);
        }
    }

    #[tokio::test]
    async fn bodies_that_are_not_events_become_dead_letters() {
        let mut setup = Setup::new(&COMPLETE, FakeAmplitude::default());
        let message = message("a", "shop", 1, &json!({"object": "charge"}));
        assert_eq!(setup.handle(vec![message.clone()]).await, [""; 0]);
        assert_eq!(*setup.dead_letters.put.lock().unwrap(), ["bare_object"]);
        setup.dead_letters = Arc::new(FakeQueue { is_down: true, ..FakeQueue::default() });
        assert_eq!(setup.handle(vec![message]).await, ["a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn hung_queues_do_not_block_acks() {
        let mut setup = Setup::new(&COMPLETE, FakeAmplitude::default());
        let hangs = || Arc::new(FakeQueue { hangs: true, ..FakeQueue::default() });
        (setup.queue, setup.dead_letters) = (hangs(), hangs());
        let dead = message("a", "shop", 1, &json!({"object": "charge"}));
        let start = Instant::now();
        assert_eq!(setup.handle(vec![dead, message("b", "shop", 1, &event("evt_1"))]).await, ["a"]);
        assert!(start.elapsed() < LAMBDA_RESERVE);
    }

    #[tokio::test]
    async fn a_broken_project_does_not_block_others() {
        let unusable = [COMPLETE[0], COMPLETE[1], ("settings", r#"{"preferred_currency": {"code": "EUR"}}"#)];
        for parameters in [&[][..], &[COMPLETE[0]], &unusable] {
            let setup = Setup::new(parameters, FakeAmplitude::default());
            assert_eq!(setup.handle(vec![message("a", "shop", 1, &event("evt_1"))]).await, ["a"]);
        }
        let setup = Setup::new(&COMPLETE, FakeAmplitude::default());
        setup.source.set(Err(AwsError::Timeout));
        assert_eq!(setup.handle(vec![message("a", "shop", 1, &event("evt_1"))]).await, ["a"]);
        let foreign = json!({"messageId": "b", "receiptHandle": "r", "body": "{}"});
        assert_eq!(setup.handle(vec![foreign]).await, ["b"]);
    }

    #[tokio::test]
    async fn waiting_does_not_make_an_event_too_old() {
        let settings = r#"{"max_age_days": 1, "events": {"remove": ["charge.*"]}}"#;
        let setup = Setup::new(&[COMPLETE[0], COMPLETE[1], ("settings", settings)], FakeAmplitude::default());
        let messages = vec![
            // Received a hundred seconds after it happened, years ago.
            message("a", "shop", 1, &event("evt_1")),
            message("b", "shop", 1, &sample("charge.succeeded")),
        ];
        assert_eq!(setup.handle(messages).await, [""; 0]);
        assert_eq!(*setup.amplitude.requests.lock().unwrap(), [["evt_1"]]);
    }

    #[tokio::test]
    async fn after_a_panic_all_messages_have_failed() {
        let setup = Setup::new(&COMPLETE, FakeAmplitude { panics: true, ..FakeAmplitude::default() });
        let messages = vec![message("a", "shop", 1, &event("evt_1")), message("b", "shop", 1, &event("evt_2"))];
        assert_eq!(setup.handle(messages).await, ["a", "b"]);
    }

    #[tokio::test]
    async fn old_events_need_a_lookup() {
        let setup = Setup::new(&COMPLETE, FakeAmplitude::default());
        let mut late = message("a", "shop", 1, &event("evt_1"));
        late["messageAttributes"]["received"]["stringValue"] = json!("1722899101");
        assert_eq!(setup.handle(vec![late.clone()]).await, [""; 0]);
        assert_eq!(*setup.dead_letters.put.lock().unwrap(), ["needs_lookup"]);
        assert!(setup.amplitude.requests.lock().unwrap().is_empty());
        late["messageAttributes"]["looked_up"] = json!({"stringValue": "1722899200", "dataType": "Number"});
        assert_eq!(setup.handle(vec![late]).await, [""; 0]);
        assert_eq!(*setup.amplitude.requests.lock().unwrap(), [["evt_1"]]);
    }

    /// A panic ends a wave like an abort ends the process, except that Lambda still gets a response.
    #[tokio::test]
    async fn a_crashing_message_does_not_block_others() {
        let numbers = 0..12;
        let (mut delivered, mut received) = (HashSet::new(), 1);
        while delivered.len() < 11 {
            assert!(received < 100, "{delivered:?}");
            let amplitude = FakeAmplitude { panics_for: Some("evt_7"), ..FakeAmplitude::default() };
            let setup = Setup::new(&COMPLETE, amplitude);
            let waiting = numbers.clone().filter(|number| !delivered.contains(number));
            let message =
                |number: u32| message(&number.to_string(), "shop", received, &event(&format!("evt_{number}")));
            let mut messages: Vec<_> = waiting.map(message).collect();
            messages.push(self::message("new", "shop", 1, &event("evt_new")));
            let failed = setup.handle(messages).await;
            assert!(failed.contains(&"7".to_owned()));
            assert_eq!(failed.contains(&"new".to_owned()), received == 1, "it shares a wave only with other new ones");
            delivered.extend(numbers.clone().filter(|number| !failed.contains(&number.to_string())));
            received += 1;
        }
    }

    #[tokio::test]
    async fn delivered_messages_are_deleted_before_the_next_wave() {
        let setup = Setup::new(&COMPLETE, FakeAmplitude { panics_for: Some("evt_2"), ..FakeAmplitude::default() });
        let messages = vec![message("b", "shop", 2, &event("evt_2")), message("a", "shop", 1, &event("evt_1"))];
        assert_eq!(setup.handle(messages).await, ["b"]);
        assert_eq!(*setup.queue.deleted.lock().unwrap(), ["receipt-a"]);
    }

    #[test]
    fn new_messages_come_first() {
        let batch = |counts: &[u32]| {
            let messages = counts.iter().map(|count| message("a", "shop", *count, &json!({})));
            messages.map(|message| serde_json::from_value(message).unwrap()).collect()
        };
        for (counts, sizes) in [
            (vec![], vec![]),
            (vec![1; 500], vec![500]),
            (vec![2], vec![1]),
            (vec![2, 1, 9, 1], vec![2, 1, 1]),
            (vec![2; 8], vec![1; 8]),
            ([vec![2; 15], vec![1; 7]].concat(), vec![7, 2, 2, 2, 2, 2, 2, 2, 1]),
        ] {
            let waves = waves(batch(&counts));
            assert_eq!(waves.iter().map(Vec::len).collect::<Vec<_>>(), sizes, "{counts:?}");
            let new = waves.iter().position(|wave| wave.iter().any(|record| record.receive_count() == 1));
            assert!(new.is_none_or(|position| position == 0), "{counts:?}");
        }
    }

    #[test]
    fn delays_double_up_to_an_hour() {
        for (count, seconds) in
            [(0, 30), (1, 30), (2, 60), (3, 120), (7, 1920), (8, 3600), (99, 3600), (u32::MAX, 3600)]
        {
            let delay = delay(None, count).as_secs_f64();
            let longest = f64::from(seconds);
            assert!((0.75 * longest..=longest).contains(&delay), "{count}: {delay}");
        }
    }
}
