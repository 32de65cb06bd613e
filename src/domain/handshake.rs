//! How a client's TLS handshake ended.

/// The end of a handshake with a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Handshake {
    /// A new session.
    Full,
    /// A session that went on, by its ticket.
    Resumed,
    /// The client broke off, spoke something else, or showed no certificate that is taken.
    Failed,
    /// It was not complete in time.
    Late,
}

impl Handshake {
    /// Every end, in the order of its index.
    pub const ALL: [Self; 4] = [Self::Full, Self::Resumed, Self::Failed, Self::Late];

    /// Place in [`Handshake::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Failed => "failed",
            Self::Late => "late",
        }
    }
}
