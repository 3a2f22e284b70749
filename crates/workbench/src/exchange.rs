//! What goes between the function and Amplitude, seen on its way: every request passes a server of ours, which notes it,
//! hands it on, and notes the answer.

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

use crate::credential::length_of_text;
use crate::listener::listen_anywhere;

/// The request that began with this holds the key next. It is what the function's client sends.
const KEY_BEGINS: &str = r#"{"api_key":""#;

tokio::task_local! {
    /// The delivery that this task handles.
    pub(crate) static DELIVERY: u64;
}

/// Where events go in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// To the local Amplitude at this URL.
    Local(String),
    /// To this endpoint, whatever the region of a project.
    Url(String),
    /// To Amplitude, each to the region of its project.
    Real,
}

/// One request to Amplitude, and what came back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Exchange {
    /// Where it went.
    pub(crate) url: String,
    /// Whether that is the local Amplitude.
    pub(crate) local: bool,
    /// After the delivery began.
    pub(crate) after_milliseconds: f64,
    /// Until the answer, or until the function gave up.
    pub(crate) milliseconds: f64,
    /// The body, with a digest in the place of the key.
    pub(crate) request: String,
    /// None where there was no answer.
    pub(crate) status: Option<u16>,
    /// The body of the answer.
    pub(crate) answer: Option<String>,
    /// Why there is none.
    pub(crate) problem: Option<String>,
}

/// The way to Amplitude. Its clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct RecordingProxy {
    http: reqwest::Client,
    upstream: Upstream,
    /// Of our own server.
    address: Arc<str>,
    /// By delivery, in the order in which they were sent.
    exchanges: Arc<Mutex<HashMap<u64, ActiveDelivery>>>,
}

/// The exchanges of a delivery that is under way.
#[derive(Debug)]
struct ActiveDelivery {
    began: Instant,
    /// The Amplitude that this one goes to, in the place of the usual.
    instead: Option<String>,
    exchanges: Vec<Exchange>,
}

impl RecordingProxy {
    /// Listens on a free port of this machine.
    ///
    /// # Errors
    /// Where there is no port to be had.
    pub(crate) async fn open(http: reqwest::Client, upstream: Upstream) -> std::io::Result<Self> {
        let (listener, address) = listen_anywhere().await?;
        // The path is not to be guessed: what comes by another is none of ours.
        let key = fastrand::u64(..);
        let address = format!("{address}/{key:016x}").into();
        let line = Self { http, upstream, address, exchanges: Arc::default() };
        let router = Router::new()
            .route(&format!("/{key:016x}/{{delivery}}/{{region}}"), post(pass_on))
            .layer(DefaultBodyLimit::disable())
            .with_state(line.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(line)
    }

    /// From now on, what is sent for this delivery is noted. It goes to the endpoint `instead`, where there is one.
    pub(crate) fn watch(&self, delivery: u64, instead: Option<String>) {
        self.exchanges().insert(delivery, ActiveDelivery { began: Instant::now(), instead, exchanges: Vec::new() });
    }

    /// What was sent for this delivery, which is answered now.
    pub(crate) fn take(&self, delivery: u64) -> Vec<Exchange> {
        let Some(ActiveDelivery { began, mut exchanges, .. }) = self.exchanges().remove(&delivery) else {
            return Vec::new();
        };
        let mut next = milliseconds(began);
        for exchange in exchanges.iter_mut().rev() {
            if exchange.status.is_none() && exchange.problem.is_none() {
                exchange.milliseconds = next - exchange.after_milliseconds;
                exchange.problem = Some("there was no answer for as long as the function waited".to_owned());
            }
            next = exchange.after_milliseconds;
        }
        exchanges
    }

    /// Where a request goes, and where it seems to go.
    fn urls(&self, delivery: u64, region: &str) -> (String, String) {
        let usual = self.url(region);
        let instead = self.exchanges().get(&delivery).and_then(|under| under.instead.clone());
        (instead.unwrap_or_else(|| usual.clone()), without_user(&usual))
    }

    fn url(&self, region: &str) -> String {
        match &self.upstream {
            Upstream::Local(url) | Upstream::Url(url) => url.clone(),
            Upstream::Real => if region == "eu" { Region::Eu } else { Region::Us }.http_v2_url().to_owned(),
        }
    }

    /// Where events go in the end.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    fn is_local(&self) -> bool {
        matches!(self.upstream, Upstream::Local(_))
    }

    fn exchanges(&self) -> MutexGuard<'_, HashMap<u64, ActiveDelivery>> {
        // No step leaves it half-done, so it is good even after a panic.
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request, and gives its place among those of its delivery.
    fn note_request(&self, delivery: u64, url: &str, request: String) -> Option<usize> {
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

    /// Notes what came of it, unless the delivery was answered before.
    fn note_answer(
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
                // Amplitude repeats a key that it does not know; most often it is another region's.
                let answer = String::from_utf8_lossy(body);
                exchange.answer = Some(if key.is_empty() { answer.into() } else { answer.replace(key, &digest(key)) });
            }
            Err(problem) => exchange.problem = Some(problem.clone()),
        }
    }
}

impl EventSink for RecordingProxy {
    /// As the function's own client, which it is, by way of our server.
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

async fn pass_on(
    State(line): State<RecordingProxy>,
    Path((delivery, region)): Path<(u64, String)>,
    body: Bytes,
) -> Response {
    let (url, seen) = line.urls(delivery, &region);
    let (hidden, key) = without_key(&String::from_utf8_lossy(&body));
    let place = line.note_request(delivery, &seen, hidden.clone());
    // The local Amplitude tells projects apart by the digest as well; so it can be given again what it had before.
    let body = if line.is_local() { hidden.into() } else { body };
    let answer = ask(&line.http, &url, &seen, body).await;
    line.note_answer(delivery, place, &answer, &key);
    match answer {
        Ok((status, body)) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        // No status of ours: the function shall see a connection that broke.
        Err(_) => {
            Body::from_stream(stream::once(async { Err::<Bytes, _>(std::io::Error::other("none")) })).into_response()
        }
    }
}

/// `seen` is what it is called in the problem.
async fn ask(http: &reqwest::Client, url: &str, seen: &str, body: Bytes) -> Result<(StatusCode, Bytes), String> {
    let request = http.post(url).header(header::CONTENT_TYPE, "application/json").body(body);
    let no_answer = |error: reqwest::Error| {
        let cause = std::iter::successors(std::error::Error::source(&error), |error| error.source()).last();
        format!("no answer from {seen}: {}", cause.map_or_else(|| "no connection".to_owned(), ToString::to_string))
    };
    let answer = request.send().await.map_err(no_answer)?;
    Ok((answer.status(), answer.bytes().await.map_err(no_answer)?))
}

/// The request with a digest in the place of the key, which comes with it: enough to tell keys apart, and not to use one.
fn without_key(request: &str) -> (String, String) {
    let start = KEY_BEGINS.len() - 1;
    let literal = request.starts_with(KEY_BEGINS).then(|| request.get(start..)).flatten();
    let literal = literal.and_then(|rest| rest.split_at_checked(length_of_text(rest)));
    match literal.map(|(literal, rest)| (serde_json::from_str::<String>(literal), rest)) {
        Some((Ok(key), rest)) => (format!("{KEY_BEGINS}{}\"{rest}", digest(&key)), key),
        _ => ("{}".to_owned(), String::new()),
    }
}

/// What stands for a key in the workbench.
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
    fn a_digest_stands_in_the_place_of_the_key() {
        for (literal, key) in [("key-of-a-test", "key-of-a-test"), (r#"a\"b\\"#, "a\"b\\")] {
            let (hidden, found) = without_key(&format!(r#"{{"api_key":"{literal}","events":[{{"revenue":12.30}}]}}"#));
            assert_eq!(hidden, format!(r#"{{"api_key":"{}","events":[{{"revenue":12.30}}]}}"#, digest(key)));
            assert!(found == key && !hidden.contains(literal));
        }
        assert_ne!(digest("a"), digest("b"));
        assert_eq!(without_key(r#"{"events":[],"api_key":"key-of-a-test"}"#).0, "{}");
    }
}
