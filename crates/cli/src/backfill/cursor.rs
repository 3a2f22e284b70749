//! The progress of a backfill, in a file, so that it can resume after any interruption.
//!
//! The file is written before and after each request to Amplitude. A request that was in flight when the process died is
//! sent again, and Amplitude drops the repeats within seven days.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::amplitude::known::WINDOW;
use crate::private_file;
use crate::stripe::events::Place;

/// The parameters of a backfill. One with other parameters does not resume this one.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Job {
    pub(crate) project: String,
    /// `Stripe`, or the name of a file.
    pub(crate) from: String,
    /// As given on the command line, in Unix seconds.
    pub(crate) since: Option<i64>,
    pub(crate) until: Option<i64>,
    pub(crate) account: Option<String>,
    pub(crate) undelivered: bool,
    pub(crate) source: Option<String>,
    /// Where events go: Amplitude's region, or a URL.
    pub(crate) to: String,
    /// A digest of the keys: other keys mean another Amplitude project or another Stripe account.
    pub(crate) keys: String,
}

/// Distinguishes texts without revealing them.
pub(crate) fn digest<'t>(texts: impl IntoIterator<Item = &'t [u8]>) -> String {
    let mut digest = Sha256::new();
    for text in texts {
        digest.update(Sha256::digest(text));
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The last settled event.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Position {
    /// In Stripe's list.
    Place(Place),
    /// In a file: the line and the byte where its document begins, the byte where reading continues, and a digest of the
    /// event once it is settled.
    Line { line: u64, start: u64, next: u64, digest: Option<String> },
}

/// The outcomes of the events so far.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) known: u64,
    /// Older versions called it `left_out`.
    #[serde(alias = "left_out")]
    pub(crate) ignored: u64,
    pub(crate) rejected: u64,
    /// Outside the requested time range.
    pub(crate) of_another_time: u64,
    /// Of the sent events, those that Amplitude accepted and did not count.
    #[serde(default)]
    pub(crate) not_ingested: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Progress {
    job: Job,
    /// The end of the time range. For Stripe's list the time of the first run, unless the user gave one.
    pub(crate) until: i64,
    pub(crate) done: Option<Position>,
    pub(crate) counts: Counts,
    /// Bytes in the file of rejected events. Later bytes may belong to a request that is sent again.
    pub(crate) rejected_length: u64,
    /// Since when, in Unix seconds, a request may be in flight, or in Amplitude without being settled.
    pub(crate) in_flight_since: Option<i64>,
}

/// The file.
pub(crate) struct Cursor {
    path: PathBuf,
    pub(crate) progress: Progress,
}

impl Cursor {
    /// The one in the file, or a new one. The second value says whether it resumes an earlier run.
    ///
    /// # Errors
    /// A sentence, if the file belongs to another backfill or cannot be read.
    pub(crate) fn open(path: &Path, job: Job, until: i64) -> Result<(Self, bool), String> {
        let name = path.display();
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Self::new(path, job, until), false));
            }
            Err(error) => return Err(format!("{name}: {error}")),
        };
        let progress: Progress = serde_json::from_slice(&text)
            .map_err(|_| format!("{name} is not the cursor of a backfill; choose another file with --cursor"))?;
        if progress.job == job {
            return Ok((Self { path: path.to_owned(), progress }, true));
        }
        // Nothing was sent, for example because a key was wrong, so there is nothing to resume.
        if progress.done.is_none() && progress.in_flight_since.is_none() {
            return Ok((Self::new(path, job, until), false));
        }
        Err(format!(
            "{name} belongs to an unfinished backfill with other options or keys: repeat it with the same ones to continue, delete the file to abandon it, or choose another file with --cursor"
        ))
    }

    fn new(path: &Path, job: Job, until: i64) -> Self {
        let counts = Counts::default();
        let progress = Progress { job, until, done: None, counts, rejected_length: 0, in_flight_since: None };
        Self { path: path.to_owned(), progress }
    }

    /// Whether a request may have been in flight so long ago that Amplitude would not drop its repeats.
    pub(crate) fn has_stale_request(&self, now: i64) -> bool {
        self.progress.in_flight_since.is_some_and(|since| since < now - WINDOW)
    }

    /// A request is about to be sent: Amplitude may have more than the file says.
    ///
    /// # Errors
    /// Like [`Cursor::save`].
    pub(crate) fn save_in_flight(&mut self, now: i64) -> Result<(), String> {
        // If an earlier run died, it sent the same events: its time counts.
        self.progress.in_flight_since.get_or_insert(now);
        self.save()
    }

    /// Amplitude accepted nothing of the request.
    ///
    /// # Errors
    /// Like [`Cursor::save`].
    pub(crate) fn save_refused(&mut self, in_flight_since: Option<i64>) -> Result<(), String> {
        self.progress.in_flight_since = in_flight_since;
        self.save()
    }

    /// The request is settled.
    ///
    /// # Errors
    /// Like [`Cursor::save`].
    pub(crate) fn save_done(&mut self) -> Result<(), String> {
        self.progress.in_flight_since = None;
        self.save()
    }

    /// Writes the file atomically: a process that dies leaves the old file or the new one.
    ///
    /// # Errors
    /// A sentence that names the file.
    fn save(&self) -> Result<(), String> {
        let new = self.path.with_added_extension("new");
        let write = || -> io::Result<()> {
            let mut file = private_file::make(&new)?;
            serde_json::to_writer(&mut file, &self.progress)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)
        };
        write().map_err(|error| format!("{}: {error}", self.path.display()))
    }

    /// The backfill is complete.
    pub(crate) fn delete(self) {
        // The file may never have been written.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(project: &str, keys: &str) -> Job {
        Job {
            project: project.to_owned(),
            from: "Stripe".to_owned(),
            since: Some(1),
            until: None,
            account: None,
            undelivered: false,
            source: None,
            to: "Amplitude (US)".to_owned(),
            keys: keys.to_owned(),
        }
    }

    #[test]
    fn only_the_same_backfill_resumes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cursor.json");
        let (mut cursor, found) = Cursor::open(&path, job("shop", "k"), 1000).unwrap();
        assert!(!found);
        assert_eq!(cursor.progress.until, 1000);
        cursor.progress.done = Some(Position::Place(Place { created: 7, id: "evt_1".to_owned() }));
        cursor.save_done().unwrap();
        let (again, found) = Cursor::open(&path, job("shop", "k"), 2000).unwrap();
        // The end of the time range stays the same.
        assert_eq!((again.progress, found), (cursor.progress.clone(), true));
        for other in [job("other", "k"), job("shop", "other")] {
            assert!(Cursor::open(&path, other, 1).err().unwrap().contains("other options or keys"));
        }
        // A file of an older version.
        let text = std::fs::read_to_string(&path).unwrap().replace("\"ignored\":0", "\"left_out\":3");
        std::fs::write(&path, text).unwrap();
        assert_eq!(Cursor::open(&path, job("shop", "k"), 1).unwrap().0.progress.counts.ignored, 3);
        std::fs::write(&path, "{}").unwrap();
        assert!(Cursor::open(&path, job("shop", "k"), 1).err().unwrap().contains("not the cursor"));
        cursor.delete();
        assert!(!path.exists());
    }

    #[test]
    fn unstarted_backfill_can_change_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cursor.json");
        let (mut cursor, _) = Cursor::open(&path, job("shop", "wrong"), 1000).unwrap();
        cursor.save_done().unwrap();
        assert!(!Cursor::open(&path, job("shop", "right"), 2000).unwrap().1);
        cursor.save_in_flight(1500).unwrap();
        assert!(Cursor::open(&path, job("shop", "right"), 2000).is_err());
    }

    #[test]
    fn request_is_stale_a_week_after_its_first_attempt() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cursor.json");
        let (mut cursor, _) = Cursor::open(&path, job("shop", "k"), 1000).unwrap();
        assert!(!cursor.has_stale_request(i64::MAX));
        cursor.save_in_flight(1000).unwrap();
        // Two runs died.
        cursor.save_in_flight(2000).unwrap();
        assert!(!cursor.has_stale_request(1000 + WINDOW) && cursor.has_stale_request(1001 + WINDOW));
        cursor.save_done().unwrap();
        assert!(!cursor.has_stale_request(i64::MAX));
    }

    #[test]
    fn digest_distinguishes_texts() {
        let of = |texts: &[&str]| digest(texts.iter().map(|text| text.as_bytes()));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert!(of(&["a", "b"]) != of(&["ab", ""]) && of(&["a"]) != of(&["a", ""]));
    }
}
