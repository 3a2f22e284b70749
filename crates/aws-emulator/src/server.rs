//! The emulator behind an HTTP listener.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use local_guard::is_from_web_page;
use tokio::net::TcpListener;

use crate::queue::Waiting;
use crate::service::Services;

/// A message in SQS is at most 1 MiB, which JSON may double.
const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// The emulator. Its clones share their state.
#[derive(Clone, Debug)]
pub struct Emulator {
    services: Arc<Mutex<Services>>,
    address: Arc<str>,
}

impl Emulator {
    /// An emulator without parameters and queues. `address` is where it will listen, such as `http://127.0.0.1:8093`;
    /// its queues' URLs begin with it.
    pub fn new(address: &str) -> Self {
        Self { services: Arc::default(), address: address.into() }
    }

    /// Serves until the listener fails.
    ///
    /// # Errors
    /// If the listener fails.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let router = Router::new().fallback(answer).layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES)).with_state(self);
        axum::serve(listener, router).await
    }

    /// Creates a queue that moves messages to `dead_letters` after this many receives, and returns its URL.
    pub fn create_queue(&self, name: &str, dead_letters: Option<(&str, u32)>) -> String {
        let policy = dead_letters.map(|(target, limit)| {
            let arn = format!("arn:aws:sqs:us-east-1:{}:{target}", crate::queue::ACCOUNT);
            serde_json::json!({ "deadLetterTargetArn": arn, "maxReceiveCount": limit }).to_string()
        });
        let attributes = serde_json::json!({ "RedrivePolicy": policy.unwrap_or_default() });
        let input = serde_json::json!({ "QueueName": name, "Attributes": attributes });
        // Creating a queue with a name always succeeds.
        let answer = self.services().queues.call("CreateQueue", &input, &self.address, now()).unwrap_or_default();
        answer.get("QueueUrl").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    }

    /// The messages of a queue by name, including invisible ones.
    pub fn waiting(&self, queue: &str) -> Vec<Waiting> {
        self.services().queues.waiting(queue)
    }

    /// The stored data, to inspect or prepare it.
    pub fn services(&self) -> MutexGuard<'_, Services> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(State(emulator): State<Emulator>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    // A web page cannot set this header without a preflight request, and calls to STS must be signed.
    if is_from_web_page(&headers) || !headers.contains_key(header::AUTHORIZATION) {
        return text(
            StatusCode::FORBIDDEN,
            "text/plain",
            "the emulator only accepts signed requests from AWS's SDKs\n".to_owned(),
        );
    }
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let answer = emulator.services().answer(target, &body, &emulator.address, now());
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    text(status, answer.content_type, answer.body)
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
