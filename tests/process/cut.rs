//! The end of a drain's time: what still runs is cut off, its client sees that it was, and the access log tells by whom.

use std::{fs, io, net::SocketAddr};

use serde_json::Value;

use crate::{
    support::{
        client::Client,
        frames::{DATA, END_HEADERS, Frame, Frames, HEADERS, StreamEnd, block, frame, get},
        gate::Gate,
        message::Reader,
        setup::Setup,
        tls::{Authority, TlsClient},
        upstream::{Upstream, opening},
    },
    upgrade::Line,
};

/// Says that the service restarts (1012), unmasked.
const CLOSE: [u8; 4] = [0x88, 0x02, 0x03, 0xf4];

const ASK: &str =
    "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

type Fields = &'static [(&'static [u8], &'static [u8])];

const ASK_OVER_STREAM: Fields = &[
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"http"),
    (b":path", b"/chat"),
    (b":authority", b"a"),
    (b"sec-websocket-version", b"13"),
];

/// Answers with a part of what it has to say, or not at all, and then waits for its end.
fn upstream() -> Upstream {
    Upstream::scripted(|peer| {
        let Some(head) = peer.head() else { return };
        let words = match head.target() {
            "/part" => "HTTP/1.1 200 OK\r\n\r\npart".to_owned(),
            // A whole frame, and one that does not end.
            "/chat" => opening(&head) + "\u{1}\u{2}hi",
            "/half" => opening(&head) + "\u{1}\u{4}ha",
            _ => String::new(),
        };
        peer.write(words).ok();
        peer.until_closed();
    })
}

fn read_to(reader: &mut Reader, last: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(last) {
        let more = reader.some_bytes().unwrap();
        assert!(!more.is_empty(), "ended after {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend(more);
    }
    bytes
}

/// How the connection ends, past what still comes.
fn end_of(reader: &mut Reader) -> Option<io::ErrorKind> {
    loop {
        match reader.some_bytes() {
            Ok(bytes) if bytes.is_empty() => return None,
            Ok(_) => {}
            Err(error) => return Some(error.kind()),
        }
    }
}

fn with_part(address: SocketAddr, version: &str) -> Client {
    let mut client = Client::connect(address);
    client.send(format!("GET /part HTTP/{version}\r\nhost: a\r\n\r\n"));
    let body: &[u8] = if version == "1.0" { b"part" } else { b"part\r\n" };
    read_to(client.reader(), body);
    client
}

fn is_data(frame: &Frame) -> bool {
    frame.kind == DATA && !frame.payload.is_empty()
}

#[test]
fn an_answer_that_is_cut_off_at_the_end_never_looks_complete() {
    let (upstream, authority) = (upstream(), Authority::new());
    authority.sign("test", &["localhost"]);
    let setup = Setup::to(upstream.address())
        .process("shutdown_timeout = \"300ms\"")
        .listener("")
        .listener(&authority.certificate("test"));
    let mut gate = Gate::start(&setup);
    let mut plain = ["1.0", "1.1"].map(|version| with_part(gate.address(), version));
    let tls = gate.addresses[1];
    let mut encrypted = TlsClient::connect(tls, &authority.client(), "localhost").unwrap();
    encrypted.send("GET /part HTTP/1.0\r\nhost: a\r\n\r\n");
    read_to(encrypted.reader(), b"part");
    let mut stream = Frames::connect(gate.address());
    stream.send_get(1, "/part");
    stream.until("a part", is_data);

    gate.signal("TERM");
    assert_eq!(stream.end_of(1), StreamEnd::Gone(Some(0)), "{:?}", stream.seen);
    for client in &mut plain {
        assert_eq!(end_of(client.reader()), Some(io::ErrorKind::ConnectionReset));
    }
    assert_eq!(end_of(encrypted.reader()), Some(io::ErrorKind::ConnectionReset));
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn nor_does_one_that_a_second_term_ends() {
    let upstream = upstream();
    let mut gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = with_part(gate.address(), "1.0");
    gate.signal("TERM");
    crate::drain::await_closed_listener(&gate);
    gate.signal("TERM");
    assert_eq!(end_of(client.reader()), Some(io::ErrorKind::ConnectionReset));
    gate.wait();
}

#[test]
fn nor_does_one_of_a_process_that_has_a_successor() {
    let upstream = upstream();
    let setup = Setup::to(upstream.address()).process("shutdown_timeout = \"300ms\"");
    let mut line = Line::of(Gate::start(&setup));
    let mut client = with_part(line.gate.address(), "1.0");
    line.upgrade();
    assert_eq!(end_of(client.reader()), Some(io::ErrorKind::ConnectionReset));
}

#[test]
fn whole_answers_and_idle_connections_end_in_order() {
    let upstream = Upstream::saying("whole");
    let setup = Setup::to(upstream.address()).process("shutdown_timeout = \"100ms\"");
    let mut gate = Gate::start(&setup);
    let mut client = gate.client();
    assert_eq!(client.get("/").text(), "whole");
    let mut begun = gate.client();
    begun.send("GET / HTTP/1.1\r\nho");
    gate.signal("TERM");
    for client in [&mut client, &mut begun] {
        assert_eq!(end_of(client.reader()), None);
    }
    assert_eq!(gate.wait().code(), Some(0));
}

#[test]
fn each_request_that_is_cut_off_has_its_line_and_the_drain_the_blame() {
    let upstream = upstream();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let setup = Setup::to(upstream.address())
        .process("workers = 2\nshutdown_timeout = \"300ms\"")
        .log(&format!("[log.access]\npath = {path:?}"));
    let mut gate = Gate::start_in(folder, &setup);
    let _part = with_part(gate.address(), "1.1");
    let mut silent = gate.client();
    silent.send("GET /silent HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut upload = gate.client();
    upload.send("POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nbegun");
    let mut chat = gate.client();
    chat.send(ASK.replace("/chat", "/half"));
    read_to(chat.reader(), b"ha");
    let mut streams = Frames::connect(gate.address());
    streams.send_get(1, "/part");
    streams.until("a part", is_data);
    streams.send_get(3, "/silent");
    let mut fields = get("/upload");
    fields[0] = (b":method", b"POST");
    streams.send(&frame(HEADERS, END_HEADERS, 5, &block(&fields)));
    streams.send(&frame(DATA, 0, 5, b"begun"));
    upstream.wait_until("all of them arrive", |log| {
        let begun = |word: &[u8]| log.bytes.iter().filter(|got| got.ends_with(word)).count();
        log.bytes.len() == 7 && begun(b"begun") + begun(b"begun\r\n") == 2
    });

    gate.signal("TERM");
    assert_eq!(gate.wait().code(), Some(0));
    let text = fs::read_to_string(path).unwrap();
    let mut told: Vec<_> = text.lines().map(line).collect();
    told.sort();
    let expected = [
        ("/half", "HTTP/1.1", 101),
        ("/part", "HTTP/1.1", 200),
        ("/part", "HTTP/2.0", 200),
        ("/silent", "HTTP/1.1", 503),
        ("/silent", "HTTP/2.0", 503),
        ("/upload", "HTTP/1.1", 503),
        ("/upload", "HTTP/2.0", 503),
    ];
    let expected = expected.map(|(path, version, status)| {
        (path.to_owned(), version.to_owned(), status, Some("shutdown".to_owned()))
    });
    assert_eq!(told, expected);
}

fn line(text: &str) -> (String, String, u64, Option<String>) {
    let line: Value = serde_json::from_str(text).unwrap();
    let word = |key: &str| line[key].as_str().map(str::to_owned);
    let (path, protocol) = (word("path").unwrap(), word("protocol").unwrap());
    (path, protocol, line["status"].as_u64().unwrap(), word("error"))
}

#[test]
fn a_websocket_is_told_that_the_service_restarts_before_it_is_cut() {
    let upstream = upstream();
    let setup = Setup::to(upstream.address()).process("shutdown_timeout = \"1s\"");
    let mut gate = Gate::start(&setup);
    let mut client = gate.client();
    client.send(ASK);
    read_to(client.reader(), b"hi");
    let mut deaf = gate.client();
    deaf.send(ASK);
    read_to(deaf.reader(), b"hi");
    let mut half = gate.client();
    half.send(ASK.replace("/chat", "/half"));
    read_to(half.reader(), b"ha");
    let mut stream = Frames::connect(gate.address());
    stream.send_head(1, 0, ASK_OVER_STREAM);
    stream.until("the first frame", is_data);

    gate.signal("TERM");
    assert_eq!(read_to(client.reader(), &CLOSE), CLOSE);
    // The client's own close frame, and its end.
    client.send([0x88, 0x82, 0, 0, 0, 0, 3, 0xf4]);
    client.finish();
    assert_eq!(end_of(client.reader()), None);
    assert_eq!(stream.until("the word", is_data).payload, CLOSE);
    // Who does not answer has had the word, and nothing was cut short.
    assert_eq!(read_to(deaf.reader(), &CLOSE), CLOSE);
    assert_eq!(end_of(deaf.reader()), None);
    // Within a frame there is no place for a word.
    assert_eq!(end_of(half.reader()), Some(io::ErrorKind::ConnectionReset));
    assert_eq!(gate.wait().code(), Some(0));
}
