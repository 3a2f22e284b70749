//! Events from Stripe's API: `GET /v1/events`, of the last 30 days, newest first, of twenty types at once at the most.
//! Source: docs.stripe.com/api/events/list.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::api::{Answer, Api, ApiError, Operation};
use crate::clock::{DAY, HOUR};

pub(crate) const PATH: &str = "/v1/events";

/// How far back Stripe's list goes, in seconds.
pub(crate) const REACH: i64 = 30 * DAY;

/// Types in one request.
const MOST_TYPES: usize = 20;

/// Events in one answer.
const PAGE: u32 = 100;

/// So many events of one span of time are a good handful.
const HANDFUL: i64 = 2000;

/// More of one span are not kept in memory: the span is halved.
const TOO_MANY: usize = 10_000;

/// Which events are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Filter {
    pub(crate) types: Vec<String>,
    /// From when, and until when, exclusive, in Unix seconds.
    pub(crate) created: Range<i64>,
    /// Only those whose delivery is pending or has failed, to one webhook endpoint at least, whichever.
    pub(crate) undelivered: bool,
}

/// Where an event stands among all: Stripe's clock has whole seconds, so the ID decides among equals.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Place {
    pub(crate) created: i64,
    pub(crate) id: String,
}

/// An event of Stripe's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) place: Place,
    /// As a webhook would carry it.
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

/// The events of a filter, oldest first, span by span, so that any number of them fits into memory.
pub(crate) struct OldestFirst<'a> {
    api: &'a Api,
    filter: Filter,
    /// Where the next span begins, and how long it is, in seconds.
    next: i64,
    length: i64,
    after: Option<Place>,
}

impl<'a> OldestFirst<'a> {
    /// `after` is the last one that is not wanted any more.
    pub(crate) fn new(api: &'a Api, filter: Filter, after: Option<Place>) -> Self {
        let next = after.as_ref().map_or(filter.created.start, |place| place.created.max(filter.created.start));
        Self { api, filter, next, length: HOUR, after }
    }

    /// The events of the next span, and where it ends. `None` after the last.
    ///
    /// # Errors
    /// Where Stripe does not give them; the same again goes on where it stopped.
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
            // So that the next has about a handful.
            let count = i64::try_from(events.len()).unwrap_or(i64::MAX).max(1);
            self.length = (self.length.saturating_mul(HANDFUL) / count).clamp(self.length / 4, self.length * 4).max(1);
            self.next = end;
            if let Some(after) = &self.after {
                events.retain(|event| event.place > *after);
            }
            return Ok(Some((events, end)));
        }
    }
}

/// All events of a span, oldest first, each once; `None` where they are too many to be kept, and a shorter span has
/// fewer.
async fn within(api: &Api, filter: &Filter, span: Range<i64>) -> Result<Option<Vec<Listed>>, ApiError> {
    let mut events = Vec::new();
    for types in filter.types.chunks(MOST_TYPES) {
        let filter = Filter { types: types.to_vec(), created: span.clone(), ..filter.clone() };
        let mut pages = NewestFirst::new(api, filter);
        while let Some(page) = pages.next().await? {
            events.extend(page);
            if events.len() > TOO_MANY && span.end - span.start > 1 {
                return Ok(None);
            }
        }
    }
    events.sort_unstable_by(|one: &Listed, other: &Listed| one.place.cmp(&other.place));
    // While we turn pages, an event may move to the next one.
    events.dedup_by(|one, other| one.place == other.place);
    Ok(Some(events))
}

/// How many events there are of a filter; of more than `most`, about so many.
///
/// # Errors
/// Where Stripe does not tell.
pub(crate) async fn count(api: &Api, filter: &Filter, most: usize) -> Result<usize, ApiError> {
    let mut count = 0;
    for types in filter.types.chunks(MOST_TYPES) {
        let mut pages = NewestFirst::new(api, Filter { types: types.to_vec(), ..filter.clone() });
        while count < most
            && let Some(page) = pages.next().await?
        {
            count += page.len();
        }
    }
    Ok(count)
}

/// The newest events of a filter, at most so many, the newest first.
///
/// # Errors
/// Where Stripe does not give them.
pub(crate) async fn newest(api: &Api, filter: &Filter, number: usize) -> Result<Vec<Listed>, ApiError> {
    let mut events: Vec<Listed> = Vec::new();
    for types in filter.types.chunks(MOST_TYPES) {
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

/// The events of a filter of twenty types at the most, page by page as Stripe has them.
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
    /// Where Stripe does not give it.
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

/// A webhook says which connected account an event is of, and the list of that account does not.
fn listed(event: &RawValue, account: Option<&str>, answer: &Answer) -> Result<Listed, ApiError> {
    let Envelope { id, created } = answer.read_part(event.get().as_bytes())?;
    let place = Place { created, id: id.into_owned() };
    let text = event.get();
    let body = match (account, text.strip_prefix('{')) {
        // Of a name that stands twice, the last one counts: what Stripe says.
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
    fn an_event_of_a_connected_account_says_so_as_in_a_webhook() {
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
    fn places_are_in_the_order_of_time_and_then_of_ids() {
        let place = |created, id: &str| Place { created, id: id.to_owned() };
        assert!(place(1, "evt_9") < place(2, "evt_1") && place(2, "evt_1") < place(2, "evt_2"));
    }
}
