//! How much one process can do, with several invocations at once as on Managed Instances.

use std::sync::Arc;
use std::time::Duration;

use crate::Effort;
use crate::amplitude::Amplitude;
use crate::contestant::{Contestant, Kind};
use crate::delivery::{Batches, Deliveries, Size};
use crate::report::Report;
use crate::runtime_api::Invocations;
use crate::stage::{Busy, Stage};
use crate::statistics::number;

const SLOTS: [usize; 3] = [1, 8, 64];

/// Of a core. Above, a thread of ours is as good as busy all the time, and the figure beside it is its, not the
/// contestant's.
const SATURATED: f64 = 0.9;

/// Of all cores together, likewise.
const ALL_BUT: f64 = 0.15;

const HEAD: [&str; 9] =
    ["", "slots", "Amplitude", "per second", "contestant", "runtime API", "Amplitude", "AWS", "what limits"];

pub fn measure(stage: &Stage, effort: Effort, report: &mut Report) {
    let (warm_up, time) = (Duration::from_secs(1), effort.choose(Duration::from_secs(5), Duration::from_secs(1)));
    let press = |contestant: &Contestant, slots: usize, amplitude: &Amplitude, what: Arc<dyn Invocations>| {
        let contestant = match slots {
            1 => contestant.clone(),
            _ => contestant.clone().with("AWS_LAMBDA_MAX_CONCURRENCY", slots.to_string()),
        };
        let running = stage.start_with(&contestant, amplitude, what, None);
        stage.press(&running, warm_up, time)
    };
    let amplitudes = [("at once", &stage.prompt), ("100 ms", &stage.late)];

    let mut rows = Vec::new();
    for contestant in stage.all() {
        // The peers do one at a time, as their runtimes do; more is more processes.
        let slots = if matches!(contestant.kind, Kind::Node | Kind::Python) { &SLOTS[..1] } else { &SLOTS };
        for &slots in slots {
            for (delay, amplitude) in amplitudes {
                if contestant.kind == Kind::Hello && delay != "at once" {
                    continue;
                }
                let found = press(&contestant, slots, amplitude, Arc::new(Deliveries::new(Size::Kb6)));
                let delay = if contestant.kind == Kind::Hello { "not asked" } else { delay };
                rows.push(row(contestant.name, slots, delay, 1, found));
            }
        }
    }
    report.say(&format!(
        "One process of each, {} s, events of 6 KB; everything runs on the same cores. Beside the deliveries per second: how \
         much of a core each one was busy. The runtime API makes and signs the deliveries; it, Amplitude and AWS's proxy are \
         one thread each, and moto a process of its own, which is not counted. What hello reaches is the ceiling of the \
         runtime API.",
        time.as_secs()
    ));
    report.table(&HEAD, &rows);

    let mut rows = Vec::new();
    for slots in SLOTS {
        let queue = stage.aws.queue();
        let contestant = Contestant::function()
            .named("webhook, DELIVERY=queue")
            .with("DELIVERY", "queue")
            .with("REDELIVERY_QUEUE_URL", &queue);
        let found = press(&contestant, slots, &stage.prompt, Arc::new(Deliveries::new(Size::Kb6)));
        rows.push(row(contestant.name, slots, "not asked", 1, found));
        stage.aws.delete_queue(&queue);
    }
    for (messages, name) in [(10, "redelivery, batches of 10"), (100, "redelivery, batches of 100")] {
        for slots in [1, 8] {
            for (delay, amplitude) in amplitudes {
                let contestant = Contestant::redelivery();
                let found = press(&contestant, slots, amplitude, Arc::new(Batches::new(messages)));
                rows.push(row(name, slots, delay, messages, found));
            }
        }
    }
    report.say("With the queue: what the webhook puts into SQS (moto's), and what the redelivery takes out to Batch, in events per second.");
    report.table(&HEAD, &rows);
}

fn row(name: &str, slots: usize, delay: &str, events: usize, (per_second, busy): (f64, Busy)) -> Vec<String> {
    let shares = [busy.contestant, busy.runtime_api, busy.amplitude, busy.aws];
    let mut row = vec![name.to_owned(), slots.to_string(), delay.to_owned(), number(per_second * events as f64)];
    row.extend(shares.map(number));
    row.push(limit(name, busy).to_owned());
    row
}

fn limit(name: &str, busy: Busy) -> &'static str {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let all = busy.contestant + busy.runtime_api + busy.amplitude + busy.aws;
    match busy {
        _ if all > cores - ALL_BUT => "the machine's cores, which all share",
        Busy { runtime_api: SATURATED.., .. } => "the runtime API",
        Busy { amplitude: SATURATED.., .. } => "the emulator of Amplitude",
        Busy { contestant: SATURATED.., .. } => "the contestant's CPU",
        _ if name.starts_with("webhook") => "moto",
        _ => "waiting",
    }
}
