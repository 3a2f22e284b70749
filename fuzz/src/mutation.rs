//! Mutations for JSON: libFuzzer's own change bytes, and the results are seldom valid JSON.

use std::sync::LazyLock;

use fastrand::Rng;
use memchr::memmem;
use serde_json::{Map, Number, Value};

/// The words of libFuzzer's dictionary: Stripe's names, and meaningful values.
static WORDS: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let lines = include_str!("../words.dict").lines().filter(|line| line.starts_with('"'));
    lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
});

/// Changes the JSON document in `data[..size]`, or after a separator if there is one, and seldom the part before it.
/// Every other time, and if it is not JSON, libFuzzer changes bytes.
pub fn json(data: &mut [u8], size: usize, max_size: usize, seed: u32, separator: &str) -> usize {
    let mut rng = Rng::with_seed(seed.into());
    if rng.bool() {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    let found = if separator.is_empty() { None } else { memmem::find(&data[..size], separator.as_bytes()) };
    let (start, end) = match found {
        Some(found) if rng.u8(..4) == 0 => (0, found),
        Some(found) => (found + separator.len(), size),
        None => (0, size),
    };
    let Ok(mut document) = serde_json::from_slice(&data[start..end]) else {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    };
    for _ in 0..rng.u8(1..=4) {
        mutate(&mut document, &mut rng);
    }
    let mutated = [&data[..start], document.to_string().as_bytes(), &data[end..size]].concat();
    if mutated.len() > max_size {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    data[..mutated.len()].copy_from_slice(&mutated);
    mutated.len()
}

fn mutate(document: &mut Value, rng: &mut Rng) {
    let count = nodes(document);
    let other = nth(document, rng.usize(..count)).map_or(Value::Null, |other| other.clone());
    let Some(node) = nth(document, rng.usize(..count)) else { return };
    let value = if rng.bool() { any(rng) } else { other };
    match (rng.u8(..6), &mut *node) {
        (0, Value::Object(object)) => {
            object.insert(key(rng), value);
        }
        (0, Value::Array(items)) => items.insert(rng.usize(..=items.len()), value),
        (1, Value::Object(object)) => {
            take(object, rng);
        }
        (1, Value::Array(items)) if !items.is_empty() => {
            items.remove(rng.usize(..items.len()));
        }
        (2, Value::Object(object)) => {
            if let Some(value) = take(object, rng) {
                object.insert(key(rng), value);
            }
        }
        (0..3, Value::Number(number)) => *node = Value::Number(near(number, rng)),
        (0..3, Value::String(text)) => *text = near_text(text, rng),
        (3, node) => *node = Value::Array(vec![node.take()]),
        (4, node) => *node = Value::Object(Map::from_iter([(key(rng), node.take())])),
        (_, node) => *node = value,
    }
}

fn key(rng: &mut Rng) -> String {
    match &WORDS[rng.usize(..WORDS.len())] {
        Value::String(word) => word.clone(),
        other => other.to_string(),
    }
}

fn any(rng: &mut Rng) -> Value {
    match rng.u8(..8) {
        0 => Value::Null,
        1 => rng.bool().into(),
        2 => [i64::MIN, i64::MAX, -1, 0, 1, 1 << 53][rng.usize(..6)].into(),
        3 => [0.5, -0.0, 1e15, 1e300, -1e-7, f64::MIN_POSITIVE][rng.usize(..6)].into(),
        4 => u64::MAX.into(),
        5 => rng.i32(..).into(),
        _ => WORDS[rng.usize(..WORDS.len())].clone(),
    }
}

fn near(number: &Number, rng: &mut Rng) -> Number {
    let number = number.as_i64().unwrap_or_default();
    let near = match rng.u8(..4) {
        0 => number.checked_add(1),
        1 => number.checked_sub(1),
        2 => number.checked_neg(),
        _ => number.checked_mul(10),
    };
    near.unwrap_or_default().into()
}

fn near_text(text: &str, rng: &mut Rng) -> String {
    let middle = text.char_indices().nth(rng.usize(..=text.chars().count())).map_or(text.len(), |(index, _)| index);
    let (start, end) = text.split_at(middle);
    match rng.u8(..5) {
        0 => start.to_owned(),
        1 => end.to_owned(),
        2 => format!("{start}{}{end}", key(rng)),
        3 => format!("{start}{}{end}", rng.char(..)),
        _ => format!("{{{}*{}*}}", rng.u32(..2048), if text.is_empty() { "é" } else { text }),
    }
}

fn take(object: &mut Map<String, Value>, rng: &mut Rng) -> Option<Value> {
    let name = object.keys().nth(rng.usize(..object.len().max(1)))?.clone();
    object.remove(&name)
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Object(object) => object.values().map(nodes).sum(),
        Value::Array(items) => items.iter().map(nodes).sum(),
        _ => 0,
    }
}

/// The node with this number; the document itself is the first.
fn nth(value: &mut Value, mut number: usize) -> Option<&mut Value> {
    if number == 0 {
        return Some(value);
    }
    number -= 1;
    let children: &mut dyn Iterator<Item = &mut Value> = match value {
        Value::Object(object) => &mut object.values_mut(),
        Value::Array(items) => &mut items.iter_mut(),
        _ => return None,
    };
    for child in children {
        let count = nodes(child);
        if number < count {
            return nth(child, number);
        }
        number -= count;
    }
    None
}
