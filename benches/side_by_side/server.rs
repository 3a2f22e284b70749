//! What the servers around the function share: their own threads, and HTTP/1.1 that never waits for a delayed
//! acknowledgement.

use std::net::{Ipv4Addr, SocketAddr};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio_rustls::TlsAcceptor;

pub type Answer = Response<Full<Bytes>>;

/// A thread that runs the tasks spawned on the handle while this process lives. [`crate::process`] finds its load by
/// its name.
pub fn thread(name: &'static str) -> Handle {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name(name.to_owned()).spawn(run).unwrap();
    handle
}

/// A listener on its own port.
pub fn listen() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Answers requests on all connections, until the future is dropped.
pub async fn serve<F: Future<Output = Answer> + Send + 'static>(
    listener: std::net::TcpListener,
    tls: Option<TlsAcceptor>,
    answer: impl Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(serve_connection(stream, tls.clone(), answer.clone()));
    }
}

async fn serve_connection<F: Future<Output = Answer> + Send>(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    answer: impl Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
) {
    stream.set_nodelay(true).unwrap();
    match tls {
        None => serve_stream(stream, answer).await,
        Some(tls) => {
            // A client that does not trust us disconnects, and reports that itself.
            if let Ok(stream) = tls.accept(stream).await {
                serve_stream(stream, answer).await;
            }
        }
    }
}

async fn serve_stream<F: Future<Output = Answer> + Send>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: impl Fn(Request<Bytes>) -> F + Clone,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, hyper::Error>(answer(Request::from_parts(head, body)).await)
        }
    });
    // An error means that the process was ended, and its connections with it.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// A response with this status and body.
pub fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
    Response::builder().status(status).body(Full::new(body.into())).unwrap()
}
