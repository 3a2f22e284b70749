//! The function beside what a user would write instead, in one run on one machine: `make bench`.
//!
//! The contestants are the function itself, a Lambda function in Rust that only says hello (the floor), and the same
//! duties in JavaScript and in Python with the official packages; they are in `benches/peers`. Each runs as on Lambda:
//! a process under the runtime API, with the variables that Lambda sets and no others, with the same Parameter Store
//! (moto) and the same Amplitude (our emulator), both over TLS. Start reading at [`stage::Stage`], which assembles
//! this.
//!
//! Arguments choose parts: `start`, `cold`, `warm`, `references`, `memory`, `size`, `throughput`, `core`, `cost`;
//! without arguments, all are measured. `quick` measures less often, to check that it works. The results go to
//! `benches/RESULTS.md`, each part between its own marks; the prose around them survives.

// A measurement that fails must stop, and nothing here is a public API.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub
)]

mod amplitude;
mod aws;
mod cold;
mod contestant;
mod core_alone;
mod cost;
mod delivery;
#[path = "../../tests/it/harness/http_client.rs"]
mod http_client;
mod machine;
mod memory;
mod process;
#[path = "../../tests/it/harness/program.rs"]
mod program;
mod references;
mod report;
mod runtime_api;
mod server;
mod share;
mod size;
mod stage;
mod start;
mod statistics;
mod throughput;
mod warm;

use std::time::Instant;

use crate::report::Report;
use crate::stage::Stage;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    Full,
    Quick,
}

impl Effort {
    /// The number for a full run, or for a quick run.
    pub fn choose<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

/// Measures one part, and returns it in Markdown.
type Part = fn(&Stage, Effort, &mut Report);

const PARTS: [(&str, Part); 9] = [
    ("start", start::measure),
    ("cold", cold::measure),
    ("warm", warm::measure),
    ("references", references::measure),
    ("memory", memory::measure),
    ("size", size::measure),
    ("throughput", throughput::measure),
    ("core", core_alone::measure),
    ("cost", cost::measure),
];

fn main() {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let effort = if arguments.iter().any(|argument| argument == "quick") { Effort::Quick } else { Effort::Full };
    let chosen: Vec<&str> = arguments.iter().map(String::as_str).filter(|argument| *argument != "quick").collect();
    if let Some(unknown) = chosen.iter().find(|chosen| PARTS.iter().all(|(name, _)| name != *chosen)) {
        let names = PARTS.map(|(name, _)| name).join(", ");
        eprintln!("there is no part {unknown}; there are {names}, and `quick` to measure less often");
        std::process::exit(2);
    }

    let stage = Stage::build();
    for missing in &stage.missing {
        println!("{missing}");
    }
    for (name, measure) in PARTS.iter().filter(|(name, _)| chosen.is_empty() || chosen.contains(name)) {
        let start = Instant::now();
        let mut report = Report::default();
        machine::describe(&stage, effort, &mut report);
        measure(&stage, effort, &mut report);
        report.write(name, effort);
        println!("({name}: {} s)\n", start.elapsed().as_secs());
    }
}
