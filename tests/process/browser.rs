//! A real browser before an application: Chromium over HTTPS, with all that a page does.

use serde_json::{Value, json};

use crate::{
    python::Script,
    support::{
        eventually,
        gate::Gate,
        setup::{BY_COOKIE, NONE, Setup},
        tls::{Authority, TlsClient},
        upstream::{Peer, Reserved, Upstream, ok},
    },
};

const PAGE: &str = include_str!("scripts/page.html");

/// One side of an application: a page, its name at `/who`, what it is sent at `/echo`, events without end at `/events`.
fn application(name: &'static str) -> Upstream {
    let html = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n",
        PAGE.len()
    );
    Upstream::scripted(move |peer| {
        while let Some(request) = peer.request() {
            let answer = match request.target() {
                "/" => [html.as_bytes(), PAGE.as_bytes()].concat(),
                "/who" => ok(name),
                "/echo" => {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                        request.body.len()
                    );
                    [head.as_bytes(), &request.body].concat()
                }
                "/events" => return stream_events(peer),
                _ => b"HTTP/1.1 204 No Content\r\n\r\n".into(),
            };
            if peer.write(answer).is_err() {
                return;
            }
        }
    })
}

/// An event every now and then, until nobody takes them.
fn stream_events(peer: &mut Peer) {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut sent = peer.write(head);
    for number in 1.. {
        let event = format!("data: {number}\n\n");
        sent = sent.and_then(|()| peer.write(format!("{:x}\r\n{event}\r\n", event.len())));
        if sent.is_err() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// A gate with an application of two sides under TLS, and a browser that trusts its certificate.
struct Stage {
    authority: Authority,
    gate: Gate,
    browser: Script,
    /// Where it listens without TLS, and where with it.
    plain: u16,
    https: u16,
    _parts: (Upstream, Upstream, Script, Reserved),
}

impl Stage {
    fn set() -> Self {
        let authority = Authority::new();
        authority.sign("own", &["localhost"]);
        let (blue, green) = (application("blue"), application("green"));
        let (server, chat) = Script::echo_server("echo");
        let https = Reserved::bind();
        let port = https.address.port();
        let log = authority.path("access.log");
        let listener = format!("bind = \"{}\"\n{}", https.address, authority.certificate("own"));
        let gate = Gate::start(
            &Setup::empty()
                .process("workers = 2")
                .log(&format!(
                    "access = {{ path = \"{log}\", format = \"$server_protocol $uri $status\" }}"
                ))
                .backend("blue", blue.address(), "")
                .backend("green", green.address(), "")
                .backend("chat", chat, "")
                .route("chat", "path = \"/chat\"\nsplit = { chat = 100 }", NONE)
                .route("app", "split = { blue = 50, green = 50 }", BY_COOKIE)
                .listener(&format!("redirect_to_https = true\nhttps_port = {port}"))
                .listener(&listener),
        );
        let browser = Script::browser(authority.folder().to_str().unwrap());
        let plain = gate.address().port();
        let parts = (blue, green, server, https);
        Self { authority, gate, browser, plain, https: port, _parts: parts }
    }

    fn tell(&mut self, command: &Value) -> Value {
        let answer = self.browser.ask(&command.to_string());
        serde_json::from_str(&answer).expect("JSON")
    }

    /// Opens the page by way of the listener without TLS.
    fn open(&mut self) {
        let url = format!("http://localhost:{}/", self.plain);
        assert_eq!(self.tell(&json!(["open", url])), true);
        assert_eq!(self.run("location.href"), format!("https://localhost:{}/", self.https));
    }

    /// What `script` evaluates to in the page.
    fn run(&mut self, script: &str) -> Value {
        self.tell(&json!(["run", script]))
    }
}

#[test]
fn a_page_over_https_does_all_that_pages_do() {
    let mut stage = Stage::set();
    stage.open();
    let protocol = "performance.getEntriesByType('navigation')[0].nextHopProtocol";
    assert_eq!(stage.run(protocol), "h2");
    // The cookie came with the page, and keeps the session where it began.
    let side = stage.run("sides(30)");
    assert!(side == json!(["blue"]) || side == json!(["green"]), "{side}");
    for _ in 0..3 {
        assert_eq!(stage.tell(&json!(["reload"])), true);
        assert_eq!(stage.run("sides(10)"), side);
    }
    assert_eq!(stage.run("document.cookie"), "", "scripts see nothing of it");
    for size in [0, 1, 300_000] {
        assert_eq!(stage.run(&format!("echo({size})")), size);
    }
    assert_eq!(stage.run("openSocket()"), "echo hello");
    assert_eq!(stage.run("openEvents()"), "1");
    eventually("both go on", || {
        let seen = stage.run("seen");
        (seen["messages"].as_u64() > Some(5) && seen["events"].as_u64() > Some(5)).then_some(())
    });
    assert_eq!(stage.run("closeSocket()"), 1000);
    assert_eq!(stage.run("seen.eventFaults"), 0);
    // Chromium opens it on a stream of the connection that it has (RFC 8441).
    let log = stage.authority.path("access.log");
    eventually("the WebSocket has its line", || {
        let lines = std::fs::read_to_string(&log).unwrap();
        let line = lines.lines().find(|line| line.contains("/chat"))?.to_owned();
        assert_eq!(line, "HTTP/2.0 /chat 200");
        Some(())
    });
    assert_eq!(stage.tell(&json!(["quit"])), true);
}

#[test]
fn a_page_sees_no_failure_while_weights_and_certificates_change() {
    let mut stage = Stage::set();
    stage.open();
    assert_eq!(stage.run("openSocket()"), "echo hello");
    assert_eq!(stage.run("openEvents()"), "1");
    stage.run("begin()");
    for round in 1..=5 {
        let green = round * 20;
        stage.gate.run_ok(&[
            "split",
            "app",
            &format!("blue={}", 100 - green),
            &format!("green={green}"),
        ]);
        // A name of its own shows which certificate is used, and keeps the browser from going on over the old connection.
        let name = format!("round-{round}.localhost");
        stage.authority.sign("own", &["localhost", &name]);
        let address = stage.gate.addresses[1];
        let trusting = stage.authority.client();
        eventually("the new certificate is shown", || {
            TlsClient::connect(address, &trusting, &name).ok()
        });
        let other = format!("https://{name}:{}/who", stage.https);
        let asked =
            stage.run(&format!("fetch('{other}', {{ mode: 'no-cors' }}).then(() => 'shown')"));
        assert_eq!(asked, "shown", "round {round}");
        let before = stage.run("({ ...seen })");
        eventually("the page goes on", || {
            let seen = stage.run("seen");
            let more = |what: &str| seen[what].as_u64() > before[what].as_u64();
            (more("fetched") && more("events") && more("messages")).then_some(())
        });
    }
    assert_eq!(stage.run("sides(10)"), json!(["green"]));
    let seen = stage.run("stop()");
    assert_eq!((&seen["failed"], &seen["eventFaults"]), (&json!([]), &json!(0)), "{seen}");
    assert_eq!(seen["closed"], json!([]), "{seen}");
    assert!(seen["fetched"].as_u64() > Some(50), "{seen}");
    assert_eq!(stage.run("closeSocket()"), 1000);
    assert_eq!(stage.tell(&json!(["quit"])), true);
}
