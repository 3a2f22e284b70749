//! Plain text for a terminal, and for whoever reads it instead.

use std::error::Error;
use std::fmt;
use std::io::{self, BufRead as _, Write};

use stripe_amplitude_common::text::visible;
use tokio::sync::Notify;

use crate::exit::Untouched;

pub(crate) use stripe_amplitude_common::text::{count, wrap};

/// Whoever waits for [`closed`] is told here.
static CLOSED: Notify = Notify::const_new();

/// Prints to standard output.
///
/// # Errors
/// Where it cannot be written. Where its reader has seen enough, as `head` has, [`is_closed`] knows the error: the command
/// ends, quietly.
pub(crate) fn print(text: &str) -> io::Result<()> {
    write(visible(text).as_bytes())
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(bytes).and_then(|()| output.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => {
            CLOSED.notify_one();
            closed_error()
        }
        _ => error,
    })
}

/// Prints to standard error. Where nobody reads that, there is nobody to tell.
pub(crate) fn tell(text: &str) {
    let _ = io::stderr().lock().write_all(visible(text).as_bytes());
}

/// Whether the error is that nobody reads standard output any more.
pub(crate) fn is_closed(error: &(dyn Error + 'static)) -> bool {
    let error: Option<&io::Error> = error.downcast_ref();
    error.and_then(io::Error::get_ref).is_some_and(|inner| inner.is::<Closed>())
}

/// Waits until something was to be printed that nobody reads any more. For whoever only logs.
///
/// # Errors
/// Always, and then: the error that [`is_closed`] knows.
pub(crate) async fn closed() -> io::Result<()> {
    CLOSED.notified().await;
    Err(closed_error())
}

fn closed_error() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, Closed)
}

/// Nobody reads standard output any more.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads standard output any more")
    }
}

impl Error for Closed {}

/// Standard output for a log, which has nobody to tell an error to; [`closed`] tells.
pub(crate) struct Output;

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match write(bytes) {
            Err(error) if !is_closed(&error) => Err(error),
            _ => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `println!` by way of [`print()`].
macro_rules! say {
    ($($text:tt)*) => { $crate::terminal::print(&format!("{}\n", format_args!($($text)*))) };
}

pub(crate) use say;

/// Asks whoever sits at the terminal; anything but yes is no. `Err` is why nothing is done.
///
/// # Errors
/// Where the question cannot be asked, or the answer cannot be read.
pub(crate) fn confirmed(question: &str) -> io::Result<Result<(), Untouched>> {
    print(&format!("{question} [y/N] "))?;
    let mut answer = String::new();
    let length = io::stdin().lock().read_line(&mut answer)?;
    Ok(match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ if length == 0 => Err(Untouched::NobodyAnswered),
        _ => Err(Untouched::Declined),
    })
}
