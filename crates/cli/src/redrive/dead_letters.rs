//! Iterates over the dead letters.

use std::error::Error;
use std::time::Duration;

use super::queues::of_dead_letters;
use crate::aws::queue::{Queue, ReceivedMessage};

/// How long a dead letter is hidden from other consumers.
const HIDDEN_FOR: Duration = Duration::from_secs(300);

/// Passes each dead letter to `is_done`, page by page to bound memory. If that returns true, the letter is deleted. The others
/// become visible again at the end, even after an error.
///
/// # Errors
/// If SQS or `is_done` fails.
pub(super) async fn each(
    dead_letters: &Queue,
    mut is_done: impl AsyncFnMut(&ReceivedMessage) -> Result<bool, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut kept = Vec::new();
    let mut page = async || -> Result<bool, Box<dyn Error>> {
        let letters = dead_letters.receive(HIDDEN_FOR).await.map_err(|error| of_dead_letters(&error))?;
        let is_last = letters.is_empty();
        for letter in letters {
            kept.push(letter.receipt.clone());
            if is_done(&letter).await? {
                dead_letters.delete(&letter.receipt).await.map_err(|error| of_dead_letters(&error))?;
                kept.pop();
            }
        }
        Ok(!is_last)
    };
    let result = loop {
        match page().await {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    dead_letters.show(kept).await.map_err(|error| of_dead_letters(&error))?;
    result
}
