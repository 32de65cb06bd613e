//! The only reader of the machine's clocks. Whatever decides something from the time takes it as an argument.

use std::{
    sync::LazyLock,
    time::{Duration, Instant, SystemTime},
};

use rustix::time::{ClockId, clock_gettime};

use crate::domain::Moment;

/// When the process began: in nanoseconds of the clock, and right after that as the runtime knows it, so that no timer is early.
struct Beginning(u64, Instant);

// Set by the first reading, which therefore is the process's beginning for all practical ends.
#[allow(clippy::disallowed_methods)]
static BEGINNING: LazyLock<Beginning> = LazyLock::new(|| Beginning(monotonic(), Instant::now()));

/// The present on the process's monotonic clock.
pub fn now() -> Moment {
    let Beginning(beginning, _) = *BEGINNING;
    Moment::from_nanos(monotonic().saturating_sub(beginning))
}

/// Nanoseconds of the clock that [`Instant`] reads too. Every request asks several times: as a plain number its reading needs
/// no arithmetic of seconds.
fn monotonic() -> u64 {
    let reading = clock_gettime(ClockId::Monotonic);
    (reading.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(reading.tv_nsec as u64)
}

/// `moment` as the runtime's timers take it.
pub fn instant(moment: Moment) -> tokio::time::Instant {
    // A moment too far off to be told is as good as a century.
    const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    let span = Duration::from_nanos(moment.as_nanos()).min(FAR);
    tokio::time::Instant::from_std(BEGINNING.1 + span)
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
