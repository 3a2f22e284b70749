//! Who may use the workbench: pages of its own, on this machine.
//!
//! Any page in the user's browser can send requests to 127.0.0.1, and any name can be made to lead there. What comes with
//! another host (DNS rebinding, a tunnel for webhooks) or from another page is refused.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{AppendHeaders, IntoResponse, Response};

use super::api::Problem;
use super::page::HEADERS;

/// The names that this machine has for itself.
const NAMES: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// Lets pass what comes from the page itself. The state is the port.
pub(crate) async fn guard(State(port): State<u16>, request: Request, next: Next) -> Response {
    let answer = match refusal(request.method(), request.headers(), port) {
        Some(why) => Problem(StatusCode::FORBIDDEN, why.to_owned()).into_response(),
        None => next.run(request).await,
    };
    (AppendHeaders(HEADERS), answer).into_response()
}

fn refusal(method: &Method, headers: &HeaderMap, port: u16) -> Option<&'static str> {
    let value = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let is_ours = |host: &str| NAMES.iter().any(|name| host == format!("{name}:{port}"));
    // A browser leaves out the port of HTTP where it is 80.
    let is_ours = |host: &str| is_ours(host) || port == 80 && NAMES.contains(&host);
    if !value(header::HOST).is_some_and(is_ours) {
        return Some("the workbench is only for this machine: open it as http://127.0.0.1 with its port");
    }
    let is_foreign = |origin: &str| !origin.strip_prefix("http://").is_some_and(is_ours);
    if value(header::ORIGIN).is_some_and(is_foreign) {
        return Some("the workbench takes nothing from other pages");
    }
    // Without it, another page's form could be sent here without a question to the browser.
    let is_json = |content_type: &str| content_type.starts_with("application/json");
    if !method.is_safe() && !value(header::CONTENT_TYPE).is_some_and(is_json) {
        return Some("the workbench takes JSON: Content-Type: application/json");
    }
    None
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn refused(method: Method, headers: &[(HeaderName, &'static str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        refusal(&method, &headers.collect(), 3000).is_some()
    }

    #[test]
    fn only_the_page_itself_on_this_machine_gets_through() {
        let json = (header::CONTENT_TYPE, "application/json");
        for host in ["127.0.0.1:3000", "localhost:3000", "[::1]:3000"] {
            assert!(!refused(Method::GET, &[(header::HOST, host)]), "{host}");
        }
        let host = (header::HOST, "127.0.0.1:3000");
        let origin = (header::ORIGIN, "http://127.0.0.1:3000");
        assert!(!refused(Method::POST, &[host.clone(), origin, json.clone()]));
        for host in [
            "127.0.0.1",
            "127.0.0.1:3001",
            "shop.example.com",
            "127.0.0.1:3000.example.com",
            "localhost.example.com:3000",
        ] {
            assert!(refused(Method::GET, &[(header::HOST, host)]), "{host}");
        }
        assert!(refused(Method::GET, &[]));
        for origin in ["null", "https://127.0.0.1:3000", "http://127.0.0.1:3001", "http://shop.example.com"] {
            assert!(refused(Method::POST, &[host.clone(), (header::ORIGIN, origin), json.clone()]), "{origin}");
        }
        assert!(refused(Method::POST, std::slice::from_ref(&host)));
        assert!(refused(Method::POST, &[host, (header::CONTENT_TYPE, "text/plain")]));
    }
}
