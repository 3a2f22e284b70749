//! The Export API: the events of a project, in a file for each hour of upload.
//!
//! The source of every rule is Amplitude's documentation of the Export API. For the meaning of a field it is the
//! documentation of the export to Amazon S3, which has the same fields. Rules without a source are marked as decisions.
//! There is no clock here: `now` is an argument, in milliseconds since 1970.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Write as _};
use std::ops::RangeInclusive;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde_json::{Map, Value, json};
use uuid::Uuid;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::rules::{self, Answer, Endpoint};
use crate::store::AcceptedEvent;

/// The path of the endpoint's URL.
pub(crate) const PATH: &str = "/api/2/export";

/// An hour in a query: YYYYMMDDTHH.
const HOUR: &str = "%Y%m%dT%H";

/// An hour in the name of a file, which has no leading zero.
const HOUR_OF_FILE: &str = "%Y-%m-%d_%-H";

/// A time in an event, in UTC. The documentation only says "ISO-8601"; this is the format in actual exports.
const TIME: &str = "%Y-%m-%d %H:%M:%S.%6f";

const HOUR_MS: i64 = 60 * 60 * 1000;

/// The maximum range is 365 days. Decision: hours are counted, so that 365 whole days, including the last hour, are
/// allowed.
const MAX_HOURS: i64 = 365 * 24;

/// Fields exported as sent: the exported field and the sent one.
const AS_SENT: [(&str, &str); 20] = [
    ("$insert_id", "insert_id"),
    ("adid", "adid"),
    ("city", "city"),
    ("country", "country"),
    ("device_brand", "device_brand"),
    ("device_carrier", "carrier"),
    ("device_manufacturer", "device_manufacturer"),
    ("device_model", "device_model"),
    ("dma", "dma"),
    ("event_type", "event_type"),
    ("idfa", "idfa"),
    ("ip_address", "ip"),
    ("language", "language"),
    ("location_lat", "location_lat"),
    ("location_lng", "location_lng"),
    ("os_name", "os_name"),
    ("os_version", "os_version"),
    ("platform", "platform"),
    ("region", "region"),
    ("version_name", "app_version"),
];

/// Fields exported as event properties: the property and the sent field.
///
/// A top-level `revenue` becomes `$revenue` on an event of any type. Decision: the related fields, including
/// `currency`, are exported in the same way, under the names that Amplitude's own libraries send.
const AS_PROPERTY: [(&str, &str); 6] = [
    ("$revenue", "revenue"),
    ("$currency", "currency"),
    ("$price", "price"),
    ("$productId", "productId"),
    ("$quantity", "quantity"),
    ("$revenueType", "revenueType"),
];

/// Hours of upload, counted since 1970. Both ends are included.
pub(crate) type Hours = RangeInclusive<i64>;

/// The project of a request: its API key is the user name, its secret key the password. As for uploads, every key is
/// valid if none are configured.
pub(crate) fn read_project(
    authorization: &[u8],
    known_api_keys: &[String],
    known_secret_keys: &[String],
) -> Result<String, Answer> {
    let is_valid = |key: &String, known: &[String]| !key.is_empty() && (known.is_empty() || known.contains(key));
    read_credentials(authorization)
        .filter(|(api_key, secret_key)| is_valid(api_key, known_api_keys) && is_valid(secret_key, known_secret_keys))
        .map(|(api_key, _)| api_key)
        .ok_or_else(unauthorized)
}

/// 401. The body is a decision, like those of all errors here: the documentation has none.
pub(crate) fn unauthorized() -> Answer {
    rules::documented_error(401)
}

/// The hours that a query requests, from `start` to `end`.
pub(crate) fn read_hours(query: &str) -> Result<Hours, Answer> {
    let (start, end) = (read_hour(query, "start")?, read_hour(query, "end")?);
    if start > end {
        return Err(rules::error(400, "end is before start"));
    }
    if end - start >= MAX_HOURS {
        return Err(rules::error(400, "start and end are more than 365 days apart"));
    }
    Ok(start..=end)
}

/// The hours whose data can be exported: those that ended at least the lag ago, or all of them without a lag.
pub(crate) fn complete(hours: Hours, lag: Option<Duration>, now: i64) -> Hours {
    let Some(lag) = lag else {
        return hours;
    };
    let lag = i64::try_from(lag.as_millis()).unwrap_or(i64::MAX);
    let last = now.saturating_sub(lag).div_euclid(HOUR_MS) - 1;
    *hours.start()..=last.min(*hours.end())
}

/// The lines of the project's events that were uploaded in these hours, by hour. Hours without events have no entry.
pub(crate) fn lines(events: &[AcceptedEvent], api_key: &str, hours: &Hours) -> BTreeMap<i64, String> {
    let mut lines: BTreeMap<i64, String> = BTreeMap::new();
    for (place, event) in events.iter().enumerate() {
        let hour = event.upload_time.div_euclid(HOUR_MS);
        if event.api_key == api_key && hours.contains(&hour) {
            *lines.entry(hour).or_default() += &format!("{}\n", exported(event, place));
        }
    }
    lines
}

/// A zip archive with a gzipped file for each hour. Amplitude may split an hour into several files, which the number
/// after `#` counts.
///
/// # Errors
/// If the data exceeds what an archive can hold.
pub(crate) fn archive(api_key: &str, lines: &BTreeMap<i64, String>) -> io::Result<Vec<u8>> {
    let app = app(api_key);
    // The files are already compressed.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (hour, lines) in lines {
        // Queries only contain hours that exist in the calendar.
        let hour = format_time(hour.saturating_mul(HOUR_MS), HOUR_OF_FILE).unwrap_or_default();
        archive.start_file(format!("{app}/{app}_{hour}#0.json.gz"), options)?;
        let mut file = GzEncoder::new(&mut archive, Compression::default());
        file.write_all(lines.as_bytes())?;
        file.finish()?;
    }
    Ok(archive.finish()?.into_inner())
}

/// An event as it is exported; `place` is its index among all accepted events.
///
/// Values that Amplitude determines itself are omitted, such as the family of a device or the time at which a user was
/// first seen.
fn exported(event: &AcceptedEvent, place: usize) -> Value {
    let sent = &event.event;
    let value = |field: &str| sent.get(field).cloned().unwrap_or_default();
    let object = |field| sent.get(field).and_then(Value::as_object).cloned().unwrap_or_default();

    let mut line = Map::new();
    line.extend(AS_SENT.map(|(exported, field)| (exported.to_owned(), value(field))));

    let mut event_properties = object("event_properties");
    let properties = AS_PROPERTY.map(|(property, field)| (property.to_owned(), value(field)));
    event_properties.extend(properties.into_iter().filter(|(_, value)| !value.is_null()));

    // Amplitude corrects a client's clock by the client's upload time, which no documented request contains. So an
    // event happened when it says, or otherwise at its upload. Decision: Amplitude's own steps take no time.
    let uploaded = json!(format_time(event.upload_time, TIME));
    let happened = match sent.get("time").and_then(Value::as_i64) {
        // Decision: a time outside the calendar is null.
        Some(time) => json!(format_time(time, TIME)),
        None => uploaded.clone(),
    };

    let device_id = device_id(sent);
    let api_key = &event.api_key;
    let further = json!({
        "amplitude_id": amplitude_id(api_key, event.attributed_user_id.as_deref(), &device_id),
        "app": app(api_key),
        "client_event_time": happened,
        "client_upload_time": uploaded,
        // Documented as a dictionary for various uses; this is its value in actual exports.
        "data": {"path": event.endpoint},
        "device_id": device_id,
        // Decision: without one, the index, because all exported events have one.
        "event_id": sent.get("event_id").filter(|id| !id.is_null()).cloned().unwrap_or_else(|| json!(place)),
        "event_properties": event_properties,
        "event_time": happened,
        "group_properties": object("group_properties"),
        "groups": object("groups"),
        "library": sent.get("library").and_then(Value::as_str).unwrap_or_else(|| library(event.endpoint)),
        "processed_time": uploaded,
        "server_received_time": uploaded,
        "server_upload_time": uploaded,
        // -1 is documented for HTTP V2: no session.
        "session_id": sent.get("session_id").and_then(Value::as_i64).unwrap_or(-1),
        // Decision: the attributed user, even if they became known after the upload.
        "user_id": event.attributed_user_id,
        // Decision: the properties in the event. Amplitude exports all that the user had by then.
        "user_properties": object("user_properties"),
        "uuid": uuid(json!(["event", api_key, event.upload_time, place])).to_string(),
    });
    if let Value::Object(further) = further {
        line.extend(further);
    }
    line.into()
}

/// The library that Amplitude records for an event that names none, as seen in actual exports.
fn library(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::HttpV2 => "http/2.0",
        Endpoint::Batch => "batch/1.0",
    }
}

fn device_id(sent: &Map<String, Value>) -> String {
    let text = |field| sent.get(field).and_then(Value::as_str);
    text("device_id").map_or_else(|| rules::device_of_user(text("user_id").unwrap_or_default()), str::to_owned)
}

/// The project number. Decision: 31 bits derived from its key.
fn app(api_key: &str) -> u64 {
    number(json!(["app", api_key]), 31)
}

/// The number of the user, or of the device if there is no user. Decision: 48 bits, which every JSON parser reads
/// exactly.
fn amplitude_id(api_key: &str, user_id: Option<&str>, device_id: &str) -> u64 {
    match user_id {
        Some(user_id) => number(json!(["user", api_key, user_id]), 48),
        None => number(json!(["device", api_key, device_id]), 48),
    }
}

/// A number of this many bits that stands for a name. It is the same in every run.
fn number(name: Value, bits: u32) -> u64 {
    uuid(name).as_u64_pair().1 & ((1 << bits) - 1)
}

/// A UUID that stands for a name. It is the same in every run. JSON keeps the parts of the name apart.
fn uuid(name: Value) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.to_string().as_bytes())
}

/// Formats a time in milliseconds since 1970, in UTC; `None` outside the calendar.
fn format_time(time: i64, form: &str) -> Option<String> {
    Some(Timestamp::from_millisecond(time).ok()?.strftime(form).to_string())
}

/// User name and password of HTTP's basic authentication (RFC 7617).
fn read_credentials(authorization: &[u8]) -> Option<(String, String)> {
    let (scheme, credentials) = std::str::from_utf8(authorization).ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let credentials = String::from_utf8(BASE64_STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (user_name, password) = credentials.split_once(':')?;
    Some((user_name.to_owned(), password.to_owned()))
}

fn read_hour(query: &str, name: &str) -> Result<i64, Answer> {
    let (_, text) = form_urlencoded::parse(query.as_bytes())
        .find(|(parameter, _)| parameter == name)
        .ok_or_else(|| rules::error(400, &format!("{name} is missing")))?;
    hour(&text).ok_or_else(|| rules::error(400, &format!("{name} is not an hour of the form YYYYMMDDTHH")))
}

fn hour(text: &str) -> Option<i64> {
    let hour = DateTime::strptime(HOUR, text).ok()?;
    // The parser accepts missing digits; the format does not.
    if hour.strftime(HOUR).to_string() != text {
        return None;
    }
    Some(Offset::UTC.to_timestamp(hour).ok()?.as_millisecond().div_euclid(HOUR_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-20 05:06:07.123 UTC.
    const NOW: i64 = 1_795_151_167_123;
    const NOW_HOUR: i64 = NOW / HOUR_MS;

    fn accepted(event: Value, user_id: Option<&str>) -> AcceptedEvent {
        AcceptedEvent {
            event: event.as_object().unwrap().clone(),
            attributed_user_id: user_id.map(str::to_owned),
            upload_time: NOW,
            endpoint: Endpoint::HttpV2,
            api_key: "key".into(),
        }
    }

    fn anonymous() -> AcceptedEvent {
        accepted(json!({"event_type": "paid", "device_id": "device-1"}), None)
    }

    fn basic(credentials: &str) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(credentials))
    }

    #[test]
    fn hours_include_start_and_end() {
        assert_eq!(read_hours("start=20261120T05&end=20261120T05"), Ok(NOW_HOUR..=NOW_HOUR));
        assert_eq!(read_hours("end=20261121T04&start=20261120T05"), Ok(NOW_HOUR..=NOW_HOUR + 23));
        assert_eq!(read_hours("start=19700101T00&end=19700101T01"), Ok(0..=1));
        assert_eq!(read_hours("start=19691231T23&end=19700101T00"), Ok(-1..=0));
    }

    #[test]
    fn invalid_hours_are_rejected_with_the_reason() {
        for (query, reason) in [
            ("", "start is missing"),
            ("start=20261120T05", "end is missing"),
            ("start=&end=20261120T05", "start is not an hour of the form YYYYMMDDTHH"),
            ("start=20261120&end=20261120T05", "start is not an hour of the form YYYYMMDDTHH"),
            ("start=20261120T05&end=20261120T24", "end is not an hour of the form YYYYMMDDTHH"),
            ("start=20261120T5&end=20261120T05", "start is not an hour of the form YYYYMMDDTHH"),
            ("start=2026112T005&end=20261120T05", "start is not an hour of the form YYYYMMDDTHH"),
            ("start=20260229T05&end=20261120T05", "start is not an hour of the form YYYYMMDDTHH"),
            ("start=20261120T05Z&end=20261120T05", "start is not an hour of the form YYYYMMDDTHH"),
            ("start=20261120T05&end=99991231T23", "end is not an hour of the form YYYYMMDDTHH"),
            ("start=20261120T05&end=20261120T04", "end is before start"),
        ] {
            assert_eq!(read_hours(query), Err(rules::error(400, reason)), "{query}");
        }
    }

    #[test]
    fn range_of_365_days_is_allowed() {
        assert!(read_hours("start=20250101T00&end=20251231T23").is_ok());
        assert_eq!(
            read_hours("start=20250101T00&end=20260101T00"),
            Err(rules::error(400, "start and end are more than 365 days apart"))
        );
    }

    #[test]
    fn hour_is_complete_after_the_lag() {
        let lag = Some(Duration::from_secs(2 * 60 * 60));
        let end = (NOW_HOUR + 1) * HOUR_MS;
        let complete_at = |now| complete(NOW_HOUR - 1..=NOW_HOUR, lag, now);
        assert_eq!(complete_at(end + 2 * HOUR_MS), NOW_HOUR - 1..=NOW_HOUR);
        assert_eq!(complete_at(end + 2 * HOUR_MS - 1), NOW_HOUR - 1..=NOW_HOUR - 1);
        assert!(complete_at(end).is_empty());
        assert!(complete(NOW_HOUR..=NOW_HOUR, Some(Duration::MAX), NOW).is_empty());
    }

    #[test]
    fn missing_lag_differs_from_zero_lag() {
        assert_eq!(complete(NOW_HOUR..=NOW_HOUR, None, NOW), NOW_HOUR..=NOW_HOUR);
        assert!(complete(NOW_HOUR..=NOW_HOUR, Some(Duration::ZERO), NOW).is_empty());
        let end = (NOW_HOUR + 1) * HOUR_MS;
        assert_eq!(complete(NOW_HOUR..=NOW_HOUR, Some(Duration::ZERO), end), NOW_HOUR..=NOW_HOUR);
    }

    #[test]
    fn events_are_selected_by_project_and_upload_hour() {
        let uploaded = |hour: i64, offset: i64, api_key: &str| AcceptedEvent {
            upload_time: hour * HOUR_MS + offset,
            api_key: api_key.into(),
            ..anonymous()
        };
        let events = [
            uploaded(NOW_HOUR + 1, HOUR_MS - 1, "key"),
            uploaded(NOW_HOUR, 0, "key"),
            uploaded(NOW_HOUR, 0, "other"),
            uploaded(NOW_HOUR, HOUR_MS - 1, "key"),
            uploaded(NOW_HOUR + 2, 0, "key"),
            uploaded(NOW_HOUR - 1, HOUR_MS - 1, "key"),
            uploaded(-1, 0, "key"),
        ];
        let counts = |hours| -> Vec<(i64, usize)> {
            lines(&events, "key", &hours).into_iter().map(|(hour, lines)| (hour, lines.lines().count())).collect()
        };
        assert_eq!(counts(NOW_HOUR..=NOW_HOUR + 1), [(NOW_HOUR, 2), (NOW_HOUR + 1, 1)]);
        assert_eq!(counts(-1..=0), [(-1, 1)]);
        assert_eq!(counts(NOW_HOUR + 3..=NOW_HOUR + 9), []);
    }

    #[test]
    fn exported_line_has_the_documented_fields() {
        let event = json!({
            "event_type": "paid", "user_id": "user-1", "device_id": "device-1", "insert_id": "i1", "event_id": 7,
            "time": NOW - 60_000, "event_properties": {"plan": "pro"}, "user_properties": {"vip": true},
            "groups": {"org": ["a"]}, "library": "mine/1", "ip": "192.0.2.1", "app_version": "2.0",
        });
        let mut line = exported(&accepted(event, Some("user-1")), 3);
        assert!(line["uuid"].take().as_str().unwrap().parse::<Uuid>().is_ok());
        assert!(line["app"].take().as_i64().is_some_and(|app| i32::try_from(app).is_ok()));
        assert!(line["amplitude_id"].take().is_i64());
        assert_eq!(
            line,
            json!({
                "$insert_id": "i1",
                "adid": null,
                "amplitude_id": null,
                "app": null,
                "city": null,
                "client_event_time": "2026-11-20 05:05:07.123000",
                "client_upload_time": "2026-11-20 05:06:07.123000",
                "country": null,
                "data": {"path": "/2/httpapi"},
                "device_brand": null,
                "device_carrier": null,
                "device_id": "device-1",
                "device_manufacturer": null,
                "device_model": null,
                "dma": null,
                "event_id": 7,
                "event_properties": {"plan": "pro"},
                "event_time": "2026-11-20 05:05:07.123000",
                "event_type": "paid",
                "group_properties": {},
                "groups": {"org": ["a"]},
                "idfa": null,
                "ip_address": "192.0.2.1",
                "language": null,
                "library": "mine/1",
                "location_lat": null,
                "location_lng": null,
                "os_name": null,
                "os_version": null,
                "platform": null,
                "processed_time": "2026-11-20 05:06:07.123000",
                "region": null,
                "server_received_time": "2026-11-20 05:06:07.123000",
                "server_upload_time": "2026-11-20 05:06:07.123000",
                "session_id": -1,
                "user_id": "user-1",
                "user_properties": {"vip": true},
                "uuid": null,
                "version_name": "2.0",
            })
        );
    }

    #[test]
    fn missing_fields_are_derived_or_empty() {
        let line = exported(&anonymous(), 3);
        assert_eq!(line["user_id"], Value::Null);
        assert_eq!(line["$insert_id"], Value::Null);
        assert_eq!(line["event_id"], 3);
        assert_eq!(line["event_properties"], json!({}));
        assert_eq!(line["event_time"], "2026-11-20 05:06:07.123000");
        assert_eq!(line["library"], "http/2.0");

        let batch = AcceptedEvent { endpoint: Endpoint::Batch, ..anonymous() };
        assert_eq!(exported(&batch, 3)["library"], "batch/1.0");

        let without_device = accepted(json!({"event_type": "paid", "user_id": "user-1"}), Some("user-1"));
        assert_eq!(exported(&without_device, 3)["device_id"], rules::device_of_user("user-1"));
    }

    #[test]
    fn time_outside_the_calendar_is_null() {
        let event = accepted(json!({"event_type": "paid", "device_id": "device-1", "time": i64::MAX}), None);
        assert_eq!(exported(&event, 0)["event_time"], Value::Null);
    }

    #[test]
    fn revenue_becomes_a_property_of_equal_value() {
        for revenue in ["19.99", "-0.1", "1200", "12.0", "0.07", "123456789.01"] {
            let event = format!(
                r#"{{"event_type": "any name", "device_id": "device-1", "revenue": {revenue}, "currency": "EUR",
                    "quantity": 2, "price": null, "event_properties": {{"$revenue": 5, "plan": "pro"}}}}"#
            );
            let line = exported(&accepted(serde_json::from_str(&event).unwrap(), None), 0);
            assert_eq!(
                line["event_properties"].to_string(),
                format!(r#"{{"$currency":"EUR","$quantity":2,"$revenue":{revenue},"plan":"pro"}}"#)
            );
            assert_eq!(line.get("revenue"), None);
        }
    }

    #[test]
    fn numbers_are_stable_and_distinct() {
        assert_eq!(app("key"), 428_865_940);
        assert_ne!(app("key"), app("other"));

        let user = amplitude_id("key", Some("same"), "device-1");
        assert_eq!(user, amplitude_id("key", Some("same"), "device-2"));
        assert_ne!(user, amplitude_id("other", Some("same"), "device-1"));
        assert_ne!(user, amplitude_id("key", None, "same"));
        assert_ne!(amplitude_id("key", None, "device-1"), amplitude_id("key", None, "device-2"));

        let event = anonymous();
        assert_eq!(exported(&event, 0)["uuid"], exported(&event, 0)["uuid"]);
        assert_ne!(exported(&event, 0)["uuid"], exported(&event, 1)["uuid"]);
    }

    #[test]
    fn any_keys_are_valid_if_none_are_configured() {
        let project = |authorization: &str| read_project(authorization.as_bytes(), &[], &[]);
        assert_eq!(project(&basic("key:secret")), Ok("key".into()));
        assert_eq!(project(&basic("key:with:colons")), Ok("key".into()));
        assert_eq!(project(&basic("key:secret").replace("Basic", "bASIC")), Ok("key".into()));
        for authorization in ["", "Basic", "Basic key:secret", "Basic !", "Bearer a2V5OnNlY3JldA=="] {
            assert_eq!(project(authorization), Err(unauthorized()), "{authorization}");
        }
        for credentials in ["", "key", ":secret", "key:", ":"] {
            assert_eq!(project(&basic(credentials)), Err(unauthorized()), "{credentials}");
        }
        assert_eq!(read_project(b"Basic \xff", &[], &[]), Err(unauthorized()));
    }

    #[test]
    fn only_configured_keys_are_valid() {
        let known = |keys: &[&str]| -> Vec<String> { keys.iter().map(|key| (*key).to_owned()).collect() };
        let (api_keys, secret_keys) = (known(&["k1", "k2"]), known(&["s1", "s2"]));
        let project = |credentials| read_project(basic(credentials).as_bytes(), &api_keys, &secret_keys);
        assert_eq!(project("k2:s1"), Ok("k2".into()));
        assert_eq!(project("k3:s1"), Err(unauthorized()));
        assert_eq!(project("k1:s3"), Err(unauthorized()));
    }
}
