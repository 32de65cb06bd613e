//! Answers seen as they pass: what is kept of them to be compared, and where the client's waits for the mirror's.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName,
    header::{CONTENT_TYPE, SET_COOKIE},
    response,
};
use hyper::body::Frame;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::unpack;
use crate::{
    config::model::Algorithm,
    decision::difference::{Answer, Body, Json},
    domain::MirrorDepth,
    proxy::room::Room,
};

/// Bytes of JSON that are kept of an answer.
const MOST_JSON: usize = 64 * 1024;

/// Headers that say nothing about a version: they speak of the moment, the connection or the way.
const SILENT: [&str; 17] = [
    "age",
    "alt-svc",
    "connection",
    "content-length",
    "date",
    "expires",
    "keep-alive",
    "proxy-connection",
    "server-timing",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "via",
    "x-request-id",
    "x-response-time",
];

/// Keeps of an answer what it takes to compare it.
pub(super) struct Taker {
    answer: Answer,
    /// How its JSON is packed.
    coding: Option<Algorithm>,
    hash: Option<Box<Xxh3>>,
    room: Room,
}

impl Taker {
    /// An answer has begun.
    pub(super) fn new(depth: MirrorDepth, parts: &response::Parts, room: Room) -> Self {
        let headers = &parts.headers;
        let coding = unpack::coding(headers);
        let json = depth >= MirrorDepth::Body && coding.is_ok() && is_json(headers);
        let answer = Answer {
            status: parts.status.as_u16(),
            headers: if depth >= MirrorDepth::Headers { hashes(headers) } else { BTreeMap::new() },
            body: Body {
                length: 0,
                hash: 0,
                json: if json { Json::Whole(Vec::new()) } else { Json::No },
            },
        };
        let coding = coding.ok().flatten().filter(|_| json);
        Self { answer, coding, hash: (depth >= MirrorDepth::Body).then(Box::default), room }
    }

    /// A part of its body.
    pub(super) fn see(&mut self, frame: &Frame<Bytes>) {
        let (Some(data), Some(hash)) = (frame.data_ref(), &mut self.hash) else { return };
        hash.update(data);
        let body = &mut self.answer.body;
        body.length += data.len() as u64;
        if let Json::Whole(kept) = &mut body.json {
            if kept.len() + data.len() <= MOST_JSON && self.room.grow(data.len()) {
                kept.extend_from_slice(data);
            } else {
                self.room.shrink(kept.len());
                body.json = Json::TooLarge;
            }
        }
    }

    /// All of it has come.
    pub(super) fn finish(mut self) -> Kept {
        self.answer.body.hash = self.hash.map_or(0, |hash| hash.digest());
        Kept { answer: self.answer, coding: self.coding, room: self.room }
    }
}

/// An answer, with the room that it takes.
pub(super) struct Kept {
    pub(super) answer: Answer,
    coding: Option<Algorithm>,
    room: Room,
}

impl Kept {
    /// Unpacks JSON that came compressed. Left until it is known that it has to be looked into.
    pub(super) fn unpack(&mut self) {
        let json = &mut self.answer.body.json;
        let (Some(coding), Json::Whole(packed)) = (self.coding.take(), &*json) else { return };
        let plain = unpack::unpack(coding, packed, MOST_JSON);
        let length = packed.len();
        *json = match plain.filter(|plain| self.room.grow(plain.len())) {
            Some(plain) => Json::Whole(plain),
            None => Json::TooLarge,
        };
        self.room.shrink(length);
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media == "application/json" || media.ends_with("+json")
}

/// A hash of the values of each header that may say something.
fn hashes(headers: &HeaderMap) -> BTreeMap<Box<str>, u64> {
    let told = headers.keys().filter(|name| !SILENT.contains(&name.as_str()));
    told.map(|name| (name.as_str().into(), hash_of(headers, name))).collect()
}

/// Of cookies the names alone: their values differ from session to session.
fn hash_of(headers: &HeaderMap, name: &HeaderName) -> u64 {
    let mut values: Vec<&[u8]> =
        headers.get_all(name).iter().map(|value| value.as_bytes()).collect();
    if *name == SET_COOKIE {
        values = values.into_iter().map(cookie_name).collect();
        values.sort_unstable();
    }
    xxh3_64(&values.join(&b"\r\n"[..]))
}

fn cookie_name(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == b'=').next().unwrap_or(value).trim_ascii()
}

/// Where the client's answer waits for the mirror's.
#[derive(Default)]
pub(super) struct Meeting {
    client: RefCell<Client>,
    task: Cell<Option<Waker>>,
}

/// The client's answer.
#[derive(Default)]
enum Client {
    #[default]
    Awaited,
    Answered(Kept),
    /// It will not come.
    Gone,
}

impl Meeting {
    /// The client's answer, once it is there; `None` if it did not come whole.
    pub(super) async fn client(&self) -> Option<Kept> {
        poll_fn(|cx| match self.client.replace(Client::Gone) {
            Client::Awaited => {
                *self.client.borrow_mut() = Client::Awaited;
                self.task.set(Some(cx.waker().clone()));
                Poll::Pending
            }
            Client::Answered(answer) => Poll::Ready(Some(answer)),
            Client::Gone => Poll::Ready(None),
        })
        .await
    }

    fn come(&self, client: Client) {
        if matches!(*self.client.borrow(), Client::Awaited) {
            *self.client.borrow_mut() = client;
        }
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}

/// Sees the client's answer. Dropped before its end, it tells that none came whole.
pub(in crate::proxy) struct Witness {
    meeting: Rc<Meeting>,
    taker: Option<Taker>,
}

impl Witness {
    pub(super) const fn new(meeting: Rc<Meeting>) -> Self {
        Self { meeting, taker: None }
    }

    pub(super) fn begin(&mut self, taker: Taker) {
        self.taker = Some(taker);
    }

    /// A part of the body passes.
    pub(in crate::proxy) fn see(&mut self, frame: &Frame<Bytes>) {
        if let Some(taker) = &mut self.taker {
            taker.see(frame);
        }
    }

    /// The answer is complete.
    pub(in crate::proxy) fn complete(mut self) {
        if let Some(taker) = self.taker.take() {
            self.meeting.come(Client::Answered(taker.finish()));
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.meeting.come(Client::Gone);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::{super::desk::Desk, *};

    fn parts(lines: &[(&'static str, &'static str)]) -> response::Parts {
        let (mut parts, ()) = http::Response::new(()).into_parts();
        for (name, value) in lines {
            parts.headers.append(*name, HeaderValue::from_static(value));
        }
        parts
    }

    fn taker(lines: &[(&'static str, &'static str)]) -> Taker {
        Taker::new(MirrorDepth::Body, &parts(lines), Desk::default().room())
    }

    #[test]
    fn headers_of_the_moment_are_left_out_and_cookies_go_by_their_names() {
        let headers = |lines| taker(lines).answer.headers;
        assert!(headers(&[("date", "now"), ("x-request-id", "1")]).is_empty());
        let one = headers(&[("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2")]);
        assert_eq!(one, headers(&[("set-cookie", "b=9"), ("set-cookie", "a=8; Secure")]));
        assert_ne!(one, headers(&[("set-cookie", "a=1")]));
        assert_ne!(headers(&[("etag", "1")]), headers(&[("etag", "2")]));
    }

    #[test]
    fn json_is_kept_up_to_a_bound_and_hashed_beyond() {
        let json = &[("content-type", "application/problem+json; charset=utf-8")];
        let mut whole = taker(json);
        let mut large = taker(json);
        let part = Frame::data(Bytes::from(vec![b' '; MOST_JSON]));
        whole.see(&part);
        large.see(&part);
        large.see(&part);
        assert!(
            matches!(whole.finish().answer.body.json, Json::Whole(kept) if kept.len() == MOST_JSON)
        );
        let large = large.finish().answer.body;
        assert_eq!((large.length, large.json), (2 * MOST_JSON as u64, Json::TooLarge));
    }

    #[test]
    fn what_came_compressed_is_looked_into_all_the_same() {
        let came = |coding, bytes: &[u8]| {
            let mut taker =
                taker(&[("content-type", "application/json"), ("content-encoding", coding)]);
            taker.see(&Frame::data(Bytes::copy_from_slice(bytes)));
            let mut kept = taker.finish();
            kept.unpack();
            (kept.room.bytes(), kept.answer.body.json)
        };
        let packed = zstd::stream::encode_all(&b"{}"[..], 3).unwrap();
        assert_eq!(came("zstd", &packed), (2, Json::Whole(b"{}".to_vec())));
        assert_eq!(came("zstd", b"{}"), (0, Json::TooLarge));
        assert_eq!(came("deflate", b"{}"), (0, Json::No));
    }

    #[test]
    fn the_client_is_met_once_or_known_to_be_gone() {
        let meeting = Rc::<Meeting>::default();
        let mut witness = Witness::new(meeting.clone());
        witness.begin(taker(&[]));
        witness.complete();
        assert!(matches!(*meeting.client.borrow(), Client::Answered(_)));
        let meeting = Rc::<Meeting>::default();
        drop(Witness::new(meeting.clone()));
        assert!(matches!(*meeting.client.borrow(), Client::Gone));
    }
}
