//! The emulator over real sockets and without an HTTP client, so that tests can see a cut connection.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{BufRead, BufReader, Cursor, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use amplitude_emulator::{AcceptedEvent, Configuration, Emulator, Endpoint, Fault, FaultyAnswer, Throttle, tls};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::read::GzDecoder;
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use zip::ZipArchive;

/// 2026-11-20 05:00 UTC.
const FIVE: i64 = 1_795_150_800_000;
const HOUR: i64 = 60 * 60 * 1000;

async fn start(configuration: Configuration) -> (Emulator, SocketAddr) {
    let emulator = Emulator::new(configuration);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(emulator.clone().serve(listener));
    (emulator, address)
}

struct Received {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Received {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The files of an export, with their lines.
    fn files(&self) -> Vec<(String, Vec<Value>)> {
        let mut archive = ZipArchive::new(Cursor::new(&self.body)).unwrap();
        let mut files = Vec::new();
        for place in 0..archive.len() {
            let file = archive.by_index(place).unwrap();
            let name = file.name().unwrap().into_owned();
            let lines = BufReader::new(GzDecoder::new(file)).lines();
            files.push((name, lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()));
        }
        files
    }

    /// The insert IDs in each file of an export; file names are without the project number.
    fn exported(&self) -> Vec<(String, Vec<String>)> {
        let insert_id = |line: &Value| line["$insert_id"].as_str().unwrap().to_owned();
        self.files()
            .into_iter()
            .map(|(name, lines)| (name.split_once('_').unwrap().1.to_owned(), lines.iter().map(insert_id).collect()))
            .collect()
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn write(stream: &mut impl Write, method: &str, path: &str, body: &str) {
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
}

/// Reads one response, or fails with the bytes received before the connection ended.
fn read(stream: &mut impl Read) -> Result<Received, Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(received) = parse(&bytes) {
            return Ok(received);
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk) {
            Ok(0) => return Err(bytes),
            Ok(read) => bytes.extend(&chunk[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => {
                return Err(bytes);
            }
            Err(error) => unreachable!("{error}"),
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Received> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (headers, body) = (std::str::from_utf8(&bytes[..end]).unwrap(), &bytes[end + 4..]);
    let length = headers
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    (body.len() == length).then(|| Received {
        status: headers[9..12].parse().unwrap(),
        headers: headers.to_owned(),
        body: body.to_owned(),
    })
}

/// Requests an export with these credentials.
fn export(address: SocketAddr, credentials: &str, query: &str) -> Result<Received, Vec<u8>> {
    let mut stream = connect(address);
    let credentials = BASE64_STANDARD.encode(credentials);
    write!(
        stream,
        "GET /api/2/export?{query} HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {credentials}\r\n\r\n"
    )
    .unwrap();
    read(&mut stream)
}

fn send(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<Received, Vec<u8>> {
    let mut stream = connect(address);
    write(&mut stream, method, path, body);
    read(&mut stream)
}

fn post(address: SocketAddr, body: &Value) -> Result<Received, Vec<u8>> {
    send(address, "POST", "/2/httpapi", &body.to_string())
}

fn get(address: SocketAddr, path: &str) -> Value {
    send(address, "GET", path, "").unwrap().json()
}

fn now() -> i64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64
}

/// The hour of this time, in the format of a query.
fn hour(time: i64) -> String {
    Timestamp::from_millisecond(time).unwrap().strftime("%Y%m%dT%H").to_string()
}

fn upload(insert_id: &str) -> Value {
    json!({
        "api_key": "key",
        "events": [{"event_type": "paid", "user_id": "user-1", "insert_id": insert_id}],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_can_be_read_back() {
    let (emulator, address) = start(Configuration::default()).await;
    let request = upload("i1").to_string();

    let answer = send(address, "POST", "/batch", &request).unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.headers.contains("content-type: application/json"));
    let time = answer.json()["server_upload_time"].as_i64().unwrap();
    assert_eq!(
        answer.json(),
        json!({
            "code": 200,
            "events_ingested": 1,
            "payload_size_bytes": request.len(),
            "server_upload_time": time,
        })
    );

    let event = json!({"event_type": "paid", "user_id": "user-1", "insert_id": "i1"});
    assert_eq!(
        get(address, "/emulator/events"),
        json!([{
            "event": event,
            "attributed_user_id": "user-1",
            "upload_time": time,
            "endpoint": "/batch",
            "api_key": "key",
        }])
    );
    assert_eq!(
        emulator.events(),
        [AcceptedEvent {
            event: event.as_object().unwrap().clone(),
            attributed_user_id: Some("user-1".into()),
            upload_time: time,
            endpoint: Endpoint::Batch,
            api_key: "key".into(),
        }]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_get_200_and_count_only_if_configured() {
    for (count_repeats, ingested) in [(false, 0), (true, 1)] {
        let configuration = Configuration { count_repeats, ..Configuration::default() };
        let (emulator, address) = start(configuration).await;
        post(address, &upload("i1")).unwrap();
        let repeat = post(address, &upload("i1")).unwrap();
        assert_eq!(repeat.status, 200);
        assert_eq!(repeat.json()["events_ingested"], ingested);
        assert_eq!(emulator.events().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_amplitudes_format() {
    let (emulator, address) = start(Configuration { api_keys: vec!["right".into()], ..Configuration::default() }).await;
    let refused = post(address, &upload("i1")).unwrap();
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json(), json!({"code": 400, "error": "Invalid API key: key"}));

    let get = send(address, "GET", "/batch", "").unwrap();
    assert_eq!(get.status, 405);
    assert!(get.headers.contains("allow: POST"));
    assert_eq!(send(address, "POST", "/other", "").unwrap().status, 404);
    let large = send(address, "POST", "/2/httpapi", &" ".repeat(1_000_000)).unwrap();
    assert_eq!(large.json(), json!({"code": 413, "error": "Payload too large"}));
    assert!(emulator.events().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn excess_events_of_a_user_are_throttled() {
    let (_, address) = start(Configuration {
        http_v2_throttle: Some(Throttle { events_per_second: 1, window_seconds: 60 }),
        ..Configuration::default()
    })
    .await;
    let event = json!({"event_type": "paid", "user_id": "user-1"});
    let request = json!({"api_key": "key", "events": vec![event; 61]});
    let answer = post(address, &request).unwrap();
    assert_eq!(answer.status, 429);
    let indexes: Vec<usize> = (0..61).collect();
    assert_eq!(
        answer.json(),
        json!({
            "code": 429,
            "error": "Too many requests for some devices and users",
            "eps_threshold": 1,
            "throttled_users": {"user-1": 2},
            "throttled_devices": {},
            "throttled_events": indexes,
            "exceeded_daily_quota_users": {},
            "exceeded_daily_quota_devices": {},
        })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_injected_over_http() {
    let (emulator, address) = start(Configuration::default()).await;
    let injected_faults = [
        json!({"requests": 2, "fault": {"kind": "answer", "status": 503}}),
        json!({"fault": {"kind": "invalid_api_key"}}),
    ];
    for order in &injected_faults {
        let answer = send(address, "POST", "/emulator/faults", &order.to_string()).unwrap();
        assert_eq!(answer.status, 204);
    }
    assert_eq!(
        get(address, "/emulator/faults"),
        json!([
            {"requests": 2, "fault": {"kind": "answer", "status": 503, "ingest": false}},
            {"requests": 1, "fault": {"kind": "invalid_api_key"}},
        ])
    );

    for _ in 0..2 {
        let answer = post(address, &upload("i1")).unwrap();
        assert_eq!(answer.status, 503);
        assert_eq!(answer.json(), json!({"code": 503, "error": "Service Unavailable"}));
    }
    assert_eq!(post(address, &upload("i1")).unwrap().json()["error"], "Invalid API key: key");
    assert!(emulator.events().is_empty());
    assert_eq!(post(address, &upload("i1")).unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_faults_are_rejected_with_the_reason() {
    let (_, address) = start(Configuration::default()).await;
    for (order, reason) in [
        (json!({"fault": {"kind": "explode"}}), "explode"),
        (json!({"fault": {"kind": "answer", "status": 99}}), "99"),
        (json!({"fault": {"kind": "answer", "status": 302, "location": "\n"}}), "header"),
        (json!({"requests": -1, "fault": {"kind": "cut"}}), "invalid fault"),
    ] {
        let answer = send(address, "POST", "/emulator/faults", &order.to_string()).unwrap();
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains(reason), "{}", answer.text());
    }
    assert_eq!(get(address, "/emulator/faults"), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn injected_response_is_arbitrary() {
    let (emulator, address) = start(Configuration::default()).await;
    emulator.inject(
        Fault::Answer(FaultyAnswer {
            status: 502,
            text: Some("<html>bad gateway</html>".into()),
            ..FaultyAnswer::default()
        }),
        1,
    );
    emulator.inject(
        Fault::Answer(FaultyAnswer {
            status: 307,
            text: Some(String::new()),
            content_type: Some("text/plain".into()),
            location: Some("https://example.com/".into()),
            ..FaultyAnswer::default()
        }),
        1,
    );
    emulator.inject(
        Fault::Answer(FaultyAnswer {
            status: 400,
            json: Some(json!({"code": 400, "silenced_events": [0]})),
            ..FaultyAnswer::default()
        }),
        1,
    );

    let html = post(address, &upload("i1")).unwrap();
    assert_eq!(html.status, 502);
    assert_eq!(html.text(), "<html>bad gateway</html>");
    assert!(html.headers.contains("content-type: text/html"));

    let redirect = post(address, &upload("i1")).unwrap();
    assert_eq!(redirect.status, 307);
    assert_eq!(redirect.text(), "");
    assert!(redirect.headers.contains("content-type: text/plain"));
    assert!(redirect.headers.contains("location: https://example.com/"));

    let json = post(address, &upload("i1")).unwrap();
    assert_eq!(json.json(), json!({"code": 400, "silenced_events": [0]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connection_ends_before_the_first_byte() {
    let (emulator, address) = start(Configuration::default()).await;
    emulator.inject(Fault::Cut { ingest: false }, 1);
    assert_eq!(post(address, &upload("i1")).err(), Some(Vec::new()));
    assert!(emulator.events().is_empty());

    emulator.inject(Fault::Cut { ingest: true }, 1);
    assert_eq!(post(address, &upload("i1")).err(), Some(Vec::new()));
    assert_eq!(emulator.events().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_body_ends_half_way() {
    let (emulator, address) = start(Configuration::default()).await;
    for (ingest, events) in [(false, 0), (true, 1)] {
        emulator.inject(Fault::CutBody { ingest }, 1);
        let received = String::from_utf8(post(address, &upload("i1")).err().unwrap()).unwrap();
        let (headers, body) = received.split_once("\r\n\r\n").unwrap();
        assert!(headers.starts_with("HTTP/1.1 200 OK\r\n"));
        let announced: usize =
            headers.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        assert!(body.starts_with(r#"{"code":200"#));
        assert_eq!(body.len(), announced / 2);
        assert_eq!(emulator.events().len(), events);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hang_ends_without_a_response() {
    let (emulator, address) = start(Configuration::default()).await;
    emulator.inject(Fault::Hang { milliseconds: 200, ingest: true }, 1);
    let start = Instant::now();
    assert_eq!(post(address, &upload("i1")).err(), Some(Vec::new()));
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!(emulator.events().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_ingested_before_the_delay() {
    let (emulator, address) = start(Configuration::default()).await;
    emulator.inject(Fault::Delay { milliseconds: 3_600_000 }, 1);
    let mut stream = connect(address);
    write(&mut stream, "POST", "/batch", &upload("i1").to_string());
    while emulator.events().is_empty() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn delays_add_up() {
    let (emulator, address) =
        start(Configuration { delay: Duration::from_millis(100), ..Configuration::default() }).await;
    emulator.inject(Fault::Delay { milliseconds: 200 }, 1);
    let start = Instant::now();
    assert_eq!(post(address, &upload("i1")).unwrap().status, 200);
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[tokio::test(flavor = "multi_thread")]
async fn export_has_a_gzipped_file_per_upload_hour() {
    let (emulator, address) = start(Configuration::default()).await;
    let event = |insert_id: &str| {
        // Long before its upload, whose time counts.
        json!({"event_type": "paid", "user_id": "user-1", "insert_id": insert_id, "time": FIVE - 30 * 24 * HOUR,
            "revenue": 19.99, "currency": "EUR", "event_properties": {"plan": "pro"}})
    };
    let replay = |key: &str, insert_id: &str, time| {
        let request = json!({"api_key": key, "events": [event(insert_id)]}).to_string();
        emulator.replay(Endpoint::Batch, request.as_bytes(), time);
    };
    replay("key", "before", FIVE - 1);
    replay("key", "first", FIVE);
    replay("other", "of-other", FIVE);
    replay("key", "last", FIVE + HOUR - 1);
    replay("key", "next-day", FIVE + 23 * HOUR - 1);
    replay("key", "after", FIVE + 23 * HOUR);

    let hour = export(address, "key:secret", "start=20261120T05&end=20261120T05").unwrap();
    assert_eq!(hour.status, 200);
    assert!(hour.headers.contains("content-type: application/zip"));
    let files = hour.files();
    let [(name, lines)] = &files[..] else { panic!("{files:?}") };
    let app = &lines[0]["app"];
    assert_eq!(*name, format!("{app}/{app}_2026-11-20_5#0.json.gz"));
    assert_eq!(lines[0]["$insert_id"], "first");
    assert_eq!(lines[0]["user_id"], "user-1");
    assert_eq!(lines[0]["event_time"], "2026-10-21 05:00:00.000000");
    assert_eq!(lines[0]["server_upload_time"], "2026-11-20 05:00:00.000000");
    assert_eq!(lines[0]["event_properties"], json!({"plan": "pro", "$revenue": 19.99, "$currency": "EUR"}));
    assert_eq!(lines[1]["$insert_id"], "last");

    let found = |credentials, query| export(address, credentials, query).unwrap().exported();
    let file = |hour: &str, insert_ids: &[&str]| {
        (format!("{hour}#0.json.gz"), insert_ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(
        found("key:secret", "start=20261120T04&end=20261121T03"),
        [
            file("2026-11-20_4", &["before"]),
            file("2026-11-20_5", &["first", "last"]),
            file("2026-11-21_3", &["next-day"])
        ]
    );
    assert_eq!(found("other:secret", "start=20261120T00&end=20261120T23"), [file("2026-11-20_5", &["of-other"])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_can_be_exported_immediately() {
    let (_, address) = start(Configuration::default()).await;
    let before = now();
    post(address, &upload("i1")).unwrap();
    let query = format!("start={}&end={}", hour(before), hour(now()));
    let exported = export(address, "key:secret", &query).unwrap().exported();
    assert_eq!(exported[0].1, ["i1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn exported_lines_can_be_changed() {
    let (emulator, address) = start(Configuration::default()).await;
    let before = now();
    post(address, &upload("i1")).unwrap();
    post(address, &upload("i2")).unwrap();
    emulator.rewrite_export(|line| match line.contains("i1") {
        true => format!("{line}\n{line}"),
        false => line.replace("i2", "changed"),
    });
    let query = format!("start={}&end={}", hour(before), hour(now()));
    let exported = export(address, "key:secret", &query).unwrap().exported();
    let insert_ids: Vec<_> = exported.into_iter().flat_map(|(_, insert_ids)| insert_ids).collect();
    assert_eq!(insert_ids, ["i1", "i1", "changed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_exports_are_rejected() {
    let (emulator, address) = start(Configuration {
        api_keys: vec!["key".into(), "empty".into()],
        secret_keys: vec!["secret".into()],
        ..Configuration::default()
    })
    .await;
    emulator.replay(Endpoint::Batch, upload("i1").to_string().as_bytes(), FIVE);
    let hour = "start=20261120T05&end=20261120T05";

    for (credentials, query, status) in [
        ("key:secret", hour, 200),
        ("key:secret", "start=20261120T06&end=20261120T06", 404),
        ("key:secret", "start=20261120T03&end=20261120T04", 404),
        ("empty:secret", hour, 404),
        ("key:secret", "", 400),
        ("key:secret", "start=20261120&end=20261120T05", 400),
        ("key:secret", "start=20261120T05&end=20261120T04", 400),
        ("key:secret", "start=20251120T05&end=20261120T05", 400),
        ("key:wrong", hour, 401),
        ("wrong:secret", hour, 401),
        ("key:", hour, 401),
        ("key", "", 401),
    ] {
        let answer = export(address, credentials, query).unwrap();
        assert_eq!(answer.status, status, "{credentials} {query}");
        assert_eq!(answer.headers.contains("www-authenticate: Basic"), status == 401);
    }
    let without = send(address, "GET", &format!("/api/2/export?{hour}"), "").unwrap();
    assert_eq!(without.json(), json!({"code": 401, "error": "Unauthorized"}));
    let posted = send(address, "POST", "/api/2/export", "").unwrap();
    assert_eq!(posted.status, 405);
    assert!(posted.headers.contains("allow: GET"));
    assert_eq!(emulator.requests().answers["/api/2/export"]["404"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn incomplete_hours_are_not_exported() {
    let two_hours = Duration::from_secs(2 * 60 * 60);
    let (emulator, address) = start(Configuration { export_lag: Some(two_hours), ..Configuration::default() }).await;
    let now = now();
    for (insert_id, hours_ago) in [("complete", 4), ("too-new", 1)] {
        emulator.replay(Endpoint::Batch, upload(insert_id).to_string().as_bytes(), now - hours_ago * HOUR);
    }
    let query = format!("start={}&end={}", hour(now - 4 * HOUR), hour(now));
    let exported = export(address, "key:secret", &query).unwrap().exported();
    assert_eq!(exported.len(), 1);
    assert_eq!(exported[0].1, ["complete"]);

    let query = format!("start={0}&end={0}", hour(now - HOUR));
    assert_eq!(export(address, "key:secret", &query).unwrap().status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_and_uploads_have_separate_faults() {
    let (emulator, address) = start(Configuration::default()).await;
    emulator.replay(Endpoint::Batch, upload("i1").to_string().as_bytes(), FIVE);
    let export = || export(address, "key:secret", "start=20261120T05&end=20261120T05");

    let order = json!({"path": "/api/2/export", "fault": {"kind": "answer", "status": 503}});
    assert_eq!(send(address, "POST", "/emulator/faults", &order.to_string()).unwrap().status, 204);
    emulator.inject(Fault::answer(500), 1);
    assert_eq!(
        get(address, "/emulator/faults"),
        json!([
            {"path": "/api/2/export", "requests": 1, "fault": {"kind": "answer", "status": 503, "ingest": false}},
            {"requests": 1, "fault": {"kind": "answer", "status": 500, "ingest": false}},
        ])
    );
    assert_eq!(post(address, &upload("i2")).unwrap().status, 500);
    assert_eq!(export().unwrap().status, 503);
    assert_eq!(export().unwrap().status, 200);

    emulator.inject_for_export(Fault::CutBody { ingest: false }, 1);
    assert!(export().err().unwrap().starts_with(b"HTTP/1.1 200 OK\r\n"));
    emulator.inject_for_export(Fault::Cut { ingest: false }, 1);
    assert_eq!(export().err(), Some(Vec::new()));
    emulator.inject_for_export(Fault::Hang { milliseconds: 100, ingest: false }, 1);
    assert_eq!(export().err(), Some(Vec::new()));
    emulator.inject_for_export(Fault::InvalidApiKey, 1);
    assert_eq!(export().unwrap().status, 401);
    emulator.inject_for_export(Fault::Delay { milliseconds: 200 }, 1);
    let start = Instant::now();
    assert_eq!(export().unwrap().status, 200);
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn control_requests_are_not_counted() {
    let (emulator, address) = start(Configuration::default()).await;
    let mut stream = connect(address);
    for _ in 0..2 {
        write(&mut stream, "POST", "/batch", &upload("i1").to_string());
        assert_eq!(read(&mut stream).unwrap().status, 200);
    }
    emulator.inject(Fault::Cut { ingest: false }, 1);
    assert!(post(address, &upload("i1")).is_err());
    assert_eq!(send(address, "GET", "/other", "").unwrap().status, 404);

    let counts = json!({
        "connections": 3,
        "requests": 4,
        "answers": {
            "/2/httpapi": {"none": 1},
            "/batch": {"200": 2},
            "/other": {"404": 1},
        },
        "repeats": 1,
    });
    assert_eq!(get(address, "/emulator/requests"), counts);
    assert_eq!(emulator.requests().answers["/batch"]["200"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_can_be_filtered() {
    let (_, address) = start(Configuration::default()).await;
    for (key, user, insert_id) in [("k1", "user 1", "a"), ("k1", "user-2", "b"), ("k2", "user 1", "c")] {
        let event = json!({"event_type": "e", "user_id": user, "insert_id": insert_id});
        post(address, &json!({"api_key": key, "events": [event]})).unwrap();
    }
    for (query, found) in [
        ("", &["a", "b", "c"][..]),
        ("?api_key=k1", &["a", "b"]),
        ("?user_id=user%201", &["a", "c"]),
        ("?insert_id=b", &["b"]),
        ("?user_id=user%201&api_key=k2", &["c"]),
        ("?user=user-2", &[]),
    ] {
        let events = get(address, &format!("/emulator/events{query}"));
        let events = events.as_array().unwrap().iter();
        let insert_ids: Vec<&str> = events.map(|event| event["event"]["insert_id"].as_str().unwrap()).collect();
        assert_eq!(insert_ids, found, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_cleared() {
    let (emulator, address) = start(Configuration::default()).await;
    let leave_traces = || {
        assert_eq!(post(address, &upload("i1")).unwrap().json()["events_ingested"], 1);
        emulator.inject(Fault::InvalidApiKey, 1);
    };
    leave_traces();
    for resource in ["events", "faults", "requests"] {
        let path = format!("/emulator/{resource}");
        assert_eq!(send(address, "DELETE", &path, "").unwrap().status, 204);
    }
    leave_traces();
    emulator.clear();
    leave_traces();
    assert_eq!(emulator.requests().requests, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_control_requests_get_an_error() {
    let (_, address) = start(Configuration::default()).await;
    assert_eq!(send(address, "GET", "/emulator/health", "").unwrap().status, 200);
    assert_eq!(send(address, "PUT", "/emulator/faults", "").unwrap().status, 405);
    assert_eq!(send(address, "GET", "/emulator/other", "").unwrap().status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn web_pages_are_rejected() {
    let (emulator, address) = start(Configuration::default()).await;
    let body = upload("i1").to_string();
    for (method, path) in [
        ("GET", "/emulator/events"),
        ("GET", "/api/2/export?start=x"),
        ("POST", "/2/httpapi"),
        ("POST", "/batch"),
        ("GET", "/other"),
    ] {
        for (headers, is_forbidden) in [
            ("host: 127.0.0.1:1", false),
            ("host: localhost:1", false),
            ("host: [::1]:1", false),
            ("host: host.docker.internal:1", false),
            ("host: shop.example.com", true),
            ("host: 127.0.0.1.example.com:1", true),
            ("host: 127.0.0.1:1\r\norigin: http://shop.example.com", true),
        ] {
            let before = emulator.events().len();
            let mut stream = connect(address);
            write!(stream, "{method} {path} HTTP/1.1\r\n{headers}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                .unwrap();
            let status = read(&mut stream).unwrap().status;
            assert_eq!(status == 403, is_forbidden, "{path} {headers}: {status}");
            assert!(!is_forbidden || emulator.events().len() == before, "{path} {headers}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_server_closes_its_connections() {
    let emulator = Emulator::new(Configuration::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(emulator.serve(listener));

    let mut stream = connect(address);
    write(&mut stream, "POST", "/batch", &upload("i1").to_string());
    read(&mut stream).unwrap();
    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
    assert_eq!(read(&mut stream).err(), Some(Vec::new()));
    assert!(TcpStream::connect(address).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_requires_trust_and_can_be_cut() {
    let (authority, server) = tls::self_signed(&["amplitude.test".into()]).unwrap();
    let emulator = Emulator::new(Configuration::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(emulator.clone().serve_tls(listener, server));

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Arc::new(client);
    let connect_as = |name: &'static str| {
        let name = ServerName::try_from(name).unwrap();
        let client = ClientConnection::new(client.clone(), name).unwrap();
        StreamOwned::new(client, connect(address))
    };

    for name in ["localhost", "127.0.0.1", "::1", "amplitude.test"] {
        let mut stream = connect_as(name);
        write(&mut stream, "POST", "/batch", &upload("i1").to_string());
        assert_eq!(read(&mut stream).unwrap().status, 200);
    }
    let refused = connect_as("example.com").write_all(b"x").unwrap_err();
    assert!(refused.to_string().contains("certificate"), "{refused}");

    emulator.inject(Fault::Cut { ingest: false }, 1);
    let mut stream = connect_as("localhost");
    write(&mut stream, "POST", "/batch", &upload("i1").to_string());
    assert_eq!(read(&mut stream).err(), Some(Vec::new()));
}
