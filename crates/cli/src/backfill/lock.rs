//! One run at a time on one cursor: two would send the same events, and each would forget what the other one did.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// A lock on a cursor. It is a file beside it, because the cursor's own is another one after each step. It ends with the
/// process, however that ends.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// # Errors
    /// A sentence, where another run has it, or it cannot be made.
    pub(crate) fn take(cursor: &Path) -> Result<Self, String> {
        let path = cursor.with_added_extension("lock");
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        loop {
            // Nothing is written into it, so that a link in its place does no harm.
            let file = OpenOptions::new().append(true).create(true).open(&path).map_err(|error| named(&error))?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path).map_err(|error| named(&error))? => return Ok(Self { path, file }),
                // The run before has just removed it.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(format!(
                        "another backfill is under way with the cursor {}: wait for its end, or choose another file with --cursor",
                        cursor.display()
                    ));
                }
                Err(TryLockError::Error(error)) => return Err(named(&error)),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is ours: whoever opens the file by then sees that it is gone.
        let _ = std::fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

/// Whether the file is the one that others find under its name.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let found = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found?,
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;

        let ours = file.metadata()?;
        Ok((ours.dev(), ours.ino()) == (found.dev(), found.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = (file, found);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_one_runs_at_a_time_and_the_lock_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let cursor = folder.path().join("cursor.json");
        let lock = Lock::take(&cursor).unwrap();
        let error = Lock::take(&cursor).unwrap_err();
        assert!(error.starts_with("another backfill is under way with the cursor") && error.contains("--cursor"));
        assert!(Lock::take(&folder.path().join("other.json")).is_ok());
        drop(lock);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        // A process that was killed leaves the file, and no lock.
        std::fs::write(cursor.with_added_extension("lock"), "").unwrap();
        assert!(Lock::take(&cursor).is_ok());
    }
}
