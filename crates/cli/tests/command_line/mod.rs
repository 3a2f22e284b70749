//! Commands as a user types them.

// Helpers panic like tests do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
// Each test binary compiles this module, and uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use crate::common::{Ended, ended, ended_with, program};

pub fn cli(arguments: &[&str]) -> Command {
    let mut command = program();
    command.args(arguments).current_dir(root());
    command
}

pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

pub fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Ended { code, out, error } = ended(&mut cli(arguments));
    (code, out, error)
}

/// Runs with this standard input.
pub fn run_with(input: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Ended { code, out, error } = ended_with(input, &mut cli(arguments));
    (code, out, error)
}

/// Writes a file, and returns its path.
pub fn file(name: &str, text: &str) -> String {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// A sample event with a change.
pub fn sample(event_type: &str, change: impl FnOnce(&mut Value)) -> String {
    let text = std::fs::read_to_string(root().join(format!("events/stripe/{event_type}.json"))).unwrap();
    let mut event = serde_json::from_str(&text).unwrap();
    change(&mut event);
    event.to_string()
}

/// `serve` on a free port, until this is dropped.
pub struct Serving {
    process: Child,
    /// Read continuously, because a full pipe would block the process.
    pub lines: Receiver<String>,
    pub url: String,
}

impl Serving {
    pub fn start(arguments: &[&str]) -> Self {
        let mut process = cli(&[&["serve", "--port", "0"], arguments].concat()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (printed, lines) = channel();
        std::thread::spawn(move || output.lines().map(Result::unwrap).try_for_each(|line| printed.send(line)));
        let first: String = lines.recv().unwrap();
        let url = first.strip_prefix("Serving ").unwrap().to_owned();
        Self { process, lines, url }
    }

    pub fn line_with(&mut self, text: &str) -> String {
        self.lines.iter().find(|line| line.contains(text)).unwrap()
    }

    /// The URL of its local Amplitude, which it prints once.
    pub fn amplitude(&mut self) -> String {
        let line = self.line_with("/emulator/events");
        line.split_once("curl ").unwrap().1.strip_suffix("/emulator/events").unwrap().to_owned()
    }

    /// The events that its local Amplitude has accepted.
    pub fn accepted(&self, amplitude: &str) -> Vec<Value> {
        let address = amplitude.strip_prefix("http://").unwrap();
        let mut connection = TcpStream::connect(address).unwrap();
        let request = format!("GET /emulator/events HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
