//! Where the application's processes listen, and how one of them is chosen.

use std::{fmt, str::FromStr};

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

/// `host:port`, as the configuration names an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointAddress {
    text: Box<str>,
    colon: usize,
    port: u16,
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
    /// Host name, IPv4 address, or IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        let host = &self.text[..self.colon];
        host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host)
    }

    /// Whether its host has to be resolved.
    pub fn is_name(&self) -> bool {
        self.host().parse::<std::net::IpAddr>().is_err()
    }

    /// TCP port, 1 to 65 535.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// As the configuration wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
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
        Ok(Self { text: text.into(), colon, port })
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

    #[test]
    fn hosts_ports_and_brackets_are_told_apart() {
        let name: EndpointAddress = "green.internal:8080".parse().unwrap();
        assert_eq!((name.host(), name.port()), ("green.internal", 8080));
        let six: EndpointAddress = "[::1]:9001".parse().unwrap();
        assert_eq!((six.host(), six.port()), ("::1", 9001));
    }

    #[test]
    fn what_cannot_be_connected_to_is_refused() {
        for bad in
            ["", "host", "host:", "host:0", "host:70000", ":80", "[::g]:80", "a b:80", "::1:80"]
        {
            assert!(bad.parse::<EndpointAddress>().is_err(), "{bad:?} was taken");
        }
    }
}
