//! The rules of the cache of projects. Pure: `now` is an argument, and nothing waits or does I/O.
//!
//! Time is the wall clock: a monotonic clock may stand still while the environment is frozen, and a removed secret
//! would then be accepted for hours.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;

use super::name::ProjectName;
use super::project::Project;
use crate::aws::AwsError;
use crate::back_off::BackOff;

/// How long an old value outlives failed refreshes.
const OLD_VALUE_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The pauses after failed refreshes.
const BACK_OFF: BackOff = BackOff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

/// How long an unknown project is remembered.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);

/// A signature that does not match causes one early refresh in this period.
const EARLY_REFRESH_EVERY: Duration = Duration::from_secs(10);

/// First loads: this many at once, and then this many a second. Anyone can ask for a project that does not exist.
const FIRST_LOADS_AT_ONCE: f64 = 20.0;
const FIRST_LOADS_PER_SECOND: f64 = 2.0;

/// The most names that are remembered.
const MOST_ENTRIES: usize = 1024;

/// The state of each project.
#[derive(Debug)]
pub(super) struct Cache {
    ttl: Duration,
    entries: HashMap<ProjectName, Entry>,
    first_loads: TokenBucket,
}

#[derive(Debug, Default)]
struct Entry {
    /// The request that holds it loads; the others wait and share the result.
    gate: Arc<Mutex<()>>,
    /// How many loads of this project have ended.
    loads: u64,
    last_early_refresh: Option<SystemTime>,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// The first load is under way.
    #[default]
    Loading,
    Loaded(Loaded),
    /// The last load found no parameters.
    Unknown {
        since: SystemTime,
    },
    /// The last load failed, and there is no old value.
    Unreadable(AwsError),
}

#[derive(Debug)]
struct Loaded {
    project: Arc<Project>,
    at: SystemTime,
    /// How many refreshes have failed since, and the last of them.
    failures: u32,
    last_failure: Option<(SystemTime, AwsError)>,
}

/// What to do for a request.
#[derive(Debug)]
pub(super) enum Lookup {
    /// Respond with this.
    Known(Result<Arc<Project>, Absent>),
    /// Load the project, or wait for the request that does.
    Load(Ticket),
}

/// The right to load a project in turn.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) gate: Arc<Mutex<()>>,
    pub(super) has_old_value: bool,
    loads: u64,
}

/// Why there is no project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    Unknown,
    Unreadable(AwsError),
    Exhausted,
}

/// What to do for a signature that matches no secret.
#[derive(Debug)]
pub(super) enum EarlyRefresh {
    /// Another request has refreshed it already.
    Newer(Arc<Project>),
    Load(Ticket),
    /// It is too early for another refresh; wait for the one that may be under way.
    Join(Arc<Mutex<()>>),
}

impl Cache {
    pub(super) fn new(ttl: Duration) -> Self {
        Self { ttl, entries: HashMap::new(), first_loads: TokenBucket::default() }
    }

    /// `is_warm` is whether the project is one of `WARM_PROJECTS`: strangers cannot lock those out, however many other
    /// projects they ask for.
    pub(super) fn lookup(&mut self, name: &ProjectName, is_warm: bool, now: SystemTime) -> Lookup {
        match self.entries.get(name) {
            Some(entry) => match &entry.state {
                State::Loading => return Lookup::Load(entry.ticket(false)),
                State::Loaded(loaded) if within(loaded.at, self.ttl, now) || loaded.backs_off(now) => {
                    return Lookup::Known(loaded.value(now));
                }
                State::Loaded(loaded) => return Lookup::Load(entry.ticket(within(loaded.at, OLD_VALUE_LIMIT, now))),
                State::Unknown { since } if within(*since, UNKNOWN_FOR, now) => {
                    return Lookup::Known(Err(Absent::Unknown));
                }
                State::Unknown { .. } | State::Unreadable(_) => {}
            },
            None if is_warm => {}
            None => {
                self.make_room(now);
                if self.entries.len() >= MOST_ENTRIES {
                    return Lookup::Known(Err(Absent::Exhausted));
                }
            }
        }
        if !is_warm && !self.first_loads.take(now) {
            // The failure of this project's own last load is more specific.
            let absent = match self.entries.get(name).map(|entry| &entry.state) {
                Some(State::Unreadable(error)) => Absent::Unreadable(error.clone()),
                _ => Absent::Exhausted,
            };
            return Lookup::Known(Err(absent));
        }
        Lookup::Load(self.entries.entry(name.clone()).or_default().ticket(false))
    }

    pub(super) fn early_refresh(&mut self, name: &ProjectName, seen: &Arc<Project>, now: SystemTime) -> EarlyRefresh {
        if let Some(project) = self.newer(name, seen, now) {
            return EarlyRefresh::Newer(project);
        }
        let entry = self.entries.entry(name.clone()).or_default();
        if entry.last_early_refresh.is_some_and(|last| within(last, EARLY_REFRESH_EVERY, now)) {
            return EarlyRefresh::Join(Arc::clone(&entry.gate));
        }
        entry.last_early_refresh = Some(now);
        EarlyRefresh::Load(entry.ticket(true))
    }

    /// Whether another load has ended since the ticket was drawn.
    pub(super) fn is_settled(&self, name: &ProjectName, ticket: &Ticket) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.loads != ticket.loads)
    }

    /// Records the result of a load: a project, no parameters, or an error.
    pub(super) fn record(
        &mut self,
        name: &ProjectName,
        loaded: Result<Option<Arc<Project>>, AwsError>,
        now: SystemTime,
    ) {
        let entry = self.entries.entry(name.clone()).or_default();
        entry.loads += 1;
        match loaded {
            Ok(Some(project)) => {
                entry.state = State::Loaded(Loaded { project, at: now, failures: 0, last_failure: None });
            }
            Ok(None) => entry.state = State::Unknown { since: now },
            Err(error) => match &mut entry.state {
                State::Loaded(old) => {
                    old.failures = old.failures.saturating_add(1);
                    old.last_failure = Some((now, error));
                }
                state => *state = State::Unreadable(error),
            },
        }
    }

    /// The result of the last load.
    pub(super) fn result(&self, name: &ProjectName, now: SystemTime) -> Result<Arc<Project>, Absent> {
        match self.entries.get(name).map(|entry| &entry.state) {
            Some(State::Loaded(loaded)) => loaded.value(now),
            Some(State::Unknown { .. }) => Err(Absent::Unknown),
            Some(State::Unreadable(error)) => Err(Absent::Unreadable(error.clone())),
            Some(State::Loading) | None => Err(Absent::Unreadable(AwsError::Timeout)),
        }
    }

    /// The project, if it differs from `seen`.
    pub(super) fn newer(&self, name: &ProjectName, seen: &Arc<Project>, now: SystemTime) -> Option<Arc<Project>> {
        self.result(name, now).ok().filter(|project| !Arc::ptr_eq(project, seen))
    }

    /// Forgets entries that are no longer needed, if there is no room for another name.
    fn make_room(&mut self, now: SystemTime) {
        if self.entries.len() >= MOST_ENTRIES {
            self.entries.retain(|_, entry| match entry.state {
                // A load in progress holds the gate; if nothing holds it, the load was abandoned.
                State::Loading => Arc::strong_count(&entry.gate) > 1,
                State::Loaded(_) => true,
                State::Unknown { since } => within(since, UNKNOWN_FOR, now),
                State::Unreadable(_) => false,
            });
        }
    }
}

impl Entry {
    fn ticket(&self, has_old_value: bool) -> Ticket {
        Ticket { gate: Arc::clone(&self.gate), has_old_value, loads: self.loads }
    }
}

impl Loaded {
    fn value(&self, now: SystemTime) -> Result<Arc<Project>, Absent> {
        match &self.last_failure {
            Some((_, error)) if !within(self.at, OLD_VALUE_LIMIT, now) => Err(Absent::Unreadable(error.clone())),
            _ => Ok(Arc::clone(&self.project)),
        }
    }

    fn backs_off(&self, now: SystemTime) -> bool {
        let pause = BACK_OFF.pause(self.failures);
        self.last_failure.as_ref().is_some_and(|(failed, _)| within(*failed, pause, now))
    }
}

/// Whether `now` is less than `period` after `start`. A clock that was set back makes a value old instead of eternal.
fn within(start: SystemTime, period: Duration, now: SystemTime) -> bool {
    now.duration_since(start).is_ok_and(|age| age < period)
}

#[derive(Debug)]
struct TokenBucket {
    tokens: f64,
    filled: Option<SystemTime>,
}

impl Default for TokenBucket {
    fn default() -> Self {
        Self { tokens: FIRST_LOADS_AT_ONCE, filled: None }
    }
}

impl TokenBucket {
    fn take(&mut self, now: SystemTime) -> bool {
        let elapsed = self.filled.and_then(|filled| now.duration_since(filled).ok()).unwrap_or_default();
        self.filled = Some(now);
        self.tokens = (self.tokens + elapsed.as_secs_f64() * FIRST_LOADS_PER_SECOND).min(FIRST_LOADS_AT_ONCE);
        let available = self.tokens >= 1.0;
        if available {
            self.tokens -= 1.0;
        }
        available
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(300);

    fn at(seconds: f64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(1_720_000_000.0 + seconds)
    }

    fn name(name: &str) -> ProjectName {
        name.parse().unwrap()
    }

    fn project() -> Arc<Project> {
        Arc::new(Project::from_parameters(Vec::new(), "/f"))
    }

    /// The value for a request at this time, without a load.
    fn known(cache: &mut Cache, now: SystemTime) -> Option<Result<Arc<Project>, Absent>> {
        match cache.lookup(&name("p"), false, now) {
            Lookup::Known(result) => Some(result),
            Lookup::Load(_) => None,
        }
    }

    fn loaded(now: SystemTime) -> (Cache, Arc<Project>) {
        let mut cache = Cache::new(TTL);
        assert!(known(&mut cache, now).is_none());
        let project = project();
        cache.record(&name("p"), Ok(Some(Arc::clone(&project))), now);
        (cache, project)
    }

    #[test]
    fn a_project_is_refreshed_after_its_ttl() {
        let (mut cache, project) = loaded(at(0.0));
        assert!(Arc::ptr_eq(&known(&mut cache, at(299.9)).unwrap().unwrap(), &project));
        let Lookup::Load(ticket) = cache.lookup(&name("p"), false, at(300.0)) else { panic!("not read again") };
        assert!(ticket.has_old_value);
    }

    #[test]
    fn setting_the_clock_back_makes_a_value_old() {
        let (mut cache, _) = loaded(at(0.0));
        assert!(known(&mut cache, at(-1.0)).is_none());
    }

    #[test]
    fn failed_refreshes_back_off() {
        let (mut cache, project) = loaded(at(0.0));
        let mut now = 300.0;
        for pause in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            assert!(known(&mut cache, at(now)).is_none(), "a refresh is due at {now}");
            cache.record(&name("p"), Err(AwsError::Connection), at(now));
            assert!(Arc::ptr_eq(&cache.result(&name("p"), at(now)).unwrap(), &project));
            assert!(known(&mut cache, at(now + pause - 0.1)).unwrap().is_ok(), "no refresh is due in the pause");
            now += pause;
        }
        assert!(known(&mut cache, at(now)).is_none());
    }

    #[test]
    fn an_old_value_expires_after_a_day() {
        let (mut cache, _) = loaded(at(0.0));
        cache.record(&name("p"), Err(AwsError::Connection), at(86_399.0));
        assert!(known(&mut cache, at(86_399.5)).unwrap().is_ok());
        assert!(known(&mut cache, at(86_400.0)).is_none(), "a load is due");
        cache.record(&name("p"), Err(AwsError::Timeout), at(86_401.0));
        assert_eq!(known(&mut cache, at(86_401.5)).unwrap().err(), Some(Absent::Unreadable(AwsError::Timeout)));
        cache.record(&name("p"), Ok(Some(project())), at(86_404.0));
        assert!(known(&mut cache, at(86_404.0)).unwrap().is_ok());
    }

    #[test]
    fn a_deleted_project_becomes_unknown() {
        let (mut cache, _) = loaded(at(0.0));
        cache.record(&name("p"), Ok(None), at(300.0));
        assert_eq!(known(&mut cache, at(300.0)).unwrap().err(), Some(Absent::Unknown));
    }

    #[test]
    fn an_unknown_project_is_remembered_for_a_minute() {
        let mut cache = Cache::new(TTL);
        assert!(known(&mut cache, at(0.0)).is_none());
        cache.record(&name("p"), Ok(None), at(0.0));
        assert_eq!(known(&mut cache, at(59.9)).unwrap().err(), Some(Absent::Unknown));
        assert!(known(&mut cache, at(60.0)).is_none());
    }

    #[test]
    fn waiting_requests_share_one_load() {
        let mut cache = Cache::new(TTL);
        let Lookup::Load(first) = cache.lookup(&name("p"), false, at(0.0)) else { panic!("nothing is known yet") };
        let Lookup::Load(second) = cache.lookup(&name("p"), false, at(0.1)) else { panic!("nothing is known yet") };
        assert!(Arc::ptr_eq(&first.gate, &second.gate));
        assert!(!cache.is_settled(&name("p"), &first));
        cache.record(&name("p"), Err(AwsError::Connection), at(0.2));
        assert!(cache.is_settled(&name("p"), &second), "a failure is shared as well");
        let Lookup::Load(third) = cache.lookup(&name("p"), false, at(0.3)) else { panic!("it failed") };
        assert!(!cache.is_settled(&name("p"), &third));
    }

    #[test]
    fn only_first_loads_take_tokens() {
        let (mut cache, _) = loaded(at(0.0));
        let loads = |cache: &mut Cache, now: SystemTime, names: std::ops::Range<u32>| {
            names
                .filter(|number| match cache.lookup(&name(&format!("x{number}")), false, now) {
                    Lookup::Load(_) => true,
                    Lookup::Known(result) => {
                        assert_eq!(result.unwrap_err(), Absent::Exhausted);
                        false
                    }
                })
                .count()
        };
        assert_eq!(loads(&mut cache, at(0.0), 0..100), 19, "the project took the twentieth");
        assert_eq!(loads(&mut cache, at(1.0), 100..200), 2);
        assert_eq!(loads(&mut cache, at(1.4), 200..300), 0);
        assert_eq!(loads(&mut cache, at(1_000.0), 300..400), 20);
        assert!(known(&mut cache, at(100.0)).unwrap().is_ok());
        assert!(known(&mut cache, at(1_000.0)).is_none(), "a refresh takes no token");
    }

    #[test]
    fn retrying_a_failed_load_takes_a_token() {
        let mut cache = Cache::new(TTL);
        for _ in 0..20 {
            assert!(known(&mut cache, at(0.0)).is_none());
            cache.record(&name("p"), Err(AwsError::Connection), at(0.0));
        }
        // No further load, and the project's own error; an unknown project also has to wait for a token.
        let reason = known(&mut cache, at(0.0)).unwrap().err();
        assert_eq!(reason, Some(Absent::Unreadable(AwsError::Connection)));
        let stranger = cache.lookup(&name("stranger"), false, at(0.0));
        assert!(matches!(stranger, Lookup::Known(Err(Absent::Exhausted))), "{stranger:?}");
        assert!(known(&mut cache, at(1.0)).is_none(), "a second later there is a token");
    }

    #[test]
    fn names_are_bounded_but_projects_are_kept() {
        let (mut cache, _) = loaded(at(0.0));
        for number in 0..10_000 {
            let now = at(f64::from(number));
            let stranger = name(&format!("x{number}"));
            assert!(matches!(cache.lookup(&stranger, false, now), Lookup::Load(_)), "a name a second is within bounds");
            cache.record(&stranger, Ok(None), now);
            assert!(cache.entries.len() <= MOST_ENTRIES);
        }
        assert!(cache.entries.contains_key(&name("p")));
    }

    #[test]
    fn a_warm_project_needs_neither_a_token_nor_room() {
        let mut cache = Cache::new(TTL);
        let warm = name("warm");
        let mut strangers = 0..;
        let mut stranger = move || name(&format!("x{}", strangers.next().unwrap()));
        let is_known = |lookup: Lookup| matches!(lookup, Lookup::Known(_));
        while !is_known(cache.lookup(&stranger(), false, at(0.0))) {}
        for _ in 0..50 {
            assert!(!is_known(cache.lookup(&warm, true, at(0.0))), "failed loads are retried");
            cache.record(&warm, Err(AwsError::Timeout), at(0.0));
        }
        // Nor does it use up the tokens of others.
        assert!(is_known(cache.lookup(&stranger(), false, at(0.4))));
        assert!(!is_known(cache.lookup(&stranger(), false, at(0.5))));
        // A set of names that is full of loads in progress.
        let mut cache = Cache::new(TTL);
        let tickets: Vec<_> =
            (0..MOST_ENTRIES).map(|number| cache.lookup(&stranger(), false, at(number as f64))).collect();
        let now = at(MOST_ENTRIES as f64);
        assert!(is_known(cache.lookup(&stranger(), false, now)), "{} are under way", tickets.len());
        assert!(!is_known(cache.lookup(&warm, true, now)));
        // If it does not exist, that is remembered as for any other.
        cache.record(&warm, Ok(None), now);
        assert!(is_known(cache.lookup(&warm, true, now)));
    }

    #[test]
    fn a_full_cache_still_serves_known_names() {
        let mut cache = Cache::new(TTL);
        for number in 0..MOST_ENTRIES {
            let now = at(number as f64);
            let stranger = name(&format!("x{number}"));
            assert!(matches!(cache.lookup(&stranger, false, now), Lookup::Load(_)));
            cache.record(&stranger, Err(AwsError::Connection), now);
        }
        assert_eq!(cache.entries.len(), MOST_ENTRIES);
        assert!(matches!(cache.lookup(&name("x7"), false, at(2_000.0)), Lookup::Load(_)));
    }

    #[test]
    fn abandoned_loads_are_forgotten() {
        let mut cache = Cache::new(TTL);
        for number in 0..2 * MOST_ENTRIES {
            let lookup = cache.lookup(&name(&format!("x{number}")), false, at(number as f64));
            assert!(matches!(lookup, Lookup::Load(_)), "{number}");
        }
    }

    #[test]
    fn a_mismatch_refreshes_every_ten_seconds_at_most() {
        let (mut cache, seen) = loaded(at(0.0));
        assert!(matches!(cache.early_refresh(&name("p"), &seen, at(1.0)), EarlyRefresh::Load(_)));
        assert!(matches!(cache.early_refresh(&name("p"), &seen, at(1.0)), EarlyRefresh::Join(_)));
        assert!(matches!(cache.early_refresh(&name("p"), &seen, at(10.9)), EarlyRefresh::Join(_)));
        assert!(matches!(cache.early_refresh(&name("p"), &seen, at(11.0)), EarlyRefresh::Load(_)));
    }

    #[test]
    fn a_mismatch_is_checked_against_a_newer_project() {
        let (mut cache, seen) = loaded(at(0.0));
        let new = project();
        cache.record(&name("p"), Ok(Some(Arc::clone(&new))), at(1.0));
        let EarlyRefresh::Newer(newer) = cache.early_refresh(&name("p"), &seen, at(1.0)) else { panic!("it is newer") };
        assert!(Arc::ptr_eq(&newer, &new));
        assert!(matches!(cache.early_refresh(&name("p"), &new, at(1.0)), EarlyRefresh::Load(_)));
    }

    #[test]
    fn a_failed_early_refresh_keeps_the_project() {
        let (mut cache, seen) = loaded(at(0.0));
        assert!(matches!(cache.early_refresh(&name("p"), &seen, at(1.0)), EarlyRefresh::Load(_)));
        cache.record(&name("p"), Err(AwsError::Connection), at(1.1));
        assert!(cache.newer(&name("p"), &seen, at(1.1)).is_none());
        assert!(known(&mut cache, at(1.1)).unwrap().is_ok());
    }
}
