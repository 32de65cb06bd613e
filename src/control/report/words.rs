//! Values as a reader of a report wants them.

use std::time::Duration;

use crate::{control::status::rfc3339, domain::is_steering};

/// A time span in its two largest units.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if seconds < 10 => format!("{:.1} s", span.as_secs_f64()),
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// [`span`] of milliseconds; short ones to the millisecond.
pub(super) fn millis(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        _ => span(Duration::from_millis(millis)),
    }
}

/// [`span`] of seconds; nonsense is nothing.
pub(super) fn seconds(seconds: f64) -> String {
    span(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// Unix milliseconds as date and time to the second, UTC.
pub(super) fn time(at_ms: u64) -> String {
    let text = rfc3339(at_ms - at_ms % 1_000);
    text.replace('T', " ").trim_end_matches('Z').to_owned()
}

/// A number with as many digits as it deserves.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Text from elsewhere without what steers a terminal or a page.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if is_steering(c) && c != '\n' { '�' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short() {
        assert_eq!(seconds(1.25), "1.2 s");
        assert_eq!(seconds(75.0), "1 min 15 s");
        assert_eq!(seconds(90_000.0), "1 d 1 h");
        assert_eq!(seconds(f64::NAN), "0.0 s");
        assert_eq!(millis(999), "999 ms");
        assert_eq!(time(1_700_000_000_123), "2023-11-14 22:13:20");
        assert_eq!(
            [0.0, 0.012, 0.5, 12.34, 1234.5].map(number),
            ["0", "0.012", "0.50", "12.3", "1234"]
        );
    }
}
