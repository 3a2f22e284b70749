//! The fields of Stripe's objects, as `stripe_fields.py` lists them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// All objects in the pinned version of Stripe's library.
pub(crate) const NEWEST: &str = include_str!("../../data/stripe-fields/newest.txt");

/// Further fields of objects in API version 2024-06-20.
const BEFORE: &str = include_str!("../../data/stripe-fields/2024-06-20.txt");

/// Fields of older objects that no version of the library lists.
const UNLISTED: &str = include_str!("../../data/stripe-fields/unlisted.txt");

/// Objects that describe a person.
const ABOUT_A_PERSON: [&str; 6] = [
    "customer",
    "financial_connections.account_owner",
    "identity.verification_report",
    "identity.verification_session",
    "issuing.cardholder",
    "person",
];

/// Objects by kind.
pub(crate) fn objects() -> BTreeMap<&'static str, Vec<Field>> {
    let mut objects: BTreeMap<_, Vec<Field>> = BTreeMap::new();
    for (kind, field) in [NEWEST, BEFORE, UNLISTED].into_iter().flat_map(fields) {
        let fields = objects.entry(kind).or_default();
        // Its type may differ in another version.
        if !fields.iter().any(|known| known.path == field.path && known.is_text() == field.is_text()) {
            fields.push(field);
        }
    }
    objects
}

/// A field of an object: the names on its path, and its type.
#[derive(Debug)]
pub(crate) struct Field {
    pub path: Vec<&'static str>,
    pub kind: &'static str,
    types: &'static str,
}

impl Field {
    /// Its name, without the mark of a list.
    pub(crate) fn name(&self) -> &'static str {
        plain(self.path.last().unwrap())
    }

    /// Its place, in the notation of the table.
    pub(crate) fn place(&self) -> &'static str {
        self.path.iter().rev().nth(1).map_or(self.kind, |name| plain(name))
    }

    /// Whether the type leaves open what the field contains: a text, or a decimal number such as a coordinate. The
    /// others are amounts, times and counts, words from a fixed list, IDs of objects, and objects that are listed
    /// themselves. A word about a person can state their sex or origin.
    pub(crate) fn is_text(&self) -> bool {
        self.types.split(" or ").any(|each| match each {
            "text" | "decimal" | "number" | "any" => true,
            "enum" => ABOUT_A_PERSON.contains(&self.kind) && self.name() != "object",
            _ => false,
        })
    }

    fn example(&self) -> Value {
        match self.types.split_once(" or ").map_or(self.types, |(first, _)| first) {
            "text" | "enum" | "any" => json!("text"),
            "decimal" => json!("0.5"),
            "number" => json!(0.5),
            "integer" => json!(1),
            "boolean" => json!(true),
            "reference" => json!("id_1"),
            other => match other.split_once(' ').unwrap() {
                ("object", kind) => json!({"object": kind}),
                ("list", kind) => json!({"object": "list", "data": [{"object": kind}]}),
                _ => panic!("{other}"),
            },
        }
    }
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.kind, self.path.join("."))
    }
}

fn plain(name: &str) -> &str {
    name.strip_suffix("[]").unwrap_or(name)
}

fn fields(list: &'static str) -> impl Iterator<Item = (&'static str, Field)> {
    let mut above: Vec<&str> = Vec::new();
    list.lines().filter(|line| !line.starts_with('#')).filter_map(move |line| {
        let text = line.trim_start();
        above.truncate((line.len() - text.len()) / 2);
        let (name, types) = text.split_once(' ').unwrap_or((text, ""));
        above.push(name);
        let kind = above[0];
        (!types.is_empty()).then(|| (kind, Field { path: above[1..].to_vec(), kind, types }))
    })
}

/// An object of this kind with all of these fields.
pub(crate) fn example(kind: &str, fields: &[Field]) -> Value {
    let mut object = Value::Object(Map::new());
    for field in fields {
        let mut value = &mut object;
        for name in &field.path {
            value = &mut value[plain(name)];
            if name.ends_with("[]") {
                if value.is_null() {
                    *value = json!([null]);
                }
                value = &mut value[0];
            }
        }
        // A field may be an object in one version and a text in another.
        if value.is_null() {
            *value = field.example();
        }
    }
    object["object"] = json!(kind);
    object
}

/// Whether an object has this field.
pub(crate) fn has(object: &Value, field: &Field) -> bool {
    let pointer: String = field
        .path
        .iter()
        .map(|name| format!("/{}{}", plain(name), if name.ends_with("[]") { "/0" } else { "" }))
        .collect();
    object.pointer(&pointer).is_some()
}

/// The places of each name.
pub(crate) fn places() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let mut places: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for field in objects().values().flatten() {
        let above = field
            .path
            .iter()
            .scan(field.kind, |place, name| Some((plain(name), std::mem::replace(place, plain(name)))));
        for (name, place) in above {
            places.entry(name).or_default().insert(place);
        }
    }
    places
}
