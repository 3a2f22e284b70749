//! Asking for confirmation.

use std::io::{self, BufRead as _};

use crate::exit::NoChange;
use crate::terminal::print;

/// Asks at the terminal. Anything but yes means no. The inner `Err` is the reason for no.
///
/// # Errors
/// If the question cannot be printed, or the answer cannot be read.
pub(crate) fn confirmed(question: &str) -> io::Result<Result<(), NoChange>> {
    print(&format!("{question} [y/N] "))?;
    let mut answer = String::new();
    let length = io::stdin().lock().read_line(&mut answer)?;
    Ok(match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ if length == 0 => Err(NoChange::NoAnswer),
        _ => Err(NoChange::Declined),
    })
}
