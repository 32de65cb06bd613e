//! The task of one sink: takes notifications from its queue one by one, and tries until they are delivered or given up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::watch;

use super::{
    alert_book::{Alert, AlertBook},
    delivery::{DeliveryError, Parcel, deliver},
    is_selected, keeps_a_book,
    queue::Queue,
};
use crate::{
    config::model::Sink,
    control::Outbound,
    domain::{Moment, Notification, SinkName},
    lifecycle::clock,
    telemetry::{Event, EventKind, EventSink, NotificationCount},
};

/// Attempts at one delivery.
const ATTEMPTS: u32 = 5;

/// Longest time for all attempts at one delivery: so long the next one waits behind a sink that hangs.
pub(super) const MOST_TIME: Duration = Duration::from_secs(30);

/// Pause after the first failed attempt; it doubles after each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Between two tellings of the alerts that are open.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// A sink that stays dead is reported again after this.
const REPORT_EVERY: Duration = Duration::from_secs(600);

/// What became of a sink's notifications.
#[derive(Debug, Default)]
pub(super) struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    /// One that a full queue lost.
    pub(super) fn drop_one(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }

    /// A count for each result.
    pub(super) fn read(&self, sink: &SinkName) -> [NotificationCount; 3] {
        let count = |result, count: &AtomicU64| NotificationCount {
            sink: sink.clone(),
            result,
            count: count.load(Relaxed),
        };
        [count("sent", &self.sent), count("failed", &self.failed), count("dropped", &self.dropped)]
    }
}

/// Everything that the task of a sink works with.
#[derive(Debug, Clone)]
pub(super) struct Courier {
    pub(super) sink: watch::Receiver<Arc<Sink>>,
    pub(super) queue: Arc<Queue>,
    pub(super) counts: Arc<Counts>,
    pub(super) outbound: Outbound,
    pub(super) events: EventSink,
    /// For all attempts at one delivery.
    pub(super) most_time: Duration,
}

impl Courier {
    /// Delivers for ever.
    pub(super) async fn run(self) {
        let mut book = AlertBook::default();
        let mut trouble = Trouble::default();
        let first = clock::instant(clock::now() + TELL_EVERY);
        let mut tellings = tokio::time::interval_at(first, TELL_EVERY);
        loop {
            let (parcel, taken) = tokio::select! {
                notification = self.queue.pop() => self.parcel(notification, &mut book),
                _ = tellings.tick() => {
                    (Some(Parcel::Alerts(book.again(clock::wall_millis()))), 0)
                }
            };
            match parcel {
                None => {}
                Some(Parcel::Alerts(alerts)) if alerts.is_empty() => {}
                Some(parcel) => self.bring(&parcel, taken.max(1), &mut trouble).await,
            }
            (0..taken).for_each(|_| self.queue.done());
        }
    }

    /// What to bring because of `first`, and how many notifications are in it: with alerts all that wait.
    fn parcel(&self, first: Notification, book: &mut AlertBook) -> (Option<Parcel>, u64) {
        let sink = self.sink.borrow();
        if !keeps_a_book(&sink) {
            let selected = is_selected(&sink, &first);
            return (selected.then(|| Parcel::Notification(Box::new(first))), 1);
        }
        let (mut alerts, mut taken) = (Vec::new(), 0);
        let mut next = Some(first);
        while let Some(notification) = next {
            taken += 1;
            for alert in book.take(&notification, is_selected(&sink, &notification)) {
                // Of one alert, the last word counts.
                alerts.retain(|known: &Alert| !known.is_same(&alert));
                alerts.push(alert);
            }
            next = self.queue.try_pop();
        }
        (Some(Parcel::Alerts(alerts)), taken)
    }

    pub(super) async fn bring(&self, parcel: &Parcel, taken: u64, trouble: &mut Trouble) {
        let id = format!("{:016x}", fastrand::u64(..));
        let mut last = None;
        let ended =
            tokio::time::timeout(self.most_time, self.try_often(parcel, &id, &mut last)).await;
        let ended = ended.unwrap_or_else(|_| {
            let late = format!("not taken within {} ms", self.most_time.as_millis());
            Err(last.unwrap_or(DeliveryError::Passing(late)))
        });
        let name = self.sink.borrow().name.clone();
        let count = if ended.is_ok() { &self.counts.sent } else { &self.counts.failed };
        count.fetch_add(taken, Relaxed);
        let report = match ended {
            Ok(()) => trouble.ends().map(|lost| {
                let message = format!("notifications reach {name} again; {lost} were given up");
                (EventKind::NotifyRecovered, message)
            }),
            Err(error) => trouble.goes_on(clock::now()).then(|| {
                let message = format!("a notification did not reach {name}: {}", error.why());
                (EventKind::NotifyFailed, message)
            }),
        };
        if let Some((kind, message)) = report {
            self.events.report(Event::new(kind, clock::wall_millis(), name.as_str(), message));
        }
    }

    /// Tries until it is taken, or trying is of no use; `last` is why it was not taken so far.
    async fn try_often(
        &self,
        parcel: &Parcel,
        id: &str,
        last: &mut Option<DeliveryError>,
    ) -> Result<(), DeliveryError> {
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let sink = self.sink.borrow().clone();
            let delivered = deliver(parcel, &sink, id, &self.outbound).await;
            let Err(error) = delivered else { return Ok(()) };
            tracing::debug!(sink = %sink.name, attempt, why = error.why(), "not delivered");
            if matches!(error, DeliveryError::Final(_)) || attempt == ATTEMPTS {
                return Err(error);
            }
            *last = Some(error);
            // Several sinks of one receiver do not come back all at once.
            tokio::time::sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
            pause *= 2;
            attempt += 1;
        }
    }
}

/// How long a sink has been dead, so that it is not reported with each notification.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    reported: Option<Moment>,
    lost: u64,
}

impl Trouble {
    /// Whether to report that it is dead at `now`.
    fn goes_on(&mut self, now: Moment) -> bool {
        self.lost += 1;
        let due = self.reported.is_none_or(|at| now.since(at) >= REPORT_EVERY);
        if due {
            self.reported = Some(now);
        }
        due
    }

    /// How many notifications it had lost, when it was dead until now.
    fn ends(&mut self) -> Option<u64> {
        let was = std::mem::take(self);
        was.reported.map(|_| was.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_sink_is_reported_seldom_and_its_recovery_once() {
        let mut trouble = Trouble::default();
        let start = Moment::default();
        assert_eq!(trouble.ends(), None);
        assert!(trouble.goes_on(start));
        assert!(!trouble.goes_on(start + REPORT_EVERY / 2));
        assert!(trouble.goes_on(start + REPORT_EVERY));
        assert_eq!(trouble.ends(), Some(3));
        assert_eq!(trouble.ends(), None);
        assert!(trouble.goes_on(start + REPORT_EVERY), "it is dead anew");
    }
}
