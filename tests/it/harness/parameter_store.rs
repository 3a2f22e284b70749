//! Parameter Store, behind a proxy that can inject faults.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::aws::{PARAMETER_STORE, Proxy};
use super::{API_KEY, SECRET, SHOP, secrets};

pub use super::aws::Fault;

/// A separate part of Parameter Store, behind its own proxy.
pub struct ParameterStore {
    prefix: String,
    proxy: Arc<Proxy>,
}

impl ParameterStore {
    async fn start() -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let prefix = format!("/test/{}", STARTED.fetch_add(1, Ordering::Relaxed));
        Self { prefix, proxy: Proxy::start(PARAMETER_STORE, false).await }
    }

    /// Starts with the project [`SHOP`].
    pub async fn start_with_shop() -> Self {
        let store = Self::start().await;
        store.put_project(SHOP, SECRET, API_KEY).await;
        store
    }

    /// The prefix of the projects' parameters.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The endpoint, for the function.
    pub fn url(&self) -> &str {
        self.proxy.url()
    }

    /// Creates the two required parameters of a project.
    pub async fn put_project(&self, project: &str, secret: &str, api_key: &str) {
        self.put(&format!("{project}/stripe-signing-secret"), secret).await;
        self.put(&format!("{project}/amplitude-api-key"), api_key).await;
    }

    /// Creates or changes a parameter; the name is `{project}/…`.
    pub async fn put(&self, name: &str, value: &str) {
        let kind = if name.ends_with("/settings") { "String" } else { "SecureString" };
        if kind == "SecureString" {
            secrets::register(value);
        }
        let name = format!("{}/{name}", self.prefix);
        let parameter = json!({"Name": name, "Value": value, "Type": kind, "Overwrite": true});
        let answer = self.proxy.call_as_administrator("PutParameter", &parameter).await;
        assert_eq!(answer.status(), 200, "{name}");
    }

    /// Deletes a parameter; the name is `{project}/…`.
    pub async fn delete(&self, name: &str) {
        let name = format!("{}/{name}", self.prefix);
        let answer = self.proxy.call_as_administrator("DeleteParameter", &json!({"Name": name})).await;
        assert_eq!(answer.status(), 200, "{name}");
    }

    /// The number of calls that the function has made, including failed ones.
    pub fn calls(&self) -> usize {
        self.proxy.calls()
    }

    /// Fails the next calls.
    pub fn fail_next(&self, fault: Fault, calls: usize) {
        self.proxy.fail_next(fault, calls);
    }

    /// Fails every call from now on.
    pub fn fail(&self, fault: Fault) {
        self.proxy.fail(fault);
    }

    /// Clears the fault.
    pub fn recover(&self) {
        self.proxy.recover();
    }
}
