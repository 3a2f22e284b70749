//! Events that Stripe could not deliver. Pure.

use stripe_amplitude::projects::name::ProjectName;

use super::finding::Finding;
use crate::clock::{self, DAY};
use crate::terminal::count;

/// How long Stripe retries, in seconds.
pub(super) const STRIPE_RETRIES_FOR: i64 = 3 * DAY;

/// Where counting stops.
pub(super) const MAX_COUNTED: usize = 1000;

/// `since` is in Unix seconds.
pub(super) fn check(number: usize, project: &ProjectName, since: i64) -> Finding {
    if number == 0 {
        return Finding::ok("all events of the last three days were delivered");
    }
    Finding::warning(format!(
        "{}{} of the last three days {} pending or failed at one endpoint or more. Stripe retries for three days. Import what it does not deliver: `backfill --project {project} --since {} --undelivered`",
        if number >= MAX_COUNTED { "at least " } else { "" },
        count(number, "event"),
        if number == 1 { "is" } else { "are" },
        clock::in_utc(since, "%Y-%m-%d")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Grade;

    #[test]
    fn undelivered_events_are_a_warning_with_a_command() {
        let check = |number| check(number, &"shop".parse().unwrap(), 1_793_491_200);
        assert_eq!(check(0).grade, Grade::Ok);
        for (number, start) in [(1, "1 event of"), (999, "999 events of"), (MAX_COUNTED, "at least 1000 events of")] {
            let finding = check(number);
            assert_eq!(finding.grade, Grade::Warning);
            assert!(finding.words.starts_with(start), "{finding:?}");
            assert!(finding.words.contains("--project shop --since 2026-11-01 --undelivered"), "{finding:?}");
        }
    }
}
