//! The requests under way over one connection: each a task, watched by the connection's one timer.

use std::{cell::RefCell, convert::Infallible, future::poll_fn, pin::pin, rc::Rc, task::Poll};

use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    rt::Executor,
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;

use super::{request, websocket};
use crate::{
    domain::{Moment, Queue},
    lifecycle::clock,
    proxy::{
        body::ResponseBody,
        downstream::{Client, Downstream, Shared},
        listener::CONNECTION_TASK,
        pipeline,
        tunnel::TunnelClient,
    },
};

/// The open streams of one connection.
pub(super) struct Streams {
    /// The connection itself, which has a deadline while no stream is open.
    main: Rc<Downstream>,
    pub(super) shared: Rc<Shared>,
    open: RefCell<Vec<Rc<Downstream>>>,
    /// The stream whose service has been called, and whose task follows.
    newcomer: RefCell<Option<Rc<Downstream>>>,
}

impl Streams {
    pub(super) fn new(main: Rc<Downstream>) -> Rc<Self> {
        let (shared, open, newcomer) = <(Rc<Shared>, RefCell<_>, RefCell<_>)>::default();
        Rc::new(Self { main, shared, open, newcomer })
    }

    fn client(&self) -> &Rc<Client> {
        self.main.client()
    }

    /// Takes a request; its task is spawned by the library right after.
    pub(super) fn begin(
        self: &Rc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + 'static + use<> {
        let stream = Downstream::of_stream(self.client().clone(), self.shared.clone());
        *self.newcomer.borrow_mut() = Some(stream.clone());
        // Boxed: the task around it is made in several layers, each of which would move and hold it anew.
        Box::pin(serve(self.clone(), stream, request))
    }

    /// When something must have happened next.
    pub(super) fn deadline(&self) -> Moment {
        let open = self.open.borrow();
        let earliest = open.iter().map(|stream| stream.deadline()).min();
        earliest.map_or_else(|| self.main.deadline(), |at| at.min(self.main.deadline()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    /// Lets every stream look whether it still should wait.
    pub(super) fn wake_all(&self) {
        self.open.borrow().iter().for_each(|stream| stream.wake());
    }

    /// Acts on the deadlines that have passed. A stream whose client leaves no room for its answer is given up.
    pub(super) fn look(&self, now: Moment) {
        let open = self.open.borrow();
        for stream in open.iter().filter(|stream| stream.deadline() <= now) {
            if stream.on_deadline(now).is_some() {
                self.client().worker.shard().overflow(Queue::Http2Stalled);
                stream.abandon();
            } else {
                stream.wake();
            }
        }
    }

    fn enter(self: &Rc<Self>, stream: Rc<Downstream>) -> Open {
        self.open.borrow_mut().push(stream.clone());
        Open { streams: self.clone(), stream }
    }
}

async fn serve(
    streams: Rc<Streams>,
    stream: Rc<Downstream>,
    mut request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let worker = &stream.worker;
    match websocket::translate(&mut request, || worker.random()) {
        None => answer(stream, request).await,
        Some((opened, accept)) => {
            stream.await_tunnel(accept);
            Box::pin(open_tunnel(streams, stream, request, opened)).await
        }
    }
}

/// Serves a request that asks for a tunnel; only an endpoint that agrees makes it one.
async fn open_tunnel(
    streams: Rc<Streams>,
    stream: Rc<Downstream>,
    request: Request<Incoming>,
    opened: OnUpgrade,
) -> Result<Response<ResponseBody>, Infallible> {
    let mut response = answer(stream.clone(), request).await?;
    if let Some(tunnel) = stream.take_tunnel() {
        websocket::opened(&mut response);
        if let Some(entry) = &response.body().entry {
            entry.answers(response.status().as_u16(), response.headers());
        }
        let open = streams.enter(stream.clone());
        let running = async move {
            let Ok(opened) = opened.await else { return };
            open.stream.begin_tunnel();
            let client = TunnelClient::Stream(TokioIo::new(opened), open.stream.clone());
            // However it ends, it is over.
            let _ = tunnel.run(client, &[]).await;
        };
        let tasks = stream.worker.tasks().clone();
        tasks.spawn_local(CONNECTION_TASK, with_turns(stream, running));
    }
    Ok(response)
}

/// Runs `future` as the stream's task, until the stream is given up.
async fn with_turns(stream: Rc<Downstream>, future: impl Future<Output = ()>) {
    let mut future = pin!(future);
    poll_fn(|cx| {
        stream.begin_stream_turn(cx);
        if stream.is_abandoned() { Poll::Ready(()) } else { future.as_mut().poll(cx) }
    })
    .await;
}

async fn answer(
    stream: Rc<Downstream>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let (mut parts, body) = request.into_parts();
    match request::admit(&mut parts, body.is_end_stream(), stream.listener.max_headers) {
        Ok(framing) => {
            stream.take_head(request::write(&parts), framing);
            Ok(pipeline::serve(&stream, &mut parts, body).await)
        }
        Err(error) => Ok(pipeline::refuse_head(&stream, error, &parts.headers)),
    }
}

/// A stream's place among the open ones.
struct Open {
    streams: Rc<Streams>,
    stream: Rc<Downstream>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.streams.open.borrow_mut();
        if let Some(at) = open.iter().position(|other| Rc::ptr_eq(other, &self.stream)) {
            open.swap_remove(at);
        }
        if self.stream.is_answered() {
            self.streams.shared.budget.answered();
        }
        if open.is_empty() {
            self.streams.main.rest_from(clock::now());
            // Its deadline may be earlier than what the timer is set for.
            self.streams.client().wake();
        }
    }
}

/// Runs what the library wants run: above all the tasks of streams.
#[derive(Clone)]
pub(super) struct Spawner(pub(super) Rc<Streams>);

impl<F: Future<Output = ()> + 'static> Executor<F> for Spawner {
    fn execute(&self, future: F) {
        let tasks = self.0.client().worker.tasks();
        let Some(stream) = self.0.newcomer.take() else {
            tasks.spawn_local(CONNECTION_TASK, future);
            return;
        };
        let open = self.0.enter(stream);
        let stream = open.stream.clone();
        let future = Box::pin(future);
        tasks.spawn_local(CONNECTION_TASK, async move {
            with_turns(stream, future).await;
            drop(open);
        });
    }
}
