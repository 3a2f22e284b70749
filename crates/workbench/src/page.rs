//! The files of the page, compiled into the program.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{Html, IntoResponse};

use crate::problem::Problem;

/// Nothing is loaded from elsewhere, and no site may frame the page. Chart.js sets inline styles.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; \
                      form-action 'self'; base-uri 'none'";

/// Headers of every response of the workbench.
pub(crate) const HEADERS: [(HeaderName, &str); 4] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    // Responses have customers' data, and another version of the program may use the same port later.
    (CACHE_CONTROL, "no-store"),
];

/// Name, content type and bytes of each file.
macro_rules! files {
    ($($name:literal: $content_type:literal;)*) => {
        [$(($name, $content_type, include_bytes!(concat!("page/", $name)) as &[u8])),*]
    };
}

const FILES: [(&str, &str, &[u8]); 26] = files! {
    "about.js": "text/javascript";
    "address.js": "text/javascript";
    "announcer.js": "text/javascript";
    "api.js": "text/javascript";
    "card.js": "text/javascript";
    "chart.umd.min.js": "text/javascript";
    "charts.js": "text/javascript";
    "deliveries.js": "text/javascript";
    "delivery.js": "text/javascript";
    "dom.js": "text/javascript";
    "event_fields.js": "text/javascript";
    "help.js": "text/javascript";
    "icon.svg": "image/svg+xml";
    "json_lines.js": "text/javascript";
    "json_view.js": "text/javascript";
    "live.js": "text/javascript";
    "main.js": "text/javascript";
    "money.js": "text/javascript";
    "outcome.js": "text/javascript";
    "plot.js": "text/javascript";
    "reads.js": "text/javascript";
    "send.js": "text/javascript";
    "series.js": "text/javascript";
    "style.css": "text/css";
    "timeline.js": "text/javascript";
    "words.js": "text/javascript";
};

/// The screenshots in docs/pictures, from `make pictures`.
macro_rules! pictures {
    ($($name:literal)*) => {
        [$((concat!("pictures/", $name), "image/png", include_bytes!(concat!("../../../docs/pictures/", $name)) as &[u8])),*]
    };
}

const PICTURES: [(&str, &str, &[u8]); 4] = pictures! { "charts.png" "deliveries.png" "delivery.png" "send.png" };

pub(crate) async fn index() -> impl IntoResponse {
    Html(include_str!("page/index.html"))
}

pub(crate) async fn file(Path(name): Path<String>) -> Result<impl IntoResponse, Problem> {
    let missing = || Problem(StatusCode::NOT_FOUND, format!("/workbench/{name} does not exist"));
    let mut files = FILES.iter().chain(&PICTURES);
    let (_, content_type, bytes) = files.find(|(known, ..)| *known == name).ok_or_else(missing)?;
    Ok(([(CONTENT_TYPE, *content_type)], *bytes))
}
