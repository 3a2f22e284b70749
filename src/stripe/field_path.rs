//! Paths into `data.object`: one that leads to a field, one that stands for many, and the one that a walk is on.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::stripe::api_versions::later_places;
use crate::stripe::json::{Json, Object};

/// The path to one field: keys joined by dots, elements of arrays by their index: `lines.data.0.metadata.user_id`.
///
/// Where a later API version has the field in another place, the path leads there, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath(Arc<Written>);

#[derive(Debug, PartialEq, Eq)]
struct Written {
    text: String,
    /// The kinds of objects that have it in another place later, and that place.
    later: Vec<(&'static str, String)>,
}

impl FieldPath {
    /// The value there; `None` where something on the way is missing.
    pub fn find<'o, 'b>(&self, object: &'o Object<'b>) -> Option<&'o Json<'b>> {
        find(&self.0.text, object).or_else(|| {
            let kind = |kind: &str| object.get("object").and_then(Json::as_str) == Some(kind);
            self.0.later.iter().filter(|(of, _)| kind(of)).find_map(|(_, place)| find(place, object))
        })
    }

    /// As it is written in the settings.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }
}

fn find<'o, 'b>(path: &str, object: &'o Object<'b>) -> Option<&'o Json<'b>> {
    let mut segments = path.split('.');
    let first = object.get(segments.next()?)?;
    segments.try_fold(first, |value, segment| match value {
        Json::List(items) => items.get(segment.parse::<usize>().ok()?),
        value => value.get(segment),
    })
}

impl FromStr for FieldPath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        if segments(text)?.any(|segment| segment.contains('*')) {
            return Err(InvalidPath::NotOneField);
        }
        Ok(Self(Arc::new(Written { text: text.to_owned(), later: later_places(text).collect() })))
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

/// A path in which `*` stands for any one segment: `metadata.*`, `lines.data.*.description`.
///
/// It stands for the places in which later API versions have those fields, too, in objects of all kinds: what a project
/// does not want to leave shall not leave because Stripe moved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPattern {
    segments: Vec<String>,
    later: Vec<Vec<String>>,
}

impl FieldPattern {
    /// Whether it stands for this path.
    pub fn matches(&self, path: &Path<'_>) -> bool {
        path.is(&self.segments) || self.later.iter().any(|segments| path.is(segments))
    }
}

impl FromStr for FieldPattern {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        if segments(text)?.any(|segment| segment.contains('*') && segment != "*") {
            return Err(InvalidPath::PartOfASegment);
        }
        let segments = |path: &str| path.split('.').map(str::to_owned).collect();
        let later = later_places(text).map(|(_, place)| segments(&place)).collect();
        Ok(Self { segments: segments(text), later })
    }
}

impl fmt::Display for FieldPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.segments.join("."))
    }
}

fn segments(text: &str) -> Result<impl Iterator<Item = &str>, InvalidPath> {
    if text.split('.').any(|segment| segment.trim().is_empty()) || text.trim() != text {
        return Err(InvalidPath::Empty);
    }
    if text.contains(['[', ']']) {
        return Err(InvalidPath::Brackets);
    }
    if ["data.object.", "$."].iter().any(|start| text.starts_with(start)) {
        return Err(InvalidPath::NotInside);
    }
    Ok(text.split('.'))
}

/// What is given is no path. The texts say what a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidPath {
    /// Nothing, or nothing between two dots.
    #[error("a path: keys joined by dots, without spaces around")]
    Empty,
    /// As in JSONPath or JavaScript.
    #[error("a path without brackets; an element of an array is named by its index: lines.data.0.description")]
    Brackets,
    /// From further outside.
    #[error("a path inside the event's object, so without `data.object.` or `$.` before it")]
    NotInside,
    /// Many fields, where one is asked for.
    #[error("the path of one field, so without *")]
    NotOneField,
    /// A pattern inside a segment.
    #[error("a path in which * stands for one whole segment")]
    PartOfASegment,
}

/// Where a walk through an object is: a segment, and what is above it. It lives on the stack of the walk, so that a path
/// costs nothing until somebody asks for it.
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
    fn is(&self, text: &str) -> bool {
        match self {
            Self::Key(key) => *key == text,
            Self::Index(index) => text.parse() == Ok(*index),
        }
    }
}

impl<'p> Path<'p> {
    /// The field of this name below `above`; without that, of the object itself.
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
            if segment != "*" && !path.segment.is(segment) {
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
    fn a_path_leads_through_objects_and_arrays_and_ends_where_something_is_missing() {
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
            ("lines.data.-1.id", None),
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
    fn a_path_leads_to_where_a_later_api_version_has_the_field() {
        let metadata = json!({"user_id": "later"});
        let later = json!({"parent": {"subscription_details": {"metadata": metadata, "subscription": "sub_1"}},
            "lines": {"data": [{"pricing": {"price_details": {"price": "price_1", "product": "prod_1"}}}]}});
        for (path, kind, before, found) in [
            ("subscription_details.metadata.user_id", "invoice", json!({}), Some(json!("later"))),
            ("subscription", "invoice", json!({}), Some(json!("sub_1"))),
            ("lines.data.0.price.product", "invoice", json!({}), Some(json!("prod_1"))),
            ("lines.data.1.price.product", "invoice", json!({}), None),
            // The place that is written comes first, also where it holds nothing.
            ("subscription", "invoice", json!({"subscription": null}), Some(json!(null))),
            ("subscription", "invoice", json!({"subscription": "sub_0"}), Some(json!("sub_0"))),
            // Of another kind of object, nothing moved.
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
    fn what_is_no_path_is_told() {
        for (text, error) in [
            ("", InvalidPath::Empty),
            ("metadata.", InvalidPath::Empty),
            (".metadata", InvalidPath::Empty),
            ("metadata..user_id", InvalidPath::Empty),
            (" metadata.user_id", InvalidPath::Empty),
            ("lines.data[0].id", InvalidPath::Brackets),
            ("data.object.metadata.user_id", InvalidPath::NotInside),
            ("$.metadata.user_id", InvalidPath::NotInside),
        ] {
            assert_eq!(text.parse::<FieldPath>(), Err(error), "{text}");
            assert_eq!(text.parse::<FieldPattern>(), Err(error), "{text}");
        }
        assert_eq!("metadata.*".parse::<FieldPath>(), Err(InvalidPath::NotOneField));
        assert_eq!("normalized_*".parse::<FieldPattern>(), Err(InvalidPath::PartOfASegment));
        assert_eq!("lines.data.*.description".parse::<FieldPattern>().unwrap().to_string(), "lines.data.*.description");
    }

    #[test]
    fn a_star_stands_for_one_segment() {
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
    fn a_pattern_stands_for_the_places_in_later_api_versions_too() {
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
