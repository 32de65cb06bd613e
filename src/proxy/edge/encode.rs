//! Answers made smaller as they come.
//!
//! What the endpoint sends is fed to the encoder; when the endpoint pauses, what the encoder holds back goes out, so that a
//! stream of events is never stuck. Windows are small, so that an answer costs what [`cost`] says, whatever its length.

use std::{
    io::{self, Write},
    mem,
    task::Poll,
};

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::HeaderMap;
use hyper::body::Frame;

use super::suit;
use crate::{config::model::Algorithm, proxy::room::Room};

/// Bytes that are encoded in one go.
const STEP: usize = 16 * 1024;
/// Most that is taken in without a word to the client: what shrinks to nearly nothing must neither look like silence nor
/// keep a worker from its other connections.
const MOST_SILENT: usize = 256 * 1024;
/// Logarithm of the windows of zstd and brotli: 128 KiB.
const WINDOW: u32 = 17;
/// The same for a stream of events: 16 KiB hold many of them, and there are many streams, which run for hours.
const EVENT_WINDOW: u32 = 14;

/// Bytes that the encoders of one worker may hold together. Beyond it answers go out as they are, so that clients who only
/// listen, or take their answers slowly, cost no more than that. It is enough for 97 documents (brotli) to 744 (gzip) at once,
/// each of which takes a worker some milliseconds, and for 431 (brotli) to 1170 (zstd) streams of events.
pub(in crate::proxy) const MOST_BYTES: usize = 256 * 1024 * 1024;

/// How a body comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Flow {
    /// In one go, most likely.
    Document,
    /// Bit by bit, for as long as somebody listens.
    Events,
}

/// Bytes that an encoder holds once it has seen more than its window, by what was measured of a hundred at once.
pub(in crate::proxy) const fn cost(algorithm: Algorithm, flow: Flow) -> usize {
    let kib = match (algorithm, flow) {
        (Algorithm::Zstd, Flow::Document) => 1_440,
        (Algorithm::Zstd, Flow::Events) => 224,
        (Algorithm::Brotli, Flow::Document) => 2_688,
        (Algorithm::Brotli, Flow::Events) => 608,
        (Algorithm::Gzip, Flow::Document | Flow::Events) => 352,
    };
    kib * 1024
}

/// An encoder on its way through one body.
pub(in crate::proxy) struct Encoder {
    coding: Coding,
    /// Fed, but not encoded yet.
    input: Bytes,
    /// The encoder may hold something back.
    holds: bool,
    /// Bytes encoded since something was given.
    silent: usize,
    /// There is no more input to come.
    last: Option<Option<HeaderMap>>,
    /// What it takes of the worker's memory.
    _room: Room,
}

enum Coding {
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Gzip(GzEncoder<Vec<u8>>),
    /// All of it is out.
    Ended,
}

/// As a body gives its frames.
type NextFrame<E> = Poll<Option<Result<Frame<Bytes>, E>>>;

/// What an encoder has to give.
enum Given {
    Data(Bytes),
    Trailers(HeaderMap),
    /// It wants input.
    Nothing,
    /// The body is complete.
    End,
}

impl Encoder {
    /// An encoder that holds `room` for as long as it is there.
    ///
    /// # Errors
    /// Out of memory.
    pub(in crate::proxy) fn new(algorithm: Algorithm, flow: Flow, room: Room) -> io::Result<Self> {
        // Levels that cost little more than the copying: a proxy has many answers and one processor for each worker.
        let coding = match algorithm {
            Algorithm::Zstd => {
                let (level, window) = match flow {
                    Flow::Document => (3, WINDOW),
                    Flow::Events => (1, EVENT_WINDOW),
                };
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
                encoder.window_log(window)?;
                Coding::Zstd(encoder)
            }
            Algorithm::Brotli => {
                let (level, window) = match flow {
                    Flow::Document => (4, WINDOW),
                    Flow::Events => (2, EVENT_WINDOW),
                };
                let writer = brotli::CompressorWriter::new(Vec::new(), 4096, level, window);
                Coding::Brotli(Box::new(writer))
            }
            Algorithm::Gzip => {
                Coding::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(5)))
            }
        };
        Ok(Self { coding, input: Bytes::new(), holds: false, silent: 0, last: None, _room: room })
    }

    fn feed(&mut self, input: Bytes) {
        self.input = input;
    }

    /// No more input comes; trailers may follow, without those that speak of the bytes as they were.
    fn finish(&mut self, mut trailers: Option<HeaderMap>) {
        trailers.iter_mut().for_each(suit::remove_digests);
        self.last = Some(trailers);
    }

    /// Whether everything has been given.
    pub(in crate::proxy) fn has_ended(&self) -> bool {
        matches!((&self.coding, &self.last), (Coding::Ended, Some(None)))
    }

    /// The next frame of what it makes of the frames that `next` gives.
    ///
    /// # Errors
    /// The encoder's own; those of `next` are given as they are.
    pub(in crate::proxy) fn poll<E>(
        &mut self,
        mut next: impl FnMut() -> NextFrame<E>,
    ) -> io::Result<NextFrame<E>> {
        loop {
            match self.give()? {
                Given::Data(data) => return Ok(Poll::Ready(Some(Ok(Frame::data(data))))),
                Given::Trailers(trailers) => {
                    return Ok(Poll::Ready(Some(Ok(Frame::trailers(trailers)))));
                }
                Given::End => return Ok(Poll::Ready(None)),
                Given::Nothing => {}
            }
            match next() {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.feed(data),
                    Err(frame) => self.finish(frame.into_trailers().ok()),
                },
                Poll::Ready(None) => self.finish(None),
                failed @ Poll::Ready(Some(Err(_))) => return Ok(failed),
                Poll::Pending => {
                    let held = self.flush()?;
                    return Ok(
                        held.map_or(Poll::Pending, |held| Poll::Ready(Some(Ok(Frame::data(held)))))
                    );
                }
            }
        }
    }

    /// Encodes until there is something to give.
    fn give(&mut self) -> io::Result<Given> {
        while !self.input.is_empty() {
            let step = self.input.split_to(self.input.len().min(STEP));
            self.holds = true;
            self.silent += step.len();
            self.coding.writer()?.write_all(&step)?;
            if self.silent >= MOST_SILENT {
                self.coding.writer()?.flush()?;
            }
            if let Some(data) = self.coding.output() {
                self.silent = 0;
                return Ok(Given::Data(data));
            }
        }
        let Some(trailers) = &mut self.last else { return Ok(Given::Nothing) };
        match mem::replace(&mut self.coding, Coding::Ended).finish()? {
            Some(data) => Ok(Given::Data(data)),
            None => Ok(trailers.take().map_or(Given::End, Given::Trailers)),
        }
    }

    /// Gives what is held back, since the endpoint pauses.
    fn flush(&mut self) -> io::Result<Option<Bytes>> {
        if !mem::take(&mut self.holds) {
            return Ok(None);
        }
        self.coding.writer()?.flush()?;
        Ok(self.coding.output())
    }
}

impl Coding {
    fn writer(&mut self) -> io::Result<&mut dyn Write> {
        match self {
            Self::Zstd(encoder) => Ok(encoder),
            Self::Brotli(encoder) => Ok(encoder),
            Self::Gzip(encoder) => Ok(encoder),
            Self::Ended => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// What has been encoded so far.
    fn output(&mut self) -> Option<Bytes> {
        let out = match self {
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Ended => return None,
        };
        (!out.is_empty()).then(|| mem::take(out).into())
    }

    /// The last of it.
    fn finish(self) -> io::Result<Option<Bytes>> {
        let out = match self {
            Self::Zstd(encoder) => encoder.finish()?,
            Self::Brotli(encoder) => encoder.into_inner(),
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Ended => Vec::new(),
        };
        Ok((!out.is_empty()).then(|| out.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;
    use crate::proxy::room::Store;

    const ALL: [Algorithm; 3] = [Algorithm::Zstd, Algorithm::Brotli, Algorithm::Gzip];

    fn encoder(algorithm: Algorithm) -> Encoder {
        of(algorithm, Flow::Document)
    }

    fn of(algorithm: Algorithm, flow: Flow) -> Encoder {
        Encoder::new(algorithm, flow, Store::new(0).room()).unwrap()
    }

    fn decoded(algorithm: Algorithm, encoded: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let read = match algorithm {
            Algorithm::Zstd => {
                zstd::stream::read::Decoder::new(encoded).unwrap().read_to_end(&mut out)
            }
            Algorithm::Brotli => brotli::Decompressor::new(encoded, 4096).read_to_end(&mut out),
            Algorithm::Gzip => flate2::read::GzDecoder::new(encoded).read_to_end(&mut out),
        };
        // Of a body that goes on, what is there is read.
        drop(read);
        out
    }

    /// All that the encoder has to give now; whether that was the end.
    fn drain(encoder: &mut Encoder, out: &mut Vec<u8>) -> bool {
        loop {
            match encoder.give().unwrap() {
                Given::Data(data) => out.extend_from_slice(&data),
                Given::Trailers(_) => {}
                Given::Nothing => return false,
                Given::End => return true,
            }
        }
    }

    #[test]
    fn what_was_fed_before_a_pause_can_be_read_then() {
        let each = |algorithm| [(algorithm, Flow::Events), (algorithm, Flow::Document)];
        for (algorithm, flow) in ALL.into_iter().flat_map(each) {
            let mut encoder = of(algorithm, flow);
            let mut out = Vec::new();
            for part in ["data: one\n\n", "data: two\n\n"] {
                let before = decoded(algorithm, &out).len();
                encoder.feed(Bytes::from(part));
                drain(&mut encoder, &mut out);
                out.extend(encoder.flush().unwrap().unwrap());
                assert_eq!(&decoded(algorithm, &out)[before..], part.as_bytes(), "{algorithm:?}");
                assert!(encoder.flush().unwrap().is_none(), "nothing came since");
            }
        }
    }

    #[test]
    fn what_shrinks_to_nothing_is_no_silence() {
        for algorithm in ALL {
            let mut encoder = encoder(algorithm);
            let (mut taken, mut longest) = (0, 0);
            for _ in 0..64 {
                encoder.feed(Bytes::from(vec![0; 64 * 1024]));
                taken += 64 * 1024;
                while let Given::Data(_) = encoder.give().unwrap() {
                    longest = longest.max(taken);
                    taken = 0;
                }
            }
            assert!(taken <= MOST_SILENT && longest <= MOST_SILENT, "{algorithm:?} {longest}");
        }
    }

    #[test]
    fn streams_of_events_have_small_windows() {
        let begin = |algorithm, flow| {
            let (mut encoder, mut out) = (of(algorithm, flow), Vec::new());
            encoder.feed(Bytes::from("data: 1\n\n"));
            drain(&mut encoder, &mut out);
            out.extend(encoder.flush().unwrap().unwrap());
            out
        };
        // RFC 8878 §3.1.1.1.2: the logarithm less ten, above three bits of a fraction.
        let zstd = |flow| u32::from(begin(Algorithm::Zstd, flow)[5]);
        assert_eq!(zstd(Flow::Document), (WINDOW - 10) << 3);
        assert_eq!(zstd(Flow::Events), (EVENT_WINDOW - 10) << 3);
        // RFC 7932 §9.1: 17 and 14, in seven bits.
        let brotli = |flow| begin(Algorithm::Brotli, flow)[0] & 0x7f;
        assert_eq!(brotli(Flow::Document), 0b000_0001);
        assert_eq!(brotli(Flow::Events), 0b110_0001);
    }

    #[test]
    fn trailers_come_last() {
        let mut encoder = encoder(Algorithm::Gzip);
        encoder.feed(Bytes::from("x"));
        encoder.finish(Some(HeaderMap::new()));
        assert!(!encoder.has_ended());
        assert!(matches!(encoder.give().unwrap(), Given::Data(_)));
        while let Given::Data(_) = encoder.give().unwrap() {}
        assert!(matches!(encoder.give().unwrap(), Given::End));
        assert!(encoder.has_ended());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn what_goes_in_comes_out(
            parts in prop::collection::vec(prop::collection::vec(0u8..4, 0..40_000), 0..5),
            pauses: bool,
        ) {
            for algorithm in ALL {
                // Small windows, of which there are many in one body.
                let flow = if pauses { Flow::Events } else { Flow::Document };
                let (mut encoder, mut out) = (of(algorithm, flow), Vec::new());
                for part in &parts {
                    encoder.feed(Bytes::from(part.clone()));
                    drain(&mut encoder, &mut out);
                    if pauses {
                        out.extend(encoder.flush().unwrap().unwrap_or_default());
                    }
                }
                encoder.finish(None);
                prop_assert!(drain(&mut encoder, &mut out));
                prop_assert_eq!(decoded(algorithm, &out), parts.concat());
            }
        }
    }
}
