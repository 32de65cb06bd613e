//! As much of HTTP/1.1 as the bench itself needs: finding where a head ends and what it announces.
//!
//! It trusts its peers, since both ends are the bench's own. It is kept thin on purpose: what the
//! load and the upstream burn, the machine cannot give to the proxies.

use memchr::memmem;

/// Length of the first complete head in `bytes`, its blank line included.
pub(crate) fn head_len(bytes: &[u8]) -> Option<usize> {
    memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// The path of a request's head.
pub(crate) fn path(head: &[u8]) -> Option<&[u8]> {
    head.split(|byte| *byte == b' ').nth(1)
}

/// Whether a response's head begins with `HTTP/1.1 200`.
pub(crate) fn is_ok(head: &[u8]) -> bool {
    head.starts_with(b"HTTP/1.1 200")
}

/// The length of a request's body. Looked for where the method may have one: most requests cost no search.
pub(crate) fn body_len(head: &[u8]) -> usize {
    if head.starts_with(b"POST ") { content_length(head).unwrap_or_default() } else { 0 }
}

/// The body length a head announces; `None` without one, as with chunked coding.
pub(crate) fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let line = head
        .split(|byte| *byte == b'\n')
        .find(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))?;
    std::str::from_utf8(&line[NAME.len()..]).ok()?.trim().parse().ok()
}
