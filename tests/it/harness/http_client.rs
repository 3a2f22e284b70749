//! How the harness itself speaks HTTP.

use std::time::Duration;

/// A client that no proxy of the developer's comes between.
pub fn http_client() -> reqwest::Client {
    // Only plain HTTP is spoken here, but reqwest insists on a TLS stack.
    let tls = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        // Longer than any answer takes: a test that hangs ends here.
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap()
}
