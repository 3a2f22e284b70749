//! The measured work: a body's way through the function without the network, and its floor.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use stripe_amplitude::amplitude::client::Request;
use stripe_amplitude::forward::{Decision, forward, unaudited};
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::settings::Settings;
use stripe_amplitude::stripe::event::Event;
use stripe_amplitude::stripe::signature::{self, SignatureHeader, SigningSecret, VerifiedBody};
use stripe_amplitude::translate::Context;

const SECRET: &str = "whsec_of_the_bench";
const TIMESTAMP: u64 = 1_721_948_600;
const TOLERANCE: Duration = Duration::from_secs(300);

/// The measured sizes, in bytes, from the smallest of Stripe's events to beyond the largest.
pub(crate) const SIZES: [usize; 6] = [1_000, 2_000, 6_000, 20_000, 100_000, 1_000_000];

/// A signed delivery and its project.
pub(crate) struct Work {
    project: ProjectName,
    settings: Settings,
    secrets: [SigningSecret; 1],
    header: String,
    body: Bytes,
}

impl Work {
    /// A delivery with a body of about this many bytes.
    pub(crate) fn new(size: usize) -> Self {
        let secrets = [SigningSecret::new(SECRET.into(), None)];
        let body = Bytes::from(body(size));
        let header = signature::sign(&secrets[0], TIMESTAMP, &body);
        let project = "shop".parse().expect("it is a name");
        Self { project, settings: Settings::default(), secrets, header, body }
    }

    /// The size of the body in bytes.
    pub(crate) fn size(&self) -> usize {
        self.body.len()
    }

    /// One HMAC-SHA256 over the body, and one copy of it: the least possible work.
    pub(crate) fn floor(&self) -> (Vec<u8>, bool) {
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(black_box(&self.body));
        let matches = mac.verify_slice(&[0; 32]).is_ok();
        (black_box(&self.body).to_vec(), matches)
    }

    /// From the body to the request for Amplitude.
    pub(crate) fn core(&self) -> Vec<u8> {
        let body = self.verify();
        let event = Event::parse(&body).expect("it is an event");
        let context = Context {
            project: &self.project,
            source: None,
            settings: &self.settings,
            has_test_key: false,
            objects: None,
        };
        let decision = forward(event, &context, TIMESTAMP, &mut unaudited).expect("no rate is needed");
        let Decision::Send(translation) = decision else { unreachable!("it is on the list") };
        serde_json::to_vec(&Request::new(&[&translation.event], "0123456789abcdef0123456789abcdef"))
            .expect("it can be serialised")
    }

    fn verify(&self) -> VerifiedBody {
        let header = SignatureHeader::parse(self.header.as_bytes()).expect("it is well-formed");
        let body = black_box(&self.body).clone();
        signature::verify(&header, body, &self.secrets, TIMESTAMP, TOLERANCE).expect("it is right").0
    }
}

/// An event of about this many bytes, indented like Stripe's. The large ones are of the kind that is large in practice:
/// invoices with many lines.
fn body(size: usize) -> Vec<u8> {
    let sample = |event_type: &str| -> Value {
        let path = format!("{}/events/stripe/{event_type}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read(path).expect("the sample is there");
        serde_json::from_slice(&text).expect("it is JSON")
    };
    let event = match size {
        0..1_500 => sample("application_fee.created"),
        1_500..4_000 => sample("payment_intent.succeeded"),
        _ => {
            let mut invoice = sample("invoice.paid");
            let lines = invoice["data"]["object"]["lines"]["data"].as_array_mut().expect("it has lines");
            let line = lines[0].clone();
            let bytes = |value: &Value| serde_json::to_vec_pretty(value).expect("it can be serialised").len();
            // A line is indented by ten spaces.
            let bytes_of_line = bytes(&json!([[[[[line]]]]]));
            for number in 1..size.saturating_sub(4_500) / bytes_of_line {
                let mut line = line.clone();
                line["id"] = format!("il_1Pgc{number:06}B7WZ01zgkW").into();
                line["description"] = format!("{number} × Rocket ride (at $25.00 / month)").into();
                lines.push(line);
            }
            invoice
        }
    };
    serde_json::to_vec_pretty(&event).expect("it can be serialised")
}
