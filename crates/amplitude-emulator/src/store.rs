//! The processing of valid events: each is throttled, dropped as a repeat, or accepted and attributed to a user.
//!
//! There is no clock here: `now` is an argument, in milliseconds since 1970.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::rules::{Endpoint, Upload, ValidEvent};

/// "We will deduplicate subsequent events sent with an `insert_id` we have already seen before within the past 7 days."
/// Decision: counted from the accepted upload, and the same for the second rule.
const DEDUPLICATION_WINDOW_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// An accepted event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AcceptedEvent {
    /// As sent, except that property values are cut at 1024 characters.
    pub event: Map<String, Value>,
    /// The event's `user_id`, or else the user of its device; `None` if it is anonymous.
    pub attributed_user_id: Option<String>,
    /// In milliseconds since 1970.
    pub upload_time: i64,
    /// The upload endpoint; in JSON its path.
    pub endpoint: Endpoint,
    /// The project's API key.
    pub api_key: String,
}

/// A limit on the events of a user or device. Requests above it are answered with 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// The threshold, as an average over the window.
    pub events_per_second: u64,
    /// The length of the averaging window.
    pub window_seconds: u64,
}

impl Throttle {
    /// "Amplitude will throttle requests for users and devices that exceed" 30 events per second,
    /// "measured as an average over a recent time window". Decision: the window is one second.
    pub const HTTP_V2: Throttle = Throttle { events_per_second: 30, window_seconds: 1 };
    /// 1000 events per second, "averaged over a period of 30 seconds".
    pub const BATCH: Throttle = Throttle { events_per_second: 1000, window_seconds: 30 };
}

/// The throttled users and devices, with their events per second, and the indexes of their events.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Throttled {
    pub(crate) users: BTreeMap<String, u64>,
    pub(crate) devices: BTreeMap<String, u64>,
    pub(crate) events: Vec<usize>,
}

/// The result of an upload.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Ingested {
    pub(crate) kept: usize,
    pub(crate) repeats: usize,
}

/// Everything that Amplitude remembers. Projects, identified by their API key, share nothing.
#[derive(Debug, Default)]
pub(crate) struct Store {
    events: Vec<AcceptedEvent>,
    projects: HashMap<String, Project>,
}

#[derive(Debug, Default)]
struct Project {
    /// When an insert ID was accepted, by device ID and insert ID.
    insert_ids: HashMap<(String, String), i64>,
    /// When an event ID was accepted, by device ID, event ID and time.
    event_ids: HashMap<(String, i64, i64), i64>,
    devices: HashMap<String, Device>,
    recent: HashMap<(Endpoint, Sender), VecDeque<(i64, u64)>>,
}

#[derive(Debug, Default)]
struct Device {
    last_user: Option<String>,
    /// The indexes in the store of its events without a user, until a user becomes known.
    anonymous_events: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Sender {
    User(String),
    Device(String),
}

impl Store {
    /// In order of acceptance.
    pub(crate) fn events(&self) -> &[AcceptedEvent] {
        &self.events
    }

    /// Ingests an upload. It is throttled as a whole; throttled events count towards no rate.
    pub(crate) fn ingest(
        &mut self,
        endpoint: Endpoint,
        upload: Upload,
        throttle: Option<Throttle>,
        now: i64,
    ) -> Result<Ingested, Throttled> {
        let project = self.projects.entry(upload.api_key.clone()).or_default();
        if let Some(throttle) = throttle {
            project.throttle(endpoint, &upload.events, throttle, now)?;
        }

        let mut ingested = Ingested::default();
        for event in upload.events {
            if project.is_repeat(&event, now) {
                ingested.repeats += 1;
                continue;
            }
            ingested.kept += 1;
            let attributed_user_id = project.attribute(&event, &mut self.events);
            self.events.push(AcceptedEvent {
                event: event.event,
                attributed_user_id,
                upload_time: now,
                endpoint,
                api_key: upload.api_key.clone(),
            });
        }
        Ok(ingested)
    }
}

impl Project {
    fn throttle(
        &mut self,
        endpoint: Endpoint,
        events: &[ValidEvent],
        throttle: Throttle,
        now: i64,
    ) -> Result<(), Throttled> {
        let mut senders: HashMap<Sender, Vec<usize>> = HashMap::new();
        for event in events {
            for sender in senders_of(event) {
                senders.entry(sender).or_default().push(event.index);
            }
        }

        let window_seconds = throttle.window_seconds.max(1);
        let window_start = now.saturating_sub_unsigned(window_seconds.saturating_mul(1000));
        let mut throttled = Throttled::default();
        for (sender, indexes) in &senders {
            let recent = self.recent.entry((endpoint, sender.clone())).or_default();
            while recent.front().is_some_and(|(time, _)| *time <= window_start) {
                recent.pop_front();
            }
            let sent = recent.iter().map(|(_, count)| count).sum::<u64>() + indexes.len() as u64;
            if sent > throttle.events_per_second.saturating_mul(window_seconds) {
                let rate = sent.div_ceil(window_seconds);
                match sender {
                    Sender::User(id) => throttled.users.insert(id.clone(), rate),
                    Sender::Device(id) => throttled.devices.insert(id.clone(), rate),
                };
                throttled.events.extend(indexes);
            }
        }
        if !throttled.events.is_empty() {
            throttled.events.sort_unstable();
            throttled.events.dedup();
            return Err(throttled);
        }

        for (sender, indexes) in senders {
            let recent = self.recent.entry((endpoint, sender)).or_default();
            recent.push_back((now, indexes.len() as u64));
        }
        Ok(())
    }

    /// Whether the event is a repeat by one of the two rules; if not, it is remembered.
    fn is_repeat(&mut self, event: &ValidEvent, now: i64) -> bool {
        let device_id = || event.device_id.clone();
        let by_insert_id = event.insert_id.clone().map(|id| (device_id(), id));
        // "If time is not sent with the event, it will be set to the request upload time."
        let by_event_id = event.event_id.map(|id| (device_id(), id, event.time.unwrap_or(now)));

        let is_recent = |seen: &i64| now - seen < DEDUPLICATION_WINDOW_MS;
        let insert_id_seen = by_insert_id.as_ref().and_then(|id| self.insert_ids.get(id));
        let event_id_seen = by_event_id.as_ref().and_then(|id| self.event_ids.get(id));
        if insert_id_seen.is_some_and(is_recent) || event_id_seen.is_some_and(is_recent) {
            return true;
        }
        self.insert_ids.extend(by_insert_id.map(|id| (id, now)));
        self.event_ids.extend(by_event_id.map(|id| (id, now)));
        false
    }

    /// The user of an event that is about to be added to `events`. The `user_id` takes precedence; an event that only
    /// has a device is attributed to the device's latest user. When the first user of a device becomes known, the
    /// device's earlier events are attributed to them.
    fn attribute(&mut self, event: &ValidEvent, events: &mut [AcceptedEvent]) -> Option<String> {
        let device = self.devices.entry(event.device_id.clone()).or_default();
        if let Some(user_id) = &event.user_id {
            device.last_user = Some(user_id.clone());
            for place in device.anonymous_events.drain(..) {
                if let Some(earlier) = events.get_mut(place) {
                    earlier.attributed_user_id = Some(user_id.clone());
                }
            }
        } else if device.last_user.is_none() {
            device.anonymous_events.push(events.len());
        }
        device.last_user.clone()
    }
}

/// Decision: a device that is derived from a user counts as the user only.
fn senders_of(event: &ValidEvent) -> impl Iterator<Item = Sender> {
    let device_sent = event.event.get("device_id").is_some_and(Value::is_string);
    let user = event.user_id.clone().map(Sender::User);
    let device = device_sent.then(|| Sender::Device(event.device_id.clone()));
    user.into_iter().chain(device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules;
    use serde_json::json;

    const NOW: i64 = 1_800_000_000_000;
    const DAY: i64 = 24 * 60 * 60 * 1000;

    fn upload(api_key: &str, events: Value) -> Upload {
        let request = json!({"api_key": api_key, "events": events}).to_string();
        rules::read(Endpoint::HttpV2, request.as_bytes(), &[]).unwrap()
    }

    /// Uploads the events and returns how many were accepted.
    fn kept(store: &mut Store, now: i64, events: Value) -> usize {
        store.ingest(Endpoint::HttpV2, upload("key", events), None, now).unwrap().kept
    }

    fn users(store: &Store) -> Vec<Option<&str>> {
        store.events().iter().map(|event| event.attributed_user_id.as_deref()).collect()
    }

    #[test]
    fn repeated_insert_id_is_dropped_for_seven_days() {
        let mut store = Store::default();
        let event = json!([{"event_type": "a", "device_id": "device-1", "insert_id": "i"}]);
        assert_eq!(kept(&mut store, NOW, event.clone()), 1);
        assert_eq!(kept(&mut store, NOW + 7 * DAY - 1, event.clone()), 0);
        assert_eq!(kept(&mut store, NOW + 7 * DAY, event.clone()), 1);
        assert_eq!(kept(&mut store, NOW + 7 * DAY + 1, event), 0);
    }

    #[test]
    fn insert_ids_are_per_device_and_project() {
        let mut store = Store::default();
        let on = |device| json!([{"event_type": "a", "device_id": device, "insert_id": "i"}]);
        assert_eq!(kept(&mut store, NOW, on("device-1")), 1);
        assert_eq!(kept(&mut store, NOW, on("device-2")), 1);
        let other = upload("other", on("device-1"));
        let ingested = store.ingest(Endpoint::Batch, other, None, NOW).unwrap();
        assert_eq!(ingested, Ingested { kept: 1, repeats: 0 });
    }

    #[test]
    fn repeat_for_another_user_without_device_counts() {
        let mut store = Store::default();
        let of = |user| json!([{"event_type": "a", "user_id": user, "insert_id": "i"}]);
        assert_eq!(kept(&mut store, NOW, of("user-1")), 1);
        assert_eq!(kept(&mut store, NOW, of("user-1")), 0);
        assert_eq!(kept(&mut store, NOW, of("user-2")), 1);
    }

    #[test]
    fn repeats_within_one_request_are_dropped() {
        let mut store = Store::default();
        let event = json!({"event_type": "a", "device_id": "device-1", "insert_id": "i"});
        let upload = upload("key", json!([event, event]));
        let ingested = store.ingest(Endpoint::HttpV2, upload, None, NOW).unwrap();
        assert_eq!(ingested, Ingested { kept: 1, repeats: 1 });
    }

    #[test]
    fn same_event_id_time_and_device_is_a_repeat() {
        let mut store = Store::default();
        let event = |event_id, time, insert_id: &str| {
            json!([{"event_type": "a", "device_id": "device-1", "event_id": event_id,
                "time": time, "insert_id": insert_id}])
        };
        assert_eq!(kept(&mut store, NOW, event(1, 1000, "i1")), 1);
        assert_eq!(kept(&mut store, NOW, event(1, 1000, "i2")), 0);
        assert_eq!(kept(&mut store, NOW, event(2, 1000, "i3")), 1);
        assert_eq!(kept(&mut store, NOW, event(1, 2000, "i4")), 1);
    }

    #[test]
    fn events_without_ids_are_never_repeats() {
        let mut store = Store::default();
        let event = json!([{"event_type": "a", "device_id": "device-1", "time": 1000}]);
        assert_eq!(kept(&mut store, NOW, event.clone()), 1);
        assert_eq!(kept(&mut store, NOW, event), 1);
    }

    #[test]
    fn device_is_attributed_to_its_latest_user() {
        let mut store = Store::default();
        let event = json!([
            {"event_type": "a", "user_id": "user-1", "device_id": "device-1"},
            {"event_type": "b", "device_id": "device-1"},
            {"event_type": "c", "user_id": "user-2", "device_id": "device-1"},
            {"event_type": "d", "device_id": "device-1"},
            {"event_type": "e", "device_id": "device-2"},
        ]);
        kept(&mut store, NOW, event);
        assert_eq!(users(&store), [Some("user-1"), Some("user-1"), Some("user-2"), Some("user-2"), None]);
    }

    #[test]
    fn first_user_gets_the_earlier_events_of_the_device() {
        let mut store = Store::default();
        let anonymous = json!([{"event_type": "a", "device_id": "device-1"}]);
        kept(&mut store, NOW, anonymous.clone());
        kept(&mut store, NOW, anonymous);
        let elsewhere = upload("other", json!([{"event_type": "a", "device_id": "device-1", "user_id": "user-9"}]));
        store.ingest(Endpoint::HttpV2, elsewhere, None, NOW).unwrap();
        assert_eq!(users(&store), [None, None, Some("user-9")]);

        for user in ["user-1", "user-2"] {
            let event = json!([{"event_type": "b", "device_id": "device-1", "user_id": user}]);
            kept(&mut store, NOW, event);
        }
        assert_eq!(users(&store), [Some("user-1"), Some("user-1"), Some("user-9"), Some("user-1"), Some("user-2")]);
    }

    #[test]
    fn throttling_rejects_the_whole_request() {
        let mut store = Store::default();
        let throttle = Some(Throttle { events_per_second: 2, window_seconds: 1 });
        let mut send = |now, events| store.ingest(Endpoint::HttpV2, upload("key", events), throttle, now);
        let of_user = json!({"event_type": "a", "user_id": "user-1"});
        let of_device = json!({"event_type": "a", "device_id": "device-1"});

        let four = json!([of_user, of_device, of_user, of_device]);
        assert_eq!(send(NOW, four).unwrap().kept, 4);
        assert_eq!(
            send(NOW + 999, json!([{"event_type": "a", "user_id": "user-2"}, of_user])).unwrap_err(),
            Throttled { users: [("user-1".to_owned(), 3)].into(), devices: BTreeMap::new(), events: vec![1] }
        );
        assert_eq!(send(NOW + 999, json!([of_device])).unwrap_err().devices, [("device-1".to_owned(), 3)].into());
        assert_eq!(send(NOW + 1000, json!([of_user])).unwrap().kept, 1);
    }

    #[test]
    fn rate_is_averaged_over_the_window() {
        let mut store = Store::default();
        let throttle = Some(Throttle { events_per_second: 2, window_seconds: 3 });
        let mut send = |now, count| {
            let event = json!({"event_type": "a", "user_id": "user-1"});
            let events = upload("key", json!(vec![event; count]));
            store.ingest(Endpoint::Batch, events, throttle, now)
        };
        assert!(send(NOW, 5).is_ok());
        assert!(send(NOW + 1000, 1).is_ok());
        assert!(send(NOW + 2000, 1).is_err());
        assert!(send(NOW + 3000, 5).is_ok());
        assert!(send(NOW + 3000, 1).is_err());
    }
}
