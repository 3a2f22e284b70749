//! A day as Stripe has it, and as Amplitude has it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use stripe_amplitude::amplitude::AmplitudeKey;
use stripe_amplitude::forward::IgnoreReason;

use super::amount::{Amount, Figures};
use crate::amplitude::export::{Export, Exported, OURS};
use crate::amplitude::known::{NOTHING_AT_ALL, is_beyond_the_window};
use crate::clock;
use crate::history::{Fate, Translator};
use crate::stripe::api::Api;
use crate::stripe::events::{Filter, Listed, OldestFirst};

/// What Stripe lists for a day, as it would be sent with the settings of now. In the order of the insert IDs.
#[derive(Default)]
pub(crate) struct StripesDay {
    pub(crate) expected: BTreeMap<String, Expected>,
    pub(crate) ignored: HashMap<String, IgnoreReason>,
    /// By Stripe's ID.
    pub(crate) unusable: BTreeMap<String, Unusable>,
}

/// An event that Amplitude should have.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) event_type: String,
    /// Unix seconds.
    pub(crate) created: i64,
    /// The key that it goes to.
    pub(crate) key: AmplitudeKey,
    pub(crate) amount: Option<Amount>,
    pub(crate) figures: Figures,
}

/// An event that cannot be translated, and why.
#[derive(Clone, Debug)]
pub(crate) struct Unusable {
    pub(crate) event_type: String,
    pub(crate) created: i64,
    pub(crate) reason: String,
}

/// What Amplitude has under one key: all of the day, and all that is expected, by insert ID.
pub(crate) type AmplitudesDay = BTreeMap<String, Found>;

/// An event that Amplitude has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) event_type: String,
    /// When it happened, as Amplitude writes it.
    pub(crate) time: String,
    /// One for each time that it counts.
    pub(crate) amounts: Vec<Option<Amount>>,
    pub(crate) figures: Figures,
    /// What the function noted of its origin.
    pub(crate) livemode: Option<bool>,
    pub(crate) account: Option<String>,
    pub(crate) source: Option<String>,
}

impl StripesDay {
    /// Reads what Stripe lists. `reached` is told how far it is.
    ///
    /// # Errors
    /// A sentence, where Stripe does not give it.
    pub(crate) async fn read(
        api: &Api,
        filter: Filter,
        translator: &Translator,
        mut reached: impl FnMut(i64),
    ) -> Result<Self, String> {
        let mut day = Self::default();
        let mut spans = OldestFirst::new(api, filter, None);
        while let Some((events, end)) = spans.next().await.map_err(|error| error.to_string())? {
            for event in events {
                day.add(event, translator)?;
            }
            reached(end);
        }
        Ok(day)
    }

    fn add(&mut self, event: Listed, translator: &Translator) -> Result<(), String> {
        let id = event.place.id;
        match translator.translate(&event.body) {
            Fate::Sent(translated) => {
                // Read as what Amplitude has is read, so that nothing but the event itself can make a difference.
                let sent: Exported =
                    serde_json::from_str(translated.json.get()).map_err(|error| format!("{id}: {error}"))?;
                let expected = Expected {
                    event_type: translated.event_type,
                    created: translated.created,
                    key: translated.key,
                    amount: Amount::of(&sent),
                    figures: Figures::of(&sent),
                };
                self.expected.insert(sent.insert_id, expected);
            }
            Fate::Ignored(reason) => {
                self.ignored.insert(id, reason);
            }
            // Stripe was asked for no other.
            Fate::OfAnotherTime => {}
            Fate::Unusable(reason) => {
                let created = event.place.created;
                self.unusable.insert(id, Unusable { event_type: type_of(&event.body), created, reason });
            }
        }
        Ok(())
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

/// Reads what Amplitude has of a day: what was uploaded in one time and happened in the other, in Unix seconds, and every
/// event that is expected, whatever Amplitude thinks when it happened.
///
/// # Errors
/// A sentence, where Amplitude does not give it.
pub(crate) async fn read_export(
    export: &Export<'_>,
    uploaded: Range<i64>,
    happened: Range<i64>,
    expected: &BTreeMap<String, Expected>,
    reached: impl FnMut(i64),
) -> Result<AmplitudesDay, String> {
    let mut day = AmplitudesDay::new();
    // Times that are written alike can be compared as they are written.
    let start = happened.start;
    let happened = clock::show(happened.start)..clock::show(happened.end);
    let is_anything_expected = !expected.is_empty();
    let expected: Arc<HashSet<String>> = Arc::new(expected.keys().cloned().collect());
    let pick = move |line: &str| {
        let is_wanted = |event: &Exported| happened.contains(&event.event_time) || expected.contains(&event.insert_id);
        Exported::in_line(line).filter(is_wanted)
    };
    let now = uploaded.end;
    let is_empty = export.each(uploaded, pick, reached, |event| add(&mut day, event)).await?;
    // What is within the window can be sent again in any case.
    if is_empty && is_anything_expected && is_beyond_the_window(start, now) {
        return Err(NOTHING_AT_ALL.to_owned());
    }
    Ok(day)
}

fn add(day: &mut AmplitudesDay, event: Exported) {
    let (amount, figures) = (Amount::of(&event), Figures::of(&event));
    let property = |name: &str| event.event_properties.get(name);
    let text = |name: &str| property(name).and_then(Value::as_str).map(str::to_owned);
    let (account, source) = (text("stripe_account"), text("stripe_source"));
    let livemode = property("stripe_livemode").and_then(Value::as_bool);
    let event_type = event.event_type.strip_prefix(OURS).unwrap_or(&event.event_type).to_owned();
    let time = event.event_time;
    let found = day.entry(event.insert_id).or_insert_with(|| Found {
        event_type,
        time,
        figures,
        livemode,
        account,
        source,
        amounts: Vec::new(),
    });
    found.amounts.push(amount);
}
