//! The harness's own HTTP client.

use std::time::Duration;

/// A client that ignores the developer's proxy settings.
pub fn http_client() -> reqwest::Client {
    // The tests only use plain HTTP, but reqwest requires a TLS backend.
    let tls = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        // Longer than any answer takes, so that a hung test ends here.
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap()
}
