//! A shop with the project `shop`: a local Stripe, a local Amplitude, and a folder in which commands run.

// Helpers panic like tests do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
// Each test binary compiles this module, and uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::path::PathBuf;
use std::process::{Command, Stdio};

use amplitude_emulator::Configuration;
use stripe_emulator::{Emulator, SECRET_KEY};
use tempfile::TempDir;

use crate::common::{now, program};
use crate::local_amplitude::LocalAmplitude;

/// The initial file of projects.
pub const PROJECTS: &str = "[shop]\nstripe-signing-secret = \"whsec_a\"\namplitude-api-key = \"key\"\n";

pub struct Shop {
    pub stripe: Emulator,
    pub amplitude: LocalAmplitude,
    folder: TempDir,
    /// Unix seconds.
    pub now: i64,
}

impl Shop {
    pub async fn open(configuration: Configuration) -> Self {
        let shop = Self {
            stripe: Emulator::start().unwrap(),
            amplitude: LocalAmplitude::start(configuration),
            folder: tempfile::tempdir().unwrap(),
            now: now(),
        };
        shop.projects(PROJECTS);
        shop
    }

    /// With an Amplitude that checks the keys of two projects, for live mode and for test mode.
    pub async fn with_keys() -> Self {
        Self::open(Configuration {
            secret_keys: vec!["secret".to_owned(), "test-secret".to_owned()],
            api_keys: vec!["key".to_owned(), "test-key".to_owned()],
            ..Configuration::default()
        })
        .await
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the file of projects.
    pub fn projects(&self, projects: &str) {
        std::fs::write(self.path("projects.toml"), projects).unwrap();
    }

    /// Adds a parameter to the project.
    pub fn parameter(&self, name: &str, value: &str) {
        let text = std::fs::read_to_string(self.path("projects.toml")).unwrap();
        self.projects(&format!("{text}\"{name}\" = '{value}'\n"));
    }

    pub fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = program();
        command.args([name, "--project", "shop", "--projects", "projects.toml"]).args(arguments);
        command.current_dir(self.folder.path()).envs(self.amplitude.variables());
        command.env("STRIPE_API_URL", self.stripe.url()).env("STRIPE_SECRET_KEY", SECRET_KEY);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}
