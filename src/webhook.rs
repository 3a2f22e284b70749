//! The handler: one delivery of Stripe's, from the request to the answer.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use http::{HeaderMap, Method, Response};
use tokio::time::{Instant, timeout_at};

use crate::amplitude::Region;
use crate::amplitude::client::{Delivery, EventSink};
use crate::answer::{self, Failure, Record, Success};
use crate::projects::{Found, Project, ProjectName, ProjectSource, Projects};
use crate::stripe::catalog;
use crate::stripe::event::Event;
use crate::stripe::signature::{self, SignatureError, SignatureHeader, VerifiedBody};
use crate::translate::translate;

/// Stripe holds an invoice back, and a buyer waits, until we answer: so late is the answer at the latest.
const ANSWER_WITHIN: Duration = Duration::from_millis(4500);

/// What is left of Lambda's own time when we answer.
const LAMBDA_RESERVE: Duration = Duration::from_millis(500);

/// The time that a warm-up may take in all.
const WARM_UP_WITHIN: Duration = Duration::from_secs(3);

/// The largest body that is taken.
pub const LARGEST_BODY: usize = 4 * 1024 * 1024;

/// A request as any gateway hands it over.
#[derive(Clone, Debug)]
pub struct Request<'r> {
    /// `POST`, or it is refused.
    pub method: &'r Method,
    /// The raw path; its end counts.
    pub path: &'r str,
    /// Names in any case.
    pub headers: &'r HeaderMap,
    /// The bytes as Stripe sent them.
    pub body: Bytes,
    /// Lambda's ID of the invocation, for the log line.
    pub request_id: Option<&'r str>,
    /// How long Lambda will let us work, where it says.
    pub time_left: Option<Duration>,
}

/// The handler and what it needs.
#[derive(Debug)]
pub struct Webhook<S, A> {
    projects: Projects<S>,
    amplitude: A,
    signature_tolerance: Duration,
}

impl<S: ProjectSource, A: EventSink> Webhook<S, A> {
    /// Puts the handler together. `signature_tolerance` is the allowed clock difference, in both directions.
    pub fn new(projects: Projects<S>, amplitude: A, signature_tolerance: Duration) -> Self {
        Self { projects, amplitude, signature_tolerance }
    }

    /// Answers one delivery, always, and writes the log line. A panic is answered 500, and Stripe delivers again.
    pub async fn handle(&self, request: Request<'_>) -> Response<String> {
        let time =
            request.time_left.map_or(ANSWER_WITHIN, |left| left.saturating_sub(LAMBDA_RESERVE).min(ANSWER_WITHIN));
        let deadline = Instant::now() + time;
        let mut record = Record::new(request.request_id);
        let result = AssertUnwindSafe(self.process(&request, deadline, &mut record)).catch_unwind().await;
        answer::answer(result.unwrap_or(Err(Failure::Panic)), &record)
    }

    async fn process(&self, request: &Request<'_>, deadline: Instant, record: &mut Record) -> Result<Success, Failure> {
        let name = route(request, record)?;
        let header = signature_header(request)?;
        let project = record.parameter_store.time(self.projects.get(&name, deadline)).await?;
        let (body, project, source) = self.verify(&name, &header, request, project, deadline, record).await?;
        let event = Event::parse(&body)?;
        record.event(&event, now());
        let delivery_settings = project.delivery.as_ref().map_err(Clone::clone)?;
        if !catalog::is_forwarded(&event.event_type) {
            return Ok(Success::Ignored { reason: "events of this type are not on the list of those to forward" });
        }
        let destination = delivery_settings.destination(event.livemode);
        let translation = translate(event, &name, source.as_deref());
        record.user_id_from = translation.user_id_from;
        let delivery = self.amplitude.send(&translation.event, &destination, deadline);
        let Delivery { attempts, result } = record.amplitude.time(delivery).await;
        record.delivery(attempts, &result);
        result
            .map(|_| Success::Forwarded)
            .map_err(|error| Failure::Delivery { error, parameter: destination.parameter.to_owned() })
    }

    /// Verifies against the project as it is known; where nothing matches, once more against the project as it is now,
    /// so that a new secret works at once. The label of the secret that matched comes with the body.
    async fn verify(
        &self,
        name: &ProjectName,
        header: &SignatureHeader<'_>,
        request: &Request<'_>,
        found: Found,
        deadline: Instant,
        record: &mut Record,
    ) -> Result<(VerifiedBody, Arc<Project>, Option<String>), Failure> {
        let verify = |project: Arc<Project>| {
            // Without any secret, nobody can be told apart: the operator has to see which parameter is wrong.
            if project.secrets.is_empty()
                && let Err(error) = &project.delivery
            {
                return Err(Failure::Configuration(error.clone()));
            }
            let result =
                signature::verify(header, request.body.clone(), &project.secrets, now(), self.signature_tolerance);
            let (body, secret) = result?;
            let label = secret.label().map(str::to_owned);
            Ok((body, project, label))
        };
        let Found { project, just_loaded } = found;
        let result = verify(Arc::clone(&project));
        let may_be_outdated =
            matches!(result, Err(Failure::Signature(SignatureError::Mismatch) | Failure::Configuration(_)));
        if just_loaded || !may_be_outdated {
            return result;
        }
        match record.parameter_store.time(self.projects.refresh(name, &project, deadline)).await {
            Some(newer) => verify(newer),
            None => result,
        }
    }

    /// Loads projects and opens the connections to Amplitude before the first delivery. What fails is logged, and done
    /// again when it is needed.
    pub async fn warm_up(&self, names: &[ProjectName]) {
        let deadline = Instant::now() + WARM_UP_WITHIN;
        let mut regions: Vec<Region> = Vec::new();
        for (name, project) in self.projects.warm(names, deadline).await {
            let failed =
                |error: &dyn std::fmt::Display| tracing::warn!(project = name.as_str(), %error, "warm-up failed");
            match project.as_ref().map(|project| project.delivery.as_ref()) {
                Ok(Ok(delivery)) => {
                    let region = delivery.settings.amplitude_region;
                    if !regions.contains(&region) {
                        regions.push(region);
                    }
                }
                Ok(Err(error)) => failed(error),
                Err(error) => failed(error),
            }
        }
        join_all(regions.into_iter().map(|region| async move {
            match timeout_at(deadline, self.amplitude.connect(region)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "warm-up of the connection to Amplitude failed"),
                Err(_) => tracing::warn!("warm-up of the connection to Amplitude took too long"),
            }
        }))
        .await;
    }
}

/// What the request asks for, before anything is loaded: `POST …/stripe/{project}` with a body that is not too large.
fn route(request: &Request<'_>, record: &mut Record) -> Result<ProjectName, Failure> {
    let (before, name) = request.path.rsplit_once('/').ok_or(Failure::Route)?;
    let name: ProjectName = name.parse().map_err(|_| Failure::Route)?;
    if !before.ends_with("/stripe") {
        return Err(Failure::Route);
    }
    #[cfg(feature = "panic-for-tests")]
    assert!(name.as_str() != "panic-for-tests", "a panic for tests");
    record.project = Some(name.clone());
    if request.method != Method::POST {
        return Err(Failure::Method);
    }
    if request.body.len() > LARGEST_BODY {
        return Err(Failure::TooLarge);
    }
    Ok(name)
}

/// Refused before anything is loaded, so that strangers cause no calls.
fn signature_header<'r>(request: &Request<'r>) -> Result<SignatureHeader<'r>, SignatureError> {
    SignatureHeader::from_values(request.headers.get_all(signature::HEADER).iter().map(http::HeaderValue::as_bytes))
}

/// Unix seconds.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
