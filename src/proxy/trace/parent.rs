//! The header `traceparent` of W3C Trace Context, level 2.

use http::{HeaderMap, HeaderName};

use crate::proxy::hex;

pub(in crate::proxy) static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(in crate::proxy) static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Where a request stands in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) struct TraceParent {
    /// The trace; not zero.
    pub(in crate::proxy) trace: u128,
    /// The span that the request is a part of; not zero.
    pub(in crate::proxy) span: u64,
    flags: u8,
}

impl TraceParent {
    /// Length of its text.
    pub(in crate::proxy) const TEXT: usize = 55;
    const SAMPLED: u8 = 1;
    /// The trace's id is random enough to draw by.
    const RANDOM: u8 = 2;

    /// A trace that begins here; nobody records it.
    pub(in crate::proxy) fn begun(random: impl Fn() -> u64) -> Self {
        let trace = u128::from(not_zero(&random)) << 64 | u128::from(random());
        Self { trace, span: not_zero(&random), flags: 0 }
    }

    /// What `headers` say; `None` where they say nothing, or nothing that is valid.
    pub(in crate::proxy) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut given = headers.get_all(&TRACEPARENT).iter();
        match (given.next(), given.next()) {
            (Some(parent), None) => Self::parse(parent.as_bytes()),
            _ => None,
        }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let (head, rest) = text.split_at_checked(Self::TEXT)?;
        // A later version may be longer; version 00 is exactly this.
        let ends_well = match &head[..2] {
            b"ff" => false,
            b"00" => rest.is_empty(),
            _ => matches!(rest, [] | [b'-', ..]),
        };
        if !ends_well || [head[2], head[35], head[52]] != *b"---" {
            return None;
        }
        hex::number(&head[..2])?;
        let [trace, span, flags] = [&head[3..35], &head[36..52], &head[53..]].map(hex::number);
        let (trace, span, flags) = (trace?, span?, flags?);
        // Sixteen digits and two: both casts are exact.
        (trace != 0 && span != 0).then_some(Self { trace, span: span as u64, flags: flags as u8 })
    }

    pub(in crate::proxy) const fn is_sampled(self) -> bool {
        self.flags & Self::SAMPLED != 0
    }

    /// The same trace as it goes on behind `span`. Flags that nobody knows yet are not passed on (§3.3.2).
    pub(in crate::proxy) const fn next(self, span: u64, is_sampled: bool) -> Self {
        let sampled = if is_sampled { Self::SAMPLED } else { 0 };
        Self { trace: self.trace, span, flags: self.flags & Self::RANDOM | sampled }
    }

    /// The header's value.
    pub(in crate::proxy) fn text(self) -> [u8; Self::TEXT] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        text[3..19].copy_from_slice(&hex::digits((self.trace >> 64) as u64));
        text[19..35].copy_from_slice(&hex::digits(self.trace as u64));
        text[36..52].copy_from_slice(&hex::digits(self.span));
        text[53..].copy_from_slice(&hex::digits(self.flags.into())[14..]);
        text
    }
}

/// Random bits that are not all zero.
pub(in crate::proxy) fn not_zero(random: impl Fn() -> u64) -> u64 {
    random().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parse(text: &str) -> Option<TraceParent> {
        TraceParent::parse(text.as_bytes())
    }

    #[test]
    fn only_valid_trace_parents_go_on() {
        assert!(parse(GOOD).is_some());
        assert!(parse(&GOOD.replacen("00", "cc", 1)).is_some());
        assert!(parse(&(GOOD.replacen("00", "cc", 1) + "-more")).is_some());
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "0g-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_parent_is_read_and_written_as_it_stands() {
        let parent = parse(GOOD).unwrap();
        assert_eq!(parent.trace, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!((parent.span, parent.is_sampled()), (0xb7ad_6b71_6920_3331, true));
        assert_eq!(parent.text(), GOOD.as_bytes());
    }

    #[test]
    fn of_the_flags_those_that_are_known_go_on() {
        let given = parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff").unwrap();
        assert!(given.next(1, true).text().ends_with(b"-0000000000000001-03"));
        assert!(given.next(2, false).text().ends_with(b"-0000000000000002-02"));
    }

    #[test]
    fn what_begins_here_is_valid_whatever_is_drawn() {
        for drawn in [0, 1, u64::MAX] {
            let text = TraceParent::begun(|| drawn).text();
            assert!(TraceParent::parse(&text).is_some_and(|parent| !parent.is_sampled()));
        }
    }
}
