//! A simulated Stripe against the functions while everything around them fails, for minutes: `make soak`. The variable
//! `SEED` repeats a run, `EVENTS` says how many events happen.

// As in `tests/it`, whose harness this uses, though not all of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    missing_docs,
    unreachable_pub
)]

#[path = "../it/harness/mod.rs"]
mod harness;
mod simulation;

use crate::simulation::Plan;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_queue_everything_arrives_by_stripes_retries() {
    let plan = Plan::of_environment(20_000, false);
    println!("{}", simulation::run(plan).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_queue_stripe_does_not_notice_amplitude() {
    let plan = Plan::of_environment(20_000, true);
    println!("{}", simulation::run(plan).await);
}
