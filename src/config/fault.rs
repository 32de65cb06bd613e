//! What is wrong with a configuration, said so that it can be mended: where, what, and how.

use std::fmt;

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

/// The nearest of `known` to a misspelt `word`, when one is near enough to be meant.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    let near = 1 + word.len() / 4;
    let distances = known.map(|key| (distance(word, key), key));
    distances.filter(|(distance, _)| *distance <= near).min().map(|(_, key)| key)
}

/// Insertions, deletions, replacements and swaps of neighbours from `a` to `b` (optimal string
/// alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows = [vec![0; b.len() + 1], (0..=b.len()).collect(), vec![0; b.len() + 1]];
    for i in 1..=a.len() {
        let [before, above, row] = &mut rows;
        row[0] = i;
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        rows.rotate_left(1);
    }
    rows[1][b.len()]
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
    fn a_misspelt_word_finds_what_was_meant() {
        let known = ["bind", "max_connections", "header_timeout", "idle_timeout"];
        for (word, meant) in [
            ("bnid", Some("bind")),
            ("max_conections", Some("max_connections")),
            ("headers_timeout", Some("header_timeout")),
            ("entirely_else", None),
        ] {
            assert_eq!(nearest(word, known.into_iter()), meant, "{word}");
        }
    }

    #[test]
    fn quoted_text_is_escaped_and_cut() {
        assert_eq!(quote("a\n\u{1b}"), "\"a\\n\\u{1b}\"");
        assert!(quote(&"é".repeat(500)).chars().count() < 100);
    }
}
