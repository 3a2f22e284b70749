//! Access: the workbench is only for its own page, the webhook for anyone with a signature.
//!
//! Any page in the user's browser can send requests to 127.0.0.1, and any host name can be made to resolve to it. So
//! requests with another host (DNS rebinding, a tunnel for webhooks) or from another page are rejected. Only the webhook
//! accepts other hosts, because a tunnel may lead to it.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{AppendHeaders, IntoResponse, Response};

use crate::page::HEADERS;
use crate::problem::Problem;

/// The names of this machine.
const NAMES: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// Accepts requests of the workbench's own page, and deliveries. The state is the port.
pub(crate) async fn guard(State(port): State<u16>, request: Request, next: Next) -> Response {
    let is_delivery = is_webhook(request.uri().path());
    let refusal = match is_delivery {
        true => delivery_refusal(request.headers(), port),
        false => refusal(request.method(), request.headers(), port),
    };
    let answer = match refusal {
        Some(why) => Problem(StatusCode::FORBIDDEN, why.to_owned()).into_response(),
        // Responses of the function stay unchanged.
        None if is_delivery => return next.run(request).await,
        None => next.run(request).await,
    };
    (AppendHeaders(HEADERS), answer).into_response()
}

/// Whether a path leads to the function, with any prefix.
pub(crate) fn is_webhook(path: &str) -> bool {
    path.contains("/stripe/")
}

const OTHER_PAGE: &str = "the workbench accepts no requests from other pages";

/// Stripe sends no `Origin`.
fn delivery_refusal(headers: &HeaderMap, port: u16) -> Option<&'static str> {
    is_cross_origin(headers, port).then_some(OTHER_PAGE)
}

fn refusal(method: &Method, headers: &HeaderMap, port: u16) -> Option<&'static str> {
    if !text(headers, header::HOST).is_some_and(|host| is_ours(host, port)) {
        return Some("the workbench is only for this machine: open http://127.0.0.1 with its port");
    }
    if is_cross_origin(headers, port) {
        return Some(OTHER_PAGE);
    }
    // Otherwise another page could post a form here without a preflight request.
    let is_json = |content_type: &str| content_type.starts_with("application/json");
    if !method.is_safe() && !text(headers, header::CONTENT_TYPE).is_some_and(is_json) {
        return Some("the workbench expects JSON: Content-Type: application/json");
    }
    None
}

fn is_cross_origin(headers: &HeaderMap, port: u16) -> bool {
    let is_foreign = |origin: &str| !origin.strip_prefix("http://").is_some_and(|host| is_ours(host, port));
    text(headers, header::ORIGIN).is_some_and(is_foreign)
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

fn is_ours(host: &str, port: u16) -> bool {
    // Browsers omit port 80.
    NAMES.iter().any(|name| host == format!("{name}:{port}")) || port == 80 && NAMES.contains(&host)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

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
    #[test]
    fn deliveries_accept_any_host_but_no_other_page() {
        for path in ["/stripe/demo", "/prod/stripe/demo", "/stripe/demo/"] {
            assert!(is_webhook(path), "{path}");
        }
        for path in ["/", "/workbench/about", "/stripe", "/pinstripe/demo"] {
            assert!(!is_webhook(path), "{path}");
        }
        let refused = |name: HeaderName, value: &'static str| {
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            delivery_refusal(&headers, 3000).is_some()
        };
        assert!(!refused(header::HOST, "tunnel.example.com"));
        assert!(!refused(header::ORIGIN, "http://127.0.0.1:3000"));
        assert!(refused(header::ORIGIN, "http://shop.example.com:3000") && refused(header::ORIGIN, "null"));
    }
}
