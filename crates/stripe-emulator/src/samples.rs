//! Realistic events: the samples with other IDs, times and customers.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use crate::event_types::EVENT_TYPES;
use crate::events::Event;
use crate::{API_VERSION, lock};

macro_rules! samples {
    ($($event_type:literal),* $(,)?) => {
        /// The types that have a sample: those of Amplitude's own source for Stripe.
        pub const SAMPLE_TYPES: &[&str] = &[$($event_type),*];

        /// The samples, in the same order.
        const SAMPLES: &[&str] = &[$(include_str!(concat!("../../../events/stripe/", $event_type, ".json"))),*];
    };
}

samples![
    "application_fee.created",
    "application_fee.refund.updated",
    "application_fee.refunded",
    "balance.available",
    "charge.captured",
    "charge.failed",
    "charge.refunded",
    "charge.succeeded",
    "charge.updated",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "invoice.created",
    "invoice.finalized",
    "invoice.marked_uncollectible",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.payment_succeeded",
    "invoice.sent",
    "invoice.voided",
    "payment_intent.amount_capturable_updated",
    "payment_intent.canceled",
    "payment_intent.payment_failed",
    "payment_intent.succeeded",
    "issuing_authorization.created",
    "issuing_transaction.created",
];

/// Placeholders in a template: the number in a fixed length, so that it does not merge with preceding digits; the
/// number as it is; the time. None of them occurs in a sample.
const LONG_NUMBER: char = '\u{e000}';
const NUMBER: char = '\u{e001}';
const CREATED: char = '\u{e002}';
const PLACEHOLDERS: [char; 3] = [LONG_NUMBER, NUMBER, CREATED];

/// An event of a type. Events with the same number are about the same objects and the same user, `user_{number}`. A
/// type without a sample gets a nearly empty object.
///
/// `created` is in Unix seconds.
pub fn sample(event_type: &str, number: u64, created: i64) -> Event {
    let template = template_of(event_type);
    let (long_number, number, time) = (format!("{number:010}"), number.to_string(), created.to_string());
    let mut body = String::with_capacity(template.length + 100);
    for (text, gap) in &template.parts {
        body.push_str(text);
        body.push_str(match *gap {
            Some(LONG_NUMBER) => &long_number,
            Some(NUMBER) => &number,
            Some(_) => &time,
            None => "",
        });
    }
    Event {
        id: template.id.replace(LONG_NUMBER, &long_number),
        event_type: event_type.to_owned(),
        created,
        account: None,
        delivery_success: true,
        body: body.into(),
    }
}

/// Events evenly distributed over a period, oldest first. They cycle through [`SAMPLE_TYPES`] and are made by
/// [`sample`] with the numbers from 0.
pub fn history(number: u64, from: i64, to: i64) -> impl Iterator<Item = Event> {
    let types = SAMPLE_TYPES.iter().cycle();
    let created = move |index: u64| {
        let (index, last) = (i128::from(index), i128::from(number.max(2) - 1));
        // It is between both, and therefore fits.
        from + i64::try_from((i128::from(to) - i128::from(from)) * index / last).unwrap_or_default()
    };
    (0..number).zip(types).map(move |(index, event_type)| sample(event_type, index, created(index)))
}

/// An event in parts. After each part comes one of [`PLACEHOLDERS`], or the end.
struct Template {
    id: String,
    parts: Vec<(String, Option<char>)>,
    /// The total length of the parts, in bytes.
    length: usize,
}

fn template_of(event_type: &str) -> Arc<Template> {
    static TEMPLATES: OnceLock<std::sync::Mutex<HashMap<String, Arc<Template>>>> = OnceLock::new();
    let mut templates = lock(TEMPLATES.get_or_init(Default::default));
    Arc::clone(templates.entry(event_type.to_owned()).or_insert_with(|| Arc::new(Template::new(event_type))))
}

impl Template {
    fn new(event_type: &str) -> Self {
        let mut event = base_of(event_type);
        let id = format!("evt_1Emulated{:03}{LONG_NUMBER}", place_of(event_type));
        number_ids(&mut event);
        for (path, written) in
            [("/id", &*id), ("/created", &CREATED.to_string()), ("/data/object/created", &CREATED.to_string())]
        {
            if let Some(value) = event.pointer_mut(path) {
                *value = written.into();
            }
        }
        // The time is a number, not a text.
        let text = event.to_string().replace(&format!("\"{CREATED}\""), &CREATED.to_string());
        let parts = text.split_inclusive(PLACEHOLDERS).map(|part| {
            let text = part.trim_end_matches(PLACEHOLDERS);
            (text.to_owned(), part.strip_prefix(text).and_then(|gap| gap.chars().next()))
        });
        Self { id, parts: parts.collect(), length: text.len() }
    }
}

fn base_of(event_type: &str) -> Value {
    if let Some((_, sample)) = SAMPLE_TYPES.iter().zip(SAMPLES).find(|(known, _)| **known == event_type) {
        #[allow(clippy::expect_used, reason = "a test reads every sample")]
        return serde_json::from_str(sample).expect("every sample is JSON");
    }
    let object = event_type.rsplit_once('.').map_or(event_type, |(object, _)| object);
    json!({
        "id": null,
        "object": "event",
        "api_version": API_VERSION,
        "created": null,
        "data": {"object": {
            "id": "obj_1EmulatedObject",
            "object": object,
            "created": null,
            "customer": "cus_1EmulatedObject",
            "livemode": false,
            "metadata": {"user_id": "user_42"},
        }},
        "livemode": false,
        "pending_webhooks": 0,
        "request": {"id": "req_1EmulatedObject", "idempotency_key": null},
        "type": event_type,
    })
}

/// Gives events with the same number but different types different IDs.
fn place_of(event_type: &str) -> usize {
    EVENT_TYPES.iter().position(|known| *known == event_type).unwrap_or(EVENT_TYPES.len())
}

/// Inserts the number into every ID. The prefix stays, so that different objects stay different.
fn number_ids(value: &mut Value) {
    match value {
        Value::String(text) if text == "user_42" => *text = format!("user_{NUMBER}"),
        Value::String(text) => {
            if let Some((kind, rest)) = text.rsplit_once('_').filter(|(kind, rest)| is_id(kind, rest)) {
                let beginning: String = rest.chars().take(rest.len() - 10).collect();
                *text = format!("{kind}_{beginning}{LONG_NUMBER}");
            }
        }
        Value::Array(values) => values.iter_mut().for_each(number_ids),
        Value::Object(fields) => fields.values_mut().for_each(number_ids),
        _ => {}
    }
}

/// Accounts stay unchanged, because all events belong to one account.
fn is_id(kind: &str, rest: &str) -> bool {
    kind != "acct"
        && kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        && (14..=80).contains(&rest.len())
        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && rest.bytes().any(|byte| byte.is_ascii_digit())
        && rest.bytes().any(|byte| byte.is_ascii_uppercase())
}
