//! Amplitude: our emulator, in this process, with injected faults.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use amplitude_emulator::{AcceptedEvent, Configuration, Emulator, Fault, FaultyAnswer, RequestCounts, tls};
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

use super::eventually;
use super::program::scratch;

/// A separate Amplitude. It accepts every key and has no throttle.
pub struct Amplitude {
    emulator: Emulator,
    url: String,
    /// The certificate file to trust.
    ca_file: Option<PathBuf>,
    /// Holds a port on which nothing listens.
    _reserved_port: Option<TcpSocket>,
    /// The running server; `None` while stopped and with TLS.
    server: Mutex<Option<JoinHandle<()>>>,
}

impl Amplitude {
    pub async fn start() -> Self {
        let (emulator, listener, port) = prepare().await;
        let server = Mutex::new(Some(tokio::spawn(emulator.clone().serve(listener))));
        Self {
            emulator,
            url: format!("http://127.0.0.1:{port}/2/httpapi"),
            ca_file: None,
            _reserved_port: None,
            server,
        }
    }

    /// Starts with TLS.
    pub async fn start_with_tls() -> Self {
        static FILES: AtomicUsize = AtomicUsize::new(0);
        let (emulator, listener, port) = prepare().await;
        let (authority, server) = tls::self_signed(&[]).unwrap();
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let file = scratch().join(format!("authority-{}-{number}.pem", std::process::id()));
        std::fs::write(&file, authority).unwrap();
        tokio::spawn(emulator.clone().serve_tls(listener, server));
        let url = format!("https://localhost:{port}/2/httpapi");
        Self { emulator, url, ca_file: Some(file), _reserved_port: None, server: Mutex::default() }
    }

    /// An address that refuses connections.
    pub fn unreachable() -> Self {
        let reserved_port = TcpSocket::new_v4().unwrap();
        reserved_port.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let url = format!("http://{}/2/httpapi", reserved_port.local_addr().unwrap());
        let emulator = Emulator::new(Configuration::default());
        Self { emulator, url, ca_file: None, _reserved_port: Some(reserved_port), server: Mutex::default() }
    }

    /// Closes all connections and stops listening.
    pub async fn stop(&self) {
        let server = self.server.lock().unwrap().take();
        if let Some(server) = server {
            server.abort();
            let _ = server.await;
        }
    }

    /// Listens again, with its earlier state.
    pub async fn restart(&self) {
        let authority = self.url.trim_start_matches("http://").trim_end_matches("/2/httpapi");
        let listener = eventually("the port", async || TcpListener::bind(authority).await.ok()).await;
        *self.server.lock().unwrap() = Some(tokio::spawn(self.emulator.clone().serve(listener)));
    }

    /// Its ingestion endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its Batch endpoint.
    pub fn batch_url(&self) -> String {
        self.url.replace("/2/httpapi", "/batch")
    }

    /// The path of the certificate to trust, with TLS.
    pub fn ca_file(&self) -> String {
        self.ca_file.as_ref().unwrap().to_str().unwrap().to_owned()
    }

    /// All accepted events, in order.
    pub fn events(&self) -> Vec<AcceptedEvent> {
        self.emulator.events()
    }

    /// The accepted event for an event from Stripe. There must be exactly one.
    pub fn accepted(&self, event: &Value) -> AcceptedEvent {
        self.accepted_with_insert_id(event["id"].as_str().unwrap())
    }

    /// The accepted event with an insert ID. There must be exactly one.
    pub fn accepted_with_insert_id(&self, insert_id: &str) -> AcceptedEvent {
        let is_it = |kept: &AcceptedEvent| kept.event.get("insert_id").is_some_and(|found| found == insert_id);
        let mut found: Vec<_> = self.events().into_iter().filter(is_it).collect();
        assert_eq!(found.len(), 1, "{insert_id}");
        found.remove(0)
    }

    /// Counts of requests, responses and dropped repeats.
    pub fn counts(&self) -> RequestCounts {
        self.emulator.requests()
    }

    /// The number of requests received.
    pub fn requests(&self) -> u64 {
        self.emulator.requests().requests
    }

    /// The number of requests received by the Batch endpoint.
    pub fn batch_requests(&self) -> u64 {
        self.emulator.requests().answers.get("/batch").map_or(0, |answers| answers.values().sum())
    }

    /// The number of connections those requests used.
    pub fn connections(&self) -> u64 {
        self.emulator.requests().connections
    }

    /// Injects a fault into the next requests.
    pub fn inject(&self, fault: Fault, requests: u32) {
        self.emulator.inject(fault, requests);
    }

    /// Fails every request from now on.
    pub fn fail(&self, fault: Fault) {
        self.recover();
        self.emulator.inject(fault, u32::MAX);
    }

    /// Clears all faults.
    pub fn recover(&self) {
        self.emulator.clear_faults();
    }
}

impl Drop for Amplitude {
    fn drop(&mut self) {
        if let Some(file) = &self.ca_file {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// An answer with a body that is not in Amplitude's format.
pub fn text_answer(status: u16, text: &str) -> Fault {
    Fault::Answer(FaultyAnswer { status, text: Some(text.to_owned()), ..FaultyAnswer::default() })
}

/// An answer with this JSON.
pub fn json_answer(status: u16, json: Value) -> Fault {
    Fault::Answer(FaultyAnswer { status, json: Some(json), ..FaultyAnswer::default() })
}

async fn prepare() -> (Emulator, TcpListener, u16) {
    let configuration = Configuration { http_v2_throttle: None, batch_throttle: None, ..Configuration::default() };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (Emulator::new(configuration), listener, port)
}
