//! A local Stripe to test against: its API as far as events, webhook endpoints, the account and the objects of purchases
//! go; and its webhooks. It does as Stripe documents, refuses what Stripe refuses, and fails on order.
//!
//! The modules follow a request from its bytes to its answer:
//!
//! - `server`: the HTTP surface, and how an answer breaks off.
//! - `guard`: who may ask at all.
//! - `faults`: what can be ordered to go wrong, and the rate limit.
//! - `requests`: who may ask, and who answers.
//! - `keys`, `parameters`: what a request has with it.
//! - `events`, `endpoints`, `objects`: what is answered.
//! - `kinds`, `shapes`, `expansion`: which objects there are, how they look, and objects in the place of their IDs.
//! - `delivery`: events on their way to the endpoints.
//! - `log`: what was asked.
//! - `versions`: in which API version.
//! - `samples`, `event_types`: events that could have happened, and all types that there are.
//!
//! ```
//! use stripe_emulator::{Emulator, Fault, sample};
//!
//! # fn main() -> std::io::Result<()> {
//! let stripe = Emulator::start()?;
//! stripe.add([sample("charge.failed", 1, 1_721_950_000)]);
//! stripe.fail_at("/v1/events", 1, Fault::Unavailable);
//! // … point the client under test at stripe.url() …
//! assert!(stripe.requests().is_empty());
//! # Ok(())
//! # }
//! ```

mod answer;
mod delivery;
mod endpoints;
mod event_types;
mod events;
mod expansion;
mod faults;
mod guard;
mod keys;
mod kinds;
mod log;
mod objects;
mod parameters;
mod requests;
mod samples;
mod server;
mod shapes;
mod versions;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fmt, io};

use serde_json::{Value, json};
use tokio::sync::oneshot;

pub use delivery::Delivery;
pub use endpoints::Endpoint;
pub use event_types::EVENT_TYPES;
pub use events::Event;
pub use faults::Fault;
pub use keys::Permission;
pub use log::Request;
pub use samples::{SAMPLE_TYPES, history, sample};

use requests::State;

/// The API version that objects are kept in, and that an account has until another is set.
pub const API_VERSION: &str = "2024-06-20";

/// A secret key, with every permission, that each emulator knows from its start.
pub const SECRET_KEY: &str = "sk_test_51EmulatedEmulatedEmulated";

/// The account that all keys are of.
pub const ACCOUNT: &str = "acct_1EmulatedPlatform";

/// A local Stripe. Its clones are the same one; it stops when the last of them is dropped.
#[derive(Clone)]
pub struct Emulator {
    url: String,
    state: Arc<Mutex<State>>,
    /// The server stops when this is dropped.
    _running: Arc<oneshot::Sender<()>>,
}

impl Emulator {
    /// One without events and endpoints, on a free port, which knows [`SECRET_KEY`] and [`ACCOUNT`]. It serves in a thread
    /// of its own, so that a test may wait for a command that talks to it.
    ///
    /// # Errors
    /// Where there is no free port, or no further thread.
    pub fn start() -> io::Result<Self> {
        Self::start_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?)
    }

    /// The same, where this listens.
    ///
    /// # Errors
    /// Where there is no further thread.
    pub fn start_on(listener: TcpListener) -> io::Result<Self> {
        let url = format!("http://{}", listener.local_addr()?);
        let state: Arc<Mutex<State>> = Arc::default();
        let (running, stopped) = oneshot::channel();
        server::start(listener, stopped, Arc::clone(&state))?;
        Ok(Self { url, state, _running: Arc::new(running) })
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

    /// Makes all keys valid. Those that are not made known otherwise have every permission.
    pub fn allow_any_key(&self) {
        self.state().keys.any = true;
    }

    /// A new restricted key with these permissions.
    pub fn restricted_key(&self, permissions: &[Permission]) -> String {
        let key = format!("rk_test_51Emulated{}", random(24));
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

    /// Sets the API version of the account, in which what comes without `Stripe-Version` is answered. Until then, it is
    /// [`API_VERSION`].
    pub fn set_default_version(&self, version: &str) {
        self.state().default_version = Some(version.to_owned());
    }

    // Events.

    /// Adds events that have happened. One with an ID that is known replaces that one.
    pub fn add(&self, events: impl IntoIterator<Item = Event>) {
        // One at a time, so that the server answers meanwhile.
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

    // Objects.

    /// Puts an object of this account, in the shape of [`API_VERSION`], in the place of one with the same ID: a customer,
    /// subscription, invoice, payment_intent, charge, checkout.session, issuing.cardholder, product or price, or a
    /// `v2.core.account`, which is read as a customer. One without `livemode` is in both modes.
    ///
    /// All lines of an invoice are in its `lines.data`, those of a checkout session in its `line_items.data`.
    ///
    /// # Errors
    /// Where it has no ID, or is of another kind.
    pub fn put(&self, object: Value) -> Result<(), UnknownObject> {
        self.state().objects.put(None, object).ok_or(UnknownObject)
    }

    /// The same, of a connected account.
    ///
    /// # Errors
    /// Where it has no ID, or is of another kind.
    pub fn put_in(&self, account: &str, object: Value) -> Result<(), UnknownObject> {
        self.state().objects.put(Some(account), object).ok_or(UnknownObject)
    }

    /// Puts the objects of a file, one in each line, as [`put`](Self::put) does.
    ///
    /// # Errors
    /// Where it cannot be read, or a line is no object that can be put; it names the file and the line.
    pub fn load(&self, file: &Path) -> io::Result<()> {
        let name = file.display();
        let text =
            std::fs::read_to_string(file).map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong = |error: &dyn fmt::Display| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{name}, line {}: {error}", index + 1))
            };
            let object = serde_json::from_str(line).map_err(|error| wrong(&error))?;
            self.put(object).map_err(|error| wrong(&error))?;
        }
        Ok(())
    }

    /// Learns from an event, whoever made it, what it tells of Stripe's objects: its own, if it is of a kind that is kept
    /// here, and that those exist that it names. What is known of them otherwise stays: an event shows ten lines of an
    /// invoice at most, and later versions do not show the invoice of a payment.
    pub fn learn(&self, event: &Value) {
        let mut state = self.state();
        let account = event.get("account").and_then(Value::as_str).filter(|account| *account != ACCOUNT);
        state.accounts.extend(account.map(str::to_owned));
        if let Some(object) = event.pointer("/data/object") {
            state.objects.learn(account, event.get("livemode").and_then(Value::as_bool), object);
        }
    }

    /// Puts the line items of a checkout session that is there, in the place of those that it has.
    pub fn put_line_items(&self, session: &str, line_items: Vec<Value>) {
        self.update(session, |session| {
            if let Some(fields) = session.as_object_mut() {
                fields.insert("line_items".to_owned(), json!({"data": line_items}));
            }
        });
    }

    /// Changes an object that is there: its ID and its kind stay what they are.
    pub fn update(&self, id: &str, change: impl FnOnce(&mut Value)) {
        if let Some(object) = self.state().objects.get_mut(id) {
            change(object);
        }
    }

    /// Forgets an object, so that there is none with its ID.
    pub fn remove(&self, id: &str) {
        self.state().objects.remove(id);
    }

    /// Deletes an object as Stripe deletes customers: what is read of it is that it is deleted, and nothing else.
    pub fn delete(&self, id: &str) {
        self.state().objects.delete(id);
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

    /// Every request that meets no other fault meets this one from now on; with `None`, none does.
    pub fn set_outage(&self, fault: Option<Fault>) {
        self.state().faults.outage = fault;
    }

    /// Sets what `Stripe-Rate-Limited-Reason` says with every 429: `endpoint-rate`, for example. Until then, it is
    /// `global-rate`.
    pub fn set_rate_limited_reason(&self, reason: &str) {
        self.state().faults.rate_limited_reason = Some(reason.to_owned());
    }

    /// Forgets the faults that nobody has met yet, and the outage.
    pub fn heal(&self) {
        self.state().faults.forget();
    }

    /// Answers more than so many requests within a second with 429; with `None`, as many as come.
    pub fn set_rate_limit(&self, requests_per_second: Option<usize>) {
        self.state().faults.rate_limit = requests_per_second;
    }

    // What was asked.

    /// The newest 10,000 requests, in their order. What is counted below is counted among them.
    pub fn requests(&self) -> Vec<Request> {
        self.state().log.requests().iter().cloned().collect()
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

/// An object that has no ID, or is of no kind that the emulator knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownObject;

impl fmt::Display for UnknownObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the object has no `id`, or its `object` is no kind that the emulator knows")
    }
}

impl std::error::Error for UnknownObject {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No step leaves the state half-done, so it is good even after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Unix seconds, of the right clock.
fn unix_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs().try_into().unwrap_or(i64::MAX)
}

fn random(length: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(length).collect()
}
