//! Dollars per million deliveries, from measured durations and published prices.

use std::sync::Arc;
use std::time::Duration;

use crate::Effort;
use crate::amplitude::Amplitude;
use crate::contestant::Contestant;
use crate::delivery::{Batches, Deliveries, Size};
use crate::report::Report;
use crate::runtime_api::Invocations;
use crate::share::{MEMORY, Share};
use crate::stage::Stage;
use crate::statistics::{Sample, milliseconds, number};

// Prices in us-east-1, in dollars.

/// Source: aws.amazon.com/lambda/pricing, arm64, the first tier.
const GIGABYTE_SECOND: f64 = 0.000_013_333_4;
/// Per million. Source: the same.
const LAMBDA_REQUESTS: f64 = 0.20;
/// Per million of an HTTP API. A Function URL costs nothing. Source: aws.amazon.com/api-gateway/pricing, the first tier.
const HTTP_API_REQUESTS: f64 = 1.00;
/// Per million, of up to 64 KB each, standard queue. Source: aws.amazon.com/sqs/pricing.
const SQS_REQUESTS: f64 = 0.40;

/// Lambda's poller receives up to ten messages with one request, and deletes as many with another.
const MESSAGES_OF_A_REQUEST: f64 = 10.0;

/// The messages per invocation under high traffic, with `MaximumBatchingWindowInSeconds`.
const BATCH: usize = 100;

pub fn measure(stage: &Stage, effort: Effort, report: &mut Report) {
    let queue = stage.aws.queue();
    let webhook = Contestant::function().with("DELIVERY", "queue").with("REDELIVERY_QUEUE_URL", &queue);
    let deliveries = || Arc::new(Deliveries::new(Size::Kb6));
    let count = effort.choose(60, 5);
    let (mut rows, mut queue_rows) = (Vec::new(), Vec::new());
    for megabytes in MEMORY {
        if let Err(why) = Share::of(megabytes) {
            report.say(&format!("Skipped; no control group can be made: {why}"));
            return;
        }
        let billed = |contestant: &Contestant, amplitude: &Amplitude, what: Arc<dyn Invocations>| {
            durations(stage, contestant, amplitude, what, megabytes, count)
        };
        let gigabytes = megabytes as f64 / 1024.0;
        // Of a million invocations with this billed duration in milliseconds.
        let dollars = |billed: f64| LAMBDA_REQUESTS + 1e6 * billed / 1e3 * gigabytes * GIGABYTE_SECOND;

        for contestant in [vec![Contestant::function()], stage.peers()].concat() {
            let found = billed(&contestant, &stage.late, deliveries());
            let url = dollars(found.mean());
            rows.push(vec![
                contestant.name.to_owned(),
                megabytes.to_string(),
                found.text(),
                number(found.mean()),
                format!("{url:.2}"),
                format!("{:.2}", url + HTTP_API_REQUESTS),
            ]);
        }

        let put = billed(&webhook, &stage.late, deliveries());
        let taken = billed(&Contestant::redelivery(), &stage.late, Arc::new(Batches::new(BATCH)));
        let requests = SQS_REQUESTS * (1.0 + 2.0 / MESSAGES_OF_A_REQUEST);
        let url = dollars(put.mean()) + requests + dollars(taken.mean()) / BATCH as f64;
        queue_rows.push(vec![
            megabytes.to_string(),
            number(put.mean()),
            number(taken.mean()),
            format!("{:.2}", dollars(put.mean())),
            format!("{requests:.2}"),
            format!("{:.2}", dollars(taken.mean()) / BATCH as f64),
            format!("{url:.2}"),
            format!("{:.2}", url + HTTP_API_REQUESTS),
        ]);
    }
    stage.aws.delete_queue(&queue);

    report.say(&format!(
        "Warm deliveries of 6 KB at the share of a core of each memory size, Amplitude answering after 100 ms; {count} of each. \
         Each is billed in whole milliseconds. Prices in us-east-1 on arm64, without the free tier: {GIGABYTE_SECOND} per \
         GB-second, {LAMBDA_REQUESTS:.2} per million requests of Lambda, {HTTP_API_REQUESTS:.2} of an HTTP API, nothing of a \
         Function URL, {SQS_REQUESTS:.2} of SQS. The durations are this machine's. Cold starts, logs, metrics and traffic \
         are not in it.",
    ));
    report.say("**Direct**, in dollars per million deliveries:");
    report.table(&["", "MB", "billed ms, median", "mean", "Function URL", "HTTP API"], &rows);
    report.say(&format!(
        "**With `DELIVERY=queue`**, stripe-amplitude, batches of {BATCH}, in dollars per million deliveries. SQS is moto, which \
         answers later than SQS does; the webhook's milliseconds are mostly its.",
    ));
    let head = ["MB", "webhook ms", "batch ms", "webhook", "SQS", "redelivery", "all, Function URL", "all, HTTP API"];
    report.table(&head, &queue_rows);
}

/// The billed duration of warm invocations, in milliseconds.
fn durations(
    stage: &Stage,
    contestant: &Contestant,
    amplitude: &Amplitude,
    what: Arc<dyn Invocations>,
    megabytes: u64,
    count: usize,
) -> Sample {
    let share = Share::of(megabytes).unwrap();
    let running = stage.start_with(contestant, amplitude, what, None);
    running.api.run(20);
    share.hold(running.process.id());
    // The first ones may still profit from the rest of full CPU.
    running.api.run(3);
    let billed = (0..count).map(|_| {
        running.api.wait_until_idle();
        // Deliveries arrive at any time within a period.
        std::thread::sleep(Duration::from_millis(fastrand::u64(20..40)));
        milliseconds(running.api.run(1)[0].duration()).ceil()
    });
    billed.collect()
}
