//! The trace of one request: whether it is recorded, and under which ids.
//!
//! A request that is recorded has a span of its own and one for each attempt; what they say is collected with the request's
//! `Entry`, which writes them. The others have nothing but the header that goes on.

mod parent;

use std::cell::{Cell, RefCell};

use http::{HeaderMap, Uri};

pub(super) use self::parent::{TRACEPARENT, TRACESTATE, TraceParent, not_zero};
use super::{downstream::Downstream, headers::Survey, hex};
use crate::{
    decision::{sampling::is_sampled, split::Bucket},
    domain::{ErrorReason, Moment, Outcome},
    lifecycle::clock,
    routing::LocalTable,
};

/// What is known of a recorded request beside its entry.
pub(super) struct Trace {
    /// The trace, its flags, and the span that the client says the request is a part of; its own where it says none.
    given: TraceParent,
    has_parent: bool,
    /// The request's own span.
    pub(super) span: u64,
    /// A moment on the process's clock and on the wall's, in nanoseconds of Unix time.
    clocks: (Moment, u64),
    pub(super) bucket: Cell<Option<Bucket>>,
    /// The span of the present attempt.
    attempt: Cell<u64>,
    /// Attempts that have begun.
    attempts: Cell<u32>,
    /// What the present attempt asks for.
    target: RefCell<Option<Uri>>,
    /// An attempt that is counted and goes on, as a tunnel.
    open: Cell<Option<Ended>>,
}

/// An attempt that is over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) begun: Moment,
    pub(super) outcome: Outcome,
    /// Why it failed, where no answer says so.
    pub(super) reason: Option<ErrorReason>,
    /// The status of gRPC.
    pub(super) call: Option<u16>,
}

impl Trace {
    /// Begins the trace of a request whose head was complete at `begun`; `None` for one that is not recorded.
    pub(super) fn begin(
        downstream: &Downstream,
        table: &LocalTable,
        headers: &HeaderMap,
        seen: Survey,
        begun: Moment,
    ) -> Option<Box<Self>> {
        let rules = table.traces()?;
        let worker = &downstream.worker;
        let is_heard = seen.has(Survey::TRACE) && downstream.is_trusted(downstream.peer.ip());
        let told = if is_heard { TraceParent::of(headers) } else { None };
        if !is_sampled(told.map(TraceParent::is_sampled), rules.sample, worker.random()) {
            return None;
        }
        let parent = if seen.has(Survey::TRACE) { TraceParent::of(headers) } else { None };
        Some(Box::new(Self {
            given: parent.unwrap_or_else(|| TraceParent::begun(|| worker.random())),
            has_parent: parent.is_some(),
            span: not_zero(|| worker.random()),
            clocks: (begun, clock::wall_nanos()),
            bucket: Cell::new(None),
            attempt: Cell::new(0),
            attempts: Cell::new(0),
            target: RefCell::default(),
            open: Cell::new(None),
        }))
    }

    /// The trace's id.
    pub(super) const fn id(&self) -> u128 {
        self.given.trace
    }

    /// The client's span, if it says that the request is a part of one.
    pub(super) fn parent(&self) -> Option<u64> {
        self.has_parent.then_some(self.given.span)
    }

    /// `moment` in nanoseconds of Unix time: within a trace, times differ as the process's own clock has them.
    pub(super) fn wall_ns(&self, moment: Moment) -> u64 {
        let (begun, wall) = self.clocks;
        let later = moment.as_nanos().saturating_sub(begun.as_nanos());
        wall.saturating_add(later)
    }

    /// What the endpoint of the present attempt is told.
    pub(super) const fn onwards(&self) -> TraceParent {
        self.given.next(self.attempt.get(), true)
    }

    /// The present attempt's span, and how many came before it.
    pub(super) fn attempt(&self) -> (u64, u32) {
        (self.attempt.get(), self.attempts.get().saturating_sub(1))
    }

    /// What the present attempt asks for.
    pub(super) fn target(&self) -> Option<Uri> {
        self.target.borrow().clone()
    }

    /// The present attempt asks for `target`.
    pub(super) fn asks_for(&self, target: &Uri) {
        *self.target.borrow_mut() = Some(target.clone());
    }

    /// An attempt begins. A head that has been made for the one before it is changed to name the new one.
    pub(super) fn begin_attempt(&self, downstream: &Downstream) {
        let span = not_zero(|| downstream.worker.random());
        let before = self.attempt.replace(span);
        self.attempts.set(self.attempts.get().saturating_add(1));
        if before != 0 {
            rename(&mut downstream.added_mut(), before, span);
        }
    }

    /// The attempt goes on beyond its count: it is over when it is taken.
    pub(super) fn keep_open(&self, ended: Ended) {
        self.open.set(Some(ended));
    }

    /// The attempt that has been kept open.
    pub(super) fn take_open(&self) -> Option<Ended> {
        self.open.take()
    }
}

/// Puts span `after` in the place of span `before` into the line `traceparent` among `added`, if there is one.
fn rename(added: &mut [u8], before: u64, after: u64) {
    const NAME: &[u8] = b"traceparent: ";
    const SPAN: std::ops::Range<usize> = 36..52;
    let mut lines = added.split_mut(|byte| *byte == b'\n');
    let value = lines.find_map(|line| {
        let (name, value) = line.split_at_mut_checked(NAME.len())?;
        (name == NAME).then_some(value)
    });
    if let Some(span) = value.and_then(|value| value.get_mut(SPAN))
        && *span == hex::digits(before)
    {
        span.copy_from_slice(&hex::digits(after));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_line_is_renamed() {
        let parent = TraceParent::begun(|| 0xabc).next(0xabc, true);
        let text = parent.text();
        let text = str::from_utf8(&text).unwrap();
        let mut added =
            format!("x-a: 0000000000000abc\r\ntraceparent: {text}\r\nx-b: 1\r\n").into_bytes();
        let same = added.clone();
        rename(&mut added, 0xdef, 0x123);
        assert_eq!(added, same, "another span's line is not touched");
        rename(&mut added, 0xabc, 0x123);
        let renamed = parent.next(0x123, true).text();
        let renamed = str::from_utf8(&renamed).unwrap();
        let wanted = format!("x-a: 0000000000000abc\r\ntraceparent: {renamed}\r\nx-b: 1\r\n");
        assert_eq!(String::from_utf8(added).unwrap(), wanted);
        rename(&mut Vec::new(), 1, 2);
        rename(&mut b"traceparent: 00-short\r\n".to_vec(), 1, 2);
    }
}
