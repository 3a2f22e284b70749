//! Webhooks: events on their way to the endpoints.

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

/// How long an endpoint may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an endpoint has made of an event.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The ID of the event.
    pub event: String,
    /// The ID of the endpoint.
    pub endpoint: String,
    /// None where nobody has answered.
    pub status: Option<u16>,
    /// The body of the answer, as text.
    pub answer: String,
}

impl Delivery {
    /// Whether Stripe takes it for delivered: at any 2xx.
    pub fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// The deliveries that have not succeeded: the ID of an event, and that of an endpoint.
pub(crate) type Owed = BTreeSet<(String, String)>;

impl Emulator {
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
        let sent = timeout(PATIENCE, send(event, endpoint)).await;
        let (status, answer) =
            sent.ok().flatten().map_or((None, String::new()), |(status, answer)| (Some(status), answer));
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

/// The status and the text of the answer, if there is one. Endpoints are local, so only plain HTTP is spoken.
async fn send(event: &Event, endpoint: &Endpoint) -> Option<(u16, String)> {
    let uri: Uri = endpoint.url.parse().ok()?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"))?;
    let stream = TcpStream::connect((authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80)));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream.await.ok()?)).await.ok()?;
    // It ends when the sender is dropped.
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
