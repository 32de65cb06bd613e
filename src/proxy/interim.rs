//! Interim answers (1xx) on their way to the client, without what concerns the endpoint's connection alone.

use super::error::ProxyError;
use crate::domain::ErrorReason;

const MALFORMED: ProxyError =
    ProxyError::new(ErrorReason::MalformedResponse, "an interim answer breaks HTTP");

/// Without a bound they would keep a request going for ever.
pub(super) const TOO_MANY: ProxyError = ProxyError::new(
    ErrorReason::MalformedResponse,
    "the endpoint sends interim answers without end",
);

/// As many header lines as an answer's head may have.
const MAX_LINES: usize = 100;

/// The complete head in `bytes` without hop-by-hop headers and those that `connection` names.
///
/// # Errors
/// `MalformedResponse`, for what [`Head`](super::head::Head) leaves to the parser: tokens and values.
pub(super) fn clean(bytes: &[u8]) -> Result<Vec<u8>, ProxyError> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_LINES];
    let mut head = httparse::Response::new(&mut lines);
    if !head.parse(bytes).is_ok_and(|parsed| parsed.is_complete()) {
        return Err(MALFORMED);
    }
    let is_connection = |name: &str| name.eq_ignore_ascii_case("connection");
    let named: Vec<&[u8]> = head
        .headers
        .iter()
        .filter(|line| is_connection(line.name))
        .flat_map(|line| line.value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .collect();
    let mut clean = format!("HTTP/1.1 {} \r\n", head.code.ok_or(MALFORMED)?).into_bytes();
    for line in head.headers.iter() {
        let fixed =
            ["keep-alive", "proxy-connection", "upgrade", "transfer-encoding", "content-length"];
        let ends_here = is_connection(line.name)
            || fixed.iter().any(|name| line.name.eq_ignore_ascii_case(name))
            || named.iter().any(|name| line.name.as_bytes().eq_ignore_ascii_case(name));
        if !ends_here {
            clean.extend_from_slice(line.name.as_bytes());
            clean.extend_from_slice(b": ");
            clean.extend_from_slice(line.value);
            clean.extend_from_slice(b"\r\n");
        }
    }
    clean.extend_from_slice(b"\r\n");
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_for_the_client_goes_on() {
        let head = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-a\r\nX-A: 1\r\nkeep-alive: 5\r\n\r\n";
        assert_eq!(clean(head).unwrap(), b"HTTP/1.1 103 \r\nLink: </a>\r\n\r\n");
        for bad in [&b"HTTP/1.1 103 Early Hints\r\n"[..], b"HTTP/1.1 100 Continue\r\nx-a\r\n\r\n"] {
            assert_eq!(clean(bad), Err(MALFORMED), "{bad:?}");
        }
    }
}
