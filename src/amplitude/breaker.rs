//! A circuit breaker for Amplitude. Pure: `now` is an argument.
//!
//! A delivery that times out takes seconds. If many arrive, each holds a process for that long, and Lambda starts a
//! process for each. So after one delivery fails with all its retries, or if Amplitude does not answer while the
//! process starts, the next events go straight to the queue. At the end of each pause, one of them probes.
//!
//! Time is the wall clock: a monotonic clock may stand still while the environment is frozen, and a pause of a minute
//! would then last for thousands of deliveries.

use std::time::{Duration, SystemTime};

use super::client::DeliveryError;
use crate::back_off::{BackOff, shortened};

/// The pauses, which double with each probe that fails.
const BACK_OFF: BackOff = BackOff { first: Duration::from_secs(5), longest: Duration::from_secs(60) };

/// The part of a pause that is random: processes whose deliveries failed together must not probe together, because each
/// probe holds a process.
const RANDOM_PART: f64 = 0.25;

/// Decides where an event goes. There is one per process.
#[derive(Debug, Default)]
pub struct Breaker {
    /// The current pause; `None` while Amplitude is available.
    pause: Option<Pause>,
    /// How many responses Amplitude has sent.
    answers: u64,
}

#[derive(Debug)]
struct Pause {
    since: SystemTime,
    /// The delivery that opened the breaker, and the probes since.
    failures: u32,
    length: Duration,
}

/// Where an event goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To Amplitude.
    Direct,
    /// To Amplitude, to see whether it answers again.
    Probe,
    /// To the queue.
    Queue,
}

/// Where an event goes, and when that was decided.
#[derive(Debug)]
pub struct Pass {
    /// Where it goes.
    pub route: Route,
    at: SystemTime,
    answers: u64,
}

impl Breaker {
    /// Where the next event goes.
    pub fn pass(&mut self, now: SystemTime) -> Pass {
        let route = match &mut self.pause {
            None => Route::Direct,
            Some(pause) if pause.lasts(now) => Route::Queue,
            Some(pause) => {
                // The other events wait for another pause. If this probe never reports back, another one follows.
                pause.since = now;
                Route::Probe
            }
        };
        Pass { route, at: now, answers: self.answers }
    }

    /// Records the result of the delivery with this pass. `chance` is a random number from 0 to 1.
    pub fn record<T>(&mut self, pass: &Pass, result: &Result<T, DeliveryError>, now: SystemTime, chance: f64) {
        match result {
            Err(error) if error.is_transient() => self.failed(pass, now, chance),
            // An error is a response as well, and came quickly: it says nothing about availability.
            Ok(_) | Err(_) => {
                self.pause = None;
                self.answers += 1;
            }
        }
    }

    fn failed(&mut self, pass: &Pass, now: SystemTime, chance: f64) {
        if pass.answers != self.answers {
            // Amplitude has responded to another event since this one was sent.
            return;
        }
        let (since, failures) = match &self.pause {
            None => (now, 1),
            // The pause after a probe began with the probe.
            Some(pause) if pass.route == Route::Probe && pass.at == pause.since => {
                (pause.since, pause.failures.saturating_add(1))
            }
            // This delivery was under way when the first one failed, or is an old probe.
            Some(_) => return,
        };
        let length = shortened(BACK_OFF.pause(failures), RANDOM_PART, chance);
        self.pause = Some(Pause { since, failures, length });
    }
}

impl Pause {
    /// A clock that was set back ends the pause, which might otherwise last forever.
    fn lasts(&self, now: SystemTime) -> bool {
        now.duration_since(self.since).is_ok_and(|elapsed| elapsed < self.length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DOWN: Result<(), DeliveryError> = Err(DeliveryError::Timeout);

    fn at(seconds: f64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(1_720_000_000.0 + seconds)
    }

    /// A breaker after one failed delivery at this time.
    fn open(seconds: f64) -> Breaker {
        let mut breaker = Breaker::default();
        let pass = breaker.pass(at(seconds));
        assert_eq!(pass.route, Route::Direct);
        breaker.record(&pass, &DOWN, at(seconds), 0.0);
        breaker
    }

    #[test]
    fn an_outage_queues_events_and_probes_with_back_off() {
        let mut breaker = open(0.0);
        let mut now = 0.0;
        for pause in [5.0, 10.0, 20.0, 40.0, 60.0, 60.0] {
            assert_eq!(breaker.pass(at(now)).route, Route::Queue);
            assert_eq!(breaker.pass(at(now + pause - 0.1)).route, Route::Queue);
            now += pause;
            let probe = breaker.pass(at(now));
            assert_eq!(probe.route, Route::Probe, "after {pause} s");
            assert_eq!(breaker.pass(at(now)).route, Route::Queue, "one event is enough");
            breaker.record(&probe, &DOWN, at(now + 1.0), 0.0);
        }
    }

    #[test]
    fn an_answered_probe_closes_the_breaker() {
        let mut breaker = open(0.0);
        let probe = breaker.pass(at(5.0));
        breaker.record(&probe, &Ok(()), at(5.1), 0.0);
        assert_eq!(breaker.pass(at(5.1)).route, Route::Direct);
        // The next outage starts with the first pause again.
        let pass = breaker.pass(at(6.0));
        breaker.record(&pass, &DOWN, at(6.0), 0.0);
        assert_eq!(breaker.pass(at(11.0)).route, Route::Probe);
    }

    #[test]
    fn only_unavailability_opens_the_breaker() {
        use DeliveryError::*;
        for (error, opens) in [
            (Timeout, true),
            (Connect, true),
            (Broken, true),
            (Unavailable { status: 503 }, true),
            (Throttled, false),
            (InvalidApiKey, false),
            (InvalidRequest(crate::amplitude::client::RejectionReason::Silenced), false),
            (Forbidden { is_page: false }, false),
            (TooLarge { is_page: false }, false),
            (Tls, false),
            (NotAmplitude { status: 200 }, false),
            (Redirect { status: 307 }, false),
            (Unexpected { status: 418 }, false),
            (Unserializable, false),
        ] {
            let mut breaker = Breaker::default();
            let pass = breaker.pass(at(0.0));
            breaker.record(&pass, &Err::<(), _>(error.clone()), at(0.0), 0.0);
            assert_eq!(breaker.pass(at(0.0)).route == Route::Queue, opens, "{error:?}");
        }
    }

    #[test]
    fn concurrent_failures_count_once() {
        let mut breaker = Breaker::default();
        let passes: Vec<_> = (0..64).map(|_| breaker.pass(at(0.0))).collect();
        for pass in &passes {
            breaker.record(pass, &DOWN, at(3.5), 0.0);
        }
        assert_eq!(breaker.pass(at(8.4)).route, Route::Queue);
        assert_eq!(breaker.pass(at(8.5)).route, Route::Probe, "the first pause, not the last");
    }

    #[test]
    fn any_response_closes_the_breaker() {
        let mut breaker = Breaker::default();
        let [failing, slow, good] = [0.0; 3].map(|seconds| breaker.pass(at(seconds)));
        breaker.record(&failing, &DOWN, at(3.5), 0.0);
        breaker.record(&good, &Ok(()), at(3.6), 0.0);
        assert_eq!(breaker.pass(at(3.6)).route, Route::Direct);
        breaker.record(&slow, &DOWN, at(3.7), 0.0);
        assert_eq!(breaker.pass(at(3.7)).route, Route::Direct);
    }

    #[test]
    fn a_lost_probe_is_followed_by_another() {
        let mut breaker = open(0.0);
        assert_eq!(breaker.pass(at(5.0)).route, Route::Probe);
        assert_eq!(breaker.pass(at(9.9)).route, Route::Queue);
        assert_eq!(breaker.pass(at(10.0)).route, Route::Probe);
    }

    #[test]
    fn setting_the_clock_back_ends_a_pause() {
        let mut breaker = open(0.0);
        assert_eq!(breaker.pass(at(-3600.0)).route, Route::Probe);
        assert_eq!(breaker.pass(at(-3599.0)).route, Route::Queue);
    }

    #[test]
    fn probes_are_spread_over_time() {
        // A thousand processes that try ten times a second.
        let mut probes = [0; 60];
        for process in 0..1000 {
            let mut breaker = Breaker::default();
            let pass = breaker.pass(at(0.0));
            breaker.record(&pass, &DOWN, at(0.0), f64::from(process) / 1000.0);
            let tenth = (0..60).find(|tenth| breaker.pass(at(f64::from(*tenth) / 10.0)).route == Route::Probe);
            probes[usize::try_from(tenth.unwrap()).unwrap()] += 1;
        }
        assert!(probes.iter().all(|probes| *probes <= 100), "{probes:?}");
    }

    proptest! {
        /// In every sequence: no event goes to Amplitude during a pause, each pause has one probe and lasts a minute at
        /// most, and after a response all events go direct.
        #[test]
        fn pauses_are_bounded(
            steps in prop::collection::vec((0.0..20.0_f64, 0..3_u8, 0.0..=1.0_f64), 1..200),
        ) {
            let mut breaker = Breaker::default();
            let mut now = 0.0;
            let mut under_way: Vec<Pass> = Vec::new();
            let mut last_probe: Option<f64> = None;
            let mut to_the_queue_since: Option<f64> = None;
            for (pause, what, chance) in steps {
                now += pause;
                let pass = breaker.pass(at(now));
                match pass.route {
                    Route::Queue => {
                        let since = *to_the_queue_since.get_or_insert(now);
                        prop_assert!(now - since < BACK_OFF.longest.as_secs_f64(), "{since} {now}");
                        continue;
                    }
                    Route::Probe => {
                        prop_assert!(last_probe.is_none_or(|last| now - last >= 3.75), "{last_probe:?} {now}");
                        last_probe = Some(now);
                    }
                    Route::Direct => last_probe = None,
                }
                to_the_queue_since = None;
                under_way.push(pass);
                match what {
                    0 => {}
                    1 => {
                        let pass = under_way.swap_remove(0);
                        breaker.record(&pass, &DOWN, at(now), chance);
                    }
                    _ => {
                        let pass = under_way.swap_remove(0);
                        breaker.record(&pass, &Ok(()), at(now), chance);
                        prop_assert_eq!(breaker.pass(at(now)).route, Route::Direct);
                    }
                }
            }
        }
    }
}
