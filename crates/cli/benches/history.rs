//! Measures the speed and the memory of `backfill --from-file` for one history and for one that is five times as long:
//! `cargo bench --package stripe-amplitude-cli --bench history`.
//!
//! It runs the optimized command with --dry-run, so that Amplitude's limits do not matter.

// A failed measurement panics.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

const EVENTS: usize = 100_000;

/// The mean size of an event, in bytes.
const MEAN_BYTES: usize = 3000;

const ROUNDS: usize = 5;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("projects.toml"),
        "[shop]\nstripe-signing-secret = \"whsec_a\"\namplitude-api-key = \"key\"\n",
    )
    .unwrap();
    for events in [EVENTS, 5 * EVENTS] {
        let bytes = write_history(&folder.path().join("events.ndjson"), events);
        let mut rounds: Vec<_> = (0..ROUNDS).map(|_| dry_run(folder.path())).collect();
        rounds.sort_unstable();
        let (time, _) = rounds[ROUNDS / 2];
        let memory = rounds.iter().map(|(_, memory)| *memory).max().unwrap_or_default();
        let rate = |(time, _): &(Duration, u64)| events as f64 / time.as_secs_f64();
        println!(
            "{events} events of {} bytes: {:.0} events a second (median of {ROUNDS}; {:.0} to {:.0}), {:.1} MB/s, at most {:.1} MiB",
            bytes / events,
            rate(&rounds[ROUNDS / 2]),
            rate(&rounds[ROUNDS - 1]),
            rate(&rounds[0]),
            bytes as f64 / time.as_secs_f64() / 1e6,
            memory as f64 / 1024.0
        );
    }
}

/// Writes samples of all types except the smallest, so that the mean size is right. Returns the size in bytes.
fn write_history(path: &Path, events: usize) -> usize {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../events/stripe");
    let mut samples: Vec<Value> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap())
        .collect();
    samples.sort_by_key(|sample| sample.to_string().len());
    let mean = |samples: &[Value]| samples.iter().map(|sample| sample.to_string().len()).sum::<usize>() / samples.len();
    while mean(&samples) < MEAN_BYTES {
        samples.remove(0);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut bytes = 0;
    for (number, sample) in (0..events).zip(samples.iter().cycle()) {
        let mut event = sample.clone();
        event["id"] = format!("evt_{number:024}").into();
        event["created"] = (now - 24 * 60 * 60).into();
        let line = format!("{event}\n");
        bytes += line.len();
        file.write_all(line.as_bytes()).unwrap();
    }
    file.flush().unwrap();
    bytes
}

/// The time, and the peak memory in KiB.
fn dry_run(folder: &Path) -> (Duration, u64) {
    let start = Instant::now();
    let mut process = Command::new(env!("CARGO_BIN_EXE_stripe-amplitude-cli"))
        .args([
            "backfill",
            "--project",
            "shop",
            "--projects",
            "projects.toml",
            "--from-file",
            "events.ndjson",
            "--dry-run",
        ])
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut memory = 0;
    let status = loop {
        // The peak only grows, so the last value before the end is accurate enough.
        memory = peak_memory(process.id()).unwrap_or(memory);
        match process.try_wait().unwrap() {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    assert!(status.success());
    (start.elapsed(), memory)
}

/// Only Linux reports it.
fn peak_memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
}
