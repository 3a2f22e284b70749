//! Hides credentials from the page: values in an event whose holder can pay, read or act.

use std::collections::HashSet;

use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::settings::Settings;
use stripe_amplitude::stripe::credentials::CREDENTIALS;
use stripe_amplitude::stripe::event::Event;
use stripe_amplitude::stripe::json::{Json, Object};
use stripe_amplitude::stripe::signature::VerifiedBody;
use stripe_amplitude::translate::redaction::Reason;
use stripe_amplitude::translate::{Context, Resolved, translate};

const HIDDEN: &str = "\"(hidden)\"";

/// The body as text without credentials. Everything else is unchanged, so that the page can also show a body that is not an
/// event or not complete JSON. Hides the value after each name that is always a credential's, and the values that the
/// function removes because of their path.
pub(crate) fn hide(body: &[u8], project: &ProjectName) -> String {
    let text = String::from_utf8_lossy(body);
    let names = HashSet::from(CREDENTIALS);
    let secrets = by_path(body, project);
    let mut shown = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(start) = rest.find('"') {
        let (before, literal) = rest.split_at(start);
        let (literal, after) = literal.split_at(string_length(literal));
        shown.push_str(before);
        rest = after;
        let Ok(content) = serde_json::from_str::<String>(literal) else {
            shown.push_str(literal);
            continue;
        };
        let is_name = after.trim_start().starts_with(':');
        if !is_name {
            shown.push_str(if secrets.contains(&content) { HIDDEN } else { literal });
            continue;
        }
        shown.push_str(literal);
        if names.contains(&*content) {
            let value = after.trim_start().trim_start_matches(':').trim_start();
            let (between, value) = after.split_at(after.len() - value.len());
            let (value, after) = value.split_at(value_length(value));
            shown.push_str(between);
            // Nothing to hide, and the notes mention nulls separately.
            shown.push_str(if value == "null" { value } else { HIDDEN });
            rest = after;
        }
    }
    shown + rest
}

/// All strings that the function removes as credentials because of their path, regardless of the settings.
fn by_path(body: &[u8], project: &ProjectName) -> HashSet<String> {
    let mut secrets = HashSet::new();
    let verified = VerifiedBody::trusted(body.to_vec().into());
    let Ok(event) = Event::parse(&verified) else { return secrets };
    let context = Context { project, source: None, settings: &Settings::default(), has_test_key: false, objects: None };
    let object = event.object.clone();
    // Cannot fail: without a preferred currency, no rate can be missing. The user does not affect credentials.
    let resolved = Resolved { user: None, products: None };
    let _ = translate(event, resolved, &context, &mut |path, reason| {
        let path = path.to_string();
        let is_known_by_name = CREDENTIALS.iter().any(|name| path.rsplit('.').next() == Some(name));
        if reason == Reason::Credential
            && !is_known_by_name
            && let Some(text) = text_at(&object, &path)
        {
            secrets.insert(text.to_owned());
        }
    });
    secrets
}

/// The string at a path of names and indices.
fn text_at<'o>(object: &'o Object<'_>, path: &str) -> Option<&'o str> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let step = |value: &'o Json<'_>, name: &str| match value {
        Json::List(items) => items.get(name.parse::<usize>().ok()?),
        value => value.get(name),
    };
    let names = rest.into_iter().flat_map(|rest| rest.split('.'));
    names.into_iter().try_fold(object.get(first)?, step)?.as_str()
}

/// The length of a JSON string that starts with its quotation mark, through the closing one or the end.
pub(crate) fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (place, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return place + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of the JSON value at the beginning of a text, which may be incomplete.
fn value_length(text: &str) -> usize {
    let (mut depth, mut place) = (0_usize, 0);
    while let Some(rest) = text.get(place..)
        && let Some(first) = rest.chars().next()
    {
        match first {
            '"' => {
                place += string_length(rest);
                if depth == 0 {
                    return place;
                }
                continue;
            }
            '{' | '[' => depth += 1,
            '}' | ']' if depth > 1 => depth -= 1,
            // The end of this value, or of the one that contains it.
            '}' | ']' => return place + depth,
            ',' if depth == 0 => return place,
            _ if depth == 0 && first.is_whitespace() => return place,
            _ => {}
        }
        place += first.len_utf8();
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn hidden(body: &str) -> String {
        hide(body.as_bytes(), &"demo".parse().unwrap())
    }

    #[test]
    fn only_credentials_are_hidden() {
        let payment = include_str!("../../../events/stripe/payment_intent.succeeded.json");
        let shown = hidden(payment);
        assert!(payment.contains("_secret_EXAMPLE") && !shown.contains("_secret_EXAMPLE"));
        let lines = payment.lines().zip(shown.lines()).filter(|(before, after)| before != after);
        assert!(
            lines.clone().count() == 1
                && lines.clone().all(|(_, after)| after.contains(r#""client_secret": "(hidden)""#))
        );
        let charge = include_str!("../../../events/stripe/charge.succeeded.json");
        assert!(charge.contains("https://pay.stripe.com") && !hidden(charge).contains("https://pay.stripe.com"));
    }

    #[test]
    fn credential_names_hide_any_value_anywhere() {
        for (value, shown) in [
            (r#""a\u002fb\"c""#, HIDDEN),
            (r#"{"to": ["https:\/\/example.com", {"type": "usd"}]}"#, HIDDEN),
            ("[[1], {}]", HIDDEN),
            ("987", HIDDEN),
            ("true", HIDDEN),
            ("null", "null"),
        ] {
            for around in [
                r#"{"data": {"previous_attributes": {"client_secret" : X}, "currency": "usd"}}"#,
                r#"{"next_action": X, "a.b/c": {"currency": "usd"}}"#,
                r#"[{"cvc":X }, "usd"]"#,
            ] {
                assert_eq!(hidden(&around.replace('X', value)), around.replace('X', shown));
            }
        }
    }

    #[test]
    fn credentials_are_hidden_by_path() {
        let session = include_str!("../../../events/stripe/checkout.session.completed.json");
        let mut session: Value = serde_json::from_str(session).unwrap();
        session["data"]["object"]["url"] = "https://checkout.example.com/c".into();
        session["data"]["object"]["line_items"] = serde_json::json!({"url": "/v1/line_items"});
        let shown = hidden(&session.to_string());
        assert!(!shown.contains("checkout.example.com") && shown.contains("/v1/line_items"), "{shown}");
        // Also in events that stricter parsers than the function's reject.
        for odd in [r#""cut \ud83d""#, "1e400"] {
            session["data"]["object"]["client_reference_id"] = "odd".into();
            let shown = hidden(&session.to_string().replace("\"odd\"", odd));
            assert!(!shown.contains("checkout.example.com") && shown.contains(odd), "{shown}");
        }
    }

    #[test]
    fn incomplete_json_is_otherwise_unchanged() {
        for body in ["", "{", r#"{"a": "b"#, "\"\\", r#"{"secret""#, r#"{"a": "client_secret"}"#] {
            assert_eq!(hidden(body), body);
        }
        for (body, shown) in [
            (r#"{"client_secret": "cut o"#, r#"{"client_secret": "(hidden)""#),
            (r#"{"secret":{"a":["b"#, r#"{"secret":"(hidden)""#),
            (r#"{"secret":"#, r#"{"secret":"(hidden)""#),
            ("\u{e9}{\"secret\":\"\u{e9}\",\"\u{e9}\":1}", "\u{e9}{\"secret\":\"(hidden)\",\"\u{e9}\":1}"),
        ] {
            assert_eq!(hidden(body), shown);
        }
        assert_eq!(hide(b"\xff", &"demo".parse().unwrap()), "\u{fffd}");
    }
}
