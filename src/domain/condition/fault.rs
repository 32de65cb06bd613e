//! What is wrong with a condition, shown at its place.

use std::{fmt, ops::Range};

/// Why a text is no condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionFault {
    text: Box<str>,
    /// In bytes of the text.
    place: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

impl ConditionFault {
    pub(super) fn new(text: &str, place: Range<usize>, message: impl Into<String>) -> Self {
        Self { text: text.into(), place, message: message.into(), hint: None }
    }

    #[must_use]
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The text and below it carets under the place.
    pub fn picture(&self) -> String {
        let escaped = |text: &str| -> String {
            text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
        };
        let width = |range: Range<usize>| self.text.get(range).unwrap_or("").chars().count();
        let carets = "^".repeat(width(self.place.clone()).max(1));
        format!("{}\n{}{carets}", escaped(&self.text), " ".repeat(width(0..self.place.start)))
    }
}

impl fmt::Display for ConditionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.picture().lines().try_for_each(|line| write!(f, "\n  | {line}"))?;
        self.hint.iter().try_for_each(|hint| write!(f, "\n  hint: {hint}"))
    }
}

impl std::error::Error for ConditionFault {}
