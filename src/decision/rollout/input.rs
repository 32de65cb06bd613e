//! What a rollout is told.

use std::{fmt, time::Duration};

use super::Errand;
use crate::domain::Verdict;

/// One thing that a rollout is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Time has passed.
    Tick {
        /// Since the last tick, by a monotonic clock.
        elapsed: Duration,
        /// What the evidence says now.
        verdict: Verdict,
    },
    /// An operator wants something.
    Command(Command),
    /// An errand has ended.
    Done {
        /// Which, as the effect named it.
        errand: Errand,
        /// Whether everything required of it went well.
        passed: bool,
        /// For people: which hook or check, and how it ended.
        detail: String,
    },
    /// What a ticket stood for is durable.
    Persisted(Ticket),
    /// What a ticket stood for could not be written.
    PersistFailed {
        /// Which.
        ticket: Ticket,
        /// For people.
        why: String,
    },
    /// The process has started anew with this state.
    Restarted,
}

/// Names a state that is to be made durable; unique within a process and rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What an operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What.
    pub verb: Verb,
    /// Who.
    pub actor: String,
    /// Why, as they put it; may be empty.
    pub reason: String,
}

/// What can be wanted of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Begin.
    Start,
    /// Let nothing move by itself but a rollback.
    Pause,
    /// Go on where it was paused.
    Resume,
    /// Skip the rest of the hold, or pass the gate.
    Advance,
    /// All traffic to the canary, for good.
    Promote,
    /// All traffic to the baseline, at once.
    Rollback,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 6] =
        [Self::Start, Self::Pause, Self::Resume, Self::Advance, Self::Promote, Self::Rollback];

    /// The word for it in the API and on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Advance => "advance",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
        }
    }

    /// What `word` stands for.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.word() == word)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A command that does not fit the phase; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What was wanted.
    pub verb: Verb,
    /// The phase that it does not fit.
    pub phase: &'static str,
    /// What would fit.
    pub fits: &'static [Verb],
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not fit the phase {}", self.verb, self.phase)?;
        let words: Vec<_> = self.fits.iter().map(|verb| verb.word()).collect();
        match words.as_slice() {
            [] => f.write_str("; nothing does"),
            words => write!(f, "; what fits: {}", words.join(", ")),
        }
    }
}

impl std::error::Error for Refused {}
