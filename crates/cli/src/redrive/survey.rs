//! Counts the dead letters by kind, for the operator.

use std::collections::BTreeMap;
use std::fmt;

use stripe_amplitude::stripe::event::Event;
use stripe_amplitude_common::text::printable;

use crate::aws::queue::ReceivedMessage;
use crate::clock::{DAY, HOUR};

/// For a dead letter without a code.
const UNKNOWN: &str = "unknown";

/// What dead letters have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) code: String,
    pub(super) reason: String,
    pub(super) project: String,
    event_type: String,
}

impl Kind {
    pub(super) fn of(letter: &ReceivedMessage) -> Self {
        let unknown = || "?".to_owned();
        let event = letter.message.as_ref().and_then(|message| Event::parse(&message.body).ok());
        Self {
            code: letter.code.as_deref().unwrap_or(UNKNOWN).to_owned(),
            reason: letter.reason.clone().unwrap_or_else(unknown),
            project: letter.message.as_ref().map_or_else(unknown, |message| message.project.to_string()),
            event_type: event.map_or_else(unknown, |event| event.event_type.into_owned()),
        }
    }
}

/// The number of dead letters of each kind, and the age of their events. Prints a table by code and reason, with projects and
/// types below.
#[derive(Default)]
pub(super) struct Survey(BTreeMap<Kind, Row>);

#[derive(Default)]
struct Row {
    letters: u64,
    /// Seconds since the events were created. `None` if the message is not an event.
    youngest: Option<i64>,
    oldest: Option<i64>,
}

impl Survey {
    pub(super) fn add(&mut self, letter: &ReceivedMessage, now: u64) {
        let event = letter.message.as_ref().and_then(|message| Event::parse(&message.body).ok());
        let age = event.map(|event| now.cast_signed() - event.created);
        self.count(Kind::of(letter), age);
    }

    fn count(&mut self, kind: Kind, age: Option<i64>) {
        let row = self.0.entry(kind).or_default();
        row.letters += 1;
        row.youngest = row.youngest.map_or(age, |youngest| age.map(|age| age.min(youngest)));
        row.oldest = row.oldest.max(age);
    }

    /// The total.
    pub(super) fn letters(&self) -> u64 {
        self.0.values().map(|row| row.letters).sum()
    }
}

impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last_cause = None;
        for (Kind { code, reason, project, event_type }, row) in &self.0 {
            if last_cause != Some((code, reason)) {
                writeln!(f, "\n{}: {}", printable(code), printable(reason))?;
                last_cause = Some((code, reason));
            }
            let event_type = printable(event_type);
            writeln!(f, "  {:>6}  {:>9}  {project}  {event_type}", row.letters, row.ages())?;
        }
        Ok(())
    }
}

impl Row {
    fn ages(&self) -> String {
        match (self.youngest.map(age), self.oldest.map(age)) {
            (Some(youngest), Some(oldest)) if youngest != oldest => format!("{youngest}-{oldest}"),
            (_, Some(oldest)) => oldest,
            _ => "?".to_owned(),
        }
    }
}

/// In whole days, or in hours below two days.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds if seconds < 2 * DAY => format!("{} h", seconds / HOUR),
        seconds => format!("{} d", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_groups_by_cause() {
        let kind = |code: &str, event_type: &str| Kind {
            code: code.to_owned(),
            reason: "why".to_owned(),
            project: "shop".to_owned(),
            event_type: event_type.to_owned(),
        };
        let mut survey = Survey::default();
        for (kind, age) in [
            (kind("a", "charge.succeeded"), Some(9 * DAY)),
            (kind("a", "charge.succeeded"), Some(3 * HOUR)),
            (kind("a", "charge.succeeded"), Some(4 * DAY)),
            (kind("a", "charge.failed"), Some(47 * HOUR)),
            (kind("a", "charge.failed"), Some(47 * HOUR + 1)),
            (kind(UNKNOWN, "?"), None),
        ] {
            survey.count(kind, age);
        }
        assert_eq!(survey.letters(), 6);
        assert_eq!(
            survey.to_string(),
            "\na: why\n       2       47 h  shop  charge.failed\n       3    3 h-9 d  shop  charge.succeeded\n\nunknown: why\n       1          ?  shop  ?\n"
        );
    }
}
