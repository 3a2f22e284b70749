//! The result of a check.

use std::fmt;

use crate::property_names::PropertyNames;
use crate::terminal::wrap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grade {
    Ok,
    /// It works, but is probably a mistake.
    Warning,
    /// Events are lost or rejected, or soon will be.
    Problem,
    /// It could not be checked.
    Skipped,
}

/// A line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) grade: Grade,
    /// The result, and the remedy.
    pub(super) words: String,
}

impl Finding {
    pub(super) fn ok(words: impl Into<String>) -> Self {
        Self { grade: Grade::Ok, words: words.into() }
    }

    pub(super) fn warning(words: impl Into<String>) -> Self {
        Self { grade: Grade::Warning, words: words.into() }
    }

    pub(super) fn problem(words: impl Into<String>) -> Self {
        Self { grade: Grade::Problem, words: words.into() }
    }

    pub(super) fn skipped(words: impl Into<String>) -> Self {
        Self { grade: Grade::Skipped, words: words.into() }
    }
}

/// How many property names the recent events use in Amplitude; `None` without events.
pub(super) fn property_names(names: &PropertyNames) -> Option<Finding> {
    if names.number() == 0 {
        return None;
    }
    let words = format!("the recent events have {}", names.in_words());
    let Some(remedy) = names.remedy() else { return Some(Finding::ok(words)) };
    let families: Vec<_> = names.families().iter().map(|(family, number)| format!("{family}: {number}")).collect();
    let families = if families.is_empty() { String::new() } else { format!(" ({})", families.join(", ")) };
    Some(Finding::warning(format!("{words}{families}. {remedy}")))
}

impl fmt::Display for Finding {
    /// Ends with a line break.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grade = match self.grade {
            Grade::Ok => "ok",
            Grade::Warning => "warning",
            Grade::Problem => "problem",
            Grade::Skipped => "skipped",
        };
        f.write_str(&wrap(&format!("{grade:<9}"), 9, &self.words))
    }
}
