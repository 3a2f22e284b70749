//! Recommends paths that find the IDs, and estimates the reads.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use stripe_amplitude::settings::{References, Settings};
use stripe_amplitude::stripe::field_path::FieldPath;
use stripe_amplitude::stripe::json::Object;
use stripe_amplitude::stripe::purchase::{Found, Objects};
use stripe_amplitude::stripe::reference::Reference;
use stripe_amplitude::translate::user;

use super::place::Place;
use super::sighting::{Candidate, Payment, Sighting, ids};
use crate::doctor::users::is_trustworthy;
use crate::permissions;
use crate::stripe::restricted_key;

/// Recommended settings.
#[derive(Debug)]
pub(super) struct Recommendation {
    /// For the parameter `settings`, in one line.
    pub(super) line: String,
    /// Payments that get one of these IDs.
    pub(super) covered: usize,
    /// Reads for all payments, without a cache, and the maximum for one.
    pub(super) reads: usize,
    pub(super) most_reads: usize,
    /// The permissions that the key needs.
    pub(super) permissions: String,
    /// Places with other IDs, or that add nothing.
    pub(super) others: Vec<String>,
}

/// The last path: Stripe's customer ID keeps the events of a buyer together.
const LAST: &str = "customer";

impl Recommendation {
    /// `None` if no place has IDs of persons.
    pub(super) fn of(
        candidates: &[Candidate<'_>],
        payments: &[Payment<'_>],
        listed: &[&Object<'static>],
        found: &HashMap<Reference, Found>,
    ) -> Option<Self> {
        let chosen = choose(candidates, payments);
        if chosen.is_empty() {
            return None;
        }
        let mut paths: Vec<_> = chosen.iter().flat_map(|(place, _)| place.paths()).collect();
        paths.push(LAST.to_owned());
        let settings = Settings {
            references: References::Follow,
            user_id_paths: paths.iter().filter_map(|path| path.parse().ok()).collect(),
            ..Settings::default()
        };
        let reads: Vec<_> = listed.iter().map(|payment| user_of(payment, found, &settings).1).collect();
        let others = candidates.iter().filter(|(place, _)| !chosen.iter().any(|(one, _)| one.field == place.field));
        Some(Self {
            line: serde_json::json!({"references": "follow", "user_id_paths": paths}).to_string(),
            covered: covered(listed, found, &settings),
            reads: reads.iter().sum(),
            most_reads: reads.into_iter().max().unwrap_or(0),
            permissions: restricted_key::in_words(&permissions::needed(&settings).permissions),
            others: others.map(|(place, _)| place.to_string()).collect(),
        })
    }
}

/// Chooses the place that covers most revenue, then the one that covers most of the rest, and so on. Never mixes in another
/// kind of ID, which would make two users of one buyer.
fn choose<'c>(candidates: &[Candidate<'c>], payments: &[Payment<'_>]) -> Vec<Candidate<'c>> {
    let mut chosen: Vec<Candidate<'c>> = Vec::new();
    let mut covered: BTreeSet<usize> = BTreeSet::new();
    loop {
        let gain = |sightings: &[Sighting]| {
            let new: Vec<_> = ids(sightings).into_keys().filter(|payment| !covered.contains(payment)).collect();
            let revenue = new.iter().filter(|index| payments.get(**index).is_some_and(|one| one.has_revenue)).count();
            (revenue, new.len())
        };
        let fits = |one: &&Candidate<'c>| chosen.is_empty() || chosen.iter().any(|other| are_alike(one, other));
        let gains: Vec<_> = candidates.iter().filter(fits).map(|one| (*one, gain(one.1))).collect();
        let most = gains.iter().map(|(_, gain)| *gain).max().unwrap_or_default();
        let best = gains.into_iter().filter(|(_, (_, payments))| *payments > 0).max_by_key(|((place, _), gain)| {
            // An account can be a company, so a user has priority even if it covers less. Ties go to the holder with most
            // events.
            let is_user = suggests_user(place) && (2 * gain.0, 2 * gain.1) >= most;
            (is_user, *gain, Reverse(place.holder))
        });
        let Some((best, _)) = best else { return chosen };
        covered.extend(ids(best.1).into_keys());
        chosen.push(best);
    }
}

fn suggests_user(place: &Place) -> bool {
    let key = place.key().to_lowercase();
    ["user", "uid", "amplitude"].iter().any(|word| key.contains(word))
}

/// Whether two places hold the same kind of ID: most payments with both have the same ID. Without such payments, some ID is
/// in both, or the key is the same.
fn are_alike((one, sightings): &Candidate<'_>, (other, others): &Candidate<'_>) -> bool {
    let (ids, other_ids) = (ids(sightings), ids(others));
    let both: Vec<_> = ids.iter().filter_map(|(payment, id)| Some((*id, *other_ids.get(payment)?))).collect();
    if !both.is_empty() {
        return 2 * both.iter().filter(|(id, other)| id == other).count() > both.len();
    }
    let ids: BTreeSet<_> = ids.into_values().collect();
    one.field == other.field || other_ids.into_values().any(|id| ids.contains(id))
}

/// How many payments get an ID from the app.
pub(super) fn covered(listed: &[&Object<'static>], found: &HashMap<Reference, Found>, settings: &Settings) -> usize {
    let path = |payment: &&&Object<'static>| user_of(payment, found, settings).0;
    listed.iter().filter(|payment| path(payment).is_some_and(|path| is_trustworthy(path.as_str()))).count()
}

/// The path that gives a payment's user ID, and the number of reads, as in the function.
fn user_of(
    payment: &Object<'static>,
    found: &HashMap<Reference, Found>,
    settings: &Settings,
) -> (Option<FieldPath>, usize) {
    let follows = settings.references == References::Follow;
    let (mut objects, mut reads) = (Objects::default(), 0);
    loop {
        let known = follows.then_some(&objects);
        match user::user(payment, known, &settings.user_id_paths, &mut user::no_audit) {
            Ok(user) => return (user.map(|user| user.path), reads),
            Err(reference) => {
                reads += 1;
                let read = found.get(&reference).cloned().unwrap_or(Found::Nothing);
                objects.insert(reference, read);
            }
        }
    }
}
