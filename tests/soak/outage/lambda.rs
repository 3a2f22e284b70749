//! Lambda: environments that serve one request each and start when none is idle, within the account's limits.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use stripe_amplitude::projects::Projects;
use stripe_amplitude::stripe::references::{ReadRate, References};
use stripe_amplitude::stripe::signature::{SigningSecret, sign};
use stripe_amplitude::webhook::{Request, Webhook};
use tokio::time::{Instant, sleep};

use super::edges::{Amplitude, Bucket, Edges};
use super::{EPOCH, Mode, clock};

/// The account's concurrency limit, all of which is available to this function.
const CONCURRENCY: usize = 1000;

/// The burst and rate of new environments per function. Source: AWS Lambda, "Lambda scaling behavior".
const STARTS_AT_ONCE: f64 = 1000.0;
const STARTS_PER_SECOND: f64 = 100.0;

/// The time from the request to the function's `main`.
const START: Duration = Duration::from_millis(250);

/// The project's only signing secret.
pub const SECRET: &str = "whsec_of_the_model";

const TTL: Duration = Duration::from_secs(300);
const TOLERANCE: Duration = Duration::from_secs(300);

type Handler = Webhook<Edges, Amplitude, Edges, Edges>;

/// The result of a delivery as Stripe sees it.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryResult {
    /// 429 comes from Lambda itself.
    pub status: u16,
    /// Whether the process had not answered 2xx before.
    pub is_cold: bool,
    pub after: Duration,
}

impl DeliveryResult {
    pub fn is_safe(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

#[derive(Clone)]
pub struct Lambda(Rc<Inner>);

struct Inner {
    mode: Mode,
    edges: Edges,
    /// The one that was used last is used next, so that others end when traffic falls.
    idle: RefCell<Vec<Environment>>,
    environments: Cell<usize>,
    starts: RefCell<Bucket>,
    headers: HeaderMap,
}

struct Environment {
    handler: Handler,
    /// Whether it has answered 2xx.
    is_warm: bool,
}

impl Lambda {
    pub fn new(mode: Mode, edges: Edges) -> Self {
        let secret = SigningSecret::new(SECRET.into(), None);
        // In the middle of the simulated time, so that it is always within the tolerance.
        let signature = sign(&secret, EPOCH + TOLERANCE.as_secs() - 60, &BODY);
        let mut headers = HeaderMap::new();
        headers.insert("stripe-signature", HeaderValue::try_from(signature).unwrap());
        Self(Rc::new(Inner {
            mode,
            edges,
            idle: RefCell::default(),
            environments: Cell::new(0),
            starts: RefCell::new(Bucket::new(STARTS_PER_SECOND, STARTS_AT_ONCE)),
            headers,
        }))
    }

    /// The number of environments, including idle ones. None ends within these minutes.
    pub fn environments(&self) -> usize {
        self.0.environments.get()
    }

    /// One delivery attempt by Stripe.
    pub async fn deliver(&self) -> DeliveryResult {
        let start = Instant::now();
        let idle = self.0.idle.borrow_mut().pop();
        let environment = match idle {
            Some(environment) => Some(environment),
            None => self.start().await,
        };
        let Some(mut environment) = environment else {
            return DeliveryResult { status: 429, is_cold: false, after: Duration::ZERO };
        };
        let request = Request {
            method: &Method::POST,
            path: "/stripe/shop",
            headers: &self.0.headers,
            body: BODY,
            request_id: None,
            function: None,
            time_left: None,
        };
        let status = environment.handler.handle(request).await.status().as_u16();
        let result = DeliveryResult { status, is_cold: !environment.is_warm, after: start.elapsed() };
        environment.is_warm |= result.is_safe();
        self.0.idle.borrow_mut().push(environment);
        result
    }

    /// Starts an environment; `None` if Lambda has reached its limit.
    async fn start(&self) -> Option<Environment> {
        let Inner { mode, edges, environments, starts, .. } = &*self.0;
        if environments.get() == CONCURRENCY || !starts.borrow_mut().take() {
            return None;
        }
        environments.set(environments.get() + 1);
        sleep(START).await;
        let projects = Projects::new(edges.clone(), TTL).with_warm(vec!["shop".parse().unwrap()]).with_clock(clock);
        let references = References::new(edges.clone(), ReadRate::WEBHOOK);
        let amplitude = Amplitude { edges: edges.clone(), opens_breakers: *mode != Mode::DirectWithoutBreaker };
        let queue = (*mode != Mode::WithoutQueue).then(|| edges.clone());
        let handler = Webhook::new(projects, amplitude, references, TOLERANCE).with_clock(clock);
        let handler = handler.with_queue(queue, *mode == Mode::QueueFirst);
        handler.warm_up().await;
        Some(Environment { handler, is_warm: false })
    }
}

/// A small event: the simulation is about time, and each event takes some of it.
const BODY: Bytes = Bytes::from_static(
    br#"{"id":"evt_1","object":"event","api_version":"2024-06-20","type":"charge.failed","created":1720000000,"livemode":true,"data":{"object":{"object":"charge","id":"ch_1","customer":"cus_1","amount":100,"currency":"usd"}}}"#,
);
