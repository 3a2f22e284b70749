//! Webhooks: the delivery of events to endpoints.

use std::collections::BTreeSet;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use sha2::Sha256;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::endpoints::Endpoint;
use crate::events::Event;
use crate::{Emulator, unix_now};

/// The time limit for an endpoint.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The result of a delivery.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The ID of the event.
    pub event: String,
    /// The ID of the endpoint.
    pub endpoint: String,
    /// `None` without a response.
    pub status: Option<u16>,
    /// The body of the response, as text.
    pub answer: String,
}

impl Delivery {
    /// Whether Stripe considers it delivered: any 2xx.
    pub fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// Deliveries that have not succeeded: the IDs of the event and the endpoint.
pub(crate) type FailedDeliveries = BTreeSet<(String, String)>;

impl Emulator {
    /// Adds an event and posts it once to every enabled endpoint that is subscribed to its type, signed with that
    /// endpoint's secret. The event's `delivery_success` is the result. [`Self::redeliver`] retries failures.
    pub async fn deliver(&self, event: Event) -> Vec<Delivery> {
        let endpoints = {
            let mut state = self.state();
            let endpoints = state.endpoints.all().iter().filter(|endpoint| is_subscribed(endpoint, &event));
            let endpoints: Vec<_> = endpoints.cloned().collect();
            let failed_deliveries = endpoints.iter().map(|endpoint| (event.id.clone(), endpoint.id.clone()));
            state.failed_deliveries.extend(failed_deliveries);
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

    /// Retries every failed delivery, like Stripe after a while. Endpoints that were deleted or disabled in the
    /// meantime receive nothing.
    pub async fn redeliver(&self) -> Vec<Delivery> {
        let failed_deliveries = self.state().failed_deliveries.clone();
        let mut deliveries = Vec::new();
        for (event, endpoint) in failed_deliveries {
            let endpoint = self.endpoint(&endpoint).filter(|endpoint| !endpoint.disabled);
            if let (Some(event), Some(endpoint)) = (self.event(&event), endpoint) {
                deliveries.push(self.attempt(&event, &endpoint).await);
            }
        }
        deliveries
    }

    async fn attempt(&self, event: &Event, endpoint: &Endpoint) -> Delivery {
        let sent = timeout(RESPONSE_TIMEOUT, send(event, endpoint)).await;
        let (status, answer) =
            sent.ok().flatten().map_or((None, String::new()), |(status, answer)| (Some(status), answer));
        let delivery = Delivery { event: event.id.clone(), endpoint: endpoint.id.clone(), status, answer };
        if delivery.succeeded() {
            let mut state = self.state();
            state.failed_deliveries.remove(&(event.id.clone(), endpoint.id.clone()));
            let has_failed = state.failed_deliveries.iter().any(|(failed, _)| *failed == event.id);
            state.events.set_delivery_success(&event.id, !has_failed);
        }
        delivery
    }
}

fn is_subscribed(endpoint: &Endpoint, event: &Event) -> bool {
    !endpoint.disabled
        && endpoint.connect == event.account.is_some()
        && endpoint.enabled_events.iter().any(|wanted| *wanted == event.event_type || wanted == "*")
}

/// The status and the body of the response, if there is one. Endpoints are local, so this only supports plain HTTP.
async fn send(event: &Event, endpoint: &Endpoint) -> Option<(u16, String)> {
    let uri: Uri = endpoint.url.parse().ok()?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"))?;
    let stream = TcpStream::connect((authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80)));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream.await.ok()?)).await.ok()?;
    // The connection ends when the sender is dropped.
    tokio::spawn(connection);
    let request = Request::post(uri.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, authority.as_str())
        .header("accept", "*/*; q=0.5, application/xml")
        .header("cache-control", "no-cache")
        .header("content-type", "application/json; charset=utf-8")
        .header("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
        .header("stripe-signature", signature(&endpoint.secret, unix_now(), &event.body))
        .body(Full::new(event.body.clone()))
        .ok()?;
    let answer = sender.send_request(request).await.ok()?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    Some((status, String::from_utf8_lossy(&body).into_owned()))
}

/// `t=<unix seconds>,v1=<hex>`: HMAC-SHA256 over the time, a dot and the body; the key is the text of the whole secret.
/// Source: docs.stripe.com/webhooks, "Verify webhook signatures manually".
fn signature(secret: &str, time: i64, body: &[u8]) -> String {
    #[allow(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("{time}.").as_bytes());
    mac.update(body);
    format!("t={time},v1={}", hex::encode(mac.finalize().into_bytes()))
}
