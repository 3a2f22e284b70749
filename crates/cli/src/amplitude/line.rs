//! Parses a line of Amplitude's export, for all commands in the same way.
//!
//! A command that mistakes an unreadable line for a missing event would send the event again, and after seven days Amplitude
//! would count it twice. So an insert ID is enough for an event to be present, even if other fields of its line are
//! duplicated, null or truncated. A line without a readable insert ID is unreadable, and never means that an event is
//! missing. The same holds for the rest of a broken line if it may contain another event, because a truncated line may be
//! joined with the next one.
//!
//! Most events are the product's own. They are recognized by a readable type that is not ours, even if the line breaks
//! after it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

/// The prefix of all our event types.
pub(crate) const OURS: &str = "[Stripe] ";

/// The content of a line.
#[derive(Debug)]
pub(crate) enum Line<'l> {
    /// One of our events.
    Ours(Box<Exported<'l>>),
    /// Another event.
    Other,
    /// It may be any of our events.
    Unreadable,
}

/// The fields of an exported event that matter here.
#[derive(Debug)]
pub(crate) struct Exported<'l> {
    /// From `$insert_id` and `insert_id`. At least one, and rarely more.
    pub(crate) insert_ids: Vec<String>,
    /// Amplitude's own ID. It identifies duplicate lines.
    pub(crate) uuid: Option<String>,
    /// `[Stripe] ` and Stripe's type; `None` if unreadable.
    pub(crate) event_type: Option<String>,
    /// In UTC: `2026-11-20 05:06:07.123000`; `None` if unreadable.
    pub(crate) event_time: Option<String>,
    fields: Fields<'l>,
}

/// The properties of an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Content {
    /// Amplitude exports revenue and currency either as top-level fields, or as the properties `$revenue` and `$currency`.
    pub(crate) revenue: Value,
    pub(crate) currency: Value,
    /// The readable ones.
    pub(crate) properties: Map<String, Value>,
}

/// Parses a line. If it contains several objects, each is an event.
pub(crate) fn read(line: &str) -> Vec<Line<'_>> {
    let mut input = serde_json::Deserializer::from_str(line);
    let mut events = Vec::new();
    // The end of the last entry that was read.
    let mut end = 0;
    while input.end().is_err() {
        let mut fields = Fields::default();
        let entries = EachEntry(|name: Cow<'_, str>, raw| {
            end = end_in(line, raw);
            fields.add(&name, raw);
        });
        let is_whole = entries.deserialize(&mut input).is_ok();
        // If a line was truncated before a value, the next line looks like that value.
        let inside = |raw: &&RawValue| raw.get().get(1..).is_some_and(may_hold_an_event);
        let may_go_on =
            !is_whole && (fields.nested.iter().any(inside) || may_hold_an_event(line.get(end..).unwrap_or(line)));
        fields.add_to(&mut events, may_go_on);
        if !is_whole {
            break;
        }
    }
    events
}

/// Whether an insert ID looks like ours: the ID of a Stripe event, or one for a failed refund.
pub(crate) fn is_like_ours(insert_id: &str) -> bool {
    insert_id.starts_with("evt_") || insert_id.ends_with(":reversed")
}

/// The end of a value within its line.
fn end_in(line: &str, raw: &RawValue) -> usize {
    let raw = raw.get();
    raw.as_ptr().addr().saturating_sub(line.as_ptr().addr()) + raw.len()
}

/// Whether an unreadable part of a line may contain an event: it has a second insert ID, one of our type names, or an object
/// where no value can be. Amplitude's lines begin with the insert ID.
fn may_hold_an_event(text: &str) -> bool {
    // The last four, because either name may be escaped or contain invalid UTF-8.
    const SIGNS: [&str; 6] = ["insert_id", "Stripe]", r"\u005", r"\u006", r"\u007", "\u{fffd}"];
    // The only places where an object can begin within another one.
    let is_value = |before: &str| before.trim_end().ends_with([':', '[', ',']);
    SIGNS.iter().any(|sign| text.contains(sign))
        || text.match_indices("{\"").any(|(at, _)| !text.get(..at).is_some_and(is_value))
}

impl Exported<'_> {
    /// Parses the rest. Few events of an export need it.
    pub(crate) fn content(&self) -> Content {
        let Fields { revenue, currency, properties, .. } = &self.fields;
        let first = |values: &[&RawValue]| values.iter().find_map(|raw| value(raw)).unwrap_or_default();
        let mut content = Content { revenue: first(revenue), currency: first(currency), properties: Map::new() };
        for object in properties {
            let keep = |name: Cow<'_, str>, raw| {
                if let Some(value) = value(raw) {
                    content.properties.entry(name.into_owned()).or_insert(value);
                }
            };
            // The fields before a syntax error are kept.
            let _ = EachEntry(keep).deserialize(&mut serde_json::Deserializer::from_str(object.get()));
        }
        content
    }
}

/// A number, even if the export has it as text (`"25"`, `"1.2E7"`).
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

/// A whole number in any notation: `1.2E7` and `"12000000"` are 12,000,000.
pub(crate) fn whole_number(value: &Value) -> Option<i64> {
    /// Up to here, a float represents every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let number = number(value)?;
    let float = || number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= EXACT);
    number.as_i64().or_else(|| float().map(|float| float as i64))
}

/// All occurrences of the fields that matter.
#[derive(Debug, Default)]
struct Fields<'l> {
    insert_ids: Vec<String>,
    /// Whether an insert ID is not intact.
    is_damaged: bool,
    uuids: Vec<String>,
    event_types: Vec<String>,
    event_times: Vec<String>,
    revenue: Vec<&'l RawValue>,
    currency: Vec<&'l RawValue>,
    properties: Vec<&'l RawValue>,
    /// All objects and lists.
    nested: Vec<&'l RawValue>,
}

impl<'l> Fields<'l> {
    fn add(&mut self, name: &str, raw: &'l RawValue) {
        match name {
            "insert_id" | "$insert_id" => match text(raw) {
                Some(insert_id) if !is_intact(&insert_id) => self.is_damaged = true,
                Some(insert_id) if !self.insert_ids.contains(&insert_id) => self.insert_ids.push(insert_id),
                _ => {}
            },
            "uuid" => self.uuids.extend(text(raw).filter(|text| is_intact(text))),
            "event_type" => self.event_types.extend(text(raw).filter(|text| is_intact(text) || is_foreign(text))),
            "event_time" => self.event_times.extend(text(raw).filter(|text| is_intact(text))),
            "revenue" => self.revenue.push(raw),
            "currency" => self.currency.push(raw),
            "event_properties" => self.properties.push(raw),
            _ => {}
        }
        if raw.get().starts_with(['{', '[']) {
            self.nested.push(raw);
        }
    }

    /// `may_go_on`: whether the unreadable rest may contain another event.
    fn add_to(mut self, events: &mut Vec<Line<'l>>, may_go_on: bool) {
        let our_type = self.event_types.iter().find(|event_type| event_type.starts_with(OURS)).cloned();
        let is_foreign = our_type.is_none() && !self.event_types.is_empty();
        if is_foreign {
            events.push(if may_go_on { Line::Unreadable } else { Line::Other });
            return;
        }
        let insert_ids = std::mem::take(&mut self.insert_ids);
        // All our events have an insert ID. Without one, an event of our type may be any of them.
        let is_unreadable = may_go_on || self.is_damaged || insert_ids.is_empty();
        if !insert_ids.is_empty() {
            let uuid = self.uuids.first().cloned();
            let event_time = self.event_times.first().cloned();
            events.push(Line::Ours(Box::new(Exported {
                insert_ids,
                uuid,
                event_type: our_type,
                event_time,
                fields: self,
            })));
        }
        if is_unreadable {
            events.push(Line::Unreadable);
        }
    }
}

fn text(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok().filter(|text: &String| !text.is_empty())
}

/// Whether a text is intact: it was valid UTF-8, and it does not end where another object begins, which would mean that the
/// line was truncated within it and joined with the next one.
fn is_intact(text: &str) -> bool {
    !text.contains(char::REPLACEMENT_CHARACTER) && !text.ends_with('{')
}

/// Whether a damaged type is certainly not ours, judging by its intact beginning.
fn is_foreign(event_type: &str) -> bool {
    let before = event_type.strip_suffix('{').unwrap_or(event_type);
    let before = before.split(char::REPLACEMENT_CHARACTER).next().unwrap_or_default();
    !before.starts_with(OURS) && !OURS.starts_with(before)
}

/// `None` also for null.
fn value(raw: &RawValue) -> Option<Value> {
    serde_json::from_str(raw.get()).ok().filter(|value: &Value| !value.is_null())
}

/// Borrowed for most names.
#[derive(Deserialize)]
struct Name<'n>(#[serde(borrow)] Cow<'n, str>);

/// Parses an object, and passes on each entry, even if the object turns out to be broken.
struct EachEntry<F>(F);

impl<'de, F: FnMut(Cow<'de, str>, &'de RawValue)> DeserializeSeed<'de> for EachEntry<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(Cow<'de, str>, &'de RawValue)> Visitor<'de> for EachEntry<F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            self.0(name, map.next_value()?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// For example `evt_1 [Stripe] charge.failed` for one of our events.
    fn summary(line: &str) -> Vec<String> {
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
    fn insert_id_identifies_our_events() {
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
            assert_eq!(summary(line), expected, "{line}");
        }
    }

    #[test]
    fn rest_of_a_broken_line_may_be_another_event() {
        let whole = r#"{"$insert_id":"evt_2","event_type":"[Stripe] b"}"#;
        let both = &["evt_1 [Stripe] a", "unreadable"];
        for cut_off in [
            r#""x":tru}"#,
            r#""x":"y"#,
            r#""event_prop"#,
            r#""event_properties":"#,
            r#""event_properties":{"a":[1,"#,
            "",
        ] {
            let line = format!(r#"{{"$insert_id":"evt_1","event_type":"[Stripe] a",{cut_off}"#);
            assert_eq!(summary(&line), both[..1], "{line}");
            for next in [
                whole,
                r#"{"insert_id":"evt_2","event_type":null}"#,
                r#"{"\u0024insert\u005fid":"evt_2"}"#,
                r#"{"event_type":"\u005bStripe] b"}"#,
                "{\"$ins\u{fffd}rt_id\":\"evt_2\"}",
            ] {
                assert_eq!(summary(&format!("{line}{next}")), both, "{line}{next}");
            }
        }
        for (line, expected) in [
            (r#"{"$insert_id":"evt_1","event_type":"[Stripe] a","x{"app":1,"#, &both[..]),
            (r#"{"$insert_id":"evt_1","event_type":"[Stripe] a","insert_id":"evt_"#, both),
            (r#"{"$insert_id":"evt_1{"$insert_id":"evt_2","event_type":"[Stripe] b"}"#, &["unreadable"]),
            (r#"{"$insert_id":{"$insert_id":"evt_2","event_type":"[Stripe] b"}"#, &["unreadable"]),
            (r#"{"$insert_id":"i","event_type":"Page viewed","x{"$insert_id":"evt_2"}"#, &["unreadable"]),
            (r#"{"$insert_id":"i","event_type":"Page viewed"}{"$insert_id":"ev"#, &["other", "unreadable"]),
        ] {
            assert_eq!(summary(line), expected, "{line}");
        }
    }

    #[test]
    fn truncated_and_joined_lines_never_hide_our_events() {
        let line = |insert_id: &str, name: &str| {
            format!(
                r#"{{"$insert_id":"{insert_id}","app":1,"data":{{"path":"/batch","group":{{}}}},"event_properties":{{"a {{":["b:",{{"c":true}}],"d":null}},"event_time":"2026-11-20 05:06:07","event_type":"{name}","uuid":"u"}}"#
            )
        };
        let (first, second) = (line("evt_1", "[Stripe] a"), line("evt_2", "[Stripe] b"));
        let (foreign, whole_foreign) = (line("i", "Page viewed"), line("j", "Page viewed"));
        let assert_found = |line: &str, insert_ids: &[&str]| {
            let found = summary(line);
            for insert_id in insert_ids {
                let is_found = |word: &String| word == "unreadable" || word.split(' ').next() == Some(insert_id);
                assert!(found.iter().any(is_found), "{insert_id} of {line}: {found:?}");
            }
        };
        for end in 1..=first.len() {
            let cut_off = &first[..end];
            assert_found(cut_off, &["evt_1"]);
            assert_found(&format!("{cut_off}{second}"), &["evt_1", "evt_2"]);
            assert_found(&format!("{cut_off}{whole_foreign}"), &["evt_1"]);
            // Less than that cannot be recognized as a second line.
            let begin = r#"{"$insert_id"#.len();
            for second_end in 1..second.len() {
                let both = ["evt_1", "evt_2"];
                let insert_ids = if second_end < begin { &both[..1] } else { &both };
                assert_found(&format!("{cut_off}{}", &second[..second_end]), insert_ids);
            }
        }
        for end in 1..=foreign.len() {
            assert_found(&format!("{}{second}", &foreign[..end]), &["evt_2"]);
        }
    }

    #[test]
    fn other_events_are_recognized_by_type() {
        for (line, expected) in [
            ("", &[][..]),
            (" \r\n", &[]),
            (r#"{"$insert_id":"i","event_type":"Page viewed","event_properties":{"a":[1]}}"#, &["other"]),
            (r#"{"event_type":"Page viewed","user_id":null}"#, &["other"]),
            (r#"{"$insert_id":"i","event_type":"Page viewed","event_properties":{"a":[1"#, &["other"]),
            (r#"{"$insert_id":"evt_1","app":1,"event_properties":{"a":1},"event_ty"#, &["evt_1 ?"]),
            (r#"{"$insert_id":"evt_1","event_type":null,"event_properties":{"a":1}}"#, &["evt_1 ?"]),
            (r#"{"$insert_id":"evt_1","event_type":"\u005bStripe] charge.failed"}"#, &["evt_1 [Stripe] charge.failed"]),
            (r#"{"$insert\u005fid":"\u0065vt_1","event_type":null}"#, &["evt_1 ?"]),
            (r#"{"app":1,"event_ty"#, &["unreadable"]),
            (r#"{"$insert_id":null,"event_type":null}"#, &["unreadable"]),
        ] {
            assert_eq!(summary(line), expected, "{line}");
        }
    }

    #[test]
    fn invalid_utf_8_never_changes_the_event() {
        for (line, expected) in [
            (r#"{"$insert_id":"evt_�","event_type":"[Stripe] a"}"#, &["unreadable"][..]),
            (r#"{"$insert_id":"evt_�","event_type":null}"#, &["unreadable"]),
            (
                r#"{"$insert_id":"evt_�","insert_id":"evt_1","event_type":"[Stripe] a"}"#,
                &["evt_1 [Stripe] a", "unreadable"],
            ),
            (r#"{"$insert_id":"evt_1","event_type":"[Str�pe] a"}"#, &["evt_1 ?"]),
            (r#"{"$insert_id":"evt_1","event_type":"[Stripe] �"}"#, &["evt_1 ?"]),
            (r#"{"$ins�rt_id":"evt_1","event_type":"[Stripe] a"}"#, &["unreadable"]),
            (r#"{"$insert_id":"�","event_type":"Page viewed"}"#, &["other"]),
            (r#"{"event_type":"Caf� viewed"}"#, &["other"]),
        ] {
            assert_eq!(summary(line), expected, "{line}");
        }
    }

    #[test]
    fn content_has_the_readable_fields() {
        let line = r#"{"$insert_id":"evt_1","uuid":"u","event_type":"[Stripe] a","event_time":"2026-11-20 05:06:07",
            "revenue":null,"event_properties":{"$revenue":"1.2E7","broken":1e999,"a":null,"a":1}}"#;
        let lines = read(line);
        let [Line::Ours(event)] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((event.uuid.as_deref(), event.event_time.as_deref()), (Some("u"), Some("2026-11-20 05:06:07")));
        let properties = json!({"$revenue": "1.2E7", "a": 1}).as_object().unwrap().clone();
        assert_eq!(event.content(), Content { properties, ..Content::default() });
    }

    #[test]
    fn numbers_are_parsed_in_every_notation() {
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
