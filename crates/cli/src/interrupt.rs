//! Ctrl-C: the first one requests a clean stop, the second one kills the process.

use std::io;

use tokio::sync::watch;

use crate::confirmation::confirmed;
use crate::exit::{INTERRUPTED, NoChange};

/// Whether a stop was requested. Clones share the state.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Starts listening.
    pub(crate) fn listen() -> Self {
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                let _ = sender.send(true);
            }
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(INTERRUPTED.into());
            }
            // There are no signals any more, but dropping the sender would look like one.
            std::future::pending::<()>().await;
        });
        Self(receiver)
    }

    /// Waits until a stop is requested.
    pub(crate) async fn asked(&self) {
        let _ = self.0.clone().wait_for(|asked| *asked).await;
    }

    /// The result of the work; `None` if a stop is requested first. Only for work that may be abandoned.
    pub(crate) async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            () = self.asked() => None,
            result = work => Some(result),
        }
    }

    /// Asks at the terminal. Anything but yes means no, as does Ctrl-C. The inner `Err` is the reason for no.
    ///
    /// # Errors
    /// If the question cannot be printed, or the answer cannot be read.
    pub(crate) async fn confirmed(&self, question: String) -> io::Result<Result<(), NoChange>> {
        let asking = tokio::task::spawn_blocking(move || confirmed(&question));
        match self.or(asking).await {
            Some(answer) => answer.map_err(io::Error::other)?,
            None => Ok(Err(NoChange::Interrupted)),
        }
    }
}
