//! What is wrong with a configuration, said so that it can be mended: where, what, and how.

use std::fmt;

pub(super) use crate::domain::nearest;

/// Faults kept of one file; the rest is only counted.
pub(super) const MAX_FAULTS: usize = 200;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Path of the key, as `route[0].split.green`; empty where no key is to blame.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

impl Fault {
    pub(super) fn new(line: usize, column: usize, key: String, refusal: Refusal) -> Self {
        Self { line, column, key, message: refusal.message, hint: refusal.hint }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        self.hint.iter().try_for_each(|hint| write!(f, "\n  hint: {hint}"))
    }
}

/// Why a value is not taken, before its place is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Refusal {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// `text` in quotes, escaped, and cut where it is long: a file may hold anything.
pub(super) fn quote(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_like_a_compilers() {
        let refusal = Refusal::new("the weights sum to 95, not to 100").hint("add 5 to green");
        let fault = Fault::new(12, 9, "route[0].split".to_owned(), refusal);
        assert_eq!(
            fault.to_string(),
            "12:9: route[0].split: the weights sum to 95, not to 100\n  hint: add 5 to green"
        );
    }

    #[test]
    fn quoted_text_is_escaped_and_cut() {
        assert_eq!(quote("a\n\u{1b}"), "\"a\\n\\u{1b}\"");
        assert!(quote(&"é".repeat(500)).chars().count() < 100);
    }
}
