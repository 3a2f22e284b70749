//! The deployed function, tested from outside: its real binary under Lambda's runtime API, with Stripe on one side and
//! Parameter Store and Amplitude on the other, over real HTTP.
//!
//! `harness` provides the other sides. Start reading at [`harness::Stage`], which puts them together. Tests are grouped
//! in files by subject. They need the programs in `tests/requirements.txt`, which `make test` installs.

// A failed expectation must stop the test, in helpers too, and nothing here is a public interface.
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
