//! Amplitude: its events, limits and APIs.

pub mod batch;
pub mod breaker;
pub mod client;
pub mod event;
pub mod limits;
pub mod properties;

use secrecy::SecretString;

/// Where Amplitude keeps a project's data. A project's key is known in its own region only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Region {
    /// The default.
    #[default]
    Us,
    /// The data centre in the European Union.
    Eu,
}

impl Region {
    /// The region's HTTP V2 endpoint. Source: Amplitude's HTTP V2 documentation.
    pub fn http_v2_url(self) -> &'static str {
        match self {
            Self::Us => "https://api2.amplitude.com/2/httpapi",
            Self::Eu => "https://api.eu.amplitude.com/2/httpapi",
        }
    }

    /// The region's Batch endpoint. Source: Amplitude's Batch Event Upload documentation.
    pub fn batch_url(self) -> &'static str {
        match self {
            Self::Us => "https://api2.amplitude.com/batch",
            Self::Eu => "https://api.eu.amplitude.com/batch",
        }
    }

    /// The region's Export endpoint. Source: Amplitude's Export API documentation.
    pub fn export_url(self) -> &'static str {
        match self {
            Self::Us => "https://amplitude.com/api/2/export",
            Self::Eu => "https://analytics.eu.amplitude.com/api/2/export",
        }
    }
}

/// The Amplitude project that an event goes to.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Where Amplitude keeps its data.
    pub region: Region,
    /// Its API key, hidden from `Debug`.
    pub api_key: SecretString,
    /// Which of the project's keys that is, to name it if Amplitude rejects it.
    pub key: AmplitudeKey,
}

/// Which of a project's two Amplitude keys an event goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AmplitudeKey {
    /// For live events, and for test-mode events if the project has no test key.
    Main,
    /// For test-mode events.
    Test,
}

impl AmplitudeKey {
    /// The parameter that holds the key.
    pub const fn parameter(self) -> &'static str {
        match self {
            Self::Main => "amplitude-api-key",
            Self::Test => "amplitude-test-api-key",
        }
    }
}
