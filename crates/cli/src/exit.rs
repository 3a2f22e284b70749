//! How a command ends: its exit code, and the message if it changed nothing.

use std::error::Error;
use std::process::ExitCode;
use std::{fmt, io};

use crate::terminal::{self, say};

/// The result of a command that has printed everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did its work, or had nothing to do, or was a dry run.
    Success,
    /// It found a problem, or did not finish its work.
    Failure,
}

/// A shell's exit code for a program that Ctrl-C has killed.
pub(crate) const INTERRUPTED: u8 = 130;

/// A shell's exit code for a program whose output was closed.
const CLOSED: u8 = 141;

/// For unusable arguments.
pub(crate) const USAGE: u8 = 2;

impl Exit {
    pub(crate) fn of(is_success: bool) -> Self {
        if is_success { Self::Success } else { Self::Failure }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Success => Self::SUCCESS,
            Exit::Failure => Self::FAILURE,
        }
    }
}

/// Prints a command's error, and returns its exit code.
pub(crate) fn code(result: Result<Exit, Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) if terminal::is_closed(&*error) => ExitCode::from(CLOSED),
        Err(error) if error.is::<Usage>() => {
            // Like the parser's own errors.
            terminal::tell(&format!("error: {error}\n\nFor more information, try '--help'.\n"));
            ExitCode::from(USAGE)
        }
        Err(error) => {
            terminal::tell(&format!("error: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// An error in arguments that are valid individually but conflict.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Usage {}

/// What a command did not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Sent,
    Changed,
}

/// Why a command changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoChange {
    /// With a sentence that says how to run it for real.
    DryRun(&'static str),
    NothingToSend,
    Declined,
    NoAnswer,
    Interrupted,
}

impl NoChange {
    /// Prints why, and ends the command.
    ///
    /// # Errors
    /// If it cannot be printed.
    pub(crate) fn end(self, action: Action) -> io::Result<Exit> {
        say!("{}", self.words(action))?;
        Ok(match self {
            Self::DryRun(_) | Self::NothingToSend => Exit::Success,
            Self::Declined | Self::NoAnswer | Self::Interrupted => Exit::Failure,
        })
    }

    fn words(self, action: Action) -> String {
        let action = match action {
            Action::Sent => "sent",
            Action::Changed => "changed",
        };
        let why = match self {
            Self::DryRun(hint) => hint,
            Self::NothingToSend => "There is nothing to send.",
            Self::Declined => "The answer was not yes.",
            Self::NoAnswer => "There was no answer; pass --yes to skip the question.",
            Self::Interrupted => "Interrupted.",
        };
        format!("Nothing was {action}. {why}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_message_and_an_exit_code() {
        for (why, exit, words) in [
            (NoChange::DryRun("Pass --send."), Exit::Success, "Nothing was sent. Pass --send."),
            (NoChange::NothingToSend, Exit::Success, "Nothing was sent. There is nothing to send."),
            (NoChange::Declined, Exit::Failure, "Nothing was sent. The answer was not yes."),
            (NoChange::NoAnswer, Exit::Failure, "Nothing was sent. There was no answer; pass --yes"),
            (NoChange::Interrupted, Exit::Failure, "Nothing was sent. Interrupted."),
        ] {
            assert!(why.words(Action::Sent).starts_with(words), "{words}");
            assert_eq!(why.end(Action::Sent).unwrap(), exit, "{words}");
        }
        assert!(NoChange::Declined.words(Action::Changed).starts_with("Nothing was changed. "));
    }
}
