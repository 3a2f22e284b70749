//! Certificates to serve HTTPS with.

use std::io;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The names in every certificate from [`self_signed`]. The last is this machine as seen from a container.
pub const NAMES: [&str; 4] = ["localhost", "127.0.0.1", "::1", "host.docker.internal"];

/// Reads a certificate chain and its private key, both PEM.
///
/// # Errors
/// If either cannot be read, or they do not match.
pub fn from_pem(certificates: &[u8], key: &[u8]) -> io::Result<Arc<ServerConfig>> {
    let certificates = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| invalid("certificate", error))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| invalid("private key", error))?;
    server(certificates, key)
}

/// Generates a certificate for [`NAMES`] and further host names or IP addresses, signed by a new authority whose key is
/// discarded. Returns the authority's certificate as PEM, for clients to trust.
///
/// # Errors
/// If a name is invalid.
pub fn self_signed(further_names: &[String]) -> io::Result<(String, Arc<ServerConfig>)> {
    let (authority, certificate, key) =
        make(further_names).map_err(|error| invalid("self-signed certificate", error))?;
    let server = server(vec![certificate], PrivateKeyDer::Pkcs8(key.into()))?;
    Ok((authority, server))
}

/// The authority's certificate as PEM, the server's certificate, and its private key.
fn make(further_names: &[String]) -> Result<(String, CertificateDer<'static>, Vec<u8>), rcgen::Error> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name = name("amplitude-emulator authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

    let names = [&NAMES.map(str::to_owned), further_names].concat();
    let mut certificate = CertificateParams::new(names)?;
    certificate.distinguished_name = name("amplitude-emulator");
    certificate.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    certificate.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Strict clients (Python 3.13) require it.
    certificate.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = certificate.signed_by(&key, &authority)?;

    Ok((authority.pem(), certificate.der().clone(), key.serialize_der()))
}

fn name(common_name: &str) -> rcgen::DistinguishedName {
    let mut name = rcgen::DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn server(certificates: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> io::Result<Arc<ServerConfig>> {
    // The provider is named, so that no process-wide one has to be installed.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|server| server.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(|error| invalid("certificate", error))?;
    Ok(Arc::new(server))
}

fn invalid(what: &str, error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_and_key_are_read_from_pem() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        assert!(from_pem(certificate.as_bytes(), key.as_bytes()).is_ok());
    }

    #[test]
    fn unreadable_file_is_named() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.pem();
        let error = from_pem(certificate.as_bytes(), b"").unwrap_err();
        assert!(error.to_string().starts_with("private key: "), "{error}");
        let error = from_pem(b"", made.signing_key.serialize_pem().as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("certificate: "), "{error}");
    }
}
