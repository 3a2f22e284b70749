//! The report at the end of a backfill. Pure.

use std::path::Path;

use super::cursor::Counts;
use crate::amplitude::import;
use crate::terminal::wrap;

/// `rejected_file`: where the rejected events are.
pub(super) fn report(counts: Counts, rejected_file: &Path) -> String {
    let Counts { sent, known, ignored, rejected, of_another_time, not_ingested } = counts;
    let mut report = format!("{sent} sent, {ignored} ignored by the settings, {rejected} rejected");
    for (number, what) in [(known, "already in Amplitude"), (of_another_time, "outside the time range")] {
        if number > 0 {
            report.push_str(&format!(", {number} {what}"));
        }
    }
    report.push_str(".\n");
    if let Some(words) = import::not_ingested(not_ingested) {
        report.push_str(&wrap("", 0, &words));
    }
    if rejected > 0 {
        let text = format!(
            "The rejected events are in {}, each with the reason. Once it is fixed, import them with --from-file.",
            rejected_file.display()
        );
        report.push_str(&wrap("", 0, &text));
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(counts: Counts) -> String {
        report(counts, Path::new("rejected.ndjson"))
    }

    #[test]
    fn main_counts_are_always_reported() {
        let counts = Counts { sent: 3, ..Counts::default() };
        assert_eq!(reported(counts), "3 sent, 0 ignored by the settings, 0 rejected.\n");
    }

    #[test]
    fn other_counts_are_reported_unless_zero() {
        let counts = Counts { ignored: 1, known: 2, of_another_time: 4, ..Counts::default() };
        let expected =
            "0 sent, 1 ignored by the settings, 0 rejected, 2 already in Amplitude, 4 outside the time range.\n";
        assert_eq!(reported(counts), expected);
        assert!(reported(Counts { not_ingested: 5, ..counts }).lines().nth(1).unwrap().starts_with('5'));
    }

    #[test]
    fn rejected_events_are_reported_with_their_file() {
        let text = reported(Counts { rejected: 1, ..Counts::default() });
        assert!(text.contains("rejected.ndjson") && text.contains("--from-file"), "{text}");
    }
}
