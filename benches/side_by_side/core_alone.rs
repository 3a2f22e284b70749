//! The core alone, as `benches/core` measures it in time and `benches/instructions.rs` counts it.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Effort;
use crate::contestant::target;
use crate::report::Report;
use crate::stage::Stage;
use crate::statistics::number;

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
            let text = std::fs::read(found.join(format!("{part}/{size}/new/estimates.json"))).expect("it is there");
            let estimates: Value = serde_json::from_slice(&text).expect("it is JSON");
            let median = &estimates["median"];
            let interval = &median["confidence_interval"];
            [&median["point_estimate"], &interval["lower_bound"], &interval["upper_bound"]]
                .map(|nanoseconds| nanoseconds.as_f64().expect("it is a number") / 1000.0)
        });
        let text =
            |[median, lower, upper]: [f64; 3]| format!("{} ({}–{})", number(median), number(lower), number(upper));
        vec![size.to_string(), text(floor), text(core), number(core[0] / floor[0])]
    });
    report.say(
        "From the signature to the request for Amplitude, without the network; the floor is one HMAC-SHA256 over the body \
         and one copy of it. Microseconds, by criterion: medians with their intervals of 95 %.",
    );
    report.table(&["body, bytes", "floor", "core", "core / floor"], &rows.collect::<Vec<_>>());

    report.say(
        "In instructions, under callgrind. It knows none for SHA-256, so that the share of the signature is larger there.",
    );
    let counted = bench("instructions", &[]);
    let table: Vec<_> = counted.lines().filter(|line| line.starts_with('|')).collect();
    report.say(&table.join("\n"));
}

/// Runs another benchmark of the package, and gives what it printed.
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
