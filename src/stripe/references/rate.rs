//! How often an account is asked.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Lets through so many reads within any second, and none during a pause.
#[derive(Debug)]
pub(super) struct Rate {
    /// The turns that were given out within the last window, which may lie ahead.
    turns: VecDeque<Instant>,
    most: usize,
    window: Duration,
    paused_until: Option<Instant>,
}

impl Rate {
    /// Fewer than one a second are one in a longer time.
    pub(super) fn new(per_second: f64) -> Self {
        let most = per_second.floor().max(1.0);
        Self {
            turns: VecDeque::new(),
            // A whole number, far below the largest.
            most: most as usize,
            window: Duration::from_secs_f64(most / per_second),
            paused_until: None,
        }
    }

    /// When the next read may go. `None` where that would be later than `latest`, and then it has no turn.
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
        /// Whenever reads are asked for.
        #[test]
        fn no_window_has_more_than_the_rate(pauses in prop::collection::vec(0..400_u64, 1..60), rate in 1..30_u32) {
            let (start, mut rate_of_it) = (Instant::now(), Rate::new(f64::from(rate)));
            let mut now = start;
            let mut turns = Vec::new();
            for pause in pauses {
                now += Duration::from_millis(pause);
                turns.extend(rate_of_it.turn(now, now + Duration::from_secs(60)));
            }
            for (index, turn) in turns.iter().enumerate() {
                let within = turns.iter().skip(index).take_while(|later| **later < *turn + Duration::from_secs(1));
                prop_assert!(within.count() <= rate as usize);
            }
        }
    }

    #[test]
    fn a_slow_rate_is_one_read_in_a_longer_time() {
        let (now, mut rate) = (Instant::now(), Rate::new(0.02));
        let far = now + Duration::from_secs(1000);
        assert_eq!(rate.turn(now, far), Some(now));
        assert_eq!(rate.turn(now, far), Some(now + Duration::from_secs(50)));
        assert_eq!(rate.turn(now, now + Duration::from_secs(99)), None);
        assert_eq!(rate.turn(now, far), Some(now + Duration::from_secs(100)), "what was not given out takes no turn");
        assert!(!rate.is_idle(now) && rate.is_idle(far));
    }
}
