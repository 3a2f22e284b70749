//! One run per cursor at a time: two would send the same events, and overwrite each other's progress.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// A lock on a cursor. It is a separate file, because each save replaces the cursor's file. It ends with the process.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// # Errors
    /// A sentence, if another run holds it or it cannot be created.
    pub(crate) fn take(cursor: &Path) -> Result<Self, String> {
        let path = cursor.with_added_extension("lock");
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        loop {
            // Nothing is written to it, so a link in its place does no harm.
            let file = OpenOptions::new().append(true).create(true).open(&path).map_err(|error| named(&error))?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path).map_err(|error| named(&error))? => return Ok(Self { path, file }),
                // An earlier run has just removed it.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(format!(
                        "another backfill is running with the cursor {}: wait until it ends, or choose another file with --cursor",
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
        // Remove before unlocking: a process that has opened the file then notices that it was removed.
        let _ = std::fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

/// Whether the open file is still the one at this path.
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
    fn lock_is_exclusive_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let cursor = folder.path().join("cursor.json");
        let lock = Lock::take(&cursor).unwrap();
        let error = Lock::take(&cursor).unwrap_err();
        assert!(error.starts_with("another backfill is running with the cursor") && error.contains("--cursor"));
        assert!(Lock::take(&folder.path().join("other.json")).is_ok());
        drop(lock);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        // A killed process leaves the file, but not the lock.
        std::fs::write(cursor.with_added_extension("lock"), "").unwrap();
        assert!(Lock::take(&cursor).is_ok());
    }
}
