//! Blue and green: two HTTP/1.1 servers of minimal cost, behind every peer.
//!
//! They run on the load's own thread and event loop (see `stage`), so the two never fight over the
//! core they share. Answers are rendered once, at start. `/echo` answers with the head it was
//! asked with, so that a check can see what a peer adds; any path not known gets the small body. The
//! body of a request is read to its end before the answer goes out.

use std::{io::Read, io::Write, net::SocketAddr, rc::Rc};

use anyhow::Result;
use mio::{
    Interest, Registry, Token,
    event::Event,
    net::{TcpListener, TcpStream},
};

use crate::http1;

/// Tokens from here on belong to the upstream; those below, to the load.
pub(crate) const FIRST_TOKEN: usize = 1 << 20;
const FIRST_CONNECTION: usize = FIRST_TOKEN + 2;
const READ_LEN: usize = 16 * 1024;

/// Both servers.
pub(crate) struct Upstream {
    listeners: [TcpListener; 2],
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    answers: Answers,
    answered: [u64; 2],
    buffer: Vec<u8>,
}

impl Upstream {
    /// Binds blue and green to free ports of the loopback interface.
    pub(crate) fn bind(registry: &Registry) -> Result<Self> {
        let mut listeners = [listen()?, listen()?];
        for (side, listener) in listeners.iter_mut().enumerate() {
            registry.register(listener, Token(FIRST_TOKEN + side), Interest::READABLE)?;
        }
        Ok(Self {
            listeners,
            connections: Vec::new(),
            free: Vec::new(),
            answers: Answers::render(),
            answered: [0; 2],
            buffer: vec![0; READ_LEN],
        })
    }

    /// Addresses of blue and green.
    pub(crate) fn addresses(&self) -> Result<[SocketAddr; 2]> {
        Ok([self.listeners[0].local_addr()?, self.listeners[1].local_addr()?])
    }

    /// Requests answered by blue and by green since the start.
    pub(crate) fn answered(&self) -> [u64; 2] {
        self.answered
    }

    /// Handles an event whose token is `FIRST_TOKEN` or above.
    pub(crate) fn on_event(&mut self, registry: &Registry, event: &Event) -> Result<()> {
        let token = event.token().0;
        if token < FIRST_CONNECTION {
            return self.accept(registry, token - FIRST_TOKEN);
        }
        let index = token - FIRST_CONNECTION;
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else {
            return Ok(());
        };
        let side = connection.side;
        match connection.turn(&self.answers, &mut self.buffer) {
            Ok(answered) => self.answered[side] += answered,
            Err(Closed) => {
                self.connections[index] = None;
                self.free.push(index);
            }
        }
        Ok(())
    }

    fn accept(&mut self, registry: &Registry, side: usize) -> Result<()> {
        loop {
            let mut stream = match self.listeners[side].accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nodelay(true)?;
            let index = self.free.pop().unwrap_or(self.connections.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            registry.register(&mut stream, Token(FIRST_CONNECTION + index), interest)?;
            let (asked, awaited) = (Vec::new(), None);
            let connection = Connection { stream, side, asked, awaited, owed: None };
            match self.connections.get_mut(index) {
                Some(slot) => *slot = Some(connection),
                None => self.connections.push(Some(connection)),
            }
        }
    }
}

fn listen() -> Result<TcpListener> {
    /// As many connections as any scenario may open at once; the default's 128 would cost some of them a second.
    const BACKLOG: i32 = 4096;
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    socket2::SockRef::from(&listener).listen(BACKLOG)?;
    Ok(listener)
}

struct Closed;

impl From<std::io::Error> for Closed {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

struct Connection {
    stream: TcpStream,
    side: usize,
    /// The beginning of a head that has not wholly arrived.
    asked: Vec<u8>,
    /// Bytes of a body still to come, and the answer to what it belongs to.
    awaited: Option<(usize, Rc<[u8]>)>,
    /// An answer under way, and how much of it is written.
    owed: Option<(Rc<[u8]>, usize)>,
}

impl Connection {
    /// Reads and answers until the socket has no more; the number of requests answered.
    fn turn(&mut self, answers: &Answers, buffer: &mut [u8]) -> Result<u64, Closed> {
        let mut answered = 0;
        while self.flush()? {
            let read_len = match self.stream.read(buffer) {
                Ok(0) => return Err(Closed),
                Ok(read_len) => read_len,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            };
            answered += self.take(answers, &buffer[..read_len])?;
            // Edge-triggered: a short read has emptied the socket, the next byte is a new edge.
            if read_len < buffer.len() {
                break;
            }
        }
        Ok(answered)
    }

    fn take(&mut self, answers: &Answers, bytes: &[u8]) -> Result<u64, Closed> {
        if let Some((left, answer)) = self.awaited.take() {
            return self.take_body(left, bytes.len(), answer);
        }
        if self.asked.is_empty() && http1::head_len(bytes) == Some(bytes.len()) {
            return self.take_body(http1::body_len(bytes), 0, answers.to(bytes));
        }
        self.asked.extend_from_slice(bytes);
        let Some(head_len) = http1::head_len(&self.asked) else { return Ok(0) };
        let (head, body) = self.asked.split_at(head_len);
        let (left, came, answer) = (http1::body_len(head), body.len(), answers.to(head));
        self.asked.clear();
        self.take_body(left, came, answer)
    }

    /// Of a body with `left` bytes to come, `came` are here; the answer goes out behind the last one.
    fn take_body(&mut self, left: usize, came: usize, answer: Rc<[u8]>) -> Result<u64, Closed> {
        // No peer pipelines towards its upstream.
        let left = left.checked_sub(came).ok_or(Closed)?;
        if left > 0 {
            self.awaited = Some((left, answer));
            return Ok(0);
        }
        self.owed = Some((answer, 0));
        self.flush()?;
        Ok(1)
    }

    /// Writes what is owed; whether all of it went out.
    fn flush(&mut self) -> Result<bool, Closed> {
        while let Some((answer, written)) = &mut self.owed {
            match self.stream.write(&answer[*written..]) {
                Ok(len) => *written += len,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            if *written == answer.len() {
                self.owed = None;
            }
        }
        Ok(true)
    }
}

struct Answers {
    small: Rc<[u8]>,
    ten_kib: Rc<[u8]>,
    one_mib: Rc<[u8]>,
}

impl Answers {
    fn render() -> Self {
        Self {
            small: answer(&filler(100)),
            ten_kib: answer(&filler(10 * 1024)),
            one_mib: answer(&filler(1024 * 1024)),
        }
    }

    fn to(&self, head: &[u8]) -> Rc<[u8]> {
        match http1::path(head) {
            Some(b"/10k") => Rc::clone(&self.ten_kib),
            Some(b"/1m") => Rc::clone(&self.one_mib),
            Some(b"/echo") => answer(head),
            Some(_) | None => Rc::clone(&self.small),
        }
    }
}

fn answer(body: &[u8]) -> Rc<[u8]> {
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\n\
         Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\
         Cache-Control: no-store\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes.into()
}

fn filler(len: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(len).collect()
}
