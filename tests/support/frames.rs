//! A client of HTTP/2 that sends whatever frames a test wants. Heads go out uncompressed, byte for byte.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use super::PATIENCE;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// One frame as it came.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A head's block: each field a literal that is not indexed (RFC 7541 §6.2.2).
pub(crate) fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            write_length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

fn write_length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        block.push(u8::try_from(length).unwrap());
        return;
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// With an answer: status and body.
    Answered(u16, Vec<u8>),
    /// By RST_STREAM, with this code.
    Reset(u32),
    /// With the connection: the code of its GOAWAY, if there was one.
    Gone(Option<u32>),
}

/// One connection that speaks frames.
pub(crate) struct Frames {
    stream: TcpStream,
    read: Vec<u8>,
    /// Frames that are not answered by themselves, in their order.
    pub(crate) seen: Vec<Frame>,
}

impl Frames {
    /// Connects, and sends the preface with empty settings.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut frames = Self::connect_silent(address);
        frames.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
        frames
    }

    /// Connects, and sends nothing.
    pub(crate) fn connect_silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the listener accepts");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, read: Vec::new(), seen: Vec::new() }
    }

    /// The other side of a connection, once its preface has come; `None` if none does.
    pub(crate) fn accept(stream: TcpStream) -> Option<Self> {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut frames = Self { stream, read: Vec::new(), seen: Vec::new() };
        while frames.read.len() < PREFACE.len() {
            frames.fill()?;
        }
        frames.read.drain(..PREFACE.len());
        Some(frames)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the connection takes the bytes");
    }

    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a head; `fields` begin with the pseudo-headers.
    pub(crate) fn send_head(&mut self, stream: u32, flags: u8, fields: &[(&[u8], &[u8])]) {
        self.send(&frame(HEADERS, flags | END_HEADERS, stream, &block(fields)));
    }

    /// Sends a whole GET.
    pub(crate) fn send_get(&mut self, stream: u32, path: &str) {
        self.send_head(stream, END_STREAM, &get(path));
    }

    /// The next frame; `None` at the connection's end. Settings and pings are answered on the way.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        while self.read.len() < 9 {
            self.fill()?;
        }
        let length = u32::from_be_bytes([0, self.read[0], self.read[1], self.read[2]]) as usize;
        while self.read.len() < 9 + length {
            self.fill()?;
        }
        let rest = self.read.split_off(9 + length);
        let bytes = std::mem::replace(&mut self.read, rest);
        let stream = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
        let frame = Frame { kind: bytes[3], flags: bytes[4], stream, payload: bytes[9..].into() };
        self.answer(&frame);
        self.seen.push(frame.clone());
        Some(frame)
    }

    fn fill(&mut self) -> Option<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => None,
            Ok(count) => {
                self.read.extend_from_slice(&buffer[..count]);
                Some(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no frame came: {error}"),
        }
    }

    fn answer(&mut self, come: &Frame) {
        let ack = matches!(come.kind, SETTINGS | PING) && come.flags & ACK == 0;
        if ack {
            let payload = if come.kind == PING { come.payload.clone() } else { Vec::new() };
            // The peer may have gone; then its end is what the test reads next.
            self.try_send(&frame(come.kind, ACK, 0, &payload)).ok();
        }
    }

    /// Waits for a frame that fits.
    pub(crate) fn until(&mut self, what: &str, fits: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            match self.next() {
                Some(frame) if fits(&frame) => return frame,
                Some(_) => {}
                None => panic!("the connection ended before {what}: {:?}", self.seen),
            }
        }
    }

    /// Reads until the stream has ended.
    pub(crate) fn end_of(&mut self, stream: u32) -> StreamEnd {
        let (mut status, mut body) = (0, Vec::new());
        loop {
            let Some(frame) = self.next() else { return StreamEnd::Gone(self.goaway()) };
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                HEADERS if status == 0 => status = status_of(&frame.payload),
                DATA => body.extend_from_slice(&frame.payload),
                RST_STREAM if status == 0 => {
                    return StreamEnd::Reset(u32::from_be_bytes(
                        frame.payload[..4].try_into().unwrap(),
                    ));
                }
                _ => {}
            }
            let ended = matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0;
            if ended || frame.kind == RST_STREAM {
                return StreamEnd::Answered(status, body);
            }
        }
    }

    /// Reads to the end, and gives the code of the last GOAWAY.
    pub(crate) fn end(&mut self) -> Option<u32> {
        while self.next().is_some() {}
        self.goaway()
    }

    fn goaway(&self) -> Option<u32> {
        let last = self.seen.iter().rfind(|frame| frame.kind == GOAWAY)?;
        Some(u32::from_be_bytes(last.payload[4..8].try_into().unwrap()))
    }
}

/// The fields of a GET.
pub(crate) fn get(path: &str) -> [(&[u8], &[u8]); 4] {
    [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", path.as_bytes()),
        (b":authority", b"test"),
    ]
}

/// The status that a block begins with: from the static table, or a literal beside its name.
fn status_of(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match *block {
        [first @ 0x88..=0x8e, ..] => INDEXED[usize::from(first - 0x88)],
        [0x48 | 0x08, 3, a, b, c, ..] => {
            [a, b, c].iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'))
        }
        [0x48 | 0x08, length @ 0x81..=0x83, ref rest @ ..] => {
            huffman_digits(&rest[..usize::from(length & 0x7f)])
        }
        _ => panic!("a head without a status: {block:?}"),
    }
}

/// Three digits by the code of RFC 7541, Appendix B: 0 to 2 have five bits, the others six.
fn huffman_digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u8> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0u16, |sum, bit| sum * 2 + u16::from(*bit));
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let short = number(&bits[at..at + 5]);
        let (digit, width) =
            if short < 3 { (short, 5) } else { (number(&bits[at..at + 6]) - 0b01_0110, 6) };
        status = status * 10 + digit;
        at += width;
    }
    status
}
