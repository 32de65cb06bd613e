//! `max-forwards`: through how many more proxies an OPTIONS or a TRACE may go (RFC 9110 §7.6.2).

use http::{HeaderValue, Method, header::MAX_FORWARDS, request};

use super::{ProxyError, Survey};
use crate::domain::ErrorReason;

const UNCLEAR: ProxyError =
    ProxyError::new(ErrorReason::MalformedRequest, "max-forwards is not one number");

/// Whether the request may go no further; where it may, it goes on with one proxy less.
///
/// # Errors
/// `MalformedRequest` where nobody could tell: no number, or more than one.
pub(in crate::proxy) fn ends_here(
    parts: &mut request::Parts,
    seen: Survey,
) -> Result<bool, ProxyError> {
    if !seen.has(Survey::HOPS) || !matches!(parts.method, Method::OPTIONS | Method::TRACE) {
        return Ok(false);
    }
    let mut lines = parts.headers.get_all(MAX_FORWARDS).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Err(UNCLEAR) };
    match number(line)? {
        0 => Ok(true),
        left => {
            parts.headers.insert(MAX_FORWARDS, HeaderValue::from(left - 1));
            Ok(false)
        }
    }
}

/// Digits alone; more than a number holds are as many as it holds, which is a chain longer than there are addresses.
fn number(line: &HeaderValue) -> Result<u32, ProxyError> {
    let digits = line.as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(UNCLEAR);
    }
    let add = |sum: u32, digit: &u8| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
    Ok(digits.iter().fold(0, add))
}
