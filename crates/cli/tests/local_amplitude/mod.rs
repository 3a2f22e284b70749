//! A local Amplitude for a test, in a thread of its own, so that a test may wait for a command that talks to it.

// A helper, like a test, stops where it meets what it does not expect.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
// Each test binary has this module to itself, and uses what it needs of it.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::ops::Deref;

use amplitude_emulator::{Configuration, Emulator};

pub struct LocalAmplitude {
    emulator: Emulator,
    url: String,
}

impl LocalAmplitude {
    pub fn start(configuration: Configuration) -> Self {
        let emulator = Emulator::new(configuration);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = emulator.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { serving.serve(tokio::net::TcpListener::from_std(listener).unwrap()).await });
        });
        Self { emulator, url }
    }

    /// What points the commands here.
    pub fn variables(&self) -> [(&'static str, String); 2] {
        [
            ("AMPLITUDE_URL", format!("{}/batch", self.url)),
            ("AMPLITUDE_EXPORT_URL", format!("{}/api/2/export", self.url)),
        ]
    }

    /// The full URL of HTTP V2.
    pub fn http_v2(&self) -> String {
        format!("{}/2/httpapi", self.url)
    }

    /// How often each event is there, by its insert ID.
    pub fn insert_ids(&self) -> BTreeMap<String, usize> {
        let mut insert_ids = BTreeMap::new();
        for event in self.emulator.events() {
            let insert_id = event.event["insert_id"].as_str().unwrap().to_owned();
            *insert_ids.entry(insert_id).or_default() += 1;
        }
        insert_ids
    }
}

impl Deref for LocalAmplitude {
    type Target = Emulator;

    fn deref(&self) -> &Emulator {
        &self.emulator
    }
}
