//! Injected faults, and the rate limit.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A fault that affects a request.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// 429; the request is not executed.
    TooManyRequests,
    /// 500; the request is not executed.
    InternalError,
    /// 503; the request is not executed.
    Unavailable,
    /// An HTML page from a proxy, with this status; the request is not executed.
    Html(u16),
    /// The connection ends without a response; the request is not executed.
    Cut,
    /// The request is executed, but the connection ends half-way through the response.
    CutHalfWay,
    /// The request is executed, but the connection ends without a response.
    AnswerLost,
    /// The request is delayed before it is handled.
    Hang(Duration),
}

/// The injected faults and the rate limit.
#[derive(Default)]
pub(crate) struct Faults {
    pub(crate) rate_limit: Option<usize>,
    /// The value of `Stripe-Rate-Limited-Reason`, if it differs from [`GLOBAL_RATE`].
    pub(crate) rate_limited_reason: Option<String>,
    pub(crate) outage: Option<Fault>,
    injected: VecDeque<InjectedFault>,
    /// The times of the requests allowed within the last second.
    allows: VecDeque<Instant>,
}

/// The limit for all requests of an account. Source: docs.stripe.com/rate-limits, which also has `endpoint-rate`,
/// `global-concurrency`, `endpoint-concurrency` and `resource-specific`.
pub(crate) const GLOBAL_RATE: &str = "global-rate";

struct InjectedFault {
    path_prefix: String,
    left: usize,
    fault: Fault,
}

impl Faults {
    pub(crate) fn inject(&mut self, path_prefix: &str, number: usize, fault: Fault) {
        self.injected.push_back(InjectedFault { path_prefix: path_prefix.to_owned(), left: number, fault });
    }

    pub(crate) fn clear(&mut self) {
        self.injected.clear();
        self.outage = None;
    }

    /// Takes the injected fault for a request to this path.
    pub(crate) fn next(&mut self, path: &str) -> Option<Fault> {
        self.injected.retain(|order| order.left > 0);
        let Some(order) = self.injected.iter_mut().find(|order| path.starts_with(&order.path_prefix)) else {
            return self.outage;
        };
        order.left -= 1;
        Some(order.fault)
    }

    /// Whether the rate limit allows a request at this moment. Rejected requests do not count.
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        let Some(limit) = self.rate_limit else { return true };
        while self.allows.front().is_some_and(|then| now.duration_since(*then) >= Duration::from_secs(1)) {
            self.allows.pop_front();
        }
        let may_pass = self.allows.len() < limit;
        if may_pass {
            self.allows.push_back(now);
        }
        may_pass
    }
}
