//! Connections that die while the environment is frozen must not make a delivery fail.

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
use crate::harness::tcp_proxy::{Disconnect, TcpProxy};
use crate::harness::{API_KEY, SHOP, Stage, http_client, parameters_expire, stripe};

/// A stage whose function reaches Amplitude and Parameter Store through TCP proxies.
struct ProxiedStage {
    stage: Stage,
    amplitude: TcpProxy,
    store: TcpProxy,
}

impl ProxiedStage {
    async fn start(variables: &[(&str, &str)]) -> Self {
        let (store, amplitude) = (ParameterStore::start_with_shop().await, Amplitude::start().await);
        let url: reqwest::Url = amplitude.url().parse().unwrap();
        let to_amplitude = TcpProxy::to((Ipv4Addr::LOCALHOST, url.port().unwrap()).into()).await;
        let to_store = TcpProxy::to(keep_alive(store.url().to_owned()).await).await;
        let amplitude_url = format!("http://{}{}", to_amplitude.address, url.path());
        let store_url = format!("http://{}", to_store.address);
        let wiring = [("AMPLITUDE_URL", &*amplitude_url), ("AWS_ENDPOINT_URL_SSM", &*store_url)];
        let stage = Stage::from_parts(store, amplitude, &[&wiring, variables].concat()).await;
        Self { stage, amplitude: to_amplitude, store: to_store }
    }

    /// Delivers an event that reaches the function as it thaws and finds its connections broken.
    async fn freeze_and_deliver(&self, event: &Value, broken: &[(&TcpProxy, Disconnect)]) -> (Answer, Duration) {
        self.signal("STOP");
        let breaking = async {
            sleep(Duration::from_millis(200)).await;
            for (proxy, how) in broken {
                proxy.disconnect_all(*how);
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

/// A reverse proxy that keeps its connections open.
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
async fn closed_amplitude_connection_is_retried_immediately() {
    let proxied = ProxiedStage::start(&[]).await;
    proxied.stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    for how in [Disconnect::Close, Disconnect::Reset].into_iter().cycle().take(10) {
        let connections = proxied.amplitude.connections();
        let event = stripe::new_event("charge.succeeded");
        let (answer, elapsed) = proxied.freeze_and_deliver(&event, &[(&proxied.amplitude, how)]).await;
        answer.expect_forwarded();
        proxied.stage.amplitude.accepted(&event);
        let line = proxied.stage.function.line_of(&event, 1).await;
        assert!(line["attempts"].as_u64().is_some_and(|attempts| attempts <= 2), "{how:?}: {line}");
        assert_eq!(proxied.amplitude.connections(), connections + 1, "{how:?}");
        // Immediate, on a busy machine; waiting for an attempt takes 2 s.
        assert!(elapsed < Duration::from_secs(1), "{how:?}: {elapsed:?}");
    }
}

#[tokio::test]
async fn silent_amplitude_connection_costs_one_attempt() {
    let proxied = ProxiedStage::start(&[]).await;
    proxied.stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    let event = stripe::new_event("charge.succeeded");
    let (answer, elapsed) = proxied.freeze_and_deliver(&event, &[(&proxied.amplitude, Disconnect::Silent)]).await;
    answer.expect_forwarded();
    assert_eq!(proxied.stage.function.line_of(&event, 1).await["attempts"], 2);
    assert!((Duration::from_secs(2)..Duration::from_millis(4500)).contains(&elapsed), "{elapsed:?}");
    // The dead connection has left the pool.
    let start = Instant::now();
    proxied.stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(proxied.amplitude.connections(), 2);
}

#[tokio::test]
async fn closed_parameter_store_connection_is_reopened() {
    let proxied = ProxiedStage::start(&[("PARAMETER_TTL_SECONDS", "1")]).await;
    proxied.stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    parameters_expire().await;
    proxied.stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    assert_eq!((proxied.stage.store.calls(), proxied.store.connections()), (2, 1), "the connection is kept");
    for how in [Disconnect::Close, Disconnect::Reset].into_iter().cycle().take(6) {
        parameters_expire().await;
        let connections = proxied.store.connections();
        let key = format!("key-after-{connections}-connections");
        proxied.stage.store.put(&format!("{SHOP}/amplitude-api-key"), &key).await;
        let event = stripe::new_event("charge.succeeded");
        let broken = [(&proxied.store, how), (&proxied.amplitude, how)];
        let (answer, elapsed) = proxied.freeze_and_deliver(&event, &broken).await;
        answer.expect_forwarded();
        assert_eq!(proxied.stage.amplitude.accepted(&event).api_key, key, "{how:?}: what was read is new");
        assert_eq!(proxied.store.connections(), connections + 1, "{how:?}");
        assert!(elapsed < Duration::from_secs(1), "{how:?}: {elapsed:?}");
    }
}

#[tokio::test]
async fn silent_parameter_store_costs_half_a_second_with_old_values() {
    let proxied = ProxiedStage::start(&[("PARAMETER_TTL_SECONDS", "1")]).await;
    proxied.stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    parameters_expire().await;
    let event = stripe::new_event("charge.succeeded");
    let (answer, elapsed) = proxied.freeze_and_deliver(&event, &[(&proxied.store, Disconnect::Silent)]).await;
    answer.expect_forwarded();
    assert!((Duration::from_millis(450)..Duration::from_millis(1500)).contains(&elapsed), "{elapsed:?}");
    proxied.stage.function.line_with("using the old parameters").await;
    // After the pause, the next refresh uses a new connection.
    parameters_expire().await;
    proxied.stage.store.put(&format!("{SHOP}/amplitude-api-key"), "key-of-later").await;
    let event = stripe::new_event("charge.succeeded");
    proxied.stage.deliver(&event).await.expect_forwarded();
    assert_eq!(proxied.stage.amplitude.accepted(&event).api_key, "key-of-later");
}

#[tokio::test]
async fn silent_parameter_store_costs_one_attempt_without_old_values() {
    let proxied = ProxiedStage::start(&[]).await;
    proxied.stage.store.put_project("second", "whsec_of_the_second", API_KEY).await;
    proxied.stage.deliver(&stripe::new_event("charge.succeeded")).await.expect_forwarded();
    proxied.store.disconnect_all(Disconnect::Silent);
    let event = stripe::new_event("charge.succeeded");
    proxied.stage.deliver_to("second", "whsec_of_the_second", &event).await.expect_forwarded();
}
