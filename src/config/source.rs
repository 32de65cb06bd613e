//! The text of a configuration with its environment variables put in, and the way back from any
//! byte of it to the line and column that the operator wrote.

use super::{
    fault::Fault,
    substitute::{self, Piece},
};

/// A range of bytes in the substituted text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl From<std::ops::Range<usize>> for Span {
    fn from(range: std::ops::Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// One file's text, before and after substitution.
#[derive(Debug)]
pub(super) struct Source<'t> {
    written: &'t str,
    substituted: String,
    /// In the order of the text; they do not overlap.
    pieces: Vec<Piece>,
    line_starts: Vec<usize>,
}

impl<'t> Source<'t> {
    /// Puts `env` into `written`; the faults are references that cannot be resolved, left in the
    /// text as they are.
    pub(super) fn new(
        written: &'t str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> (Self, Vec<Fault>) {
        let outcome = substitute::substitute(written, env);
        let newlines = written.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1)).collect();
        let source =
            Self { written, substituted: outcome.text, pieces: outcome.pieces, line_starts };
        let fault = |refused: substitute::Refused| {
            let (line, column) = source.position_written(refused.at);
            Fault::new(line, column, String::new(), refused.refusal)
        };
        let faults = outcome.refused.into_iter().map(fault).collect();
        (source, faults)
    }

    /// The text to parse.
    pub(super) fn text(&self) -> &str {
        &self.substituted
    }

    /// Line and column, from 1, where the byte `at` of [`Self::text`] comes from; columns count
    /// characters.
    pub(super) fn position(&self, at: usize) -> (usize, usize) {
        let before = self.pieces.partition_point(|piece| piece.substituted.start <= at);
        let written = match before.checked_sub(1).and_then(|last| self.pieces.get(last)) {
            Some(piece) if at < piece.substituted.end => piece.written.start,
            Some(piece) => piece.written.end + (at - piece.substituted.end),
            None => at,
        };
        self.position_written(written)
    }

    /// Whether `span` holds a reference that could not be resolved: what else is wrong there
    /// follows from that.
    pub(super) fn holds_unresolved(&self, span: Span) -> bool {
        let first = self.pieces.partition_point(|piece| piece.substituted.end <= span.start);
        let within = self.pieces[first..].iter();
        within.take_while(|piece| piece.substituted.start < span.end).any(|piece| piece.unresolved)
    }

    fn position_written(&self, at: usize) -> (usize, usize) {
        let mut at = at.min(self.written.len());
        while !self.written.is_char_boundary(at) {
            at -= 1;
        }
        let line = self.line_starts.partition_point(|start| *start <= at);
        let start = self.line_starts[line - 1];
        (line, self.written[start..at].chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        (name == "LONG").then(|| "much-longer-than-its-name".to_owned())
    }

    #[test]
    fn positions_are_those_of_the_written_text() {
        let (source, faults) = Source::new("a = \"é${LONG}\" # x\nb = 1\n", &env);
        assert!(faults.is_empty());
        let b = source.text().find("b = 1").unwrap();
        assert_eq!(source.position(b), (2, 1));
        let comment = source.text().find('#').unwrap();
        assert_eq!(source.position(comment), (1, 16));
        let inside = source.text().find("longer").unwrap();
        assert_eq!(source.position(inside), (1, 7));
        assert_eq!(source.position(usize::MAX - 100), (3, 1));
    }

    #[test]
    fn what_is_not_set_is_reported_where_it_stands() {
        let (source, faults) = Source::new("a = 1\nb = \"x${NONE}y\"\n", &env);
        assert_eq!((faults[0].line, faults[0].column), (2, 7));
        assert!(faults[0].message.contains("NONE"), "{}", faults[0].message);
        assert!(source.holds_unresolved(Span { start: 10, end: 19 }));
        assert!(!source.holds_unresolved(Span { start: 0, end: 5 }));
    }
}
