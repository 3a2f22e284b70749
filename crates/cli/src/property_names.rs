//! How many names of event properties a project needs in Amplitude, and which use them up.
//!
//! Amplitude keeps 2,000 event properties per project; further ones do not appear in its charts. Source: Amplitude's help,
//! "Limits". Amplitude does not document how it counts the fields of nested objects. Its charts flatten them, so each key of
//! `metadata` counts as one property here, to be on the safe side: a shop can invent any number of these keys.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::terminal::count;

/// What Amplitude keeps, the product's own properties among them.
pub(crate) const LIMIT: usize = 2000;

/// From here on, it is time to do something.
const MANY: usize = 1000;

/// A family has so many names at least.
const LEAST: usize = 10;

/// So many families are shown.
const SHOWN: usize = 5;

/// More names are not kept: whoever has so many knows enough.
const MOST_KEPT: usize = 100_000;

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
    /// Adds the names of an event, as it is sent.
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

    /// Of an object inside the event's, only what is under `metadata` counts.
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
        if self.0.len() < MOST_KEPT && !self.0.contains(name) {
            self.0.insert(name.to_owned());
        }
    }

    /// How many there are.
    pub(crate) fn number(&self) -> usize {
        self.0.len()
    }

    /// Whether they may soon be more than Amplitude keeps.
    pub(crate) fn are_many(&self) -> bool {
        self.number() >= MANY
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
            // A few names are no family of their own.
            let family = if names < LEAST { parent(&family).map(|parent| format!("{parent}*")) } else { Some(family) };
            *large.entry(family.unwrap_or_default()).or_default() += names;
        }
        let mut large: Vec<_> = large.into_iter().filter(|(_, names)| *names >= LEAST).collect();
        large.sort_by_key(|(_, names)| std::cmp::Reverse(*names));
        large.truncate(SHOWN);
        large
    }

    /// In words: how many, and of how many.
    pub(crate) fn in_words(&self) -> String {
        let more = if self.number() >= MOST_KEPT { "at least " } else { "" };
        format!("{more}{}", count(self.number(), "distinct property name"))
    }

    /// What to do about them, where they are many.
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
            "Amplitude keeps {LIMIT} event properties per project, including those of your product; further ones do not appear in its charts. If keys of metadata are SKUs or IDs, remove them with {paths} in `drop_properties`. User IDs in metadata are still found."
        ))
    }
}

const METADATA: &str = "metadata";

fn fields(value: &RawValue) -> Option<Fields<'_>> {
    // Most values are none.
    value.get().starts_with('{').then(|| serde_json::from_str(value.get()).ok()).flatten()
}

/// What stands before the key of a name under `metadata`, with the dot.
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
    fn a_name_counts_once_and_each_key_of_metadata_is_one() {
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
    fn the_largest_families_are_named_with_what_removes_them() {
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
    fn a_family_ends_at_a_separator_or_a_digit() {
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
