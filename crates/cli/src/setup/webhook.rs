//! A project's endpoints in Stripe, and their signing secrets in Parameter Store.

use secrecy::{ExposeSecret as _, SecretString};
use stripe_amplitude::projects::name::ProjectName;

use super::mark;
use super::step::State;
use super::target::Target;
use crate::stripe::endpoints::WebhookEndpoint;
use crate::webhook_url;

pub(super) struct Webhook {
    pub(super) current_secret: Option<SecretString>,
    pub(super) next_secret: Option<SecretString>,
    /// The event types that the project's settings select.
    pub(super) types: Vec<String>,
    pub(super) endpoints: Endpoints,
}

impl Webhook {
    pub(super) fn state(&self) -> State<'_> {
        State {
            old: self.endpoints.current.as_ref(),
            next: self.endpoints.next.as_ref(),
            current_secret: self.current_secret.as_ref().map(|secret| secret.expose_secret()),
            next_secret: self.next_secret.as_ref().map(|secret| secret.expose_secret()),
            types: &self.types,
        }
    }
}

/// The account's endpoints that have to do with a project.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Endpoints {
    /// The one whose secret is in the current parameter, or should be.
    pub(super) current: Option<WebhookEndpoint>,
    /// The one that will replace it.
    pub(super) next: Option<WebhookEndpoint>,
    /// IDs of further endpoints with the same URL, which setup does not manage.
    pub(super) others: Vec<String>,
}

impl Endpoints {
    /// Picks them out of all endpoints of the account. `has_secret`: whether Parameter Store has the current secret.
    ///
    /// # Errors
    /// If several endpoints could be the project's.
    pub(super) fn find(
        all: Vec<WebhookEndpoint>,
        project: &ProjectName,
        target: &Target,
        has_secret: bool,
    ) -> Result<Self, String> {
        let Target { url, names, .. } = target;
        let is_marked =
            |endpoint: &WebhookEndpoint, name: &str| mark::of(endpoint).is_some_and(|mark| mark.is(project, name));
        let (mut with_url, elsewhere): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|endpoint| webhook_url::is_same(&endpoint.url, url));
        // If the webhook's URL changed, the mark identifies its endpoint, which keeps its secret. Without a secret, it may be
        // the endpoint of another deployment.
        if has_secret {
            for name in [&names.current, &names.next] {
                if !with_url.iter().any(|endpoint| is_marked(endpoint, name)) {
                    with_url.extend(elsewhere.iter().filter(|endpoint| is_marked(endpoint, name)).cloned());
                }
            }
        }
        let (marked, unmarked): (Vec<_>, Vec<_>) =
            with_url.into_iter().partition(|endpoint| mark::of(endpoint).is_some());
        let oldest_first = |name: &str| {
            let mut endpoints: Vec<_> = marked.iter().filter(|endpoint| is_marked(endpoint, name)).cloned().collect();
            endpoints.sort_by_key(|endpoint| endpoint.created);
            endpoints.into_iter()
        };
        let (mut current, mut next) = (oldest_first(&names.current), oldest_first(&names.next));
        let mut found = Self { current: current.next(), next: next.next(), others: Vec::new() };
        found.others.extend(current.chain(next).map(|endpoint| endpoint.id));
        let mut unmarked = unmarked.into_iter();
        // Adopt an endpoint that was created by hand, if there is only one.
        if found.current.is_none() && found.next.is_none() {
            found.current = unmarked.next();
            if unmarked.len() > 0 {
                let ids: Vec<_> = found.current.into_iter().chain(unmarked).map(|endpoint| endpoint.id).collect();
                return Err(format!(
                    "{} have this URL, and it is unclear which one is this project's: delete all but one in Stripe",
                    ids.join(" and ")
                ));
            }
        }
        found.others.extend(unmarked.map(|endpoint| endpoint.id));
        Ok(found)
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::target::tests::{URL, target};
    use super::*;

    const MOVED: &str = "https://b.example/stripe/shop";

    /// `mark`: project and parameter.
    fn endpoint(id: &str, url: &str, created: i64, mark: Option<(&str, &str)>) -> WebhookEndpoint {
        let metadata = mark.map_or_else(
            || json!({}),
            |(project, parameter)| {
                json!({"stripe_amplitude_project": project, "stripe_amplitude_parameter": parameter})
            },
        );
        serde_json::from_value(json!({
            "id": id, "url": url, "status": "enabled", "api_version": "2024-06-20", "enabled_events": ["*"],
            "created": created, "metadata": metadata,
        }))
        .unwrap()
    }

    /// The IDs of the current endpoint, the next one, and others.
    type Ids = (Option<String>, Option<String>, Vec<String>);

    fn find(all: Vec<WebhookEndpoint>, has_secret: bool) -> Result<Ids, String> {
        let target = target();
        let id = |endpoint: Option<WebhookEndpoint>| endpoint.map(|endpoint| endpoint.id);
        Endpoints::find(all, &"shop".parse().unwrap(), &target, has_secret)
            .map(|Endpoints { current, next, others }| (id(current), id(next), others))
    }

    const CURRENT: Option<(&str, &str)> = Some(("shop", "stripe-signing-secret"));
    const NEXT: Option<(&str, &str)> = Some(("shop", "stripe-signing-secret-next"));

    fn some(id: &str) -> Option<String> {
        Some(id.to_owned())
    }

    #[test]
    fn marks_identify_endpoints() {
        let all = vec![
            endpoint("we_next", URL, 3, NEXT),
            endpoint("we_newer", URL, 2, CURRENT),
            endpoint("we_current", URL, 1, CURRENT),
            endpoint("we_other_project", URL, 1, Some(("other", "stripe-signing-secret"))),
            endpoint("we_by_hand", URL, 1, None),
            endpoint("we_elsewhere", MOVED, 1, None),
        ];
        let others = ["we_newer", "we_by_hand"].map(str::to_owned).to_vec();
        assert_eq!(find(all, true), Ok((some("we_current"), some("we_next"), others)));
    }

    #[test]
    fn unmarked_endpoint_is_adopted_if_it_is_the_only_one() {
        let by_hand = |id| endpoint(id, URL, 1, None);
        assert_eq!(find(vec![], false), Ok((None, None, vec![])));
        assert_eq!(find(vec![by_hand("we_1")], false), Ok((some("we_1"), None, vec![])));
        let error = find(vec![by_hand("we_1"), by_hand("we_2")], false).unwrap_err();
        assert!(error.starts_with("we_1 and we_2 have this URL"), "{error}");
    }

    #[test]
    fn moved_endpoint_is_found_if_its_secret_is_stored() {
        let moved = || vec![endpoint("we_moved", MOVED, 1, CURRENT)];
        assert_eq!(find(moved(), true), Ok((some("we_moved"), None, vec![])));
        assert_eq!(find(moved(), false), Ok((None, None, vec![])));
        // The URL has precedence.
        let both = vec![endpoint("we_moved", MOVED, 1, CURRENT), endpoint("we_here", URL, 2, CURRENT)];
        assert_eq!(find(both, true), Ok((some("we_here"), None, vec![])));
    }
}
