//! What a process has in memory, and whether it grows.

use crate::Effort;
use crate::contestant::Kind;
use crate::delivery::Size;
use crate::report::Report;
use crate::stage::Stage;
use crate::statistics::number;

pub fn measure(stage: &Stage, effort: Effort, report: &mut Report) {
    let mut rows = Vec::new();
    for contestant in stage.all() {
        let running = stage.start(&contestant, &stage.prompt, Size::Kb6, None);
        let most = match contestant.kind {
            Kind::Node | Kind::Python => effort.choose(10_000, 500),
            _ => effort.choose(100_000, 1_000),
        };
        let mut done = 0;
        for after in [1, effort.choose(1_000, 100), most] {
            running.api.run(after - done);
            done = after;
            running.api.wait_until_idle();
            let [peak, now] = ["VmHWM", "VmRSS"].map(|line| number(running.process.memory(line) as f64 / 1024.0));
            rows.push(vec![contestant.name.to_owned(), after.to_string(), peak, now]);
        }
    }
    report.say(
        "In MiB, as the system counts it for the whole process, its program and libraries included; events of 6 KB.",
    );
    report.table(&["", "deliveries", "peak (VmHWM)", "then (VmRSS)"], &rows);
}
