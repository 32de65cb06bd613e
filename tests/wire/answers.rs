//! Answers of endpoints as they come: in any pieces, of any size, with more behind them than there should be.

use std::{io::Write as _, sync::mpsc, time::Duration};

use crate::{
    malformed::assert_refusal,
    support::{
        client::Client,
        gate::Gate,
        setup::{NONE, Setup},
        upstream::{Upstream, ok},
    },
};

/// To an endpoint, with lines of the route's timeouts.
pub(crate) fn within(upstream: &Upstream, timeouts: &str) -> Setup {
    let tables = format!("[route.timeouts]\n{timeouts}\n{NONE}");
    Setup::empty().backend("blue", upstream.address(), "").route(
        "app",
        "split = { blue = 100 }",
        &tables,
    )
}

#[test]
fn an_answer_reads_the_same_in_pieces_of_any_size() {
    const ANSWER: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nx-a: 1\r\n\
        trailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n5 ;a=b\r\nhello\r\n1  \r\n\n\r\n0\r\nx-sum: 1\r\n\r\n";
    let upstream = Upstream::scripted(|peer| {
        while let Some(request) = peer.request() {
            let size: usize = request.target()[1..].parse().unwrap();
            for piece in ANSWER.chunks(size) {
                peer.write(piece).ok();
            }
        }
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    for size in 1..=ANSWER.len() {
        client.send(format!("GET /{size} HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n"));
        let answer = client.answer();
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hello\n"), "{size}");
        let sums = (answer.headers.only("x-a"), answer.trailers.only("x-sum"));
        assert_eq!(sums, (Some("1"), Some("1")), "{size}");
    }
    assert_eq!(upstream.log().bytes.len(), 1, "the connection is kept");
}

/// Sizes around those of the buffers: one read of a worker, and of a body that has a buffer to itself.
#[test]
fn bodies_of_any_size_are_whole_and_leave_their_connection_in_order() {
    let upstream = Upstream::answering(|request| {
        let (framing, size) = request.target()[1..].split_once('/').unwrap();
        let body = "x".repeat(size.parse().unwrap());
        let head = "HTTP/1.1 200 OK\r\n";
        match framing {
            "length" => format!("{head}content-length: {size}\r\n\r\n{body}"),
            // Head and body together fill the first read.
            "both" => {
                let rest =
                    body.len().saturating_sub(head.len() + 4 + "content-length: 99999\r\n".len());
                format!("{head}content-length: {rest:0>5}\r\n\r\n{}", &body[..rest])
            }
            _ if body.is_empty() => format!("{head}transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
            _ => {
                let length = body.len();
                format!("{head}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n")
            }
        }
        .into_bytes()
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    for framing in ["length", "chunked", "both"] {
        for full in [0, 16_384, 32_768, 65_536, 131_072, 163_840, 262_144] {
            if framing == "both" && full > 65_536 {
                continue;
            }
            for size in [full.max(1) - 1, full, full + 1] {
                let body = client.get(&format!("/{framing}/{size}")).body;
                let head = if framing == "both" { size.min(44) } else { 0 };
                assert_eq!(body.len(), size - head, "{framing} {size}");
            }
        }
    }
    assert_eq!(upstream.log().bytes.len(), 1, "the connection is kept");
}

/// Whole answers, and what comes right behind them.
const SURPLUS: &[(&str, &str, &str)] = &[
    ("GET", "a length", "content-length: 2\r\n\r\nok"),
    ("GET", "no body", "content-length: 0\r\n\r\n"),
    ("GET", "chunks", "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("GET", "trailers", "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-a: 1\r\n\r\n"),
    ("HEAD", "HEAD", "content-length: 5\r\n\r\n"),
    ("HEAD", "HEAD in chunks", "transfer-encoding: chunked\r\n\r\n"),
    ("HEAD", "HEAD without framing", "\r\n"),
];

#[test]
fn what_follows_an_answer_unasked_is_no_answer_whatever_ended_the_first() {
    let upstream = Upstream::scripted(|peer| {
        let Some(request) = peer.request() else { return };
        let row: usize = request.target()[1..].parse().unwrap();
        let surplus = ok("surplus");
        let answer = format!("HTTP/1.1 200 OK\r\n{}", SURPLUS[row].2);
        peer.write([answer.as_bytes(), &surplus].concat()).ok();
        peer.until_closed();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    for (row, (method, name, _)) in SURPLUS.iter().enumerate() {
        client.send(format!("{method} /{row} HTTP/1.1\r\nhost: a\r\n\r\n"));
        let answer = client.answer_to(method);
        let wanted = if *method == "HEAD" || *name == "no body" { "" } else { "ok" };
        assert_eq!((answer.status(), answer.text().as_str()), (200, wanted), "{name}");
    }
    assert_eq!(upstream.log().bytes.len(), SURPLUS.len(), "none was used again");
}

#[test]
fn what_an_idle_connection_says_is_no_answer() {
    let (say, said) = mpsc::sync_channel::<()>(0);
    let said = std::sync::Mutex::new(said);
    let upstream = Upstream::scripted(move |peer| {
        if peer.request().is_none() {
            return;
        }
        peer.write(ok("fine")).ok();
        if said.lock().unwrap().recv().is_err() {
            return;
        }
        match peer.number % 2 {
            0 => peer.write("HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n").unwrap(),
            _ => peer.reset_at_end(),
        }
        peer.close();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    for round in 1..=6 {
        let mut client = gate.client();
        let method = if round % 4 < 2 { "GET" } else { "DELETE" };
        client.send(format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert_eq!((client.answer_to(method).status(), round), (200, round));
        say.send(()).unwrap();
        upstream.wait_until("the upstream has spoken", |log| log.closed == round);
    }
    let requests = upstream.log().requests.len();
    assert_eq!(requests, 6, "none was sent twice");
    drop(say);
}

#[test]
fn an_endpoint_that_has_a_hint_now_and_then_is_given_up_in_time() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        // Fewer than are too many, over more than the time that there is.
        for _ in 0..30 {
            if peer.write("HTTP/1.1 102 Processing\r\n\r\n").is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        peer.until_closed();
    });
    let gate = Gate::start(&within(&upstream, "first_byte = \"500ms\""));
    let mut client = gate.client();
    assert_eq!(client.get("/").status(), 504);
    assert!((2..30).contains(&client.interim.len()), "{}", client.interim.len());
    gate.await_count("tidegate_errors_total", &[("reason", "first_byte_timeout")], 1);
}

#[test]
fn an_endpoint_that_has_nothing_but_hints_is_given_up_at_once() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        let hint =
            "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n".repeat(100);
        while peer.write(&hint).is_ok() {}
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let before = gate.memory("VmHWM");
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    // Nothing of it is read until the gate has given up.
    gate.await_count("tidegate_errors_total", &[("reason", "malformed_response")], 1);
    assert_eq!(client.answer().status(), 502);
    let grown = gate.memory("VmHWM").saturating_sub(before);
    // What a process touches for the first time is some 10 MB of it; all that it is sent would be several times the bound.
    assert!(grown < 32 << 20, "{grown} bytes for hints");
}

#[test]
fn the_largest_head_passes_and_one_line_or_byte_more_does_not() {
    const MOST: usize = 64 * 1024;
    let upstream = Upstream::answering(|request| {
        let (what, number) = request.target()[1..].split_once('/').unwrap();
        let number: usize = number.parse().unwrap();
        let mut head = String::from("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n");
        if what == "lines" {
            (1..number).for_each(|line| head += &format!("x-{line}: 1\r\n"));
        } else {
            let room = number - head.len() - 4;
            head += &format!("x: {}\r\n", "x".repeat(room - 3));
        }
        (head + "\r\nok").into_bytes()
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    for path in ["/lines/100".to_owned(), format!("/bytes/{MOST}")] {
        assert_eq!(client.get(&path).text(), "ok", "{path}");
    }
    for path in ["/lines/101".to_owned(), format!("/bytes/{}", MOST + 1)] {
        assert_refusal(&client.get(&path), 502).unwrap();
    }
}

#[test]
fn a_status_without_a_reason_gets_none_that_nobody_gave() {
    let upstream = Upstream::answering(|request| {
        format!(
            "HTTP/1.1 {}\r\ncontent-length: 0\r\n\r\n",
            &request.target()[1..].replace('_', " ")
        )
        .into_bytes()
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    for (path, line) in [
        ("/599", "HTTP/1.1 599 "),
        ("/599_", "HTTP/1.1 599 "),
        ("/299_Odd_One", "HTTP/1.1 299 Odd One"),
        ("/200_Fine", "HTTP/1.1 200 Fine"),
        ("/404", "HTTP/1.1 404 Not Found"),
    ] {
        assert_eq!(client.get(path).first_line, line, "{path}");
    }
}

fn assert_answer(client: &mut Client, status: u16, text: &str) {
    let answer = client.answer_to("POST");
    assert_eq!((answer.status(), answer.text().as_str()), (status, text));
}

#[test]
fn an_answer_is_read_though_its_endpoint_takes_no_more_of_the_request() {
    const BODY: usize = 8_000_000;
    let (go, gone) = mpsc::sync_channel::<()>(0);
    let gone = std::sync::Mutex::new(gone);
    let upstream = Upstream::scripted(move |peer| {
        let Some(request) = peer.head() else { return };
        if request.target() == "/reset" {
            peer.reset_at_end();
        }
        // The rest of the body waits in the socket, so that the close at the end is a reset in any case.
        peer.write("HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno").ok();
        gone.lock().unwrap().recv().ok();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    for path in ["/close", "/reset"] {
        let mut client = gate.client();
        client.send(format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {BODY}\r\n\r\n"));
        let mut writing = client.stream().try_clone().unwrap();
        let upload = std::thread::spawn(move || {
            // Ends early, when the gate has had enough.
            writing.write_all(&vec![b'x'; BODY]).ok();
        });
        assert_answer(&mut client, 413, "no");
        drop(client);
        upload.join().unwrap();
        go.send(()).unwrap();
    }
    gate.await_count("tidegate_responses_total", &[("code", "413")], 2);
}

#[test]
fn an_answer_without_length_that_ends_with_a_reset_is_not_whole() {
    let (go, gone) = mpsc::sync_channel::<()>(0);
    let gone = std::sync::Mutex::new(gone);
    let upstream = Upstream::scripted(move |peer| {
        peer.head();
        peer.write("HTTP/1.1 200 OK\r\n\r\nbegun").ok();
        gone.lock().unwrap().recv().ok();
        peer.reset_at_end();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    for length in [0, 1 << 30] {
        let mut client = gate.client();
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n"));
        let mut answer = client.reader().response_head("POST").unwrap();
        if length > 0 {
            // Until nobody takes any more: then it is the writing of the body that finds the reset first.
            let block = vec![b'x'; 1 << 16];
            client.stream().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
            while client.stream().write_all(&block).is_ok() {}
        }
        go.send(()).unwrap();
        let cut = client.reader().body(&mut answer);
        assert!(cut.is_err(), "{length}: {cut:?}");
    }
    gate.await_count("tidegate_requests_total", &[("class", "failure")], 2);
}
