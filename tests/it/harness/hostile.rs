//! Signed bodies that use as much memory and time as their size permits. Stripe sends none of them.

use super::stripe;

/// The largest accepted body, in bytes.
pub const MAX_BODY_BYTES: usize = 4 * 1024 * 1024;

/// The number of JSON values a body may have, minus those of the event around them.
pub const MAX_VALUES: usize = 499_000;

/// A new event whose object has an additional field with this JSON text as its value.
pub fn with_field(value: &str) -> String {
    with_field_of("charge.succeeded", "hostile", value)
}

/// The text of a new event whose object has these fields beside its own.
fn with_fields(fields: &str) -> String {
    with_field("1").replace("\"hostile\":1", fields)
}

fn with_field_of(event_type: &str, name: &str, value: &str) -> String {
    let mut event = stripe::new_event(event_type);
    event["data"]["object"][name] = "the value".into();
    event.to_string().replace("\"the value\"", value)
}

/// An event with as many copies of a unit as fit into these bytes and JSON values.
pub fn filled(unit: &Unit, bytes: usize, most_values: usize) -> String {
    let room = bytes - with_field("1").len() - 100;
    let count = (room / (unit.text.len() + 1)).min(most_values / unit.values);
    with_field(&format!("[{}]", vec![&*unit.text; count].join(",")))
}

/// A piece of JSON text and the number of values in it.
pub struct Unit {
    text: String,
    values: usize,
}

/// A single value.
fn one(text: &str) -> Unit {
    Unit { text: text.to_owned(), values: 1 }
}

/// A list of `count` copies of a unit.
fn list(count: usize, inner: &Unit) -> Unit {
    Unit { text: format!("[{}]", vec![&*inner.text; count].join(",")), values: 1 + count * inner.values }
}

/// An object with fields of these names.
fn object(names: &[&str], inner: &Unit) -> Unit {
    let fields: Vec<_> = names.iter().map(|name| format!("\"{name}\":{}", inner.text)).collect();
    Unit { text: format!("{{{}}}", fields.join(",")), values: 1 + names.len() * inner.values }
}

/// Objects nested to the parser's limit. In each, the last field holds the next object and the other fields hold text.
fn nested(names: &[&str]) -> Unit {
    let (last, others) = names.split_last().unwrap();
    let others: String = others.iter().map(|name| format!("\"{name}\":\"\\n\",")).collect();
    let depth = 120;
    let text = format!("{}1{}", format!("{{{others}\"{last}\":").repeat(depth), "}".repeat(depth));
    Unit { text, values: depth * names.len() + 1 }
}

/// Objects nested by keys of this length, each followed by small lists, in at most this many bytes.
fn nested_keys(bytes: usize, length: usize) -> String {
    let depth = (bytes * 6 / 10 / length).min(110);
    let keys: String = (0..depth).map(|layer| format!("\"{}{layer}\":{{", "k".repeat(length))).collect();
    let lists: Vec<_> = (0..bytes * 4 / 10 / 110).map(|number| format!("\"{number:0>100}\":[]")).collect();
    with_field(&format!("{{{keys}{}{}}}", lists.join(","), "}".repeat(depth)))
}

/// Fields with the shortest possible names, so that nearly as many fit as there may be values.
fn short_fields(count: usize, escape: &str, value: &str) -> String {
    let letters: Vec<char> = ('!'..='~').filter(|letter| !matches!(letter, '"' | '\\')).collect();
    let letter = |number: usize| letters[number % letters.len()];
    let name = |number: usize| [8464, 92, 1].map(|place| letter(number / place)).iter().collect::<String>();
    let fields: Vec<_> = (0..count).map(|number| format!("\"{escape}{}\":{value}", name(number))).collect();
    fields.join(",")
}

/// The bodies by description. All of them are accepted.
pub fn bodies() -> Vec<(&'static str, String)> {
    let long = |unit: &str| with_field(&format!("\"{}\"", unit.repeat((MAX_BODY_BYTES - 10_000) / unit.len())));
    let fields = |count: usize, field: &dyn Fn(usize) -> String| {
        let fields: Vec<_> = (0..count).map(field).collect();
        format!("{{{}}}", fields.join(","))
    };
    let mut out_of_range_at_the_end = filled(&nested(&ESCAPES[..2]), MAX_BODY_BYTES, MAX_VALUES - 1);
    out_of_range_at_the_end.truncate(out_of_range_at_the_end.len() - 1);
    out_of_range_at_the_end.push_str(r#","hostile":1e999}"#);
    let metadata = fields(190, &|number| format!("\"{number}{}\":\"\\n\"", r"\u00e9".repeat(3_500)));
    let lines: Vec<_> = (0..60_000).map(|number| format!("{{\"description\":\"{number:0>40}\"}}")).collect();
    let bodies = [
        ("nested keys of 20 KB, 1.1 MB", nested_keys(1_100_000, 20_000)),
        ("nested keys of 20 KB, 1 MB", nested_keys(1_000_000, 20_000)),
        ("nested keys of 20 KB, 4 MB", nested_keys(MAX_BODY_BYTES - 10_000, 20_000)),
        ("nested keys of 1 KB", nested_keys(MAX_BODY_BYTES - 10_000, 1_000)),
        ("one long string", long("x")),
        ("many escapes", long(r"\u0001")),
        ("many halves of pairs", long(r"\ud800")),
        ("a number of many digits", with_field(&"9".repeat(MAX_BODY_BYTES - 10_000))),
        ("many repeats of a key", with_field(&fields(400_000, &|_| r#""k":1"#.to_owned()))),
        ("many repeats of many keys", with_field(&fields(370_000, &|number| format!("\"{:x}\":1", number % 65_536)))),
        ("many fields", with_field(&fields(350_000, &|number| format!("\"{number:x}\":1")))),
        ("many fields, escaped", with_field(&fields(260_000, &|number| format!("\"\\n{number:x}\":\"\\n\"")))),
        ("many fields of the object itself", with_fields(&short_fields(MAX_VALUES - 1_000, "", "1"))),
        ("many fields of the object itself, escaped", with_fields(&short_fields(310_000, r"\n", r#""\n""#))),
        ("many fields of lists", with_field(&fields(240_000, &|number| format!("\"{number:x}\":[0]")))),
        ("many names of 1 KB", with_field(&fields(4_000, &|number| format!("\"{number:0>1000}\":[{{}}]")))),
        ("metadata of long keys", with_field_of("charge.succeeded", "metadata", &metadata)),
        (
            "many lines of an invoice",
            with_field_of("invoice.paid", "lines", &format!("{{\"data\":[{}]}}", lines.join(","))),
        ),
        ("a number out of range at the end", out_of_range_at_the_end),
    ];
    // Small allocations come first: memory fragmented by them may be of no use to the large ones.
    units().into_iter().map(|(what, unit)| (what, filled(&unit, MAX_BODY_BYTES, MAX_VALUES))).chain(bodies).collect()
}

/// Escape sequences of two characters. A string with an escape is copied rather than borrowed from the body.
const ESCAPES: [&str; 9] = [r"\n", r"\t", r"\r", r"\b", r"\f", r"\\", r"\/", r#"\""#, r"\n\n"];

/// Units of which a body can contain hundreds of thousands.
pub fn units() -> Vec<(&'static str, Unit)> {
    let lists = Unit { text: format!("{}{}", "[".repeat(120), "]".repeat(120)), values: 120 };
    vec![
        ("many numbers", one("0")),
        ("many floats", one("1e15")),
        ("many numbers out of range", one("1e999")),
        ("many strings", one(r#""""#)),
        ("many strings with an escape", one(r#""\n""#)),
        ("many texts of a half", one(r#""\ud800""#)),
        ("many arrays", list(0, &one(""))),
        ("many arrays of an array", list(1, &list(1, &one("0")))),
        ("many arrays of five", list(5, &one("0"))),
        ("many arrays of nine", list(9, &one(r#""\n""#))),
        ("many nested arrays", lists),
        ("many objects", object(&[], &one(""))),
        ("many objects with a field", object(&["k"], &one("1"))),
        ("many objects of five", object(&ESCAPES[..5], &one("0"))),
        ("many objects of five lists", object(&ESCAPES[..5], &list(1, &one("0")))),
        ("many nested objects", nested(&[""])),
        ("many nested objects, escaped", nested(&ESCAPES[..1])),
        ("many nested objects of two", nested(&ESCAPES[..2])),
        ("many nested objects of three", nested(&ESCAPES[..3])),
        ("many nested objects of five", nested(&ESCAPES[..5])),
        ("many nested objects of nine", nested(&ESCAPES)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_within_the_limit() {
        for (what, body) in bodies() {
            assert!((900_000..=MAX_BODY_BYTES).contains(&body.len()), "{what}: {}", body.len());
        }
    }
}
