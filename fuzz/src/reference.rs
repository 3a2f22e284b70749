//! A second implementation of Stripe's signature, for comparison: written from Stripe's documentation, as text, without
//! a line of the project's.

use std::collections::HashMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The hex digits of `v1`.
pub fn signature(secret: &str, timestamp: &[u8], body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(timestamp);
    mac.update(b".");
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

/// Whether these values of `Stripe-Signature` sign the body with one of the secrets, at a time within the tolerance.
pub fn is_signed<'s>(
    values: &[Vec<u8>],
    body: &[u8],
    secrets: impl IntoIterator<Item = &'s str>,
    now: u64,
    tolerance: u64,
) -> bool {
    let [value] = values else { return false };
    let Ok(text) = str::from_utf8(value) else { return false };
    if text.contains(char::is_whitespace) || text.split(',').any(|element| !element.contains('=')) {
        return false;
    }
    let elements = |key: &str| text.split(',').filter_map(move |element| element.strip_prefix(key)).collect::<Vec<_>>();
    let [timestamp] = elements("t=")[..] else { return false };
    let Ok(seconds) = timestamp.parse::<u64>() else { return false };
    if seconds == 0 || seconds >= 1_000_000_000_000 || seconds.to_string() != timestamp {
        return false;
    }
    let v1 = elements("v1=");
    !v1.is_empty()
        && seconds.abs_diff(now) <= tolerance
        && secrets.into_iter().any(|secret| v1.contains(&&*signature(secret, timestamp.as_bytes(), body)))
}

/// Fills in values that an input cannot contain: `{now}`, `{now+5}`, `{now-5}`; and `{a}`, the signature of the body by
/// the first secret (`{b}`: by the second, and so on; past the last, by a stranger), which may be damaged: `{a~7}` with
/// this bit flipped, `{a<7}` only this many digits, `{a^}` in upper case.
pub fn fill_in(value: &[u8], body: &[u8], secrets: &[String], now: u64) -> Vec<u8> {
    let value = replace(value, |name| {
        let offset = name.strip_prefix("now")?;
        Some(now.saturating_add_signed(if offset.is_empty() { 0 } else { offset.parse().ok()? }).to_string())
    });
    let timestamp = value.split(|byte| *byte == b',').find_map(|element| element.strip_prefix(b"t="));
    let timestamp = timestamp.unwrap_or_default().to_vec();
    // An input may contain the same one ten thousand times.
    let mut signatures = HashMap::new();
    replace(&value, |name| {
        let index = usize::from(name.bytes().next().filter(u8::is_ascii_lowercase)? - b'a');
        let whole = signatures.entry(index).or_insert_with(|| {
            let secret = secrets.get(index).map_or("whsec_of_a_stranger", String::as_str);
            signature(secret, &timestamp, body)
        });
        match name[1..].split_at_checked(1) {
            None => Some(whole.clone()),
            Some(("^", "")) => Some(whole.to_uppercase()),
            Some(("<", digits)) => whole.get(..digits.parse().ok()?).map(str::to_owned),
            Some(("~", bit)) => {
                let bit: u8 = bit.parse().ok()?;
                let mut bytes = hex::decode(whole).ok()?;
                bytes[usize::from(bit / 8)] ^= 1 << (bit % 8);
                Some(hex::encode(bytes))
            }
            Some(_) => None,
        }
    })
}

/// Replaces each `{name}` that has a value.
fn replace(text: &[u8], mut with: impl FnMut(&str) -> Option<String>) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = memchr::memchr(b'{', rest) {
        replaced.extend_from_slice(&rest[..start]);
        rest = &rest[start..];
        // The longest name is `now-` and the digits of a time.
        let length = rest.iter().take(20).position(|byte| *byte == b'}');
        let name = length.and_then(|length| str::from_utf8(&rest[1..length]).ok());
        match name.and_then(|name| Some((name, with(name)?))) {
            Some((name, value)) => {
                replaced.extend_from_slice(value.as_bytes());
                rest = &rest[name.len() + 2..];
            }
            None => {
                replaced.push(b'{');
                rest = &rest[1..];
            }
        }
    }
    replaced.extend_from_slice(rest);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_undamaged_signatures_match() {
        let secrets = ["whsec_a".to_owned(), "whsec_b".to_owned()];
        for (value, expected) in [
            ("t={now},v1={a}", true),
            ("t={now-300},v0=x,v1={z},v1={b}", true),
            ("t={now+301},v1={a}", false),
            ("t={now},v1={c}", false),
            ("t={now},v1={a~0}", false),
            ("t={now},v1={a<63}", false),
            ("t={now},v1={a^}", false),
            ("t=0{now},v1={a}", false),
            ("t={now}", false),
            ("{", false),
        ] {
            let filled_in = fill_in(value.as_bytes(), b"body", &secrets, 1_720_000_000);
            let text = String::from_utf8(filled_in.clone()).unwrap();
            let secrets = secrets.iter().map(String::as_str);
            assert_eq!(is_signed(&[filled_in], b"body", secrets, 1_720_000_000, 300), expected, "{text}");
        }
    }
}
