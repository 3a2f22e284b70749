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
/// Per million. Same source.
const LAMBDA_REQUESTS: f64 = 0.20;
/// Per million for an HTTP API. A Function URL is free. Source: aws.amazon.com/api-gateway/pricing, the first tier.
const HTTP_API_REQUESTS: f64 = 1.00;
/// Per million, each of up to 64 KB, standard queue. Source: aws.amazon.com/sqs/pricing.
const SQS_REQUESTS: f64 = 0.40;

/// Lambda's poller receives up to ten messages per request, and deletes as many per request.
const MESSAGES_OF_A_REQUEST: f64 = 10.0;

/// Messages in a batch under high traffic, with `MaximumBatchingWindowInSeconds`.
const BATCH: usize = 100;

pub fn measure(stage: &Stage, effort: Effort, report: &mut Report) {
    let queue = stage.aws.queue();
    let webhook = Contestant::function().with("DELIVERY", "queue").with("REDELIVERY_QUEUE_URL", &queue);
    let deliveries = || Arc::new(Deliveries::new(Size::Kb6));
    let count = effort.choose(60, 5);
    let (mut rows, mut queue_rows) = (Vec::new(), Vec::new());
    for megabytes in MEMORY {
        if let Err(why) = Share::of(megabytes) {
            report.paragraph(&format!("Skipped: cannot create a control group: {why}"));
            return;
        }
        let billed = |contestant: &Contestant, amplitude: &Amplitude, what: Arc<dyn Invocations>| {
            durations(stage, contestant, amplitude, what, megabytes, count)
        };
        let gigabytes = megabytes as f64 / 1024.0;
        // The cost of a million invocations that are billed this many milliseconds each.
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

    report.paragraph(&format!(
        "Warm deliveries of 6 KB at each memory size's share of a core, Amplitude responding after 100 ms; {count} of each. \
         Each is billed in whole milliseconds. Prices in us-east-1 on arm64, without the free tier: {GIGABYTE_SECOND} per \
         GB-second, and per million requests {LAMBDA_REQUESTS:.2} for Lambda, {HTTP_API_REQUESTS:.2} for an HTTP API, nothing \
         for a Function URL, {SQS_REQUESTS:.2} for SQS. The durations are this machine's. Cold starts, logs, metrics and \
         traffic are not included.",
    ));
    report.paragraph("**Direct**, in dollars per million deliveries:");
    report.table(&["", "MB", "billed ms, median", "mean", "Function URL", "HTTP API"], &rows);
    report.paragraph(&format!(
        "**With `DELIVERY=queue`**, stripe-amplitude, batches of {BATCH}, in dollars per million deliveries. moto stands in for \
         SQS and is slower; most of the webhook's milliseconds are moto's.",
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
    // The first ones may still use CPU saved at full share.
    running.api.run(3);
    let billed = (0..count).map(|_| {
        running.api.wait_until_idle();
        // Deliveries do not arrive at the beginning of a period.
        std::thread::sleep(Duration::from_millis(fastrand::u64(20..40)));
        milliseconds(running.api.run(1)[0].duration()).ceil()
    });
    billed.collect()
}
