//! Exponential back-off. Pure: chance is an argument.

use std::time::Duration;

/// Pauses that double with each failure, up to a limit.
#[derive(Clone, Copy, Debug)]
pub struct BackOff {
    /// The pause after the first failure.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl BackOff {
    /// The pause after this many failures, of which there is at least one.
    pub fn pause(self, failures: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        self.first.saturating_mul(doubled).min(self.longest)
    }
}

/// A time, less up to `part` of it at random, so that processes that failed or started together do not act together.
/// `part` and `chance` are from 0 to 1.
pub fn shortened(time: Duration, part: f64, chance: f64) -> Duration {
    time.mul_f64(1.0 - part * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACK_OFF: BackOff = BackOff { first: Duration::from_secs(5), longest: Duration::from_secs(60) };

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = [1, 2, 3, 4, 5, 6, u32::MAX].map(|failures| BACK_OFF.pause(failures).as_secs());
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60, 60]);
    }

    #[test]
    fn chance_shortens_by_a_part_at_most() {
        let shortest = [0.0, 0.5, 1.0, 7.0].map(|chance| shortened(Duration::from_secs(100), 0.2, chance).as_secs());
        assert_eq!(shortest, [100, 90, 80, 80]);
    }
}
