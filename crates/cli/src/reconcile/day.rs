//! A day in Stripe, and a day in Amplitude.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::Value;
use stripe_amplitude::amplitude::AmplitudeKey;
use stripe_amplitude::forward::IgnoreReason;

use super::amount::{Amount, Figures};
use crate::amplitude::export::Export;
use crate::amplitude::known::{NOTHING_AT_ALL, is_beyond_the_window};
use crate::amplitude::line::{self, Exported, Line, OURS, is_like_ours};
use crate::clock;
use crate::history::{HistoryOutcome, Translator};
use crate::stripe::api::Api;
use crate::stripe::events::{Filter, Listed, OldestFirst};

/// Events that are translated concurrently, so that a read need not wait for the response to another one.
const AT_ONCE: usize = 20;

/// Stripe's events of a day, translated with today's settings.
#[derive(Default)]
pub(crate) struct StripeDay {
    /// By insert ID.
    pub(crate) expected: BTreeMap<String, Expected>,
    /// The insert ID by Stripe's ID, if they differ.
    pub(crate) renamed: HashMap<String, String>,
    /// By Stripe's ID, and by the insert ID if it is known and differs.
    pub(crate) ignored: HashMap<String, IgnoreReason>,
    /// By Stripe's ID.
    pub(crate) unusable: BTreeMap<String, Unusable>,
}

/// An event that Amplitude should have. Several Stripe events can describe the same fact, such as a failed refund. They share
/// an insert ID, and Amplitude has the one that arrived first.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// Stripe's ID of the first one, which is sent if Amplitude has none.
    pub(crate) id: String,
    /// Of the first one. Amplitude may have the type of any of them.
    pub(crate) event_type: String,
    /// When the first one was created, in Unix seconds.
    pub(crate) created: i64,
    /// When the last one was created.
    pub(crate) latest: i64,
    /// The key that it is sent with.
    pub(crate) key: AmplitudeKey,
    pub(crate) amount: Option<Amount>,
    pub(crate) figures: Figures,
}

/// An event that cannot be translated, with the reason.
#[derive(Clone, Debug)]
pub(crate) struct Unusable {
    pub(crate) event_type: String,
    pub(crate) created: i64,
    pub(crate) reason: String,
}

/// Amplitude's events under one key.
#[derive(Clone, Debug, Default)]
pub(crate) struct AmplitudeDay {
    /// All events of the day, and all expected ones, by insert ID.
    pub(crate) found: BTreeMap<String, Found>,
    /// The beginnings of the hours of upload, in Unix seconds, with unreadable lines, which may be any of our events.
    pub(crate) unreadable: BTreeSet<i64>,
}

/// An event that Amplitude has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// `None` if the export lacks it.
    pub(crate) event_type: Option<String>,
    /// In Amplitude's format; empty if the export lacks it.
    pub(crate) time: String,
    /// One for each time that it counts.
    pub(crate) amounts: Vec<Option<Amount>>,
    pub(crate) figures: Figures,
    /// The origin that the function recorded.
    pub(crate) livemode: Option<bool>,
    pub(crate) account: Option<String>,
    pub(crate) source: Option<String>,
    /// Amplitude's own IDs.
    pub(crate) uuids: BTreeSet<String>,
}

impl StripeDay {
    /// Reads Stripe's list. Calls `reached` to report progress.
    ///
    /// # Errors
    /// A sentence, if Stripe does not return it.
    pub(crate) async fn read(
        api: &Api,
        filter: Filter,
        translator: &Translator,
        mut reached: impl FnMut(i64),
    ) -> Result<Self, String> {
        let mut day = Self::default();
        let mut spans = OldestFirst::new(api, filter, None);
        while let Some((events, end)) = spans.next().await.map_err(|error| error.to_string())? {
            for some in events.chunks(AT_ONCE) {
                let outcomes = join_all(some.iter().map(|event| translator.translate(&event.body))).await;
                for (event, outcome) in some.iter().zip(outcomes) {
                    day.add(event, outcome?)?;
                }
            }
            reached(end);
        }
        Ok(day)
    }

    fn add(&mut self, event: &Listed, outcome: HistoryOutcome) -> Result<(), String> {
        let id = event.place.id.clone();
        match outcome {
            HistoryOutcome::Sent(translated) => {
                // Parsed like Amplitude's lines, so that only the event itself can differ.
                let lines = line::read(translated.json.get());
                let [Line::Ours(sent)] = &lines[..] else {
                    return Err(format!("{id}: cannot parse the translated event"));
                };
                let content = sent.content();
                if translated.insert_id != id {
                    self.renamed.insert(id.clone(), translated.insert_id.clone());
                }
                let expected = Expected {
                    id,
                    event_type: translated.event_type,
                    created: translated.created,
                    latest: translated.created,
                    key: translated.key,
                    amount: Amount::of(&content),
                    figures: Figures::of(&content),
                };
                self.expect(translated.insert_id, expected);
            }
            HistoryOutcome::Ignored(reason, insert_id) => {
                self.ignored.extend(insert_id.map(|insert_id| (insert_id, reason)));
                self.ignored.insert(id, reason);
            }
            // Stripe lists no such events.
            HistoryOutcome::OfAnotherTime => {}
            HistoryOutcome::Unusable(reason) => {
                let created = event.place.created;
                self.unusable.insert(id, Unusable { event_type: type_of(&event.body), created, reason });
            }
        }
        Ok(())
    }

    fn expect(&mut self, insert_id: String, event: Expected) {
        match self.expected.entry(insert_id) {
            Entry::Vacant(vacant) => drop(vacant.insert(event)),
            Entry::Occupied(mut first) => {
                let first = first.get_mut();
                first.latest = first.latest.max(event.latest);
            }
        }
    }
}

fn type_of(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "type")]
        event_type: String,
    }
    serde_json::from_slice(body).map_or_else(|_| "?".to_owned(), |Typed { event_type }| event_type)
}

/// Reads Amplitude's events of a day: those that were uploaded in one time range and happened in the other, in Unix seconds,
/// and every expected event, regardless of its time in Amplitude.
///
/// # Errors
/// A sentence, if Amplitude does not export them.
pub(crate) async fn read_export(
    export: &Export<'_>,
    uploaded: Range<i64>,
    happened: Range<i64>,
    expected: &BTreeMap<String, Expected>,
    reached: impl FnMut(i64),
) -> Result<AmplitudeDay, String> {
    let mut day = AmplitudeDay::default();
    // Times in the same format can be compared as text.
    let start = happened.start;
    let happened = clock::show(happened.start)..clock::show(happened.end);
    let is_anything_expected = !expected.is_empty();
    let expected: Arc<HashSet<String>> = Arc::new(expected.keys().cloned().collect());
    let pick = move |event: Exported<'_>| {
        // If there are several IDs, prefer the expected one.
        let expected = event.insert_ids.iter().find(|insert_id| expected.contains(*insert_id)).cloned();
        let is_of_the_day = || event.event_time.as_ref().is_some_and(|time| happened.contains(time));
        // Without a readable type, it may not be ours.
        let is_ours = |insert_id: &&String| event.event_type.is_some() || is_like_ours(insert_id);
        let of_the_day = || event.insert_ids.iter().find(is_ours).filter(|_| is_of_the_day()).cloned();
        let insert_id = expected.or_else(of_the_day)?;
        Some((insert_id, Found::of(event)))
    };
    let now = uploaded.end;
    let exports = export.each(uploaded, pick, reached, |(insert_id, found)| day.add(insert_id, found)).await?;
    // Within the window, sending again is harmless.
    if exports.is_empty && is_anything_expected && is_beyond_the_window(start, now) {
        return Err(NOTHING_AT_ALL.to_owned());
    }
    day.unreadable = exports.unreadable;
    Ok(day)
}

impl AmplitudeDay {
    /// Adds an exported event. Lines with the same ID of Amplitude's count once.
    fn add(&mut self, insert_id: String, event: Found) {
        match self.found.entry(insert_id) {
            Entry::Vacant(vacant) => drop(vacant.insert(event)),
            Entry::Occupied(mut found) => {
                let found = found.get_mut();
                if event.uuids.is_empty() || !event.uuids.is_subset(&found.uuids) {
                    found.amounts.extend(event.amounts);
                    found.uuids.extend(event.uuids);
                }
            }
        }
    }
}

impl Found {
    fn of(event: Exported<'_>) -> Self {
        let content = event.content();
        let property = |name: &str| content.properties.get(name);
        let text = |name: &str| property(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            event_type: event.event_type.map(|name| name.strip_prefix(OURS).map(str::to_owned).unwrap_or(name)),
            time: event.event_time.unwrap_or_default(),
            amounts: vec![Amount::of(&content)],
            figures: Figures::of(&content),
            livemode: property("stripe_livemode").and_then(|value| match value {
                Value::String(text) => text.parse().ok(),
                value => value.as_bool(),
            }),
            account: text("stripe_account"),
            source: text("stripe_source"),
            uuids: event.uuid.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> (String, Found) {
        let Some(Line::Ours(event)) = line::read(line).into_iter().next() else { panic!("{line}") };
        (event.insert_ids[0].clone(), Found::of(*event))
    }

    #[test]
    fn lines_with_one_uuid_count_once() {
        let line = |uuid: &str| {
            format!(
                r#"{{"$insert_id":"evt_1","event_type":"[Stripe] a",{uuid}"event_properties":{{"$revenue":"20","stripe_livemode":"true"}}}}"#
            )
        };
        for (uuids, counted) in [
            ([r#""uuid":"u1","#, r#""uuid":"u1","#], 1),
            ([r#""uuid":"u1","#, r#""uuid":"u2","#], 2),
            (["", ""], 2),
            ([r#""uuid":"u1","#, ""], 2),
        ] {
            let mut day = AmplitudeDay::default();
            for uuid in uuids {
                let (insert_id, event) = found(&line(uuid));
                day.add(insert_id, event);
            }
            let event = &day.found["evt_1"];
            assert_eq!((event.amounts.len(), event.livemode), (counted, Some(true)), "{uuids:?}");
        }
    }
}
