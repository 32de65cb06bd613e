//! The access log: one line a request, whatever becomes of it, and none that a client wrote.

use std::{fs, path::PathBuf, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    PATIENCE, eventually,
    frames::{DATA, END_STREAM, Frames, StreamEnd, frame, get},
    gate::Gate,
    message::Message,
    setup::{NONE, Setup},
    upstream::{Reserved, Upstream, ok, opening},
};

/// A folder for a gate, and the lines of `[log]` that put the access log there.
fn folder(format: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let lines = format!("[log.access]\npath = {path:?}\nformat = {format:?}");
    (folder, lines)
}

fn start(setup: Setup, format: &str) -> Gate {
    let (folder, lines) = folder(format);
    Gate::start_in(folder, &setup.log(&lines))
}

fn path(gate: &Gate) -> PathBuf {
    gate.folder().join("access.log")
}

/// Waits for `count` lines, and fails if there are more.
fn lines(gate: &Gate, count: usize) -> Vec<String> {
    let lines = eventually("the lines are written", || {
        let text = fs::read_to_string(path(gate)).unwrap_or_default();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        (lines.len() >= count && text.ends_with('\n')).then_some(lines)
    });
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

fn json(gate: &Gate, count: usize) -> Vec<Value> {
    let parse = |line: String| serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
    lines(gate, count).into_iter().map(parse).collect()
}

#[test]
fn a_line_tells_what_became_of_a_request() {
    let upstream = Upstream::saying("hello");
    let gate = start(Setup::to(upstream.address()), "json");
    let mut client = gate.client();
    client.send(
        "GET /a/b?c=%20d HTTP/1.1\r\nhost: App.example:80\r\nuser-agent: curl/8\r\n\
         referer: http://r/\r\nx-request-id: id-1\r\n\r\n",
    );
    assert_eq!(client.answer().text(), "hello");
    let line = json(&gate, 1).remove(0);
    for (key, value) in [
        ("request_id", "id-1"),
        ("client", "127.0.0.1"),
        ("method", "GET"),
        ("scheme", "http"),
        ("host", "App.example:80"),
        ("path", "/a/b?c=%20d"),
        ("protocol", "HTTP/1.1"),
        ("route", "app"),
        ("backend", "blue"),
        ("endpoint", &upstream.address().to_string()),
        ("user_agent", "curl/8"),
        ("referer", "http://r/"),
    ] {
        assert_eq!(line[key], value, "{key}: {line}");
    }
    assert_eq!((&line["status"], &line["bytes"]), (&Value::from(200), &Value::from(5)));
    let (first, whole) = (line["first_byte_us"].as_u64(), line["duration_us"].as_u64());
    assert!(first.unwrap() <= whole.unwrap(), "{line}");
    assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
    for absent in ["error", "retries", "fallback"] {
        assert!(line.get(absent).is_none(), "{absent}: {line}");
    }
}

#[test]
fn combined_is_what_nginx_writes() {
    let upstream = Upstream::saying("hello");
    let gate = start(Setup::to(upstream.address()), "combined");
    let mut client = gate.client();
    // "user:pass"
    client.send(
        "GET /x HTTP/1.1\r\nhost: a\r\nauthorization: Basic dXNlcjpwYXNz\r\nuser-agent: a\"b\r\n\r\n",
    );
    client.answer();
    let line = lines(&gate, 1).remove(0);
    let (before, rest) = line.split_once('[').unwrap();
    let (time, after) = rest.split_once("] ").unwrap();
    assert_eq!(before, "127.0.0.1 - user ");
    assert!(time.ends_with(" +0000") && time.as_bytes()[2] == b'/', "{time}");
    assert_eq!(after, r#""GET /x HTTP/1.1" 200 5 "-" "a\x22b""#);
}

#[test]
fn a_template_is_filled_in() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 201 Created\r\nx-made: there\r\ncontent-length: 0\r\n\r\n".to_vec()
    });
    let format = "$http_x_a|$cookie_sid|$arg_q|$sent_http_x_made|$status|$host|$uri|$is_args$args|\
                  $backend|$route|$http_none|$$";
    let gate = start(Setup::to(upstream.address()), format);
    let mut client = gate.client();
    client.send("GET /p?q=1&r HTTP/1.1\r\nhost: A.b:1\r\nx-a: v w\r\ncookie: x=1; sid=s5\r\n\r\n");
    client.answer();
    assert_eq!(lines(&gate, 1), ["v w|s5|1|there|201|a.b|/p|?q=1&r|blue|app|-|$"]);
}

#[test]
fn no_client_writes_a_line() {
    let upstream = Upstream::saying("hello");
    let evil: &[u8] = b"GET /\"}{\\ HTTP/1.1\r\nhost: a\r\nuser-agent: \"}\xff\xc2\x85\xe2\x80\xa8\t{\"status\":1\r\n\r\n";
    for format in ["json", "combined"] {
        let gate = start(Setup::to(upstream.address()), format);
        let mut client = gate.client();
        client.send(evil);
        let status = client.answer().status();
        let line = lines(&gate, 1).remove(0);
        assert!(line.chars().all(|c| !c.is_control() && c != '\u{2028}'), "{line}");
        if format == "json" {
            let line: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(line["status"], status, "{line}");
        }
    }
}

#[test]
fn what_tidegate_refuses_has_a_line_as_well() {
    let (upstream, nobody) = (Upstream::saying("hello"), Reserved::bind());
    let setup = Setup::empty()
        .backend("blue", upstream.address(), "")
        .backend("dead", nobody.address, "")
        .route("app", "path = \"/a\"\nsplit = { blue = 100 }", NONE)
        .route("gone", "path = \"/dead\"\nsplit = { dead = 100 }", NONE);
    let gate = start(setup, "json");
    let mut client = gate.client();
    let nowhere = gate.client().get("/nowhere");
    let dead = gate.client().get("/dead");
    client.send("GET / HTTP/1.1\r\nhost: a\r\nbad line\r\n\r\n");
    let malformed = client.answer();
    let answers = [nowhere, dead, malformed];
    assert_eq!(answers.each_ref().map(Message::status), [404, 502, 400]);
    let told = json(&gate, 3);
    let bytes: Vec<_> = told.iter().map(|line| line["bytes"].as_u64().unwrap()).collect();
    assert_eq!(bytes, answers.map(|answer| answer.body.len() as u64));
    let told: Vec<_> = told
        .iter()
        .map(|line| {
            format!("{} {} {} {}", line["status"], line["error"], line["path"], line["route"])
        })
        .collect();
    assert_eq!(
        told,
        [
            "404 \"no_route\" \"/nowhere\" null",
            "502 \"connect_failed\" \"/dead\" \"gone\"",
            "400 \"malformed_request\" null null",
        ]
    );
}

#[test]
fn what_breaks_the_rules_of_http_2_has_its_line_too() {
    let upstream = Upstream::saying("hello");
    let gate = start(Setup::to(upstream.address()), "json");
    let mut client = Frames::connect(gate.address());
    let fields = [&get("/")[..], &[(b"host", b"other")]].concat();
    client.send_head(1, END_STREAM, &fields);
    let StreamEnd::Answered(400, body) = client.end_of(1) else { panic!("not refused") };
    // A call of gRPC is answered in its own words, whose status is 200.
    let fields = [&fields[..], &[(b"content-type", b"application/grpc")]].concat();
    client.send_head(3, END_STREAM, &fields);
    assert_eq!(client.end_of(3), StreamEnd::Answered(200, b"".into()));
    client.send_get(5, "/good");
    assert!(matches!(client.end_of(5), StreamEnd::Answered(200, _)));
    let told: Vec<_> = json(&gate, 3)
        .iter()
        .map(|line| {
            format!("{} {} {} {}", line["status"], line["error"], line["path"], line["bytes"])
        })
        .collect();
    assert_eq!(
        told,
        [
            &format!("400 \"malformed_request\" null {}", body.len()),
            "200 \"malformed_request\" null 0",
            "200 null \"/good\" 5",
        ]
    );
}

#[test]
fn a_websocket_that_is_none_has_one_line_with_what_its_client_got() {
    let upstream = Upstream::saying("hello");
    let gate = start(Setup::to(upstream.address()), "json");
    let mut client = Frames::connect(gate.address());
    let mut fields = get("/chat").to_vec();
    fields[0] = (b":method", b"CONNECT");
    fields.insert(1, (b":protocol", b"websocket"));
    fields.push((b"sec-websocket-version", b"13"));
    client.send_head(1, 0, &fields);
    assert!(matches!(client.end_of(1), StreamEnd::Answered(502, _)));
    client.send_get(3, "/good");
    assert!(matches!(client.end_of(3), StreamEnd::Answered(200, _)));
    let told: Vec<_> = json(&gate, 2)
        .iter()
        .map(|line| format!("{} {} {}", line["status"], line["error"], line["path"]))
        .collect();
    assert_eq!(told, ["502 \"malformed_response\" \"/chat\"", "200 null \"/good\""]);
    // It is the endpoint that failed.
    gate.await_count("tidegate_requests_total", &[("class", "failure")], 1);
    gate.await_count("tidegate_requests_total", &[("class", "success")], 1);
}

#[test]
fn a_websocket_over_a_stream_is_told_as_its_client_sees_it() {
    let upstream = Upstream::scripted(|peer| {
        let Some(request) = peer.request() else { return };
        peer.write(opening(&request)).ok();
    });
    let gate =
        start(Setup::to(upstream.address()), "$server_protocol $uri $status $sent_http_upgrade|");
    let mut client = Frames::connect(gate.address());
    let mut fields = get("/chat").to_vec();
    fields[0] = (b":method", b"CONNECT");
    fields.insert(1, (b":protocol", b"websocket"));
    fields.push((b"sec-websocket-version", b"13"));
    client.send_head(1, 0, &fields);
    assert!(matches!(client.end_of(1), StreamEnd::Answered(200, _)));
    client.send(&frame(DATA, END_STREAM, 1, b""));
    assert_eq!(lines(&gate, 1), ["HTTP/2.0 /chat 200 -|"]);
}

#[test]
fn a_client_that_leaves_and_an_answer_that_breaks_off_have_their_lines() {
    let upstream = Upstream::scripted(|peer| {
        let Some(request) = peer.request() else { return };
        if request.target() == "/half" {
            peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").ok();
            return;
        }
        // Until the proxy gives up.
        peer.request();
    });
    let gate = start(Setup::to(upstream.address()), "json");
    let mut client = gate.client();
    client.send("GET /half HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.reader().response("GET", |_| {}).is_err());
    let line = json(&gate, 1).remove(0);
    assert_eq!((&line["status"], &line["error"]), (&200.into(), &"upstream_reset".into()));
    assert_eq!(line["bytes"], 4);

    let mut client = gate.client();
    client.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    upstream.wait_until("the request arrives", |log| log.targets().contains(&"/slow"));
    drop(client);
    let line = json(&gate, 2).remove(1);
    assert_eq!((&line["status"], &line["error"]), (&499.into(), &"client_gone".into()));
}

#[test]
fn a_moved_file_is_begun_anew_at_usr1() {
    let upstream = Upstream::saying("hello");
    let gate = start(Setup::to(upstream.address()), "$uri");
    gate.client().get("/one");
    assert_eq!(lines(&gate, 1), ["/one"]);
    let moved = gate.folder().join("access.log.1");
    fs::rename(path(&gate), &moved).unwrap();
    gate.signal("USR1");
    // It is there before another line is.
    eventually("a new file", || path(&gate).exists().then_some(()));
    gate.client().get("/two");
    assert_eq!(lines(&gate, 1), ["/two"]);
    assert_eq!(fs::read_to_string(moved).unwrap(), "/one\n");
}

#[test]
fn a_reload_changes_the_format_and_turns_it_off() {
    let upstream = Upstream::saying("hello");
    let setup = Setup::to(upstream.address());
    let gate = start(setup.clone(), "$uri");
    gate.client().get("/one");
    assert_eq!(lines(&gate, 1), ["/one"]);
    let with = |format: &str| {
        setup.clone().log(&format!("[log.access]\npath = {:?}\nformat = {format:?}", path(&gate)))
    };
    gate.replace_config(&with("$request_method"));
    gate.run_ok(&["reload"]);
    gate.client().get("/two");
    assert_eq!(lines(&gate, 2)[1], "GET");
    gate.replace_config(&setup.clone().log("[log.access]\npath = \"off\""));
    gate.run_ok(&["reload"]);
    gate.client().get("/three");
    gate.replace_config(&with("$uri"));
    gate.run_ok(&["reload"]);
    gate.client().get("/four");
    assert_eq!(lines(&gate, 3)[2], "/four");
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing_and_its_losses_are_counted() {
    let upstream = Upstream::answering(|_| ok("hello"));
    let (folder, lines) = folder("json");
    let pipe = folder.path().join("access.log");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Open at both ends, so that it can be opened, and never read.
    let unread = fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let gate = Gate::start_in(folder, &Setup::to(upstream.address()).log(&lines));
    let agent = "x".repeat(8 * 1024);
    let mut client = gate.client();
    let begun = std::time::Instant::now();
    while gate.metric("tidegate_overflow_total", &[("queue", "access_log")]) == 0.0 {
        for _ in 0..50 {
            let answer = client.try_get("/", &format!("user-agent: {agent}\r\n")).unwrap();
            assert_eq!(answer.status(), 200);
        }
        assert!(begun.elapsed() < PATIENCE, "nothing is lost, so somebody waits");
    }
    // Nor the end.
    gate.stop();
    drop(unread);
}

#[test]
fn a_share_of_the_requests_gets_a_line() {
    let upstream = Upstream::saying("hello");
    let (folder, lines) = folder("$uri");
    let lines = format!("{lines}\nsample = \"50%\"");
    let gate = Gate::start_in(folder, &Setup::to(upstream.address()).log(&lines));
    let mut client = gate.client();
    for _ in 0..400 {
        client.get("/");
    }
    // Draining writes what there is.
    let folder = gate.stop();
    let written =
        fs::read_to_string(folder.path().join("access.log")).unwrap_or_default().lines().count();
    // Five standard deviations of 400 draws.
    assert!((150..=250).contains(&written), "{written} of 400");
}
