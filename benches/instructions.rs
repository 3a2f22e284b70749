//! The core in instructions, which no other load on the machine changes, beside its floor: like `core`, but counted by
//! callgrind. `cargo bench --no-default-features --bench instructions` prints them. With `-- --check`, it fails if the
//! core takes over 5 % more or less than in `benches/instructions.json`; with `-- --write`, it writes that file.
//!
//! If the file has no counts for the processor's family, nothing is compared. callgrind does not know the instructions
//! for SHA-256, so the share of the signature is larger here than in practice.

// A measurement that fails must stop, and nothing here is a public API.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "core/work.rs"]
mod work;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::{Command, ExitCode};

use crate::work::{SIZES, Work};

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.json");

/// How far the core may be from the committed count.
const TOLERANCE: f64 = 0.05;

/// The first run counts the work that is done once; the second also counts the measured work.
const ROUNDS: [u64; 2] = [2, 12];

/// Instructions by the size of the body. They depend on the processor's family.
type Counts = BTreeMap<String, BTreeMap<usize, u64>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["work", part, size, rounds] => {
            work(part, size.parse().expect("it is a size"), rounds.parse().expect("it is a number"));
            ExitCode::SUCCESS
        }
        options if cfg!(target_os = "linux") => report(options),
        _ => {
            println!("instructions: skipped, there is no valgrind for this system");
            ExitCode::SUCCESS
        }
    }
}

/// The code that runs under callgrind.
fn work(part: &str, size: usize, rounds: u64) {
    let work = Work::new(size);
    for _ in 0..rounds {
        match part {
            "core" => drop(black_box(work.core())),
            "floor" => drop(black_box(work.floor())),
            part => panic!("there is no part {part}"),
        }
    }
}

fn report(options: &[&str]) -> ExitCode {
    let text = std::fs::read_to_string(COMMITTED).unwrap_or_else(|_| "{}".to_owned());
    let mut committed: Counts = serde_json::from_str(&text).expect("instructions.json holds counts by size");
    let of_this_processor = committed.entry(std::env::consts::ARCH.to_owned()).or_default();
    let is_known = !of_this_processor.is_empty();

    println!("| body, bytes | core | per byte | floor | core / floor | committed |");
    println!("|--:|--:|--:|--:|--:|--:|");
    let mut is_off = false;
    let mut counts = BTreeMap::new();
    for size in SIZES {
        let bytes = Work::new(size).size();
        let (core, floor) = (count("core", size), count("floor", size));
        let share = |of: u64| core as f64 / of as f64;
        let change = match of_this_processor.get(&bytes) {
            Some(known) => {
                is_off |= (share(*known) - 1.0).abs() > TOLERANCE;
                format!("{:+.1} %", (share(*known) - 1.0) * 100.0)
            }
            None => {
                is_off |= is_known;
                "none".to_owned()
            }
        };
        println!("| {bytes} | {core} | {:.1} | {floor} | {:.2} | {change} |", core as f64 / bytes as f64, share(floor));
        counts.insert(bytes, core);
    }

    if options.contains(&"--write") {
        *of_this_processor = counts;
        let text = serde_json::to_string_pretty(&committed).expect("counts can be serialised");
        std::fs::write(COMMITTED, text + "\n").expect("instructions.json can be written");
    } else if options.contains(&"--check") && is_off {
        eprintln!(
            "The core takes more or less than the committed instructions. Where that is right, commit the new ones: \
             cargo bench --no-default-features --bench instructions -- --write"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The instructions of one round.
fn count(part: &str, size: usize) -> u64 {
    let [few, many] = ROUNDS.map(|rounds| under_callgrind(&["work", part, &size.to_string(), &rounds.to_string()]));
    let [few_rounds, many_rounds] = ROUNDS;
    (many - few) / (many_rounds - few_rounds)
}

fn under_callgrind(arguments: &[&str]) -> u64 {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(arguments)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .output()
        .unwrap_or_else(|error| panic!("valgrind, which has to be installed for this, does not run: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    collected.unwrap_or_else(|| panic!("valgrind says nothing of instructions:\n{text}"))
}
