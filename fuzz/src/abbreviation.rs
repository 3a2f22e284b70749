//! `{3*ab*}` stands for `ababab`, so that a small input can be a long header or a deep body. `{3**ab*}` may be larger.
//! Its spelling differs, so that few of libFuzzer's own inputs are large, because those are slow.

use std::borrow::Cow;

use memchr::memmem;

/// The largest expansion by simple abbreviations.
const LARGE: usize = 16 * 1024;

/// Expands the abbreviations. One that would exceed the limit (`limit`, for those that may be larger) stays unchanged.
pub fn expand(input: &[u8], limit: usize) -> Cow<'_, [u8]> {
    let mut expanded = Vec::new();
    let mut rest = input;
    let mut added = 0;
    while let Some(found) = first(rest) {
        let length = found.times.saturating_mul(found.text.len());
        let limit = if found.may_be_larger { limit } else { limit.min(LARGE) };
        expanded.extend_from_slice(&rest[..found.start]);
        if length <= limit.saturating_sub(input.len() + added) {
            expanded.extend(found.text.iter().copied().cycle().take(length));
            added += length;
        } else {
            expanded.extend_from_slice(&rest[found.start..found.end]);
        }
        rest = &rest[found.end..];
    }
    if expanded.is_empty() && rest.len() == input.len() {
        return input.into();
    }
    expanded.extend_from_slice(rest);
    expanded.into()
}

struct Found<'i> {
    start: usize,
    times: usize,
    may_be_larger: bool,
    text: &'i [u8],
    end: usize,
}

fn first(input: &[u8]) -> Option<Found<'_>> {
    const END: &[u8] = b"*}";
    let last_end = memmem::rfind(input, END)?;
    memchr::memchr_iter(b'{', &input[..last_end]).find_map(|start| {
        let digits = input[start + 1..].iter().take(8).take_while(|byte| byte.is_ascii_digit()).count();
        let times = str::from_utf8(&input[start + 1..start + 1 + digits]).ok()?.parse().ok()?;
        let after = input[start + 1 + digits..].strip_prefix(b"*")?;
        let doubled = after.strip_prefix(b"*");
        let text = doubled.unwrap_or(after);
        let text = &text[..memmem::find(text, END)?];
        let stars = if doubled.is_some() { 2 } else { 1 };
        let end = start + 1 + digits + stars + text.len() + END.len();
        Some(Found { start, times, may_be_larger: doubled.is_some(), text, end })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_abbreviations_are_expanded() {
        for (input, expanded) in [
            ("", ""),
            ("{}", "{}"),
            ("{3*ab*}", "ababab"),
            ("{2**ab*}{1*x*}", "ababx"),
            ("<{2*{\"x\":1},*}{0*y*}>", "<{\"x\":1},{\"x\":1},>"),
            ("{*ab*}{3*ab}", "{*ab*}{3*ab}"),
            ("{999*a*}{2*b*}", "{999*a*}bb"),
            ("{3*a{2*b*}*}", "a{2*ba{2*ba{2*b*}"),
        ] {
            assert_eq!(expand(input.as_bytes(), 100), expanded.as_bytes());
        }
        assert_eq!(expand(b"{20000*a*}", 100_000), &b"{20000*a*}"[..]);
        assert_eq!(expand(b"{20000**a*}", 100_000).len(), 20_000);
    }
}
