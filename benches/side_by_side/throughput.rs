//! The throughput of one process, with several invocations at once as on Managed Instances.

use std::sync::Arc;
use std::time::Duration;

use crate::Effort;
use crate::amplitude::Amplitude;
use crate::contestant::{Contestant, Kind};
use crate::delivery::{Batches, Deliveries, Size};
use crate::report::Report;
use crate::runtime_api::Invocations;
use crate::stage::{self, Busy, Stage};
use crate::statistics::number;

const SLOTS: [usize; 3] = [1, 8, 64];

/// Of a core. Above this, a thread of ours is practically always busy, and limits the result.
const SATURATED: f64 = 0.9;

/// Of all cores together. With less left, more cores would do more.
const SPARE: f64 = 0.2;

/// Of a core.
const DISTURBING: f64 = 0.3;

/// Of the possible.
const AS_GOOD_AS: f64 = 0.9;

/// The name of an Amplitude that responds after [`stage::DELAY`].
const LATE: &str = "100 ms";

const HEAD: [&str; 10] =
    ["", "slots", "Amplitude", "per second", "contestant", "runtime API", "Amplitude", "AWS", "others", "what limits"];

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
    let amplitudes = [("at once", &stage.prompt), (LATE, &stage.late)];

    let (mut rows, mut ceilings) = (Vec::new(), String::new());
    for contestant in stage.all() {
        // The peers process one at a time, like their runtimes; more means more processes.
        let slots = if matches!(contestant.kind, Kind::Node | Kind::Python) { &SLOTS[..1] } else { &SLOTS };
        for &slots in slots {
            for (delay, amplitude) in amplitudes {
                if contestant.kind == Kind::Hello && delay != "at once" {
                    continue;
                }
                let found = press(&contestant, slots, amplitude, Arc::new(Deliveries::new(Size::Kb6)));
                if contestant.kind == Kind::Function && slots == 64 && delay != LATE {
                    ceilings = ceilings_of(found);
                }
                let delay = if contestant.kind == Kind::Hello { "not asked" } else { delay };
                rows.push(row(contestant.name, slots, delay, 1, found));
            }
        }
    }
    report.say(&format!(
        "One process of each, {} s, events of 6 KB; everything runs on the same cores. Beside the deliveries per second: how \
         much of a core each one was busy. The runtime API makes and signs the deliveries; it, Amplitude and AWS's proxy are \
         one thread each; moto is among the others, with whatever else the machine does.",
        time.as_secs()
    ));
    report.table(&HEAD, &rows);
    report.say(&ceilings);

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
    let batches =
        [(10, "redelivery, batches of 10"), (100, "redelivery, batches of 100"), (500, "redelivery, batches of 500")];
    for (messages, name) in batches {
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

/// What the servers around the contestant could do with their own core, from what they used for this much.
fn ceilings_of((per_second, busy): (f64, Busy)) -> String {
    let [contestant, runtime_api, amplitude] =
        [busy.contestant, busy.runtime_api, busy.amplitude].map(|share| number(share / per_second * 1e6));
    let [of_runtime_api, of_amplitude] = [busy.runtime_api, busy.amplitude].map(|share| number(per_second / share));
    format!(
        "Of stripe-amplitude with 64 slots and an Amplitude that answers at once, a delivery takes {contestant} µs of CPU in \
         the function, {runtime_api} µs in the runtime API and {amplitude} µs in the emulator of Amplitude. With a core each, \
         these two would reach {of_runtime_api} and {of_amplitude} deliveries per second."
    )
}

fn row(name: &str, slots: usize, delay: &str, events: usize, (per_second, busy): (f64, Busy)) -> Vec<String> {
    let shares = [busy.contestant, busy.runtime_api, busy.amplitude, busy.aws, busy.others];
    let mut row = vec![name.to_owned(), slots.to_string(), delay.to_owned(), number(per_second * events as f64)];
    row.extend(shares.map(|share| format!("{share:.2}")));
    let most = (delay == LATE).then(|| slots as f64 / stage::DELAY.as_secs_f64());
    row.push(limit(name, slots, most.is_some_and(|most| per_second > AS_GOOD_AS * most), busy).to_owned());
    row
}

fn limit(name: &str, slots: usize, waits_for_amplitude: bool, busy: Busy) -> &'static str {
    match busy {
        _ if waits_for_amplitude => "Amplitude's delay",
        Busy { runtime_api: SATURATED.., .. } => "the runtime API",
        Busy { amplitude: SATURATED.., .. } => "the emulator of Amplitude",
        _ if name.starts_with("webhook") => "moto",
        // With more slots it has more than one thread.
        Busy { contestant: SATURATED.., .. } if slots == 1 => "the contestant's CPU",
        Busy { others: DISTURBING.., .. } if busy.idle < SPARE => "the machine's cores, and others on them",
        _ if busy.idle < SPARE => "the machine's cores",
        _ => "one step after the other",
    }
}
