//! The load: keep-alive connections to one peer, and what came of their requests.
//!
//! *Closed*: every connection asks again as soon as it is answered, so the peer or the load is
//! saturated. *Paced*: requests fall due at the times of a Poisson process that does not wait for
//! answers, and a latency counts from the due time, so a stall is charged to each request that it
//! kept waiting, not only to the one that saw it (no coordinated omission).
//!
//! Each request carries one of `SESSIONS` session cookies, by turns. `UPLOAD` is sent to, with a body;
//! any other path is asked for.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use mio::{Interest, Registry, Token, event::Event, net::TcpStream};

use crate::http1;

/// Sessions the load plays by turns.
pub(crate) const SESSIONS: usize = 1_000;
/// The path that gets a body of `UPLOAD_LEN` bytes.
pub(crate) const UPLOAD: &str = "/upload";
const UPLOAD_LEN: usize = 64 * 1024;
static BODY: [u8; UPLOAD_LEN] = [b'x'; UPLOAD_LEN];
/// Due requests kept waiting for a free connection; more are counted as failed.
const MAX_BACKLOG: usize = 100_000;
const READ_LEN: usize = 256 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// Again as soon as answered.
    Closed,
    /// So many a second on average, come what may.
    Paced(f64),
}

/// What a stretch of load has shown.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Whole and good answers.
    pub(crate) answered: u64,
    /// Requests with any other end.
    pub(crate) failed: u64,
    /// One for each answer, in nanoseconds.
    pub(crate) latencies_ns: Vec<u32>,
}

/// Connections to one peer.
pub(crate) struct Load {
    target: SocketAddr,
    requests: Vec<Request>,
    next_request: usize,
    connections: Vec<Connection>,
    idle: Vec<usize>,
    arrivals: Option<Arrivals>,
    backlog: VecDeque<Instant>,
    tally: Tally,
    buffer: Vec<u8>,
}

impl Load {
    /// Opens `connections` to `target`; `paths` are asked for by turns.
    pub(crate) fn open(
        registry: &Registry,
        target: SocketAddr,
        connections: usize,
        paths: &[String],
        pace: Pace,
    ) -> Result<Self> {
        let mut load = Self {
            target,
            requests: render_requests(paths),
            next_request: 0,
            connections: Vec::with_capacity(connections),
            idle: (0..connections).collect(),
            arrivals: match pace {
                Pace::Closed => None,
                Pace::Paced(rate) => Some(Arrivals::start(rate)),
            },
            backlog: VecDeque::new(),
            tally: Tally::default(),
            buffer: vec![0; READ_LEN],
        };
        for index in 0..connections {
            load.connections.push(Connection::open(registry, target, index)?);
        }
        Ok(load)
    }

    /// Forgets what it counted so far and begins anew.
    pub(crate) fn reset(&mut self) {
        self.tally = Tally::default();
    }

    /// What was counted since the last reset. Requests still unanswered are charged their waiting
    /// time so far when the load is paced: leaving them out would hide a stall at the end.
    pub(crate) fn tally(&mut self) -> Tally {
        let now = Instant::now();
        if self.arrivals.is_some() {
            let asked = self.connections.iter().filter_map(|connection| connection.asked_at);
            for due in asked.chain(self.backlog.iter().copied()) {
                self.tally.latencies_ns.push(nanoseconds(now - due));
            }
        }
        std::mem::take(&mut self.tally)
    }

    /// Sends what may be sent: everything a free connection can take when closed, what has fallen
    /// due when paced.
    pub(crate) fn send_due(&mut self, registry: &Registry) -> Result<()> {
        let Some(arrivals) = &mut self.arrivals else {
            while let Some(index) = self.idle.pop() {
                self.ask(registry, index, Instant::now())?;
            }
            return Ok(());
        };
        let now = Instant::now();
        while let Some(due) = arrivals.next_before(now) {
            if self.backlog.len() < MAX_BACKLOG {
                self.backlog.push_back(due);
            } else {
                self.tally.failed += 1;
            }
        }
        while !self.idle.is_empty()
            && let Some(due) = self.backlog.pop_front()
        {
            if let Some(index) = self.idle.pop() {
                self.ask(registry, index, due)?;
            }
        }
        Ok(())
    }

    /// Handles an event of one of the connections.
    pub(crate) fn on_event(&mut self, registry: &Registry, event: &Event) -> Result<()> {
        let index = event.token().0;
        let Some(connection) = self.connections.get_mut(index) else { return Ok(()) };
        if connection.send(&self.requests).is_err() {
            self.renew(registry, index)?;
            return self.offer(registry, index, Instant::now());
        }
        match connection.receive(&mut self.buffer) {
            Received::Part => Ok(()),
            Received::Whole => {
                let now = Instant::now();
                self.tally.answered += 1;
                if let Some(since) = connection.asked_at.take() {
                    self.tally.latencies_ns.push(nanoseconds(now - since));
                }
                self.offer(registry, index, now)
            }
            Received::Broken => {
                self.renew(registry, index)?;
                self.offer(registry, index, Instant::now())
            }
        }
    }

    /// Gives a free connection its next request, if there is one.
    fn offer(&mut self, registry: &Registry, index: usize, now: Instant) -> Result<()> {
        let next = if self.arrivals.is_some() { self.backlog.pop_front() } else { Some(now) };
        match next {
            Some(due) => self.ask(registry, index, due),
            None => {
                self.idle.push(index);
                Ok(())
            }
        }
    }

    fn ask(&mut self, registry: &Registry, index: usize, due: Instant) -> Result<()> {
        let connection = &mut self.connections[index];
        connection.unsent = Some((self.next_request, 0));
        self.next_request = (self.next_request + 1) % self.requests.len();
        connection.asked_at = Some(due);
        if connection.send(&self.requests).is_ok() {
            return Ok(());
        }
        self.renew(registry, index)?;
        self.idle.push(index);
        Ok(())
    }

    fn renew(&mut self, registry: &Registry, index: usize) -> Result<()> {
        self.tally.failed += 1;
        self.connections[index] = Connection::open(registry, self.target, index)?;
        Ok(())
    }
}

struct Request {
    head: Vec<u8>,
    body: &'static [u8],
}

/// One request for each session, as the clients of a web application send them.
fn render_requests(paths: &[String]) -> Vec<Request> {
    (0..SESSIONS)
        .map(|session| {
            let path = &paths[session % paths.len()];
            let uploads = path == UPLOAD;
            let method = if uploads { "POST" } else { "GET" };
            let length =
                if uploads { format!("Content-Length: {UPLOAD_LEN}\r\n") } else { String::new() };
            let head = format!(
                "{method} {path} HTTP/1.1\r\n\
                 Host: bench.test\r\n\
                 User-Agent: peers-bench/1\r\n\
                 Accept: */*\r\n\
                 Accept-Language: en\r\n\
                 {length}Cookie: theme=dark; session=s{session:06}\r\n\r\n"
            );
            Request { head: head.into_bytes(), body: if uploads { &BODY } else { &[] } }
        })
        .collect()
}

fn nanoseconds(latency: Duration) -> u32 {
    u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX)
}

/// A seeded Poisson process: every peer meets the same sequence of gaps.
struct Arrivals {
    random: fastrand::Rng,
    mean_gap_s: f64,
    next: Instant,
}

impl Arrivals {
    fn start(rate: f64) -> Self {
        Self { random: fastrand::Rng::with_seed(7), mean_gap_s: 1.0 / rate, next: Instant::now() }
    }

    fn next_before(&mut self, now: Instant) -> Option<Instant> {
        let due = self.next;
        if due > now {
            return None;
        }
        let gap_s = -(1.0 - self.random.f64()).ln() * self.mean_gap_s;
        self.next = due + Duration::from_secs_f64(gap_s);
        Some(due)
    }
}

enum Received {
    Part,
    Whole,
    Broken,
}

struct Connection {
    stream: TcpStream,
    asked_at: Option<Instant>,
    /// The request that is being sent, and how much of it is.
    unsent: Option<(usize, usize)>,
    /// The beginning of a head that has not wholly arrived.
    head: Vec<u8>,
    /// Bytes of the body still to come; `None` while in the head.
    body_left: Option<usize>,
}

impl Connection {
    fn open(registry: &Registry, target: SocketAddr, index: usize) -> Result<Self> {
        let stream = std::net::TcpStream::connect_timeout(&target, CONNECT_TIMEOUT)
            .with_context(|| format!("cannot connect to the peer at {target}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut stream, Token(index), interest)?;
        Ok(Self { stream, asked_at: None, unsent: None, head: Vec::new(), body_left: None })
    }

    /// Sends what the socket takes of the request that is under way.
    fn send(&mut self, requests: &[Request]) -> io::Result<()> {
        while let Some((number, sent)) = self.unsent {
            let Request { head, body } = &requests[number];
            let taken = match sent.checked_sub(head.len()) {
                Some(of_body) => self.stream.write(&body[of_body..]),
                None if body.is_empty() => self.stream.write(&head[sent..]),
                None => {
                    self.stream.write_vectored(&[IoSlice::new(&head[sent..]), IoSlice::new(body)])
                }
            };
            match taken {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(taken) if sent + taken == head.len() + body.len() => self.unsent = None,
                Ok(taken) => self.unsent = Some((number, sent + taken)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Received {
        loop {
            let read_len = match self.stream.read(buffer) {
                Ok(0) => return Received::Broken,
                Ok(read_len) => read_len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Received::Part,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Received::Broken,
            };
            let received = self.take(&buffer[..read_len]);
            // Edge-triggered: a short read has emptied the socket.
            if read_len < buffer.len() || !matches!(received, Received::Part) {
                return received;
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Received {
        let Some(body_left) = self.body_left else { return self.take_head(bytes) };
        self.take_body(body_left, bytes.len())
    }

    fn take_head(&mut self, bytes: &[u8]) -> Received {
        let joined;
        let seen = if self.head.is_empty() {
            bytes
        } else {
            self.head.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.head);
            &joined
        };
        let Some(head_len) = http1::head_len(seen) else {
            self.head = seen.to_vec();
            return Received::Part;
        };
        let head = &seen[..head_len];
        match http1::content_length(head) {
            Some(body_len) if http1::is_ok(head) => self.take_body(body_len, seen.len() - head_len),
            Some(_) | None => Received::Broken,
        }
    }

    fn take_body(&mut self, body_left: usize, len: usize) -> Received {
        if self.asked_at.is_none() || len > body_left {
            return Received::Broken;
        }
        self.body_left = (len < body_left).then_some(body_left - len);
        if self.body_left.is_some() { Received::Part } else { Received::Whole }
    }
}
