//! A line of Amplitude's export, read in one way by every tool.
//!
//! A tool that takes an unreadable line for a missing event sends the event again, and after seven days Amplitude counts it
//! twice. So an insert ID is enough for an event to be there, even if other fields of its line are doubled, null or cut
//! off. A line without a readable insert ID is unreadable, and never taken for missing; and so is what stands behind the
//! place where a line breaks, if it may be another event: a line that was cut off may be joined with the next one.
//!
//! Most events are the product's own: a readable type that is not ours tells them, even if their line breaks behind it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

/// What all our events are called.
pub(crate) const OURS: &str = "[Stripe] ";

/// What a line says.
#[derive(Debug)]
pub(crate) enum Line<'l> {
    /// An event of ours.
    Ours(Box<Exported<'l>>),
    /// An event of somebody else's.
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
    // Where the last entry ends that was read.
    let mut end = 0;
    while input.end().is_err() {
        let mut fields = Fields::default();
        let entries = EachEntry(|name: Cow<'_, str>, raw| {
            end = end_in(line, raw);
            fields.add(&name, raw);
        });
        let is_whole = entries.deserialize(&mut input).is_ok();
        // Where a line was cut off in front of a value, the next line looks like that value.
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

/// Whether an insert ID is like those of our events. Stripe's IDs of events have this beginning; the other ones are of
/// refunds that failed.
pub(crate) fn is_like_ours(insert_id: &str) -> bool {
    insert_id.starts_with("evt_") || insert_id.ends_with(":reversed")
}

/// Where in its line a value ends.
fn end_in(line: &str, raw: &RawValue) -> usize {
    let raw = raw.get();
    raw.as_ptr().addr().saturating_sub(line.as_ptr().addr()) + raw.len()
}

/// Whether an event may stand in a part of a line that could not be read: it has a second insert ID, a name of ours, or a
/// further object where no value can be. Amplitude's lines begin with the insert ID.
fn may_hold_an_event(text: &str) -> bool {
    // The last four: either name may be escaped, or have bytes that are no text.
    const SIGNS: [&str; 6] = ["insert_id", "Stripe]", r"\u005", r"\u006", r"\u007", "\u{fffd}"];
    // In an object, another one begins nowhere else.
    let is_value = |before: &str| before.trim_end().ends_with([':', '[', ',']);
    SIGNS.iter().any(|sign| text.contains(sign))
        || text.match_indices("{\"").any(|(at, _)| !text.get(..at).is_some_and(is_value))
}

impl Exported<'_> {
    /// The rest of it. Only few of the events of an export need it.
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
    /// Whether an insert ID is not as it was written.
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

    /// `may_go_on`: whether there may be another event in what could not be read.
    fn add_to(mut self, events: &mut Vec<Line<'l>>, may_go_on: bool) {
        let our_type = self.event_types.iter().find(|event_type| event_type.starts_with(OURS)).cloned();
        let is_foreign = our_type.is_none() && !self.event_types.is_empty();
        if is_foreign {
            events.push(if may_go_on { Line::Unreadable } else { Line::Other });
            return;
        }
        let insert_ids = std::mem::take(&mut self.insert_ids);
        // All our events have an insert ID. One of our type without it may be any of them.
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

/// Whether a text is as it was written: all its bytes are text, and it does not end where another object begins, which
/// is where a line was cut off in it and joined with the next one.
fn is_intact(text: &str) -> bool {
    !text.contains(char::REPLACEMENT_CHARACTER) && !text.ends_with('{')
}

/// Whether a type that is not intact is surely not ours: by what stands before the first place where it is not.
fn is_foreign(event_type: &str) -> bool {
    let before = event_type.strip_suffix('{').unwrap_or(event_type);
    let before = before.split(char::REPLACEMENT_CHARACTER).next().unwrap_or_default();
    !before.starts_with(OURS) && !OURS.starts_with(before)
}

/// `None` also for null, which says nothing.
fn value(raw: &RawValue) -> Option<Value> {
    serde_json::from_str(raw.get()).ok().filter(|value: &Value| !value.is_null())
}

/// Most names are not even copied.
#[derive(Deserialize)]
struct Name<'n>(#[serde(borrow)] Cow<'n, str>);

/// Reads an object, and hands over each entry, also of one that turns out to be broken.
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
    fn what_stands_behind_the_place_where_a_line_breaks_may_be_another_event() {
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
            assert_eq!(told(&line), both[..1], "{line}");
            for next in [
                whole,
                r#"{"insert_id":"evt_2","event_type":null}"#,
                r#"{"\u0024insert\u005fid":"evt_2"}"#,
                r#"{"event_type":"\u005bStripe] b"}"#,
                "{\"$ins\u{fffd}rt_id\":\"evt_2\"}",
            ] {
                assert_eq!(told(&format!("{line}{next}")), both, "{line}{next}");
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
            assert_eq!(told(line), expected, "{line}");
        }
    }

    #[test]
    fn wherever_lines_are_cut_off_and_joined_no_event_of_ours_is_taken_for_missing() {
        let line = |insert_id: &str, name: &str| {
            format!(
                r#"{{"$insert_id":"{insert_id}","app":1,"data":{{"path":"/batch","group":{{}}}},"event_properties":{{"a {{":["b:",{{"c":true}}],"d":null}},"event_time":"2026-11-20 05:06:07","event_type":"{name}","uuid":"u"}}"#
            )
        };
        let (first, second) = (line("evt_1", "[Stripe] a"), line("evt_2", "[Stripe] b"));
        let (foreign, whole_foreign) = (line("i", "Page viewed"), line("j", "Page viewed"));
        let assert_told = |line: &str, insert_ids: &[&str]| {
            let told = told(line);
            for insert_id in insert_ids {
                let is_told = |word: &String| word == "unreadable" || word.split(' ').next() == Some(insert_id);
                assert!(told.iter().any(is_told), "{insert_id} of {line}: {told:?}");
            }
        };
        for end in 1..=first.len() {
            let cut_off = &first[..end];
            assert_told(cut_off, &["evt_1"]);
            assert_told(&format!("{cut_off}{second}"), &["evt_1", "evt_2"]);
            assert_told(&format!("{cut_off}{whole_foreign}"), &["evt_1"]);
            // Of less than that, nobody can tell that it is of a second line.
            let begin = r#"{"$insert_id"#.len();
            for second_end in 1..second.len() {
                let both = ["evt_1", "evt_2"];
                let insert_ids = if second_end < begin { &both[..1] } else { &both };
                assert_told(&format!("{cut_off}{}", &second[..second_end]), insert_ids);
            }
        }
        for end in 1..=foreign.len() {
            assert_told(&format!("{}{second}", &foreign[..end]), &["evt_2"]);
        }
    }

    #[test]
    fn events_of_others_are_told_by_their_type_and_ours_need_none() {
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
            assert_eq!(told(line), expected, "{line}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_never_make_another_event_of_it() {
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
