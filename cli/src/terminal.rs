//! Plain text for a terminal.

use std::io::{self, BufRead as _, Write as _};

/// No line is wider, in characters, unless a single word is.
const WIDTH: usize = 100;

/// Prints to standard output. A reader that has seen enough, such as `head`, is no error.
///
/// # Errors
/// Where it cannot be written.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// `println!` by way of [`print()`].
macro_rules! say {
    ($($text:tt)*) => { $crate::terminal::print(&format!("{}\n", format_args!($($text)*))) };
}

pub(crate) use say;

/// `text` behind `start`, with line breaks between words, and one at the end. All lines but the first are indented by
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

/// What stands in an event shall not steer the terminal.
fn printable(text: &str) -> String {
    let steers = |character: char| character.is_control() || matches!(character, '\u{202a}'..='\u{202e}');
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if steers(character) {
            printable.extend(character.escape_unicode());
        } else {
            printable.push(character);
        }
    }
    printable
}

/// Asks whoever sits at the terminal; anything but yes is no.
///
/// # Errors
/// Where the answer cannot be read.
pub(crate) fn confirmed(question: &str) -> io::Result<bool> {
    print(&format!("{question} [y/N] "))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
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
    fn the_terminal_is_not_steered() {
        assert_eq!(wrap("", 0, "a\u{1b}[31m\nb"), "a\\u{1b}[31m\\u{a}b\n");
    }
}
