//! Iterates over the dead letters.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use stripe_amplitude::queue::QueueError;

use super::queues::of_dead_letters;
use crate::aws::queue::{Queue, ReceivedMessage};

/// How long a dead letter is hidden from other consumers.
const HIDDEN_FOR: Duration = Duration::from_secs(300);

/// This many consecutive pages of letters that were seen before mean the end. With many letters, the first ones become visible
/// again before the last ones were received, and a single such page may be chance.
const MAX_PAGES_SEEN_BEFORE: usize = 10;

/// A source of letters, which are hidden once received. [`Queue`] is the real one.
trait Letters {
    async fn page(&self) -> Result<Vec<ReceivedMessage>, QueueError>;
    async fn delete(&self, receipt: &str) -> Result<(), QueueError>;
    async fn show(&self, receipts: Vec<String>) -> Result<(), QueueError>;
}

impl Letters for Queue {
    async fn page(&self) -> Result<Vec<ReceivedMessage>, QueueError> {
        self.receive(HIDDEN_FOR).await
    }

    async fn delete(&self, receipt: &str) -> Result<(), QueueError> {
        Queue::delete(self, receipt).await
    }

    async fn show(&self, receipts: Vec<String>) -> Result<(), QueueError> {
        Queue::show(self, receipts).await
    }
}

/// Passes each dead letter to `is_done` once, page by page to bound memory. If that returns true, the letter is deleted. The
/// others become visible again at the end, even after an error.
///
/// # Errors
/// If SQS or `is_done` fails.
pub(super) async fn each(
    dead_letters: &Queue,
    is_done: impl AsyncFnMut(&ReceivedMessage) -> Result<bool, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    each_of(dead_letters, is_done).await
}

async fn each_of(
    dead_letters: &impl Letters,
    mut is_done: impl AsyncFnMut(&ReceivedMessage) -> Result<bool, Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    // The newest receipt of each, by ID.
    let mut kept = HashMap::new();
    let mut page = async || -> Result<Option<bool>, Box<dyn Error>> {
        let letters = dead_letters.page().await.map_err(|error| of_dead_letters(&error))?;
        let mut has_new = None;
        for letter in letters {
            let is_new = kept.insert(letter.id.clone(), letter.receipt.clone()).is_none();
            has_new = Some(is_new || has_new == Some(true));
            if is_new && is_done(&letter).await? {
                dead_letters.delete(&letter.receipt).await.map_err(|error| of_dead_letters(&error))?;
                kept.remove(&letter.id);
            }
        }
        Ok(has_new)
    };
    let mut seen_before = 0;
    let result = loop {
        match page().await {
            Ok(Some(true)) => seen_before = 0,
            Ok(Some(false)) if seen_before + 1 < MAX_PAGES_SEEN_BEFORE => seen_before += 1,
            Ok(_) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    dead_letters.show(kept.into_values().collect()).await.map_err(|error| of_dead_letters(&error))?;
    result
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;

    use super::*;

    /// Letters that are visible again after so many pages, and what was shown at the end.
    struct Fake {
        letters: RefCell<VecDeque<(usize, ReceivedMessage)>>,
        pages: RefCell<usize>,
        hidden_for: usize,
        shown: RefCell<Vec<String>>,
    }

    impl Fake {
        fn new(letters: usize, hidden_for: usize) -> Self {
            let letter = |number: usize| ReceivedMessage {
                id: number.to_string(),
                receipt: number.to_string(),
                code: None,
                reason: None,
                message: None,
            };
            Self {
                letters: RefCell::new((0..letters).map(|number| (0, letter(number))).collect()),
                pages: RefCell::default(),
                hidden_for,
                shown: RefCell::default(),
            }
        }
    }

    impl Letters for Fake {
        async fn page(&self) -> Result<Vec<ReceivedMessage>, QueueError> {
            let (mut letters, mut pages) = (self.letters.borrow_mut(), self.pages.borrow_mut());
            *pages += 1;
            assert!(*pages < 1_000, "there is no end");
            let mut page = Vec::new();
            while let Some((visible, letter)) = letters.front().cloned().filter(|(visible, _)| visible <= &*pages)
                && page.len() < 10
            {
                letters.rotate_left(1);
                *letters.back_mut().unwrap() = (visible.max(*pages) + self.hidden_for, letter.clone());
                page.push(letter);
            }
            Ok(page)
        }

        async fn delete(&self, receipt: &str) -> Result<(), QueueError> {
            self.letters.borrow_mut().retain(|(_, letter)| letter.receipt != receipt);
            Ok(())
        }

        async fn show(&self, receipts: Vec<String>) -> Result<(), QueueError> {
            *self.shown.borrow_mut() = receipts;
            Ok(())
        }
    }

    /// Of more letters than can be looked at while they are hidden, too.
    #[tokio::test]
    async fn each_letter_is_shown_once_and_there_is_an_end() {
        for (letters, hidden_for) in [(0, 100), (25, 100), (300, 100), (300, 7)] {
            let queue = Fake::new(letters, hidden_for);
            let mut shown = Vec::new();
            let looking = each_of(&queue, async |letter: &ReceivedMessage| {
                shown.push(letter.id.parse::<usize>().unwrap());
                Ok(letter.id.ends_with('3'))
            });
            looking.await.unwrap();
            shown.sort_unstable();
            assert_eq!(shown, (0..letters).collect::<Vec<_>>(), "{hidden_for}");
            let kept = (0..letters).filter(|number| number % 10 != 3).count();
            assert_eq!((queue.shown.borrow().len(), queue.letters.borrow().len()), (kept, kept));
        }
    }
}
