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
mod outage;
mod simulation;

use crate::outage::{Mode, Outage, Scenario};
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

#[test]
fn probe() {
    let rates: Vec<u32> = std::env::var("RATES").unwrap().split(',').map(|r| r.parse().unwrap()).collect();
    for rate in rates {
        for outage in [Outage::Silence] {
            for mode in [Mode::Direct, Mode::DirectWithoutBreaker] {
                let start = std::time::Instant::now();
                let report = Scenario {
                    fails_for: std::time::Duration::from_secs(30),
                    then: std::time::Duration::from_secs(10),
                    settle: std::time::Duration::from_secs(20),
                    ..Scenario::new(mode, outage, rate)
                }
                .run();
                println!("{rate} {outage:?} {mode:?} {:?}", start.elapsed());
                for phase in [&report.settling, &report.outage, &report.after] {
                    println!(
                        "    {:?} warm503 {} env {} p50 {:?} p99 {:?} max {:?}",
                        phase.statuses,
                        phase.warm_503,
                        phase.environments,
                        phase.percentile(0.5),
                        phase.percentile(0.99),
                        phase.percentile(1.0)
                    );
                }
                println!(
                    "    last failure {:?} recovered {:?} lost {} unsafe {}",
                    report.last_failure, report.recovered_after, report.lost, report.unsafe_events
                );
            }
        }
    }
}
