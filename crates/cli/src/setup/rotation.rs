//! The rotation of a signing secret, by a second endpoint. What is next to do is read off Stripe and Parameter Store
//! alone, so that a rotation that stopped anywhere, for whatever reason, is gone on with by anybody.
//!
//! No event is lost, because at each moment every process of the function, whether it read the parameters just now or
//! minutes ago, accepts all that Stripe still sends:
//!
//! - Until the second endpoint is opened, only what the old secret signs is sent, and every process has that one. The
//!   second one is enabled for a type that no account sends.
//! - While both are open, processes that have read the parameters before the new secret was there read them again at
//!   the first signature that they do not know; and what one of them refuses all the same, it has got from the old
//!   endpoint, too, and Stripe sends it again. Both deliveries have the same insert ID and device ID, so that Amplitude
//!   counts one; and the same label, so that it does not matter which one comes first.
//! - The old endpoint goes when it owes nothing: what came before both were open is delivered, what came after is the
//!   second one's, too. From then on only what the new secret signs is sent.
//! - Only then is the old secret overwritten, and then the second place of the new one given up: at each moment it
//!   stands in one of the two.

use super::difference::is_open;
use super::mark;
use crate::clock::DAY;
use crate::stripe::endpoints::WebhookEndpoint;

/// Stripe gives up on a delivery after three days.
const GIVEN_UP_AFTER: i64 = 3 * DAY;

/// What an endpoint is enabled for before the function knows its secret: a type has to be named, and this one is sent in
/// test mode alone, when Stripe itself fails.
pub(super) const HARMLESS_TYPE: &str = "test_helpers.test_clock.internal_failure";

/// What Stripe and Parameter Store say.
#[derive(Clone, Copy, Debug)]
pub(super) struct State<'s> {
    pub(super) old: Option<&'s WebhookEndpoint>,
    pub(super) next: Option<&'s WebhookEndpoint>,
    pub(super) current_secret: Option<&'s str>,
    pub(super) next_secret: Option<&'s str>,
    /// What the project wants.
    pub(super) types: &'s [String],
}

/// What is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step<'s> {
    /// Nothing is under way. A rotation begins with the second endpoint, and its secret in its parameter.
    Begin,
    /// Delete the second endpoint: its secret was lost on the way.
    Discard { id: &'s str },
    /// Prove the new secret, and enable the second endpoint for all types.
    Open { id: &'s str, secret: &'s str },
    /// Note from when on the second endpoint gets every event. After opening it: who knows how long that took.
    Note { id: &'s str },
    /// Delete the old endpoint when it owes nothing.
    Retire { old: &'s WebhookEndpoint, complete_since: i64 },
    /// Write the new secret over the old one.
    Overwrite { secret: &'s str },
    /// Mark the second endpoint as the one whose secret is in the first parameter.
    Mark { id: &'s str },
    /// Delete the second parameter. `is_end` where that ends a rotation, and not what somebody has left.
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

/// A step without what it is about.
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

/// Whether what is seen after a step was so before it: neither Parameter Store nor Stripe promises that a change is seen at
/// once. After the beginning, a secret that is not seen yet must not be taken for one that was lost.
pub(super) fn is_outdated(done: Option<Kind>, seen: Kind) -> bool {
    done == Some(seen) || (done == Some(Kind::Begin) && seen == Kind::Discard)
}

pub(super) fn next_step(state: State<'_>) -> Step<'_> {
    let State { old, next, current_secret, next_secret, types } = state;
    match (next, next_secret) {
        (None, None) => Step::Begin,
        (None, Some(_)) => Step::Tidy { is_end: current_secret == next_secret },
        (Some(next), None) if old.is_some() => Step::Discard { id: &next.id },
        // Somebody has deleted the parameter by hand, when the old endpoint was gone. It may be that its secret had been
        // written; it is not for us to delete the only endpoint.
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

/// Whether the old endpoint may owe an event that can still be delivered. Not so where Stripe delivers nothing to it, or
/// the function does not have its secret; and after three days, Stripe has given up.
pub(super) fn may_owe(state: State<'_>, old: &WebhookEndpoint, complete_since: i64, now: i64) -> bool {
    old.is_enabled() && state.current_secret.is_some() && now < given_up_at(complete_since)
}

/// When Stripe has given up on all that the old endpoint alone was to get.
pub(super) fn given_up_at(complete_since: i64) -> i64 {
    complete_since.saturating_add(GIVEN_UP_AFTER)
}

/// The oldest event that Stripe still tries to deliver.
pub(super) fn oldest_tried(now: i64) -> i64 {
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
    fn each_step_leads_to_the_next_one() {
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
    fn what_somebody_did_by_hand_meanwhile_loses_no_endpoint() {
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
    fn what_was_just_written_and_is_not_seen_yet_is_not_taken_for_lost() {
        assert!(is_outdated(Some(Kind::Begin), Kind::Begin) && is_outdated(Some(Kind::Begin), Kind::Discard));
        assert!(is_outdated(Some(Kind::Overwrite), Kind::Overwrite));
        assert!(!is_outdated(None, Kind::Discard) && !is_outdated(Some(Kind::Begin), Kind::Open));
        assert!(!is_outdated(Some(Kind::Tidy), Kind::Begin));
    }

    #[test]
    fn an_old_endpoint_owes_what_can_still_be_delivered() {
        let old = endpoint("we_old", "invoice.paid", "");
        let next = endpoint("we_new", "invoice.paid", "1000");
        let with = |current_secret| state(Some(&old), Some(&next), current_secret, Some("whsec_b"));
        assert!(may_owe(with(Some("whsec_a")), &old, 1000, 1010));
        assert!(!may_owe(with(Some("whsec_a")), &old, 1000, 1000 + 3 * DAY));
        assert!(!may_owe(with(None), &old, 1000, 1010));
        let mut disabled = serde_json::to_value(json!({
            "id": "we_old", "url": "https://a.example", "status": "disabled", "api_version": null,
            "enabled_events": ["*"], "created": 1,
        }))
        .unwrap();
        disabled["metadata"] = json!({});
        let disabled = serde_json::from_value(disabled).unwrap();
        assert!(!may_owe(with(Some("whsec_a")), &disabled, 1000, 1010));
    }
}
