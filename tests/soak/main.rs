//! A long simulation of Stripe and the functions while everything around them fails: `make soak`. The variable `SEED`
//! repeats a run, and `EVENTS` sets the number of events. Also an outage of Amplitude with thousands of processes, in
//! simulated time.

// As in `tests/it`. This uses a part of its harness.
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

use std::time::Duration;

use crate::outage::{Mode, Outage, Report, Scenario};
use crate::simulation::Plan;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_arrives_without_the_queue() {
    let plan = Plan::from_environment(20_000, false);
    println!("{}", simulation::run(plan).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queue_hides_amplitudes_failures() {
    let plan = Plan::from_environment(20_000, true);
    println!("{}", simulation::run(plan).await);
}

/// Prints the tables in `docs/scale.md` and checks its claims.
#[test]
fn outage_at_volume() {
    let mut scenarios = Vec::new();
    for rate in [10, 100, 1000, 5000] {
        scenarios.extend(Mode::ALL.map(|mode| Scenario::new(mode, Outage::Silence, rate)));
        let modes = [Mode::Direct, Mode::DirectWithoutBreaker];
        scenarios.extend(modes.map(|mode| Scenario::new(mode, Outage::Errors, rate)));
    }
    // The long ones first, so that no thread is left alone with one of them.
    scenarios.sort_by_key(|scenario| std::cmp::Reverse(scenario.rate));
    let reports = Scenario::run_all(&scenarios);
    let mut all: Vec<_> = scenarios.iter().zip(&reports).collect();
    all.sort_by_key(|(scenario, _)| scenario.rate);
    for outage in [Outage::Silence, Outage::Errors] {
        println!("\n{outage:?}\n| per second | | {} |", Report::COLUMNS);
        for (scenario, report) in all.iter().filter(|(scenario, _)| scenario.outage == outage) {
            println!("| {} | {} | {report} |", scenario.rate, scenario.mode.name());
        }
    }
    println!("\nAll processes new\n| per second | | 503 | 429 of Lambda | processes |");
    for (scenario, report) in all.iter().filter(|(scenario, _)| scenario.outage == Outage::Silence) {
        let start = &report.settling;
        let (unserved, throttled) = (start.count(503), start.count(429));
        println!(
            "| {} | {} | {unserved} | {throttled} | {} |",
            scenario.rate,
            scenario.mode.name(),
            start.environments
        );
    }
    for (scenario, report) in &all {
        report.expect_nothing_lost();
        let (start, outage, after) = (&report.settling, &report.outage, &report.after);
        for phase in [start, outage, after] {
            assert_eq!(phase.warm_503, 0, "{scenario:?}: a warm process never answers 503");
        }
        let usual = start.environments;
        match scenario.mode {
            // Amplitude does not matter here.
            Mode::QueueFirst => {
                assert_eq!(outage.failed() + after.failed(), 0, "{scenario:?}: {report}");
                assert_eq!(outage.environments, usual, "{scenario:?}: {report}");
            }
            Mode::Direct => {
                let failed = report.last_failure.unwrap_or_default();
                assert!(failed < Duration::from_secs(30), "{scenario:?}: {report}");
                assert!(report.recovered_after <= Duration::from_secs(60), "{scenario:?}: {report}");
                assert_eq!(after.failed(), 0, "{scenario:?}: {report}");
            }
            Mode::DirectWithoutBreaker | Mode::WithoutQueue => {}
        }
    }
    let of = |mode, rate| {
        let is_it =
            |scenario: &Scenario| (scenario.mode, scenario.outage, scenario.rate) == (mode, Outage::Silence, rate);
        all.iter().find(|(scenario, _)| is_it(scenario)).unwrap().1
    };
    for rate in [1000, 5000] {
        let (with, without) = (of(Mode::Direct, rate), of(Mode::DirectWithoutBreaker, rate));
        assert!(with.outage.failed() * 5 < without.outage.failed(), "{rate}: {with}; {without}");
    }
}

/// The lowest of these rates at which a scenario satisfies the condition with one of three seeds.
fn first_rate(scenario: Scenario, rates: impl Iterator<Item = u32>, is_so: impl Fn(&Report) -> bool) -> Option<u32> {
    let mut rates = rates;
    rates.find(|rate| {
        let with_seed = |seed| Scenario { rate: *rate, seed, ..scenario };
        Scenario::run_all(&[1, 2, 3].map(with_seed)).iter().any(&is_so)
    })
}

/// The rates from which an outage costs deliveries: any at all, and any after its first twenty seconds.
#[test]
fn highest_rate_without_lost_deliveries() {
    let turned_away = |report: &Report| report.outage.count(503) > 0;
    let lasts = |report: &Report| report.last_failure > Some(Duration::from_secs(20));
    let scenario = |mode| Scenario::new(mode, Outage::Silence, 0).short();
    let mut found = Vec::new();
    for reads in [40, 100] {
        for mode in [Mode::Direct, Mode::DirectWithoutBreaker] {
            let any = first_rate(Scenario { reads, ..scenario(mode) }, (4..=30).map(|tens| tens * 10), turned_away);
            println!("{reads} reads a second, {}: 503 from {any:?} a second on", mode.name());
            found.push(any);
        }
    }
    // Only the start of all processes.
    let deployment = |mode| Scenario { fails_for: Duration::ZERO, then: Duration::ZERO, ..scenario(mode) };
    for mode in [Mode::Direct, Mode::QueueFirst] {
        let start = |report: &Report| report.settling.count(503) > 0;
        let any = first_rate(deployment(mode), (2..=12).map(|fifties| fifties * 50), start);
        println!("a deployment, {}: 503 from {any:?} a second on", mode.name());
    }
    let without = first_rate(scenario(Mode::DirectWithoutBreaker), (3..=8).map(|fifties| fifties * 50), lasts);
    println!("without the breaker, deliveries fail throughout the outage from {without:?} a second on");
    assert!(found[0] >= found[1] && found[2] >= found[3], "{found:?}");
    assert!(without.is_some());
}
