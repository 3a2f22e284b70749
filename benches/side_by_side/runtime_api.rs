//! Lambda's runtime API for one process: it returns invocations while there are any, and records the times.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::body::Bytes;
use hyper::{Method, Request, Response};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::server::{self, Answer, answer};

/// How long a process may take for anything before it counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(120);

/// The contestants' logs, in Cargo's directory for the tests' files.
const LOGS: &str = "target/tmp/side-by-side-….log";

/// As in template.yaml.
const TIMEOUT: Duration = Duration::from_secs(6);

/// The invocations and their expected answers.
pub trait Invocations: Send + Sync + 'static {
    /// The payload of a new invocation.
    fn payload(&self) -> Bytes;
    /// Whether this answer reports success.
    fn is_success(&self, answer: &[u8]) -> bool;
}

/// The runtime API of one process. It ends when this is dropped.
pub struct RuntimeApi {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// An answered invocation.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    pub sent: Instant,
    pub answered: Instant,
}

impl Answered {
    pub fn duration(&self) -> Duration {
        self.answered - self.sent
    }
}

struct Shared {
    state: Mutex<State>,
    /// There may be work.
    supplied: Notify,
    /// Something was requested or answered.
    changed: Condvar,
    invocations: Arc<dyn Invocations>,
}

#[derive(Default)]
struct State {
    first_asked: Option<Instant>,
    /// The number of waiting requests for work.
    waiting: usize,
    /// The number of invocations left.
    left: usize,
    running: HashMap<u64, Instant>,
    answered: Vec<Answered>,
    failure: Option<String>,
}

impl RuntimeApi {
    /// Serves on `thread`.
    pub fn start(thread: &Handle, invocations: Arc<dyn Invocations>) -> Self {
        let (listener, address) = server::listen();
        let shared =
            Arc::new(Shared { state: Mutex::default(), supplied: Notify::new(), changed: Condvar::new(), invocations });
        let for_requests = Arc::clone(&shared);
        let server = thread.spawn(server::serve(listener, None, move |request| {
            let shared = Arc::clone(&for_requests);
            async move { shared.answer(request).await }
        }));
        Self { address, shared, server }
    }

    /// Adds this many invocations.
    pub fn supply(&self, invocations: usize) {
        self.shared.state().left += invocations;
        self.shared.supplied.notify_waiters();
    }

    /// Stops returning invocations, waits for the running ones, and takes the answers since the last time.
    pub fn drain(&self) -> Vec<Answered> {
        self.shared.state().left = 0;
        let mut state = self.wait("the last answers", |state| state.running.is_empty());
        std::mem::take(&mut state.answered)
    }

    /// Supplies this many invocations and takes their answers.
    pub fn run(&self, invocations: usize) -> Vec<Answered> {
        self.supply(invocations);
        let mut state = self.wait("answers", |state| state.left == 0 && state.running.is_empty());
        std::mem::take(&mut state.answered)
    }

    /// Waits for the first request for work.
    pub fn first_asked(&self) -> Instant {
        self.wait("a request for work", |state| state.first_asked.is_some()).first_asked.unwrap()
    }

    /// Waits until the process has answered everything and requests more, that is, until it is idle.
    pub fn wait_until_idle(&self) {
        drop(self.wait("a further request for work", |state| state.waiting > 0 && state.running.is_empty()));
    }

    fn wait(&self, what: &str, done: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.shared.state();
        let mut progress = (state.answered.len(), Instant::now());
        while !done(&state) {
            if let Some(failure) = &state.failure {
                panic!("while waiting for {what}: {failure}; see the log in {LOGS}");
            }
            if state.answered.len() != progress.0 {
                progress = (state.answered.len(), Instant::now());
            }
            assert!(progress.1.elapsed() < STUCK_AFTER, "timed out waiting for {what}; see the log in {LOGS}");
            state = self.shared.changed.wait_timeout(state, Duration::from_secs(1)).unwrap().0;
        }
        state
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn answer(&self, request: Request<Bytes>) -> Answer {
        let path = request.uri().path().trim_start_matches("/2018-06-01/runtime/");
        match (request.method(), path.strip_prefix("invocation/")) {
            (&Method::GET, Some("next")) => self.next().await,
            (&Method::POST, Some(of_one)) => {
                let (id, what) = of_one.split_once('/').unwrap();
                self.take_answer(id, what, request.body());
                answer(202, "{\"status\":\"OK\"}")
            }
            _ => {
                self.state().failure = Some(format!("{path}: {}", String::from_utf8_lossy(request.body())));
                self.changed.notify_all();
                answer(202, "{\"status\":\"OK\"}")
            }
        }
    }

    async fn next(&self) -> Answer {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        {
            let mut state = self.state();
            state.first_asked.get_or_insert_with(Instant::now);
            state.waiting += 1;
        }
        self.changed.notify_all();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        loop {
            // Registered before checking, so that no supply is missed.
            let supplied = self.supplied.notified();
            {
                let mut state = self.state();
                if state.left > 0 {
                    state.left -= 1;
                    state.waiting -= 1;
                    // Immediately; otherwise it would briefly look as if nothing were left or running.
                    state.running.insert(number, Instant::now());
                    break;
                }
            }
            supplied.await;
        }
        let payload = self.invocations.payload();
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + TIMEOUT;
        let response = Response::builder()
            .header("Content-Type", "application/json")
            .header("Lambda-Runtime-Aws-Request-Id", id(number))
            .header("Lambda-Runtime-Deadline-Ms", deadline.as_millis().to_string())
            .header("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-central-1:123456789012:function:bench")
            // A new one for each invocation, as on AWS, so that runtimes that set it in the environment have to.
            .header(
                "Lambda-Runtime-Trace-Id",
                format!("Root=1-{:08x}-{number:024x};Parent={number:016x};Sampled=0", deadline.as_secs()),
            )
            .body(http_body_util::Full::new(payload))
            .unwrap();
        self.state().running.insert(number, Instant::now());
        response
    }

    fn take_answer(&self, id: &str, what: &str, body: &[u8]) {
        let answered = Instant::now();
        let is_success = what == "response" && self.invocations.is_success(body);
        let mut state = self.state();
        let number = u64::from_str_radix(id.rsplit('-').next().unwrap(), 16).unwrap();
        let sent = state.running.remove(&number).unwrap();
        state.answered.push(Answered { sent, answered });
        if !is_success {
            state.failure = Some(format!("{what}: {}", String::from_utf8_lossy(body)));
        }
        // Wake the waiting thread only when all answers are there, not for each.
        if !is_success || state.running.is_empty() && state.left == 0 {
            self.changed.notify_all();
        }
    }
}

/// In the format of a UUID.
fn id(number: u64) -> String {
    format!("8f0c0000-0000-4000-8000-{number:012x}")
}
