//! The number of event property names that a project needs in Amplitude, and the largest families of names.
//!
//! Amplitude keeps 2,000 event properties per project; others do not appear in its charts. Source: Amplitude's help,
//! "Limits". Amplitude does not document how it counts the fields of nested objects. Its charts flatten them, so this module
//! conservatively counts each key of `metadata` as a property: a shop can create any number of these keys.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::terminal::count;

/// Amplitude's limit, which includes the product's own properties.
pub(crate) const LIMIT: usize = 2000;

/// The number from which `remedy` suggests a change.
const WARNING_THRESHOLD: usize = 1000;

/// The minimum number of names in a family.
const MIN_FAMILY: usize = 10;

/// The number of families that are shown.
const SHOWN_FAMILIES: usize = 5;

/// The maximum number of names that are kept.
const MAX_KEPT: usize = 100_000;

/// The names of some events.
#[derive(Debug, Default)]
pub(crate) struct PropertyNames(HashSet<String>);

type Fields<'e> = HashMap<String, &'e RawValue>;

#[derive(Deserialize)]
struct Sent<'e> {
    #[serde(borrow)]
    event_properties: Fields<'e>,
}

impl PropertyNames {
    /// Adds the names of an event as sent.
    pub(crate) fn add(&mut self, event: &RawValue) {
        let Ok(Sent { event_properties }) = serde_json::from_str(event.get()) else { return };
        for (name, value) in event_properties {
            match fields(value) {
                Some(keys) if name == METADATA => keys.keys().for_each(|key| self.insert(&format!("{name}.{key}"))),
                Some(object) => {
                    self.insert(&name);
                    self.add_metadata_in(&name, object);
                }
                None => self.insert(&name),
            }
        }
    }

    /// In nested objects, only keys of `metadata` count.
    fn add_metadata_in(&mut self, path: &str, object: Fields<'_>) {
        for (name, value) in object {
            let Some(object) = fields(value) else { continue };
            let path = format!("{path}.{name}");
            if name == METADATA {
                object.keys().for_each(|key| self.insert(&format!("{path}.{key}")));
            } else {
                self.add_metadata_in(&path, object);
            }
        }
    }

    fn insert(&mut self, name: &str) {
        if self.0.len() < MAX_KEPT && !self.0.contains(name) {
            self.0.insert(name.to_owned());
        }
    }

    /// The number of names.
    pub(crate) fn number(&self) -> usize {
        self.0.len()
    }

    /// Whether they may soon exceed Amplitude's limit.
    pub(crate) fn are_many(&self) -> bool {
        self.number() >= WARNING_THRESHOLD
    }

    /// The largest families, such as `metadata.sku_*`, with the number of their names.
    pub(crate) fn families(&self) -> Vec<(String, usize)> {
        let mut families: BTreeMap<String, usize> = BTreeMap::new();
        for name in &self.0 {
            if let Some(family) = family(name) {
                *families.entry(family).or_default() += 1;
            }
        }
        let mut large: BTreeMap<String, usize> = BTreeMap::new();
        for (family, names) in families {
            // Small families are merged into their parent.
            let family =
                if names < MIN_FAMILY { parent(&family).map(|parent| format!("{parent}*")) } else { Some(family) };
            *large.entry(family.unwrap_or_default()).or_default() += names;
        }
        let mut large: Vec<_> = large.into_iter().filter(|(_, names)| *names >= MIN_FAMILY).collect();
        large.sort_by_key(|(_, names)| std::cmp::Reverse(*names));
        large.truncate(SHOWN_FAMILIES);
        large
    }

    /// The number as text.
    pub(crate) fn in_words(&self) -> String {
        let more = if self.number() >= MAX_KEPT { "at least " } else { "" };
        format!("{more}{}", count(self.number(), "distinct property name"))
    }

    /// What to do, if there are many.
    pub(crate) fn remedy(&self) -> Option<String> {
        if !self.are_many() {
            return None;
        }
        let mut paths: Vec<_> = Vec::new();
        for (family, _) in self.families() {
            let path = parent(&family).map(|parent| format!("\"{parent}*\""));
            paths.extend(path.filter(|path| !paths.contains(path)));
        }
        let paths = if paths.is_empty() { "\"metadata.*\"".to_owned() } else { paths.join(", ") };
        Some(format!(
            "Amplitude keeps {LIMIT} event properties per project, including those of your product; others do not appear in its charts. If keys of metadata are SKUs or IDs, remove them with {paths} in `drop_properties`. Removed metadata can still give user IDs."
        ))
    }
}

const METADATA: &str = "metadata";

fn fields(value: &RawValue) -> Option<Fields<'_>> {
    // Most values are not objects.
    value.get().starts_with('{').then(|| serde_json::from_str(value.get()).ok()).flatten()
}

/// The part of a name up to and including `metadata.`.
fn parent(name: &str) -> Option<&str> {
    let begins_a_segment =
        |start: usize| name.get(..start).is_some_and(|before| before.is_empty() || before.ends_with('.'));
    let (start, found) = name.match_indices("metadata.").find(|(start, _)| begins_a_segment(*start))?;
    name.get(..start + found.len())
}

/// The family of a name under `metadata`: its key until the first separator or digit.
fn family(name: &str) -> Option<String> {
    let parent = parent(name)?;
    let key = name.strip_prefix(parent)?;
    let is_separator = |character: char| !character.is_alphanumeric();
    let end = key.find(|character: char| is_separator(character) || character.is_ascii_digit()).unwrap_or(key.len());
    let separator = key.get(end..)?.chars().next().filter(|character| is_separator(*character));
    let prefix = key.get(..end + separator.map_or(0, char::len_utf8))?;
    Some(format!("{parent}{prefix}*"))
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;
    use serde_json::{Value, json};

    use super::*;

    fn names(properties: &[Value]) -> PropertyNames {
        let mut names = PropertyNames::default();
        for properties in properties {
            names.add(&to_raw_value(&json!({"event_type": "x", "event_properties": properties})).unwrap());
        }
        names
    }

    #[test]
    fn names_and_metadata_keys_count_once() {
        let names = names(&[
            json!({"amount": 1, "metadata": {"a": "1", "b.c": "2"}, "card": {"brand": "visa"}}),
            json!({"amount": 2, "metadata": {"a": "3"}, "subscription_details": {"metadata": {"a": "4"}}}),
            json!({"metadata": "not an object"}),
        ]);
        let mut found: Vec<_> = names.0.iter().map(String::as_str).collect();
        found.sort_unstable();
        let expected = [
            "amount",
            "card",
            "metadata",
            "metadata.a",
            "metadata.b.c",
            "subscription_details",
            "subscription_details.metadata.a",
        ];
        assert_eq!(found, expected);
        assert!(!names.are_many() && names.remedy().is_none() && names.families().is_empty());
        assert_eq!(names.in_words(), "7 distinct property names");
    }

    #[test]
    fn the_remedy_removes_the_largest_families() {
        let keys = |names: &mut dyn Iterator<Item = String>| -> Value {
            Value::Object(names.map(|name| (name, json!("1"))).collect())
        };
        let names = names(&[
            json!({"metadata": keys(&mut (0..1240).map(|number| format!("sku_{number}")))}),
            json!({"metadata": keys(&mut (0..30).map(|number| format!("{number}")))}),
            json!({"metadata": keys(&mut (b'a'..=b'z').map(|letter| format!("{}_size", char::from(letter))))}),
            json!({"lines": {"metadata": keys(&mut (0..20).map(|number| format!("item-{number}")))}}),
            json!({"metadata": {"sku_1": "again", "user_id": "7"}}),
        ]);
        let expected = [("metadata.sku_*", 1240), ("metadata.*", 30 + 26 + 1), ("lines.metadata.item-*", 20)];
        assert_eq!(names.families(), expected.map(|(family, names)| (family.to_owned(), names)));
        let remedy = names.remedy().unwrap();
        assert!(remedy.contains("\"metadata.*\", \"lines.metadata.*\" in `drop_properties`"), "{remedy}");
    }

    #[test]
    fn families_end_at_a_separator_or_digit() {
        for (name, expected) in [
            ("metadata.sku_1", Some("metadata.sku_*")),
            ("metadata.SKU12", Some("metadata.SKU*")),
            ("metadata.12", Some("metadata.*")),
            ("metadata.größe-1", Some("metadata.größe-*")),
            ("metadata.user", Some("metadata.user*")),
            ("metadata.a b", Some("metadata.a *")),
            ("metadata.", Some("metadata.*")),
            ("a.metadata.b:1", Some("a.metadata.b:*")),
            ("my_metadata.b", None),
            ("amount", None),
        ] {
            assert_eq!(family(name).as_deref(), expected, "{name}");
        }
    }
}
