//! A line of Amplitude's export, read in one way by every tool.
//!
//! A tool that takes an unreadable line for a missing event sends the event again, and after seven days Amplitude counts it
//! twice. So an insert ID is enough for an event to be there, even if other fields of its line are doubled, null or cut
//! off. A line without a readable insert ID is unreadable, and never taken for missing.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

/// What all our events are called.
pub(crate) const OURS: &str = "[Stripe] ";

/// What a line with [`OURS`] in it says.
#[derive(Debug)]
pub(crate) enum Line<'l> {
    /// An event of ours.
    Ours(Box<Exported<'l>>),
    /// An event of somebody else's, with our name in one of its fields.
    Other,
    /// It may be any event of ours.
    Unreadable,
}

/// An event as Amplitude has it, as far as it matters here.
#[derive(Debug)]
pub(crate) struct Exported<'l> {
    /// What it was sent under: of `$insert_id` and `insert_id`, whatever is there. Mostly one, and one at least.
    pub(crate) insert_ids: Vec<String>,
    /// Amplitude's own ID. A line can come twice; then it is one event.
    pub(crate) uuid: Option<String>,
    /// `[Stripe] ` and Stripe's type; `None` where it cannot be read.
    pub(crate) event_type: Option<String>,
    /// When it happened, in UTC: `2026-11-20 05:06:07.123000`; `None` where it cannot be read.
    pub(crate) event_time: Option<String>,
    fields: Fields<'l>,
}

/// What an event is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Content {
    /// Where Amplitude keeps them beside the properties, as they are sent; otherwise they are `$revenue` and `$currency`.
    pub(crate) revenue: Value,
    pub(crate) currency: Value,
    /// Those that can be read.
    pub(crate) properties: Map<String, Value>,
}

/// Reads a line. Where several objects stand in it, each is an event.
pub(crate) fn read(line: &str) -> Vec<Line<'_>> {
    let mut input = serde_json::Deserializer::from_str(line);
    let mut events = Vec::new();
    loop {
        let mut fields = Fields::default();
        let is_whole = EachEntry(|name, raw| fields.add(name, raw)).deserialize(&mut input).is_ok();
        events.push(fields.into_line(is_whole));
        if !is_whole || input.end().is_ok() {
            return events;
        }
    }
}

impl Exported<'_> {
    /// The rest of it. Only few of the events of an export need it.
    pub(crate) fn content(&self) -> Content {
        let Fields { revenue, currency, properties, .. } = &self.fields;
        let first = |values: &[&RawValue]| values.iter().find_map(|raw| value(raw)).unwrap_or_default();
        let mut content = Content { revenue: first(revenue), currency: first(currency), properties: Map::new() };
        for object in properties {
            let keep = |name, raw| {
                if let Some(value) = value(raw) {
                    content.properties.entry(name).or_insert(value);
                }
            };
            // The fields before a syntax error are kept.
            let _ = EachEntry(keep).deserialize(&mut serde_json::Deserializer::from_str(object.get()));
        }
        content
    }
}

/// A number, also where the export has it as text (`"25"`, `"1.2E7"`).
pub(crate) fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) => Some(number.clone()),
        Value::String(text) => {
            let text = text.trim();
            let whole = text.parse::<i64>().ok().map(Number::from);
            whole.or_else(|| Number::from_f64(text.parse().ok()?))
        }
        _ => None,
    }
}

/// A whole number, however it is written: `1.2E7` and `"12000000"` are 12,000,000.
pub(crate) fn whole_number(value: &Value) -> Option<i64> {
    /// A float has all whole numbers until here.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number = number(value)?;
    let float = || number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= EXACT);
    number.as_i64().or_else(|| float().map(|float| float as i64))
}

/// The values of the fields that matter, each as often as it is there.
#[derive(Debug, Default)]
struct Fields<'l> {
    insert_ids: Vec<String>,
    uuids: Vec<String>,
    event_types: Vec<String>,
    event_times: Vec<String>,
    revenue: Vec<&'l RawValue>,
    currency: Vec<&'l RawValue>,
    properties: Vec<&'l RawValue>,
}

impl<'l> Fields<'l> {
    fn add(&mut self, name: String, raw: &'l RawValue) {
        match name.as_str() {
            "insert_id" | "$insert_id" => {
                self.insert_ids.extend(text(raw).filter(|insert_id| !self.insert_ids.contains(insert_id)));
            }
            "uuid" => self.uuids.extend(text(raw)),
            "event_type" => self.event_types.extend(text(raw)),
            "event_time" => self.event_times.extend(text(raw)),
            "revenue" => self.revenue.push(raw),
            "currency" => self.currency.push(raw),
            "event_properties" => self.properties.push(raw),
            _ => {}
        }
    }

    fn into_line(mut self, is_whole: bool) -> Line<'l> {
        let our_type = self.event_types.iter().find(|event_type| event_type.starts_with(OURS)).cloned();
        if our_type.is_none() && is_whole && !self.event_types.is_empty() {
            return Line::Other;
        }
        let may_be_ours = our_type.is_some() || self.event_types.is_empty();
        let insert_ids = std::mem::take(&mut self.insert_ids);
        // All our events have an insert ID. One of our type without it may be any of them.
        if !may_be_ours || insert_ids.is_empty() {
            return Line::Unreadable;
        }
        let uuid = self.uuids.first().cloned();
        let event_time = self.event_times.first().cloned();
        Line::Ours(Box::new(Exported { insert_ids, uuid, event_type: our_type, event_time, fields: self }))
    }
}

fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok().filter(|text: &String| !text.is_empty())
}

/// `None` also for null, which says nothing.
fn value(raw: &RawValue) -> Option<Value> {
    serde_json::from_str(raw.get()).ok().filter(|value: &Value| !value.is_null())
}

/// Reads an object, and hands over each entry, also of one that turns out to be broken.
struct EachEntry<F>(F);

impl<'de, F: FnMut(String, &'de RawValue)> DeserializeSeed<'de> for EachEntry<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(String, &'de RawValue)> Visitor<'de> for EachEntry<F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key()? {
            self.0(name, map.next_value()?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// In a word: `evt_1 [Stripe] charge.failed` for an event of ours.
    fn told(line: &str) -> Vec<String> {
        let word = |line: &Line<'_>| match line {
            Line::Ours(event) => {
                format!("{} {}", event.insert_ids.join("/"), event.event_type.as_deref().unwrap_or("?"))
            }
            Line::Other => "other".to_owned(),
            Line::Unreadable => "unreadable".to_owned(),
        };
        read(line).iter().map(word).collect()
    }

    #[test]
    fn an_insert_id_is_enough_to_be_there_and_without_one_nothing_is_known() {
        let ours = ["evt_1 [Stripe] charge.failed"];
        for (line, expected) in [
            (r#"{"$insert_id":"evt_1","event_type":"[Stripe] charge.failed"}"#, &ours[..]),
            (r#"{"insert_id":"evt_1","event_type":"[Stripe] charge.failed"}"#, &ours),
            (r#"{"insert_id":"evt_1","$insert_id":"evt_1","event_type":"[Stripe] charge.failed"}"#, &ours),
            (r#"{"$insert_id":"evt_1","event_type":"[Stripe] charge.failed","$insert_id":"evt_1"}"#, &ours),
            (r#"{"insert_id":null,"$insert_id":"evt_1","event_type":"[Stripe] charge.failed"}"#, &ours),
            (r#"{"$insert_id":"evt_1","event_type":"[Stripe] charge.failed","event_time":null,"user_id":7}"#, &ours),
            (
                r#"{"$insert_id":"evt_1","event_type":"[Stripe] charge.failed","event_properties":{"a":"\ud800","b":1e999}}"#,
                &ours,
            ),
            (r#"{"$insert_id":"evt_1","event_type":"[Stripe] charge.failed","event_properties":[1,"#, &ours),
            (r#"{"$insert_id":"evt_1","event_type":"[Stripe] charge.failed"} x"#, &[ours[0], "unreadable"]),
            (
                r#"{"$insert_id":"evt_1","insert_id":"evt_2","event_type":"[Stripe] charge.failed"}"#,
                &["evt_1/evt_2 [Stripe] charge.failed"],
            ),
            (r#"{"$insert_id":"evt_1","event_type":null,"event_properties":{"a":"[Stripe] "}}"#, &["evt_1 ?"]),
            (
                r#"{"$insert_id":"evt_1","event_type":"[Stripe] a"}{"$insert_id":"evt_2","event_type":"[Stripe] b"}"#,
                &["evt_1 [Stripe] a", "evt_2 [Stripe] b"],
            ),
            (r#"{"$insert_id":"i","event_type":"Page viewed","event_properties":{"title":"[Stripe] "}}"#, &["other"]),
            (r#"{"event_type":"Page viewed","event_properties":{"title":"[Stripe] "}}"#, &["other"]),
            (r#"{"event_type":"[Stripe] charge.failed","$insert_id":null}"#, &["unreadable"]),
            (r#"{"event_type":"[Stripe] charge.failed","$insert_id":""}"#, &["unreadable"]),
            (r#"{"event_type":"[Stripe] charge.failed","$insert_id":7}"#, &["unreadable"]),
            (r#"{"event_type":"[Stripe] charge.failed","$inse"#, &["unreadable"]),
            (r#"{"event_type":"Page viewed","$insert_id":"i","x":"[Stripe] "#, &["unreadable"]),
            (r#"["[Stripe] "]"#, &["unreadable"]),
            ("[Stripe] ", &["unreadable"]),
        ] {
            assert_eq!(told(line), expected, "{line}");
        }
    }

    #[test]
    fn the_content_has_what_can_be_read() {
        let line = r#"{"$insert_id":"evt_1","uuid":"u","event_type":"[Stripe] a","event_time":"2026-11-20 05:06:07",
            "revenue":null,"event_properties":{"$revenue":"1.2E7","broken":1e999,"a":null,"a":1}}"#;
        let lines = read(line);
        let [Line::Ours(event)] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((event.uuid.as_deref(), event.event_time.as_deref()), (Some("u"), Some("2026-11-20 05:06:07")));
        let properties = json!({"$revenue": "1.2E7", "a": 1}).as_object().unwrap().clone();
        assert_eq!(event.content(), Content { properties, ..Content::default() });
    }

    #[test]
    fn numbers_are_read_however_they_are_written() {
        for (value, expected) in [
            (json!(25), Some(25)),
            (json!("25"), Some(25)),
            (json!(" -25 "), Some(-25)),
            (json!(1.2e7), Some(12_000_000)),
            (json!("1.2E7"), Some(12_000_000)),
            (json!("25.0"), Some(25)),
            (json!(25.5), None),
            (json!("25.5"), None),
            (json!("1e400"), None),
            (json!("NaN"), None),
            (json!(""), None),
            (json!(null), None),
            (json!([25]), None),
        ] {
            assert_eq!(whole_number(&value), expected, "{value}");
        }
        assert_eq!(number(&json!("19.99")), Number::from_f64(19.99));
        assert_eq!(number(&json!("inf")), None);
    }
}
