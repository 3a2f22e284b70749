//! The emulator follows Stripe's documentation, over real HTTP.
//!
//! All tests are in one binary, because linking several takes longer.

// A failed expectation must stop the test, in helpers too; and nothing here is a public interface.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, unreachable_pub)]

mod api;
mod client;
mod objects;
mod shop;
