//! `backfill`, against the local Stripe and the local Amplitude.

// Helpers panic like tests do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;
mod local_amplitude;
mod shop;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use amplitude_emulator::{Configuration, Endpoint, Fault as AmplitudeFault, FaultyAnswer};
use common::{DAY, Ended, HOUR, ended, ended_with, unread};
use serde_json::{Value, json};
use shop::Shop;
use stripe_emulator::{Event, Fault, Permission, history, sample};

/// A shop with a history.
struct World(Shop);

impl Deref for World {
    type Target = Shop;

    fn deref(&self) -> &Shop {
        &self.0
    }
}

impl World {
    async fn new() -> Self {
        Self::with(Configuration::default()).await
    }

    async fn with(configuration: Configuration) -> Self {
        Self(Shop::open(configuration).await)
    }

    /// A file of these events.
    fn file(&self, name: &str, events: &[Event]) {
        let lines: Vec<_> = events.iter().map(|event| String::from_utf8(event.body.to_vec()).unwrap()).collect();
        std::fs::write(self.path(name), lines.join("\n")).unwrap();
    }

    /// Events of the last days, of all types in turn.
    fn events(&self, number: u64, days: i64) -> Vec<Event> {
        history(number, self.now - days * DAY, self.now - HOUR).collect()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.0.command("backfill", arguments)
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        ended(&mut self.command(arguments))
    }

    /// Runs with this answer to the question.
    fn answered(&self, answer: &str, arguments: &[&str]) -> Ended {
        ended_with(&format!("{answer}\n"), &mut self.command(arguments))
    }

    /// Imports the last days without asking.
    fn backfill(&self, days: i64, arguments: &[&str]) -> Ended {
        let since = (self.now - days * DAY).to_string();
        self.run(&[&["--since", &since, "--yes"], arguments].concat())
    }

    fn wait_until_something_arrives(&self) {
        while self.amplitude.events().is_empty() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Amplitude has exactly these events, each once.
    fn assert_has(&self, events: &[Event]) {
        let expected: BTreeMap<String, usize> = events.iter().map(|event| (event.id.clone(), 1)).collect();
        let found = self.amplitude.insert_ids();
        let differs = |one: &BTreeMap<String, usize>, other: &BTreeMap<String, usize>| {
            one.iter()
                .filter(|(id, count)| other.get(*id) != Some(count))
                .take(5)
                .map(|(id, _)| id.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!((differs(&expected, &found), differs(&found, &expected)), (vec![], vec![]));
    }
}

fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn events_arrive_oldest_first_as_from_the_function() {
    let world = World::new().await;
    let events = world.events(500, 5);
    let too_early = sample("charge.failed", 9000, world.now - 6 * DAY);
    let other_type = sample("customer.created", 9001, world.now - DAY);
    world.stripe.add(events.clone().into_iter().chain([too_early, other_type]));

    let ended = world.backfill(5, &[]);
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (Some(0), "500 sent, 0 ignored by the settings, 0 rejected.\n"),
        "{ended:?}"
    );
    world.assert_has(&events);
    let accepted = world.amplitude.events();
    let times: Vec<_> = accepted.iter().map(|event| event.event["time"].as_i64().unwrap()).collect();
    assert!(times.is_sorted());
    // Amplitude adds the user's properties of today, unless an event brings its own.
    let own = ["$skip_user_properties_sync", "user_properties"];
    assert!(accepted.iter().all(|event| own.iter().all(|name| !event.event.contains_key(*name))));
    assert!(ended.error.replace('\n', " ").contains("its user's properties of today"), "{ended:?}");
    assert!(accepted.iter().all(|event| event.endpoint == Endpoint::Batch));
    assert!(!world.path("stripe-amplitude-shop.cursor.json").exists());

    // Every type is requested, at most twenty at once, with a hundred events per page.
    let requests = world.stripe.requests();
    let types: BTreeSet<_> = requests.iter().flat_map(|request| request.query("types[]")).collect();
    assert_eq!(types.len(), 26);
    assert!(requests.iter().all(|request| request.query("types[]").len() <= 20 && request.query("limit") == ["100"]));
}

#[tokio::test]
async fn forwarded_events_are_not_counted_again() {
    let world = World::new().await;
    let events = world.events(26, 2);
    for event in &events {
        let file = world.path("event.json");
        std::fs::write(&file, &event.body).unwrap();
        let preview = Command::new(env!("CARGO_BIN_EXE_stripe-amplitude-cli"))
            .args(["preview", "--request", "--project", "shop"])
            .arg(&file)
            .output()
            .unwrap();
        let request = String::from_utf8(preview.stdout).unwrap().replace("<amplitude-api-key>", "key");
        world.amplitude.replay(Endpoint::HttpV2, request.as_bytes(), (world.now - DAY) * 1000);
    }
    assert_eq!(world.amplitude.events().len(), 26);
    world.stripe.add(events.clone());
    let ended = world.backfill(3, &[]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.out.contains("\n26 of these were not counted"), "{ended:?}");
    assert_eq!((world.amplitude.requests().repeats, world.amplitude.events().len()), (26, 26));
    // The same command again does not count them either.
    assert_eq!(world.backfill(3, &[]).code, Some(0));
    world.assert_has(&events);
}

#[tokio::test]
async fn a_dry_run_counts_and_sends_nothing() {
    let world = World::new().await;
    world.parameter("settings", r#"{"without_user": "revenue_only", "max_age_days": 1}"#);
    world.stripe.add((0..5).map(|number| sample("payment_intent.succeeded", number, world.now - 2 * DAY)));
    world.stripe.add((0..3).map(|number| sample("balance.available", number, world.now - 2 * DAY)));
    let since = (world.now - 3 * DAY).to_string();
    let ended = world.run(&["--since", &since, "--dry-run"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for row in [
        "         5  payment_intent.succeeded\n",
        "         5  in total\n",
        "         5  metadata.user_id\n",
        "         5  events, 100.00 USD in total\n",
        "         5  distinct user IDs\n",
        "         5  events (event volume)\n",
        "         3  the event has no user and no revenue",
    ] {
        assert!(ended.out.contains(row), "{row}{}", ended.out);
    }
    assert_eq!(world.amplitude.requests().requests, 0);
    assert!(ended.out.ends_with("\nNothing was sent. Run without --dry-run to send; it asks first.\n"), "{ended:?}");
    assert!(!ended.out.contains('?'), "it never asks: {ended:?}");
    // Without --dry-run, the same is printed before the question.
    let counted = ended.out.split_once("Nothing was sent.").unwrap().0.to_owned();
    let ended = world.run(&["--since", &since]);
    assert!(ended.code == Some(1) && ended.out.starts_with(&format!("{counted}Send 5 events to ")), "{ended:?}");
    assert!(
        ended.out.ends_with("[y/N] Nothing was sent. There was no answer; pass --yes to skip the question.\n"),
        "{ended:?}"
    );
    let ended = world.answered("no", &["--since", &since]);
    assert!(ended.code == Some(1) && ended.out.ends_with("Nothing was sent. The answer was not yes.\n"), "{ended:?}");
    assert_eq!(world.amplitude.requests().requests, 0);
    // If there is nothing to send, it does not ask.
    for arguments in
        [&["--until", &*since, "--since", "2026-01-01", "--assume-missing"][..], &["--since", &*world.now.to_string()]]
    {
        let file = ["--from-file", "none.ndjson"];
        std::fs::write(world.path("none.ndjson"), "").unwrap();
        for dry_run in [&[][..], &["--dry-run"]] {
            let ended = world.run(&[&file[..], arguments, dry_run].concat());
            assert!(
                ended.code == Some(0) && ended.out.ends_with("Nothing was sent. There is nothing to send.\n"),
                "{ended:?}"
            );
        }
    }
    let ended = world.answered("y", &["--since", &since]);
    assert!(ended.code == Some(0) && ended.out.contains("5 sent"), "{ended:?}");
    assert_eq!(world.amplitude.events().len(), 5);
}

#[cfg(unix)]
#[tokio::test]
async fn closed_pipe_stops_before_sending() {
    let world = World::new().await;
    world.stripe.add(world.events(3, 2));
    let since = (world.now - 3 * DAY).to_string();
    for arguments in [&["--dry-run"][..], &[]] {
        let (code, error) = unread(&mut world.command(&[&["--since", &since], arguments].concat()));
        assert!(code == Some(141) && !error.contains("error"), "{error}");
    }
    assert_eq!(world.amplitude.requests().requests, 0);
}

#[tokio::test]
async fn second_run_on_one_cursor_is_rejected() {
    let world = World::new().await;
    world.stripe.add(world.events(100, 2));
    world.amplitude.inject(AmplitudeFault::Delay { milliseconds: 3000 }, 1);
    let since = (world.now - 3 * DAY).to_string();
    let first = world.command(&["--since", &since, "--yes"]).spawn().unwrap();
    world.wait_until_something_arrives();
    let second = world.run(&["--since", &since, "--yes"]);
    let words = "another backfill is running with the cursor stripe-amplitude-shop.cursor.json";
    assert!(second.code == Some(1) && second.error.contains(words), "{second:?}");
    // A dry run is allowed.
    let other = world.run(&["--since", &since, "--dry-run"]);
    assert_eq!(other.code, Some(0), "{other:?}");
    let first = Ended::from(first.wait_with_output().unwrap());
    assert!(first.code == Some(0) && first.out.contains("100 sent"), "{first:?}");
    assert!(!world.path("stripe-amplitude-shop.cursor.json.lock").exists());
}

#[cfg(unix)]
#[tokio::test]
async fn written_files_are_private() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    let world = World::new().await;
    std::fs::write(world.path("events.ndjson"), "{}\n").unwrap();
    let rejected = world.path("stripe-amplitude-shop.rejected.ndjson");
    std::fs::write(&rejected, "").unwrap();
    std::fs::set_permissions(&rejected, std::fs::Permissions::from_mode(0o644)).unwrap();
    // An attacker has put a link where the cursor is written.
    std::fs::write(world.path("somebodys"), "kept").unwrap();
    symlink("somebodys", world.path("stripe-amplitude-shop.cursor.json.new")).unwrap();
    let ended = world.run(&["--from-file", "events.ndjson", "--yes"]);
    assert!(ended.out.contains("1 rejected"), "{ended:?}");
    assert_eq!(std::fs::metadata(&rejected).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(world.path("somebodys")).unwrap(), "kept");
}

#[tokio::test]
async fn old_events_are_looked_up() {
    let world = World::with(Configuration { secret_keys: vec!["secret".to_owned()], ..Configuration::default() }).await;
    let events = world.events(100, 20);
    world.stripe.add(events.clone());
    // Every second one arrived in time.
    for event in events.iter().step_by(2) {
        let id = &event.id;
        let request = json!({"api_key": "key", "events": [{"event_type": format!("[Stripe] {}", event.event_type),
            "insert_id": id, "device_id": format!("device of {id}"), "time": event.created * 1000}]});
        world.amplitude.replay(Endpoint::HttpV2, request.to_string().as_bytes(), (event.created + 60) * 1000);
    }
    let old = events.iter().filter(|event| event.created < world.now - 7 * DAY).count();

    let ended = world.backfill(20, &[]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.error.contains("AMPLITUDE_SECRET_KEY") && ended.error.contains("--assume-missing"), "{ended:?}");
    assert_eq!(world.amplitude.requests().requests, 0);

    let since = (world.now - 20 * DAY).to_string();
    let with = |secret: &str, arguments: &[&str]| {
        let mut command = world.command(&[&["--since", &since], arguments].concat());
        common::ended(command.env("AMPLITUDE_SECRET_KEY", secret))
    };
    let wrong = with("other", &["--yes"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.error.contains("rejects the keys") && !wrong.error.contains("other"), "{wrong:?}");
    let before = world.amplitude.requests().requests;
    let of_stripe = with("sk_live_hidden", &["--yes"]);
    assert!(
        of_stripe.error.contains("AMPLITUDE_SECRET_KEY holds a key, a secret or an ID of Stripe's"),
        "{of_stripe:?}"
    );
    assert!(!of_stripe.error.contains("hidden") && world.amplitude.requests().requests == before);
    let dry = with("secret", &["--dry-run"]);
    assert!(dry.out.contains(&format!("{:>10}  events\n", old.div_ceil(2))), "{dry:?}");
    let right = with("secret", &["--yes"]);
    assert_eq!(right.code, Some(0), "{right:?}");
    assert!(right.out.contains(&format!("{} already in Amplitude", old.div_ceil(2))), "{right:?}");
    let counts = world.amplitude.insert_ids();
    // The other devices differ, so Amplitude could not recognize repeats.
    let doubled = counts.iter().filter(|(_, count)| **count == 2).count();
    assert_eq!((counts.len(), doubled), (100, 50 - old.div_ceil(2)));
}

/// Old events that are all in Amplitude, on other devices, so that Amplitude would count each again.
async fn old_and_there() -> (World, Vec<Event>) {
    let world = World::with(Configuration { secret_keys: vec!["secret".to_owned()], ..Configuration::default() }).await;
    let events: Vec<_> = history(10, world.now - 12 * DAY, world.now - 10 * DAY).collect();
    world.stripe.add(events.clone());
    for event in &events {
        let id = &event.id;
        let request = json!({"api_key": "key", "events": [{"event_type": format!("[Stripe] {}", event.event_type),
            "insert_id": id, "device_id": format!("device of {id}"), "time": event.created * 1000}]});
        world.amplitude.replay(Endpoint::HttpV2, request.to_string().as_bytes(), (event.created + 60) * 1000);
    }
    (world, events)
}

#[tokio::test]
async fn events_are_found_in_every_export_layout() {
    let (world, _) = old_and_there().await;
    let shapes: [fn(&str) -> String; 9] = [
        |line| line.replace("\"$insert_id\"", "\"insert_id\""),
        |line| line.replacen('{', "{\"insert_id\":null,", 1),
        |line| {
            let insert_id = serde_json::from_str::<Value>(line).unwrap()["$insert_id"].clone();
            line.replacen('{', &format!("{{\"insert_id\":{insert_id},\"$insert_id\":{insert_id},"), 1)
        },
        |line| {
            line.replace("\"event_time\":", "\"event_time\":null,\"was\":")
                .replace("\"user_id\":", "\"user_id\":7,\"x\":")
        },
        |line| line.replace("\"event_properties\":{", "\"event_properties\":{\"a\":\"\\ud800\",\"b\":1e999,"),
        |line| format!("{line}\n{line}"),
        |line| format!("{}\"event_ty", line.split_once("\"event_type\":").unwrap().0),
        |line| line.replace("\"event_type\":", "\"event_type\":null,\"was\":").replace("[Stripe] ", ""),
        |line| line.replace("[Stripe] ", "\\u005bStripe] "),
    ];
    for (number, shape) in shapes.into_iter().enumerate() {
        world.amplitude.rewrite_export(shape);
        let since = (world.now - 13 * DAY).to_string();
        let mut command = world.command(&["--since", &since, "--yes"]);
        let ended = common::ended(command.env("AMPLITUDE_SECRET_KEY", "secret"));
        assert_eq!(ended.code, Some(0), "{number}: {ended:?}");
        assert!(ended.out.contains("0 sent") && ended.out.contains("10 already in Amplitude"), "{number}: {ended:?}");
    }
    assert_eq!(world.amplitude.events().len(), 10);
}

#[tokio::test]
async fn unreadable_export_line_stops_the_backfill() {
    let (world, events) = old_and_there().await;
    let (broken, later) = (events[4].id.clone(), &events[5..]);
    world.amplitude.rewrite_export({
        let broken = broken.clone();
        move |line| if line.contains(&broken) { line.replace("$insert_id", "lost") } else { line.to_owned() }
    });
    let hour = (events[4].created + 60).div_euclid(HOUR) * HOUR;
    let hour = jiff::Timestamp::from_second(hour).unwrap().strftime("%Y-%m-%d %H:%M:%S").to_string();
    let with_key = |since: i64, arguments: &[&str]| {
        let mut command = world.command(&[&["--since", &since.to_string()], arguments].concat());
        common::ended(command.env("AMPLITUDE_SECRET_KEY", "secret"))
    };
    let dry = with_key(world.now - 13 * DAY, &["--dry-run"]);
    assert!(
        dry.out.replace("\n            ", " ").contains(&format!("unreadable line in the hour from {hour}")),
        "{dry:?}"
    );
    let ended = with_key(world.now - 13 * DAY, &["--yes"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let error = ended.error.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(error.contains(&format!("unreadable line in the hour from {hour}")) && error.contains(&broken), "{error}");
    assert_eq!(world.amplitude.insert_ids()[&broken], 1);
    // Later events cannot be in that line.
    let ended = with_key(later[0].created, &["--yes"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(world.amplitude.events().len(), 10);
}

#[tokio::test]
async fn event_in_a_truncated_export_line_is_not_sent() {
    let (world, events) = old_and_there().await;
    let id = events[9].id.clone();
    for prefix in
        [r#"{"$insert_id":"evt_0","event_type":"[Stripe] a","x":tru}"#, r#"{"$insert_id":"evt_0","event_prop"#, ""]
    {
        let shape = {
            let id = id.clone();
            move |line: &str| match (line.contains(&id), prefix) {
                (false, _) => line.to_owned(),
                (true, "") => {
                    line.replace(&format!("\"$insert_id\":\"{id}"), &format!("\"$insert_id\":\"{id}\u{fffd}"))
                }
                (true, prefix) => format!("{prefix}{line}"),
            }
        };
        world.amplitude.rewrite_export(shape);
        let since = (world.now - 13 * DAY).to_string();
        let mut command = world.command(&["--since", &since, "--dry-run"]);
        let ended = common::ended(command.env("AMPLITUDE_SECRET_KEY", "secret"));
        assert!(
            ended.out.contains("unreadable line") && ended.out.contains("         0  in total\n"),
            "{prefix}: {ended:?}"
        );
    }
}

#[tokio::test]
async fn failed_refund_counts_once() {
    let world = World::new().await;
    let events: Vec<_> = ["evt_1", "evt_2", "evt_3"]
        .map(|id| {
            let refund = json!({"id": "re_1", "object": "refund", "amount": 1000, "currency": "usd", "status": "failed",
                "charge": "ch_1", "payment_intent": "pi_1"});
            json!({"id": id, "object": "event", "type": "refund.failed", "created": world.now - HOUR, "livemode": true,
                "data": {"object": refund}})
            .to_string()
        })
        .into();
    std::fs::write(world.path("events.ndjson"), events.join("\n")).unwrap();
    world.parameter("settings", r#"{"refunds": "negative_revenue"}"#);
    let ended = world.run(&["--from-file", "events.ndjson", "--dry-run"]);
    assert!(ended.out.contains("         3  in total\n         2  of them repeat a failed refund"), "{ended:?}");
    assert!(ended.out.contains("         1  event, 10.00 USD in total\n"), "{ended:?}");
}

#[tokio::test]
async fn assume_missing_skips_the_lookup() {
    let world = World::new().await;
    let events = world.events(30, 25);
    world.stripe.add(events.clone());
    assert_eq!(world.backfill(25, &["--assume-missing"]).code, Some(0));
    world.assert_has(&events);
}

#[tokio::test]
async fn rejected_events_are_written_and_the_rest_is_sent() {
    let world = World::new().await;
    let events = world.events(60, 3);
    world.stripe.add(events.clone());
    let refuse = |positions: Value, requests: u32| {
        let refusal = json!({"code": 400, "error": "hidden", "events_with_invalid_fields": {"user_id": positions}});
        let refusal = FaultyAnswer { status: 400, json: Some(refusal), ..FaultyAnswer::default() };
        world.amplitude.inject(AmplitudeFault::Answer(refusal), requests);
    };
    // First all events, then the rest, then each of the two alone.
    refuse(json!([3, 50]), 1);
    world.amplitude.inject(AmplitudeFault::Delay { milliseconds: 1 }, 1);
    refuse(json!([0]), 2);
    let ended = world.backfill(4, &[]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.out.starts_with("58 sent, 0 ignored by the settings, 2 rejected.\n"), "{ended:?}");
    let rejected = world.path("stripe-amplitude-shop.rejected.ndjson");
    let found = lines(&rejected);
    let ids: Vec<_> = found.iter().map(|line| line["event"]["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [&events[3].id, &events[50].id]);
    assert!(found[0]["reason"].as_str().unwrap().starts_with("400: event rejected"), "{found:?}");

    // The reason is fixed.
    let same = ["--from-file", "stripe-amplitude-shop.rejected.ndjson", "--yes"];
    let ended = world.run(&same);
    assert!(ended.error.contains("choose another file with --rejected"), "{ended:?}");
    // Each step writes a new cursor over the old one.
    for (rejected, cursor) in [("one.ndjson", "one.ndjson"), ("one.ndjson", "./one.ndjson")] {
        let files = ["--rejected", rejected, "--cursor", cursor];
        let ended = world.run(&[&same[..], &files].concat());
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.error.contains("choose another file with --cursor"), "{ended:?}");
    }
    let ended = world.run(&[&same[..], &["--rejected", "again.ndjson"]].concat());
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (Some(0), "2 sent, 0 ignored by the settings, 0 rejected.\n"),
        "{ended:?}"
    );
    assert!(!world.path("again.ndjson").exists());
    world.assert_has(&events);
}

#[tokio::test]
async fn file_with_invalid_lines_is_imported() {
    let world = World::new().await;
    let events = world.events(40, 3);
    let mut text: Vec<_> = events.iter().map(|event| String::from_utf8(event.body.to_vec()).unwrap()).collect();
    text.insert(7, "oops".to_owned());
    text.insert(9, String::new());
    std::fs::write(world.path("events.ndjson"), text.join("\n")).unwrap();
    let ended = world.run(&["--from-file", "events.ndjson", "--yes"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.out.starts_with("40 sent, 0 ignored by the settings, 1 rejected.\n"), "{ended:?}");
    let reason = &lines(&world.path("stripe-amplitude-shop.rejected.ndjson"))[0]["reason"];
    assert!(reason.as_str().unwrap().starts_with("line 8: malformed JSON"), "{reason}");
    world.assert_has(&events);
    assert_eq!(world.stripe.requests().len(), 0);

    // The same from standard input, within a time range.
    let other = World::new().await;
    let cut = events[20].created;
    let since = cut.to_string();
    let mut command = other.command(&["--from-file", "-", "--yes", "--since", &since]);
    let mut process = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = process.stdin.take().unwrap();
    let writing = std::thread::spawn(move || std::io::Write::write_all(&mut input, text.join("\n").as_bytes()));
    let ended = Ended::from(process.wait_with_output().unwrap());
    writing.join().unwrap().unwrap();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    other.assert_has(&events[20..]);
}

#[tokio::test]
async fn stripe_failures_are_retried_within_the_rate() {
    let world = World::new().await;
    let events = world.events(300, 2);
    world.stripe.add(events.clone());
    for fault in [
        Fault::TooManyRequests,
        Fault::InternalError,
        Fault::Unavailable,
        Fault::Cut,
        Fault::CutHalfWay,
        Fault::AnswerLost,
        Fault::Html(502),
        Fault::Hang(Duration::from_millis(500)),
    ] {
        world.stripe.fail(1, fault);
        world.stripe.fail(1, Fault::Hang(Duration::ZERO));
    }
    world.stripe.set_rate_limit(Some(12));
    let ended = world.backfill(2, &["--rate", "10"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    world.assert_has(&events);
    // One request may be at the end of a second, and ten in the next.
    assert!(world.stripe.most_in_a_second() <= 11, "{}", world.stripe.most_in_a_second());
}

#[tokio::test]
async fn unusable_keys_are_explained() {
    let world = World::new().await;
    let since = (world.now - DAY).to_string();
    let with = |key: &str| ended(world.command(&["--since", &since, "--yes"]).env("STRIPE_SECRET_KEY", key));
    for (key, words) in [
        ("sk_test_unknown", "rejects the key"),
        (&world.stripe.restricted_key(&[Permission::WebhookEndpointsWrite]), "the permission `Events`: Read"),
        ("pk_test_x", "STRIPE_SECRET_KEY holds a publishable key"),
        ("", "STRIPE_SECRET_KEY is not set"),
    ] {
        let ended = with(key);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.error.contains(words) && (key.is_empty() || !ended.error.contains(key)), "{ended:?}");
    }
    assert_eq!(with(&world.stripe.restricted_key(&[Permission::EventsRead])).code, Some(0));
    for no_account in ["foo", "", "acct_", "acct_1\nx", "acct_…"] {
        let ended = world.backfill(1, &["--account", no_account]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.error.contains("expected the ID of a connected account, which starts with acct_"), "{ended:?}");
    }
    let ended = world.backfill(1, &["--account", "acct_unknown"]);
    assert!(ended.error.contains("acct_unknown must be connected"), "{ended:?}");
}

#[tokio::test]
async fn wrong_amplitude_key_stops_and_right_one_continues() {
    let world = World::with(Configuration { api_keys: vec!["right".to_owned()], ..Configuration::default() }).await;
    let events = world.events(30, 2);
    world.stripe.add(events.clone());
    let ended = world.backfill(3, &[]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.error.contains("does not know the API key") && ended.error.contains("run the same command again"),
        "{ended:?}"
    );
    assert_eq!(world.amplitude.requests().requests, 1);
    let projects = world.path("projects.toml");
    let text = std::fs::read_to_string(&projects).unwrap().replace("\"key\"", "\"right\"");
    std::fs::write(&projects, text).unwrap();
    let ended = world.backfill(3, &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    world.assert_has(&events);
}

#[tokio::test]
async fn throttled_events_are_retried() {
    let world = World::new().await;
    let events = world.events(20, 2);
    world.stripe.add(events.clone());
    let throttled = FaultyAnswer {
        status: 429,
        json: Some(json!({"code": 429, "throttled_events": [0, 1]})),
        ..FaultyAnswer::default()
    };
    world.amplitude.inject(AmplitudeFault::Answer(throttled), 1);
    world.amplitude.inject(AmplitudeFault::answer(503), 1);
    let start = Instant::now();
    let ended = world.backfill(3, &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    // Amplitude asks clients to wait this long.
    assert!(start.elapsed() >= Duration::from_secs(15));
    world.assert_has(&events);
}

#[tokio::test]
async fn connected_account_is_marked_as_in_a_webhook() {
    let world = World::new().await;
    let account = "acct_1Connected";
    world.stripe.connect(account);
    let own = sample("balance.available", 1, world.now - DAY);
    let theirs = sample("balance.available", 2, world.now - DAY);
    world.stripe.add([own.clone(), theirs.clone().in_account(account)]);
    let typo = world.backfill(2, &["--account", account, "--source", "eu"]);
    assert!(typo.error.contains("signing secrets have labels"), "{typo:?}");
    world.parameter("stripe-signing-secret/eu", "whsec_eu");
    world.parameter("settings", r#"{"test_events": "forward_all"}"#);
    let typo = world.backfill(2, &["--account", account, "--source", "ue"]);
    assert!(typo.error.contains("signing secret: eu"), "{typo:?}");
    assert_eq!(world.backfill(2, &["--account", account, "--source", "eu"]).code, Some(0));
    let events = world.amplitude.events();
    let [event] = &events[..] else { panic!("{}", events.len()) };
    assert_eq!(event.event["device_id"], format!("stripe-{account}"));
    assert_eq!(event.event["event_properties"]["stripe_account"], account);
    assert_eq!(event.event["event_properties"]["stripe_source"], "eu");
}

#[tokio::test]
async fn undelivered_imports_undelivered_events_only() {
    let world = World::new().await;
    let events = world.events(10, 2);
    let (failed, delivered) = events.split_at(4);
    world.stripe.add(failed.iter().cloned().map(Event::undelivered).chain(delivered.iter().cloned()));
    let ended = world.backfill(3, &["--undelivered"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.error.contains("at any webhook endpoint"), "{ended:?}");
    world.assert_has(failed);
}

#[tokio::test]
async fn missing_field_of_an_api_version_is_noted_once() {
    let world = World::new().await;
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data");
    for (index, file) in
        ["2025/invoice.paid", "2025/invoice.payment_failed", "2026/invoice.paid", "2026/charge.refunded"]
            .into_iter()
            .cycle()
            .take(12)
            .enumerate()
    {
        let text = std::fs::read(format!("{data}/stripe-events-{file}.json")).unwrap();
        let mut event: Value = serde_json::from_slice(&text).unwrap();
        event["id"] = json!(format!("evt_{index}"));
        event["created"] = json!(world.now - DAY);
        world.stripe.add([Event::new(event.to_string()).unwrap()]);
    }
    let ended = world.backfill(2, &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let notes: Vec<_> = ended.error.split("note: ").skip(1).collect();
    let of = |words: &str| notes.iter().filter(|note| note.replace("\n      ", " ").contains(words)).count();
    assert_eq!(
        (of("`invoice` has no `tax`"), of("`subscription` of `invoice` is"), of("`charge` has no `invoice`")),
        (1, 1, 1),
        "{notes:?}"
    );
    let distinct: BTreeSet<_> = notes.iter().collect();
    assert_eq!(distinct.len(), notes.len(), "{notes:?}");
}

#[tokio::test]
async fn dense_events_are_listed_in_shorter_spans() {
    let world = World::new().await;
    // Within four seconds, each of which has few enough.
    let start = world.now - HOUR;
    let events: Vec<_> =
        (0..12_000).map(|number| sample("balance.available", number, start + (number % 4).cast_signed())).collect();
    world.stripe.add(events.clone());
    let since = (start - 10).to_string();
    let ended = world.run(&["--since", &since, "--dry-run", "--rate", "100"]);
    assert!(ended.out.contains("     12000  in total\n"), "{ended:?}");
}

#[tokio::test]
async fn unusable_arguments_are_rejected_first() {
    let world = World::new().await;
    let (now, days) = (world.now, |days: i64| (world.now - days * DAY).to_string());
    let (early, late) = (days(3), days(1));
    for (arguments, code, words) in [
        (vec!["--since", &late, "--until", &early, "--yes"], 2, "--since is not before --until"),
        (vec!["--since", &days(40), "--yes"], 1, "last 30 days only"),
        (vec!["--since", "yesterday"], 2, "expected a day (2026-11-01)"),
        (vec![], 2, "--since"),
        (vec!["--since", &early, "--rate", "0"], 2, "--rate"),
        (vec!["--from-file", "none.ndjson", "--yes"], 1, "none.ndjson: "),
        (vec!["--from-file", "-", "--since", &early], 2, "pass --yes"),
        (vec!["--from-file", "-", "--yes"], 2, "needs --since"),
    ] {
        let ended = world.run(&arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?} {ended:?}");
        assert!(ended.error.contains(words), "{arguments:?} {ended:?}");
    }
    assert_eq!((world.stripe.requests().len(), world.amplitude.requests().requests), (0, 0), "{now}");
}

#[cfg(unix)]
fn signal(process: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &process.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_finishes_the_request_and_can_be_resumed() {
    let world = World::new().await;
    let events = world.events(5000, 3);
    world.stripe.add(events.clone());
    world.amplitude.inject(AmplitudeFault::Delay { milliseconds: 1500 }, 1);
    let since = (world.now - 3 * DAY).to_string();
    let process = world.command(&["--since", &since, "--yes", "--rate", "100"]).spawn().unwrap();
    world.wait_until_something_arrives();
    signal(&process, "INT");
    let ended = Ended::from(process.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(1));
    assert!(ended.out.contains("2000 sent") && ended.out.contains("Run the same command again"), "{ended:?}");

    // Other options are rejected.
    let other = world.backfill(2, &[]);
    assert!(other.error.contains("with other options"), "{other:?}");
    let ended = world.run(&["--since", &since, "--rate", "100"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.contains("Resuming.\n5000 sent"), "{ended:?}");
    world.assert_has(&events);
    // Nothing was sent twice.
    assert_eq!(world.amplitude.requests().repeats, 0);
}

#[tokio::test]
async fn in_flight_events_are_sent_again_and_dropped() {
    let world = World::new().await;
    let events = world.events(30, 2);
    world.stripe.add(events.clone());
    world.amplitude.inject(AmplitudeFault::Hang { milliseconds: 60_000, ingest: true }, 1);
    let since = (world.now - 3 * DAY).to_string();
    let mut process = world.command(&["--since", &since, "--yes"]).spawn().unwrap();
    world.wait_until_something_arrives();
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(world.backfill(3, &[]).code, Some(0));
    world.assert_has(&events);
    assert_eq!(world.amplitude.requests().repeats, 30);
}

#[tokio::test]
async fn stale_in_flight_events_require_lookup() {
    let world = World::new().await;
    world.stripe.add(world.events(30, 2));
    world.amplitude.inject(AmplitudeFault::Hang { milliseconds: 60_000, ingest: true }, 1);
    let since = (world.now - 3 * DAY).to_string();
    let mut process = world.command(&["--since", &since, "--yes"]).spawn().unwrap();
    world.wait_until_something_arrives();
    process.kill().unwrap();
    process.wait().unwrap();
    let cursor = world.path("stripe-amplitude-shop.cursor.json");
    let mut progress: Value = serde_json::from_slice(&std::fs::read(&cursor).unwrap()).unwrap();
    assert!(progress["in_flight_since"].as_i64().unwrap() >= world.now);
    progress["in_flight_since"] = json!(world.now - 8 * DAY);
    std::fs::write(&cursor, progress.to_string()).unwrap();
    for arguments in [&[][..], &["--assume-missing"]] {
        let ended = world.backfill(3, arguments);
        assert_eq!(ended.code, Some(1));
        assert!(ended.error.contains("died more than seven days ago"), "{ended:?}");
    }
}

#[tokio::test]
async fn event_that_ages_during_the_run_needs_a_lookup() {
    let world = World::new().await;
    let young = world.events(2000, 1);
    let edge = sample("charge.failed", 9000, world.now - 7 * DAY + HOUR + 4);
    world.file("events.ndjson", &[&young[..], &[edge]].concat());
    world.amplitude.inject(AmplitudeFault::Delay { milliseconds: 6000 }, 1);
    let ended = world.run(&["--from-file", "events.ndjson", "--yes"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.error.contains("now more than seven days old") && ended.error.contains("AMPLITUDE_SECRET_KEY"),
        "{ended:?}"
    );
    world.assert_has(&young);
}

#[tokio::test]
async fn live_and_test_events_are_looked_up_separately() {
    let world = World::with(Configuration {
        secret_keys: vec!["live".to_owned(), "test".to_owned()],
        ..Configuration::default()
    })
    .await;
    world.parameter("amplitude-test-api-key", "test key");
    let events: Vec<_> = world
        .events(40, 12)
        .into_iter()
        .enumerate()
        .map(|(index, event)| {
            let mut body: Value = serde_json::from_slice(&event.body).unwrap();
            body["livemode"] = json!(index % 2 == 0);
            Event::new(body.to_string()).unwrap()
        })
        .collect();
    world.file("events.ndjson", &events);
    for (index, event) in events.iter().enumerate().take(8) {
        let key = if index % 2 == 0 { "key" } else { "test key" };
        let request = json!({"api_key": key, "events": [{"event_type": format!("[Stripe] {}", event.event_type),
            "insert_id": event.id, "device_id": format!("device of {}", event.id)}]});
        world.amplitude.replay(Endpoint::HttpV2, request.to_string().as_bytes(), (event.created + 60) * 1000);
    }
    let run = |keys: &[(&str, &str)]| {
        let mut command = world.command(&["--from-file", "events.ndjson", "--yes"]);
        ended(command.envs(keys.iter().copied()))
    };
    let one = run(&[("AMPLITUDE_SECRET_KEY", "live")]);
    assert!(one.error.contains("AMPLITUDE_TEST_SECRET_KEY is not set"), "{one:?}");
    let both = run(&[("AMPLITUDE_SECRET_KEY", "live"), ("AMPLITUDE_TEST_SECRET_KEY", "test")]);
    assert_eq!(both.code, Some(0), "{both:?}");
    assert!(both.out.contains("32 sent") && both.out.contains("8 already in Amplitude"), "{both:?}");
    world.assert_has(&events);
    let of = |key: &str| world.amplitude.events().iter().filter(|event| event.api_key == key).count();
    assert_eq!((of("key"), of("test key")), (20, 20));
}

#[tokio::test]
async fn empty_export_is_an_error() {
    let world = World::new().await;
    let events = world.events(10, 12);
    world.stripe.add(events.clone());
    let since = (world.now - 12 * DAY).to_string();
    let with = |arguments: &[&str]| {
        let mut command = world.command(&[&["--since", &since, "--yes"], arguments].concat());
        ended(command.env("AMPLITUDE_SECRET_KEY", "secret"))
    };
    let ended = with(&[]);
    assert!(ended.error.contains("is completely empty"), "{ended:?}");
    assert_eq!(with(&["--assume-missing"]).code, Some(0));
    world.assert_has(&events);
}

#[tokio::test]
async fn firewall_stops_without_rejecting_events() {
    let world = World::new().await;
    let events = world.events(40, 2);
    world.stripe.add(events.clone());
    world.amplitude.inject(AmplitudeFault::answer(403), 1000);
    let ended = world.backfill(3, &[]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.out.contains("0 rejected") && ended.error.contains("rejects all events"), "{ended:?}");
    assert!(world.amplitude.requests().requests <= 100, "{:?}", world.amplitude.requests());
    world.amplitude.clear_faults();
    assert_eq!(world.backfill(3, &[]).code, Some(0));
    world.assert_has(&events);
}

#[tokio::test]
async fn unknown_types_are_requested_by_name() {
    let world = World::new().await;
    world.parameter("settings", r#"{"events": {"add": ["customer.brand_new"]}}"#);
    let new = sample("customer.brand_new", 1, world.now - HOUR);
    world.stripe.add([new.clone()]);
    assert_eq!(world.backfill(1, &[]).code, Some(0));
    world.assert_has(&[new]);
}

#[tokio::test]
async fn file_formats_are_recognized() {
    let world = World::new().await;
    // A byte order mark, Windows line breaks, an event from a fast clock, and two outside the time range.
    let mut events = world.events(4, 2);
    events.push(sample("charge.failed", 77, world.now + HOUR));
    let lines: Vec<_> = events.iter().map(|event| String::from_utf8(event.body.to_vec()).unwrap()).collect();
    std::fs::write(world.path("events.ndjson"), format!("\u{feff}{}\r\n", lines.join("\r\n"))).unwrap();
    let since = events[2].created.to_string();
    let ended = world.run(&["--from-file", "events.ndjson", "--since", &since, "--yes"]);
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (Some(0), "3 sent, 0 ignored by the settings, 0 rejected, 2 outside the time range.\n"),
        "{ended:?}"
    );
    let ended = world.run(&["--from-file", "events.ndjson", "--yes"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    world.assert_has(&events);

    let rows = (0..300).map(|number| format!("field_{number};{number}\n")).collect::<String>();
    std::fs::write(world.path("rows.csv"), rows).unwrap();
    let utf_16: Vec<_> = lines.join("\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(world.path("utf-16.ndjson"), utf_16).unwrap();
    for arguments in [["--yes"], ["--dry-run"]] {
        let ended = world.run(&[&["--from-file", "rows.csv"], &arguments[..]].concat());
        assert!(ended.error.contains("expected Stripe events, one after another"), "{ended:?}");
        let ended = world.run(&[&["--from-file", "utf-16.ndjson"], &arguments[..]].concat());
        assert!(ended.error.contains("utf-16.ndjson: ") && ended.error.contains("UTF-16"), "{ended:?}");
    }
}

/// Like `jq` and `stripe events retrieve` print them.
fn pretty(events: &[Event]) -> String {
    let pretty = |event: &Event| format!("{:#}\n", serde_json::from_slice::<Value>(&event.body).unwrap());
    events.iter().map(pretty).collect()
}

#[tokio::test]
async fn events_over_several_lines_are_imported() {
    let world = World::new().await;
    let events = world.events(6, 2);
    let event: Value = serde_json::from_slice(&events[0].body).unwrap();
    // A text cut in the middle of an emoji, and an invalid number.
    let mut odd = event.clone();
    (odd["id"], odd["data"]["object"]["description"]) = (json!("evt_odd"), json!("odd"));
    let odd = odd.to_string().replace("\"odd\"", r#""cut \ud83d", "new": 1e400"#);
    let others = [
        json!({"object": "list", "data": [event]}).to_string(),
        json!({"detail-type": "charge.failed", "detail": event}).to_string(),
        json!({"id": "ch_1", "object": "charge"}).to_string(),
        json!({"id": "evt_1", "object": "v2.core.event", "type": "v2.core.x"}).to_string(),
    ];
    let text = format!("\u{feff}{}{odd}{}\n{}", pretty(&events[..3]), others.join(""), pretty(&events[3..]));
    std::fs::write(world.path("events.json"), text).unwrap();
    let ended = world.run(&["--from-file", "events.json", "--yes"]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.out.starts_with("7 sent, 0 ignored by the settings, 4 rejected.\n"), "{ended:?}");
    let rejected = lines(&world.path("stripe-amplitude-shop.rejected.ndjson"));
    let words = [
        "a list of events; split it with `jq -c '.data[]'`",
        "extract Stripe's event with `jq -c .detail`",
        "of the kind `charge`",
        "remove this type",
    ];
    for (line, words) in rejected.iter().zip(words) {
        let reason = line["reason"].as_str().unwrap();
        assert!(reason.starts_with("line ") && reason.contains(words), "{reason}");
    }
    world.assert_has(
        &[&events[..], &[Event::new(odd.replace(r"\ud83d", "").replace(r#", "new": 1e400"#, "")).unwrap()]].concat(),
    );
}

#[cfg(unix)]
#[tokio::test]
async fn resumes_between_events_in_any_layout() {
    let world = World::new().await;
    let events = world.events(4000, 3);
    // The 2000th and the 2001st are in one line.
    let text = format!("{}{}", pretty(&events[..2000]).trim_end(), pretty(&events[2000..]));
    std::fs::write(world.path("events.json"), text).unwrap();
    world.amplitude.inject(AmplitudeFault::Delay { milliseconds: 1500 }, 1);
    let process = world.command(&["--from-file", "events.json", "--yes"]).spawn().unwrap();
    world.wait_until_something_arrives();
    signal(&process, "INT");
    let stopped = Ended::from(process.wait_with_output().unwrap());
    assert!(stopped.out.starts_with("2000 sent"), "{stopped:?}");
    let ended = world.run(&["--from-file", "events.json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    world.assert_has(&events);
    assert_eq!(world.amplitude.requests().repeats, 0);
}

#[cfg(unix)]
#[tokio::test]
async fn changed_file_cannot_be_resumed() {
    let world = World::new().await;
    let events = world.events(4000, 3);
    world.file("events.ndjson", &events);
    world.amplitude.inject(AmplitudeFault::Delay { milliseconds: 1500 }, 1);
    let process = world.command(&["--from-file", "events.ndjson", "--yes"]).spawn().unwrap();
    world.wait_until_something_arrives();
    signal(&process, "INT");
    let stopped = Ended::from(process.wait_with_output().unwrap());
    assert!(stopped.out.starts_with("2000 sent"), "{stopped:?}");
    for other in [&events[..10], &events[1..]] {
        world.file("events.ndjson", other);
        let ended = world.run(&["--from-file", "events.ndjson"]);
        assert_eq!(ended.code, Some(1));
        assert!(ended.error.contains("has changed"), "{ended:?}");
    }
    // A file may grow.
    let more: Vec<_> = events.iter().cloned().chain([sample("charge.failed", 9999, world.now - HOUR)]).collect();
    world.file("events.ndjson", &more);
    assert_eq!(world.run(&["--from-file", "events.ndjson"]).code, Some(0));
    world.assert_has(&more);
    assert_eq!(world.amplitude.requests().repeats, 0);
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_ends_every_wait() {
    let world = World::new().await;
    let events = world.events(5, 2);
    world.file("events.ndjson", &events);
    // While waiting for events from standard input.
    let mut process = world
        .command(&["--from-file", "-", "--since", "2026-01-01", "--assume-missing", "--yes"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let open = process.stdin.take();
    std::thread::sleep(Duration::from_millis(700));
    assert_ends(process);
    drop(open);
    // While waiting for an answer.
    let mut process = world.command(&["--from-file", "events.ndjson"]).stdin(Stdio::piped()).spawn().unwrap();
    let open = process.stdin.take();
    std::thread::sleep(Duration::from_millis(700));
    assert_ends(process);
    drop(open);
    // While waiting for Amplitude's export.
    world.amplitude.inject_for_export(AmplitudeFault::Hang { milliseconds: 60_000, ingest: false }, 9);
    world.stripe.add([sample("charge.failed", 1, world.now - 9 * DAY)]);
    let since = (world.now - 10 * DAY).to_string();
    let process = world.command(&["--since", &since, "--yes"]).env("AMPLITUDE_SECRET_KEY", "secret").spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    assert_ends(process);
    assert!(world.amplitude.events().is_empty());
}

/// Ctrl-C ends the process soon.
#[cfg(unix)]
fn assert_ends(mut process: Child) {
    assert_eq!(process.try_wait().unwrap(), None, "it has ended early");
    signal(&process, "INT");
    let start = Instant::now();
    let ended = Ended::from(process.wait_with_output().unwrap());
    assert!(start.elapsed() < Duration::from_secs(5), "{ended:?}");
    assert_eq!(ended.code, Some(1), "{ended:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn killed_backfill_delivers_each_event_once() {
    // The variables SEED and EVENTS vary the run.
    let number = |name: &str, otherwise| std::env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let (seed, number_of_events) = (number("SEED", 8), number("EVENTS", 6000));
    // Amplitude ingests before it responds, so there is time to die in between.
    let delay = Duration::from_millis(500);
    let world = World::with(Configuration { delay, ..Configuration::default() }).await;
    let events = world.events(number_of_events, 4);
    world.stripe.add(events.clone());
    // Some are rejected, and each must be written once, whenever the process dies.
    let unusable: Vec<_> = (0..40).map(|number| json!({
        "id": format!("evt_unusable{number}"), "object": "event", "type": "charge.failed", "data": {"object": "none"},
        "created": world.now - 4 * DAY + number * 7000, "api_version": "2024-06-20", "livemode": false,
    })).map(|event| Event::new(event.to_string()).unwrap()).collect();
    world.stripe.add(unusable.clone());
    let since = (world.now - 4 * DAY).to_string();
    let arguments = ["--since", since.as_str(), "--yes", "--rate", "100"];
    let mut random = fastrand::Rng::with_seed(seed);
    let mut killed = 0;
    while killed < 10 {
        let mut process = world.command(&arguments).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(random.u64(50..2500.max(number_of_events / 4))));
        if process.try_wait().unwrap().is_some() {
            break;
        }
        process.kill().unwrap();
        process.wait().unwrap();
        killed += 1;
    }
    assert!(killed >= 3, "it was never killed");
    if world.path("stripe-amplitude-shop.cursor.json").exists() || killed == 10 {
        let ended = world.run(&arguments);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let report = format!("{number_of_events} sent, 0 ignored by the settings, 40 rejected");
        assert!(ended.out.contains(&report), "{ended:?}");
    }
    let repeats = world.amplitude.requests().repeats;
    println!("killed {killed} times; {repeats} repeats were dropped");
    // At most one request each time.
    assert!(repeats <= killed * 2000);
    world.assert_has(&events);
    let rejected = lines(&world.path("stripe-amplitude-shop.rejected.ndjson"));
    let ids: BTreeSet<_> = rejected.iter().map(|line| line["event"]["id"].as_str().unwrap()).collect();
    assert_eq!((rejected.len(), ids.len()), (40, 40));
}

/// A payment by a customer whose metadata contain the user ID.
fn payment_of(number: usize, customer: &str, created: i64) -> Value {
    json!({"id": format!("evt_{number}"), "object": "event", "type": "payment_intent.succeeded", "created": created,
        "livemode": false, "data": {"object": {"object": "payment_intent", "id": format!("pi_{number}"),
            "customer": customer, "invoice": null, "amount_received": 100, "currency": "usd"}}})
}

/// The project's key.
const PROJECT_KEY: &str = "rk_test_of_the_project";

/// A shop that follows references, with its history in a file.
async fn following(events: &[Value]) -> World {
    let world = World::new().await;
    world.parameter("stripe-test-api-key", PROJECT_KEY);
    world.parameter("settings", r#"{"references": "follow", "user_id_paths": ["customer.metadata.id", "customer"]}"#);
    let lines: Vec<_> = events.iter().map(Value::to_string).collect();
    std::fs::write(world.path("events.ndjson"), lines.join("\n")).unwrap();
    world.stripe.allow(PROJECT_KEY, &[Permission::CustomerRead]);
    world
}

fn customer(id: &str, user: &str) -> Value {
    json!({"id": id, "object": "customer", "metadata": {"id": user}})
}

#[tokio::test]
async fn each_referenced_object_is_read_once() {
    let at = World::new().await.now - DAY;
    let events: Vec<_> = (0..12).map(|number| payment_of(number, &format!("cus_{}", number % 3), at)).collect();
    let world = following(&events).await;
    for number in 0..3 {
        world.stripe.put(customer(&format!("cus_{number}"), &format!("user_{number}"))).unwrap();
    }
    // Temporarily unavailable.
    world.stripe.fail_at("/v1/customers/cus_1", 1, Fault::TooManyRequests);
    world.stripe.fail_at("/v1/customers/cus_1", 1, Fault::Unavailable);
    let counted = world.run(&["--from-file", "events.ndjson", "--dry-run"]);
    assert!(counted.code == Some(0) && counted.out.contains("12  customer.metadata.id"), "{counted:?}");
    let asked = world.stripe.requests();
    assert_eq!(asked.len(), 5, "{:?}", world.stripe.counts());
    assert!(asked.iter().all(|request| request.key().as_deref() == Some(PROJECT_KEY)));
    let sent = world.run(&["--from-file", "events.ndjson", "--yes"]);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let users: BTreeSet<_> = world.amplitude.events().iter().map(|event| event.event["user_id"].to_string()).collect();
    assert_eq!(users, ["user_0", "user_1", "user_2"].map(|user| format!("\"{user}\"")).into());
    assert_eq!(world.stripe.requests().len(), 8);
}

#[tokio::test]
async fn unreadable_reference_stops_and_names_the_parameter() {
    let at = World::new().await.now - DAY;
    let world = following(&[payment_of(1, "cus_1", at)]).await;
    world.stripe.put(customer("cus_1", "user_1")).unwrap();
    let run = || world.run(&["--from-file", "events.ndjson", "--yes"]);
    for (permissions, words) in [
        (Some(&[][..]), "projects.toml/shop/stripe-test-api-key lacks a permission"),
        (None, "projects.toml/shop/stripe-test-api-key is not accepted"),
    ] {
        match permissions {
            Some(permissions) => world.stripe.allow(PROJECT_KEY, permissions),
            None => world.stripe.revoke(PROJECT_KEY),
        }
        let ended = run();
        let said = format!("{}{}", ended.out, ended.error);
        assert!(ended.code == Some(1) && said.contains(words) && !said.contains(PROJECT_KEY), "{ended:?}");
        assert!(world.amplitude.events().is_empty());
    }
    world.stripe.allow(PROJECT_KEY, &[Permission::CustomerRead]);
    let ended = run();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(world.amplitude.events()[0].event["user_id"], "user_1");
}

#[tokio::test]
async fn stripe_url_must_be_secure() {
    let world = following(&[]).await;
    let mut command = world.command(&["--from-file", "events.ndjson", "--yes"]);
    let ended = ended(command.env("STRIPE_API_URL", "http://stripe.example"));
    assert!(ended.code == Some(1) && ended.error.contains("STRIPE_API_URL"), "{ended:?}");
}

#[tokio::test]
async fn urls_for_keys_must_be_secure() {
    let world = World::new().await;
    let since = (world.now - 9 * DAY).to_string();
    world.stripe.add([sample("charge.failed", 1, world.now - 8 * DAY)]);
    for variable in ["AMPLITUDE_URL", "AMPLITUDE_EXPORT_URL", "STRIPE_API_URL"] {
        let mut command = world.command(&["--since", &since, "--yes"]);
        let ended = ended(command.env("AMPLITUDE_SECRET_KEY", "secret").env(variable, "http://192.0.2.1/x"));
        let words = format!("{variable}: expected an https URL");
        assert!(ended.code == Some(1) && ended.error.contains(&words), "{ended:?}");
    }
}
