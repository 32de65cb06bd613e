//! The header `forwarded` (RFC 7239), read from its end: what stands there the proxy in front has written, and it is understood
//! whatever a client wrote before it, be it a quote that nothing closes.

use std::iter;

/// What one proxy says of whom it serves. No value that means something here has a character that would have to be escaped,
/// so one that is stays as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Element<'a> {
    /// `for`: an address, with its port or without, or a name that hides it.
    pub(super) node: Option<&'a [u8]>,
    /// `proto`.
    pub(super) proto: Option<&'a [u8]>,
    /// `host`.
    pub(super) host: Option<&'a [u8]>,
}

impl<'a> Element<'a> {
    /// `None` for what is no element, or says one thing twice.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        let mut element = Self::default();
        let pairs = from_end(text, b';').map(<[u8]>::trim_ascii);
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            let equals = pair.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (&pair[..equals], unquoted(&pair[equals + 1..])?);
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            let slot = match () {
                () if is("for") => &mut element.node,
                () if is("proto") => &mut element.proto,
                () if is("host") => &mut element.host,
                () => continue,
            };
            if slot.replace(value).is_some() {
                return None;
            }
        }
        Some(element)
    }
}

/// What stands between the quotes, or a value without any; `None` for neither.
fn unquoted(value: &[u8]) -> Option<&[u8]> {
    match value {
        [b'"', inner @ .., b'"'] => Some(inner),
        _ => value.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'"').then_some(value),
    }
}

/// The items of a list, the last one first. What begins with a quote that is not opened is one item, up to the beginning.
pub(super) fn from_end(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut left = Some(text);
    iter::from_fn(move || {
        let text = left.take()?;
        let Some(at) = last_outside(text, separator) else { return Some(text) };
        left = Some(&text[..at]);
        Some(&text[at + 1..])
    })
}

/// Place of the last `separator` that stands in no quoted string.
fn last_outside(text: &[u8], separator: u8) -> Option<usize> {
    let mut end = text.len();
    loop {
        let found = |byte: &u8| *byte == separator || *byte == b'"';
        let at = text[..end].iter().rposition(found)?;
        if text[at] == separator {
            return Some(at);
        }
        end = opening(&text[..at])?;
    }
}

/// Place of the quote that opens a string of which `text` is all but the closing one. Nothing but `=` stands before it, while
/// one inside has an odd number of backslashes before it.
fn opening(text: &[u8]) -> Option<usize> {
    let mut end = text.len();
    loop {
        let at = text[..end].iter().rposition(|byte| *byte == b'"')?;
        let escapes = text[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        if escapes % 2 == 0 {
            return Some(at);
        }
        end = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_divided_outside_of_quotes() {
        let items = |text: &'static str| -> Vec<_> {
            let items = from_end(text.as_bytes(), b',');
            items.map(|item| std::str::from_utf8(item).unwrap()).collect()
        };
        assert_eq!(items("a,b , c"), [" c", "b ", "a"]);
        assert_eq!(items(r#"a,x="1,2",c"#), ["c", r#"x="1,2""#, "a"]);
        assert_eq!(items(r#"a,x="1\",2\\",c"#), ["c", r#"x="1\",2\\""#, "a"]);
        assert_eq!(items(r#"a="1,b"#), ["b", r#"a="1"#]);
        assert_eq!(items(r#"b,a",c"#), ["c", r#"b,a""#]);
        assert_eq!(items(""), [""]);
        assert_eq!(items("a,"), ["", "a"]);
    }

    #[test]
    fn an_element_says_each_thing_once() {
        let parse = |text: &'static str| Element::parse(text.as_bytes());
        let said = |node, proto, host| {
            let bytes = |text: &'static str| (!text.is_empty()).then_some(text.as_bytes());
            Some(Element { node: bytes(node), proto: bytes(proto), host: bytes(host) })
        };
        for (text, element) in [
            ("for=1.2.3.4", said("1.2.3.4", "", "")),
            (" FOR=\"[::1]:80\" ; Proto=https;by=_x;", said("[::1]:80", "https", "")),
            ("host=\"a;b\";for=_h", said("_h", "", "a;b")),
            ("for=1.2.3.4:80", said("1.2.3.4:80", "", "")),
            ("by=unknown;secret=1", said("", "", "")),
            ("", said("", "", "")),
            ("for=a;for=b", None),
            ("for", None),
            ("1.2.3.4", None),
            ("for=\"a", None),
            ("for=a\"", None),
            ("for=a b", None),
        ] {
            assert_eq!(parse(text), element, "{text}");
        }
    }
}
