//! Warm deliveries, one after the other in one process: what each costs.

use crate::Effort;
use crate::delivery::{Deliveries, Size};
use crate::report::Report;
use crate::stage::Stage;
use crate::statistics::{Sample, microseconds, milliseconds, number};

const ROUNDS: usize = 12;

pub fn measure(stage: &Stage, effort: Effort, report: &mut Report) {
    let contestants = stage.all();
    let (mut cpu_rows, mut wall_rows) = (Vec::new(), Vec::new());
    let mut kilobytes = Vec::new();
    for size in Size::ALL {
        let deliveries = match size {
            Size::Kb2 | Size::Kb6 => effort.choose(250, 50),
            Size::Kb100 => effort.choose(80, 20),
        };
        kilobytes.push(format!(
            "{:.1} KB ({} of each)",
            Deliveries::new(size).event_bytes() as f64 / 1000.0,
            ROUNDS * deliveries
        ));
        let running: Vec<_> =
            contestants.iter().map(|contestant| stage.start(contestant, &stage.prompt, size, None)).collect();
        for running in &running {
            // JavaScript is compiled while it runs, so it gets time for that.
            running.api.run(effort.choose(1000, 100));
        }
        let mut cpu: Vec<_> = contestants.iter().map(|_| Sample::default()).collect();
        let mut wall = cpu.clone();
        // In turns, so that other load on the machine affects all of them.
        for _ in 0..ROUNDS {
            for (number, running) in running.iter().enumerate() {
                running.api.wait_until_idle();
                let before = running.process.cpu();
                for answered in running.api.run(deliveries) {
                    wall[number].add(milliseconds(answered.duration()));
                }
                running.api.wait_until_idle();
                cpu[number].add(microseconds((running.process.cpu() - before) / deliveries as u32));
            }
        }
        for (row, contestant) in contestants.iter().enumerate() {
            let name = format!("{}, {} KB", contestant.name, size as usize);
            let ratio = |to: usize| number(cpu[row].median() / cpu[to].median());
            cpu_rows.push(vec![name.clone(), cpu[row].text(), ratio(0), ratio(1)]);
            let wall = [50.0, 90.0, 99.0].map(|percent| number(wall[row].percentile(percent)));
            wall_rows.push([vec![name], wall.to_vec()].concat());
        }
    }
    report.say(&format!(
        "One process of each, one delivery after the other, in {ROUNDS} turns; Amplitude answers at once, so that all time is \
         added time. Events: {}.",
        kilobytes.join(", ")
    ));
    report.say("**CPU time per delivery** of the whole process, in microseconds: the median of the turns, with the middle eight tenths.");
    report.table(&["", "CPU µs", "× hello", "× stripe-amplitude"], &cpu_rows);
    report.say(
        "**Time per delivery** by the clock, in milliseconds, from handing out to the answer. It holds the emulator's own \
         work, too, and the runtime API's.",
    );
    report.table(&["", "p50", "p90", "p99"], &wall_rows);
}
