//! Whole exchanges: keep-alive, pipelining, bodies of each kind, and clients that leave.

use std::sync::mpsc::sync_channel;

use crate::support::{
    eventually,
    gate::Gate,
    message::{Broken, Framing},
    setup::Setup,
    upstream::{Upstream, ok},
};

fn chunked(body: &str, trailers: &str) -> Vec<u8> {
    let announced =
        trailers.split_once(':').map_or(String::new(), |(name, _)| format!("trailer: {name}\r\n"));
    let size = body.len();
    format!("HTTP/1.1 200 OK\r\n{announced}transfer-encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n{trailers}\r\n")
        .into_bytes()
}

#[test]
fn connections_are_kept_on_both_sides() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), "blue");
    }
    let log = upstream.log();
    assert_eq!((log.requests.len(), log.bytes.len()), (10, 1));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::answering(|request| ok(request.target()));
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    let paths = ["/one", "/two", "/three"];
    let requests = paths.map(|path| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
    client.send(requests.concat());
    assert_eq!(paths.map(|_| client.answer().text()), paths);
}

#[test]
fn an_answer_that_a_slow_client_takes_is_whole_before_the_next_begins() {
    let upstream = Upstream::answering(|request| match request.target() {
        "/large" => ok(&"0123456789abcde\n".repeat(256 * 1024)),
        other => ok(other),
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    // So small that what is written to it blocks over and over, also when the last of the answer has come.
    socket2::SockRef::from(&*client.stream()).set_recv_buffer_size(32 * 1024).unwrap();
    let requests =
        ["/large", "/second"].map(|path| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
    client.send(requests.concat());
    let large = client.answer().text();
    assert_eq!(large.len(), 4 * 1024 * 1024);
    assert!(large.lines().all(|line| line == "0123456789abcde"));
    assert_eq!(client.answer().text(), "/second");
}

#[test]
fn a_connection_ends_when_the_client_says_so() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()));
    for last in [
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\nhost: a\r\n\r\n",
    ] {
        let mut client = gate.client();
        client.send(last);
        assert_eq!(client.answer().text(), "blue");
        client.assert_closed();
    }
}

#[test]
fn answers_without_a_body_leave_the_connection_in_order() {
    let upstream = Upstream::answering(|request| match request.target() {
        "/head" => b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec(),
        "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        "/304" => {
            b"HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\ncontent-length: 1000\r\n\r\n".to_vec()
        }
        _ => ok("body"),
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    client.send("HEAD /head HTTP/1.1\r\nhost: a\r\n\r\n");
    let head = client.answer_to("HEAD");
    assert_eq!((head.status(), head.headers.only("content-length")), (200, Some("1000")));
    assert_eq!(client.get("/204").status(), 204);
    let not_modified = client.get("/304");
    assert_eq!((not_modified.status(), not_modified.headers.only("etag")), (304, Some("\"1\"")));
    assert_eq!(client.get("/").text(), "body");
}

#[test]
fn an_early_hint_does_not_replace_the_answer() {
    let hint = b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n".to_vec();
    let upstream = Upstream::answering(move |_| [hint.clone(), ok("body")].concat());
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let hint = client.reader().response_head("GET").unwrap();
        assert_eq!((hint.status(), hint.headers.only("link")), (103, Some("</a.css>")));
        assert_eq!(client.answer().text(), "body");
    }
}

#[test]
fn a_client_that_waits_for_100_is_told_to_go_on() {
    let upstream = Upstream::answering(|request| ok(&request.text()));
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    let interim = client.reader().response_head("POST").unwrap();
    assert_eq!(interim.status(), 100);
    client.send("hello");
    assert_eq!(client.answer_to("POST").text(), "hello");
}

#[test]
fn chunks_and_trailers_pass_to_the_client() {
    let upstream = Upstream::answering(|_| chunked("hello", "x-sum: 1\r\n"));
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.framing, answer.text().as_str()), (Framing::Chunked, "hello"));
    assert_eq!(answer.trailers.only("x-sum"), Some("1"));
    assert_eq!(client.get("/").text(), "hello");
}

#[test]
fn an_old_client_gets_no_chunks() {
    let upstream = Upstream::answering(|_| chunked("hello", ""));
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    client.send("GET / HTTP/1.0\r\nhost: a\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.text(), "hello");
    assert_ne!(answer.framing, Framing::Chunked);
    client.assert_closed();
}

#[test]
fn an_old_client_that_would_keep_its_connection_is_told_that_it_ends() {
    let upstream = Upstream::answering(|request| match request.target() {
        "/chunked" => chunked("hello", ""),
        "/none" => b"HTTP/1.1 204 No Content\r\n\r\n".into(),
        _ => ok("hello"),
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    for (path, word) in [("/", "keep-alive"), ("/none", "keep-alive"), ("/chunked", "close")] {
        client.send(format!("GET {path} HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n"));
        assert_eq!(client.answer().headers.only("connection"), Some(word), "{path}");
    }
    client.assert_closed();
}

#[test]
fn an_answer_without_length_ends_with_its_connection() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.write("HTTP/1.1 200 OK\r\n\r\nhello").ok();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    assert_eq!(gate.client().get("/").text(), "hello");
}

#[test]
fn a_body_is_not_held_back() {
    let (release, released) = sync_channel::<()>(0);
    let released = std::sync::Mutex::new(released);
    let upstream = Upstream::scripted(move |peer| {
        peer.request();
        peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").ok();
        released.lock().unwrap().recv().ok();
        peer.write("4\r\nlast\r\n0\r\n\r\n").ok();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    client.reader().response_head("GET").unwrap();
    // The upstream sends the rest only after the client has the beginning.
    assert_eq!(client.reader().chunk().unwrap().as_deref(), Some(&b"first"[..]));
    release.send(()).unwrap();
    assert_eq!(client.reader().chunk().unwrap().as_deref(), Some(&b"last"[..]));
    assert_eq!(client.reader().chunk().unwrap(), None);
}

#[test]
fn a_request_body_is_not_held_back() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nfirst");
    upstream.wait_until("the beginning arrives before the end was sent", |log| {
        log.bytes.iter().any(|bytes| bytes.ends_with(b"first"))
    });
    client.send(" last");
    assert_eq!(client.answer_to("POST").status(), 200);
    assert_eq!(upstream.take_requests()[0].text(), "first last");
}

#[test]
fn an_answer_before_the_end_of_the_request_is_passed_on() {
    let refusal = "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno";
    let upstream = Upstream::scripted(move |peer| {
        peer.head();
        peer.write(refusal).ok();
        peer.until_closed();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nbegun");
    let answer = client.answer_to("POST");
    assert_eq!((answer.status(), answer.text().as_str()), (403, "no"));
    // The rest of the body is not sent, so what follows on this connection would be taken for it.
    client.finish();
    client.assert_closed();
    upstream.wait_until("the request is cancelled", |log| log.ended == 1);
}

#[test]
fn a_client_that_leaves_cancels_its_request_and_blames_nobody() {
    let upstream = Upstream::scripted(|peer| {
        peer.head();
        peer.until_closed();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    upstream.wait_until("the request arrives", |log| {
        log.bytes.iter().any(|bytes| bytes.ends_with(b"\r\n\r\n"))
    });
    drop(client);
    upstream.wait_until("the request is cancelled", |log| log.ended == 1);
    let count = |class| gate.metric("tidegate_requests_total", &[("class", class)]);
    eventually("the outcome is counted", || (count("excluded") > 0.5).then_some(()));
    assert!(count("failure") < 0.5, "a client's leaving was counted against the backend");
}

#[test]
fn a_client_that_leaves_in_the_body_cancels_its_request_and_blames_nobody() {
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").ok();
        let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
        while peer.write(&chunk).is_ok() {}
        peer.until_closed();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    client.reader().response_head("GET").unwrap();
    client.reader().chunk().unwrap();
    drop(client);
    upstream.wait_until("the request is cancelled", |log| log.ended == 1);
    let count = |class| gate.metric("tidegate_requests_total", &[("class", class)]);
    eventually("the outcome is counted", || (count("excluded") > 0.5).then_some(()));
    assert!(count("failure") < 0.5, "a client's leaving was counted against the backend");
}

#[test]
fn each_listener_serves() {
    let upstream = Upstream::saying("blue");
    let gate = Gate::start(&Setup::to(upstream.address()).listener("").listener(""));
    assert_eq!(gate.addresses.len(), 2);
    for address in &gate.addresses {
        let answer = crate::support::client::Client::connect(*address).get("/");
        assert_eq!(answer.text(), "blue", "{address}");
    }
}

#[test]
fn a_cut_request_body_ends_the_clients_connection() {
    let upstream = Upstream::scripted(|peer| {
        peer.head();
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = gate.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello");
    match client.reader().response("POST", |_| {}) {
        Ok(answer) => {
            assert_eq!(answer.status(), 502);
            client.finish();
            client.assert_closed();
        }
        Err(broken) => assert!(matches!(broken, Broken::Cut(_)), "{broken}"),
    }
}

#[test]
fn a_chunked_body_is_never_lost_whatever_the_method() {
    for method in ["GET", "HEAD", "DELETE", "POST"] {
        let upstream = Upstream::saying("blue");
        let gate = Gate::start(&Setup::to(upstream.address()));
        let mut client = gate.client();
        client.send(format!(
            "{method} / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        ));
        let status = client.answer_to(method).status();
        let bodies: Vec<_> = upstream.take_requests().iter().map(|got| got.text()).collect();
        assert!(status == 400 && bodies.is_empty() || bodies == ["hello"], "{method}: {bodies:?}");
    }
}
