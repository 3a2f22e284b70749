//! The objects that were read recently. Pure: the time is an argument.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::OnceCell;

use super::source::ReferenceError;
use crate::stripe::json::Json;
use crate::stripe::purchase::Found;
use crate::stripe::reference::Reference;

/// The limits of the cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long an object is kept that led to a user.
    pub(super) long: Duration,
    /// How long any other result is kept.
    pub(super) short: Duration,
    /// The most objects.
    pub(super) objects: usize,
    /// The most bytes of memory for all of them.
    pub(super) bytes: usize,
}

impl Limits {
    /// For the function: the events of one purchase arrive within seconds. The bytes are an eighth of the function's
    /// smallest memory.
    pub(super) const FUNCTION: Self = Self {
        long: Duration::from_secs(15 * 60),
        short: Duration::from_secs(10),
        objects: 1000,
        bytes: 16 * 1024 * 1024,
    };

    /// For a history: the purchases are over, and the events of one customer are far apart.
    pub(super) const HISTORY: Self = Self {
        long: Duration::from_secs(60 * 60),
        short: Duration::from_secs(60 * 60),
        objects: 100_000,
        bytes: 256 * 1024 * 1024,
    };
}

/// An object of an account, as read with a project's key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The parameter with the key, whose path includes the project; and the account.
    pub(super) scope: String,
    pub(super) reference: Reference,
}

/// A read that others may wait for.
pub(super) type UnderWay = Arc<OnceCell<Result<Found, ReferenceError>>>;

#[derive(Debug)]
pub(super) struct Cache {
    limits: Limits,
    entries: HashMap<Key, Entry>,
    /// The keys of the entries with their numbers, the oldest first. A refreshed entry also has a later number.
    order: VecDeque<(Key, u64)>,
    inserted: u64,
    bytes: usize,
    under_way: HashMap<Key, UnderWay>,
}

#[derive(Debug)]
struct Entry {
    found: Found,
    bytes: usize,
    expires: SystemTime,
    /// It led to a user, and stays for longer. That is granted once, so that an object in constant use is also read
    /// again.
    is_kept: bool,
    number: u64,
}

impl Cache {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: HashMap::new(),
            order: VecDeque::new(),
            inserted: 0,
            bytes: 0,
            under_way: HashMap::new(),
        }
    }

    pub(super) fn get(&self, key: &Key, now: SystemTime) -> Option<Found> {
        let entry = self.entries.get(key)?;
        // A clock that was set back must not keep it for longer.
        let left = entry.expires.duration_since(now).ok().filter(|left| *left <= self.limits.long && !left.is_zero());
        left.map(|_| entry.found.clone())
    }

    pub(super) fn under_way(&mut self, key: &Key) -> UnderWay {
        Arc::clone(self.under_way.entry(key.clone()).or_default())
    }

    /// Records the result of a read.
    pub(super) fn settle(
        &mut self,
        key: &Key,
        under_way: &UnderWay,
        result: &Result<Found, ReferenceError>,
        now: SystemTime,
    ) {
        if self.under_way.get(key).is_some_and(|current| Arc::ptr_eq(current, under_way)) {
            self.under_way.remove(key);
        }
        if let Ok(found) = result {
            self.insert(key.clone(), found.clone(), now);
        }
    }

    pub(super) fn keep(&mut self, key: &Key) {
        let Limits { long, short, .. } = self.limits;
        if let Some(entry) = self.entries.get_mut(key).filter(|entry| !entry.is_kept) {
            entry.is_kept = true;
            entry.expires += long.saturating_sub(short);
        }
    }

    fn insert(&mut self, key: Key, found: Found, now: SystemTime) {
        let bytes =
            size_of::<Entry>() + 2 * (size_of::<Key>() + key.scope.len() + key.reference.id.len()) + size(&found);
        if bytes > self.limits.bytes / 8 {
            return;
        }
        self.inserted += 1;
        let (number, expires) = (self.inserted, now + self.limits.short);
        let entry = Entry { found, bytes, expires, is_kept: false, number };
        if let Some(before) = self.entries.insert(key.clone(), entry) {
            self.bytes -= before.bytes;
        }
        self.bytes += bytes;
        self.order.push_back((key, number));
        self.make_room(now);
    }

    /// Removes the oldest entries while there is no room or they have expired.
    fn make_room(&mut self, now: SystemTime) {
        while let Some((key, number)) = self.order.front() {
            let entry = self.entries.get(key).filter(|entry| entry.number == *number);
            let is_full = self.entries.len() > self.limits.objects || self.bytes > self.limits.bytes;
            match entry {
                Some(entry) if is_full || entry.expires <= now => {
                    self.bytes -= entry.bytes;
                    self.entries.remove(key);
                }
                // It is in use.
                Some(_) => return,
                // It was refreshed, and is further back.
                None => {}
            }
            self.order.pop_front();
        }
    }
}

/// The memory of an object, in bytes.
fn size(found: &Found) -> usize {
    match found {
        Found::Object(json) => size_of_json(json),
        Found::Nothing => 0,
    }
}

fn size_of_json(json: &Json<'_>) -> usize {
    /// The overhead of an allocation.
    const ALLOCATION: usize = 16;
    let inside = match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
        Json::Text(text) => text.len() + ALLOCATION,
        Json::List(items) => items.iter().map(size_of_json).sum::<usize>() + ALLOCATION,
        Json::Object(fields) => fields
            .iter()
            .map(|(name, value)| size_of::<String>() + name.len() + ALLOCATION + size_of_json(value))
            .sum::<usize>(),
    };
    size_of::<Json<'_>>() + inside
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{customer, found};
    use super::*;

    fn key(id: &str) -> Key {
        Key { scope: "/p/stripe-api-key ".to_owned(), reference: customer(id) }
    }

    const START: SystemTime = SystemTime::UNIX_EPOCH;

    fn after(seconds: u64) -> SystemTime {
        START + Duration::from_secs(seconds)
    }

    #[test]
    fn objects_that_led_to_a_user_are_kept_longer() {
        let mut cache = Cache::new(Limits::FUNCTION);
        for id in ["cus_1", "cus_2"] {
            cache.insert(key(id), Found::Nothing, START);
        }
        cache.keep(&key("cus_2"));
        let is_there =
            |cache: &Cache, seconds| ["cus_1", "cus_2"].map(|id| cache.get(&key(id), after(seconds)).is_some());
        assert_eq!(is_there(&cache, 9), [true, true]);
        assert_eq!(is_there(&cache, 10), [false, true]);
        assert_eq!(is_there(&cache, 899), [false, true]);
        // An object in constant use is also read again.
        cache.keep(&key("cus_2"));
        assert_eq!(is_there(&cache, 900), [false, false]);
        cache.keep(&key("cus_2"));
        assert_eq!(is_there(&cache, 901), [false, false]);
    }

    #[test]
    fn the_oldest_entries_are_removed_first() {
        let mut cache = Cache::new(Limits::FUNCTION);
        for number in 0..3 * Limits::FUNCTION.objects {
            cache.insert(key(&format!("cus_{number}")), Found::Nothing, START);
        }
        assert_eq!((cache.entries.len(), cache.order.len()), (Limits::FUNCTION.objects, Limits::FUNCTION.objects));
        assert_eq!(cache.get(&key("cus_0"), START), None);
        let large = found(&json!({"text": "x".repeat(1024 * 1024)}));
        for number in 0..40 {
            cache.insert(key(&format!("large_{number}")), large.clone(), START);
        }
        assert!(
            cache.bytes <= Limits::FUNCTION.bytes && cache.entries.len() < 20,
            "{} {}",
            cache.bytes,
            cache.entries.len()
        );
        assert_eq!(cache.bytes, cache.entries.values().map(|entry| entry.bytes).sum::<usize>());
        cache.insert(key("too large"), found(&json!({"text": "x".repeat(Limits::FUNCTION.bytes)})), START);
        assert_eq!(cache.get(&key("too large"), START), None);
        // Expired entries do not stay until the room is needed.
        cache.insert(key("later"), Found::Nothing, after(11));
        assert_eq!((cache.entries.len(), cache.order.len()), (1, 1));
    }
}
