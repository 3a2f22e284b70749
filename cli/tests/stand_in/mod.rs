//! A stand-in for Stripe's API, as far as the command line asks it: events, webhook endpoints, the account. It does as
//! Stripe documents, refuses what Stripe refuses, and fails on order.
//!
//! It runs in a thread of its own, so that a test may wait for a command that talks to it.

// A helper, like a test, stops where it meets what it does not expect.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
// Each test binary has this module to itself, and uses what it needs of it.
#![allow(dead_code, unused_imports, unreachable_pub)]

mod answer;
mod delivery;
mod endpoints;
#[path = "../../src/stripe/event_types.rs"]
mod event_types;
mod events;
mod faults;
mod keys;
mod localstripe;
mod log;
mod objects;
mod parameters;
mod requests;
mod samples;
mod server;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;

pub use delivery::Delivery;
pub use endpoints::Endpoint;
pub(crate) use event_types::EVENT_TYPES;
pub use events::Event;
pub use faults::Fault;
pub use keys::Permission;
pub use localstripe::Localstripe;
pub use log::Request;
pub use samples::{history, sample};

use requests::State;

/// A secret key, with every permission, that each stand-in knows from its start.
pub const SECRET_KEY: &str = "sk_test_51StandInStandInStandIn";

/// The account that all keys are of.
pub const ACCOUNT: &str = "acct_1StandInPlatform";

/// A Stripe of its own. Its clones are the same one; it stops when the last of them is dropped.
#[derive(Clone)]
pub struct StripeStandIn {
    url: String,
    state: Arc<Mutex<State>>,
    /// What it delivers with.
    http: reqwest::Client,
    /// The server stops when this is dropped.
    _running: Arc<oneshot::Sender<()>>,
}

impl StripeStandIn {
    /// One without events and endpoints, which knows [`SECRET_KEY`] and [`ACCOUNT`].
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state: Arc<Mutex<State>> = Arc::default();
        let (running, stopped) = oneshot::channel();
        let served = Arc::clone(&state);
        server::start(listener, stopped, move |request| server::respond(Arc::clone(&served), request));
        let http = stripe_amplitude::http_client::build(None).unwrap();
        Self { url, state, http, _running: Arc::new(running) }
    }

    /// `http://127.0.0.1:…`, which a client appends `/v1/…` to.
    pub fn url(&self) -> &str {
        &self.url
    }

    // What it knows.

    /// Makes a key valid, with these permissions and no others.
    pub fn allow(&self, key: &str, permissions: &[Permission]) {
        self.state().keys.allow(key, permissions);
    }

    /// A new restricted key with these permissions.
    pub fn restricted_key(&self, permissions: &[Permission]) -> String {
        let key = format!("rk_test_51StandIn{}", random(24));
        self.allow(&key, permissions);
        key
    }

    /// Makes a key invalid.
    pub fn revoke(&self, key: &str) {
        self.state().keys.revoke(key);
    }

    /// Connects an account, whose events are asked for with `Stripe-Account`.
    pub fn connect(&self, account: &str) {
        self.state().accounts.insert(account.to_owned());
    }

    /// Sets the clock by which events are 30 days old and endpoints are created, in Unix seconds. Until then, it is the
    /// right one.
    pub fn set_now(&self, now: i64) {
        self.state().clock.now = Some(now);
    }

    /// Sets the `date` of every answer, in Unix seconds. Until then, it is what [`Self::set_now`] says.
    pub fn set_date(&self, date: i64) {
        self.state().clock.date = Some(date);
    }

    // Events.

    /// Adds events that have happened. One with an ID that is known replaces that one.
    pub fn add(&self, events: impl IntoIterator<Item = Event>) {
        // Each by itself, so that the server answers meanwhile.
        events.into_iter().for_each(|event| self.state().events.add(event));
    }

    /// An event of this account, or of a connected one.
    pub fn event(&self, id: &str) -> Option<Event> {
        self.state().events.get(id).cloned()
    }

    /// How many events there are, however old.
    pub fn number_of_events(&self) -> usize {
        self.state().events.len()
    }

    // Objects.

    /// Adds what a `GET` of this path, with its query, is answered with.
    pub fn add_object(&self, path: &str, answer: serde_json::Value) {
        self.state().objects.add(path, answer);
    }

    // Endpoints.

    /// Adds an endpoint, as one that was made in the dashboard.
    pub fn add_endpoint(&self, url: &str, enabled_events: &[&str]) -> Endpoint {
        let mut state = self.state();
        let now = state.clock.now();
        state.endpoints.add(Endpoint::new(url, enabled_events, now))
    }

    /// All endpoints with their secrets, the newest first.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.state().endpoints.all().to_vec()
    }

    /// An endpoint with its secret.
    pub fn endpoint(&self, id: &str) -> Option<Endpoint> {
        self.state().endpoints.get(id).cloned()
    }

    // What fails.

    /// The next `number` requests meet this, after what was ordered before.
    pub fn fail(&self, number: usize, fault: Fault) {
        self.fail_at("/", number, fault);
    }

    /// The next `number` requests to paths that begin so meet this, after what was ordered for them before.
    pub fn fail_at(&self, path_prefix: &str, number: usize, fault: Fault) {
        self.state().faults.order(path_prefix, number, fault);
    }

    /// Forgets the faults that nobody has met yet.
    pub fn heal(&self) {
        self.state().faults.forget();
    }

    /// Answers more than so many requests within a second with 429; with `None`, as many as come.
    pub fn set_rate_limit(&self, requests_per_second: Option<usize>) {
        self.state().faults.rate_limit = requests_per_second;
    }

    // What was asked.

    /// All requests, in their order.
    pub fn requests(&self) -> Vec<Request> {
        self.state().log.requests().to_vec()
    }

    /// How many requests there were of this method and path.
    pub fn count(&self, method: &str, path: &str) -> usize {
        let state = self.state();
        state.log.requests().iter().filter(|request| request.method == method && request.path == path).count()
    }

    /// How many requests there were, by method and path: `GET /v1/events`.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for request in self.state().log.requests() {
            *counts.entry(format!("{} {}", request.method, request.path)).or_default() += 1;
        }
        counts
    }

    /// How many requests were answered with 429.
    pub fn too_many_requests(&self) -> usize {
        self.state().log.requests().iter().filter(|request| request.status == Some(429)).count()
    }

    /// The most requests that there were in any one second, wherever it begins.
    pub fn most_in_a_second(&self) -> usize {
        self.state().log.most_within(Duration::from_secs(1))
    }

    /// Forgets the requests until now.
    pub fn clear_requests(&self) {
        self.state().log.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// A test that has failed elsewhere does not make this one fail.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Unix seconds, of the right clock.
fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

fn random(length: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(length).collect()
}
