//! The HTTP surface: Amplitude's endpoints, and the control API under `/emulator/`.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{
    ALLOW, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, WWW_AUTHENTICATE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use local_guard::is_from_web_page;
use rustls::ServerConfig;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::export;
use crate::fault::{Fault, FaultPath, FaultyAnswer, InjectedFault, take_next};
use crate::rules::{self, Answer, Endpoint};
use crate::store::{AcceptedEvent, Store, Throttle};

/// A body up to this size is read to its end even if it is too large, so that the client sees the 413 rather than a
/// broken connection.
const MAX_READ_BYTES: usize = 64 * 1024 * 1024;

/// The time limit for the head of a request, including the wait for it on an open connection, and then for the body.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The delay between sending half a response and closing the connection.
const CUT_AFTER: Duration = Duration::from_millis(20);

/// The behaviour of an emulator.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The valid API keys; if empty, every key is valid.
    pub api_keys: Vec<String>,
    /// The secret keys that are valid with an API key, for exports; if empty, every key is valid.
    pub secret_keys: Vec<String>,
    /// The throttle of HTTP V2; `None` disables it.
    pub http_v2_throttle: Option<Throttle>,
    /// The throttle of Batch; `None` disables it.
    pub batch_throttle: Option<Throttle>,
    /// Whether dropped repeats count in `events_ingested`. Amplitude does not document it.
    pub count_repeats: bool,
    /// The delay of every response from Amplitude's endpoints. Events are ingested before it.
    pub delay: Duration,
    /// The time from the end of an hour until its uploads can be exported; two hours at Amplitude. `None` means
    /// immediately, even before the hour is over.
    pub export_lag: Option<Duration>,
}

impl Default for Configuration {
    /// Every key is valid, with Amplitude's throttles, no delay and no lag; repeats are not counted.
    fn default() -> Configuration {
        Configuration {
            api_keys: Vec::new(),
            secret_keys: Vec::new(),
            http_v2_throttle: Some(Throttle::HTTP_V2),
            batch_throttle: Some(Throttle::BATCH),
            count_repeats: false,
            delay: Duration::ZERO,
            export_lag: None,
        }
    }
}

/// A local Amplitude. Its clones share their state.
#[derive(Debug, Clone)]
pub struct Emulator {
    configuration: Arc<Configuration>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    store: Store,
    injected_faults: VecDeque<InjectedFault>,
    counts: RequestCounts,
    rewrite_export: Option<Rewrite>,
}

/// Changes the lines of exports.
#[derive(Clone)]
struct Rewrite(Arc<dyn Fn(&str) -> String + Send + Sync>);

impl fmt::Debug for Rewrite {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Rewrite")
    }
}

/// Counts of requests, without those to the control API.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RequestCounts {
    /// Connections with at least one request.
    pub connections: u64,
    /// Requests whose body has arrived.
    pub requests: u64,
    /// Requests by path and by the status of the response; `none` for no response. A status counts as soon as it is
    /// decided, even if the client does not wait for it.
    pub answers: BTreeMap<String, BTreeMap<String, u64>>,
    /// Events that were dropped as repeats.
    pub repeats: u64,
}

impl Emulator {
    /// An emulator without any events.
    pub fn new(configuration: Configuration) -> Emulator {
        Emulator { configuration: Arc::new(configuration), state: Arc::default() }
    }

    /// Serves plain HTTP/1.1, until the future is dropped; then all its connections are closed.
    pub async fn serve(self, listener: TcpListener) {
        self.accept(listener, None).await;
    }

    /// Serves HTTP/1.1 over TLS, until the future is dropped; then all its connections are closed.
    pub async fn serve_tls(self, listener: TcpListener, tls: Arc<ServerConfig>) {
        self.accept(listener, Some(tls.into())).await;
    }

    /// The accepted events, in order.
    pub fn events(&self) -> Vec<AcceptedEvent> {
        self.state().store.events().to_vec()
    }

    /// Ingests a request as if it had arrived at this time (Unix milliseconds), without a throttle, to restore requests
    /// from an earlier process. An invalid request has no effect.
    pub fn replay(&self, endpoint: Endpoint, body: &[u8], upload_time: i64) {
        if let Ok(upload) = rules::read(endpoint, body, &self.configuration.api_keys) {
            // Without a throttle, nothing is rejected.
            let _ = self.state().store.ingest(endpoint, upload, None, upload_time);
        }
    }

    /// Counts of requests.
    pub fn requests(&self) -> RequestCounts {
        self.state().counts.clone()
    }

    /// Injects a fault into this many uploads, after the faults that are already injected.
    pub fn inject(&self, fault: Fault, requests: u32) {
        self.state().injected_faults.push_back(InjectedFault { path: None, requests, fault });
    }

    /// Injects a fault into this many exports, after the faults that are already injected.
    pub fn inject_for_export(&self, fault: Fault, requests: u32) {
        self.state().injected_faults.push_back(InjectedFault { path: Some(FaultPath::Export), requests, fault });
    }

    /// Changes each line of later exports, to test parsers: real exports have lines that the documentation does not
    /// describe. A line may occur twice with one `uuid`, have both `insert_id` and `$insert_id`, numbers as text, or
    /// null for a time. The line has no line break; its replacement may be several lines, or none.
    pub fn rewrite_export(&self, rewrite: impl Fn(&str) -> String + Send + Sync + 'static) {
        self.state().rewrite_export = Some(Rewrite(Arc::new(rewrite)));
    }

    /// Removes all injected faults.
    pub fn clear_faults(&self) {
        self.state().injected_faults.clear();
    }

    /// Resets everything: events and the data derived from them, faults, counts and the change to exports.
    pub fn clear(&self) {
        *self.state() = State::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No step leaves the state half-done, so it is valid even after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connections.
impl Emulator {
    async fn accept(self, listener: TcpListener, tls: Option<TlsAcceptor>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(self.clone().serve_connection(stream, tls.clone()));
                    }
                    // The client is already gone, or this process has too many open files.
                    Err(_) => sleep(Duration::from_millis(10)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn serve_connection(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        // Without it, responses could wait for the client's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        match tls {
            None => self.serve_stream(stream).await,
            Some(tls) => {
                if let Ok(stream) = tls.accept(stream).await {
                    self.serve_stream(stream).await;
                }
            }
        }
    }

    async fn serve_stream(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let is_counted = AtomicBool::new(false);
        // An error here is a client that disconnected, or an injected cut.
        let _ = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(READ_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service_fn(|request| self.answer(request, &is_counted)))
            .await;
    }
}

/// Requests.
impl Emulator {
    async fn answer(
        &self,
        request: Request<Incoming>,
        connection_is_counted: &AtomicBool,
    ) -> Result<Response<AnswerBody>, Cut> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        if is_from_web_page(&head.headers) {
            return Ok(text(403, "the emulator does not accept requests from web pages\n"));
        }
        let body = match timeout(READ_TIMEOUT, Limited::new(body, MAX_READ_BYTES).collect()).await {
            Ok(Ok(body)) => Some(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => None,
            Ok(Err(_)) | Err(_) => return Err(Cut),
        };
        if let Some(control) = path.strip_prefix("/emulator/") {
            let query = head.uri.query().unwrap_or_default();
            return Ok(self.control(&head.method, control, query, &body.unwrap_or_default()));
        }

        let reply = match (Endpoint::at(path), body) {
            (None, _) if path == export::PATH && head.method != Method::GET => Reply::now(not_allowed("GET")),
            (None, _) if path == export::PATH => self.export(&head.headers, head.uri.query().unwrap_or_default()),
            (None, _) => Reply::now(text(404, "not found")),
            (Some(_), _) if head.method != Method::POST => Reply::now(not_allowed("POST")),
            (Some(_), None) => Reply::now(json(&rules::too_large())),
            (Some(endpoint), Some(body)) => self.upload(endpoint, &body),
        };
        let first_on_connection = !connection_is_counted.swap(true, Ordering::Relaxed);
        self.count(path, reply.response.as_ref(), first_on_connection);

        if !reply.after.is_zero() {
            sleep(reply.after).await;
        }
        reply.response.ok_or(Cut)
    }

    /// Handles an upload. The events are ingested immediately, however late the response is: a client that gives up
    /// cannot know.
    fn upload(&self, endpoint: Endpoint, body: &[u8]) -> Reply {
        let now = now();
        let mut state = self.state();
        let fault = take_next(&mut state.injected_faults, None);
        let answer = match &fault {
            Some(fault) if !fault.ingests() => rules::success(0, body.len(), now),
            _ => self.ingest(&mut state, endpoint, body, now),
        };
        self.reply(fault, json(&answer), || json(&rules::invalid_api_key(&api_key_of(body))))
    }

    /// Handles an export.
    fn export(&self, headers: &HeaderMap, query: &str) -> Reply {
        let fault = take_next(&mut self.state().injected_faults, Some(FaultPath::Export));
        let response = match self.archive(headers, query) {
            Ok(archive) => response(200, "application/zip", archive),
            Err(refusal) => json(&refusal),
        };
        self.reply(fault, response, || json(&export::unauthorized()))
    }

    fn archive(&self, headers: &HeaderMap, query: &str) -> Result<Vec<u8>, Answer> {
        let Configuration { api_keys, secret_keys, export_lag, .. } = &*self.configuration;
        let authorization = headers.get(AUTHORIZATION).map_or(&b""[..], HeaderValue::as_bytes);
        let api_key = export::read_project(authorization, api_keys, secret_keys)?;
        let hours = export::complete(export::read_hours(query)?, *export_lag, now());
        let (mut lines, rewrite) = {
            let state = self.state();
            (export::lines(state.store.events(), &api_key, &hours), state.rewrite_export.clone())
        };
        if lines.is_empty() {
            return Err(rules::documented_error(404));
        }
        if let Some(Rewrite(rewrite)) = rewrite {
            for lines in lines.values_mut() {
                *lines = lines.lines().map(|line| rewrite(line) + "\n").collect();
            }
        }
        export::archive(&api_key, &lines).map_err(|error| rules::error(500, &error.to_string()))
    }

    /// Applies the fault to the usual response and determines its time.
    fn reply(
        &self,
        fault: Option<Fault>,
        usual: Response<AnswerBody>,
        invalid_api_key: impl FnOnce() -> Response<AnswerBody>,
    ) -> Reply {
        let mut after = self.configuration.delay;
        let response = match fault {
            None => Some(usual),
            Some(Fault::Answer(faulty)) => {
                Some(faulty_response(&faulty).unwrap_or_else(|error| text(500, format!("invalid fault: {error}"))))
            }
            Some(Fault::InvalidApiKey) => Some(invalid_api_key()),
            Some(Fault::Delay { milliseconds }) => {
                after += Duration::from_millis(milliseconds);
                Some(usual)
            }
            Some(Fault::Hang { milliseconds, .. }) => {
                after = Duration::from_millis(milliseconds);
                None
            }
            Some(Fault::Cut { .. }) => None,
            Some(Fault::CutBody { .. }) => Some(half(usual)),
        };
        Reply { response, after }
    }

    fn ingest(&self, state: &mut State, endpoint: Endpoint, body: &[u8], now: i64) -> Answer {
        let upload = match rules::read(endpoint, body, &self.configuration.api_keys) {
            Ok(upload) => upload,
            Err(refusal) => return refusal,
        };
        let throttle = match endpoint {
            Endpoint::HttpV2 => self.configuration.http_v2_throttle,
            Endpoint::Batch => self.configuration.batch_throttle,
        };
        match state.store.ingest(endpoint, upload, throttle, now) {
            Ok(ingested) => {
                state.counts.repeats += ingested.repeats as u64;
                let repeats = if self.configuration.count_repeats { ingested.repeats } else { 0 };
                rules::success(ingested.kept + repeats, body.len(), now)
            }
            Err(throttled) => rules::throttled(
                throttle.map_or(0, |throttle| throttle.events_per_second),
                &throttled.users,
                &throttled.devices,
                &throttled.events,
            ),
        }
    }

    fn count(&self, path: &str, response: Option<&Response<AnswerBody>>, first_on_connection: bool) {
        let status = response.map_or("none".to_owned(), |response| response.status().as_str().to_owned());
        let counts = &mut self.state().counts;
        counts.connections += u64::from(first_on_connection);
        counts.requests += 1;
        let statuses = counts.answers.entry(path.to_owned()).or_default();
        *statuses.entry(status).or_default() += 1;
    }

    fn control(&self, method: &Method, resource: &str, query: &str, body: &[u8]) -> Response<AnswerBody> {
        match (resource, method.as_str()) {
            ("health", "GET") => text(200, "ok\n"),
            ("events", "GET") => json_of(&self.events_matching(query)),
            ("events", "DELETE") => {
                self.state().store = Store::default();
                text(204, "")
            }
            ("requests", "GET") => json_of(&self.requests()),
            ("requests", "DELETE") => {
                self.state().counts = RequestCounts::default();
                text(204, "")
            }
            ("faults", "GET") => json_of(&self.state().injected_faults),
            ("faults", "POST") => match read_fault(body) {
                Ok(fault) => {
                    self.state().injected_faults.push_back(fault);
                    text(204, "")
                }
                Err(message) => text(400, message),
            },
            ("faults", "DELETE") => {
                self.clear_faults();
                text(204, "")
            }
            ("health", _) => not_allowed("GET"),
            ("events" | "requests", _) => not_allowed("GET, DELETE"),
            ("faults", _) => not_allowed("GET, POST, DELETE"),
            _ => text(404, "not found"),
        }
    }

    /// The events for which every parameter of the query holds. Unknown parameters match nothing, so that a misspelt
    /// one is noticed.
    fn events_matching(&self, query: &str) -> Vec<AcceptedEvent> {
        let mut events = self.events();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            events.retain(|event| match &*name {
                "api_key" => event.api_key == value,
                "insert_id" => event.event.get("insert_id").is_some_and(|id| *id == *value),
                "user_id" => event.attributed_user_id.as_deref() == Some(&*value),
                _ => false,
            });
        }
        events
    }
}

/// The result of a request and its time: a response, or a connection that is closed without one.
struct Reply {
    response: Option<Response<AnswerBody>>,
    after: Duration,
}

impl Reply {
    fn now(response: Response<AnswerBody>) -> Reply {
        Reply { response: Some(response), after: Duration::ZERO }
    }
}

/// A valid fault from a request body, or a description of the error.
fn read_fault(body: &[u8]) -> Result<InjectedFault, String> {
    let fault: InjectedFault = serde_json::from_slice(body).map_err(|error| format!("invalid fault: {error}\n"))?;
    if let Fault::Answer(answer) = &fault.fault {
        faulty_response(answer).map_err(|error| format!("impossible answer: {error}\n"))?;
    }
    Ok(fault)
}

fn api_key_of(body: &[u8]) -> String {
    serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|request| request.get("api_key")?.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn now() -> i64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_millis() as i64)
}

fn json(answer: &Answer) -> Response<AnswerBody> {
    let mut response = response(answer.status, "application/json", answer.body.to_string());
    // HTTP requires a 401 to name the authentication scheme.
    if answer.status == 401 {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
    }
    response
}

fn json_of(value: &impl Serialize) -> Response<AnswerBody> {
    match serde_json::to_string(value) {
        Ok(body) => response(200, "application/json", body),
        Err(error) => text(500, error.to_string()),
    }
}

fn text(status: u16, body: impl Into<Bytes>) -> Response<AnswerBody> {
    response(status, "text/plain; charset=utf-8", body)
}

fn not_allowed(methods: &'static str) -> Response<AnswerBody> {
    let mut response = text(405, "method not allowed");
    let methods = HeaderValue::from_static(methods);
    response.headers_mut().insert(ALLOW, methods);
    response
}

/// A response with a valid status and content type.
fn response(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::whole(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// The injected response, unless HTTP does not permit it.
fn faulty_response(answer: &FaultyAnswer) -> Result<Response<AnswerBody>, String> {
    if !(200..=599).contains(&answer.status) {
        return Err(format!("invalid status {}; expected 200 to 599", answer.status));
    }
    let (body, content_type) = match (&answer.text, &answer.json) {
        (Some(text), _) => (text.clone(), "text/html"),
        (None, Some(json)) => (json.to_string(), "application/json"),
        (None, None) => (rules::documented_error(answer.status).body.to_string(), "application/json"),
    };
    let content_type = answer.content_type.as_deref().unwrap_or(content_type);
    let mut response = Response::builder().status(answer.status).header(CONTENT_TYPE, content_type);
    if let Some(location) = &answer.location {
        response = response.header(LOCATION, location);
    }
    response.body(AnswerBody::whole(body.into())).map_err(|error| error.to_string())
}

/// The response with its whole length announced, but only half of its body.
fn half(mut response: Response<AnswerBody>) -> Response<AnswerBody> {
    let body = response.body_mut();
    let length = body.bytes.len();
    body.bytes.truncate(length / 2);
    body.cut = Some(Box::pin(sleep(CUT_AFTER)));
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response
}

/// Ends a connection. hyper closes the socket silently if a service or a body fails.
#[derive(Debug)]
struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the connection is cut")
    }
}

impl std::error::Error for Cut {}

/// The body of a response, which may break off.
struct AnswerBody {
    bytes: Bytes,
    /// When the connection is cut after the bytes. Not immediately, because the bytes written before a body fails are
    /// never flushed.
    cut: Option<Pin<Box<Sleep>>>,
}

impl AnswerBody {
    fn whole(bytes: Bytes) -> AnswerBody {
        AnswerBody { bytes, cut: None }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if !self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match &mut self.cut {
            None => Poll::Ready(None),
            Some(cut) => {
                ready!(cut.as_mut().poll(context));
                Poll::Ready(Some(Err(Cut)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty() && self.cut.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.cut {
            None => SizeHint::with_exact(self.bytes.len() as u64),
            Some(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
#[path = "../../../tests/shared/partial_request.rs"]
#[allow(clippy::unwrap_used)]
mod partial_request;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::partial_request::send_partial_request;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stalled_requests_time_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(Emulator::new(Configuration::default()).serve(listener));
        for request in [
            "GET /emulator/events HTTP/1.1\r\nhost: a\r\n",
            "POST /batch HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf",
        ] {
            let start = tokio::time::Instant::now();
            send_partial_request(address, request).await;
            assert!((30..=62).contains(&start.elapsed().as_secs()), "{request}: {:?}", start.elapsed());
        }
        serving.abort();
    }
}
