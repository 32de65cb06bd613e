//! Endpoints on unix sockets: all that endpoints on TCP can do, and what is different about a file.

use std::{
    io::{Read as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::mpsc::sync_channel,
};

use tempfile::TempDir;

use crate::{
    support::{
        PATIENCE,
        gate::Gate,
        relay::UnixRelay,
        setup::{NONE, Setup},
        tls::{Authority, answering},
        upstream::{Upstream, ok},
    },
    upgrade::{assert_echoes, echo},
};

/// A folder for sockets, and an upstream behind the one named `app.sock`.
fn behind_a_socket(upstream: &Upstream) -> (TempDir, UnixRelay) {
    let folder = tempfile::tempdir().unwrap();
    let relay = UnixRelay::bind(&folder.path().join("app.sock"), upstream.address());
    (folder, relay)
}

fn to(address: &str, lines: &str) -> Setup {
    Setup::empty().backend("blue", address, lines).route("app", "split = { blue = 100 }", NONE)
}

#[test]
fn requests_with_bodies_pass_and_share_a_kept_connection() {
    let upstream = Upstream::echoing();
    let (_folder, relay) = behind_a_socket(&upstream);
    let gate = Gate::start(&to(&relay.address(), ""));
    let mut client = gate.client();
    let large = "x".repeat(3_000_000);
    for (headers, sent, body) in [
        ("content-length: 5", "hello", "hello"),
        ("transfer-encoding: chunked", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde"),
        ("content-length: 3000000", large.as_str(), large.as_str()),
    ] {
        client.send(format!("POST /a HTTP/1.1\r\nhost: shop.example\r\n{headers}\r\n\r\n{sent}"));
        assert_eq!(client.answer_to("POST").text(), body, "{headers}");
    }
    let mut nameless = gate.client();
    nameless.send("POST /a HTTP/1.0\r\ncontent-length: 1\r\n\r\nx");
    assert_eq!(nameless.answer_to("POST").text(), "x");
    let log = upstream.log();
    assert_eq!(log.bytes.len(), 1, "connections");
    assert!(log.faults.is_empty(), "{:?}", log.faults);
    let hosts: Vec<_> =
        log.requests.iter().map(|request| request.headers.only("host").unwrap()).collect();
    let own = "shop.example";
    assert_eq!(hosts, [own, own, own, "localhost"], "the client's own host, where it has one");
    gate.await_count("tidegate_requests_total", &[("class", "success")], 4);
    let labels = [("backend", "blue"), ("endpoint", relay.address().leak() as &str)];
    assert!(gate.metric("tidegate_endpoint_healthy", &labels) > 0.5);
}

#[test]
fn a_kept_connection_that_its_endpoint_closed_is_not_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (tell, closed) = sync_channel(1);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = [0; 4096];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                let _ = stream.read(&mut request).unwrap();
            }
            stream.write_all(&ok("once")).unwrap();
            drop(stream);
            tell.send(()).unwrap();
        }
    });
    let gate = Gate::start(&to(&format!("unix:{}", path.display()), ""));
    let mut client = gate.client();
    for _ in 0..5 {
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(client.answer_to("POST").text(), "once");
        closed.recv_timeout(PATIENCE).unwrap();
    }
    gate.await_count("tidegate_requests_total", &[("class", "success")], 5);
    assert!(gate.metric("tidegate_requests_total", &[("class", "failure")]) < 0.5);
}

#[test]
fn a_tunnel_goes_over_a_socket() {
    let upstream = echo();
    let (_folder, relay) = behind_a_socket(&upstream);
    let gate = Gate::start(&to(&relay.address(), ""));
    let mut client = gate.client();
    client.send(
        "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\n\r\n",
    );
    assert_eq!(client.reader().response_head("GET").unwrap().status(), 101);
    assert_echoes(&mut client);
    client.finish();
    client.assert_closed();
    upstream.wait_until("the tunnel ends", |log| log.ended == 1);
}

#[test]
fn a_socket_that_is_missing_or_dead_fails_until_it_is_there() {
    let upstream = Upstream::saying("here");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let gate = Gate::start(&to(&format!("unix:{}", path.display()), ""));
    let mut client = gate.client();
    let answer = client.get("/");
    assert_eq!(answer.status(), 502);
    assert!(answer.text().contains("connect_failed: the endpoint's name or socket does not exist"));

    // The file outlasts its listener, as after a crash.
    drop(UnixListener::bind(&path).unwrap());
    let answer = client.get("/");
    assert_eq!(answer.status(), 502);
    assert!(answer.text().contains("connect_failed: the endpoint refused the connection"));
    gate.await_count("tidegate_requests_total", &[("class", "failure")], 2);

    std::fs::remove_file(&path).unwrap();
    let _relay = UnixRelay::bind(&path, upstream.address());
    assert_eq!(client.get("/").text(), "here");
    gate.await_count("tidegate_requests_total", &[("class", "success")], 1);
}

#[test]
fn a_socket_that_nobody_serves_costs_the_time_to_connect() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let full = listen_for_one(&path);
    let first = UnixStream::connect(&path).unwrap();
    let limits = format!("{NONE}\n[route.timeouts]\nconnect = \"100ms\"\nfirst_byte = \"30s\"");
    let setup = Setup::empty().backend("blue", format!("unix:{}", path.display()), "");
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", &limits));
    let answer = gate.client().get("/");
    assert_eq!(answer.status(), 504, "{}", answer.text());
    assert!(answer.text().contains("connect_timeout"), "{}", answer.text());

    // A busy moment is waited for, as TCP would.
    let patient = limits.replace("100ms", "30s");
    let setup = Setup::empty().backend("blue", format!("unix:{}", path.display()), "");
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", &patient));
    let mut client = gate.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let answering = std::thread::spawn(move || {
        drop((first, full.accept().unwrap()));
        let (mut stream, _) = full.accept().unwrap();
        stream.write_all(&ok("at last")).unwrap();
        stream
    });
    assert_eq!(client.answer().text(), "at last");
    drop(answering.join().unwrap());
}

/// A listener whose queue holds a single connection.
fn listen_for_one(path: &Path) -> UnixListener {
    use socket2::{Domain, SockAddr, Socket, Type};
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::unix(path).unwrap()).unwrap();
    socket.listen(0).unwrap();
    UnixListener::from(OwnedFd::from(socket))
}

#[test]
fn endpoints_of_both_kinds_share_the_work_however_they_are_chosen() {
    for balance in ["least_in_flight", "round_robin", "ewma", "hash"] {
        let (by_tcp, by_socket) = (Upstream::saying("tcp"), Upstream::saying("socket"));
        let (_folder, relay) = behind_a_socket(&by_socket);
        let endpoints = [by_tcp.address().to_string(), relay.address()];
        let affinity = "[route.affinity]\nby = \"header\"\nname = \"x-user\"";
        let setup =
            Setup::empty().backend_of("blue", &endpoints, &format!("balance = \"{balance}\""));
        let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", affinity));
        let mut client = gate.client();
        for user in 0..100 {
            let answer = client.try_get("/", &format!("x-user: {user}\r\n")).unwrap();
            assert_eq!(answer.status(), 200, "{balance}");
        }
        let shares = [&by_tcp, &by_socket].map(|upstream| upstream.log().requests.len());
        assert_eq!(shares.iter().sum::<usize>(), 100, "{balance}");
        // The way through the relay is longer, which `ewma` is there to find out.
        let least = if balance == "ewma" { 1 } else { 20 };
        assert!(shares.iter().all(|share| *share >= least), "{balance}: {shares:?}");
    }
}

#[test]
fn a_missing_socket_beside_a_good_endpoint_is_ejected_and_no_client_sees_it() {
    let upstream = Upstream::saying("tcp");
    let folder = tempfile::tempdir().unwrap();
    let missing = format!("unix:{}", folder.path().join("app.sock").display());
    let endpoints = [upstream.address().to_string(), missing.clone()];
    let rules = "balance = \"round_robin\"\nejection = { consecutive_failures = 3 }";
    let setup = Setup::empty().backend_of("blue", &endpoints, rules);
    let gate = Gate::start(&setup.route("app", "split = { blue = 100 }", NONE));
    let mut client = gate.client();
    (0..20).for_each(|_| assert_eq!(client.get("/").text(), "tcp"));
    gate.await_count("tidegate_retries_total", &[], 3);
    let ejections = [("endpoint", missing.as_str()), ("result", "ejected")];
    gate.await_count("tidegate_endpoint_ejections_total", &ejections[1..], 1);
    assert!(gate.metric("tidegate_endpoint_healthy", &ejections[..1]) < 0.5);
}

#[test]
fn a_copy_for_a_mirror_goes_over_a_socket() {
    let (blue, green) = (Upstream::saying("same"), Upstream::saying("same"));
    let (_folder, relay) = behind_a_socket(&green);
    let mirror =
        "[route.mirror]\nto = \"green\"\nshare = \"100%\"\ncompare = \"body\"\nnoise = \"0%\"";
    let setup = Setup::empty()
        .backend("blue", blue.address(), "")
        .backend("green", relay.address(), "")
        .route("app", "split = { blue = 100 }", &format!("{NONE}\n{mirror}"));
    let gate = Gate::start(&setup);
    assert_eq!(gate.client().get("/").text(), "same");
    gate.await_count("tidegate_mirror_comparisons_total", &[("result", "same")], 1);
    assert_eq!(green.log().targets(), ["/"]);
}

#[test]
fn http_2_goes_over_a_socket() {
    let upstream = Upstream::echoing();
    let inner = Gate::start(&Setup::to(upstream.address()));
    let folder = tempfile::tempdir().unwrap();
    let relay = UnixRelay::bind(&folder.path().join("app.sock"), inner.address());
    let gate = Gate::start(&to(&relay.address(), "protocol = \"h2\""));
    let mut client = gate.client();
    for _ in 0..3 {
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello");
        assert_eq!(client.answer_to("POST").text(), "hello");
    }
    let open = inner.metric("tidegate_connections", &[]);
    assert!((open - 1.0).abs() < 0.5, "{open} connections");
}

#[test]
fn tls_goes_over_a_socket_by_the_name_that_is_given() {
    let authority = Authority::new();
    authority.sign("app", &["app.example"]);
    let address = answering(authority.server("app", false), |request| ok(request.target()));
    let folder = tempfile::tempdir().unwrap();
    let relay = UnixRelay::bind(&folder.path().join("app.sock"), address);
    let tls = |name: &str| {
        let ca = authority.path("ca.pem");
        to(
            &relay.address(),
            &format!("[backend.blue.tls]\nca = \"{ca}\"\nserver_name = \"{name}\""),
        )
    };
    let gate = Gate::start(&tls("app.example"));
    let mut client = gate.client();
    assert_eq!(client.get("/first").text(), "/first");
    assert_eq!(client.get("/second").text(), "/second");
    let gate = Gate::start(&tls("other.example"));
    assert_eq!(gate.client().get("/").status(), 502);
}
