//! The steps of a rotation, which uses a second endpoint. The next step follows from the state of Stripe and Parameter
//! Store alone, so that any operator can continue a rotation that stopped anywhere.
//!
//! No event is lost, because at each moment every process of the function, whether it read the parameters just now or
//! minutes ago, accepts everything that Stripe still sends:
//!
//! - Until the second endpoint is opened, Stripe signs with the old secret only, which every process has. The second
//!   endpoint is enabled for a type that no account sends.
//! - While both are open, a process that read the parameters before the new secret was written reads them again at the
//!   first signature that matches no secret. If it still rejects a delivery, it has received the event from the old
//!   endpoint, and Stripe retries. Both deliveries have the same insert ID and device ID, so Amplitude counts one; and the
//!   same label, so their order does not matter.
//! - The old endpoint is deleted when it has no pending deliveries: earlier events were delivered, and later ones also go to
//!   the second endpoint. From then on Stripe signs with the new secret only.
//! - Only then is the old secret overwritten, and after that the second parameter deleted. At each moment, one of the two
//!   holds the new secret.

use super::difference::is_open;
use super::mark;
use crate::clock::DAY;
use crate::stripe::endpoints::WebhookEndpoint;

/// Stripe gives up on a delivery after three days.
const GIVEN_UP_AFTER: i64 = 3 * DAY;

/// The type that an endpoint is enabled for until the function has its secret. Stripe requires one, and sends this one in
/// test mode only, when Stripe itself fails.
pub(super) const HARMLESS_TYPE: &str = "test_helpers.test_clock.internal_failure";

/// What Stripe and Parameter Store hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct State<'s> {
    pub(super) old: Option<&'s WebhookEndpoint>,
    pub(super) next: Option<&'s WebhookEndpoint>,
    pub(super) current_secret: Option<&'s str>,
    pub(super) next_secret: Option<&'s str>,
    /// The event types that the project's settings select.
    pub(super) types: &'s [String],
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<'s> {
    /// No rotation is under way. One begins by creating the second endpoint and storing its secret.
    Begin,
    /// Delete the second endpoint, because its secret was lost.
    Discard { id: &'s str },
    /// Check the new secret, and enable the second endpoint for all types.
    Open { id: &'s str, secret: &'s str },
    /// Note since when the second endpoint receives every event. After opening it, which may take long.
    Note { id: &'s str },
    /// Delete the old endpoint once it has no pending deliveries.
    Retire { old: &'s WebhookEndpoint, complete_since: i64 },
    /// Write the new secret over the old one.
    Overwrite { secret: &'s str },
    /// Mark the second endpoint as the one whose secret is in the first parameter.
    Mark { id: &'s str },
    /// Delete the second parameter. `is_end` if that ends a rotation, rather than removing a leftover.
    Tidy { is_end: bool },
}

impl Step<'_> {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Begin => Kind::Begin,
            Self::Discard { .. } => Kind::Discard,
            Self::Open { .. } => Kind::Open,
            Self::Note { .. } => Kind::Note,
            Self::Retire { .. } => Kind::Retire,
            Self::Overwrite { .. } => Kind::Overwrite,
            Self::Mark { .. } => Kind::Mark,
            Self::Tidy { .. } => Kind::Tidy,
        }
    }
}

/// A step without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Begin,
    Discard,
    Open,
    Note,
    Retire,
    Overwrite,
    Mark,
    Tidy,
}

/// Whether the state read after a step predates it: both Parameter Store and Stripe may show a change late. After the first
/// step, a secret that is not visible yet must not be mistaken for a lost one.
pub(super) fn is_outdated(done: Option<Kind>, seen: Kind) -> bool {
    done == Some(seen) || (done == Some(Kind::Begin) && seen == Kind::Discard)
}

pub(super) fn next_step(state: State<'_>) -> Step<'_> {
    let State { old, next, current_secret, next_secret, types } = state;
    match (next, next_secret) {
        (None, None) => Step::Begin,
        (None, Some(_)) => Step::Tidy { is_end: current_secret == next_secret },
        (Some(next), None) if old.is_some() => Step::Discard { id: &next.id },
        // The parameter was deleted by hand after the old endpoint. Its secret may have been written to the first one, and
        // this is the only endpoint, so keep it.
        (Some(next), None) => Step::Mark { id: &next.id },
        (Some(next), Some(secret)) if !is_open(next, types) => Step::Open { id: &next.id, secret },
        (Some(next), Some(secret)) => match (mark::noted_complete_since(next), old) {
            (None, _) => Step::Note { id: &next.id },
            (Some(complete_since), Some(old)) => Step::Retire { old, complete_since },
            (Some(_), None) if current_secret != Some(secret) => Step::Overwrite { secret },
            (Some(_), None) => Step::Mark { id: &next.id },
        },
    }
}

/// Whether a rotation has begun and not ended.
pub(super) fn is_under_way(state: State<'_>) -> bool {
    !matches!(next_step(state), Step::Begin | Step::Tidy { is_end: false })
}

/// Whether the old endpoint may have pending deliveries that can still succeed. Not if it is disabled, or the function does
/// not have its secret, or Stripe has given up, after three days.
pub(super) fn may_have_pending(state: State<'_>, old: &WebhookEndpoint, complete_since: i64, now: i64) -> bool {
    old.is_enabled() && state.current_secret.is_some() && now < given_up_at(complete_since)
}

/// When Stripe has given up on every event that only the old endpoint receives.
pub(super) fn given_up_at(complete_since: i64) -> i64 {
    complete_since.saturating_add(GIVEN_UP_AFTER)
}

/// When the oldest event was created that Stripe still retries.
pub(super) fn oldest_retried(now: i64) -> i64 {
    now - GIVEN_UP_AFTER
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use serde_json::json;

    use super::*;

    static TYPES: LazyLock<[String; 1]> = LazyLock::new(|| ["invoice.paid".to_owned()]);

    fn endpoint(id: &str, event_type: &str, complete_since: &str) -> WebhookEndpoint {
        serde_json::from_value(json!({
            "id": id, "url": "https://a.example/stripe/shop", "status": "enabled", "api_version": "2024-06-20",
            "enabled_events": [event_type], "created": 1,
            "metadata": {"stripe_amplitude_complete_since": complete_since},
        }))
        .unwrap()
    }

    fn state<'s>(
        old: Option<&'s WebhookEndpoint>,
        next: Option<&'s WebhookEndpoint>,
        current_secret: Option<&'s str>,
        next_secret: Option<&'s str>,
    ) -> State<'s> {
        State { old, next, current_secret, next_secret, types: &*TYPES }
    }

    #[test]
    fn each_step_leads_to_the_next() {
        let old = endpoint("we_old", "invoice.paid", "");
        let closed = endpoint("we_new", HARMLESS_TYPE, "");
        let open = endpoint("we_new", "invoice.paid", "");
        let noted = endpoint("we_new", "invoice.paid", "1000");
        let (a, b) = (Some("whsec_a"), Some("whsec_b"));
        let id = "we_new";
        for (state, step) in [
            (state(Some(&old), None, a, None), Step::Begin),
            (state(Some(&old), Some(&closed), a, None), Step::Discard { id }),
            (state(Some(&old), Some(&closed), a, b), Step::Open { id, secret: "whsec_b" }),
            (state(Some(&old), Some(&open), a, b), Step::Note { id }),
            (state(Some(&old), Some(&noted), a, b), Step::Retire { old: &old, complete_since: 1000 }),
            (state(None, Some(&noted), a, b), Step::Overwrite { secret: "whsec_b" }),
            (state(None, Some(&noted), b, b), Step::Mark { id }),
            (state(Some(&noted), None, b, b), Step::Tidy { is_end: true }),
            (state(Some(&noted), None, b, None), Step::Begin),
        ] {
            assert_eq!(next_step(state), step);
            assert_eq!(is_under_way(state), step != Step::Begin);
        }
    }

    #[test]
    fn changes_by_hand_lose_no_endpoint() {
        let old = endpoint("we_old", "invoice.paid", "");
        let closed = endpoint("we_new", HARMLESS_TYPE, "");
        let noted = endpoint("we_new", "invoice.paid", "1000");
        let (a, b) = (Some("whsec_a"), Some("whsec_b"));
        let id = "we_new";
        // The old one was deleted before the second one was open; the second one was deleted; the old secret was lost.
        assert_eq!(next_step(state(None, Some(&closed), a, b)), Step::Open { id, secret: "whsec_b" });
        assert_eq!(next_step(state(Some(&old), None, a, b)), Step::Tidy { is_end: false });
        assert!(!is_under_way(state(Some(&old), None, a, b)));
        assert_eq!(next_step(state(None, Some(&noted), b, None)), Step::Mark { id });
        assert_eq!(next_step(state(None, Some(&noted), None, b)), Step::Overwrite { secret: "whsec_b" });
    }

    #[test]
    fn secret_that_is_not_visible_yet_is_not_lost() {
        assert!(is_outdated(Some(Kind::Begin), Kind::Begin) && is_outdated(Some(Kind::Begin), Kind::Discard));
        assert!(is_outdated(Some(Kind::Overwrite), Kind::Overwrite));
        assert!(!is_outdated(None, Kind::Discard) && !is_outdated(Some(Kind::Begin), Kind::Open));
        assert!(!is_outdated(Some(Kind::Tidy), Kind::Begin));
    }

    #[test]
    fn only_deliveries_that_can_succeed_are_pending() {
        let old = endpoint("we_old", "invoice.paid", "");
        let next = endpoint("we_new", "invoice.paid", "1000");
        let with = |current_secret| state(Some(&old), Some(&next), current_secret, Some("whsec_b"));
        assert!(may_have_pending(with(Some("whsec_a")), &old, 1000, 1010));
        assert!(!may_have_pending(with(Some("whsec_a")), &old, 1000, 1000 + 3 * DAY));
        assert!(!may_have_pending(with(None), &old, 1000, 1010));
        let mut disabled = serde_json::to_value(json!({
            "id": "we_old", "url": "https://a.example", "status": "disabled", "api_version": null,
            "enabled_events": ["*"], "created": 1,
        }))
        .unwrap();
        disabled["metadata"] = json!({});
        let disabled = serde_json::from_value(disabled).unwrap();
        assert!(!may_have_pending(with(Some("whsec_a")), &disabled, 1000, 1010));
    }
}
