//! Sizes as the file writes them, and what a text looks like; durations are the domain's.

use std::time::Duration;

use super::fault::quote;
pub(super) use crate::domain::{format_duration, parse_duration};

/// Longest duration taken: 400 days, the longest that browsers keep a cookie.
pub(super) const MAX_DURATION: Duration = Duration::from_hours(400 * 24);

const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// `"64KiB"`: a whole number with one of the units B, KiB, MiB, GiB, TiB. `None` for anything else.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*bytes)
}

/// `bytes` as [`parse_size`] reads it, in the largest unit that divides it.
pub(super) fn format_size(bytes: u64) -> String {
    let fits = |(_, unit): &&(&str, u64)| bytes >= *unit && bytes.is_multiple_of(*unit);
    let (name, unit) = SIZE_UNITS.iter().find(fits).unwrap_or(&("B", 1));
    format!("{}{name}", bytes / unit)
}

/// What kind of text this is, for a message that names both units.
pub(super) fn describe(text: &str) -> String {
    let is_share = text.strip_suffix('%').is_some_and(|number| number.parse::<f64>().is_ok());
    let kind = match text {
        _ if parse_duration(text).is_some() => "the duration",
        _ if parse_size(text).is_some() => "the size",
        _ if is_share => "the share",
        _ => "the text",
    };
    format!("{kind} {}", quote(text))
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_all_their_units() {
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("1MiB"), Some(1_048_576));
        assert_eq!(parse_size("512B"), Some(512));
        for bad in ["", "64", "64kb", "64KB", "1.5MiB", "99999999999TiB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_text_is_named_by_its_unit() {
        assert_eq!(describe("64KiB"), "the size \"64KiB\"");
        assert_eq!(describe("1s"), "the duration \"1s\"");
        assert_eq!(describe("5%"), "the share \"5%\"");
        assert_eq!(describe("x"), "the text \"x\"");
    }

    proptest::proptest! {
        #[test]
        fn what_is_formatted_is_read_back(bytes: u64) {
            proptest::prop_assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
        }
    }
}
