//! The projects that the function serves: their signing secrets, Amplitude keys and settings.

mod cache;
pub mod configuration_error;
pub mod name;
#[cfg(feature = "aws")]
pub mod parameter_store;
pub mod parameters;
pub mod project;
pub mod source;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout_at};

use self::cache::{Cache, EarlyRefresh, Lookup};
use self::name::ProjectName;
use self::project::Project;
use self::source::ProjectSource;
use crate::aws::AwsError;
use crate::back_off::shortened;
use crate::clock::Clock;

/// The longest wait for parameters if none are cached.
const FIRST_LOAD_LIMIT: Duration = Duration::from_millis(1500);

/// The longest wait for parameters if old ones are cached.
const REFRESH_LIMIT: Duration = Duration::from_millis(500);

/// The longest pause before a throttled first load is retried. If many processes start at once, they get their turns
/// one after the other.
const THROTTLED_PAUSE: Duration = Duration::from_millis(600);

/// The part of the time to live that is random: processes that started together must not refresh together.
const RANDOM_PART: f64 = 0.2;

/// Why a project is not available.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unavailable {
    /// There are no parameters.
    #[error("no such project: {why}")]
    Unknown {
        /// Where they were expected, and what to do.
        why: String,
    },
    /// The parameters could not be read, and no old ones are cached.
    #[error("Parameter Store could not be read: {0}")]
    Unreadable(AwsError),
    /// Too many projects are requested that this process does not know yet.
    #[error("too many projects were requested at once that are not loaded yet")]
    Exhausted,
}

/// The projects, through a cache: fresh for a time, loaded once for all waiting requests, and kept if Parameter Store
/// fails.
#[derive(Debug)]
pub struct Projects<S> {
    source: S,
    warm: Option<Vec<ProjectName>>,
    clock: Clock,
    cache: Mutex<Cache>,
}

/// A project from the cache.
#[derive(Clone, Debug)]
pub struct Found {
    /// The project.
    pub project: Arc<Project>,
    /// Whether it was loaded for this very request, so that loading it again cannot help.
    pub just_loaded: bool,
}

impl<S: ProjectSource> Projects<S> {
    /// `ttl` is the longest time for which a project is used before it is read again. A random part of up to a fifth is
    /// subtracted.
    pub fn new(source: S, ttl: Duration) -> Self {
        let cache = Mutex::new(Cache::new(shortened(ttl, RANDOM_PART, fastrand::f64())));
        Self { source, warm: None, clock: SystemTime::now, cache }
    }

    /// Sets the projects that are loaded before any request, and that strangers cannot lock out of a new process.
    #[must_use]
    pub fn with_warm(self, names: Vec<ProjectName>) -> Self {
        Self { warm: Some(names), ..self }
    }

    /// Replaces the system's clock, for simulations.
    #[must_use]
    pub fn with_clock(self, clock: fn() -> SystemTime) -> Self {
        Self { clock, ..self }
    }

    /// Whether the project is one of those of [`Self::with_warm`]. `None` without such a list.
    pub fn is_warm(&self, name: &ProjectName) -> Option<bool> {
        self.warm.as_ref().map(|warm| warm.contains(name))
    }

    /// The project with this name.
    ///
    /// # Errors
    /// If it does not exist, or cannot be read now.
    pub async fn get(&self, name: &ProjectName, deadline: Instant) -> Result<Found, Unavailable> {
        let is_warm = self.is_warm(name).unwrap_or_default();
        let lookup = self.cache().lookup(name, is_warm, self.now());
        match lookup {
            Lookup::Known(result) => self.explain(name, result).map(|project| Found { project, just_loaded: false }),
            Lookup::Load(ticket) => {
                let limit = if ticket.has_old_value { REFRESH_LIMIT } else { FIRST_LOAD_LIMIT };
                self.load(name, &ticket, deadline.min(Instant::now() + limit)).await;
                let result = self.cache().result(name, self.now());
                self.explain(name, result).map(|project| Found { project, just_loaded: true })
            }
        }
    }

    /// Reads the project again, because a signature matches none of the secrets of `seen`: a new secret works at once.
    /// `None` if there is nothing new.
    pub async fn refresh(&self, name: &ProjectName, seen: &Arc<Project>, deadline: Instant) -> Option<Arc<Project>> {
        let limit = deadline.min(Instant::now() + REFRESH_LIMIT);
        let refresh = self.cache().early_refresh(name, seen, self.now());
        match refresh {
            EarlyRefresh::Newer(project) => return Some(project),
            EarlyRefresh::Load(ticket) => self.load(name, &ticket, limit).await,
            EarlyRefresh::Join(gate) => {
                // Another request may be loading at this moment; its result serves this one as well.
                let _ = timeout_at(limit, gate.lock()).await;
            }
        }
        self.cache().newer(name, seen, self.now())
    }

    /// Loads the projects of [`Self::with_warm`] concurrently, and returns each result.
    pub async fn warm_up(&self, deadline: Instant) -> Vec<(ProjectName, Result<Arc<Project>, Unavailable>)> {
        join_all(self.warm.iter().flatten().map(|name| async move {
            let found = self.get(name, deadline).await;
            (name.clone(), found.map(|found| found.project))
        }))
        .await
    }

    /// Loads the project and records the result, unless another request did while this one waited for its turn.
    async fn load(&self, name: &ProjectName, ticket: &cache::Ticket, limit: Instant) {
        let load = async {
            let _turn = ticket.gate.lock().await;
            if self.cache().is_settled(name, ticket) {
                return;
            }
            let load = async || timeout_at(limit, self.source.load(name)).await.unwrap_or(Err(AwsError::Timeout));
            let mut result = load().await;
            let pause = THROTTLED_PAUSE.mul_f64(fastrand::f64());
            // A load that the limit ends during the pause would not be recorded, and the next one would take no token.
            let has_time = Instant::now() + pause < limit;
            if !ticket.has_old_value && has_time && matches!(result, Err(AwsError::Throttled { .. })) {
                sleep(pause).await;
                result = load().await;
            }
            let loaded = match result {
                Ok(parameters) if parameters.is_empty() => Ok(None),
                Ok(parameters) => {
                    let project = Project::from_parameters(parameters, &self.source.folder(name));
                    for parameter in project.unknown_parameters() {
                        tracing::warn!(project = name.as_str(), parameter, "unknown parameter ignored");
                    }
                    Ok(Some(Arc::new(project)))
                }
                Err(error) => Err(error),
            };
            let error = loaded.as_ref().err().cloned();
            let now = self.now();
            self.cache().record(name, loaded, now);
            // Without an old value, the response has the reason.
            if let Some(error) = error
                && self.cache().result(name, now).is_ok()
            {
                tracing::warn!(project = name.as_str(), %error, "Parameter Store could not be read; using the old parameters");
            }
        };
        // Waiting for the turn is limited as well; the request that holds it records the result.
        let _ = timeout_at(limit, load).await;
    }

    fn explain(
        &self,
        name: &ProjectName,
        result: Result<Arc<Project>, cache::Absent>,
    ) -> Result<Arc<Project>, Unavailable> {
        result.map_err(|absent| match absent {
            cache::Absent::Unknown => Unavailable::Unknown { why: self.source.absence(name) },
            cache::Absent::Unreadable(error) => Unavailable::Unreadable(error),
            cache::Absent::Exhausted => Unavailable::Exhausted,
        })
    }

    fn now(&self) -> SystemTime {
        (self.clock)()
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // A panic leaves nothing in the cache half done.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::parameters::Parameter;
    use super::parameters::tests::{COMPLETE, parameters};
    use super::*;

    /// A source that takes some time to load, and returns these parameters.
    pub(crate) struct Fake {
        pub(crate) answer: Mutex<Result<Vec<Parameter>, AwsError>>,
        pub(crate) loads: AtomicUsize,
        pub(crate) takes: Duration,
    }

    impl Fake {
        pub(crate) fn new(answer: &[(&str, &str)]) -> Self {
            Self { answer: Mutex::new(Ok(parameters(answer))), loads: AtomicUsize::new(0), takes: Duration::ZERO }
        }

        pub(crate) fn set(&self, answer: Result<&[(&str, &str)], AwsError>) {
            *self.answer.lock().unwrap() = answer.map(parameters);
        }

        pub(crate) fn loads(&self) -> usize {
            self.loads.load(Ordering::Relaxed)
        }
    }

    impl ProjectSource for Arc<Fake> {
        fn folder(&self, project: &ProjectName) -> String {
            format!("/stripe-amplitude/{project}")
        }

        async fn load(&self, _: &ProjectName) -> Result<Vec<Parameter>, AwsError> {
            self.loads.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(self.takes).await;
            self.answer.lock().unwrap().clone()
        }
    }

    fn name() -> ProjectName {
        "demo".parse().unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(4)
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_requests_share_one_load() {
        let source = Arc::new(Fake { takes: Duration::from_millis(100), ..Fake::new(&COMPLETE) });
        let projects = Projects::new(Arc::clone(&source), Duration::from_secs(300));
        let name = name();
        let found = join_all((0..8).map(|_| projects.get(&name, soon()))).await;
        assert!(found.iter().all(Result::is_ok));
        assert_eq!(source.loads(), 1);
        assert!(!projects.get(&name, soon()).await.unwrap().just_loaded);
        assert_eq!(source.loads(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_load_times_out_for_all() {
        let source = Arc::new(Fake { takes: Duration::from_secs(60), ..Fake::new(&COMPLETE) });
        let projects = Projects::new(Arc::clone(&source), Duration::from_secs(300));
        let (start, name) = (Instant::now(), name());
        for result in join_all((0..4).map(|_| projects.get(&name, soon()))).await {
            assert_eq!(result.unwrap_err(), Unavailable::Unreadable(AwsError::Timeout));
        }
        assert_eq!((start.elapsed(), source.loads()), (FIRST_LOAD_LIMIT, 1));
    }

    #[tokio::test]
    async fn a_project_without_parameters_is_unknown() {
        let projects = Projects::new(Arc::new(Fake::new(&[])), Duration::from_secs(300));
        let error = projects.get(&name(), soon()).await.unwrap_err();
        assert!(error.to_string().contains("/stripe-amplitude/demo/"), "{error}");
    }

    #[tokio::test]
    async fn a_failed_refresh_keeps_the_old_value() {
        let source = Arc::new(Fake::new(&COMPLETE));
        let projects = Projects::new(Arc::clone(&source), Duration::ZERO);
        projects.get(&name(), soon()).await.unwrap();
        source.set(Err(AwsError::Connection));
        assert!(projects.get(&name(), soon()).await.is_ok());
        assert_eq!(source.loads(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_throttled_first_load_is_retried() {
        let throttled = || AwsError::Throttled { code: "ThrottlingException".to_owned() };
        let source = Arc::new(Fake::new(&COMPLETE));
        let projects = Projects::new(Arc::clone(&source), Duration::ZERO);
        source.set(Err(throttled()));
        let start = Instant::now();
        assert_eq!(projects.get(&name(), soon()).await.unwrap_err(), Unavailable::Unreadable(throttled()));
        assert!(start.elapsed() <= THROTTLED_PAUSE);
        assert_eq!(source.loads(), 2);
        source.set(Err(AwsError::Connection));
        projects.get(&name(), soon()).await.unwrap_err();
        assert_eq!(source.loads(), 3);
        source.set(Ok(&COMPLETE));
        projects.get(&name(), soon()).await.unwrap();
        source.set(Err(throttled()));
        projects.get(&name(), soon()).await.unwrap();
        assert_eq!(source.loads(), 5, "with an old value, no retry is needed");
    }

    /// The time may run out during the pause before the second attempt. The first failure is still recorded, so the next load
    /// takes a token again.
    #[tokio::test(start_paused = true)]
    async fn a_throttled_load_without_time_for_another_one_has_failed() {
        let throttled = || AwsError::Throttled { code: "ThrottlingException".to_owned() };
        let source = Arc::new(Fake { takes: FIRST_LOAD_LIMIT - Duration::from_millis(1), ..Fake::new(&COMPLETE) });
        source.set(Err(throttled()));
        fastrand::seed(7);
        let clock = || SystemTime::UNIX_EPOCH;
        let projects = Projects::new(Arc::clone(&source), Duration::from_secs(300)).with_clock(clock);
        for _ in 0..50 {
            assert_eq!(projects.get(&name(), soon()).await.unwrap_err(), Unavailable::Unreadable(throttled()));
        }
        assert_eq!(source.loads(), 20);
    }

    #[tokio::test]
    async fn a_refresh_returns_only_new_projects() {
        let source = Arc::new(Fake::new(&COMPLETE));
        let projects = Projects::new(Arc::clone(&source), Duration::from_secs(300));
        let seen = projects.get(&name(), soon()).await.unwrap().project;
        source.set(Ok(&[("stripe-signing-secret", "whsec_b"), ("amplitude-api-key", "key")]));
        assert!(projects.refresh(&name(), &seen, soon()).await.is_some());
        let now = projects.get(&name(), soon()).await.unwrap().project;
        assert!(projects.refresh(&name(), &now, soon()).await.is_none(), "it is too early for another one");
        assert_eq!(source.loads(), 2);
    }

    #[test]
    fn refreshes_of_processes_are_spread() {
        let ttl = Duration::from_secs(300);
        let mut reads = std::collections::BTreeMap::<u64, u32>::new();
        for process in 0..1000 {
            let time = shortened(ttl, RANDOM_PART, f64::from(process) / 1000.0);
            assert!(time <= ttl, "never longer than configured");
            *reads.entry(time.as_secs()).or_default() += 1;
        }
        assert!(reads.values().all(|reads| *reads <= 20), "of a thousand, in one second: {reads:?}");
    }

    /// Half a minute before the end of the time, about half of the processes have read again.
    #[tokio::test(start_paused = true)]
    async fn each_process_has_its_own_time_to_live() {
        thread_local! { static TIME: std::cell::Cell<u64> = const { std::cell::Cell::new(0) } }
        let clock = || SystemTime::UNIX_EPOCH + Duration::from_secs(1_720_000_000 + TIME.get());
        fastrand::seed(7);
        let source = Arc::new(Fake::new(&COMPLETE));
        let processes: Vec<_> =
            (0..100).map(|_| Projects::new(Arc::clone(&source), Duration::from_secs(300)).with_clock(clock)).collect();
        let mut loads = Vec::new();
        for time in [0, 239, 270, 300] {
            TIME.set(time);
            for projects in &processes {
                projects.get(&name(), soon()).await.unwrap();
            }
            loads.push(source.loads());
        }
        assert_eq!((loads[0], loads[1], loads[3]), (100, 100, 200), "{loads:?}");
        assert!((125..=175).contains(&loads[2]), "{loads:?}");
    }
}
