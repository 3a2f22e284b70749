//! A few hundred events from a simulated Stripe while everything fails, and the beginning of an outage with many
//! processes in simulated time. `make soak` is the long run of both.

use crate::outage::{Mode, Outage, Report, Scenario};
use crate::simulation::{self, Plan};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simulation_without_the_queue() {
    println!("{}", simulation::run(Plan::from_environment(300, false)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simulation_with_the_queue() {
    println!("{}", simulation::run(Plan::from_environment(300, true)).await);
}

#[test]
fn outage_with_many_processes() {
    let short = |outage| Mode::ALL.map(|mode| Scenario::new(mode, outage, 100).short());
    let scenarios = [Outage::Silence, Outage::Errors].map(short).concat();
    println!("{}", Report::COLUMNS);
    for (scenario, report) in scenarios.iter().zip(Scenario::run_all(&scenarios)) {
        let context = format!("{:?}, {}: {report}", scenario.outage, scenario.mode.name());
        println!("{context}");
        report.expect_nothing_lost();
        assert_eq!(report.outage.warm_503, 0, "{context}");
        if scenario.mode == Mode::QueueFirst {
            assert_eq!(report.outage.failed(), 0, "{context}");
        }
    }
}
