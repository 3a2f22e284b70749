//! Whether events are too old to list, or to send without a lookup. Pure; all times are in Unix seconds.

use crate::amplitude::known::is_beyond_the_window;
use crate::clock;
use crate::stripe::events::REACH;

/// Checks that Stripe still lists the events since `start`.
///
/// # Errors
/// A sentence, if not.
pub(super) fn check_listed(start: i64, now: i64) -> Result<(), String> {
    let oldest = now - REACH;
    if start < oldest {
        let oldest = clock::show(oldest);
        return Err(format!(
            "Stripe lists events of the last 30 days only, since {oldest}; import older ones from a file"
        ));
    }
    Ok(())
}

/// What decides whether an event could count twice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookup {
    /// When the oldest event was created.
    pub(super) oldest: i64,
    /// Whether there is a secret key to look events up with.
    pub(super) has_secret_key: bool,
    /// Whether the operator knows that Amplitude has none of the events.
    pub(super) assume_missing: bool,
    /// Whether an earlier run may have sent a request that Amplitude would not recognize as a repeat any more.
    pub(super) has_stale_request: bool,
}

/// Checks that no event can count twice.
///
/// # Errors
/// A sentence that says what to do.
pub(super) fn check_lookup(lookup: Lookup, now: i64) -> Result<(), String> {
    let Lookup { oldest, has_secret_key, assume_missing, has_stale_request } = lookup;
    if has_secret_key && !assume_missing {
        return Ok(());
    }
    if has_stale_request {
        return Err(
            "an earlier run died more than seven days ago during a request. Amplitude may have accepted it, and would not drop the repeats any more: set AMPLITUDE_SECRET_KEY and omit --assume-missing, so that each event is looked up before it is sent".to_owned(),
        );
    }
    if !assume_missing && is_beyond_the_window(oldest, now) {
        return Err(
            "some events may be more than seven days old, and Amplitude would count those again that it has: set AMPLITUDE_SECRET_KEY to look each up before it is sent, or pass --assume-missing if you know that Amplitude has none of them".to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::DAY;

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn stripe_lists_thirty_days() {
        assert!(check_listed(NOW - 30 * DAY, NOW).is_ok());
        assert!(check_listed(NOW - 30 * DAY - 1, NOW).is_err());
    }

    #[test]
    fn old_events_need_a_lookup() {
        let young =
            Lookup { oldest: NOW - DAY, has_secret_key: false, assume_missing: false, has_stale_request: false };
        let old = Lookup { oldest: NOW - 8 * DAY, ..young };
        assert!(check_lookup(young, NOW).is_ok());
        assert!(check_lookup(old, NOW).is_err());
        assert!(check_lookup(Lookup { has_secret_key: true, ..old }, NOW).is_ok());
        assert!(check_lookup(Lookup { assume_missing: true, ..old }, NOW).is_ok());
    }

    #[test]
    fn stale_in_flight_events_require_lookup() {
        let stale = Lookup { oldest: NOW, has_secret_key: true, assume_missing: false, has_stale_request: true };
        assert!(check_lookup(stale, NOW).is_ok());
        assert!(check_lookup(Lookup { has_secret_key: false, ..stale }, NOW).is_err());
        assert!(check_lookup(Lookup { assume_missing: true, ..stale }, NOW).is_err());
    }
}
