//! AWS's own SDKs against the emulator, through the product's code for the calls that it has.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::time::Duration;

use aws_emulator::Emulator;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;
use aws_sdk_ssm::error::ProvideErrorMetadata as _;
use aws_sdk_ssm::types::ParameterType;
use stripe_amplitude::environment::Environment;
use stripe_amplitude::http_client;
use stripe_amplitude::projects::name::ProjectName;
use stripe_amplitude::projects::parameter_store::ParameterStore;
use stripe_amplitude::projects::source::ProjectSource as _;
use stripe_amplitude::queue::sqs::Sqs;
use stripe_amplitude::queue::{Cause, EventQueue as _, Message};
use stripe_amplitude::stripe::signature::VerifiedBody;
use tokio::net::TcpListener;

struct Stage {
    emulator: Emulator,
    environment: Environment,
}

impl Stage {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let emulator = Emulator::new(&address);
        tokio::spawn(emulator.clone().serve(listener));
        let environment = Environment::read(|name: &str| match name {
            "AWS_ENDPOINT_URL" => Some(address.clone().into()),
            "AWS_REGION" => Some("us-east-1".into()),
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("local".into()),
            _ => None,
        });
        Self { emulator, environment: environment.unwrap() }
    }

    fn sqs(&self, url: &str) -> Sqs {
        Sqs::new(&self.environment.access, http_client::build(None).unwrap(), url.to_owned())
    }

    /// AWS's own client.
    fn client(&self) -> Client {
        let access = &self.environment.access;
        Client::new(&access.configuration(http_client::build(None).unwrap(), access.sqs_url.as_deref()))
    }
}

#[tokio::test]
async fn parameters_are_written_read_and_deleted() {
    let stage = Stage::start().await;
    let access = &stage.environment.access;
    let http = http_client::build(None).unwrap();
    let configuration = access.configuration(http.clone(), access.parameter_store_url.as_deref());
    let client = aws_sdk_ssm::Client::new(&configuration);
    let put = async |name: &str, kind: ParameterType| {
        let name = format!("/stripe-amplitude/shop/{name}");
        client.put_parameter().name(name).r#type(kind).value("text").overwrite(true).send().await.unwrap();
    };
    for number in 0..12 {
        put(&format!("p{number}"), ParameterType::String).await;
    }
    put("amplitude-api-key", ParameterType::SecureString).await;
    let store = ParameterStore::new(access, http, "/stripe-amplitude".to_owned());
    let shop: ProjectName = "shop".parse().unwrap();
    assert_eq!(store.load(&shop).await.unwrap().len(), 13);
    let delete = async || client.delete_parameter().name("/stripe-amplitude/shop/p1").send().await;
    delete().await.unwrap();
    assert_eq!(delete().await.unwrap_err().code(), Some("ParameterNotFound"));
    assert_eq!(store.load(&shop).await.unwrap().len(), 12);
    let stored = stage.emulator.services().parameter_store.below("/stripe-amplitude/shop");
    assert_eq!(stored["/stripe-amplitude/shop/amplitude-api-key"].kind, "SecureString");
}

#[tokio::test]
async fn messages_are_sent_received_delayed_and_deleted() {
    let stage = Stage::start().await;
    let url = stage.emulator.create_queue("queue", None);
    let (queue, client) = (stage.sqs(&url), stage.client());
    let message = Message {
        project: "shop".parse().unwrap(),
        source: Some("eu".parse().unwrap()),
        received: 1_721_948_700,
        looked_up: None,
        body: VerifiedBody::trusted("{\"id\": \"evt_1\", \"name\": \"ü\"}".into()),
    };
    let cause = Cause { code: Some("amplitude_timeout"), reason: "no answer in time" };
    queue.put(&message, cause).await.unwrap();
    let count = async || {
        let name = QueueAttributeName::ApproximateNumberOfMessages;
        let answer = client.get_queue_attributes().queue_url(&url).attribute_names(name.clone()).send().await.unwrap();
        answer.attributes.unwrap()[&name].clone()
    };
    let receive = async || {
        let request = client.receive_message().queue_url(&url).visibility_timeout(60).message_attribute_names("All");
        request.send().await.unwrap().messages.unwrap_or_default()
    };
    assert_eq!(count().await, "1");
    let received = receive().await;
    let attribute = |name: &str| received[0].message_attributes.as_ref().unwrap()[name].string_value.clone();
    assert_eq!(received[0].body.as_ref().unwrap().as_bytes(), message.body.as_bytes());
    assert_eq!((attribute("source").as_deref(), attribute("code").as_deref()), (Some("eu"), Some("amplitude_timeout")));
    assert_eq!((count().await.as_str(), receive().await.len()), ("0", 0));
    queue.delay(vec![(received[0].receipt_handle.clone().unwrap(), Duration::ZERO)]).await.unwrap();
    let again = receive().await;
    queue.delete(vec![again[0].receipt_handle.clone().unwrap()]).await.unwrap();
    assert_eq!(stage.emulator.waiting("queue"), []);
}

#[tokio::test]
async fn missing_queue_is_an_error() {
    let stage = Stage::start().await;
    let url = stage.emulator.create_queue("queue", None);
    let error = stage.sqs(&format!("{url}-of-somebody")).delete(vec!["receipt".to_owned()]).await.unwrap_err();
    assert!(error.to_string().contains("QueueDoesNotExist"), "{error}");
}

#[tokio::test]
async fn caller_identity_is_returned() {
    let stage = Stage::start().await;
    let http = http_client::build(None).unwrap();
    let url = stage.environment.access.sqs_url.clone();
    let client = aws_sdk_sts::Client::new(&stage.environment.access.configuration(http, url.as_deref()));
    let caller = client.get_caller_identity().send().await.unwrap();
    assert_eq!(caller.arn(), Some(aws_emulator::service::CALLER));
}

#[tokio::test]
async fn unsigned_requests_and_web_pages_are_rejected() {
    let stage = Stage::start().await;
    let http = http_client::build(None).unwrap();
    let url = stage.environment.access.sqs_url.clone().unwrap();
    let request = || http.post(&url).header("x-amz-target", "AmazonSQS.GetQueueUrl").body(r#"{"QueueName": "a"}"#);
    assert_eq!(request().send().await.unwrap().status(), 403);
    let signed = || request().header("authorization", "AWS4-HMAC-SHA256 Credential=a");
    assert_eq!(signed().send().await.unwrap().status(), 400, "there is no such queue");
    for (name, value, status) in [
        ("origin", "http://shop.example.com", 403),
        // A name of the world's that leads here.
        ("host", "shop.example.com:8093", 403),
        ("host", "127.0.0.1.example.com", 403),
        ("host", "host.docker.internal:8093", 400),
        ("host", "emulator:8093", 400),
        ("host", "[::1]:8093", 400),
    ] {
        assert_eq!(signed().header(name, value).send().await.unwrap().status(), status, "{name} {value}");
    }
}

/// The reader of the address has closed its pipe.
#[cfg(unix)]
#[test]
fn a_closed_pipe_ends_it_quietly() {
    let (output, closed) = std::io::pipe().unwrap();
    drop(output);
    let ended = std::process::Command::new(env!("CARGO_BIN_EXE_aws-emulator"))
        .args(["--listen", "127.0.0.1:0"])
        .stdout(closed)
        .output()
        .unwrap();
    assert_eq!((ended.status.code(), ended.stderr), (Some(141), vec![]));
}
