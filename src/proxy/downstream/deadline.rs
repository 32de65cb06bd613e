//! By when a connection must have come on, and what follows when it has not.

use std::time::Duration;

use super::{Downstream, Phase};
use crate::{
    domain::{ErrorReason, Moment},
    lifecycle::clock,
    proxy::error::ProxyError,
};

/// How a connection ends whose deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Overdue {
    /// Nothing was under way.
    Quiet,
    /// Within an answer, which the client does not take.
    Torn,
    /// With a word about the request.
    Refused(ProxyError),
}

/// Why a wait is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Expiry {
    /// Nothing came for too long.
    Silence,
    /// The request as a whole took too long.
    Total,
}

impl Downstream {
    pub(in crate::proxy) fn deadline(&self) -> Moment {
        self.deadline.get()
    }

    /// Sets the time by which the request must have come on, and the silence allowed from then on.
    pub(in crate::proxy) fn expect_within(&self, now: Moment, wait: Duration) {
        self.silence.set(wait);
        self.expired.set(false);
        let until = now + wait;
        let deadline = self.total_deadline.get().map_or(until, |total| until.min(total));
        self.deadline.set(deadline);
        if let Some(stream) = &self.stream
            && stream.is_before_timer(deadline)
        {
            self.client.wake();
        }
    }

    /// What a passed deadline means; `None`: the connection goes on, and whoever waits may learn that its wait is over.
    pub(in crate::proxy) fn on_deadline(&self, now: Moment) -> Option<Overdue> {
        match self.phase.get() {
            // The last answer is still on its way to a slow client.
            Phase::Idle if !self.flushed.get() && self.progress.take() => {
                self.deadline.set(now + self.listener.idle_timeout);
                None
            }
            Phase::Idle if !self.flushed.get() => Some(Overdue::Torn),
            Phase::Idle => Some(Overdue::Quiet),
            Phase::Head => Some(Overdue::Refused(ProxyError::new(
                ErrorReason::HeadTimeout,
                "the request's head did not come in time",
            ))),
            Phase::Parsing | Phase::Serving => self.on_deadline_serving(now),
        }
    }

    fn on_deadline_serving(&self, now: Moment) -> Option<Overdue> {
        /// Whoever waits gets the chance to say so; the next look is far off.
        const FAR: Duration = Duration::from_secs(60);
        let over = self.past_total(now);
        let blocked = match &self.stream {
            Some(stream) => stream.is_stalled(),
            None if !over && self.progress.take() => {
                self.expect_within(now, self.silence.get());
                return None;
            }
            None => self.blocked.get(),
        };
        if blocked {
            return Some(Overdue::Torn);
        }
        self.expired.set(true);
        self.deadline.set(now + FAR);
        None
    }

    fn past_total(&self, now: Moment) -> bool {
        self.total_deadline.get().is_some_and(|total| total <= now)
    }

    /// Whether the wait is over; `Total` where the request as a whole took too long.
    pub(in crate::proxy) fn expiry(&self) -> Option<Expiry> {
        if !self.expired.get() {
            return None;
        }
        let total = self.past_total(clock::now());
        Some(if total { Expiry::Total } else { Expiry::Silence })
    }
}
