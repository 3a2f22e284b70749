//! Repairs JSON that a parser may reject although its grammar allows it: half a surrogate pair in a text, where a
//! program cut an emoji in two, and a number beyond every float. Neither is a reason to lose a payment.

use serde::de::IgnoredAny;
use serde_json::Number;

/// The same JSON with each unpaired surrogate replaced by U+FFFD, and each number beyond every float replaced by the
/// text of its digits. `None` if there is nothing to replace.
///
/// Only for JSON that the parser has rejected. Other errors stay, so that the parser rejects them again. It takes one
/// pass and one copy.
pub(crate) fn repaired(json: &str) -> Option<String> {
    let mut repaired = String::new();
    let (mut copied, mut place, mut in_text) = (0, 0, false);
    while let Some(rest) = json.get(place..)
        && let Some(first) = rest.chars().next()
    {
        let (length, replacement) = match first {
            '"' => {
                in_text = !in_text;
                (1, None)
            }
            '\\' if in_text => escape(rest),
            _ if in_text => (rest.find(['"', '\\']).unwrap_or(rest.len()), None),
            '-' | '0'..='9' => number(rest),
            _ => {
                let begins = |next: char| matches!(next, '"' | '-' | '0'..='9');
                (rest.find(begins).unwrap_or(rest.len()), None)
            }
        };
        if let Some(replacement) = replacement {
            repaired.push_str(json.get(copied..place)?);
            repaired.push_str(&replacement);
            copied = place + length;
        }
        place += length;
    }
    (copied > 0).then(|| repaired + json.get(copied..).unwrap_or_default())
}

/// The length of the escape, or pair of escapes, at the start of the text, and its replacement.
fn escape(text: &str) -> (usize, Option<String>) {
    const LENGTH: usize = r"\u0000".len();
    let is_low = |unit| (0xdc00..=0xdfff).contains(&unit);
    match code_unit(text) {
        Some(0xd800..=0xdbff) if text.get(LENGTH..).and_then(code_unit).is_some_and(is_low) => (2 * LENGTH, None),
        Some(0xd800..=0xdfff) => (LENGTH, Some(r"\ufffd".to_owned())),
        Some(_) => (LENGTH, None),
        // The backslash and the escaped character, which may be another backslash or a quotation mark.
        None => (text.chars().take(2).map(char::len_utf8).sum(), None),
    }
}

/// The value of an escape with four hexadecimal digits.
fn code_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix(r"\u")?.get(..4)?;
    // The standard library would also accept a sign.
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    are_digits.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

/// The length of a number, and its replacement.
fn number(json: &str) -> (usize, Option<String>) {
    let goes_on = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
    let length = json.bytes().take_while(|byte| goes_on(*byte)).count();
    let (number, rest) = json.split_at_checked(length).unwrap_or((json, ""));
    let is_out_of_range =
        serde_json::from_str::<Number>(number).is_err() && serde_json::from_str::<IgnoredAny>(number).is_ok();
    // As the name of a field, it would become valid.
    let is_value = is_out_of_range && !rest.trim_start().starts_with(':');
    (length, is_value.then(|| format!("\"{number}\"")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn unpaired_surrogates_are_replaced() {
        for (json, expected) in [
            (r#""\ud800""#, r#""\ufffd""#),
            (r#""\uD83D""#, r#""\ufffd""#),
            (r#""\udfff""#, r#""\ufffd""#),
            (r#""a\ud83d b""#, r#""a\ufffd b""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\ud83d\ude00\ude00""#, r#""\ud83d\ude00\ufffd""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\ud83d\n""#, r#""\ufffd\n""#),
            (r#""\ud83d\\ude00""#, r#""\ufffd\\ude00""#),
            (r#""\ud83d\u00e9""#, r#""\ufffd\u00e9""#),
            (r#""\\\ud800""#, r#""\\\ufffd""#),
            (r#""\"\ud800""#, r#""\"\ufffd""#),
            (r#""é🦀\ud800é""#, r#""é🦀\ufffdé""#),
            (r#"{"k\ud800": [1, "\udc00"], "a": "b"}"#, r#"{"k\ufffd": [1, "\ufffd"], "a": "b"}"#),
        ] {
            assert_eq!(repaired(json).as_deref(), Some(expected), "{json}");
            serde_json::from_str::<Value>(expected).unwrap();
        }
    }

    #[test]
    fn huge_numbers_become_text() {
        let long = "9".repeat(400);
        let decimal = format!("-{long}.5E+7");
        for number in ["1e400", "-1e999", "1E400", "1.5e+309", "123456e999999999999", &long, &decimal] {
            let json = format!("{{\"a\": {number}, \"b\":[{number},1]}}");
            let expected = format!("{{\"a\": \"{number}\", \"b\":[\"{number}\",1]}}");
            assert_eq!(repaired(&json), Some(expected));
            assert_eq!(repaired(number), Some(format!("\"{number}\"")));
        }
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for json in [
            r#"{"a": "\ud83d\ude00 \uD83D\uDE00 \u0000 \ufffd", "b": [1e300, -0.5, 1e-400, 0e999, 18446744073709551616]}"#,
            // In a text, and behind an escaped backslash, they are neither.
            r#""1e400 -1e400""#,
            r#""\\ud800 \\\\udc00""#,
            r#""\"1e400\"""#,
            // Not JSON, with or without it.
            r"\ud800",
            r#""\ud8""#,
            r#""\ud8zz""#,
            r#""\u+d80""#,
            r#""\Ud800""#,
            r#""\é""#,
            r#""\"#,
            "1e400e1",
            "01e400",
            "1e400-1e400",
            "1.e400",
            "-",
            "1e",
            "{1e400: 1}",
            "{1e400\n : 1}",
            "",
        ] {
            assert_eq!(repaired(json), None, "{json}");
        }
    }

    proptest! {
        /// Any text with a part cut out.
        #[test]
        fn repaired_texts_can_be_parsed(
            texts in prop::collection::vec("(\\\\u[dD][89abcdefABCDEF][0-9a-f]{2}|\\\\\\\\|\\\\\"|[a-z🦀é ]){0,12}", 1..6),
            exponents in prop::collection::vec(0..2000_u32, 0..6),
        ) {
            let items = texts.iter().map(|text| format!("\"{text}\""));
            let json = format!("[{}]", items.chain(exponents.iter().map(|e| format!("-7e{e}"))).collect::<Vec<_>>().join(","));
            let read: Vec<Value> = serde_json::from_str(repaired(&json).as_deref().unwrap_or(&json)).unwrap();
            prop_assert_eq!(read.len(), texts.len() + exponents.len());
        }

        #[test]
        fn accepted_texts_are_unchanged(json in "[\\[\\]{}:,\"\\\\ude0-9+.\\-a-f]{0,24}") {
            let is_json = serde_json::from_str::<Value>(&json).is_ok();
            let repaired = repaired(&json);
            prop_assert!(!is_json || repaired.is_none());
            // Only valid grammar is repaired, so nothing else becomes valid.
            if let Some(repaired) = repaired {
                let (before, after) =
                    (serde_json::from_str::<IgnoredAny>(&json), serde_json::from_str::<IgnoredAny>(&repaired));
                prop_assert_eq!(before.is_ok(), after.is_ok());
            }
        }

        #[test]
        fn any_text_never_panics(json: String) {
            repaired(&json);
        }
    }

    #[test]
    fn four_mebibytes_are_fast() {
        for unit in [r#""\ud800","#, "1e400,", "1,", "-", "\"", "\\", r#""\\","#, "1e400 \n\t"] {
            let json = unit.repeat(4 * 1024 * 1024 / unit.len());
            let start = std::time::Instant::now();
            repaired(&json);
            assert!(start.elapsed().as_secs() < 10, "{unit}: {:?}", start.elapsed());
        }
    }
}
