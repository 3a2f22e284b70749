//! Runs localstripe, an independent Stripe emulator: it makes purchases and signs webhooks with code that is not ours. It is a
//! separate program under the GPL; the tests only start it.
//!
//! Its events differ from Stripe's:
//! - It has none for charges and refunds, and for invoices only `created`, `payment_succeeded` and sometimes
//!   `payment_failed`.
//! - They have no `pending_webhooks` and no `request`; the API version is always 2017-08-15, `livemode` always false.
//! - A payment has no `amount_received` and a whole charge in `latest_charge`; an invoice has no `amount_remaining`, no
//!   `subscription_details` and no `number`; a balance has no `object`, and one amount instead of lists of them.
//! - Its webhooks are sent once, a second late, and with the time of the event in the signature.
//!
//! Its API lacks webhook endpoints, the account, and most filters for events. It lists events oldest first, and all of them
//! after an unknown event. So the tests use [`Localstripe::url`], a proxy that lists events like Stripe and forwards
//! everything else.

// Like a test, a helper panics on unexpected results.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(unreachable_pub)]

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use serde_json::Value;
use serde_json::value::RawValue;
use stripe_emulator::{Emulator, Event, SECRET_KEY};
use tokio::sync::oneshot;

/// Serves on a free port of this machine only, prints the port, and stores nothing. By default, localstripe listens on all
/// interfaces and stores its data in a file.
const PROGRAM: &str = r#"
import socket
from aiohttp import web
from localstripe import resources, server

resources.Store.dump_to_disk = lambda store: None
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
web.run_app(server.app, sock=listener, print=None)
"#;

/// Any key with this prefix is valid.
const KEY: &str = "sk_test_51LocalstripeLocalstripe";

/// A localstripe process, which ends when this is dropped.
pub struct Localstripe {
    process: Child,
    /// Its own address.
    own_url: String,
    url: String,
    http: reqwest::Client,
    /// Stops the proxy when this is dropped.
    _running: oneshot::Sender<()>,
}

impl Localstripe {
    /// Starts without data. Needs the Python package that `make test` installs.
    pub async fn start() -> Self {
        let mut process = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.venv/bin/python"))
            .args(["-c", PROGRAM])
            .stdout(Stdio::piped())
            .spawn()
            .expect("run `make test` first, which installs the package");
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let own_url = format!("http://127.0.0.1:{}", port.trim());

        // Two clients, because the test's own connections stall while it blocks on a command.
        let [http, passing_on] = [(); 2].map(|()| stripe_amplitude::http_client::build(None).unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (running, stopped) = oneshot::channel();
        let front = Front { behind: own_url.clone(), http: passing_on, lists: Emulator::start().unwrap() };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let router = Router::new().fallback(respond).with_state(front);
                let stopped = async { stopped.await.unwrap_or_default() };
                axum::serve(listener, router).with_graceful_shutdown(stopped).await.unwrap();
            });
        });
        Self { process, own_url, url, http, _running: running }
    }

    /// Its API, with events listed like Stripe. Any key that starts with `sk_` is valid.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends webhooks for all events from now on.
    pub async fn send_webhooks(&self, url: &str, secret: &str) {
        let form = form(&[("url", url), ("secret", secret)]);
        let request = self.http.post(format!("{}/_config/webhooks/ours", self.own_url));
        let answer = request.header(CONTENT_TYPE, FORM).body(form).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }

    /// Two customers: `user_1` pays 20.00 EUR, of which 5.00 are refunded, and subscribes to a plan for 25.00 EUR. The card
    /// of `user_2` is declined for both, but only the first payment has an event. The user IDs are in the metadata of
    /// customers, payments and subscriptions.
    pub async fn buy(&self) {
        self.post(
            "/v1/plans",
            &[("id", "pro"), ("amount", "2500"), ("currency", "eur"), ("interval", "month"), ("product[name]", "Pro")],
        )
        .await;
        for (user, card, is_good) in [("user_1", "4242424242424242", true), ("user_2", "4000000000000341", false)] {
            let email = format!("{user}@shop.example");
            let customer = self.post("/v1/customers", &[("email", &email), ("metadata[user_id]", user)]).await;
            let customer = customer["id"].as_str().unwrap();
            let method = self.attach_card(card, customer).await;
            let payment = self
                .post(
                    "/v1/payment_intents",
                    &[
                        ("amount", "2000"),
                        ("currency", "eur"),
                        ("customer", customer),
                        ("payment_method", &method),
                        ("confirm", "true"),
                        ("metadata[user_id]", user),
                    ],
                )
                .await;
            if is_good {
                let payment = payment["id"].as_str().unwrap();
                self.post("/v1/refunds", &[("payment_intent", payment), ("amount", "500")]).await;
            }
            self.post(
                "/v1/subscriptions",
                &[("customer", customer), ("items[0][plan]", "pro"), ("metadata[user_id]", user)],
            )
            .await;
        }
    }

    /// Attaches a default payment method and returns its ID.
    async fn attach_card(&self, number: &str, customer: &str) -> String {
        let method = self
            .post(
                "/v1/payment_methods",
                &[
                    ("type", "card"),
                    ("card[number]", number),
                    ("card[exp_month]", "12"),
                    ("card[exp_year]", "2099"),
                    ("card[cvc]", "123"),
                ],
            )
            .await;
        let method = method["id"].as_str().unwrap().to_owned();
        self.post(&format!("/v1/payment_methods/{method}/attach"), &[("customer", customer)]).await;
        let default = [("invoice_settings[default_payment_method]", &*method)];
        self.post(&format!("/v1/customers/{customer}"), &default).await;
        method
    }

    /// The response, which is an error if the card is declined.
    async fn post(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let request = self.http.post(format!("{}{path}", self.own_url)).bearer_auth(KEY);
        let answer = request.header(CONTENT_TYPE, FORM).body(form(parameters)).send().await.unwrap();
        let status = answer.status();
        let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert!(status.is_success() || answer["error"]["code"] == "card_declined", "{path}: {status} {answer}");
        answer
    }
}

impl Drop for Localstripe {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

fn form(parameters: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

/// The state of the proxy.
#[derive(Clone)]
struct Front {
    behind: String,
    http: reqwest::Client,
    /// Lists events like Stripe.
    lists: Emulator,
}

async fn respond(State(front): State<Front>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let is_list = method == Method::GET && uri.path() == "/v1/events";
    // Without an upper bound.
    let path = if is_list { "/v1/events?limit=1000000" } else { uri.path_and_query().unwrap().as_str() };
    let mut passed_on = front.http.request(method, format!("{}{path}", front.behind));
    for name in [AUTHORIZATION, CONTENT_TYPE] {
        if let Some(value) = headers.get(&name) {
            passed_on = passed_on.header(name, value);
        }
    }
    let mut answer = passed_on.body(body).send().await.unwrap();
    if is_list && answer.status().is_success() {
        let all = answer.bytes().await.unwrap();
        answer = front.list(&all, uri.query().unwrap_or_default()).await;
    }
    let mut response = Response::builder().status(answer.status());
    response
        .headers_mut()
        .unwrap()
        .extend(answer.headers().get(CONTENT_TYPE).cloned().map(|kind| (CONTENT_TYPE, kind)));
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

impl Front {
    /// The events that Stripe would list, from all events, oldest first.
    async fn list(&self, all: &[u8], query: &str) -> reqwest::Response {
        #[derive(serde::Deserialize)]
        struct List<'a> {
            #[serde(borrow)]
            data: Vec<&'a RawValue>,
        }

        let all: List<'_> = serde_json::from_slice(all).unwrap();
        self.lists.add(all.data.into_iter().map(|event| Event::new(event.get().to_owned()).unwrap()));
        let url = format!("{}/v1/events?{query}", self.lists.url());
        self.http.get(url).bearer_auth(SECRET_KEY).send().await.unwrap()
    }
}
