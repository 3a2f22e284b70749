//! Reads the objects that events refer to from Stripe's API: through a cache, within the rate limits, and each once for
//! all that wait.
//!
//! The objects are used only for user IDs and product names. They are not forwarded or logged, and are kept for
//! minutes.

pub mod api;
mod cache;
mod rate;
pub mod source;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};

use self::cache::{Cache, Key, Limits};
use self::rate::Rate;
use self::source::{Access, ObjectSource, ReferenceError};
use super::purchase::Found;
use super::reference::Reference;

/// The limit of one read.
const READ_LIMIT: Duration = Duration::from_millis(1500);

/// The most accounts whose rates are remembered. Beyond that, accounts that were not read recently are forgotten.
const MOST_ACCOUNTS: usize = 1000;

/// How fast objects are read.
#[derive(Clone, Copy, Debug)]
pub struct ReadRate {
    /// The most reads of one account within the period. Stripe allows 25 a second for each operation.
    pub reads: usize,
    /// The period.
    pub within: Duration,
    /// How long the first read of an event waits for its turn.
    pub longest_wait: Duration,
    /// The most events of an account that may read at the same time. Each must complete its reads before the next
    /// starts; otherwise none might be ready in the end.
    pub events_at_once: Option<usize>,
}

/// No event needs more reads than this; a test checks it.
const MOST_READS_OF_AN_EVENT: usize = 6;

impl ReadRate {
    /// For the function that Stripe calls: Stripe waits for the response, so an event that would wait is deferred.
    pub const WEBHOOK: Self = Self {
        reads: 5,
        within: Duration::from_secs(1),
        longest_wait: Duration::from_millis(200),
        events_at_once: None,
    };

    /// This many reads a second, for callers that can wait.
    pub const fn unhurried(per_second: usize) -> Self {
        let within = Duration::from_secs(1);
        Self { reads: per_second, within, longest_wait: Duration::MAX, events_at_once: None }
    }

    /// For redelivery, with this many instances. Together they make 20 reads a second, and leave a fifth of Stripe's
    /// limit to others. One event can be read for without a pause, regardless of their number.
    pub fn of_redelivery(batches_at_once: u32) -> Self {
        let batches = batches_at_once.max(1) as usize;
        let reads = (20 / batches).max(MOST_READS_OF_AN_EVENT);
        let seconds = (reads * batches) as f64 / 20.0;
        Self {
            reads,
            within: Duration::from_secs_f64(seconds),
            longest_wait: Duration::MAX,
            events_at_once: Some(reads / MOST_READS_OF_AN_EVENT),
        }
    }
}

/// The urgency of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The first of an event, which waits for a limited time.
    First,
    /// A later one of the same event, which has already waited.
    Later,
    /// One that is optional for the event.
    Spare,
}

/// The objects in Stripe's API.
#[derive(Debug)]
pub struct References<O> {
    source: O,
    rate: ReadRate,
    cache: Mutex<Cache>,
    accounts: Mutex<HashMap<String, Account>>,
}

/// For a history: half the limit at most, because the shop and the function read at the same time.
const HISTORY: ReadRate = ReadRate::unhurried(10);

/// How often each account was read recently.
#[derive(Debug)]
struct Account {
    rate: Rate,
    places: Option<Arc<Semaphore>>,
}

/// The permission to read for an event. Dropping it gives the next event its turn.
#[derive(Debug)]
pub struct Place {
    _permit: Option<OwnedSemaphorePermit>,
}

/// The result of a read.
#[derive(Debug)]
pub struct Read {
    /// The object, or why it could not be read.
    pub result: Result<Found, ReferenceError>,
    /// The requests that it took: none if the object was in the cache, another event was already reading it, or it had
    /// no turn.
    pub requests: u32,
}

impl<O: ObjectSource> References<O> {
    /// Reads from `source`.
    pub fn new(source: O, rate: ReadRate) -> Self {
        Self::with_limits(source, rate, Limits::FUNCTION)
    }

    /// For past events: slower, and each object is read once if possible.
    pub fn of_history(source: O) -> Self {
        Self::with_limits(source, HISTORY, Limits::HISTORY)
    }

    fn with_limits(source: O, rate: ReadRate, limits: Limits) -> Self {
        Self { source, rate, cache: Mutex::new(Cache::new(limits)), accounts: Mutex::default() }
    }

    /// Waits until reads for an event of this account may start.
    ///
    /// # Errors
    /// [`ReferenceError::Rate`] if that would be too late.
    pub async fn place(&self, access: &Access<'_>, deadline: Instant) -> Result<Place, ReferenceError> {
        let places = self.with_account(access, |account| account.places.clone());
        let Some(places) = places else { return Ok(Place { _permit: None }) };
        match timeout_at(self.latest(deadline), places.acquire_owned()).await {
            // It is never closed.
            Ok(permit) => Ok(Place { _permit: permit.ok() }),
            Err(_) => Err(ReferenceError::Rate),
        }
    }

    /// Reads an object, or returns it from the cache. Concurrent callers share one read, including its failure.
    pub async fn read(&self, access: &Access<'_>, reference: &Reference, turn: Turn, deadline: Instant) -> Read {
        let key = Key { scope: access.scope(), reference: reference.clone() };
        loop {
            if let Some(found) = lock(&self.cache).get(&key, SystemTime::now()) {
                let result = Ok(found);
                self.source.shared(reference, &result);
                return Read { result, requests: 0 };
            }
            let under_way = lock(&self.cache).under_way(&key);
            let (mut requests, mut is_ours) = (0, false);
            let fetch = under_way.get_or_init(|| {
                is_ours = true;
                self.fetch(access, reference, turn, deadline, &mut requests)
            });
            let result = timeout_at(deadline, fetch).await.cloned().unwrap_or(Err(ReferenceError::Timeout));
            if is_ours {
                lock(&self.cache).settle(&key, &under_way, &result, SystemTime::now());
            } else if result == Err(ReferenceError::Timeout) && Instant::now() < deadline {
                // The deadline was another event's.
                continue;
            }
            if requests == 0 {
                self.source.shared(reference, &result);
            }
            return Read { result, requests };
        }
    }

    /// Keeps objects for longer, because they led to the user of an event. Others are soon read again: the app may
    /// write its ID a few seconds later.
    pub fn keep(&self, access: &Access<'_>, references: &[Reference]) {
        for reference in references {
            lock(&self.cache).keep(&Key { scope: access.scope(), reference: reference.clone() });
        }
    }

    async fn fetch(
        &self,
        access: &Access<'_>,
        reference: &Reference,
        turn: Turn,
        deadline: Instant,
        requests: &mut u32,
    ) -> Result<Found, ReferenceError> {
        let now = Instant::now();
        if now >= deadline {
            return Err(ReferenceError::Timeout);
        }
        let latest = if turn == Turn::First { self.latest(deadline) } else { deadline };
        let can_wait = self.rate.longest_wait == Duration::MAX;
        let begin = self.with_account(access, |account| match turn {
            Turn::Spare if !can_wait => account.rate.spare_turn(now),
            _ => account.rate.turn(now, latest),
        });
        sleep_until(begin.ok_or(ReferenceError::Rate)?).await;
        // Another read may have got a 429 in the meantime.
        while let Some(end) = self.with_account(access, |account| account.rate.pause(Instant::now())) {
            if end > latest {
                return Err(ReferenceError::Rate);
            }
            sleep_until(end).await;
        }
        let limit = deadline.min(Instant::now() + READ_LIMIT);
        let read = async {
            *requests += 1;
            match self.source.read(access, reference).await {
                // The connection has usually died while the environment was frozen.
                Err(ReferenceError::Connection) => {
                    *requests += 1;
                    self.source.read(access, reference).await
                }
                result => result,
            }
        };
        let result = timeout_at(limit, read).await.unwrap_or(Err(ReferenceError::Timeout));
        if result == Err(ReferenceError::TooManyRequests) {
            // Between two and four seconds, so that processes do not return together.
            let pause = Duration::from_secs(2).mul_f64(1.0 + fastrand::f64());
            self.with_account(access, |account| account.rate.pause_until(Instant::now() + pause));
        }
        result
    }

    fn latest(&self, deadline: Instant) -> Instant {
        Instant::now().checked_add(self.rate.longest_wait).map_or(deadline, |latest| latest.min(deadline))
    }

    fn with_account<T>(&self, access: &Access<'_>, use_it: impl FnOnce(&mut Account) -> T) -> T {
        let name = access.account_asked();
        let mut accounts = lock(&self.accounts);
        if accounts.len() >= MOST_ACCOUNTS && !accounts.contains_key(&name) {
            let now = Instant::now();
            accounts.retain(|_, account| !account.rate.is_idle(now));
        }
        use_it(accounts.entry(name).or_insert_with(|| Account {
            rate: Rate::new(self.rate.reads, self.rate.within),
            places: self.rate.events_at_once.map(|events| Arc::new(Semaphore::new(events.max(1)))),
        }))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic leaves nothing in the cache or the rates half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use secrecy::SecretString;
    use serde_json::{Value, json};

    use super::*;
    use crate::stripe::json::Json;
    use crate::stripe::reference::ReferenceKind;

    /// Responds with its objects after some time.
    #[derive(Default)]
    pub(crate) struct FakeStripe {
        pub(crate) answers: Mutex<HashMap<String, Result<Found, ReferenceError>>>,
        pub(crate) reads: AtomicUsize,
        pub(crate) takes: Duration,
    }

    impl FakeStripe {
        pub(crate) fn answer(&self, reference: &Reference, result: Result<Found, ReferenceError>) {
            lock(&self.answers).insert(reference.path(), result);
        }

        pub(crate) fn reads(&self) -> usize {
            self.reads.load(Ordering::Relaxed)
        }
    }

    impl ObjectSource for FakeStripe {
        async fn read(&self, _: &Access<'_>, reference: &Reference) -> Result<Found, ReferenceError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(self.takes).await;
            lock(&self.answers).get(&reference.path()).cloned().unwrap_or(Ok(Found::Nothing))
        }
    }

    pub(crate) fn found(object: &Value) -> Found {
        let json: Json<'_> = serde_json::from_str(&object.to_string()).map(Json::into_owned).unwrap();
        Found::Object(Arc::new(json))
    }

    pub(crate) fn customer(id: &str) -> Reference {
        Reference { kind: ReferenceKind::Customer, id: id.to_owned() }
    }

    fn access(key: &SecretString) -> Access<'_> {
        Access { key, parameter: "/p/stripe-api-key".to_owned(), account: None, is_live: true }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(3)
    }

    fn references(source: FakeStripe, rate: ReadRate) -> References<Arc<FakeStripe>> {
        References::new(Arc::new(source), rate)
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_reads_share_a_result() {
        let key = "rk_live_1".into();
        let references =
            references(FakeStripe { takes: Duration::from_millis(50), ..FakeStripe::default() }, ReadRate::WEBHOOK);
        let (access, one, two) = (access(&key), customer("cus_1"), customer("cus_2"));
        let ask = |reference| references.read(&access, reference, Turn::First, soon());
        let (first, second) = tokio::join!(ask(&one), ask(&one));
        assert_eq!((first.requests, second.requests), (1, 0));
        assert_eq!(references.source.reads(), 1);
        references.source.answer(&two, Err(ReferenceError::Status(500)));
        let (first, second) = tokio::join!(ask(&two), ask(&two));
        assert_eq!((&first.result, &first.result), (&second.result, &Err(ReferenceError::Status(500))));
        assert_eq!(references.source.reads(), 2);
        // A failure is not kept.
        references.source.answer(&two, Ok(found(&json!({"id": "cus_2"}))));
        assert_eq!(ask(&two).await.result, Ok(found(&json!({"id": "cus_2"}))));
        assert_eq!((references.source.reads(), ask(&two).await.requests), (3, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_cache_keeps_accounts_and_keys_apart() {
        let key = "rk_live_1".into();
        let references = references(FakeStripe::default(), ReadRate::WEBHOOK);
        let of = |account: Option<&str>, parameter: &str| Access {
            account: account.map(str::to_owned),
            parameter: parameter.to_owned(),
            ..access(&key)
        };
        let accesses = [of(None, "/p/stripe-api-key"), of(Some("acct_1"), "/p/stripe-api-key")];
        let others =
            [of(Some("acct_2"), "/p/stripe-api-key"), of(None, "/p/stripe-api-key/eu"), of(None, "/q/stripe-api-key")];
        for (index, access) in accesses.iter().chain(&others).enumerate() {
            for requests in [1, 0] {
                let read = references.read(access, &customer("cus_1"), Turn::First, soon()).await;
                assert_eq!((read.result, read.requests), (Ok(Found::Nothing), requests), "{access:?}");
            }
            assert_eq!(references.source.reads(), index + 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_broken_connections_are_retried() {
        let key = "rk_live_1".into();
        for (error, reads) in [
            (ReferenceError::Connection, 2),
            (ReferenceError::Status(503), 1),
            (ReferenceError::TooManyRequests, 1),
            (ReferenceError::KeyRefused, 1),
        ] {
            let references = references(FakeStripe::default(), ReadRate::WEBHOOK);
            references.source.answer(&customer("cus_1"), Err(error));
            let read = references.read(&access(&key), &customer("cus_1"), Turn::First, soon()).await;
            assert_eq!((read.result, references.source.reads()), (Err(error), reads));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_ends_at_its_limit() {
        let key = "rk_live_1".into();
        let references =
            references(FakeStripe { takes: Duration::from_secs(60), ..FakeStripe::default() }, ReadRate::WEBHOOK);
        for (time, took) in [(3000, 1500), (700, 700)] {
            let start = Instant::now();
            let deadline = start + Duration::from_millis(time);
            let read = references.read(&access(&key), &customer("cus_1"), Turn::First, deadline).await;
            assert_eq!(read.result, Err(ReferenceError::Timeout));
            assert_eq!(start.elapsed(), Duration::from_millis(took));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_webhook_defers_and_redelivery_waits() {
        let key = "rk_live_1".into();
        let far = Instant::now() + Duration::from_secs(60);
        for (rate, read, put_off) in [(ReadRate::WEBHOOK, 5, 7), (ReadRate::of_redelivery(5), 12, 0)] {
            let references = references(FakeStripe::default(), rate);
            let mut results = Vec::new();
            for number in 0..12 {
                let reference = customer(&format!("cus_{number}"));
                results.push(references.read(&access(&key), &reference, Turn::First, far).await.result);
            }
            let rates = results.iter().filter(|result| **result == Err(ReferenceError::Rate)).count();
            assert_eq!((references.source.reads(), rates), (read, put_off));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_history_reads_ten_objects_a_second() {
        let key = "rk_live_1".into();
        let references = References::of_history(Arc::new(FakeStripe::default()));
        let (start, far) = (Instant::now(), Instant::now() + Duration::from_secs(60));
        for number in 0..42 {
            let reference = customer(&format!("cus_{}", number % 21));
            assert!(references.read(&access(&key), &reference, Turn::First, far).await.result.is_ok());
        }
        assert_eq!((references.source.reads(), start.elapsed()), (21, Duration::from_secs(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_429_pauses_reads() {
        let key = "rk_live_1".into();
        let references = references(FakeStripe::default(), ReadRate::WEBHOOK);
        references.source.answer(&customer("cus_1"), Err(ReferenceError::TooManyRequests));
        let read = |id| {
            let (references, access) = (&references, access(&key));
            async move { references.read(&access, &customer(id), Turn::First, soon()).await.result }
        };
        assert_eq!(read("cus_1").await, Err(ReferenceError::TooManyRequests));
        tokio::time::sleep(Duration::from_millis(1790)).await;
        assert_eq!(read("cus_2").await, Err(ReferenceError::Rate));
        tokio::time::sleep(Duration::from_millis(2300)).await;
        assert_eq!(read("cus_2").await, Ok(Found::Nothing));
        assert_eq!(references.source.reads(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_429_turns_that_were_given_out_wait_too() {
        let key = "rk_live_1".into();
        let source = FakeStripe { takes: Duration::from_millis(10), ..FakeStripe::default() };
        let references = references(source, ReadRate::unhurried(4));
        references.source.answer(&customer("cus_0"), Err(ReferenceError::TooManyRequests));
        let (access, far) = (access(&key), Instant::now() + Duration::from_secs(60));
        let all = (0..32).map(|number| {
            let (references, access) = (&references, &access);
            async move { references.read(access, &customer(&format!("cus_{number}")), Turn::First, far).await.result }
        });
        let during = async {
            tokio::time::sleep(Duration::from_millis(1900)).await;
            references.source.reads()
        };
        let (reads, results) = tokio::join!(during, futures_util::future::join_all(all));
        assert_eq!(reads, 4);
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 31);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shared_read_has_no_shared_deadline() {
        let key = "rk_live_1".into();
        let source = FakeStripe { takes: Duration::from_millis(500), ..FakeStripe::default() };
        let references = references(source, ReadRate::WEBHOOK);
        let (access, early, late) = (access(&key), Instant::now() + Duration::from_millis(100), soon());
        for (number, order) in [[early, late], [late, early]].into_iter().enumerate() {
            let customer = customer(&format!("cus_{number}"));
            let [one, other] = order.map(|deadline| references.read(&access, &customer, Turn::First, deadline));
            let (one, other) = tokio::join!(one, other);
            let (of_early, of_late) = if order[0] == early { (one, other) } else { (other, one) };
            let results = (of_early.result, of_late.result);
            // The second time, the early deadline has passed before the read starts.
            assert_eq!(results, (Err(ReferenceError::Timeout), Ok(Found::Nothing)), "{number}");
            assert_eq!(references.read(&access, &customer, Turn::First, late).await.requests, 0, "it is in the cache");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_is_not_a_rate_error() {
        let (key, references) = ("rk_live_1".into(), references(FakeStripe::default(), ReadRate::WEBHOOK));
        let read = references.read(&access(&key), &customer("cus_1"), Turn::First, Instant::now()).await;
        assert_eq!((read.result, read.requests), (Err(ReferenceError::Timeout), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn projects_share_the_rate_of_an_account() {
        let (key, references) = ("rk_live_1".into(), references(FakeStripe::default(), ReadRate::WEBHOOK));
        for account in [None, Some("acct_1".to_owned())] {
            let before = references.source.reads();
            for project in ["one", "two", "three"] {
                let parameter = format!("/p/{project}/stripe-api-key");
                let access = Access { key: &key, parameter, account: account.clone(), is_live: true };
                for number in 0..4 {
                    let customer = customer(&format!("cus_{number}"));
                    references.read(&access, &customer, Turn::First, soon()).await;
                }
            }
            assert_eq!(references.source.reads() - before, 5);
        }
    }

    #[tokio::test]
    async fn a_panic_leaves_nothing_locked() {
        use futures_util::FutureExt as _;
        struct Panics(AtomicUsize);
        impl ObjectSource for Panics {
            async fn read(&self, _: &Access<'_>, _: &Reference) -> Result<Found, ReferenceError> {
                assert!(self.0.fetch_add(1, Ordering::Relaxed) > 0);
                Ok(Found::Nothing)
            }
        }
        let key = "rk_live_1".into();
        let references = References::new(Panics(AtomicUsize::new(0)), ReadRate::WEBHOOK);
        let (access, one) = (access(&key), customer("cus_1"));
        let read = references.read(&access, &one, Turn::First, soon());
        assert!(std::panic::AssertUnwindSafe(read).catch_unwind().await.is_err());
        assert_eq!(references.read(&access, &one, Turn::First, soon()).await.result, Ok(Found::Nothing));
    }
}
