//! Whether a client that is waited for comes on fast enough.
//!
//! Only time in which the client alone is waited for counts, and only when it has added up to a while is it held against what
//! passed in it. One who says nothing at all is for the timeouts.

use std::time::Duration;

use crate::domain::Moment;

/// Waiting of less than this is judged by nobody.
const GRACE: Duration = Duration::from_secs(10);

/// Bytes, and the waits for them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    since: Option<Moment>,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// The client is waited for from `now` on, unless it is already.
    pub(super) fn wait(&mut self, now: Moment) {
        self.since.get_or_insert(now);
    }

    /// So many bytes passed; `false` when those of the last while were fewer than `least` a second.
    pub(super) fn pass(&mut self, bytes: u64, now: Moment, least: u64) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        if let Some(since) = self.since.take() {
            self.waited += now.since(since);
        }
        if self.waited < GRACE {
            return true;
        }
        let wanted = u128::from(least) * self.waited.as_millis() / 1_000;
        let enough = u128::from(self.bytes) >= wanted;
        *self = Self::default();
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    /// Waits a second for each of `parts`.
    fn seconds(pace: &mut Pace, parts: &[u64], least: u64) -> Vec<bool> {
        let each = parts.iter().zip((0..).step_by(2));
        each.map(|(bytes, second)| {
            pace.wait(at(second));
            pace.wait(at(second) + Duration::from_millis(500));
            pace.pass(*bytes, at(second + 1), least)
        })
        .collect()
    }

    #[test]
    fn a_while_of_waiting_is_held_against_its_bytes() {
        assert!(seconds(&mut Pace::default(), &[100; 40], 100).iter().all(|enough| *enough));
        let slow = seconds(&mut Pace::default(), &[99; 10], 100);
        assert_eq!(slow, [[true; 9].as_slice(), &[false]].concat());
        let burst = [[0; 9].as_slice(), &[1_000]].concat();
        assert!(seconds(&mut Pace::default(), &burst, 100).iter().all(|enough| *enough));
        let stops = [[1_000_000].as_slice(), &[1; 20]].concat();
        assert!(!seconds(&mut Pace::default(), &stops, 100).iter().all(|enough| *enough));
    }

    #[test]
    fn time_in_which_the_client_is_not_waited_for_is_not_its_own() {
        let mut pace = Pace::default();
        for second in 0..1_000 {
            assert!(pace.pass(1, at(second), 1 << 20));
        }
    }
}
