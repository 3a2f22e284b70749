//! The rules for every event that is sent to Amplitude, whatever Stripe's event was.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use stripe_amplitude::amplitude::client::Request;
use stripe_amplitude::settings::{PersonalData, Settings};

/// Amplitude accepts less than this. Source: its HTTP V2 documentation, like everything here.
const REQUEST_LIMIT: usize = 1_000_000;

const LONGEST_STRING: usize = 1024;

const MOST_LAYERS: usize = 40;

/// The holder of one of these can pay, read or act. They are a part of the project's table; all of it would be a copy.
const CREDENTIALS: [&str; 6] =
    ["client_secret", "cvc", "hosted_invoice_url", "invoice_pdf", "next_action", "receipt_url"];

const PERSONAL_DATA: [&str; 8] =
    ["customer_email", "email", "fingerprint", "ip_address", "last4", "line1", "phone", "receipt_email"];

#[derive(Deserialize)]
struct Sent<'j> {
    #[serde(borrow)]
    events: [SentEvent<'j>; 1],
}

/// Numbers as in the JSON, digit by digit.
#[derive(Deserialize)]
struct SentEvent<'j> {
    event_type: String,
    time: i64,
    insert_id: String,
    event_id: u32,
    user_id: Option<String>,
    device_id: String,
    #[serde(borrow)]
    revenue: Option<&'j RawValue>,
    currency: Option<String>,
    event_properties: Map<String, Value>,
}

/// Panics if an event for Amplitude breaks a rule; returns the JSON that is sent. `settings` are the project's, if
/// known.
pub fn check(event: &impl Serialize, settings: Option<&Settings>) -> String {
    let json = serde_json::to_string(&Request::new(std::slice::from_ref(event), "0123456789abcdef0123456789abcdef"))
        .expect("it is JSON");
    assert!(json.len() < REQUEST_LIMIT, "a request of {} bytes", json.len());
    let Sent { events: [sent] } = serde_json::from_str(&json).expect("it has the fields of an event");

    let ids = [&sent.event_type, &sent.insert_id, &sent.device_id].into_iter().chain(&sent.user_id);
    for id in ids {
        assert!((1..=LONGEST_STRING).contains(&id.chars().count()), "an ID of {} bytes", id.len());
    }
    assert!(sent.event_type.starts_with("[Stripe] "));
    assert!(sent.device_id.starts_with("stripe-"));
    assert!(sent.event_id < 1 << 31);
    assert!(sent.time % 1000 == 0, "Stripe's clock has whole seconds");
    assert_eq!(sent.revenue.is_some(), sent.currency.is_some(), "revenue and currency come together");
    if let Some(revenue) = sent.revenue {
        assert!(is_decimal(revenue.get()), "a revenue of {revenue}");
    }
    if let Some(currency) = sent.currency {
        assert!(currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_uppercase()), "{currency}");
    }
    let keeps_personal_data = settings.is_none_or(|settings| settings.personal_data == PersonalData::Keep);
    check_object(&sent.event_properties, 1, keeps_personal_data, false);
    json
}

/// Digits, perhaps a point between them, perhaps a sign before them; not zero.
fn is_decimal(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, "1"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && digits(decimals) && unsigned != "0" && !decimals.ends_with('0')
}

fn check_object(object: &Map<String, Value>, layer: usize, keeps_personal_data: bool, in_metadata: bool) {
    assert!(layer <= MOST_LAYERS, "an object on layer {layer}");
    for (name, value) in object {
        if !in_metadata {
            assert!(!CREDENTIALS.contains(&name.as_str()), "the credential {name}");
            assert!(keeps_personal_data || !PERSONAL_DATA.contains(&name.as_str()), "the personal datum {name}");
        }
        check_value(value, layer + 1, keeps_personal_data, in_metadata || name == "metadata");
    }
}

fn check_value(value: &Value, layer: usize, keeps_personal_data: bool, in_metadata: bool) {
    match value {
        Value::Object(object) => check_object(object, layer, keeps_personal_data, in_metadata),
        Value::Array(items) => {
            assert!(layer <= MOST_LAYERS, "a list on layer {layer}");
            items.iter().for_each(|item| check_value(item, layer + 1, keeps_personal_data, in_metadata));
        }
        Value::String(text) => {
            assert!(text.chars().count() <= LONGEST_STRING, "a string of {} bytes", text.len());
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
