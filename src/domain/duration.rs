//! Durations as people write them: `"250ms"`, `"30s"`, `"1m30s"`.

use std::time::Duration;

/// From large to small, as a duration is written; in milliseconds.
const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// `"1m30s"`: whole numbers with units d, h, m, s, ms, each at most once, from large to small.
/// `None` for anything else.
pub fn parse_duration(text: &str) -> Option<Duration> {
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
pub fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = |(_, unit): &&(&str, u64)| millis >= *unit && millis.is_multiple_of(*unit);
    let (name, unit) = DURATION_UNITS.iter().find(fits).unwrap_or(&("s", 1));
    format!("{}{name}", millis / unit)
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

/// A duration as text, for what is kept and sent as JSON: `#[serde(with = "duration_text")]`.
pub mod duration_text {
    use std::{borrow::Cow, time::Duration};

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the text of [`super::format_duration`].
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::format_duration(*duration))
    }

    /// Reads the text of [`super::format_duration`].
    ///
    /// # Errors
    /// When the text is no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        super::parse_duration(&text).ok_or_else(|| D::Error::custom("no duration such as \"30s\""))
    }
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

    proptest::proptest! {
        #[test]
        fn what_is_formatted_is_read_back(millis in 0..40_000_000_000_u64) {
            let duration = Duration::from_millis(millis);
            proptest::prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }
    }
}
