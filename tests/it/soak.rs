//! A few hundred events of a simulated Stripe, while everything fails; and the beginning of an outage with many processes,
//! in simulated time. `make soak` is the long run of both.

use crate::outage::{Mode, Outage, Scenario};
use crate::simulation::{self, Plan};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_simulated_stripe_without_the_queue() {
    println!("{}", simulation::run(Plan::of_environment(300, false)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_simulated_stripe_with_the_queue() {
    println!("{}", simulation::run(Plan::of_environment(300, true)).await);
}

#[test]
fn an_outage_of_amplitude_with_many_processes() {
    let scenarios = Mode::ALL.map(|mode| Scenario::new(mode, Outage::Silence, 100).short());
    for (scenario, report) in scenarios.iter().zip(Scenario::run_all(&scenarios)) {
        println!("{}: {report}", scenario.mode.name());
        report.expect_nothing_lost();
        assert_eq!(report.outage.warm_503, 0, "{}: {report}", scenario.mode.name());
        if scenario.mode == Mode::QueueFirst {
            assert_eq!(report.outage.failed(), 0, "{report}");
        }
    }
}
