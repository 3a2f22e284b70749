//! The label of a source of events.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The Stripe account or endpoint that an event comes from, in a project with several: `[A-Za-z0-9_.-]+`. It is the
/// last part of the names of that account's parameters, and a property of its events.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceLabel(String);

impl SourceLabel {
    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SourceLabel {
    type Err = InvalidSourceLabel;

    fn from_str(label: &str) -> Result<Self, InvalidSourceLabel> {
        // The characters that Parameter Store allows in a part of a name.
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        let valid = !label.is_empty() && label.bytes().all(allowed);
        valid.then(|| Self(label.to_owned())).ok_or(InvalidSourceLabel)
    }
}

impl fmt::Display for SourceLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("invalid label; expected the characters A-Z, a-z, 0-9, _, . and -")]
pub struct InvalidSourceLabel;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_one_part_of_a_parameter_name() {
        for label in ["germany", "a.b_c-1"] {
            assert_eq!(label.parse::<SourceLabel>().unwrap().as_str(), label);
        }
        for label in ["", "a/b", "a b", "ü"] {
            assert_eq!(label.parse::<SourceLabel>(), Err(InvalidSourceLabel), "{label}");
        }
    }
}
