//! JSON in a body: a tree whose texts are borrowed from the bytes if they have no escapes.
//!
//! Most texts of an event are only read, or copied into the request for Amplitude. With a tree that owns them
//! (`serde_json::Value`), the core took about four times as long; see `benches/RESULTS.md`.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::hash::BuildHasher as _;

use rustc_hash::FxBuildHasher;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::Number;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'b> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer of 64 bits, or a float.
    Number(Number),
    /// A string, without its escapes.
    Text(Cow<'b, str>),
    /// An array.
    List(Vec<Json<'b>>),
    /// An object.
    Object(Object<'b>),
}

/// The fields of an object, each name once, in Stripe's order. They are few, so a look-up is a linear search.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object<'b>(Vec<(Cow<'b, str>, Json<'b>)>);

impl<'b> Json<'b> {
    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The text, for longer than the value lives.
    pub fn text(&self) -> Option<Cow<'b, str>> {
        match self {
            Self::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    /// The number, if it is an integer of 64 bits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Number(number) => number.as_i64(),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn as_list(&self) -> Option<&[Json<'b>]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// The fields, if it is an object.
    pub fn as_object(&self) -> Option<&Object<'b>> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The fields, mutably.
    pub fn as_object_mut(&mut self) -> Option<&mut Object<'b>> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The field with this name, if it is an object that has one.
    pub fn get(&self, name: &str) -> Option<&Json<'b>> {
        self.as_object()?.get(name)
    }

    /// The same value, independent of the text that it was read from.
    pub fn into_owned(self) -> Json<'static> {
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(value),
            Self::Number(number) => Json::Number(number),
            Self::Text(text) => Json::Text(Cow::Owned(text.into_owned())),
            Self::List(items) => Json::List(items.into_iter().map(Json::into_owned).collect()),
            Self::Object(Object(fields)) => {
                let owned =
                    |(name, value): (Cow<'_, str>, Json<'_>)| (Cow::Owned(name.into_owned()), value.into_owned());
                Json::Object(Object(fields.into_iter().map(owned).collect()))
            }
        }
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether it is an array or an object.
    pub fn nests(&self) -> bool {
        matches!(self, Self::List(_) | Self::Object(_))
    }
}

impl<'b> Object<'b> {
    /// The field with this name.
    pub fn get(&self, name: &str) -> Option<&Json<'b>> {
        self.0.iter().find_map(|(key, value)| (key == name).then_some(value))
    }

    /// Removes the field with this name, and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<Json<'b>> {
        let index = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(index).1)
    }

    /// All fields.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json<'b>)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// Keeps the fields for which `keep` returns true. It may change them.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Json<'b>) -> bool) {
        self.0.retain_mut(|(name, value)| keep(name, value));
    }

    /// Of duplicate names, the last value counts, as in `JSON.parse` and in Stripe's libraries.
    fn of(mut fields: Vec<(Cow<'b, str>, Json<'b>)>) -> Self {
        if fields.len() > MANY {
            let mut stays = last_of_each_name(&fields).into_iter();
            fields.retain(|_| stays.next().unwrap_or(true));
            return Self(fields);
        }
        // Backwards, so that the last one is found first. Most names differ by their hash alone.
        let mut met: u128 = 0;
        for index in (0..fields.len()).rev() {
            let Some((name, later)) = fields.get(index..).and_then(<[_]>::split_first) else { break };
            let bit = 1 << (FxBuildHasher.hash_one(name.0.as_bytes()) % 128);
            if met & bit != 0 && later.iter().any(|(other, _)| *other == name.0) {
                fields.remove(index);
            }
            met |= bit;
        }
        Self(fields)
    }
}

/// Objects with more fields than this, which Stripe does not send, are not compared one by one.
const MANY: usize = 128;

/// Whether each field is the last one with its name. The positions are sorted, because they are smaller than the
/// fields.
#[cold]
fn last_of_each_name(fields: &[(Cow<'_, str>, Json<'_>)]) -> Vec<bool> {
    let name = |place: usize| fields.get(place).map(|(name, _)| name);
    let mut places: Vec<usize> = (0..fields.len()).collect();
    places.sort_unstable_by(|one, other| name(*one).cmp(&name(*other)).then(one.cmp(other)));
    let mut is_last = vec![true; fields.len()];
    for (earlier, later) in places.iter().zip(places.iter().skip(1)) {
        if name(*earlier) == name(*later)
            && let Some(is_last) = is_last.get_mut(*earlier)
        {
            *is_last = false;
        }
    }
    is_last
}

impl<'b> IntoIterator for Object<'b> {
    type Item = (Cow<'b, str>, Json<'b>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The most values in a body. Stripe's own limits keep its events far below: a value takes up to 56 bytes of memory,
/// and a body of 4 MiB can have two million.
pub const MOST_VALUES: usize = 500_000;

/// An upper bound for the values in a text, without parsing it: every value but the first follows a comma or an opening
/// bracket.
pub fn values_at_most(text: &[u8]) -> u32 {
    let before = text.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    u32::try_from(MOST_VALUES.min(1 + before)).unwrap_or(u32::MAX)
}

/// Why a text cannot be read.
#[derive(Debug)]
pub enum Unread {
    /// It is not JSON, or not within the parser's limits.
    Malformed(serde_json::Error),
    /// It has more than 500,000 values.
    TooManyValues,
}

/// Reads a text with an unknown number of values.
///
/// # Errors
/// If it is not JSON, or too large.
pub fn read(text: &str) -> Result<Json<'_>, Unread> {
    let left = Cell::new(MOST_VALUES);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let result = Counted(&left).deserialize(&mut deserializer).and_then(|json| deserializer.end().map(|()| json));
    result.map_err(|error| if left.get() == 0 { Unread::TooManyValues } else { Unread::Malformed(error) })
}

impl<'de: 'b, 'b> Deserialize<'de> for Json<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Counted(&Cell::new(usize::MAX)).deserialize(deserializer)
    }
}

/// Counts down with each value, and stops at zero.
#[derive(Clone, Copy)]
struct Counted<'c>(&'c Cell<usize>);

impl<'de> DeserializeSeed<'de> for Counted<'_> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        match self.0.get().checked_sub(1) {
            Some(left) => self.0.set(left),
            None => return Err(D::Error::custom("too many values")),
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Counted<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json<'de>, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(text.into()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(text.to_owned().into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json<'de>, A::Error> {
        collect(|| items.next_element_seed(self)).map(Json::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json<'de>, A::Error> {
        let fields = collect(|| {
            let Some(Name(name)) = entries.next_key()? else { return Ok(None) };
            Ok(Some((name, entries.next_value_seed(self)?)))
        })?;
        Ok(Json::Object(Object::of(fields)))
    }
}

/// Collects all items of `next`. Vectors of one or two entries are exactly that large: a growing vector starts with
/// room for four, and a body may have hundreds of thousands of small objects and lists.
fn collect<T, E>(mut next: impl FnMut() -> Result<Option<T>, E>) -> Result<Vec<T>, E> {
    let Some(first) = next()? else { return Ok(Vec::new()) };
    let Some(second) = next()? else { return Ok(vec![first]) };
    let Some(third) = next()? else { return Ok(vec![first, second]) };
    let mut all = Vec::with_capacity(4);
    all.extend([first, second, third]);
    while let Some(entry) = next()? {
        all.push(entry);
    }
    Ok(all)
}

/// The name of a field. serde itself would not borrow it.
#[derive(serde::Deserialize)]
pub(crate) struct Name<'b>(#[serde(borrow)] pub(crate) Cow<'b, str>);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

macro_rules! json_from {
    ($($from:ty => $variant:ident),*) => {$(
        impl<'b> From<$from> for Json<'b> {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

json_from!(bool => Bool, String => Text, Cow<'b, str> => Text, Vec<Json<'b>> => List);

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    use super::*;

    /// A leaked object, so that it can be `'static`.
    pub(crate) fn object(value: &Value) -> Object<'static> {
        match serde_json::from_str(value.to_string().leak()).unwrap() {
            Json::Object(object) => object,
            other => panic!("{other:?}"),
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z]{0,4}|\\PC{0,8}".prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 32, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map("[a-f]{0,4}|\\PC{0,4}", inner, 0..8)
                    .prop_map(|fields| Value::Object(Map::from_iter(fields))),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_round_trip(value in any_json()) {
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let json: Json<'_> = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(serde_json::to_value(&json).unwrap(), serde_json::from_str::<Value>(&text).unwrap());
            }
        }

        #[test]
        fn the_value_count_is_an_upper_bound(value in any_json()) {
            fn count(value: &Value) -> u32 {
                1 + match value {
                    Value::Array(items) => items.iter().map(count).sum(),
                    Value::Object(fields) => fields.values().map(count).sum(),
                    _ => 0,
                }
            }
            prop_assert!(count(&value) <= values_at_most(value.to_string().as_bytes()));
        }

        /// Like `serde_json::Value`, in objects of few fields and of many.
        #[test]
        fn the_last_duplicate_name_counts(names in prop::collection::vec(0..120_u8, 0..200)) {
            let fields: Vec<_> =
                names.iter().enumerate().map(|(number, name)| format!(r#""field_{name}": {number}"#)).collect();
            let text = format!("{{{}}}", fields.join(", "));
            let (json, value) = (serde_json::from_str::<Json<'_>>(&text).unwrap(), serde_json::from_str::<Value>(&text).unwrap());
            prop_assert_eq!(serde_json::to_value(&json).unwrap(), value);
            prop_assert_eq!(json.as_object().unwrap().iter().count(), names.iter().collect::<std::collections::HashSet<_>>().len());
        }
    }

    #[test]
    fn reading_stops_at_too_many_values() {
        let list = |count: usize| format!("[{}]", vec!["0"; count].join(","));
        assert!(read(&list(MOST_VALUES - 1)).is_ok(), "the list is a value, too");
        for text in [list(MOST_VALUES), format!("{}{}", list(MOST_VALUES), "no JSON"), "[{},".repeat(MOST_VALUES)] {
            // The last one is nested too deeply for the parser.
            let is_deep = text.starts_with("[{},[");
            assert_eq!(matches!(read(&text), Err(Unread::TooManyValues)), !is_deep);
        }
        assert!(matches!(read("[1] 2"), Err(Unread::Malformed(_))));
    }

    #[test]
    fn texts_without_escapes_are_borrowed() {
        let json: Json<'_> = serde_json::from_str(r#"{"plain": "text", "e\u0073caped": "a\nb"}"#).unwrap();
        let fields: Vec<_> = json.as_object().cloned().unwrap().into_iter().collect();
        assert!(matches!(fields[0], (Cow::Borrowed("plain"), Json::Text(Cow::Borrowed("text")))));
        assert_eq!(fields[1], ("escaped".into(), Json::Text("a\nb".into())));
    }

    #[test]
    fn large_objects_take_linear_time() {
        let fields: Vec<_> = (0..20_000).map(|number| format!(r#""{number}": 1, "0": 2"#)).collect();
        let text = format!("{{{}}}", fields.join(", "));
        let json: Json<'_> = serde_json::from_str(&text).unwrap();
        assert_eq!(json.as_object().unwrap().iter().count(), 20_000);
        assert_eq!(json.get("0"), Some(&Json::Number(2.into())));
    }
}
