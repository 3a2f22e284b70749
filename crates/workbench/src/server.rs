//! The workbench behind a local HTTP server, which may be open to the world by a tunnel for webhooks.

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

/// So long the head of a request may take, or the wait for the next request on a connection.
const HEAD_WITHIN: Duration = Duration::from_secs(30);

/// Connections at once; further ones wait. Stripe has some twenty, and each page of the workbench has one to itself.
const CONNECTIONS: usize = 128;

/// Serves until it is dropped.
///
/// # Errors
/// Where the listener has no address.
pub async fn serve(listener: TcpListener, workbench: Workbench) -> std::io::Result<()> {
    let port = listener.local_addr()?.port();
    let service = TowerToHyperService::new(router(workbench, port));
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&room).acquire_owned().await;
        let Ok((stream, _)) = listener.accept().await else {
            // The client is gone already, or this process has too many files open.
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Without it, answers could wait for the client's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        tokio::spawn(async move {
            // An error here is a client that went away, or took too long.
            let _ = connection.await;
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use tokio::net::TcpStream;
    use tokio::time::Instant;

    use super::*;
    use crate::listener::listen_anywhere;
    use crate::projects::demo;
    use crate::workbench::{Amplitude, Stripe};

    /// Sends the beginning of a request, and gives what comes back until the end of the connection.
    async fn begun(address: std::net::SocketAddr, request: &str) -> String {
        let connection = TcpStream::connect(address).await.unwrap();
        connection.writable().await.unwrap();
        assert_eq!(connection.try_write(request.as_bytes()).unwrap(), request.len());
        let (mut answer, mut bytes) = (Vec::new(), [0; 4096]);
        loop {
            connection.readable().await.unwrap();
            match connection.try_read(&mut bytes) {
                Ok(0) => return String::from_utf8(answer).unwrap(),
                Ok(length) => answer.extend(&bytes[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return String::from_utf8(answer).unwrap(),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_go_on_is_not_waited_for() {
        let (listener, _) = listen_anywhere().await.unwrap();
        let address = listener.local_addr().unwrap();
        let workbench = Workbench::new(demo(), Amplitude::Emulator, Stripe::Local, None).await.unwrap();
        let serving = tokio::spawn(serve(listener, workbench));
        for (request, answer) in [
            ("POST /stripe/demo HTTP/1.1\r\nhost: 127.0.0.1\r\n", ""),
            ("POST /stripe/demo HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\nhalf", "HTTP/1.1 408"),
        ] {
            let start = Instant::now();
            let got = begun(address, request).await;
            assert!(got.starts_with(answer), "{got}");
            assert!((30..=62).contains(&start.elapsed().as_secs()), "{request}: {:?}", start.elapsed());
        }
        serving.abort();
    }
}
