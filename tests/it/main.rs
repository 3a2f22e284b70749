//! The function as it is deployed, seen from outside: its real binary under Lambda's runtime interface, Stripe on one
//! side, Parameter Store and Amplitude on the other, all over real HTTP.
//!
//! `harness` holds the other sides; [`harness::Stage`] puts them together, and is where to start reading. The tests are
//! in files by subject. They need the programs of `tests/requirements.txt`: `make test` installs them.

// A test that meets what it does not expect shall stop there, in a helper as in the test itself; and nothing here is an
// interface of anything.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod harness;
#[path = "../soak/outage/mod.rs"]
mod outage;
#[path = "../soak/simulation/mod.rs"]
mod simulation;

mod amplitude_faults;
mod architecture;
mod authentication;
mod breaker;
mod cases;
mod concurrency;
mod connections;
mod forwarding;
mod histories;
mod hostile_input;
mod log;
mod metrics;

mod official_signer;
mod parameter_store_faults;
mod privacy;
mod projects;
mod redelivery;
mod references;
mod refusals;
mod repeats;
mod settings;
mod soak;
mod start;
