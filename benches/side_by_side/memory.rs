//! The memory of a process, and how fast it grows.

use crate::Effort;
use crate::delivery::Size;
use crate::report::Report;
use crate::stage::Stage;
use crate::statistics::number;

pub fn measure(stage: &Stage, effort: Effort, report: &mut Report) {
    // By then, the buffers, the connections and the cache of projects have reached their final size.
    let settled = effort.choose(1_000, 100);
    let more = effort.choose(20_000, 1_000);
    let mut rows = Vec::new();
    for contestant in stage.all() {
        let running = stage.start(&contestant, &stage.prompt, Size::Kb6, None);
        let resident_after = |count| {
            running.api.run(count);
            running.api.wait_until_idle();
            running.process.memory("VmRSS")
        };
        let mib = |kib: u64| number(kib as f64 / 1024.0);
        let first = resident_after(1);
        let before = resident_after(settled - 1);
        let after = resident_after(more);
        let growth = 1024.0 * (after as f64 - before as f64) / f64::from(u32::try_from(more).expect("few enough"));
        rows.push(vec![
            contestant.name.to_owned(),
            mib(first),
            mib(before),
            mib(after),
            mib(running.process.memory("VmHWM")),
            format!("{growth:.0}"),
        ]);
    }
    report.say(&format!(
        "In MiB, as the system counts it for the whole process, its program and libraries included (VmRSS, and VmHWM for \
         the peak); events of 6 KB. The growth is in bytes for each of the {more} deliveries after the first {settled}."
    ));
    let columns = ["", "after 1", &format!("after {settled}"), &format!("after {}", settled + more), "peak", "growth"];
    report.table(&columns, &rows);
}
