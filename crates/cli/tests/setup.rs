//! `setup`, against the local Stripe, a real Parameter Store API (moto's server), and the function's handler.

#![cfg(feature = "aws")]
// Helpers panic like tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;
mod local_amplitude;
mod moto;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use amplitude_emulator::Configuration;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use common::{Ended, ended_with, now, program};
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
        // Moto starts slowly, and the function would time out.
        moto.parameters(FOLDER).await;
        let amplitude = LocalAmplitude::start(configuration);
        let mut function = program()
            .args(["serve", "--port", "0", "--parameter-store", "--amplitude", &amplitude.http_v2()])
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

    /// With an endpoint that was set up.
    async fn with_endpoint() -> Self {
        let world = Self::new().await;
        world.setup(&["--yes"]).await.assert(0, "Verified");
        world
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.command_for(&self.url, arguments)
    }

    fn command_for(&self, url: &str, arguments: &[&str]) -> Command {
        let mut command = program();
        command.args(["setup", "--project", "shop", "--url", url]).args(arguments);
        command.envs(CREDENTIALS).env("AWS_ENDPOINT_URL_SSM", self.moto.url());
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

    /// The project's parameters, all of which are encrypted except `settings`.
    async fn parameters(&self) -> BTreeMap<String, String> {
        let parameters = self.moto.parameters(FOLDER).await.into_iter().map(|(name, (kind, value))| {
            assert!(kind == "SecureString" || name == "settings", "{name} is a {kind}");
            (name, value)
        });
        parameters.collect()
    }

    /// There is exactly one correct endpoint, and exactly the expected parameters.
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

/// Runs a command with this standard input.
async fn ended(mut command: Command, input: &'static str) -> Ended {
    let run = move || ended_with(input, &mut command);
    let ended = tokio::task::spawn_blocking(run).await.unwrap();
    for text in [&ended.out, &ended.error] {
        // `whsec_…` in a message is not a secret.
        let mut secrets = text.split("whsec_").skip(1);
        assert!(!secrets.any(|rest| rest.starts_with(|character: char| character.is_ascii_alphanumeric())), "{text}");
        assert!(!text.contains(SECRET_KEY) && !text.contains("arn:"), "{text}");
    }
    ended
}

fn sorted<T: Ord>(types: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut types: Vec<_> = types.into_iter().collect();
    types.sort();
    types
}

/// The URL of a server other than the function, which always responds with this status.
fn elsewhere(status: u16) -> String {
    let answer = async move || (StatusCode::from_u16(status).unwrap(), "<html>This is not it.</html>");
    serve(Router::new().fallback(answer))
}

/// Serves in a separate thread, and returns the URL.
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

/// A Parameter Store that denies changes of this parameter.
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
async fn first_setup_works_and_second_changes_nothing() {
    let world = World::new().await;
    let asked = ended(world.command(&[]), "n\n").await;
    asked.assert(1, "an endpoint will be created, for 26 event types, with API version 2024-06-20");
    asked.assert(1, "Continue? [y/N] Nothing was changed.");
    assert_eq!((world.mutations(), world.parameters().await.len()), (0, 0));

    ended(world.command(&[]), "y\n").await.assert(0, "Verified: the function responds and has the signing secret.");
    world.assert_is_complete().await;
    assert_eq!(sorted(world.endpoint().enabled_events), sorted(event_types::TYPES));
    assert_eq!(world.amplitude.insert_ids(), BTreeMap::new(), "the test event is not forwarded");
    let event = sample("payment_intent.succeeded", 1, now());
    let deliveries = world.stripe.deliver(event.clone()).await;
    assert!(deliveries.len() == 1 && deliveries[0].succeeded(), "{deliveries:?}");
    assert_eq!(world.amplitude.insert_ids(), [(event.id, 1)].into());

    let before = world.mutations();
    // The stored key is used without a prompt.
    let mut command = world.command(&[]);
    command.env_remove("AMPLITUDE_API_KEY");
    let again = ended(command, "").await;
    again.assert(0, "no changes needed Verified");
    assert!(!again.says("Continue?") && world.mutations() == before);
}

#[tokio::test]
async fn unusable_arguments_are_rejected_first() {
    let world = World::new().await;
    let mut command = world.command(&["--yes"]);
    command.env_remove("AMPLITUDE_API_KEY");
    ended(command, "").await.assert(1, "AMPLITUDE_API_KEY is not set; expected the API key of the Amplitude project");
    let mut command = world.command(&["--yes"]);
    command.env_remove("STRIPE_SECRET_KEY");
    ended(command, "").await.assert(1, "STRIPE_SECRET_KEY is not set");
    for (url, words) in [
        ("https://a.example/stripe/other", "does not end with /stripe/shop"),
        ("http://a.example/stripe/shop", "does not begin with https://"),
    ] {
        ended(world.command_for(url, &["--yes"]), "").await.assert(2, words);
    }
    world.setup(&["--stack", &"s".repeat(60)]).await.assert(2, "at most 59");
    world.setup(&["--rotate"]).await.assert(1, "nothing to rotate");
    world.setup(&["--finish"]).await.assert(2, "--rotate");
    world.setup(&["--source", "a/b"]).await.assert(2, "invalid label");
    world.moto.put(&format!("{FOLDER}/settings"), "String", r#"{"event": {}}"#).await;
    world.setup(&["--yes"]).await.assert(1, "the parameter /stripe-amplitude/shop/settings is unusable");
    assert_eq!((world.mutations(), world.parameters().await.len()), (0, 1));
}

#[tokio::test]
async fn differences_are_fixed_after_confirmation() {
    let world = World::with_endpoint().await;
    let settings = r#"{"events": {"add": ["customer.subscription.*"], "remove": ["balance.available"]}}"#;
    world.moto.put(&format!("{FOLDER}/settings"), "String", settings).await;
    let endpoint = world.endpoint();

    let before = world.mutations();
    let asked = ended(world.command(&[]), "n\n").await;
    for words in ["+ customer.subscription.created", "- balance.available", "Nothing was changed."] {
        asked.assert(1, words);
    }
    assert_eq!((world.mutations(), world.endpoint().enabled_events), (before, endpoint.enabled_events));
    world.setup(&["--yes"]).await.assert(0, "Verified");
    let enabled = world.endpoint().enabled_events;
    assert!(enabled.contains(&"customer.subscription.created".to_owned()), "{enabled:?}");
    assert!(!enabled.contains(&"balance.available".to_owned()), "{enabled:?}");

    world.disable(&endpoint.id).await;
    ended(world.command(&[]), "n\n").await.assert(1, "it is disabled, so Stripe delivers nothing to it");
    assert!(world.endpoint().disabled);
    let enabled = world.setup(&["--yes"]).await;
    enabled.assert(0, "Verified");
    assert!(enabled.says("was disabled") && enabled.says("backfill"), "{enabled:?}");

    let mut command = world.command(&[]);
    command.env("AMPLITUDE_API_KEY", "another-key");
    let asked = ended(command, "n\n").await;
    asked.assert(1, "amplitude-api-key differs from AMPLITUDE_API_KEY");
    assert!(!asked.says("another-key"));
    world.assert_is_complete().await;
    assert_eq!(world.endpoint().secret, endpoint.secret);
}

impl World {
    /// Like an operator in the dashboard.
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
async fn wrong_api_version_or_lost_secret_replaces_the_endpoint() {
    let world = World::new().await;
    // Created in the dashboard with the account's default version, and its secret stored by hand.
    let old = world.stripe.add_endpoint(&world.url, &["invoice.paid"]);
    world.moto.put(&format!("{FOLDER}/{SECRET}"), "SecureString", &old.secret).await;
    let asked = ended(world.command(&["--own-account"]), "n\n").await;
    asked.assert(1, "its API version is the account's default, not 2024-06-20");
    asked.assert(1, "do not name this project yet");
    assert_eq!(world.mutations(), 0);
    world.setup(&["--own-account", "--yes"]).await.assert(0, "Verified");
    world.assert_is_complete().await;
    let second = world.endpoint();
    assert_ne!(second.id, old.id);

    world.moto.delete(&format!("{FOLDER}/{SECRET}")).await;
    let lost = world.setup(&["--yes"]).await;
    lost.assert(0, "its signing secret is not in Parameter Store");
    lost.assert(0, "cargo cli backfill --project shop --since");
    world.assert_is_complete().await;
    assert_ne!(world.endpoint().id, second.id);
}

#[tokio::test]
async fn further_endpoints_of_the_url_are_not_changed() {
    let world = World::new().await;
    let one = world.stripe.add_endpoint(&world.url, &["invoice.paid"]);
    let other = world.stripe.add_endpoint(&world.url, &["invoice.paid"]);
    let ended = world.setup(&["--yes"]).await;
    ended.assert(1, "it is unclear which one is this project's");
    assert!(ended.says(&one.id) && ended.says(&other.id), "{ended:?}");
    assert_eq!(world.mutations(), 0);

    world
        .change(
            &one.id,
            "metadata[stripe_amplitude_project]=shop&metadata[stripe_amplitude_parameter]=stripe-signing-secret",
        )
        .await;
    let ended = world.setup(&["--own-account", "--yes"]).await;
    ended.assert(0, &format!("{} has the same URL but is not managed by setup", other.id));
    assert!(world.stripe.endpoint(&one.id).is_none(), "its API version was another one");
    assert_eq!(world.stripe.endpoint(&other.id).unwrap().metadata, BTreeMap::new());
}

#[tokio::test]
async fn secret_of_an_invisible_endpoint_is_not_overwritten() {
    let world = World::new().await;
    world.moto.put(&format!("{FOLDER}/{SECRET}"), "SecureString", "whsec_live").await;
    world.setup(&["--yes"]).await.assert(1, "this Stripe key cannot see");
    assert_eq!((world.mutations(), world.parameters().await.len()), (0, 1));
    world.setup(&["--yes", "--source", "test"]).await.assert(0, "Verified");
    let parameters = world.parameters().await;
    assert_eq!(parameters[SECRET], "whsec_live");
    assert_eq!(parameters["stripe-signing-secret/test"], world.endpoint().secret);
    world.stripe.deliver(sample("charge.succeeded", 1, now())).await;
    assert_eq!(world.amplitude.events()[0].event["event_properties"]["stripe_source"], "test");
}

#[tokio::test]
async fn endpoint_is_deleted_if_its_secret_cannot_be_written() {
    let world = World::new().await;
    let mut command = world.command(&["--yes"]);
    command.env("AWS_ENDPOINT_URL_SSM", denying(&world.moto, "/stripe-amplitude/shop/stripe-signing-secret"));
    let ended_without = ended(command, "").await;
    ended_without.assert(1, "need ssm:PutParameter");
    ended_without.assert(1, "was deleted again");
    assert_eq!(world.stripe.endpoints().len(), 0);
    assert_eq!(world.stripe.counts()["POST /v1/webhook_endpoints"], 1);

    // If nothing can be written at all, nothing is created.
    let mut command = world.command(&["--yes", "--source", "other"]);
    command.env("AWS_ENDPOINT_URL_SSM", denying(&world.moto, "/other/shop/amplitude-api-key"));
    command.env("PARAMETER_PREFIX", "/other");
    ended(command, "").await.assert(1, "cannot write /other/shop/amplitude-api-key: access denied");
    assert_eq!(world.stripe.counts()["POST /v1/webhook_endpoints"], 1);
}

#[tokio::test]
async fn missing_permission_is_named() {
    let world = World::with_endpoint().await;
    let run = async |permissions: &[Permission], arguments: &[&str]| {
        let mut command = world.command(arguments);
        command.env("STRIPE_SECRET_KEY", world.stripe.restricted_key(permissions));
        ended(command, "").await
    };
    run(&[Permission::EventsRead], &[]).await.assert(1, "the permission `Webhook Endpoints`: Read");
    run(&[Permission::WebhookEndpointsRead], &[]).await.assert(0, "no changes needed");
    // Fails before anything is begun.
    run(&[Permission::WebhookEndpointsWrite], &["--rotate", "--yes"]).await.assert(1, "the permission `Events`: Read");
    world.assert_is_complete().await;
    world.disable(&world.endpoint().id).await;
    let read = run(&[Permission::WebhookEndpointsRead], &["--yes"]).await;
    read.assert(1, "the permission `Webhook Endpoints`: Write");
}

#[tokio::test]
async fn url_of_another_server_fails() {
    let world = World::new().await;
    for (status, words) in [(404, "correct --url"), (403, "allow public access"), (200, "correct --url")] {
        let url = format!("{}/stripe/shop", elsewhere(status));
        let command = world.command_for(&url, &["--yes", "--source", &status.to_string()]);
        let ended = ended(command, "").await;
        ended.assert(1, words);
        ended.assert(1, "What was created remains");
        assert!(!ended.says("This is not it"), "{ended:?}");
    }
    assert_eq!(world.stripe.endpoints().len(), 3);
}

/// Generates and delivers events until `stop` is set; returns both.
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
async fn rotation_delivers_every_event_once() {
    let world = World::with_endpoint().await;
    let old = world.endpoint();
    let stop: Arc<AtomicBool> = Arc::default();
    let happening = tokio::spawn(happen(world.stripe.clone(), Arc::clone(&stop)));
    let rotated = ended(world.command(&["--rotate"]), "y\n").await;
    stop.store(true, Ordering::Relaxed);
    let (events, deliveries) = happening.await.unwrap();
    rotated.assert(0, "Verified");
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
async fn disabled_second_endpoint_is_incomplete() {
    let world = World::with_endpoint().await;
    let old = world.endpoint();
    world.stripe.add([sample("invoice.paid", 1, now() - 60).undelivered()]);
    world.setup(&["--rotate", "--yes"]).await.assert(1, "Waiting");
    let next = world.stripe.endpoints().into_iter().find(|endpoint| endpoint.id != old.id).unwrap();
    // An operator mistakes it for a duplicate; from then on only the old one receives events.
    world.disable(&next.id).await;
    world.change(&next.id, "metadata[stripe_amplitude_complete_since]=1").await;
    world.setup(&["--rotate", "--yes"]).await.assert(1, "Waiting");
    assert!(world.stripe.endpoint(&old.id).is_some());
}

#[tokio::test]
async fn moved_webhook_keeps_its_endpoint_and_secret() {
    let world = World::with_endpoint().await;
    let before = world.endpoint();
    let url = world.url.replace("/stripe/", "/v2/stripe/");
    let ended = ended(world.command_for(&url, &["--yes"]), "").await;
    ended.assert(0, "Verified");
    assert!(ended.says(&format!("its URL is {}", world.url)), "{ended:?}");
    let after = world.endpoint();
    assert_eq!((after.id, after.secret, after.url), (before.id, before.secret, url));
}

#[tokio::test]
async fn replacing_an_endpoint_made_by_hand_needs_a_decision() {
    let world = World::new().await;
    let old = world.stripe.add_endpoint(&world.url, &["invoice.paid"]);
    world.moto.put(&format!("{FOLDER}/{SECRET}"), "SecureString", &old.secret).await;
    for arguments in [&["--yes"][..], &["--rotate", "--yes"]] {
        world.setup(arguments).await.assert(1, "pass --own-account, or --connect");
    }
    assert_eq!(world.endpoint().id, old.id);
    world.setup(&["--connect", "--yes", "--finish", "--rotate"]).await.assert(0, "Verified");
    assert!(world.endpoint().connect);
    world.setup(&["--own-account", "--yes"]).await.assert(1, "receives the events of connected accounts");
}

#[tokio::test]
async fn invalid_amplitude_key_is_not_written() {
    let world =
        World::with_configuration(Configuration { api_keys: vec!["key".to_owned()], ..Configuration::default() }).await;
    let mut command = world.command(&["--yes"]);
    command.env("AMPLITUDE_API_KEY", "hidden");
    let ended = ended(command, "").await;
    ended.assert(1, "AMPLITUDE_API_KEY: 400: Amplitude does not know the API key");
    assert!(!ended.says("hidden") && world.stripe.endpoints().is_empty() && world.parameters().await.is_empty());
    world.setup(&["--yes"]).await.assert(0, "Verified");
}

#[tokio::test]
async fn a_stripe_key_is_not_taken_for_amplitudes() {
    let world = World::new().await;
    for is_new in [true, false] {
        let before = world.amplitude.requests().requests;
        let mut command = world.command(&["--yes"]);
        command.env("AMPLITUDE_API_KEY", "whsec_hidden");
        let ended = ended(command, "").await;
        ended.assert(1, "AMPLITUDE_API_KEY holds a key, a secret or an ID of Stripe's");
        assert!(!ended.says("hidden") && world.amplitude.requests().requests == before);
        if is_new {
            world.setup(&["--yes"]).await.assert(0, "Verified");
        }
    }
}

#[tokio::test]
async fn pending_deliveries_delay_a_rotation() {
    let world = World::with_endpoint().await;
    let old = world.endpoint();
    world.stripe.add([sample("invoice.paid", 1, now() - 60).undelivered()]);
    // Stripe has given up on the first of these, and no endpoint wants the second.
    world.stripe.add([sample("invoice.paid", 2, now() - 4 * 24 * 60 * 60).undelivered()]);
    world.stripe.add([sample("plan.created", 3, now() - 60).undelivered()]);
    let held = world.setup(&["--rotate", "--yes"]).await;
    held.assert(1, "1 event is pending");
    held.assert(1, "Run `setup --rotate` again later to continue");
    assert_eq!(world.stripe.endpoints().len(), 2);
    let deliveries = world.stripe.deliver(sample("charge.failed", 4, now())).await;
    assert!(deliveries.len() == 2 && deliveries.iter().all(Delivery::succeeded), "both work meanwhile: {deliveries:?}");

    let finished = world.setup(&["--rotate", "--finish", "--yes"]).await;
    finished.assert(0, "cargo cli backfill --project shop --since");
    world.assert_is_complete().await;
    assert_ne!(world.endpoint().id, old.id);
}

#[tokio::test]
async fn rotation_survives_manual_deletions() {
    let world = World::with_endpoint().await;
    world.stripe.add([sample("invoice.paid", 1, now() - 60).undelivered()]);
    world.setup(&["--rotate", "--yes"]).await.assert(1, "Waiting");
    world.moto.delete(&format!("{FOLDER}/{NEXT_SECRET}")).await;
    let again = world.setup(&["--rotate", "--finish", "--yes"]).await;
    again.assert(0, "its signing secret was lost");
    world.assert_is_complete().await;

    // A leftover is removed.
    world.moto.put(&format!("{FOLDER}/{NEXT_SECRET}"), "SecureString", "whsec_of_nobody").await;
    world.setup(&["--yes"]).await.assert(0, "has the secret of an endpoint that no longer exists, and will be deleted");
    world.assert_is_complete().await;
}

/// Rotations spend most of their time waiting.
const WORKERS: usize = 8;

/// Killed at each request to Stripe, so before and after each step.
#[tokio::test]
async fn killed_rotation_can_be_continued() {
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
                // Meanwhile events reach the function through either endpoint.
                let deliveries = world.stripe.deliver(sample("charge.failed", requests as u64, now())).await;
                assert!(deliveries.iter().any(Delivery::succeeded), "{requests}: {deliveries:?}");
                world.setup(&["--rotate", "--yes"]).await.assert(0, "Verified");
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
async fn failed_requests_to_stripe_are_retried() {
    let world = World::new().await;
    world.stripe.fail_at("/v1/webhook_endpoints", 1, Fault::InternalError);
    world.stripe.fail_at("/v1/webhook_endpoints", 1, Fault::TooManyRequests);
    world.setup(&["--yes"]).await.assert(0, "Verified");
    world.assert_is_complete().await;
}

#[tokio::test]
async fn connect_endpoint_is_rotated_with_finish() {
    let world = World::new().await;
    world.setup(&["--yes", "--connect"]).await.assert(0, "Verified");
    let old = world.endpoint();
    assert!(old.connect);
    let held = world.setup(&["--yes", "--rotate"]).await;
    held.assert(1, "Stripe has no list of pending deliveries across connected accounts");
    let finished = world.setup(&["--yes", "--rotate", "--finish"]).await;
    finished.assert(0, "--account acct_…, for each of the connected accounts");
    let new = world.endpoint();
    assert!(new.connect && new.id != old.id);
    world.setup(&["--yes"]).await.assert(0, "no changes needed");
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
async fn new_project_follows_references_with_a_sufficient_key() {
    let world = World::new().await;
    let key = world.stripe.restricted_key(&FOLLOWED);
    let weak = world.stripe.restricted_key(&FOLLOWED[2..]);
    for (key, words) in [
        (&*weak, "need: Customers: Read (rak_customer_read). Edit"),
        ("rk_test_unknown", "Stripe rejects the key in STRIPE_RESTRICTED_KEY"),
        ("rk_live_x", "STRIPE_RESTRICTED_KEY holds a live-mode key"),
        ("pk_test_x", "STRIPE_RESTRICTED_KEY holds a publishable Stripe key"),
        ("whsec_x", "STRIPE_RESTRICTED_KEY does not hold a Stripe API key"),
    ] {
        world.setup_with(key, "").await.assert(1, words);
    }
    let asked = world.setup_with(&key, "n\n").await;
    for words in [
        "{\"references\": \"follow\"} will be written to",
        "the restricted Stripe key will be written to /stripe-amplitude/shop/stripe-test-api-key",
        "following references needs the redelivery queue",
        "Nothing was changed.",
    ] {
        asked.assert(1, words);
    }
    assert_eq!((world.mutations(), world.parameters().await.len()), (0, 0));

    world.setup_with(&key, "y\n").await.assert(0, "Verified");
    let parameters = world.moto.parameters(FOLDER).await;
    assert_eq!(parameters[KEY], ("SecureString".to_owned(), key.clone()));
    assert_eq!(parameters["settings"], ("String".to_owned(), "{\"references\": \"follow\"}".to_owned()));

    // There is no prompt, but the permissions are still checked.
    let again = world.setup(&["--yes"]).await;
    again.assert(0, "no changes needed Verified");
    assert!(!again.says("note:"), "{again:?}");
    world.stripe.allow(&key, &FOLLOWED[2..]);
    world.setup(&["--yes"]).await.assert(1, "the key in /stripe-amplitude/shop/stripe-test-api-key lacks");
    let other = world.stripe.restricted_key(&FOLLOWED);
    let asked = world.setup_with(&other, "n\n").await;
    asked.assert(1, "stripe-test-api-key differs from STRIPE_RESTRICTED_KEY");
    world.setup_with(&other, "").await.assert(0, "Verified");
    assert_eq!(world.parameters().await[KEY], other);
    // A secret key works, but is more than needed.
    world.setup(&["--yes"]).await.assert(0, "Verified");
    let mut command = world.command(&[]);
    command.env("STRIPE_RESTRICTED_KEY", SECRET_KEY);
    ended(command, "n\n")
        .await
        .assert(1, "STRIPE_RESTRICTED_KEY holds a secret key (sk_…), which has every permission");
    world.moto.delete(&format!("{FOLDER}/{KEY}")).await;
    world.setup(&["--yes"]).await.assert(1, "STRIPE_RESTRICTED_KEY is not set; expected the restricted key");
}

#[tokio::test]
async fn project_with_events_keeps_its_settings() {
    let world = World::new().await;
    let first = world.setup(&["--yes"]).await;
    first.assert(0, "this new project does not follow references");
    first.assert(0, "Decide before the first event: Amplitude cannot merge IDs later.");
    world.assert_is_complete().await;
    let key = world.stripe.restricted_key(&FOLLOWED);
    let second = world.setup_with(&key, "n\n").await;
    second.assert(0, "this project does not follow references");
    second.assert(0, "Customers: Read (rak_customer_read)");
    second.assert(0, "can become another user");
    second.assert(0, "note: the key in STRIPE_RESTRICTED_KEY is neither used nor written");
    second.assert(0, "add \"references\": \"follow\" to /stripe-amplitude/shop/settings, and run setup again");
    assert!(!first.says("neither used"), "{first:?}");
    world.assert_is_complete().await;
    assert!(!world.parameters().await.contains_key("settings"));
    world.moto.put(&format!("{FOLDER}/settings"), "String", r#"{"references": "off"}"#).await;
    let decided = world.setup(&["--yes"]).await;
    assert!(decided.code == Some(0) && !decided.says("follow references"), "{decided:?}");
}
