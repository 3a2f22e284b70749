//! Amplitude's validation rules and error responses.
//!
//! The source of every rule is Amplitude's documentation of the HTTP V2 API and of the Batch Event Upload API. Rules
//! without a source are marked as decisions. Decisions fill gaps in the documentation with the stricter interpretation:
//! a client that passes here should pass there.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

/// "Device IDs and User IDs must be strings with a length of 5 characters or more", unless the
/// request says otherwise in `options.min_id_length`.
const DEFAULT_MIN_ID_LENGTH: u64 = 5;

/// IDs that are rejected with 400. Decision: case-insensitively.
const FORBIDDEN_IDS: [&str; 14] = [
    "",
    "-1",
    "0",
    "00000000-0000-0000-0000-000000000000",
    "anonymous",
    "lmy47d",
    "n/a",
    "na",
    "nil",
    "none",
    "null",
    "undefined",
    "unknown",
    "{}",
];

/// Event names reserved for Amplitude's own use.
const RESERVED_EVENT_TYPES: [&str; 6] = [
    "[Amplitude] Start Session",
    "[Amplitude] End Session",
    "[Amplitude] Revenue",
    "[Amplitude] Revenue (Verified)",
    "[Amplitude] Revenue (Unverified)",
    "[Amplitude] Merged User",
];

/// "There is a character limit of 1024 characters for all string values." Values of properties are cut to it. Decision:
/// other longer strings are rejected, because a cut ID would name someone else; a character is a Unicode scalar value.
const MAX_CHARACTERS: usize = 1024;

/// "Object depth may not exceed 40 layers." Decision: an array counts as a layer.
const MAX_LAYERS: usize = 40;

/// Decision: a megabyte has 1,000,000 bytes, the smaller of its meanings.
const MEGABYTE: usize = 1_000_000;

/// The documented fields by type. Decision: `null` counts as absent, and unknown fields are kept unchecked.
const FIELDS: [(FieldType, &str); 7] = [
    (
        FieldType::Text,
        "insert_id productId revenueType library app_version platform os_name os_version \
         device_brand device_manufacturer device_model carrier country region city dma language \
         ip idfa idfv adid android_id partner_id",
    ),
    (FieldType::Number, "price revenue location_lat location_lng"),
    (FieldType::Integer, "event_id quantity"),
    (FieldType::Long, "time session_id"),
    (FieldType::Boolean, "$skip_user_properties_sync"),
    (FieldType::Object, "event_properties user_properties groups group_properties plan"),
    (FieldType::Currency, "currency"),
];

/// The upload endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /2/httpapi`
    HttpV2,
    /// `POST /batch`
    Batch,
}

impl Endpoint {
    pub(crate) fn at(path: &str) -> Option<Endpoint> {
        [Endpoint::HttpV2, Endpoint::Batch].into_iter().find(|endpoint| endpoint.path() == path)
    }

    /// The path of the endpoint's URL.
    pub fn path(self) -> &'static str {
        match self {
            Endpoint::HttpV2 => "/2/httpapi",
            Endpoint::Batch => "/batch",
        }
    }

    /// HTTP V2: "under 1 MB". Batch: "exceeds 20MB" is too large, so 20 MB are not.
    fn max_bytes(self) -> usize {
        match self {
            Endpoint::HttpV2 => MEGABYTE - 1,
            Endpoint::Batch => 20 * MEGABYTE,
        }
    }

    /// HTTP V2: "fewer than 2000 events per request". (Elsewhere the documentation says "up to 2,000"; the stricter
    /// sentence applies here.) Batch: 2000 events.
    fn max_events(self) -> usize {
        match self {
            Endpoint::HttpV2 => 1999,
            Endpoint::Batch => 2000,
        }
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.path())
    }
}

/// A valid request.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) api_key: String,
    /// Without the events that Amplitude accepts and then drops; see [`is_dropped_silently`].
    pub(crate) events: Vec<ValidEvent>,
}

/// A valid event, with the fields that the store needs.
#[derive(Debug)]
pub(crate) struct ValidEvent {
    /// The index in the request's `events`, which responses refer to.
    pub(crate) index: usize,
    pub(crate) user_id: Option<String>,
    /// As sent, or derived: "If a `device_id` is not sent with the event, it will be set to a
    /// hashed version of the `user_id`."
    pub(crate) device_id: String,
    pub(crate) insert_id: Option<String>,
    pub(crate) event_id: Option<i64>,
    pub(crate) time: Option<i64>,
    /// The event as sent, with property values cut to their limit.
    pub(crate) event: Map<String, Value>,
}

/// A response in Amplitude's format: a status and a JSON body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// Parses and validates a request. It passes or fails as a whole.
pub(crate) fn read(endpoint: Endpoint, body: &[u8], known_keys: &[String]) -> Result<Upload, Answer> {
    if body.len() > endpoint.max_bytes() {
        return Err(too_large());
    }
    if body.is_empty() {
        return Err(bad_request("Missing request body"));
    }
    let Ok(Value::Object(mut request)) = serde_json::from_slice(body) else {
        return Err(bad_request("Invalid JSON request body"));
    };

    let api_key = match request.remove("api_key") {
        Some(Value::String(key)) if !key.is_empty() => key,
        _ => return Err(missing_from_request("api_key")),
    };
    if !known_keys.is_empty() && !known_keys.contains(&api_key) {
        return Err(invalid_api_key(&api_key));
    }
    let events = match request.remove("events") {
        Some(Value::Array(events)) if !events.is_empty() => events,
        _ => return Err(missing_from_request("events")),
    };
    if events.len() > endpoint.max_events() {
        return Err(too_large());
    }
    let min_id_length = min_id_length(request.get("options"))?;

    let mut problems = Problems::default();
    let mut valid = Vec::with_capacity(events.len());
    for (index, event) in events.into_iter().enumerate() {
        let Value::Object(event) = event else {
            return Err(bad_request("Invalid event JSON"));
        };
        problems.check(index, &event, min_id_length);
        if !is_dropped_silently(&event) {
            valid.push(ValidEvent::new(index, event));
        }
    }
    problems.into_result()?;
    Ok(Upload { api_key, events: valid })
}

/// 200: "successfully received".
pub(crate) fn success(events_ingested: usize, size_bytes: usize, now: i64) -> Answer {
    Answer {
        status: 200,
        body: json!({
            "code": 200,
            "events_ingested": events_ingested,
            "payload_size_bytes": size_bytes,
            "server_upload_time": now,
        }),
    }
}

/// 400 for a key of no project. Like Amplitude, it repeats the key, so that a client can prove that it never passes the
/// key on.
pub(crate) fn invalid_api_key(key: &str) -> Answer {
    bad_request(&format!("Invalid API key: {key}"))
}

/// 413.
pub(crate) fn too_large() -> Answer {
    error(413, "Payload too large")
}

/// The body that Amplitude documents for a status, or one in the same format.
pub(crate) fn documented_error(status: u16) -> Answer {
    match status {
        413 => too_large(),
        429 => throttled(30, &BTreeMap::new(), &BTreeMap::new(), &[]),
        _ => error(
            status,
            hyper::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error"),
        ),
    }
}

/// 429, with the rate of each throttled user and device, and the indexes of their events.
/// Decision: the daily quota is not emulated, so its lists are empty.
pub(crate) fn throttled(
    events_per_second: u64,
    users: &BTreeMap<String, u64>,
    devices: &BTreeMap<String, u64>,
    events: &[usize],
) -> Answer {
    Answer {
        status: 429,
        body: json!({
            "code": 429,
            "error": "Too many requests for some devices and users",
            "eps_threshold": events_per_second,
            "throttled_users": users,
            "throttled_devices": devices,
            "throttled_events": events,
            "exceeded_daily_quota_users": {},
            "exceeded_daily_quota_devices": {},
        }),
    }
}

fn bad_request(message: &str) -> Answer {
    error(400, message)
}

/// An error in Amplitude's form.
pub(crate) fn error(code: u16, message: &str) -> Answer {
    Answer { status: code, body: json!({"code": code, "error": message}) }
}

fn missing_from_request(field: &str) -> Answer {
    Answer {
        status: 400,
        body: json!({"code": 400, "error": "Request missing required field", "missing_field": field}),
    }
}

/// Decision: unreadable options are handled like unreadable JSON.
fn min_id_length(options: Option<&Value>) -> Result<u64, Answer> {
    match options {
        None | Some(Value::Null) => Ok(DEFAULT_MIN_ID_LENGTH),
        Some(Value::Object(options)) => match present(options, "min_id_length") {
            None => Ok(DEFAULT_MIN_ID_LENGTH),
            Some(length) => length.as_u64().ok_or_else(|| bad_request("Invalid JSON request body")),
        },
        Some(_) => Err(bad_request("Invalid JSON request body")),
    }
}

/// Whether Amplitude accepts and drops the event: it answers 200 to an event whose ID is a number, and drops it. This
/// is observed, not documented: the documentation only says that IDs must be strings.
fn is_dropped_silently(event: &Map<String, Value>) -> bool {
    ["user_id", "device_id"].iter().any(|id| event.get(*id).is_some_and(Value::is_number))
}

fn present<'a>(object: &'a Map<String, Value>, field: &str) -> Option<&'a Value> {
    object.get(field).filter(|value| !value.is_null())
}

/// The invalid events of a request: their indexes by field.
#[derive(Default)]
struct Problems {
    missing: BTreeMap<&'static str, Vec<usize>>,
    invalid: BTreeMap<&'static str, Vec<usize>>,
    too_short: BTreeMap<&'static str, Vec<usize>>,
}

impl Problems {
    fn check(&mut self, index: usize, event: &Map<String, Value>, min_id_length: u64) {
        match present(event, "event_type") {
            None => self.missing.entry("event_type").or_default().push(index),
            Some(Value::String(name))
                if !name.is_empty() && !is_too_long(name) && !RESERVED_EVENT_TYPES.contains(&name.as_str()) => {}
            Some(_) => self.invalid.entry("event_type").or_default().push(index),
        }

        // The documentation does not say under which of the two names such an event is listed. Decision: under both.
        if present(event, "user_id").is_none() && present(event, "device_id").is_none() {
            self.missing.entry("user_id").or_default().push(index);
            self.missing.entry("device_id").or_default().push(index);
        }
        for field in ["user_id", "device_id"] {
            match present(event, field) {
                None | Some(Value::Number(_)) => {}
                Some(Value::String(id)) if !is_forbidden(id) && !is_too_long(id) => {
                    if (id.chars().count() as u64) < min_id_length {
                        self.too_short.entry(field).or_default().push(index);
                    }
                }
                Some(_) => self.invalid.entry(field).or_default().push(index),
            }
        }

        for (field_type, fields) in FIELDS {
            for field in fields.split_whitespace() {
                if present(event, field).is_some_and(|value| !field_type.fits(value)) {
                    self.invalid.entry(field).or_default().push(index);
                }
            }
        }
    }

    /// Decision: one response contains all lists, and `error` describes the first that is not empty.
    fn into_result(self) -> Result<(), Answer> {
        let lists = [
            ("events_with_missing_fields", "Request missing required field", self.missing),
            ("events_with_invalid_fields", "Invalid field values on some events", self.invalid),
            ("events_with_invalid_id_lengths", "Invalid id length for user_id or device_id", self.too_short),
        ];
        let mut body = Map::new();
        for (name, message, list) in lists {
            if !list.is_empty() {
                body.entry("error").or_insert_with(|| message.into());
                body.insert(name.into(), json!(list));
            }
        }
        if body.is_empty() {
            return Ok(());
        }
        body.insert("code".into(), 400.into());
        Err(Answer { status: 400, body: body.into() })
    }
}

impl ValidEvent {
    /// Takes an event that is valid, or whose request will be rejected anyway.
    fn new(index: usize, mut event: Map<String, Value>) -> ValidEvent {
        for properties in ["event_properties", "user_properties"] {
            if let Some(properties) = event.get_mut(properties) {
                cut_strings(properties);
            }
        }
        let text = |field| present(&event, field).and_then(Value::as_str).map(str::to_owned);
        let integer = |field| present(&event, field).and_then(Value::as_i64);
        let user_id = text("user_id");
        ValidEvent {
            index,
            device_id: text("device_id").unwrap_or_else(|| device_of_user(user_id.as_deref().unwrap_or_default())),
            user_id,
            insert_id: text("insert_id"),
            event_id: integer("event_id"),
            time: integer("time"),
            event,
        }
    }
}

/// The device of an event that only has a user.
pub(crate) fn device_of_user(user_id: &str) -> String {
    let mut hasher = DefaultHasher::new();
    user_id.hash(&mut hasher);
    format!("derived-from-user-{:016x}", hasher.finish())
}

fn is_forbidden(id: &str) -> bool {
    FORBIDDEN_IDS.contains(&id.to_lowercase().as_str())
}

fn is_too_long(text: &str) -> bool {
    text.chars().count() > MAX_CHARACTERS
}

fn cut_strings(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some((end, _)) = text.char_indices().nth(MAX_CHARACTERS) {
                text.truncate(end);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(cut_strings),
        Value::Object(values) => values.values_mut().for_each(cut_strings),
        _ => {}
    }
}

fn layers(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(layers).max().unwrap_or(0),
        Value::Object(values) => 1 + values.values().map(layers).max().unwrap_or(0),
        _ => 0,
    }
}

#[derive(Clone, Copy)]
enum FieldType {
    Text,
    Number,
    Boolean,
    /// "Integer", which the documentation distinguishes from "Long": 32 bits.
    Integer,
    /// 64 bits. For `time`, "any other format (such as ISO format) results in a 400".
    Long,
    Object,
    /// Three upper-case letters, as in ISO 4217.
    Currency,
}

impl FieldType {
    fn fits(self, value: &Value) -> bool {
        match self {
            FieldType::Text => value.as_str().is_some_and(|text| !is_too_long(text)),
            FieldType::Number => value.is_number(),
            FieldType::Boolean => value.is_boolean(),
            FieldType::Integer => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            FieldType::Long => value.is_i64(),
            FieldType::Object => value.is_object() && layers(value) <= MAX_LAYERS,
            FieldType::Currency => value
                .as_str()
                .is_some_and(|code| code.len() == 3 && code.bytes().all(|letter| letter.is_ascii_uppercase())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_events(events: Value) -> Result<Upload, Answer> {
        let request = json!({"api_key": "key", "events": events});
        read(Endpoint::HttpV2, request.to_string().as_bytes(), &[])
    }

    /// The error body for an event that is valid except for `fields`.
    fn refusal_of(fields: Value) -> Value {
        let mut event = json!({"event_type": "paid", "user_id": "user-1"});
        for (field, value) in fields.as_object().unwrap() {
            event[field] = value.clone();
        }
        let answer = read_events(json!([event])).unwrap_err();
        assert_eq!(answer.status, 400);
        assert_eq!(answer.body["code"], 400);
        answer.body
    }

    fn nested(layers: usize) -> Value {
        (1..layers).fold(json!({}), |inner, _| json!({"inner": inner}))
    }

    #[test]
    fn unreadable_body_is_rejected() {
        let error_of = |body: &str| {
            let answer = read(Endpoint::HttpV2, body.as_bytes(), &[]).unwrap_err();
            assert_eq!(answer.status, 400);
            answer.body["error"].as_str().unwrap().to_owned()
        };
        assert_eq!(error_of(""), "Missing request body");
        assert_eq!(error_of("{"), "Invalid JSON request body");
        assert_eq!(error_of("[]"), "Invalid JSON request body");
        assert_eq!(error_of(r#"{"api_key":"k","events":[7]}"#), "Invalid event JSON");
        for options in ["7", r#"{"min_id_length":"1"}"#] {
            let request =
                format!(r#"{{"api_key":"k","events":[{{"event_type":"e","user_id":"user-1"}}],"options":{options}}}"#);
            assert_eq!(error_of(&request), "Invalid JSON request body");
        }
    }

    #[test]
    fn missing_request_field_is_named() {
        for (request, field) in [
            (json!({"events": [{}]}), "api_key"),
            (json!({"api_key": "", "events": [{}]}), "api_key"),
            (json!({"api_key": 7, "events": [{}]}), "api_key"),
            (json!({"api_key": "key"}), "events"),
            (json!({"api_key": "key", "events": []}), "events"),
            (json!({"api_key": "key", "events": {}}), "events"),
        ] {
            let answer = read(Endpoint::HttpV2, request.to_string().as_bytes(), &[]).unwrap_err();
            assert_eq!(answer.status, 400);
            assert_eq!(
                answer.body,
                json!({
                    "code": 400,
                    "error": "Request missing required field",
                    "missing_field": field,
                })
            );
        }
    }

    #[test]
    fn unknown_key_is_repeated_in_the_response() {
        let request = br#"{"api_key":"other","events":[{}]}"#;
        let answer = read(Endpoint::HttpV2, request, &["key".into()]).unwrap_err();
        assert_eq!(answer.body, json!({"code": 400, "error": "Invalid API key: other"}));
    }

    #[test]
    fn events_without_required_fields_are_listed() {
        let answer = read_events(json!([
            {"event_type": "paid", "user_id": "user-1"},
            {"user_id": "user-1"},
            {"event_type": null, "device_id": "device-1"},
            {"event_type": "paid", "user_id": null},
        ]))
        .unwrap_err();
        assert_eq!(
            answer.body,
            json!({
                "code": 400,
                "error": "Request missing required field",
                "events_with_missing_fields":
                    {"event_type": [1, 2], "user_id": [3], "device_id": [3]},
            })
        );
    }

    #[test]
    fn values_of_the_wrong_type_are_listed() {
        for (field, value) in [
            ("time", json!("2026-01-31T00:00:00Z")),
            ("time", json!(1.5)),
            ("revenue", json!("4.99")),
            ("event_properties", json!(["a"])),
            ("event_properties", nested(41)),
            ("user_properties", nested(41)),
            ("insert_id", json!(7)),
            ("event_id", json!("7")),
            ("event_id", json!(1.5)),
            ("event_id", json!(1_i64 << 31)),
            ("currency", json!("usd")),
            ("currency", json!("EURO")),
            ("library", json!("x".repeat(1025))),
            ("event_type", json!("")),
            ("event_type", json!(7)),
            ("event_type", json!("[Amplitude] Revenue")),
            ("user_id", json!("x".repeat(1025))),
            ("user_id", json!(["user-1"])),
            ("device_id", json!(false)),
            ("$skip_user_properties_sync", json!("true")),
        ] {
            let body = refusal_of(json!({field: value}));
            assert_eq!(body["error"], "Invalid field values on some events");
            assert_eq!(body["events_with_invalid_fields"], json!({field: [0]}));
        }
    }

    #[test]
    fn forbidden_ids_are_rejected_in_any_case() {
        for id in FORBIDDEN_IDS {
            for id in [id.to_owned(), id.to_uppercase()] {
                let request = json!({
                    "api_key": "key",
                    "events": [{"event_type": "paid", "user_id": "user-1", "device_id": id}],
                    "options": {"min_id_length": 1},
                });
                let body = read(Endpoint::Batch, request.to_string().as_bytes(), &[]).unwrap_err().body;
                assert_eq!(body["events_with_invalid_fields"], json!({"device_id": [0]}));
            }
        }
    }

    #[test]
    fn short_ids_are_rejected_unless_allowed() {
        let body = refusal_of(json!({"user_id": "user", "device_id": "\u{e9}\u{e9}"}));
        assert_eq!(
            body,
            json!({
                "code": 400,
                "error": "Invalid id length for user_id or device_id",
                "events_with_invalid_id_lengths": {"user_id": [0], "device_id": [0]},
            })
        );
        let allowed = br#"{"api_key":"key","events":[{"event_type":"e","user_id":"u"}],"options":{"min_id_length":1}}"#;
        assert!(read(Endpoint::HttpV2, allowed, &[]).is_ok());
    }

    #[test]
    fn documented_example_is_accepted() {
        let upload = read_events(json!([{
            "user_id": "datamonster@gmail.com",
            "device_id": "C8F9E604-F01A-4BD9-95C6-8E5357DF265D",
            "event_type": "watch_tutorial",
            "time": 1_396_381_378_123_i64,
            "event_properties": {"load_time": 0.8371, "dates": ["monday", "tuesday"]},
            "user_properties": {"age": 25},
            "groups": {"company_id": "1"},
            "price": 4.99,
            "quantity": 3,
            "revenue": -1.99,
            "currency": "USD",
            "productId": "id",
            "revenueType": "Refund",
            "location_lat": 37.77,
            "ip": "127.0.0.1",
            "event_id": 23,
            "session_id": 1_396_381_378_123_i64,
            "insert_id": "5f0adeff-6668-4427-8d02-57d803a2b841",
            "$skip_user_properties_sync": true,
        }]))
        .unwrap();
        let event = &upload.events[0];
        assert_eq!(event.event_id, Some(23));
        assert_eq!(event.time, Some(1_396_381_378_123));
        assert_eq!(event.device_id, "C8F9E604-F01A-4BD9-95C6-8E5357DF265D");
    }

    #[test]
    fn events_with_numeric_ids_are_accepted_and_dropped() {
        let upload = read_events(json!([
            {"event_type": "paid", "user_id": 12345},
            {"event_type": "paid", "user_id": "user-1", "device_id": 12345},
            {"event_type": "paid", "user_id": "user-1"},
        ]))
        .unwrap();
        let indexes: Vec<usize> = upload.events.iter().map(|event| event.index).collect();
        assert_eq!(indexes, [2]);
    }

    #[test]
    fn long_property_values_are_cut() {
        let long = "\u{e9}".repeat(1025);
        let upload = read_events(json!([{
            "event_type": "paid",
            "user_id": "user-1",
            "event_properties": {"a": long, "b": [{"c": long}]},
        }]))
        .unwrap();
        let properties = &upload.events[0].event["event_properties"];
        let cut = json!("\u{e9}".repeat(1024));
        assert_eq!(properties, &json!({"a": cut, "b": [{"c": cut}]}));
    }

    #[test]
    fn properties_may_nest_40_levels_deep() {
        assert!(
            read_events(json!([
                {"event_type": "paid", "user_id": "user-1", "event_properties": nested(40)},
            ]))
            .is_ok()
        );
    }

    #[test]
    fn missing_device_is_derived_from_the_user() {
        let upload = read_events(json!([
            {"event_type": "a", "user_id": "user-1"},
            {"event_type": "b", "user_id": "user-1"},
            {"event_type": "c", "user_id": "user-2"},
        ]))
        .unwrap();
        let [first, second, other] = &upload.events[..] else { panic!("three events") };
        assert_eq!(first.device_id, second.device_id);
        assert_ne!(first.device_id, other.device_id);
    }

    #[test]
    fn requests_over_the_limits_get_413() {
        let request_of = |events: usize| {
            let event = json!({"event_type": "paid", "user_id": "user-1"});
            json!({"api_key": "key", "events": vec![event; events]}).to_string()
        };
        let padded_to = |bytes: usize| {
            let request = request_of(1);
            " ".repeat(bytes - request.len()) + &request
        };
        for (endpoint, body, fits) in [
            (Endpoint::HttpV2, request_of(1999), true),
            (Endpoint::HttpV2, request_of(2000), false),
            (Endpoint::HttpV2, padded_to(999_999), true),
            (Endpoint::HttpV2, padded_to(1_000_000), false),
            (Endpoint::Batch, request_of(2000), true),
            (Endpoint::Batch, request_of(2001), false),
            (Endpoint::Batch, padded_to(20_000_000), true),
            (Endpoint::Batch, padded_to(20_000_001), false),
        ] {
            match read(endpoint, body.as_bytes(), &[]) {
                Ok(_) => assert!(fits),
                Err(answer) => {
                    assert!(!fits);
                    assert_eq!(answer.body, json!({"code": 413, "error": "Payload too large"}));
                }
            }
        }
    }
}
