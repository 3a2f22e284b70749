//! Events that the workbench sends itself, signed as Stripe signs them, or with one of the usual mistakes.

use axum::body::Bytes;
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::projects::source::ProjectSource as _;
use stripe_amplitude::stripe::signature::{self, SigningSecret};

use crate::projects::Projects;
use stripe_amplitude_common::endpoint;

/// Seconds; longer than a signature is good for.
const LONG_AGO: u64 = 600;

/// What goes wrong most often between Stripe and a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mistake {
    /// Signed with the secret of another endpoint.
    WrongSecret,
    /// Signed ten minutes ago: a clock that is wrong, or a recorded request.
    OldTimestamp,
    /// A proxy has changed a byte.
    ChangedBody,
    /// An endpoint that is set up for thin events.
    ThinEvent,
}

/// A signed request.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Signed {
    /// Signs an event now (Unix seconds).
    pub(crate) fn new(secret: &SigningSecret, event: Vec<u8>, mistake: Option<Mistake>, now: u64) -> Self {
        let mut body = if mistake == Some(Mistake::ThinEvent) { thin(&event) } else { event };
        let wrong = SigningSecret::new("whsec_of_another_endpoint".into(), None);
        let secret = if mistake == Some(Mistake::WrongSecret) { &wrong } else { secret };
        let time = if mistake == Some(Mistake::OldTimestamp) { now.saturating_sub(LONG_AGO) } else { now };
        let header = signature::sign(secret, time, &body);
        if mistake == Some(Mistake::ChangedBody) {
            body.push(b' ');
        }
        Self { headers: endpoint::headers(&header), body: body.into() }
    }
}

/// The secret that Stripe would sign this project's events with: its first.
///
/// # Errors
/// A sentence, where there is none.
pub(crate) async fn secret_of(projects: &Projects, name: &ProjectName) -> Result<SigningSecret, String> {
    let first = projects.project(name).await?.secrets.into_iter().next();
    first.ok_or_else(|| format!("{} has no signing secret that can be used", projects.folder(name)))
}

/// The same event as Stripe's "thin" ones are, which hold no object.
fn thin(event: &[u8]) -> Vec<u8> {
    let event: Value = serde_json::from_slice(event).unwrap_or_default();
    let id = event.get("id").and_then(Value::as_str).unwrap_or("evt_1");
    let object = event.pointer("/data/object");
    let field = |name: &str| object.and_then(|object| object.get(name));
    let thin = json!({
        "id": id,
        "object": "v2.core.event",
        "type": "v1.billing.meter.error_report_triggered",
        "livemode": false,
        "created": "2024-07-26T00:00:00.000Z",
        "related_object": {"id": field("id"), "type": field("object"), "url": "/v1/objects"},
    });
    thin.to_string().into_bytes()
}
