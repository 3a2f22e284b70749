//! Everything around the function.

pub mod amplitude;
pub mod aws;
pub mod gateway;
pub mod hostile;
mod http_client;
pub mod lambda;
pub mod parameter_store;
pub mod program;
pub mod queue;
pub mod secrets;
pub mod stripe;
pub mod tcp_proxy;

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use self::amplitude::Amplitude;
use self::gateway::{Answer, Gateway, Request};
pub use self::http_client::http_client;
use self::lambda::Function;
use self::parameter_store::ParameterStore;

/// The project that every stage has.
pub const SHOP: &str = "shop";
/// The signing secret of the shop's webhook endpoint.
pub const SECRET: &str = "whsec_of_the_shop";
/// The key of the shop's Amplitude project.
pub const API_KEY: &str = "amplitude-key-of-the-shop";

/// A function with its own Parameter Store and Amplitude.
pub struct Stage {
    pub store: ParameterStore,
    pub amplitude: Amplitude,
    pub function: Function,
}

impl Stage {
    /// Starts with the project [`SHOP`].
    pub async fn start() -> Self {
        Self::with_variables(&[]).await
    }

    /// Starts with the project [`SHOP`] and further environment variables.
    pub async fn with_variables(variables: &[(&str, &str)]) -> Self {
        Self::from_parts(ParameterStore::start_with_shop().await, Amplitude::start().await, variables).await
    }

    /// Starts the function with parts that were prepared before.
    pub async fn from_parts(store: ParameterStore, amplitude: Amplitude, variables: &[(&str, &str)]) -> Self {
        let wiring = [
            ("PARAMETER_PREFIX", store.prefix()),
            ("AWS_ENDPOINT_URL_SSM", store.url()),
            ("AMPLITUDE_URL", amplitude.url()),
        ];
        let function = Function::start(&[&wiring, variables].concat()).await;
        Self { store, amplitude, function }
    }

    /// Delivers an event to [`SHOP`] like Stripe, through an HTTP API.
    pub async fn deliver(&self, event: &Value) -> Answer {
        self.deliver_to(SHOP, SECRET, event).await
    }

    /// Delivers an event to a project, signed now with this secret, through an HTTP API.
    pub async fn deliver_to(&self, project: &str, secret: &str, event: &Value) -> Answer {
        self.send(&Request::signed(project, secret, event.to_string())).await
    }

    /// Sends a request through an HTTP API.
    pub async fn send(&self, request: &Request) -> Answer {
        self.function.send(Gateway::HttpApi, request).await
    }
}

/// Waits until parameters that are cached with `PARAMETER_TTL_SECONDS=1` have expired. The functions are real processes, so
/// their clocks cannot be advanced.
pub async fn parameters_expire() {
    sleep(Duration::from_millis(1100)).await;
}

/// Polls until `look` returns something.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "timed out waiting for {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
