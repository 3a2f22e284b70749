//! What this project knows of Stripe.

pub mod catalog;
pub mod currency;
pub mod event;
pub mod json;
pub mod signature;
pub mod versions;
