//! Versions of HTTP, as the file names them.

/// A version of HTTP, as `protocols` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// `"http/1.1"`
    Http1,
    /// `"h2"`
    Http2,
}

impl Protocol {
    /// The file's word, which is also the name that TLS knows it by (RFC 7301).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
        }
    }
}

/// What a backend's endpoints speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackendProtocol {
    /// `"http/1.1"`
    Http1,
    /// `"h2"`
    Http2,
    /// `"auto"`: as the TLS handshake says.
    Auto,
}

impl BackendProtocol {
    /// The file's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
            Self::Auto => "auto",
        }
    }

    /// The versions of HTTP that it stands for, the best first.
    pub const fn versions(self) -> &'static [Protocol] {
        match self {
            Self::Http1 => &[Protocol::Http1],
            Self::Http2 => &[Protocol::Http2],
            Self::Auto => &[Protocol::Http2, Protocol::Http1],
        }
    }
}
