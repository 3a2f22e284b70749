//! Lambda: what both functions do around their work, and their payloads.
//!
//! AWS's crates lambda_http and lambda_runtime do the rest: they poll Lambda for invocations, call the handler, and
//! return its response.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub mod gateway;
#[cfg(feature = "lambda")]
mod process;
pub mod queue;

#[cfg(feature = "lambda")]
pub use self::process::run;

/// The time until Lambda's deadline, in Unix milliseconds, from the context of an invocation. `None` for a deadline in
/// the past: some emulators do not set one, and Lambda would have ended the process.
pub fn time_left(deadline: u64) -> Option<Duration> {
    let deadline = UNIX_EPOCH.checked_add(Duration::from_millis(deadline))?;
    deadline.duration_since(SystemTime::now()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_ends_at_the_deadline() {
        let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
        let left = time_left(now + 60_000).unwrap();
        assert!(left <= Duration::from_secs(60) && left > Duration::from_secs(30), "{left:?}");
        for past in [0, now - 60_000] {
            assert_eq!(time_left(past), None);
        }
    }
}
