//! What fails on order, and the rate limit.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What a request meets.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// 429, and nothing is done.
    TooManyRequests,
    /// 500, and nothing is done.
    InternalError,
    /// 503, and nothing is done.
    Unavailable,
    /// A page of something in between, with this status; and nothing is done.
    Html(u16),
    /// The connection ends without an answer, and nothing is done.
    Cut,
    /// What was asked for is done, but the connection ends half-way through the answer.
    CutHalfWay,
    /// What was asked for is done, but the connection ends without an answer.
    AnswerLost,
    /// The request waits so long before it is looked at.
    Hang(Duration),
}

/// What is to fail.
#[derive(Default)]
pub(crate) struct Faults {
    pub(crate) rate_limit: Option<usize>,
    /// The value of `Stripe-Rate-Limited-Reason`, if it is another one than [`GLOBAL_RATE`].
    pub(crate) rate_limited_reason: Option<String>,
    pub(crate) outage: Option<Fault>,
    orders: VecDeque<Order>,
    /// When requests were let through, within the last second.
    let_through: VecDeque<Instant>,
}

/// The limit of all requests of an account. Source: docs.stripe.com/rate-limits, which has `endpoint-rate`,
/// `global-concurrency`, `endpoint-concurrency` and `resource-specific`, too.
pub(crate) const GLOBAL_RATE: &str = "global-rate";

struct Order {
    path_prefix: String,
    left: usize,
    fault: Fault,
}

impl Faults {
    pub(crate) fn order(&mut self, path_prefix: &str, number: usize, fault: Fault) {
        self.orders.push_back(Order { path_prefix: path_prefix.to_owned(), left: number, fault });
    }

    pub(crate) fn forget(&mut self) {
        self.orders.clear();
        self.outage = None;
    }

    /// What a request to this path meets, of what was ordered.
    pub(crate) fn next(&mut self, path: &str) -> Option<Fault> {
        self.orders.retain(|order| order.left > 0);
        let Some(order) = self.orders.iter_mut().find(|order| path.starts_with(&order.path_prefix)) else {
            return self.outage;
        };
        order.left -= 1;
        Some(order.fault)
    }

    /// Whether a request may pass at this moment. Those that may not do not count.
    pub(crate) fn let_through(&mut self, now: Instant) -> bool {
        let Some(limit) = self.rate_limit else { return true };
        while self.let_through.front().is_some_and(|then| now.duration_since(*then) >= Duration::from_secs(1)) {
            self.let_through.pop_front();
        }
        let may_pass = self.let_through.len() < limit;
        if may_pass {
            self.let_through.push_back(now);
        }
        may_pass
    }
}
