//! Finds the IDs of buyers on recent payments and their objects, in every place where an app may have stored one. Pure.

mod mask;
mod place;
mod recommendation;
mod report;
mod sighting;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use stripe_amplitude::settings::Settings;
use stripe_amplitude::stripe::event::id_of;
use stripe_amplitude::stripe::field_path::FieldPath;
use stripe_amplitude::stripe::json::{Json, Object};
use stripe_amplitude::stripe::purchase::{Found, Name, Objects, Purchase};
use stripe_amplitude::stripe::reference::{Permission, Reference, ReferenceKind};
use stripe_amplitude::translate::user::{self, NotAnId};

use self::mask::masked;
use self::place::{Holder, Kind, MAX_ADDRESSES, Place};
use self::recommendation::Recommendation;
use self::sighting::{Candidate, Payment, Sighting, ids};

/// Recent payments, and the objects around them.
#[derive(Debug, Default)]
pub(super) struct Payments {
    /// Whether they are from test mode.
    pub(super) is_test: bool,
    /// PaymentIntents from Stripe's list.
    pub(super) payments: Vec<Json<'static>>,
    /// The objects that they refer to.
    pub(super) found: HashMap<Reference, Found>,
    /// The metadata that payments had when they succeeded, by payment ID; `None` if the events could not be read.
    pub(super) at_event: Option<HashMap<String, Json<'static>>>,
    /// What the key may not read.
    pub(super) forbidden: BTreeSet<ReferenceKind>,
    /// Reads that failed after all retries.
    pub(super) failed: usize,
}

/// The findings.
#[derive(Debug)]
pub(super) struct Identity {
    is_test: bool,
    payments: usize,
    /// Payments with revenue.
    revenue: usize,
    places: Vec<Statistics>,
    disagreements: Vec<Disagreement>,
    /// IDs that differ only in case or surrounding space: their number, and an example.
    variants: (usize, Option<String>),
    /// Payments whose success event could be compared; `None` without events.
    compared: Option<usize>,
    /// Metadata keys that no path can express.
    no_paths: usize,
    recommendation: Option<Recommendation>,
    /// How many payments have a user ID from the app with the current settings, if there are any.
    at_present: Option<usize>,
    forbidden: BTreeSet<Permission>,
    failed: usize,
}

/// The counts of a place.
#[derive(Debug)]
struct Statistics {
    place: Place,
    kind: Kind,
    /// Payments with an ID there, and those of them with revenue.
    payments: usize,
    revenue: usize,
    ids: usize,
    example: String,
    /// IDs shared by more than [`MAX_ADDRESSES`] buyers, and the number of buyers of the most common one.
    shared: usize,
    most_buyers: usize,
    /// Values that are not IDs, by reason.
    refused: BTreeMap<String, usize>,
    /// Payments whose event did not have the current value.
    late: usize,
}

/// Two places with different IDs for the same payment.
#[derive(Debug)]
struct Disagreement {
    one: Place,
    other: Place,
    agree: usize,
    differ: usize,
    /// A payment and its masked IDs.
    example: (String, String, String),
}

impl Identity {
    /// Counts. `settings` are the current ones.
    pub(super) fn of(read: &Payments, settings: Option<&Settings>) -> Self {
        let mut objects = Objects::default();
        for (reference, found) in &read.found {
            objects.insert(reference.clone(), found.clone());
        }
        let listed: Vec<_> = read.payments.iter().filter_map(Json::as_object).collect();
        let payments: Vec<_> = listed.iter().map(|object| payment(object, &objects)).collect();
        let (sightings, no_paths) = sightings(&listed, &objects);
        let mut places: Vec<_> = sightings
            .iter()
            .map(|(place, sightings)| Statistics::of(place, sightings, &payments, &listed, read.at_event.as_ref()))
            .filter(|place| place.payments > 0 || !place.refused.is_empty())
            .collect();
        places.sort_by(|one, other| {
            (other.revenue, other.payments).cmp(&(one.revenue, one.payments)).then_with(|| one.place.cmp(&other.place))
        });
        let of_persons: Vec<_> = places.iter().filter(|place| place.kind == Kind::Person).collect();
        let candidates: Vec<_> = of_persons.iter().filter_map(|place| sightings.get_key_value(&place.place)).collect();
        let disagreements = disagreements(&candidates, &payments);
        let variants = variants(&candidates);
        let recommendation = Recommendation::of(&candidates, &payments, &listed, &read.found);
        let at_present = settings.map(|settings| recommendation::covered(&listed, &read.found, settings));
        let compared = read.at_event.as_ref();
        let compared = compared.map(|events| payments.iter().filter(|payment| events.contains_key(payment.id)).count());
        Self {
            is_test: read.is_test,
            payments: payments.len(),
            revenue: payments.iter().filter(|payment| payment.has_revenue).count(),
            disagreements,
            variants,
            compared,
            no_paths,
            recommendation,
            at_present,
            forbidden: read.forbidden.iter().flat_map(|kind| kind.permissions()).copied().collect(),
            failed: read.failed,
            places,
        }
    }
}

fn payment<'p>(object: &'p Object<'static>, objects: &'p Objects) -> Payment<'p> {
    let text = |name: &str| object.get(name).and_then(Json::as_str);
    let id = text("id").unwrap_or_default();
    let customer = Purchase::seen_from(object, objects).id(Name::Customer).ok().flatten();
    let email = text("receipt_email").map(str::to_lowercase);
    let received = object.get("amount_received").and_then(Json::as_i64);
    Payment {
        id,
        buyer: customer.map(str::to_owned).or(email).unwrap_or_else(|| id.to_owned()),
        has_revenue: text("status") == Some("succeeded") && received.is_some_and(|amount| amount > 0),
    }
}

/// All values that an app may have stored, by place, and the number of keys that no path can express.
fn sightings(listed: &[&Object<'static>], objects: &Objects) -> (BTreeMap<Place, Vec<Sighting>>, usize) {
    let mut sightings: BTreeMap<Place, Vec<Sighting>> = BTreeMap::new();
    let mut no_paths = BTreeSet::new();
    for (payment, object) in listed.iter().enumerate() {
        for holder in Holder::ALL {
            let Ok(Some(held)) = Purchase::seen_from(object, objects).object(holder.name()) else { continue };
            let keys = held.get("metadata").and_then(Json::as_object);
            let mut fields: Vec<_> =
                keys.into_iter().flat_map(Object::iter).map(|(key, _)| format!("metadata.{key}")).collect();
            if holder == Holder::CheckoutSession && held.get("client_reference_id").is_some_and(|id| !id.is_null()) {
                fields.push("client_reference_id".to_owned());
            }
            for field in fields {
                let Ok(path) = field.parse::<FieldPath>() else {
                    no_paths.insert(field);
                    continue;
                };
                let written = path.find(held).and_then(Json::as_str).unwrap_or_default().to_owned();
                let sighting = Sighting { payment, id: id_in(held, path), written };
                sightings.entry(Place { holder, field }).or_default().push(sighting);
            }
        }
    }
    (sightings, no_paths.len())
}

/// The ID in a field, by the function's rules.
fn id_in(object: &Object<'_>, path: FieldPath) -> Result<String, NotAnId> {
    let mut reason = NotAnId::Missing;
    let user = user::user(object, None, &[path], &mut |_, why| reason = why);
    user.ok().flatten().map(|user| user.id).ok_or(reason)
}

impl Statistics {
    fn of(
        place: &Place,
        sightings: &[Sighting],
        payments: &[Payment<'_>],
        listed: &[&Object<'static>],
        at_event: Option<&HashMap<String, Json<'static>>>,
    ) -> Self {
        let mut refused: BTreeMap<String, usize> = BTreeMap::new();
        let mut uses = Vec::new();
        let mut late = 0;
        for Sighting { payment, id, .. } in sightings {
            let Some(paid) = payments.get(*payment) else { continue };
            match id {
                Ok(id) => uses.push((id.as_str(), paid.buyer.as_str(), paid.has_revenue)),
                Err(reason) => *refused.entry(reason.to_string()).or_default() += 1,
            }
            if place.holder == Holder::Payment
                && let Some(then) = at_event.and_then(|events| events.get(paid.id))
                && let Some(key) = place.field.strip_prefix("metadata.")
                && then.get(key) != listed.get(*payment).and_then(|now| now.get("metadata")?.get(key))
            {
                late += 1;
            }
        }
        let mut buyers_of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (id, buyer, _) in &uses {
            buyers_of.entry(id).or_default().insert(buyer);
        }
        let counts = || buyers_of.values().map(BTreeSet::len);
        Self {
            kind: Kind::of(place, &uses.iter().map(|(id, buyer, _)| (*id, *buyer)).collect::<Vec<_>>()),
            place: place.clone(),
            payments: uses.len(),
            revenue: uses.iter().filter(|(_, _, has_revenue)| *has_revenue).count(),
            ids: buyers_of.len(),
            example: uses.first().map(|(id, _, _)| masked(id)).unwrap_or_default(),
            shared: counts().filter(|buyers| *buyers > MAX_ADDRESSES).count(),
            most_buyers: counts().max().unwrap_or(0),
            refused,
            late,
        }
    }
}

fn disagreements(candidates: &[Candidate<'_>], payments: &[Payment<'_>]) -> Vec<Disagreement> {
    let mut disagreements = Vec::new();
    for (index, (one, sightings)) in candidates.iter().enumerate() {
        for (other, others) in candidates.iter().skip(index + 1) {
            let others = ids(others);
            let both = sightings.iter().filter_map(|sighting| {
                Some((sighting.payment, sighting.id.as_deref().ok()?, *others.get(&sighting.payment)?))
            });
            let (agree, differ): (Vec<_>, Vec<_>) =
                both.partition(|(_, id, other)| id.to_lowercase() == other.to_lowercase());
            let Some((payment, id, other_id)) = differ.first() else { continue };
            let payment = payments.get(*payment).map_or("", |payment| payment.id).to_owned();
            disagreements.push(Disagreement {
                one: (*one).clone(),
                other: (*other).clone(),
                agree: agree.len(),
                differ: differ.len(),
                example: (payment, masked(id), masked(other_id)),
            });
        }
    }
    disagreements
}

/// IDs that differ only in case or surrounding space.
fn variants(candidates: &[Candidate<'_>]) -> (usize, Option<String>) {
    let mut variants: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for sighting in candidates.iter().flat_map(|(_, sightings)| sightings.iter()) {
        if let Ok(id) = &sighting.id
            && !sighting.written.is_empty()
        {
            variants.entry(id.to_lowercase()).or_default().insert(&sighting.written);
        }
    }
    variants.retain(|_, written| written.len() > 1);
    let example = variants.values().next().map(|written| {
        let quoted: Vec<_> = written.iter().map(|text| format!("`{}`", masked(text))).collect();
        quoted.join(" and ")
    });
    (variants.len(), example)
}

/// The ID of a listed payment.
pub(super) fn id_of_payment(payment: &Json<'_>) -> Option<String> {
    id_of(payment.get("id")).map(str::to_owned)
}

#[cfg(test)]
mod tests;
