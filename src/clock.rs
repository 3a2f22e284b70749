//! The wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// What tells the time: `SystemTime::now`, or in a simulation its own clock.
pub(crate) type Clock = fn() -> SystemTime;

/// Unix seconds.
pub(crate) fn now() -> u64 {
    unix_seconds(SystemTime::now())
}

/// The same of any clock.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
