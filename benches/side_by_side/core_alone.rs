//! The core alone, measured in time by `benches/core` and counted in instructions by `benches/instructions.rs`.

use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::Effort;
use crate::contestant::target;
use crate::report::Report;
use crate::stage::Stage;
use crate::statistics::{Sample, number};

/// Criterion's file for a benchmark.
#[derive(Deserialize)]
struct Samples {
    iters: Vec<f64>,
    /// Nanoseconds for a number of iterations.
    times: Vec<f64>,
}

pub fn measure(_: &Stage, effort: Effort, report: &mut Report) {
    bench("core", &["--warm-up-time", "1", "--measurement-time", effort.choose("5", "1")]);
    let found = target().join("criterion/core");
    let mut sizes: Vec<u64> = std::fs::read_dir(found.join("core"))
        .expect("criterion wrote what it found")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    sizes.sort_unstable();
    let rows = sizes.into_iter().map(|size| {
        let [floor, core] = ["floor", "core"].map(|part| {
            let text = std::fs::read(found.join(format!("{part}/{size}/new/sample.json"))).expect("it is there");
            let Samples { iters, times } = serde_json::from_slice(&text).expect("it holds samples");
            times.into_iter().zip(iters).map(|(nanoseconds, iterations)| nanoseconds / iterations / 1000.0)
        });
        let [floor, core]: [Sample; 2] = [floor.collect(), core.collect()];
        let undisturbed = number(core.percentile(10.0) / floor.percentile(10.0));
        vec![size.to_string(), floor.text(), core.text(), undisturbed, number(core.median() / floor.median())]
    });
    report.say(
        "From the signature to the request for Amplitude, without the network; the floor is one HMAC-SHA256 over the body \
         and one copy of it. Microseconds, by criterion: medians of 100 samples, with the middle eight tenths. Where others \
         share the processor's core, samples fall into two groups, of which the slower is some 1.6 times the faster; so the \
         ratio stands there of the fastest tenth, too.",
    );
    let head = ["body, bytes", "floor", "core", "core / floor, fastest tenth", "core / floor, medians"];
    report.table(&head, &rows.collect::<Vec<_>>());

    report.say(
        "In instructions, under callgrind. It knows none for SHA-256, so that the share of the signature is larger there.",
    );
    let counted = bench("instructions", &[]);
    let table: Vec<_> = counted.lines().filter(|line| line.starts_with('|')).collect();
    report.say(&table.join("\n"));
}

/// Runs another benchmark of the package, and returns its output.
fn bench(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["bench", "--locked", "--no-default-features", "--bench", name, "--"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "the benchmark {name} failed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
