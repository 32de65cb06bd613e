//! A line by a template, and the time as lines show it.

use std::{io::Write as _, time::Duration};

use http::HeaderValue;

use super::{Entry, escape};
use crate::{
    config::model::{Segment, Template, Variable},
    domain::Moment,
    lifecycle::clock,
    proxy::variables::put_number,
};

/// Appends the line of `entry`, which ended at `ended`. A value that is missing is a dash, as in Nginx.
pub(super) fn write(
    entry: &Entry,
    template: &Template,
    ended: Moment,
    calendar: &mut Calendar,
    out: &mut Vec<u8>,
) {
    for segment in template.segments() {
        match segment {
            Segment::Text(text) => out.extend_from_slice(text.as_bytes()),
            Segment::Variable(variable) => {
                let before = out.len();
                value(entry, variable, ended, calendar, out);
                if out.len() == before {
                    out.push(b'-');
                }
            }
        }
    }
}

fn value(
    entry: &Entry,
    variable: &Variable,
    ended: Moment,
    calendar: &mut Calendar,
    out: &mut Vec<u8>,
) {
    match variable {
        Variable::Endpoint => out.extend_from_slice(entry.endpoint().unwrap_or("").as_bytes()),
        Variable::BodyBytes => {
            put_number(entry.body_bytes.get(), &mut |part| out.extend_from_slice(part));
        }
        Variable::RequestTime => put_seconds(ended.since(entry.begun), out),
        Variable::FirstByteTime => {
            entry.first_byte.get().into_iter().for_each(|span| put_seconds(span, out));
        }
        Variable::AnswerHeader(name) => {
            let answer = entry.answer.borrow();
            let value = answer.iter().find(|(known, _)| known == name).map(|(_, value)| value);
            escape::text(value.map_or(b"", HeaderValue::as_bytes), out);
        }
        Variable::LocalTime => calendar.put_local(ended, out),
        Variable::IsoTime => calendar.put_iso_seconds(ended, out),
        Variable::UnixTime => calendar.put_unix(ended, out),
        Variable::Retries => {
            put_number(entry.retries.get().into(), &mut |part| out.extend_from_slice(part));
        }
        Variable::Fallback if entry.falls_back.get() => out.extend_from_slice(b"fallback"),
        Variable::Fallback => {}
        Variable::Error => {
            let label = entry.error().map_or("", |reason| reason.label());
            out.extend_from_slice(label.as_bytes());
        }
        Variable::Status => {
            put_number(entry.status().into(), &mut |part| out.extend_from_slice(part));
        }
        Variable::Client
        | Variable::Peer
        | Variable::PeerPort
        | Variable::User
        | Variable::Method
        | Variable::Path
        | Variable::PathAndQuery
        | Variable::Query
        | Variable::QueryMark
        | Variable::Protocol
        | Variable::Scheme
        | Variable::Host
        | Variable::RequestLine
        | Variable::RequestId
        | Variable::ListenerPort
        | Variable::Header(_)
        | Variable::Cookie(_)
        | Variable::Argument(_)
        | Variable::Route
        | Variable::Group(_)
        | Variable::Backend => request_value(entry, variable, out),
    }
}

/// What the request itself says; of one that was refused unread, only where it comes from.
fn request_value(entry: &Entry, variable: &Variable, out: &mut Vec<u8>) {
    match (&entry.noted, variable) {
        (Some(noted), _) => {
            entry.view(noted).value(variable, &mut |part| escape::text(part, out));
        }
        (None, Variable::Client | Variable::Peer) => {
            out.extend_from_slice(entry.downstream.address_text().as_bytes());
        }
        (None, Variable::RequestId) => {
            out.extend_from_slice(entry.request_id.as_str().as_bytes());
        }
        (None, _) => {}
    }
}

/// Seconds with milliseconds.
fn put_seconds(span: Duration, out: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    let _ = write!(out, "{}.{:03}", span.as_secs(), span.subsec_millis());
}

/// The wall clock as lines show it, in UTC. It is read seldom: between two readings the monotonic clock leads it on.
#[derive(Debug)]
pub(in crate::proxy) struct Calendar {
    /// Unix time in milliseconds at the monotonic clock's zero.
    zero_ms: u64,
    /// The second that `text` tells, in Unix time.
    second: u64,
    /// As `2026-11-26T09:13:20`.
    text: String,
}

impl Calendar {
    pub(in crate::proxy) fn new() -> Self {
        let mut calendar = Self { zero_ms: 0, second: u64::MAX, text: String::new() };
        calendar.adjust();
        calendar
    }

    /// Reads the wall clock.
    pub(in crate::proxy) fn adjust(&mut self) {
        self.zero_ms = clock::wall_millis().saturating_sub(clock::now().as_nanos() / 1_000_000);
    }

    fn unix_ms(&self, moment: Moment) -> u64 {
        self.zero_ms + moment.as_nanos() / 1_000_000
    }

    fn second(&mut self, moment: Moment) -> (&str, u64) {
        let ms = self.unix_ms(moment);
        if self.second != ms / 1_000 {
            self.second = ms / 1_000;
            self.text = timestamp(self.second).strftime("%Y-%m-%dT%H:%M:%S").to_string();
        }
        (&self.text, ms % 1_000)
    }

    /// `2026-11-26T09:13:20.123Z`
    pub(super) fn put_iso(&mut self, moment: Moment, out: &mut Vec<u8>) {
        let (text, ms) = self.second(moment);
        out.extend_from_slice(text.as_bytes());
        let digit = |place: u64| b'0' + (ms / place % 10) as u8;
        out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1), b'Z']);
    }

    pub(super) fn put_iso_seconds(&mut self, moment: Moment, out: &mut Vec<u8>) {
        out.extend_from_slice(self.second(moment).0.as_bytes());
        out.extend_from_slice(b"+00:00");
    }

    pub(super) fn put_local(&self, moment: Moment, out: &mut Vec<u8>) {
        let time = timestamp(self.unix_ms(moment) / 1_000);
        let _ = write!(out, "{}", time.strftime("%d/%b/%Y:%H:%M:%S +0000"));
    }

    pub(super) fn put_unix(&self, moment: Moment, out: &mut Vec<u8>) {
        put_seconds(Duration::from_millis(self.unix_ms(moment)), out);
    }
}

fn timestamp(second: u64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(i64::try_from(second).unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_in_each_form() {
        let mut calendar = Calendar::new();
        calendar.zero_ms = 1_795_684_400_123;
        let moment = Moment::from_nanos(2_000_000_000);
        let mut told = |put: fn(&mut Calendar, Moment, &mut Vec<u8>)| {
            let mut out = Vec::new();
            put(&mut calendar, moment, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(told(Calendar::put_iso), "2026-11-26T09:13:22.123Z");
        assert_eq!(told(Calendar::put_iso_seconds), "2026-11-26T09:13:22+00:00");
        assert_eq!(told(|c, m, out| c.put_local(m, out)), "26/Nov/2026:09:13:22 +0000");
        assert_eq!(told(|c, m, out| c.put_unix(m, out)), "1795684402.123");
    }
}
