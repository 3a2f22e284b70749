//! `setup`, against the local Stripe, a real Parameter Store API (moto's server), and the function's handler.

#![cfg(feature = "aws")]
// As in the function's `tests/it`: a helper, like a test, stops where it meets what it does not expect.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod local_amplitude;
mod moto;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use amplitude_emulator::Configuration;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use local_amplitude::LocalAmplitude;
use moto::{CREDENTIALS, Moto};
use stripe_amplitude::stripe::event_types;
use stripe_emulator::{Delivery, Emulator, Endpoint, Event, Fault, Permission, SECRET_KEY, sample};

const FOLDER: &str = "/stripe-amplitude/shop";
const SECRET: &str = "stripe-signing-secret";
const NEXT_SECRET: &str = "stripe-signing-secret-next";

/// A Stripe, a Parameter Store, the function in front of an Amplitude.
struct World {
    stripe: Emulator,
    moto: Moto,
    amplitude: LocalAmplitude,
    function: Child,
    /// Of the webhook.
    url: String,
}

/// How a command ended, and what it said.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    error: String,
}

impl Ended {
    fn says(&self, words: &str) -> bool {
        // Lines are broken between words.
        let text = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        text(&self.out).contains(words) || text(&self.error).contains(words)
    }

    #[track_caller]
    fn assert(&self, code: i32, words: &str) {
        assert!(self.code == Some(code) && self.says(words), "{words}: {self:?}");
    }
}

impl World {
    async fn new() -> Self {
        Self::with_configuration(Configuration::default()).await
    }

    async fn with_configuration(configuration: Configuration) -> Self {
        let moto = Moto::start();
        // It begins with its first answer, and the function waits less long.
        moto.parameters(FOLDER).await;
        let amplitude = LocalAmplitude::start(configuration);
        let mut function = Command::new(env!("CARGO_BIN_EXE_stripe-amplitude-cli"))
            .args(["serve", "--port", "0", "--parameter-store", "--amplitude", &amplitude.http_v2()])
            .env_clear()
            .envs(CREDENTIALS)
            .env("AWS_ENDPOINT_URL_SSM", moto.url())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(function.stdout.take().unwrap()).lines().map(Result::unwrap);
        let first = lines.next().unwrap();
        // A full pipe would stop the process.
        std::thread::spawn(move || lines.for_each(drop));
        let (_, url) = first.split_once("Serving ").unwrap();
        let url = url.split_once("NAME").unwrap().0.to_owned() + "shop";
        Self { stripe: Emulator::start().unwrap(), moto, amplitude, function, url }
    }

    /// One that was set up.
    async fn with_endpoint() -> Self {
        let world = Self::new().await;
        world.setup(&["--yes"]).await.assert(0, "Proven");
        world
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.command_for(&self.url, arguments)
    }

    fn command_for(&self, url: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stripe-amplitude-cli"));
        command.args(["setup", "--project", "shop", "--url", url]).args(arguments);
        command.env_clear().envs(CREDENTIALS).env("AWS_ENDPOINT_URL_SSM", self.moto.url());
        command.env("STRIPE_API_URL", self.stripe.url()).env("STRIPE_SECRET_KEY", SECRET_KEY);
        command.env("AMPLITUDE_API_KEY", "key").envs(self.amplitude.variables());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    async fn setup(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments), "").await
    }

    /// The only endpoint.
    fn endpoint(&self) -> Endpoint {
        let endpoints = self.stripe.endpoints();
        assert_eq!(endpoints.len(), 1, "{endpoints:?}");
        endpoints[0].clone()
    }

    /// The values of the project's parameters, all of which are encrypted.
    async fn parameters(&self) -> BTreeMap<String, String> {
        let parameters = self.moto.parameters(FOLDER).await.into_iter().map(|(name, (kind, value))| {
            assert!(kind == "SecureString" || name == "settings", "{name} is a {kind}");
            (name, value)
        });
        parameters.collect()
    }

    /// There is one endpoint as it should be, its secret is where it should be, and nothing else is.
    async fn assert_is_complete(&self) {
        let endpoint = self.endpoint();
        assert_eq!(endpoint.api_version.as_deref(), Some(event_types::API_VERSION));
        assert!(!endpoint.disabled);
        let metadata = [
            ("stripe_amplitude_connect", "false"),
            ("stripe_amplitude_parameter", SECRET),
            ("stripe_amplitude_project", "shop"),
        ];
        assert_eq!(endpoint.metadata, metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        let mut parameters = self.parameters().await;
        parameters.remove("settings");
        let expected = [("amplitude-api-key", "key"), (SECRET, &endpoint.secret)];
        assert_eq!(parameters, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    fn mutations(&self) -> usize {
        self.stripe.requests().iter().filter(|request| request.method != "GET").count()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.function.kill();
        let _ = self.function.wait();
    }
}

/// With this on standard input.
async fn ended(mut command: Command, input: &'static str) -> Ended {
    let run = move || {
        let mut process = command.spawn().unwrap();
        // It may have ended without reading.
        let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
        let Output { status, stdout, stderr } = process.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: status.code(), out: text(stdout), error: text(stderr) }
    };
    let ended = tokio::task::spawn_blocking(run).await.unwrap();
    for text in [&ended.out, &ended.error] {
        // `whsec_…` is no secret.
        let mut secrets = text.split("whsec_").skip(1);
        assert!(!secrets.any(|rest| rest.starts_with(|character: char| character.is_ascii_alphanumeric())), "{text}");
        assert!(!text.contains(SECRET_KEY) && !text.contains("arn:"), "{text}");
    }
    ended
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

fn sorted<T: Ord>(types: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut types: Vec<_> = types.into_iter().collect();
    types.sort();
    types
}

/// An address where the function is not: it answers all with this status.
fn elsewhere(status: u16) -> String {
    let answer = async move || (StatusCode::from_u16(status).unwrap(), "<html>This is not it.</html>");
    serve(Router::new().fallback(answer))
}

/// Serves in a thread of its own, and gives the address.
fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), router).await.unwrap();
        });
    });
    url
}

/// A Parameter Store that says no to every change of this parameter.
fn denying(moto: &Moto, name: &'static str) -> String {
    let http = stripe_amplitude::http_client::build(None).unwrap();
    let pass = move |State((http, url)): State<(reqwest::Client, String)>, headers: HeaderMap, body: Bytes| async move {
        let target = headers["x-amz-target"].to_str().unwrap().to_owned();
        let input: serde_json::Value = serde_json::from_slice(&body).unwrap();
        if target.ends_with("PutParameter") && input["Name"] == name {
            let denied = r#"{"__type": "AccessDeniedException", "message": "User: arn:aws:iam::1:user/hidden is not authorized"}"#;
            return (StatusCode::BAD_REQUEST, Bytes::from_static(denied.as_bytes()));
        }
        let answer = http.post(&url).headers(headers).body(body).send().await.unwrap();
        (answer.status(), answer.bytes().await.unwrap())
    };
    serve(Router::new().fallback(pass).with_state((http, moto.url())))
}

#[tokio::test]
async fn a_first_setup_goes_from_nothing_to_an_event_in_amplitude_and_the_same_again_changes_nothing() {
    let world = World::new().await;
    let asked = ended(world.command(&[]), "n\n").await;
    asked.assert(1, "an endpoint is created, for 26 event types, with API version 2024-06-20");
    asked.assert(1, "Go ahead? [y/N] Nothing is changed.");
    assert_eq!((world.mutations(), world.parameters().await.len()), (0, 0));

    ended(world.command(&[]), "y\n").await.assert(0, "Proven: the function is there, and knows the signing secret.");
    world.assert_is_complete().await;
    assert_eq!(sorted(world.endpoint().enabled_events), sorted(event_types::TYPES));
    assert_eq!(world.amplitude.insert_ids(), BTreeMap::new(), "what proves it lands nowhere");
    let event = sample("payment_intent.succeeded", 1, now());
    let deliveries = world.stripe.deliver(event.clone()).await;
    assert!(deliveries.len() == 1 && deliveries[0].succeeded(), "{deliveries:?}");
    assert_eq!(world.amplitude.insert_ids(), [(event.id, 1)].into());

    let before = world.mutations();
    // The key is there, and not asked for.
    let mut command = world.command(&[]);
    command.env_remove("AMPLITUDE_API_KEY");
    let again = ended(command, "").await;
    again.assert(0, "all is as it should be Proven");
    assert!(!again.says("Go ahead?") && world.mutations() == before);
}

#[tokio::test]
async fn keys_and_arguments_that_are_missing_or_wrong_are_told_before_anything_is_done() {
    let world = World::new().await;
    let mut command = world.command(&["--yes"]);
    command.env_remove("AMPLITUDE_API_KEY");
    ended(command, "").await.assert(1, "AMPLITUDE_API_KEY is not set; it takes the API key of the Amplitude project");
    let mut command = world.command(&["--yes"]);
    command.env_remove("STRIPE_SECRET_KEY");
    ended(command, "").await.assert(1, "STRIPE_SECRET_KEY is not set");
    for (url, words) in [
        ("https://a.example/stripe/other", "does not end with /stripe/shop"),
        ("http://a.example/stripe/shop", "does not begin with https://"),
    ] {
        ended(world.command_for(url, &["--yes"]), "").await.assert(2, words);
    }
    world.setup(&["--stack", &"s".repeat(60)]).await.assert(2, "may have 59");
    world.setup(&["--rotate"]).await.assert(1, "nothing to rotate");
    world.setup(&["--finish"]).await.assert(2, "--rotate");
    world.setup(&["--source", "a/b"]).await.assert(2, "invalid label");
    world.moto.put(&format!("{FOLDER}/settings"), "String", r#"{"event": {}}"#).await;
    world.setup(&["--yes"]).await.assert(1, "the parameter /stripe-amplitude/shop/settings cannot be used");
    assert_eq!((world.mutations(), world.parameters().await.len()), (0, 1));
}

#[tokio::test]
async fn what_differs_is_shown_and_mended_when_somebody_says_yes() {
    let world = World::with_endpoint().await;
    let settings = r#"{"events": {"add": ["customer.subscription.*"], "remove": ["balance.available"]}}"#;
    world.moto.put(&format!("{FOLDER}/settings"), "String", settings).await;
    let endpoint = world.endpoint();

    let before = world.mutations();
    let asked = ended(world.command(&[]), "n\n").await;
    for words in ["+ customer.subscription.created", "- balance.available", "Nothing is changed."] {
        asked.assert(1, words);
    }
    assert_eq!((world.mutations(), world.endpoint().enabled_events), (before, endpoint.enabled_events));
    world.setup(&["--yes"]).await.assert(0, "Proven");
    let enabled = world.endpoint().enabled_events;
    assert!(enabled.contains(&"customer.subscription.created".to_owned()), "{enabled:?}");
    assert!(!enabled.contains(&"balance.available".to_owned()), "{enabled:?}");

    world.disable(&endpoint.id).await;
    ended(world.command(&[]), "n\n").await.assert(1, "it is disabled, so that Stripe delivers nothing to it");
    assert!(world.endpoint().disabled);
    let enabled = world.setup(&["--yes"]).await;
    enabled.assert(0, "Proven");
    assert!(enabled.says("was disabled does not come automatically") && enabled.says("backfill"), "{enabled:?}");

    let mut command = world.command(&[]);
    command.env("AMPLITUDE_API_KEY", "another-key");
    let asked = ended(command, "n\n").await;
    asked.assert(1, "amplitude-api-key has another value than AMPLITUDE_API_KEY");
    assert!(!asked.says("another-key"));
    world.assert_is_complete().await;
    assert_eq!(world.endpoint().secret, endpoint.secret);
}

impl World {
    /// As somebody does it in the dashboard.
    async fn disable(&self, id: &str) {
        self.change(id, "disabled=true").await;
    }

    async fn change(&self, id: &str, form: &'static str) {
        let http = stripe_amplitude::http_client::build(None).unwrap();
        let url = format!("{}/v1/webhook_endpoints/{id}", self.stripe.url());
        let request = http.post(url).basic_auth(SECRET_KEY, Some(""));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        assert!(request.send().await.unwrap().status().is_success());
    }
}

#[tokio::test]
async fn another_api_version_and_a_lost_secret_take_another_endpoint() {
    let world = World::new().await;
    // Made in the dashboard, with the account's own version, and set up by hand.
    let old = world.stripe.add_endpoint(&world.url, &["invoice.paid"]);
    world.moto.put(&format!("{FOLDER}/{SECRET}"), "SecureString", &old.secret).await;
    let asked = ended(world.command(&["--own-account"]), "n\n").await;
    asked.assert(1, "its API version is the account's own and not 2024-06-20");
    asked.assert(1, "do not say yet that it is this project's");
    assert_eq!(world.mutations(), 0);
    world.setup(&["--own-account", "--yes"]).await.assert(0, "Proven");
    world.assert_is_complete().await;
    let second = world.endpoint();
    assert_ne!(second.id, old.id);

    world.moto.delete(&format!("{FOLDER}/{SECRET}")).await;
    let lost = world.setup(&["--yes"]).await;
    lost.assert(0, "its signing secret is not in Parameter Store");
    lost.assert(0, "cargo cli-aws backfill --project shop --since");
    world.assert_is_complete().await;
    assert_ne!(world.endpoint().id, second.id);
}

#[tokio::test]
async fn further_endpoints_of_the_url_are_named_and_left_alone() {
    let world = World::new().await;
    let one = world.stripe.add_endpoint(&world.url, &["invoice.paid"]);
    let other = world.stripe.add_endpoint(&world.url, &["invoice.paid"]);
    let ended = world.setup(&["--yes"]).await;
    ended.assert(1, "nothing says which one is this project's");
    assert!(ended.says(&one.id) && ended.says(&other.id), "{ended:?}");
    assert_eq!(world.mutations(), 0);

    world
        .change(
            &one.id,
            "metadata[stripe_amplitude_project]=shop&metadata[stripe_amplitude_parameter]=stripe-signing-secret",
        )
        .await;
    let ended = world.setup(&["--own-account", "--yes"]).await;
    ended.assert(0, &format!("{} has the same URL, and is not looked after", other.id));
    assert!(world.stripe.endpoint(&one.id).is_none(), "its API version was another one");
    assert_eq!(world.stripe.endpoint(&other.id).unwrap().metadata, BTreeMap::new());
}

#[tokio::test]
async fn the_secret_of_an_endpoint_that_is_not_seen_is_never_overwritten() {
    let world = World::new().await;
    world.moto.put(&format!("{FOLDER}/{SECRET}"), "SecureString", "whsec_live").await;
    world.setup(&["--yes"]).await.assert(1, "this key of Stripe's does not see");
    assert_eq!((world.mutations(), world.parameters().await.len()), (0, 1));
    world.setup(&["--yes", "--source", "test"]).await.assert(0, "Proven");
    let parameters = world.parameters().await;
    assert_eq!(parameters[SECRET], "whsec_live");
    assert_eq!(parameters["stripe-signing-secret/test"], world.endpoint().secret);
    world.stripe.deliver(sample("charge.succeeded", 1, now())).await;
    assert_eq!(world.amplitude.events()[0].event["event_properties"]["stripe_source"], "test");
}

#[tokio::test]
async fn an_endpoint_whose_secret_cannot_be_written_is_deleted_again() {
    let world = World::new().await;
    let mut command = world.command(&["--yes"]);
    command.env("AWS_ENDPOINT_URL_SSM", denying(&world.moto, "/stripe-amplitude/shop/stripe-signing-secret"));
    let ended_without = ended(command, "").await;
    ended_without.assert(1, "need ssm:PutParameter");
    ended_without.assert(1, "is deleted again");
    assert_eq!(world.stripe.endpoints().len(), 0);
    assert_eq!(world.stripe.counts()["POST /v1/webhook_endpoints"], 1);

    // Where nothing can be written at all, nothing is created.
    let mut command = world.command(&["--yes", "--source", "other"]);
    command.env("AWS_ENDPOINT_URL_SSM", denying(&world.moto, "/other/shop/amplitude-api-key"));
    command.env("PARAMETER_PREFIX", "/other");
    ended(command, "").await.assert(1, "/other/shop/amplitude-api-key cannot be written: access is denied");
    assert_eq!(world.stripe.counts()["POST /v1/webhook_endpoints"], 1);
}

#[tokio::test]
async fn a_restricted_key_is_told_which_permission_it_needs() {
    let world = World::with_endpoint().await;
    let run = async |permissions: &[Permission], arguments: &[&str]| {
        let mut command = world.command(arguments);
        command.env("STRIPE_SECRET_KEY", world.stripe.restricted_key(permissions));
        ended(command, "").await
    };
    run(&[Permission::EventsRead], &[]).await.assert(1, "the permission `Webhook Endpoints`: Read");
    run(&[Permission::WebhookEndpointsRead], &[]).await.assert(0, "all is as it should be");
    // Before anything is begun.
    run(&[Permission::WebhookEndpointsWrite], &["--rotate", "--yes"]).await.assert(1, "the permission `Events`: Read");
    world.assert_is_complete().await;
    world.disable(&world.endpoint().id).await;
    let read = run(&[Permission::WebhookEndpointsRead], &["--yes"]).await;
    read.assert(1, "the permission `Webhook Endpoints`: Write");
}

#[tokio::test]
async fn a_url_that_leads_elsewhere_is_not_proven() {
    let world = World::new().await;
    for (status, words) in
        [(404, "--url leads elsewhere"), (403, "anybody has to be allowed to call it"), (200, "--url leads elsewhere")]
    {
        let url = format!("{}/stripe/shop", elsewhere(status));
        let command = world.command_for(&url, &["--yes", "--source", &status.to_string()]);
        let ended = ended(command, "").await;
        ended.assert(1, words);
        ended.assert(1, "What was created stays");
        assert!(!ended.says("This is not it"), "{ended:?}");
    }
    assert_eq!(world.stripe.endpoints().len(), 3);
}

/// Events that happen the whole time, until it is told to stop; and all deliveries of them.
async fn happen(stripe: Emulator, stop: Arc<AtomicBool>) -> (Vec<Event>, Vec<Delivery>) {
    let (mut events, mut deliveries) = (Vec::new(), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        let number = events.len() as u64;
        let event = sample(event_types::TYPES[events.len() % event_types::TYPES.len()], number, now());
        events.push(event.clone());
        deliveries.extend(stripe.deliver(event).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (events, deliveries)
}

#[tokio::test]
async fn a_rotation_loses_no_event_and_counts_none_twice() {
    let world = World::with_endpoint().await;
    let old = world.endpoint();
    let stop: Arc<AtomicBool> = Arc::default();
    let happening = tokio::spawn(happen(world.stripe.clone(), Arc::clone(&stop)));
    let rotated = ended(world.command(&["--rotate"]), "y\n").await;
    stop.store(true, Ordering::Relaxed);
    let (events, deliveries) = happening.await.unwrap();
    rotated.assert(0, "Proven");
    world.assert_is_complete().await;
    let new = world.endpoint();
    assert!(new.id != old.id && new.secret != old.secret);

    assert!(events.len() > 50, "{}", events.len());
    assert!(deliveries.iter().all(Delivery::succeeded), "{deliveries:?}");
    let to = |id: &str| deliveries.iter().filter(|delivery| delivery.endpoint == id).count();
    assert!(to(&old.id) > 10 && to(&new.id) > 10 && to(&old.id) + to(&new.id) > events.len() + 10);
    assert_eq!(world.amplitude.insert_ids(), events.into_iter().map(|event| (event.id, 1)).collect());
    for event in world.amplitude.events() {
        assert!(event.event["event_properties"].get("stripe_source").is_none(), "both secrets make the same event");
    }
}

#[tokio::test]
async fn a_second_endpoint_that_was_closed_meanwhile_has_not_got_every_event() {
    let world = World::with_endpoint().await;
    let old = world.endpoint();
    world.stripe.add([sample("invoice.paid", 1, now() - 60).undelivered()]);
    world.setup(&["--rotate", "--yes"]).await.assert(1, "Waiting");
    let next = world.stripe.endpoints().into_iter().find(|endpoint| endpoint.id != old.id).unwrap();
    // Somebody takes it for a duplicate, and what happens then is still to be delivered to the old one alone.
    world.disable(&next.id).await;
    world.change(&next.id, "metadata[stripe_amplitude_complete_since]=1").await;
    world.setup(&["--rotate", "--yes"]).await.assert(1, "Waiting");
    assert!(world.stripe.endpoint(&old.id).is_some());
}

#[tokio::test]
async fn a_webhook_that_moved_takes_its_endpoint_along_and_keeps_its_secret() {
    let world = World::with_endpoint().await;
    let before = world.endpoint();
    let url = world.url.replace("/stripe/", "/v2/stripe/");
    let ended = ended(world.command_for(&url, &["--yes"]), "").await;
    ended.assert(0, "Proven");
    assert!(ended.says(&format!("its URL is {}", world.url)), "{ended:?}");
    let after = world.endpoint();
    assert_eq!((after.id, after.secret, after.url), (before.id, before.secret, url));
}

#[tokio::test]
async fn an_endpoint_that_was_made_by_hand_is_replaced_only_when_somebody_says_whose_events_it_gets() {
    let world = World::new().await;
    let old = world.stripe.add_endpoint(&world.url, &["invoice.paid"]);
    world.moto.put(&format!("{FOLDER}/{SECRET}"), "SecureString", &old.secret).await;
    for arguments in [&["--yes"][..], &["--rotate", "--yes"]] {
        world.setup(arguments).await.assert(1, "say --own-account, or --connect");
    }
    assert_eq!(world.endpoint().id, old.id);
    world.setup(&["--connect", "--yes", "--finish", "--rotate"]).await.assert(0, "Proven");
    assert!(world.endpoint().connect);
    world.setup(&["--own-account", "--yes"]).await.assert(1, "is for the events of connected accounts");
}

#[tokio::test]
async fn an_amplitude_key_that_amplitude_does_not_know_is_not_written() {
    let world =
        World::with_configuration(Configuration { api_keys: vec!["key".to_owned()], ..Configuration::default() }).await;
    let mut command = world.command(&["--yes"]);
    command.env("AMPLITUDE_API_KEY", "hidden");
    let ended = ended(command, "").await;
    ended.assert(1, "AMPLITUDE_API_KEY: 400: Amplitude does not know the API key");
    assert!(!ended.says("hidden") && world.stripe.endpoints().is_empty() && world.parameters().await.is_empty());
    world.setup(&["--yes"]).await.assert(0, "Proven");
}

#[tokio::test]
async fn events_that_are_still_to_be_delivered_hold_a_rotation_back() {
    let world = World::with_endpoint().await;
    let old = world.endpoint();
    world.stripe.add([sample("invoice.paid", 1, now() - 60).undelivered()]);
    // Stripe has given up on this one, and that one is nobody's.
    world.stripe.add([sample("invoice.paid", 2, now() - 4 * 24 * 60 * 60).undelivered()]);
    world.stripe.add([sample("plan.created", 3, now() - 60).undelivered()]);
    let held = world.setup(&["--rotate", "--yes"]).await;
    held.assert(1, "1 event is still to be delivered");
    held.assert(1, "Run `setup --rotate` again later, and it goes on from here");
    assert_eq!(world.stripe.endpoints().len(), 2);
    let deliveries = world.stripe.deliver(sample("charge.failed", 4, now())).await;
    assert!(deliveries.len() == 2 && deliveries.iter().all(Delivery::succeeded), "both work meanwhile: {deliveries:?}");

    let finished = world.setup(&["--rotate", "--finish", "--yes"]).await;
    finished.assert(0, "cargo cli-aws backfill --project shop --since");
    world.assert_is_complete().await;
    assert_ne!(world.endpoint().id, old.id);
}

#[tokio::test]
async fn a_second_endpoint_or_a_second_secret_that_somebody_has_deleted_is_no_obstacle() {
    let world = World::with_endpoint().await;
    world.stripe.add([sample("invoice.paid", 1, now() - 60).undelivered()]);
    world.setup(&["--rotate", "--yes"]).await.assert(1, "Waiting");
    world.moto.delete(&format!("{FOLDER}/{NEXT_SECRET}")).await;
    let again = world.setup(&["--rotate", "--finish", "--yes"]).await;
    again.assert(0, "its signing secret was lost on the way");
    world.assert_is_complete().await;

    // What is left of one is cleared away.
    world.moto.put(&format!("{FOLDER}/{NEXT_SECRET}"), "SecureString", "whsec_of_nobody").await;
    world.setup(&["--yes"]).await.assert(0, "has the secret of an endpoint that is gone, and is deleted");
    world.assert_is_complete().await;
}

/// Rotations take most of their time to wait.
const WORKERS: usize = 8;

/// Killed at each of its requests to Stripe, which is before and after each of its steps.
#[tokio::test]
async fn a_rotation_that_was_killed_anywhere_goes_on_from_there() {
    let workers = (0..WORKERS).map(|worker| {
        tokio::spawn(async move {
            let world = World::with_endpoint().await;
            let (mut requests, mut was_killed) = (worker + 1, true);
            while was_killed {
                let old = world.endpoint();
                world.stripe.clear_requests();
                let mut process = world.command(&["--rotate", "--yes"]).spawn().unwrap();
                was_killed = loop {
                    if world.stripe.requests().len() >= requests {
                        process.kill().unwrap();
                        break true;
                    }
                    if process.try_wait().unwrap().is_some() {
                        break false;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                };
                process.wait().unwrap();
                // What happens in between reaches the function by whichever endpoint there is.
                let deliveries = world.stripe.deliver(sample("charge.failed", requests as u64, now())).await;
                assert!(deliveries.iter().any(Delivery::succeeded), "{requests}: {deliveries:?}");
                world.setup(&["--rotate", "--yes"]).await.assert(0, "Proven");
                world.assert_is_complete().await;
                assert_ne!(world.endpoint().id, old.id, "{requests}");
                requests += WORKERS;
            }
            assert!(requests > 20, "{requests}");
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_of_stripes_that_is_lost_leaves_nothing_half_done() {
    let world = World::new().await;
    world.stripe.fail_at("/v1/webhook_endpoints", 1, Fault::InternalError);
    world.stripe.fail_at("/v1/webhook_endpoints", 1, Fault::TooManyRequests);
    world.setup(&["--yes"]).await.assert(0, "Proven");
    world.assert_is_complete().await;
}

#[tokio::test]
async fn an_endpoint_of_connected_accounts_stays_one_and_its_rotation_ends_when_somebody_says_so() {
    let world = World::new().await;
    world.setup(&["--yes", "--connect"]).await.assert(0, "Proven");
    let old = world.endpoint();
    assert!(old.connect);
    let held = world.setup(&["--yes", "--rotate"]).await;
    held.assert(1, "Stripe does not tell in one list what is still to be delivered of connected accounts");
    let finished = world.setup(&["--yes", "--rotate", "--finish"]).await;
    finished.assert(0, "--account acct_…, for each of the connected accounts");
    let new = world.endpoint();
    assert!(new.connect && new.id != old.id);
    world.setup(&["--yes"]).await.assert(0, "all is as it should be");
    assert_eq!(world.parameters().await[SECRET], new.secret);
}

/// What a new project needs.
const FOLLOWED: [Permission; 4] =
    [Permission::ChargeRead, Permission::CustomerRead, Permission::InvoiceRead, Permission::PaymentIntentRead];
const KEY: &str = "stripe-test-api-key";

impl World {
    /// With this restricted key.
    async fn setup_with(&self, key: &str, input: &'static str) -> Ended {
        let mut command = self.command(if input.is_empty() { &["--yes"] } else { &[] });
        command.env("STRIPE_RESTRICTED_KEY", key);
        let ended = ended(command, input).await;
        assert!(!ended.says(key), "{ended:?}");
        ended
    }
}

#[tokio::test]
async fn a_new_project_follows_references_with_a_key_that_may_read_what_it_needs() {
    let world = World::new().await;
    let key = world.stripe.restricted_key(&FOLLOWED);
    let weak = world.stripe.restricted_key(&FOLLOWED[2..]);
    for (key, words) in [
        (&*weak, "need: Customers: Read (rak_customer_read). Edit"),
        ("rk_test_unknown", "Stripe does not know the key in STRIPE_RESTRICTED_KEY"),
        ("rk_live_x", "STRIPE_RESTRICTED_KEY holds a live-mode key"),
        ("pk_test_x", "STRIPE_RESTRICTED_KEY holds a publishable Stripe key"),
        ("whsec_x", "STRIPE_RESTRICTED_KEY does not hold a Stripe API key"),
    ] {
        world.setup_with(key, "").await.assert(1, words);
    }
    let asked = world.setup_with(&key, "n\n").await;
    for words in [
        "settings is written: {\"references\": \"follow\"}",
        "the restricted key of Stripe goes to /stripe-amplitude/shop/stripe-test-api-key",
        "following takes the redelivery queue",
        "Nothing is changed.",
    ] {
        asked.assert(1, words);
    }
    assert_eq!((world.mutations(), world.parameters().await.len()), (0, 0));

    world.setup_with(&key, "y\n").await.assert(0, "Proven");
    let parameters = world.moto.parameters(FOLDER).await;
    assert_eq!(parameters[KEY], ("SecureString".to_owned(), key.clone()));
    assert_eq!(parameters["settings"], ("String".to_owned(), "{\"references\": \"follow\"}".to_owned()));

    // Neither is asked for again, and Stripe still is.
    let again = world.setup(&["--yes"]).await;
    again.assert(0, "all is as it should be Proven");
    assert!(!again.says("note:"), "{again:?}");
    world.stripe.allow(&key, &FOLLOWED[2..]);
    world.setup(&["--yes"]).await.assert(1, "the key in /stripe-amplitude/shop/stripe-test-api-key lacks");
    let other = world.stripe.restricted_key(&FOLLOWED);
    let asked = world.setup_with(&other, "n\n").await;
    asked.assert(1, "stripe-test-api-key has another value than STRIPE_RESTRICTED_KEY, which takes its place");
    world.setup_with(&other, "").await.assert(0, "Proven");
    assert_eq!(world.parameters().await[KEY], other);
    // A secret key is more than is needed.
    world.setup(&["--yes"]).await.assert(0, "Proven");
    let mut command = world.command(&[]);
    command.env("STRIPE_RESTRICTED_KEY", SECRET_KEY);
    ended(command, "n\n").await.assert(1, "STRIPE_RESTRICTED_KEY holds a secret key (sk_…), which can do everything");
    world.moto.delete(&format!("{FOLDER}/{KEY}")).await;
    world.setup(&["--yes"]).await.assert(1, "STRIPE_RESTRICTED_KEY is not set; it takes the restricted key");
}

#[tokio::test]
async fn a_project_that_has_received_events_is_told_how_it_would_follow_references_and_stays_as_it_is() {
    let world = World::new().await;
    let first = world.setup(&["--yes"]).await;
    first.assert(0, "this new project does not follow references");
    first.assert(0, "Decide before the first event: Amplitude cannot merge IDs later.");
    world.assert_is_complete().await;
    let key = world.stripe.restricted_key(&FOLLOWED);
    let second = world.setup_with(&key, "n\n").await;
    second.assert(0, "this project does not follow references");
    second.assert(0, "Customers: Read (rak_customer_read)");
    second.assert(0, "can be another user from then on");
    second.assert(0, "note: the key in STRIPE_RESTRICTED_KEY is not used, and not written");
    second.assert(0, "write \"references\": \"follow\" into /stripe-amplitude/shop/settings, and run this again");
    assert!(!first.says("is not used"), "{first:?}");
    world.assert_is_complete().await;
    assert!(!world.parameters().await.contains_key("settings"));
    world.moto.put(&format!("{FOLDER}/settings"), "String", r#"{"references": "off"}"#).await;
    let decided = world.setup(&["--yes"]).await;
    assert!(decided.code == Some(0) && !decided.says("follow references"), "{decided:?}");
}
