//! Amplitude's Export API: what a project has, by the hour in which it was uploaded. Source: Amplitude's Export API
//! documentation.
//!
//! An export holds all events of the project, the product's own, too, and may have gigabytes: so it goes through a file
//! that has no name, and only Stripe's events come out of it.

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

/// The full URL of the Export endpoint, in the place of that of the project's region.
pub(crate) const URL_VARIABLE: &str = "AMPLITUDE_EXPORT_URL";

/// Amplitude says that an hour is complete about two hours after its end.
pub(crate) const LAG: i64 = 2 * HOUR;

/// Hours in one request, in seconds; less where that is more than Amplitude gives at once.
const LONGEST_SPAN: i64 = DAY;

/// Amplitude puts an export together before it answers.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Before each further attempt.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(2), Duration::from_secs(15), Duration::from_secs(60), Duration::from_secs(120)];

/// What an export had.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Exports {
    /// Whether there was nothing at all, not even events of others.
    pub(crate) is_empty: bool,
    /// The beginnings of the hours of upload, in Unix seconds, with lines that cannot be read and may be any event of ours.
    pub(crate) unreadable: BTreeSet<i64>,
}

/// The way to Amplitude's exports of one project.
pub(crate) struct Export<'a> {
    http: Http,
    url: String,
    api_key: &'a SecretString,
    secret_key: SecretString,
    /// The variable that holds the secret key, to name it where Amplitude refuses it.
    variable: &'static str,
}

/// Why a span could not be exported.
enum NotExported {
    /// It has more than Amplitude gives at once.
    TooLarge,
    /// It may go better.
    Transient(String),
    Refused(String),
}

impl<'a> Export<'a> {
    ///
    /// # Errors
    /// A sentence, where the keys would leave in the clear.
    pub(crate) fn new(http: Http, destination: &'a Destination, secret_key: SecretString) -> Result<Self, String> {
        let url = http::url_in(URL_VARIABLE)?.unwrap_or_else(|| destination.region.export_url().to_owned());
        let variable = Key::amplitude_secret(destination.key).variable;
        Ok(Self { http, url, api_key: &destination.api_key, secret_key, variable })
    }

    /// Shows what `pick` makes of our events that were uploaded from the hour of the one time until the hour of the other,
    /// in Unix seconds. `reached` is told how far it is.
    ///
    /// # Errors
    /// A sentence, where Amplitude does not give them.
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
            // Both hours of a request are part of it.
            let last = (start + length - HOUR).min((uploaded.end - 1).div_euclid(HOUR) * HOUR);
            match self.span(start, last, &pick).await {
                Ok(picked) => {
                    exports.is_empty &= picked.is_none();
                    if let Some(Picked { events, unreadable }) = picked {
                        // Where the name of the file does not say the hour, it can be any of these.
                        exports.unreadable.extend(unreadable.into_iter().map(|hour| hour.unwrap_or(last)));
                        events.into_iter().for_each(&mut show);
                    }
                    start = last + HOUR;
                    reached(start.min(uploaded.end));
                }
                Err(NotExported::TooLarge) if length > HOUR => length = (length / 2).div_euclid(HOUR).max(1) * HOUR,
                Err(NotExported::TooLarge) => {
                    return Err(format!(
                        "Amplitude gives no export of the hour from {} on: it has more than 4 GB; export it to S3 instead, and import with --assume-missing what is not there",
                        clock::show(start)
                    ));
                }
                Err(NotExported::Transient(why) | NotExported::Refused(why)) => return Err(why),
            }
        }
        Ok(exports)
    }

    /// What is picked of these hours, the last one included; `None` where there is nothing.
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
            || NotExported::Transient("what Amplitude's Export API gave is no zip of gzipped JSON lines".to_owned());
        picked.ok().and_then(Result::ok).map(Some).ok_or_else(unreadable)
    }

    /// Whether Amplitude would give an hour, of which nothing is loaded: whether the two keys fit.
    ///
    /// # Errors
    /// A sentence, where it would not.
    pub(crate) async fn check(&self, hour: i64) -> Result<(), String> {
        match self.ask(hour, hour).await {
            // Only who may have it is told that it is too large.
            Ok(_) | Err(NotExported::TooLarge) => Ok(()),
            Err(NotExported::Transient(why) | NotExported::Refused(why)) => Err(why),
        }
    }

    /// `None` where Amplitude has nothing of these hours.
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
                "does not know the keys: {} takes the secret key of the same project as the API key, from Amplitude's settings of the project, and `amplitude_region` has to be right",
                self.variable
            )),
            StatusCode::TOO_MANY_REQUESTS => Err(NotExported::Transient(
                "Amplitude's Export API answers 429: something else exports, too".to_owned(),
            )),
            // So it answers where it is too much to be put together in time.
            StatusCode::GATEWAY_TIMEOUT if last > first => Err(NotExported::TooLarge),
            status if status.is_server_error() => {
                Err(NotExported::Transient(format!("Amplitude's Export API answers {}", status.as_u16())))
            }
            status => refused(&format!("answers {}", status.as_u16())),
        }
    }
}

/// Into a file without a name, which is gone when it is closed.
async fn download(mut answer: Response, is_long: bool) -> Result<File, NotExported> {
    let broken = |error: reqwest::Error| match error.is_timeout() {
        true if is_long => NotExported::TooLarge,
        _ => NotExported::Transient("the connection to Amplitude's Export API broke".to_owned()),
    };
    let full = |error: std::io::Error| {
        NotExported::Refused(format!("an export cannot be kept in the folder of temporary files: {error}"))
    };
    let mut file = tempfile::tempfile().map_err(full)?;
    while let Some(chunk) = answer.chunk().await.map_err(broken)? {
        file.write_all(&chunk).map_err(full)?;
    }
    file.seek(SeekFrom::Start(0)).map_err(full)?;
    Ok(file)
}

/// What is picked of the lines of an archive.
#[derive(Debug, PartialEq)]
struct Picked<T> {
    events: Vec<T>,
    /// The hours of lines that cannot be read; `None` where the name of the file does not say it.
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
            // Bytes that are no text must not make the other lines unreadable.
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
    fn of_all_events_of_a_project_only_stripes_come_out() {
        let stripe = json!({"$insert_id": "evt_1", "event_type": "[Stripe] charge.failed", "event_time": "2026-11-20 05:06:07", "event_properties": {"a": 1}, "uuid": "x"}).to_string();
        let other = json!({"$insert_id": "i", "event_type": "Page viewed", "event_properties": {"title": "[Stripe] "}})
            .to_string();
        let files: &[&[&[u8]]] = &[&[other.as_bytes(), stripe.as_bytes()], &[], &[other.as_bytes()]];
        let expected = Picked { events: vec!["evt_1".to_owned()], unreadable: BTreeSet::new() };
        assert_eq!(read(archive(files), insert_ids).unwrap(), expected);
        assert!(read(Cursor::new(b"not a zip"), insert_ids).is_err());
    }

    #[test]
    fn a_line_that_cannot_be_read_is_told_with_its_hour_and_costs_no_other_line() {
        let ours = br#"{"$insert_id":"evt_1","event_type":"[Stripe] charge.failed"}"#;
        let not_text = b"{\"$insert_id\":\"evt_2\",\"event_type\":\"[Stripe] charge.failed\",\"city\":\"\xff\"}";
        let broken = br#"{"event_type":"[Stripe] charge.failed""#;
        let picked = read(archive(&[&[ours], &[broken, not_text], &[broken, ours]]), insert_ids).unwrap();
        assert_eq!(picked.events, ["evt_1", "evt_2", "evt_1"]);
        let hour = |hour: i64| Some(clock::parse_day("2026-11-20").unwrap() + hour * HOUR);
        assert_eq!(picked.unreadable, BTreeSet::from([hour(1), hour(2)]));
    }

    #[test]
    fn a_line_needs_no_name_of_ours_to_be_ours() {
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
    fn the_name_of_a_file_says_its_hour() {
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
