//! Which content coding a client takes (RFC 9110 §12.5.3).

use crate::config::model::Algorithm;

/// The one of `offered`, the best first, that the client likes best; `None`: the answer goes out as it is.
pub(in crate::proxy) fn choose<'v>(
    lines: impl Iterator<Item = &'v [u8]>,
    offered: &[Algorithm],
) -> Option<Algorithm> {
    let mut wishes = Wishes::default();
    for item in lines.flat_map(|line| line.split(|byte| *byte == b',')) {
        wishes.add(item);
    }
    let best = offered.iter().rev().max_by_key(|algorithm| wishes.of(**algorithm)).copied()?;
    let quality = wishes.of(best);
    (quality > 0 && quality >= wishes.identity.unwrap_or(0)).then_some(best)
}

/// Qualities in thousandths; `None` where nothing was said.
#[derive(Debug, Default)]
struct Wishes {
    codings: [Option<u16>; 3],
    identity: Option<u16>,
    others: Option<u16>,
}

impl Wishes {
    fn add(&mut self, item: &[u8]) {
        let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        // Anything but a quality has no meaning here; a quality that is none means no.
        let quality = parts.next().map_or(1_000, |part| quality(part).unwrap_or(0));
        let is = |token: &str| name.eq_ignore_ascii_case(token.as_bytes());
        let slot = match () {
            () if is("zstd") => &mut self.codings[Algorithm::Zstd as usize],
            () if is("br") => &mut self.codings[Algorithm::Brotli as usize],
            () if is("gzip") || is("x-gzip") => &mut self.codings[Algorithm::Gzip as usize],
            () if is("identity") => &mut self.identity,
            () if is("*") => &mut self.others,
            () => return,
        };
        *slot = Some(quality);
    }

    fn of(&self, algorithm: Algorithm) -> u16 {
        self.codings[algorithm as usize].or(self.others).unwrap_or(0)
    }
}

/// `q=0.5` in thousandths.
fn quality(part: &[u8]) -> Option<u16> {
    let (name, value) = part.split_at_checked(2)?;
    if !name.eq_ignore_ascii_case(b"q=") {
        return None;
    }
    let (whole, rest) = value.split_first()?;
    let digits = match rest {
        [] => &[],
        [b'.', digits @ ..] if digits.len() <= 3 => digits,
        _ => return None,
    };
    let mut thousandths = match whole {
        b'0' => 0,
        b'1' => 1_000,
        _ => return None,
    };
    for (digit, place) in digits.iter().zip([100, 10, 1]) {
        thousandths += u16::from(digit.is_ascii_digit().then(|| digit - b'0')?) * place;
    }
    (thousandths <= 1_000).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Algorithm::{Brotli, Gzip, Zstd};

    fn of(accept: &str) -> Option<Algorithm> {
        choose([accept.as_bytes()].into_iter(), &[Zstd, Brotli, Gzip])
    }

    #[test]
    fn the_client_chooses_and_we_break_ties() {
        for (accept, chosen) in [
            ("gzip, deflate, br, zstd", Some(Zstd)),
            ("gzip, deflate, br", Some(Brotli)),
            ("gzip;q=1.0, br;q=0.9", Some(Gzip)),
            ("GZip", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("*", Some(Zstd)),
            ("zstd;q=0, *", Some(Brotli)),
            ("*;q=0, gzip", Some(Gzip)),
            ("identity;q=0, gzip;q=0.1", Some(Gzip)),
            ("identity;q=0, *;q=0.5", Some(Zstd)),
            ("gzip;q=0.5, identity;q=0.8", None),
            ("gzip;q=0.001", Some(Gzip)),
            ("identity", None),
            ("gzip;q=0", None),
            ("gzip;q=2", None),
            ("gzip;q=0.0000", None),
            ("gzip;q=", None),
            ("deflate", None),
            ("", None),
        ] {
            assert_eq!(of(accept), chosen, "{accept}");
        }
        assert_eq!(choose([].into_iter(), &[Gzip]), None);
        assert_eq!(choose([b"br".as_slice(), b"gzip"].into_iter(), &[Gzip]), Some(Gzip));
    }

    proptest::proptest! {
        #[test]
        fn what_is_refused_is_never_chosen(
            codings in proptest::sample::subsequence(vec!["zstd", "br", "gzip", "*", "identity"], 0..6),
            refused: u8,
        ) {
            let item = |(at, coding): (usize, &&str)| {
                let quality = if refused >> at & 1 == 1 { ";q=0" } else { "" };
                format!("{coding}{quality}")
            };
            let items: Vec<_> = codings.iter().enumerate().map(item).collect();
            if let Some(chosen) = of(&items.join(", ")) {
                let token = chosen.token();
                let named = items.iter().any(|item| item == token);
                let any = items.iter().any(|item| item == "*") && !codings.contains(&token);
                proptest::prop_assert!(named || any, "{:?} chose {}", items, token);
            }
        }

        #[test]
        fn any_header_is_read(accept: Vec<u8>) {
            let _ = choose([accept.as_slice()].into_iter(), &[Zstd, Brotli, Gzip]);
        }
    }
}
