//! Signs the events that the workbench sends, like Stripe or with a typical mistake.

use axum::body::Bytes;
use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::projects::source::ProjectSource as _;
use stripe_amplitude::stripe::signature::{self, SigningSecret};
use stripe_amplitude_common::endpoint;

use crate::projects::Projects;

/// Seconds; longer than a signature is valid.
const EXPIRED_AGE: u64 = 600;

/// Typical mistakes between Stripe and a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mistake {
    /// Signed with the secret of another endpoint.
    WrongSecret,
    /// Signed ten minutes ago: a wrong clock, or a replayed request.
    OldTimestamp,
    /// A proxy changed a byte.
    ChangedBody,
    /// The endpoint is configured for thin events.
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
        let time = if mistake == Some(Mistake::OldTimestamp) { now.saturating_sub(EXPIRED_AGE) } else { now };
        let header = signature::sign(secret, time, &body);
        if mistake == Some(Mistake::ChangedBody) {
            body.push(b' ');
        }
        Self { headers: endpoint::headers(&header), body: body.into() }
    }
}

/// The project's first signing secret.
///
/// # Errors
/// A sentence if the project has none.
pub(crate) async fn secret_of(projects: &Projects, name: &ProjectName) -> Result<SigningSecret, String> {
    let first = projects.project(name).await?.secrets.into_iter().next();
    first.ok_or_else(|| format!("{} has no signing secret that can be used", projects.folder(name)))
}

/// The event in Stripe's "thin" payload style, which has no object.
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
