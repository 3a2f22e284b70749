//! The properties of an event for Amplitude.

use std::borrow::Cow;

use serde::{Serialize, Serializer};

use crate::money::amount::Amount;
use crate::money::exchange_rate::Rate;
use crate::stripe::json::{Json, Object};

/// Event properties, each name once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties<'b>(Vec<(Cow<'b, str>, Property<'b>)>);

/// The value of an event property.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Property<'b> {
    /// Stripe's own value, or one of ours that is not money.
    Json(Json<'b>),
    /// Money in major units.
    Amount(Amount),
    /// The rate at which money was converted.
    Rate(Rate),
}

/// The maximum number of properties added to the fields of Stripe's object. Without room for them, a vector of hundreds of
/// thousands of fields would double.
const ROOM: usize = 40;

impl<'b> Properties<'b> {
    /// The property with this name.
    pub fn get(&self, name: &str) -> Option<&Property<'b>> {
        self.0.iter().find_map(|(known, property)| (known == name).then_some(property))
    }

    /// All properties.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Property<'b>)> {
        self.0.iter().map(|(name, property)| (&**name, property))
    }

    /// Sets a property, and replaces one with the same name.
    pub(crate) fn insert(&mut self, name: impl Into<Cow<'b, str>>, property: Property<'b>) {
        let name = name.into();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = property,
            None => self.0.push((name, property)),
        }
    }

    /// Sets all properties of `others`.
    pub(crate) fn extend(&mut self, others: Self) {
        for (name, property) in others.0 {
            self.insert(name, property);
        }
    }

    /// Keeps the properties for which `keep` returns true. It may change them.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str, &mut Property<'b>) -> bool) {
        self.0.retain_mut(|(name, property)| keep(name, property));
    }
}

impl<'b> From<Object<'b>> for Properties<'b> {
    fn from(object: Object<'b>) -> Self {
        let fields = object.into_iter();
        let mut properties = Vec::with_capacity(fields.len() + ROOM);
        properties.extend(fields.map(|(name, value)| (name, Property::Json(value))));
        Self(properties)
    }
}

impl Serialize for Properties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}
