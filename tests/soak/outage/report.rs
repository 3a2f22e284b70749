//! The result of a simulation.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::edges::Edges;
use super::lambda::DeliveryResult;

/// The deliveries, as Stripe saw them, that arrived in one part of the scenario.
#[derive(Clone, Debug, Default)]
pub struct Phase {
    /// The number of answers by status. 429 comes from Lambda itself.
    pub statuses: BTreeMap<u16, u64>,
    /// The number of 503 answers from processes that had answered 2xx before.
    pub warm_503: u64,
    /// The number of answers by duration in milliseconds, without those that Lambda throttled.
    milliseconds: Vec<u64>,
    /// The maximum number of environments, including idle ones.
    pub environments: usize,
}

impl Phase {
    fn add(&mut self, result: &DeliveryResult) {
        *self.statuses.entry(result.status).or_default() += 1;
        self.warm_503 += u64::from(result.status == 503 && !result.is_cold);
        if result.status != 429 {
            let milliseconds = usize::try_from(result.after.as_millis()).unwrap();
            if self.milliseconds.len() <= milliseconds {
                self.milliseconds.resize(milliseconds + 1, 0);
            }
            self.milliseconds[milliseconds] += 1;
        }
    }

    pub fn count(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }

    /// Deliveries that Stripe has to retry.
    pub fn failed(&self) -> u64 {
        self.statuses.iter().filter(|(status, _)| **status >= 300).map(|(_, count)| count).sum()
    }

    /// The time within which this share of deliveries (1 is all) was answered.
    pub fn percentile(&self, part: f64) -> Duration {
        let all: u64 = self.milliseconds.iter().sum();
        let mut left = (all as f64 * part).ceil();
        for (milliseconds, count) in self.milliseconds.iter().enumerate() {
            left -= *count as f64;
            if left <= 0.0 {
                return Duration::from_millis(u64::try_from(milliseconds).unwrap());
            }
        }
        Duration::ZERO
    }
}

/// The result of a simulation.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// From the start of all processes.
    pub settling: Phase,
    pub outage: Phase,
    pub after: Phase,
    /// The time from the beginning of the outage to its last failed delivery.
    pub last_failure: Option<Duration>,
    /// The time from the end of the outage to the last delivery with another answer than before the outage.
    pub recovered_after: Duration,
    /// Events that were answered 2xx and are neither in Amplitude nor in the queue.
    pub unsafe_events: u64,
}

impl Report {
    /// Every event with a 2xx answer is safe. A simulation only ends after every delivery has succeeded, if necessary
    /// by a retry.
    pub fn expect_nothing_lost(&self) {
        assert_eq!(self.unsafe_events, 0, "{self}");
    }

    /// The column titles of [`Report`]'s `Display`.
    pub const COLUMNS: &str = "200 | 202 | 502 | 503 | 429 of Lambda | last failure after | processes | p50 | p99 | longest | recovered after";
}

/// Writes the outage as a row of a table.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Phase { environments, .. } = self.outage;
        for status in [200, 202, 502, 503, 429] {
            write!(f, "{} | ", self.outage.count(status))?;
        }
        match self.last_failure {
            Some(after) => write!(f, "{:.1} s", after.as_secs_f64())?,
            None => write!(f, "-")?,
        }
        write!(f, " | {environments}")?;
        for part in [0.5, 0.99, 1.0] {
            write!(f, " | {:.2} s", self.outage.percentile(part).as_secs_f64())?;
        }
        write!(f, " | {:.0} s", self.recovered_after.as_secs_f64())
    }
}

#[derive(Clone)]
pub(super) struct Shared(Rc<RefCell<State>>);

struct State {
    outage: Range<Instant>,
    report: Report,
    /// The status of a delivery under normal conditions.
    usual: Option<u16>,
    /// Deliveries in progress, and those that Stripe has to retry.
    under_way: u64,
    waiting: u64,
    safe: u64,
}

impl Shared {
    pub(super) fn new(outage: Range<Instant>) -> Self {
        Self(Rc::new(RefCell::new(State {
            outage,
            report: Report::default(),
            usual: None,
            under_way: 0,
            waiting: 0,
            safe: 0,
        })))
    }

    /// Records the answer to a delivery that arrived at this time, or to a retry after the end.
    pub(super) fn record_answer(&self, arrived: Option<Instant>, result: &DeliveryResult) {
        let State { outage, report, usual, under_way, waiting, safe } = &mut *self.0.borrow_mut();
        *under_way -= 1;
        if result.is_safe() {
            *safe += 1;
        } else {
            *waiting += 1;
        }
        let Some(arrived) = arrived else { return };
        if arrived < outage.start {
            report.settling.add(result);
            *usual = usual.or(result.is_safe().then_some(result.status));
        } else if arrived < outage.end {
            report.outage.add(result);
            if !result.is_safe() {
                report.last_failure = report.last_failure.max(Some(arrived - outage.start));
            }
        } else {
            report.after.add(result);
            if Some(result.status) != *usual {
                report.recovered_after = report.recovered_after.max(arrived - outage.end);
            }
        }
    }

    pub(super) fn environments(&self, number: usize) {
        let State { outage, report, .. } = &mut *self.0.borrow_mut();
        let now = Instant::now();
        let phase = match now {
            _ if now < outage.start => &mut report.settling,
            _ if now < outage.end => &mut report.outage,
            _ => &mut report.after,
        };
        phase.environments = phase.environments.max(number);
    }

    /// Records the beginning of a delivery.
    pub(super) fn record_arrival(&self) {
        self.0.borrow_mut().under_way += 1;
    }

    /// Deliveries that have not been answered 2xx yet.
    pub(super) fn open(&self) -> u64 {
        let state = self.0.borrow();
        state.under_way + state.waiting
    }

    /// Takes a failed delivery to retry; returns whether there was one.
    pub(super) fn take_retry(&self) -> bool {
        let mut state = self.0.borrow_mut();
        let there_was_one = state.waiting > 0;
        state.waiting -= u64::from(there_was_one);
        there_was_one
    }

    pub(super) fn finish(&self, edges: &Edges) -> Report {
        let state = self.0.borrow();
        let (accepted, taken) = edges.events();
        Report { unsafe_events: state.safe.saturating_sub(accepted + taken), ..state.report.clone() }
    }
}
