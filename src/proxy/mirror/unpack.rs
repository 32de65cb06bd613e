//! Answers that came compressed, as they were before.

use std::io::{self, Read};

use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use crate::config::model::Algorithm;

/// Logarithm of the largest window that an answer may ask for: 8 MiB, as RFC 9659 has it.
const WINDOW: u32 = 23;

/// How a body is coded; `None` for one that is not.
///
/// # Errors
/// With nothing, for codings that are unknown here, and for several.
pub(super) fn coding(headers: &HeaderMap) -> Result<Option<Algorithm>, ()> {
    let mut lines = headers.get_all(CONTENT_ENCODING).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return if headers.contains_key(CONTENT_ENCODING) { Err(()) } else { Ok(None) };
    };
    let is = |token: &str| line.as_bytes().eq_ignore_ascii_case(token.as_bytes());
    let known = [Algorithm::Zstd, Algorithm::Brotli, Algorithm::Gzip];
    known.into_iter().find(|algorithm| is(algorithm.token())).map(Some).ok_or(())
}

/// What `packed` holds; `None` for more than `most` bytes, and for what is not whole.
pub(super) fn unpack(algorithm: Algorithm, packed: &[u8], most: usize) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let read = |reader: &mut dyn Read, plain: &mut Vec<u8>| -> io::Result<usize> {
        reader.take(most as u64 + 1).read_to_end(plain)
    };
    match algorithm {
        Algorithm::Gzip => read(&mut flate2::read::MultiGzDecoder::new(packed), &mut plain),
        Algorithm::Brotli => read(&mut brotli::Decompressor::new(packed, 4096), &mut plain),
        Algorithm::Zstd => {
            zstd::stream::read::Decoder::with_buffer(packed).and_then(|mut decoder| {
                decoder.window_log_max(WINDOW)?;
                read(&mut decoder, &mut plain)
            })
        }
    }
    .ok()?;
    (plain.len() <= most).then_some(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const ALL: [Algorithm; 3] = [Algorithm::Zstd, Algorithm::Brotli, Algorithm::Gzip];

    fn packed(algorithm: Algorithm, plain: &[u8]) -> Vec<u8> {
        match algorithm {
            Algorithm::Zstd => zstd::stream::encode_all(plain, 3).unwrap(),
            Algorithm::Brotli => {
                let mut writer = brotli::CompressorWriter::new(Vec::new(), 4096, 4, 17);
                writer.write_all(plain).unwrap();
                writer.into_inner()
            }
            Algorithm::Gzip => {
                let mut writer =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(5));
                writer.write_all(plain).unwrap();
                writer.finish().unwrap()
            }
        }
    }

    #[test]
    fn what_was_packed_is_there_again_up_to_a_bound() {
        let plain = vec![b' '; 1_000];
        for algorithm in ALL {
            let packed = packed(algorithm, &plain);
            assert_eq!(
                unpack(algorithm, &packed, 1_000).as_deref(),
                Some(&plain[..]),
                "{algorithm:?}"
            );
            assert_eq!(unpack(algorithm, &packed, 999), None, "{algorithm:?}");
            assert_eq!(
                unpack(algorithm, &packed[..packed.len() - 1], 1_000),
                None,
                "{algorithm:?}"
            );
            assert_eq!(unpack(algorithm, b"no such thing", 1_000), None, "{algorithm:?}");
        }
    }

    #[test]
    fn codings_are_known_by_their_names() {
        let told = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CONTENT_ENCODING, http::HeaderValue::from_static(line));
            }
            coding(&headers)
        };
        assert_eq!(told(&[]), Ok(None));
        assert_eq!(told(&["GZIP"]), Ok(Some(Algorithm::Gzip)));
        assert_eq!(told(&["br"]), Ok(Some(Algorithm::Brotli)));
        for other in [&["gzip, br"][..], &["gzip", "gzip"], &["deflate"], &[""]] {
            assert_eq!(told(other), Err(()), "{other:?}");
        }
    }
}
