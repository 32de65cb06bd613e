//! Listeners under TLS: who gets in, what passes, and what becomes of certificates that change.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use rustls::HandshakeKind;

use crate::support::{
    PATIENCE, eventually,
    gate::Gate,
    setup::Setup,
    tls::{Authority, TlsClient},
    upstream::{Upstream, ok},
};

fn open(gate: &Gate, authority: &Authority) -> TlsClient {
    TlsClient::connect(gate.address(), &authority.client(), "localhost").unwrap()
}

/// A gate with a certificate for `localhost`, in front of `upstream`; `more` stands in the listener's section.
fn gate(authority: &Authority, upstream: SocketAddr, more: &str) -> Gate {
    authority.sign("own", &["localhost"]);
    let lines = format!("{more}\n{}", authority.certificate("own"));
    Gate::start(&Setup::to(upstream).listener(&lines))
}

#[test]
fn messages_pass_in_each_framing_and_the_upstream_learns_of_https() {
    let authority = Authority::new();
    let upstream = Upstream::answering(|request| ok(&request.text()));
    let gate = gate(&authority, upstream.address(), "");
    let mut client = open(&gate, &authority);
    assert_eq!(client.get("/a?b=c").status(), 200);
    client.send("POST /l HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(client.answer().text(), "hello");
    client.send(
        "POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    assert_eq!(client.answer().text(), "abc");
    client.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!((client.answer().status(), client.answer().status()), (200, 200));
    client.send("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n");
    assert_eq!(client.answer().status(), 400);
    client.reader().is_at_end().unwrap();
    let requests = upstream.take_requests();
    assert_eq!(requests.len(), 5);
    for request in requests {
        assert_eq!(request.headers.only("x-forwarded-proto"), Some("https"));
    }
    gate.await_count("tidegate_tls_handshakes_total", &[("result", "full")], 1);
}

#[test]
fn large_bodies_pass_both_ways() {
    const SIZE: usize = 6_000_000;
    let authority = Authority::new();
    let upstream = Upstream::answering(|request| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", request.body.len());
        [head.as_bytes(), &request.body].concat()
    });
    let gate = gate(&authority, upstream.address(), "");
    let data: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    let mut client = open(&gate, &authority);
    for _ in 0..2 {
        client.send(format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {SIZE}\r\n\r\n"));
        client.send(&data);
        assert!(client.answer().body == data, "not what was sent");
    }
}

#[test]
fn an_answer_that_was_cut_is_seen_to_be_cut() {
    let authority = Authority::new();
    let upstream = Upstream::scripted(|peer| {
        let Some(request) = peer.request() else { return };
        let head = match request.target() {
            "/length" => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n32\r\n",
        };
        peer.write(format!("{head}half of it")).ok();
    });
    let gate = gate(&authority, upstream.address(), "");
    for path in ["/length", "/chunked"] {
        let mut client = open(&gate, &authority);
        let cut = client.try_get(path).unwrap_err();
        assert!(cut.contains("cut short"), "{path}: {cut}");
        // Not even by a word of TLS does it look complete.
        assert!(!cut.contains("end of stream"), "{path}: {cut}");
    }
}

#[test]
fn an_answer_that_is_not_taken_in_time_never_looks_whole() {
    let authority = Authority::new();
    authority.sign("own", &["localhost"]);
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.write("HTTP/1.1 200 OK\r\n\r\n").ok();
        while peer.write([b'x'; 64 * 1024]).is_ok() {}
    });
    let timeouts = "[route.timeouts]\ntotal = \"500ms\"";
    let setup = Setup::empty().backend("blue", upstream.address(), "");
    let setup = setup.route("app", "split = { blue = 100 }", timeouts);
    let gate = Gate::start(&setup.listener(&authority.certificate("own")));
    let mut client = open(&gate, &authority);
    client.send("GET / HTTP/1.0\r\nhost: a\r\n\r\n");
    gate.await_count("tidegate_requests_total", &[("class", "excluded")], 1);
    loop {
        match client.reader().some_bytes() {
            Ok(bytes) => assert!(!bytes.is_empty(), "it ended in order"),
            Err(_) => return,
        }
    }
}

#[test]
fn a_small_answer_reaches_a_client_that_was_slow_before() {
    const LARGE: usize = 8 * 1024 * 1024;
    let authority = Authority::new();
    let upstream = Upstream::answering(|request| match request.target() {
        "/large" => ok(&"x".repeat(LARGE)),
        _ => ok("small"),
    });
    let gate = gate(&authority, upstream.address(), "");
    let mut client = open(&gate, &authority);
    let ask = |path| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    client.send(ask("/large") + &ask("/1") + &ask("/large") + &ask("/2"));
    upstream.wait_until("the first is asked for", |log| !log.requests.is_empty());
    // Not a wait for something: the time in which the socket fills up.
    std::thread::sleep(std::time::Duration::from_millis(100));
    let lengths: Vec<_> = (0..4).map(|_| client.answer().body.len()).collect();
    assert_eq!(lengths, [LARGE, 5, LARGE, 5]);
}

#[test]
fn a_connection_that_ends_in_order_says_so() {
    let authority = Authority::new();
    let upstream = Upstream::saying("blue");
    let gate = gate(&authority, upstream.address(), "");
    let mut client = open(&gate, &authority);
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert_eq!(client.answer().status(), 200);
    client.reader().is_at_end().unwrap();
}

#[test]
fn a_tunnel_carries_bytes_both_ways() {
    let authority = Authority::new();
    let upstream = Upstream::scripted(|peer| {
        peer.request();
        peer.write(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhi",
        )
        .ok();
        while let Ok(bytes) = peer.reader().some_bytes() {
            if bytes.is_empty() || peer.write(&bytes).is_err() {
                break;
            }
        }
    });
    let gate = gate(&authority, upstream.address(), "");
    let mut client = open(&gate, &authority);
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
    assert_eq!(client.reader().response_head("GET").unwrap().status(), 101);
    let mut expected = b"hi".to_vec();
    let mut back = Vec::new();
    for message in ["hello", "\0\r\n\r\n", "end"] {
        client.send(message);
        expected.extend(message.bytes());
        while back.len() < expected.len() {
            back.extend(client.reader().some_bytes().unwrap());
        }
        assert_eq!(back, expected);
    }
}

#[test]
fn clients_show_their_certificates_where_they_must() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.sign("client", &["client.example"]);
    stranger.sign("client", &["client.example"]);
    stranger.replace("ca.pem", &std::fs::read_to_string(authority.path("ca.pem")).unwrap());
    let upstream = Upstream::saying("blue");
    // A table of its own comes last in a listener's section.
    authority.sign("own", &["localhost"]);
    let auth = format!("[listener.client_auth]\nca = \"{}\"\n", authority.path("ca.pem"));
    let lines = format!("{}{auth}", authority.certificate("own"));
    let setup = Setup::to(upstream.address()).log("level = \"debug\"");
    let gate = Gate::start(&setup.listener(&lines));
    let get = |config| {
        let connected = TlsClient::connect(gate.address(), &config, "localhost");
        connected.map_err(|error| error.to_string()).and_then(|mut client| client.try_get("/"))
    };
    assert_eq!(get(authority.client_showing("client")).unwrap().status(), 200);
    let without = get(authority.client()).unwrap_err();
    assert!(without.contains("CertificateRequired"), "{without}");
    let foreign = {
        // Trusts the listener, and shows what another authority signed.
        let own = std::fs::read_to_string(stranger.path("client.crt")).unwrap();
        let key = std::fs::read_to_string(stranger.path("client.key")).unwrap();
        authority.replace("foreign.crt", &own);
        authority.replace("foreign.key", &key);
        get(authority.client_showing("foreign")).unwrap_err()
    };
    assert!(foreign.contains("UnknownCA") || foreign.contains("DecryptError"), "{foreign}");
    gate.await_count("tidegate_tls_handshakes_total", &[("result", "failed")], 2);
    eventually("the log says why", || {
        let log = gate.log();
        let told =
            log.lines().filter(|line| line.contains("a handshake failed")).collect::<Vec<_>>();
        (told.len() == 2 && told[0].contains("no certificates")).then_some(())
    });
    assert_eq!(upstream.log().requests.len(), 1);
}

#[test]
fn the_certificate_shown_is_the_one_that_was_asked_for() {
    let authority = Authority::new();
    authority.sign("first", &["first.example"]);
    authority.sign("second", &["*.second.example"]);
    let upstream = Upstream::saying("blue");
    let lines = ["first", "second"].map(|name| authority.certificate(name)).concat();
    let gate = Gate::start(&Setup::to(upstream.address()).listener(&lines));
    let client = authority.client();
    for (name, good) in
        [("first.example", true), ("www.second.example", true), ("third.example", false)]
    {
        let connected = TlsClient::connect(gate.address(), &client, name);
        assert_eq!(connected.is_ok(), good, "{name}");
        assert!(connected.is_err() || connected.unwrap().get("/").status() == 200, "{name}");
    }
}

#[test]
fn a_session_goes_on_at_whichever_worker() {
    let authority = Authority::new();
    authority.sign("own", &["localhost"]);
    let upstream = Upstream::saying("blue");
    let setup = Setup::to(upstream.address()).process("workers = 3");
    let gate = Gate::start(&setup.listener(&authority.certificate("own")));
    let config = authority.client();
    for round in 0..12 {
        let mut client = TlsClient::connect(gate.address(), &config, "localhost").unwrap();
        // Tickets come with the first bytes.
        assert_eq!(client.get("/").status(), 200);
        let resumed = client.session(|session| session.handshake_kind());
        let expected = if round == 0 { HandshakeKind::Full } else { HandshakeKind::Resumed };
        assert_eq!(resumed, Some(expected), "round {round}");
    }
    gate.await_count("tidegate_tls_handshakes_total", &[("result", "resumed")], 11);
}

#[test]
fn certificates_are_swapped_under_load_and_nobody_notices() {
    const ROUNDS: usize = 3;
    let authority = Authority::new();
    let upstream = Upstream::saying("blue");
    let gate = gate(&authority, upstream.address(), "");
    let address = gate.address();
    let (done, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let shown = || {
        let client = TlsClient::connect(address, &authority.client(), "localhost").unwrap();
        client.session(|session| session.peer_certificates().unwrap()[0].to_vec())
    };
    let mut kept = open(&gate, &authority);
    assert_eq!(kept.get("/").status(), 200);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (done, served, config) = (done.clone(), served.clone(), authority.client());
            scope.spawn(move || {
                while !done.load(Relaxed) {
                    let mut client = TlsClient::connect(address, &config, "localhost").unwrap();
                    for _ in 0..5 {
                        assert_eq!(client.get("/").status(), 200);
                        served.fetch_add(1, Relaxed);
                    }
                }
            });
        }
        for _ in 0..ROUNDS {
            let (before, count) = (shown(), served.load(Relaxed));
            authority.sign("own", &["localhost"]);
            eventually("the new certificate is shown", || (shown() != before).then_some(()));
            eventually("requests go on", || (served.load(Relaxed) > count + 20).then_some(()));
        }
        done.store(true, Relaxed);
    });
    assert_eq!(kept.get("/").status(), 200, "the connection that was open all the while");
}

#[test]
fn a_bad_certificate_is_told_and_the_old_one_stays() {
    let authority = Authority::new();
    let upstream = Upstream::saying("blue");
    let gate = gate(&authority, upstream.address(), "");
    let expiry = gate.metric("tidegate_certificate_expiry_timestamp_seconds", &[]);
    assert!(expiry > 1_700_000_000.0, "{expiry}");
    let good = std::fs::read_to_string(authority.path("own.key")).unwrap();
    authority.replace("own.key", "no key\n");
    let told = eventually("the fault is told", || {
        let events = gate.events();
        let told = events.into_iter().find(|event| event["kind"] == "reload_rejected")?;
        Some(told["message"].as_str().unwrap().to_owned())
    });
    assert!(told.contains("own.key holds no private key in PEM form"), "{told}");
    assert_eq!(gate.metric("tidegate_config_last_reload_successful", &[]), 0.0);
    assert_eq!(open(&gate, &authority).get("/").status(), 200);
    authority.replace("own.key", &good);
    eventually("it is good again", || {
        (gate.metric("tidegate_config_last_reload_successful", &[]) == 1.0).then_some(())
    });
    assert_eq!(open(&gate, &authority).get("/").status(), 200);
}

#[test]
fn handshakes_are_bounded_in_number_and_in_time() {
    let authority = Authority::new();
    let upstream = Upstream::saying("blue");
    // Long enough that neither of the two is over when the third comes.
    let limits = "max_handshakes = 2\nhandshake_timeout = \"1h\"";
    let many = gate(&authority, upstream.address(), limits);
    let late = gate(&authority, upstream.address(), "handshake_timeout = \"200ms\"");
    let silent = |gate: &Gate| {
        let stream = TcpStream::connect(gate.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let slow = [silent(&many), silent(&many)];
    eventually("both have begun", || {
        (many.metric("tidegate_connections", &[]) == 2.0).then_some(())
    });
    assert_eq!(silent(&many).read(&mut [0]).unwrap_or(0), 0, "the third is closed at once");
    many.await_count("tidegate_overflow_total", &[("queue", "handshakes")], 1);
    drop(slow);
    many.await_count("tidegate_tls_handshakes_total", &[("result", "failed")], 2);
    assert_eq!(open(&many, &authority).get("/").status(), 200);

    for mut stream in [silent(&late), silent(&late)] {
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    }
    late.await_count("tidegate_tls_handshakes_total", &[("result", "late")], 2);
}

#[test]
fn whoever_speaks_no_tls_gets_no_answer_in_the_clear() {
    let authority = Authority::new();
    let upstream = Upstream::saying("blue");
    let gate = gate(&authority, upstream.address(), "");
    let mut stream = TcpStream::connect(gate.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    gate.await_count("tidegate_tls_handshakes_total", &[("result", "failed")], 1);
    assert_eq!(open(&gate, &authority).get("/").status(), 200);
    assert_eq!(upstream.log().requests.len(), 1);
}
