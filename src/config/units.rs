//! Durations and sizes as the file writes them: `"250ms"`, `"1m30s"`, `"64KiB"`.

use std::time::Duration;

use super::fault::quote;

/// Longest duration taken: 400 days, the longest that browsers keep a cookie.
pub(super) const MAX_DURATION: Duration = Duration::from_hours(400 * 24);

/// From large to small, as a duration is written; in milliseconds.
const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// `"1m30s"`: whole numbers with units d, h, m, s, ms, each at most once, from large to small.
/// `None` for anything else.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let (mut rest, mut sum, mut largest) = (text, 0_u64, 0);
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let place = DURATION_UNITS.iter().position(|(name, _)| *name == unit)?;
        if place < largest {
            return None;
        }
        sum = sum.checked_add(number.checked_mul(DURATION_UNITS[place].1)?)?;
        (rest, largest) = (after, place + 1);
    }
    (largest > 0).then(|| Duration::from_millis(sum))
}

/// `duration` as [`parse_duration`] reads it, in the largest unit that divides it; what is finer
/// than a millisecond is cut off.
pub(super) fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = |(_, unit): &&(&str, u64)| millis >= *unit && millis.is_multiple_of(*unit);
    let (name, unit) = DURATION_UNITS.iter().find(fits).unwrap_or(&("s", 1));
    format!("{}{name}", millis / unit)
}

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
    fn durations_are_read_in_all_their_units() {
        for (text, millis) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("10m", 600_000),
            ("24h", 86_400_000),
            ("30d", 2_592_000_000),
            ("1m30s", 90_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in [
            "",
            "30",
            "s",
            "1.5s",
            "30 s",
            "30sec",
            "1s1m",
            "1s1s",
            "-1s",
            "99999999999999999999s",
            "9999999999999999d",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn one_unit_is_shown_the_largest_that_divides() {
        for (millis, text) in [(75_000, "75s"), (60_000, "1m"), (1_500, "1500ms"), (0, "0s")] {
            assert_eq!(format_duration(Duration::from_millis(millis)), text);
        }
    }

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
        fn what_is_formatted_is_read_back(millis in 0..MAX_DURATION.as_millis() as u64, bytes: u64) {
            let duration = Duration::from_millis(millis);
            proptest::prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
            proptest::prop_assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
        }
    }
}
