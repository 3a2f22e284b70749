//! How far a backfill is, in a file, so that it goes on there after it ended, however it ended.
//!
//! The file is written after each request to Amplitude. Whatever was on its way when the process died is sent once more,
//! and Amplitude drops it, within seven days.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::{self, HOUR, WEEK};
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
}

/// The last event that is done with.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Position {
    /// In Stripe's list.
    Place(Place),
    /// In a file: the number of its line, and where the next one begins.
    Line { line: u64, next: u64 },
}

/// What became of the events until now.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) known: u64,
    pub(crate) left_out: u64,
    pub(crate) rejected: u64,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Progress {
    job: Job,
    /// Where it ends: the moment of its beginning, unless the user said otherwise.
    pub(crate) until: i64,
    pub(crate) done: Option<Position>,
    pub(crate) counts: Counts,
    /// Bytes in the file of rejected events; what is behind them is of a request that is sent again.
    pub(crate) rejected_length: u64,
    /// Unix seconds.
    saved: i64,
    /// Whether it was stopped with no request on its way.
    is_clean: bool,
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
    pub(crate) fn open(path: &Path, job: Job, now: i64) -> Result<(Self, bool), String> {
        let name = path.display();
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let until = job.until.unwrap_or(now);
                let counts = Counts::default();
                let progress =
                    Progress { job, until, done: None, counts, rejected_length: 0, saved: now, is_clean: true };
                return Ok((Self { path: path.to_owned(), progress }, false));
            }
            Err(error) => return Err(format!("{name}: {error}")),
        };
        let progress: Progress = serde_json::from_slice(&text)
            .map_err(|_| format!("{name} is no cursor of a backfill; choose another file with --cursor"))?;
        if progress.job != job {
            return Err(format!(
                "{name} is of a backfill with other options, which has not ended: use the same options to go on with it, delete the file to give it up, or choose another file with --cursor"
            ));
        }
        Ok((Self { path: path.to_owned(), progress }, true))
    }

    /// Whether a request may have been on its way so long ago that Amplitude would not drop what it took then.
    pub(crate) fn is_in_doubt(&self, now: i64) -> bool {
        !self.progress.is_clean && self.progress.saved < now - (WEEK - HOUR)
    }

    /// Writes it, in one step: a process that dies leaves the old file or the new one.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn save(&mut self, is_clean: bool) -> Result<(), String> {
        self.progress.is_clean = is_clean;
        self.progress.saved = clock::now().cast_signed();
        let new = self.path.with_added_extension("new");
        let write = || -> io::Result<()> {
            let mut file = File::create(&new)?;
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

    fn job(project: &str) -> Job {
        Job {
            project: project.to_owned(),
            from: "Stripe".to_owned(),
            since: Some(1),
            until: None,
            account: None,
            undelivered: false,
            source: None,
        }
    }

    #[test]
    fn a_backfill_goes_on_where_it_stopped_and_no_other_one_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cursor.json");
        let (mut cursor, found) = Cursor::open(&path, job("shop"), 1000).unwrap();
        assert!(!found);
        assert_eq!(cursor.progress.until, 1000);
        cursor.progress.done = Some(Position::Place(Place { created: 7, id: "evt_1".to_owned() }));
        cursor.save(false).unwrap();

        let (again, found) = Cursor::open(&path, job("shop"), 2000).unwrap();
        assert!(found);
        // It ends where it would have ended.
        assert_eq!(again.progress, cursor.progress);
        let saved = again.progress.saved;
        assert!(!again.is_in_doubt(saved) && again.is_in_doubt(saved + WEEK));
        cursor.save(true).unwrap();
        let (clean, _) = Cursor::open(&path, job("shop"), 2000).unwrap();
        assert!(!clean.is_in_doubt(saved + 2 * WEEK));

        assert!(Cursor::open(&path, job("other"), 1).err().unwrap().contains("other options"));
        std::fs::write(&path, "{}").unwrap();
        assert!(Cursor::open(&path, job("shop"), 1).err().unwrap().contains("no cursor"));
        clean.delete();
        assert!(!path.exists());
    }
}
