//! The only reader of the machine's clocks. Whatever decides something from the time takes it as an argument.

use std::{
    sync::LazyLock,
    time::{Duration, Instant, SystemTime},
};

use crate::domain::Moment;

// Set by the first reading, which therefore is the process's beginning for all practical ends.
#[allow(clippy::disallowed_methods)]
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The present on the process's monotonic clock.
#[allow(clippy::disallowed_methods)]
pub fn now() -> Moment {
    let beginning = *BEGINNING;
    let nanos = Instant::now().saturating_duration_since(beginning).as_nanos();
    Moment::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// `moment` as the runtime's timers take it.
pub fn instant(moment: Moment) -> tokio::time::Instant {
    // A moment too far off to be told is as good as a century.
    const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    let span = Duration::from_nanos(moment.as_nanos()).min(FAR);
    tokio::time::Instant::from_std(*BEGINNING + span)
}

/// The present in milliseconds of Unix time: for people and records, never for measuring, since it may jump.
pub fn wall_millis() -> u64 {
    wall_nanos() / 1_000_000
}

/// The same in nanoseconds.
#[allow(clippy::disallowed_methods)]
pub fn wall_nanos() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_epoch.map_or(0, |span| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

/// Waits until `moment`; returns at once when it has passed.
pub async fn sleep_until(moment: Moment) {
    let left = moment.since(now());
    if left > Duration::ZERO {
        tokio::time::sleep(left).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_go_back() {
        let readings: Vec<_> = (0..1_000).map(|_| now()).collect();
        assert!(readings.is_sorted());
    }

    #[test]
    fn the_wall_clock_is_past_2020() {
        assert!(wall_millis() > 1_577_836_800_000);
    }

    #[tokio::test]
    async fn waiting_ends_at_the_moment_or_at_once() {
        let start = now();
        sleep_until(start).await;
        sleep_until(start + Duration::from_millis(20)).await;
        assert!(now() >= start + Duration::from_millis(20));
    }
}
