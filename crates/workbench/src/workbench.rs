//! Calls the handler and records each delivery.

use std::convert::Infallible;
use std::error::Error;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use amplitude_emulator::{AcceptedEvent, Configuration, Emulator, Endpoint, Fault};
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::Value;
use stripe_amplitude::http_client::{self, secured_url};
use stripe_amplitude::projects;
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::stripe::event::Event;
use stripe_amplitude::stripe::references::{ReadRate, References};
use stripe_amplitude::stripe::signature;
use stripe_amplitude::stripe::signature::VerifiedBody;
use stripe_amplitude::translate::Context;
use stripe_amplitude::webhook::{Request, Webhook};
use stripe_amplitude_common::clock;
use stripe_amplitude_common::http::SECURED;
use stripe_amplitude_common::money::shown;
use tokio::sync::broadcast;
use tokio::task::JoinSet;

use crate::exchange::{self, Exchange, RecordingProxy, Upstream};
use crate::explanation::Explanation;
use crate::guard;
use crate::listener::listen_anywhere;
use crate::log::{Entry, Log, Sent, Summary};
use crate::note::{self, Note};
use crate::projects::Projects;
use crate::reads::{self, Reader, Replay};
use crate::signed::{Mistake, Signed, secret_of};

/// The function's default for `PARAMETER_TTL_SECONDS` and the tolerance of signatures.
const DEFAULT: Duration = Duration::from_secs(300);

/// Deliveries that wait for a slow page. If there are more, the page fetches the list again.
const WAITING: usize = 256;

/// The path of Amplitude's endpoint.
const HTTP_V2: &str = "/2/httpapi";

/// The outcome of a request that is not signed or not an event.
pub(crate) const REFUSED: &str = "refused";

/// The destination of the events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amplitude {
    /// A local Amplitude.
    Emulator,
    /// Amplitude itself.
    Real,
    /// This endpoint.
    Url(String),
}

/// The API from which referenced objects are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stripe {
    /// A local Stripe, which learns objects from the events.
    Local,
    /// Stripe itself.
    Real,
    /// This URL.
    Url(String),
}

impl FromStr for Amplitude {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "emulator" => Ok(Self::Emulator),
            "real" => Ok(Self::Real),
            url => secured_url(url)
                .map(Self::Url)
                .ok_or_else(|| format!("invalid value; expected `emulator`, `real` or a URL: {SECURED}")),
        }
    }
}

impl FromStr for Stripe {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "local" => Ok(Self::Local),
            "real" => Ok(Self::Real),
            url => secured_url(url)
                .map(Self::Url)
                .ok_or_else(|| format!("invalid value; expected `local`, `real` or a URL: {SECURED}")),
        }
    }
}

/// Nobody else uses the local Stripe, so reads need not wait.
const UNHURRIED: ReadRate = ReadRate::unhurried(100_000);

/// The handler and its deliveries. Clones share them.
#[derive(Clone)]
pub struct Workbench(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    webhook: Webhook<Projects, RecordingProxy, Reader, Infallible>,
    pub(crate) projects: Projects,
    /// The local Amplitude and its address.
    emulator: Option<(Emulator, String)>,
    pub(crate) proxy: RecordingProxy,
    pub(crate) reader: Reader,
    pub(crate) log: Log,
    pub(crate) kept_in: Option<String>,
    last: AtomicU64,
    pub(crate) live: broadcast::Sender<Summary>,
}

/// A delivery that was received.
struct Posted {
    path: String,
    headers: HeaderMap,
    body: Bytes,
    /// Replaces the usual destination.
    instead: Option<Failing>,
}

/// A local Amplitude that fails on demand. It stops when the value is dropped.
struct Failing {
    url: String,
    _serving: JoinSet<()>,
}

/// A delivery with its response, and whether it could be stored.
struct Recorded {
    answer: Response<String>,
    number: u64,
    milliseconds: f64,
    kept: Result<(), String>,
}

/// What became of an event, and why.
pub(crate) struct ExplainedDelivery {
    /// As text.
    pub(crate) text: String,
    /// Notes on single fields.
    pub(crate) notes: Vec<Note>,
    /// The reads from Stripe's API, and what each was for.
    pub(crate) reads: Vec<Value>,
}

/// A delivery that the workbench sent itself.
#[derive(Serialize)]
pub(crate) struct Delivered {
    pub(crate) number: u64,
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) milliseconds: f64,
}

impl Workbench {
    /// A handler for these projects. A local Stripe accepts any key. Deliveries, and with them the events of the local
    /// Amplitude, are stored in `file` if it is given.
    ///
    /// # Errors
    /// If the file cannot be used, no port is free, or the HTTP client cannot be built.
    pub async fn new(
        projects: Projects,
        amplitude: Amplitude,
        stripe: Stripe,
        file: Option<&Path>,
    ) -> Result<Self, Box<dyn Error>> {
        let log = Log::open(file)?;
        let http = http_client::build(None)?;
        let emulator = if amplitude == Amplitude::Emulator { Some(local_amplitude(&log).await?) } else { None };
        let upstream = match (amplitude, &emulator) {
            (Amplitude::Url(url), _) => Upstream::Url(url),
            (_, Some((_, address))) => Upstream::Local(format!("{address}{HTTP_V2}")),
            _ => Upstream::Real,
        };
        let (local, url) = match stripe {
            Stripe::Local => (Some(local_stripe(&log)?), None),
            Stripe::Url(url) => (None, Some(url)),
            Stripe::Real => (None, None),
        };
        let pace = if local.is_some() { UNHURRIED } else { ReadRate::WEBHOOK };
        let reader = Reader::new(http.clone(), local, url);
        let references = References::new(reader.clone(), pace);
        let proxy = RecordingProxy::open(http, upstream).await?;
        let loaded = projects::Projects::new(projects.clone(), DEFAULT);
        Ok(Self(Arc::new(Inner {
            webhook: Webhook::new(loaded, proxy.clone(), references, DEFAULT),
            projects,
            emulator,
            proxy,
            reader,
            last: AtomicU64::new(log.last()?),
            log,
            kept_in: file.map(|file| file.display().to_string()),
            live: broadcast::Sender::new(WAITING),
        })))
    }

    /// The local Amplitude and its address, if the workbench has one.
    pub fn emulator(&self) -> Option<(&Emulator, &str)> {
        self.0.emulator.as_ref().map(|(emulator, address)| (emulator, &**address))
    }

    /// The local Stripe, if the workbench has one.
    pub fn stripe(&self) -> Option<&stripe_emulator::Emulator> {
        self.0.reader.local()
    }

    /// Handles a request like the function, and records it if it is a delivery.
    pub(crate) async fn answer(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Response<String> {
        if method == Method::POST && guard::is_webhook(path) {
            let posted = Posted { path: path.to_owned(), headers: headers.clone(), body, instead: None };
            return self.deliver(posted).await.answer;
        }
        let request = Request { method, path, headers, body, request_id: None, function: None, time_left: None };
        self.0.webhook.handle(request).await
    }

    /// In a task of its own, so that it completes even if the client has disconnected, as on Lambda.
    async fn deliver(&self, posted: Posted) -> Recorded {
        let this = self.clone();
        let delivered = tokio::spawn(async move { this.record(posted).await }).await;
        delivered.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    async fn record(&self, Posted { path, headers, body, instead }: Posted) -> Recorded {
        let inner = &self.0;
        let number = inner.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (received, start) = (clock::now_milliseconds(), Instant::now());
        inner.proxy.watch(number, instead.as_ref().map(|failing| failing.url.clone()));
        inner.reader.watch(number, body.clone());
        let request = Request {
            method: &Method::POST,
            path: &path,
            headers: &headers,
            body: body.clone(),
            request_id: None,
            function: None,
            time_left: None,
        };
        let answer = exchange::DELIVERY.scope(number, inner.webhook.handle(request)).await;
        let milliseconds = exchange::milliseconds(start);
        let exchanges = inner.proxy.take(number);
        let reads = inner.reader.take(number, is_signed(answer.status()));
        // Requests for unknown projects and bodies that are too large may come from strangers, and would fill the disk.
        let is_kept = !matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::PAYLOAD_TOO_LARGE);
        let body = if is_kept { body.to_vec() } else { Vec::new() };
        let stripe = Sent { path, headers: stripe_headers(&headers), body };
        let mut entry = entry(number, received, milliseconds, stripe, &answer, exchanges);
        entry.reads = reads;
        entry.truncate_unsigned();
        let kept = inner.log.add(&entry).map_err(|error| error.to_string());
        match &kept {
            // If it cannot be sent, no page is open.
            Ok(()) => drop(inner.live.send(entry.summary)),
            Err(error) => {
                tracing::error!(error, "the workbench could not store a delivery; the handler processed it anyway")
            }
        }
        Recorded { answer, number, milliseconds, kept }
    }

    /// Signs an event and delivers it, optionally with a typical mistake or while the local Amplitude fails.
    ///
    /// # Errors
    /// A sentence if the project has no signing secret, the local Amplitude is missing, or the delivery cannot be stored.
    pub(crate) async fn send(
        &self,
        project: &ProjectName,
        event: Vec<u8>,
        mistake: Option<Mistake>,
        fault: Option<Fault>,
    ) -> Result<Delivered, String> {
        let secret = secret_of(&self.0.projects, project).await?;
        let Signed { headers, body } = Signed::new(&secret, event, mistake, clock::now());
        let mut posted = Posted { path: format!("/stripe/{project}"), headers, body, instead: None };
        let Recorded { answer, number, milliseconds, kept } = match fault {
            None => self.deliver(posted).await,
            Some(_) if self.emulator().is_none() => {
                return Err(
                    "only the local Amplitude can fail on demand; start serve with --amplitude emulator".to_owned()
                );
            }
            Some(fault) => {
                let failing = Failing::start(fault).await;
                posted.instead =
                    Some(failing.map_err(|error| format!("no port is free for an Amplitude that fails: {error}"))?);
                self.deliver(posted).await
            }
        };
        let status = answer.status().as_u16();
        kept.map_err(|error| {
            format!("the event was delivered with status {status}, but the delivery cannot be stored: {error}")
        })?;
        Ok(Delivered { number, status, body: answer.into_body(), milliseconds })
    }

    /// What becomes of an event, and why, with the current settings and the objects that were read at the time. `None` if
    /// the request was refused, because the response has the reason.
    pub(crate) async fn explain(&self, entry: &Entry) -> Option<ExplainedDelivery> {
        if entry.summary.outcome == REFUSED {
            return None;
        }
        let name: ProjectName = entry.summary.project.parse().ok()?;
        let project = self.0.projects.project(&name).await.ok()?;
        let delivery = project.delivery.as_ref().ok()?;
        let now = entry.summary.received / 1000;
        let body = VerifiedBody::trusted(entry.stripe.body.clone().into());
        let settings = &delivery.settings;
        let has_test_key = delivery.has_test_key();
        let mut context = Context { project: &name, source: None, settings, has_test_key, objects: None };
        let event = Event::parse(&body).ok()?;
        let replay = Replay::of(&entry.reads, &event, delivery, &context);
        context.objects = replay.as_ref().map(|replay| &replay.objects);
        let explanation = Explanation::of(event, &context, now, now).ok()?;
        let reads = replay.as_ref().map(|replay| replay.shown(&entry.reads, &explanation));
        let text = format!("{}{explanation}", reads::only_named(&entry.reads));
        let notes = note::notes(&explanation);
        Some(ExplainedDelivery { text, notes, reads: reads.unwrap_or_default() })
    }

    /// The local Amplitude's events of a project. If test events have their own key, they belong to another project in
    /// Amplitude with its own charts. These are shown until live events arrive.
    ///
    /// # Errors
    /// A sentence if the project cannot be used.
    pub(crate) async fn accepted(&self, name: &ProjectName) -> Result<Vec<AcceptedEvent>, String> {
        let Some((emulator, _)) = self.emulator() else { return Ok(Vec::new()) };
        let project = self.0.projects.project(name).await?;
        let delivery = project.delivery.map_err(|error| error.to_string())?;
        let [live, test] = [Some(true), Some(false)]
            .map(|livemode| exchange::digest(delivery.destination(livemode).api_key.expose_secret()));
        let mut events = emulator.events();
        let key = if events.iter().any(|event| event.api_key == live) { live } else { test };
        events.retain(|event| event.api_key == key);
        Ok(events)
    }
}

impl Failing {
    /// A separate one, so that the fault affects no other delivery. It would ingest nothing anyway.
    async fn start(fault: Fault) -> std::io::Result<Self> {
        let emulator = Emulator::new(Configuration::default());
        emulator.inject(fault, u32::MAX);
        let (listener, address) = listen_anywhere().await?;
        let mut serving = JoinSet::new();
        serving.spawn(emulator.serve(listener));
        Ok(Self { url: format!("{address}{HTTP_V2}"), _serving: serving })
    }
}

/// The local Amplitude with its stored events, and its address.
async fn local_amplitude(log: &Log) -> Result<(Emulator, String), Box<dyn Error>> {
    let emulator = Emulator::new(Configuration::default());
    log.replay(|time, request| emulator.replay(Endpoint::HttpV2, request.as_bytes(), time.cast_signed()))?;
    let (listener, address) = listen_anywhere().await?;
    tokio::spawn(emulator.clone().serve(listener));
    Ok((emulator, address))
}

/// The local Stripe, which accepts any key, with the objects in the stored events.
fn local_stripe(log: &Log) -> Result<stripe_emulator::Emulator, Box<dyn Error>> {
    let stripe = stripe_emulator::Emulator::start()?;
    stripe.allow_any_key();
    log.signed_events(|event| {
        if let Ok(event) = serde_json::from_slice(event) {
            stripe.learn(&event);
        }
    })?;
    Ok(stripe)
}

/// Whether the status proves that the event was signed. Otherwise a stranger may have made it up.
fn is_signed(status: StatusCode) -> bool {
    matches!(status, StatusCode::OK | StatusCode::BAD_GATEWAY)
}

/// Stripe's own headers. Those that a tunnel or a proxy adds may be secret.
fn stripe_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let names = ["accept", "content-type", "user-agent", signature::HEADER];
    let found = names.into_iter().flat_map(|name| headers.get_all(name).iter().map(move |value| (name, value)));
    let found = found.map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.to_owned(), if name == signature::HEADER { masked(&value) } else { value.into_owned() })
    });
    found.collect()
}

/// The signature header with only the first characters of each signature, which is enough to tell two apart.
fn masked(header: &str) -> String {
    let elements = header.split(',').map(|element| match element.split_once('=') {
        Some(("t", time)) => format!("t={time}"),
        Some((key, value)) => format!("{key}={}…", value.chars().take(6).collect::<String>()),
        None => "…".to_owned(),
    });
    elements.collect::<Vec<_>>().join(",")
}

fn entry(
    number: u64,
    received: u64,
    milliseconds: f64,
    stripe: Sent,
    answer: &Response<String>,
    exchanges: Vec<Exchange>,
) -> Entry {
    let response: Value = serde_json::from_str(answer.body()).unwrap_or_default();
    let text = |name: &str| response.get(name).and_then(Value::as_str).map(str::to_owned);
    let last = exchanges.last();
    let request: Value = last.and_then(|last| serde_json::from_str(&last.request).ok()).unwrap_or_default();
    let sent = |name: &str| request.get("events").and_then(|events| events.get(0)).and_then(|event| event.get(name));
    let revenue = sent("revenue").zip(sent("currency").and_then(Value::as_str));
    let ingested: Option<Value> = last
        .filter(|last| last.status == Some(200))
        .and_then(|last| serde_json::from_str(last.answer.as_deref()?).ok());
    let repeat = ingested.is_some_and(|answer| answer.get("events_ingested").and_then(Value::as_u64) == Some(0));
    let summary = Summary {
        number,
        received,
        project: stripe.path.rsplit('/').next().unwrap_or_default().to_owned(),
        event: text("event"),
        event_type: text("type"),
        outcome: text("outcome").unwrap_or_else(|| "failed".to_owned()),
        status: answer.status().as_u16(),
        code: text("code"),
        reason: text("reason"),
        user: sent("user_id").and_then(Value::as_str).map(str::to_owned),
        revenue: revenue.map(|(revenue, currency)| shown(revenue, currency)),
        repeat,
        milliseconds,
    };
    Entry { summary, stripe, answer: answer.body().clone(), exchanges, reads: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_masked() {
        assert_eq!(masked("t=1,v1=0123456789abcdef,v0=fedcba"), "t=1,v1=012345…,v0=fedcba…");
        assert_eq!(masked("nonsense"), "…");
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("stripe-signature", "t=1,v1=0123456789"), ("cookie", "a=b"), ("authorization", "Basic x")]
        {
            headers.append(name, value.parse().unwrap());
        }
        assert_eq!(stripe_headers(&headers), [("stripe-signature".to_owned(), "t=1,v1=012345…".to_owned())]);
    }
}
