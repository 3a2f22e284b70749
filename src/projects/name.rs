//! The name of a project.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The name of a project in the path: `[A-Za-z0-9_-]{1,64}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProjectName(String);

impl ProjectName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProjectName {
    type Err = InvalidProjectName;

    fn from_str(name: &str) -> Result<Self, InvalidProjectName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let valid = (1..=64).contains(&name.len()) && name.bytes().all(allowed);
        valid.then(|| Self(name.to_owned())).ok_or(InvalidProjectName)
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not the name of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("invalid project name; expected 1 to 64 of the characters A-Z, a-z, 0-9, _ and -")]
pub struct InvalidProjectName;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_projects_are_short_and_plain() {
        for name in ["a", "Shop_1-eu", &"x".repeat(64)] {
            assert!(name.parse::<ProjectName>().is_ok(), "{name}");
        }
        for name in ["", "a b", "a/b", "a%2Fb", "..", "é", "a\0", &"x".repeat(65)] {
            assert!(name.parse::<ProjectName>().is_err(), "{name}");
        }
    }
}
