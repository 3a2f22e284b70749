//! Files with customer data, which only their owner may read, even if they existed before.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Opens a file for appending; created if missing.
///
/// # Errors
/// If it cannot be opened, or belongs to another user and others may read it.
pub fn append(path: &Path) -> io::Result<File> {
    let file = for_its_owner(OpenOptions::new().append(true).create(true)).open(path)?;
    restrict(&file)?;
    Ok(file)
}

/// Opens a file to replace its content; created if missing.
///
/// # Errors
/// Like [`append`].
pub fn replace(path: &Path) -> io::Result<File> {
    // Others must be shut out before anything is written.
    let file = for_its_owner(OpenOptions::new().write(true).create(true).truncate(false)).open(path)?;
    restrict(&file)?;
    file.set_len(0)?;
    Ok(file)
}

/// Creates a temporary file. Removes a leftover of a process that died, or a link, without following it.
///
/// # Errors
/// If it cannot be created.
pub fn make(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    for_its_owner(OpenOptions::new().write(true).create_new(true)).open(path)
}

/// Shuts others out of an existing file, unless it is a device or a pipe.
///
/// # Errors
/// If it belongs to another user and others may read it.
pub fn restrict(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;

        let metadata = file.metadata()?;
        let mut permissions = metadata.permissions();
        if metadata.is_file() && permissions.mode() & 0o077 != 0 {
            permissions.set_mode(permissions.mode() & 0o700);
            file.set_permissions(permissions).map_err(|error| {
                let text =
                    format!("others may read it, and its permissions cannot be changed ({error}); name another file");
                io::Error::new(error.kind(), text)
            })?;
        }
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

/// Private from the moment of its creation.
fn for_its_owner(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn new_and_existing_files_are_private() {
        let folder = tempfile::tempdir().unwrap();
        for (name, open) in [("append", append as fn(&Path) -> _), ("replace", replace)] {
            let [new, old] = ["new", "old"].map(|age| folder.path().join(format!("{name}.{age}")));
            std::fs::write(&old, "before\n").unwrap();
            std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o644)).unwrap();
            for path in [&new, &old] {
                open(path).unwrap().write_all(b"after\n").unwrap();
                assert_eq!(mode(path), 0o600, "{}", path.display());
            }
            let text = if name == "append" { "before\nafter\n" } else { "after\n" };
            assert_eq!(std::fs::read_to_string(&old).unwrap(), text);
        }
        // A device keeps its permissions.
        let before = mode(Path::new("/dev/null"));
        append(Path::new("/dev/null")).unwrap();
        assert_eq!(mode(Path::new("/dev/null")), before);
    }

    #[test]
    fn temporary_file_does_not_follow_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["step", "other"].map(|name| folder.path().join(name));
        std::fs::write(&other, "somebody's").unwrap();
        symlink(&other, &path).unwrap();
        make(&path).unwrap().write_all(b"ours").unwrap();
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "somebody's");
        assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
        // A leftover is replaced.
        make(&path).unwrap().write_all(b"new").unwrap();
        assert_eq!((std::fs::read_to_string(&path).unwrap(), mode(&path)), ("new".to_owned(), 0o600));
    }
}
