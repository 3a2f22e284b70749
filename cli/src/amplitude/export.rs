//! Amplitude's Export API: what a project has, by the hour in which it was uploaded. Source: Amplitude's Export API
//! documentation.
//!
//! An export holds all events of the project, the product's own, too, and may have gigabytes: so it goes through a file
//! that has no name, and only Stripe's events come out of it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Seek, SeekFrom, Write as _};
use std::ops::Range;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use reqwest::{Client as Http, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use stripe_amplitude::amplitude::Destination;
use tokio::time::sleep;
use zip::ZipArchive;
use zip::result::ZipError;

use crate::clock::{self, DAY, HOUR, in_utc};
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

/// What all our events are called.
pub(crate) const OURS: &str = "[Stripe] ";

/// An event as Amplitude has it, as far as it matters here.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(crate) struct Exported {
    /// Stripe's event ID.
    #[serde(rename = "$insert_id", alias = "insert_id")]
    pub(crate) insert_id: String,
    /// `[Stripe] ` and Stripe's type.
    pub(crate) event_type: String,
    /// When it happened, in UTC: `2026-11-20 05:06:07.123000`.
    #[serde(default)]
    pub(crate) event_time: String,
    /// Where Amplitude keeps them beside the properties, as they are sent; otherwise they are `$revenue` and `$currency`.
    #[serde(default)]
    pub(crate) revenue: Value,
    #[serde(default)]
    pub(crate) currency: Value,
    #[serde(default)]
    pub(crate) event_properties: Value,
}

impl Exported {
    /// The event in a line of an export, if it is one of ours.
    pub(crate) fn in_line(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok().filter(|event: &Self| is_ours(&event.event_type))
    }
}

/// Whether the function sends events of this type.
pub(crate) fn is_ours(event_type: &str) -> bool {
    event_type.starts_with(OURS)
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
    pub(crate) fn new(http: Http, destination: &'a Destination, secret_key: SecretString) -> Self {
        let url = std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty());
        let url = url.unwrap_or_else(|| destination.region.export_url().to_owned());
        let variable = Key::amplitude_secret(destination.key).variable;
        Self { http, url, api_key: &destination.api_key, secret_key, variable }
    }

    /// Shows what `pick` makes of the lines that were uploaded from the hour of the one time until the hour of the other,
    /// in Unix seconds; lines without one of our events are left out before. `reached` is told how far it is. Whether
    /// there was nothing at all, not even events of others.
    ///
    /// # Errors
    /// A sentence, where Amplitude does not give them.
    pub(crate) async fn each<T: Send + 'static>(
        &self,
        uploaded: Range<i64>,
        pick: impl Fn(&str) -> Option<T> + Clone + Send + 'static,
        mut reached: impl FnMut(i64),
        mut show: impl FnMut(T),
    ) -> Result<bool, String> {
        let mut is_empty = true;
        let mut start = uploaded.start.div_euclid(HOUR) * HOUR;
        let mut length = LONGEST_SPAN;
        while start < uploaded.end {
            // Both hours of a request are part of it.
            let last = (start + length - HOUR).min((uploaded.end - 1).div_euclid(HOUR) * HOUR);
            match self.span(start, last, &pick).await {
                Ok(picked) => {
                    is_empty &= picked.is_none();
                    picked.into_iter().flatten().for_each(&mut show);
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
        Ok(is_empty)
    }

    /// What is picked of these hours, the last one included; `None` where there is nothing.
    async fn span<T: Send + 'static>(
        &self,
        first: i64,
        last: i64,
        pick: &(impl Fn(&str) -> Option<T> + Clone + Send + 'static),
    ) -> Result<Option<Vec<T>>, NotExported> {
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
        pick: impl Fn(&str) -> Option<T> + Send + 'static,
    ) -> Result<Option<Vec<T>>, NotExported> {
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
            _ => NotExported::Transient(format!("Amplitude's Export API cannot be reached at {}", self.url)),
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
fn read<T>(archive: impl Read + Seek, pick: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, ZipError> {
    let mut archive = ZipArchive::new(archive)?;
    let mut picked = Vec::new();
    for index in 0..archive.len() {
        let file = archive.by_index(index)?;
        if file.is_dir() {
            continue;
        }
        let mut lines = BufReader::new(MultiGzDecoder::new(file));
        let mut line = String::new();
        while lines.read_line(&mut line)? > 0 {
            // Most events are the product's own; they are not even parsed.
            if line.contains(OURS) {
                picked.extend(pick(&line));
            }
            line.clear();
        }
    }
    Ok(picked)
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

    fn archive(files: &[&[Value]]) -> Cursor<Vec<u8>> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for (number, lines) in files.iter().enumerate() {
            let options = SimpleFileOptions::default();
            archive.start_file(format!("1/1_2026-11-20_{number}#0.json.gz"), options).unwrap();
            let mut gzip = GzEncoder::new(&mut archive, Compression::fast());
            for line in *lines {
                writeln!(gzip, "{line}").unwrap();
            }
            gzip.finish().unwrap();
        }
        archive.finish().unwrap()
    }

    #[test]
    fn of_all_events_of_a_project_only_stripes_come_out() {
        let stripe = json!({"$insert_id": "evt_1", "event_type": "[Stripe] charge.failed", "event_time": "2026-11-20 05:06:07", "event_properties": {"a": 1}, "uuid": "x"});
        let other = json!({"$insert_id": "i", "event_type": "Page viewed", "event_properties": {"title": "[Stripe] "}});
        let events = read(archive(&[&[other.clone(), stripe.clone()], &[], &[other]]), Exported::in_line).unwrap();
        assert_eq!(events, [serde_json::from_value::<Exported>(stripe).unwrap()]);
        assert!(read(Cursor::new(b"not a zip"), Exported::in_line).is_err());
    }
}
