//! The function's handler behind a local HTTP server, with one built-in project.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use stripe_amplitude::amplitude::client::Client;
use stripe_amplitude::http_client::{self, HttpClientError};
use stripe_amplitude::projects::{LoadError, Parameter, ProjectName, ProjectSource, Projects};
use stripe_amplitude::webhook::{self, Webhook};
use tokio::net::TcpListener;

/// The name of the built-in project.
pub(crate) const PROJECT: &str = "demo";

/// The signing secret of the built-in project. It protects nothing.
pub(crate) const SIGNING_SECRET: &str = "whsec_demo";

/// What API Gateway takes. The handler's own limit is lower.
const GATEWAY_LIMIT: usize = 10 * 1024 * 1024;

type LocalWebhook = Arc<Webhook<BuiltIn, Client>>;

/// A handler that sends to the Amplitude at this URL.
///
/// # Errors
/// Where there is no HTTP client to be had.
pub(crate) fn handler(amplitude_url: String) -> Result<LocalWebhook, HttpClientError> {
    let projects = Projects::new(BuiltIn, Duration::from_secs(300));
    let amplitude = Client::new(http_client::build(None)?, Some(amplitude_url));
    Ok(Arc::new(Webhook::new(projects, amplitude, Duration::from_secs(300))))
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
        time_left: None,
    };
    Ok(webhook.handle(request).await.map(Body::from))
}

/// The parameters of the built-in project.
pub(crate) struct BuiltIn;

impl ProjectSource for BuiltIn {
    fn folder(&self, project: &ProjectName) -> String {
        format!("/stripe-amplitude/{project}")
    }

    async fn load(&self, project: &ProjectName) -> Result<Vec<Parameter>, LoadError> {
        let parameter = |name: &str, value: &str| Parameter { name: name.to_owned(), value: value.into() };
        let parameters =
            vec![parameter("stripe-signing-secret", SIGNING_SECRET), parameter("amplitude-api-key", "demo")];
        Ok(if project.as_str() == PROJECT { parameters } else { Vec::new() })
    }
}
