//! The time at which an event is sent or received.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds of a day, and of a week.
pub(crate) const DAY: i64 = 24 * 60 * 60;
pub(crate) const WEEK: i64 = 7 * DAY;

/// Unix seconds.
pub(crate) fn now() -> u64 {
    since_1970().as_secs()
}

/// Unix milliseconds.
pub(crate) fn now_milliseconds() -> u64 {
    u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX)
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
