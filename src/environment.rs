//! The environment variables of the function. An empty variable counts as unset, so that a template can declare them
//! all.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use aws_credential_types::Credentials;
use thiserror::Error;
use tracing::level_filters::LevelFilter;

use crate::aws::Access;
use crate::http_client::{secured_url, url};
use crate::projects::name::ProjectName;

/// The configuration in the variables.
#[derive(Clone, Debug)]
pub struct Environment {
    /// `PARAMETER_PREFIX`: the folder of the projects, without a trailing slash.
    pub parameter_prefix: String,
    /// `PARAMETER_TTL_SECONDS`: how long a project's parameters are used before they are read again.
    pub parameter_ttl: Duration,
    /// `WARM_PROJECTS`: projects to load during init.
    pub warm_projects: Vec<ProjectName>,
    /// `SIGNATURE_TOLERANCE_SECONDS`: the allowed clock difference, in both directions.
    pub signature_tolerance: Duration,
    /// `AMPLITUDE_URL`: the full URL of the ingestion endpoint, instead of the region's.
    pub amplitude_url: Option<String>,
    /// `STRIPE_API_URL`: another address of Stripe's API.
    pub stripe_api_url: Option<String>,
    /// `BATCHES_AT_ONCE`, of `redelivery`: how many instances run at the same time and share the rate limit for reads.
    pub batches_at_once: u32,
    /// `EXTRA_CA_FILE`: a PEM file of additional root certificates.
    pub extra_ca_file: Option<PathBuf>,
    /// `REDELIVERY_QUEUE_URL`: the queue for events that could not be delivered.
    pub redelivery_queue_url: Option<String>,
    /// `DELIVERY=queue`: every event goes to the queue first.
    pub queue_first: bool,
    /// `DEAD_LETTER_QUEUE_URL`: the queue for events that can never be delivered.
    pub dead_letter_queue_url: Option<String>,
    /// AWS's own variables.
    pub access: Access,
}

impl Environment {
    /// Reads the variables; `variable` returns the value of one.
    ///
    /// # Errors
    /// If a value is invalid.
    pub fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, EnvironmentError> {
        let variables = Variables(variable);
        let redelivery_queue_url = variables.parse("REDELIVERY_QUEUE_URL", "the URL of an SQS queue", url)?;
        let delivery = |text: &str| match text {
            "direct" => Some(false),
            "queue" => Some(true),
            _ => None,
        };
        let queue_first = variables.parse("DELIVERY", "`direct` or `queue`", delivery)?.unwrap_or_default();
        if queue_first && redelivery_queue_url.is_none() {
            return Err(EnvironmentError::new(
                "REDELIVERY_QUEUE_URL",
                "not set",
                "a queue, because DELIVERY is `queue`",
            ));
        }
        Ok(Self {
            parameter_prefix: variables
                .parse("PARAMETER_PREFIX", "a path of a-z A-Z 0-9 _ . - that starts with a slash", parameter_prefix)?
                .unwrap_or_else(|| "/stripe-amplitude".to_owned()),
            parameter_ttl: variables.seconds("PARAMETER_TTL_SECONDS")?.unwrap_or(Duration::from_secs(300)),
            warm_projects: variables
                .parse("WARM_PROJECTS", "names of projects, separated by commas", |text| {
                    text.split(',').map(|name| name.trim().parse().ok()).collect()
                })?
                .unwrap_or_default(),
            signature_tolerance: variables.seconds("SIGNATURE_TOLERANCE_SECONDS")?.unwrap_or(Duration::from_secs(300)),
            amplitude_url: variables.parse("AMPLITUDE_URL", SECURED_URL, secured_url)?,
            stripe_api_url: variables.parse("STRIPE_API_URL", SECURED_URL, secured_url)?,
            batches_at_once: variables
                .parse("BATCHES_AT_ONCE", "a whole number, 1 or more", |text| {
                    text.parse().ok().filter(|number| *number > 0)
                })?
                .unwrap_or(5),
            extra_ca_file: variables.text("EXTRA_CA_FILE")?.map(PathBuf::from),
            redelivery_queue_url,
            queue_first,
            dead_letter_queue_url: variables.parse("DEAD_LETTER_QUEUE_URL", "the URL of an SQS queue", url)?,
            access: Access {
                region: variables
                    .text("AWS_REGION")?
                    .or(variables.text("AWS_DEFAULT_REGION")?)
                    .ok_or(EnvironmentError::new("AWS_REGION", "not set", "an AWS Region, such as eu-central-1"))?,
                credentials: Credentials::new(
                    variables.credential("AWS_ACCESS_KEY_ID")?,
                    variables.credential("AWS_SECRET_ACCESS_KEY")?,
                    variables.text("AWS_SESSION_TOKEN")?,
                    None,
                    "environment",
                ),
                parameter_store_url: variables.endpoint("AWS_ENDPOINT_URL_SSM")?,
                sqs_url: variables.endpoint("AWS_ENDPOINT_URL_SQS")?,
            },
        })
    }
}

const SECURED_URL: &str = "an https URL, or an http URL of this machine or its containers";

/// The log level: `RUST_LOG`, or Lambda's own `AWS_LAMBDA_LOG_LEVEL`, or `info`.
///
/// # Errors
/// If the value is not a level.
pub fn log_level(variable: impl Fn(&str) -> Option<OsString>) -> Result<LevelFilter, EnvironmentError> {
    let variables = Variables(variable);
    let expected = "one of off, error, warn, info, debug, trace";
    let level = |text: &str| match text.to_ascii_lowercase().as_str() {
        // Lambda's highest level; ours is error.
        "fatal" => Some(LevelFilter::ERROR),
        text => text.parse().ok(),
    };
    let level = match variables.parse("RUST_LOG", expected, level)? {
        None => variables.parse("AWS_LAMBDA_LOG_LEVEL", expected, level)?,
        rust_log => rust_log,
    };
    Ok(level.unwrap_or(LevelFilter::INFO))
}

/// A variable has an invalid value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the environment variable {variable} is {holds}; expected {expected}")]
pub struct EnvironmentError {
    variable: &'static str,
    holds: String,
    expected: &'static str,
}

impl EnvironmentError {
    fn new(variable: &'static str, holds: &str, expected: &'static str) -> Self {
        Self { variable, holds: holds.to_owned(), expected }
    }
}

struct Variables<V>(V);

impl<V: Fn(&str) -> Option<OsString>> Variables<V> {
    fn text(&self, name: &'static str) -> Result<Option<String>, EnvironmentError> {
        let Some(value) = (self.0)(name) else { return Ok(None) };
        let text = value.into_string().map_err(|_| EnvironmentError::new(name, "not UTF-8", "text"))?;
        let text = text.trim();
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    fn parse<T>(
        &self,
        name: &'static str,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, EnvironmentError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        parse(&text).map(Some).ok_or_else(|| EnvironmentError::new(name, &format!("{text:?}"), expected))
    }

    fn seconds(&self, name: &'static str) -> Result<Option<Duration>, EnvironmentError> {
        self.parse(name, "a whole number of seconds, 1 or more", |text| {
            text.parse().ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
        })
    }

    /// A service's own endpoint, or else the common one.
    fn endpoint(&self, name: &'static str) -> Result<Option<String>, EnvironmentError> {
        match self.parse(name, "an http or https URL", url)? {
            None => self.parse("AWS_ENDPOINT_URL", "an http or https URL", url),
            of_the_service => Ok(of_the_service),
        }
    }

    fn credential(&self, name: &'static str) -> Result<String, EnvironmentError> {
        self.text(name)?.ok_or(EnvironmentError::new(name, "not set", "a credential of AWS; Lambda sets it"))
    }
}

fn parameter_prefix(text: &str) -> Option<String> {
    let prefix = text.strip_suffix('/').unwrap_or(text);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let mut segments = prefix.strip_prefix('/')?.split('/');
    segments.all(|segment| !segment.is_empty() && segment.bytes().all(allowed)).then(|| prefix.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const AWS: [(&str, &str); 3] =
        [("AWS_REGION", "eu-central-1"), ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "hidden")];

    fn read(more: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
        let variables: HashMap<&str, &str> = AWS.iter().chain(more).copied().collect();
        Environment::read(|name| variables.get(name).map(OsString::from))
    }

    fn error(name: &str, value: &str) -> String {
        read(&[(name, value)]).unwrap_err().to_string()
    }

    #[test]
    fn stripe_keys_require_https() {
        for (url, is_taken) in [
            ("https://api.stripe.com", true),
            ("https://proxy.example:8443/stripe", true),
            ("http://127.0.0.1:12111", true),
            ("http://[::1]:12111", true),
            ("http://localhost:12111", true),
            ("http://host.docker.internal:12111", true),
            ("http://172.17.0.1:12111", true),
            ("http://api.stripe.com", false),
            ("http://10.0.0.1", false),
            ("http://localhost.example", false),
            ("ftp://localhost", false),
            ("api.stripe.com", false),
        ] {
            assert_eq!(read(&[("STRIPE_API_URL", url)]).is_ok(), is_taken, "{url}");
        }
    }

    #[test]
    fn empty_variables_have_their_defaults() {
        let empty: Vec<_> = [
            "PARAMETER_PREFIX",
            "PARAMETER_TTL_SECONDS",
            "WARM_PROJECTS",
            "REDELIVERY_QUEUE_URL",
            "DELIVERY",
            "SIGNATURE_TOLERANCE_SECONDS",
            "AMPLITUDE_URL",
            "EXTRA_CA_FILE",
            "AWS_ENDPOINT_URL_SSM",
            "AWS_ENDPOINT_URL",
            "AWS_SESSION_TOKEN",
        ]
        .into_iter()
        .map(|name| (name, ""))
        .collect();
        for variables in [&[], &*empty] {
            let environment = read(variables).unwrap();
            assert_eq!(environment.parameter_prefix, "/stripe-amplitude");
            assert_eq!(environment.parameter_ttl, Duration::from_secs(300));
            assert_eq!(environment.warm_projects, []);
            assert_eq!(environment.signature_tolerance, Duration::from_secs(300));
            assert_eq!(environment.amplitude_url, None);
            assert_eq!(environment.extra_ca_file, None);
            assert_eq!(environment.access.parameter_store_url, None);
            assert_eq!(environment.access.region, "eu-central-1");
        }
    }

    #[test]
    fn values_are_read() {
        let environment = read(&[
            ("PARAMETER_PREFIX", "/team/stripe/"),
            ("PARAMETER_TTL_SECONDS", "1"),
            ("WARM_PROJECTS", "shop, eu-shop"),
            ("DELIVERY", "direct"),
            ("SIGNATURE_TOLERANCE_SECONDS", "1000000000"),
            ("AMPLITUDE_URL", "https://localhost:8091/2/httpapi"),
            ("EXTRA_CA_FILE", "/opt/ca.pem"),
            ("AWS_ENDPOINT_URL", "http://localhost:1"),
            ("AWS_ENDPOINT_URL_SSM", "http://localhost:2"),
        ])
        .unwrap();
        assert_eq!(environment.parameter_prefix, "/team/stripe");
        assert_eq!(environment.parameter_ttl, Duration::from_secs(1));
        let warm: Vec<_> = environment.warm_projects.iter().map(ProjectName::as_str).collect();
        assert_eq!(warm, ["shop", "eu-shop"]);
        assert_eq!(environment.signature_tolerance, Duration::from_secs(1_000_000_000));
        assert_eq!(environment.amplitude_url.as_deref(), Some("https://localhost:8091/2/httpapi"));
        assert_eq!(environment.access.parameter_store_url.as_deref(), Some("http://localhost:2"));
    }

    #[test]
    fn errors_name_the_variable_and_the_expected_value() {
        assert_eq!(
            error("SIGNATURE_TOLERANCE_SECONDS", "0"),
            "the environment variable SIGNATURE_TOLERANCE_SECONDS is \"0\"; expected a whole number of seconds, 1 or more"
        );
        for (name, value) in [
            ("PARAMETER_TTL_SECONDS", "5m"),
            ("PARAMETER_TTL_SECONDS", "-1"),
            ("PARAMETER_PREFIX", "stripe-amplitude"),
            ("PARAMETER_PREFIX", "/"),
            ("PARAMETER_PREFIX", "/a//b"),
            ("WARM_PROJECTS", "shop,,eu"),
            ("WARM_PROJECTS", "shop/eu"),
            ("AMPLITUDE_URL", "api2.amplitude.com"),
            ("AMPLITUDE_URL", "file:///etc/passwd"),
            ("AWS_ENDPOINT_URL_SSM", "localhost"),
            ("DELIVERY", "later"),
            ("REDELIVERY_QUEUE_URL", "stripe-amplitude"),
            ("DEAD_LETTER_QUEUE_URL", "arn:aws:sqs:eu-central-1:123456789012:dead"),
        ] {
            let error = error(name, value);
            assert!(error.contains(name) && error.contains(value) && error.contains("expected"), "{error}");
        }
        assert!(error("DELIVERY", "queue").contains("REDELIVERY_QUEUE_URL"));
    }

    #[test]
    fn region_and_credentials_are_required() {
        for (missing, _) in AWS {
            let result = Environment::read(|name| {
                AWS.iter().find(|(known, _)| *known == name && name != missing).map(|(_, value)| value.into())
            });
            assert!(result.unwrap_err().to_string().contains(missing));
        }
    }

    #[test]
    fn debug_shows_no_credentials() {
        assert!(!format!("{:?}", read(&[]).unwrap()).contains("hidden"));
    }

    #[test]
    fn the_log_level_comes_from_rust_log_or_lambda() {
        let level = |rust: &'static str, lambda: &'static str| {
            log_level(move |name| match name {
                "RUST_LOG" => Some(rust.into()),
                _ => Some(lambda.into()),
            })
        };
        assert_eq!(level("", ""), Ok(LevelFilter::INFO));
        assert_eq!(level("debug", "ERROR"), Ok(LevelFilter::DEBUG));
        assert_eq!(level("", "WARN"), Ok(LevelFilter::WARN));
        assert_eq!(level("", "FATAL"), Ok(LevelFilter::ERROR));
        assert_eq!(level("off", ""), Ok(LevelFilter::OFF));
        assert!(level("stripe_amplitude=debug", "").unwrap_err().to_string().contains("RUST_LOG"));
    }
}
