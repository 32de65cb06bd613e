//! A collector of traces on a real socket: takes OTLP over HTTP and reads it by a reader of its own, which knows protobuf and
//! the few messages that matter.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{
    message::Message,
    upstream::{Upstream, ok},
};

/// One span as it came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Span {
    /// In hexadecimal, as headers have it.
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty for none.
    pub(crate) parent: String,
    pub(crate) name: String,
    /// 2: server, 3: client.
    pub(crate) kind: u64,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    /// Values as text.
    pub(crate) attributes: BTreeMap<String, String>,
    /// Code of its status: 0 unset, 2 error.
    pub(crate) status: u64,
    pub(crate) flags: u64,
}

impl Span {
    pub(crate) fn is_server(&self) -> bool {
        self.kind == 2
    }

    /// An attribute that must be there.
    pub(crate) fn says(&self, key: &str) -> &str {
        self.attributes.get(key).unwrap_or_else(|| panic!("{key} is not in {self:#?}"))
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.attributes.contains_key(key)
    }

    /// The header by which an endpoint learns of this span.
    pub(crate) fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.id)
    }
}

/// A running collector. Its threads end with the test process.
pub(crate) struct Collector(Upstream);

impl Collector {
    /// Takes everything.
    pub(crate) fn start() -> Self {
        Self(Upstream::answering(|_| ok("")))
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// `[traces]` that sends everything here soon, with more lines.
    pub(crate) fn section(&self, lines: &str) -> String {
        section(self.address(), lines)
    }

    /// Waits until there are `count` spans, and gives all that have come so far: those of servers before those of clients,
    /// each in the order of their begin.
    pub(crate) fn await_spans(&self, count: usize) -> Vec<Span> {
        let log = self.0.wait_until("spans come", |log| spans_of(&log.requests).len() >= count);
        let mut spans = spans_of(&log.requests);
        spans.sort_by_key(|span| (span.kind, span.start_ns));
        spans
    }

    /// What has come so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        spans_of(&self.0.log().requests)
    }

    /// The requests that brought it.
    pub(crate) fn requests(&self) -> Vec<Message> {
        self.0.log().requests
    }
}

/// `[traces]` that sends everything to `address` soon, with more lines, of which the last word on a key counts.
pub(crate) fn section(address: SocketAddr, lines: &str) -> String {
    let mut text = format!("[traces]\nendpoint = \"http://{address}\"\n{lines}\n");
    for (key, value) in [("sample", "100%"), ("max_delay", "20ms")] {
        if !lines.contains(&format!("{key} =")) {
            text += &format!("{key} = \"{value}\"\n");
        }
    }
    text
}

fn spans_of(requests: &[Message]) -> Vec<Span> {
    requests.iter().flat_map(|request| read_request(&request.body)).collect()
}

fn read_request(body: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource_spans in inner(body, 1) {
        for scope_spans in inner(resource_spans, 2) {
            spans.extend(inner(scope_spans, 2).map(read_span));
        }
    }
    spans
}

/// The messages that are field `number` of a message.
fn inner(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).into_iter().filter(move |(field, _)| *field == number).map(|(_, value)| {
        match value {
            Field::Bytes(bytes) => bytes,
            Field::Number(_) => panic!("no message: {value:?}"),
        }
    })
}

fn read_span(span: &[u8]) -> Span {
    let mut read = Span::default();
    for (number, value) in fields(span) {
        match number {
            1 => read.trace = value.hex(),
            2 => read.id = value.hex(),
            4 => read.parent = value.hex(),
            5 => read.name = value.text(),
            6 => read.kind = value.number(),
            7 => read.start_ns = value.number(),
            8 => read.end_ns = value.number(),
            9 => {
                let pair = fields(value.bytes());
                let [(1, key), (2, any)] = &pair[..] else { panic!("no pair: {pair:?}") };
                let any = fields(any.bytes());
                let shown = match &any[..] {
                    [(1, text)] => text.text(),
                    [(2 | 3, number)] => number.number().to_string(),
                    other => panic!("no value: {other:?}"),
                };
                let before = read.attributes.insert(key.text(), shown);
                assert!(before.is_none(), "{} is there twice", key.text());
            }
            15 => read.status = fields(value.bytes()).iter().map(|(_, code)| code.number()).sum(),
            16 => read.flags = value.number(),
            other => panic!("a span has no field {other} here"),
        }
    }
    read
}

#[derive(Debug)]
enum Field<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

impl Field<'_> {
    fn number(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Bytes(_) => panic!("no number: {self:?}"),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(_) => panic!("no bytes: {self:?}"),
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes().to_vec()).expect("a text is UTF-8")
    }

    fn hex(&self) -> String {
        self.bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The fields of a protobuf message in their order.
fn fields(mut message: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut message)),
            1 => {
                Field::Number(u64::from_le_bytes(take(&mut message, 8).try_into().expect("eight")))
            }
            2 => {
                let length = usize::try_from(varint(&mut message)).expect("a length");
                Field::Bytes(take(&mut message, length))
            }
            5 => {
                let bytes = take(&mut message, 4).try_into().expect("four");
                Field::Number(u32::from_le_bytes(bytes).into())
            }
            other => panic!("no wire type {other}"),
        };
        fields.push((tag >> 3, field));
    }
    fields
}

fn take<'b>(message: &mut &'b [u8], count: usize) -> &'b [u8] {
    let (taken, rest) = message.split_at_checked(count).expect("a whole message");
    *message = rest;
    taken
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return value;
        }
    }
    panic!("a number without an end")
}
