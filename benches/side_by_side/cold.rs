//! Cold starts: the time until the first request for work, and until the first delivery is answered.

use std::time::Duration;

use crate::Effort;
use crate::contestant::{Contestant, Kind};
use crate::delivery::{PROJECT, Size};
use crate::report::Report;
use crate::share::{MEMORY, Share};
use crate::stage::{Running, Stage};
use crate::statistics::{Sample, milliseconds};

/// The pause between init and the first delivery, which separates them.
const PAUSE: Duration = Duration::from_millis(100);

/// The result of one start, and the number of starts, for the median.
#[derive(Default)]
struct Found {
    /// Milliseconds to the first request for work.
    start: Sample,
    /// CPU milliseconds until then.
    start_cpu: Sample,
    /// Milliseconds from the start to the first response, if work was waiting.
    to_first_answer: Sample,
    /// Milliseconds of the first delivery alone.
    first_delivery: Sample,
    /// Calls to AWS, and new connections to Amplitude, during the first delivery.
    calls: Sample,
    connections: Sample,
}

pub fn measure(stage: &Stage, effort: Effort, report: &mut Report) {
    let warmed = Contestant::function().named("stripe-amplitude, WARM_PROJECTS").with("WARM_PROJECTS", PROJECT);
    let contestants = [vec![Contestant::hello(), Contestant::function(), warmed], stage.peers()].concat();

    let at_full = interleave(&contestants, effort.choose(25, 3), |contestant, found| {
        whole(stage, contestant, None, found);
        apart(stage, contestant, None, found);
    });
    let mut columns = vec![("full".to_owned(), at_full)];
    for megabytes in MEMORY {
        match Share::of(megabytes) {
            Ok(_) => {
                let runs = effort.choose(7, 1);
                let found = interleave(&contestants, runs, |contestant, found| {
                    whole(stage, contestant, Some(megabytes), found);
                    apart(stage, contestant, Some(megabytes), found);
                });
                columns.push((format!("{megabytes} MB"), found));
            }
            Err(why) => {
                report.say(&format!("The share of {megabytes} MB is skipped; no control group can be made: {why}"))
            }
        }
    }

    let table = |value: fn(&Found) -> &Sample| -> Vec<Vec<String>> {
        let rows = contestants.iter().enumerate().map(|(row, contestant)| {
            let cells = columns.iter().map(|(_, found)| value(&found[row]).text());
            std::iter::once(contestant.name.to_owned()).chain(cells).collect()
        });
        rows.collect()
    };
    let runs: Vec<_> =
        columns.iter().map(|(name, found)| format!("{name}: {}", found[0].to_first_answer.count())).collect();
    let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let head = [&[""], &*names].concat();
    report.say(&format!(
        "Medians, with the middle eight tenths in brackets; in milliseconds. \"full\" is without a quota, the others are \
         the share of a core that Lambda gives at that memory size, in periods of 20 ms. Runs of each, one contestant \
         after the other: {}. The event has 6 KB; Amplitude answers at once.",
        runs.join(", ")
    ));
    report.say("**Process start to the first request for work**, by the clock:");
    report.table(&head, &table(|found| &found.start));
    report.say("The same in CPU time, which a busy machine blurs less. (At full, for twice as many starts.)");
    report.table(&head, &table(|found| &found.start_cpu));
    report.say("**Process start to the answer of a first delivery** that waits for it, all at that share:");
    report.table(&head, &table(|found| &found.to_first_answer));
    report.say(
        "**The first delivery alone**, from handing out to the answer. The process started at full CPU, as Lambda's init \
         does, and was put under its share before:",
    );
    report.table(&head, &table(|found| &found.first_delivery));
    report.say("**Init at full CPU, then the first delivery at the share**: the sum of the medians, as on Lambda.");
    let rows = contestants.iter().enumerate().map(|(row, contestant)| {
        let start = columns[0].1[row].start.median();
        let cells =
            columns.iter().map(|(_, found)| crate::statistics::number(start + found[row].first_delivery.median()));
        std::iter::once(contestant.name.to_owned()).chain(cells).collect()
    });
    report.table(&head, &rows.collect::<Vec<_>>());

    report.say("During that first delivery (at full; the most of all runs):");
    let (_, at_full) = &columns[0];
    let rows = contestants.iter().zip(at_full).filter(|(contestant, _)| contestant.kind != Kind::Hello);
    let most = |sample: &Sample| sample.percentile(100.0).to_string();
    let rows =
        rows.map(|(contestant, found)| vec![contestant.name.to_owned(), most(&found.calls), most(&found.connections)]);
    report.table(&["", "calls to Parameter Store", "new connections to Amplitude"], &rows.collect::<Vec<_>>());
}

/// The contestants take turns, so that other load on the machine affects all of them.
fn interleave(contestants: &[Contestant], runs: usize, mut run: impl FnMut(&Contestant, &mut Found)) -> Vec<Found> {
    let mut found: Vec<Found> = contestants.iter().map(|_| Found::default()).collect();
    for _ in 0..runs {
        for (contestant, found) in contestants.iter().zip(&mut found) {
            run(contestant, found);
        }
    }
    found
}

/// The whole start at the same share, with work waiting.
fn whole(stage: &Stage, contestant: &Contestant, megabytes: Option<u64>, found: &mut Found) {
    let share = megabytes.map(|megabytes| Share::of(megabytes).unwrap());
    let Running { process, api } = stage.start(contestant, &stage.prompt, Size::Kb6, share.as_ref());
    // Not earlier, so that the CPU time can be read before it grows.
    let asked = api.first_asked();
    found.start_cpu.add(milliseconds(process.cpu()));
    found.start.add(milliseconds(asked - process.started));
    let answered = api.run(1)[0];
    // Without the moment of our own measurement.
    found.to_first_answer.add(milliseconds((asked - process.started) + answered.duration()));
}

/// The start at full CPU; then the share, and a delivery.
fn apart(stage: &Stage, contestant: &Contestant, megabytes: Option<u64>, found: &mut Found) {
    let share = megabytes.map(|megabytes| Share::of(megabytes).unwrap());
    let Running { process, api } = stage.start(contestant, &stage.prompt, Size::Kb6, None);
    let asked = api.first_asked();
    if share.is_none() {
        found.start_cpu.add(milliseconds(process.cpu()));
        found.start.add(milliseconds(asked - process.started));
    }
    if let Some(share) = &share {
        share.hold(process.id());
    }
    std::thread::sleep(PAUSE);
    let (calls, connections) = (stage.aws.calls(), stage.prompt.connections());
    let answered = api.run(1)[0];
    let new = stage.prompt.connections().iter().filter(|port| !connections.contains(port)).count();
    found.first_delivery.add(milliseconds(answered.duration()));
    found.calls.add((stage.aws.calls() - calls) as f64);
    found.connections.add(new as f64);
}
