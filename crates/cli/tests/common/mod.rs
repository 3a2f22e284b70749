//! The shared beginning of the tests: the program, its result, and the time.

// Helpers panic like tests do.
#![allow(clippy::unwrap_used)]
// Each test binary compiles this module, and uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

pub const HOUR: i64 = 60 * 60;
pub const DAY: i64 = 24 * HOUR;

/// Unix seconds.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

/// The command line, without the developer's environment.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stripe-amplitude-cli"));
    command.env_clear();
    command
}

/// How a command ended, and what it printed.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub error: String,
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

/// Runs a command with this standard input.
pub fn ended_with(input: &str, command: &mut Command) -> Ended {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    // It may end without reading.
    let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
    process.wait_with_output().unwrap().into()
}

/// Runs a command with a closed standard output: its exit code, and standard error.
#[cfg(unix)]
pub fn unread(command: &mut Command) -> (Option<i32>, String) {
    let (output, closed) = std::io::pipe().unwrap();
    drop(output);
    let Ended { code, error, .. } = command.stdout(closed).output().unwrap().into();
    (code, error)
}
