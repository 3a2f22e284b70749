//! The HTTP client of the commands: the function's, including `EXTRA_CA_FILE`.

use std::path::PathBuf;

use reqwest::{Client, Url};
use stripe_amplitude::http_client::{self, HttpClientError, secured_url};

/// # Errors
/// If `EXTRA_CA_FILE` is unusable.
pub fn build() -> Result<Client, HttpClientError> {
    let extra_ca_file = std::env::var_os("EXTRA_CA_FILE").filter(|file| !file.is_empty()).map(PathBuf::from);
    http_client::build(extra_ca_file.as_deref())
}

/// The kind of URL that keys may be sent to.
pub const SECURED: &str = "an https URL, or an http URL of this machine or its containers";

/// The URL in a variable, if set, for requests with a key.
///
/// # Errors
/// A sentence that names the variable, if the key would be sent unencrypted.
pub fn url_in(variable: &str) -> Result<Option<String>, String> {
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty());
    url.map(|url| secured_url(&url).ok_or_else(|| format!("{variable}: expected {SECURED}"))).transpose()
}

/// The URL without a user and a password, which some endpoints want.
pub fn without_user(url: &str) -> String {
    let Ok(mut parsed) = url.parse::<Url>() else { return url.to_owned() };
    if parsed.username().is_empty() && parsed.password().is_none() {
        return url.to_owned();
    }
    let _ = parsed.set_username("").and_then(|()| parsed.set_password(None));
    parsed.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_and_a_password_are_not_shown() {
        assert_eq!(without_user("https://user:hidden@example.com/2/httpapi"), "https://example.com/2/httpapi");
        assert_eq!(without_user("http://127.0.0.1:1/x"), "http://127.0.0.1:1/x");
    }
}
