//! Stripe: its webhook requests, and its API.

pub(crate) mod api;
pub(crate) mod endpoints;
pub(crate) mod event_types;
pub(crate) mod events;
pub(crate) mod restricted_key;
