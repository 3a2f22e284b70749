//! The HTTP server. hyper rather than axum: a fault has to end a connection without a response, which a router hides.

use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use local_guard::is_from_web_page;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::answer::{Answer, ApiError};
use crate::faults::Fault;
use crate::requests::State;
use crate::{lock, log};

/// The delay between sending half a response and closing the connection.
const CUT_AFTER: Duration = Duration::from_millis(20);

/// The time limit for the head of a request, including the wait for it on an open connection, and then for the body.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Longer than any form.
const MAX_BODY_BYTES: usize = 1024 * 1024;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The result of a request. An error ends the connection.
type Outcome = Result<Response<Body>, io::Error>;

/// Serves on a separate thread, until `stopped` fires.
pub(crate) fn start(listener: TcpListener, stopped: oneshot::Receiver<()>, state: Arc<Mutex<State>>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _runtime = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let serve = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = stopped => {}
                () = serve(listener, state) => {}
            }
        });
    };
    std::thread::Builder::new().name("stripe-emulator".to_owned()).spawn(serve)?;
    Ok(())
}

async fn serve(listener: tokio::net::TcpListener, state: Arc<Mutex<State>>) {
    loop {
        let Ok((connection, _)) = listener.accept().await else {
            // The client is already gone, or this process has too many open files.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        let state = Arc::clone(&state);
        let service = service_fn(move |request| respond(Arc::clone(&state), request));
        // It fails if a fault ends the connection or the client disconnects.
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(READ_TIMEOUT);
        tokio::spawn(http.serve_connection(TokioIo::new(connection), service));
    }
}

/// Responds like Stripe, or with an injected fault.
async fn respond(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Outcome {
    let (head, body) = request.into_parts();
    if is_from_web_page(&head.headers) {
        return response(ApiError::from_web_page().into_answer(), false);
    }
    let body = timeout(READ_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await.map_err(io::Error::other)?;
    let body = body.map_err(io::Error::other)?.to_bytes();
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
        Some(Fault::TooManyRequests) => state.too_many_requests(&request),
        Some(Fault::InternalError) => state.finish(ApiError::of_stripe(500).into_answer(), &request),
        Some(Fault::Unavailable) => state.finish(ApiError::of_stripe(503).into_answer(), &request),
        Some(Fault::Html(status)) => Answer::html(status),
        Some(Fault::Cut) => return Err(cut()),
    };
    if let Some(Fault::AnswerLost) = fault {
        return Err(cut());
    }
    state.log.set_status(number, answer.status);
    response(answer, matches!(fault, Some(Fault::CutHalfWay)))
}

/// Names and values of a query or a form.
fn pairs(encoded: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(encoded).into_owned().collect()
}

fn cut() -> io::Error {
    io::Error::other("injected cut")
}

fn response(answer: Answer, is_cut: bool) -> Outcome {
    let mut response = Response::builder()
        .status(answer.status)
        .header(CONTENT_TYPE, answer.content_type)
        .header(CONTENT_LENGTH, answer.body.len());
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    let body = if is_cut { half_of(answer.body) } else { whole(answer.body) };
    response.body(body).map_err(io::Error::other)
}

fn whole(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

fn half_of(mut body: Bytes) -> Body {
    body.truncate(body.len() / 2);
    let end = stream::once(async {
        sleep(CUT_AFTER).await;
        Err(cut())
    });
    StreamBody::new(stream::once(async { Ok(Frame::data(body)) }).chain(end)).boxed_unsync()
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
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, Arc::default()));
        for request in [
            "GET /v1/events HTTP/1.1\r\nhost: a\r\n",
            "POST /v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf",
        ] {
            let start = tokio::time::Instant::now();
            send_partial_request(address, request).await;
            assert!((30..=62).contains(&start.elapsed().as_secs()), "{request}: {:?}", start.elapsed());
        }
        serving.abort();
    }

    #[tokio::test]
    async fn web_pages_are_rejected() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, Arc::default()));
        for path in ["/", "/v1/events", "/v1/webhook_endpoints", "/v1/customers/cus_1"] {
            for (headers, is_refused) in [
                ("host: 127.0.0.1", false),
                ("host: shop.example.com", true),
                ("host: 127.0.0.1\r\norigin: http://shop.example.com", true),
            ] {
                let answer = send_partial_request(
                    address,
                    &format!("GET {path} HTTP/1.1\r\n{headers}\r\nconnection: close\r\n\r\n"),
                )
                .await;
                assert_eq!(answer.starts_with("HTTP/1.1 403"), is_refused, "{path} {headers}: {answer}");
            }
        }
        serving.abort();
    }
}
