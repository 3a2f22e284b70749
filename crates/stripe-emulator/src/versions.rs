//! API versions: `2024-06-20`, and with a name from `2024-09-30.acacia` on.

/// The first version whose name is part of it. Source: docs.stripe.com/changelog, "Acacia".
const FIRST_NAMED: &str = "2024-09-30";

/// The first version in which payments do not name their invoice. Source: docs.stripe.com/changelog/basil.
pub(crate) const BASIL: &str = "2025-03-31";

/// A plausible API version. The emulator does not check whether Stripe released one on that day.
#[derive(Clone, Debug)]
pub(crate) struct ApiVersion {
    text: String,
}

impl ApiVersion {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (date, name) = text.split_once('.').map_or((text, None), |(date, name)| (date, Some(name)));
        let is_hyphen = |index: usize| [4, 7].contains(&index);
        let is_date = date.len() == 10
            && date.bytes().enumerate().all(|(index, byte)| match is_hyphen(index) {
                true => byte == b'-',
                false => byte.is_ascii_digit(),
            });
        let has_its_name = match name {
            None => date < FIRST_NAMED,
            Some(name) => date >= FIRST_NAMED && !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase()),
        };
        (is_date && has_its_name).then(|| Self { text: text.to_owned() })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is the version of this date or a later one.
    pub(crate) fn is_from(&self, date: &str) -> bool {
        // Dates sort like text, and a name after the date does not change that.
        self.text.as_str() >= date
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_since_acacia_have_a_name() {
        for valid in ["2011-01-01", "2024-06-20", "2024-09-30.acacia", "2025-03-31.basil", "2026-10-28.endive"] {
            assert!(ApiVersion::parse(valid).is_some(), "{valid}");
        }
        for invalid in [
            "",
            "latest",
            "2024-6-20",
            "2024-06-20.acacia",
            "2025-03-31",
            "2025-03-31.",
            "2025-03-31.Basil",
            "2025/03/31",
        ] {
            assert!(ApiVersion::parse(invalid).is_none(), "{invalid}");
        }
    }

    #[test]
    fn versions_are_ordered_by_date() {
        for (version, is_from) in [("2024-06-20", false), ("2025-02-24.acacia", false), ("2025-03-31.basil", true)] {
            assert_eq!(ApiVersion::parse(version).unwrap().is_from("2025-03-31"), is_from, "{version}");
        }
    }
}
