//! Input from files or standard input.

use std::io::Read as _;
use std::path::Path;

/// The bytes of a file, or of standard input if the path is `-`.
///
/// # Errors
/// A sentence that names the file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = if is_standard_input(path) {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    bytes.map_err(|error| format!("{}: {error}", name(path)))
}

/// The name of a file in messages.
pub(crate) fn name(path: &Path) -> String {
    if is_standard_input(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// Whether the path means standard input, which can be read only once.
pub(crate) fn is_standard_input(path: &Path) -> bool {
    path == Path::new("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_the_file() {
        let error = read(Path::new("there-is-no-such-file.json")).unwrap_err();
        assert!(error.starts_with("there-is-no-such-file.json: "), "{error}");
    }
}
