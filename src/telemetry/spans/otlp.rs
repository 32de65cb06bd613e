//! OpenTelemetry's protocol for traces, written as protobuf (`opentelemetry/proto/trace/v1/trace.proto`, and
//! `collector/trace/v1` for the request around it).
//!
//! Only what Tidegate says is here: a span's field goes straight into the buffer that travels, without a tree of objects
//! before it. Texts are bounded, so that no client decides how large a span is.

use std::fmt;

/// Longest text of an attribute, in bytes.
pub const MAX_TEXT: usize = 1024;

/// Which side of a call a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// A request that came in.
    Server,
    /// A request that went out.
    Client,
}

/// One span without its attributes.
#[derive(Debug, Clone, Copy)]
pub struct Span<'s> {
    /// The trace's id, not zero.
    pub trace: u128,
    /// Its own, not zero.
    pub id: u64,
    /// The span that it is a part of.
    pub parent: Option<u64>,
    /// Another process made that one.
    pub is_remote: bool,
    /// Which side.
    pub kind: SpanKind,
    /// What was done; of few different values.
    pub name: fmt::Arguments<'s>,
    /// Begin, in nanoseconds of Unix time.
    pub start_ns: u64,
    /// End, likewise.
    pub end_ns: u64,
    /// It failed.
    pub is_error: bool,
}

impl Span<'_> {
    /// Appends the span, with what `describe` says of it, as a field of `ScopeSpans`.
    pub fn write(&self, out: &mut Vec<u8>, describe: impl FnOnce(&mut Attributes<'_, '_>)) {
        Message(out).nested(2, |span| {
            span.bytes(1, &self.trace.to_be_bytes());
            span.bytes(2, &self.id.to_be_bytes());
            if let Some(parent) = self.parent {
                span.bytes(4, &parent.to_be_bytes());
            }
            span.nested(5, |name| {
                // Writing to memory cannot fail.
                let _ = fmt::Write::write_fmt(name, self.name);
            });
            span.number(
                6,
                match self.kind {
                    SpanKind::Server => 2,
                    SpanKind::Client => 3,
                },
            );
            span.fixed64(7, self.start_ns);
            span.fixed64(8, self.end_ns.max(self.start_ns));
            describe(&mut Attributes { message: span, field: 9 });
            if self.is_error {
                span.nested(15, |status| status.number(3, 2));
            }
            // Sampled (bit 0); whether the parent is remote is known (bit 8), and said (bit 9).
            span.fixed32(16, 0x101 | u32::from(self.is_remote) << 9);
        });
    }
}

/// What is said of a span, or of who sends it.
#[derive(Debug)]
pub struct Attributes<'m, 'o> {
    message: &'m mut Message<'o>,
    field: u32,
}

impl Attributes<'_, '_> {
    /// A text, of which at most [`MAX_TEXT`] bytes are taken.
    pub fn text(&mut self, key: &str, value: &str) {
        let value = &value[..value.floor_char_boundary(MAX_TEXT)];
        self.pair(key, |any| any.bytes(1, value.as_bytes()));
    }

    /// The same from bytes that need not be text.
    pub fn lossy(&mut self, key: &str, value: &[u8]) {
        let value = &value[..value.len().min(MAX_TEXT)];
        self.text(key, &String::from_utf8_lossy(value));
    }

    /// What `value` looks like as text.
    pub fn shown(&mut self, key: &str, value: fmt::Arguments<'_>) {
        self.pair(key, |any| {
            any.nested(1, |text| {
                // Writing to memory cannot fail.
                let _ = fmt::Write::write_fmt(text, value);
            });
        });
    }

    /// A whole number.
    pub fn number(&mut self, key: &str, value: u64) {
        self.pair(key, |any| any.number(3, value));
    }

    /// Yes or no.
    pub fn truth(&mut self, key: &str, value: bool) {
        self.pair(key, |any| any.number(2, value.into()));
    }

    fn pair(&mut self, key: &str, write: impl FnOnce(&mut Message<'_>)) {
        self.message.nested(self.field, |pair| {
            pair.bytes(1, key.as_bytes());
            pair.nested(2, write);
        });
    }
}

/// The request that brings `spans` of the resource that `describe` tells of; each of `spans` holds whole fields of
/// `ScopeSpans`.
pub fn request<'s>(
    describe: impl FnOnce(&mut Attributes<'_, '_>),
    spans: impl Iterator<Item = &'s [u8]>,
) -> Vec<u8> {
    let mut out = Vec::new();
    Message(&mut out).nested(1, |resource_spans| {
        resource_spans
            .nested(1, |resource| describe(&mut Attributes { message: resource, field: 1 }));
        resource_spans.nested(2, |scope_spans| {
            scope_spans.nested(1, |scope| {
                scope.bytes(1, b"tidegate");
                scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
            });
            spans.for_each(|spans| scope_spans.0.extend_from_slice(spans));
        });
    });
    out
}

/// How many spans the collector did not take, by its answer's body; 0 for anything that is no such answer.
pub fn rejected(answer: &[u8]) -> u64 {
    let partial = find(answer, 1).and_then(|value| match value {
        Value::Bytes(bytes) => Some(bytes),
        Value::Number(_) => None,
    });
    match partial.and_then(|partial| find(partial, 1)) {
        Some(Value::Number(count)) => count,
        Some(Value::Bytes(_)) | None => 0,
    }
}

/// A message that is being written.
#[derive(Debug)]
struct Message<'o>(&'o mut Vec<u8>);

impl Message<'_> {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn tag(&mut self, field: u32, wire: u32) {
        self.varint((field << 3 | wire).into());
    }

    fn number(&mut self, field: u32, value: u64) {
        self.tag(field, 0);
        self.varint(value);
    }

    fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, 5);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        self.tag(field, 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// What `write` appends, as the value of a field; its length is known afterwards, and put before it.
    fn nested(&mut self, field: u32, write: impl FnOnce(&mut Message<'_>)) {
        self.tag(field, 2);
        let at = self.0.len();
        write(&mut Message(self.0));
        let end = self.0.len();
        self.varint((end - at) as u64);
        let size = self.0.len() - end;
        self.0[at..].rotate_right(size);
    }
}

impl fmt::Write for Message<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

enum Value<'b> {
    Number(u64),
    Bytes(&'b [u8]),
}

/// The first value of `field` in a message; `None` too where the message is broken.
fn find(mut message: &[u8], field: u64) -> Option<Value<'_>> {
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        let value = match tag & 7 {
            0 => Value::Number(take_varint(&mut message)?),
            1 => Value::Bytes(take(&mut message, 8)?),
            2 => {
                let length = take_varint(&mut message)?;
                Value::Bytes(take(&mut message, usize::try_from(length).ok()?)?)
            }
            5 => Value::Bytes(take(&mut message, 4)?),
            _ => return None,
        };
        if tag >> 3 == field {
            return Some(value);
        }
    }
    None
}

fn take<'b>(message: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (taken, rest) = message.split_at_checked(count)?;
    *message = rest;
    Some(taken)
}

fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests;
