//! How a command ends: its exit code, and the words where it leaves everything as it was. All commands end here.

use std::error::Error;
use std::process::ExitCode;
use std::{fmt, io};

use crate::terminal::{self, say};

/// A command that has ended, with all that there is to say said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it is for, or had nothing to do, or was only to look.
    Success,
    /// Not all is as it should be, or not all was done.
    Failure,
}

/// What a shell says of a program that Ctrl-C has ended at once.
pub(crate) const INTERRUPTED: u8 = 130;

/// What a shell says of a program whose output nobody reads any more.
const CLOSED: u8 = 141;

/// As for arguments that cannot be read.
pub(crate) const USAGE: u8 = 2;

impl Exit {
    /// Success where all is right.
    pub(crate) fn of(is_right: bool) -> Self {
        if is_right { Self::Success } else { Self::Failure }
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

/// Ends a command, and tells its error.
pub(crate) fn code(result: Result<Exit, Box<dyn Error>>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) if terminal::is_closed(&*error) => ExitCode::from(CLOSED),
        Err(error) if error.is::<Usage>() => {
            // As it stands below the errors that the parser finds.
            terminal::tell(&format!("error: {error}\n\nFor more information, try '--help'.\n"));
            ExitCode::from(USAGE)
        }
        Err(error) => {
            terminal::tell(&format!("error: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Arguments that each can be read, and do not go together.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Usage {}

/// What a command has not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Sent,
    Changed,
}

/// Why a command leaves everything as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Untouched {
    /// It was only to look: what would do more, in a sentence.
    OnlyLooked(&'static str),
    NothingToSend,
    Declined,
    NobodyAnswered,
    Interrupted,
}

impl Untouched {
    /// Says so, and ends the command.
    ///
    /// # Errors
    /// Where it cannot be printed.
    pub(crate) fn end(self, action: Action) -> io::Result<Exit> {
        say!("{}", self.words(action))?;
        Ok(match self {
            Self::OnlyLooked(_) | Self::NothingToSend => Exit::Success,
            Self::Declined | Self::NobodyAnswered | Self::Interrupted => Exit::Failure,
        })
    }

    fn words(self, action: Action) -> String {
        let action = match action {
            Action::Sent => "sent",
            Action::Changed => "changed",
        };
        let why = match self {
            Self::OnlyLooked(more) => more,
            Self::NothingToSend => "There is nothing to send.",
            Self::Declined => "The answer was not yes.",
            Self::NobodyAnswered => "Nobody answered; --yes does without the question.",
            Self::Interrupted => "It was stopped.",
        };
        format!("Nothing is {action}. {why}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_leave_everything_as_it_was_has_its_words_and_its_code() {
        for (why, exit, words) in [
            (Untouched::OnlyLooked("--send sends."), Exit::Success, "Nothing is sent. --send sends."),
            (Untouched::NothingToSend, Exit::Success, "Nothing is sent. There is nothing to send."),
            (Untouched::Declined, Exit::Failure, "Nothing is sent. The answer was not yes."),
            (Untouched::NobodyAnswered, Exit::Failure, "Nothing is sent. Nobody answered; --yes does"),
            (Untouched::Interrupted, Exit::Failure, "Nothing is sent. It was stopped."),
        ] {
            assert!(why.words(Action::Sent).starts_with(words), "{words}");
            assert_eq!(why.end(Action::Sent).unwrap(), exit, "{words}");
        }
        assert!(Untouched::Declined.words(Action::Changed).starts_with("Nothing is changed. "));
    }
}
