//! Compares this machine's clock with others. Pure.

use super::finding::Finding;

/// More than the latency of a request, in seconds.
const NOTABLE: i64 = 30;

/// The function's default tolerance for signatures, in seconds.
const TOLERANCE: i64 = 300;

/// `time` is that of the other clock when this machine's was `now`, both in Unix seconds; `None` if it is unknown.
pub(super) fn check(whose: &str, time: Option<i64>, now: i64) -> Finding {
    let Some(time) = time else {
        return Finding::skipped(format!("{whose} clock: the response had no date"));
    };
    let ahead = now - time;
    let difference =
        format!("this machine's clock is {} s {} {whose}", ahead.abs(), if ahead < 0 { "behind" } else { "ahead of" });
    if ahead.abs() > TOLERANCE {
        Finding::problem(format!(
            "{difference}: the function rejects what is signed here, because it tolerates only {TOLERANCE} s; synchronize the clock (NTP)"
        ))
    } else if ahead.abs() > NOTABLE {
        Finding::warning(format!(
            "{difference}; above {TOLERANCE} s, the function would reject what is signed here; synchronize the clock (NTP)"
        ))
    } else {
        Finding::ok(format!("this machine's clock and {whose} agree within {NOTABLE} s"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Grade;

    #[test]
    fn clock_difference_is_graded() {
        for (now, grade, words) in [
            (1000, Grade::Ok, "agree"),
            (1030, Grade::Ok, "agree"),
            (1031, Grade::Warning, "31 s ahead of Stripe's"),
            (969, Grade::Warning, "31 s behind Stripe's"),
            (1301, Grade::Problem, "301 s ahead"),
            (699, Grade::Problem, "301 s behind"),
        ] {
            let finding = check("Stripe's", Some(1000), now);
            assert_eq!(finding.grade, grade, "{finding:?}");
            assert!(finding.words.contains(words), "{finding:?}");
        }
        assert_eq!(check("Stripe's", None, 1).grade, Grade::Skipped);
    }
}
