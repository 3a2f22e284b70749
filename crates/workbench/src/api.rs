//! The routes: the page's API under `/workbench/`; all other paths belong to the function.

use std::convert::Infallible;
use std::str::FromStr as _;
use std::time::Duration;

use amplitude_emulator::Fault;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{DefaultBodyLimit, Json, Path, Query, Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::{get, post};
use axum::{Router, middleware};
use futures_util::stream::{self, Stream};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude_common::clock;
use stripe_amplitude_common::http::without_user;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use crate::charts::{Charts, Choice, Window};
use crate::credential::hide;
use crate::exchange::Upstream;
use crate::guard::guard;
use crate::log::{Entry, Filter};
use crate::page;
use crate::problem::Problem;
use crate::samples::SAMPLES;
use crate::signed::Mistake;
use crate::workbench::{Delivered, REFUSED, Workbench};

/// API Gateway's limit. The handler's own limit is lower.
const GATEWAY_LIMIT: usize = 10 * 1024 * 1024;

/// The limit for receiving a body.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// Longer than the function's timeout.
const HANG: Duration = Duration::from_secs(10);

type Answer<T> = Result<Json<T>, Problem>;

fn bad(why: impl ToString) -> Problem {
    Problem(StatusCode::BAD_REQUEST, why.to_string())
}

/// All routes, for the given port. The guard checks each request first. Then the whole body is received before the
/// request is handled.
pub(crate) fn router(workbench: Workbench, port: u16) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/workbench/about", get(about))
        .route("/workbench/deliveries", get(deliveries))
        .route("/workbench/deliveries/{number}", get(delivery))
        .route("/workbench/deliveries/{number}/again", post(again))
        .route("/workbench/live", get(live))
        .route("/workbench/objects", post(objects))
        .route("/workbench/samples", get(samples))
        .route("/workbench/send", post(send))
        .route("/workbench/charts", get(charts))
        .route("/workbench/{*file}", get(page::file))
        .fallback(deliver)
        .layer(DefaultBodyLimit::max(GATEWAY_LIMIT))
        .layer(middleware::from_fn(with_whole_body))
        .layer(middleware::from_fn_with_state(port, guard))
        .with_state(workbench)
}

async fn with_whole_body(request: Request, next: Next) -> Response<Body> {
    let (parts, body) = request.into_parts();
    match timeout(BODY_WITHIN, to_bytes(body, GATEWAY_LIMIT)).await {
        Ok(Ok(body)) => next.run(Request::from_parts(parts, body.into())).await,
        Ok(Err(_)) => {
            let text = "the body exceeds 10 MiB, the limit of API Gateway\n";
            (StatusCode::PAYLOAD_TOO_LARGE, text).into_response()
        }
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "timed out waiting for the body\n").into_response(),
    }
}

async fn deliver(
    State(workbench): State<Workbench>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    workbench.answer(&method, uri.path(), &headers, body).await.map(Body::from)
}

async fn about(State(workbench): State<Workbench>) -> Json<Value> {
    let inner = &workbench.0;
    let amplitude = match inner.proxy.upstream() {
        Upstream::Local(_) => "emulator",
        Upstream::Real => "real",
        Upstream::Url(url) => &without_user(url),
    };
    Json(json!({
        "projects": inner.projects.names(),
        "amplitude": amplitude,
        "stripe": inner.reader.local().map_or(inner.reader.url(), |_| "local"),
        "kept_in": inner.kept_in,
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

async fn deliveries(State(workbench): State<Workbench>, Query(filter): Query<Filter>) -> Answer<Value> {
    let (deliveries, more) = workbench.0.log.list(&filter)?;
    Ok(Json(json!({"deliveries": deliveries, "more": more})))
}

fn find(workbench: &Workbench, number: u64) -> Result<Entry, Problem> {
    let missing = || Problem(StatusCode::NOT_FOUND, format!("delivery {number} does not exist"));
    workbench.0.log.find(number)?.ok_or_else(missing)
}

async fn delivery(State(workbench): State<Workbench>, Path(number): Path<u64>) -> Answer<Value> {
    let entry = find(&workbench, number)?;
    let body = match ProjectName::from_str(&entry.summary.project) {
        Ok(project) => hide(&entry.stripe.body, &project),
        // Not a delivery to a project.
        Err(_) => String::new(),
    };
    let explained = workbench.explain(&entry).await;
    let reads = explained.as_ref().map(|explained| explained.reads.clone()).unwrap_or_default();
    let explanation = explained.map(|explained| json!({"text": explained.text, "notes": explained.notes}));
    Ok(Json(json!({
        "summary": entry.summary,
        "stripe": {
            "path": entry.stripe.path,
            "headers": entry.stripe.headers,
            "body": body,
        },
        "answer": {"status": entry.summary.status, "body": entry.answer},
        "references": {"url": workbench.0.reader.url(), "reads": reads},
        "amplitude": entry.exchanges,
        "explanation": explanation,
    })))
}

async fn again(State(workbench): State<Workbench>, Path(number): Path<u64>) -> Answer<Delivered> {
    let entry = find(&workbench, number)?;
    if entry.summary.outcome == REFUSED {
        // It may be a stranger's, and would get a valid signature.
        return Err(bad("a refused request is not signed again unchanged; use `Edit and send`"));
    }
    let project = ProjectName::from_str(&entry.summary.project).map_err(bad)?;
    Ok(Json(workbench.send(&project, entry.stripe.body, None, None).await.map_err(bad)?))
}

async fn live(State(workbench): State<Workbench>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let deliveries = workbench.0.live.subscribe();
    let events = stream::unfold(deliveries, async |mut deliveries| {
        let event = match deliveries.recv().await {
            Ok(summary) => Event::default().event("delivery").json_data(summary).ok()?,
            // The page missed some deliveries.
            Err(RecvError::Lagged(_)) => Event::default().event("reload").data("-"),
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), deliveries))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

#[derive(Serialize)]
struct SampleOfAType {
    #[serde(rename = "type")]
    event_type: &'static str,
    /// Unparsed, so that the fields keep Stripe's order.
    event: &'static RawValue,
}

async fn samples() -> Json<Vec<SampleOfAType>> {
    let samples = SAMPLES.iter().filter_map(|sample| {
        Some(SampleOfAType { event_type: sample.event_type, event: serde_json::from_str(sample.json).ok()? })
    });
    Json(samples.collect())
}

#[derive(Deserialize)]
struct ToSend {
    project: String,
    event: String,
    mistake: Option<Mistake>,
    fault: Option<RequestedFault>,
}

/// A fault of the local Amplitude that the page can request.
#[derive(Clone, Copy, Debug, Deserialize)]
enum RequestedFault {
    #[serde(rename = "429")]
    TooManyRequests,
    #[serde(rename = "500")]
    Error,
    #[serde(rename = "hang")]
    Hang,
}

impl RequestedFault {
    fn fault(self) -> Fault {
        match self {
            Self::TooManyRequests => Fault::answer(429),
            Self::Error => Fault::answer(500),
            Self::Hang => Fault::Hang { milliseconds: HANG.as_millis().try_into().unwrap_or(u64::MAX), ingest: false },
        }
    }
}

async fn send(State(workbench): State<Workbench>, Json(to_send): Json<ToSend>) -> Answer<Delivered> {
    let ToSend { project, event, mistake, fault } = to_send;
    let project = ProjectName::from_str(&project).map_err(|error| bad(format!("{project}: {error}")))?;
    let fault = fault.map(RequestedFault::fault);
    Ok(Json(workbench.send(&project, event.into_bytes(), mistake, fault).await.map_err(bad)?))
}

/// Adds objects to the local Stripe.
async fn objects(State(workbench): State<Workbench>, Json(objects): Json<Vec<Value>>) -> Answer<Value> {
    let stripe = workbench.stripe().ok_or_else(|| bad("the local Stripe is off; start serve with --stripe local"))?;
    let put = objects.into_iter().try_for_each(|object| stripe.put(object));
    put.map_err(bad)?;
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
struct WhichCharts {
    project: String,
    #[serde(default)]
    currency: String,
    cohort: Option<String>,
}

async fn charts(State(workbench): State<Workbench>, Query(which): Query<WhichCharts>) -> Answer<Value> {
    let project = ProjectName::from_str(&which.project).map_err(|error| bad(format!("{}: {error}", which.project)))?;
    let cohort = which.cohort.as_deref().map_or(Ok(Window::FirstSevenDays), str::parse).map_err(bad)?;
    let choice = Choice { currency: Some(which.currency).filter(|currency| !currency.is_empty()), cohort };
    let now = clock::now_milliseconds().cast_signed();
    let events = workbench.accepted(&project).await.map_err(bad)?;
    // In a separate thread, so that deliveries are not blocked.
    let report = tokio::task::spawn_blocking(move || Charts::of(&events)?.report(&choice, now)).await;
    let failed = |error: &dyn std::fmt::Display| {
        Problem(StatusCode::INTERNAL_SERVER_ERROR, format!("the charts could not be computed: {error}"))
    };
    let report = report.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
    Ok(Json(serde_json::to_value(report).map_err(|error| failed(&error))?))
}
