//! Text for a terminal.

/// Maximum width of a line in characters, unless a single word is wider.
const WIDTH: usize = 100;

/// `text` after `start`, wrapped between words, with a line break at the end. All lines but the first are indented by
/// `indent` spaces.
pub fn wrap(start: &str, indent: usize, text: &str) -> String {
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
pub fn printable(text: &str) -> String {
    escaped(text, is_control)
}

/// The same for several lines, which may contain tabs.
pub fn visible(text: &str) -> String {
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
pub fn count(number: usize, noun: &str) -> String {
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
