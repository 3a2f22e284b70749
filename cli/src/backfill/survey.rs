//! What a backfill would send, counted: `--dry-run`.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

use crate::amplitude::known::Presence;
use crate::history::{Fate, Translated};
use crate::money::Money;
use crate::terminal::count;

/// Counts. Users and devices are remembered by a hash, eight bytes of each.
#[derive(Default)]
pub(crate) struct Survey {
    types: BTreeMap<String, u64>,
    /// By the path of the user ID; `None` for those without.
    user_ids: BTreeMap<Option<String>, u64>,
    revenue: BTreeMap<String, (u64, Money)>,
    left_out: BTreeMap<String, u64>,
    unusable: BTreeMap<String, u64>,
    known: u64,
    of_another_time: u64,
    users: HashSet<u64>,
    /// Devices of events with a user, and of events without.
    devices: HashSet<u64>,
    anonymous: HashSet<u64>,
    hasher: RandomState,
}

impl Survey {
    /// `presence`: whether Amplitude has it already.
    pub(crate) fn add(&mut self, fate: &Fate, presence: Presence) {
        match fate {
            Fate::Sent(event) => match presence {
                Presence::There => self.known += 1,
                Presence::Absent => self.add_sent(event),
                Presence::Unknown(why) => *self.unusable.entry(why).or_default() += 1,
            },
            Fate::Ignored(reason, _) => *self.left_out.entry(reason.to_string()).or_default() += 1,
            Fate::Unusable(reason) => *self.unusable.entry(reason.clone()).or_default() += 1,
            Fate::OfAnotherTime => self.of_another_time += 1,
        }
    }

    fn add_sent(&mut self, event: &Translated) {
        let device = self.hasher.hash_one(&event.device_id);
        match &event.user_id {
            Some(user_id) => {
                self.users.insert(self.hasher.hash_one(user_id));
                self.devices.insert(device);
            }
            None => {
                self.anonymous.insert(device);
            }
        }
        add_one(&mut self.types, &event.event_type);
        *self.user_ids.entry(event.user_id_from.clone()).or_default() += 1;
        if let Some((amount, currency)) = &event.revenue {
            let (events, sum) = self.revenue.entry(currency.clone()).or_default();
            (*events, *sum) = (*events + 1, Money::sum([*sum, *amount]));
        }
    }

    pub(crate) fn events(&self) -> u64 {
        self.types.values().sum()
    }
}

/// Without a copy of the name, but for the first of it.
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
        row(f, self.events(), "in all")?;
        writeln!(f, "\nUser IDs, by the path that gave them:")?;
        for (path, number) in &self.user_ids {
            row(f, *number, path.as_deref().unwrap_or("(none: the event names no user)"))?;
        }
        writeln!(f, "\nRevenue:")?;
        for (currency, (number, sum)) in &self.revenue {
            row(f, *number, &format!("events with {sum} {currency} in all"))?;
        }
        if self.revenue.is_empty() {
            row(f, 0, "events with revenue")?;
        }
        let without = self.anonymous.difference(&self.devices).count();
        let users = self.users.len();
        writeln!(f, "\nUsers that Amplitude bills, at the most:")?;
        row(f, users as u64, "user IDs")?;
        row(f, without as u64, "payers and guests without a user ID, unless Amplitude knows their payment's user")?;
        if self.known > 0 {
            writeln!(f, "\nNot sent, because Amplitude has them:")?;
            row(f, self.known, "events")?;
        }
        if self.of_another_time > 0 {
            writeln!(f, "\nNot sent, because they happened before --since or after --until:")?;
            row(f, self.of_another_time, "events")?;
        }
        for (title, reasons) in [("Left out by the settings", &self.left_out), ("Cannot be sent", &self.unusable)] {
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

/// What a question says of it.
pub(crate) fn question(survey: &Survey, amplitude: &str) -> String {
    let events = count(usize::try_from(survey.events()).unwrap_or(usize::MAX), "event");
    format!("\nSend {events} to {amplitude}? What is in Amplitude cannot be taken back.")
}
