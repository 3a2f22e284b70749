//! Webhooks: events on their way to the endpoints.

use std::collections::BTreeSet;
use std::time::Duration;

use stripe_amplitude::stripe::signature::{self, SigningSecret};

use super::endpoints::Endpoint;
use super::events::Event;
use super::{StripeStandIn, unix_now};

/// How long an endpoint may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an endpoint has made of an event.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The IDs of both.
    pub event: String,
    pub endpoint: String,
    /// None where nobody has answered.
    pub status: Option<u16>,
    pub answer: String,
}

impl Delivery {
    pub fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// The deliveries that have not succeeded: the ID of an event, and that of an endpoint.
pub type Owed = BTreeSet<(String, String)>;

impl StripeStandIn {
    /// An event happens: it is posted once to every enabled endpoint that wants its type, signed with that endpoint's
    /// secret, and its `delivery_success` is what came of it. [`Self::redeliver`] attempts again what has failed.
    pub async fn deliver(&self, event: Event) -> Vec<Delivery> {
        let endpoints = {
            let mut state = self.state();
            let endpoints = state.endpoints.all().iter().filter(|endpoint| wants(endpoint, &event));
            let endpoints: Vec<_> = endpoints.cloned().collect();
            let owed = endpoints.iter().map(|endpoint| (event.id.clone(), endpoint.id.clone()));
            state.owed.extend(owed);
            state.events.add(event.clone());
            state.events.set_delivery_success(&event.id, endpoints.is_empty());
            endpoints
        };
        let mut deliveries = Vec::new();
        for endpoint in endpoints {
            deliveries.push(self.attempt(&event, &endpoint).await);
        }
        deliveries
    }

    /// Attempts again every delivery that has failed, as Stripe does after a while. An endpoint that was deleted or
    /// disabled in the meantime gets none.
    pub async fn redeliver(&self) -> Vec<Delivery> {
        let owed = self.state().owed.clone();
        let mut deliveries = Vec::new();
        for (event, endpoint) in owed {
            let endpoint = self.endpoint(&endpoint).filter(|endpoint| !endpoint.disabled);
            if let (Some(event), Some(endpoint)) = (self.event(&event), endpoint) {
                deliveries.push(self.attempt(&event, &endpoint).await);
            }
        }
        deliveries
    }

    async fn attempt(&self, event: &Event, endpoint: &Endpoint) -> Delivery {
        let secret = SigningSecret::new(endpoint.secret.clone().into(), None);
        let signature = signature::sign(&secret, unix_now().try_into().unwrap(), &event.body);
        let request = self
            .http
            .post(&endpoint.url)
            .header("accept", "*/*; q=0.5, application/xml")
            .header("cache-control", "no-cache")
            .header("content-type", "application/json; charset=utf-8")
            .header("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
            .header(signature::HEADER, signature)
            .timeout(PATIENCE)
            .body(event.body.clone());
        let (status, answer) = match request.send().await {
            Ok(response) => (Some(response.status().as_u16()), response.text().await.unwrap_or_default()),
            Err(_) => (None, String::new()),
        };
        let delivery = Delivery { event: event.id.clone(), endpoint: endpoint.id.clone(), status, answer };
        if delivery.succeeded() {
            let mut state = self.state();
            state.owed.remove(&(event.id.clone(), endpoint.id.clone()));
            let is_owed = state.owed.iter().any(|(owed, _)| *owed == event.id);
            state.events.set_delivery_success(&event.id, !is_owed);
        }
        delivery
    }
}

fn wants(endpoint: &Endpoint, event: &Event) -> bool {
    !endpoint.disabled
        && endpoint.connect == event.account.is_some()
        && endpoint.enabled_events.iter().any(|wanted| *wanted == event.event_type || wanted == "*")
}
