//! Load over HTTP/2 by the library `h2` as a client: connections that are kept, several requests under way on each, and
//! WebSockets on a stream.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, client::SendRequest, ext::Protocol};
use http::{Method, Request};
use tokio::{net::TcpStream, runtime::Runtime, task::JoinSet, time::timeout};

use crate::support::PATIENCE;

const CONNECTIONS: usize = 3;
const STREAMS: usize = 4;

/// What one connection has seen, or all.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) answered: u64,
    /// Connections that ended with a GOAWAY.
    pub(crate) sent_away: u64,
    /// Requests beyond the last stream of a GOAWAY, which are sent again (RFC 9113 §6.8).
    pub(crate) sent_again: u64,
    faults: Vec<String>,
}

/// How a request ended that was not answered well.
enum Lost {
    /// The connection takes no more, or did not look at it: another one will.
    Unprocessed,
    Failed(String),
}

/// Constant load until it is finished.
pub(crate) struct LoadHttp2 {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
}

impl LoadHttp2 {
    /// Asks for the same again and again.
    pub(crate) fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            runtime().block_on(async {
                let mut clients = JoinSet::new();
                for _ in 0..CONNECTIONS {
                    clients.spawn(ask_until(Arc::clone(&seen), address));
                }
                let mut whole = Tally::default();
                while let Some(part) = clients.join_next().await {
                    whole.add(part.unwrap());
                }
                whole
            })
        });
        Self { stop, thread }
    }

    /// Ends the load; fails if a single request did.
    pub(crate) fn finish(self) -> Tally {
        self.stop.store(true, Relaxed);
        let whole = self.thread.join().unwrap();
        assert!(whole.faults.is_empty(), "{} failed: {whole:?}", whole.faults.len());
        whole
    }
}

impl Tally {
    fn add(&mut self, part: Self) {
        self.answered += part.answered;
        self.sent_away += part.sent_away;
        self.sent_again += part.sent_again;
        self.faults.extend(part.faults);
    }
}

/// One client: a connection until it is sent away, then the next.
async fn ask_until(stop: Arc<AtomicBool>, address: SocketAddr) -> Tally {
    let mut tally = Tally::default();
    while !stop.load(Relaxed) {
        match connected(&stop, address).await {
            Ok(part) => tally.add(part),
            Err(fault) => tally.faults.push(fault),
        }
    }
    tally
}

/// Asks over one connection until that takes no more.
async fn connected(stop: &Arc<AtomicBool>, address: SocketAddr) -> Result<Tally, String> {
    let named = |what: &str, error: &dyn std::error::Error| format!("{what}: {error}");
    let socket = timeout(PATIENCE, TcpStream::connect(address)).await;
    let socket = socket.map_err(|late| named("connecting", &late))?;
    let socket = socket.map_err(|error| named("connecting", &error))?;
    let shaken = timeout(PATIENCE, h2::client::handshake(socket)).await;
    let shaken = shaken.map_err(|late| named("the preface", &late))?;
    let (requests, connection) = shaken.map_err(|error| named("the preface", &error))?;
    let driver = tokio::spawn(connection);
    let mut streams = JoinSet::new();
    for _ in 0..STREAMS {
        streams.spawn(ask_on_streams(Arc::clone(stop), requests.clone()));
    }
    drop(requests);
    let mut tally = Tally::default();
    while let Some(part) = streams.join_next().await {
        tally.add(part.unwrap());
    }
    // When nobody asks any more it ends by itself, and says how.
    let ended = timeout(PATIENCE, driver).await.map_err(|late| named("its end", &late))?;
    match ended.unwrap() {
        Ok(()) => {}
        Err(error) if error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR) => {}
        Err(error) => return Err(named("a connection", &error)),
    }
    if !stop.load(Relaxed) {
        tally.sent_away += 1;
    }
    Ok(tally)
}

/// Asks over one stream after the other, until the connection takes no more.
async fn ask_on_streams(stop: Arc<AtomicBool>, requests: SendRequest<Bytes>) -> Tally {
    let mut tally = Tally::default();
    while !stop.load(Relaxed) {
        match timeout(PATIENCE, ask(requests.clone(), &mut tally)).await {
            Ok(Ok(())) => tally.answered += 1,
            Ok(Err(Lost::Unprocessed)) => break,
            Ok(Err(Lost::Failed(fault))) => tally.faults.push(fault),
            Err(_) => tally.faults.push("no answer".into()),
        }
        // A pace that leaves the machine to others as well.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tally
}

async fn ask(requests: SendRequest<Bytes>, tally: &mut Tally) -> Result<(), Lost> {
    // Before a request is sent nothing is lost with the connection.
    let mut requests = requests.ready().await.map_err(|_| Lost::Unprocessed)?;
    let request = Request::get("http://test/").body(()).unwrap();
    let (answer, _) = requests.send_request(request, true).map_err(|_| Lost::Unprocessed)?;
    let answer = match answer.await {
        Ok(answer) => answer,
        // The library fails those streams alone that are beyond the last one that the server names.
        Err(error) if error.is_go_away() && error.is_remote() => {
            tally.sent_again += 1;
            return Err(Lost::Unprocessed);
        }
        Err(error) => return Err(Lost::Failed(format!("an answer: {error}"))),
    };
    if answer.status() != 200 {
        return Err(Lost::Failed(answer.status().to_string()));
    }
    let mut body = answer.into_body();
    let mut read = Vec::new();
    while let Some(part) = body.data().await {
        let part = part.map_err(|error| Lost::Failed(format!("a body: {error}")))?;
        body.flow_control().release_capacity(part.len()).ok();
        read.extend_from_slice(&part);
    }
    if read != b"blue" {
        return Err(Lost::Failed(format!("a body of {} bytes", read.len())));
    }
    Ok(())
}

/// A WebSocket over a stream of its own connection (RFC 8441), whose messages are short texts.
pub(crate) struct SocketHttp2 {
    runtime: Runtime,
    sending: SendStream<Bytes>,
    receiving: RecvStream,
    read: Vec<u8>,
}

impl SocketHttp2 {
    /// Opens one at `path`.
    pub(crate) fn open(address: SocketAddr, path: &str) -> Self {
        let runtime = runtime();
        let (sending, receiving) = runtime.block_on(async {
            let socket = TcpStream::connect(address).await.unwrap();
            let (mut requests, connection) = h2::client::handshake(socket).await.unwrap();
            tokio::spawn(connection);
            // The server's settings come before its first answer.
            let first = Request::get("http://test/").body(()).unwrap();
            requests.send_request(first, true).unwrap().0.await.unwrap();
            assert!(requests.is_extended_connect_protocol_enabled());
            let request = Request::builder()
                .method(Method::CONNECT)
                .uri(format!("http://test{path}"))
                .extension(Protocol::from_static("websocket"))
                .header("sec-websocket-version", "13")
                .body(())
                .unwrap();
            let (answer, sending) = requests.send_request(request, false).unwrap();
            let answer = timeout(PATIENCE, answer).await.expect("an answer").unwrap();
            assert_eq!(answer.status(), 200);
            (sending, answer.into_body())
        });
        Self { runtime, sending, receiving, read: Vec::new() }
    }

    /// Sends a text, and takes the one that answers it.
    pub(crate) fn ask(&mut self, text: &str) -> String {
        self.send(0x81, text.as_bytes());
        String::from_utf8(self.frame().expect("a message").1).unwrap()
    }

    /// Ends it in agreement; the code with which the other side agrees.
    pub(crate) fn close(mut self) -> u16 {
        self.send(0x88, &1000_u16.to_be_bytes());
        let (kind, code) = self.frame().expect("a frame");
        assert_eq!(kind, 0x88);
        self.sending.send_data(Bytes::new(), true).unwrap();
        assert_eq!(self.frame(), None, "after the last frame");
        u16::from_be_bytes(code[..2].try_into().unwrap())
    }

    /// Waits until the other side says that it ends; the code with which it does.
    pub(crate) fn await_close(&mut self) -> u16 {
        let (kind, code) = self.frame().expect("a frame");
        assert_eq!(kind, 0x88);
        u16::from_be_bytes(code[..2].try_into().unwrap())
    }

    /// A masked frame, whose mask changes nothing.
    fn send(&mut self, kind: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).unwrap();
        assert!(length < 126);
        let frame = [&[kind, 0x80 | length, 0, 0, 0, 0], payload].concat();
        self.sending.send_data(frame.into(), false).unwrap();
    }

    /// The next frame's first byte and payload; `None` at the stream's end.
    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let [kind, length, rest @ ..] = &self.read[..]
                && rest.len() >= usize::from(*length)
            {
                let (kind, end) = (*kind, 2 + usize::from(*length));
                let rest = self.read.split_off(end);
                let frame = std::mem::replace(&mut self.read, rest);
                return Some((kind, frame[2..].to_vec()));
            }
            let part = self.receiving.data();
            let part = self.runtime.block_on(async { timeout(PATIENCE, part).await });
            let part = part.expect("something comes")?.expect("the tunnel is open");
            self.read.extend_from_slice(&part);
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
