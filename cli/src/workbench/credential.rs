//! What nobody shall see on the page: values in an event whose holder can pay, read or act.

use std::collections::HashSet;

use serde_json::Value;
use stripe_amplitude::projects::ProjectName;
use stripe_amplitude::projects::settings::Settings;
use stripe_amplitude::stripe::event::Event;
use stripe_amplitude::translate::redaction::Reason;
use stripe_amplitude::translate::{Context, translate_and_tell};

use crate::{clock, event_file};

const HIDDEN: &str = "\"(hidden)\"";

/// The body as text, without the credentials in its object; all else stands as it was sent. What is no event has none that
/// could be told from the rest.
pub(crate) fn hide(body: &[u8], project: &ProjectName) -> String {
    let text = String::from_utf8_lossy(body);
    let secrets = credentials(body, project);
    let mut hidden = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(start) = rest.find('"') {
        let (before, literal) = rest.split_at(start);
        let (literal, after) = literal.split_at(length_of_literal(literal));
        let is_secret = serde_json::from_str::<String>(literal).is_ok_and(|text| secrets.contains(&text));
        hidden.push_str(before);
        hidden.push_str(if is_secret { HIDDEN } else { literal });
        rest = after;
    }
    hidden + rest
}

/// All texts in what the function removes as a credential, whatever the settings say.
fn credentials(body: &[u8], project: &ProjectName) -> HashSet<String> {
    let mut secrets = HashSet::new();
    let Ok(verified) = event_file::verified(body.to_vec(), clock::now()) else { return secrets };
    let (Ok(event), Ok(whole)) = (Event::parse(&verified), serde_json::from_slice::<Value>(body)) else {
        return secrets;
    };
    let context = Context { project, source: None, settings: &Settings::default() };
    let object = whole.pointer("/data/object").unwrap_or(&Value::Null);
    // Without a preferred currency there is no rate that could be missing.
    let _ = translate_and_tell(event, &context, &mut |path, reason| {
        if reason == Reason::Credential
            && let Some(value) = object.pointer(&format!("/{}", path.to_string().replace('.', "/")))
        {
            collect(value, &mut secrets);
        }
    });
    secrets
}

fn collect(value: &Value, texts: &mut HashSet<String>) {
    match value {
        Value::String(text) => drop(texts.insert(text.clone())),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Of a JSON text that begins with its quotation mark, up to the one that ends it, or to the end.
fn length_of_literal(text: &str) -> usize {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(body: &str) -> String {
        hide(body.as_bytes(), &"demo".parse().unwrap())
    }

    #[test]
    fn credentials_are_hidden_and_all_else_stands_as_it_was() {
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
    fn an_escaped_one_is_hidden_too_and_so_is_one_in_an_object() {
        let body = r#"{"id": "evt_1", "object": "event", "type": "a.b", "created": 1, "data": {"object": {"object": "x",
            "client_secret": "a\u002fb\"c", "next_action": {"to": ["https:\/\/example.com"]}, "note": "a\"b"}}}"#;
        let shown = hidden(body);
        assert!(!shown.contains("002f") && !shown.contains("example.com"), "{shown}");
        assert!(shown.contains(r#""note": "a\"b"}}}"#), "{shown}");
    }

    #[test]
    fn what_is_no_event_stands_as_it_was() {
        for body in ["", "{", r#"{"a": "b"#, r#"{"client_secret": "a"}"#, "\"\\"] {
            assert_eq!(hidden(body), body);
        }
        assert_eq!(hide(b"\xff", &"demo".parse().unwrap()), "\u{fffd}");
    }
}
