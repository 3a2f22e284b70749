//! Counts what a backfill would send, before it asks and for `--dry-run`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

use crate::amplitude::known::Presence;
use crate::clock;
use crate::history::{HistoryOutcome, Translated};
use crate::money::{Money, shown};
use crate::property_names::{LIMIT, PropertyNames};
use crate::terminal::{count, wrap};

/// Users and devices are stored as hashes of eight bytes.
#[derive(Default)]
pub(crate) struct Survey {
    types: BTreeMap<String, u64>,
    /// By the path of the user ID; `None` for events without one.
    user_ids: BTreeMap<Option<String>, u64>,
    revenue: BTreeMap<String, (u64, Money)>,
    ignored: BTreeMap<String, u64>,
    unusable: BTreeMap<String, u64>,
    known: u64,
    of_another_time: u64,
    /// With the months, in UTC, in which they have an event: Amplitude bills a user, or a device without a user, once a
    /// month. Source: Amplitude's documentation, "Monthly Tracked Users".
    users: HashMap<u64, HashSet<Month>>,
    /// Devices of events without a user.
    anonymous: HashMap<u64, HashSet<Month>>,
    /// Devices of events with a user.
    devices: HashSet<u64>,
    /// Insert IDs that several events may share. They are few: nearly all insert IDs are unique.
    shared: HashSet<u64>,
    /// Events whose insert ID was seen before: they are sent, and Amplitude drops them.
    repeats: u64,
    properties: PropertyNames,
    hasher: RandomState,
}

/// A year and a month: 202611.
type Month = u32;

impl Survey {
    /// `presence`: whether Amplitude already has the event.
    pub(crate) fn add(&mut self, outcome: &HistoryOutcome, presence: Presence) {
        match outcome {
            HistoryOutcome::Sent(event) => match presence {
                Presence::There => self.known += 1,
                Presence::Absent => self.add_sent(event),
                Presence::Unknown(why) => *self.unusable.entry(why).or_default() += 1,
            },
            HistoryOutcome::Ignored(reason, _) => *self.ignored.entry(reason.to_string()).or_default() += 1,
            HistoryOutcome::Unusable(reason) => *self.unusable.entry(reason.clone()).or_default() += 1,
            HistoryOutcome::OfAnotherTime => self.of_another_time += 1,
        }
    }

    fn add_sent(&mut self, event: &Translated) {
        let device = self.hasher.hash_one(&event.device_id);
        // A time outside the calendar has month 0.
        let month: Month = clock::in_utc(event.created, "%Y%m").parse().unwrap_or_default();
        match &event.user_id {
            Some(user_id) => {
                self.users.entry(self.hasher.hash_one(user_id)).or_default().insert(month);
                self.devices.insert(device);
            }
            None => {
                self.anonymous.entry(device).or_default().insert(month);
            }
        }
        self.properties.add(&event.json);
        add_one(&mut self.types, &event.event_type);
        *self.user_ids.entry(event.user_id_from.clone()).or_default() += 1;
        if event.may_repeat && !self.shared.insert(self.hasher.hash_one(&event.insert_id)) {
            self.repeats += 1;
        } else if let Some((amount, currency)) = &event.revenue {
            let (events, sum) = self.revenue.entry(currency.clone()).or_default();
            (*events, *sum) = (*events + 1, Money::sum([*sum, *amount]));
        }
    }

    /// Whether there is nothing to send, and nothing to write to the file of rejected events.
    pub(crate) fn is_empty(&self) -> bool {
        self.types.is_empty() && self.unusable.is_empty()
    }

    pub(crate) fn events(&self) -> u64 {
        self.types.values().sum()
    }
}

impl Survey {
    /// Users and events, which Amplitude's plans count.
    fn show_billed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, number: usize, what: &str| {
            f.write_str(&wrap(&format!("{number:>10}  "), 12, what))
        };
        // A device whose user becomes known later counts as that user.
        let anonymous = || self.anonymous.iter().filter(|(device, _)| !self.devices.contains(device));
        let months = self.users.values().chain(anonymous().map(|(_, months)| months)).map(HashSet::len).sum();
        writeln!(f, "\nUpper bounds for what Amplitude's plans count:")?;
        row(f, self.users.len(), "distinct user IDs")?;
        row(f, anonymous().count(), "payers and guests without a user ID, unless Amplitude knows the payment's user")?;
        row(
            f,
            months,
            "user-months (MTU): each user counts once in every month with an event, unless it was active in that month anyway",
        )?;
        let volume = self.events().saturating_sub(self.repeats);
        row(f, usize::try_from(volume).unwrap_or(usize::MAX), "events (event volume)")
    }

    fn show_properties(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.properties.number() == 0 {
            return Ok(());
        }
        writeln!(f, "\nEvent properties, including each metadata key:")?;
        writeln!(f, "{:>10}  distinct names (Amplitude keeps {LIMIT} per project)", self.properties.number())?;
        for (family, names) in self.properties.families() {
            writeln!(f, "{names:>10}  {family}")?;
        }
        self.properties.remedy().map_or(Ok(()), |remedy| f.write_str(&wrap("   warning: ", 12, &remedy)))
    }
}

/// Copies the name only once.
fn add_one(counts: &mut BTreeMap<String, u64>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => {
            counts.insert(name.to_owned(), 1);
        }
    }
}

impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, number: u64, what: &str| writeln!(f, "{number:>10}  {what}");
        writeln!(f, "Events to send, by type:")?;
        for (event_type, number) in &self.types {
            row(f, *number, event_type)?;
        }
        row(f, self.events(), "in total")?;
        if self.repeats > 0 {
            row(f, self.repeats, "of them repeat a failed refund, and do not count")?;
        }
        writeln!(f, "\nUser IDs, by the path that gave them:")?;
        for (path, number) in &self.user_ids {
            row(f, *number, path.as_deref().unwrap_or("(none)"))?;
        }
        writeln!(f, "\nRevenue:")?;
        for (currency, (number, sum)) in &self.revenue {
            let events = if *number == 1 { "event" } else { "events" };
            row(f, *number, &format!("{events}, {} in total", shown(sum, currency)))?;
        }
        if self.revenue.is_empty() {
            row(f, 0, "events with revenue")?;
        }
        self.show_billed(f)?;
        self.show_properties(f)?;
        if self.known > 0 {
            writeln!(f, "\nNot sent, because Amplitude already has them:")?;
            row(f, self.known, "events")?;
        }
        if self.of_another_time > 0 {
            writeln!(f, "\nNot sent, because they were created before --since or after --until:")?;
            row(f, self.of_another_time, "events")?;
        }
        for (title, reasons) in [("Ignored by the settings", &self.ignored), ("Cannot be sent", &self.unusable)] {
            if !reasons.is_empty() {
                writeln!(f, "\n{title}:")?;
            }
            for (reason, number) in reasons {
                row(f, *number, reason)?;
            }
        }
        Ok(())
    }
}

/// The question before sending.
pub(crate) fn question(survey: &Survey, amplitude: &str) -> String {
    let events = count(usize::try_from(survey.events()).unwrap_or(usize::MAX), "event");
    format!("Send {events} to {amplitude}? This cannot be undone.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::to_raw_value;
    use stripe_amplitude::amplitude::AmplitudeKey;

    use super::*;
    use crate::clock::DAY;

    fn event(user_id: Option<&str>, device_id: &str, created: i64, properties: &serde_json::Value) -> HistoryOutcome {
        HistoryOutcome::Sent(Box::new(Translated {
            insert_id: "evt_1".to_owned(),
            may_repeat: false,
            event_type: "charge.failed".to_owned(),
            created,
            livemode: None,
            key: AmplitudeKey::Main,
            user_id: user_id.map(str::to_owned),
            user_id_from: None,
            device_id: device_id.to_owned(),
            revenue: None,
            json: to_raw_value(&json!({"event_properties": properties})).unwrap(),
        }))
    }

    fn surveyed(events: impl IntoIterator<Item = HistoryOutcome>) -> String {
        let mut survey = Survey::default();
        events.into_iter().for_each(|event| survey.add(&event, Presence::Absent));
        survey.to_string()
    }

    #[test]
    fn users_and_anonymous_devices_count_once_a_month() {
        // 30 November 2026.
        let november = clock::parse_day("2026-11-30").unwrap();
        let december = november + DAY;
        let none = json!({});
        let text = surveyed([
            event(Some("a"), "pi_1", november, &none),
            event(Some("a"), "pi_2", november + 1, &none),
            event(Some("a"), "pi_3", december, &none),
            event(Some("b"), "pi_4", december, &none),
            // The user of this device is known from another event.
            event(None, "pi_4", november, &none),
            event(None, "pi_5", november, &none),
            event(None, "pi_5", december, &none),
        ]);
        for row in [
            "         2  distinct user IDs\n",
            "         1  payers and guests without a user ID",
            "         5  user-months (MTU)",
            "         7  events (event volume)\n",
        ] {
            assert!(text.contains(row), "{row}{text}");
        }
    }

    #[test]
    fn events_with_a_shared_insert_id_count_once() {
        let reversed = |refund: &str, event_type: &str| {
            let HistoryOutcome::Sent(mut event) = event(Some("a"), "pi_1", 0, &json!({})) else { panic!("it is sent") };
            event.insert_id = format!("{refund}:reversed");
            event.may_repeat = true;
            event.event_type = event_type.to_owned();
            event.revenue = Money::of(&json!(10)).map(|amount| (amount, "USD".to_owned()));
            HistoryOutcome::Sent(event)
        };
        let text = surveyed([
            reversed("re_1", "refund.failed"),
            reversed("re_1", "refund.updated"),
            reversed("re_2", "refund.failed"),
            reversed("re_1", "charge.refund.updated"),
        ]);
        for row in [
            "         4  in total\n         2  of them repeat a failed refund",
            "         2  events, 20.00 USD in total\n",
            "         2  events (event volume)\n",
        ] {
            assert!(text.contains(row), "{row}{text}");
        }
    }

    #[test]
    fn many_property_names_raise_a_warning() {
        let of = |keys: usize| {
            let metadata: serde_json::Map<_, _> = (0..keys).map(|key| (format!("sku_{key}"), json!("1"))).collect();
            surveyed([event(None, "pi_1", 0, &json!({"amount": 1, "metadata": metadata}))])
        };
        let few = of(998);
        assert!(few.contains("       999  distinct names") && !few.contains("warning"), "{few}");
        let many = of(1240);
        for words in ["      1240  metadata.sku_*\n", "   warning: Amplitude keeps 2000", "\"metadata.*\" in"] {
            assert!(many.contains(words), "{words}{many}");
        }
    }

    #[test]
    fn unknown_presence_is_not_counted_as_sent() {
        let mut survey = Survey::default();
        survey.add(&event(None, "pi_1", 0, &json!({})), Presence::Unknown("a line cannot be read".to_owned()));
        let text = survey.to_string();
        assert!(survey.events() == 0 && text.contains("Cannot be sent:\n         1  a line cannot be read"), "{text}");
    }
}
