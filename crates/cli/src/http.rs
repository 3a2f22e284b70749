//! The HTTP client of the commands: the function's, with its `EXTRA_CA_FILE`.

use std::path::PathBuf;

use reqwest::Client;
use stripe_amplitude::http_client::{self, HttpClientError};

/// # Errors
/// Where `EXTRA_CA_FILE` cannot be used.
pub(crate) fn build() -> Result<Client, HttpClientError> {
    let extra_ca_file = std::env::var_os("EXTRA_CA_FILE").filter(|file| !file.is_empty()).map(PathBuf::from);
    http_client::build(extra_ca_file.as_deref())
}
