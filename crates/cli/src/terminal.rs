//! Plain text for a terminal or a pipe.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};

use stripe_amplitude_common::text::visible;
use tokio::sync::Notify;

pub(crate) use stripe_amplitude_common::text::{count, wrap};

/// Notifies [`closed`].
static CLOSED: Notify = Notify::const_new();

/// Prints to standard output.
///
/// # Errors
/// If it cannot be written. If the reader has closed the pipe, like `head` does, [`is_closed`] recognizes the error, and the
/// command ends quietly.
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

/// Prints to standard error. There is no place to report a failure to.
pub(crate) fn tell(text: &str) {
    let _ = io::stderr().lock().write_all(visible(text).as_bytes());
}

/// Whether the error is that standard output was closed.
pub(crate) fn is_closed(error: &(dyn Error + 'static)) -> bool {
    let error: Option<&io::Error> = error.downcast_ref();
    error.and_then(io::Error::get_ref).is_some_and(|inner| inner.is::<Closed>())
}

/// Waits until a print fails because standard output was closed. For commands that only log.
///
/// # Errors
/// Always, with the error that [`is_closed`] recognizes.
#[cfg(feature = "workbench")]
pub(crate) async fn closed() -> io::Result<()> {
    CLOSED.notified().await;
    Err(closed_error())
}

fn closed_error() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, Closed)
}

/// Standard output was closed.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output was closed")
    }
}

impl Error for Closed {}

/// Standard output for a log, which cannot report an error; [`closed`] reports it.
#[cfg(feature = "workbench")]
pub(crate) struct Output;

#[cfg(feature = "workbench")]
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

/// Like `println!`, with [`print()`].
macro_rules! say {
    ($($text:tt)*) => { $crate::terminal::print(&format!("{}\n", format_args!($($text)*))) };
}

pub(crate) use say;
