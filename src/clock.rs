//! The wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// A source of the time: `SystemTime::now`, or the clock of a simulation.
pub(crate) type Clock = fn() -> SystemTime;

/// The current time, in Unix seconds.
pub(crate) fn now() -> u64 {
    unix_seconds(SystemTime::now())
}

/// A time in Unix seconds.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
