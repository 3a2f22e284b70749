//! The core alone, timed by `benches/core` and counted in instructions by `benches/instructions.rs`.

use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::Effort;
use crate::contestant::target;
use crate::report::Report;
use crate::stage::Stage;
use crate::statistics::{Sample, number};

/// Criterion's samples of a benchmark.
#[derive(Deserialize)]
struct Samples {
    iters: Vec<f64>,
    /// Nanoseconds for the iterations of each sample.
    times: Vec<f64>,
}

pub fn measure(_: &Stage, effort: Effort, report: &mut Report) {
    bench("core", &["--warm-up-time", "1", "--measurement-time", effort.choose("5", "1")]);
    let found = target().join("criterion/core");
    let mut sizes: Vec<u64> = std::fs::read_dir(found.join("core"))
        .expect("criterion writes its results")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    sizes.sort_unstable();
    let rows = sizes.into_iter().map(|size| {
        let [floor, core] = ["floor", "core"].map(|part| {
            let text = std::fs::read(found.join(format!("{part}/{size}/new/sample.json")))
                .expect("criterion writes the samples");
            let Samples { iters, times } = serde_json::from_slice(&text).expect("the file contains samples");
            times.into_iter().zip(iters).map(|(nanoseconds, iterations)| nanoseconds / iterations / 1000.0)
        });
        let [floor, core]: [Sample; 2] = [floor.collect(), core.collect()];
        let undisturbed = number(core.percentile(10.0) / floor.percentile(10.0));
        vec![size.to_string(), floor.text(), core.text(), undisturbed, number(core.median() / floor.median())]
    });
    report.paragraph(
        "From the signature to the request for Amplitude, without the network; the floor is one HMAC-SHA256 over the body \
         and one copy of it. Microseconds, by criterion: medians of 100 samples, with the 10th to 90th percentile. If other \
         processes share the processor's core, samples form two groups, of which the slower takes some 1.6 times as long; \
         so the ratio of the fastest tenth is also given.",
    );
    let head = ["body, bytes", "floor", "core", "core / floor, fastest tenth", "core / floor, medians"];
    report.table(&head, &rows.collect::<Vec<_>>());

    report.paragraph(
        "In instructions, under callgrind. It does not support those for SHA-256, so the signature's share is larger.",
    );
    let counted = bench("instructions", &[]);
    let table: Vec<_> = counted.lines().filter(|line| line.starts_with('|')).collect();
    report.paragraph(&table.join("\n"));
}

/// Runs another benchmark of the package and returns its output.
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
