//! A line as a JSON object. What a request does not have is left out.

use std::io::Write as _;

use http::HeaderValue;

use super::{Entry, SHOWN, escape, text::Calendar};
use crate::{
    domain::Moment,
    proxy::variables::{path_and_query, protocol},
};

/// Appends the line of `entry`, which ended at `ended`.
pub(super) fn write(entry: &Entry, ended: Moment, calendar: &mut Calendar, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    calendar.put_iso(ended, out);
    out.extend_from_slice(b"\",\"request_id\":\"");
    out.extend_from_slice(entry.request_id.as_str().as_bytes());
    out.extend_from_slice(b"\",\"client\":\"");
    match entry.client.get() {
        Some(client) if client != entry.downstream.peer.ip().to_canonical() => {
            // Writing to memory cannot fail.
            let _ = write!(out, "{client}");
        }
        Some(_) | None => out.extend_from_slice(entry.downstream.address_text().as_bytes()),
    }
    out.push(b'"');
    if let Some(noted) = &entry.noted {
        out.extend_from_slice(b",\"method\":\"");
        out.extend_from_slice(noted.method.as_str().as_bytes());
        let scheme = if entry.is_https.get() { "https" } else { "http" };
        out.extend_from_slice(b"\",\"scheme\":\"");
        out.extend_from_slice(scheme.as_bytes());
        out.push(b'"');
        foreign(",\"host\":\"", noted.host.as_ref(), out);
        out.extend_from_slice(b",\"path\":\"");
        escape::json(path_and_query(&noted.uri).as_bytes(), out);
        out.extend_from_slice(b"\",\"protocol\":\"");
        out.extend_from_slice(protocol(noted.version));
        out.push(b'"');
    }
    number(",\"status\":", entry.status().into(), out);
    number(",\"bytes\":", entry.body_bytes.get(), out);
    number(",\"duration_us\":", micros(ended.since(entry.begun)), out);
    if let Some(first_byte) = entry.first_byte.get() {
        number(",\"first_byte_us\":", micros(first_byte), out);
    }
    own(",\"route\":\"", entry.route(), out);
    own(",\"backend\":\"", entry.backend(), out);
    own(",\"endpoint\":\"", entry.endpoint(), out);
    if entry.retries.get() > 0 {
        number(",\"retries\":", entry.retries.get().into(), out);
    }
    if entry.falls_back.get() {
        out.extend_from_slice(b",\"fallback\":true");
    }
    own(",\"error\":\"", entry.error().map(|reason| reason.label()), out);
    if let Some(noted) = &entry.noted {
        foreign(",\"user_agent\":\"", noted.header(&SHOWN[0]), out);
        foreign(",\"referer\":\"", noted.header(&SHOWN[1]), out);
    }
    out.push(b'}');
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn number(key: &str, number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A name of the configuration's or of a closed set.
fn own(key: &str, value: Option<&str>, out: &mut Vec<u8>) {
    let Some(value) = value else { return };
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

/// What a client sent.
fn foreign(key: &str, value: Option<&HeaderValue>, out: &mut Vec<u8>) {
    let Some(value) = value else { return };
    out.extend_from_slice(key.as_bytes());
    escape::json(value.as_bytes(), out);
    out.push(b'"');
}
