//! The objects of purchases.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde_json::{Value, json};

use crate::answer::{Answer, ApiError};
use crate::keys::Keys;
use crate::kinds::{KINDS, Kind};
use crate::parameters::{Cursor, Parameters};
use crate::versions::ApiVersion;
use crate::{expansion, shapes};

/// A request for an object or a list.
pub(crate) enum Read<'r> {
    Retrieve(&'static Kind, &'r str),
    List(&'static Kind, &'static [&'static str]),
    /// The lines of an object.
    Lines(&'static Kind, &'static str, &'r str),
}

impl<'r> Read<'r> {
    /// From the segments of the path after `/v1/`.
    pub(crate) fn of(segments: &[&'r str]) -> Option<Self> {
        KINDS.iter().find_map(|kind| match segments.strip_prefix(kind.path)? {
            [] => Some(Self::List(kind, kind.filters?)),
            [id] => Some(Self::Retrieve(kind, id)),
            [id, last] => kind
                .lines
                .as_ref()
                .filter(|lines| lines.segment == *last)
                .map(|lines| Self::Lines(kind, lines.kind, id)),
            _ => None,
        })
    }

    pub(crate) fn kind(&self) -> &'static Kind {
        match self {
            Self::Retrieve(kind, _) | Self::List(kind, _) | Self::Lines(kind, ..) => kind,
        }
    }
}

/// The context of a read: account, mode, version and permissions.
pub(crate) struct Reader<'r> {
    pub(crate) keys: &'r Keys,
    pub(crate) key: &'r str,
    /// The connected account.
    pub(crate) account: Option<&'r str>,
    pub(crate) livemode: bool,
    pub(crate) version: &'r ApiVersion,
}

/// All objects of all accounts and modes, by ID.
#[derive(Default)]
pub(crate) struct Objects {
    added: u64,
    stored: HashMap<String, Stored>,
}

struct Stored {
    kind: &'static Kind,
    account: Option<String>,
    /// `None` for both modes.
    livemode: Option<bool>,
    /// Orders objects of the same second by the time they were stored.
    number: u64,
    object: Value,
}

impl Stored {
    fn created(&self) -> i64 {
        self.object.get("created").and_then(Value::as_i64).unwrap_or_default()
    }

    fn is_in(&self, account: Option<&str>) -> bool {
        self.account.as_deref() == account
    }

    fn is_in_mode(&self, livemode: bool) -> bool {
        self.livemode.is_none_or(|of| of == livemode)
    }
}

impl Objects {
    /// `None` if it has no ID or an unknown kind.
    pub(crate) fn put(&mut self, account: Option<&str>, object: Value) -> Option<()> {
        let object = as_customer(object);
        let id = object.get("id")?.as_str()?.to_owned();
        let kind = Kind::named(object.get("object")?.as_str()?)?;
        self.added += 1;
        let livemode = object.get("livemode").and_then(Value::as_bool);
        let account = account.map(str::to_owned);
        self.stored.insert(id, Stored { kind, account, livemode, number: self.added, object });
        Some(())
    }

    /// Stores an object of an event: its fields replace the known ones, objects expanded in it are stored separately,
    /// and objects that it names are created if they are unknown. An invoice's copy of its subscription's metadata is
    /// older than the subscription's own events, so it only counts if there were none. Decision: objects that Stripe
    /// never removes exist as soon as an event names them, with nothing but an ID. A made-up event that names an object
    /// of another mode or account is accepted.
    pub(crate) fn learn(&mut self, account: Option<&str>, livemode: Option<bool>, object: &Value) {
        let mut object = shapes::to_stored_version(object);
        for value in object.as_object_mut().into_iter().flat_map(|fields| fields.values_mut()) {
            if let (Some(id), Some(_)) = (value.get("id").and_then(Value::as_str).map(str::to_owned), kind_of(value)) {
                self.learn(account, livemode, value);
                *value = id.into();
            }
        }
        for name in ["customer", "subscription", "payment_intent", "charge"] {
            if let Some(id) = object.get(name).and_then(Value::as_str) {
                self.learn_one(account, livemode, id, &json!({"id": id, "object": name}));
            }
        }
        let metadata = object.pointer("/subscription_details/metadata").filter(|metadata| metadata.is_object());
        if let (Some(metadata), Some(id)) = (metadata, object.get("subscription").and_then(Value::as_str))
            && self.stored.get(id).is_some_and(|stored| stored.object.get("metadata").is_none())
        {
            self.learn_one(account, livemode, id, &json!({"id": id, "object": "subscription", "metadata": metadata}));
        }
        if let Some(id) = object.get("id").and_then(Value::as_str) {
            self.learn_one(account, livemode, id, &object);
        }
    }

    fn learn_one(&mut self, account: Option<&str>, livemode: Option<bool>, id: &str, learned: &Value) {
        let known = self.stored.get(id);
        let known_mode = known.map(|stored| stored.livemode);
        let known_lines = known.map_or(0, |stored| shapes::lines(stored.kind, &stored.object).len());
        let mut object = known.map_or_else(|| json!({}), |stored| stored.object.clone());
        let (Some(fields), Some(learned)) = (object.as_object_mut(), learned.as_object()) else { return };
        for (name, value) in learned {
            let shown = value.get("data").and_then(Value::as_array).map_or(0, Vec::len);
            if name != "lines" || shown >= known_lines {
                fields.insert(name.clone(), value.clone());
            }
        }
        self.put(account, object);
        if let Some(stored) = self.stored.get_mut(id) {
            // An object that occurs in both modes is in both.
            stored.livemode = if known_mode.is_none_or(|known| known == livemode) { livemode } else { None };
        }
    }

    pub(crate) fn remove(&mut self, id: &str) {
        self.stored.remove(id);
    }

    /// Source: docs.stripe.com/api/customers/retrieve, "a deleted customer".
    pub(crate) fn delete(&mut self, id: &str) {
        if let Some(stored) = self.stored.get_mut(id) {
            stored.object = json!({"id": id, "object": stored.kind.object, "deleted": true});
        }
    }

    /// The stored object, to change it.
    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut Value> {
        self.stored.get_mut(id).map(|stored| &mut stored.object)
    }

    pub(crate) fn read(
        &self,
        read: Read<'_>,
        mut parameters: Parameters,
        reader: &Reader<'_>,
    ) -> Result<Answer, ApiError> {
        let paths = std::mem::take(&mut parameters.expand);
        let mut answer = match read {
            Read::Retrieve(kind, id) => {
                parameters.nothing_else()?;
                shapes::object(kind, &self.find(kind, id, reader)?.object, reader.version)
            }
            Read::List(kind, filters) => self.list(kind, filters, parameters, reader)?,
            Read::Lines(kind, _, id) => {
                let (limit, cursor) = (parameters.limit()?, parameters.cursor()?);
                parameters.nothing_else()?;
                let object = &self.find(kind, id, reader)?.object;
                let no_such = |id: &str, param: &str| ApiError::no_such(400, "line item", id, param);
                let (page, has_more) = cursor.page(shapes::lines(kind, object), limit, id_of, no_such)?;
                let data = page.iter().map(|line| shapes::line(kind, line, reader.version));
                list(&shapes::lines_url(kind, object), data.collect(), has_more)
            }
        };
        let root = match read {
            Read::Retrieve(kind, _) => expansion::Root::Object(kind.object),
            Read::List(kind, _) => expansion::Root::List(kind.object),
            Read::Lines(_, line, _) => expansion::Root::List(line),
        };
        for path in paths {
            expansion::check(root, &path, reader)?;
            expansion::expand(root, &mut answer, &path, self, reader);
        }
        Ok(Answer::json(&answer))
    }

    /// Newest first.
    fn list(
        &self,
        kind: &'static Kind,
        filters: &[&str],
        mut parameters: Parameters,
        reader: &Reader<'_>,
    ) -> Result<Value, ApiError> {
        let (limit, cursor, (first, last)) = (parameters.limit()?, parameters.cursor()?, parameters.created()?);
        let wanted: Vec<_> = filters.iter().filter_map(|name| Some((*name, parameters.one(name)?))).collect();
        parameters.nothing_else()?;
        let is_wanted = |stored: &Stored| {
            // Stripe rejects a filter by an ID that does not exist; here the result is empty.
            let has = |(name, id): &(&str, String)| stored.object.get(name).is_some_and(|value| value == id);
            (first..=last).contains(&stored.created()) && wanted.iter().all(has)
        };
        let mut found: Vec<_> =
            self.stored.values().filter(|stored| is_visible(stored, kind, reader) && is_wanted(stored)).collect();
        found.sort_unstable_by_key(|stored| Reverse((stored.created(), stored.number)));
        let no_such = |id: &str, param: &str| ApiError::no_such(400, kind.object, id, param);
        let (page, has_more) = page(&found, limit, &cursor, no_such)?;
        let data = page.iter().map(|stored| shapes::object(kind, &stored.object, reader.version));
        Ok(list(&format!("/v1/{}", kind.path.join("/")), data.collect(), has_more))
    }

    fn find(&self, kind: &'static Kind, id: &str, reader: &Reader<'_>) -> Result<&Stored, ApiError> {
        let in_account = |stored: &&Stored| stored.kind.object == kind.object && stored.is_in(reader.account);
        let stored = self.stored.get(id).filter(in_account);
        let stored = stored.ok_or_else(|| ApiError::no_such(404, kind.object, id, kind.param))?;
        if !stored.is_in_mode(reader.livemode) {
            return Err(ApiError::in_other_mode(kind.object, id, kind.param, !reader.livemode));
        }
        Ok(stored)
    }

    /// An object that another one refers to, as the reader sees it.
    pub(crate) fn named(&self, kind: &str, id: &str, reader: &Reader<'_>) -> Option<Value> {
        let stored = self.find(Kind::named(kind)?, id, reader).ok()?;
        Some(shapes::object(stored.kind, &stored.object, reader.version))
    }

    /// The list of an object's lines that the object itself contains.
    pub(crate) fn first_lines(&self, id: &str, reader: &Reader<'_>) -> Option<Value> {
        let stored = self.stored.get(id)?;
        Some(shapes::first_lines(stored.kind, &stored.object, reader.version))
    }
}

fn is_visible(stored: &Stored, kind: &Kind, reader: &Reader<'_>) -> bool {
    stored.kind.object == kind.object && stored.is_in(reader.account) && stored.is_in_mode(reader.livemode)
}

fn page<'l, 's>(
    found: &'l [&'s Stored],
    limit: usize,
    cursor: &Cursor,
    no_such: impl Fn(&str, &str) -> ApiError,
) -> Result<(&'l [&'s Stored], bool), ApiError> {
    cursor.page(found, limit, |stored| id_of(&stored.object), no_such)
}

fn list(url: &str, data: Vec<Value>, has_more: bool) -> Value {
    json!({"object": "list", "url": url, "has_more": has_more, "data": data})
}

fn kind_of(object: &Value) -> Option<&'static Kind> {
    Kind::named(object.get("object")?.as_str()?)
}

fn id_of(object: &Value) -> &str {
    object.get("id").and_then(Value::as_str).unwrap_or_default()
}

/// An Accounts v2 account as the customer that `/v1/customers/` returns. Other objects are unchanged.
/// /// Source: docs.stripe.com/connect/use-accounts-as-customers. Decision: the ID is that of the account.
fn as_customer(object: Value) -> Value {
    if object.get("object").is_none_or(|kind| kind != "v2.core.account") {
        return object;
    }
    let field = |name: &str| object.get(name).cloned().unwrap_or_default();
    json!({
        "id": field("id"),
        "object": "customer",
        "created": field("created"),
        "email": field("contact_email"),
        "livemode": field("livemode"),
        "metadata": field("metadata"),
        "name": field("display_name"),
    })
}
