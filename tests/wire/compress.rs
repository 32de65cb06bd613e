//! Answers made smaller: for whom, which, and that nothing waits for it.

use std::{
    io::Read as _,
    sync::{Arc, Condvar, Mutex},
};

use crate::support::{
    client::Client,
    eventually,
    frames::{DATA, END_STREAM, Frame, Frames, RST_STREAM, frame, get},
    gate::Gate,
    message::Message,
    setup::{NONE, Setup},
    upstream::Upstream,
};

const TEXT: &str = "Six sleek swans swam swiftly southwards. ";

fn text() -> String {
    TEXT.repeat(200)
}

fn start(upstream: &Upstream, lines: &str) -> Gate {
    let setup = Setup::empty().backend("blue", upstream.address(), "");
    let tables = format!("{NONE}\n[route.compress]\n{lines}");
    Gate::start(&setup.route("app", "split = { blue = 100 }", &tables))
}

/// An upstream that answers with `headers` and the text.
fn answering(headers: &'static str) -> Upstream {
    Upstream::answering(move |_| {
        let body = text();
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes()
    })
}

fn ask(client: &mut Client, accept: &str) -> Message {
    client.try_get("/", &format!("accept-encoding: {accept}\r\n")).expect("an answer")
}

fn decoded(coding: &str, body: &[u8]) -> String {
    let mut text = String::new();
    match coding {
        "zstd" => zstd::stream::read::Decoder::new(body).unwrap().read_to_string(&mut text),
        "br" => brotli::Decompressor::new(body, 4096).read_to_string(&mut text),
        "gzip" => flate2::read::GzDecoder::new(body).read_to_string(&mut text),
        other => panic!("{other}"),
    }
    .expect("a whole body");
    text
}

#[test]
fn each_client_gets_what_it_accepts() {
    let upstream = answering("content-type: text/html\r\netag: \"v1\"\r\nvary: origin\r\n");
    let gate = start(&upstream, "");
    let mut client = gate.client();
    for (accept, coding) in [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, br", "br"),
        ("gzip", "gzip"),
        ("zstd;q=0, *", "br"),
    ] {
        let answer = ask(&mut client, accept);
        assert_eq!(answer.headers.only("content-encoding"), Some(coding), "{accept}");
        assert!(answer.body.len() < text().len() / 4, "{} bytes", answer.body.len());
        assert_eq!(decoded(coding, &answer.body), text());
        assert_eq!(answer.headers.only("etag"), Some("W/\"v1\""));
        assert_eq!(answer.headers.all("vary"), ["origin", "accept-encoding"]);
        assert!(!answer.headers.has("content-length"), "{answer:?}");
    }
    for accept in ["identity", "deflate", "gzip;q=0", ""] {
        let answer = ask(&mut client, accept);
        assert!(!answer.headers.has("content-encoding"), "{accept}");
        assert_eq!(answer.text(), text());
        assert_eq!(answer.headers.only("etag"), Some("\"v1\""));
        // A cache has to know all the same.
        assert_eq!(answer.headers.all("vary"), ["origin", "accept-encoding"]);
    }
}

#[test]
fn what_is_small_already_or_must_not_change_is_left_alone() {
    for headers in [
        "content-type: image/png\r\n",
        "content-type: text/html\r\ncontent-encoding: gzip\r\n",
        "content-type: text/html\r\ncache-control: public, no-transform\r\n",
        "content-type: text/html\r\ncontent-range: bytes 0-8199/9000\r\n",
        "",
    ] {
        let upstream = answering(headers);
        let answer = ask(&mut start(&upstream, "").client(), "gzip, br, zstd");
        assert_eq!(answer.text(), text(), "{headers}");
        assert!(!answer.headers.has("vary"), "{headers}");
    }
    let upstream = answering("content-type: text/html\r\n");
    let gate = start(&upstream, "min_size = \"16KiB\"");
    assert!(!ask(&mut gate.client(), "gzip").headers.has("content-encoding"));
    let gate = start(&upstream, "");
    let mut client = gate.client();
    client.send("GET / HTTP/1.0\r\naccept-encoding: gzip\r\n\r\n");
    assert_eq!(client.answer().text(), text());
}

/// What is asked for, and of the answer: `etag`, `vary`, `content-encoding`.
type Row = (&'static str, &'static str, Option<&'static str>, bool, Option<&'static str>);

#[test]
fn a_head_without_its_body_says_what_that_of_a_get_would() {
    let upstream = Upstream::answering(|request| {
        let (status, lines) = match request.target() {
            "/304" => ("304 Not Modified", ""),
            "/304-text" => ("304 Not Modified", "content-type: text/html\r\n"),
            "/304-image" => ("304 Not Modified", "content-type: image/png\r\n"),
            "/small" => ("200 OK", "content-type: text/html\r\ncontent-length: 10\r\n"),
            "/image" => ("200 OK", "content-type: image/png\r\ncontent-length: 8200\r\n"),
            "/204" => ("204 No Content", ""),
            _ => (
                "200 OK",
                "content-type: text/html\r\ncontent-length: 8200\r\naccept-ranges: bytes\r\n\
                 repr-digest: a=:Yg==:\r\ncontent-digest: a=:Yg==:\r\ncontent-md5: Yg==\r\n",
            ),
        };
        format!("HTTP/1.1 {status}\r\netag: \"v1\"\r\n{lines}\r\n").into_bytes()
    });
    let gate = start(&upstream, "");
    let (strong, weak) = (Some("\"v1\""), Some("W/\"v1\""));
    let rows: [Row; 12] = [
        ("HEAD / HTTP/1.1", "accept-encoding: gzip", weak, true, Some("gzip")),
        ("HEAD / HTTP/1.1", "accept-encoding: identity", strong, true, None),
        ("HEAD / HTTP/1.0", "accept-encoding: gzip", strong, false, None),
        ("HEAD /small HTTP/1.1", "accept-encoding: gzip", strong, false, None),
        ("HEAD /image HTTP/1.1", "accept-encoding: gzip", strong, false, None),
        ("GET /204 HTTP/1.1", "accept-encoding: gzip", strong, false, None),
        ("GET /304-text HTTP/1.1", "accept-encoding: gzip", weak, true, None),
        ("GET /304-text HTTP/1.1", "accept-encoding: identity", strong, true, None),
        ("GET /304-image HTTP/1.1", "accept-encoding: gzip", strong, false, None),
        // Of what kind it is nobody says: the client has what it names.
        ("GET /304 HTTP/1.1", "accept-encoding: gzip\r\nif-none-match: W/\"v1\"", weak, true, None),
        ("GET /304 HTTP/1.1", "accept-encoding: gzip\r\nif-none-match: \"v1\"", strong, true, None),
        ("GET /304 HTTP/1.1", "if-none-match: W/\"v1\"", strong, true, None),
    ];
    for (line, lines, tag, varies, coding) in rows {
        let mut client = gate.client();
        client.send(format!("{line}\r\nhost: a\r\n{lines}\r\n\r\n"));
        let answer = client.answer_to(line.split(' ').next().unwrap());
        let is = |name| answer.headers.only(name);
        assert_eq!(is("etag"), tag, "{line} {lines}: {answer:?}");
        assert_eq!(is("vary"), varies.then_some("accept-encoding"), "{line} {lines}: {answer:?}");
        assert_eq!(is("content-encoding"), coding, "{line} {lines}: {answer:?}");
        if line.starts_with("HEAD / ") {
            assert_eq!(is("content-length"), coding.is_none().then_some("8200"), "{answer:?}");
            for name in ["accept-ranges", "repr-digest", "content-digest", "content-md5"] {
                assert_eq!(answer.headers.has(name), coding.is_none(), "{name}: {answer:?}");
            }
        }
    }
}

#[test]
fn a_part_says_that_the_whole_depends_on_what_is_accepted() {
    let upstream = Upstream::answering(|_| {
        "HTTP/1.1 206 Partial Content\r\ncontent-type: text/html\r\netag: \"v1\"\r\n\
         content-range: bytes 0-1/8200\r\ncontent-length: 2\r\n\r\nhi"
            .into()
    });
    let answer = ask(&mut start(&upstream, "").client(), "gzip");
    assert_eq!((answer.status(), answer.text()), (206, "hi".into()));
    assert_eq!(answer.headers.only("vary"), Some("accept-encoding"));
    assert_eq!(answer.headers.only("etag"), Some("\"v1\""));
}

#[test]
fn a_digest_of_what_the_endpoint_sent_does_not_come_after_it_either() {
    let upstream = Upstream::answering(|_| {
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ntrailer: repr-digest, x-sum\r\n\
         transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nrepr-digest: a=:Yg==:\r\nx-sum: 1\r\n\r\n"
            .into()
    });
    let gate = start(&upstream, "");
    let mut client = gate.client();
    for (accept, digest) in [("identity", true), ("gzip", false)] {
        let lines = format!("te: trailers\r\naccept-encoding: {accept}\r\n");
        let answer = client.try_get("/", &lines).expect("an answer");
        assert_eq!(answer.trailers.has("repr-digest"), digest, "{accept}: {answer:?}");
        assert_eq!(answer.trailers.only("x-sum"), Some("1"), "{accept}: {answer:?}");
    }
}

#[test]
fn a_stream_of_events_is_not_held_back() {
    // The upstream sends the next event when the client has seen the one before.
    let seen = Arc::new((Mutex::new(0), Condvar::new()));
    let told = Arc::clone(&seen);
    let upstream = Upstream::scripted(move |peer| {
        if peer.request().is_none() {
            return;
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                    transfer-encoding: chunked\r\n\r\n";
        peer.write(head.as_bytes()).ok();
        for event in 0..3 {
            let guard = told.1.wait_while(told.0.lock().unwrap(), |seen| *seen < event).unwrap();
            drop(guard);
            peer.write(format!("9\r\ndata: {event}\n\n\r\n").as_bytes()).ok();
        }
        peer.write(b"0\r\nx-trailer: t\r\n\r\n").ok();
        peer.request();
    });
    for coding in ["zstd", "br", "gzip"] {
        *seen.0.lock().unwrap() = 0;
        let gate = start(&upstream, &format!("algorithms = [\"{coding}\"]"));
        let mut client = gate.client();
        client.send(format!("GET / HTTP/1.1\r\nhost: a\r\naccept-encoding: {coding}\r\n\r\n"));
        let head = client.reader().response_head("GET").expect("a head");
        assert_eq!(head.headers.only("content-encoding"), Some(coding));
        let mut body = Vec::new();
        for event in 0..3 {
            let wanted: String = (0..=event).map(|event| format!("data: {event}\n\n")).collect();
            while so_far(coding, &body) != wanted {
                body.extend(client.reader().chunk().expect("a chunk").expect("not the end"));
            }
            *seen.0.lock().unwrap() = event + 1;
            seen.1.notify_all();
        }
        while let Some(rest) = client.reader().chunk().expect("a chunk") {
            body.extend(rest);
        }
        assert_eq!(decoded(coding, &body).len(), 27, "{coding}");
    }
}

/// What can be read of a body that goes on.
fn so_far(coding: &str, body: &[u8]) -> String {
    let mut decoder: Box<dyn std::io::Read> = match coding {
        "zstd" => Box::new(zstd::stream::read::Decoder::new(body).unwrap()),
        "br" => Box::new(brotli::Decompressor::new(body, 4096)),
        _ => Box::new(flate2::read::GzDecoder::new(body)),
    };
    let (mut text, mut byte) = (Vec::new(), [0]);
    while let Ok(1) = decoder.read(&mut byte) {
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn an_answer_that_breaks_off_is_not_made_whole() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 9000\r\n\r\n";
        peer.write(format!("{head}{}", text()).as_bytes()).ok();
    });
    let gate = start(&upstream, "");
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n");
    assert!(client.reader().response("GET", |_| {}).is_err());
    gate.await_count("tidegate_errors_total", &[("reason", "upstream_reset")], 1);
}

#[test]
fn a_large_answer_comes_through_whole_in_bounded_memory() {
    const CHUNKS: usize = 512;
    let upstream = Upstream::scripted(|peer| {
        let part = text().repeat(8);
        while let Some(request) = peer.request() {
            let chunks = if request.target() == "/warm" { CHUNKS / 32 } else { CHUNKS };
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n";
            peer.write(head.as_bytes()).ok();
            for _ in 0..chunks {
                peer.write(format!("{:x}\r\n{part}\r\n", part.len()).as_bytes()).ok();
            }
            peer.write(b"0\r\n\r\n").ok();
        }
    });
    let length = CHUNKS * 8 * text().len();
    let grown = |accept: &str| {
        let gate = start(&upstream, "");
        let mut client = gate.client();
        // What an encoder takes at all, and the code that is paged in for it, is there with the first answer.
        client.try_get("/warm", &format!("accept-encoding: {accept}\r\n")).expect("an answer");
        let before = gate.memory("VmHWM");
        let answer = ask(&mut client, accept);
        let text = match answer.headers.only("content-encoding") {
            Some(coding) => decoded(coding, &answer.body),
            None => answer.text(),
        };
        assert_eq!(text.len(), length, "{accept}");
        gate.memory("VmHWM").saturating_sub(before)
    };
    for coding in ["identity", "gzip", "br", "zstd"] {
        let more = grown(coding);
        // Code that is paged in late counts too, some megabytes of it in an unoptimised build.
        assert!(more < 10 << 20, "{coding}: {more} bytes more for {length}");
    }
}

#[test]
fn encoders_have_a_budget_and_beyond_it_answers_go_out_as_they_are() {
    const PART: &[u8] = b"part one\n";
    let upstream = Upstream::scripted(|peer| {
        if peer.request().is_some() {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\
                        transfer-encoding: chunked\r\n\r\n9\r\n";
            peer.write([head.as_bytes(), PART, b"\r\n"].concat()).ok();
            peer.until_closed();
        }
    });
    let gate = start(&upstream, "");
    let before = gate.memory("VmRSS");
    let (mut clients, mut asked) = (Vec::new(), 0);
    while is_encoded(&gate, &mut clients, asked, PART) {
        asked += 1;
        assert!(asked < 4_000, "there is no end to encoders");
    }
    assert!(asked > 50, "{asked} encoders are few");
    gate.await_count("tidegate_overflow_total", &[("queue", "encoders")], 1);
    let more = gate.memory("VmRSS") - before;
    assert!(more < 320 << 20, "{more} bytes for {asked} encoders");
    // What leaves makes room for another.
    clients[0].send(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()));
    eventually("there is room again", || {
        asked += 1;
        is_encoded(&gate, &mut clients, asked, PART).then_some(())
    });
}

/// Asks for one more answer that does not end, and says whether its first `part` comes encoded. Requests share connections, so
/// that the test needs few descriptors of its own.
fn is_encoded(gate: &Gate, clients: &mut Vec<Frames>, at: u32, part: &[u8]) -> bool {
    let (client, stream) = (at as usize / 64, at % 64 * 2 + 1);
    if client == clients.len() {
        clients.push(Frames::connect(gate.address()));
    }
    let fields = [&get("/")[..], &[(b"accept-encoding", b"br")]].concat();
    clients[client].send_head(stream, END_STREAM, &fields);
    let comes = |frame: &Frame| frame.kind == DATA && frame.stream == stream;
    clients[client].until("a part", comes).payload != part
}
