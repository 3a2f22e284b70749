//! Payments, and the values that an app may have stored around them.

use std::collections::HashMap;

use stripe_amplitude::translate::user::NotAnId;

use super::place::Place;

/// The relevant data of a payment.
pub(super) struct Payment<'p> {
    pub(super) id: &'p str,
    /// The customer, or the receipt's e-mail address, or the payment itself.
    pub(super) buyer: String,
    pub(super) has_revenue: bool,
}

/// A value in a place of a payment.
pub(super) struct Sighting {
    pub(super) payment: usize,
    pub(super) id: Result<String, NotAnId>,
    /// Including surrounding white space.
    pub(super) written: String,
}

pub(super) type Candidate<'s> = (&'s Place, &'s Vec<Sighting>);

/// The IDs of a place, by payment.
pub(super) fn ids(sightings: &[Sighting]) -> HashMap<usize, &str> {
    sightings.iter().filter_map(|one| Some((one.payment, one.id.as_deref().ok()?))).collect()
}
