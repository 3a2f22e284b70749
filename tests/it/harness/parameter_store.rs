//! Parameter Store: moto's server, and before it a proxy that can be told to fail.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;

use super::lambda::REGION;
use super::program::{Server, scratch};
use super::{API_KEY, SECRET, SHOP, eventually, http_client, secrets};

/// What Parameter Store can be told to do instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Throttled,
    Denied,
    Undecryptable,
    /// Takes the request and never answers.
    Hang,
    /// Closes every connection at once.
    Down,
}

impl Fault {
    /// As AWS says it. The texts hold what must not be passed on: an ARN, and the ID of a key.
    fn error(self) -> (&'static str, &'static str) {
        match self {
            Self::Throttled => ("ThrottlingException", "Rate exceeded"),
            Self::Denied => (
                "AccessDeniedException",
                "User: arn:aws:sts::123456789012:assumed-role/function is not authorized to perform: \
                 ssm:GetParametersByPath",
            ),
            Self::Undecryptable => ("InvalidKeyId", "arn:aws:kms:eu-central-1:123456789012:key/0000 is disabled."),
            Self::Hang | Self::Down => ("", ""),
        }
    }
}

/// A part of Parameter Store that nobody else uses, behind a proxy of its own.
pub struct ParameterStore {
    prefix: String,
    url: String,
    proxy: Arc<Proxy>,
}

impl ParameterStore {
    async fn start() -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let proxy = Arc::new(Proxy {
            moto: format!("http://{}/", moto().await),
            http: http_client(),
            calls: AtomicUsize::new(0),
            orders: Mutex::default(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(serve).with_state(Arc::clone(&proxy));
        let listener = Listener { listener, proxy: Arc::clone(&proxy) };
        tokio::spawn(async { axum::serve(listener, router).await });
        Self { prefix: format!("/test/{}", STARTED.fetch_add(1, Ordering::Relaxed)), url, proxy }
    }

    /// With the project [`SHOP`].
    pub async fn start_with_shop() -> Self {
        let store = Self::start().await;
        store.put_project(SHOP, SECRET, API_KEY).await;
        store
    }

    /// The folder of the projects.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The endpoint, for the function.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Creates the two parameters that a project must have.
    pub async fn put_project(&self, project: &str, secret: &str, api_key: &str) {
        self.put(&format!("{project}/stripe-signing-secret"), secret).await;
        self.put(&format!("{project}/amplitude-api-key"), api_key).await;
    }

    /// Creates or changes a parameter; the name is `{project}/…`.
    pub async fn put(&self, name: &str, value: &str) {
        let kind = if name.ends_with("/settings") { "String" } else { "SecureString" };
        if kind == "SecureString" {
            secrets::keep(value);
        }
        let name = format!("{}/{name}", self.prefix);
        let parameter = json!({"Name": name, "Value": value, "Type": kind, "Overwrite": true});
        let answer = self.proxy.call_moto("PutParameter", &parameter).await;
        assert_eq!(answer.status(), 200, "{name}");
    }

    /// Removes a parameter; the name is `{project}/…`.
    pub async fn delete(&self, name: &str) {
        let name = format!("{}/{name}", self.prefix);
        let answer = self.proxy.call_moto("DeleteParameter", &json!({"Name": name})).await;
        assert_eq!(answer.status(), 200, "{name}");
    }

    /// How often the function has called, also in vain.
    pub fn calls(&self) -> usize {
        self.proxy.calls.load(Ordering::SeqCst)
    }

    /// Fails the next so many calls.
    pub fn fail_next(&self, fault: Fault, calls: usize) {
        *self.proxy.orders.lock().unwrap() = Some((fault, calls));
    }

    /// Fails every call from now on.
    pub fn fail(&self, fault: Fault) {
        self.fail_next(fault, usize::MAX);
    }

    /// Works again.
    pub fn recover(&self) {
        *self.proxy.orders.lock().unwrap() = None;
    }
}

struct Proxy {
    moto: String,
    http: reqwest::Client,
    calls: AtomicUsize,
    /// What fails, and how often yet.
    orders: Mutex<Option<(Fault, usize)>>,
}

impl Proxy {
    /// The fault for a call that is ordered; `when` says which faults can happen at this point.
    fn take_fault(&self, when: impl Fn(Fault) -> bool) -> Option<Fault> {
        let mut orders = self.orders.lock().unwrap();
        let (fault, left) = orders.as_mut().filter(|(fault, left)| *left > 0 && when(*fault))?;
        *left -= 1;
        Some(*fault)
    }

    async fn call_moto(&self, operation: &str, input: &Value) -> reqwest::Response {
        call(&self.http, &self.moto, operation, input).await
    }
}

/// Every call counts, and every connection that is closed before there is one.
async fn serve(State(proxy): State<Arc<Proxy>>, headers: HeaderMap, body: Bytes) -> Response {
    proxy.calls.fetch_add(1, Ordering::SeqCst);
    assert_eq!(headers["x-amz-target"], "AmazonSSM.GetParametersByPath", "the role allows no other operation");
    let (status, body) = match proxy.take_fault(|fault| fault != Fault::Down) {
        Some(Fault::Hang) => std::future::pending().await,
        Some(fault) => {
            let (code, message) = fault.error();
            (StatusCode::BAD_REQUEST, json!({"__type": code, "message": message}).to_string().into())
        }
        None => {
            let mut request = proxy.http.post(&proxy.moto).body(body);
            for name in [header::CONTENT_TYPE.as_str(), "x-amz-target", "authorization"] {
                request = request.header(name, &headers[name]);
            }
            let answer = request.send().await.unwrap();
            (answer.status(), answer.bytes().await.unwrap())
        }
    };
    // One call a connection, so that a proxy that is down has no open connection left.
    let headers = [(header::CONTENT_TYPE, "application/x-amz-json-1.1"), (header::CONNECTION, "close")];
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
                Some(_) => self.proxy.calls.fetch_add(1, Ordering::SeqCst),
            };
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// moto's address; started once.
async fn moto() -> SocketAddr {
    static MOTO: OnceCell<Server> = OnceCell::const_new();
    let server = MOTO
        .get_or_init(async || {
            let server = Server::start("moto_server", scratch(), |port| {
                ["-H", "127.0.0.1", "-p", &port].map(str::to_owned).to_vec()
            });
            // It loads a service at the first call to it, which takes longer than the function waits.
            let (http, url) = (http_client(), format!("http://{}/", server.address));
            eventually("Parameter Store", async || {
                let answer = call(&http, &url, "GetParametersByPath", &json!({"Path": "/none"})).await;
                (answer.status() == 200).then_some(())
            })
            .await;
            server
        })
        .await;
    server.address
}

/// Calls an operation of Parameter Store as an administrator. moto reads the Region off the signature and does not
/// check it.
async fn call(http: &reqwest::Client, url: &str, operation: &str, input: &Value) -> reqwest::Response {
    http.post(url)
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", format!("AmazonSSM.{operation}"))
        .header(
            "authorization",
            format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20240726/{REGION}/ssm/aws4_request, SignedHeaders=host, \
                 Signature=0"
            ),
        )
        .body(input.to_string())
        .send()
        .await
        .unwrap()
}
