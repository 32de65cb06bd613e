//! Foreign bytes made harmless for a line: no end of it, no quote, nothing that steers a terminal.

use std::io::Write as _;

use crate::domain::is_steering;

/// Longest part of a value that is shown.
const LONGEST: usize = 8 * 1024;

/// Appends `value` as the inside of a JSON string. What is no UTF-8 becomes U+FFFD.
pub(in crate::proxy) fn json(value: &[u8], out: &mut Vec<u8>) {
    let value = &value[..value.len().min(LONGEST)];
    let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if value.iter().all(plain) {
        out.extend_from_slice(value);
        return;
    }
    for c in String::from_utf8_lossy(value).chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            c if is_steering(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to memory cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Appends `value` as Nginx does: quote, backslash and all but printable ASCII as `\xXX`.
pub(in crate::proxy) fn text(value: &[u8], out: &mut Vec<u8>) {
    let value = &value[..value.len().min(LONGEST)];
    for byte in value {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => {
                let _ = write!(out, "\\x{byte:02X}");
            }
            plain => out.push(*plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(by: fn(&[u8], &mut Vec<u8>), value: &[u8]) -> String {
        let mut out = Vec::new();
        by(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_forged_line_stays_inside_its_value() {
        let evil = b"a\"}\r\n{\"status\":200,\"x\":\"\x1b[31m\\\xff\xe2\x80\xae";
        assert_eq!(
            escaped(json, evil),
            "a\\\"}\\u000d\\u000a{\\\"status\\\":200,\\\"x\\\":\\\"\\u001b[31m\\\\\u{fffd}\\u202e"
        );
        assert_eq!(
            escaped(text, evil),
            "a\\x22}\\x0D\\x0A{\\x22status\\x22:200,\\x22x\\x22:\\x22\\x1B[31m\\x5C\\xFF\\xE2\\x80\\xAE"
        );
    }

    proptest! {
        #[test]
        fn json_gives_back_what_it_was_given(value in "\\PC{0,40}|.{0,40}") {
            let quoted = format!("\"{}\"", escaped(json, value.as_bytes()));
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), value);
        }

        #[test]
        fn whatever_comes_is_one_line_without_quotes(value: Vec<u8>) {
            let quoted = format!("\"{}\"", escaped(json, &value));
            prop_assert!(serde_json::from_str::<String>(&quoted).is_ok());
            prop_assert!(!quoted.contains(is_steering));
            let text = escaped(text, &value);
            prop_assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"'));
        }
    }
}
