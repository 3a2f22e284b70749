//! The function's handler behind a local HTTP server.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use amplitude_emulator::{Configuration, Emulator};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use stripe_amplitude::amplitude::client::Client;
use stripe_amplitude::http_client::{self, HttpClientError};
use stripe_amplitude::projects;
use stripe_amplitude::webhook::{self, Webhook};
use tokio::net::TcpListener;

use crate::projects::Projects;

/// What API Gateway takes. The handler's own limit is lower.
const GATEWAY_LIMIT: usize = 10 * 1024 * 1024;

/// The function's own default.
const DEFAULT: Duration = Duration::from_secs(300);

type LocalWebhook = Arc<Webhook<Projects, Client, Infallible>>;

/// A handler that sends to the Amplitude at this URL, or, without one, to that of the project's region.
///
/// # Errors
/// Where there is no HTTP client to be had.
pub(crate) fn handler(projects: Projects, amplitude_url: Option<String>) -> Result<LocalWebhook, HttpClientError> {
    let projects = projects::Projects::new(projects, DEFAULT);
    let amplitude = Client::new(http_client::build(None)?, amplitude_url);
    Ok(Arc::new(Webhook::new(projects, amplitude, DEFAULT)))
}

/// Listens on a port of this machine only.
///
/// # Errors
/// A sentence that says which port cannot be used, and what to do.
pub(crate) async fn listen(port: u16) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await;
    listener.map_err(|error| {
        format!("port {port} cannot be used ({error}); choose another one: --port 3001, or `make run PORT=3001`")
    })
}

/// A local Amplitude on a free port of this machine, and its address.
///
/// # Errors
/// Where there is no port to be had.
pub(crate) async fn local_amplitude() -> std::io::Result<(Emulator, String)> {
    let emulator = Emulator::new(Configuration::default());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = format!("http://{}", listener.local_addr()?);
    tokio::spawn(emulator.clone().serve(listener));
    Ok((emulator, address))
}

/// Serves until the listener fails.
pub(crate) async fn serve(listener: TcpListener, webhook: LocalWebhook) -> std::io::Result<()> {
    axum::serve(listener, Router::new().fallback(handle).with_state(webhook)).await
}

async fn handle(State(webhook): State<LocalWebhook>, request: Request) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, GATEWAY_LIMIT).await else {
        let mut refused = Response::new(Body::from("the body is over 10 MiB, the limit of API Gateway\n"));
        *refused.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        return Ok(refused);
    };
    let request = webhook::Request {
        method: &parts.method,
        path: parts.uri.path(),
        headers: &parts.headers,
        body,
        request_id: None,
        function: None,
        time_left: None,
    };
    Ok(webhook.handle(request).await.map(Body::from))
}
