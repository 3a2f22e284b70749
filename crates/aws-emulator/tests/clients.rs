//! AWS's own SDKs against the emulator, by the product's code where it has the call.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::time::Duration;

use aws_emulator::Emulator;
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
}

#[tokio::test]
async fn parameters_are_written_read_and_deleted() {
    let stage = Stage::start().await;
    let http = http_client::build(None).unwrap();
    let store = ParameterStore::new(&stage.environment.access, http, "/stripe-amplitude".to_owned());
    let shop: ProjectName = "shop".parse().unwrap();
    for number in 0..12 {
        store.put_text(&shop, &format!("p{number}"), "text").await.unwrap();
    }
    store.put(&shop, "amplitude-api-key", &"key".into()).await.unwrap();
    assert_eq!(store.load(&shop).await.unwrap().len(), 13);
    store.delete(&shop, "p1").await.unwrap();
    store.delete(&shop, "p1").await.unwrap();
    assert_eq!(store.load(&shop).await.unwrap().len(), 12);
    let stored = stage.emulator.services().parameter_store.below("/stripe-amplitude/shop");
    assert_eq!(stored["/stripe-amplitude/shop/amplitude-api-key"].kind, "SecureString");
}

#[tokio::test]
async fn messages_are_sent_received_delayed_and_deleted() {
    let stage = Stage::start().await;
    let queue = stage.sqs(&stage.emulator.create_queue("queue", None));
    let message = Message {
        project: "shop".parse().unwrap(),
        source: Some("eu".to_owned()),
        received: 1_721_948_700,
        looked_up: None,
        body: VerifiedBody::trusted("{\"id\": \"evt_1\", \"name\": \"ü\"}".into()),
    };
    let cause = Cause { code: Some("amplitude_timeout"), reason: "no answer in time" };
    queue.put(&message, cause).await.unwrap();
    assert_eq!((queue.count().await.unwrap(), queue.policy().await.unwrap()), (1, None));
    let letters = queue.receive(Duration::from_secs(60)).await.unwrap();
    let letter = &letters[0];
    let received = letter.message.as_ref().unwrap();
    assert_eq!((received.body.as_bytes(), &received.source), (message.body.as_bytes(), &message.source));
    assert_eq!(letter.code.as_deref(), Some("amplitude_timeout"));
    assert_eq!(queue.count().await.unwrap(), 0);
    queue.delay(vec![(letter.receipt.clone(), Duration::ZERO)]).await.unwrap();
    let again = queue.receive(Duration::from_secs(60)).await.unwrap();
    queue.delete(vec![again[0].receipt.clone()]).await.unwrap();
    assert_eq!(stage.emulator.waiting("queue"), []);
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_refused_as_aws_does() {
    let stage = Stage::start().await;
    let url = stage.emulator.create_queue("queue", None);
    let error = stage.sqs(&format!("{url}-of-somebody")).count().await.unwrap_err();
    assert!(error.to_string().contains("there is no such queue"), "{error}");
}

#[tokio::test]
async fn the_caller_has_a_name() {
    let stage = Stage::start().await;
    let http = http_client::build(None).unwrap();
    let url = stage.environment.access.sqs_url.clone();
    let client = aws_sdk_sts::Client::new(&stage.environment.access.configuration(http, url.as_deref()));
    let caller = client.get_caller_identity().send().await.unwrap();
    assert_eq!(caller.arn(), Some(aws_emulator::service::CALLER));
}

#[tokio::test]
async fn what_is_not_signed_or_comes_from_a_page_is_refused() {
    let stage = Stage::start().await;
    let http = http_client::build(None).unwrap();
    let url = stage.environment.access.sqs_url.clone().unwrap();
    let request = || http.post(&url).header("x-amz-target", "AmazonSQS.GetQueueUrl").body(r#"{"QueueName": "a"}"#);
    assert_eq!(request().send().await.unwrap().status(), 403);
    let signed = || request().header("authorization", "AWS4-HMAC-SHA256 Credential=a");
    assert_eq!(signed().send().await.unwrap().status(), 400, "there is no such queue");
    assert_eq!(signed().header("origin", "http://shop.example.com").send().await.unwrap().status(), 403);
}
