//! Copies of requests for another backend: sent beside the request, never before it, and nothing waits for them.
//!
//! [`begin`] is the one hook on a request's way. Where a route has a mirror and the request's bucket is one of those that it
//! copies, a task of its own takes a copy of the head, and then of the body as it passes (`pipe`). The task has its own
//! connection, its own time, a seat among a bounded number, and no say about the request. The answer is dropped once it has
//! been compared (`witness`) with what the client got.
//!
//! A copy is no attempt: it is in no series of its backend, moves no rollout's reflexes, is never sent again and never falls
//! back.

mod desk;
mod errand;
mod pipe;
mod unpack;
mod witness;

use std::{cell::Cell, rc::Rc, sync::Arc};

use http::{HeaderMap, Method, Uri, header::EXPECT, request, response};
use hyper::body::Body;

pub(super) use self::{
    desk::Desk,
    pipe::{CopiedBody, Tee},
    witness::Witness,
};
use self::{
    errand::Errand,
    pipe::Pipe,
    witness::{Meeting, Taker},
};
use super::{
    context::{Choice, RequestContext},
    forward::Sending,
};
use crate::{
    domain::{MirrorDepth, MirrorOutcome, Queue},
    routing::Mirror,
};

/// What a copy is known by.
const MARK: &[u8] = b"x-tidegate-mirror: 1\r\n";

/// What a request carries for its copy; nothing for nearly all.
#[derive(Default)]
pub(super) struct Copying(Cell<Option<Box<Ends>>>);

/// The request's ends of what connects it to its copy.
struct Ends {
    tee: Option<Tee>,
    witness: Option<Witness>,
    depth: MirrorDepth,
}

/// A request's head as it goes to an endpoint.
#[derive(Clone)]
struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    /// Lines that Tidegate adds.
    added: Vec<u8>,
}

/// Sends a copy of the request on its way, if its route has a mirror that wants one.
pub(super) fn begin(
    context: &RequestContext,
    choice: &Choice,
    parts: &request::Parts,
    sending: &Sending,
) {
    if let Some(mirror) = &context.route(choice).mirror
        && wants(mirror, context, choice)
    {
        start(mirror, context, choice, parts, sending);
    }
}

/// Whether `mirror` copies this request.
///
/// The highest buckets are copied: whole sessions, and those that a rollout's canary gets last. What an override or a
/// fallback decided is left out, and so is what goes to the mirror anyway, or is a copy itself.
fn wants(mirror: &Mirror, context: &RequestContext, choice: &Choice) -> bool {
    let share = mirror.rules.share.basis_points();
    let chosen = choice.bucket.is_some_and(|bucket| bucket.number() + share >= 10_000);
    chosen
        && choice.is_sample
        && context.target(choice).backend != mirror.backend
        && context.upgrade.is_none()
        && !(context.is_trusted && context.seen.is_mirrored())
        && mirror.rules.methods.contains(&context.method)
}

#[cold]
#[inline(never)]
fn start(
    mirror: &Arc<Mirror>,
    context: &RequestContext,
    choice: &Choice,
    parts: &request::Parts,
    sending: &Sending,
) {
    let worker = &context.downstream.worker;
    let (desk, rules) = (worker.mirrors(), &mirror.rules);
    let refuse = |outcome| worker.shard().mirrored(mirror.series, outcome);
    let (has_body, exact) = match sending {
        Sending::Streamed(body) => (!body.is_end_stream(), body.size_hint().exact()),
        Sending::Kept(_) => (false, Some(0)),
    };
    if exact.is_some_and(|exact| exact > rules.max_body) {
        return refuse(MirrorOutcome::TooLarge);
    }
    let Some(seat) = desk.seat(rules.max_in_flight) else {
        worker.shard().overflow(Queue::Mirror);
        return refuse(MirrorOutcome::NoRoom);
    };
    let pipe = has_body.then(|| Pipe::new(rules.max_body, desk.room()));
    let meeting = (rules.compare > MirrorDepth::Off).then(Rc::<Meeting>::default);
    context.mirror.0.set(Some(Box::new(Ends {
        tee: pipe.clone().map(Tee::new),
        witness: meeting.clone().map(Witness::new),
        depth: rules.compare,
    })));
    let errand = Errand {
        worker: worker.clone(),
        table: context.table.clone(),
        mirror: mirror.clone(),
        route: choice.route,
        original: context.target(choice).backend,
        key: choice.key.map(|key| key.0),
        head: head(context, parts),
        body: pipe.map(|pipe| (pipe, exact)),
        meeting,
        _seat: seat,
    };
    worker.tasks().spawn_local("mirror", errand.run());
}

/// The head of the copy: the same, and marked.
fn head(context: &RequestContext, parts: &request::Parts) -> Head {
    let mut headers = parts.headers.clone();
    // The body comes when the client has been asked for it, by the other endpoint.
    headers.remove(EXPECT);
    let mut added = context.downstream.added().clone();
    added.extend_from_slice(MARK);
    Head { method: parts.method.clone(), uri: parts.uri.clone(), headers, added }
}

impl Copying {
    /// Where the request's body is copied to; given once.
    pub(super) fn tee(&self) -> Option<Tee> {
        self.with(|ends| ends.tee.take())
    }

    /// Who sees the client's answer; given once, and only if it is from the backend that the copy is compared with.
    pub(super) fn witness(
        &self,
        context: &RequestContext,
        choice: &Choice,
        parts: &response::Parts,
    ) -> Option<Box<Witness>> {
        self.with(|ends| {
            let mut witness = ends.witness.take().filter(|_| choice.is_sample)?;
            let room = context.downstream.worker.mirrors().room();
            witness.begin(Taker::new(ends.depth, parts, room));
            Some(Box::new(witness))
        })
    }

    fn with<T>(&self, take: impl FnOnce(&mut Ends) -> Option<T>) -> Option<T> {
        let mut ends = self.0.take()?;
        let taken = take(&mut ends);
        self.0.set(Some(ends));
        taken
    }
}
