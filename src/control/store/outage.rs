//! When a file that is out of reach is tried again.

use std::time::Duration;

use crate::{domain::Moment, lifecycle::clock};

const FIRST_RETRY: Duration = Duration::from_secs(1);
/// So long a rollback made meanwhile may be unknown to the file at most, once it can be written again. A try is cheap.
const SLOWEST_RETRY: Duration = Duration::from_secs(5);

/// A time without the file: it is tried with pauses that grow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outage {
    retry_at: Moment,
    pause: Duration,
}

impl Outage {
    pub(super) fn begin() -> Self {
        Self { retry_at: clock::now() + FIRST_RETRY, pause: FIRST_RETRY }
    }

    /// Time until the next try.
    pub(super) fn patience(self) -> Duration {
        self.retry_at.since(clock::now())
    }

    /// Whether to try now: it is time, or somebody asks. Only the former makes the next pause longer, so that those who ask
    /// often do not put it off.
    pub(super) fn ends_pause(&mut self, asked: bool) -> bool {
        let now = clock::now();
        let due = now >= self.retry_at;
        if due {
            self.pause = (self.pause * 2).min(SLOWEST_RETRY);
            self.retry_at = now + self.pause;
        }
        due || asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_tried_for_and_puts_nothing_off() {
        let mut outage = Outage::begin();
        assert!(!outage.ends_pause(false), "it is too early");
        let planned = outage.retry_at;
        assert!((0..100).all(|_| outage.ends_pause(true)));
        assert_eq!(outage.retry_at, planned);
    }

    #[test]
    fn pauses_grow_up_to_a_few_seconds() {
        let mut outage = Outage::begin();
        for seconds in [2, 4, 5, 5] {
            outage.retry_at = Moment::default();
            assert!(outage.ends_pause(false));
            assert_eq!(outage.pause.as_secs(), seconds);
        }
    }
}
