//! Where a chunked body ends, by the strict grammar of RFC 9112 §7.1.
//!
//! A request's is decoded by the HTTP library; this watches it go by, so that it is refused where another parser might find
//! another end, and so that what follows is known to be the next request. An answer's is decoded by what is found here.

use super::error::ProxyError;
use crate::domain::ErrorReason;

/// Longest chunk-size line, extensions included; nobody uses extensions, attackers do.
const MAX_SIZE_LINE: u32 = 256;
/// Largest trailer section.
const MAX_TRAILERS: u32 = 16 * 1024;

/// Watches one chunked body.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChunkScanner {
    state: State,
    /// White space may follow a size.
    takes_padding: bool,
    /// Bytes of the present size line, or of the trailer section.
    used: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first digit of a size.
    SizeBegin,
    /// In the digits; the size so far.
    Size(u64),
    /// In white space behind a size.
    Padding(u64),
    /// In an extension.
    Extension(u64),
    /// After the CR of a size line.
    SizeLf(u64),
    /// In the data; bytes to come, at least one.
    Data(u64),
    /// After the data.
    DataCr,
    DataLf,
    /// At the begin of a trailer line.
    TrailerBegin,
    /// In a trailer's name.
    TrailerName,
    /// In a trailer's value.
    TrailerValue,
    /// After the CR of a trailer line.
    TrailerLf,
    /// After the CR of the last, empty line.
    EndLf,
    End,
}

impl ChunkScanner {
    /// For a request.
    pub(super) const fn new() -> Self {
        Self { state: State::SizeBegin, takes_padding: false, used: 0 }
    }

    /// For an answer, whose framing nobody reads but us: some old servers pad the sizes of their chunks with spaces.
    pub(super) const fn of_answer() -> Self {
        Self { takes_padding: true, ..Self::new() }
    }

    /// Whether the body has ended.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::End
    }

    /// Watches `input`; returns how many of its bytes belong to the body.
    ///
    /// # Errors
    /// `MalformedRequest` with what is wrong.
    pub(super) fn scan(&mut self, input: &[u8]) -> Result<usize, ProxyError> {
        let mut at = 0;
        while at < input.len() && self.state != State::End {
            if let Some(here) = self.take_data(input.len() - at) {
                at += here;
            } else {
                self.state = self.step(input[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    /// Goes to the next data in `input`: how many bytes come before it, and how many of it are there. What comes before is of
    /// no further use but for the trailer section, which is added to `trailers`, its empty line included.
    ///
    /// # Errors
    /// As [`Self::scan`].
    pub(super) fn stretch(
        &mut self,
        input: &[u8],
        trailers: &mut Vec<u8>,
    ) -> Result<(usize, usize), ProxyError> {
        let mut at = 0;
        while at < input.len() && self.state != State::End {
            if let Some(here) = self.take_data(input.len() - at) {
                return Ok((at, here));
            }
            if self.is_in_trailers() {
                trailers.push(input[at]);
            }
            self.state = self.step(input[at])?;
            at += 1;
        }
        Ok((at, 0))
    }

    /// How many of the next `available` bytes are data; `None` outside of data.
    fn take_data(&mut self, available: usize) -> Option<usize> {
        let State::Data(left) = self.state else { return None };
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(available);
        // `here` came from a u64 that was at least as large.
        let left = left - here as u64;
        self.state = if left == 0 { State::DataCr } else { State::Data(left) };
        Some(here)
    }

    const fn is_in_trailers(&self) -> bool {
        matches!(
            self.state,
            State::TrailerBegin
                | State::TrailerName
                | State::TrailerValue
                | State::TrailerLf
                | State::EndLf
        )
    }

    fn step(&mut self, byte: u8) -> Result<State, ProxyError> {
        self.used += 1;
        Ok(match (self.state, byte) {
            (State::SizeBegin | State::Size(_), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.digit(byte)?
            }
            (State::Size(size) | State::Padding(size), b'\r') => State::SizeLf(size),
            (State::Size(size) | State::Padding(size), b';') => State::Extension(size),
            (State::Size(size) | State::Padding(size), b'\t' | b' ')
                if self.takes_padding && self.used <= MAX_SIZE_LINE =>
            {
                State::Padding(size)
            }
            (State::Extension(size), b'\r') => State::SizeLf(size),
            (State::Extension(size), b'\t' | b' '..=b'~') if self.used <= MAX_SIZE_LINE => {
                State::Extension(size)
            }
            (State::SizeLf(size), b'\n') => {
                self.used = 0;
                if size == 0 { State::TrailerBegin } else { State::Data(size) }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.used = 0;
                State::SizeBegin
            }
            (State::TrailerBegin, b'\r') => State::EndLf,
            (State::TrailerBegin | State::TrailerName, b'!'..=b'9' | b';'..=b'~') => {
                self.within_trailers(State::TrailerName)?
            }
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => {
                self.within_trailers(State::TrailerValue)?
            }
            (State::TrailerLf, b'\n') => State::TrailerBegin,
            (State::EndLf, b'\n') => State::End,
            (
                State::SizeBegin
                | State::Size(_)
                | State::Padding(_)
                | State::Extension(_)
                | State::SizeLf(_)
                | State::Data(_)
                | State::DataCr
                | State::DataLf
                | State::TrailerBegin
                | State::TrailerName
                | State::TrailerValue
                | State::TrailerLf
                | State::EndLf
                | State::End,
                _,
            ) => return Err(malformed("the chunked body breaks its grammar")),
        })
    }

    fn digit(&self, byte: u8) -> Result<State, ProxyError> {
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => byte - b'A' + 10,
        };
        let so_far = if let State::Size(size) = self.state { size } else { 0 };
        // 2^60 bytes are enough for anyone, and leave room in the library's arithmetic; 16 digits bound leading zeros.
        if so_far >> 56 != 0 || self.used > 16 {
            return Err(malformed("a chunk's size is too large"));
        }
        Ok(State::Size(so_far << 4 | u64::from(value)))
    }

    fn within_trailers(&self, next: State) -> Result<State, ProxyError> {
        if self.used > MAX_TRAILERS {
            return Err(malformed("the trailers are too large"));
        }
        Ok(next)
    }
}

fn malformed(why: &'static str) -> ProxyError {
    ProxyError::new(ErrorReason::MalformedRequest, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &[u8]) -> Option<(usize, bool)> {
        let mut scanner = ChunkScanner::new();
        scanner.scan(text).ok().map(|taken| (taken, scanner.is_done()))
    }

    #[test]
    fn bodies_end_where_the_grammar_says() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "00a;name=value\r\n0123456789\r\n0\r\n\r\n",
            "1\r\n\n\r\n0\r\nx-sum: 1 2\r\ny:\r\n\r\n",
        ] {
            assert_eq!(scan(body.as_bytes()), Some((body.len(), true)), "{body:?}");
            assert_eq!(scan(format!("{body}GET").as_bytes()), Some((body.len(), true)), "{body:?}");
        }
    }

    #[test]
    fn what_another_parser_may_read_otherwise_is_refused() {
        for body in [
            "\r\n",
            " 5\r\nhello\r\n",
            "5 \r\nhello\r\n",
            "5\nhello\r\n",
            "5\r\nhello0\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "0x5\r\nhello\r\n",
            "-1\r\n",
            "+5\r\nhello\r\n",
            "g\r\n",
            "5;a\nb\r\nhello\r\n",
            "5\rX",
            "11112222333344445\r\n",
            "ffffffffffffffff\r\n",
            "0\r\nname\r\n\r\n",
            "0\r\n folded: x\r\n\r\n",
            "0\r\na: b\n\r\n",
            "0\r\na : b\r\n\r\n",
        ] {
            assert_eq!(scan(body.as_bytes()), None, "{body:?}");
        }
        let long = format!("1;{}\r\n", "a".repeat(300));
        assert_eq!(scan(long.as_bytes()), None);
        let trailers = format!("0\r\na: {}\r\n\r\n", "b".repeat(20_000));
        assert_eq!(scan(trailers.as_bytes()), None);
    }

    /// The data and the trailers of a body that comes in parts of `step` bytes.
    fn decode(body: &[u8], step: usize) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut decoder = Decoder { scanner: ChunkScanner::of_answer(), ..Decoder::default() };
        body.chunks(step).try_for_each(|part| decoder.take(part)).ok()?;
        decoder.scanner.is_done().then_some((decoder.data, decoder.trailers))
    }

    /// What an answer's reader makes of a body.
    struct Decoder {
        scanner: ChunkScanner,
        data: Vec<u8>,
        trailers: Vec<u8>,
        /// Bytes that belong to the body.
        taken: usize,
    }

    impl Default for Decoder {
        fn default() -> Self {
            let (data, trailers) = <(Vec<_>, Vec<_>)>::default();
            Self { scanner: ChunkScanner::new(), data, trailers, taken: 0 }
        }
    }

    impl Decoder {
        fn take(&mut self, mut part: &[u8]) -> Result<(), ProxyError> {
            while !part.is_empty() && !self.scanner.is_done() {
                let (before, here) = self.scanner.stretch(part, &mut self.trailers)?;
                self.data.extend_from_slice(&part[before..before + here]);
                self.taken += before + here;
                part = &part[before + here..];
            }
            Ok(())
        }
    }

    #[test]
    fn data_and_trailers_are_found_however_they_arrive() {
        let body = b"5;a=b\r\nhello\r\n1\r\n\n\r\n0\r\nx-sum: 1\r\ny:\r\n\r\n";
        for step in 1..=body.len() {
            let (data, trailers) = decode(body, step).unwrap();
            assert_eq!(data, b"hello\n", "{step}");
            assert_eq!(trailers, b"x-sum: 1\r\ny:\r\n\r\n", "{step}");
        }
        assert_eq!(decode(b"0\r\n\r\n", 1), Some((Vec::new(), b"\r\n".to_vec())));
        assert_eq!(decode(b"5\r\nhel", 8), None);
    }

    #[test]
    fn an_answers_sizes_may_be_padded_and_a_requests_may_not() {
        for body in ["5 \r\nhello\r\n0\r\n\r\n", "5\t  ;a\r\nhello\r\n0  \r\n\r\n"] {
            assert_eq!(decode(body.as_bytes(), 1).unwrap().0, b"hello", "{body:?}");
            assert_eq!(scan(body.as_bytes()), None, "{body:?}");
        }
        let long = format!("5{}\r\nhello\r\n0\r\n\r\n", " ".repeat(300));
        for body in [" 5\r\nhello\r\n0\r\n\r\n", "5 5\r\nhello\r\n0\r\n\r\n", &long] {
            assert_eq!(decode(body.as_bytes(), 1), None, "{body:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn how_the_bytes_arrive_changes_nothing(
            text in "([0-3];?\r?\n?[ab]{0,3}\r?\n){0,4}(0\r\n\r\n)?", cut in 0usize..60,
        ) {
            let whole = scan(text.as_bytes());
            let cut = cut.min(text.len());
            let mut scanner = ChunkScanner::new();
            let parts = scanner.scan(&text.as_bytes()[..cut]).and_then(|first| {
                if first < cut { return Ok(first); }
                scanner.scan(&text.as_bytes()[cut..]).map(|second| first + second)
            });
            proptest::prop_assert_eq!(whole, parts.ok().map(|taken| (taken, scanner.is_done())));
        }

        /// Whoever decodes sees the same end as whoever watches, and the same data in any pieces.
        #[test]
        fn decoding_agrees_with_watching(
            text in "(([1-4]|00?3)(;x)?\r\n[ab\r\n]{1,4}\r\n){0,4}(0\r\n(x: ?y\r\n){0,2}\r\n)?[0\r\n]{0,3}",
            sizes in proptest::collection::vec(1usize..9, 1..20),
        ) {
            let whole = scan(text.as_bytes());
            let (mut at_once, mut by_parts) = (Decoder::default(), Decoder::default());
            let first = at_once.take(text.as_bytes());
            proptest::prop_assert_eq!(whole, first.ok().map(|()| (at_once.taken, at_once.scanner.is_done())));
            let (mut rest, mut parted) = (text.as_bytes(), Ok(()));
            for size in sizes.iter().cycle() {
                let (part, others) = rest.split_at(rest.len().min(*size));
                parted = by_parts.take(part);
                rest = others;
                if parted.is_err() || rest.is_empty() {
                    break;
                }
            }
            proptest::prop_assert_eq!(first, parted);
            proptest::prop_assert_eq!(at_once.data, by_parts.data);
            proptest::prop_assert_eq!(at_once.trailers, by_parts.trailers);
        }
    }
}
