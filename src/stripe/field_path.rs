//! Paths into `data.object`: a path to one field, a pattern for several, and the current path of a walk.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::stripe::api_versions::later_places;
use crate::stripe::credentials::{CREDENTIALS, NEVER_IDS};
use crate::stripe::json::{Json, Object};

/// The path to one field: names joined by dots, elements of arrays by their index: `lines.data.0.metadata.user_id`.
///
/// Everything after `metadata.` is one key, whatever it contains: Stripe's metadata is flat, and its keys are free text.
/// If a later API version has the field in another place, the path also leads there. `customer` also means
/// `customer_account`, which replaces it on accounts with Accounts v2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath(Arc<Written>);

#[derive(Debug, PartialEq, Eq)]
struct Written {
    text: String,
    /// The kinds of objects in which it moved, and its new place.
    later: Vec<(&'static str, String)>,
    /// The same path from `customer_account` on, if it starts with `customer`.
    by_account: Option<String>,
    /// The part after the first name.
    rest: Option<FieldPath>,
}

impl FieldPath {
    /// The value; `None` if a part of the path is missing.
    pub fn find<'o, 'b>(&self, object: &'o Object<'b>) -> Option<&'o Json<'b>> {
        let Written { text, later, by_account, .. } = &*self.0;
        let found = find(text, object).or_else(|| {
            let kind = |kind: &str| object.get("object").and_then(Json::as_str) == Some(kind);
            later.iter().filter(|(of, _)| kind(of)).find_map(|(_, place)| find(place, object))
        });
        match by_account {
            Some(path) if found.is_none_or(Json::is_null) => find(path, object).or(found),
            _ => found,
        }
    }

    /// The first name, and the path inside its value.
    pub fn split_first(&self) -> (&str, Option<&FieldPath>) {
        let Written { text, rest, .. } = &*self.0;
        (segments(text).next().unwrap_or_default(), rest.as_ref())
    }

    /// As written in the settings.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// From a text that was checked.
    fn of_checked(text: &str) -> Self {
        let later = later_places(text).collect();
        let rest = text.split_once('.').filter(|(first, _)| *first != METADATA).map(|(_, rest)| Self::of_checked(rest));
        Self(Arc::new(Written { text: text.to_owned(), later, by_account: by_account(text), rest }))
    }
}

fn find<'o, 'b>(path: &str, object: &'o Object<'b>) -> Option<&'o Json<'b>> {
    let mut segments = segments(path);
    let first = object.get(segments.next()?)?;
    segments.try_fold(first, |value, segment| match value {
        Json::List(items) => items.get(segment.parse::<usize>().ok()?),
        value => value.get(segment),
    })
}

impl FromStr for FieldPath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        check(text)?;
        if text.contains('*') {
            return Err(InvalidPath::NotOneField);
        }
        let names: Vec<_> = names(text).collect();
        let is_credential = names.iter().any(|name| CREDENTIALS.contains(name));
        if is_credential || NEVER_IDS.iter().any(|end| names.ends_with(end)) {
            return Err(InvalidPath::Credential);
        }
        Ok(Self::of_checked(text))
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for FieldPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A path in which `*` stands for any one segment: `metadata.*`, `lines.data.*.description`. In a key of metadata, which is
/// free text, it also stands for any part of it: `metadata.sku_*`, `metadata.*.email`.
///
/// It also covers the places in which later API versions have those fields, in objects of all kinds: a field that a
/// project drops must not leave because Stripe moved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPattern {
    segments: Vec<String>,
    later: Vec<Vec<String>>,
}

impl FieldPattern {
    /// Whether it matches this path.
    pub fn matches(&self, path: &Path<'_>) -> bool {
        self.places().any(|segments| path.is(segments))
    }

    /// The segments of its own path and of the later ones.
    fn places(&self) -> impl Iterator<Item = &[String]> {
        std::iter::once(&*self.segments).chain(self.later.iter().map(|segments| &**segments))
    }
}

/// Patterns, indexed by their last segment: a project can have hundreds, and an object half a million fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldPatterns {
    patterns: Vec<FieldPattern>,
    by_name: FxHashMap<String, Vec<Vec<String>>>,
    /// Those whose last segment matches more than one name, or an index.
    others: Vec<Vec<String>>,
}

impl From<Vec<FieldPattern>> for FieldPatterns {
    fn from(patterns: Vec<FieldPattern>) -> Self {
        let (mut by_name, mut others) = (FxHashMap::<_, Vec<_>>::default(), Vec::new());
        for segments in patterns.iter().flat_map(FieldPattern::places) {
            match segments.last() {
                Some(name) if !name.contains('*') && name.parse::<usize>().is_err() => {
                    by_name.entry(name.clone()).or_default().push(segments.to_vec());
                }
                _ => others.push(segments.to_vec()),
            }
        }
        Self { patterns, by_name, others }
    }
}

impl FieldPatterns {
    /// The patterns, in their order.
    pub fn as_slice(&self) -> &[FieldPattern] {
        &self.patterns
    }

    /// Whether one of them matches this path.
    pub fn matches(&self, path: &Path<'_>) -> bool {
        if self.patterns.is_empty() {
            return false;
        }
        let by_name = match path.segment {
            Segment::Key(name) => self.by_name.get(name),
            Segment::Index(_) => None,
        };
        by_name.into_iter().flatten().chain(&self.others).any(|segments| path.is(segments))
    }
}

impl FromStr for FieldPattern {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        check(text)?;
        if names(text).any(|name| name.contains('*') && name != "*") {
            return Err(InvalidPath::PartOfASegment);
        }
        let segments = |path: &str| segments(path).map(str::to_owned).collect();
        let later = later_places(text).map(|(_, place)| place).chain(by_account(text));
        Ok(Self { segments: segments(text), later: later.map(|place| segments(&place)).collect() })
    }
}

impl fmt::Display for FieldPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.segments.join("."))
    }
}

/// The segments of a path. Everything after `metadata.` is one of them.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(path);
    let mut is_key = false;
    std::iter::from_fn(move || {
        let path = rest?;
        let (segment, behind) = match path.split_once('.').filter(|_| !is_key) {
            Some((segment, behind)) => (segment, Some(behind)),
            None => (path, None),
        };
        is_key = segment == METADATA;
        rest = behind;
        Some(segment)
    })
}

const METADATA: &str = "metadata";

/// The segments that are Stripe's names instead of metadata keys.
fn names(path: &str) -> impl Iterator<Item = &str> {
    let mut is_key = false;
    segments(path).filter(move |segment| !std::mem::replace(&mut is_key, *segment == METADATA))
}

/// The same path from `customer_account` on.
fn by_account(path: &str) -> Option<String> {
    let rest = path.strip_prefix("customer").filter(|rest| rest.is_empty() || rest.starts_with('.'))?;
    Some(format!("customer_account{rest}"))
}

/// Checks that a path can lead somewhere.
fn check(text: &str) -> Result<(), InvalidPath> {
    // A metadata key may start with a dot, but two dots are far more often a typo.
    let is_empty = |segment: &str| segment.trim().is_empty() || segment.starts_with('.');
    if segments(text).any(is_empty) || text.trim() != text {
        return Err(InvalidPath::Empty);
    }
    let outside = ["data.object", "event_properties", "$"];
    if outside.iter().any(|start| text.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    {
        return Err(InvalidPath::NotInside);
    }
    for name in names(text) {
        if name.contains(['[', ']']) {
            return Err(InvalidPath::Brackets);
        }
        // Patterns are refused where one field is expected.
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'*';
        if !name.bytes().all(allowed) {
            return Err(InvalidPath::NotAName);
        }
    }
    Ok(())
}

/// Why a text is not a path. Each message says what is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidPath {
    /// An empty path, or an empty part.
    #[error("a path: keys joined by dots, without surrounding spaces")]
    Empty,
    /// The brackets of JSONPath or JavaScript.
    #[error("a path without brackets; an array element is written as its index: lines.data.0.description")]
    Brackets,
    /// A path from the envelope.
    #[error("a path inside the event's object, without `data.object.` or `$.`")]
    NotInside,
    /// Stripe's fields have no such names.
    #[error(
        "a path of Stripe's own names, which have lower-case letters, digits and _; only the part after `metadata.` is free text"
    )]
    NotAName,
    /// The holder of its value can pay, read or act.
    #[error("a path to an ID instead of a credential")]
    Credential,
    /// Several fields, where one is expected.
    #[error("the path of one field, without *")]
    NotOneField,
    /// A pattern inside a segment.
    #[error("a path in which * is a whole segment; it may be part of one only after `metadata.`")]
    PartOfASegment,
}

/// The position of a walk through an object: a segment and its parent. It lives on the stack of the walk, so that a
/// path costs nothing until it is used.
#[derive(Clone, Copy, Debug)]
pub struct Path<'p> {
    above: Option<&'p Path<'p>>,
    segment: Segment<'p>,
}

#[derive(Clone, Copy, Debug)]
enum Segment<'p> {
    Key(&'p str),
    Index(usize),
}

impl Segment<'_> {
    fn is(&self, pattern: &str) -> bool {
        match self {
            Self::Key(key) => stands_for(pattern, key),
            Self::Index(index) => pattern == "*" || pattern.parse() == Ok(*index),
        }
    }
}

/// Whether a pattern, in which `*` matches any text, matches this one. Each part between two stars is matched at its
/// first occurrence: later ones would only leave less for the parts after it.
fn stands_for(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|start| text.strip_prefix(start)) else { return false };
    let Some(end) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(end)
}

impl<'p> Path<'p> {
    /// The field with this name below `above`; without that, of the object itself.
    pub fn key(above: Option<&'p Path<'p>>, key: &'p str) -> Self {
        Self { above, segment: Segment::Key(key) }
    }

    /// The element of the array at `above`.
    pub fn index(above: &'p Path<'p>, index: usize) -> Self {
        Self { above: Some(above), segment: Segment::Index(index) }
    }

    fn is(&self, segments: &[String]) -> bool {
        let mut above = Some(self);
        for segment in segments.iter().rev() {
            let Some(path) = above else { return false };
            if !path.segment.is(segment) {
                return false;
            }
            above = path.above;
        }
        above.is_none()
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            write!(f, "{above}.")?;
        }
        match self.segment {
            Segment::Key(key) => f.write_str(key),
            Segment::Index(index) => write!(f, "{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stripe::json;

    #[test]
    fn paths_lead_through_objects_and_arrays() {
        let object = json!({
            "metadata": {"user_id": "u", "7": "seven"},
            "lines": {"data": [{"id": "il_0"}, {"id": "il_1"}]},
            "customer": "cus_1",
            "payment": null,
        });
        let object = json::tests::object(&object);
        for (path, found) in [
            ("customer", Some(json!("cus_1"))),
            ("metadata.user_id", Some(json!("u"))),
            ("metadata.7", Some(json!("seven"))),
            ("lines.data.0.id", Some(json!("il_0"))),
            ("lines.data.1.id", Some(json!("il_1"))),
            ("lines.data.2.id", None),
            ("lines.data.first.id", None),
            ("lines.0", None),
            ("customer.email", None),
            ("customer.0", None),
            ("payment", Some(json!(null))),
            ("payment.id", None),
            ("nothing.at.all", None),
        ] {
            let path: FieldPath = path.parse().unwrap();
            let value = path.find(&object).map(|value| serde_json::to_value(value).unwrap());
            assert_eq!(value, found, "{path}");
        }
    }

    #[test]
    fn paths_work_in_later_api_versions() {
        let metadata = json!({"user_id": "later"});
        let later = json!({"parent": {"subscription_details": {"metadata": metadata, "subscription": "sub_1"}},
            "lines": {"data": [{"pricing": {"price_details": {"price": "price_1", "product": "prod_1"}}}]}});
        for (path, kind, before, found) in [
            ("subscription_details.metadata.user_id", "invoice", json!({}), Some(json!("later"))),
            ("subscription", "invoice", json!({}), Some(json!("sub_1"))),
            ("lines.data.0.price.product", "invoice", json!({}), Some(json!("prod_1"))),
            ("lines.data.1.price.product", "invoice", json!({}), None),
            // The written place comes first, even if its value is null.
            ("subscription", "invoice", json!({"subscription": null}), Some(json!(null))),
            ("subscription", "invoice", json!({"subscription": "sub_0"}), Some(json!("sub_0"))),
            // In other kinds of objects, nothing moved.
            ("subscription", "quote", json!({}), None),
            ("subscription", "invoice", json!({"parent": null}), None),
        ] {
            let mut object = later.clone();
            object["object"] = json!(kind);
            object.as_object_mut().unwrap().extend(before.as_object().unwrap().clone());
            let object = json::tests::object(&object);
            let path: FieldPath = path.parse().unwrap();
            let value = path.find(&object).map(|value| serde_json::to_value(value).unwrap());
            assert_eq!(value, found, "{path} {kind} {before}");
        }
    }

    #[test]
    fn invalid_paths_are_explained() {
        for (text, error) in [
            ("", InvalidPath::Empty),
            ("metadata.", InvalidPath::Empty),
            (".metadata", InvalidPath::Empty),
            ("metadata..user_id", InvalidPath::Empty),
            (" metadata.user_id", InvalidPath::Empty),
            ("lines.data[0].id", InvalidPath::Brackets),
            ("data.object.metadata.user_id", InvalidPath::NotInside),
            ("event_properties.description", InvalidPath::NotInside),
            ("$.metadata.user_id", InvalidPath::NotInside),
            ("data.object", InvalidPath::NotInside),
            ("event_properties", InvalidPath::NotInside),
            ("Metadata.user_id", InvalidPath::NotAName),
            ("customerEmail", InvalidPath::NotAName),
            ("lines.data.-1.id", InvalidPath::NotAName),
            ("billing details.email", InvalidPath::NotAName),
            ("metadata. ", InvalidPath::Empty),
        ] {
            assert_eq!(text.parse::<FieldPath>(), Err(error), "{text}");
            assert_eq!(text.parse::<FieldPattern>(), Err(error), "{text}");
        }
        assert_eq!("metadata.*".parse::<FieldPath>(), Err(InvalidPath::NotOneField));
        for credential in [
            "client_secret",
            "payment_intent.client_secret",
            "receipt_url",
            "next_action.x.url",
            "url",
            "after_expiration.recovery.url",
            "pdf",
            "card.pin",
            "card.number",
        ] {
            assert_eq!(credential.parse::<FieldPath>(), Err(InvalidPath::Credential), "{credential}");
        }
        assert!("metadata.secret".parse::<FieldPath>().is_ok(), "a key of the operator's own");
        assert!("metadata.profile.url".parse::<FieldPath>().is_ok(), "a key of the operator's own");
        assert!("number".parse::<FieldPath>().is_ok(), "an invoice's");
        for pattern in ["normalized_*", "lines.data.*.price_*", "lines.*_x.metadata.*"] {
            assert_eq!(pattern.parse::<FieldPattern>(), Err(InvalidPath::PartOfASegment), "{pattern}");
        }
        assert_eq!("lines.data.*.description".parse::<FieldPattern>().unwrap().to_string(), "lines.data.*.description");
    }

    #[test]
    fn metadata_keys_are_one_segment() {
        let keys = ["user.id", "User Id", "a.b.c", "ids[0]", "näme", "x.metadata.y", "0"];
        let metadata: serde_json::Map<_, _> = keys.iter().map(|key| ((*key).to_owned(), json!(key))).collect();
        let object = json!({"metadata": metadata, "lines": {"data": [{"metadata": metadata}]}});
        let object = json::tests::object(&object);
        let top = Path::key(None, "metadata");
        for key in keys {
            for path in [format!("metadata.{key}"), format!("lines.data.0.metadata.{key}")] {
                let path: FieldPath = path.parse().unwrap();
                assert_eq!(path.find(&object).and_then(Json::as_str), Some(key), "{path}");
            }
            let pattern: FieldPattern = format!("metadata.{key}").parse().unwrap();
            assert!(pattern.matches(&Path::key(Some(&top), key)), "{pattern}");
            assert!("metadata.*".parse::<FieldPattern>().unwrap().matches(&Path::key(Some(&top), key)));
        }
    }

    #[test]
    fn stars_match_parts_of_metadata_keys() {
        let metadata = Path::key(None, "metadata");
        for (pattern, key, matches) in [
            ("metadata.*", "", true),
            ("metadata.*", "a.b", true),
            ("metadata.*.email", "customer.email", true),
            ("metadata.*.email", ".email", true),
            ("metadata.*.email", "customer.email.sent", false),
            ("metadata.*.email", "email", false),
            ("metadata.sku_*", "sku_1", true),
            ("metadata.sku_*", "sku_", true),
            ("metadata.sku_*", "a_sku_1", false),
            ("metadata.*mail*", "e-mail address", true),
            ("metadata.*mail*", "e-mai", false),
            ("metadata.a*b*c", "abbc", true),
            ("metadata.a*a", "a", false),
            ("metadata.ö*ö", "ö-ö", true),
        ] {
            let pattern: FieldPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(&Path::key(Some(&metadata), key)), matches, "{pattern} {key:?}");
        }
    }

    #[test]
    fn the_index_of_patterns_matches_what_they_match() {
        let names = ["a", "0", "b", "customer", "*"];
        let texts = names
            .iter()
            .flat_map(|one| names.iter().flat_map(move |other| [(*one).to_owned(), format!("{one}.{other}")]));
        let patterns: Vec<FieldPattern> = texts.map(|text| text.parse().unwrap()).collect();
        let tops = ["a", "0", "customer", "customer_account", "c"].map(|name| Path::key(None, name));
        let below =
            tops.iter().flat_map(|top| [Path::key(Some(top), "b"), Path::key(Some(top), "0"), Path::index(top, 0)]);
        for path in below.chain(tops) {
            for few in patterns.chunks(2).chain([&patterns[..]]) {
                let any = few.iter().any(|pattern| pattern.matches(&path));
                assert_eq!(FieldPatterns::from(few.to_vec()).matches(&path), any, "{path} {few:?}");
            }
        }
    }

    #[test]
    fn accounts_replace_customers() {
        for (object, path, found) in [
            (json!({"customer": null, "customer_account": "acct_1"}), "customer", json!("acct_1")),
            (json!({"customer_account": "acct_1"}), "customer", json!("acct_1")),
            (json!({"customer": "cus_1", "customer_account": "acct_1"}), "customer", json!("cus_1")),
            (json!({"customer": null, "customer_account": null}), "customer", json!(null)),
            (json!({"customer": null}), "customer", json!(null)),
            (
                json!({"customer": null, "customer_account": {"id": "acct_1", "email": "e"}}),
                "customer.email",
                json!("e"),
            ),
        ] {
            let object = json::tests::object(&object);
            let path: FieldPath = path.parse().unwrap();
            assert_eq!(serde_json::to_value(path.find(&object)).unwrap(), found, "{path}");
        }
        let account = Path::key(None, "customer_account");
        assert!("customer".parse::<FieldPattern>().unwrap().matches(&account));
        assert!(!"customer_email".parse::<FieldPattern>().unwrap().matches(&account));
    }

    #[test]
    fn a_star_matches_one_segment() {
        let lines = Path::key(None, "lines");
        let data = Path::key(Some(&lines), "data");
        let second = Path::index(&data, 1);
        let description = Path::key(Some(&second), "description");
        assert_eq!(description.to_string(), "lines.data.1.description");
        for (pattern, matches) in [
            ("lines.data.1.description", true),
            ("lines.data.*.description", true),
            ("*.*.*.*", true),
            ("lines.data.0.description", false),
            ("lines.*.description", false),
            ("*.description", false),
            ("description", false),
            ("lines.data.*", false),
            ("more.lines.data.1.description", false),
        ] {
            assert_eq!(pattern.parse::<FieldPattern>().unwrap().matches(&description), matches, "{pattern}");
        }
        assert!("lines.data.*".parse::<FieldPattern>().unwrap().matches(&second));
        assert!("*".parse::<FieldPattern>().unwrap().matches(&lines));
    }

    #[test]
    fn patterns_work_in_later_api_versions() {
        let parent = Path::key(None, "parent");
        let details = Path::key(Some(&parent), "subscription_details");
        let metadata = Path::key(Some(&details), "metadata");
        let note = Path::key(Some(&metadata), "note");
        for (pattern, matches) in [
            ("subscription_details.metadata.note", true),
            ("subscription_details.*.note", true),
            ("*.metadata.note", true),
            ("subscription_details.metadata", false),
            ("metadata.note", false),
        ] {
            let pattern: FieldPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(&note), matches, "{pattern}");
        }
        assert!("subscription_details".parse::<FieldPattern>().unwrap().matches(&details));
        assert!(!"subscription_details".parse::<FieldPattern>().unwrap().matches(&parent));
    }
}
