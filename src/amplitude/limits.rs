//! Amplitude's limits, applied before an event is sent: strings of 1024 characters, 40 layers of nesting, 1 MB per
//! request. Source: Amplitude's HTTP V2 documentation.
//!
//! An event over a limit is not lost: whatever exceeds it is cut or removed, the least useful first, and
//! `stripe_truncated` lists it.

use std::borrow::Cow;
use std::io;

use serde::Serialize;

use super::properties::{Properties, Property};
use crate::stripe::field_path::Path;
use crate::stripe::json::Json;

/// The longest string, in characters.
pub(crate) const LONGEST_STRING: usize = 1024;

/// How deep objects and arrays may be nested, the event properties themselves included.
const DEEPEST_LAYER: usize = 40;

/// The largest event properties, in bytes of JSON. Amplitude accepts requests below 1 MB; the rest is for the API key,
/// the IDs and the list of what was cut.
const LARGEST_PROPERTIES: usize = 940_000;

/// Below this size of the whole body, the properties cannot be larger than [`LARGEST_PROPERTIES`]: of its texts, only
/// the names of products can appear twice, and a number like `1e15` grows to less than four times its length.
const SIZE_CHECK_THRESHOLD: usize = LARGEST_PROPERTIES / 4;

/// The property that lists what was cut.
const TRUNCATED: &str = "stripe_truncated";

/// Longer lists are of no more use.
const LONGEST_LIST_OF_TRUNCATED: usize = 20;

/// An ID or the name of a type, of 1024 characters at most.
pub(crate) fn short_id(id: &str) -> Cow<'_, str> {
    if id.len() <= LONGEST_STRING { id.into() } else { id.chars().take(LONGEST_STRING).collect::<String>().into() }
}

/// Cuts whatever is over a limit, and returns the number of such fields. `body_length` is the size of Stripe's body and
/// of the objects that were read for it.
pub(crate) fn fit(properties: &mut Properties<'_>, body_length: usize) -> usize {
    let mut truncated = Truncated::default();
    properties.retain(|name, property| match property {
        Property::Json(value) => {
            let path = Path::key(None, name);
            fit_name(name, &path, &mut truncated) && fit_value(value, &path, 2, &mut truncated)
        }
        Property::Amount(_) | Property::Rate(_) => true,
    });
    if body_length > SIZE_CHECK_THRESHOLD {
        fit_size(properties, &mut truncated);
    }
    if truncated.count > 0 {
        let paths = truncated.paths.into_iter().map(Json::from).collect::<Vec<_>>();
        properties.insert(TRUNCATED, Property::Json(paths.into()));
    }
    truncated.count
}

/// The longest path in that list, in characters: the list must not exceed the limit again.
const LONGEST_PATH: usize = 250;

#[derive(Default)]
struct Truncated {
    count: usize,
    paths: Vec<String>,
}

impl Truncated {
    fn note(&mut self, path: impl FnOnce() -> String) {
        self.count += 1;
        if self.paths.len() < LONGEST_LIST_OF_TRUNCATED {
            self.paths.push(path().chars().take(LONGEST_PATH).collect());
        }
    }
}

/// Cuts strings, and returns whether the value may stay. `layer` is its depth, if it nests.
fn fit_value(value: &mut Json<'_>, path: &Path<'_>, layer: usize, truncated: &mut Truncated) -> bool {
    if value.nests() && layer > DEEPEST_LAYER {
        truncated.note(|| path.to_string());
        return false;
    }
    match value {
        Json::Text(text) if is_too_long(text) => {
            cut(text);
            truncated.note(|| path.to_string());
        }
        Json::Object(object) => {
            object.retain(|name, value| {
                let path = Path::key(Some(path), name);
                fit_name(name, &path, truncated) && fit_value(value, &path, layer + 1, truncated)
            });
        }
        Json::List(items) => {
            let mut index = 0;
            items.retain_mut(|item| {
                let path = Path::index(path, index);
                index += 1;
                fit_value(item, &path, layer + 1, truncated)
            });
        }
        _ => {}
    }
    true
}

/// Whether a field of this name may stay. Two names could become equal when cut, so a field whose name is too long is
/// removed. None of Stripe's is.
fn fit_name(name: &str, path: &Path<'_>, truncated: &mut Truncated) -> bool {
    let stays = !is_too_long(name);
    if !stays {
        truncated.note(|| path.to_string());
    }
    stays
}

fn is_too_long(text: &str) -> bool {
    // A character has one byte or more.
    text.len() > LONGEST_STRING && text.chars().nth(LONGEST_STRING).is_some()
}

/// Cuts a string that is too long, between two characters, and marks the cut with an ellipsis.
fn cut(text: &mut Cow<'_, str>) {
    *text = text.chars().take(LONGEST_STRING - 1).chain(['…']).collect::<String>().into();
}

/// Removes nested lists, the largest first, and then whatever is largest.
///
/// Candidates are identified by their place in the walk instead of their path: paths for hundreds of thousands of
/// fields would take more memory than the event.
fn fit_size(properties: &mut Properties<'_>, truncated: &mut Truncated) {
    for walk in [retain_lists, retain_properties] {
        let mut size = json_size(&*properties);
        if size <= LARGEST_PROPERTIES {
            return;
        }
        let mut sizes = Vec::new();
        walk(properties, &mut |_, property_size| {
            sizes.push(property_size);
            true
        });
        let mut largest_first: Vec<_> = (0..sizes.len()).collect();
        largest_first.sort_by_key(|place| std::cmp::Reverse(sizes.get(*place)));
        let mut stays = vec![true; sizes.len()];
        for place in largest_first {
            if size <= LARGEST_PROPERTIES {
                break;
            }
            if let (Some(stays), Some(saved)) = (stays.get_mut(place), sizes.get(place)) {
                *stays = false;
                size -= saved;
            }
        }
        let mut stays = stays.into_iter();
        walk(properties, &mut |path, _| {
            let stays = stays.next().unwrap_or(true);
            if !stays {
                truncated.note(|| path.to_string());
            }
            stays
        });
    }
}

/// Called with each candidate, its path and its bytes of JSON; returns whether it stays.
type Keep<'k> = dyn FnMut(&Path<'_>, usize) -> bool + 'k;

/// Walks over whole properties.
fn retain_properties(properties: &mut Properties<'_>, keep: &mut Keep<'_>) {
    properties.retain(|name, property| keep(&Path::key(None, name), json_size(&*property)));
}

/// Walks over the lists that are in no other list. Lists of texts at the top level, such as the names of products, are
/// used in charts, so they stay as long as possible.
fn retain_lists(properties: &mut Properties<'_>, keep: &mut Keep<'_>) {
    properties.retain(|name, property| match property {
        Property::Json(Json::List(items)) if !items.iter().any(Json::nests) => true,
        Property::Json(value) => retain_lists_in(value, &Path::key(None, name), keep),
        Property::Amount(_) | Property::Rate(_) => true,
    });
}

fn retain_lists_in(value: &mut Json<'_>, path: &Path<'_>, keep: &mut Keep<'_>) -> bool {
    match value {
        Json::List(_) => keep(path, json_size(&*value)),
        Json::Object(object) => {
            object.retain(|name, value| retain_lists_in(value, &Path::key(Some(path), name), keep));
            true
        }
        _ => true,
    }
}

/// The size of the JSON in bytes.
fn json_size(value: &impl Serialize) -> usize {
    struct Counter(usize);
    impl io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    // Neither the counter nor a value of JSON can fail.
    let _ = serde_json::to_writer(&mut counter, value);
    counter.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::stripe::json;

    fn fitted(properties: Value) -> (Value, usize) {
        let body_length = properties.to_string().len();
        let mut properties = Properties::from(json::tests::object(&properties));
        let count = fit(&mut properties, body_length);
        assert!(json_size(&properties) < 1_000_000);
        (serde_json::to_value(&properties).unwrap(), count)
    }

    /// A value of this many layers, itself included.
    fn nested(layers: usize) -> Value {
        (1..layers).fold(json!({}), |inner, _| json!({"inner": inner}))
    }

    #[test]
    fn strings_are_cut_between_characters() {
        for (text, expected) in [
            ("é".repeat(1024), "é".repeat(1024)),
            ("é".repeat(1025), "é".repeat(1023) + "…"),
            ("x".repeat(5000), "x".repeat(1023) + "…"),
            ("👍🏽".repeat(600), "👍🏽".repeat(511) + "👍…"),
        ] {
            let is_cut = text != expected;
            let (properties, count) =
                fitted(json!({"description": text, "metadata": {"note": text}, "list": [{"a": text}]}));
            assert_eq!(properties["description"], *expected);
            assert_eq!(properties["metadata"]["note"], *expected);
            assert_eq!(properties["list"][0]["a"], *expected);
            let marked = is_cut.then_some(["description", "list.0.a", "metadata.note"]);
            assert_eq!(properties.get("stripe_truncated"), marked.map(|paths| json!(paths)).as_ref());
            assert_eq!(count, if is_cut { 3 } else { 0 });
        }
    }

    #[test]
    fn nesting_is_limited_to_forty_layers() {
        // The properties are the first layer.
        assert_eq!(fitted(json!({"a": nested(39)})), (json!({"a": nested(39)}), 0));
        let (properties, count) = fitted(json!({"a": nested(40)}));
        let path = format!("a{}", ".inner".repeat(39));
        assert_eq!(properties, json!({"a": nested(39), "stripe_truncated": [path]}));
        assert_eq!(count, 1);
        let (properties, _) = fitted(json!({"a": (0..100).fold(json!([1]), |inner, _| json!([inner]))}));
        assert_eq!(properties["stripe_truncated"], json!([format!("a{}", ".0".repeat(39))]));
    }

    #[test]
    fn the_largest_nested_lists_are_removed_first() {
        let lines: Vec<_> = (0..2000).map(|number| json!({"number": number, "text": "x".repeat(500)})).collect();
        let some: Vec<_> = (0..100).map(|number| json!({"number": number})).collect();
        let names: Vec<_> = (0..300).map(|number| format!("Product {number}")).collect();
        let whole = json!({
            "lines": {"object": "list", "data": lines}, "discounts": some, "product_names": names, "total": 1,
        });
        let (properties, count) = fitted(whole);
        let expected = json!({
            "lines": {"object": "list"}, "discounts": some, "product_names": names, "total": 1,
            "stripe_truncated": ["lines.data"],
        });
        assert_eq!((properties, count), (expected, 1));
    }

    #[test]
    fn then_the_largest_properties_are_removed() {
        let big: Map<_, _> = (0..2000).map(|number| (format!("key{number}"), json!("x".repeat(700)))).collect();
        let (properties, _) = fitted(json!({"big": big, "list": [[1, 2]], "total": 1}));
        assert_eq!(properties, json!({"total": 1, "stripe_truncated": ["list", "big"]}));
        let names: Vec<_> = (0..2000).map(|_| "x".repeat(700)).collect();
        let (properties, _) = fitted(json!({"product_names": names, "total": 1}));
        assert_eq!(properties, json!({"total": 1, "stripe_truncated": ["product_names"]}));
    }

    #[test]
    fn the_list_of_cut_fields_is_short() {
        let texts: Vec<_> = (0..1000).map(|_| "x".repeat(2000)).collect();
        let (properties, count) = fitted(json!({ "texts": { "inner": texts } }));
        assert_eq!(properties["stripe_truncated"].as_array().unwrap().len(), 20);
        assert!(count >= 1000);
        // Even if the names are as long as the limit allows. Found by fuzzing.
        let names: Map<_, _> = (0..900).map(|number| (format!("{number:0>1000}"), json!("x".repeat(2000)))).collect();
        fitted(Value::Object(names));
    }

    #[test]
    fn fields_with_long_names_are_removed() {
        let (long, fits) = ("é".repeat(1025), "é".repeat(1024));
        let (properties, count) = fitted(json!({"a": {&long: 1, &fits: 2}, &long: 3, &fits: 4}));
        assert_eq!((&properties["a"], &properties[&fits]), (&json!({&fits: 2}), &json!(4)));
        assert_eq!((count, properties["stripe_truncated"].as_array().unwrap().len()), (2, 2));
    }

    #[test]
    fn a_million_small_values_are_fast() {
        let many: Map<_, _> = (0..150_000).map(|number| (format!("key{number}"), json!([number]))).collect();
        let (_, count) = fitted(json!({ "many": many }));
        assert!(count > 0);
        let (_, count) = fitted(Value::Object(many));
        assert!(count > 0);
    }

    #[test]
    fn ids_are_short() {
        assert_eq!(short_id("evt_1"), "evt_1");
        assert_eq!(short_id(&"é".repeat(2000)), "é".repeat(1024));
    }

    proptest! {
        #[test]
        fn events_within_the_limits_are_unchanged(text in ".{0,1024}", number: i64) {
            let properties = json!({"text": text, "list": [{"number": number}], "none": []});
            prop_assert_eq!(fitted(properties.clone()), (properties, 0));
        }

        #[test]
        fn no_string_is_longer_than_the_limit(text in "[a-zé👍]{1000,1100}") {
            let (properties, _) = fitted(json!({ "text": text }));
            let left = properties["text"].as_str().unwrap();
            prop_assert!(left.chars().count() <= 1024);
            prop_assert!(text.starts_with(left.trim_end_matches('…')));
        }
    }
}
