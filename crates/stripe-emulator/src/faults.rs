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
    allowed: VecDeque<Instant>,
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
        self.injected.retain(|fault| fault.left > 0);
        let Some(injected) = self.injected.iter_mut().find(|fault| path.starts_with(&fault.path_prefix)) else {
            return self.outage;
        };
        injected.left -= 1;
        Some(injected.fault)
    }

    /// Whether the rate limit allows a request at this moment. Rejected requests do not count.
    pub(crate) fn allows(&mut self, now: Instant) -> bool {
        let Some(limit) = self.rate_limit else { return true };
        while self.allowed.front().is_some_and(|then| now.duration_since(*then) >= Duration::from_secs(1)) {
            self.allowed.pop_front();
        }
        let is_allowed = self.allowed.len() < limit;
        if is_allowed {
            self.allowed.push_back(now);
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_above_the_rate_limit_are_rejected() {
        let start = Instant::now();
        let mut faults = Faults { rate_limit: Some(5), ..Faults::default() };
        let mut allows = |milliseconds: u64| faults.allows(start + Duration::from_millis(milliseconds));
        assert_eq!((0..8).map(&mut allows).filter(|is_allowed| *is_allowed).count(), 5);
        assert!(!allows(999));
        // Rejected requests do not count, so five more are allowed a second after the first ones.
        assert!((1..20).all(|number| allows(1000 + number * 200)));
        assert!(!allows(4801));
        faults.rate_limit = None;
        assert!(faults.allows(start + Duration::from_millis(4801)));
    }
}
