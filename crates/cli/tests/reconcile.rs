//! `reconcile`, against the local Stripe and the local Amplitude.

// As in the function's `tests/it`: a helper, like a test, stops where it meets what it does not expect.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod local_amplitude;
mod shop;

use std::collections::BTreeSet;
use std::ops::Deref;
use std::process::Command;

use amplitude_emulator::{AcceptedEvent, Configuration, Endpoint};
use jiff::Timestamp;
use serde_json::{Value, json};
use shop::{Ended, PROJECTS, Shop, ended};
use stripe_emulator::{Event, Permission, history, sample};

const DAY: i64 = 24 * 60 * 60;

/// The shop, and a day that is over.
struct World {
    shop: Shop,
    day: i64,
}

impl Deref for World {
    type Target = Shop;

    fn deref(&self) -> &Shop {
        &self.shop
    }
}

impl World {
    async fn new() -> Self {
        let configuration = Configuration {
            secret_keys: vec!["secret".to_owned(), "test-secret".to_owned()],
            api_keys: vec!["key".to_owned(), "test-key".to_owned()],
            ..Configuration::default()
        };
        let shop = Shop::open(configuration).await;
        let day = (shop.now.div_euclid(DAY) - 2) * DAY;
        Self { shop, day }
    }

    /// One of every type, and a few more, on the day; and two of the days beside it.
    fn history(&self) -> Vec<Event> {
        let events: Vec<_> = history(60, self.day, self.day + DAY - 1).collect();
        let beside = [(9000, self.day - 1), (9001, self.day + DAY)];
        self.stripe.add(beside.map(|(number, created)| sample("charge.failed", number, created)));
        self.stripe.add(events.clone());
        events
    }

    fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = self.shop.command(name, arguments);
        command.env("AMPLITUDE_SECRET_KEY", "secret");
        command
    }

    /// Brings all into Amplitude, as the function would have.
    fn forward(&self) {
        let since = (self.day - DAY).to_string();
        let ended = ended(&mut self.command("backfill", &["--since", &since, "--yes"]));
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }

    /// Amplitude has these, changed, and nothing else.
    fn replace(&self, change: impl Fn(&mut AcceptedEvent) -> bool) {
        let events = self.amplitude.events();
        self.amplitude.clear();
        for mut event in events {
            if change(&mut event) {
                self.replay(&event);
            }
        }
    }

    fn replay(&self, event: &AcceptedEvent) {
        let body = json!({"api_key": event.api_key, "events": [event.event], "options": {"min_id_length": 1}});
        self.amplitude.replay(Endpoint::Batch, body.to_string().as_bytes(), event.upload_time);
    }

    fn date(&self) -> String {
        Timestamp::from_second(self.day).unwrap().strftime("%Y-%m-%d").to_string()
    }

    fn reconcile(&self, arguments: &[&str]) -> Ended {
        ended(&mut self.command("reconcile", &[&["--day", &self.date()], arguments].concat()))
    }
}

/// Without the line breaks between words.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn insert_id(event: &AcceptedEvent) -> &str {
    event.event["insert_id"].as_str().unwrap()
}

/// The kinds of the differences of `--json`, with their IDs.
fn differences(ended: &Ended) -> Vec<(String, String)> {
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let differences = report["differences"].as_array().unwrap();
    differences.iter().map(|difference| (text(&difference["kind"]), text(&difference["id"]))).collect()
}

#[tokio::test]
async fn a_day_that_is_all_there_agrees() {
    let world = World::new().await;
    world.history();
    world.forward();
    let ended = world.reconcile(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.ends_with("\nStripe and Amplitude agree.\n"), "{}", ended.out);
    assert!(!ended.out.contains("differs"), "{}", ended.out);
    let all = ended.out.lines().find(|line| line.starts_with("in all")).unwrap();
    assert_eq!(all.split_whitespace().collect::<Vec<_>>(), ["in", "all", "60", "60"]);
    assert_eq!(ended.out.lines().filter(|line| line.starts_with("payment_intent.succeeded")).count(), 1);
}

#[tokio::test]
async fn what_is_missing_is_named_and_repaired_once() {
    let world = World::new().await;
    let events = world.history();
    world.forward();
    let missing = [&events[3].id, &events[23].id];
    world.replace(|event| !missing.iter().any(|id| *id == insert_id(event)));

    let ended = world.reconcile(&[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.out.contains("Missing in Amplitude: 2;") && ended.out.contains("do not agree: 2 missing."),
        "{ended:?}"
    );
    assert!(missing.iter().all(|id| ended.out.contains(*id)), "{}", ended.out);
    assert_eq!(ended.out.lines().filter(|line| line.ends_with("differs")).count(), 2, "{}", ended.out);

    // Without an answer, nothing is sent.
    let ended = world.reconcile(&["--repair"]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.out.ends_with("[y/N] Nothing is sent. Nobody answered; --yes does without the question.\n"),
        "{ended:?}"
    );
    assert_eq!(world.amplitude.events().len(), events.len() + 2 - 2);

    let ended = world.reconcile(&["--repair", "--yes"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.contains("2 of 2 events sent."), "{}", ended.out);
    let insert_ids = world.amplitude.insert_ids();
    assert!(events.iter().all(|event| insert_ids[&event.id] == 1));
    assert_eq!(world.reconcile(&[]).code, Some(0));
}

#[tokio::test]
async fn what_the_object_says_is_what_the_exit_code_says() {
    let world = World::new().await;
    let events = world.history();
    world.forward();
    world.replace(|event| insert_id(event) != events[3].id);
    for (arguments, code) in [(&["--json"][..], 1), (&["--json", "--repair", "--yes"], 0), (&["--json"], 0)] {
        let ended = world.reconcile(arguments);
        let report: Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!((ended.code, &report["is_right"]), (Some(code), &json!(code == 0)), "{arguments:?}");
    }
}

#[tokio::test]
async fn an_export_that_is_wholly_empty_is_doubted_where_a_repair_could_count_twice() {
    let world = World::new().await;
    let old = sample("charge.failed", 1, world.now - 12 * DAY);
    world.stripe.add([old.clone()]);
    let day = Timestamp::from_second(old.created).unwrap().strftime("%Y-%m-%d").to_string();
    let ended = self::ended(&mut world.command("reconcile", &["--day", &day, "--repair", "--yes"]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.error.contains("has nothing at all of this project"), "{ended:?}");
    assert!(world.amplitude.events().is_empty());
}

#[tokio::test]
async fn what_a_repair_cannot_bring_in_is_told() {
    let world = World::new().await;
    let events = world.history();
    world.projects(&PROJECTS.replace("\"key\"", "\"wrong\""));
    let ended = world.reconcile(&["--repair", "--yes"]);
    assert_eq!(ended.code, Some(1), "the export refuses the key, too: {ended:?}");

    // The key of uploads is known to be wrong only when they begin.
    world.projects(PROJECTS);
    world.amplitude.order(amplitude_emulator::Fault::InvalidApiKey, 10);
    let ended = world.reconcile(&["--repair", "--yes"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.out.contains(&format!("0 of {} events sent", events.len())), "{ended:?}");
    assert!(ended.out.contains("the API key is not known to Amplitude"), "{ended:?}");
    assert!(!ended.out.contains("Invalid API key: "), "{ended:?}");
}

#[tokio::test]
async fn what_counts_twice_or_with_other_figures_or_is_unknown_is_found() {
    let world = World::new().await;
    let events = world.history();
    world.forward();
    let of_type = |name: &str| events.iter().find(|event| event.event_type == name).unwrap().id.clone();
    let (doubled, other) = (of_type("charge.succeeded"), of_type("payment_intent.succeeded"));
    let copied = world.amplitude.events().into_iter().find(|event| insert_id(event) == doubled).unwrap();
    world.replace(|event| {
        if insert_id(event) == other {
            event.event["revenue"] = json!(21);
            event.event["event_properties"]["amount_received"] = json!(2100);
        }
        true
    });
    let mut copy = copied.clone();
    copy.event["device_id"] = json!("of-another-time");
    world.replay(&copy);
    (copy.event["insert_id"], copy.event["event_id"]) = (json!("evt_unknown"), json!(1));
    world.replay(&copy);

    let ended = world.reconcile(&["--json"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let expected = [("doubled", &*doubled), ("other_amount", &*other), ("unknown", "evt_unknown")];
    assert_eq!(differences(&ended), expected.map(|(kind, id)| (kind.to_owned(), id.to_owned())));
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    let row = |name: &str| report["rows"].as_array().unwrap().iter().find(|row| row["type"] == name).unwrap().clone();
    assert_eq!(
        row("payment_intent.succeeded")["amplitude"]["sum"].as_f64(),
        row("payment_intent.succeeded")["stripe"]["sum"].as_f64().map(|sum| sum + 1.0)
    );
    assert_eq!(report["is_right"], false);
    let text = unwrapped(&world.reconcile(&[]).out);
    assert!(text.contains("21.00 USD in Amplitude, 20.00 USD in Stripe"), "{text}");
}

#[tokio::test]
async fn a_day_agrees_however_amplitude_writes_its_lines() {
    let world = World::new().await;
    world.history();
    world.forward();
    let shapes: [fn(&str) -> String; 5] = [
        // The same line, with the same uuid.
        |line| format!("{line}\n{line}"),
        |line| line.replacen("\"$insert_id\":", "\"insert_id\":null,\"$insert_id\":", 1),
        |line| line.replace("\"event_time\":", "\"event_time\":null,\"was\":"),
        |line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            for (_, property) in line["event_properties"].as_object_mut().unwrap() {
                if let Some(number) = property.as_f64() {
                    *property = format!("{number:E}").into();
                }
            }
            line.to_string()
        },
        // Somebody else's, cut off in front of its type.
        |line| {
            let time = serde_json::from_str::<Value>(line).unwrap()["event_time"].clone();
            format!("{line}\n{{\"$insert_id\":\"i\",\"event_time\":{time},\"event_ty")
        },
    ];
    for (number, shape) in shapes.into_iter().enumerate() {
        world.amplitude.rewrite_export(shape);
        let ended = world.reconcile(&[]);
        assert_eq!(ended.code, Some(0), "{number}: {ended:?}");
        assert!(ended.out.ends_with("\nStripe and Amplitude agree.\n"), "{number}: {ended:?}");
    }
}

#[tokio::test]
async fn what_a_line_that_cannot_be_read_may_be_is_not_missing_and_not_repaired() {
    let world = World::new().await;
    let events = world.history();
    world.forward();
    let broken = events[3].id.clone();
    world.amplitude.rewrite_export({
        let broken = broken.clone();
        move |line| if line.contains(&broken) { line.replace("$insert_id", "lost") } else { line.to_owned() }
    });
    let ended = world.reconcile(&["--json"]);
    assert_eq!((ended.code, differences(&ended)), (Some(1), vec![("cannot_tell".to_owned(), broken.clone())]));
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    let hour = report["unreadable_hours"][0].as_str().unwrap().to_owned();
    assert_eq!(report["unreadable_hours"].as_array().unwrap().len(), 1);
    let before = world.amplitude.requests().repeats;
    let ended = world.reconcile(&["--repair", "--yes"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let text = unwrapped(&ended.out);
    assert!(text.contains("Perhaps in Amplitude: 1;") && text.contains(&broken) && text.contains(&hour), "{text}");
    assert!(ended.out.ends_with("Nothing is sent. There is nothing to send.\n"), "{ended:?}");
    assert_eq!(world.amplitude.requests().repeats, before);
}

#[tokio::test]
async fn settings_of_another_time_explain_and_are_no_error() {
    let world = World::new().await;
    let events = world.history();
    world.forward();
    world.projects(&format!(
        "{PROJECTS}settings = '{{\"preferred_currency\": {{\"code\": \"EUR\", \"rates\": {{\"USD\": \"0.9\"}}}}, \"events\": {{\"remove\": [\"charge.*\"]}}}}'\n"
    ));
    let ended = world.reconcile(&["--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    let found = |kind: &str, family: &str| {
        let differences = report["differences"].as_array().unwrap().iter();
        let is_one = |one: &&Value| one["kind"] == kind && one["type"].as_str().unwrap().starts_with(family);
        differences.filter(is_one).count()
    };
    let of_family = |family: &str| events.iter().filter(|event| event.event_type.starts_with(family)).count();
    assert_eq!(found("not_wanted_now", "charge."), of_family("charge."));
    assert_eq!(found("other_settings", "payment_intent."), of_family("payment_intent."));
    let text = unwrapped(&world.reconcile(&[]).out);
    assert!(
        text.contains("Nothing is wrong;") && text.contains("20.00 USD in Amplitude, 18.00 EUR in Stripe"),
        "{text}"
    );
}

#[tokio::test]
async fn a_refund_that_was_not_subtracted_is_not_added_back_when_it_fails() {
    const SWITCHED: &str = r#"{"refunds": "negative_revenue"}"#;
    for (before, kind) in [("{}", "not_added_back"), (r#"{"events": {"add": ["refund.failed"]}}"#, "other_settings")] {
        let world = World::new().await;
        let settings = |text: &str| world.projects(&format!("{PROJECTS}settings = '{text}'\n"));
        let refund = sample("charge.refunded", 1, world.day + 60);
        let mut failed = sample("refund.failed", 2, world.day + 3600);
        let mut envelope: Value = serde_json::from_slice(&failed.body).unwrap();
        envelope["data"]["object"] = json!({"object": "refund", "id": "re_1", "status": "failed", "amount": 500,
            "currency": "usd", "charge": "ch_1", "payment_intent": "pi_1"});
        failed.body = envelope.to_string().into();
        world.stripe.add([refund.clone(), failed]);
        settings(before);
        world.forward();
        let sent = world.amplitude.events().len();
        settings(SWITCHED);
        let found = differences(&world.reconcile(&["--json"]));
        let has = |kind: &str, id: &str| found.contains(&(kind.to_owned(), id.to_owned()));
        assert!(has("other_settings", &refund.id) && has(kind, "re_1:reversed"), "{found:?}");
        world.reconcile(&["--repair", "--yes"]);
        assert_eq!(world.amplitude.events().len(), sent, "{before}");
    }
}

#[tokio::test]
async fn a_day_in_other_currencies_is_added_up_by_currency() {
    let world = World::new().await;
    let in_currency = |number: u64, currency: &str, minor_units: i64| {
        let event = sample("payment_intent.succeeded", number, world.day + 100);
        let mut body: Value = serde_json::from_slice(&event.body).unwrap();
        body["data"]["object"]["currency"] = json!(currency);
        body["data"]["object"]["amount_received"] = json!(minor_units);
        Event::new(body.to_string()).unwrap()
    };
    world.stripe.add([
        in_currency(1, "jpy", 500),
        in_currency(2, "jpy", 700),
        in_currency(3, "kwd", 1005),
        in_currency(4, "eur", 10),
        in_currency(5, "eur", 20),
    ]);
    world.forward();
    let ended = world.reconcile(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let rows: Vec<Vec<_>> = ended
        .out
        .lines()
        .filter(|line| line.starts_with("payment_intent.succeeded"))
        .map(|line| line.split_whitespace().skip(1).collect())
        .collect();
    assert_eq!(
        rows,
        [["EUR", "2", "0.30", "2", "0.30"], ["JPY", "2", "1200", "2", "1200"], ["KWD", "1", "1.005", "1", "1.005"]]
    );
}

#[tokio::test]
async fn live_and_test_events_are_looked_for_where_each_goes() {
    let world = World::new().await;
    world.projects(&format!("{PROJECTS}amplitude-test-api-key = \"test-key\"\n"));
    let test = sample("charge.failed", 1, world.day + 100);
    let live = Event::new(
        String::from_utf8(sample("charge.failed", 2, world.day + 200).body.to_vec())
            .unwrap()
            .replace("\"livemode\":false", "\"livemode\":true"),
    )
    .unwrap();
    world.stripe.add([test.clone(), live.clone()]);
    world.forward();
    let keys: BTreeSet<_> = world.amplitude.events().iter().map(|event| event.api_key.clone()).collect();
    assert!(keys.iter().eq(["key", "test-key"]));

    let ended = world.reconcile(&[]);
    assert!(ended.error.contains("AMPLITUDE_TEST_SECRET_KEY is not set"), "{ended:?}");
    let date = world.date();
    let run = || {
        let mut command = world.command("reconcile", &["--day", &date, "--json"]);
        self::ended(command.env("AMPLITUDE_TEST_SECRET_KEY", "test-secret"))
    };
    assert_eq!(run().code, Some(0));
    world.replace(|event| event.api_key == "key");
    let ended = run();
    assert_eq!((ended.code, differences(&ended)), (Some(1), vec![("missing".to_owned(), test.id.clone())]));
}

#[tokio::test]
async fn what_is_of_another_account_or_mode_is_counted_apart() {
    let world = World::new().await;
    world.history();
    world.forward();
    let event = world
        .amplitude
        .events()
        .into_iter()
        .find(|event| event.event["event_type"] == "[Stripe] charge.failed")
        .unwrap();
    for (number, (name, value)) in
        [("stripe_account", json!("acct_2")), ("stripe_livemode", json!(true)), ("stripe_source", json!("eu"))]
            .into_iter()
            .enumerate()
    {
        let mut other = event.clone();
        other.event["time"] = json!((world.day + 50) * 1000);
        other.event["event_id"] = json!(number + 1);
        other.event["insert_id"] = json!(format!("evt_{name}"));
        other.event["event_properties"][name] = value;
        world.replay(&other);
    }
    let ended = world.reconcile(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.ends_with("Stripe and Amplitude agree.\n"), "{ended:?}");
    for words in ["--account acct_2", "live mode", "--source eu"] {
        assert!(ended.out.contains(words), "{words}: {ended:?}");
    }
}

#[tokio::test]
async fn what_happened_just_now_is_not_yet_to_be_told_and_can_be_repaired() {
    let mut world = World::new().await;
    world.day = world.now.div_euclid(DAY) * DAY;
    let event = sample("charge.failed", 1, (world.now - 60).max(world.day));
    world.stripe.add([event.clone()]);
    let ended = world.reconcile(&[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.contains("Not yet to be told: 1;") && ended.out.contains(&event.id), "{ended:?}");
    assert_eq!(world.reconcile(&["--repair", "--yes"]).code, Some(0));
    assert_eq!(world.amplitude.insert_ids(), [(event.id, 1)].into());
}

#[tokio::test]
async fn what_cannot_be_compared_is_refused_in_words() {
    let world = World::new().await;
    let key = world.stripe.restricted_key(&[Permission::WebhookEndpointsRead]);
    for (day, variable, words) in [
        ("2020-01-01", ("X", "x"), "Stripe's list goes back 30 days; the oldest day"),
        ("2999-01-01", ("X", "x"), "in the future"),
        (
            &*world.date(),
            ("AMPLITUDE_SECRET_KEY", "wrong"),
            "AMPLITUDE_SECRET_KEY takes the secret key of the same project",
        ),
        (&*world.date(), ("AMPLITUDE_SECRET_KEY", ""), "AMPLITUDE_SECRET_KEY is not set"),
        (&*world.date(), ("STRIPE_SECRET_KEY", &*key), "the permission `Events`: Read"),
        (&*world.date(), ("STRIPE_SECRET_KEY", "sk_test_no"), "Stripe does not know the key"),
    ] {
        let (name, value) = variable;
        let ended = ended(world.command("reconcile", &["--day", day]).env(name, value));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.error.contains(words) && ended.out.is_empty(), "{ended:?}");
    }
    let ended = ended(&mut world.command("reconcile", &["--day", "yesterday"]));
    assert!(ended.code == Some(2) && ended.error.contains("a day in UTC"), "{ended:?}");
    let ended = world.reconcile(&["--json", "--repair"]);
    assert!(ended.code == Some(2) && ended.error.contains("--yes"), "{ended:?}");
}

#[tokio::test]
async fn references_are_followed_so_that_a_repair_is_of_the_same_user() {
    let world = World::new().await;
    let key = world.stripe.restricted_key(&[Permission::CustomerRead]);
    world.parameter("stripe-test-api-key", &key);
    world.parameter("settings", r#"{"references": "follow"}"#);
    let payment = json!({"id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "created": world.day + 60,
        "livemode": false, "data": {"object": {"object": "payment_intent", "id": "pi_1", "customer": "cus_1",
            "invoice": null, "amount_received": 100, "currency": "usd"}}});
    world.stripe.add(Event::new(payment.to_string()));
    world.stripe.put(json!({"id": "cus_1", "object": "customer", "metadata": {"user_id": "user_7"}})).unwrap();
    let ended = world.reconcile(&["--repair", "--yes"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(world.amplitude.events()[0].event["user_id"], "user_7");
    assert_eq!(world.reconcile(&[]).code, Some(0));
    world.stripe.revoke(&key);
    let ended = world.reconcile(&[]);
    assert!(ended.code == Some(1) && ended.error.contains("stripe-test-api-key is not accepted"), "{ended:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_closed_pipe_ends_it_quietly_and_nothing_is_repaired() {
    let world = World::new().await;
    world.history();
    world.forward();
    let mut is_kept = std::iter::once(true).chain(std::iter::repeat(false));
    let kept = std::cell::RefCell::new(&mut is_kept);
    world.replace(|_| kept.borrow_mut().next().unwrap());
    let day = world.date();
    for arguments in [&[][..], &["--json"], &["--repair", "--yes"]] {
        let mut command = world.command("reconcile", &[&["--day", &day], arguments].concat());
        assert_eq!(shop::unread(&mut command), (Some(141), String::new()), "{arguments:?}");
    }
    assert_eq!(world.amplitude.events().len(), 1);
}
