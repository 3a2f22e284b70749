//! The current time, and times as people write them, in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;

/// Seconds of an hour.
pub const HOUR: i64 = 60 * 60;
/// Seconds of a day.
pub const DAY: i64 = 24 * HOUR;
/// Seconds of a week.
pub const WEEK: i64 = 7 * DAY;

/// Unix seconds.
pub fn now() -> u64 {
    since_1970().as_secs()
}

/// Unix milliseconds.
pub fn now_milliseconds() -> u64 {
    u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX)
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Parses a day (`2026-11-01`), which means its beginning, a time (`2026-11-01T12:00:00Z`), or Unix seconds.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_time(text: &str) -> Result<i64, String> {
    let seconds = text.parse().ok().filter(|_| text.len() >= 9);
    let day = || parse_day(text).ok();
    let time = || text.parse::<Timestamp>().ok().map(Timestamp::as_second);
    let expected = "expected a day (2026-11-01), a time (2026-11-01T12:00:00Z) or Unix seconds";
    seconds.or_else(day).or_else(time).ok_or_else(|| expected.to_owned())
}

/// Parses a day, such as `2026-11-20`, and returns its beginning.
///
/// # Errors
/// A sentence that says what was expected.
pub fn parse_day(text: &str) -> Result<i64, String> {
    // The parser of days would also accept a time, and drop it.
    let day = (text.len() == "2026-11-20".len()).then(|| text.parse().ok()).flatten();
    day.and_then(start_of_day).ok_or_else(|| "expected a day in UTC, such as 2026-11-20".to_owned())
}

fn start_of_day(day: Date) -> Option<i64> {
    TimeZone::UTC.to_timestamp(day.into()).ok().map(Timestamp::as_second)
}

/// Unix seconds of a response's `Date` header.
pub fn parse_http_date(text: &str) -> Option<i64> {
    rfc2822::parse(text).ok().map(|time| time.timestamp().as_second())
}

/// Unix seconds for people: `2026-11-01 12:00:00`.
pub fn show(seconds: i64) -> String {
    in_utc(seconds, "%Y-%m-%d %H:%M:%S")
}

/// The day of Unix seconds in the format of Stripe's descriptions: `12 Oct 2026`.
pub fn show_day(seconds: i64) -> String {
    in_utc(seconds, "%-d %b %Y")
}

/// Unix seconds in a format of `strftime`.
pub fn in_utc(seconds: i64, format: &str) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or(if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX });
    time.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_parsed() {
        for (text, expected) in [
            ("2026-11-01", Some(1_793_491_200)),
            ("2026-11-01T12:00:00Z", Some(1_793_534_400)),
            ("2026-11-01T12:00:00+01:00", Some(1_793_530_800)),
            ("1793491200", Some(1_793_491_200)),
            ("yesterday", None),
            ("2026-13-01", None),
            ("2026", None),
            ("", None),
        ] {
            assert_eq!(parse_time(text).ok(), expected, "{text}");
        }
        assert_eq!(parse_day("2026-11-01"), Ok(1_793_491_200));
        assert!(parse_day("2026-11-01T12:00:00Z").is_err());
    }

    #[test]
    fn http_dates_are_parsed() {
        assert_eq!(parse_http_date("Sun, 01 Nov 2026 12:00:00 GMT"), Some(1_793_534_400));
        assert_eq!(parse_http_date("today"), None);
    }

    #[test]
    fn times_are_in_utc() {
        assert_eq!(show(1_793_534_400), "2026-11-01 12:00:00");
        assert_eq!(in_utc(1_793_534_400, "%Y%m%dT%H"), "20261101T12");
        show(i64::MAX);
        show(i64::MIN);
    }
}
