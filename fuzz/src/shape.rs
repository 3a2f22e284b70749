//! Bodies by their dimensions: a few lines describe millions of values.
//!
//! Each line is a word and its arguments. Meaningless lines are ignored, so that every text is a shape.
//!
//! ```text
//! size 4194304          maximum bytes of the body
//! values 499000         maximum JSON values
//! type invoice.paid     of the sample event that the value is put into
//! in metadata           where: a field of the object, `object` for the object itself, `lines`, `previous`, `envelope`, `body`
//! fill list             how the largest body is filled with the unit below: `list`, `object`, or `same` for equal names
//! list 5                the unit, from the outside to the inside: a list of five,
//! object 3 \n 2         objects of three fields, whose names have two escapes and a number,
//! same 3 x 9            objects in which all three have the same name,
//! nest 100 2 \n 1       a hundred objects in each other, of two fields; of none: lists
//! text \u00e9 500       and a text that repeats this, or
//! leaf 1e15             this value. Several take turns.
//! ```

use std::fmt::Write as _;

use fastrand::Rng;

/// Nothing is larger than what the function reads.
const LARGEST: usize = 4 * 1024 * 1024;

/// The parser's limit is 128.
const DEEPEST: usize = 120;

/// The parts of names and texts.
const CHARACTERS: [&str; 10] =
    ["x", r"\n", r#"\""#, r"\u0001", r"\u00e9", "é", "👍", r"\ud800", r"\ud83d\ude00", r"\ufffd\n"];

const LEAVES: [&str; 16] = [
    "0",
    "1e15",
    "1e999",
    "-1.5e-7",
    "18446744073709551615",
    "-1",
    "null",
    "true",
    "\"\"",
    r#""\n""#,
    r#""\ud800""#,
    "[]",
    "{}",
    "[0]",
    r#"{"":0}"#,
    r#"{"\n":"\n"}"#,
];

/// Names that the function looks up.
const NAMES: [&str; 8] = ["data", "description", "id", "lines", "metadata", "object", "price", "product"];

const PLACES: [&str; 8] = ["hostile", "metadata", "object", "lines", "previous", "envelope", "body", "customer"];

const TYPES: [&str; 4] = ["charge.succeeded", "invoice.paid", "payment_intent.succeeded", "charge.refunded"];

/// A shape, from which bodies of any size are made.
pub struct Shape {
    /// The most bytes of the body.
    pub size: usize,
    /// The most JSON values of the body.
    pub values: usize,
    /// The type of the event.
    pub event_type: String,
    place: String,
    fill: String,
    unit: Unit,
}

/// A JSON text with this many values.
#[derive(Clone)]
struct Unit {
    text: String,
    values: usize,
}

/// Objects and lists around the inner parts.
enum Layer {
    List { count: usize },
    Object { names: Vec<String> },
    Nest { depth: usize, names: Vec<String> },
}

impl Shape {
    /// Reads the lines. A unit that would be larger than a body gets no more layers.
    pub fn read(input: &str) -> Self {
        let (mut size, mut values) = (LARGEST, 499_000);
        let (mut event_type, mut place, mut fill) = (TYPES[0].to_owned(), PLACES[0].to_owned(), "list".to_owned());
        let (mut layers, mut leaves) = (Vec::new(), Vec::new());
        for line in input.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |index: usize| words.get(index).and_then(|word| word.parse::<usize>().ok()).unwrap_or(1);
            let text = |index: usize| words.get(index).copied().unwrap_or_default();
            // A quotation mark or a control character would end the text, and a backslash might.
            let is_text = |text: &str| serde_json::from_str::<serde::de::IgnoredAny>(&format!("\"{text}\"")).is_ok();
            let unit_of_text = |index: usize| if is_text(text(index)) { text(index) } else { r"\ud800" };
            let names = |index: usize, same: bool| -> Vec<String> {
                let long = unit_of_text(index + 1).repeat(number(index + 2).min(100_000));
                let name = |field: usize| if same || field == 0 { long.clone() } else { format!("{long}{field}") };
                (0..number(index).min(LARGEST / (long.len() + 4)).min(200_000)).map(name).collect()
            };
            match words[0] {
                "size" => size = number(1).clamp(4096, LARGEST),
                "values" => values = number(1).clamp(100, 2_000_000),
                "type" if TYPES.contains(&text(1)) => text(1).clone_into(&mut event_type),
                "in" => text(1).clone_into(&mut place),
                "fill" => text(1).clone_into(&mut fill),
                "list" => layers.push(Layer::List { count: number(1).min(LARGEST / 2) }),
                "object" => layers.push(Layer::Object { names: names(1, false) }),
                "same" => layers.push(Layer::Object { names: names(1, true) }),
                "nest" => {
                    layers.push(Layer::Nest { depth: number(1).min(DEEPEST), names: names(2, false) });
                }
                "text" => {
                    let text = unit_of_text(1);
                    let text = text.repeat(number(2).min(LARGEST / text.len().max(1)));
                    leaves.push(Unit { text: format!("\"{text}\""), values: 1 });
                }
                "leaf" => {
                    if let Some(leaf) = LEAVES.iter().find(|leaf| **leaf == text(1)) {
                        leaves.push(Unit { text: (*leaf).to_owned(), values: values_in(leaf) });
                    }
                }
                _ => {}
            }
        }
        if leaves.is_empty() {
            leaves.push(Unit { text: "0".to_owned(), values: 1 });
        }
        let unit = layers.iter().rev().fold(leaves[0].clone(), |inner, layer| {
            let unit = layer.around(&inner, &leaves);
            if unit.text.len() > size / 2 || unit.values > values / 2 || deepest(&unit.text) > DEEPEST {
                inner
            } else {
                unit
            }
        });
        Self { size, values, event_type, place, fill, unit }
    }

    /// A body of this shape, with `sample` as the text of the event. `part` divides the size and the values: 2 is half
    /// of them.
    pub fn body(&self, sample: &str, part: usize) -> String {
        let (size, values) = (self.size / part, self.values / part);
        let room = size.saturating_sub(sample.len() + 200);
        let mut filled = String::with_capacity(room + 100);
        let (open, close) = if self.fill == "list" { ('[', ']') } else { ('{', '}') };
        filled.push(open);
        let (mut count, mut number) = (0, 0);
        while filled.len() + self.unit.text.len() + 20 < room && count + self.unit.values + 200 < values {
            if number > 0 {
                filled.push(',');
            }
            match &*self.fill {
                "list" => {}
                "same" => filled.push_str("\"k\":"),
                _ => write!(filled, "\"{number:x}\":").expect("a text takes all"),
            }
            filled.push_str(&self.unit.text);
            count += self.unit.values;
            number += 1;
        }
        filled.push(close);
        match &*self.place {
            "body" => filled,
            "envelope" => sample.replacen('{', &format!("{{\"more\":{filled},"), 1),
            "previous" => {
                sample.replacen("\"data\": {", &format!("\"data\": {{\"previous_attributes\":{{\"a\":{filled}}},"), 1)
            }
            "object" if number > 0 && self.fill != "list" => {
                let fields = &filled[1..filled.len() - 1];
                sample.replacen("\"object\": {", &format!("\"object\": {{{fields},"), 1)
            }
            "lines" => with_field(sample, "lines", &format!("{{\"object\":\"list\",\"data\":{filled}}}")),
            place => with_field(sample, if PLACES.contains(&place) { place } else { "hostile" }, &filled),
        }
    }
}

/// The last field with a name counts, but in an object with many it would not, so it comes before all others.
fn with_field(sample: &str, name: &str, value: &str) -> String {
    // The event's own field with this name would count instead.
    let sample = sample.replace(&format!("\"{name}\":"), "\"as_it_was\":");
    let object = format!("\"object\": {{\"{name}\":{value},");
    sample.replacen("\"object\": {", &object, 1)
}

impl Layer {
    fn around(&self, inner: &Unit, leaves: &[Unit]) -> Unit {
        let limit = LARGEST;
        match self {
            Self::List { count } => {
                let (mut text, mut values) = ("[".to_owned(), 1);
                for index in 0..*count {
                    if text.len() > limit {
                        break;
                    }
                    let item = if index == 0 { inner } else { turn(inner, leaves, index) };
                    let comma = if index == 0 { "" } else { "," };
                    write!(text, "{comma}{}", item.text).expect("a text takes all");
                    values += item.values;
                }
                text.push(']');
                Unit { text, values }
            }
            Self::Object { names } => fields(names, |index| turn(inner, leaves, index)),
            Self::Nest { depth, names } => (0..*depth).fold(inner.clone(), |unit, _| {
                if unit.text.len() > limit {
                    return unit;
                }
                match names.len() {
                    0 => Unit { text: format!("[{}]", unit.text), values: unit.values + 1 },
                    last => {
                        fields(names, |index| if index + 1 == last { &unit } else { &leaves[index % leaves.len()] })
                    }
                }
            }),
        }
    }
}

/// Leaves take turns.
fn turn<'u>(inner: &'u Unit, leaves: &'u [Unit], index: usize) -> &'u Unit {
    if inner.text == leaves[0].text { &leaves[index % leaves.len()] } else { inner }
}

fn fields<'u>(names: &[String], value: impl Fn(usize) -> &'u Unit) -> Unit {
    let (mut text, mut values) = ("{".to_owned(), 1);
    for (index, name) in names.iter().enumerate() {
        if text.len() > LARGEST {
            break;
        }
        let value = value(index);
        let comma = if index == 0 { "" } else { "," };
        write!(text, "{comma}\"{name}\":{}", value.text).expect("a text takes all");
        values += value.values;
    }
    text.push('}');
    Unit { text, values }
}

fn values_in(leaf: &str) -> usize {
    1 + usize::from(matches!(leaf, "[0]" | r#"{"":0}"# | r#"{"\n":"\n"}"#))
}

/// No text of a unit contains brackets.
fn deepest(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest + 8
}

/// Adds, changes or removes lines.
pub fn mutate(input: &str, rng: &mut Rng) -> String {
    let mut lines: Vec<String> = input.lines().map(str::to_owned).collect();
    for _ in 0..rng.u8(1..=3) {
        let place = rng.usize(..=lines.len());
        match rng.u8(..4) {
            0 if place < lines.len() => {
                lines.remove(place);
            }
            1 if place < lines.len() => lines[place] = line(rng),
            2 if place < lines.len() => lines[place] = near(&lines[place], rng),
            _ => lines.insert(place, line(rng)),
        }
    }
    lines.truncate(12);
    lines.join("\n")
}

fn line(rng: &mut Rng) -> String {
    let name = |rng: &mut Rng| match rng.u8(..4) {
        0 => String::new(),
        1 => rng.choice(NAMES).unwrap_or_default().to_owned(),
        _ => rng.choice(CHARACTERS).unwrap_or_default().to_owned(),
    };
    let few = |rng: &mut Rng| [1, 1, 2, 2, 3, 4, 5, 6, 8, 9, 17, 33, 65, 127, 129][rng.usize(..15)];
    let many = |rng: &mut Rng| 1 << rng.u8(..20);
    let length = |rng: &mut Rng| [0, 1, 1, 1, 2, 8, 40, 255, 1024, 1025, 20_000][rng.usize(..11)];
    match rng.u8(..14) {
        0 => format!("size {}", [4_194_304, 4_194_304, 2_000_000, 1_048_576, 500_000, 240_000][rng.usize(..6)]),
        1 => format!("values {}", [499_000, 499_000, 262_400, 131_100, 600_000][rng.usize(..5)]),
        2 => format!("type {}", TYPES[rng.usize(..TYPES.len())]),
        3 => format!("in {}", PLACES[rng.usize(..PLACES.len())]),
        4 => format!("fill {}", ["list", "object", "same"][rng.usize(..3)]),
        5 => format!("list {}", few(rng)),
        6 => format!("list {}", many(rng)),
        7 => format!("object {} {} {}", few(rng), name(rng), length(rng)),
        8 => format!("object {} {} {}", many(rng), name(rng), length(rng)),
        9 => format!("same {} {} {}", few(rng), name(rng), length(rng)),
        10 => format!("nest {} {} {} {}", rng.u8(1..=110), rng.u8(..10), name(rng), length(rng)),
        11 => format!("text {} {}", name(rng), length(rng)),
        12 => format!("leaf {}", LEAVES[rng.usize(..LEAVES.len())]),
        _ => ["queue", "settings 1", "settings 2", "settings 3"][rng.usize(..4)].to_owned(),
    }
}

/// The same line with one of its numbers slightly changed.
fn near(line: &str, rng: &mut Rng) -> String {
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let place = rng.usize(..words.len());
    if let Ok(number) = words[place].parse::<usize>() {
        let near = [number + 1, number.saturating_sub(1), number * 2, number / 2];
        words[place] = near[rng.usize(..4)].min(LARGEST).to_string();
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;

    use super::*;

    const SAMPLE: &str = include_str!("../../events/stripe/invoice.paid.json");

    fn is_json(text: &str) -> bool {
        serde_json::from_str::<IgnoredAny>(text).is_ok()
    }

    #[test]
    fn every_shape_is_json_within_its_limits() {
        let mut rng = Rng::with_seed(1);
        let mut lines = String::new();
        for _ in 0..300 {
            lines = mutate(&lines, &mut rng);
            let mut shape = Shape::read(&lines);
            shape.size = shape.size.min(100_000);
            for part in [2, 1] {
                let body = shape.body(SAMPLE, part);
                assert!(body.len() <= (shape.size / part).max(SAMPLE.len() + 500), "{lines}: {}", body.len());
                // This parser rejects half a surrogate pair and numbers out of range.
                assert!(is_json(&body.replace(r"\ud800", r"\u0000").replace("1e999", "1")), "{lines}");
            }
        }
    }

    #[test]
    fn half_of_a_shape_has_half_of_its_values() {
        let shape = Shape::read("leaf 0\nvalues 100000");
        let [half, whole] = [2, 1].map(|part| shape.body(SAMPLE, part).matches(",0").count());
        assert!((49_000..50_000).contains(&half) && (99_000..100_000).contains(&whole), "{half} {whole}");
    }
}
