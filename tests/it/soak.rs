//! A few hundred events of a simulated Stripe, while everything fails. `make soak` is the long run.

use crate::simulation::{self, Plan};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_simulated_stripe_without_the_queue() {
    println!("{}", simulation::run(Plan::of_environment(300, false)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_simulated_stripe_with_the_queue() {
    println!("{}", simulation::run(Plan::of_environment(300, true)).await);
}
