//! The result of a comparison, for the terminal and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::json;

use super::amount::Amount;
use super::comparison::{Comparison, Difference, Kind, Row, Tally};
use crate::amplitude::import;
use crate::clock;
use crate::money::figure;
use crate::terminal::{count, wrap};

/// Maximum events of a kind on the terminal.
const LISTED: usize = 200;

pub(crate) struct Report<'c> {
    pub(crate) project: &'c str,
    pub(crate) date: &'c str,
    pub(crate) amplitude: &'c str,
    pub(crate) comparison: &'c Comparison,
    /// Whether nothing is wrong, if need be after the repair. The same as the exit code.
    pub(crate) is_right: bool,
    pub(crate) repaired: Option<&'c Repair>,
}

/// The result of a repair.
#[derive(Default)]
pub(crate) struct Repair {
    /// By insert ID: why an event was not sent, or `None`.
    pub(crate) results: BTreeMap<String, Option<String>>,
    /// Of the sent events, those that Amplitude accepted and did not count.
    pub(crate) not_ingested: u64,
}

impl Kind {
    /// The title above events of this kind, and what it means.
    fn title(self) -> (&'static str, &'static str) {
        match self {
            Self::Missing => (
                "Missing in Amplitude",
                "--repair sends them; the export does not yet have events that were delivered or repaired within the last three hours",
            ),
            Self::CannotBeSent => {
                ("Missing in Amplitude, but unusable", "once the reason is fixed, --repair sends them")
            }
            Self::NotAddedBack => (
                "Missing in Amplitude, perhaps correctly",
                "refunds of this day were sent with other settings, which did not subtract them, so --repair does not add them back",
            ),
            Self::CannotTell => (
                "Perhaps in Amplitude",
                "an unreadable line may be any of these, so --repair does not send them: they could count twice",
            ),
            Self::Doubled => (
                "Counted more than once in Amplitude",
                "they were sent again after the seven days in which Amplitude drops repeats, which cannot be undone",
            ),
            Self::OtherAmount => ("With other amounts than in Stripe", "Stripe's own figures differ"),
            Self::Unknown => (
                "In Amplitude, but not in Stripe",
                "they are not events of this account: check which endpoints have the project's signing secret",
            ),
            Self::PendingExport => (
                "Too recent",
                "Amplitude exports an hour about two hours after its end, so these may be there; run reconcile again later",
            ),
            Self::OtherSettings => (
                "With other amounts than today's settings give",
                "Stripe's own figures match; they were sent with another rate or setting",
            ),
            Self::NotWantedNow => ("In Amplitude, but ignored by today's settings", "they remain there"),
        }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { project, date, amplitude, comparison, .. } = self;
        writeln!(f, "{project} on {date} (UTC): Stripe and {amplitude}\n")?;
        f.write_str(&table(&comparison.rows))?;
        let lists = [
            ("Ignored by the settings, not in the table", &comparison.ignored),
            ("In Amplitude, but outside this comparison, not in the table", &comparison.elsewhere),
        ];
        for (title, list) in lists {
            if !list.is_empty() {
                writeln!(f, "\n{title}:")?;
            }
            for (reason, events) in list {
                f.write_str(&wrap(&format!("{events:>8}  "), 10, reason))?;
            }
        }
        if !comparison.unreadable.is_empty() {
            let hours: Vec<_> =
                comparison.unreadable.iter().map(|hour| clock::in_utc(*hour, "%Y-%m-%d %H:00")).collect();
            let words = format!("Amplitude's export has unreadable lines in the hours from {}.", hours.join(", "));
            f.write_str(&wrap("\n", 0, &words))?;
        }
        for kind in Kind::ALL {
            let differences: Vec<_> = comparison.differences.iter().filter(|one| one.kind == kind).collect();
            if differences.is_empty() {
                continue;
            }
            let (title, meaning) = kind.title();
            f.write_str(&wrap("\n", 0, &format!("{title}: {}; {meaning}.", differences.len())))?;
            let mut printed = None;
            for difference in differences.iter().take(LISTED) {
                if let Some(reason) = difference.reason.as_ref().filter(|reason| printed != Some(*reason)) {
                    f.write_str(&wrap("  ", 2, &format!("{reason}:")))?;
                    printed = Some(reason);
                }
                f.write_str(&line(difference))?;
            }
            if differences.len() > LISTED {
                writeln!(f, "  and {} more; --json has them all", differences.len() - LISTED)?;
            }
        }
        writeln!(f, "\n{}", self.verdict())
    }
}

impl Report<'_> {
    fn verdict(&self) -> String {
        let counts: Vec<_> = Kind::ALL
            .into_iter()
            .map(|kind| (kind, self.comparison.count(kind)))
            .filter(|(_, number)| *number > 0)
            .map(|(kind, number)| {
                format!(
                    "{number} {}",
                    match kind {
                        Kind::Missing => "missing",
                        Kind::CannotBeSent => "unusable",
                        Kind::NotAddedBack => "not added back",
                        Kind::CannotTell => "perhaps in Amplitude",
                        Kind::Doubled => "counted more than once",
                        Kind::OtherAmount => "with other amounts",
                        Kind::Unknown => "unknown to Stripe",
                        Kind::PendingExport => "too recent",
                        Kind::OtherSettings => "sent with other settings",
                        Kind::NotWantedNow => "ignored by today's settings",
                    }
                )
            })
            .collect();
        match (self.comparison.is_right(), counts.is_empty()) {
            (true, true) => "Stripe and Amplitude match.".to_owned(),
            (true, false) => format!("Nothing is wrong: {}.", counts.join(", ")),
            (false, _) => format!("Stripe and Amplitude do not match: {}.", counts.join(", ")),
        }
    }
}

impl Serialize for Report<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { project, date, comparison, repaired, .. } = self;
        let rows = comparison.rows.iter().map(|((event_type, currency), Row { stripe, amplitude })| {
            json!({"type": event_type, "currency": currency, "stripe": stripe, "amplitude": amplitude})
        });
        let list = |list: &BTreeMap<String, usize>| -> Vec<_> {
            list.iter().map(|(reason, events)| json!({"reason": reason, "events": events})).collect()
        };
        let hours: Vec<_> = comparison.unreadable.iter().map(|hour| clock::show(*hour)).collect();
        let not_ingested = repaired.map(|repair| repair.not_ingested);
        let repaired = repaired.map(|Repair { results, .. }| {
            let one = |(id, error): (&String, &Option<String>)| json!({"id": id, "error": error});
            results.iter().map(one).collect::<Vec<_>>()
        });
        let report = json!({
            "project": project,
            "day": date,
            "is_right": self.is_right,
            "rows": rows.collect::<Vec<_>>(),
            "ignored": list(&comparison.ignored),
            "elsewhere": list(&comparison.elsewhere),
            "differences": comparison.differences,
            "unreadable_hours": hours,
            "repaired": repaired,
            "not_ingested": not_ingested,
        });
        report.serialize(serializer)
    }
}

/// A row for each type and currency with both sides, and a mark if they differ.
fn table(rows: &BTreeMap<(String, Option<String>), Row>) -> String {
    if rows.is_empty() {
        return "Neither has an event on that day.\n".to_owned();
    }
    let sum = |tally: &Tally, currency: Option<&str>| tally.sum.map(|sum| figure(sum, currency)).unwrap_or_default();
    let mut cells = vec![["", "", "Stripe", "", "Amplitude", "", ""].map(str::to_owned)];
    cells.push(["type", "currency", "events", "sum", "events", "sum", ""].map(str::to_owned));
    for ((event_type, currency), row @ Row { stripe, amplitude }) in rows {
        cells.push([
            event_type.clone(),
            currency.clone().unwrap_or_default(),
            stripe.events.to_string(),
            sum(stripe, currency.as_deref()),
            amplitude.events.to_string(),
            sum(amplitude, currency.as_deref()),
            if row.stripe == row.amplitude { String::new() } else { "differs".to_owned() },
        ]);
    }
    let all = |side: fn(&Row) -> Tally| rows.values().map(|row| side(row).events).sum::<usize>().to_string();
    let (stripe, amplitude) = (all(|row| row.stripe), all(|row| row.amplitude));
    cells.push(["total".to_owned(), String::new(), stripe, String::new(), amplitude, String::new(), String::new()]);
    let width = |column: usize| cells.iter().filter_map(|line| line.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<_> = (0..7).map(width).collect();
    let mut table = String::new();
    for line in &cells {
        let mut text = String::new();
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            // Words are aligned to the left, numbers to the right.
            let is_word = column < 2 || column == 6;
            text.push_str(&if is_word { format!("{cell:<width$}  ") } else { format!("{cell:>width$}  ") });
        }
        table.push_str(text.trim_end());
        table.push('\n');
    }
    table
}

fn line(difference: &Difference) -> String {
    let Difference { id, event_type, time, stripe, amplitude, .. } = difference;
    let show = |amount: &Option<Amount>| amount.as_ref().map_or_else(|| "no amount".to_owned(), ToString::to_string);
    let mut words = format!("{id}  {event_type}  {time}");
    match (stripe, amplitude.as_slice()) {
        (None, []) => {}
        (stripe, []) => words.push_str(&format!("  {}", show(stripe))),
        (stripe, found) => {
            let found: Vec<_> = found.iter().map(show).collect();
            words.push_str(&format!("  {} in Amplitude", found.join(" and ")));
            if stripe.is_some() {
                words.push_str(&format!(", {} in Stripe", show(stripe)));
            }
        }
    }
    wrap("  ", 6, &words)
}

/// The result of a repair, with a line for each event and a summary.
pub(crate) fn repaired(Repair { results, not_ingested }: &Repair) -> String {
    let mut text = String::new();
    let mut sent = 0;
    for (id, error) in results {
        match error {
            Some(error) => text.push_str(&wrap("  ", 6, &format!("{id}: {error}"))),
            None => {
                sent += 1;
                text.push_str(&format!("  {id}: sent\n"));
            }
        }
    }
    let all = count(results.len(), "event");
    text.push_str(&format!("{sent} of {all} sent. Amplitude's export will have them in about three hours.\n"));
    text.extend(import::not_ingested(*not_ingested).map(|words| wrap("", 0, &words)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Money;

    fn tally(events: usize, sum: Option<i64>) -> Tally {
        Tally { events, sum: sum.map(Money::whole) }
    }

    #[test]
    fn table_marks_rows_that_differ() {
        let key = |event_type: &str, currency: Option<&str>| (event_type.to_owned(), currency.map(str::to_owned));
        let rows = [
            (key("balance.available", None), Row { stripe: tally(2, None), amplitude: tally(2, None) }),
            (key("charge.failed", Some("USD")), Row { stripe: tally(12, Some(120)), amplitude: tally(11, Some(90)) }),
        ];
        let expected = "                             Stripe          Amplitude
type               currency  events     sum     events    sum
balance.available                 2                  2
charge.failed      USD           12  120.00         11  90.00  differs
total                            14                 13
";
        assert_eq!(table(&rows.into()), expected);
    }

    #[test]
    fn difference_has_both_amounts() {
        let amount = |number| Some(Amount { money: Money::whole(number), currency: Some("USD".to_owned()) });
        let difference = Difference {
            kind: Kind::Doubled,
            id: "evt_1".to_owned(),
            event: None,
            event_type: "charge.failed".to_owned(),
            time: "2026-11-20 12:00:00".to_owned(),
            stripe: amount(20),
            amplitude: vec![amount(20), amount(21)],
            reason: None,
        };
        let expected = "  evt_1  charge.failed  2026-11-20 12:00:00  20.00 USD and 21.00 USD in Amplitude, 20.00 USD in\n      Stripe\n";
        assert_eq!(line(&difference), expected);
        let missing = Difference { amplitude: Vec::new(), ..difference };
        assert_eq!(line(&missing), "  evt_1  charge.failed  2026-11-20 12:00:00  20.00 USD\n");
    }
}
