//! Plain text for a terminal or a pipe.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};

use tokio::sync::Notify;

/// Maximum width of a line in characters, unless a single word is wider.
const WIDTH: usize = 100;

/// Notifies [`closed`].
static CLOSED: Notify = Notify::const_new();

/// Prints to standard output.
///
/// # Errors
/// If it cannot be written. If the reader has closed the pipe, like `head` does, [`is_closed`] recognizes the error, and the
/// command ends quietly.
pub(crate) fn print(text: &str) -> io::Result<()> {
    write(visible(text).as_bytes())
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(bytes).and_then(|()| output.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => {
            CLOSED.notify_one();
            closed_error()
        }
        _ => error,
    })
}

/// Prints to standard error. There is no place to report a failure to.
pub(crate) fn tell(text: &str) {
    let _ = io::stderr().lock().write_all(visible(text).as_bytes());
}

/// Whether the error is that standard output was closed.
pub(crate) fn is_closed(error: &(dyn Error + 'static)) -> bool {
    let error: Option<&io::Error> = error.downcast_ref();
    error.and_then(io::Error::get_ref).is_some_and(|inner| inner.is::<Closed>())
}

/// Waits until a print fails because standard output was closed. For commands that only log.
///
/// # Errors
/// Always, with the error that [`is_closed`] recognizes.
pub(crate) async fn closed() -> io::Result<()> {
    CLOSED.notified().await;
    Err(closed_error())
}

fn closed_error() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, Closed)
}

/// Standard output was closed.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output was closed")
    }
}

impl Error for Closed {}

/// Standard output for a log, which cannot report an error; [`closed`] reports it.
pub(crate) struct Output;

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match write(bytes) {
            Err(error) if !is_closed(&error) => Err(error),
            _ => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Like `println!`, with [`print()`].
macro_rules! say {
    ($($text:tt)*) => { $crate::terminal::print(&format!("{}\n", format_args!($($text)*))) };
}

pub(crate) use say;

/// `text` after `start`, wrapped between words, with a line break at the end. All lines but the first are indented by
/// `indent` spaces.
pub(crate) fn wrap(start: &str, indent: usize, text: &str) -> String {
    let mut wrapped = start.to_owned();
    let mut column = start.chars().count();
    let mut follows_a_word = false;
    for word in text.split(' ') {
        let word = printable(word);
        let length = word.chars().count();
        if follows_a_word && column + 1 + length > WIDTH {
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(indent));
            column = indent;
        } else if follows_a_word {
            wrapped.push(' ');
            column += 1;
        }
        wrapped.push_str(&word);
        column += length;
        follows_a_word = true;
    }
    wrapped.push('\n');
    wrapped
}

/// Foreign text within a line, without characters that control the terminal or break the line.
pub(crate) fn printable(text: &str) -> String {
    escaped(text, is_control)
}

/// The same for several lines, which may contain tabs.
fn visible(text: &str) -> String {
    escaped(text, |character| is_control(character) && !matches!(character, '\n' | '\t'))
}

fn is_control(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Escapes like JSON, so that JSON keeps its meaning.
fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if is_escaped(character) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// `1 type`, `2 types`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("  ", 2, "a short text"), "  a short text\n");
        let (long, word) = ("x".repeat(98), "y".repeat(120));
        assert_eq!(wrap("", 2, &format!("{long} a b {word} c")), format!("{long} a\n  b\n  {word}\n  c\n"));
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(wrap("", 0, "a\u{1b}[31m\nb"), "a\\u001b[31m\\u000ab\n");
        assert_eq!(visible("a\u{1b}[31m\n\tb\u{202e}\u{9b}\r"), "a\\u001b[31m\n\tb\\u202e\\u009b\\u000d");
    }

    #[test]
    fn json_keeps_its_meaning() {
        let value = serde_json::json!({"a": "x\u{7f}\u{9b}\u{2066}\n"});
        let shown = visible(&format!("{value:#}"));
        assert!(!shown.contains(|character| is_control(character) && character != '\n'));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
