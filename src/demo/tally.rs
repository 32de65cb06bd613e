//! What the visitors got: latencies and moves by side, failures, and where each session was last.

use std::time::Duration;

use super::side::{Side, Sides};
use crate::decision::stats::Latencies;

/// Counts since the load began.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    /// Time to the end of the answer, by who gave it.
    pub(super) latencies: Sides<Latencies>,
    /// Sessions that changed sides, by where they went.
    pub(super) moves: Sides<u64>,
    /// Requests that did not end in an answer of a sample server.
    pub(super) failures: u64,
    /// What went wrong first.
    pub(super) first_failure: Option<String>,
    sessions: Vec<Session>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Session {
    requests: u64,
    side: Option<Side>,
}

impl Tally {
    /// Nothing yet, of that many sessions.
    pub(super) fn new(sessions: usize) -> Self {
        Self {
            latencies: Sides::default(),
            moves: Sides::default(),
            failures: 0,
            first_failure: None,
            sessions: vec![Session::default(); sessions],
        }
    }

    /// Counts an answer.
    pub(super) fn answered(&mut self, session: usize, side: Side, latency: Duration) {
        self.latencies[side].record(latency);
        let Some(known) = self.sessions.get_mut(session) else { return };
        known.requests += 1;
        if known.side.replace(side) == Some(side.other()) {
            self.moves[side] += 1;
        }
    }

    /// Counts a failure.
    pub(super) fn failed(&mut self, session: usize, why: String) {
        self.failures += 1;
        self.first_failure.get_or_insert(why);
        if let Some(known) = self.sessions.get_mut(session) {
            known.requests += 1;
        }
    }

    /// Requests so far, failed ones included.
    pub(super) fn requests(&self) -> u64 {
        self.sessions.iter().map(|session| session.requests).sum()
    }

    /// Sessions whose last answer came from `side`.
    pub(super) fn sessions_at(&self, side: Side) -> usize {
        self.sessions.iter().filter(|session| session.side == Some(side)).count()
    }

    /// Sessions that have made `more` requests or above since `earlier`.
    pub(super) fn sessions_ahead(&self, earlier: &Self, more: u64) -> usize {
        let pairs = self.sessions.iter().zip(&earlier.sessions);
        pairs.filter(|(now, then)| now.requests >= then.requests + more).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    #[test]
    fn a_session_that_changes_sides_has_moved() {
        let mut tally = Tally::new(2);
        for side in [Side::Blue, Side::Blue, Side::Green, Side::Green] {
            tally.answered(0, side, SOON);
        }
        tally.answered(1, Side::Green, SOON);
        assert_eq!(tally.moves, Sides::of(|side| u64::from(side == Side::Green)));
        assert_eq!(Side::ALL.map(|side| tally.sessions_at(side)), [0, 2]);
        assert_eq!(tally.requests(), 5);
    }

    #[test]
    fn progress_is_that_of_the_slowest() {
        let begin = Tally::new(2);
        let mut tally = begin.clone();
        tally.answered(0, Side::Blue, SOON);
        tally.answered(0, Side::Blue, SOON);
        tally.failed(1, "first".to_owned());
        tally.failed(1, "second".to_owned());
        assert_eq!(tally.sessions_ahead(&begin, 2), 2);
        assert_eq!(tally.sessions_ahead(&begin, 3), 0);
        assert_eq!((tally.failures, tally.first_failure.as_deref()), (2, Some("first")));
    }
}
