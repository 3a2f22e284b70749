//! What `setup` is going to do with the endpoint.

use stripe_amplitude::stripe::event_types::API_VERSION;

use super::difference::{self, Difference, count_of};
use super::mark;
use super::step;
use super::target::Target;
use super::webhook::Webhook;
use crate::stripe::endpoints::WebhookEndpoint;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) action: Action,
    /// What differs and what will change, for the operator.
    pub(super) lines: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Nothing,
    Create,
    /// Correct what differs.
    Update,
    /// Put another endpoint in its place.
    Replace {
        /// Whether this was begun earlier.
        is_under_way: bool,
    },
}

/// # Errors
/// If the operator has to decide or correct something first.
pub(super) fn plan(webhook: &Webhook, target: &Target) -> Result<Plan, String> {
    if step::is_under_way(webhook.state()) {
        let line = "a replacement of the endpoint is under way and will continue";
        return Ok(Plan { action: Action::Replace { is_under_way: true }, lines: vec![line.to_owned()] });
    }
    match &webhook.endpoints.current {
        None => plan_creation(webhook, target),
        Some(endpoint) => plan_change(webhook, endpoint, target),
    }
}

fn plan_creation(webhook: &Webhook, target: &Target) -> Result<Plan, String> {
    let Target { folder, names, rotate, connect, .. } = target;
    if webhook.current_secret.is_some() {
        return Err(format!(
            "{folder}/{current} has the secret of an endpoint that this Stripe key cannot see. If the endpoint belongs to another account or mode, give this one a label: --source LABEL. If it no longer exists, delete the parameter: aws ssm delete-parameter --name {folder}/{current}",
            current = names.current
        ));
    }
    if *rotate {
        return Err("no endpoint has this URL, so there is nothing to rotate; run setup without --rotate to create it"
            .to_owned());
    }
    let of_accounts = if *connect { " of connected accounts" } else { "" };
    let create = format!(
        "an endpoint will be created, for {}{of_accounts}, with API version {API_VERSION}",
        count_of(&webhook.types)
    );
    let write = format!("its signing secret will be written to {folder}/{}", names.current);
    Ok(Plan { action: Action::Create, lines: vec![create, write] })
}

fn plan_change(webhook: &Webhook, endpoint: &WebhookEndpoint, target: &Target) -> Result<Plan, String> {
    let Target { url, folder, names, rotate, connect, own_account } = target;
    let id = &endpoint.id;
    let (own, connected) = ("the account's own events", "the events of connected accounts");
    let mismatch = match mark::is_connect(endpoint) {
        Some(false) if *connect => Some((own, connected)),
        Some(true) if *own_account => Some((connected, own)),
        _ => None,
    };
    if let Some((received, wanted)) = mismatch {
        return Err(format!(
            "{id} receives {received}, which cannot be changed; an endpoint for {wanted} needs a separate secret: --source LABEL"
        ));
    }
    let differences = difference::between(endpoint, url, &webhook.types, webhook.current_secret.is_some());
    let mut lines: Vec<_> = differences.iter().map(|difference| format!("{id}: {difference}")).collect();
    if *rotate {
        lines.push(format!("{id}: its signing secret will be rotated"));
    }
    let has_leftover = webhook.next_secret.is_some();
    if has_leftover {
        lines.push(format!(
            "{folder}/{} has the secret of an endpoint that no longer exists, and will be deleted",
            names.next
        ));
    }
    let action = if *rotate || differences.iter().any(Difference::needs_another_endpoint) {
        if target.is_connect(endpoint).is_none() {
            return Err(format!(
                "setup would replace {id}, which was created by hand, and Stripe's API does not reveal whose events it receives: pass --own-account, or --connect if it is for connected accounts. {lines}",
                lines = lines.join("; "),
            ));
        }
        Action::Replace { is_under_way: false }
    } else if differences.is_empty() && !has_leftover {
        Action::Nothing
    } else {
        Action::Update
    };
    Ok(Plan { action, lines })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::target::tests::{URL, target};
    use super::super::webhook::Endpoints;
    use super::*;

    /// A project that was set up.
    fn complete() -> Webhook {
        webhook(|_| {})
    }

    fn webhook(change: impl FnOnce(&mut Value)) -> Webhook {
        let mut endpoint = json!({
            "id": "we_1", "url": URL, "status": "enabled", "api_version": API_VERSION,
            "enabled_events": ["invoice.paid"], "created": 1,
            "metadata": {
                "stripe_amplitude_project": "shop", "stripe_amplitude_parameter": "stripe-signing-secret",
                "stripe_amplitude_connect": "false",
            },
        });
        change(&mut endpoint);
        Webhook {
            current_secret: Some("whsec_a".into()),
            next_secret: None,
            types: vec!["invoice.paid".to_owned()],
            endpoints: Endpoints { current: serde_json::from_value(endpoint).unwrap(), ..Endpoints::default() },
        }
    }

    fn action(webhook: &Webhook, target: &Target) -> Action {
        plan(webhook, target).unwrap().action
    }

    #[test]
    fn complete_project_needs_nothing() {
        assert_eq!(plan(&complete(), &target()), Ok(Plan { action: Action::Nothing, lines: vec![] }));
    }

    #[test]
    fn missing_endpoint_is_created() {
        let none = Webhook { current_secret: None, endpoints: Endpoints::default(), ..complete() };
        let Plan { action, lines } = plan(&none, &target()).unwrap();
        assert_eq!((action, lines.len()), (Action::Create, 2));
        assert!(plan(&none, &Target { rotate: true, ..target() }).is_err());
    }

    #[test]
    fn stored_secret_without_endpoint_is_kept() {
        let unseen = Webhook { endpoints: Endpoints::default(), ..complete() };
        let error = plan(&unseen, &target()).unwrap_err();
        assert!(error.contains("--source LABEL"), "{error}");
    }

    #[test]
    fn differences_that_stripe_can_change_are_updated() {
        for (key, value) in [
            ("url", json!("https://b.example/stripe/shop")),
            ("status", json!("disabled")),
            ("enabled_events", json!(["*"])),
            ("metadata", json!({})),
        ] {
            assert_eq!(action(&webhook(|endpoint| endpoint[key] = value), &target()), Action::Update, "{key}");
        }
        let leftover = Webhook { next_secret: Some("whsec_b".into()), ..complete() };
        assert_eq!(action(&leftover, &target()), Action::Update);
    }

    #[test]
    fn api_version_lost_secret_and_rotation_need_another_endpoint() {
        let replace = Action::Replace { is_under_way: false };
        assert_eq!(action(&webhook(|endpoint| endpoint["api_version"] = json!("2020-08-27")), &target()), replace);
        assert_eq!(action(&Webhook { current_secret: None, ..complete() }, &target()), replace);
        assert_eq!(action(&complete(), &Target { rotate: true, ..target() }), replace);
    }

    #[test]
    fn endpoint_created_by_hand_is_replaced_after_a_decision() {
        let by_hand = || webhook(|endpoint| endpoint["metadata"] = json!({}));
        let rotation = Target { rotate: true, ..target() };
        let error = plan(&by_hand(), &rotation).unwrap_err();
        assert!(error.contains("--own-account"), "{error}");
        for decided in [Target { connect: true, ..rotation.clone() }, Target { own_account: true, ..rotation }] {
            assert_eq!(action(&by_hand(), &decided), Action::Replace { is_under_way: false });
        }
    }

    #[test]
    fn kind_of_events_cannot_change() {
        assert!(plan(&complete(), &Target { connect: true, ..target() }).is_err());
        let connected = webhook(|endpoint| endpoint["metadata"]["stripe_amplitude_connect"] = json!("true"));
        assert!(plan(&connected, &Target { own_account: true, ..target() }).is_err());
        assert_eq!(action(&connected, &Target { connect: true, ..target() }), Action::Nothing);
    }

    #[test]
    fn rotation_under_way_continues() {
        let mut webhook = complete();
        webhook.endpoints.next = webhook.endpoints.current.clone();
        webhook.next_secret = Some("whsec_b".into());
        assert_eq!(action(&webhook, &target()), Action::Replace { is_under_way: true });
    }
}
