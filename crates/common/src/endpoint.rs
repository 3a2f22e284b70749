//! A webhook endpoint, and deliveries to it like Stripe's.

use std::error::Error as _;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response};
use stripe_amplitude::http_client::HttpClientError;
use stripe_amplitude::stripe::signature::{self, SigningSecret};

use crate::{clock, http as client};

/// A webhook's URL, and the secret that signs its deliveries.
pub struct Endpoint {
    http: Client,
    url: String,
    secret: SigningSecret,
}

impl Endpoint {
    /// Keeps connections alive.
    ///
    /// # Errors
    /// If the HTTP client cannot be built.
    pub fn new(url: String, secret: String) -> Result<Self, HttpClientError> {
        Self::with_secret(url, SigningSecret::new(secret.into(), None))
    }

    /// The same with a project's secret.
    ///
    /// # Errors
    /// Like [`Endpoint::new`].
    pub fn with_secret(url: String, secret: SigningSecret) -> Result<Self, HttpClientError> {
        Ok(Self { http: client::build()?, url, secret })
    }

    /// Tries once to deliver an event, signed now.
    ///
    /// # Errors
    /// If there is no response; [`Endpoint::explain`] says why.
    pub async fn deliver(&self, body: Vec<u8>) -> Result<Response, reqwest::Error> {
        let signature = signature::sign(&self.secret, clock::now(), &body);
        let request = self.http.post(&self.url).header("cache-control", "no-cache");
        request.headers(headers(&signature)).body(body).send().await
    }

    /// A sentence that says why there was no response, and how to start a local server.
    pub fn explain(&self, error: &reqwest::Error) -> String {
        let url = client::without_user(&self.url);
        if error.is_builder() {
            return format!("{url} is not a URL");
        }
        let cause = cause(error);
        format!("{url} cannot be reached: {cause}; `cargo cli serve` serves http://127.0.0.1:3000/stripe/demo")
    }
}

/// The innermost cause of a failed request, which does not contain the URL.
pub fn cause(error: &reqwest::Error) -> String {
    let cause = std::iter::successors(error.source(), |error| (*error).source()).last();
    cause.map_or_else(|| error.to_string(), ToString::to_string)
}

/// Stripe's own.
pub const USER_AGENT: &str = "Stripe/1.0 (+https://stripe.com/docs/webhooks)";

/// The headers of every delivery except the signature, with names in Stripe's spelling.
pub const HEADERS: [(&str, &str); 3] = [
    ("Accept", "*/*; q=0.5, application/xml"),
    ("Content-Type", "application/json; charset=utf-8"),
    ("User-Agent", USER_AGENT),
];

/// The same with the signature.
pub fn headers(signature: &str) -> HeaderMap {
    let headers = HEADERS.into_iter().chain([(signature::HEADER, signature)]);
    let headers = headers.filter_map(|(name, value)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
    });
    headers.collect()
}
