//! An outage of Amplitude with as many processes as Lambda starts for it: a model in simulated time.
//!
//! The function is the real one: each process is a separate [`Webhook`], with its own project cache, deadlines and
//! breaker, behind the same traits as in production. The surroundings are modelled: [`edges`] has Amplitude, Parameter
//! Store and the queue, [`lambda`] the environments. The results only show the consequences of the numbers at the top
//! of those files.
//!
//! [`Webhook`]: stripe_amplitude::webhook::Webhook

mod edges;
mod lambda;
mod report;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until};

use self::edges::Edges;
use self::lambda::Lambda;
pub use self::report::Report;

/// How events are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Directly, falling back to the queue.
    Direct,
    /// The same without the breaker. There is no such setting; the model's Amplitude answers 429 in its outage, which
    /// never opens the breaker.
    DirectWithoutBreaker,
    /// Directly, without a queue.
    WithoutQueue,
    /// `DELIVERY=queue`.
    QueueFirst,
}

impl Mode {
    pub const ALL: [Self; 4] = [Self::Direct, Self::DirectWithoutBreaker, Self::WithoutQueue, Self::QueueFirst];

    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::DirectWithoutBreaker => "direct, without the breaker",
            Self::WithoutQueue => "direct, without a queue",
            Self::QueueFirst => "`DELIVERY=queue`",
        }
    }
}

/// How Amplitude behaves in its outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// It accepts requests and does not answer.
    Silence,
    /// It answers 503 as quickly as it answers otherwise.
    Errors,
}

/// A scenario: all processes start at once, as after a deployment; the system settles; then Amplitude fails for a while
/// and recovers.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub mode: Mode,
    pub outage: Outage,
    /// Deliveries per second on average; they arrive at random.
    pub rate: u32,
    /// Parameter Store's limit of calls per second for the account and Region: 40, or 100 with higher throughput.
    pub reads: u32,
    pub settle: Duration,
    pub fails_for: Duration,
    pub then: Duration,
    /// The seed of all random numbers.
    pub seed: u64,
}

impl Scenario {
    /// A minute to settle and two minutes of outage, or less at the highest rates, at which the simulation takes
    /// longer.
    pub fn new(mode: Mode, outage: Outage, rate: u32) -> Self {
        let seconds = Duration::from_secs;
        let [settle, fails_for, then] = if rate < 5000 { [60, 120, 70] } else { [40, 60, 45] }.map(seconds);
        Self { mode, outage, rate, reads: 40, settle, fails_for, then, seed: 1 }
    }

    /// The beginning of an outage only, which is its worst part.
    pub fn short(self) -> Self {
        let seconds = Duration::from_secs;
        Self { settle: seconds(20), fails_for: seconds(25), then: seconds(5), ..self }
    }

    /// Simulates several scenarios in parallel and returns their reports in the same order.
    pub fn run_all(scenarios: &[Self]) -> Vec<Report> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let next = AtomicUsize::new(0);
        let reports: Mutex<BTreeMap<usize, Report>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some((number, scenario)) =
                        Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|next| Some((next, scenarios.get(next)?)))
                    {
                        let report = scenario.run();
                        reports.lock().unwrap().insert(number, report);
                    }
                });
            }
        });
        reports.into_inner().unwrap().into_values().collect()
    }

    /// Runs the scenario in simulated time.
    pub fn run(self) -> Report {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        fastrand::seed(self.seed);
        runtime.block_on(tokio::task::LocalSet::new().run_until(self.simulate()))
    }

    async fn simulate(self) -> Report {
        let start = Instant::now();
        BEGINNING.set(Some(start));
        let outage = start + self.settle..start + self.settle + self.fails_for;
        let end = outage.end + self.then;
        let edges = Edges::new(self.outage, outage.clone(), self.reads);
        let lambda = Lambda::new(self.mode, edges.clone());
        let report = report::Shared::new(outage);
        // A tick is the resolution of tokio's timers.
        let tick = Duration::from_millis(1);
        let (mut now, mut next) = (start, 0.0);
        // After the end, Stripe retries failed deliveries at the same rate. Its real pauses are minutes and hours.
        while now < end || report.open() > 0 {
            sleep_until(now).await;
            now += tick;
            // A Poisson process: the times between arrivals are exponential.
            while start + Duration::from_secs_f64(next) < now {
                next -= fastrand::f64().max(f64::MIN_POSITIVE).ln() / f64::from(self.rate);
                if now > end && !report.take_retry() {
                    break;
                }
                report.record_arrival();
                let (lambda, report) = (lambda.clone(), report.clone());
                tokio::task::spawn_local(async move {
                    let arrived = Instant::now();
                    let result = lambda.deliver().await;
                    report.record_answer((arrived < end).then_some(arrived), &result);
                });
            }
            report.environments(lambda.environments());
            assert!(now < end + Duration::from_secs(1000), "deliveries never succeed");
        }
        report.finish(&edges)
    }
}

thread_local! {
    static BEGINNING: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The start of the simulated time, in Unix seconds.
const EPOCH: u64 = 1_720_000_000;

/// The wall clock of a simulation.
fn clock() -> SystemTime {
    let elapsed = BEGINNING.get().map(|beginning| beginning.elapsed()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH) + elapsed
}
