//! The accounts' events and their list.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use bytes::Bytes;
use serde_json::Value;

use crate::answer::{Answer, ApiError};
use crate::parameters::{Cursor, Parameters};

/// How long Stripe keeps events, in seconds.
const RETENTION_SECONDS: i64 = 30 * 24 * 60 * 60;

/// An event. Its body is returned byte for byte.
#[derive(Clone, Debug)]
pub struct Event {
    /// `evt_…`
    pub id: String,
    /// For example `charge.failed`.
    pub event_type: String,
    /// In Unix seconds.
    pub created: i64,
    /// The connected account in which it happened.
    pub account: Option<String>,
    /// Whether every endpoint has accepted it.
    pub delivery_success: bool,
    /// The whole event, as JSON.
    pub body: Bytes,
}

impl Event {
    /// A delivered event with the values from its body. `None` if the body lacks its ID, type or time.
    pub fn new(body: impl Into<Bytes>) -> Option<Self> {
        let body = body.into();
        let event: Value = serde_json::from_slice(&body).ok()?;
        let text = |name: &str| event.get(name)?.as_str().map(str::to_owned);
        Some(Self {
            id: text("id")?,
            event_type: text("type")?,
            created: event.get("created")?.as_i64()?,
            account: text("account"),
            delivery_success: true,
            body,
        })
    }

    /// The same event in a connected account.
    pub fn in_account(mut self, account: &str) -> Self {
        let fields = self.body.iter().position(|byte| *byte == b'{').map_or(0, |brace| brace + 1);
        let rest = self.body.get(fields..).unwrap_or_default();
        self.body = [format!(r#"{{"account":"{account}","#).as_bytes(), rest].concat().into();
        self.account = Some(account.to_owned());
        self
    }

    /// The same event with a failed delivery.
    pub fn undelivered(mut self) -> Self {
        self.delivery_success = false;
        self
    }
}

/// The earliest second from which Stripe still has events.
fn oldest_kept(now: i64) -> i64 {
    now.saturating_sub(RETENTION_SECONDS)
}

/// All events. Those of the same second are in the order in which they were added.
#[derive(Default)]
pub(crate) struct Events {
    added: u64,
    places: HashMap<String, (Option<String>, SortKey)>,
    by_account: HashMap<Option<String>, BTreeMap<SortKey, Event>>,
}

/// The creation time of an event and its serial number.
type SortKey = (i64, u64);

impl Events {
    pub(crate) fn add(&mut self, event: Event) {
        self.added += 1;
        let place = (event.created, self.added);
        if let Some((account, place)) = self.places.insert(event.id.clone(), (event.account.clone(), place)) {
            self.by_account.entry(account).or_default().remove(&place);
        }
        self.by_account.entry(event.account.clone()).or_default().insert(place, event);
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Event> {
        let (account, place) = self.places.get(id)?;
        self.by_account.get(account)?.get(place)
    }

    pub(crate) fn set_delivery_success(&mut self, id: &str, success: bool) {
        let Some((account, place)) = self.places.get(id) else { return };
        if let Some(event) = self.by_account.get_mut(account).and_then(|events| events.get_mut(place)) {
            event.delivery_success = success;
        }
    }

    /// `GET /v1/events/{id}`
    pub(crate) fn retrieve(&self, id: &str, account: Option<&str>, now: i64) -> Result<Answer, ApiError> {
        let event =
            self.get(id).filter(|event| event.account.as_deref() == account && event.created >= oldest_kept(now));
        event.map(|event| Answer::ok(event.body.clone())).ok_or_else(|| ApiError::no_such(404, "event", id, "id"))
    }

    /// `GET /v1/events`
    pub(crate) fn list(&self, parameters: Parameters, account: Option<&str>, now: i64) -> Result<Answer, ApiError> {
        let query = Query::new(parameters)?;
        let oldest = (query.created.0.max(oldest_kept(now)), 0);
        let newest = (query.created.1, u64::MAX);
        let place = |id: &str, name: &str| {
            let event =
                self.places.get(id).filter(|(of, place)| of.as_deref() == account && place.0 >= oldest_kept(now));
            event.map(|(_, place)| *place).ok_or_else(|| ApiError::no_such(400, "event", id, name))
        };
        let (from, to) = match &query.cursor {
            Cursor::Start => (Bound::Included(oldest), newest),
            Cursor::After(id) => {
                // No event has the number 0.
                let (created, number) = place(id, "starting_after")?;
                (Bound::Included(oldest), newest.min((created, number - 1)))
            }
            Cursor::Before(id) => {
                let place = place(id, "ending_before")?;
                (if place < oldest { Bound::Included(oldest) } else { Bound::Excluded(place) }, newest)
            }
        };
        let (Bound::Included(first) | Bound::Excluded(first), Some(events)) =
            (from, self.by_account.get(&account.map(str::to_owned)))
        else {
            return Ok(page(&[], false));
        };
        if first >= to {
            return Ok(page(&[], false));
        }

        let events = events.range((from, Bound::Included(to))).map(|(_, event)| event);
        // One more than requested shows whether there are more.
        let mut found: Vec<_> = if let Cursor::Before(_) = query.cursor {
            events.filter(|event| query.matches(event)).take(query.limit + 1).collect()
        } else {
            events.rev().filter(|event| query.matches(event)).take(query.limit + 1).collect()
        };
        let has_more = found.len() > query.limit;
        found.truncate(query.limit);
        if let Cursor::Before(_) = query.cursor {
            found.reverse();
        }
        Ok(page(&found, has_more))
    }
}

fn page(events: &[&Event], has_more: bool) -> Answer {
    let mut body = format!(r#"{{"object":"list","url":"/v1/events","has_more":{has_more},"data":["#).into_bytes();
    for (index, event) in events.iter().enumerate() {
        body.extend((index > 0).then_some(b','));
        body.extend_from_slice(&event.body);
    }
    body.extend_from_slice(b"]}");
    Answer::ok(body)
}

/// The parameters of a list request.
struct Query {
    /// The selected types; empty for all. One may end with `*`.
    types: Vec<String>,
    /// The first and the last second.
    created: (i64, i64),
    delivery_success: Option<bool>,
    limit: usize,
    cursor: Cursor,
}

impl Query {
    fn new(mut parameters: Parameters) -> Result<Self, ApiError> {
        let query = Self {
            types: types(&mut parameters)?,
            created: parameters.created()?,
            delivery_success: parameters.boolean("delivery_success")?,
            limit: parameters.limit()?,
            cursor: parameters.cursor()?,
        };
        parameters.nothing_else()?;
        Ok(query)
    }

    fn matches(&self, event: &Event) -> bool {
        let is_type = |wanted: &String| match wanted.strip_suffix('*') {
            Some(family) => event.event_type.starts_with(family),
            None => event.event_type == *wanted,
        };
        (self.types.is_empty() || self.types.iter().any(is_type))
            && self.delivery_success.is_none_or(|success| success == event.delivery_success)
    }
}

fn types(parameters: &mut Parameters) -> Result<Vec<String>, ApiError> {
    let types = parameters.list("types");
    if types.len() > 20 {
        return Err(ApiError::of("types", None, "You may pass up to 20 event types."));
    }
    match parameters.one("type") {
        Some(_) if !types.is_empty() => {
            Err(ApiError::of("type", None, "You may pass either `type` or `types`, but not both."))
        }
        Some(one) => Ok(vec![one]),
        None => Ok(types),
    }
}
