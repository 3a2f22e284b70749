//! Amplitude: our emulator, over TLS, on its own thread.

use std::sync::Arc;
use std::time::Duration;

use amplitude_emulator::{Configuration, Emulator};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use crate::server;

/// The name of its thread.
pub const THREAD: &str = "amplitude";

/// How often it forgets all events, so that its memory and its search for repeats stay small.
const FORGETS_EVERY: Duration = Duration::from_millis(200);

/// An emulator with this delay before each response.
pub struct Amplitude {
    port: u16,
}

impl Amplitude {
    pub fn start(thread: &Handle, tls: Arc<ServerConfig>, delay: Duration) -> Self {
        let configuration =
            Configuration { http_v2_throttle: None, batch_throttle: None, delay, ..Configuration::default() };
        let emulator = Emulator::new(configuration);
        let (listener, address) = server::listen();
        let serving = emulator.clone();
        thread.spawn(async move { serving.serve_tls(TcpListener::from_std(listener).unwrap(), tls).await });
        thread.spawn(async move {
            loop {
                tokio::time::sleep(FORGETS_EVERY).await;
                emulator.clear();
            }
        });
        Self { port: address.port() }
    }

    /// HTTP V2.
    pub fn url(&self) -> String {
        format!("https://localhost:{}/2/httpapi", self.port)
    }

    /// Batch.
    pub fn batch_url(&self) -> String {
        format!("https://localhost:{}/batch", self.port)
    }

    /// The local ports of all connections to it.
    pub fn connections(&self) -> Vec<String> {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let its_end = format!(":{:04X}", self.port);
        let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
        rows.filter(|row| row[2].ends_with(&its_end)).map(|row| row[1].to_owned()).collect()
    }
}
