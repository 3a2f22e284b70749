//! placeholder
use stripe_amplitude::stripe::catalog::{EventTypes, TYPES};
pub(crate) fn of(types: &EventTypes) -> Vec<&'static str> {
    TYPES.into_iter().filter(|t| types.contains(t)).collect()
}
