//! Files that hold customers' data: for their owner alone, also where they were there before.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Opens a file to write at its end; it is made where it is not there.
///
/// # Errors
/// Where it cannot be opened, or is another user's and open to others.
pub fn append(path: &Path) -> io::Result<File> {
    let file = for_its_owner(OpenOptions::new().append(true).create(true)).open(path)?;
    restrict(&file)?;
    Ok(file)
}

/// Opens a file to write what it holds from now on; it is made where it is not there.
///
/// # Errors
/// As for [`append`].
pub fn replace(path: &Path) -> io::Result<File> {
    // Nobody shall read what is written before the others are shut out.
    let file = for_its_owner(OpenOptions::new().write(true).create(true).truncate(false)).open(path)?;
    restrict(&file)?;
    file.set_len(0)?;
    Ok(file)
}

/// Makes a file for the time of a step. One of a process that died is removed, and so is a link, which is not followed.
///
/// # Errors
/// Where it cannot be made.
pub fn make(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    for_its_owner(OpenOptions::new().write(true).create_new(true)).open(path)
}

/// Shuts others out of a file that is there. A device or a pipe is nobody's.
///
/// # Errors
/// Where it is another user's and open to others.
pub fn restrict(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;

        let metadata = file.metadata()?;
        let mut permissions = metadata.permissions();
        if metadata.is_file() && permissions.mode() & 0o077 != 0 {
            permissions.set_mode(permissions.mode() & 0o700);
            file.set_permissions(permissions).map_err(|error| {
                let text = format!("others may read it, and that cannot be changed ({error}); name another file");
                io::Error::new(error.kind(), text)
            })?;
        }
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

/// From the moment in which it is made.
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
    fn a_file_is_its_owners_alone_whether_it_was_there_or_not() {
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
        // A device stays as it is.
        let before = mode(Path::new("/dev/null"));
        append(Path::new("/dev/null")).unwrap();
        assert_eq!(mode(Path::new("/dev/null")), before);
    }

    #[test]
    fn a_file_for_a_step_is_made_anew_and_not_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["step", "other"].map(|name| folder.path().join(name));
        std::fs::write(&other, "somebody's").unwrap();
        symlink(&other, &path).unwrap();
        make(&path).unwrap().write_all(b"ours").unwrap();
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "somebody's");
        assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
        // And once more, where it was left behind.
        make(&path).unwrap().write_all(b"new").unwrap();
        assert_eq!((std::fs::read_to_string(&path).unwrap(), mode(&path)), ("new".to_owned(), 0o600));
    }
}
