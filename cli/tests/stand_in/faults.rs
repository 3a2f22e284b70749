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
pub struct Faults {
    pub rate_limit: Option<usize>,
    orders: VecDeque<Order>,
    /// When requests were let through, within the last second.
    let_through: VecDeque<Instant>,
}

struct Order {
    path_prefix: String,
    left: usize,
    fault: Fault,
}

impl Faults {
    pub fn order(&mut self, path_prefix: &str, number: usize, fault: Fault) {
        self.orders.push_back(Order { path_prefix: path_prefix.to_owned(), left: number, fault });
    }

    pub fn forget(&mut self) {
        self.orders.clear();
    }

    /// What a request to this path meets, of what was ordered.
    pub fn next(&mut self, path: &str) -> Option<Fault> {
        let order = self.orders.iter_mut().find(|order| order.left > 0 && path.starts_with(&order.path_prefix))?;
        order.left -= 1;
        Some(order.fault)
    }

    /// Whether a request may pass at this moment. Those that may not do not count.
    pub fn let_through(&mut self, now: Instant) -> bool {
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
