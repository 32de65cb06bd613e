//! Mirrors: how much of two answers is compared, what becomes of a copy, and of the comparison.

/// How much of two answers is held against each other; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MirrorDepth {
    /// Nothing: the mirror's answer is dropped.
    Off,
    /// The status code.
    Status,
    /// The headers.
    Headers,
    /// The body.
    Body,
}

/// What became of a request that was to be mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MirrorOutcome {
    /// The mirror answered, to the last byte.
    Answered,
    /// The mirror could not be reached, or its answer broke off.
    Failed,
    /// The mirror was not done in time.
    Late,
    /// The request's body was larger than is mirrored.
    TooLarge,
    /// The mirror took the body more slowly than the client sent it.
    Slow,
    /// Too many mirrored requests were under way.
    NoRoom,
    /// The client's request broke off.
    Cut,
}

impl MirrorOutcome {
    /// Every outcome, in the order of its index.
    pub const ALL: [Self; 7] = [
        Self::Answered,
        Self::Failed,
        Self::Late,
        Self::TooLarge,
        Self::Slow,
        Self::NoRoom,
        Self::Cut,
    ];

    /// Place in [`MirrorOutcome::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Late => "late",
            Self::TooLarge => "too_large",
            Self::Slow => "slow",
            Self::NoRoom => "no_room",
            Self::Cut => "cut",
        }
    }
}

/// What came of comparing a mirror's answer with the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MirrorResult {
    /// No difference but noise.
    Same,
    /// A difference beyond noise, or no answer from the mirror.
    Different,
    /// Not held against each other yet: which differences are noise is still being learnt.
    Learning,
    /// Not compared: a body was larger than is kept for it.
    TooLarge,
    /// Not compared: the client's own answer did not come whole, or not in time, or came from elsewhere.
    Unanswered,
}

impl MirrorResult {
    /// Every result, in the order of its index.
    pub const ALL: [Self; 5] =
        [Self::Same, Self::Different, Self::Learning, Self::TooLarge, Self::Unanswered];

    /// Place in [`MirrorResult::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Different => "different",
            Self::Learning => "learning",
            Self::TooLarge => "too_large",
            Self::Unanswered => "unanswered",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_the_place_in_all() {
        assert!(MirrorOutcome::ALL.iter().enumerate().all(|(at, one)| one.index() == at));
        assert!(MirrorResult::ALL.iter().enumerate().all(|(at, one)| one.index() == at));
    }
}
