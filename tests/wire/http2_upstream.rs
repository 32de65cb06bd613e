//! Endpoints that speak HTTP/2, and those that do so badly.

use std::{
    io::Read as _,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use crate::support::{
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, RST_STREAM,
        SETTINGS, block, frame,
    },
    gate::Gate,
    setup::{NONE, Setup},
    upstream::Upstream,
};

/// What an endpoint does with a connection, by its number.
pub(crate) type Script = fn(usize, &mut Frames);

/// An endpoint that runs `script` for each connection, by its number, after the settings have been exchanged.
pub(crate) fn endpoint(settings: &'static [u8], script: Script) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::<AtomicUsize>::default();
    let count = connections.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let number = count.fetch_add(1, Relaxed);
            std::thread::spawn(move || {
                let Some(mut frames) = Frames::accept(stream) else { return };
                frames.send(&frame(SETTINGS, 0, 0, settings));
                script(number, &mut frames);
            });
        }
    });
    (address, connections)
}

fn gate(address: SocketAddr) -> Gate {
    let setup = Setup::empty().backend("blue", address, "protocol = \"h2\"").route(
        "app",
        "split = { blue = 100 }",
        NONE,
    );
    Gate::start(&setup)
}

/// The next frame that begins a request.
pub(crate) fn request(frames: &mut Frames) -> Option<Frame> {
    loop {
        match frames.next()? {
            begun if begun.kind == HEADERS => return Some(begun),
            _ => {}
        }
    }
}

/// Status 200 from the static table.
const OK: u8 = 0x88;

pub(crate) fn answer(frames: &mut Frames, stream: u32, body: &[u8]) {
    let head = frame(HEADERS, END_HEADERS, stream, &[OK]);
    frames.try_send(&[head, frame(DATA, END_STREAM, stream, body)].concat()).ok();
}

pub(crate) fn answer_all(_: usize, frames: &mut Frames) {
    while let Some(begun) = request(frames) {
        answer(frames, begun.stream, b"ok");
    }
}

pub(crate) const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";

#[test]
fn requests_one_after_the_other_share_a_connection() {
    let (address, connections) = endpoint(&[], answer_all);
    let gate = gate(address);
    for _ in 0..10 {
        assert_eq!(gate.client().get("/").text(), "ok");
    }
    assert_eq!(connections.load(Relaxed), 1);
    gate.await_count("tidegate_requests_total", &[("class", "success")], 10);
}

#[test]
fn a_request_that_was_not_looked_at_is_sent_again_whatever_it_is() {
    let (address, connections) = endpoint(&[], |number, frames| {
        let Some(begun) = request(frames) else { return };
        if number == 0 {
            frames.send(&frame(GOAWAY, 0, 0, &[0; 8]));
            frames.end();
        } else {
            answer(frames, begun.stream, b"ok");
            answer_all(number, frames);
        }
    });
    let gate = gate(address);
    let mut client = gate.client();
    client.send(POST);
    assert_eq!(client.answer().text(), "ok");
    assert_eq!(connections.load(Relaxed), 2);
    gate.await_count("tidegate_requests_total", &[("class", "success")], 1);
    assert!(gate.metric("tidegate_requests_total", &[("class", "failure")]) < 0.5);
    assert!(gate.metric("tidegate_retries_total", &[]) > 0.5);
}

/// The second one is so large that the connection ends with it.
#[test]
fn a_head_too_large_is_malformed_and_not_asked_for_again() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    fn overdo(frames: &mut Frames, parts: usize) {
        if let Some(first) = request(frames) {
            answer(frames, first.stream, b"ok");
        }
        while let Some(begun) = request(frames) {
            SEEN.fetch_add(1, Relaxed);
            let part = block(&[(b"x-a", &[b'x'; 1000])]).repeat(15);
            let mut head = frame(HEADERS, 0, begun.stream, &[&[OK][..], &part].concat());
            for _ in 1..parts {
                head.extend(frame(CONTINUATION, 0, begun.stream, &part));
            }
            head.extend(frame(CONTINUATION, END_HEADERS, begun.stream, &[]));
            head.extend(frame(DATA, END_STREAM, begun.stream, b"ok"));
            frames.try_send(&head).ok();
        }
    }
    for script in [(|_, frames| overdo(frames, 5)) as Script, |_, frames| overdo(frames, 12)] {
        let ((one, _), (two, _)) = (endpoint(&[], script), endpoint(&[], script));
        let backend = "protocol = \"h2\"\nbalance = \"round_robin\"";
        let setup = Setup::empty().backend_of("blue", &[one, two], backend);
        let tables = format!("{NONE}\n[route.retry]\nattempts = 3\nbudget = \"100%\"");
        let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", &tables));
        let mut client = gate.client();
        assert_eq!([client.get("/").status(), client.get("/").status()], [200; 2]);
        SEEN.store(0, Relaxed);
        let answer = client.get("/");
        assert_eq!(answer.status(), 502);
        assert!(answer.text().contains("malformed_response"), "{}", answer.text());
        assert_eq!(SEEN.load(Relaxed), 1);
        gate.await_count("tidegate_errors_total", &[("reason", "malformed_response")], 1);
    }
}

/// RFC 9113 §8.2.1 lets no value begin or end with a blank; of HTTP/1.1 they are no part of it.
#[test]
fn blanks_around_an_answers_values_are_not_passed_on() {
    let (address, _) = endpoint(&[], |_, frames| {
        while let Some(begun) = request(frames) {
            let fields: [(&[u8], &[u8]); 3] =
                [(b"x-a", b" \ta b\t "), (b"x-b", b"  "), (b"trailer", b"x-sum")];
            let head = [&[OK][..], &block(&fields)].concat();
            let trailers = block(&[(b"x-sum", b" 1 ")]);
            let answer = [
                frame(HEADERS, END_HEADERS, begun.stream, &head),
                frame(DATA, 0, begun.stream, b"ok"),
                frame(HEADERS, END_HEADERS | END_STREAM, begun.stream, &trailers),
            ];
            frames.try_send(&answer.concat()).ok();
        }
    });
    let gate = gate(address);
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te, close\r\n\r\n");
    let mut bytes = Vec::new();
    client.stream().read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    for line in ["\r\nx-a: a b\r\n", "\r\nx-b: \r\n", "\r\nx-sum: 1\r\n"] {
        assert!(text.contains(line), "{line:?} in {text:?}");
    }
}

#[test]
fn a_broken_answer_is_the_endpoints_failure() {
    let scripts: [(&str, Script); 4] = [
        ("reset", |_, frames| {
            let Some(begun) = request(frames) else { return };
            frames.send(&frame(RST_STREAM, 0, begun.stream, &[0, 0, 0, 2]));
            frames.end();
        }),
        ("a word about the connection", |_, frames| {
            let Some(begun) = request(frames) else { return };
            let bad = [&[OK][..], &block(&[(b"connection", b"close")])].concat();
            frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, begun.stream, &bad));
            frames.end();
        }),
        ("no status", |_, frames| {
            let Some(begun) = request(frames) else { return };
            let bad = block(&[(b"a", b"b")]);
            frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, begun.stream, &bad));
            frames.end();
        }),
        ("HTTP/1.1", |_, frames| {
            if request(frames).is_some() {
                frames.try_send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok();
            }
        }),
    ];
    for (name, script) in scripts {
        let (address, _) = endpoint(&[], script);
        let gate = gate(address);
        let mut client = gate.client();
        client.send(POST);
        assert_eq!(client.answer().status(), 502, "{name}");
        gate.await_count("tidegate_requests_total", &[("class", "failure")], 1);
    }
}

#[test]
fn an_answer_cut_short_is_not_passed_on_as_whole() {
    let (address, _) = endpoint(&[], |_, frames| {
        let Some(begun) = request(frames) else { return };
        frames.send(&frame(HEADERS, END_HEADERS, begun.stream, &[OK]));
        frames.send(&frame(DATA, 0, begun.stream, b"half"));
        frames.send(&frame(RST_STREAM, 0, begun.stream, &[0, 0, 0, 2]));
        frames.end();
    });
    let gate = gate(address);
    assert!(gate.client().try_get("/", "").is_err());
    gate.await_count("tidegate_requests_total", &[("class", "failure")], 1);
}

#[test]
fn an_endpoint_gets_no_more_at_once_than_it_takes() {
    // SETTINGS_MAX_CONCURRENT_STREAMS is 1, and a second request before the first is answered breaks it.
    let (address, _) = endpoint(&[0, 3, 0, 0, 0, 1], |_, frames| {
        while let Some(begun) = request(frames) {
            answer(frames, begun.stream, b"ok");
        }
    });
    let gate = gate(address);
    assert_eq!(gate.client().get("/").text(), "ok");
    let mut clients: Vec<_> = (0..8).map(|_| gate.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.answer().text(), "ok");
    }
}

/// The mirror's body is sent by another task than the one that asks.
#[test]
fn a_copy_goes_over_http_2_with_its_body() {
    let (blue, (green, _)) = (
        Upstream::saying("blue"),
        endpoint(&[], |_, frames| {
            let mut stream = 0;
            while let Some(next) = frames.next() {
                if next.kind == HEADERS {
                    stream = next.stream;
                }
                if matches!(next.kind, HEADERS | DATA) && next.flags & END_STREAM != 0 {
                    answer(frames, stream, b"blue");
                }
            }
        }),
    );
    let mirror = "[route.mirror]\nto = \"green\"\nshare = \"100%\"\nmethods = [\"POST\"]\n\
                  compare = \"body\"\nnoise = \"0%\"\nignore = [\"header content-type\"]\n";
    let setup = Setup::empty()
        .backend("blue", blue.address(), "")
        .backend("green", green, "protocol = \"h2\"")
        .route("app", "split = { blue = 100 }", &format!("{NONE}\n{mirror}"));
    let gate = Gate::start(&setup);
    let mut client = gate.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    blue.wait_until("a part has come", |log| log.bytes.iter().any(|b| b.ends_with(b"abc\r\n")));
    client.send("2\r\nde\r\n0\r\n\r\n");
    assert_eq!(client.answer_to("POST").text(), "blue");
    gate.await_count("tidegate_mirror_requests_total", &[("outcome", "answered")], 1);
    gate.await_count("tidegate_mirror_comparisons_total", &[("result", "same")], 1);
}
