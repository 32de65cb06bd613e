//! The id by which a request is found in everybody's logs.

use http::{HeaderMap, HeaderValue};

use super::{Survey, X_REQUEST_ID};
use crate::proxy::hex;

/// A request's id: the client's own where it is sane, else 128 random bits in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::proxy) enum RequestId {
    /// By the client.
    Given(HeaderValue),
    /// By Tidegate.
    Made([u8; 32]),
}

impl RequestId {
    pub(in crate::proxy) fn of(
        headers: &HeaderMap,
        seen: Survey,
        random: impl Fn() -> u64,
    ) -> Self {
        const LONGEST: usize = 128;
        if !seen.has(Survey::REQUEST_ID) {
            return Self::new(random);
        }
        let sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
        let mut given = headers.get_all(&X_REQUEST_ID).iter();
        match (given.next(), given.next()) {
            (Some(id), None)
                if matches!(id.len(), 1..=LONGEST) && id.as_bytes().iter().all(sane) =>
            {
                Self::Given(id.clone())
            }
            _ => Self::new(random),
        }
    }

    pub(in crate::proxy) fn new(random: impl Fn() -> u64) -> Self {
        let mut text = [0; 32];
        text[..16].copy_from_slice(&hex::digits(random()));
        text[16..].copy_from_slice(&hex::digits(random()));
        Self::Made(text)
    }

    pub(in crate::proxy) fn as_str(&self) -> &str {
        match self {
            Self::Given(value) => value.to_str().unwrap_or("0"),
            Self::Made(text) => std::str::from_utf8(text).unwrap_or("0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_request_id_is_kept() {
        let id = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(&X_REQUEST_ID, HeaderValue::from_static(value));
            }
            RequestId::of(&headers, Survey::of(&headers), || 0xabc).as_str().to_owned()
        };
        assert_eq!(id(&["a-1"]), "a-1");
        for odd in [vec![], vec![""], vec!["a b"], vec!["a", "b"], vec!["<x>"]] {
            assert_eq!(id(&odd), "0000000000000abc0000000000000abc", "{odd:?}");
        }
    }
}
