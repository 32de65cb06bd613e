//! Where the application's processes listen, and how one of them is chosen.

use std::{fmt, path::Path, str::FromStr};

use serde::{Deserialize, Serialize};

/// How an endpoint is chosen inside a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// The less busy of two drawn at random (Mitzenmacher 2001).
    #[default]
    LeastInFlight,
    /// One after the other.
    RoundRobin,
    /// The one of two drawn at random whose answers take less time, requests under way counted in.
    Ewma,
    /// The same one for the same split key, for as long as it takes requests (rendezvous hashing).
    Hash,
}

/// Longest path of a unix socket in bytes: `sun_path` less its final zero.
pub const MAX_SOCKET_PATH: usize = 107;

/// `host:port` or `unix:/path`, as the configuration names an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointAddress {
    text: Box<str>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Network { colon: usize, port: u16 },
    Unix,
}

/// What an endpoint's address consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location<'a> {
    /// `host:port`
    Network {
        /// Host name, IPv4 address, or IPv6 address without its brackets.
        host: &'a str,
        /// TCP port, 1 to 65 535.
        port: u16,
    },
    /// `unix:/path`: the absolute path of a socket on this machine, at most [`MAX_SOCKET_PATH`] bytes.
    Unix(&'a Path),
}

/// Why a text is no endpoint address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointAddressError {
    given: String,
    why: &'static str,
}

impl fmt::Display for EndpointAddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no endpoint: {}", self.given, self.why)
    }
}

impl std::error::Error for EndpointAddressError {}

impl EndpointAddress {
    const UNIX: &str = "unix:";

    /// Its parts.
    pub fn location(&self) -> Location<'_> {
        match self.kind {
            Kind::Unix => Location::Unix(Path::new(&self.text[Self::UNIX.len()..])),
            Kind::Network { colon, port } => {
                let host = &self.text[..colon];
                let bare = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
                Location::Network { host: bare.unwrap_or(host), port }
            }
        }
    }

    /// Whether its host has to be resolved.
    pub fn is_name(&self) -> bool {
        match self.location() {
            Location::Network { host, .. } => host.parse::<std::net::IpAddr>().is_err(),
            Location::Unix(_) => false,
        }
    }

    /// As the configuration wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host of a request that names none of its own; `localhost` on a unix socket, whose path is no host.
    pub fn authority(&self) -> &str {
        match self.kind {
            Kind::Network { .. } => &self.text,
            Kind::Unix => "localhost",
        }
    }
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for EndpointAddress {
    type Err = EndpointAddressError;

    fn from_str(text: &str) -> Result<Self, EndpointAddressError> {
        let fault = |why| EndpointAddressError { given: text.to_owned(), why };
        if let Some(path) = text.strip_prefix(Self::UNIX) {
            return match socket_path_fault(path) {
                Some(why) => Err(fault(why)),
                None => Ok(Self { text: text.into(), kind: Kind::Unix }),
            };
        }
        let colon =
            text.rfind(':').ok_or_else(|| fault("a port is missing, as in \"host:8080\""))?;
        let port = match text[colon + 1..].parse() {
            Ok(0) | Err(_) => return Err(fault("the port must be a number from 1 to 65535")),
            Ok(port) => port,
        };
        let host = &text[..colon];
        if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            if inner.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(fault("the brackets hold no IPv6 address"));
            }
        } else if host.is_empty() || host.len() > 253 {
            return Err(fault("the host must have 1 to 253 characters"));
        } else if !host
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_'))
        {
            return Err(fault(
                "the host is a name, an IPv4 address, or an IPv6 address in brackets",
            ));
        }
        Ok(Self { text: text.into(), kind: Kind::Network { colon, port } })
    }
}

/// Whether it means nothing where an endpoint is named: in lists, log lines, labels and a terminal.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b',' | b'"' | b'\'' | b'\\')
}

/// Why `path` leads to no unix socket.
fn socket_path_fault(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        Some("the path is missing, as in \"unix:/run/app.sock\"")
    } else if !path.starts_with('/') {
        Some("the path must begin with a slash, as in \"unix:/run/app.sock\"")
    } else if path.starts_with("//") {
        Some("one slash is enough: the path follows the colon, as in \"unix:/run/app.sock\"")
    } else if path.len() > MAX_SOCKET_PATH {
        Some("the system takes at most 107 bytes as the path of a unix socket")
    } else if !path.bytes().all(is_plain) {
        Some("the path must be plain ASCII without spaces, commas, quotes and backslashes")
    } else if path.ends_with('/') {
        Some("the path names a folder, not a socket in it")
    } else {
        None
    }
}

impl Serialize for EndpointAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> (String, u16) {
        let address: EndpointAddress = text.parse().unwrap();
        match address.location() {
            Location::Network { host, port } => (host.to_owned(), port),
            Location::Unix(path) => panic!("{text} became {}", path.display()),
        }
    }

    #[test]
    fn hosts_ports_and_brackets_are_told_apart() {
        assert_eq!(network("green.internal:8080"), ("green.internal".to_owned(), 8080));
        assert_eq!(network("[::1]:9001"), ("::1".to_owned(), 9001));
        let name = |text: &str| text.parse::<EndpointAddress>().unwrap().is_name();
        assert!(name("green.internal:80") && !name("[::1]:80") && !name("unix:/run/app.sock"));
    }

    #[test]
    fn a_unix_socket_is_its_path_and_no_host() {
        let longest = format!("unix:/{}", "a".repeat(MAX_SOCKET_PATH - 1));
        for text in ["unix:/run/app.sock", "unix:/run/a-b:80/[1]@x.sock", longest.as_str()] {
            let address: EndpointAddress = text.parse().unwrap();
            assert_eq!(address.location(), Location::Unix(Path::new(&text["unix:".len()..])));
            assert_eq!((address.as_str(), address.authority()), (text, "localhost"));
        }
    }

    #[test]
    fn what_cannot_be_connected_to_is_refused() {
        for bad in
            ["", "host", "host:", "host:0", "host:70000", ":80", "[::g]:80", "a b:80", "::1:80"]
        {
            assert!(bad.parse::<EndpointAddress>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_path_that_is_no_sockets_is_refused_with_its_reason() {
        let long = format!("unix:/{}", "a".repeat(MAX_SOCKET_PATH));
        for (bad, why) in [
            ("unix:", "the path is missing"),
            ("unix:run/app.sock", "must begin with a slash"),
            ("unix:8080", "must begin with a slash"),
            ("unix:@app", "must begin with a slash"),
            ("unix:///run/app.sock", "one slash is enough"),
            ("unix:/run/", "names a folder"),
            ("unix:/", "names a folder"),
            ("unix:/run/a\0b", "plain ASCII"),
            ("unix:/run/a\nb", "plain ASCII"),
            ("unix:/run/a b", "plain ASCII"),
            ("unix:/run/a,b", "plain ASCII"),
            ("unix:/run/a\"b", "plain ASCII"),
            ("unix:/run/\u{e4}", "plain ASCII"),
            (long.as_str(), "at most 107 bytes"),
        ] {
            let told = bad.parse::<EndpointAddress>().unwrap_err().to_string();
            assert!(told.contains(why), "{bad:?}: {told}");
        }
    }
}
