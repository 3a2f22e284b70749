//! Amplitude's Export API: a project's events by the hour of upload. Source: Amplitude's Export API documentation.
//!
//! An export contains all events of the project, including the product's own, and may have gigabytes. So it is stored in an
//! unnamed file, and only Stripe's events are extracted.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Seek, SeekFrom, Write as _};
use std::ops::Range;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use reqwest::{Client as Http, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use stripe_amplitude::amplitude::Destination;
use tokio::time::sleep;
use zip::ZipArchive;
use zip::result::ZipError;

use super::line::{self, Exported, Line};
use crate::clock::{self, DAY, HOUR, in_utc};
use crate::http;
use crate::key::Key;

/// The full URL of the Export endpoint, instead of the one for the project's region.
pub(crate) const URL_VARIABLE: &str = "AMPLITUDE_EXPORT_URL";

/// According to Amplitude, an hour is complete about two hours after its end.
pub(crate) const LAG: i64 = 2 * HOUR;

/// Maximum span of a request, in seconds; halved if it exceeds what Amplitude exports at once.
const LONGEST_SPAN: i64 = DAY;

/// Amplitude assembles an export before it responds.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Before each further attempt.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(2), Duration::from_secs(15), Duration::from_secs(60), Duration::from_secs(120)];

/// The result of an export.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Exports {
    /// Whether it contained nothing, not even other events.
    pub(crate) is_empty: bool,
    /// The beginnings of the hours of upload, in Unix seconds, with unreadable lines, which may be any of our events.
    pub(crate) unreadable: BTreeSet<i64>,
}

/// Access to the exports of one project.
pub(crate) struct Export<'a> {
    http: Http,
    url: String,
    api_key: &'a SecretString,
    secret_key: SecretString,
    /// The variable with the secret key, for messages.
    variable: &'static str,
}

/// Why a span could not be exported.
enum NotExported {
    /// It exceeds what Amplitude exports at once.
    TooLarge,
    /// Retrying may help.
    Transient(String),
    Refused(String),
}

impl<'a> Export<'a> {
    /// # Errors
    /// A sentence, if the keys would be sent unencrypted.
    pub(crate) fn new(http: Http, destination: &'a Destination, secret_key: SecretString) -> Result<Self, String> {
        let url = http::url_in(URL_VARIABLE)?.unwrap_or_else(|| destination.region.export_url().to_owned());
        let variable = Key::amplitude_secret(destination.key).variable;
        Ok(Self { http, url, api_key: &destination.api_key, secret_key, variable })
    }

    /// Passes our events that were uploaded in this time range, in Unix seconds, rounded to hours, through `pick` to `show`.
    /// Calls `reached` to report progress.
    ///
    /// # Errors
    /// A sentence, if Amplitude does not export them.
    pub(crate) async fn each<T: Send + 'static>(
        &self,
        uploaded: Range<i64>,
        pick: impl Fn(Exported<'_>) -> Option<T> + Clone + Send + 'static,
        mut reached: impl FnMut(i64),
        mut show: impl FnMut(T),
    ) -> Result<Exports, String> {
        let mut exports = Exports { is_empty: true, unreadable: BTreeSet::new() };
        let mut start = uploaded.start.div_euclid(HOUR) * HOUR;
        let mut length = LONGEST_SPAN;
        while start < uploaded.end {
            // Both hours of a request are inclusive.
            let last = (start + length - HOUR).min((uploaded.end - 1).div_euclid(HOUR) * HOUR);
            match self.span(start, last, &pick).await {
                Ok(picked) => {
                    exports.is_empty &= picked.is_none();
                    if let Some(Picked { events, unreadable }) = picked {
                        // If the file name has no hour, it can be any of these.
                        exports.unreadable.extend(unreadable.into_iter().map(|hour| hour.unwrap_or(last)));
                        events.into_iter().for_each(&mut show);
                    }
                    start = last + HOUR;
                    reached(start.min(uploaded.end));
                }
                Err(NotExported::TooLarge) if length > HOUR => length = (length / 2).div_euclid(HOUR).max(1) * HOUR,
                Err(NotExported::TooLarge) => {
                    return Err(format!(
                        "Amplitude cannot export the hour from {}, because it has more than 4 GB; export it to S3 instead, and import what is missing with --assume-missing",
                        clock::show(start)
                    ));
                }
                Err(NotExported::Transient(why) | NotExported::Refused(why)) => return Err(why),
            }
        }
        Ok(exports)
    }

    /// What is picked from these hours, including the last one; `None` if they are empty.
    async fn span<T: Send + 'static>(
        &self,
        first: i64,
        last: i64,
        pick: &(impl Fn(Exported<'_>) -> Option<T> + Clone + Send + 'static),
    ) -> Result<Option<Picked<T>>, NotExported> {
        let mut pauses = PAUSES.iter();
        loop {
            match self.attempt(first, last, pick.clone()).await {
                Err(NotExported::Transient(why)) => match pauses.next() {
                    Some(pause) => sleep(*pause).await,
                    None => return Err(NotExported::Transient(why)),
                },
                result => return result,
            }
        }
    }

    async fn attempt<T: Send + 'static>(
        &self,
        first: i64,
        last: i64,
        pick: impl Fn(Exported<'_>) -> Option<T> + Send + 'static,
    ) -> Result<Option<Picked<T>>, NotExported> {
        let Some(answer) = self.ask(first, last).await? else { return Ok(None) };
        let file = download(answer, last > first).await?;
        let picked = tokio::task::spawn_blocking(move || read(file, pick)).await;
        let unreadable =
            || NotExported::Transient("Amplitude's Export API did not return a zip of gzipped JSON lines".to_owned());
        picked.ok().and_then(Result::ok).map(Some).ok_or_else(unreadable)
    }

    /// Checks whether Amplitude would export an hour, without loading it: whether the two keys belong together.
    ///
    /// # Errors
    /// A sentence, if not.
    pub(crate) async fn check(&self, hour: i64) -> Result<(), String> {
        match self.ask(hour, hour).await {
            // Amplitude checks the keys before the size.
            Ok(_) | Err(NotExported::TooLarge) => Ok(()),
            Err(NotExported::Transient(why) | NotExported::Refused(why)) => Err(why),
        }
    }

    /// `None` if Amplitude has nothing in these hours.
    async fn ask(&self, first: i64, last: i64) -> Result<Option<Response>, NotExported> {
        let hour = |seconds| in_utc(seconds, "%Y%m%dT%H");
        let url = format!("{}?start={}&end={}", self.url, hour(first), hour(last));
        let request = self.http.get(url).timeout(LIMIT);
        let request = request.basic_auth(self.api_key.expose_secret(), Some(self.secret_key.expose_secret()));
        let is_long = last > first;
        let unreachable = |error: reqwest::Error| match error.is_timeout() {
            true if is_long => NotExported::TooLarge,
            _ => NotExported::Transient(format!(
                "Amplitude's Export API cannot be reached at {}",
                http::without_user(&self.url)
            )),
        };
        let answer = request.send().await.map_err(unreachable)?;
        let refused = |words: &str| Err(NotExported::Refused(format!("Amplitude's Export API {words}")));
        match answer.status() {
            StatusCode::OK => Ok(Some(answer)),
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Err(NotExported::TooLarge),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => refused(&format!(
                "rejects the keys: {} must be the secret key of the same project as the API key, from the project's settings in Amplitude, and `amplitude_region` must be correct",
                self.variable
            )),
            StatusCode::TOO_MANY_REQUESTS => {
                Err(NotExported::Transient("Amplitude's Export API returns 429: another export is running".to_owned()))
            }
            // If assembling the export takes too long.
            StatusCode::GATEWAY_TIMEOUT if last > first => Err(NotExported::TooLarge),
            status if status.is_server_error() => {
                Err(NotExported::Transient(format!("Amplitude's Export API returns {}", status.as_u16())))
            }
            status => refused(&format!("returns {}", status.as_u16())),
        }
    }
}

/// Downloads into an unnamed file, which disappears when it is closed.
async fn download(mut answer: Response, is_long: bool) -> Result<File, NotExported> {
    let broken = |error: reqwest::Error| match error.is_timeout() {
        true if is_long => NotExported::TooLarge,
        _ => NotExported::Transient("the connection to Amplitude's Export API broke".to_owned()),
    };
    let full = |error: std::io::Error| {
        NotExported::Refused(format!("cannot store an export in the folder for temporary files: {error}"))
    };
    let mut file = tempfile::tempfile().map_err(full)?;
    while let Some(chunk) = answer.chunk().await.map_err(broken)? {
        file.write_all(&chunk).map_err(full)?;
    }
    file.seek(SeekFrom::Start(0)).map_err(full)?;
    Ok(file)
}

/// What is picked from the lines of an archive.
#[derive(Debug, PartialEq)]
struct Picked<T> {
    events: Vec<T>,
    /// The hours of unreadable lines; `None` if the file name has no hour.
    unreadable: BTreeSet<Option<i64>>,
}

fn read<T>(archive: impl Read + Seek, pick: impl Fn(Exported<'_>) -> Option<T>) -> Result<Picked<T>, ZipError> {
    let mut archive = ZipArchive::new(archive)?;
    let mut picked = Picked { events: Vec::new(), unreadable: BTreeSet::new() };
    for index in 0..archive.len() {
        let file = archive.by_index(index)?;
        if file.is_dir() {
            continue;
        }
        let hour = file.name().ok().and_then(|name| hour_of(&name));
        let mut lines = BufReader::new(MultiGzDecoder::new(file));
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            // Invalid UTF-8 must not make the other lines unreadable.
            let text = String::from_utf8_lossy(&line);
            for event in line::read(&text) {
                match event {
                    Line::Ours(event) => picked.events.extend(pick(*event)),
                    Line::Other => {}
                    Line::Unreadable => drop(picked.unreadable.insert(hour)),
                }
            }
            line.clear();
        }
    }
    Ok(picked)
}

/// The beginning of the hour of upload, in Unix seconds, from the name of a file: `1/1_2026-11-20_5#0.json.gz`.
fn hour_of(file: &str) -> Option<i64> {
    let (before, _) = file.rsplit_once('#')?;
    let (before, hour) = before.rsplit_once('_')?;
    let (_, day) = before.rsplit_once('_')?;
    let hour = hour.parse().ok().filter(|hour: &i64| (0..24).contains(hour))?;
    Some(clock::parse_day(day).ok()? + hour * HOUR)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::json;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn archive(files: &[&[&[u8]]]) -> Cursor<Vec<u8>> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for (number, lines) in files.iter().enumerate() {
            let options = SimpleFileOptions::default();
            archive.start_file(format!("1/1_2026-11-20_{number}#0.json.gz"), options).unwrap();
            let mut gzip = GzEncoder::new(&mut archive, Compression::fast());
            for line in *lines {
                gzip.write_all(&[*line, b"\n"].concat()).unwrap();
            }
            gzip.finish().unwrap();
        }
        archive.finish().unwrap()
    }

    fn insert_ids(event: Exported<'_>) -> Option<String> {
        Some(event.insert_ids.join("/"))
    }

    #[test]
    fn only_stripe_events_are_extracted() {
        let stripe = json!({"$insert_id": "evt_1", "event_type": "[Stripe] charge.failed", "event_time": "2026-11-20 05:06:07", "event_properties": {"a": 1}, "uuid": "x"}).to_string();
        let other = json!({"$insert_id": "i", "event_type": "Page viewed", "event_properties": {"title": "[Stripe] "}})
            .to_string();
        let files: &[&[&[u8]]] = &[&[other.as_bytes(), stripe.as_bytes()], &[], &[other.as_bytes()]];
        let expected = Picked { events: vec!["evt_1".to_owned()], unreadable: BTreeSet::new() };
        assert_eq!(read(archive(files), insert_ids).unwrap(), expected);
        assert!(read(Cursor::new(b"not a zip"), insert_ids).is_err());
    }

    #[test]
    fn unreadable_line_is_reported_with_its_hour() {
        let ours = br#"{"$insert_id":"evt_1","event_type":"[Stripe] charge.failed"}"#;
        let not_text = b"{\"$insert_id\":\"evt_2\",\"event_type\":\"[Stripe] charge.failed\",\"city\":\"\xff\"}";
        let broken = br#"{"event_type":"[Stripe] charge.failed""#;
        let picked = read(archive(&[&[ours], &[broken, not_text], &[broken, ours]]), insert_ids).unwrap();
        assert_eq!(picked.events, ["evt_1", "evt_2", "evt_1"]);
        let hour = |hour: i64| Some(clock::parse_day("2026-11-20").unwrap() + hour * HOUR);
        assert_eq!(picked.unreadable, BTreeSet::from([hour(1), hour(2)]));
    }

    #[test]
    fn incomplete_lines_may_be_ours() {
        let cut_off = br#"{"$insert_id":"evt_1","app":1,"event_properties":{"a":1},"event_ty"#;
        let escaped = br#"{"$insert_id":"evt_2","event_type":"\u005bStripe] charge.failed"}"#;
        let damaged = b"{\"$insert_id\":\"evt_\xff\",\"event_type\":\"[Stripe] charge.failed\"}";
        let joined = br#"{"$insert_id":"evt_3","event_type":"[Stripe] a","x":tru}{"$insert_id":"evt_4"}"#;
        let other = br#"{"$insert_id":"i","event_type":"Page viewed","event_properties":{"a":1}"#;
        let files: &[&[&[u8]]] = &[&[cut_off, b"", escaped, other], &[damaged], &[joined]];
        let picked = read(archive(files), insert_ids).unwrap();
        assert_eq!(picked.events, ["evt_1", "evt_2", "evt_3"]);
        let hour = |hour: i64| Some(clock::parse_day("2026-11-20").unwrap() + hour * HOUR);
        assert_eq!(picked.unreadable, BTreeSet::from([hour(1), hour(2)]));
    }

    #[test]
    fn hour_is_parsed_from_the_file_name() {
        let day = clock::parse_day("2026-11-20").unwrap();
        for (name, expected) in [
            ("1/1_2026-11-20_5#0.json.gz", Some(day + 5 * HOUR)),
            ("123456/123456_2026-11-20_23#17.json.gz", Some(day + 23 * HOUR)),
            ("1_2026-11-20_24#0.json.gz", None),
            ("1_2026-11-20.json.gz", None),
            ("events.json.gz", None),
        ] {
            assert_eq!(hour_of(name), expected, "{name}");
        }
    }
}
