//! The pipeline: from a Stripe event to a decision. Pure: no I/O, no clock.
//!
//! The webhook, redelivery, `backfill` and `preview` all decide here, so that an event is the same in Amplitude however
//! it arrived.

use thiserror::Error;

use crate::money::exchange_rate::MissingRate;
use crate::settings::{Settings, TestEvents, WithoutUser};
use crate::stripe::event::Event;
use crate::stripe::field_path::Path;
use crate::translate::redaction::Reason;
use crate::translate::revenue::Revenue;
use crate::translate::{Context, Translation, Unread, resolve, translate, user};

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

/// What to do with an event.
pub enum Decision<'b> {
    /// It is deliberately not forwarded. The translation is there if it was needed to decide.
    Ignore(IgnoreReason, Option<Box<Translation<'b>>>),
    /// Read this object from Stripe, add it to the context's objects, and call [`forward`] again with the event.
    Read(Box<Event<'b>>, Unread),
    /// Send it to Amplitude.
    Send(Box<Translation<'b>>),
}

/// Why an event is ignored: the setting responsible. The operator reads it in Stripe's dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IgnoreReason {
    /// The type is not forwarded by default, and `events` does not add it; or `events` removes it.
    #[error("events of this type are not forwarded; the setting `events` changes the list of types")]
    EventType,
    /// `test_events`.
    #[error("a test-mode event; the setting `test_events` ignores them")]
    TestEvent,
    /// `test_events: "forward"`, for a project without a test key.
    #[error(
        "a test-mode event of a connected account, which live Connect endpoints also receive; store the key of an Amplitude project for tests in amplitude-test-api-key, or set `test_events` to \"forward_all\" in a sandbox"
    )]
    ConnectedTestEvent,
    /// `max_age_days`.
    #[error(
        "the event happened more than {days} days before its receipt, and Amplitude might count it twice; run `backfill`, which looks it up first, or change the limit with the setting `max_age_days`"
    )]
    TooOld {
        /// As set.
        days: u32,
    },
    /// `without_user: "ignore"`.
    #[error("the event has no user; the setting `without_user` ignores such events")]
    NoUser,
    /// `without_user: "revenue_only"`.
    #[error("the event has no user and no revenue; the setting `without_user` ignores such events")]
    NoUserNoRevenue,
}

/// Decides what to do with an event of a project. `received` is the time of its receipt, in Unix seconds: the age of an
/// event counts up to then, so waiting in the queue makes no event too old. `audit` is called with each removed field
/// and the reason; [`unaudited`] does nothing.
///
/// ```
/// # use stripe_amplitude::forward::{Decision, IgnoreReason, forward, unaudited};
/// # use stripe_amplitude::settings::Settings;
/// # use stripe_amplitude::stripe::event::Event;
/// # use stripe_amplitude::stripe::signature::VerifiedBody;
/// # use stripe_amplitude::translate::Context;
/// let json = r#"{"id": "evt_1", "object": "event", "type": "charge.succeeded", "created": 1720000000,
///     "livemode": true, "data": {"object": {"id": "ch_1", "object": "charge", "metadata": {"user_id": "user_1"}}}}"#;
/// let body = VerifiedBody::trusted(json.into());
/// let (project, settings) = ("shop".parse()?, Settings::default());
/// let context = Context { project: &project, source: None, settings: &settings, has_test_key: false, objects: None };
///
/// match forward(Event::parse(&body)?, &context, 1_720_000_001, &mut unaudited)? {
///     Decision::Send(translation) => assert_eq!(translation.event.user_id.as_deref(), Some("user_1")),
///     Decision::Read(..) | Decision::Ignore(..) => unreachable!(),
/// }
/// // Ten days later, Amplitude might count it twice.
/// match forward(Event::parse(&body)?, &context, 1_720_864_000, &mut unaudited)? {
///     Decision::Ignore(reason, _) => assert_eq!(reason, IgnoreReason::TooOld { days: 7 }),
///     Decision::Read(..) | Decision::Send(_) => unreachable!(),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the project converts amounts and has no rate for the currency of this event.
pub fn forward<'b>(
    event: Event<'b>,
    context: &Context<'_>,
    received: u64,
    audit: &mut impl FnMut(&Path<'_>, Reason),
) -> Result<Decision<'b>, MissingRate> {
    if let Err(reason) = select(&event, context, received) {
        return Ok(Decision::Ignore(reason, None));
    }
    let resolved = match resolve(&event, context, &mut user::no_audit) {
        Ok(resolved) => resolved,
        Err(unread) => return Ok(Decision::Read(Box::new(event), unread)),
    };
    let translation = Box::new(translate(event, resolved, context, audit)?);
    Ok(match select_translated(&translation, context.settings) {
        Ok(()) => Decision::Send(translation),
        Err(reason) => Decision::Ignore(reason, Some(translation)),
    })
}

/// An audit for callers that do not need one.
pub fn unaudited(_: &Path<'_>, _: Reason) {}

/// Whether the project wants this event, judging by the event alone. [`forward`] calls it first. Callers that queue
/// untranslated events call it on its own. `received` is in Unix seconds.
///
/// # Errors
/// Why the project does not want it.
pub fn select(event: &Event<'_>, context: &Context<'_>, received: u64) -> Result<(), IgnoreReason> {
    let settings = context.settings;
    if !settings.events.contains(&event.event_type) {
        return Err(IgnoreReason::EventType);
    }
    if event.livemode == Some(false) {
        match settings.test_events {
            TestEvents::Drop => return Err(IgnoreReason::TestEvent),
            TestEvents::Forward if event.account.is_some() && !context.has_test_key => {
                return Err(IgnoreReason::ConnectedTestEvent);
            }
            TestEvents::Forward | TestEvents::ForwardAll => {}
        }
    }
    if let Some(days) = settings.max_age_days {
        // An event from the future is not old, and one from before 1970 is.
        let age = received.saturating_sub(event.created.try_into().unwrap_or(0));
        if age > u64::from(days) * SECONDS_PER_DAY {
            return Err(IgnoreReason::TooOld { days });
        }
    }
    Ok(())
}

/// Whether the project wants this event, once its user and its revenue are known. Each guest counts towards Amplitude's
/// billing.
fn select_translated(translation: &Translation<'_>, settings: &Settings) -> Result<(), IgnoreReason> {
    match settings.without_user {
        _ if translation.event.user_id.is_some() => Ok(()),
        WithoutUser::Forward => Ok(()),
        WithoutUser::RevenueOnly if translation.event.revenue.is_some() => Ok(()),
        // It moved money and is marked. Without it, the gap would go unnoticed.
        WithoutUser::RevenueOnly if translation.revenue == Revenue::Unknown => Ok(()),
        WithoutUser::RevenueOnly => Err(IgnoreReason::NoUserNoRevenue),
        WithoutUser::Ignore => Err(IgnoreReason::NoUser),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::stripe::event::tests::event;

    const NOW: u64 = 1_800_000_000;

    /// The sample event of a type, happening now.
    fn sample(event_type: &str) -> Value {
        let mut envelope = crate::stripe::event::tests::sample(event_type);
        envelope["created"] = json!(NOW);
        envelope
    }

    fn decided(settings: &str, envelope: &Value) -> Decision<'static> {
        let (project, settings) = ("demo".parse().unwrap(), Settings::parse(settings).unwrap());
        let context =
            Context { project: &project, source: None, settings: &settings, has_test_key: false, objects: None };
        forward(event(envelope), &context, NOW, &mut unaudited).unwrap()
    }

    fn ignored(settings: &str, envelope: &Value) -> Result<(), IgnoreReason> {
        match decided(settings, envelope) {
            Decision::Send(_) => Ok(()),
            Decision::Ignore(reason, _) => Err(reason),
            Decision::Read(..) => panic!("nothing has to be read"),
        }
    }

    fn selected(settings: &str, changes: Value) -> Result<(), IgnoreReason> {
        let mut envelope = sample("charge.succeeded");
        envelope.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let (project, parsed) = ("demo".parse().unwrap(), Settings::parse(settings).unwrap());
        let context =
            Context { project: &project, source: None, settings: &parsed, has_test_key: false, objects: None };
        let alone = select(&event(&envelope), &context, NOW);
        assert_eq!(alone, ignored(settings, &envelope), "the queue accepts exactly the forwarded events");
        alone
    }

    #[test]
    fn settings_select_the_types() {
        let other = json!({"type": "customer.created"});
        assert_eq!(selected("{}", json!({})), Ok(()));
        assert_eq!(selected("{}", other.clone()), Err(IgnoreReason::EventType));
        assert_eq!(selected(r#"{"events": {"add": ["customer.*"]}}"#, other), Ok(()));
        assert_eq!(selected(r#"{"events": {"remove": ["charge.*"]}}"#, json!({})), Err(IgnoreReason::EventType));
    }

    #[test]
    fn settings_ignore_test_events() {
        let drop = r#"{"test_events": "drop"}"#;
        for (settings, livemode, expected) in [
            ("{}", json!(false), Ok(())),
            (drop, json!(false), Err(IgnoreReason::TestEvent)),
            (drop, json!(true), Ok(())),
            // An event without the field is not treated as a test.
            (drop, json!(null), Ok(())),
        ] {
            assert_eq!(selected(settings, json!({"livemode": livemode})), expected, "{settings} {livemode}");
        }
    }

    #[test]
    fn the_age_limit_is_exact() {
        let day = 24 * 60 * 60;
        let (default, three, none) = ("{}", r#"{"max_age_days": 3}"#, r#"{"max_age_days": 0}"#);
        for (settings, created, expected) in [
            (default, json!(NOW - 7 * day), Ok(())),
            (default, json!(NOW - 7 * day - 1), Err(IgnoreReason::TooOld { days: 7 })),
            (default, json!(NOW + 7 * day), Ok(())),
            (default, json!(-1), Err(IgnoreReason::TooOld { days: 7 })),
            (three, json!(NOW - 3 * day - 1), Err(IgnoreReason::TooOld { days: 3 })),
            (none, json!(0), Ok(())),
        ] {
            assert_eq!(selected(settings, json!({"created": created})), expected, "{settings} {created}");
        }
    }

    #[test]
    fn connected_test_events_need_a_test_key_or_a_setting() {
        let connected = json!({"livemode": false, "account": "acct_1"});
        for (settings, changes, expected) in [
            ("{}", connected.clone(), Err(IgnoreReason::ConnectedTestEvent)),
            ("{}", json!({"livemode": true, "account": "acct_1"}), Ok(())),
            ("{}", json!({"livemode": false}), Ok(())),
            (r#"{"test_events": "forward_all"}"#, connected.clone(), Ok(())),
            (r#"{"test_events": "drop"}"#, connected.clone(), Err(IgnoreReason::TestEvent)),
        ] {
            assert_eq!(selected(settings, changes.clone()), expected, "{settings} {changes}");
        }
        let (project, settings) = ("demo".parse().unwrap(), Settings::default());
        let context =
            Context { project: &project, source: None, settings: &settings, has_test_key: true, objects: None };
        let mut envelope = sample("charge.succeeded");
        envelope.as_object_mut().unwrap().extend(connected.as_object().unwrap().clone());
        assert_eq!(select(&event(&envelope), &context, NOW), Ok(()), "they go to the test key");
    }

    #[test]
    fn settings_decide_about_guests() {
        let (none, revenue_only, ignore) =
            ("{}", r#"{"without_user": "revenue_only"}"#, r#"{"without_user": "ignore"}"#);
        for (settings, event_type, user, expected) in [
            (none, "charge.succeeded", None, Ok(())),
            (none, "payment_intent.succeeded", None, Ok(())),
            (revenue_only, "charge.succeeded", None, Err(IgnoreReason::NoUserNoRevenue)),
            (revenue_only, "payment_intent.succeeded", None, Ok(())),
            (revenue_only, "charge.succeeded", Some("u"), Ok(())),
            (ignore, "charge.succeeded", None, Err(IgnoreReason::NoUser)),
            (ignore, "payment_intent.succeeded", None, Err(IgnoreReason::NoUser)),
            (ignore, "charge.succeeded", Some("u"), Ok(())),
        ] {
            let mut envelope = sample(event_type);
            let object = &mut envelope["data"]["object"];
            object["metadata"] = json!({ "user_id": user });
            (object["customer"], object["receipt_email"]) = (json!(null), json!(null));
            assert_eq!(ignored(settings, &envelope), expected, "{event_type} {user:?}");
            // Callers that explain why an event is ignored also show its user.
            let without_user = matches!(decided(settings, &envelope), Decision::Ignore(_, Some(_)));
            assert_eq!(without_user, expected.is_err());
        }
    }

    #[test]
    fn guests_with_unknown_revenue_are_forwarded() {
        let mut envelope = sample("payment_intent.succeeded");
        let object = envelope["data"]["object"].as_object_mut().unwrap();
        for field in ["amount_received", "metadata", "customer", "receipt_email"] {
            object.remove(field);
        }
        assert_eq!(ignored(r#"{"without_user": "revenue_only"}"#, &envelope), Ok(()));
        assert_eq!(ignored(r#"{"without_user": "ignore"}"#, &envelope), Err(IgnoreReason::NoUser));
    }

    #[test]
    fn removed_fields_are_audited() {
        let (project, settings) = ("demo".parse().unwrap(), Settings::default());
        let context =
            Context { project: &project, source: None, settings: &settings, has_test_key: false, objects: None };
        let mut removed = Vec::new();
        let envelope = sample("payment_intent.succeeded");
        let decision = forward(event(&envelope), &context, NOW, &mut |path, _| removed.push(path.to_string())).unwrap();
        assert!(matches!(decision, Decision::Send(_)));
        assert!(removed.iter().any(|path| path == "client_secret"), "{removed:?}");
    }
}
