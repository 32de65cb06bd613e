//! Endpoints under TLS: who is believed, what is shown to them, and what their connections' ends mean.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use crate::support::{
    eventually,
    gate::Gate,
    setup::{NONE, Setup},
    tls::{Authority, answering, upstream},
    upstream::{Upstream, ok},
};

/// To an endpoint that is believed if `ca` signed it; `more` stands in the backend's section for TLS.
fn setup(address: SocketAddr, ca: &str, more: &str) -> Setup {
    let tls = format!("[backend.blue.tls]\nca = \"{ca}\"\nserver_name = \"app.example\"\n{more}");
    Setup::empty().backend("blue", address, &tls).route("app", "split = { blue = 100 }", NONE)
}

#[test]
fn requests_pass_and_the_endpoint_sees_name_and_certificate() {
    let authority = Authority::new();
    authority.sign("app", &["app.example"]);
    authority.sign("gate", &["gate.example"]);
    let names = Arc::new(Mutex::new(Vec::new()));
    let seen = names.clone();
    let address = upstream(authority.server("app", true), move |peer| {
        seen.lock().unwrap().push((peer.name.clone(), peer.resumed));
        while let Some(request) = peer.request() {
            let last = request.target() == "/last";
            let (more, text) = (if last { "connection: close\r\n" } else { "" }, request.text());
            let head = format!("HTTP/1.1 200 OK\r\n{more}content-length: {}\r\n\r\n", text.len());
            peer.write(head + &text).ok();
            if last {
                return peer.notify_close();
            }
        }
    });
    let [cert, key] = ["gate.crt", "gate.key"].map(|name| authority.path(name));
    let shows = format!("client_cert = \"{cert}\"\nclient_key = \"{key}\"");
    let gate = Gate::start(&setup(address, &authority.path("ca.pem"), &shows));
    let mut client = gate.client();
    for target in ["/first", "/last", "/anew"] {
        client.send(format!("POST {target} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi"));
        assert_eq!(client.answer_to("POST").text(), "hi", "{target}");
    }
    let name = Some("app.example".to_owned());
    assert_eq!(*names.lock().unwrap(), [(name.clone(), false), (name, true)]);
}

#[test]
fn large_bodies_pass_both_ways() {
    const SIZE: usize = 6_000_000;
    let authority = Authority::new();
    authority.sign("app", &["app.example"]);
    let address = answering(authority.server("app", false), |request| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.body.len());
        [head.as_bytes(), &request.body].concat()
    });
    let gate = Gate::start(&setup(address, &authority.path("ca.pem"), ""));
    let data: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    let mut client = gate.client();
    client.send(format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {SIZE}\r\n\r\n"));
    client.send(&data);
    assert!(client.answer_to("PUT").body == data, "not what was sent");
}

#[test]
fn whoever_is_not_believed_fails_as_the_backend() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.sign("app", &["app.example"]);
    authority.sign("other", &["other.example"]);
    let ca = authority.path("ca.pem");
    let good = answering(authority.server("app", false), |_| ok("fine"));
    let misnamed = answering(authority.server("other", false), |_| ok("fine"));
    let plain = Upstream::saying("fine");
    for (what, address, ca, told) in [
        ("another authority", good, stranger.path("ca.pem"), "an authority that is not trusted"),
        ("another name", misnamed, ca.clone(), "for another name"),
        ("no TLS at all", plain.address(), ca, "handshake with the endpoint failed"),
    ] {
        let gate = Gate::start(&setup(address, &ca, ""));
        let answer = gate.client().get("/");
        assert_eq!(answer.status(), 502, "{what}");
        let text = answer.text();
        assert!(text.contains("tls_failed") && text.contains(told), "{what}: {text}");
        gate.await_count("tidegate_requests_total", &[("class", "failure")], 1);
        gate.await_count("tidegate_errors_total", &[("reason", "tls_failed")], 1);
    }
    let insecure = "[backend.blue.tls]\ninsecure = true";
    let setup = Setup::empty().backend("blue", misnamed, insecure);
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", NONE));
    assert_eq!(gate.client().get("/").text(), "fine");
}

#[test]
fn without_another_name_an_endpoint_has_its_own() {
    let authority = Authority::new();
    authority.sign("app", &["127.0.0.1"]);
    let address = answering(authority.server("app", false), |_| ok("fine"));
    let tls = format!("[backend.blue.tls]\nca = \"{}\"", authority.path("ca.pem"));
    let setup = Setup::empty().backend("blue", address, &tls);
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", NONE));
    assert_eq!(gate.client().get("/").text(), "fine");
}

#[test]
fn a_handshake_that_hangs_is_given_up_in_the_time_for_connecting() {
    let authority = Authority::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let tls = format!("[backend.blue.tls]\nca = \"{}\"", authority.path("ca.pem"));
    let setup = Setup::empty().backend("blue", silent.local_addr().unwrap(), &tls).route(
        "app",
        "split = { blue = 100 }",
        "[route.timeouts]\nconnect = \"200ms\"",
    );
    let answer = Gate::start(&setup).client().get("/");
    assert_eq!(answer.status(), 504);
    assert!(answer.text().contains("connect_timeout"), "{}", answer.text());
}

#[test]
fn an_answer_without_length_is_complete_only_if_tls_says_so() {
    let authority = Authority::new();
    authority.sign("app", &["app.example"]);
    let address = upstream(authority.server("app", false), |peer| {
        let Some(request) = peer.request() else { return };
        peer.write("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall there is").ok();
        if request.target() == "/whole" {
            peer.notify_close();
        }
    });
    let gate = Gate::start(&setup(address, &authority.path("ca.pem"), ""));
    assert_eq!(gate.client().get("/whole").text(), "all there is");
    gate.await_count("tidegate_requests_total", &[("class", "success")], 1);
    let cut = gate.client().try_get("/cut", "").unwrap_err();
    assert!(cut.contains("cut short"), "{cut}");
    gate.await_count("tidegate_requests_total", &[("class", "failure")], 1);
}

#[test]
fn kept_connections_are_used_again_while_they_are_good() {
    const REQUESTS: usize = 20;
    let authority = Authority::new();
    authority.sign("app", &["app.example"]);
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let address = upstream(authority.server("app", false), move |peer| {
        counted.fetch_add(1, Relaxed);
        while let Some(request) = peer.request() {
            peer.write(ok("fine")).ok();
            if request.target() == "/last" {
                return;
            }
        }
    });
    let gate = Gate::start(&setup(address, &authority.path("ca.pem"), ""));
    let mut client = gate.client();
    // A POST is sent once, and so looks at its connection first: tickets that lie there are no reason against it.
    for _ in 0..REQUESTS {
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi");
        assert_eq!(client.answer_to("POST").status(), 200);
    }
    assert_eq!(connections.load(Relaxed), 1);
    assert_eq!(client.get("/last").status(), 200);
    for _ in 0..REQUESTS {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(connections.load(Relaxed), 2);
}

#[test]
fn other_authorities_hold_for_connections_that_are_open_as_well() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.sign("app", &["app.example"]);
    let address = answering(authority.server("app", false), |_| ok("fine"));
    let gate = Gate::start(&setup(address, &authority.path("ca.pem"), ""));
    let mut client = gate.client();
    assert_eq!(client.get("/").status(), 200);
    let old = std::fs::read_to_string(authority.path("ca.pem")).unwrap();
    authority.replace("ca.pem", &std::fs::read_to_string(stranger.path("ca.pem")).unwrap());
    eventually("the endpoint is not believed any more", || {
        (client.get("/").status() == 502).then_some(())
    });
    authority.replace("ca.pem", &old);
    eventually("and is again", || (client.get("/").status() == 200).then_some(()));
}

#[test]
fn tunnels_pass() {
    let authority = Authority::new();
    authority.sign("app", &["app.example"]);
    let address = upstream(authority.server("app", false), |peer| {
        peer.request();
        let agreed =
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
        peer.write(agreed).ok();
        while let Ok(bytes) = peer.reader().some_bytes() {
            if bytes.is_empty() || peer.write(&bytes).is_err() {
                return;
            }
        }
    });
    let gate = Gate::start(&setup(address, &authority.path("ca.pem"), ""));
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
    assert_eq!(client.reader().response_head("GET").unwrap().status(), 101);
    for message in ["hello", "\0\r\n\r\n", "end"] {
        client.send(message);
        let mut back = Vec::new();
        while back.len() < message.len() {
            back.extend(client.reader().some_bytes().unwrap());
        }
        assert_eq!(back, message.as_bytes());
    }
}

/// Its socket stays open, so that only what TLS says tells of the end.
#[test]
fn a_connection_whose_endpoint_has_said_goodbye_is_not_used_again() {
    const BODY: usize = 200_000;
    let authority = Authority::new();
    authority.sign("app", &["app.example"]);
    let address = upstream(authority.server("app", false), |peer| {
        if peer.request().is_some() {
            peer.write_last(ok("fine"));
            peer.reader().some_bytes().ok();
        }
    });
    let gate = Gate::start(&setup(address, &authority.path("ca.pem"), ""));
    let mut client = gate.client();
    for round in 0..3 {
        client.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {BODY}\r\n\r\n"));
        client.send(vec![b'x'; BODY]);
        assert_eq!(client.answer_to("POST").text(), "fine", "{round}");
    }
}

/// Sizes around those of TLS's records and of the buffers on both sides.
#[test]
fn bodies_of_any_size_pass_and_leave_their_connection_in_order() {
    let authority = Authority::new();
    authority.sign("app", &["app.example"]);
    let connections = Arc::new(AtomicUsize::new(0));
    let seen = connections.clone();
    let address = upstream(authority.server("app", false), move |peer| {
        seen.fetch_add(1, Relaxed);
        while let Some(request) = peer.request() {
            let (body, size) = (request.text(), request.body.len());
            let answer = match request.target() {
                "/length" => format!("content-length: {size}\r\n\r\n{body}"),
                _ if size == 0 => "transfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
                _ => format!("transfer-encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n"),
            };
            if peer.write(format!("HTTP/1.1 200 OK\r\n{answer}")).is_err() {
                return;
            }
        }
    });
    let gate = Gate::start(&setup(address, &authority.path("ca.pem"), ""));
    let mut client = gate.client();
    for target in ["/length", "/chunked"] {
        for full in [1, 16_384, 32_768, 131_072, 262_144] {
            for size in [full - 1, full, full + 1] {
                let framing = match target {
                    "/length" => format!("content-length: {size}\r\n\r\n{}", "x".repeat(size)),
                    _ if size == 0 => "transfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
                    _ => {
                        let body = "x".repeat(size);
                        format!("transfer-encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n")
                    }
                };
                client.send(format!("PUT {target} HTTP/1.1\r\nhost: a\r\n{framing}"));
                assert_eq!(client.answer_to("PUT").body.len(), size, "{target} {size}");
            }
        }
    }
    assert_eq!(connections.load(Relaxed), 1, "the connection is kept");
}

/// Its parts are small, so that each waits for the end of a turn, until the socket takes no more.
#[test]
fn a_body_that_an_endpoint_takes_late_arrives_whole() {
    const CHUNKS: usize = 8_000;
    let authority = Authority::new();
    authority.sign("app", &["app.example"]);
    let late = |request: &crate::support::message::Message| ok(&request.body.len().to_string());
    let encrypted = upstream(authority.server("app", false), move |peer| {
        std::thread::sleep(std::time::Duration::from_millis(500));
        if let Some(request) = peer.request() {
            peer.write(late(&request)).ok();
        }
    });
    let plain = Upstream::scripted(move |peer| {
        std::thread::sleep(std::time::Duration::from_millis(500));
        if let Some(request) = peer.request() {
            peer.write(late(&request)).ok();
        }
    });
    for setup in [Setup::to(plain.address()), setup(encrypted, &authority.path("ca.pem"), "")] {
        let gate = Gate::start(&setup);
        let mut client = gate.client();
        client.send("PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        let chunk = format!("3e8\r\n{}\r\n", "x".repeat(1000)).repeat(8);
        (0..CHUNKS / 8).for_each(|_| client.send(&chunk));
        client.send("0\r\n\r\n");
        assert_eq!(client.answer_to("PUT").text(), (CHUNKS * 1000).to_string());
    }
}
