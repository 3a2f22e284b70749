//! Local emulators are for programs: they reject requests from web pages.
//!
//! Any page can send requests to 127.0.0.1, and any name can be made to resolve to it (DNS rebinding). An emulator may
//! hold customers' data.

use std::net::IpAddr;

use http::header::{HOST, HeaderMap, ORIGIN};

/// Whether a request comes from a web page or uses a public host name.
pub fn is_from_web_page(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name).trim_start_matches('[').trim_end_matches(']');
    // Names without a dot belong to containers and to this machine.
    let is_private = !name.contains('.') || name.ends_with(".internal") || name.parse::<IpAddr>().is_ok();
    headers.contains_key(ORIGIN) || !is_private
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    #[test]
    fn requests_from_web_pages_are_recognized() {
        let is_from_web_page =
            |name, value| is_from_web_page(&HeaderMap::from_iter([(name, HeaderValue::from_static(value))]));
        for host in ["127.0.0.1:8091", "localhost", "[::1]:8091", "emulator:8091", "host.docker.internal:8091", ""] {
            assert!(!is_from_web_page(HOST, host), "{host}");
        }
        for host in ["shop.example.com", "shop.example.com:8091", "127.0.0.1.example.com:8091", "a.internal.example"] {
            assert!(is_from_web_page(HOST, host), "{host}");
        }
        assert!(is_from_web_page(ORIGIN, "http://127.0.0.1:8091") && is_from_web_page(ORIGIN, "null"));
    }
}
