//! `expand[]`: replaces IDs by their objects. Source: docs.stripe.com/expand.

use serde_json::Value;

use crate::answer::ApiError;
use crate::keys::Permission;
use crate::kinds::{Field, Holds, Kind};
use crate::objects::{Objects, Reader};

const MAX_LEVELS: usize = 4;

/// The type of a response: an object of a kind, or a list of such objects.
#[derive(Clone, Copy)]
pub(crate) enum Root {
    Object(&'static str),
    List(&'static str),
}

/// One step of a path, from a value to one inside it.
struct Step {
    /// The kind of the value, which has further fields.
    to: Root,
    holds: Option<Holds>,
}

impl Root {
    fn step(self, name: &str, reader: &Reader<'_>) -> Option<Step> {
        let of = match self {
            Self::List(of) if name == "data" => return Some(Step { to: Self::Object(of), holds: None }),
            Self::List(_) => return None,
            Self::Object(of) => of,
        };
        let holds = Field::find(of, name, reader.version)?.holds;
        let to = match holds {
            Holds::Id(kind) | Holds::Part(kind) => Self::Object(kind),
            Holds::List(kind) | Holds::ListOnDemand(kind) => Self::List(kind),
        };
        Some(Step { to, holds: Some(holds) })
    }
}

/// Rejects a path to something that cannot be expanded, or to an object that the key must not read.
///
/// Decision: expanding a part of a price requires permission to read prices, even if the price itself is present
/// anyway. Stripe only says that an expanded object can require a permission of its own.
pub(crate) fn check(root: Root, path: &str, reader: &Reader<'_>) -> Result<(), ApiError> {
    if path.split('.').count() > MAX_LEVELS {
        return Err(ApiError::new(400, format!("You cannot expand more than {MAX_LEVELS} levels of a property.")));
    }
    let Some(needed) = permissions(root, path, reader) else {
        let instead = format!("data.{path}");
        let message = match root {
            Root::List(_) if permissions(root, &instead, reader).is_some() => {
                format!("This property cannot be expanded ({path}). You may want to try expanding '{instead}' instead.")
            }
            _ => format!("This property cannot be expanded ({path})."),
        };
        return Err(ApiError::new(400, message));
    };
    needed.into_iter().try_for_each(|permission| reader.keys.require(reader.key, permission))
}

/// The permissions that a path requires. `None` if it cannot be expanded.
fn permissions(root: Root, path: &str, reader: &Reader<'_>) -> Option<Vec<Permission>> {
    let (mut place, mut last, mut needed) = (root, None, Vec::new());
    for name in path.split('.') {
        let step = place.step(name, reader)?;
        if let Some(Holds::Id(kind) | Holds::Part(kind)) = step.holds {
            needed.extend(Kind::named(kind).map(|kind| kind.permission));
        }
        (place, last) = (step.to, step.holds);
    }
    matches!(last, Some(Holds::Id(_) | Holds::ListOnDemand(_))).then_some(needed)
}

/// Expands a checked path. Decision: the ID of a missing object stays unchanged.
pub(crate) fn expand(root: Root, value: &mut Value, path: &str, objects: &Objects, reader: &Reader<'_>) {
    if let Value::Array(values) = value {
        values.iter_mut().for_each(|value| expand(root, value, path, objects, reader));
        return;
    }
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let (Some(step), Some(fields)) = (root.step(name, reader), value.as_object_mut()) else { return };
    let found = match step.holds {
        Some(Holds::Id(kind)) => fields.get(name).and_then(|id| objects.named(kind, id.as_str()?, reader)),
        Some(Holds::ListOnDemand(_)) if !fields.contains_key(name) => {
            fields.get("id").and_then(|id| objects.first_lines(id.as_str()?, reader))
        }
        _ => None,
    };
    if let Some(found) = found {
        fields.insert(name.to_owned(), found);
    }
    if let (false, Some(value)) = (rest.is_empty(), fields.get_mut(name)) {
        expand(step.to, value, rest, objects, reader);
    }
}
