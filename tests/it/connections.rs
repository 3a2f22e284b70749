//! Connections that die while the environment is frozen: no delivery fails for them.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::harness::amplitude::Amplitude;
use crate::harness::gateway::Answer;
use crate::harness::parameter_store::ParameterStore;
use crate::harness::wire::{Break, Wire};
use crate::harness::{API_KEY, SHOP, Stage, http_client, stripe};

/// A stage whose function reaches Amplitude and Parameter Store by wires.
struct Wired {
    stage: Stage,
    amplitude: Wire,
    store: Wire,
}

impl Wired {
    async fn start(variables: &[(&str, &str)]) -> Self {
        let (store, amplitude) = (ParameterStore::start_with_shop().await, Amplitude::start().await);
        let url: reqwest::Url = amplitude.url().parse().unwrap();
        let to_amplitude = Wire::to((Ipv4Addr::LOCALHOST, url.port().unwrap()).into()).await;
        let to_store = Wire::to(keep_alive(store.url().to_owned()).await).await;
        let amplitude_url = format!("http://{}{}", to_amplitude.address, url.path());
        let store_url = format!("http://{}", to_store.address);
        let wiring = [("AMPLITUDE_URL", &*amplitude_url), ("AWS_ENDPOINT_URL_SSM", &*store_url)];
        let stage = Stage::of(store, amplitude, &[&wiring, variables].concat()).await;
        Self { stage, amplitude: to_amplitude, store: to_store }
    }

    /// Delivers an event that reaches the function in the moment in which it wakes up, and finds the connections broken.
    async fn freeze_and_deliver(&self, event: &Value, broken: &[(&Wire, Break)]) -> (Answer, Duration) {
        self.signal("STOP");
        let breaking = async {
            sleep(Duration::from_millis(200)).await;
            for (wire, how) in broken {
                wire.break_all(*how);
            }
            sleep(Duration::from_millis(50)).await;
            self.signal("CONT");
            Instant::now()
        };
        let (answer, awake) = tokio::join!(async { (self.stage.deliver(event).await, Instant::now()) }, breaking);
        (answer.0, answer.1 - awake)
    }

    fn signal(&self, signal: &str) {
        let process = self.stage.function.process_id().to_string();
        let status = Command::new("kill").args([format!("-{signal}"), process]).status().unwrap();
        assert!(status.success());
    }
}

/// A server in front of another, which keeps its connections.
async fn keep_alive(server: String) -> SocketAddr {
    async fn pass_on(
        State((http, server)): State<(reqwest::Client, String)>,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Response {
        for name in [header::HOST, header::CONTENT_LENGTH] {
            headers.remove(name);
        }
        let answer = http.post(server).headers(headers).body(body).send().await.unwrap();
        let status = answer.status();
        let kind = answer.headers()[header::CONTENT_TYPE].clone();
        (status, [(header::CONTENT_TYPE, kind)], answer.bytes().await.unwrap()).into_response()
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(pass_on).with_state((http_client(), server));
    tokio::spawn(async { axum::serve(listener, router).await });
    address
}

#[tokio::test]
async fn a_connection_to_amplitude_that_was_closed_costs_at_most_one_retry_at_once() {
    let wired = Wired::start(&[]).await;
    wired.stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    for how in [Break::Close, Break::Reset].into_iter().cycle().take(10) {
        let connections = wired.amplitude.connections();
        let event = stripe::new_event("charge.succeeded");
        let (answer, elapsed) = wired.freeze_and_deliver(&event, &[(&wired.amplitude, how)]).await;
        answer.expect_forwarded();
        wired.stage.amplitude.the(&event);
        let line = wired.stage.function.line_of(&event, 1).await;
        assert!(line["attempts"].as_u64().is_some_and(|attempts| attempts <= 2), "{how:?}: {line}");
        assert_eq!(wired.amplitude.connections(), connections + 1, "{how:?}");
        // At once, but for a busy machine; an attempt that is waited for takes 2 s.
        assert!(elapsed < Duration::from_secs(1), "{how:?}: {elapsed:?}");
    }
}

#[tokio::test]
async fn an_amplitude_that_vanished_costs_one_attempt() {
    let wired = Wired::start(&[]).await;
    wired.stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    let event = stripe::new_event("charge.succeeded");
    let (answer, elapsed) = wired.freeze_and_deliver(&event, &[(&wired.amplitude, Break::Mute)]).await;
    answer.expect_forwarded();
    assert_eq!(wired.stage.function.line_of(&event, 1).await["attempts"], 2);
    assert!((Duration::from_secs(2)..Duration::from_millis(4500)).contains(&elapsed), "{elapsed:?}");
    // The dead connection is gone, not back in the pool.
    let start = Instant::now();
    wired.stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(wired.amplitude.connections(), 2);
}

#[tokio::test]
async fn a_connection_to_parameter_store_that_was_closed_is_made_again_at_once() {
    let wired = Wired::start(&[("PARAMETER_TTL_SECONDS", "1")]).await;
    for number in 0..2 {
        sleep(Duration::from_millis(1100 * number)).await;
        wired.stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    }
    assert_eq!((wired.stage.store.calls(), wired.store.connections()), (2, 1), "the connection is kept");
    for how in [Break::Close, Break::Reset].into_iter().cycle().take(6) {
        sleep(Duration::from_millis(1000)).await;
        let connections = wired.store.connections();
        let key = format!("key-after-{connections}-connections");
        wired.stage.store.put(&format!("{SHOP}/amplitude-api-key"), &key).await;
        let event = stripe::new_event("charge.succeeded");
        let broken = [(&wired.store, how), (&wired.amplitude, how)];
        let (answer, elapsed) = wired.freeze_and_deliver(&event, &broken).await;
        answer.expect_forwarded();
        assert_eq!(wired.stage.amplitude.the(&event).api_key, key, "{how:?}: what was read is new");
        assert_eq!(wired.store.connections(), connections + 1, "{how:?}");
        assert!(elapsed < Duration::from_secs(1), "{how:?}: {elapsed:?}");
    }
}

#[tokio::test]
async fn a_parameter_store_that_vanished_costs_half_a_second_where_old_values_are_at_hand() {
    let wired = Wired::start(&[("PARAMETER_TTL_SECONDS", "1")]).await;
    wired.stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    sleep(Duration::from_millis(1000)).await;
    let event = stripe::new_event("charge.succeeded");
    let (answer, elapsed) = wired.freeze_and_deliver(&event, &[(&wired.store, Break::Mute)]).await;
    answer.expect_forwarded();
    assert!((Duration::from_millis(450)..Duration::from_millis(1500)).contains(&elapsed), "{elapsed:?}");
    wired.stage.function.line_with("using the old parameters").await;
    // After the pause, the next refresh has a new connection.
    sleep(Duration::from_millis(1100)).await;
    wired.stage.store.put(&format!("{SHOP}/amplitude-api-key"), "key-of-later").await;
    let event = stripe::new_event("charge.succeeded");
    wired.stage.deliver(&event).await.expect_forwarded();
    assert_eq!(wired.stage.amplitude.the(&event).api_key, "key-of-later");
}

#[tokio::test]
async fn a_parameter_store_that_vanished_costs_one_attempt_where_none_are_at_hand() {
    let wired = Wired::start(&[]).await;
    wired.stage.store.put_project("second", "whsec_of_the_second", API_KEY).await;
    wired.stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    wired.store.break_all(Break::Mute);
    let event = stripe::new_event("charge.succeeded");
    wired.stage.deliver_to("second", "whsec_of_the_second", &event).await.expect_forwarded();
}
