//! Sources of past events: Stripe's list, or a file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use super::cursor::{Position, digest};
use super::documents::{Document, Documents};
use super::rejected::event_in;
use crate::history::{HistoryOutcome, Translator};
use crate::input;
use crate::stripe::api::Api;
use crate::stripe::events::{Filter, Listed, OldestFirst};

/// The size of a chunk in events and bytes, so that long lines do not fill the memory.
const CHUNK: usize = 100;
const CHUNK_BYTES: usize = 1_000_000;

/// Stripe has no older events: its first charges were in 2010.
const BEGINNING: i64 = 1_262_304_000;

/// Maximum chunks in memory, in addition to a request.
const WAITING: usize = 4;

#[derive(Clone)]
pub(crate) enum Source {
    /// Oldest first.
    Stripe(Arc<Api>, Filter),
    /// In the file's order, within a time range.
    File(PathBuf, Range<i64>),
}

/// An event and its outcome.
pub(crate) struct Item {
    pub(crate) position: Position,
    /// As Stripe sent it.
    pub(crate) body: Bytes,
    pub(crate) outcome: HistoryOutcome,
}

/// Consecutive events.
pub(crate) struct Chunk {
    pub(crate) items: Vec<Item>,
    /// How far the source was read: seconds of the time range, or bytes of the file.
    pub(crate) reached: u64,
}

/// Chunks in order, translated concurrently.
pub(crate) struct Chunks(Receiver<Result<Translating, String>>);

type Translating = JoinHandle<Result<Chunk, String>>;

impl Chunks {
    /// The next one; `None` after the last.
    ///
    /// # Errors
    /// A sentence, if the source cannot be read further.
    pub(crate) async fn next(&mut self) -> Option<Result<Chunk, String>> {
        let chunk = self.0.recv().await?;
        Some(match chunk {
            Ok(translating) => translating.await.unwrap_or_else(|_| Err("an event could not be translated".to_owned())),
            Err(why) => Err(why),
        })
    }
}

type Sending = Sender<Result<Translating, String>>;

impl Source {
    /// The length in the unit of [`Chunk::reached`].
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Stripe(_, Filter { created, .. }) => created.end.abs_diff(created.start),
            Self::File(path, _) => std::fs::metadata(path).map_or(0, |file| file.len()),
        }
    }

    /// A position in the same unit.
    pub(crate) fn reached(&self, position: &Position) -> u64 {
        match (self, position) {
            (Self::Stripe(_, Filter { created, .. }), Position::Place(place)) => place.created.abs_diff(created.start),
            (_, Position::Line { next, .. }) => *next,
            (Self::File(..), Position::Place(_)) => 0,
        }
    }

    /// Reads after a position, while the caller processes what was read.
    pub(crate) fn read(&self, after: Option<Position>, translator: &Arc<Translator>) -> Chunks {
        let (sender, chunks) = channel(WAITING);
        let translator = translator.clone();
        match self.clone() {
            Self::Stripe(api, filter) => {
                tokio::spawn(async move {
                    if let Err(error) = list(&api, filter, after, &translator, &sender).await {
                        let _ = sender.send(Err(error)).await;
                    }
                });
            }
            Self::File(path, created) => {
                tokio::task::spawn_blocking(move || {
                    if let Err(error) = documents(&path, &created, after, &translator, &sender) {
                        let _ = sender.blocking_send(Err(error));
                    }
                });
            }
        }
        Chunks(chunks)
    }
}

/// Returns early if the receiver was dropped.
async fn list(
    api: &Api,
    filter: Filter,
    after: Option<Position>,
    translator: &Arc<Translator>,
    sender: &Sending,
) -> Result<(), String> {
    let after = after.and_then(|position| match position {
        Position::Place(place) => Some(place),
        Position::Line { .. } => None,
    });
    let start = filter.created.start;
    let mut spans = OldestFirst::new(api, filter, after);
    while let Some((events, end)) = spans.next().await.map_err(|error| error.to_string())? {
        let mut events = events.into_iter().peekable();
        loop {
            let some: Vec<_> = events.by_ref().take(CHUNK).collect();
            let is_last = events.peek().is_none();
            // The span is complete only after its last event.
            let last = some.last().map(|event| event.place.created).filter(|_| !is_last);
            let reached = last.unwrap_or(end).abs_diff(start);
            let translator = translator.clone();
            let translating = translating(async move {
                let mut items = Vec::with_capacity(some.len());
                for Listed { place, body } in some {
                    let outcome = translator.translate(&body).await?;
                    items.push(Item { position: Position::Place(place), body, outcome });
                }
                Ok(Chunk { items, reached })
            });
            if sender.send(Ok(translating)).await.is_err() {
                return Ok(());
            }
            if is_last {
                break;
            }
        }
    }
    Ok(())
}

/// Returns early if the receiver was dropped.
fn documents(
    path: &Path,
    created: &Range<i64>,
    after: Option<Position>,
    translator: &Arc<Translator>,
    sender: &Sending,
) -> Result<(), String> {
    let name = input::name(path);
    let named = |error: io::Error| format!("{name}: {error}");
    let mut reader = open(path).map_err(named)?;
    let mut documents = if let Some(Position::Line { line, start, digest, .. }) = after {
        skip_to(&mut reader, start).map_err(named)?;
        let mut documents = Documents::new(reader, line, start).map_err(named)?;
        // Reading continues after a settled event; a changed file has another one at this position.
        let last = documents.next().map_err(named)?.map(|last| digest_of(&event_in(&last.text)));
        if last.is_none() || last != digest {
            return Err(format!(
                "{name} has changed since this backfill stopped: restore it, or delete the cursor's file to start over"
            ));
        }
        documents
    } else {
        Documents::new(reader, 1, 0).map_err(named)?
    };
    let mut reached = 0;
    loop {
        let mut some = Vec::with_capacity(CHUNK);
        let (mut bytes, mut is_over) = (0, false);
        while some.len() < CHUNK && bytes < CHUNK_BYTES && !is_over {
            match documents.next().map_err(named)? {
                Some(document) => {
                    (reached, bytes) = (document.next, bytes + document.text.len());
                    some.push(document);
                }
                None => is_over = true,
            }
        }
        let (translator, created) = (translator.clone(), created.clone());
        let translating = translating(async move {
            let mut items = Vec::with_capacity(some.len());
            for Document { line, start, next, text } in some {
                let body = Bytes::from(event_in(&text).into_owned());
                if !body.is_empty() {
                    let outcome = translator.translate_within(&body, &created).await?;
                    items.push(Item { position: Position::Line { line, start, next, digest: None }, body, outcome });
                }
            }
            Ok(Chunk { items, reached })
        });
        if sender.blocking_send(Ok(translating)).is_err() || is_over {
            return Ok(());
        }
    }
}

/// Translates on another core. Most events need no read, so a task per event would cost more than it gains.
fn translating(chunk: impl Future<Output = Result<Chunk, String>> + Send + 'static) -> Translating {
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(chunk))
}

/// Identifies an event.
pub(crate) fn digest_of(event: &[u8]) -> String {
    digest([event])
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    if input::is_standard_input(path) {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    Ok(Box::new(BufReader::with_capacity(1 << 18, File::open(path)?)))
}

/// Skips by reading, which is fast enough, and also works with standard input.
fn skip_to(reader: &mut impl BufRead, start: u64) -> io::Result<()> {
    io::copy(&mut reader.by_ref().take(start), &mut io::sink()).map(drop)
}

/// When the oldest event of a file was created, in Unix seconds.
///
/// # Errors
/// A sentence that names the file.
pub(crate) fn oldest(path: &Path) -> Result<Option<i64>, String> {
    #[derive(Deserialize)]
    struct Envelope<'e> {
        #[serde(borrow)]
        object: Cow<'e, str>,
        created: i64,
    }

    let named = |error: io::Error| format!("{}: {error}", path.display());
    let mut documents = Documents::new(open(path).map_err(named)?, 1, 0).map_err(named)?;
    let mut oldest: Option<i64> = None;
    while let Some(Document { text, .. }) = documents.next().map_err(named)? {
        // Invalid documents are reported when they are imported.
        if let Ok(Envelope { object, created }) = serde_json::from_slice(&event_in(&text))
            && object == "event"
            && created >= BEGINNING
        {
            oldest = Some(oldest.map_or(created, |oldest| oldest.min(created)));
        }
    }
    Ok(oldest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_event_of_a_file_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.ndjson");
        let event = |created: i64| format!(r#"{{"object": "event", "created": {created}}}"#);
        let (one, two, other) = (event(1_700_000_009), event(1_700_000_007), event(1_700_000_008));
        let rejected = format!(r#"{{"reason":"400","event":{two}}}"#);
        let text = format!("{one}\n\noops\n{rejected}\n{{\"created\":0}}\n{}\n{other}", event(5));
        std::fs::write(&path, text.replace(", ", ",\n  ")).unwrap();
        assert_eq!(oldest(&path), Ok(Some(1_700_000_007)));
        std::fs::write(&path, text).unwrap();
        assert_eq!(oldest(&path), Ok(Some(1_700_000_007)));
    }
}
