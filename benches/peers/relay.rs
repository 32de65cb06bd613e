//! The floor: a byte relay on bare epoll that reads no HTTP at all.
//!
//! One thread, one upstream connection for each client connection, two `recv` and two `send` a
//! request. What it costs is what the kernel asks for moving the bytes; no proxy can cost less
//! without doing less. Every tenth connection goes to green.

use std::{
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
};

use anyhow::Result;
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};

const LISTENER: Token = Token(usize::MAX - 1);
const READ_LEN: usize = 64 * 1024;

/// Relays from `listen` to `upstreams` (blue and green) until the process is told to end.
pub(crate) fn run(listen: SocketAddr, upstreams: [SocketAddr; 2]) -> Result<()> {
    let mut relay = Relay {
        poll: Poll::new()?,
        listener: TcpListener::bind(listen)?,
        upstreams,
        accepted: 0,
        pairs: Vec::new(),
        free: Vec::new(),
        buffer: vec![0; READ_LEN],
    };
    relay.poll.registry().register(&mut relay.listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(256);
    loop {
        match relay.poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
        for event in &events {
            match event.token() {
                LISTENER => relay.accept()?,
                Token(token) => relay.turn(token),
            }
        }
    }
}

struct Relay {
    poll: Poll,
    listener: TcpListener,
    upstreams: [SocketAddr; 2],
    accepted: usize,
    pairs: Vec<Option<Pair>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
}

/// The client's end (0) and the upstream's (1); token = 2 × index of the pair + end.
struct Pair {
    streams: [TcpStream; 2],
    /// Bytes that the end of the same number could not take yet.
    owed: [Vec<u8>; 2],
}

struct Closed;

impl Relay {
    fn accept(&mut self) -> Result<()> {
        loop {
            let client = match self.listener.accept() {
                Ok((client, _)) => client,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            self.accepted += 1;
            let side = usize::from(self.accepted.is_multiple_of(10));
            let upstream = TcpStream::connect(self.upstreams[side])?;
            let index = self.free.pop().unwrap_or(self.pairs.len());
            let mut pair = Pair { streams: [client, upstream], owed: [Vec::new(), Vec::new()] };
            for (end, stream) in pair.streams.iter_mut().enumerate() {
                stream.set_nodelay(true)?;
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(stream, Token(2 * index + end), interest)?;
            }
            match self.pairs.get_mut(index) {
                Some(slot) => *slot = Some(pair),
                None => self.pairs.push(Some(pair)),
            }
        }
    }

    fn turn(&mut self, token: usize) {
        let (index, end) = (token / 2, token % 2);
        let Some(pair) = self.pairs.get_mut(index).and_then(Option::as_mut) else { return };
        if pair.turn(end, &mut self.buffer).is_err() {
            self.pairs[index] = None;
            self.free.push(index);
        }
    }
}

impl Pair {
    /// Answers an event of `end`.
    fn turn(&mut self, end: usize, buffer: &mut [u8]) -> Result<(), Closed> {
        // An end that was full may be so no more: then the other end was left unread.
        if !self.owed[end].is_empty() {
            self.carry(1 - end, buffer)?;
        }
        self.carry(end, buffer)
    }

    /// Moves bytes from `end` to the other until one of the two has no more.
    fn carry(&mut self, end: usize, buffer: &mut [u8]) -> Result<(), Closed> {
        let other = 1 - end;
        while self.flush(other)? {
            let read_len = match self.streams[end].read(buffer) {
                Ok(0) => return Err(Closed),
                Ok(read_len) => read_len,
                Err(error) if is_early(&error) => return Ok(()),
                Err(_) => return Err(Closed),
            };
            let written = match self.streams[other].write(&buffer[..read_len]) {
                Ok(written) => written,
                Err(error) if is_early(&error) => 0,
                Err(_) => return Err(Closed),
            };
            self.owed[other].extend_from_slice(&buffer[written..read_len]);
            if read_len < buffer.len() && written == read_len {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes what `end` is owed; whether all of it went out.
    fn flush(&mut self, end: usize) -> Result<bool, Closed> {
        while !self.owed[end].is_empty() {
            match self.streams[end].write(&self.owed[end]) {
                Ok(written) => drop(self.owed[end].drain(..written)),
                Err(error) if is_early(&error) => return Ok(false),
                Err(_) => return Err(Closed),
            }
        }
        Ok(true)
    }
}

/// Not an error: nothing to read, no room to write, or not connected yet.
fn is_early(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}
