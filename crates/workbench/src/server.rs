//! The workbench behind a local HTTP server. A tunnel for webhooks may expose it to the internet.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::api::router;
use crate::workbench::Workbench;

/// The limit for the head of a request, and for the wait for the next request on a connection.
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// Concurrent connections; further ones wait. Stripe uses some twenty, and each page of the workbench one.
const CONNECTIONS: usize = 128;

/// Serves until the future is dropped.
///
/// # Errors
/// If the listener has no address.
pub async fn serve(listener: TcpListener, workbench: Workbench) -> std::io::Result<()> {
    let port = listener.local_addr()?.port();
    let service = TowerToHyperService::new(router(workbench, port));
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = Arc::clone(&connections).acquire_owned().await;
        let Ok((stream, _)) = listener.accept().await else {
            // The client has disconnected, or this process has too many open files.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Otherwise responses could wait for the client's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        tokio::spawn(async move {
            // An error means that the client disconnected or was too slow.
            let _ = connection.await;
            drop(permit);
        });
    }
}

#[cfg(test)]
#[path = "../../../tests/shared/partial_request.rs"]
#[allow(clippy::unwrap_used)]
mod partial_request;

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use tokio::time::Instant;

    use super::partial_request::send_partial_request;
    use super::*;
    use crate::listener::listen_anywhere;
    use crate::projects::demo;
    use crate::workbench::{Amplitude, Stripe};

    #[tokio::test(start_paused = true)]
    async fn stalled_requests_time_out() {
        let (listener, _) = listen_anywhere().await.unwrap();
        let address = listener.local_addr().unwrap();
        let workbench = Workbench::new(demo(), Amplitude::Emulator, Stripe::Local, None).await.unwrap();
        let serving = tokio::spawn(serve(listener, workbench));
        for (request, answer) in [
            ("POST /stripe/demo HTTP/1.1\r\nhost: 127.0.0.1\r\n", ""),
            ("POST /stripe/demo HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\nhalf", "HTTP/1.1 408"),
        ] {
            let start = Instant::now();
            let got = send_partial_request(address, request).await;
            assert!(got.starts_with(answer), "{got}");
            assert!((30..=62).contains(&start.elapsed().as_secs()), "{request}: {:?}", start.elapsed());
        }
        serving.abort();
    }
}
