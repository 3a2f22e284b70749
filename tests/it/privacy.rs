//! No personal data or credentials reach Amplitude: every text field that Stripe's API documents is either removed or
//! kept for a stated reason.
//!
//! A new version of Stripe's library with a new text field fails here until somebody classifies the field: as removed
//! in `src/translate/redaction/table.rs`, or as kept in `privacy/kept.rs`. Then `make privacy` updates the list of
//! fields and `docs/privacy.md`.

mod fields;
mod kept;
mod page;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use stripe_amplitude::settings::Settings;
use stripe_amplitude::stripe::event::Event;
use stripe_amplitude::stripe::signature::VerifiedBody;
use stripe_amplitude::translate::redaction::table::{PERSONAL_DATA, Place, Rule, credentials};
use stripe_amplitude::translate::{Context, Resolved, translate};

use self::fields::{Field, example, has, objects};
use self::kept::KEPT;
use self::page::{Counts, page};
use crate::harness::program::installed;

/// The part of an object that reaches Amplitude.
fn sent(object: Value) -> Value {
    let event = json!({"id": "evt_1", "object": "event", "type": "x.y", "created": 1, "data": {"object": object}});
    let body = VerifiedBody::trusted(event.to_string().into_bytes().into());
    let project = "demo".parse().unwrap();
    let settings = Settings::default();
    let context = Context { project: &project, source: None, settings: &settings, has_test_key: false, objects: None };
    let unresolved = Resolved { user: None, products: None };
    let Ok(translation) = translate(Event::parse(&body).unwrap(), unresolved, &context, &mut |_, _| {}) else {
        panic!("no rate is needed")
    };
    serde_json::to_value(translation.event).unwrap()["event_properties"].take()
}

/// All text fields of all objects: those that reach Amplitude, and those that do not.
fn texts() -> (Vec<Field>, Vec<Field>) {
    let of_kind = |(kind, fields): (&str, Vec<Field>)| {
        let object = example(kind, &fields);
        for field in &fields {
            assert!(has(&object, field), "the example has no {field}");
        }
        let sent = sent(object);
        fields.into_iter().map(move |field| (has(&sent, &field), field)).collect::<Vec<_>>()
    };
    let texts = objects().into_iter().flat_map(of_kind).filter(|(_, field)| field.is_text());
    let (kept, removed): (Vec<_>, Vec<_>) = texts.partition(|(is_kept, _)| *is_kept);
    let fields = |those: Vec<(bool, Field)>| those.into_iter().map(|(_, field)| field).collect();
    (fields(kept), fields(removed))
}

fn is_for(rule: &Rule, field: &Field) -> bool {
    rule.name == field.name() && rule.applies_in(field.place())
}

#[test]
fn every_text_field_is_removed_or_kept_for_a_reason() {
    let (kept, removed) = texts();
    assert!(kept.len() > 1000 && removed.len() > 1000, "{} are kept, {} removed", kept.len(), removed.len());
    let reasons = |field: &Field| KEPT.iter().flat_map(|(_, rules)| *rules).filter(|rule| is_for(rule, field)).count();
    let undecided: BTreeSet<_> = kept
        .iter()
        .filter(|field| reasons(field) == 0)
        .map(|field| format!("{} in {} ({field})", field.name(), field.place()))
        .collect();
    assert!(undecided.is_empty(), "neither removed nor kept:\n{}", Vec::from_iter(undecided).join("\n"));
    let twice: Vec<_> = kept.iter().filter(|field| reasons(field) > 1).map(Field::to_string).collect();
    assert!(twice.is_empty(), "kept for two reasons:\n{}", twice.join("\n"));
}

#[test]
fn every_reason_to_keep_matches_a_field() {
    let (kept, _) = texts();
    for rule in KEPT.iter().flat_map(|(_, rules)| *rules) {
        let used: BTreeSet<_> = kept.iter().filter(|field| is_for(rule, field)).map(Field::place).collect();
        match rule.place {
            Place::Any => assert!(!used.is_empty(), "{} is kept but matches no field", rule.name),
            Place::Only(places) => {
                assert_eq!(used, BTreeSet::from_iter(places.iter().copied()), "{} is kept", rule.name);
            }
            Place::AnyBut(_) => panic!("{}: kept fields must be named", rule.name),
        }
    }
}

#[test]
fn every_removal_rule_matches_a_field() {
    let places = fields::places();
    let rules = credentials().chain(PERSONAL_DATA.iter().flat_map(|(_, rules)| *rules).copied());
    let unknown: Vec<_> = rules
        .flat_map(|rule| {
            let known = places.get(rule.name).cloned().unwrap_or_default();
            let unknown = match rule.place {
                Place::Any if known.is_empty() => vec!["anywhere"],
                Place::Any => vec![],
                Place::Only(named) | Place::AnyBut(named) => {
                    named.iter().copied().filter(|place| !known.contains(place)).collect()
                }
            };
            unknown.into_iter().map(move |place| format!("{} in {place}", rule.name))
        })
        .collect();
    assert!(unknown.is_empty(), "rules without a matching field:\n{}", unknown.join("\n"));
}

#[test]
fn field_list_matches_the_library() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/stripe_fields.py");
    let output = Command::new(installed("python")).arg(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let differs = String::from_utf8(output.stdout).unwrap() != fields::NEWEST;
    assert!(!differs, "tests/data/stripe-fields/newest.txt does not match the installed library; run `make privacy`");
}

#[test]
fn privacy_page_matches_the_table() {
    let (kept, removed) = texts();
    let page = page(&Counts { objects: objects().len(), sent: kept.len(), removed: removed.len() });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/privacy.md");
    if std::env::var_os("RENEW_PRIVACY_PAGE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap_or_default() == page, "docs/privacy.md is stale; run `make privacy`");
}
