//! What could not be sent, in a file, each event with the reason: `backfill --from-file` takes it when that is mended.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A line of the file.
#[derive(Deserialize, Serialize)]
pub(crate) struct Line<'l> {
    reason: std::borrow::Cow<'l, str>,
    /// As Stripe has it.
    #[serde(borrow)]
    event: &'l RawValue,
}

/// The file. It is made with its first line.
pub(crate) struct Rejected {
    path: PathBuf,
    file: Option<File>,
    length: u64,
}

impl Rejected {
    /// What is behind `length` is of a request that is sent again, and goes.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn open(path: &Path, length: Option<u64>) -> Result<Self, String> {
        let there = std::fs::metadata(path).map_or(0, |file| file.len());
        let mut rejected = Self { path: path.to_owned(), file: None, length: there };
        if let Some(length) = length.filter(|length| *length < there) {
            rejected.length = length;
            rejected.open_file().and_then(|file| file.set_len(length)).map_err(|error| rejected.named(&error))?;
        }
        Ok(rejected)
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
            // Then it is kept as text.
            Err(_) => {
                not_json = serde_json::value::to_raw_value(&String::from_utf8_lossy(event)).unwrap_or_default();
                &not_json
            }
        };
        // A line each, whatever Stripe's layout. A line break inside a text is `\n` in JSON.
        let line = serde_json::to_string(&Line { reason: reason.into(), event }).unwrap_or_default();
        let line = format!("{}\n", line.replace(['\n', '\r'], " "));
        let length = self.length;
        let write = |file: &mut File| {
            file.seek(SeekFrom::Start(length))?;
            file.write_all(line.as_bytes())
        };
        let result = self.open_file().and_then(write);
        result.map_err(|error| self.named(&error))?;
        self.length += line.len() as u64;
        Ok(())
    }

    fn open_file(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let mut options = OpenOptions::new();
                options.write(true).create(true);
                // Customers' data is in it.
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                options.open(&self.path)?
            }
        };
        Ok(self.file.insert(file))
    }

    fn named(&self, error: &io::Error) -> String {
        format!("{}: {error}", self.path.display())
    }
}

/// The event in a line of such a file, or the line itself.
pub(crate) fn event_in(line: &[u8]) -> &[u8] {
    // Only where it can be one: every line of a long history passes here.
    if !line.starts_with(b"{\"reason\":") {
        return line;
    }
    serde_json::from_slice::<Line<'_>>(line).map_or(line, |line| line.event.get().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejected_events_stand_in_a_line_each_and_can_be_read_again() {
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
        assert_eq!(event_in(lines[0].as_bytes()), br#"{   "id": "evt_1" }"#);
        let plain = br#"{"id": "evt_1"}"#;
        assert_eq!(event_in(plain), plain);

        // What came after the cursor was saved goes, and comes again.
        let mut again = Rejected::open(&path, Some(length)).unwrap();
        again.add("400", b"{}").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.ends_with("{\"reason\":\"400\",\"event\":{}}\n"));
    }
}
