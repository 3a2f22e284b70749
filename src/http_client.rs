//! The one HTTP and TLS stack, for Amplitude and for AWS: reqwest over rustls on ring, with compiled-in roots.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

use crate::amplitude::event::LIBRARY;

/// Builds the client. `extra_ca_file` is a PEM file of root certificates, trusted in addition to the compiled-in ones.
///
/// Redirects are not followed: neither API sends any, so a redirect means that another server answers. Variables like
/// `HTTPS_PROXY` are not read: proxies are configured with `AMPLITUDE_URL` and AWS's endpoint variables.
///
/// # Errors
/// If the file cannot be read or holds no certificate.
pub fn build(extra_ca_file: Option<&Path>) -> Result<reqwest::Client, HttpClientError> {
    let mut roots: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    if let Some(path) = extra_ca_file {
        let file = path.to_owned();
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, pem::Error>>)
            .map_err(|source| HttpClientError::ExtraCa { file: file.clone(), reason: source.to_string() })?;
        let (added, _) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(HttpClientError::ExtraCa { file, reason: "it holds no certificate".to_owned() });
        }
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(LIBRARY)
        .build()?;
    Ok(client)
}

/// Why the client cannot be built.
#[derive(Debug, Error)]
pub enum HttpClientError {
    /// The additional root certificates cannot be used.
    #[error("EXTRA_CA_FILE is {}, which cannot be used: {reason}; expected the path of a PEM file of root certificates", file.display())]
    ExtraCa {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// rustls has no protocol version in common with its provider.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// reqwest refuses the configuration.
    #[error("the HTTP client cannot be set up: {0}")]
    Http(#[from] reqwest::Error),
}

/// The names by which containers reach their host.
const CONTAINER_HOSTS: [&str; 4] =
    ["localhost", "host.docker.internal", "host.containers.internal", "gateway.docker.internal"];

/// The host's address in Docker's own network.
const DOCKER_HOST: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);

/// A URL for requests with a key: HTTPS, or HTTP to this machine or the host of its containers.
pub fn secured_url(text: &str) -> Option<String> {
    let parsed = reqwest::Url::parse(text).ok()?;
    let host = parsed.host_str()?.trim_matches(['[', ']']);
    let is_here = match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address == DOCKER_HOST,
        Ok(IpAddr::V6(address)) => address.is_loopback(),
        Err(_) => CONTAINER_HOSTS.contains(&host),
    };
    url(text).filter(|_| parsed.scheme() == "https" || is_here)
}

/// An HTTP or HTTPS URL, unchanged.
pub(crate) fn url(text: &str) -> Option<String> {
    let url = reqwest::Url::parse(text).ok()?;
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_an_error() {
        assert!(build(None).is_ok());
        for path in ["Cargo.toml", "there-is-no-such-file.pem"] {
            let error = build(Some(Path::new(path))).unwrap_err().to_string();
            assert!(error.contains("EXTRA_CA_FILE") && error.contains(path), "{error}");
        }
    }
}
