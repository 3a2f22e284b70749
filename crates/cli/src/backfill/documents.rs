//! The JSON documents in a file: one per line, over several lines, or several in a line.
//!
//! Brackets delimit a document, without parsing it, so that an invalid one can be separated from its neighbours. If the
//! brackets do not match, the document ends with its first line, so that a truncated line does not swallow the next.

use std::io::{self, BufRead, Read as _};

use serde::de::IgnoredAny;
use stripe_amplitude::stripe::event::{EventError, is_utf16};
use stripe_amplitude::stripe::signature::BYTE_ORDER_MARK;
use stripe_amplitude::webhook::LARGEST_BODY;

/// No event is this long.
const LONGEST: usize = LARGEST_BODY * 2;

/// Maximum nesting.
const DEEPEST: u32 = 128;

/// A document, or an invalid line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Document {
    /// The line where it begins, from 1.
    pub(super) line: u64,
    /// The byte where it begins.
    pub(super) start: u64,
    /// The byte where reading continues.
    pub(super) next: u64,
    pub(super) text: Vec<u8>,
}

/// The documents of a file, in order.
pub(super) struct Documents<R> {
    reader: R,
    /// Read ahead, up to the end of a line.
    buffer: Vec<u8>,
    /// How much of the buffer is consumed.
    used: usize,
    /// The position in the file.
    line: u64,
    place: u64,
}

impl<R: BufRead> Documents<R> {
    /// Continues where the reader is: in this line, at this byte.
    ///
    /// # Errors
    /// If the file cannot be read, or is UTF-16.
    pub(super) fn new(mut reader: R, line: u64, place: u64) -> io::Result<Self> {
        if is_utf16(reader.fill_buf()?) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, EventError::Utf16));
        }
        Ok(Self { reader, buffer: Vec::new(), used: 0, line, place })
    }

    /// The next one; `None` after the last.
    ///
    /// # Errors
    /// If the file cannot be read, or a document over several lines is longer than any event.
    pub(super) fn next(&mut self) -> io::Result<Option<Document>> {
        if !self.skip_blanks()? {
            return Ok(None);
        }
        let (line, start) = (self.line, self.place);
        let length = self.find_end()?;
        let text = self.rest().get(..length).unwrap_or_default().trim_ascii_end().to_vec();
        self.advance(length);
        if length >= LONGEST {
            self.skip_line()?;
        }
        Ok(Some(Document { line, start, next: self.place, text }))
    }

    /// The length of the document that begins here.
    fn find_end(&mut self) -> io::Result<usize> {
        if !self.rest().starts_with(b"{") && !self.rest().starts_with(b"[") {
            return Ok(first_line(self.rest()));
        }
        let mut scan = Scan::default();
        loop {
            let rest = self.rest();
            let is_one_line = first_line(rest) == rest.len();
            match scan.resume(rest) {
                Some(End::Whole(length)) => {
                    let text = rest.get(..length).unwrap_or_default();
                    // A single line is validated later, during translation on another core.
                    if !text.contains(&b'\n') || serde_json::from_slice::<IgnoredAny>(text).is_ok() {
                        return Ok(length);
                    }
                    return self.end_of_broken();
                }
                Some(End::Broken) if is_one_line => return Ok(rest.len()),
                Some(End::Broken) => return self.end_of_broken(),
                None if rest.len() >= LONGEST && is_one_line => return Ok(LONGEST),
                None if rest.len() >= LONGEST && rest.starts_with(b"[") => return Err(self.too_long()),
                None if rest.len() >= LONGEST => return self.end_of_broken(),
                None => {}
            }
            if !self.read_line()? {
                return self.end_of_broken();
            }
        }
    }

    /// The length to skip if the brackets over several lines do not match: the first line, and further lines up to one that
    /// looks like the beginning of another document.
    fn end_of_broken(&mut self) -> io::Result<usize> {
        let mut end = first_line(self.rest());
        loop {
            if end >= LONGEST {
                return Err(self.too_long());
            }
            if end == self.rest().len() && !self.read_line()? {
                return Ok(end);
            }
            let next = self.rest().get(end..).unwrap_or_default();
            if next.starts_with(b"{") {
                return Ok(end);
            }
            end += first_line(next);
        }
    }

    fn too_long(&self) -> io::Error {
        let why = format!(
            "the JSON that begins in line {} is longer than any event; split a list with `jq -c '.data[]'`, or an array with `jq -c '.[]'`",
            self.line
        );
        io::Error::new(io::ErrorKind::InvalidData, why)
    }

    /// Returns whether anything follows.
    fn skip_blanks(&mut self) -> io::Result<bool> {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_ascii_start().len();
            // In concatenated files, a byte order mark is also between documents.
            let is_marked = rest.get(blanks..).is_some_and(|rest| rest.starts_with(BYTE_ORDER_MARK.as_bytes()));
            let skipped = blanks + if is_marked { BYTE_ORDER_MARK.len() } else { 0 };
            self.advance(skipped);
            if skipped == 0 && !self.rest().is_empty() {
                return Ok(true);
            }
            if self.rest().is_empty() && !self.read_line()? {
                return Ok(false);
            }
        }
    }

    /// Skips the rest of a line without buffering it.
    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let length = first_line(self.rest());
            let is_over = self.rest().get(..length).is_some_and(|line| line.ends_with(b"\n"));
            self.advance(length);
            if is_over || !self.read_line()? {
                return Ok(());
            }
        }
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.used..).unwrap_or_default()
    }

    fn advance(&mut self, bytes: usize) {
        let passed = self.rest().get(..bytes).unwrap_or_default();
        let lines = passed.iter().filter(|byte| **byte == b'\n').count();
        self.line += lines as u64;
        self.place += bytes as u64;
        self.used += bytes;
    }

    /// Reads one more line, or a part of it that is longer than any event. Returns whether there was one.
    fn read_line(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.used);
        self.used = 0;
        Ok(self.reader.by_ref().take(LONGEST as u64).read_until(b'\n', &mut self.buffer)? > 0)
    }
}

/// The length of the first line, with its line break.
fn first_line(text: &[u8]) -> usize {
    text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |end| end + 1)
}

/// Finds the bracket that closes the first one.
#[derive(Default)]
struct Scan {
    seen: usize,
    depth: u32,
    in_text: bool,
    escaped: bool,
}

enum End {
    /// The document has this length.
    Whole(usize),
    /// The document is invalid.
    Broken,
}

impl Scan {
    /// Continues in a text that has grown. `None` if more is needed.
    fn resume(&mut self, text: &[u8]) -> Option<End> {
        for byte in text.get(self.seen..)? {
            self.seen += 1;
            match byte {
                // A JSON string contains no line break.
                b'\n' if self.in_text => return Some(End::Broken),
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_text => self.escaped = true,
                b'"' => self.in_text = !self.in_text,
                _ if self.in_text => {}
                b'{' | b'[' if self.depth == DEEPEST => return Some(End::Broken),
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth == 1 => return Some(End::Whole(self.seen)),
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// The line of each document, and its text.
    fn read(text: &str) -> Vec<(u64, String)> {
        let mut documents = Documents::new(text.as_bytes(), 1, 0).unwrap();
        let mut found = Vec::new();
        let mut place = 0;
        while let Some(Document { line, start, next, text: document }) = documents.next().unwrap() {
            assert!(place <= start && start < next && next <= text.len() as u64);
            assert!(text.as_bytes()[start as usize..].starts_with(&document));
            place = next;
            found.push((line, String::from_utf8(document).unwrap()));
        }
        found
    }

    fn found(expected: &[(u64, &str)]) -> Vec<(u64, String)> {
        expected.iter().map(|(line, text)| (*line, (*text).to_owned())).collect()
    }

    #[test]
    fn documents_are_found_in_every_layout() {
        assert_eq!(read(""), []);
        assert_eq!(read(" \n\r\n\u{feff}\n"), []);
        assert_eq!(read("{}"), found(&[(1, "{}")]));
        assert_eq!(
            read("\u{feff}{\"a\": 1}\r\n\r\n{\"b\": [2]}\r\n"),
            found(&[(1, "{\"a\": 1}"), (3, "{\"b\": [2]}")])
        );
        assert_eq!(
            read("{\"a\":1}{\"b\":2} [3]\n{}"),
            found(&[(1, "{\"a\":1}"), (1, "{\"b\":2}"), (1, "[3]"), (2, "{}")])
        );
        let pretty = "{\n  \"a\": {\n    \"b\": \"}{\\\"\"\n  }\n}";
        assert_eq!(read(&format!("{pretty}\n{pretty}\n")), found(&[(1, pretty), (6, pretty)]));
        assert_eq!(read(&format!("{pretty}{pretty}\u{feff}{{}}")), found(&[(1, pretty), (5, pretty), (9, "{}")]));
        // A list may have this layout.
        let list = "{\"data\":[\n{\"a\":1},\n{\"b\":2}\n]}";
        assert_eq!(read(&format!("{list}\n{{}}")), found(&[(1, list), (5, "{}")]));
    }

    #[test]
    fn invalid_document_does_not_swallow_others() {
        for broken in [
            "oops",
            "\"text\"",
            "}",
            "{\"id\": \"evt_1\", \"da",
            "{\"id\": \"evt_1\",",
            "{\"id\": \"evt_1\", \"data\":",
            "{\"id\": \"evt_1\", \"data\": {\"object\": {}",
            "[",
            "[{\"id\": [[",
            "{\"a\": 1, \"b: 2}",
            "{\"a\\",
            "{oops}",
        ] {
            for (before, after) in
                [("{\"a\":1}\n", "\n{\"b\":2}\n{\"c\":3}\n"), ("", "\n{\"b\":2}"), ("{\"a\":1}\n\n", "")]
            {
                let read = read(&format!("{before}{broken}{after}"));
                let expected = before.lines().chain([broken]).chain(after.lines()).filter(|line| !line.is_empty());
                assert_eq!(read.iter().map(|(_, text)| &**text).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            }
        }
        // All lines of an invalid document.
        let broken = "{\n  \"a\": \"cut off\n  \"b\": [\n    {\n    }\n  ]\n}";
        assert_eq!(read(&format!("{broken}\n{{}}\n")), found(&[(1, broken), (8, "{}")]));
        let mismatched = "{\n  \"a\": [1, 2,\n}}";
        assert_eq!(read(&format!("{mismatched}\n{{}}\n")), found(&[(1, mismatched), (4, "{}")]));
        let deep = "{\"a\":[".repeat(65);
        assert_eq!(read(&format!("{deep}\n{{}}")), found(&[(1, &deep), (2, "{}")]));
    }

    #[test]
    fn reading_can_continue_at_each_document() {
        let text = "\u{feff}{\n\"a\":1}\n\n{\"b\":2}{\"c\":\n3} oops\n[4]";
        let all = read(text);
        let mut documents = Documents::new(text.as_bytes(), 1, 0).unwrap();
        for index in 0..all.len() {
            let Document { line, start, next, .. } = documents.next().unwrap().unwrap();
            let mut again = Documents::new(&text.as_bytes()[start as usize..], line, start).unwrap();
            for (line, text) in &all[index..] {
                let document = again.next().unwrap().unwrap();
                assert_eq!((document.line, &document.text), (*line, &text.clone().into_bytes()));
            }
            assert_eq!(again.next().unwrap(), None);
            assert!(next <= text.len() as u64);
        }
    }

    #[test]
    fn memory_is_bounded_for_long_lines() {
        for (begin, length) in [("{\"a\":\"", LONGEST + 10), ("", LONGEST * 2 + 10), ("[", LONGEST)] {
            let text = format!("{{}}\n{begin}{}\n{{\"b\":2}}", "x".repeat(length));
            let mut documents = Documents::new(text.as_bytes(), 1, 0).unwrap();
            let mut next = || documents.next().unwrap().unwrap();
            assert_eq!(next().text, b"{}");
            let long = next();
            assert!((LONGEST..=LONGEST + 10).contains(&long.text.len()), "{}", long.text.len());
            assert_eq!((long.start, long.next), (3, text.len() as u64 - 7));
            let last = next();
            assert_eq!((last.line, &*last.text), (3, &b"{\"b\":2}"[..]));
            assert!(documents.buffer.capacity() <= 3 * LONGEST);
        }
    }

    #[test]
    fn long_list_and_utf_16_are_errors() {
        for (begin, indent) in [("{\n\"data\": [", "  "), ("[", "  "), ("[", "")] {
            let list = format!("{{}}\n{begin}\n{}", format!("{indent}{{\"a\": 1}},\n").repeat(LONGEST / 9));
            let mut documents = Documents::new(list.as_bytes(), 1, 0).unwrap();
            assert!(documents.next().unwrap().is_some());
            let error = documents.next().unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains("jq"), "{error}");
        }
        let utf_16: Vec<_> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(Documents::new(&utf_16[..], 1, 0).err().unwrap().to_string().contains("UTF-16"));
    }

    #[test]
    fn truncated_lines_are_fast() {
        for line in ["{\"a\":", "{\"a\": 1,", "{\"a\": \"b", "{", "{}x"] {
            let text = format!("{line}\n").repeat(20_000);
            let start = std::time::Instant::now();
            assert!(read(&text).len() >= 20_000);
            assert!(start.elapsed().as_secs() < 20, "{line}: {:?}", start.elapsed());
        }
    }

    proptest! {
        /// Like serde_json's own stream.
        #[test]
        fn all_documents_are_found(
            texts in prop::collection::vec("[a-z{}\\[\\]\"\\\\\n é]{0,6}", 0..8),
            layouts in prop::collection::vec((any::<bool>(), "[ \n\r\t]{0,3}"), 8),
        ) {
            let values: Vec<_> = texts.iter().map(|text| json!({"id": text, "data": [{text: [text]}, {}]})).collect();
            let written = values.iter().zip(&layouts).map(|(value, (is_pretty, blanks))| {
                if *is_pretty { format!("{value:#}{blanks}") } else { format!("{value}{blanks}") }
            });
            let text: String = written.collect();
            let stream: Vec<Value> = serde_json::Deserializer::from_str(&text).into_iter().map(Result::unwrap).collect();
            let found: Vec<Value> = read(&text).iter().map(|(_, text)| serde_json::from_str(text).unwrap()).collect();
            prop_assert_eq!(&found, &stream);
            prop_assert_eq!(found, values);
        }

        #[test]
        fn no_character_is_lost(text in "[{}\\[\\]\":a\\\\\n ]{0,60}") {
            let found: String = read(&text).into_iter().map(|(_, text)| text).collect();
            let letters = |text: &str| text.chars().filter(|character| !character.is_whitespace()).collect::<String>();
            prop_assert_eq!(letters(&found), letters(&text));
        }
    }
}
