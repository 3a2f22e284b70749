//! `doctor`, against the local Stripe, the local Amplitude, and the function's handler.

// Helpers panic like tests do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod command_line;
mod common;
mod local_amplitude;
mod shop;

use std::net::Ipv4Addr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use amplitude_emulator::Fault;
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Uri};
use command_line::Serving;
use common::{Ended, HOUR, ended};
use serde_json::{Value, json};
use shop::{PROJECTS, Shop};
use stripe_amplitude::amplitude::client::Client;
use stripe_amplitude::aws::AwsError;
use stripe_amplitude::projects::Projects;
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::projects::parameters::Parameter;
use stripe_amplitude::projects::source::ProjectSource;
use stripe_amplitude::stripe::event_types::TYPES;
use stripe_amplitude::stripe::references::api::StripeApi;
use stripe_amplitude::stripe::references::{ReadRate, References};
use stripe_amplitude::webhook::{Request, Webhook};
use stripe_emulator::{Event, Permission, SECRET_KEY, history, sample};

/// The shop, and the function's handler.
struct World {
    shop: Shop,
    _serving: Serving,
    /// The webhook's URL.
    url: String,
}

impl Deref for World {
    type Target = Shop;

    fn deref(&self) -> &Shop {
        &self.shop
    }
}

impl World {
    /// Without problems.
    async fn new() -> Self {
        let shop = Shop::with_keys().await;
        let (now, projects) = (shop.now, shop.path("projects.toml"));
        let amplitude = shop.amplitude.http_v2();
        let serving = Serving::start(&["--projects", projects.to_str().unwrap(), "--amplitude", &amplitude]);
        let url = serving.url.clone();
        let world = Self { shop, _serving: serving, url };
        world.stripe.add((0..20).map(|number| sample("charge.succeeded", number, now - HOUR)));
        world.add_endpoint(&TYPES, "2024-06-20").await;
        world
    }

    /// Through the API, like `setup`.
    async fn add_endpoint(&self, types: &[&str], api_version: &str) {
        let mut form = format!("url={}&api_version={api_version}", self.url);
        types.iter().for_each(|event_type| form.push_str(&format!("&enabled_events[]={event_type}")));
        self.post("", form).await;
    }

    /// Instead of the existing one.
    async fn replace_endpoint(&self, types: &[&str], api_version: &str) {
        let http = stripe_amplitude::http_client::build(None).unwrap();
        for endpoint in self.stripe.endpoints() {
            let url = format!("{}/v1/webhook_endpoints/{}", self.stripe.url(), endpoint.id);
            http.delete(url).basic_auth(SECRET_KEY, Some("")).send().await.unwrap();
        }
        self.add_endpoint(types, api_version).await;
    }

    async fn post(&self, id: &str, form: String) {
        let http = stripe_amplitude::http_client::build(None).unwrap();
        let request = http.post(format!("{}/v1/webhook_endpoints{id}", self.stripe.url()));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        let answer = request.basic_auth(SECRET_KEY, Some("")).send().await.unwrap();
        assert!(answer.status().is_success());
    }

    fn doctor(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        let mut command = self.command("doctor", arguments);
        command.env("AMPLITUDE_SECRET_KEY", "secret").envs(variables.iter().copied());
        let mut ended = ended(&mut command);
        // Join wrapped lines.
        ended.out = ended.out.replace("\n         ", " ");
        assert!(self.amplitude.events().is_empty(), "doctor leaves no event");
        for secret in ["whsec_a", "\"key\"", SECRET_KEY] {
            assert!(!ended.out.contains(secret), "{}", ended.out);
        }
        ended
    }

    fn with_url(&self) -> Ended {
        self.doctor(&["--url", &self.url], &[])
    }
}

/// The lines of this grade.
fn lines<'e>(ended: &'e Ended, grade: &str) -> Vec<&'e str> {
    ended.out.lines().filter(|line| line.split(' ').next() == Some(grade)).collect()
}

#[tokio::test]
async fn healthy_project_has_no_findings() {
    let world = World::new().await;
    let ended = world.with_url();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let others: Vec<_> = ["problem", "warning", "skipped"].iter().flat_map(|grade| lines(&ended, grade)).collect();
    assert!(others.is_empty(), "{others:#?}");
    for words in [
        "projects.toml/shop has 1 signing secret and the Amplitude key",
        "is enabled for exactly the 26 types",
        "may read events",
        "all events of the last three days were delivered",
        "all of 20 recent events have a user ID",
        "the recent events have ",
        "is the function, and has the signing secret",
        "accepts the key in amplitude-api-key",
        "amplitude-api-key and AMPLITUDE_SECRET_KEY belong to the same project",
        "clock and Stripe's agree",
        "clock and the gateway's agree",
        "clock and Amplitude's agree",
        "\n0 problems, 0 warnings.\n",
    ] {
        assert!(ended.out.contains(words), "{words}: {}", ended.out);
    }
}

/// The parameters of [`PROJECTS`].
struct Parameters;

impl ProjectSource for Parameters {
    fn folder(&self, project: &ProjectName) -> String {
        format!("/stripe-amplitude/{project}")
    }

    async fn load(&self, _: &ProjectName) -> Result<Vec<Parameter>, AwsError> {
        let parameters = [("stripe-signing-secret", "whsec_a"), ("amplitude-api-key", "key")];
        Ok(parameters.map(|(name, value)| Parameter { name: name.to_owned(), value: value.into() }).into())
    }
}

/// Starts the function's handler with these projects in `WARM_PROJECTS`, and returns its URL.
fn deployed(warm: &[&str]) -> String {
    let warm = warm.iter().map(|name| name.parse().unwrap()).collect();
    let projects = Projects::new(Parameters, Duration::from_secs(300)).with_warm(warm);
    let http = stripe_amplitude::http_client::build(None).unwrap();
    let references = References::new(StripeApi::new(http.clone(), None), ReadRate::WEBHOOK);
    let webhook = Arc::new(Webhook::new(projects, Client::new(http, None), references, Duration::from_secs(300)));
    let answer = async move |method: Method, url: Uri, headers: HeaderMap, body: Bytes| {
        let (path, request_id, function, time_left) = (url.path(), None, None, None);
        let request = Request { method: &method, path, headers: &headers, body, request_id, function, time_left };
        webhook.handle(request).await
    };
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/stripe/shop", listener.local_addr().unwrap());
    // A separate thread, because the test's thread waits for the command.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, Router::new().fallback(answer)).await
        })
    });
    url
}

#[tokio::test]
async fn cold_project_is_a_warning() {
    let world = World::new().await;
    for (warm, is_warned) in [(&[][..], true), (&["other"], true), (&["other", "shop"], false)] {
        let ended = world.doctor(&["--url", &deployed(warm)], &[]);
        let warning = lines(&ended, "warning").join("\n");
        assert_eq!(warning.contains("WarmProjects=shop"), is_warned, "{warm:?}: {}", ended.out);
        assert!(ended.out.contains("is the function, and has the signing secret"), "{}", ended.out);
    }
}

#[tokio::test]
async fn too_many_property_names_are_a_warning() {
    let world = World::new().await;
    let of_cart = |number: u64| {
        let event = sample("charge.succeeded", 100 + number, world.now - HOUR);
        let mut body: Value = serde_json::from_slice(&event.body).unwrap();
        for item in 0..20 {
            body["data"]["object"]["metadata"][format!("sku_{}", number * 20 + item)] = json!("1");
        }
        Event::new(body.to_string()).unwrap()
    };
    world.stripe.add((0..60).map(of_cart));
    let ended = world.with_url();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let warning = lines(&ended, "warning").join("\n");
    for words in ["distinct property names (metadata.sku_*: 1200).", "\"metadata.*\" in `drop_properties`"] {
        assert!(warning.contains(words), "{words}: {}", ended.out);
    }
    world.parameter("settings", r#"{"drop_properties": ["metadata.*"]}"#);
    let ended = world.with_url();
    assert!(!ended.out.contains("metadata.sku_*") && ended.out.contains("the recent events have "), "{ended:?}");
}

#[tokio::test]
async fn checks_without_a_key_are_skipped() {
    let world = World::new().await;
    let ended = world.doctor(&[], &[("STRIPE_SECRET_KEY", ""), ("AMPLITUDE_SECRET_KEY", "")]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let skipped = lines(&ended, "skipped").join("\n");
    for words in ["STRIPE_SECRET_KEY is not set", "--url is not set; pass", "AMPLITUDE_SECRET_KEY is not set"] {
        assert!(skipped.contains(words), "{skipped}");
    }
    assert!(ended.out.contains("accepts the key"), "{ended:?}");
}

#[tokio::test]
async fn faults_of_the_endpoint_are_found() {
    let world = World::new().await;
    let mut types = TYPES.to_vec();
    types.pop();
    world.replace_endpoint(&types, "2024-06-20").await;
    let ended = world.with_url();
    assert_eq!((ended.code, lines(&ended, "problem").len()), (Some(1), 1), "{ended:?}");
    assert!(
        lines(&ended, "problem")[0].contains("issuing_transaction.created; run `setup --project shop --url http"),
        "{ended:?}"
    );

    world.replace_endpoint(&["*"], "2024-06-20").await;
    let ended = world.with_url();
    assert_eq!((ended.code, lines(&ended, "warning").len()), (Some(0), 1), "{ended:?}");
    assert!(lines(&ended, "warning")[0].contains("every type"), "{ended:?}");

    world.replace_endpoint(&TYPES, "2025-03-31.basil").await;
    let ended = world.with_url();
    assert!(lines(&ended, "warning")[0].contains("2025-03-31.basil, not 2024-06-20"), "{ended:?}");

    world.replace_endpoint(&TYPES, "2024-06-20").await;
    let id = world.stripe.endpoints()[0].id.clone();
    world.post(&format!("/{id}"), "disabled=true".to_owned()).await;
    let ended = world.with_url();
    assert!(ended.code == Some(1) && lines(&ended, "problem")[0].contains("is disabled"), "{ended:?}");

    world.replace_endpoint(&TYPES, "2024-06-20").await;
    world.add_endpoint(&TYPES, "2024-06-20").await;
    let ended = world.with_url();
    assert!(ended.code == Some(1), "{ended:?}");
    assert!(lines(&ended, "problem")[0].contains("2 endpoints but 1 signing secret"), "{ended:?}");

    let ended = world.doctor(&["--url", "https://other.example/stripe/shop"], &[]);
    assert!(lines(&ended, "problem")[0].contains("no webhook endpoint in test mode with the URL"), "{ended:?}");
}

#[tokio::test]
async fn missing_function_or_wrong_secret_is_found() {
    let world = World::new().await;
    let ended = world.doctor(&["--url", "http://127.0.0.1:1/stripe/shop"], &[]);
    assert!(ended.code == Some(1) && ended.out.contains("no connection"), "{ended:?}");
    // `serve` caches the parameters for a while.
    world.projects(&PROJECTS.replace("whsec_a", "whsec_b"));
    let ended = world.with_url();
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(lines(&ended, "problem")[0].contains("400, signature_mismatch: "), "{ended:?}");
    let ended = world.doctor(&["--url", "https://example.com/other"], &[]);
    assert!(ended.code == Some(2) && ended.error.contains("--url does not end with /stripe/shop"), "{ended:?}");
}

#[tokio::test]
async fn faults_of_the_parameters_are_found() {
    let world = World::new().await;
    for (projects, grade, words) in [
        (PROJECTS.replace("amplitude-api-key", "amplitude-key"), "problem", "amplitude-api-key is missing"),
        (format!("{PROJECTS}amplitude-key = 'x'\n"), "warning", "shop/amplitude-key is not a known parameter"),
        (format!("{PROJECTS}settings = '{{\"refund\": 1}}'\n"), "problem", "settings cannot be used"),
        (format!("{PROJECTS}settings = '{{\"max_age_days\": 30}}'\n"), "warning", "`max_age_days` is 30"),
        (
            PROJECTS.replace("[shop]", "[other]"),
            "problem",
            "there is no project shop: projects.toml has no [shop]; it has other",
        ),
    ] {
        world.projects(&projects);
        let ended = world.with_url();
        assert_eq!(ended.code, Some(i32::from(grade == "problem")), "{ended:?}");
        assert!(lines(&ended, grade).iter().any(|line| line.contains(words)), "{words}: {ended:?}");
        assert!(ended.out.contains("may read events"), "{ended:?}");
    }
}

#[tokio::test]
async fn weak_and_wrong_keys_are_found() {
    let world = World::new().await;
    for (permissions, words) in [
        (&[Permission::EventsRead][..], "`Webhook Endpoints`: Read"),
        (&[Permission::WebhookEndpointsRead], "`Events`: Read"),
    ] {
        let key = world.stripe.restricted_key(permissions);
        let ended = world.doctor(&[], &[("STRIPE_SECRET_KEY", &key)]);
        assert_eq!((ended.code, lines(&ended, "problem").len()), (Some(1), 1), "{ended:?}");
        assert!(lines(&ended, "problem")[0].contains(words), "{ended:?}");
    }
    for (variable, words) in [
        ("STRIPE_SECRET_KEY", "Stripe rejects the key in STRIPE_SECRET_KEY: it was revoked, has expired"),
        ("AMPLITUDE_SECRET_KEY", "AMPLITUDE_SECRET_KEY must be the secret key of the same project"),
    ] {
        let ended = world.doctor(&[], &[(variable, "wrong")]);
        assert_eq!((ended.code, lines(&ended, "problem").len()), (Some(1), 1), "{ended:?}");
        assert!(lines(&ended, "problem")[0].contains(words), "{ended:?}");
    }
    // Rejected by their prefixes, and not sent to Stripe.
    world.stripe.clear_requests();
    for (key, words) in [("pk_test_x", "STRIPE_SECRET_KEY holds a publishable key"), ("whsec_x", "the signing secret")]
    {
        let ended = world.doctor(&[], &[("STRIPE_SECRET_KEY", key)]);
        assert!(ended.code == Some(1) && lines(&ended, "problem")[0].contains(words), "{ended:?}");
        let ended = world.doctor(&["--identity"], &[("STRIPE_SECRET_KEY", key)]);
        assert!(ended.code == Some(1) && ended.error.contains(words) && !ended.error.contains(key), "{ended:?}");
    }
    assert!(world.stripe.requests().is_empty());
    world.projects(&format!("{PROJECTS}amplitude-test-api-key = \"wrong\"\n"));
    let ended = world.doctor(&[], &[("AMPLITUDE_TEST_SECRET_KEY", "test-secret")]);
    assert_eq!(lines(&ended, "problem").len(), 1, "{ended:?}");
    assert!(
        lines(&ended, "problem")[0].contains("amplitude-test-api-key: 400: Amplitude does not know the API key"),
        "{ended:?}"
    );
    world.projects(PROJECTS);
    // More often than it retries.
    world.amplitude.inject(Fault::answer(503), 9);
    let ended = world.doctor(&[], &[]);
    assert!(lines(&ended, "problem")[0].contains("503: Amplitude is unavailable"), "{ended:?}");
}

#[tokio::test]
async fn wrong_clock_is_found() {
    let world = World::new().await;
    for (off, grade, words) in [(100, "warning", "behind Stripe's"), (-400, "problem", "ahead of Stripe's")] {
        world.stripe.set_date(world.now + off);
        let ended = world.doctor(&[], &[]);
        assert!(lines(&ended, grade).iter().any(|line| line.contains(words)), "{ended:?}");
        assert_eq!(ended.code, Some(i32::from(grade == "problem")));
    }
}

#[tokio::test]
async fn customers_without_a_user_id_are_written_to_csv() {
    let world = World::new().await;
    let charge = |number: u64, changes: Value| {
        let mut body: Value = serde_json::from_slice(
            &sample("charge.succeeded", 100 + number, world.now - 1000 + number.cast_signed()).body,
        )
        .unwrap();
        let object = body["data"]["object"].as_object_mut().unwrap();
        object.insert("metadata".to_owned(), json!({}));
        object.extend(changes.as_object().unwrap().clone());
        Event::new(body.to_string()).unwrap()
    };
    let email = "jenny@example.com";
    let last = charge(3, json!({"customer": "cus_a", "receipt_email": email}));
    world.stripe.add([
        charge(1, json!({"customer": "cus_b", "receipt_email": null})),
        charge(2, json!({"customer": "cus_a", "receipt_email": null})),
        last.clone(),
        charge(4, json!({"customer": null, "receipt_email": null})),
        sample("balance.available", 200, world.now - 500),
    ]);
    let ended = world.doctor(&["--csv", "customers.csv"], &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(lines(&ended, "warning")[0].contains("4 of 24 recent events (16.7 %) have no user ID"), "{ended:?}");
    assert!(ended.out.contains("balance.available, which never has a user"), "{ended:?}");
    assert!(ended.out.contains("2 customers are in customers.csv."), "{ended:?}");
    let path = world.path("customers.csv");
    let csv = std::fs::read_to_string(&path).unwrap();
    let rows: Vec<_> = csv.lines().collect();
    assert_eq!(rows[0], "customer,events,user_id_from,last_event,last_time");
    assert!(rows[1].starts_with(&format!("cus_a,2,receipt_email,{},20", last.id)), "{csv}");
    assert!(rows.len() == 3 && rows[2].starts_with("cus_b,1,customer,"), "{csv}");
    assert!(!csv.contains(email) && !ended.out.contains(email));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    // The newest events only.
    world.stripe.add(history(300, world.now - 20 * HOUR, world.now - 2 * HOUR));
    let ended = world.doctor(&["--recent", "4"], &[]);
    assert!(lines(&ended, "warning")[0].contains("3 of 3 recent events"), "{ended:?}");
}

#[tokio::test]
async fn undelivered_events_are_a_warning_with_a_command() {
    let world = World::new().await;
    world.stripe.add([7, 8].map(|number| sample("charge.failed", number, world.now - 10 * HOUR).undelivered()));
    let ended = world.doctor(&[], &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let warning = lines(&ended, "warning").join("\n");
    assert!(warning.contains("2 events of the last three days are pending or failed"), "{ended:?}");
    assert!(warning.contains("`backfill --project shop --since 20") && warning.contains("--undelivered`"), "{ended:?}");
}

/// What the default paths need with references.
const FOLLOWED: [Permission; 4] =
    [Permission::ChargeRead, Permission::CustomerRead, Permission::InvoiceRead, Permission::PaymentIntentRead];

#[tokio::test]
async fn permissions_of_the_references_key_are_checked() {
    let world = World::new().await;
    let follow = |parameters: &str| {
        world.projects(&format!("{PROJECTS}settings = '{{\"references\": \"follow\"}}'\n{parameters}"));
        world.doctor(&[], &[])
    };
    let ended = follow("");
    assert_eq!((ended.code, lines(&ended, "problem").len()), (Some(1), 1), "{ended:?}");
    assert!(lines(&ended, "problem")[0].contains("shop/stripe-api-key is missing"), "{ended:?}");

    let with_live = format!("stripe-api-key = '{}'\n", "rk_live_x");
    world.stripe.allow("rk_live_x", &FOLLOWED);
    for (permissions, words) in [(&FOLLOWED[..], None), (&FOLLOWED[..1], Some("Customers: Read (rak_customer_read)"))] {
        let test = world.stripe.restricted_key(permissions);
        let ended = follow(&format!("{with_live}stripe-test-api-key = '{test}'\n"));
        assert!(
            ended.out.contains("the key in stripe-api-key has the permissions that the settings need"),
            "{ended:?}"
        );
        assert!(!ended.out.contains(&test) && !ended.out.contains("rk_live_x"), "{ended:?}");
        let problems = lines(&ended, "problem");
        assert_eq!((ended.code, problems.len()), (Some(i32::from(words.is_some())), words.iter().len()), "{ended:?}");
        assert!(problems.iter().zip(words).all(|(line, words)| line.contains(words)), "{problems:?}");
        assert!(lines(&ended, "warning").is_empty(), "{ended:?}");
    }
    let ended = follow("stripe-api-key = 'rk_live_unknown'\nstripe-test-api-key = 'rk_test_unknown'\n");
    assert_eq!(lines(&ended, "problem").len(), 2, "{ended:?}");
    assert!(lines(&ended, "problem")[0].contains("Stripe rejects the key in stripe-api-key"), "{ended:?}");
    let ended = follow("stripe-api-key = 'rk_test_x'\n");
    assert!(lines(&ended, "problem")[0].contains("stripe-api-key holds a test-mode key"), "{ended:?}");
}

impl World {
    /// Adds subscription payments, whose customers have the user ID, and a one-off payment, whose session has it.
    fn add_payments(&self) {
        let payment = |number: u64, invoice: Value, metadata: Value| {
            json!({"object": "payment_intent", "id": format!("pi_{number}"), "customer": format!("cus_{number}"),
                "invoice": invoice, "status": "succeeded", "amount_received": 500, "metadata": metadata})
        };
        for number in 0..3 {
            self.stripe.put(payment(number, json!(format!("in_{number}")), json!({}))).unwrap();
        }
        self.stripe.put(payment(3, Value::Null, json!({"user_id": "hidden_3"}))).unwrap();
        for number in 0..4 {
            let metadata = if number < 3 { json!({"user_id": format!("hidden_{number}")}) } else { json!({}) };
            let customer = json!({"object": "customer", "id": format!("cus_{number}"), "metadata": metadata});
            self.stripe.put(customer).unwrap();
            let invoice = json!({"object": "invoice", "id": format!("in_{number}"), "subscription": null});
            self.stripe.put(invoice).unwrap();
        }
        let session = json!({"object": "checkout.session", "id": "cs_3", "payment_intent": "pi_3",
            "client_reference_id": "hidden_3"});
        self.stripe.put(session).unwrap();
        // The event had no metadata yet.
        let mut event: Value =
            serde_json::from_slice(&sample("payment_intent.succeeded", 3, self.now - HOUR).body).unwrap();
        event["data"]["object"]["id"] = json!("pi_3");
        event["data"]["object"]["metadata"] = json!({});
        self.stripe.add(Event::new(event.to_string()));
    }
}

#[tokio::test]
async fn identity_recommends_paths() {
    let world = World::new().await;
    world.add_payments();
    world.stripe.clear_requests();
    let ended = world.doctor(&["--identity"], &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let text = ended.out.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "4 payments, 4 with revenue",
        "75 % of all, 75 % of revenue customer.metadata.user_id: 3 IDs, such as hi…_",
        "checkout_session.client_reference_id: 1 ID, such as hi…_3",
        "payment_intent.metadata.user_id: 1 payment; 1 payment compared",
        "recommended, for 100 % (4) of the payments; with the current settings, 25 %",
        r#"{"references":"follow","user_id_paths":["customer.metadata.user_id","metadata.user_id","payment_intent.metadata.user_id","customer"]}"#,
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("hidden") && !ended.error.contains("hidden"), "{ended:?}");
    // Few reads per second, because the function may use the same key.
    let objects = world.stripe.requests().into_iter().filter(|request| request.path.matches('/').count() > 2);
    assert!(objects.count() > 8 && world.stripe.most_in_a_second() < 10, "{:?}", world.stripe.counts());
    assert_eq!(world.stripe.count("GET", "/v1/customers/cus_0"), 1);
}

#[tokio::test]
async fn identity_skips_what_the_key_may_not_read() {
    let world = World::new().await;
    world.add_payments();
    let key = world.stripe.restricted_key(&[FOLLOWED[1], FOLLOWED[3]]);
    let identity = || world.doctor(&["--identity"], &[("STRIPE_SECRET_KEY", "")]);
    let ended = identity();
    assert!(ended.code == Some(1) && ended.error.contains("STRIPE_SECRET_KEY is not set"), "{ended:?}");
    world.parameter("stripe-test-api-key", &key);
    let ended = identity();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let skipped = lines(&ended, "skipped").join("\n");
    for words in ["may not read Checkout Sessions", "may not read Invoices", "may not read events"] {
        assert!(skipped.contains(words), "{words}: {skipped}");
    }
    assert!(ended.out.contains("customer.metadata.user_id"), "{ended:?}");
    let text = ended.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("no recommendation is possible: the key lacks Checkout Sessions: Read"), "{text}");
    assert!(!text.contains("user_id_paths") && !text.contains("no place has"), "{text}");
    let ended = world.doctor(&["--identity"], &[("STRIPE_SECRET_KEY", "wrong")]);
    let words = "rejects the key in STRIPE_SECRET_KEY: it was revoked, has expired or is incomplete";
    assert!(ended.code == Some(1) && ended.error.contains(words), "{ended:?}");
    let other = world.stripe.restricted_key(&[Permission::EventsRead]);
    let ended = world.doctor(&["--identity"], &[("STRIPE_SECRET_KEY", &other)]);
    assert!(ended.code == Some(1) && ended.error.contains("`PaymentIntents`: Read"), "{ended:?}");
}
