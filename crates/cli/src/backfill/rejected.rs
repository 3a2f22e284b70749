//! A file of events that could not be sent, each with the reason. Once that is fixed, `backfill --from-file` imports it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::private_file;

/// A line of the file.
#[derive(Deserialize, Serialize)]
pub(crate) struct Line<'l> {
    reason: Cow<'l, str>,
    /// As Stripe sent it.
    #[serde(borrow)]
    event: &'l RawValue,
}

/// The file. It is created with its first line, and only ever grows, because it may contain other content.
pub(crate) struct Rejected {
    path: PathBuf,
    file: Option<File>,
    length: u64,
    /// Lines of a request that was not settled when the process died, and is sent again.
    written: HashSet<String>,
}

impl Rejected {
    /// Lines after `done` may belong to a request that is sent again, and are not written twice.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn open(path: &Path, done: Option<u64>) -> Result<Self, String> {
        let mut rejected = Self { path: path.to_owned(), file: None, length: 0, written: HashSet::new() };
        rejected.read(done).map_err(|error| rejected.named(&error))?;
        Ok(rejected)
    }

    fn read(&mut self, done: Option<u64>) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        private_file::restrict(&file)?;
        self.length = file.metadata()?.len();
        if let Some(done) = done {
            file.seek(SeekFrom::Start(done))?;
            for line in BufReader::new(file).lines() {
                self.written.insert(line?);
            }
        }
        Ok(())
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn add(&mut self, reason: &str, event: &[u8]) -> Result<(), String> {
        let not_json;
        let event = match serde_json::from_slice::<&RawValue>(event) {
            Ok(event) => event,
            // Keep it as text.
            Err(_) => {
                not_json = serde_json::value::to_raw_value(&String::from_utf8_lossy(event)).unwrap_or_default();
                &not_json
            }
        };
        // One line per event, regardless of Stripe's layout. A line break within a string is `\n` in JSON.
        let line = serde_json::to_string(&Line { reason: reason.into(), event }).unwrap_or_default();
        let line = line.replace(['\n', '\r'], " ");
        if self.written.remove(&line) {
            return Ok(());
        }
        let result = self.open_file().and_then(|file| file.write_all(format!("{line}\n").as_bytes()));
        result.map_err(|error| self.named(&error))?;
        self.length += line.len() as u64 + 1;
        Ok(())
    }

    /// Must happen before the cursor is saved.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn sync(&self) -> Result<(), String> {
        self.file.as_ref().map_or(Ok(()), File::sync_data).map_err(|error| self.named(&error))
    }

    fn open_file(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            // It contains customer data.
            None => private_file::append(&self.path)?,
        };
        Ok(self.file.insert(file))
    }

    fn named(&self, error: &io::Error) -> String {
        format!("{}: {error}", self.path.display())
    }
}

/// The event in a line of such a file, or the line itself.
pub(crate) fn event_in(line: &[u8]) -> Cow<'_, [u8]> {
    // A cheap check first: every line of a long history passes here.
    if !line.starts_with(b"{\"reason\":") {
        return line.into();
    }
    let Ok(Line { event, .. }) = serde_json::from_slice(line) else { return line.into() };
    // Invalid JSON was kept as text.
    match serde_json::from_str::<String>(event.get()) {
        Ok(text) => text.into_bytes().into(),
        Err(_) => event.get().as_bytes().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejected_events_can_be_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rejected.ndjson");
        let mut rejected = Rejected::open(&path, None).unwrap();
        assert!(!path.exists());
        rejected.add("400: \"no\"", b"{\n  \"id\": \"evt_1\"\n}").unwrap();
        let length = rejected.length();
        rejected.add("malformed", b"{oops").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            [r#"{"reason":"400: \"no\"","event":{   "id": "evt_1" }}"#, r#"{"reason":"malformed","event":"{oops"}"#,]
        );
        assert_eq!(*event_in(lines[0].as_bytes()), *br#"{   "id": "evt_1" }"#);
        assert_eq!(*event_in(lines[1].as_bytes()), *b"{oops");
        let plain = br#"{"id": "evt_1"}"#;
        assert_eq!(*event_in(plain), *plain);

        // The process died before the cursor covered the second one, so it is sent again.
        let mut again = Rejected::open(&path, Some(length)).unwrap();
        again.add("malformed", b"{oops").unwrap();
        again.add("malformed", b"{oops").unwrap();
        again.add("400", b"{}").unwrap();
        again.sync().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!((text.lines().count(), again.length()), (4, text.len() as u64));
        assert!(text.ends_with("{\"reason\":\"400\",\"event\":{}}\n"));
    }
}
