//! A webhook endpoint, and deliveries to it as Stripe makes them.

use std::error::Error as _;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Response};
use stripe_amplitude::http_client::HttpClientError;
use stripe_amplitude::stripe::signature::{self, SigningSecret};

use crate::{clock, http as client};

/// A webhook's URL, and the secret that its deliveries are signed with.
pub struct Endpoint {
    http: Client,
    url: String,
    secret: SigningSecret,
}

impl Endpoint {
    /// Connections to it are used again.
    ///
    /// # Errors
    /// Where there is no HTTP client to be had.
    pub fn new(url: String, secret: String) -> Result<Self, HttpClientError> {
        Self::with_secret(url, SigningSecret::new(secret.into(), None))
    }

    /// The same with the secret of a project.
    ///
    /// # Errors
    /// As for [`Endpoint::new`].
    pub fn with_secret(url: String, secret: SigningSecret) -> Result<Self, HttpClientError> {
        Ok(Self { http: client::build()?, url, secret })
    }

    /// One attempt to deliver an event, with the signature of this moment.
    ///
    /// # Errors
    /// Where nobody answers; [`Endpoint::explain`] says why.
    pub async fn deliver(&self, body: Vec<u8>) -> Result<Response, reqwest::Error> {
        let signature = signature::sign(&self.secret, clock::now(), &body);
        let request = self.http.post(&self.url).header("cache-control", "no-cache");
        request.headers(headers(&signature)).body(body).send().await
    }

    /// In a sentence, why nobody answered, and where somebody would on this machine.
    pub fn explain(&self, error: &reqwest::Error) -> String {
        let why = self.unreachable(error);
        if error.is_builder() {
            return why;
        }
        format!("{why}; `stripe-amplitude-cli serve` serves http://127.0.0.1:3000/stripe/demo")
    }

    /// The same without the latter.
    pub fn unreachable(&self, error: &reqwest::Error) -> String {
        let url = &self.url;
        if error.is_builder() {
            return format!("{url} is not a URL");
        }
        let cause = std::iter::successors(error.source(), |error| (*error).source()).last();
        let cause = cause.map(ToString::to_string).unwrap_or_else(|| error.to_string());
        format!("{url} cannot be reached: {cause}")
    }
}

/// What Stripe calls itself.
pub const USER_AGENT: &str = "Stripe/1.0 (+https://stripe.com/docs/webhooks)";

/// The headers of every delivery besides the signature, with names as Stripe writes them.
pub const HEADERS: [(&str, &str); 3] = [
    ("Accept", "*/*; q=0.5, application/xml"),
    ("Content-Type", "application/json; charset=utf-8"),
    ("User-Agent", USER_AGENT),
];

/// The same with the signature, for a request.
pub fn headers(signature: &str) -> HeaderMap {
    let headers = HEADERS.into_iter().chain([(signature::HEADER, signature)]);
    let headers = headers.filter_map(|(name, value)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
    });
    headers.collect()
}
