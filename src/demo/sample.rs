//! A sample server: it answers every request with its name and keeps a list of the sessions that came to it. When it is told
//! to, it fails.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http::{HeaderMap, Request, Response, header};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{
    backstage::{Backstage, Stop},
    side::Side,
};

/// Cookie by which the sample servers know a session, as an application would by its own.
pub(super) const SESSION_COOKIE: &str = "session";
/// Sessions remembered at most.
const MAX_SESSIONS: usize = 10_000;
/// Connections served at once; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1_024;
/// Of so many requests one fails, where some do.
const FAILS_ONE_IN: u64 = 5;
/// What a slow answer takes.
const SLOWNESS: Duration = Duration::from_millis(300);
/// Pause when the system gives no more connections.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Some requests are answered with 500.
    Errors,
    /// Answers take long.
    Slow,
    /// It is gone.
    Down,
}

/// A running sample server.
#[derive(Debug)]
pub(super) struct Sample {
    /// Where it listens.
    pub(super) address: SocketAddr,
    fault: watch::Sender<Option<Fault>>,
    seen: Arc<Mutex<Seen>>,
    _thread: Backstage,
}

/// What came to a server.
#[derive(Debug, Default)]
struct Seen {
    requests: u64,
    /// Requests by session, since they were last taken.
    sessions: BTreeMap<u32, u64>,
}

impl Sample {
    /// Starts a server that answers with the name of `side`, at a free port of the loopback.
    pub(super) fn start(side: Side) -> io::Result<Self> {
        let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let fault = watch::Sender::new(None);
        let server = Server { side, seen: seen.clone(), fault: fault.subscribe() };
        let work = async move |stop| match TcpListener::from_std(socket) {
            Ok(listener) => server.serve(listener, stop).await,
            Err(error) => eprintln!("tidegate: sample server {}: {error}", side.name()),
        };
        Ok(Self { address, fault, seen, _thread: Backstage::start(side.name(), work)? })
    }

    /// From now on it fails in this way.
    pub(super) fn fail(&self, fault: Fault) {
        self.fault.send_replace(Some(fault));
    }

    /// Requests that it has answered.
    pub(super) fn requests(&self) -> u64 {
        lock(&self.seen).requests
    }

    /// Requests by session since the last call.
    pub(super) fn take_sessions(&self) -> BTreeMap<u32, u64> {
        std::mem::take(&mut lock(&self.seen).sessions)
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The server's own side of it.
struct Server {
    side: Side,
    seen: Arc<Mutex<Seen>>,
    fault: watch::Receiver<Option<Fault>>,
}

impl Server {
    async fn serve(&self, listener: TcpListener, mut stop: Stop) {
        let mut connections = FuturesUnordered::new();
        let mut fault = self.fault.clone();
        let down = async move {
            // The owner gone ends the work by `stop`.
            if fault.wait_for(|fault| *fault == Some(Fault::Down)).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let mut down = std::pin::pin!(down);
        loop {
            tokio::select! {
                () = stop.asked() => return,
                () = &mut down => break,
                Some(()) = connections.next() => {}
                accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, _)) => connections.push(self.converse(stream)),
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                },
            }
        }
        // Gone with all its connections, as a process that was killed.
        drop((connections, listener));
        stop.asked().await;
    }

    async fn converse(&self, stream: TcpStream) {
        let answer = service_fn(async |request: Request<Incoming>| {
            let number = note(request.headers(), &mut lock(&self.seen));
            let fault = *self.fault.borrow();
            if fault == Some(Fault::Slow) {
                tokio::time::sleep(SLOWNESS).await;
            }
            let fails = fault == Some(Fault::Errors) && number.is_multiple_of(FAILS_ONE_IN);
            let name = format!("{}\n", self.side.name());
            let mut response = Response::new(Full::new(Bytes::from(name)));
            if fails {
                *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            }
            let plain = http::HeaderValue::from_static("text/plain");
            response.headers_mut().insert(header::CONTENT_TYPE, plain);
            Ok::<_, Infallible>(response)
        });
        // Small answers at once, instead of waiting for more to send.
        let _ = stream.set_nodelay(true);
        // A client that goes away is no fault of ours.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
    }
}

/// Keeps account of a request; tells how many there have been.
fn note(headers: &HeaderMap, seen: &mut Seen) -> u64 {
    seen.requests += 1;
    if let Some(session) = session(headers)
        && (seen.sessions.len() < MAX_SESSIONS || seen.sessions.contains_key(&session))
    {
        *seen.sessions.entry(session).or_default() += 1;
    }
    seen.requests
}

fn session(headers: &HeaderMap) -> Option<u32> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    let mut pairs = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(SESSION_COOKIE)?.strip_prefix('=')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_counted_by_its_cookie() {
        let mut seen = Seen::default();
        for line in ["a=b; session=7", "session=7; c=d", "session=x", "session=9"] {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, http::HeaderValue::from_static(line));
            note(&headers, &mut seen);
        }
        assert_eq!(seen.requests, 4);
        assert_eq!(seen.sessions, BTreeMap::from([(7, 2), (9, 1)]));
    }

    #[test]
    fn the_list_of_sessions_is_bounded() {
        let mut seen = Seen::default();
        for session in 0..MAX_SESSIONS + 5 {
            let mut headers = HeaderMap::new();
            let cookie = format!("{SESSION_COOKIE}={session}");
            headers.insert(header::COOKIE, cookie.parse().unwrap());
            note(&headers, &mut seen);
        }
        assert_eq!(seen.sessions.len(), MAX_SESSIONS);
    }
}
