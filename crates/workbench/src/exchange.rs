//! Records what goes between the function and Amplitude: a local proxy records each request, forwards it, and records the
//! response.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use stripe_amplitude::amplitude::Destination;
use stripe_amplitude::amplitude::Region;
use stripe_amplitude::amplitude::client::{Client, DeliveryError, EventSink, SendReport};
use stripe_amplitude::amplitude::event::Event;
use stripe_amplitude_common::http::without_user;

use crate::credential::string_length;
use crate::listener::listen_anywhere;

/// The beginning of each request of the function's client. The key follows.
const KEY_BEGINS: &str = r#"{"api_key":""#;

tokio::task_local! {
    /// The delivery that this task handles.
    pub(crate) static DELIVERY: u64;
}

/// The final destination of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// The local Amplitude at this URL.
    Local(String),
    /// This endpoint, regardless of the project's region.
    Url(String),
    /// Amplitude itself, in the project's region.
    Real,
}

/// A request to Amplitude and its response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Exchange {
    /// The destination.
    pub(crate) url: String,
    /// Whether the destination is the local Amplitude.
    pub(crate) local: bool,
    /// Since the delivery began.
    pub(crate) after_milliseconds: f64,
    /// Until the response, or until the function timed out.
    pub(crate) milliseconds: f64,
    /// The body, with a digest instead of the key.
    pub(crate) request: String,
    /// `None` without a response.
    pub(crate) status: Option<u16>,
    /// The body of the response.
    pub(crate) answer: Option<String>,
    /// Why there is no response.
    pub(crate) problem: Option<String>,
}

/// The proxy to Amplitude. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct RecordingProxy {
    http: reqwest::Client,
    upstream: Upstream,
    /// The proxy's own address.
    address: Arc<str>,
    /// By delivery, in the order of the requests.
    exchanges: Arc<Mutex<HashMap<u64, ActiveDelivery>>>,
}

/// The exchanges of a delivery in progress.
#[derive(Debug)]
struct ActiveDelivery {
    began: Instant,
    /// Replaces the usual destination.
    instead: Option<String>,
    exchanges: Vec<Exchange>,
}

impl RecordingProxy {
    /// Listens on a free port of this machine.
    ///
    /// # Errors
    /// If no port is free.
    pub(crate) async fn open(http: reqwest::Client, upstream: Upstream) -> std::io::Result<Self> {
        let (listener, address) = listen_anywhere().await?;
        // A path that cannot be guessed, so that nobody else can use the proxy.
        let key = fastrand::u64(..);
        let address = format!("{address}/{key:016x}").into();
        let proxy = Self { http, upstream, address, exchanges: Arc::default() };
        let router = Router::new()
            .route(&format!("/{key:016x}/{{delivery}}/{{region}}"), post(forward))
            .layer(DefaultBodyLimit::disable())
            .with_state(proxy.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(proxy)
    }

    /// Starts to record the requests of this delivery. They go to the endpoint `instead` if it is given.
    pub(crate) fn watch(&self, delivery: u64, instead: Option<String>) {
        self.exchanges().insert(delivery, ActiveDelivery { began: Instant::now(), instead, exchanges: Vec::new() });
    }

    /// Returns the exchanges of this delivery, which has ended, and stops recording.
    pub(crate) fn take(&self, delivery: u64) -> Vec<Exchange> {
        let Some(ActiveDelivery { began, mut exchanges, .. }) = self.exchanges().remove(&delivery) else {
            return Vec::new();
        };
        let mut next = milliseconds(began);
        for exchange in exchanges.iter_mut().rev() {
            if exchange.status.is_none() && exchange.problem.is_none() {
                exchange.milliseconds = next - exchange.after_milliseconds;
                exchange.problem = Some("timed out".to_owned());
            }
            next = exchange.after_milliseconds;
        }
        exchanges
    }

    /// The actual destination of a request, and the one that is shown.
    fn urls(&self, delivery: u64, region: &str) -> (String, String) {
        let usual = self.url(region);
        let instead = self.exchanges().get(&delivery).and_then(|active| active.instead.clone());
        (instead.unwrap_or_else(|| usual.clone()), without_user(&usual))
    }

    fn url(&self, region: &str) -> String {
        match &self.upstream {
            Upstream::Local(url) | Upstream::Url(url) => url.clone(),
            Upstream::Real => if region == "eu" { Region::Eu } else { Region::Us }.http_v2_url().to_owned(),
        }
    }

    /// The final destination of events.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    fn is_local(&self) -> bool {
        matches!(self.upstream, Upstream::Local(_))
    }

    fn exchanges(&self) -> MutexGuard<'_, HashMap<u64, ActiveDelivery>> {
        // Each change is complete, so the map is valid even after a panic.
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a request and returns its index within the delivery.
    fn record_request(&self, delivery: u64, url: &str, request: String) -> Option<usize> {
        let mut exchanges = self.exchanges();
        let ActiveDelivery { began, exchanges, .. } = exchanges.get_mut(&delivery)?;
        exchanges.push(Exchange {
            url: url.to_owned(),
            local: self.is_local(),
            after_milliseconds: milliseconds(*began),
            milliseconds: 0.0,
            request,
            status: None,
            answer: None,
            problem: None,
        });
        Some(exchanges.len() - 1)
    }

    /// Records the result of a request, unless the delivery has already ended.
    fn record_response(
        &self,
        delivery: u64,
        place: Option<usize>,
        answer: &Result<(StatusCode, Bytes), String>,
        key: &str,
    ) {
        let mut exchanges = self.exchanges();
        let Some(ActiveDelivery { began, exchanges, .. }) = exchanges.get_mut(&delivery) else { return };
        let Some(exchange) = place.and_then(|place| exchanges.get_mut(place)) else { return };
        exchange.milliseconds = milliseconds(*began) - exchange.after_milliseconds;
        match answer {
            Ok((status, body)) => {
                exchange.status = Some(status.as_u16());
                // Amplitude quotes an unknown key, which is usually a key of another region.
                let answer = String::from_utf8_lossy(body);
                exchange.answer = Some(if key.is_empty() { answer.into() } else { answer.replace(key, &digest(key)) });
            }
            Err(problem) => exchange.problem = Some(problem.clone()),
        }
    }
}

impl EventSink for RecordingProxy {
    /// Sends with the function's own client, through the proxy.
    async fn send(&self, event: &Event<'_>, destination: &Destination, deadline: tokio::time::Instant) -> SendReport {
        let delivery = DELIVERY.try_with(|delivery| *delivery).unwrap_or_default();
        let region = if destination.region == Region::Eu { "eu" } else { "us" };
        let url = format!("{}/{delivery}/{region}", self.address);
        Client::new(self.http.clone(), Some(url)).send(event, destination, deadline).await
    }

    async fn connect(&self, _: Region) -> Result<(), DeliveryError> {
        Ok(())
    }
}

async fn forward(
    State(proxy): State<RecordingProxy>,
    Path((delivery, region)): Path<(u64, String)>,
    body: Bytes,
) -> Response {
    let (url, shown) = proxy.urls(delivery, &region);
    let (hidden, key) = without_key(&String::from_utf8_lossy(&body));
    let place = proxy.record_request(delivery, &shown, hidden.clone());
    // For the local Amplitude, the digest identifies the project just as well, so stored requests can be replayed.
    let body = if proxy.is_local() { hidden.into() } else { body };
    let answer = send(&proxy.http, &url, &shown, body).await;
    proxy.record_response(delivery, place, &answer, &key);
    match answer {
        Ok((status, body)) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        // Not a status: the function must see a broken connection.
        Err(_) => {
            Body::from_stream(stream::once(async { Err::<Bytes, _>(std::io::Error::other("none")) })).into_response()
        }
    }
}

/// `shown` is the URL for messages.
async fn send(http: &reqwest::Client, url: &str, shown: &str, body: Bytes) -> Result<(StatusCode, Bytes), String> {
    let request = http.post(url).header(header::CONTENT_TYPE, "application/json").body(body);
    let no_response = |error: reqwest::Error| {
        let cause = std::iter::successors(std::error::Error::source(&error), |error| error.source()).last();
        format!("no response from {shown}: {}", cause.map_or_else(|| "no connection".to_owned(), ToString::to_string))
    };
    let answer = request.send().await.map_err(no_response)?;
    Ok((answer.status(), answer.bytes().await.map_err(no_response)?))
}

/// The request with a digest instead of the key, and the key. The digest distinguishes keys but cannot be used as one.
fn without_key(request: &str) -> (String, String) {
    let start = KEY_BEGINS.len() - 1;
    let literal = request.starts_with(KEY_BEGINS).then(|| request.get(start..)).flatten();
    let literal = literal.and_then(|rest| rest.split_at_checked(string_length(rest)));
    match literal.map(|(literal, rest)| (serde_json::from_str::<String>(literal), rest)) {
        Some((Ok(key), rest)) => (format!("{KEY_BEGINS}{}\"{rest}", digest(&key)), key),
        _ => ("{}".to_owned(), String::new()),
    }
}

/// Stands for a key in the workbench.
pub(crate) fn digest(key: &str) -> String {
    let mut digest = "hidden-".to_owned();
    for byte in Sha256::digest(key).iter().take(6) {
        let _ = write!(digest, "{byte:02x}");
    }
    digest
}

pub(crate) fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_replaces_the_key() {
        for (literal, key) in [("key-of-a-test", "key-of-a-test"), (r#"a\"b\\"#, "a\"b\\")] {
            let (hidden, found) = without_key(&format!(r#"{{"api_key":"{literal}","events":[{{"revenue":12.30}}]}}"#));
            assert_eq!(hidden, format!(r#"{{"api_key":"{}","events":[{{"revenue":12.30}}]}}"#, digest(key)));
            assert!(found == key && !hidden.contains(literal));
        }
        assert_ne!(digest("a"), digest("b"));
        assert_eq!(without_key(r#"{"events":[],"api_key":"key-of-a-test"}"#).0, "{}");
    }
}
