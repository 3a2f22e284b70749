//! A local Stripe to test against: the parts of its API for events, webhook endpoints, the account and the objects of
//! purchases; and its webhooks. It follows Stripe's documentation, rejects what Stripe rejects, and has injected
//! faults.
//!
//! The modules follow a request from its bytes to the response:
//!
//! - `server`: the HTTP surface, and broken connections.
//! - `faults`: injected faults, and the rate limit.
//! - `requests`: authorization and dispatch.
//! - `keys`, `parameters`: the key and the parameters of a request.
//! - `events`, `endpoints`, `objects`: the resources.
//! - `kinds`, `shapes`, `expansion`: the kinds of objects, their shapes, and the expansion of IDs.
//! - `delivery`: the delivery of events to endpoints.
//! - `log`: the requests so far.
//! - `versions`: API versions.
//! - `samples`, `event_types`: sample events, and all event types.
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

/// The API version of stored objects, and the default version of the account.
pub const API_VERSION: &str = "2024-06-20";

/// A secret key with every permission, valid in every emulator.
pub const SECRET_KEY: &str = "sk_test_51EmulatedEmulatedEmulated";

/// The account of all keys.
pub const ACCOUNT: &str = "acct_1EmulatedPlatform";

/// A local Stripe. Its clones share their state; it stops when the last of them is dropped.
#[derive(Clone)]
pub struct Emulator {
    url: String,
    state: Arc<Mutex<State>>,
    /// The server stops when this is dropped.
    _running: Arc<oneshot::Sender<()>>,
}

impl Emulator {
    /// Starts without events and endpoints, on a free port, with [`SECRET_KEY`] and [`ACCOUNT`]. It serves on a
    /// separate thread, so that a test may block on a command that calls it.
    ///
    /// # Errors
    /// If there is no free port or the thread cannot be started.
    pub fn start() -> io::Result<Self> {
        Self::start_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?)
    }

    /// Starts on this listener.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start_on(listener: TcpListener) -> io::Result<Self> {
        let url = format!("http://{}", listener.local_addr()?);
        let state: Arc<Mutex<State>> = Arc::default();
        let (running, stopped) = oneshot::channel();
        server::start(listener, stopped, Arc::clone(&state))?;
        Ok(Self { url, state, _running: Arc::new(running) })
    }

    /// The base URL, `http://127.0.0.1:…`, to which a client appends `/v1/…`.
    pub fn url(&self) -> &str {
        &self.url
    }

    // Configuration.

    /// Makes a key valid with these permissions only.
    pub fn allow(&self, key: &str, permissions: &[Permission]) {
        self.state().keys.allow(key, permissions);
    }

    /// Makes all keys valid. Keys not configured otherwise have every permission.
    pub fn allow_any_key(&self) {
        self.state().keys.any = true;
    }

    /// Creates a restricted key with these permissions.
    pub fn restricted_key(&self, permissions: &[Permission]) -> String {
        let key = format!("rk_test_51Emulated{}", random(24));
        self.allow(&key, permissions);
        key
    }

    /// Makes a key invalid.
    pub fn revoke(&self, key: &str) {
        self.state().keys.revoke(key);
    }

    /// Connects an account, whose events are requested with `Stripe-Account`.
    pub fn connect(&self, account: &str) {
        self.state().accounts.insert(account.to_owned());
    }

    /// Sets the clock that determines the age of events and the creation time of endpoints, in Unix seconds. The
    /// default is the real time.
    pub fn set_now(&self, now: i64) {
        self.state().clock.now = Some(now);
    }

    /// Sets the `date` of every response, in Unix seconds. The default is the emulator's clock; see [`Self::set_now`].
    pub fn set_date(&self, date: i64) {
        self.state().clock.date = Some(date);
    }

    /// Sets the account's API version, which applies to requests without `Stripe-Version`. The default is
    /// [`API_VERSION`].
    pub fn set_default_version(&self, version: &str) {
        self.state().default_version = Some(version.to_owned());
    }

    // Events.

    /// Adds events. An event with a known ID replaces the earlier one.
    pub fn add(&self, events: impl IntoIterator<Item = Event>) {
        // One at a time, so that the server can respond in between.
        events.into_iter().for_each(|event| self.state().events.add(event));
    }

    /// An event of this account or of a connected one.
    pub fn event(&self, id: &str) -> Option<Event> {
        self.state().events.get(id).cloned()
    }

    /// The number of events, regardless of age.
    pub fn number_of_events(&self) -> usize {
        self.state().events.len()
    }

    // Endpoints.

    /// Adds an endpoint, as if it were created in the dashboard.
    pub fn add_endpoint(&self, url: &str, enabled_events: &[&str]) -> Endpoint {
        let mut state = self.state();
        let now = state.clock.now();
        state.endpoints.add(Endpoint::new(url, enabled_events, now))
    }

    /// All endpoints with their secrets, newest first.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.state().endpoints.all().to_vec()
    }

    /// An endpoint with its secret.
    pub fn endpoint(&self, id: &str) -> Option<Endpoint> {
        self.state().endpoints.get(id).cloned()
    }

    // Objects.

    /// Stores an object of this account, in the shape of [`API_VERSION`]. It replaces an object with the same ID. The
    /// kinds are customer, subscription, invoice, payment_intent, charge, checkout.session, issuing.cardholder, product
    /// and price, and `v2.core.account`, which is read as a customer. An object without `livemode` is in both modes.
    ///
    /// `lines.data` of an invoice and `line_items.data` of a checkout session contain all of their lines.
    ///
    /// # Errors
    /// If it has no ID, or is of another kind.
    pub fn put(&self, object: Value) -> Result<(), UnknownObject> {
        self.state().objects.put(None, object).ok_or(UnknownObject)
    }

    /// Stores an object of a connected account.
    ///
    /// # Errors
    /// If it has no ID, or is of another kind.
    pub fn put_in(&self, account: &str, object: Value) -> Result<(), UnknownObject> {
        self.state().objects.put(Some(account), object).ok_or(UnknownObject)
    }

    /// Stores the objects of a file, one on each line, like [`put`](Self::put).
    ///
    /// # Errors
    /// If the file cannot be read, or a line is not a valid object; the error names the file and the line.
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

    /// Stores the objects in an event, if their kinds are known, and creates the objects that it refers to. Other known
    /// values of these objects stay: an event contains at most ten lines of an invoice, and later versions do not
    /// contain the invoice of a payment.
    pub fn learn(&self, event: &Value) {
        let mut state = self.state();
        let account = event.get("account").and_then(Value::as_str).filter(|account| *account != ACCOUNT);
        state.accounts.extend(account.map(str::to_owned));
        if let Some(object) = event.pointer("/data/object") {
            state.objects.learn(account, event.get("livemode").and_then(Value::as_bool), object);
        }
    }

    /// Replaces the line items of an existing checkout session.
    pub fn put_line_items(&self, session: &str, line_items: Vec<Value>) {
        self.update(session, |session| {
            if let Some(fields) = session.as_object_mut() {
                fields.insert("line_items".to_owned(), json!({"data": line_items}));
            }
        });
    }

    /// Changes an existing object. Its ID and kind must stay the same.
    pub fn update(&self, id: &str, change: impl FnOnce(&mut Value)) {
        if let Some(object) = self.state().objects.get_mut(id) {
            change(object);
        }
    }

    /// Removes an object, as if it had never existed.
    pub fn remove(&self, id: &str) {
        self.state().objects.remove(id);
    }

    /// Deletes an object the way Stripe deletes customers: reading it only returns that it is deleted.
    pub fn delete(&self, id: &str) {
        self.state().objects.delete(id);
    }

    // Faults.

    /// Injects a fault into the next `number` requests, after the faults that are already injected.
    pub fn fail(&self, number: usize, fault: Fault) {
        self.fail_at("/", number, fault);
    }

    /// Injects a fault into the next `number` requests whose path has this prefix, after the faults already injected
    /// there.
    pub fn fail_at(&self, path_prefix: &str, number: usize, fault: Fault) {
        self.state().faults.inject(path_prefix, number, fault);
    }

    /// Sets a fault for every request without another one; `None` ends the outage.
    pub fn set_outage(&self, fault: Option<Fault>) {
        self.state().faults.outage = fault;
    }

    /// Sets the value of `Stripe-Rate-Limited-Reason` in every 429, such as `endpoint-rate`. The default is
    /// `global-rate`.
    pub fn set_rate_limited_reason(&self, reason: &str) {
        self.state().faults.rate_limited_reason = Some(reason.to_owned());
    }

    /// Removes all injected faults and the outage.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Limits the requests per second; further requests get 429. `None` removes the limit.
    pub fn set_rate_limit(&self, requests_per_second: Option<usize>) {
        self.state().faults.rate_limit = requests_per_second;
    }

    // Requests.

    /// The latest 10,000 requests, in order. The counts below only include these.
    pub fn requests(&self) -> Vec<Request> {
        self.state().log.requests().iter().cloned().collect()
    }

    /// The number of requests with this method and path.
    pub fn count(&self, method: &str, path: &str) -> usize {
        let state = self.state();
        state.log.requests().iter().filter(|request| request.method == method && request.path == path).count()
    }

    /// The number of requests by method and path: `GET /v1/events`.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for request in self.state().log.requests() {
            *counts.entry(format!("{} {}", request.method, request.path)).or_default() += 1;
        }
        counts
    }

    /// The number of requests answered with 429.
    pub fn too_many_requests(&self) -> usize {
        self.state().log.requests().iter().filter(|request| request.status == Some(429)).count()
    }

    /// The maximum number of requests within any one second.
    pub fn most_in_a_second(&self) -> usize {
        self.state().log.most_within(Duration::from_secs(1))
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.state().log.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// An object without an ID, or of an unknown kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownObject;

impl fmt::Display for UnknownObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the object has no `id`, or its `object` is not a kind that the emulator supports")
    }
}

impl std::error::Error for UnknownObject {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No step leaves the state half-done, so it is valid even after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The real time in Unix seconds.
fn unix_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs().try_into().unwrap_or(i64::MAX)
}

fn random(length: usize) -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(length).collect()
}
