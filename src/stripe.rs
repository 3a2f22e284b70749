//! Stripe: its signatures, events, objects and API.

pub mod api_versions;
pub mod credentials;
pub mod event;
pub mod event_types;
pub mod field_path;
pub mod json;
pub mod purchase;
pub mod reference;
pub mod references;
mod repair;
pub mod signature;
pub mod source_label;
