//! AWS for a test: moto's server.

// Helpers panic like tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
// Each test binary compiles this module, and uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// The other variables that a command needs. moto accepts any key.
pub const CREDENTIALS: [(&str, &str); 3] =
    [("AWS_REGION", "eu-central-1"), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];

/// A service that moto emulates.
pub struct Service {
    name: &'static str,
    content_type: &'static str,
    target: &'static str,
}

pub const SQS: Service = Service { name: "sqs", content_type: "application/x-amz-json-1.0", target: "AmazonSQS" };
pub const SSM: Service = Service { name: "ssm", content_type: "application/x-amz-json-1.1", target: "AmazonSSM" };

pub struct Moto {
    process: Child,
    pub address: SocketAddr,
}

impl Moto {
    pub fn start() -> Self {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.venv/bin/moto_server");
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("run `make test`, which installs what the tests need");
        while TcpStream::connect(address).is_err() {
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { process, address }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub async fn call(&self, service: Service, operation: &str, input: Value) -> Value {
        let Service { name, content_type, target } = service;
        let http = stripe_amplitude::http_client::build(None).unwrap();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20240726/eu-central-1/{name}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let request = http
            .post(format!("{}/", self.url()))
            .header("content-type", content_type)
            .header("x-amz-target", format!("{target}.{operation}"))
            .header("authorization", authorization)
            .body(input.to_string());
        let answer = request.send().await.unwrap().bytes().await.unwrap();
        serde_json::from_slice(&answer).unwrap_or_default()
    }

    /// Writes a parameter.
    pub async fn put(&self, name: &str, kind: &str, value: &str) {
        let input = json!({"Name": name, "Type": kind, "Value": value, "Overwrite": true});
        self.call(SSM, "PutParameter", input).await;
    }

    pub async fn delete(&self, name: &str) {
        self.call(SSM, "DeleteParameter", json!({"Name": name})).await;
    }

    /// The parameters below a folder, with types and decrypted values.
    pub async fn parameters(&self, folder: &str) -> BTreeMap<String, (String, String)> {
        let input = json!({"Path": folder, "Recursive": true, "WithDecryption": true});
        let answer = self.call(SSM, "GetParametersByPath", input).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let parameters = answer["Parameters"].as_array().cloned().unwrap_or_default().into_iter().map(|parameter| {
            let name = text(&parameter["Name"]).strip_prefix(&format!("{folder}/")).unwrap().to_owned();
            (name, (text(&parameter["Type"]), text(&parameter["Value"])))
        });
        parameters.collect()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
