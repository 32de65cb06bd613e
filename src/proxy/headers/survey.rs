//! Which headers are there, found in one pass.

use http::{HeaderMap, HeaderName};

/// Which of the headers that Tidegate treats are there at all; found in one pass, since most requests have few of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::proxy) struct Survey(u16);

impl Survey {
    pub(super) const CONNECTION: u16 = 1;
    pub(super) const HOP_BY_HOP: u16 = 1 << 1;
    pub(super) const TE: u16 = 1 << 2;
    pub(super) const UPGRADE: u16 = 1 << 3;
    pub(super) const EXPECT: u16 = 1 << 4;
    pub(super) const REQUEST_ID: u16 = 1 << 5;
    pub(super) const FORWARDED: u16 = 1 << 6;
    pub(in crate::proxy) const TRACE: u16 = 1 << 7;
    pub(super) const BUCKET: u16 = 1 << 8;
    pub(super) const LENGTH: u16 = 1 << 9;
    pub(in crate::proxy) const CONTENT_TYPE: u16 = 1 << 10;
    pub(super) const MIRROR: u16 = 1 << 11;
    pub(super) const HOPS: u16 = 1 << 12;

    /// Looks through `headers`.
    pub(in crate::proxy) fn of(headers: &HeaderMap) -> Self {
        Self(headers.keys().map(Self::bits).fold(0, |seen, bits| seen | bits))
    }

    pub(super) fn bits(name: &HeaderName) -> u16 {
        let name = name.as_str();
        // The length alone tells most names apart.
        match name.len() {
            2 if name == "te" => Self::TE | Self::HOP_BY_HOP,
            6 if name == "expect" => Self::EXPECT,
            7 if name == "upgrade" => Self::UPGRADE | Self::HOP_BY_HOP,
            9 if name == "forwarded" => Self::FORWARDED,
            10 if name == "connection" => Self::CONNECTION | Self::HOP_BY_HOP,
            10 if name == "keep-alive" => Self::HOP_BY_HOP,
            10 if name == "tracestate" => Self::TRACE,
            11 if name == "traceparent" => Self::TRACE,
            12 if name == "max-forwards" => Self::HOPS,
            12 if name == "content-type" => Self::CONTENT_TYPE,
            12 if name == "x-request-id" => Self::REQUEST_ID,
            14 if name == "content-length" => Self::LENGTH,
            14 if name == "http2-settings" => Self::HOP_BY_HOP,
            15 if name == "x-forwarded-for" => Self::FORWARDED,
            16 if name == "x-forwarded-host" => Self::FORWARDED,
            16 if name == "proxy-connection" => Self::HOP_BY_HOP,
            17 if name == "x-forwarded-proto" => Self::FORWARDED,
            17 if name == "transfer-encoding" => Self::HOP_BY_HOP,
            17 if name == "x-tidegate-bucket" => Self::BUCKET,
            17 if name == "x-tidegate-mirror" => Self::MIRROR,
            _ => 0,
        }
    }

    /// Whether it says that it is a copy already.
    pub(in crate::proxy) const fn is_mirrored(self) -> bool {
        self.has(Self::MIRROR)
    }

    pub(in crate::proxy) const fn has(self, bits: u16) -> bool {
        self.0 & bits != 0
    }
}
