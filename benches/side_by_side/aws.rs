//! AWS: moto's server for Parameter Store and SQS, behind a proxy that speaks TLS like AWS, and counts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use hyper::{HeaderMap, Request};
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::delivery::{PROJECT, SECRET};
use crate::http_client::http_client;
use crate::program::{Server, scratch};
use crate::server::{self, Answer, answer};

pub const REGION: &str = "eu-central-1";

/// The name of its thread.
pub const THREAD: &str = "aws";

pub struct Aws {
    /// The endpoint, for the contestants.
    pub url: String,
    calls: Arc<AtomicUsize>,
    moto: Server,
    http: reqwest::Client,
    thread: Handle,
}

impl Aws {
    /// Starts it with the parameters of the project.
    pub fn start(thread: Handle, tls: Arc<ServerConfig>) -> Self {
        let moto = Server::start("moto_server", scratch(), |port| {
            ["-H", "127.0.0.1", "-p", &port].map(str::to_owned).to_vec()
        });
        let (listener, address) = server::listen();
        let (calls, http) = (Arc::new(AtomicUsize::new(0)), http_client());
        let (counter, client, to) = (Arc::clone(&calls), http.clone(), moto.address);
        thread.spawn(server::serve(listener, Some(tls.into()), move |request: Request<Bytes>| {
            counter.fetch_add(1, Ordering::SeqCst);
            let client = client.clone();
            async move {
                let (head, body) = request.into_parts();
                pass_on(&client, to, head.headers, body).await
            }
        }));
        let url = format!("https://localhost:{}", address.port());
        let aws = Self { url, calls, moto, http, thread };
        for (name, value) in [("stripe-signing-secret", SECRET), ("amplitude-api-key", "amplitude-key-of-the-bench")] {
            aws.put(PROJECT, name, value);
        }
        aws
    }

    /// Writes a parameter of a project.
    pub fn put(&self, project: &str, name: &str, value: &str) {
        let name = format!("/stripe-amplitude/{project}/{name}");
        let parameter = json!({"Name": name, "Value": value, "Type": "SecureString", "Overwrite": true});
        self.administer("AmazonSSM.PutParameter", &parameter);
    }

    /// How many calls the contestants made.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Creates an empty queue, and returns its URL.
    pub fn queue(&self) -> String {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!("queue-{}", MADE.fetch_add(1, Ordering::Relaxed));
        self.administer("AmazonSQS.CreateQueue", &json!({"QueueName": name, "Attributes": {}}));
        format!("https://sqs.{REGION}.amazonaws.com/123456789012/{name}")
    }

    /// Deletes a queue, with everything that moto would keep of it.
    pub fn delete_queue(&self, url: &str) {
        self.administer("AmazonSQS.DeleteQueue", &json!({"QueueUrl": url}));
    }

    /// Calls an operation as an administrator.
    fn administer(&self, target: &str, input: &Value) {
        let service = if target.starts_with("AmazonSQS") { "sqs" } else { "ssm" };
        let mut headers = HeaderMap::new();
        // moto reads the Region from the signature and does not check it.
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20240726/{REGION}/{service}/aws4_request, SignedHeaders=host, \
             Signature=0"
        );
        headers.insert("authorization", authorization.parse().unwrap());
        headers.insert("x-amz-target", target.parse().unwrap());
        let version = if service == "sqs" { "application/x-amz-json-1.0" } else { "application/x-amz-json-1.1" };
        headers.insert("content-type", version.parse().unwrap());
        let deadline = Instant::now() + Duration::from_secs(30);
        // moto loads a service at the first call, which takes time.
        loop {
            let call = pass_on(&self.http, self.moto.address, headers.clone(), input.to_string().into());
            let status = self.thread.block_on(call).status();
            if status == 200 {
                return;
            }
            assert!(Instant::now() < deadline, "moto answers {status} to {target}");
        }
    }
}

async fn pass_on(http: &reqwest::Client, to: SocketAddr, mut headers: HeaderMap, body: Bytes) -> Answer {
    headers.remove("host");
    headers.remove("content-length");
    let sent = http.post(format!("http://{to}/")).headers(headers).body(body).send().await;
    let Ok(from_moto) = sent else { return answer(503, "moto does not answer") };
    let status = from_moto.status().as_u16();
    let kind = from_moto.headers().get("content-type").cloned();
    let mut passed = answer(status, from_moto.bytes().await.unwrap_or_default());
    if let Some(kind) = kind {
        passed.headers_mut().insert("content-type", kind);
    }
    passed
}
