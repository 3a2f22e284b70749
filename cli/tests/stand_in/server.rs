//! The HTTP server. hyper and not axum: a fault has to end a connection without an answer, which a router hides.

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::answer::{Answer, Refusal};
use super::faults::Fault;
use super::requests::State;
use super::{lock, log};

/// How long half an answer is left on its way before the connection ends behind it.
const CUT_AFTER: Duration = Duration::from_millis(20);

/// What comes of a request. An error ends the connection.
pub type Outcome = Result<Response<Body>, io::Error>;

/// Serves in a thread of its own, until `stopped` tells.
pub fn start<F>(
    listener: TcpListener,
    stopped: oneshot::Receiver<()>,
    respond: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) where
    F: Future<Output = Outcome> + Send + 'static,
{
    listener.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::spawn(move || {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            tokio::select! {
                _ = stopped => {}
                () = serve(listener, respond) => {}
            }
        });
    });
}

async fn serve<F>(listener: tokio::net::TcpListener, respond: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static)
where
    F: Future<Output = Outcome> + Send + 'static,
{
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        let service = service_fn(respond.clone());
        // It fails where a fault ends it, or where the client goes away.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), service));
    }
}

/// Answers as Stripe does, or fails as ordered.
pub async fn respond(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Outcome {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let is_form = head.headers.get(CONTENT_TYPE).is_some_and(|value| value == "application/x-www-form-urlencoded");
    let request = log::Request {
        at: Instant::now(),
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: pairs(head.uri.query().unwrap_or_default().as_bytes()),
        form: if is_form { pairs(&body) } else { Vec::new() },
        headers: head.headers,
        status: None,
    };
    let (number, fault) = {
        let mut state = lock(&state);
        (state.log.add(request.clone()), state.faults.next(&request.path))
    };
    if let Some(Fault::Hang(time)) = fault {
        sleep(time).await;
    }

    let mut state = lock(&state);
    let answer = match fault {
        None | Some(Fault::Hang(_) | Fault::CutHalfWay | Fault::AnswerLost) => state.answer(&request),
        Some(Fault::TooManyRequests) => state.finish(Refusal::too_many_requests().into_answer(), &request),
        Some(Fault::InternalError) => state.finish(Refusal::of_stripe(500).into_answer(), &request),
        Some(Fault::Unavailable) => state.finish(Refusal::of_stripe(503).into_answer(), &request),
        Some(Fault::Html(status)) => Answer::html(status),
        Some(Fault::Cut) => return Err(cut()),
    };
    if let Some(Fault::AnswerLost) = fault {
        return Err(cut());
    }
    state.log.set_status(number, answer.status);
    Ok(response(answer, matches!(fault, Some(Fault::CutHalfWay))))
}

/// Names and values of a query or a form.
pub fn pairs(encoded: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(encoded).into_owned().collect()
}

fn cut() -> io::Error {
    io::Error::other("cut on order")
}

pub fn response(answer: Answer, is_cut: bool) -> Response<Body> {
    let mut response = Response::builder()
        .status(answer.status)
        .header(CONTENT_TYPE, answer.content_type)
        .header(CONTENT_LENGTH, answer.body.len());
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    let body = if is_cut { half_of(answer.body) } else { answer.body.into() };
    response.body(body).unwrap()
}

fn half_of(body: Bytes) -> Body {
    let half = body.slice(..body.len() / 2);
    let end = stream::once(async {
        sleep(CUT_AFTER).await;
        Err(cut())
    });
    Body::from_stream(stream::once(async { Ok(half) }).chain(end))
}
