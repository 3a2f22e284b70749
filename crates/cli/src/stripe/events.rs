//! Events from Stripe's API: `GET /v1/events` lists the last 30 days, newest first, for at most twenty types. Source:
//! docs.stripe.com/api/events/list.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::api::{Answer, Api, ApiError, Operation};
use crate::clock::{DAY, HOUR};

pub(crate) const PATH: &str = "/v1/events";

/// How far back Stripe lists events, in seconds.
pub(crate) const REACH: i64 = 30 * DAY;

/// Maximum types per request.
const MAX_TYPES: usize = 20;

/// Events per page.
const PAGE: u32 = 100;

/// The number of events that a time span should have.
const TARGET_EVENTS: i64 = 2000;

/// A span with more events is halved, to bound memory.
const MAX_EVENTS: usize = 10_000;

/// Which events to list.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub(crate) types: Vec<String>,
    /// In Unix seconds.
    pub(crate) created: Range<i64>,
    /// Only events whose delivery to at least one endpoint is pending or failed.
    pub(crate) undelivered: bool,
}

/// The position of an event among all. Stripe's clock has whole seconds, so the ID breaks ties.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Place {
    pub(crate) created: i64,
    pub(crate) id: String,
}

/// A listed event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) place: Place,
    /// As in a webhook.
    pub(crate) body: Bytes,
}

/// A page of Stripe's list.
#[derive(Deserialize)]
struct Page<'b> {
    #[serde(borrow)]
    data: Vec<&'b RawValue>,
    has_more: bool,
}

#[derive(Deserialize)]
struct Envelope<'b> {
    #[serde(borrow)]
    id: Cow<'b, str>,
    created: i64,
}

/// The events of a filter, oldest first, span by span to bound memory.
pub(crate) struct OldestFirst<'a> {
    api: &'a Api,
    filter: Filter,
    /// The beginning of the next span, and its length, in seconds.
    next: i64,
    length: i64,
    after: Option<Place>,
}

impl<'a> OldestFirst<'a> {
    /// Begins after the event at `after`.
    pub(crate) fn new(api: &'a Api, filter: Filter, after: Option<Place>) -> Self {
        let next = after.as_ref().map_or(filter.created.start, |place| place.created.max(filter.created.start));
        Self { api, filter, next, length: HOUR, after }
    }

    /// The events of the next span, and its end. `None` after the last.
    ///
    /// # Errors
    /// If Stripe does not return them. The next call continues.
    pub(crate) async fn next(&mut self) -> Result<Option<(Vec<Listed>, i64)>, ApiError> {
        if self.next >= self.filter.created.end {
            return Ok(None);
        }
        loop {
            let end = self.next.saturating_add(self.length).min(self.filter.created.end);
            let Some(mut events) = within(self.api, &self.filter, self.next..end).await? else {
                self.length = (self.length / 2).max(1);
                continue;
            };
            // Adapt the length to the target.
            let count = i64::try_from(events.len()).unwrap_or(i64::MAX).max(1);
            self.length =
                (self.length.saturating_mul(TARGET_EVENTS) / count).clamp(self.length / 4, self.length * 4).max(1);
            self.next = end;
            if let Some(after) = &self.after {
                events.retain(|event| event.place > *after);
            }
            return Ok(Some((events, end)));
        }
    }
}

/// All events of a span, oldest first, each once; `None` if there are too many and the span can be shortened.
async fn within(api: &Api, filter: &Filter, span: Range<i64>) -> Result<Option<Vec<Listed>>, ApiError> {
    let mut events = Vec::new();
    for types in filter.types.chunks(MAX_TYPES) {
        let filter = Filter { types: types.to_vec(), created: span.clone(), ..filter.clone() };
        let mut pages = NewestFirst::new(api, filter);
        while let Some(page) = pages.next().await? {
            events.extend(page);
            if events.len() > MAX_EVENTS && span.end - span.start > 1 {
                return Ok(None);
            }
        }
    }
    events.sort_unstable_by(|one: &Listed, other: &Listed| one.place.cmp(&other.place));
    // An event may move to the next page while we list.
    events.dedup_by(|one, other| one.place == other.place);
    Ok(Some(events))
}

/// The number of events of a filter. Stops after about `most`.
///
/// # Errors
/// If Stripe does not return them.
pub(crate) async fn count(api: &Api, filter: &Filter, most: usize) -> Result<usize, ApiError> {
    let mut count = 0;
    for types in filter.types.chunks(MAX_TYPES) {
        let mut pages = NewestFirst::new(api, Filter { types: types.to_vec(), ..filter.clone() });
        while count < most
            && let Some(page) = pages.next().await?
        {
            count += page.len();
        }
    }
    Ok(count)
}

/// The newest events of a filter, at most `number`, newest first.
///
/// # Errors
/// If Stripe does not return them.
pub(crate) async fn newest(api: &Api, filter: &Filter, number: usize) -> Result<Vec<Listed>, ApiError> {
    let mut events: Vec<Listed> = Vec::new();
    for types in filter.types.chunks(MAX_TYPES) {
        let mut pages = NewestFirst::new(api, Filter { types: types.to_vec(), ..filter.clone() });
        let mut left = number;
        while left > 0
            && let Some(mut page) = pages.next().await?
        {
            page.truncate(left);
            left -= page.len();
            events.extend(page);
        }
    }
    events.sort_unstable_by(|one, other| other.place.cmp(&one.place));
    events.truncate(number);
    Ok(events)
}

/// The events of a filter with at most twenty types, in Stripe's order, page by page.
pub(crate) struct NewestFirst<'a> {
    api: &'a Api,
    filter: Filter,
    after: Option<String>,
    is_over: bool,
}

impl<'a> NewestFirst<'a> {
    pub(crate) fn new(api: &'a Api, filter: Filter) -> Self {
        Self { api, filter, after: None, is_over: false }
    }

    /// The next page; `None` after the last.
    ///
    /// # Errors
    /// If Stripe does not return it.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Listed>>, ApiError> {
        if self.is_over {
            return Ok(None);
        }
        let Filter { types, created, undelivered } = &self.filter;
        let mut query: Vec<_> = types.iter().map(|event_type| ("types[]", event_type.clone())).collect();
        query.push(("created[gte]", created.start.to_string()));
        query.push(("created[lt]", created.end.to_string()));
        query.push(("limit", PAGE.to_string()));
        if *undelivered {
            query.push(("delivery_success", "false".to_owned()));
        }
        query.extend(self.after.take().map(|after| ("starting_after", after)));
        let answer = self.api.get(PATH, &query, Operation::ListEvents).await?;
        let Page { data, has_more } = answer.read()?;
        let account = self.api.account();
        let events: Vec<_> = data.into_iter().map(|event| listed(event, account, &answer)).collect::<Result<_, _>>()?;
        self.after = events.last().map(|event| event.place.id.clone());
        self.is_over = !has_more || self.after.is_none();
        Ok(Some(events))
    }
}

/// Adds the connected account, which is in a webhook's event but not in the account's list.
fn listed(event: &RawValue, account: Option<&str>, answer: &Answer) -> Result<Listed, ApiError> {
    let Envelope { id, created } = answer.read_part(event.get().as_bytes())?;
    let place = Place { created, id: id.into_owned() };
    let text = event.get();
    let body = match (account, text.strip_prefix('{')) {
        // If Stripe also sends the field, its value comes last and wins.
        (Some(account), Some(fields)) => format!("{{\"account\":{},{fields}", serde_json::json!(account)),
        _ => text.to_owned(),
    };
    Ok(Listed { place, body: body.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stripe::api::answer;

    #[test]
    fn connected_account_is_added() {
        let event = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let body = |text: &str, account| {
            String::from_utf8(listed(&event(text), account, &answer()).unwrap().body.into()).unwrap()
        };
        let plain = r#"{"id": "evt_1", "created": 5}"#;
        assert_eq!(body(plain, None), plain);
        assert_eq!(body(plain, Some("acct_1")), r#"{"account":"acct_1","id": "evt_1", "created": 5}"#);
        assert!(listed(&event(r#"{"id": 7}"#), None, &answer()).is_err());
    }

    #[test]
    fn places_are_ordered_by_time_and_id() {
        let place = |created, id: &str| Place { created, id: id.to_owned() };
        assert!(place(1, "evt_9") < place(2, "evt_1") && place(2, "evt_1") < place(2, "evt_2"));
    }
}
