//! localstripe, a Stripe that others have written: what happens there are purchases, and its webhooks are signed by code
//! that has nothing of ours. It is a program under the GPL, which is started, and nothing more.
//!
//! What its events lack of Stripe's:
//! - There are none of charges and refunds, and of invoices only `created`, `payment_succeeded` and sometimes
//!   `payment_failed`.
//! - They have no `pending_webhooks` and no `request`; the API version is always 2017-08-15, `livemode` always false.
//! - A payment has no `amount_received` and a whole charge in `latest_charge`; an invoice has no `amount_remaining`, no
//!   `subscription_details` and no `number`; a balance has no `object`, and one amount instead of lists of them.
//! - Its webhooks are sent once, a second late, and with the time of the event in the signature.
//!
//! What its API lacks: webhook endpoints, the account, and most of what events can be asked by. Events are listed from the
//! oldest on, and behind an unknown event from the first. So they are asked for through [`Localstripe::url`], which lists
//! them as Stripe does and passes everything else on.

// A helper, like a test, stops where it meets what it does not expect.
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

/// Serves on a free port of this machine only, which it prints, and keeps nothing: by itself, it would listen everywhere,
/// and leave what it has in a file for the next one.
const PROGRAM: &str = r#"
import socket
from aiohttp import web
from localstripe import resources, server

resources.Store.dump_to_disk = lambda store: None
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
web.run_app(server.app, sock=listener, print=None)
"#;

/// Any that begins so is valid.
const KEY: &str = "sk_test_51LocalstripeLocalstripe";

/// A localstripe of its own, until this is dropped.
pub struct Localstripe {
    process: Child,
    /// Where it listens itself.
    own_url: String,
    url: String,
    http: reqwest::Client,
    /// What is in front of it stops when this is dropped.
    _running: oneshot::Sender<()>,
}

impl Localstripe {
    /// An empty one. It needs Python with the package, which `make test` installs.
    pub async fn start() -> Self {
        let mut process = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.venv/bin/python"))
            .args(["-c", PROGRAM])
            .stdout(Stdio::piped())
            .spawn()
            .expect("run `make test`, which installs what the tests need");
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let own_url = format!("http://127.0.0.1:{}", port.trim());

        // Two clients: a connection of the test's own stands still while the test waits for a command.
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

    /// Its API, with events as Stripe lists them. Every key is valid that begins with `sk_`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a webhook of every event from now on.
    pub async fn send_webhooks(&self, url: &str, secret: &str) {
        let form = form(&[("url", url), ("secret", secret)]);
        let request = self.http.post(format!("{}/_config/webhooks/ours", self.own_url));
        let answer = request.header(CONTENT_TYPE, FORM).body(form).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }

    /// Two customers: `user_1` pays 20.00 EUR, of which 5.00 are refunded, and subscribes to a plan for 25.00 EUR. The card
    /// of `user_2` is declined for both, of which only the event of the first payment tells. Their IDs are in the metadata
    /// of customers, payments and subscriptions.
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

    /// The ID of a payment method with which the customer pays from now on.
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

    /// What is answered, which is an error where a card is declined.
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

/// What is in front of localstripe.
#[derive(Clone)]
struct Front {
    behind: String,
    http: reqwest::Client,
    /// What lists the events as Stripe does.
    lists: Emulator,
}

async fn respond(State(front): State<Front>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let is_list = method == Method::GET && uri.path() == "/v1/events";
    // There is no upper bound.
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
    /// What Stripe would list of all events that there are, which are given from the oldest on.
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
