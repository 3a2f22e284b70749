//! A simulated Stripe and the functions, with everything around them failing. In the end, every event must be in
//! Amplitude, once, with exact revenue to the last minor unit.
//!
//! Stripe delivers at least once, in any order and several events at a time. It retries whatever was not answered 2xx,
//! each time later and with a new signature. Its clock and the queue's are compressed: half a minute becomes a moment.

mod chaos;
mod report;
mod stripe;
mod world;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use stripe_emulator::{Emulator, Permission};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use self::chaos::Chaos;
pub use self::report::Report;
use self::stripe::Stripe;
use self::world::{Event, World};
use crate::harness::SHOP;
use crate::harness::amplitude::Amplitude;
use crate::harness::lambda::Function;
use crate::harness::parameter_store::ParameterStore;
use crate::harness::queue::{self, ProcessedMessage, Queue};

/// The key for Stripe's API.
const STRIPE_KEY: &str = "rk_live_of_the_simulation";

/// Longer than any answer takes.
const INVOCATION_TIMEOUT: Duration = Duration::from_secs(8);

/// The parameters of a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The seed of all random numbers. Effects of timing are not repeated.
    pub seed: u64,
    pub events: usize,
    pub with_queue: bool,
}

impl Plan {
    /// `SEED` and `EVENTS` in the environment override a random seed and this number of events.
    pub fn from_environment(events: usize, with_queue: bool) -> Self {
        let variable = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
        let seed = variable("SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
        // So that a failure can be repeated.
        println!("SEED={seed} {}", if with_queue { "with the queue" } else { "without the queue" });
        let events = variable("EVENTS").map_or(events, |number| usize::try_from(number).unwrap());
        Self { seed, events, with_queue }
    }
}

/// One of the processes, which can be killed at any moment.
pub struct Instance {
    function: Function,
    /// The number of concurrent requests it takes.
    at_once: usize,
    killed: watch::Sender<u64>,
    peak_memory: AtomicU64,
}

impl Instance {
    fn new(function: Function, at_once: usize) -> Self {
        Self { function, at_once, killed: watch::Sender::new(0), peak_memory: AtomicU64::new(0) }
    }

    /// Invokes the function. If its process ends, the invocation fails immediately, as on Lambda.
    async fn invoke(&self, payload: &Value) -> Result<Value, &'static str> {
        let mut killed = self.killed.subscribe();
        tokio::select! {
            answer = timeout(INVOCATION_TIMEOUT, self.function.invoke(payload)) => {
                answer.map_err(|_| "no answer")?.map_err(|_| "the function failed")
            }
            _ = killed.changed() => Err("killed"),
        }
    }

    fn kill(&self) {
        self.measure();
        self.function.kill_and_restart();
        self.killed.send_modify(|times| *times += 1);
    }

    fn measure(&self) -> u64 {
        self.peak_memory.fetch_max(self.function.peak_memory().unwrap_or(0), Ordering::Relaxed);
        self.peak_memory.load(Ordering::Relaxed)
    }
}

/// Everything around Stripe.
pub struct Setup {
    store: ParameterStore,
    amplitude: Amplitude,
    /// Stripe's API, with the objects that events refer to.
    stripe_api: Emulator,
    queue: Option<Queue>,
    webhooks: Vec<Instance>,
    redeliveries: Vec<Instance>,
    /// Messages that `redelivery` received and could not deliver, by message ID.
    waiting: Mutex<HashMap<String, Value>>,
}

impl Setup {
    async fn start(world: &World, with_queue: bool) -> Self {
        let (store, amplitude) = (ParameterStore::start_with_shop().await, Amplitude::start().await);
        let settings = json!({"refunds": "negative_revenue", "events": {"add": world::ADDED}, "references": "follow",
            "user_id_paths": world::USER_ID_PATHS});
        let stripe_api = Emulator::start().unwrap();
        stripe_api.allow(STRIPE_KEY, &Permission::ALL);
        store.put(&format!("{SHOP}/stripe-api-key"), STRIPE_KEY).await;
        for (account, object) in &world.objects {
            stripe_api.connect(account);
            stripe_api.put_in(account, object.clone()).unwrap();
        }
        store.put(&format!("{SHOP}/settings"), &settings.to_string()).await;
        let queue = if with_queue { Some(Queue::start(100).await) } else { None };

        let mut both = vec![
            ("PARAMETER_PREFIX", store.prefix()),
            ("AWS_ENDPOINT_URL_SSM", store.url()),
            ("PARAMETER_TTL_SECONDS", "1"),
            ("STRIPE_API_URL", stripe_api.url()),
        ];
        if let Some(queue) = &queue {
            both.extend([("REDELIVERY_QUEUE_URL", queue.url()), ("AWS_ENDPOINT_URL_SQS", queue.endpoint())]);
        }
        let mut webhooks = Vec::new();
        let delivery = if with_queue { ("DELIVERY", "queue") } else { ("DELIVERY", "direct") };
        let many = ("AWS_LAMBDA_MAX_CONCURRENCY", "8");
        let one = || (1, vec![]);
        for (at_once, more) in [one(), one(), one(), (1, vec![delivery]), (8, vec![many]), (8, vec![many])] {
            let variables = [&both[..], &[("AMPLITUDE_URL", amplitude.url())], &more].concat();
            webhooks.push(Instance::new(Function::start(&variables).await, at_once));
        }
        let mut redeliveries = Vec::new();
        if let Some(queue) = &queue {
            let batch_url = amplitude.batch_url();
            for _ in 0..2 {
                let own = [("AMPLITUDE_URL", &*batch_url), ("DEAD_LETTER_QUEUE_URL", queue.dead_letters_url())];
                let function = Function::start_redelivery(&[&both[..], &own].concat()).await;
                redeliveries.push(Instance::new(function, 1));
            }
        }
        Self { store, amplitude, stripe_api, queue, webhooks, redeliveries, waiting: Mutex::default() }
    }
}

/// Runs the simulation, waits until every event has arrived, and checks the result.
pub async fn run(plan: Plan) -> Report {
    let world = World::new(plan.seed, plan.events);
    let setup = Setup::start(&world, plan.with_queue).await;
    let stripe = Stripe::new(&world.events, plan.seed);
    let mut chaos = Chaos::new(&setup, &stripe, plan.seed);
    let start = Instant::now();

    let (delivered, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let slots = setup.webhooks.iter().flat_map(|instance| std::iter::repeat_n(instance, instance.at_once));
    let deliver = async {
        tokio::join!(join_all(slots.map(|instance| stripe.deliver(instance))), stripe.roll_secret(&setup.store));
        delivered.store(true, Ordering::Relaxed);
    };
    // Shows the progress of a long run.
    let report_progress = async {
        let mut reported = Duration::ZERO;
        while !done.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(100)).await;
            if start.elapsed() - reported > Duration::from_secs(20) {
                reported = start.elapsed();
                eprintln!("  {:.0} s: {}", reported.as_secs_f64(), stripe.describe_progress());
            }
        }
    };
    let fail = async {
        chaos.run(&delivered).await;
        let dead_letters = drain(&setup).await;
        done.store(true, Ordering::Relaxed);
        dead_letters
    };
    let redeliver = join_all(setup.redeliveries.iter().map(|instance| poll_until_done(&setup, instance, &done)));
    let (_, dead_letters, messages, ()) = tokio::join!(deliver, fail, redeliver, report_progress);
    let seconds = start.elapsed().as_secs_f64();

    check(&world, &setup, &stripe, plan);
    let counts = setup.amplitude.counts();
    Report {
        plan,
        events: world.events.len(),
        selected: world.events.iter().filter(|event| event.selected).count(),
        stripe: stripe.counts(),
        faults: chaos.counts(),
        answers: counts.answers,
        repeats_dropped: counts.repeats,
        messages: messages.into_iter().sum(),
        dead_letters,
        seconds,
        peak_memory: setup.webhooks.iter().map(Instance::measure).max().unwrap(),
        peak_memory_redelivery: setup.redeliveries.iter().map(Instance::measure).max(),
    }
}

/// Acts as Lambda's event source mapping until the queue stays empty. Returns the number of messages.
async fn poll_until_done(setup: &Setup, instance: &Instance, done: &AtomicBool) -> u64 {
    let Some(queue) = &setup.queue else { return 0 };
    let mut count = 0;
    while !done.load(Ordering::Relaxed) {
        let messages = queue.receive().await;
        if messages.is_empty() {
            sleep(Duration::from_millis(50)).await;
            continue;
        }
        count += messages.len() as u64;
        let answer = instance.invoke(&queue::invocation(&messages)).await.map_err(str::to_owned);
        let processed = queue::settle(queue, messages, answer).await;
        // An hour becomes a minute of SQS's time, which counts in seconds, so half a minute becomes the minimum.
        for ProcessedMessage { message, failed, delay } in processed {
            let id = message["MessageId"].as_str().unwrap().to_owned();
            if failed {
                queue.make_visible_in(delay.map_or(1, |delay| delay.div_ceil(60)), [&message]).await;
                setup.waiting.lock().unwrap().insert(id, message);
            } else {
                setup.waiting.lock().unwrap().remove(&id);
            }
        }
    }
    count
}

/// After all faults have ended, waits until the queue is empty and sends the dead letters again, like an operator.
/// Returns their number.
async fn drain(setup: &Setup) -> u64 {
    let Some(queue) = &setup.queue else { return 0 };
    let mut count = 0;
    loop {
        let deadline = Instant::now() + Duration::from_secs(300);
        while queue.len().await > 0 {
            assert!(Instant::now() < deadline, "{} messages remain in the queue", queue.len().await);
            sleep(Duration::from_secs(2)).await;
            // A process that was given up or killed may have set uncompressed delays afterwards.
            let waiting: Vec<_> = setup.waiting.lock().unwrap().drain().map(|(_, message)| message).collect();
            for messages in waiting.chunks(10) {
                queue.make_visible(messages).await;
            }
        }
        let letters = queue.take_dead_letters().await;
        if letters.is_empty() {
            return count;
        }
        count += letters.len() as u64;
        for letter in &letters {
            queue.redrive(letter).await;
        }
    }
}

/// Every event is in Amplitude exactly once, nothing else is, and the revenue is complete.
fn check(world: &World, setup: &Setup, stripe: &Stripe, plan: Plan) {
    let kept = setup.amplitude.events();
    let mut times: HashMap<&str, usize> = HashMap::new();
    for kept in &kept {
        *times.entry(kept.event["insert_id"].as_str().unwrap()).or_default() += 1;
    }
    let expected: BTreeMap<&str, &Event> = world.events.iter().map(|event| (&*event.insert_id, event)).collect();
    for (insert_id, event) in expected {
        let found = times.remove(insert_id).unwrap_or(0);
        assert_eq!(found, usize::from(event.selected), "{insert_id} of {} ({}), {plan:?}", event.id, event.event_type);
    }
    assert!(times.is_empty(), "events that never happened: {times:?}");
    // One buyer is one user.
    let owners: HashMap<&str, &str> =
        world.events.iter().filter_map(|event| Some((&*event.insert_id, event.user.as_deref()?))).collect();
    for kept in &kept {
        if let Some(owner) = owners.get(kept.event["insert_id"].as_str().unwrap()) {
            assert_eq!(kept.event["user_id"], *owner, "{:?}, {plan:?}", kept.event);
        }
    }
    assert!(owners.len() >= 4, "expected subscriptions");
    let types: BTreeSet<_> = kept.iter().map(|kept| kept.event["event_type"].as_str().unwrap()).collect();
    for event_type in ::stripe_amplitude::stripe::event_types::TYPES {
        assert!(types.contains(&*format!("[Stripe] {event_type}")), "{event_type}");
    }

    let mut revenue: BTreeMap<(String, String), i128> = BTreeMap::new();
    for kept in &kept {
        if let Some(amount) = kept.event.get("revenue") {
            let currency = kept.event["currency"].as_str().unwrap().to_owned();
            let user =
                kept.attributed_user_id.clone().unwrap_or_else(|| panic!("revenue without a user: {:?}", kept.event));
            let minor_units = minor_units(&amount.to_string(), &currency);
            *revenue.entry((user, currency)).or_default() += minor_units;
        }
    }
    revenue.retain(|_, minor_units| *minor_units != 0);
    assert_eq!(revenue, world.revenue, "{plan:?}");

    // Failures that Stripe must not see.
    let not_delivered = stripe.counts().not_delivered;
    let never: &[&str] =
        if plan.with_queue { &["Amplitude", "Stripe's API", "other"] } else { &["the queue", "other"] };
    for cause in never {
        assert_eq!(not_delivered.get(cause), None, "{plan:?} {:?}", stripe.examples());
    }
}

/// Parses a decimal number exactly.
fn minor_units(amount: &str, currency: &str) -> i128 {
    let decimals = match currency {
        "JPY" => 0,
        "KWD" => 3,
        _ => 2,
    };
    let (whole, rest) = amount.split_once('.').unwrap_or((amount, ""));
    // The emulator reads an integer as a float and writes it with a decimal.
    let rest = rest.trim_end_matches('0');
    assert!(rest.len() <= decimals, "{amount} {currency}");
    format!("{whole}{rest:0<decimals$}").parse().unwrap()
}
