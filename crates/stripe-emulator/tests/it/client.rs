//! A client of the emulator, for its tests.

use std::sync::Arc;

use reqwest::{Method, Response};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use stripe_emulator::{Emulator, SECRET_KEY};

/// A client for the emulator.
pub struct Client {
    pub http: reqwest::Client,
    pub url: String,
    pub key: String,
}

impl Client {
    pub fn of(stripe: &Emulator) -> Self {
        Self::with_key(stripe, SECRET_KEY)
    }

    pub fn with_key(stripe: &Emulator, key: &str) -> Self {
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let http = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap();
        Self { http, url: stripe.url().to_owned(), key: key.to_owned() }
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).basic_auth(&self.key, Some(""))
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        json_of(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub async fn post(&self, path: &str, form: &str) -> (u16, Value) {
        json_of(self.form(path, form).send().await.unwrap()).await
    }

    pub async fn delete(&self, path: &str) -> (u16, Value) {
        json_of(self.request(Method::DELETE, path).send().await.unwrap()).await
    }

    pub fn form(&self, path: &str, form: &str) -> reqwest::RequestBuilder {
        let request = self.request(Method::POST, path).header("content-type", "application/x-www-form-urlencoded");
        request.body(form.to_owned())
    }

    /// The IDs of a list, and whether there are more.
    pub async fn list(&self, path: &str) -> (Vec<String>, bool) {
        let (status, list) = self.get(path).await;
        assert_eq!((status, &list["object"]), (200, &json!("list")), "{path}: {list}");
        let ids = list["data"].as_array().unwrap().iter().map(|object| object["id"].as_str().unwrap().to_owned());
        (ids.collect(), list["has_more"].as_bool().unwrap())
    }
}

pub async fn json_of(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

pub fn assert_refused((status, answer): (u16, Value), expected: u16, code: Option<&str>, words: &str) {
    assert_eq!((status, answer["error"]["code"].as_str()), (expected, code), "{answer}");
    assert_eq!(answer["error"]["type"], "invalid_request_error", "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains(words), "{words}: {answer}");
}
