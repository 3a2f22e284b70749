//! Delivers an event to Amplitude's HTTP V2 API, within a deadline.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Destination, Region, event::Event};
use crate::back_off::{BackOff, shortened};

/// The limit of one attempt.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(2);

/// The most attempts, not counting the extra one after a broken connection.
const ATTEMPTS: u32 = 3;

/// A connection that breaks this early has usually died while the environment was frozen.
const EARLY: Duration = Duration::from_secs(1);

/// The longest pauses before the second and the third attempt; full jitter.
const BACK_OFF: BackOff = BackOff { first: Duration::from_millis(200), longest: Duration::from_millis(400) };

/// How much of a response is read. Amplitude's are far shorter, but a batch's may name each event and user.
const LARGEST_RESPONSE: usize = 1024 * 1024;

/// A sink for events. The network edge of the handler; [`Client`] is the real one.
pub trait EventSink: Send + Sync {
    /// Delivers one event, and ends before the deadline.
    fn send(
        &self,
        event: &Event<'_>,
        destination: &Destination,
        deadline: Instant,
    ) -> impl Future<Output = SendReport> + Send;

    /// Opens a connection and leaves it in the pool, so that the first delivery needs no handshake.
    ///
    /// # Errors
    /// If there is no response. Any response is good, because it came over the connection.
    fn connect(&self, region: Region) -> impl Future<Output = Result<(), DeliveryError>> + Send;
}

/// How a delivery went.
#[derive(Debug)]
pub struct SendReport {
    /// Requests that were sent.
    pub attempts: u32,
    /// The result of the last one.
    pub result: Result<Accepted, DeliveryError>,
}

/// Amplitude accepted the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Amplitude's own count of the accepted events. It is lower than the number sent if some were dropped, usually as
    /// repeats. `None` if the response has no usable count.
    pub events_ingested: Option<u64>,
}

impl Accepted {
    /// How many of the sent events Amplitude did not count. If its count is unknown, 0, because an unknown number must
    /// not raise an alarm.
    pub fn not_ingested(self, sent: usize) -> u64 {
        let sent = u64::try_from(sent).unwrap_or(u64::MAX);
        self.events_ingested.map_or(0, |ingested| sent.saturating_sub(ingested))
    }
}

/// Sends events to Amplitude over HTTP.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    url: Option<String>,
}

impl Client {
    /// A client that sends everything to `url`, or if that is `None`, to the region of the project.
    pub fn new(http: reqwest::Client, url: Option<String>) -> Self {
        Self { http, url }
    }

    fn url(&self, region: Region) -> &str {
        self.url.as_deref().unwrap_or(region.http_v2_url())
    }

    pub(super) fn batch_url(&self, region: Region) -> &str {
        self.url.as_deref().unwrap_or(region.batch_url())
    }

    async fn attempt(&self, url: &str, body: Bytes) -> Result<Accepted, DeliveryError> {
        let (status, answer) = self.post(url, body).await?;
        classify_response(status, &answer)
    }

    pub(super) async fn post(&self, url: &str, body: Bytes) -> Result<(StatusCode, Vec<u8>), DeliveryError> {
        let request = self.http.post(url).header(http::header::CONTENT_TYPE, "application/json").body(body);
        let answer = request.send().await?;
        Ok((answer.status(), read(answer).await?))
    }
}

impl EventSink for Client {
    async fn send(&self, event: &Event<'_>, destination: &Destination, deadline: Instant) -> SendReport {
        let url = self.url(destination.region);
        let Ok(body) = serde_json::to_vec(&Request::new(&[event], destination.api_key.expose_secret())) else {
            return SendReport { attempts: 0, result: Err(DeliveryError::Unserializable) };
        };
        let body = Bytes::from(body);

        with_retries(deadline, || self.attempt(url, body.clone())).await
    }

    async fn connect(&self, region: Region) -> Result<(), DeliveryError> {
        let answer = self.http.get(self.url(region)).send().await?;
        read(answer).await.map(drop)
    }
}

/// Retries until an attempt is accepted, fails permanently, or no time is left.
pub async fn with_retries<F>(deadline: Instant, mut attempt: impl FnMut() -> F) -> SendReport
where
    F: Future<Output = Result<Accepted, DeliveryError>>,
{
    let mut attempts = 0;
    let mut counted = 0;
    let mut broken_connection_is_free = true;
    loop {
        attempts += 1;
        let start = Instant::now();
        let limit = deadline.min(start + ATTEMPT_LIMIT);
        let result = timeout_at(limit, attempt()).await;
        let error = match result.unwrap_or(Err(DeliveryError::Timeout)) {
            Ok(accepted) => return SendReport { attempts, result: Ok(accepted) },
            Err(error) => error,
        };
        if broken_connection_is_free && error.is_broken_connection() && start.elapsed() < EARLY {
            broken_connection_is_free = false;
            continue;
        }
        counted += 1;
        let pause = shortened(BACK_OFF.pause(counted), 1.0, fastrand::f64());
        if !error.is_transient() || counted == ATTEMPTS || Instant::now() + pause >= deadline {
            return SendReport { attempts, result: Err(error) };
        }
        sleep(pause).await;
    }
}

/// The JSON body of a request.
#[derive(Serialize)]
pub struct Request<'e, E> {
    api_key: &'e str,
    events: &'e [E],
    options: Options,
}

impl<'e, E: Serialize> Request<'e, E> {
    /// Sends these events to the Amplitude project of this key.
    pub fn new(events: &'e [E], api_key: &'e str) -> Self {
        Self { api_key, events, options: Options { min_id_length: 1 } }
    }
}

/// By default, Amplitude rejects IDs of less than five characters; Stripe's customer IDs may be shorter.
#[derive(Serialize)]
struct Options {
    min_id_length: u32,
}

/// The parts of Amplitude's response that matter. Its texts never leave this file: they can hold the API key or user
/// IDs.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ResponseBody {
    code: Value,
    events_ingested: Value,
    error: Value,
    missing_field: Value,
    events_with_invalid_fields: Value,
    events_with_missing_fields: Value,
    events_with_invalid_id_lengths: Value,
    silenced_events: Value,
    silenced_devices: Value,
    throttled_events: Value,
}

async fn read(mut answer: reqwest::Response) -> Result<Vec<u8>, DeliveryError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_RESPONSE {
            break;
        }
    }
    Ok(body)
}

/// Source: Amplitude's HTTP V2 documentation, "Response format".
pub(super) fn classify_response(status: StatusCode, body: &[u8]) -> Result<Accepted, DeliveryError> {
    let answer: Option<ResponseBody> = serde_json::from_slice(body).ok();
    match (status.as_u16(), answer) {
        (200, Some(ResponseBody { code, events_ingested, .. })) if code == 200 => {
            Ok(Accepted { events_ingested: events_ingested.as_u64() })
        }
        (200..=299, _) => Err(DeliveryError::NotAmplitude { status: status.as_u16() }),
        (300..=399, _) => Err(DeliveryError::Redirect { status: status.as_u16() }),
        (400, Some(ResponseBody { error: Value::String(error), .. })) if error.starts_with("Invalid API key") => {
            Err(DeliveryError::InvalidApiKey)
        }
        (400, Some(answer)) if answer.code == 400 => Err(answer.refusal()),
        (400, _) => Err(DeliveryError::NotAmplitude { status: 400 }),
        (403, answer) => {
            Err(DeliveryError::Forbidden { is_page: answer.is_none_or(|answer| !answer.is_of_amplitude(403)) })
        }
        (413, answer) => {
            Err(DeliveryError::TooLarge { is_page: answer.is_none_or(|answer| !answer.is_of_amplitude(413)) })
        }
        (429, _) => Err(DeliveryError::Throttled),
        (status @ (500 | 502 | 503 | 504), _) => Err(DeliveryError::Unavailable { status }),
        (status, _) => Err(DeliveryError::Unexpected { status }),
    }
}

/// The events that a response names, by their position in the request, with the error of each. One response can have
/// several lists of different kinds. Empty if the response is not Amplitude's.
pub(super) fn named_events(status: StatusCode, body: &[u8]) -> BTreeMap<usize, DeliveryError> {
    let answer: ResponseBody = serde_json::from_slice(body).unwrap_or_default();
    if answer.code != status.as_u16() {
        return BTreeMap::new();
    }
    let mut named = BTreeMap::new();
    // If an event is in several lists, the first list wins: an event that will never be accepted must not wait.
    for (list, reason) in answer.rejected_lists() {
        positions(list, &mut |position| {
            named.entry(position).or_insert(DeliveryError::InvalidRequest(reason));
        });
    }
    positions(&answer.throttled_events, &mut |position| {
        named.entry(position).or_insert(DeliveryError::Throttled);
    });
    named
}

/// The positions in a list, or in the lists of each field.
fn positions(list: &Value, visit: &mut impl FnMut(usize)) {
    match list {
        Value::Array(items) => {
            items.iter().filter_map(|item| usize::try_from(item.as_u64()?).ok()).for_each(visit);
        }
        Value::Object(fields) => fields.values().filter(|list| list.is_array()).for_each(|list| positions(list, visit)),
        _ => {}
    }
}

impl ResponseBody {
    /// Whether a 403 or 413 is Amplitude's own: a proxy's may have a code, but has no `error`.
    fn is_of_amplitude(&self, status: u16) -> bool {
        let has_error = matches!(&self.error, Value::String(error) if !error.is_empty());
        let has_list =
            self.rejected_lists().iter().any(|(list, _)| is_filled(list)) || is_filled(&self.throttled_events);
        self.code == status && (has_error || has_list)
    }

    /// The lists of events that will never be accepted.
    fn rejected_lists(&self) -> [(&Value, RejectionReason); 6] {
        [
            (&self.events_with_invalid_id_lengths, RejectionReason::IdLength),
            (&self.events_with_missing_fields, RejectionReason::MissingField),
            (&self.missing_field, RejectionReason::MissingField),
            (&self.silenced_events, RejectionReason::Silenced),
            (&self.silenced_devices, RejectionReason::Silenced),
            (&self.events_with_invalid_fields, RejectionReason::InvalidField),
        ]
    }

    /// The error of a 400.
    fn refusal(&self) -> DeliveryError {
        let reason = self.rejected_lists().into_iter().find_map(|(list, reason)| is_filled(list).then_some(reason));
        match reason {
            None if is_filled(&self.throttled_events) => DeliveryError::Throttled,
            reason => DeliveryError::InvalidRequest(reason.unwrap_or(RejectionReason::Unknown)),
        }
    }
}

fn is_filled(list: &Value) -> bool {
    match list {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    }
}

/// Why Amplitude rejected a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionReason {
    /// An ID is too short or too long.
    IdLength,
    /// A required field is missing.
    MissingField,
    /// A field has a value that Amplitude does not accept, for example a blocked user ID.
    InvalidField,
    /// The device or the event type is silenced in Amplitude.
    Silenced,
    /// Amplitude gives no reason.
    Unknown,
}

impl RejectionReason {
    fn description(self) -> &'static str {
        match self {
            Self::IdLength => "the length of the user ID or device ID",
            Self::MissingField => "a missing field",
            Self::InvalidField => "the value of a field, for example of the user ID",
            Self::Silenced => "the event or its device is silenced in Amplitude",
            Self::Unknown => "Amplitude did not say what",
        }
    }
}

/// Why an event is not in Amplitude, in our own words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeliveryError {
    /// 400: the key is not known in this region.
    #[error(
        "400: Amplitude does not know the API key; compare it with the key of the Amplitude project, and `amplitude_region` in `settings` with the project's region"
    )]
    InvalidApiKey,
    /// 400: something else.
    #[error("400: event rejected ({})", .0.description())]
    InvalidRequest(RejectionReason),
    /// 403.
    #[error("403: Amplitude's firewall refused the request")]
    Forbidden {
        /// The response is the page of a firewall or proxy instead of Amplitude's JSON, so it says nothing about the
        /// event.
        is_page: bool,
    },
    /// 413.
    #[error("413: the event is larger than Amplitude's limit (1 MB)")]
    TooLarge {
        /// As above.
        is_page: bool,
    },
    /// 429.
    #[error("429: too many events for this user, device or plan")]
    Throttled,
    /// 500, 502, 503 or 504.
    #[error("{status}: Amplitude is unavailable")]
    Unavailable {
        /// The code.
        status: u16,
    },
    /// Any other code.
    #[error("{status}: a status that Amplitude does not document")]
    Unexpected {
        /// The code.
        status: u16,
    },
    /// A 2xx or a 400 that is not from Amplitude.
    #[error(
        "{status}, but not from Amplitude: another server answers at this address; check AMPLITUDE_URL and proxies"
    )]
    NotAmplitude {
        /// The code.
        status: u16,
    },
    /// A 3xx, which Amplitude never returns.
    #[error("{status}: a redirect, which Amplitude never sends; check AMPLITUDE_URL and proxies")]
    Redirect {
        /// The code.
        status: u16,
    },
    /// No response in time.
    #[error("timed out")]
    Timeout,
    /// No connection.
    #[error("no connection: the address was not found or does not respond")]
    Connect,
    /// The connection broke before the response was complete.
    #[error("the connection broke")]
    Broken,
    /// The server's certificate is not trusted.
    #[error(
        "no TLS connection: the certificate is not trusted or does not match the address; behind a proxy that inspects TLS, set EXTRA_CA_FILE"
    )]
    Tls,
    /// The event could not be written as JSON.
    #[error("the event cannot be written as JSON")]
    Unserializable,
    /// No time was left to send it alone.
    #[error("not sent in time: its request was rejected because of another event, and split")]
    Postponed,
}

impl DeliveryError {
    /// Amplitude's HTTP status, if it returned one.
    pub fn code(&self) -> Option<u16> {
        match *self {
            Self::InvalidApiKey | Self::InvalidRequest(_) => Some(400),
            Self::Forbidden { .. } => Some(403),
            Self::TooLarge { .. } => Some(413),
            Self::Throttled => Some(429),
            Self::Unavailable { status }
            | Self::Unexpected { status }
            | Self::NotAmplitude { status }
            | Self::Redirect { status } => Some(status),
            Self::Timeout | Self::Connect | Self::Broken | Self::Tls | Self::Unserializable | Self::Postponed => None,
        }
    }

    fn is_broken_connection(&self) -> bool {
        matches!(self, Self::Connect | Self::Broken)
    }

    /// Whether Amplitude itself will never accept an event of the request. Any other error is about the request, and
    /// counts against no event.
    pub fn is_rejection(&self) -> bool {
        matches!(self, Self::InvalidRequest(_) | Self::Forbidden { is_page: false } | Self::TooLarge { is_page: false })
    }

    /// Whether another attempt may succeed. 429 is not transient: Amplitude asks clients to wait 30 s.
    pub fn is_transient(&self) -> bool {
        self.is_broken_connection() || matches!(self, Self::Timeout | Self::Unavailable { .. })
    }
}

impl From<reqwest::Error> for DeliveryError {
    fn from(error: reqwest::Error) -> Self {
        let mut cause = error.source();
        while let Some(current) = cause {
            if let Some(rustls::Error::InvalidCertificate(_)) = current.downcast_ref() {
                return Self::Tls;
            }
            // An `io::Error` gives the source of what it wraps, not what it wraps, and the client wraps twice.
            let wrapped = current.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            cause = match wrapped {
                Some(wrapped) => Some(wrapped),
                None => current.source(),
            };
        }
        if error.is_connect() { Self::Connect } else { Self::Broken }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use amplitude_emulator::{Configuration, Emulator, Fault, FaultyAnswer};
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;
    use crate::amplitude::AmplitudeKey;
    use crate::amplitude::event::LIBRARY;
    use crate::amplitude::properties::Properties;

    fn event() -> Event<'static> {
        Event {
            event_type: "[Stripe] charge.succeeded".to_owned(),
            time: 1_720_000_000_000,
            insert_id: "evt_1".to_owned(),
            event_id: 7,
            // Shorter than what Amplitude accepts by default.
            user_id: Some("u".to_owned()),
            device_id: "stripe-pi_1".to_owned(),
            revenue: None,
            currency: None,
            event_properties: Properties::default(),
            library: LIBRARY,
        }
    }

    async fn deliver(faults: &[Fault], time: Duration) -> (SendReport, Emulator) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/2/httpapi", listener.local_addr().unwrap());
        let emulator = Emulator::new(Configuration::default());
        for fault in faults {
            emulator.inject(fault.clone(), 1);
        }
        tokio::spawn(emulator.clone().serve(listener));
        let client = Client::new(crate::http_client::build(None).unwrap(), Some(url));
        let destination = Destination { region: Region::Us, api_key: "key".into(), key: AmplitudeKey::Main };
        (client.send(&event(), &destination, Instant::now() + time).await, emulator)
    }

    const WHOLE: Duration = Duration::from_millis(4500);

    #[tokio::test]
    async fn short_user_ids_are_accepted() {
        let (delivery, emulator) = deliver(&[], WHOLE).await;
        assert_eq!(delivery.result, Ok(Accepted { events_ingested: Some(1) }));
        assert_eq!(delivery.attempts, 1);
        assert_eq!(emulator.events().len(), 1);
    }

    #[tokio::test]
    async fn only_transient_errors_are_retried() {
        for (status, attempts) in
            [(500, 3), (502, 3), (503, 3), (504, 3), (429, 1), (400, 1), (403, 1), (413, 1), (418, 1)]
        {
            let (delivery, emulator) = deliver(&vec![Fault::answer(status); 5], WHOLE).await;
            assert_eq!(delivery.result.unwrap_err().code(), Some(status));
            assert_eq!((delivery.attempts, emulator.requests().requests), (attempts, u64::from(attempts)), "{status}");
        }
    }

    #[tokio::test]
    async fn an_early_broken_connection_is_not_counted() {
        let cut = Fault::Cut { ingest: false };
        let (delivery, _) = deliver(&[cut.clone(), Fault::answer(503), Fault::answer(503)], WHOLE).await;
        assert_eq!((delivery.attempts, delivery.result.is_ok()), (4, true));
        let (delivery, _) = deliver(&vec![cut; 9], WHOLE).await;
        assert_eq!((delivery.attempts, delivery.result), (4, Err(DeliveryError::Broken)));
    }

    #[tokio::test]
    async fn a_truncated_response_is_retried() {
        let (delivery, emulator) = deliver(&[Fault::CutBody { ingest: true }], WHOLE).await;
        assert_eq!(delivery.result, Ok(Accepted { events_ingested: Some(0) }), "the repeat is dropped");
        assert_eq!(emulator.events().len(), 1);
    }

    #[tokio::test]
    async fn the_deadline_ends_everything() {
        let hang = Fault::Hang { milliseconds: 5_000, ingest: false };
        let start = Instant::now();
        let (delivery, _) = deliver(&vec![hang; 3], Duration::from_millis(300)).await;
        assert_eq!(delivery.result, Err(DeliveryError::Timeout));
        assert!(start.elapsed() < Duration::from_secs(3));
    }

    #[tokio::test]
    async fn an_unreachable_address_is_a_connection_error() {
        let client = Client::new(crate::http_client::build(None).unwrap(), Some("http://127.0.0.1:1/".to_owned()));
        let destination = Destination { region: Region::Us, api_key: "key".into(), key: AmplitudeKey::Main };
        let delivery = client.send(&event(), &destination, Instant::now() + WHOLE).await;
        assert_eq!(delivery.result, Err(DeliveryError::Connect));
        assert_eq!(client.connect(Region::Us).await, Err(DeliveryError::Connect));
    }

    #[tokio::test]
    async fn untrusted_certificates_are_not_retried() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/2/httpapi", listener.local_addr().unwrap());
        let (_, tls) = amplitude_emulator::tls::self_signed(&[]).unwrap();
        tokio::spawn(Emulator::new(Configuration::default()).serve_tls(listener, tls));
        let client = Client::new(crate::http_client::build(None).unwrap(), Some(url));
        let destination = Destination { region: Region::Us, api_key: "key".into(), key: AmplitudeKey::Main };
        let delivery = client.send(&event(), &destination, Instant::now() + WHOLE).await;
        assert_eq!((delivery.attempts, delivery.result), (1, Err(DeliveryError::Tls)));
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let redirect = FaultyAnswer { status: 307, location: Some("/2/httpapi".to_owned()), ..FaultyAnswer::default() };
        let (delivery, emulator) = deliver(&[Fault::Answer(redirect)], WHOLE).await;
        assert_eq!(delivery.result, Err(DeliveryError::Redirect { status: 307 }));
        assert_eq!(emulator.events().len(), 0);
    }

    #[test]
    fn every_response_is_classified() {
        use DeliveryError::*;
        let reason = |body| (400, body, Err(InvalidRequest(RejectionReason::Unknown)));
        for (status, body, expected) in [
            (200, r#"{"code":200,"events_ingested":1}"#, Ok(Accepted { events_ingested: Some(1) })),
            (200, r#"{"code":200,"events_ingested":0}"#, Ok(Accepted { events_ingested: Some(0) })),
            (200, r#"{"code":200}"#, Ok(Accepted { events_ingested: None })),
            (200, r#"{"code":200,"events_ingested":null}"#, Ok(Accepted { events_ingested: None })),
            (200, r#"{"code":200,"events_ingested":"1"}"#, Ok(Accepted { events_ingested: None })),
            (200, r#"{"code":200,"events_ingested":-1}"#, Ok(Accepted { events_ingested: None })),
            (200, r#"{"code":400}"#, Err(NotAmplitude { status: 200 })),
            (200, "", Err(NotAmplitude { status: 200 })),
            (200, "<html>", Err(NotAmplitude { status: 200 })),
            (200, "[]", Err(NotAmplitude { status: 200 })),
            (204, "", Err(NotAmplitude { status: 204 })),
            (301, "", Err(Redirect { status: 301 })),
            (400, r#"{"code":400,"error":"Invalid API key: hidden"}"#, Err(InvalidApiKey)),
            (
                400,
                r#"{"code":400,"events_with_invalid_id_lengths":{"user_id":[0]}}"#,
                Err(InvalidRequest(RejectionReason::IdLength)),
            ),
            (400, r#"{"code":400,"missing_field":"api_key"}"#, Err(InvalidRequest(RejectionReason::MissingField))),
            (
                400,
                r#"{"code":400,"events_with_missing_fields":{"event_type":[0]}}"#,
                Err(InvalidRequest(RejectionReason::MissingField)),
            ),
            (
                400,
                r#"{"code":400,"missing_field":null,"events_with_invalid_fields":{"time":[0]}}"#,
                Err(InvalidRequest(RejectionReason::InvalidField)),
            ),
            (
                400,
                r#"{"code":400,"error":null,"events_with_missing_fields":{"user_id":[0]}}"#,
                Err(InvalidRequest(RejectionReason::MissingField)),
            ),
            (400, r#"{"code":400,"silenced_devices":["hidden"]}"#, Err(InvalidRequest(RejectionReason::Silenced))),
            reason(r#"{"code":400,"error":"hidden"}"#),
            (400, "<html>hidden", Err(NotAmplitude { status: 400 })),
            (400, "", Err(NotAmplitude { status: 400 })),
            (400, r#"{"message":"hidden"}"#, Err(NotAmplitude { status: 400 })),
            (403, r#"{"code":403,"error":"Forbidden"}"#, Err(Forbidden { is_page: false })),
            (403, "<html>hidden", Err(Forbidden { is_page: true })),
            (403, r#"{"code":403,"message":"hidden"}"#, Err(Forbidden { is_page: true })),
            (413, r#"{"code":413}"#, Err(TooLarge { is_page: true })),
            (403, r#"{"message":"hidden"}"#, Err(Forbidden { is_page: true })),
            (404, "", Err(Unexpected { status: 404 })),
            (413, r#"{"code":413,"error":"Payload too large"}"#, Err(TooLarge { is_page: false })),
            (413, "", Err(TooLarge { is_page: true })),
            (429, r#"{"throttled_users":{"hidden":7}}"#, Err(Throttled)),
            (500, "<html>hidden", Err(Unavailable { status: 500 })),
            (502, "", Err(Unavailable { status: 502 })),
            (503, "", Err(Unavailable { status: 503 })),
            (504, "", Err(Unavailable { status: 504 })),
            (501, "", Err(Unexpected { status: 501 })),
        ] {
            let result = classify_response(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!(result, expected, "{status} {body}");
            if let Err(error) = result {
                let message = error.to_string();
                assert!(message.starts_with(&status.to_string()) && !message.contains("hidden"), "{message}");
                assert_eq!(error.code(), Some(status));
            }
        }
    }

    #[test]
    fn each_list_has_its_own_reason() {
        let body =
            br#"{"code":400,"silenced_events":[1],"throttled_events":[0,1],"events_with_invalid_fields":{"time":[2]}}"#;
        let invalid = |reason| DeliveryError::InvalidRequest(reason);
        let named = named_events(StatusCode::BAD_REQUEST, body);
        let (silenced, wrong) = (invalid(RejectionReason::Silenced), invalid(RejectionReason::InvalidField));
        assert_eq!(named, [(0, DeliveryError::Throttled), (1, silenced.clone()), (2, wrong)].into());
        assert_eq!(named_events(StatusCode::FORBIDDEN, body), BTreeMap::new(), "not Amplitude's");

        let only_throttled = br#"{"code":400,"throttled_events":[0]}"#;
        assert_eq!(classify_response(StatusCode::BAD_REQUEST, only_throttled), Err(DeliveryError::Throttled));
        let both = br#"{"code":400,"throttled_events":[0],"silenced_devices":["hidden"]}"#;
        assert_eq!(classify_response(StatusCode::BAD_REQUEST, both), Err(silenced));
    }

    #[test]
    fn an_unknown_count_means_nothing_is_missing() {
        for (events_ingested, sent, not_ingested) in
            [(Some(1), 1, 0), (Some(0), 1, 1), (Some(1998), 2000, 2), (Some(3), 2, 0), (None, 2000, 0)]
        {
            assert_eq!(Accepted { events_ingested }.not_ingested(sent), not_ingested, "{events_ingested:?} of {sent}");
        }
    }

    #[test]
    fn the_request_matches_the_documentation() {
        let event = event();
        let events = [&event];
        let request = Request::new(&events, "key");
        let expected = json!({
            "api_key": "key",
            "events": [{
                "event_type": "[Stripe] charge.succeeded", "time": 1_720_000_000_000_i64, "insert_id": "evt_1",
                "event_id": 7, "user_id": "u", "device_id": "stripe-pi_1", "event_properties": {}, "library": LIBRARY,
            }],
            "options": {"min_id_length": 1},
        });
        assert_eq!(serde_json::to_value(&request).unwrap(), expected);
    }

    #[test]
    fn each_region_has_its_endpoint() {
        let client = Client::new(crate::http_client::build(None).unwrap(), None);
        assert_eq!(client.url(Region::Us), "https://api2.amplitude.com/2/httpapi");
        assert_eq!(client.url(Region::Eu), "https://api.eu.amplitude.com/2/httpapi");
    }
}
