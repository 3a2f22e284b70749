//! AWS: moto's server acts as Parameter Store and SQS, each behind a proxy that can inject faults.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;

use super::lambda::REGION;
use super::program::{Server, scratch};
use super::{eventually, http_client};

/// A fault that a service can be set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Throttled,
    Denied,
    /// The KMS key is disabled.
    Undecryptable,
    /// Accepts the request and never answers.
    Hang,
    /// Closes every connection immediately.
    Down,
}

/// An AWS service, as far as the project uses it.
#[derive(Debug)]
pub struct Service {
    /// The prefix in the `x-amz-target` header.
    target: &'static str,
    /// The service name in the request signature.
    name: &'static str,
    content_type: &'static str,
    /// The operations that the functions' roles allow.
    operations: &'static [&'static str],
    /// Codes and messages for throttling, denied access and a disabled key. The messages contain text that must not be
    /// passed on.
    errors: [(&'static str, &'static str); 3],
}

pub const PARAMETER_STORE: Service = Service {
    target: "AmazonSSM",
    name: "ssm",
    content_type: "application/x-amz-json-1.1",
    operations: &["GetParametersByPath"],
    errors: [
        ("ThrottlingException", "Rate exceeded"),
        (
            "AccessDeniedException",
            "User: arn:aws:sts::123456789012:assumed-role/function is not authorized to perform: ssm:GetParametersByPath",
        ),
        ("InvalidKeyId", "arn:aws:kms:eu-central-1:123456789012:key/0000 is disabled."),
    ],
};

pub const SQS: Service = Service {
    target: "AmazonSQS",
    name: "sqs",
    content_type: "application/x-amz-json-1.0",
    operations: &["SendMessage", "ChangeMessageVisibilityBatch"],
    errors: [
        ("com.amazonaws.sqs#RequestThrottled", "Rate exceeded"),
        (
            "com.amazonaws.sqs#AccessDeniedException",
            "User: arn:aws:sts::123456789012:assumed-role/function is not authorized to perform: sqs:sendmessage",
        ),
        ("com.amazonaws.sqs#KmsDisabled", "arn:aws:kms:eu-central-1:123456789012:key/0000 is disabled."),
    ],
};

impl Service {
    /// Calls an operation as an administrator. moto takes the Region from the signature but does not verify it.
    async fn call(
        &self,
        http: &reqwest::Client,
        moto: SocketAddr,
        operation: &str,
        input: &Value,
    ) -> reqwest::Response {
        let Self { target, name, content_type, .. } = self;
        let request = || {
            http.post(format!("http://{moto}/"))
                .header(header::CONTENT_TYPE, *content_type)
                .header("x-amz-target", format!("{target}.{operation}"))
                .header(
                    header::AUTHORIZATION,
                    format!(
                        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20240726/{REGION}/{name}/aws4_request, \
                         SignedHeaders=host, Signature=0"
                    ),
                )
                .body(input.to_string())
                .send()
        };
        // On a busy machine, moto sometimes drops a connection. A retry may repeat the operation, as SQS itself may.
        for _ in 0..5 {
            if let Ok(answer) = request().await {
                return answer;
            }
        }
        panic!("moto did not answer {operation}");
    }

    fn error(&self, fault: Fault) -> (&'static str, &'static str) {
        let [throttled, denied, undecryptable] = self.errors;
        match fault {
            Fault::Throttled => throttled,
            Fault::Denied => denied,
            Fault::Undecryptable => undecryptable,
            Fault::Hang | Fault::Down => unreachable!("no answer"),
        }
    }
}

/// The address of moto, started once.
async fn moto() -> SocketAddr {
    static MOTO: OnceCell<Server> = OnceCell::const_new();
    let server = MOTO
        .get_or_init(async || {
            let server = Server::start("moto_server", scratch(), |port| {
                ["-H", "127.0.0.1", "-p", &port].map(str::to_owned).to_vec()
            });
            // moto loads a service on its first call, which takes longer than the function waits.
            let http = http_client();
            for (service, operation, input) in
                [(PARAMETER_STORE, "GetParametersByPath", json!({"Path": "/none"})), (SQS, "ListQueues", json!({}))]
            {
                eventually(service.name, async || {
                    let answer = service.call(&http, server.address, operation, &input).await;
                    (answer.status() == 200).then_some(())
                })
                .await;
            }
            server
        })
        .await;
    server.address
}

/// A service as the function sees it, with injected faults.
pub struct Proxy {
    service: Service,
    moto: SocketAddr,
    http: reqwest::Client,
    url: String,
    state: Mutex<ProxyState>,
}

#[derive(Default)]
struct ProxyState {
    /// All calls, including failed ones.
    calls: usize,
    /// The injected fault, and the number of calls that it still affects.
    order: Option<(Fault, usize)>,
    /// Operations and inputs of calls that were passed on, if they are recorded.
    passed: Option<Vec<(String, Value)>>,
}

impl Proxy {
    /// Starts a proxy. `keeps_inputs` enables [`Proxy::passed`].
    pub async fn start(service: Service, keeps_inputs: bool) -> Arc<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = Arc::new(Self {
            service,
            moto: moto().await,
            http: http_client(),
            url: format!("http://{}", listener.local_addr().unwrap()),
            state: Mutex::new(ProxyState { passed: keeps_inputs.then(Vec::new), ..ProxyState::default() }),
        });
        let router = axum::Router::new()
            .fallback(serve)
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(Arc::clone(&proxy));
        let listener = Listener { listener, proxy: Arc::clone(&proxy) };
        tokio::spawn(async { axum::serve(listener, router).await });
        proxy
    }

    /// The endpoint, for the function.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls an operation as an administrator, bypassing the proxy.
    pub async fn call_as_administrator(&self, operation: &str, input: &Value) -> reqwest::Response {
        self.service.call(&self.http, self.moto, operation, input).await
    }

    /// The number of calls to the service, including failed ones.
    pub fn calls(&self) -> usize {
        self.state().calls
    }

    /// Takes the operations and inputs of the calls passed on since the last time.
    pub fn passed(&self) -> Vec<(String, Value)> {
        self.state().passed.as_mut().map(std::mem::take).unwrap()
    }

    /// Fails the next calls.
    pub fn fail_next(&self, fault: Fault, calls: usize) {
        self.state().order = Some((fault, calls));
    }

    /// Fails every call from now on.
    pub fn fail(&self, fault: Fault) {
        self.fail_next(fault, usize::MAX);
    }

    /// Clears the fault.
    pub fn recover(&self) {
        self.state().order = None;
    }

    /// Takes the fault for a call. `when` selects the faults that can happen at this point.
    fn take_fault(&self, when: impl Fn(Fault) -> bool) -> Option<Fault> {
        let mut state = self.state();
        let (fault, left) = state.order.as_mut().filter(|(fault, left)| *left > 0 && when(*fault))?;
        *left -= 1;
        Some(*fault)
    }

    fn state(&self) -> MutexGuard<'_, ProxyState> {
        self.state.lock().unwrap()
    }
}

/// Counts every call, and every connection that is closed before a call.
async fn serve(State(proxy): State<Arc<Proxy>>, headers: HeaderMap, body: Bytes) -> Response {
    let service = &proxy.service;
    proxy.state().calls += 1;
    let (target, operation) = headers["x-amz-target"].to_str().unwrap().split_once('.').unwrap();
    assert_eq!(target, service.target);
    assert!(service.operations.contains(&operation), "the role does not allow {operation}");
    let (status, body) = match proxy.take_fault(|fault| fault != Fault::Down) {
        Some(Fault::Hang) => std::future::pending().await,
        Some(fault) => {
            let (code, message) = service.error(fault);
            (StatusCode::BAD_REQUEST, json!({"__type": code, "message": message}).to_string().into())
        }
        None => {
            if let Some(passed) = &mut proxy.state().passed {
                passed.push((operation.to_owned(), serde_json::from_slice(&body).unwrap()));
            }
            let mut request = proxy.http.post(format!("http://{}/", proxy.moto)).body(body);
            for name in [header::CONTENT_TYPE.as_str(), "x-amz-target", "authorization"] {
                request = request.header(name, &headers[name]);
            }
            match request.send().await {
                Ok(answer) => (answer.status(), answer.bytes().await.unwrap()),
                Err(_) => (StatusCode::SERVICE_UNAVAILABLE, Bytes::new()),
            }
        }
    };
    // One call per connection, so that a stopped proxy has no open connections.
    let headers = [(header::CONTENT_TYPE, service.content_type), (header::CONNECTION, "close")];
    (status, headers, body).into_response()
}

struct Listener {
    listener: TcpListener,
    proxy: Arc<Proxy>,
}

impl axum::serve::Listener for Listener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            match self.proxy.take_fault(|fault| fault == Fault::Down) {
                None => return (stream, address),
                Some(_) => self.proxy.state().calls += 1,
            };
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
