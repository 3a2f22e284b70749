//! Which events are forwarded, and which are left out on purpose. Pure: `now` is an argument.

use thiserror::Error;

use crate::settings::{Settings, TestEvents, WithoutUser};
use crate::stripe::event::Event;
use crate::translate::Translation;

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// Why an event is left out: the settings that say so. The operator reads it in Stripe's dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LeftOut {
    /// The type is not forwarded by default, and `events` does not add it; or removes it.
    #[error("events of this type are not on the list of those to forward; the setting `events` changes the list")]
    Type,
    /// `test_events`.
    #[error("a test-mode event; the setting `test_events` leaves them out")]
    TestEvent,
    /// `max_age_days`.
    #[error("it happened more than {days} days ago; the setting `max_age_days` leaves such events out")]
    Age {
        /// As set.
        days: u32,
    },
    /// `without_user`, for all.
    #[error("it names no user; the setting `without_user` leaves such events out")]
    NoUser,
    /// `without_user`, for those without revenue.
    #[error("it names no user and carries no revenue; the setting `without_user` leaves such events out")]
    NoUserNoRevenue,
}

/// Whether the project wants this event. `now` is in Unix seconds.
///
/// # Errors
/// Why it does not.
pub fn select(event: &Event<'_>, settings: &Settings, now: u64) -> Result<(), LeftOut> {
    if !settings.events.contains(&event.event_type) {
        return Err(LeftOut::Type);
    }
    if settings.test_events == TestEvents::Drop && event.livemode == Some(false) {
        return Err(LeftOut::TestEvent);
    }
    if let Some(days) = settings.max_age_days {
        // What happens in the future is not old, and what happened before 1970 is.
        let age = now.saturating_sub(event.created.try_into().unwrap_or(0));
        if age > u64::from(days) * SECONDS_PER_DAY {
            return Err(LeftOut::Age { days });
        }
    }
    Ok(())
}

/// Whether the project wants this event, now that its user and its revenue are known. Each guest counts towards
/// Amplitude's billing.
///
/// # Errors
/// Why it does not.
pub fn select_translated(translation: &Translation, settings: &Settings) -> Result<(), LeftOut> {
    match settings.without_user {
        _ if translation.event.user_id.is_some() => Ok(()),
        WithoutUser::Forward => Ok(()),
        WithoutUser::RevenueOnly if translation.event.revenue.is_some() => Ok(()),
        WithoutUser::RevenueOnly => Err(LeftOut::NoUserNoRevenue),
        WithoutUser::Ignore => Err(LeftOut::NoUser),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stripe::event::tests::{event, sample};
    use crate::translate::{Context, translate};

    const NOW: u64 = 1_800_000_000;

    fn selected(settings: &str, changes: serde_json::Value) -> Result<(), LeftOut> {
        let mut envelope = sample("charge.succeeded");
        envelope["created"] = json!(NOW);
        envelope.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        select(&event(&envelope), &Settings::parse(settings).unwrap(), NOW)
    }

    #[test]
    fn types_are_those_of_the_settings() {
        let other = json!({"type": "customer.created"});
        assert_eq!(selected("{}", json!({})), Ok(()));
        assert_eq!(selected("{}", other.clone()), Err(LeftOut::Type));
        assert_eq!(selected(r#"{"events": {"add": ["customer.*"]}}"#, other), Ok(()));
        assert_eq!(selected(r#"{"events": {"remove": ["charge.*"]}}"#, json!({})), Err(LeftOut::Type));
    }

    #[test]
    fn test_events_are_left_out_where_the_settings_say_so() {
        let drop = r#"{"test_events": "drop"}"#;
        for (settings, livemode, expected) in [
            ("{}", json!(false), Ok(())),
            (drop, json!(false), Err(LeftOut::TestEvent)),
            (drop, json!(true), Ok(())),
            // Who does not say is not taken for a test.
            (drop, json!(null), Ok(())),
        ] {
            assert_eq!(selected(settings, json!({"livemode": livemode})), expected, "{settings} {livemode}");
        }
    }

    #[test]
    fn old_events_are_left_out_to_the_second() {
        let week = 7 * 24 * 60 * 60;
        let seven = r#"{"max_age_days": 7}"#;
        for (settings, created, expected) in [
            ("{}", json!(0), Ok(())),
            (seven, json!(NOW - week), Ok(())),
            (seven, json!(NOW - week - 1), Err(LeftOut::Age { days: 7 })),
            (seven, json!(NOW + week), Ok(())),
            (seven, json!(-1), Err(LeftOut::Age { days: 7 })),
        ] {
            assert_eq!(selected(settings, json!({"created": created})), expected, "{settings} {created}");
        }
    }

    #[test]
    fn guests_are_forwarded_for_their_revenue_or_left_out() {
        let (none, revenue_only, ignore) =
            ("{}", r#"{"without_user": "revenue_only"}"#, r#"{"without_user": "ignore"}"#);
        for (settings, event_type, user, expected) in [
            (none, "charge.succeeded", None, Ok(())),
            (none, "payment_intent.succeeded", None, Ok(())),
            (revenue_only, "charge.succeeded", None, Err(LeftOut::NoUserNoRevenue)),
            (revenue_only, "payment_intent.succeeded", None, Ok(())),
            (revenue_only, "charge.succeeded", Some("u"), Ok(())),
            (ignore, "charge.succeeded", None, Err(LeftOut::NoUser)),
            (ignore, "payment_intent.succeeded", None, Err(LeftOut::NoUser)),
            (ignore, "charge.succeeded", Some("u"), Ok(())),
        ] {
            let mut envelope = sample(event_type);
            let object = &mut envelope["data"]["object"];
            object["metadata"] = json!({ "user_id": user });
            (object["customer"], object["receipt_email"]) = (json!(null), json!(null));
            let (project, settings) = ("demo".parse().unwrap(), Settings::parse(settings).unwrap());
            let context = Context { project: &project, source: None, settings: &settings };
            let translation = translate(event(&envelope), &context).unwrap();
            assert_eq!(select_translated(&translation, &settings), expected, "{event_type} {user:?}");
        }
    }
}
