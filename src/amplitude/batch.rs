//! Delivers many events to Amplitude's Batch API, and splits requests that Amplitude rejects because of some of them.
//!
//! Amplitude accepts or rejects a request as a whole. A 400 names rejected events, perhaps only the first. They are
//! removed, and the rest is sent again; if none is named, the request is halved. An event counts as rejected only if it
//! was alone in its request. Source: Amplitude's Batch Event Upload documentation.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use secrecy::ExposeSecret as _;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout_at};

use super::Destination;
use super::client::{Accepted, Client, DeliveryError, Request, classify_response, named_events};
use crate::back_off::{BackOff, shortened};

/// The most events in one request.
const MOST_EVENTS: usize = 2000;

/// The most bytes of events in one request. Amplitude accepts 20 MB; the rest is for the API key and the commas.
const LARGEST_EVENTS: usize = 19_900_000;

/// The limit of an attempt, plus the time that its bytes take on a slow line.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);

/// The speed of the slowest line.
const BYTES_PER_MILLISECOND: usize = 100;

/// The most attempts to send the same events.
const ATTEMPTS: u32 = 3;

/// The longest pauses before the second and the third attempt; full jitter.
const BACK_OFF: BackOff = BackOff { first: Duration::from_millis(500), longest: Duration::from_secs(1) };

/// The most requests for one batch: rejecting every event of a batch must not cost thousands.
const MOST_REQUESTS: u32 = 100;

/// A sink for batches of events. [`Client`] is the real one.
pub trait BatchSink: Send + Sync {
    /// Delivers events, each as the JSON of [`super::event::Event`], and ends before the deadline.
    fn send_batch(
        &self,
        events: &[Box<RawValue>],
        destination: &Destination,
        deadline: Instant,
    ) -> impl Future<Output = BatchDelivery> + Send;
}

/// How the delivery of many events went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchDelivery {
    /// The result of each event, in their order. A rejection ([`DeliveryError::is_rejection`]) answers a request in
    /// which the event was alone.
    pub results: Vec<Result<(), DeliveryError>>,
    /// How many events Amplitude did not count, although it accepted their requests. Amplitude does not say which. See
    /// [`Accepted::not_ingested`].
    pub not_ingested: u64,
}

impl BatchSink for Client {
    async fn send_batch(
        &self,
        events: &[Box<RawValue>],
        destination: &Destination,
        deadline: Instant,
    ) -> BatchDelivery {
        let mut results = vec![Err(DeliveryError::Postponed); events.len()];
        let mut not_ingested = 0;
        let mut requests_left = MOST_REQUESTS;
        let (mut waiting, mut refused) = (requests(events), Vec::new());
        let start = Instant::now();
        let half_time = start + deadline.saturating_duration_since(start) / 2;
        loop {
            // Those that were refused wait for the others, unless no requests or no time would be left for them: they would be
            // refused with the next batch again, and so would keep others from their delivery for ever.
            let is_enough_left = usize::try_from(requests_left).is_ok_and(|left| left > refused.len());
            let others_first = is_enough_left && Instant::now() < half_time;
            let (first, second) =
                if others_first { (&mut waiting, &mut refused) } else { (&mut refused, &mut waiting) };
            let Some(indexes) = first.pop().or_else(|| second.pop()) else { break };
            let answer = if requests_left == 0 {
                Response { result: Err(DeliveryError::Postponed), named: BTreeMap::new() }
            } else {
                let events: Vec<_> = indexes.iter().filter_map(|index| Some(&**events.get(*index)?)).collect();
                self.send_as_one(&events, destination, deadline, &mut requests_left).await
            };
            if let Ok(accepted) = answer.result {
                not_ingested += accepted.not_ingested(indexes.len());
            }
            let Parts { settled, next, last } = split_rejected(indexes, answer);
            for (index, settled) in settled {
                if let Some(result) = results.get_mut(index) {
                    *result = settled;
                }
            }
            waiting.extend(next);
            refused.extend(last);
        }
        BatchDelivery { results, not_ingested }
    }
}

/// What Amplitude says about a request, and about the events that it names, by their position in the request.
struct Response {
    result: Result<Accepted, DeliveryError>,
    named: BTreeMap<usize, DeliveryError>,
}

impl Client {
    async fn send_as_one(
        &self,
        events: &[&RawValue],
        destination: &Destination,
        deadline: Instant,
        requests_left: &mut u32,
    ) -> Response {
        let url = self.batch_url(destination.region);
        let Ok(body) = serde_json::to_vec(&Request::new(events, destination.api_key.expose_secret())) else {
            return Response { result: Err(DeliveryError::Unserializable), named: BTreeMap::new() };
        };
        let body = Bytes::from(body);
        let attempt_limit = ATTEMPT_LIMIT + Duration::from_millis((body.len() / BYTES_PER_MILLISECOND) as u64);
        let mut attempts = 0;
        loop {
            attempts += 1;
            *requests_left = requests_left.saturating_sub(1);
            let limit = deadline.min(Instant::now() + attempt_limit);
            let answer = timeout_at(limit, self.post(url, body.clone())).await.unwrap_or(Err(DeliveryError::Timeout));
            let (result, named) = match answer {
                Ok((status, body)) => (classify_response(status, &body), named_events(status, &body)),
                Err(error) => (Err(error), BTreeMap::new()),
            };
            let pause = shortened(BACK_OFF.pause(attempts), 1.0, fastrand::f64());
            let again = matches!(&result, Err(error) if error.is_transient());
            if !again || attempts == ATTEMPTS || *requests_left == 0 || Instant::now() + pause >= deadline {
                return Response { result, named };
            }
            sleep(pause).await;
        }
    }
}

/// The contents of a request while it is filled.
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchLimits {
    events: usize,
    bytes: usize,
}

impl BatchLimits {
    /// Adds an event of this size if it fits into the request. An event that is too large for any request is sent
    /// alone.
    pub fn try_add(&mut self, bytes: usize) -> bool {
        // Including the comma.
        let all = self.bytes + bytes + 1;
        if self.events > 0 && (self.events >= MOST_EVENTS || all > LARGEST_EVENTS) {
            return false;
        }
        (self.events, self.bytes) = (self.events + 1, all);
        true
    }
}

/// Splits events into as few requests as possible.
fn requests(events: &[Box<RawValue>]) -> Vec<Vec<usize>> {
    let mut requests: Vec<Vec<usize>> = Vec::new();
    let mut limits = BatchLimits::default();
    for (index, event) in events.iter().enumerate() {
        let bytes = event.get().len();
        match requests.last_mut() {
            Some(request) if limits.try_add(bytes) => request.push(index),
            _ => {
                limits = BatchLimits::default();
                limits.try_add(bytes);
                requests.push(vec![index]);
            }
        }
    }
    requests
}

/// What to do after the response to a request.
#[derive(Default)]
struct Parts {
    /// The events whose results are final.
    settled: Vec<(usize, Result<(), DeliveryError>)>,
    /// The requests in which the others are sent next.
    next: Vec<Vec<usize>>,
    /// The requests to send last. Each holds one of the rejected events, so that the others do not wait for them.
    last: Vec<Vec<usize>>,
}

fn split_rejected(indexes: Vec<usize>, answer: Response) -> Parts {
    let Response { result, mut named } = answer;
    let settle = |indexes: Vec<usize>, result: Result<(), DeliveryError>| Parts {
        settled: indexes.into_iter().map(|index| (index, result.clone())).collect(),
        ..Parts::default()
    };
    let error = match result {
        Ok(_) => return settle(indexes, Ok(())),
        Err(error) => error,
    };
    let is_about_some = error.is_rejection() || error == DeliveryError::Throttled;
    named.retain(|position, _| *position < indexes.len());
    if is_about_some && !named.is_empty() {
        let is_alone = indexes.len() == 1;
        let (mut parts, mut rest) = (Parts::default(), Vec::new());
        for (position, index) in indexes.into_iter().enumerate() {
            match named.remove(&position) {
                Some(error) if is_alone || !error.is_rejection() => parts.settled.push((index, Err(error))),
                Some(_) => parts.last.push(vec![index]),
                None => rest.push(index),
            }
        }
        if !rest.is_empty() {
            parts.next.push(rest);
        }
        return parts;
    }
    // A smaller request may pass a proxy.
    if (error.is_rejection() || matches!(error, DeliveryError::TooLarge { .. })) && indexes.len() > 1 {
        let (one, other) = indexes.split_at(indexes.len() / 2);
        return Parts { next: vec![one.to_vec(), other.to_vec()], ..Parts::default() };
    }
    settle(indexes, Err(error))
}

#[cfg(test)]
mod tests {
    use amplitude_emulator::{Configuration, Emulator, Fault, FaultyAnswer};
    use serde_json::json;
    use serde_json::value::to_raw_value;
    use tokio::net::TcpListener;

    use super::super::client::RejectionReason;
    use super::super::{AmplitudeKey, Region};
    use super::*;
    use crate::amplitude::event::{Event, LIBRARY};
    use crate::amplitude::properties::Properties;

    /// An event. Amplitude rejects the user ID `anonymous`.
    fn event(number: usize, user: &str) -> Box<RawValue> {
        let event = Event {
            event_type: "[Stripe] charge.succeeded".to_owned(),
            time: 1_720_000_000_000,
            insert_id: format!("evt_{number}"),
            event_id: u32::try_from(number).unwrap(),
            user_id: Some(user.to_owned()),
            device_id: format!("stripe-pi_{number}"),
            revenue: None,
            currency: None,
            event_properties: Properties::default(),
            library: LIBRARY,
        };
        to_raw_value(&event).unwrap()
    }

    async fn deliver(events: &[Box<RawValue>], faults: &[Fault]) -> (Vec<Result<(), DeliveryError>>, Emulator) {
        let (delivery, emulator) = deliver_and_count(events, faults).await;
        (delivery.results, emulator)
    }

    async fn deliver_and_count(events: &[Box<RawValue>], faults: &[Fault]) -> (BatchDelivery, Emulator) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/batch", listener.local_addr().unwrap());
        let emulator = Emulator::new(Configuration::default());
        for fault in faults {
            emulator.inject(fault.clone(), 1);
        }
        tokio::spawn(emulator.clone().serve(listener));
        let client = Client::new(crate::http_client::build(None).unwrap(), Some(url));
        let destination = Destination { region: Region::Us, api_key: "key".into(), key: AmplitudeKey::Main };
        let deadline = Instant::now() + Duration::from_secs(20);
        (client.send_batch(events, &destination, deadline).await, emulator)
    }

    fn events(count: usize, refused: &[usize]) -> Vec<Box<RawValue>> {
        (0..count).map(|number| event(number, if refused.contains(&number) { "anonymous" } else { "u" })).collect()
    }

    #[tokio::test]
    async fn a_batch_is_one_request() {
        let (results, emulator) = deliver(&events(100, &[]), &[]).await;
        assert_eq!(results, vec![Ok(()); 100]);
        assert_eq!((emulator.requests().requests, emulator.events().len()), (1, 100));
    }

    #[tokio::test]
    async fn named_events_are_removed_and_the_rest_is_sent() {
        let refused = [3, 50, 99];
        let (results, emulator) = deliver(&events(100, &refused), &[]).await;
        for (number, result) in results.iter().enumerate() {
            assert_eq!(result.is_err(), refused.contains(&number), "{number}");
        }
        // All, the rest, and each of the three alone.
        assert_eq!((emulator.requests().requests, emulator.events().len()), (5, 97));
    }

    #[tokio::test]
    async fn events_are_rejected_only_when_sent_alone() {
        let names_the_first = answer(400, json!({"code": 400, "events_with_invalid_fields": {"time": [0]}}));
        let (results, emulator) = deliver(&events(3, &[]), &[names_the_first]).await;
        assert_eq!((results, emulator.requests().requests), (vec![Ok(()); 3], 3));
    }

    /// Each list of a response means something different for the events that it names.
    #[tokio::test]
    async fn one_response_can_reject_and_throttle() {
        let silenced = DeliveryError::InvalidRequest(RejectionReason::Silenced);
        let lists = json!({
            "code": 400, "silenced_events": [0], "silenced_devices": ["a"],
            "throttled_events": [0, 1], "throttled_devices": {"b": 31},
        });
        let accepted = answer(200, json!({"code": 200, "events_ingested": 2}));
        let alone = answer(400, json!({"code": 400, "silenced_events": [0], "silenced_devices": ["a"]}));
        let (results, emulator) = deliver(&events(4, &[]), &[answer(400, lists), accepted, alone]).await;
        assert_eq!(results, [Err(silenced), Err(DeliveryError::Throttled), Ok(()), Ok(())]);
        assert_eq!(emulator.requests().requests, 3);
    }

    #[tokio::test]
    async fn proxy_pages_reject_no_event() {
        let page =
            |status| Fault::Answer(FaultyAnswer { status, text: Some("<html>".to_owned()), ..FaultyAnswer::default() });
        for status in [400, 403, 413] {
            let (results, _) = deliver(&events(2, &[]), &vec![page(status); 3]).await;
            assert!(results.iter().all(|result| !result.as_ref().unwrap_err().is_rejection()), "{status}: {results:?}");
        }
        let lists = answer(403, json!({"code": 400, "silenced_events": [0]}));
        let (results, emulator) = deliver(&events(2, &[]), &[lists]).await;
        assert_eq!(
            (results, emulator.requests().requests),
            (vec![Err(DeliveryError::Forbidden { is_page: true }); 2], 1)
        );
    }

    fn answer(status: u16, body: serde_json::Value) -> Fault {
        Fault::Answer(FaultyAnswer { status, json: Some(body), ..FaultyAnswer::default() })
    }

    #[tokio::test]
    async fn uncounted_events_add_up_over_requests() {
        // Three repeats, and one event that is removed.
        let mut batch = events(100, &[50]);
        for (repeat, of) in [(10, 1), (20, 2), (99, 3)] {
            batch[repeat] = batch[of].clone();
        }
        let (delivery, emulator) = deliver_and_count(&batch, &[]).await;
        assert_eq!(delivery.results.iter().filter(|result| result.is_ok()).count(), 99);
        assert_eq!((delivery.not_ingested, emulator.events().len()), (3, 96));
        // One request counted 3 of 4; the other has no count.
        let refused = answer(400, json!({"code": 400, "error": "hidden"}));
        let short = answer(200, json!({"code": 200, "events_ingested": 3}));
        let silent = answer(200, json!({"code": 200}));
        let (delivery, _) = deliver_and_count(&events(8, &[]), &[refused, short, silent]).await;
        assert_eq!(delivery, BatchDelivery { results: vec![Ok(()); 8], not_ingested: 1 });
    }

    #[tokio::test]
    async fn a_request_is_halved_if_no_event_is_named() {
        let silent = answer(400, json!({"code": 400, "error": "hidden"}));
        let (results, emulator) =
            deliver(&events(8, &[]), &[silent.clone(), silent.clone(), silent.clone(), silent]).await;
        // Eight, four, two, one: that one is rejected alone, and the others arrive.
        assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
        assert_eq!((emulator.requests().requests, emulator.events().len()), (7, 7));
    }

    #[tokio::test]
    async fn requests_that_are_too_large_are_halved() {
        let (results, emulator) = deliver(&events(4, &[]), &[answer(413, json!({"code": 413}))]).await;
        assert_eq!((results, emulator.requests().requests), (vec![Ok(()); 4], 3));
        let bad_key = answer(400, json!({"code": 400, "error": "Invalid API key: hidden"}));
        let (results, emulator) = deliver(&events(4, &[]), &[bad_key]).await;
        assert_eq!((results, emulator.requests().requests), (vec![Err(DeliveryError::InvalidApiKey); 4], 1));
    }

    #[tokio::test]
    async fn throttled_events_wait_and_the_rest_is_sent() {
        let throttled = answer(429, json!({"code": 429, "throttled_events": [0, 2]}));
        let (results, _) = deliver(&events(4, &[]), &[throttled]).await;
        let wait = || Err(DeliveryError::Throttled);
        assert_eq!(results, [wait(), Ok(()), wait(), Ok(())]);
        let all = answer(429, json!({"code": 429}));
        let (results, emulator) = deliver(&events(4, &[]), &[all]).await;
        assert_eq!((results, emulator.requests().requests), (vec![wait(); 4], 1));
    }

    #[tokio::test]
    async fn transient_errors_are_retried() {
        let (results, emulator) = deliver(&events(2, &[]), &[Fault::answer(503), Fault::Cut { ingest: true }]).await;
        assert_eq!((results, emulator.requests().requests), (vec![Ok(()); 2], 3));
        assert_eq!(emulator.events().len(), 2);
        let (results, _) = deliver(&events(2, &[]), &vec![Fault::answer(503); 3]).await;
        assert_eq!(results, vec![Err(DeliveryError::Unavailable { status: 503 }); 2]);
    }

    #[tokio::test]
    async fn a_fully_rejected_batch_ends() {
        let silent = answer(400, json!({"code": 400}));
        let (results, emulator) = deliver(&events(500, &[]), &vec![silent; 1000]).await;
        assert!(results.iter().all(Result::is_err));
        assert_eq!(emulator.requests().requests, u64::from(MOST_REQUESTS));
        assert!(results.contains(&Err(DeliveryError::Postponed)));
    }

    /// Amplitude may name one event at a time. What is found out about them is used, or the same requests would be made again
    /// with the next batch, and the events that Amplitude accepts would never get through.
    #[tokio::test]
    async fn of_many_that_are_refused_one_by_one_as_many_are_settled_as_there_are_requests_for() {
        let names_the_first = answer(400, json!({"code": 400, "error": "hidden", "silenced_events": [0]}));
        let (results, emulator) = deliver(&events(500, &[]), &vec![names_the_first; 1000]).await;
        let silenced = Err(DeliveryError::InvalidRequest(RejectionReason::Silenced));
        assert_eq!(results.iter().filter(|result| **result == silenced).count(), 50);
        assert_eq!(emulator.requests().requests, u64::from(MOST_REQUESTS));
    }

    #[tokio::test]
    async fn where_time_is_short_the_refused_ones_are_settled_within_it() {
        let slow = async || {
            sleep(Duration::from_millis(50)).await;
            let body = json!({"code": 400, "error": "hidden", "silenced_events": [0]});
            (axum::http::StatusCode::BAD_REQUEST, body.to_string())
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/batch", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, axum::Router::new().fallback(slow)).into_future());
        let client = Client::new(crate::http_client::build(None).unwrap(), Some(url));
        let destination = Destination { region: Region::Us, api_key: "key".into(), key: AmplitudeKey::Main };
        let deadline = Instant::now() + Duration::from_secs(1);
        let BatchDelivery { results, .. } = client.send_batch(&events(500, &[]), &destination, deadline).await;
        let settled = results.iter().filter(|result| matches!(result, Err(DeliveryError::InvalidRequest(_)))).count();
        assert!((1..=10).contains(&settled), "{settled}");
    }

    #[test]
    fn events_fill_as_few_requests_as_possible() {
        let written: Vec<_> = (0..4500).map(|number| to_raw_value(&number).unwrap()).collect();
        let sizes: Vec<_> = requests(&written).iter().map(Vec::len).collect();
        assert_eq!(sizes, [2000, 2000, 500]);
        let large = to_raw_value(&"x".repeat(900_000)).unwrap();
        let written: Vec<_> = (0..50).map(|_| large.clone()).collect();
        let sizes: Vec<_> = requests(&written).iter().map(Vec::len).collect();
        assert_eq!(sizes, [22, 22, 6]);
        assert_eq!(requests(&[]).len(), 0);
        assert!(BatchLimits::default().try_add(30_000_000));
    }
}
