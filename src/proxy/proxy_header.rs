//! The PROXY protocol's header, versions 1 and 2, as its specification has it (haproxy.org, `proxy-protocol.txt`): pure, and
//! bounded.
//!
//! A parser that is asked with a part of a header says how many more bytes surely belong to it, so that its caller never reads
//! what comes behind it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header that is taken: version 1 has 107 bytes at most, version 2 addresses and some extensions.
pub const MOST: usize = 4 * 1024;
/// Longest line of version 1, with its end.
pub const LONGEST_LINE: usize = 107;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What version 2 has before its addresses.
const FIXED: usize = 16;

/// What is known of a header after some of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// At least so many more bytes belong to it.
    Partial(usize),
    /// It is complete, and so long. The client is the peer where it names none.
    Complete {
        /// Bytes of it.
        length: usize,
        /// Whom it names.
        client: Option<SocketAddr>,
    },
    /// It is none; in words.
    Malformed(&'static str),
}

use Parsed::{Complete, Malformed, Partial};

/// Reads the header that `bytes` begin with.
pub fn parse(bytes: &[u8]) -> Parsed {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] == SIGNATURE[..known] && !bytes.is_empty() {
        return binary(bytes);
    }
    let known = bytes.len().min(6);
    match bytes[..known] == b"PROXY "[..known] {
        true => line(bytes),
        false => Malformed("it begins with something else"),
    }
}

/// Version 1: a line of text.
fn line(bytes: &[u8]) -> Parsed {
    let most = bytes.len().min(LONGEST_LINE);
    let Some(end) = memchr::memchr(b'\n', &bytes[..most]) else {
        return match (bytes.len(), bytes.last()) {
            (LONGEST_LINE.., _) => Malformed("its line has no end"),
            // "PROXY UNKNOWN" is the shortest.
            (0..13, _) => Partial(15 - bytes.len()),
            (_, Some(b'\r')) => Partial(1),
            _ => Partial(2),
        };
    };
    let length = end + 1;
    let Some(text) = bytes[..end].strip_suffix(b"\r").and_then(|text| text.strip_prefix(b"PROXY "))
    else {
        return Malformed("its line does not end in CR and LF");
    };
    if text == b"UNKNOWN" || text.starts_with(b"UNKNOWN ") {
        return Complete { length, client: None };
    }
    match std::str::from_utf8(text).ok().and_then(addresses) {
        Some(client) => Complete { length, client: Some(client) },
        None => Malformed("its addresses are none"),
    }
}

/// `TCP4 source destination port port`, single spaces between.
fn addresses(text: &str) -> Option<SocketAddr> {
    let words: Vec<_> = text.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = words[..] else {
        return None;
    };
    let [source, destination] = match family {
        "TCP4" => {
            let read = |text: &str| text.parse::<Ipv4Addr>().ok().map(IpAddr::from);
            [read(source)?, read(destination)?]
        }
        "TCP6" => {
            let read = |text: &str| text.parse::<Ipv6Addr>().ok().map(IpAddr::from);
            [read(source)?, read(destination)?]
        }
        _ => return None,
    };
    let port = |text: &str| {
        let plain = text.bytes().all(|digit| digit.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| plain)
    };
    let (_, _) = (destination, port(destination_port)?);
    Some(SocketAddr::new(source, port(source_port)?))
}

/// Version 2: a signature, a command, a family, a length, addresses, and extensions, which are passed over.
fn binary(bytes: &[u8]) -> Parsed {
    let Some(fixed) = bytes.first_chunk::<FIXED>() else { return Partial(FIXED - bytes.len()) };
    let length = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if !matches!(fixed[12], 0x20 | 0x21) {
        return Malformed("its version or command is unknown");
    }
    if length > MOST {
        return Malformed("it is too long");
    }
    // Which kinds there are, and how long their addresses must be.
    let least = match fixed[13] {
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return Malformed("its family is unknown"),
    };
    let is_local = fixed[12] == 0x20;
    if !is_local && length < FIXED + least {
        return Malformed("it is too short for its addresses");
    }
    if bytes.len() < length {
        return Partial(length - bytes.len());
    }
    let client = if is_local { None } else { source(fixed[13], &bytes[FIXED..length]) };
    Complete { length, client }
}

/// The source of a stream over IP; other kinds name nobody whom this proxy could know.
fn source(kind: u8, block: &[u8]) -> Option<SocketAddr> {
    let port = |at: usize| Some(u16::from_be_bytes(*block.get(at..)?.first_chunk()?));
    match kind {
        0x11 => Some((Ipv4Addr::from(*block.first_chunk::<4>()?), port(8)?).into()),
        0x21 => Some((Ipv6Addr::from(*block.first_chunk::<16>()?), port(32)?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version_2(command: u8, kind: u8, block: &[u8]) -> Vec<u8> {
        let length = (block.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, kind], &length, block].concat()
    }

    fn client(bytes: &[u8]) -> Option<String> {
        let Complete { length, client } = parse(bytes) else { return None };
        let told = client.map_or("nobody".to_owned(), |client| client.to_string());
        (length == bytes.len()).then_some(told)
    }

    #[test]
    fn lines_name_their_client() {
        let cases = [
            ("PROXY TCP4 203.0.113.7 10.0.0.1 4711 80\r\n", "203.0.113.7:4711"),
            ("PROXY TCP6 2001:db8::7 ::1 4711 80\r\n", "[2001:db8::7]:4711"),
            ("PROXY UNKNOWN\r\n", "nobody"),
            ("PROXY UNKNOWN ffff::1 whatever 1 2\r\n", "nobody"),
        ];
        for (line, wanted) in cases {
            assert_eq!(client(line.as_bytes()).as_deref(), Some(wanted), "{line:?}");
        }
    }

    #[test]
    fn binary_headers_name_their_client() {
        let four = [203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x67, 0, 80];
        let mut six = [0; 36];
        six[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        six[32..34].copy_from_slice(&4711_u16.to_be_bytes());
        let more = [&four[..], b"\x03\x00\x04abcd"].concat();
        let cases = [
            ("TCP over IPv4", version_2(0x21, 0x11, &four), "203.0.113.7:4711"),
            ("with an extension", version_2(0x21, 0x11, &more), "203.0.113.7:4711"),
            ("TCP over IPv6", version_2(0x21, 0x21, &six), "[2001:db8::7]:4711"),
            ("a health check", version_2(0x20, 0x00, &[]), "nobody"),
            ("local, whatever it says", version_2(0x20, 0x11, &four), "nobody"),
            ("unspecified", version_2(0x21, 0x00, b"xyz"), "nobody"),
            ("unix", version_2(0x21, 0x31, &[0; 216]), "nobody"),
            ("UDP", version_2(0x21, 0x12, &four), "nobody"),
        ];
        for (name, bytes, wanted) in cases {
            assert_eq!(client(&bytes).as_deref(), Some(wanted), "{name}");
        }
    }

    #[test]
    fn what_is_no_header_is_malformed() {
        let long = format!("PROXY UNKNOWN {}", "x".repeat(200));
        let cases: [(&str, Vec<u8>); 17] = [
            ("a request", b"GET / HTTP/1.1\r\n\r\n".into()),
            ("another word", b"PROXX TCP4".into()),
            ("TLS", b"\x16\x03\x01\x02\x00".into()),
            ("a bare LF", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n".into()),
            ("two spaces", b"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n".into()),
            ("too few words", b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n".into()),
            ("too many words", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n".into()),
            ("a signed port", b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n".into()),
            ("a port too high", b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n".into()),
            ("a name", b"PROXY TCP4 localhost 5.6.7.8 1 2\r\n".into()),
            ("families mixed", b"PROXY TCP4 ::1 5.6.7.8 1 2\r\n".into()),
            ("lower case", b"PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n".into()),
            ("no end", long.into_bytes()),
            ("version 3", version_2(0x31, 0x11, &[0; 12])),
            ("command 2", version_2(0x22, 0x11, &[0; 12])),
            ("too short", version_2(0x21, 0x21, &[0; 12])),
            ("too long", version_2(0x21, 0x11, &[0; MOST])),
        ];
        for (name, bytes) in cases {
            assert!(matches!(parse(&bytes), Malformed(_)), "{name}: {:?}", parse(&bytes));
        }
    }

    fn header() -> impl Strategy<Value = Vec<u8>> {
        let kinds = prop::sample::select(vec![0x00, 0x11, 0x12, 0x21, 0x22, 0x31]);
        let block = prop::collection::vec(any::<u8>(), 216..400);
        let binary = (any::<bool>(), kinds, block).prop_map(|(local, kind, block)| {
            version_2(if local { 0x20 } else { 0x21 }, kind, &block)
        });
        let line = (any::<[Ipv4Addr; 2]>(), any::<[u16; 2]>())
            .prop_map(|([a, b], [p, q])| format!("PROXY TCP4 {a} {b} {p} {q}\r\n").into_bytes());
        prop_oneof![binary, line]
    }

    proptest! {
        #[test]
        fn a_header_in_parts_is_read_to_its_end_and_no_further(
            header in header(),
            rest in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let whole = parse(&header);
            prop_assert!(matches!(whole, Complete { length, .. } if length == header.len()), "{whole:?}");
            prop_assert_eq!(parse(&[&header[..], &rest].concat()), whole);
            for cut in 0..header.len() {
                let part = parse(&header[..cut]);
                let Partial(more) = part else { return Err(TestCaseError::fail(format!("{cut}: {part:?}"))) };
                prop_assert!(more > 0 && cut + more <= header.len(), "{cut} and {more}");
            }
        }

        #[test]
        fn whatever_comes_is_answered_within_bounds(bytes in prop::collection::vec(any::<u8>(), 0..600), begins in 0..3_usize) {
            let begin: &[u8] = [&b"PROXY "[..], SIGNATURE, b""][begins];
            match parse(&[begin, &bytes].concat()) {
                Partial(more) => prop_assert!(more > 0 && more <= MOST),
                Complete { length, .. } => prop_assert!(length <= MOST),
                Malformed(why) => prop_assert!(!why.is_empty()),
            }
        }
    }
}
