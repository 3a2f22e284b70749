//! Ctrl-C: the first one asks to stop at the next good moment, the second one stops.

use std::io;

use tokio::sync::watch;

use crate::exit::{INTERRUPTED, Untouched};
use crate::terminal::confirmed;

/// Whether it was asked to stop. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Listens from now on.
    pub(crate) fn listen() -> Self {
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                let _ = sender.send(true);
            }
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(INTERRUPTED.into());
            }
            // Nobody can ask any more, and nobody has asked.
            std::future::pending::<()>().await;
        });
        Self(receiver)
    }

    /// Waits until it is asked.
    pub(crate) async fn asked(&self) {
        let _ = self.0.clone().wait_for(|asked| *asked).await;
    }

    /// What comes of the work; `None` where it is asked to stop before. Only for what may be left half-way.
    pub(crate) async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            () = self.asked() => None,
            result = work => Some(result),
        }
    }

    /// Asks whoever sits at the terminal; anything but yes is no, and so is Ctrl-C. `Err` is why nothing is done.
    ///
    /// # Errors
    /// Where the question cannot be asked, or the answer cannot be read.
    pub(crate) async fn confirmed(&self, question: String) -> io::Result<Result<(), Untouched>> {
        let asking = tokio::task::spawn_blocking(move || confirmed(&question));
        match self.or(asking).await {
            Some(answer) => answer.map_err(io::Error::other)?,
            None => Ok(Err(Untouched::Interrupted)),
        }
    }
}
