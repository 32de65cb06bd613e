//! Values as a person reads them.

use std::time::Duration;

use crate::domain::is_steering;

const BAR_CELLS: u32 = 20;

/// A share as a bar: a little is never shown as nothing, nor almost all as everything.
pub(super) fn bar(percent: f64) -> String {
    let cells = f64::from(BAR_CELLS);
    let mut full = (percent / 100.0 * cells).round().clamp(0.0, cells) as usize;
    let all = BAR_CELLS as usize;
    if percent > 0.0 {
        full = full.max(1);
    }
    if percent < 100.0 {
        full = full.min(all - 1);
    }
    "█".repeat(full) + &"░".repeat(all - full)
}

/// A time span in its two largest units.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// Milliseconds since 1970 as date and time, UTC.
pub(super) fn time(millis: u64) -> String {
    let stamp = i64::try_from(millis).map(jiff::Timestamp::from_millisecond);
    let stamp = stamp.ok().and_then(Result::ok).unwrap_or_default();
    stamp.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Text from elsewhere, harmless to a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if is_steering(c) && c != '\n' { '�' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_tells_something_from_nothing() {
        assert_eq!(bar(0.0), "░".repeat(20));
        assert_eq!(bar(0.01).chars().filter(|c| *c == '█').count(), 1);
        assert_eq!(bar(50.0).chars().filter(|c| *c == '█').count(), 10);
        assert_eq!(bar(99.99).chars().filter(|c| *c == '░').count(), 1);
        assert_eq!(bar(100.0), "█".repeat(20));
    }

    #[test]
    fn spans_and_times_are_short() {
        assert_eq!(span(Duration::from_secs(59)), "59s");
        assert_eq!(span(Duration::from_secs(61)), "1m 1s");
        assert_eq!(span(Duration::from_secs(7_380)), "2h 3m");
        assert_eq!(span(Duration::from_secs(90_000)), "1d 1h");
        assert_eq!(time(1_700_000_000_000), "2023-11-14 22:13:20");
    }

    #[test]
    fn a_terminal_is_not_told_what_to_do() {
        assert_eq!(plain("a\u{1b}[2Jb"), "a�[2Jb");
    }
}
