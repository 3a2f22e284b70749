//! This machine's clock against those of others. Pure.

use super::finding::Finding;

/// More than that is no delay on the way.
const NOTABLE: i64 = 30;

/// The function refuses signatures that are older or younger than that by its clock, unless its variables say otherwise.
const TOLERANCE: i64 = 300;

/// Whose clock, and what it said when this machine's said `now`; both in Unix seconds. `None` where it said nothing.
pub(super) fn check(whose: &str, said: Option<i64>, now: i64) -> Finding {
    let Some(said) = said else {
        return Finding::skipped(format!("{whose} clock: the answer had no date"));
    };
    let ahead = now - said;
    let difference =
        format!("this machine's clock is {} s {} {whose}", ahead.abs(), if ahead < 0 { "behind" } else { "ahead of" });
    if ahead.abs() > TOLERANCE {
        Finding::problem(format!(
            "{difference}: what is signed here is refused, because the function takes no more than {TOLERANCE} s; let the system set its clock (NTP)"
        ))
    } else if ahead.abs() > NOTABLE {
        Finding::warning(format!(
            "{difference}; above {TOLERANCE} s, what is signed here would be refused; let the system set its clock (NTP)"
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
    fn a_clock_that_is_off_is_told_and_one_that_signs_in_vain_is_a_problem() {
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
