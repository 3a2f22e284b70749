//! A client for Stripe's API, with retries and a rate limit.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, DATE, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use stripe_amplitude::back_off::{BackOff, shortened};
use stripe_amplitude::stripe::reference::{self, Reference};
use stripe_amplitude::stripe::references::api::{STRIPE_API_URL, StripeApi};
use tokio::time::{Instant, sleep, sleep_until};

use crate::endpoint::cause;
use crate::terminal::{tell, wrap};
use crate::{http, key};

/// Another URL of Stripe's API, for tests and proxies.
const URL_VARIABLE: &str = "STRIPE_API_URL";

/// Requests per second. Stripe allows 25 per operation, or 25 in total in test mode, and the shop needs some of them.
pub(crate) const RATE: u32 = 20;

/// The same timeout as in Stripe's own libraries.
const LIMIT: Duration = Duration::from_secs(80);

/// Maximum attempts. With the pauses between them, somewhat over two minutes.
pub(crate) const ATTEMPTS: u32 = 9;

/// A short interruption is not worth a note.
const QUIET_ATTEMPTS: u32 = 3;

/// The maximum pauses after failed attempts; jitter covers their second half.
const BACK_OFF: BackOff = BackOff { first: Duration::from_millis(500), longest: Duration::from_secs(32) };

/// A permission of a restricted key, with its name in Stripe's dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    ReadEvents,
    ReadEndpoints,
    WriteEndpoints,
    /// A permission that the function needs to follow references.
    Follow(reference::Permission),
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadEvents => f.write_str("`Events`: Read"),
            Self::ReadEndpoints => f.write_str("`Webhook Endpoints`: Read"),
            Self::WriteEndpoints => f.write_str("`Webhook Endpoints`: Write"),
            Self::Follow(permission) => write!(f, "`{}`: Read", permission.resource),
        }
    }
}

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    ListEvents,
    ListEndpoints,
    ReadEndpoint,
    CreateEndpoint,
    UpdateEndpoint,
    DeleteEndpoint,
    ListPayments,
    /// An object that the function follows references to.
    Read(reference::Permission),
}

impl Operation {
    /// The permission that a restricted key needs.
    fn permission(self) -> Permission {
        match self {
            Self::ListEvents => Permission::ReadEvents,
            Self::ListEndpoints | Self::ReadEndpoint => Permission::ReadEndpoints,
            Self::CreateEndpoint | Self::UpdateEndpoint | Self::DeleteEndpoint => Permission::WriteEndpoints,
            Self::ListPayments => Permission::Follow(reference::permission::PAYMENT_INTENTS),
            Self::Read(permission) => Permission::Follow(permission),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ListEvents => f.write_str("list events"),
            Self::ListEndpoints => f.write_str("list webhook endpoints"),
            Self::ReadEndpoint => f.write_str("read a webhook endpoint"),
            Self::CreateEndpoint => f.write_str("create a webhook endpoint"),
            Self::UpdateEndpoint => f.write_str("update a webhook endpoint"),
            Self::DeleteEndpoint => f.write_str("delete a webhook endpoint"),
            Self::ListPayments => f.write_str("list payments"),
            Self::Read(permission) => write!(f, "read one of `{}`", permission.resource),
        }
    }
}

/// A request, for error messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    operation: Operation,
    method: Method,
    /// Without the query.
    path: String,
}

/// A response from Stripe.
pub(crate) struct Answer {
    body: Bytes,
    call: Call,
}

impl Answer {
    /// Parses the body.
    ///
    /// # Errors
    /// [`Problem::Unreadable`].
    pub(crate) fn read<'b, T: Deserialize<'b>>(&'b self) -> Result<T, ApiError> {
        self.read_part(&self.body)
    }

    /// Parses a part of the body.
    ///
    /// # Errors
    /// [`Problem::Unreadable`].
    pub(crate) fn read_part<'b, T: Deserialize<'b>>(&self, part: &'b [u8]) -> Result<T, ApiError> {
        serde_json::from_slice(part).map_err(|_| self.unreadable())
    }

    /// The error for JSON of another shape.
    pub(crate) fn unreadable(&self) -> ApiError {
        ApiError { problem: Problem::Unreadable, call: Some(Box::new(self.call.clone())) }
    }
}

/// Stripe's API with a key.
#[derive(Debug)]
pub(crate) struct Api {
    http: Client,
    url: String,
    key: SecretString,
    account: Option<String>,
    /// The API version of responses; `None`: the account's default.
    version: Option<&'static str>,
    limiter: RateLimiter,
    /// Whether the operator knows that Stripe cannot be reached.
    has_noted: AtomicBool,
}

impl Api {
    /// `account`: a connected account of the key's platform.
    ///
    /// # Errors
    /// If the key would be sent unencrypted.
    pub(crate) fn new(http: Client, key: SecretString, account: Option<String>, rate: u32) -> Result<Self, ApiError> {
        let url = other_url()?;
        let url = url.as_deref().unwrap_or(STRIPE_API_URL).trim_end_matches('/').to_owned();
        Ok(Self {
            http,
            url,
            key,
            account,
            version: None,
            limiter: RateLimiter::new(rate),
            has_noted: AtomicBool::new(false),
        })
    }

    /// The same, with responses in this API version.
    pub(crate) fn in_version(self, version: &'static str) -> Self {
        Self { version: Some(version), ..self }
    }

    /// The connected account, if any.
    pub(crate) fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    pub(crate) fn key(&self) -> &SecretString {
        &self.key
    }

    fn shown_url(&self) -> String {
        http::without_user(&self.url)
    }

    /// Whether the key is for test mode.
    pub(crate) fn is_test(&self) -> bool {
        self.key.expose_secret().get(2..).is_some_and(|rest| rest.starts_with("_test_"))
    }

    /// Sends a `GET` request.
    ///
    /// # Errors
    /// If Stripe refuses, or does not respond after all retries.
    pub(crate) async fn get(
        &self,
        path: &str,
        query: &[(&str, String)],
        operation: Operation,
    ) -> Result<Answer, ApiError> {
        let separator = if query.is_empty() { "" } else { "?" };
        let url = format!("{}{path}{separator}{}", self.url, form(query));
        let call = Call { operation, method: Method::GET, path: path.to_owned() };
        self.send(|request| request, &url, call).await.map(|(_, answer)| answer)
    }

    /// Sends a `POST` request. Retries are idempotent.
    ///
    /// # Errors
    /// Like [`Api::get`].
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        fields: &[(&str, String)],
        operation: Operation,
    ) -> Result<T, ApiError> {
        let url = format!("{}{path}", self.url);
        let idempotency_key = format!("stripe-amplitude-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
        let body = form(fields);
        let with_fields = |request: RequestBuilder| {
            let request = request.header("idempotency-key", &idempotency_key);
            request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body.clone())
        };
        let call = Call { operation, method: Method::POST, path: path.to_owned() };
        let (_, answer) = self.send(with_fields, &url, call).await?;
        answer.read()
    }

    /// Sends a `DELETE` request. Succeeds if the object does not exist.
    ///
    /// # Errors
    /// Like [`Api::get`].
    pub(crate) async fn delete(&self, path: &str, operation: Operation) -> Result<(), ApiError> {
        let url = format!("{}{path}", self.url);
        let call = Call { operation, method: Method::DELETE, path: path.to_owned() };
        match self.send(|request| request, &url, call).await {
            Err(ApiError { problem: Problem::Refused { status: 404, .. }, .. }) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Stripe's clock from the response to any `GET` request, if it has a date.
    ///
    /// # Errors
    /// Like [`Api::get`].
    pub(crate) async fn date(
        &self,
        path: &str,
        query: &[(&str, String)],
        operation: Operation,
    ) -> Result<Option<String>, ApiError> {
        let separator = if query.is_empty() { "" } else { "?" };
        let url = format!("{}{path}{separator}{}", self.url, form(query));
        let call = Call { operation, method: Method::GET, path: path.to_owned() };
        let (head, _) = self.send(|request| request, &url, call).await?;
        Ok(head.date)
    }

    async fn send(
        &self,
        complete: impl Fn(RequestBuilder) -> RequestBuilder,
        url: &str,
        call: Call,
    ) -> Result<(Head, Answer), ApiError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            self.limiter.wait().await;
            let request = self.http.request(call.method.clone(), url);
            let answer = self.attempt(complete(request)).await;
            let (pause, problem) = match answer {
                Ok((head, body)) if head.status.is_success() => return Ok((head, Answer { body, call })),
                Ok((head, body)) => {
                    let problem = self.explain(head.status, &body, call.operation.permission());
                    let again = head.status == StatusCode::TOO_MANY_REQUESTS || head.status.is_server_error();
                    (again.then(|| head.retry_after.unwrap_or_else(|| pause(attempts))), problem)
                }
                Err(error) if error.is_builder() => {
                    let problem = Problem::Unreachable(format!("{} is not a URL", self.shown_url()));
                    return Err(ApiError { problem, call: Some(Box::new(call)) });
                }
                Err(error) => {
                    let why = format!("{}: {}", self.shown_url(), cause(&error));
                    (Some(pause(attempts)), Problem::Unreachable(why))
                }
            };
            if let Some(note) = note(attempts, &problem).filter(|_| !self.has_noted.swap(true, Ordering::Relaxed)) {
                tell(&wrap("note: ", 6, &note));
            }
            match pause.filter(|_| attempts < ATTEMPTS) {
                Some(pause) => sleep(pause).await,
                None => return Err(ApiError { problem, call: Some(Box::new(call)) }),
            }
        }
    }

    async fn attempt(&self, request: RequestBuilder) -> Result<(Head, Bytes), reqwest::Error> {
        let mut request = request.basic_auth(self.key.expose_secret(), Some("")).timeout(LIMIT);
        if let Some(account) = &self.account {
            request = request.header("stripe-account", account);
        }
        if let Some(version) = self.version {
            request = request.header("stripe-version", version);
        }
        let answer = request.send().await?;
        let head = Head::of(&answer);
        Ok((head, answer.bytes().await?))
    }

    fn explain(&self, status: StatusCode, body: &[u8], permission: Permission) -> Problem {
        match status.as_u16() {
            401 => Problem::UnknownKey,
            403 => Problem::Forbidden { permission, account: self.account.clone() },
            429 => Problem::TooMany,
            status => {
                let Refusal { error } = serde_json::from_slice(body).unwrap_or_default();
                let about = [error.code, error.param].into_iter().flatten().filter(|text| is_name(text)).collect();
                Problem::Refused { status, about }
            }
        }
    }
}

/// The URL in the environment, if set.
fn other_url() -> Result<Option<String>, ApiError> {
    http::url_in(URL_VARIABLE).map_err(|_| Problem::Insecure.into())
}

/// The client with which the function reads references.
///
/// # Errors
/// If the key would be sent unencrypted.
pub(crate) fn objects(http: Client) -> Result<StripeApi, ApiError> {
    Ok(StripeApi::new(http, other_url()?))
}

/// A response without its body.
struct Head {
    status: StatusCode,
    retry_after: Option<Duration>,
    date: Option<String>,
}

impl Head {
    fn of(answer: &Response) -> Self {
        let text = |name| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
        let retry_after = text(RETRY_AFTER).and_then(|seconds| seconds.parse().ok());
        let retry_after = retry_after.map(Duration::from_secs).map(|pause| pause.min(BACK_OFF.longest));
        Self { status: answer.status(), retry_after, date: text(DATE) }
    }
}

/// Stripe's error codes. Its messages are dropped, because they can contain a part of the key.
#[derive(Default, Deserialize)]
struct Refusal {
    error: Reason,
}

#[derive(Default, Deserialize)]
struct Reason {
    code: Option<String>,
    param: Option<String>,
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-[].".contains(&byte))
}

fn form(fields: &[(&str, String)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// A note for the operator, who would otherwise wait for minutes without knowing why.
fn note(attempts: u32, problem: &Problem) -> Option<String> {
    match problem {
        Problem::Unreachable(why) if attempts >= QUIET_ATTEMPTS => {
            Some(format!("cannot reach Stripe at {why}; trying again for about two minutes."))
        }
        _ => None,
    }
}

/// The pause after this many attempts.
pub(crate) fn pause(attempts: u32) -> Duration {
    shortened(BACK_OFF.pause(attempts), 0.5, fastrand::f64())
}

/// Lets requests through one by one, at a rate.
#[derive(Debug)]
struct RateLimiter {
    between: Duration,
    next: Mutex<Option<Instant>>,
}

impl RateLimiter {
    fn new(rate: u32) -> Self {
        Self { between: Duration::from_secs(1) / rate.max(1), next: Mutex::default() }
    }

    async fn wait(&self) {
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let turn = next.map_or_else(Instant::now, |next| next.max(Instant::now()));
            *next = Some(turn + self.between);
            turn
        };
        sleep_until(turn).await;
    }
}

/// Why a request failed, and which one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) problem: Problem,
    /// `None` if no request was sent.
    call: Option<Box<Call>>,
}

/// Why a request failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The configured URL would receive the key unencrypted.
    Insecure,
    UnknownKey,
    Forbidden {
        permission: Permission,
        account: Option<String>,
    },
    TooMany,
    Refused {
        status: u16,
        about: Vec<String>,
    },
    Unreachable(String),
    Unreadable,
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self { problem, call: None }
    }
}

impl ApiError {
    /// An error of a read with the function's client.
    pub(crate) fn of_read(problem: Problem, reference: &Reference) -> Self {
        let path = reference.path().split('?').next().unwrap_or_default().to_owned();
        let permission = reference.kind.permissions().first();
        let call =
            permission.map(|permission| Call { operation: Operation::Read(*permission), method: Method::GET, path });
        Self { problem, call: call.map(Box::new) }
    }

    /// A sentence with the remedy and the request, for a key from `place`.
    pub(crate) fn of_key_in(&self, place: &str) -> String {
        let call = self
            .call
            .as_deref()
            .map(|Call { operation, method, path }| format!(" (could not {operation}: {method} {path})"));
        let call = call.unwrap_or_default();
        format!("{}{call}", self.problem.in_words(place))
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.of_key_in(key::STRIPE.variable))
    }
}

impl std::error::Error for ApiError {}

impl Problem {
    fn in_words(&self, place: &str) -> String {
        match self {
            Self::Insecure => {
                format!("{URL_VARIABLE}: expected {}", http::SECURED)
            }
            Self::UnknownKey => format!(
                "Stripe rejects the key in {place}: it was revoked, has expired or is incomplete; create a restricted key (rk_…) in Stripe's dashboard"
            ),
            Self::Forbidden { permission, account } => {
                let account = match account {
                    Some(account) => format!(", and {account} must be connected to the key's platform"),
                    None => String::new(),
                };
                format!(
                    "Stripe refuses (403): a restricted key needs the permission {permission}{account}; edit the key in Stripe's dashboard (Developers, API keys)"
                )
            }
            Self::TooMany => {
                "Stripe returns 429 for minutes, because other requests use up the account's rate limit; try --rate 5"
                    .to_owned()
            }
            Self::Refused { status, about } => {
                let about = if about.is_empty() { String::new() } else { format!(" ({})", about.join(", ")) };
                let remedy = match status {
                    500.. => "try again later; status.stripe.com reports outages",
                    _ => "see Stripe's dashboard for details (Developers, Logs)",
                };
                format!("Stripe returns {status}{about}; {remedy}")
            }
            Self::Unreachable(why) => {
                format!("cannot reach Stripe at {why}; check the network, proxies and {URL_VARIABLE}")
            }
            Self::Unreadable => format!(
                "the response is not JSON of the documented shape, so it is not from Stripe; check proxies and {URL_VARIABLE}"
            ),
        }
    }
}

/// A response for tests of its readers.
#[cfg(test)]
pub(crate) fn answer() -> Answer {
    let call = Call { operation: Operation::ListEvents, method: Method::GET, path: "/v1/events".to_owned() };
    Answer { body: Bytes::new(), call }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(key: &str) -> Api {
        Api::new(crate::http::build().unwrap(), key.into(), Some("acct_1".to_owned()), RATE).unwrap()
    }

    #[test]
    fn key_has_a_mode() {
        for (key, test) in [("sk_test_1", true), ("rk_test_1", true), ("sk_live_1", false), ("sk", false), ("", false)]
        {
            assert_eq!(api(key).is_test(), test, "{key}");
        }
    }

    #[test]
    fn errors_hide_stripes_messages() {
        let explain = |status, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            let problem = api("sk_test_hidden").explain(status, body.as_bytes(), Permission::ReadEvents);
            problem.in_words("STRIPE_SECRET_KEY")
        };
        let body = r#"{"error": {"type": "invalid_request_error", "message": "sk_***hidden", "code": "parameter_unknown", "param": "created[gte]"}}"#;
        for (status, body, words) in [
            (401, body, "rejects the key in STRIPE_SECRET_KEY: it was revoked, has expired or is incomplete"),
            (403, body, "the permission `Events`: Read, and acct_1 must be connected"),
            (429, body, "--rate"),
            (400, body, "Stripe returns 400 (parameter_unknown, created[gte])"),
            (400, r#"{"error": {"code": "the hidden one"}}"#, "Stripe returns 400"),
            (500, "<html>hidden", "Stripe returns 500"),
        ] {
            let error = explain(status, body);
            assert!(error.contains(words) && !error.contains("hidden"), "{error}");
        }
    }

    #[test]
    fn errors_name_operation_path_and_remedy() {
        use Operation::{
            CreateEndpoint, DeleteEndpoint, ListEndpoints, ListEvents, ListPayments, Read, ReadEndpoint, UpdateEndpoint,
        };

        let permission = Permission::ReadEvents;
        let problems = || {
            [
                (Problem::UnknownKey, "create a restricted key"),
                (Problem::Forbidden { permission, account: None }, "edit the key in Stripe's dashboard"),
                (Problem::TooMany, "try --rate 5"),
                (Problem::Refused { status: 400, about: vec![] }, "Developers, Logs"),
                (Problem::Refused { status: 503, about: vec![] }, "status.stripe.com"),
                (Problem::Unreachable("u".to_owned()), "STRIPE_API_URL"),
                (Problem::Unreadable, "STRIPE_API_URL"),
            ]
        };
        let mut names = std::collections::HashSet::new();
        for operation in [
            ListEvents,
            ListEndpoints,
            ReadEndpoint,
            CreateEndpoint,
            UpdateEndpoint,
            DeleteEndpoint,
            ListPayments,
            Read(reference::permission::CUSTOMERS),
        ] {
            assert!(names.insert(operation.to_string()));
            for (problem, remedy) in problems() {
                let call = Call { operation, method: Method::GET, path: "/v1/x".to_owned() };
                let error = ApiError { problem, call: Some(Box::new(call)) }.to_string();
                let end = format!(" (could not {operation}: GET /v1/x)");
                assert!(error.ends_with(&end) && error.contains(remedy), "{error}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn user_and_password_of_a_proxy_are_hidden() {
        let api = Api { url: "http://a:hidden@127.0.0.1:1/x".to_owned(), ..api("sk_test_1") };
        let error = api.get("/v1/events", &[], Operation::ListEvents).await.err().unwrap().to_string();
        assert!(error.starts_with("cannot reach Stripe at http://127.0.0.1:1/x: "), "{error}");
    }

    #[test]
    fn pauses_double_up_to_a_limit() {
        for (attempts, longest) in [(1, 0.5), (2, 1.0), (5, 8.0), (7, 32.0), (100, 32.0)] {
            let pause = pause(attempts).as_secs_f64();
            assert!((longest / 2.0..=longest).contains(&pause), "{attempts}: {pause}");
        }
    }

    #[test]
    fn only_a_long_interruption_is_noted() {
        let unreachable = Problem::Unreachable("https://a.example: timed out".to_owned());
        assert_eq!(note(QUIET_ATTEMPTS - 1, &unreachable), None);
        assert!(note(QUIET_ATTEMPTS, &unreachable).unwrap().contains("https://a.example: timed out"));
        assert_eq!(note(QUIET_ATTEMPTS, &Problem::TooMany), None);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_respect_the_rate() {
        let limiter = RateLimiter::new(20);
        let start = Instant::now();
        for _ in 0..41 {
            limiter.wait().await;
        }
        assert_eq!(start.elapsed().as_millis(), 2000);
    }
}
