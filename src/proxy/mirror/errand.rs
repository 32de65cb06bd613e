//! One copy on its way: sent, answered, compared, and counted once.

use std::{future::poll_fn, rc::Rc, sync::Arc, task::Poll};

use http::{Request, StatusCode};

use super::{
    CopiedBody, Head,
    desk::Seat,
    pipe::{Outlet, Pipe},
    witness::{Kept, Meeting, Taker},
};
use crate::{
    decision::difference::{Difference, compare},
    domain::{ErrorReason, MirrorOutcome, MirrorResult, Moment},
    lifecycle::clock,
    proxy::{
        body::RequestBody,
        upstream::{UpstreamConnection, connect},
        worker::Worker,
    },
    routing::{Asking, LocalTable, Mirror},
    telemetry::{Event, EventKind},
};

/// A copy and what it takes along.
pub(super) struct Errand {
    pub(super) worker: Rc<Worker>,
    pub(super) table: LocalTable,
    pub(super) mirror: Arc<Mirror>,
    /// Place of the request's route.
    pub(super) route: usize,
    /// Place of the backend that answers the client.
    pub(super) original: usize,
    /// What tells its session from others, for a balance that goes by it.
    pub(super) key: Option<u64>,
    pub(super) head: Head,
    /// What the body comes through, and its length where that is known.
    pub(super) body: Option<(Rc<Pipe>, Option<u64>)>,
    /// Where the client's answer comes, if it is to be compared.
    pub(super) meeting: Option<Rc<Meeting>>,
    pub(super) _seat: Seat,
}

/// Counts a copy when it ends, also where its task is ended with the worker.
struct Count<'e> {
    errand: &'e Errand,
    outcome: MirrorOutcome,
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.errand.worker.shard().mirrored(self.errand.mirror.series, self.outcome);
    }
}

impl Errand {
    /// Sends the copy, and a second one to the backend that answers the client where noise is to be learnt.
    pub(super) async fn run(mut self) {
        let (begun, body) = (clock::now(), self.body.take());
        let until = begun + self.mirror.rules.timeout;
        let errand = &self;
        let wants_pair = errand.wants_pair(body.is_none(), begun);
        let copy = async {
            let mut count = Count { errand, outcome: MirrorOutcome::Cut };
            let copy = errand.within(until, errand.exchange(errand.mirror.backend, body)).await;
            count.outcome = copy.as_ref().err().copied().unwrap_or(MirrorOutcome::Answered);
            copy
        };
        let pair = async {
            if wants_pair {
                Some(errand.within(until, errand.exchange(errand.original, None)).await)
            } else {
                None
            }
        };
        let (copy, pair) = tokio::join!(copy, pair);
        if let Some(meeting) = &errand.meeting {
            errand.compare(meeting, until, copy, pair).await;
        }
    }

    /// Only what changes nothing and has no body is sent twice to the backend that answers, and only while that has room.
    fn wants_pair(&self, is_empty: bool, now: Moment) -> bool {
        is_empty
            && self.head.method.is_safe()
            && self.mirror.wants_pair(self.worker.random())
            && self.table.has_room(self.original, self.worker.index(), now)
    }

    async fn within<T>(
        &self,
        until: Moment,
        future: impl Future<Output = Result<T, MirrorOutcome>>,
    ) -> Result<T, MirrorOutcome> {
        let ended = tokio::time::timeout_at(clock::instant(until), future).await;
        ended.unwrap_or(Err(MirrorOutcome::Late))
    }

    /// Asks an endpoint of a backend, and keeps of its answer what is compared.
    async fn exchange(
        &self,
        backend: usize,
        body: Option<(Rc<Pipe>, Option<u64>)>,
    ) -> Result<Kept, MirrorOutcome> {
        let live = &self.table.backends()[backend];
        let worker = &self.worker;
        let pipe = body.as_ref().map(|(pipe, _)| Outlet(pipe.clone()));
        let request = self.request(body);
        let (number, now) = (self.key.unwrap_or_else(|| worker.random()), clock::now());
        let asking = Asking { worker: worker.index(), now, number, tried: None };
        let endpoint = &live.endpoints[live.pick(asking).ok_or(MirrorOutcome::Failed)?];
        // It is never sent again: so to a connection that is surely alive.
        let pooled = worker.pools().take(live, endpoint, live.protocol, true, now);
        let mut upstream = match pooled {
            Some(upstream) => upstream,
            None => {
                let patience = self.table.routes()[self.route].timeouts.connect;
                let opened = connect(worker, live, endpoint, live.protocol, patience).await;
                opened.map_err(|error| match error.reason() == ErrorReason::Internal {
                    true => MirrorOutcome::NoRoom,
                    false => MirrorOutcome::Failed,
                })?
            }
        };
        let kept = self.ask(&mut upstream, request, pipe.as_ref().map(|outlet| &*outlet.0)).await?;
        if upstream.finish(clock::now()) {
            worker.pools().put(live, endpoint, upstream);
        }
        Ok(kept)
    }

    fn request(&self, body: Option<(Rc<Pipe>, Option<u64>)>) -> Request<RequestBody> {
        let body = body.map(|(pipe, exact)| RequestBody::copied(CopiedBody::new(pipe, exact)));
        let mut request = Request::new(body.unwrap_or(RequestBody::empty()));
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = self.head.uri.clone();
        *request.headers_mut() = self.head.headers.clone();
        request
    }

    /// Sends `request` and takes the answer in, for as long as the body's copy is not given up.
    async fn ask(
        &self,
        upstream: &mut UpstreamConnection,
        request: Request<RequestBody>,
        pipe: Option<&Pipe>,
    ) -> Result<Kept, MirrorOutcome> {
        upstream.begin_apart(self.head.added.clone());
        let (mut parts, body) = request.into_parts();
        upstream.send(&mut parts, body);
        let answer = poll_fn(|cx| match pipe.and_then(|pipe| pipe.watch(cx)) {
            Some(outcome) => Poll::Ready(Err(outcome)),
            None => {
                let polled = upstream.poll_response(cx);
                polled.map_err(|_| MirrorOutcome::Failed)
            }
        });
        let parts = answer.await?;
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(MirrorOutcome::Failed);
        }
        let room = self.worker.mirrors().room();
        let mut taker = Taker::new(self.mirror.rules.compare, &parts, room);
        while !upstream.is_end_stream() {
            let frame = poll_fn(|cx| match pipe.and_then(|pipe| pipe.watch(cx)) {
                Some(outcome) => Poll::Ready(Some(Err(outcome))),
                None => {
                    let polled = upstream.poll_frame(cx);
                    polled.map(|frame| frame.map(|frame| frame.map_err(|_| MirrorOutcome::Failed)))
                }
            });
            match frame.await {
                Some(frame) => taker.see(&frame?),
                None => break,
            }
        }
        Ok(taker.finish())
    }

    /// Holds the copy's answer against the client's, once that is there.
    async fn compare(
        &self,
        meeting: &Meeting,
        until: Moment,
        copy: Result<Kept, MirrorOutcome>,
        pair: Option<Result<Kept, MirrorOutcome>>,
    ) {
        let mut copy = match copy {
            Ok(kept) => Some(kept),
            // Whoever gives no answer differs from whoever gives one.
            Err(MirrorOutcome::Failed | MirrorOutcome::Late) => None,
            Err(
                MirrorOutcome::Answered
                | MirrorOutcome::TooLarge
                | MirrorOutcome::Slow
                | MirrorOutcome::NoRoom
                | MirrorOutcome::Cut,
            ) => return,
        };
        let known = async { meeting.client().await.ok_or(MirrorOutcome::Cut) };
        let Ok(mut known) = self.within(until, known).await else {
            return self.count(MirrorResult::Unanswered);
        };
        let mut pair = pair.map(Result::ok);
        let mut others: Vec<_> = copy.iter_mut().chain(pair.iter_mut().flatten()).collect();
        let hash = known.answer.body.hash;
        if others.iter().any(|other| other.answer.body.hash != hash) {
            known.unpack();
            others.iter_mut().for_each(|other| other.unpack());
        }
        let depth = self.mirror.rules.compare;
        let differences =
            |other: Option<&Kept>| compare(depth, &known.answer, other.map(|kept| &kept.answer));
        if let Some(noise) = pair.and_then(|pair| differences(pair.as_ref())) {
            self.mirror.learn(&noise);
        }
        let Some(found) = differences(copy.as_ref()) else {
            return self.count(MirrorResult::TooLarge);
        };
        let finding = self.mirror.judge(found, clock::now());
        self.tell(&finding.news);
        self.count(finding.result);
    }

    /// Counts for the metrics, and for the judge where a rollout tries the mirror's backend at the present weights.
    fn count(&self, result: MirrorResult) {
        let shard = self.worker.shard();
        shard.compared(self.mirror.series, result);
        let route = &self.table.routes()[self.route];
        let Some(rollout) = route.rollout.as_ref().filter(|rollout| rollout.is_current()) else {
            return;
        };
        let canary = &route.targets[rollout.canary];
        if let Some(judged) = canary.judged.filter(|_| canary.backend == self.mirror.backend) {
            shard.compared(judged, result);
        }
    }

    /// Tells operators of differences: where they are, never what stands there.
    fn tell(&self, news: &[Difference]) {
        if news.is_empty() {
            return;
        }
        let backends = self.table.backends();
        let (to, original) = (&backends[self.mirror.backend].name, &backends[self.original].name);
        let places: Vec<_> = news.iter().map(ToString::to_string).collect();
        let message = format!("{to} answers otherwise than {original}: {}", places.join(", "));
        let route = self.table.routes()[self.route].name.as_str();
        let event = Event::new(EventKind::MirrorDiffers, clock::wall_millis(), route, message);
        self.worker.events().report(event);
    }
}
