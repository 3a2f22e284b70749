//! A shop with the project `shop`: a Stripe, an Amplitude, and a folder in which commands run.

// A helper, like a test, stops where it meets what it does not expect.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
// Each test binary has this module to itself, and uses what it needs of it.
#![allow(dead_code, unreachable_pub)]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use amplitude_emulator::Configuration;
use stripe_emulator::{Emulator, SECRET_KEY};
use tempfile::TempDir;

use crate::local_amplitude::LocalAmplitude;

/// The file of projects, as it is at first.
pub const PROJECTS: &str = "[shop]\nstripe-signing-secret = \"whsec_a\"\namplitude-api-key = \"key\"\n";

pub struct Shop {
    pub stripe: Emulator,
    pub amplitude: LocalAmplitude,
    folder: TempDir,
    /// Unix seconds.
    pub now: i64,
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub error: String,
}

impl Shop {
    pub async fn open(configuration: Configuration) -> Self {
        let shop = Self {
            stripe: Emulator::start().unwrap(),
            amplitude: LocalAmplitude::start(configuration),
            folder: tempfile::tempdir().unwrap(),
            now: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed(),
        };
        shop.projects(PROJECTS);
        shop
    }

    /// Of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the file of projects.
    pub fn projects(&self, projects: &str) {
        std::fs::write(self.path("projects.toml"), projects).unwrap();
    }

    /// A further parameter of the project.
    pub fn parameter(&self, name: &str, value: &str) {
        let text = std::fs::read_to_string(self.path("projects.toml")).unwrap();
        self.projects(&format!("{text}\"{name}\" = '{value}'\n"));
    }

    pub fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stripe-amplitude-cli"));
        command.args([name, "--project", "shop", "--projects", "projects.toml"]).args(arguments);
        command.current_dir(self.folder.path()).env_clear().envs(self.amplitude.variables());
        command.env("STRIPE_API_URL", self.stripe.url()).env("STRIPE_SECRET_KEY", SECRET_KEY);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl From<Output> for Ended {
    fn from(Output { status, stdout, stderr }: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: status.code(), out: text(stdout), error: text(stderr) }
    }
}

/// Runs a command to its end.
pub fn ended(command: &mut Command) -> Ended {
    command.output().unwrap().into()
}

/// Runs a command whose output nobody reads: its exit code, and standard error.
#[cfg(unix)]
pub fn unread(command: &mut Command) -> (Option<i32>, String) {
    let (output, closed) = std::io::pipe().unwrap();
    drop(output);
    let ended = command.stdout(closed).output().unwrap();
    (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
}
