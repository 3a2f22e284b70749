//! Lambda's runtime API for one process: it hands out invocations while there are some, and records the times.

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
const PATIENCE: Duration = Duration::from_secs(120);

/// The contestants' logs, in Cargo's directory for test files.
const LOGS: &str = "target/tmp/side-by-side-….log";

/// As in template.yaml.
const TIMEOUT: Duration = Duration::from_secs(6);

/// The invocations, and the expected responses.
pub trait Invocations: Send + Sync + 'static {
    /// The payload of a new invocation.
    fn payload(&self) -> Bytes;
    /// Whether this response is a success.
    fn is_success(&self, answer: &[u8]) -> bool;
}

/// The interface of one process. It ends when the value is dropped.
pub struct RuntimeApi {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

/// An invocation that was answered.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    pub handed_out: Instant,
    pub answered: Instant,
}

impl Answered {
    pub fn duration(&self) -> Duration {
        self.answered - self.handed_out
    }
}

struct Shared {
    state: Mutex<State>,
    /// Signals that there may be work.
    supplied: Notify,
    /// Signals a request or a response.
    changed: Condvar,
    invocations: Arc<dyn Invocations>,
}

#[derive(Default)]
struct State {
    first_asked: Option<Instant>,
    /// How many requests for work are waiting.
    waiting: usize,
    /// How many invocations are left to hand out.
    left: usize,
    running: HashMap<u64, Instant>,
    answered: Vec<Answered>,
    failure: Option<String>,
}

impl RuntimeApi {
    /// `thread` is where it is served.
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

    /// Allows this many more invocations.
    pub fn supply(&self, invocations: usize) {
        self.shared.state().left += invocations;
        self.shared.supplied.notify_waiters();
    }

    /// Stops handing out, waits for running invocations, and returns the responses since the last time.
    pub fn drain(&self) -> Vec<Answered> {
        self.shared.state().left = 0;
        let mut state = self.wait("the last answers", |state| state.running.is_empty());
        std::mem::take(&mut state.answered)
    }

    /// Hands out this many invocations, and returns their responses.
    pub fn run(&self, invocations: usize) -> Vec<Answered> {
        self.supply(invocations);
        let mut state = self.wait("answers", |state| state.left == 0 && state.running.is_empty());
        std::mem::take(&mut state.answered)
    }

    /// Waits for the first request for work.
    pub fn first_asked(&self) -> Instant {
        self.wait("a request for work", |state| state.first_asked.is_some()).first_asked.unwrap()
    }

    /// Waits until the process has answered everything and asks for more, and so is idle.
    pub fn wait_until_idle(&self) {
        drop(self.wait("a further request for work", |state| state.waiting > 0 && state.running.is_empty()));
    }

    fn wait(&self, what: &str, done: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.shared.state();
        let mut progress = (state.answered.len(), Instant::now());
        while !done(&state) {
            if let Some(failure) = &state.failure {
                panic!("while waiting for {what}: {failure}; what it wrote is in {LOGS}");
            }
            if state.answered.len() != progress.0 {
                progress = (state.answered.len(), Instant::now());
            }
            assert!(progress.1.elapsed() < PATIENCE, "in vain waited for {what}; what it wrote is in {LOGS}");
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
            // Before the check, so that no supply is missed.
            let supplied = self.supplied.notified();
            {
                let mut state = self.state();
                if state.left > 0 {
                    state.left -= 1;
                    state.waiting -= 1;
                    // At once, or for a moment it would look as if nothing was left and nothing running.
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
            // A new one for each invocation, as on AWS, for programs that set it in the environment.
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
        let handed_out = state.running.remove(&number).unwrap();
        state.answered.push(Answered { handed_out, answered });
        if !is_success {
            state.failure = Some(format!("{what}: {}", String::from_utf8_lossy(body)));
        }
        // A caller that waits for many responses must not wake up at each.
        if !is_success || state.running.is_empty() && state.left == 0 {
            self.changed.notify_all();
        }
    }
}

/// In the form of a UUID.
fn id(number: u64) -> String {
    format!("8f0c0000-0000-4000-8000-{number:012x}")
}
