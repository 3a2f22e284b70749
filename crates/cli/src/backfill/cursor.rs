//! How far a backfill is, in a file, so that it goes on there after it ended, however it ended.
//!
//! The file is written before and after each request to Amplitude. Whatever was on its way when the process died is sent
//! once more, and Amplitude drops it, within seven days.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::amplitude::known::WINDOW;
use crate::private_file;
use crate::stripe::events::Place;

/// What a backfill is about. Another one does not go on where this one stopped.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Job {
    pub(crate) project: String,
    /// `Stripe`, or the name of a file.
    pub(crate) from: String,
    /// As the user said it, in Unix seconds.
    pub(crate) since: Option<i64>,
    pub(crate) until: Option<i64>,
    pub(crate) account: Option<String>,
    pub(crate) undelivered: bool,
    pub(crate) source: Option<String>,
    /// Where events go: Amplitude's region, or a URL.
    pub(crate) to: String,
    /// A digest of the keys: with others, it is another Amplitude project or another Stripe account.
    pub(crate) keys: String,
}

/// What tells texts apart and does not tell them.
pub(crate) fn digest<'t>(texts: impl IntoIterator<Item = &'t [u8]>) -> String {
    let mut digest = Sha256::new();
    for text in texts {
        digest.update(Sha256::digest(text));
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The last event that is done with.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Position {
    /// In Stripe's list.
    Place(Place),
    /// In a file: the line and the byte that its document begins at, the byte that reading goes on at, and a digest of the
    /// event, once it is done with.
    Line { line: u64, start: u64, next: u64, digest: Option<String> },
}

/// What became of the events until now.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) known: u64,
    /// Older versions called it `left_out`.
    #[serde(alias = "left_out")]
    pub(crate) ignored: u64,
    pub(crate) rejected: u64,
    /// Of another time than was asked for.
    pub(crate) of_another_time: u64,
    /// Of those that were sent: what Amplitude accepted and did not count.
    #[serde(default)]
    pub(crate) not_ingested: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Progress {
    job: Job,
    /// Where it ends. For Stripe's list that is the moment of its beginning, unless the user said otherwise.
    pub(crate) until: i64,
    pub(crate) done: Option<Position>,
    pub(crate) counts: Counts,
    /// Bytes in the file of rejected events; what is behind them may be of a request that is sent again.
    pub(crate) rejected_length: u64,
    /// Since when, in Unix seconds, a request may be on its way, or in Amplitude, that is not done with.
    pub(crate) in_flight_since: Option<i64>,
}

/// The file.
pub(crate) struct Cursor {
    path: PathBuf,
    pub(crate) progress: Progress,
}

impl Cursor {
    /// The one in the file, or a new one. The second value says whether there was one.
    ///
    /// # Errors
    /// A sentence, where the file is of another backfill, or cannot be read.
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
            .map_err(|_| format!("{name} is no cursor of a backfill; choose another file with --cursor"))?;
        if progress.job == job {
            return Ok((Self { path: path.to_owned(), progress }, true));
        }
        // A wrong key, for example, before anything was sent: there is nothing to go on with.
        if progress.done.is_none() && progress.in_flight_since.is_none() {
            return Ok((Self::new(path, job, until), false));
        }
        Err(format!(
            "{name} is of a backfill with other options or keys, which has not ended: use the same ones to go on with it, delete the file to give it up, or choose another file with --cursor"
        ))
    }

    fn new(path: &Path, job: Job, until: i64) -> Self {
        let counts = Counts::default();
        let progress = Progress { job, until, done: None, counts, rejected_length: 0, in_flight_since: None };
        Self { path: path.to_owned(), progress }
    }

    /// Whether a request may have been on its way so long ago that Amplitude would not drop what it took then.
    pub(crate) fn is_in_doubt(&self, now: i64) -> bool {
        self.progress.in_flight_since.is_some_and(|since| since < now - WINDOW)
    }

    /// From here on, Amplitude may have more than the file says.
    ///
    /// # Errors
    /// As for [`Cursor::save`].
    pub(crate) fn save_in_flight(&mut self, now: i64) -> Result<(), String> {
        // The same events as before it died, if it did: the first time counts.
        self.progress.in_flight_since.get_or_insert(now);
        self.save()
    }

    /// Nothing of what was on its way was taken.
    ///
    /// # Errors
    /// As for [`Cursor::save`].
    pub(crate) fn save_refused(&mut self, in_flight_since: Option<i64>) -> Result<(), String> {
        self.progress.in_flight_since = in_flight_since;
        self.save()
    }

    /// What was on its way is done with.
    ///
    /// # Errors
    /// As for [`Cursor::save`].
    pub(crate) fn save_done(&mut self) -> Result<(), String> {
        self.progress.in_flight_since = None;
        self.save()
    }

    /// Writes it, in one step: a process that dies leaves the old file or the new one.
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

    /// It has ended.
    pub(crate) fn delete(self) {
        // It may never have been written.
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
    fn a_backfill_goes_on_where_it_stopped_and_no_other_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cursor.json");
        let (mut cursor, found) = Cursor::open(&path, job("shop", "k"), 1000).unwrap();
        assert!(!found);
        assert_eq!(cursor.progress.until, 1000);
        cursor.progress.done = Some(Position::Place(Place { created: 7, id: "evt_1".to_owned() }));
        cursor.save_done().unwrap();
        let (again, found) = Cursor::open(&path, job("shop", "k"), 2000).unwrap();
        // It ends where it would have ended.
        assert_eq!((again.progress, found), (cursor.progress.clone(), true));
        for other in [job("other", "k"), job("shop", "other")] {
            assert!(Cursor::open(&path, other, 1).err().unwrap().contains("other options or keys"));
        }
        // A file of an older version.
        let text = std::fs::read_to_string(&path).unwrap().replace("\"ignored\":0", "\"left_out\":3");
        std::fs::write(&path, text).unwrap();
        assert_eq!(Cursor::open(&path, job("shop", "k"), 1).unwrap().0.progress.counts.ignored, 3);
        std::fs::write(&path, "{}").unwrap();
        assert!(Cursor::open(&path, job("shop", "k"), 1).err().unwrap().contains("no cursor"));
        cursor.delete();
        assert!(!path.exists());
    }

    #[test]
    fn what_was_never_begun_is_begun_with_other_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cursor.json");
        let (mut cursor, _) = Cursor::open(&path, job("shop", "wrong"), 1000).unwrap();
        cursor.save_done().unwrap();
        assert!(!Cursor::open(&path, job("shop", "right"), 2000).unwrap().1);
        cursor.save_in_flight(1500).unwrap();
        assert!(Cursor::open(&path, job("shop", "right"), 2000).is_err());
    }

    #[test]
    fn a_request_is_in_doubt_from_when_it_first_went_until_it_is_done_with() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cursor.json");
        let (mut cursor, _) = Cursor::open(&path, job("shop", "k"), 1000).unwrap();
        assert!(!cursor.is_in_doubt(i64::MAX));
        cursor.save_in_flight(1000).unwrap();
        // It died, and dies again.
        cursor.save_in_flight(2000).unwrap();
        assert!(!cursor.is_in_doubt(1000 + WINDOW) && cursor.is_in_doubt(1001 + WINDOW));
        cursor.save_done().unwrap();
        assert!(!cursor.is_in_doubt(i64::MAX));
    }

    #[test]
    fn a_digest_tells_texts_apart() {
        let of = |texts: &[&str]| digest(texts.iter().map(|text| text.as_bytes()));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert!(of(&["a", "b"]) != of(&["ab", ""]) && of(&["a"]) != of(&["a", ""]));
    }
}
