//! The rate limit of an account.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The part of each window that is reserved for required reads.
const KEPT: usize = 4;

/// Gives out turns: a limited number within any window, and none during a pause.
#[derive(Debug)]
pub(super) struct Rate {
    /// The turns of the last window, which may be in the future.
    turns: VecDeque<Instant>,
    most: usize,
    window: Duration,
    paused_until: Option<Instant>,
}

impl Rate {
    pub(super) fn new(most: usize, window: Duration) -> Self {
        Self { turns: VecDeque::new(), most: most.max(1), window, paused_until: None }
    }

    /// The time of the next turn. `None` if that is later than `latest`; then no turn is used.
    pub(super) fn turn(&mut self, now: Instant, latest: Instant) -> Option<Instant> {
        let after_others = match self.turns.front() {
            Some(oldest) if self.turns.len() >= self.most => *oldest + self.window,
            _ => now,
        };
        let turn = now.max(after_others).max(self.paused_until.unwrap_or(now));
        if turn > latest {
            return None;
        }
        if self.turns.len() >= self.most {
            self.turns.pop_front();
        }
        self.turns.push_back(turn);
        Some(turn)
    }

    /// A turn now, if enough are left for others.
    pub(super) fn spare_turn(&mut self, now: Instant) -> Option<Instant> {
        let used = self.turns.iter().filter(|turn| **turn + self.window > now).count();
        if used + KEPT <= self.most { self.turn(now, now) } else { None }
    }

    /// The end of the current pause.
    pub(super) fn pause(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|end| *end > now)
    }

    pub(super) fn pause_until(&mut self, end: Instant) {
        self.paused_until = self.paused_until.max(Some(end));
    }

    /// Whether forgetting it changes nothing.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.turns.back().is_none_or(|last| *last + self.window <= now)
            && self.paused_until.is_none_or(|end| end <= now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// For any sequence of reads.
        #[test]
        fn no_window_has_more_than_the_rate(pauses in prop::collection::vec(0..400_u64, 1..60), rate in 1..30_usize) {
            let (start, mut rate_of_it) = (Instant::now(), Rate::new(rate, Duration::from_secs(1)));
            let mut now = start;
            let mut turns = Vec::new();
            for pause in pauses {
                now += Duration::from_millis(pause);
                turns.extend(rate_of_it.turn(now, now + Duration::from_secs(60)));
            }
            for (index, turn) in turns.iter().enumerate() {
                let within = turns.iter().skip(index).take_while(|later| **later < *turn + Duration::from_secs(1));
                prop_assert!(within.count() <= rate);
            }
        }
    }

    #[test]
    fn optional_reads_leave_turns_for_others() {
        let (now, mut rate) = (Instant::now(), Rate::new(5, Duration::from_secs(1)));
        assert_eq!(rate.turn(now, now), Some(now));
        assert_eq!(rate.spare_turn(now), Some(now));
        assert_eq!(rate.spare_turn(now), None);
        assert!((0..3).all(|_| rate.turn(now, now) == Some(now)));
        assert_eq!(rate.spare_turn(now + Duration::from_secs(1)), Some(now + Duration::from_secs(1)));
    }

    #[test]
    fn slow_rates_space_reads() {
        let (now, mut rate) = (Instant::now(), Rate::new(1, Duration::from_secs(50)));
        let far = now + Duration::from_secs(1000);
        assert_eq!(rate.turn(now, far), Some(now));
        assert_eq!(rate.turn(now, far), Some(now + Duration::from_secs(50)));
        assert_eq!(rate.turn(now, now + Duration::from_secs(99)), None);
        assert_eq!(rate.turn(now, far), Some(now + Duration::from_secs(100)), "what was not given out takes no turn");
        assert!(!rate.is_idle(now) && rate.is_idle(far));
    }
}
