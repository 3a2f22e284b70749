//! The invocations: Stripe's deliveries through an HTTP API, and batches of the redelivery queue. Each carries a new
//! event, signed at that moment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::body::Bytes;
use serde_json::{Value, json};
use stripe_amplitude::stripe::signature::{self, SigningSecret};

use crate::runtime_api::Invocations;

/// The project of all deliveries, and its signing secret.
pub const PROJECT: &str = "shop";
pub const SECRET: &str = "whsec_of_the_bench";

/// As long as the IDs that replace it.
const ID: &str = "evt_000000000000000000000000";
const BODY: &str = "THE BODY";
const SIGNATURE: &str = "THE SIGNATURE";

/// The sizes of events, in KB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// A payment with little metadata.
    Kb2 = 2,
    /// An invoice with one line.
    Kb6 = 6,
    /// An invoice with many lines.
    Kb100 = 100,
}

impl Size {
    pub const ALL: [Self; 3] = [Self::Kb2, Self::Kb6, Self::Kb100];

    /// An event of about this size, indented like Stripe's.
    fn event(self) -> String {
        let mut event = match self {
            Self::Kb2 => sample("payment_intent.succeeded"),
            Self::Kb6 | Self::Kb100 => sample("invoice.paid"),
        };
        event["id"] = ID.into();
        // The samples are years old, and old events are ignored.
        event["created"] = now().into();
        let metadata = [("order_id", "6735"), ("cart", "c_8f0c2d"), ("campaign", "summer-2024"), ("channel", "web")];
        if self != Self::Kb2 {
            let object = &mut event["data"]["object"];
            object["metadata"]
                .as_object_mut()
                .unwrap()
                .extend(metadata.map(|(name, value)| (name.into(), value.into())));
        }
        let line = event["data"]["object"]["lines"]["data"][0].clone();
        loop {
            let text = serde_json::to_string_pretty(&event).unwrap();
            if text.len() + 1000 > self as usize * 1000 {
                return text;
            }
            let lines = event["data"]["object"]["lines"]["data"].as_array_mut().unwrap();
            let number = lines.len();
            let mut line = line.clone();
            line["id"] = format!("il_1Pgc6sB7WZ01zgkW{number:08}").into();
            line["amount"] = (100 * number).into();
            line["description"] = format!("{number} × Seat (at $1.00 / month)").into();
            line["price"]["product"] = format!("prod_QXg1{number:010}").into();
            lines.push(line);
        }
    }
}

/// Deliveries of one size.
pub struct Deliveries {
    /// The event, before and after its ID.
    event: [String; 2],
    /// The event in the invocation's JSON.
    escaped: [String; 2],
    /// The invocation, around the body and the signature, in this order because serde_json sorts names.
    before: String,
    between: String,
    after: String,
    secret: SigningSecret,
}

impl Deliveries {
    pub fn new(size: Size) -> Self {
        let event = size.event();
        let mut invocation = read("invocations/http-api");
        for name in ["rawPath", "path"] {
            let holder = if name == "path" { &mut invocation["requestContext"]["http"] } else { &mut invocation };
            holder[name] = format!("/stripe/{PROJECT}").into();
        }
        invocation["headers"]["content-length"] = event.len().to_string().into();
        invocation["headers"]["stripe-signature"] = SIGNATURE.into();
        invocation["body"] = BODY.into();
        let [before, rest] = split(&invocation.to_string(), BODY);
        let [between, after] = split(&rest, SIGNATURE);
        let secret = SigningSecret::new(SECRET.into(), None);
        Self { escaped: split(&escape(&event), ID), event: split(&event, ID), before, between, after, secret }
    }

    /// How many bytes an event has.
    pub fn event_bytes(&self) -> usize {
        self.event.iter().map(String::len).sum::<usize>() + ID.len()
    }
}

impl Invocations for Deliveries {
    fn payload(&self) -> Bytes {
        let id = new_id();
        let body = [&*self.event[0], &id, &self.event[1]].concat();
        let signature = signature::sign(&self.secret, now(), body.as_bytes());
        let Self { escaped, before, between, after, .. } = self;
        [before, &*escaped[0], &id, &escaped[1], between, &signature, after].concat().into()
    }

    fn is_success(&self, answer: &[u8]) -> bool {
        is_forwarded(answer)
    }
}

/// An HTTP API's invocation for any event.
pub struct Envelope {
    invocation: Value,
    secret: SigningSecret,
}

impl Envelope {
    pub fn new(project: &str) -> Self {
        let mut invocation = read("invocations/http-api");
        for name in ["rawPath", "path"] {
            let holder = if name == "path" { &mut invocation["requestContext"]["http"] } else { &mut invocation };
            holder[name] = format!("/stripe/{project}").into();
        }
        Self { invocation, secret: SigningSecret::new(SECRET.into(), None) }
    }

    /// A live event of a connected account, which has just happened to this object.
    pub fn payload(&self, event_type: &str, object: &Value, account: &str) -> Bytes {
        let mut event = sample(event_type);
        for (name, value) in [
            ("id", json!(new_id())),
            ("created", json!(now())),
            ("livemode", json!(true)),
            ("account", json!(account)),
            ("data", json!({"object": object})),
        ] {
            event[name] = value;
        }
        let body = serde_json::to_string_pretty(&event).unwrap();
        let mut invocation = self.invocation.clone();
        invocation["headers"]["stripe-signature"] = signature::sign(&self.secret, now(), body.as_bytes()).into();
        invocation["body"] = body.into();
        invocation.to_string().into()
    }

    pub fn is_success(&self, answer: &[u8]) -> bool {
        is_forwarded(answer)
    }
}

/// Batches of the redelivery queue with this many messages of 6 KB.
pub struct Batches {
    event: [String; 2],
    record: Value,
    messages: usize,
}

impl Batches {
    pub fn new(messages: usize) -> Self {
        let record = read("redelivery")["Records"][0].take();
        Self { event: split(&Size::Kb6.event(), ID), record, messages }
    }
}

impl Invocations for Batches {
    fn payload(&self) -> Bytes {
        let records = (0..self.messages).map(|_| {
            let id = new_id();
            let mut record = self.record.clone();
            record["messageId"] = id.as_str().into();
            record["body"] = [&*self.event[0], &id, &self.event[1]].concat().into();
            record["messageAttributes"]["project"]["stringValue"] = PROJECT.into();
            record["messageAttributes"]["received"]["stringValue"] = now().to_string().into();
            record
        });
        json!({"Records": records.collect::<Vec<_>>()}).to_string().into()
    }

    fn is_success(&self, answer: &[u8]) -> bool {
        holds(answer, b"\"batchItemFailures\":[]")
    }
}

fn is_forwarded(answer: &[u8]) -> bool {
    // Compact, as JavaScript writes it, or as Python does.
    let is_taken = [&b"\"statusCode\":20"[..], b"\"statusCode\": 20"].iter().any(|status| holds(answer, status));
    // An ignored delivery costs almost nothing, and would be measured as a fast one.
    is_taken && !holds(answer, b"ignored")
}

pub fn sample(event_type: &str) -> Value {
    read(&format!("stripe/{event_type}"))
}

fn read(name: &str) -> Value {
    let path = format!("{}/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_slice(&text).unwrap()
}

fn split(text: &str, at: &str) -> [String; 2] {
    let (before, after) = text.split_once(at).unwrap();
    [before.to_owned(), after.to_owned()]
}

/// Escaped for a JSON string, without the quotation marks.
fn escape(text: &str) -> String {
    let quoted = serde_json::to_string(text).unwrap();
    quoted[1..quoted.len() - 1].to_owned()
}

fn new_id() -> String {
    static HAPPENED: AtomicU64 = AtomicU64::new(1);
    format!("evt_{:024}", HAPPENED.fetch_add(1, Ordering::Relaxed))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
