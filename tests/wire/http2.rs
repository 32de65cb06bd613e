//! HTTP/2 from clients: what passes arrives as one proper request of HTTP/1.1, and what could be read in two ways does not.

use crate::support::{
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PREFACE, SETTINGS, StreamEnd,
        block, frame, get,
    },
    gate::Gate,
    setup::Setup,
    upstream::{Upstream, ok},
};

type Fields = &'static [(&'static [u8], &'static [u8])];

const METHOD: (&[u8], &[u8]) = (b":method", b"GET");
const POST: (&[u8], &[u8]) = (b":method", b"POST");
const SCHEME: (&[u8], &[u8]) = (b":scheme", b"http");
const PATH: (&[u8], &[u8]) = (b":path", b"/bad");
const AUTHORITY: (&[u8], &[u8]) = (b":authority", b"test");

/// Heads that end their stream.
const HEADS: &[(&str, Fields)] = &[
    ("no method", &[SCHEME, PATH, AUTHORITY]),
    ("no scheme", &[METHOD, PATH, AUTHORITY]),
    ("no path", &[METHOD, SCHEME, AUTHORITY]),
    ("neither authority nor host", &[METHOD, SCHEME, PATH]),
    ("two methods", &[METHOD, METHOD, SCHEME, PATH, AUTHORITY]),
    ("two paths", &[METHOD, SCHEME, PATH, (b":path", b"/other"), AUTHORITY]),
    ("two authorities", &[METHOD, SCHEME, PATH, AUTHORITY, (b":authority", b"other")]),
    ("two schemes", &[METHOD, SCHEME, SCHEME, PATH, AUTHORITY]),
    ("a status", &[METHOD, SCHEME, PATH, AUTHORITY, (b":status", b"200")]),
    ("an unknown pseudo-header", &[METHOD, SCHEME, PATH, AUTHORITY, (b":x", b"1")]),
    (
        "a protocol without CONNECT",
        &[METHOD, SCHEME, PATH, AUTHORITY, (b":protocol", b"websocket")],
    ),
    ("a late pseudo-header", &[METHOD, SCHEME, PATH, (b"a", b"1"), AUTHORITY]),
    ("an empty path", &[METHOD, SCHEME, (b":path", b""), AUTHORITY]),
    ("a path without a slash", &[METHOD, SCHEME, (b":path", b"bad"), AUTHORITY]),
    ("a query without a path", &[METHOD, SCHEME, (b":path", b"?x"), AUTHORITY]),
    ("an asterisk without OPTIONS", &[METHOD, SCHEME, (b":path", b"*"), AUTHORITY]),
    ("a whole URL for a path", &[METHOD, SCHEME, (b":path", b"http://x/"), AUTHORITY]),
    ("a space in the path", &[METHOD, SCHEME, (b":path", b"/a HTTP/1.1"), AUTHORITY]),
    ("a line in the path", &[METHOD, SCHEME, (b":path", b"/a\r\nx: y"), AUTHORITY]),
    ("a NUL in the path", &[METHOD, SCHEME, (b":path", b"/a\0"), AUTHORITY]),
    ("a space in the method", &[(b":method", b"GET /x"), SCHEME, PATH, AUTHORITY]),
    ("a line in the method", &[(b":method", b"GET\r\n"), SCHEME, PATH, AUTHORITY]),
    ("an empty method", &[(b":method", b""), SCHEME, PATH, AUTHORITY]),
    ("another scheme", &[METHOD, (b":scheme", b"ftp"), PATH, AUTHORITY]),
    ("a broken scheme", &[METHOD, (b":scheme", b"ht tp"), PATH, AUTHORITY]),
    ("user and password", &[METHOD, SCHEME, PATH, (b":authority", b"u:p@test")]),
    ("a line in the authority", &[METHOD, SCHEME, PATH, (b":authority", b"a\r\nb")]),
    ("a path in the authority", &[METHOD, SCHEME, PATH, (b":authority", b"a/b")]),
    ("an empty authority", &[METHOD, SCHEME, PATH, (b":authority", b"")]),
    ("a host that differs", &[METHOD, SCHEME, PATH, AUTHORITY, (b"host", b"other")]),
    ("two hosts", &[METHOD, SCHEME, PATH, (b"host", b"test"), (b"host", b"test")]),
    (
        "two hosts beside the authority",
        &[METHOD, SCHEME, PATH, AUTHORITY, (b"host", b"test"), (b"host", b"test")],
    ),
    ("connection", &[METHOD, SCHEME, PATH, AUTHORITY, (b"connection", b"close")]),
    (
        "connection that names a header",
        &[METHOD, SCHEME, PATH, AUTHORITY, (b"connection", b"x-forwarded-for")],
    ),
    ("keep-alive", &[METHOD, SCHEME, PATH, AUTHORITY, (b"keep-alive", b"5")]),
    ("proxy-connection", &[METHOD, SCHEME, PATH, AUTHORITY, (b"proxy-connection", b"x")]),
    ("upgrade", &[METHOD, SCHEME, PATH, AUTHORITY, (b"upgrade", b"websocket")]),
    ("transfer-encoding", &[METHOD, SCHEME, PATH, AUTHORITY, (b"transfer-encoding", b"chunked")]),
    ("te other than trailers", &[METHOD, SCHEME, PATH, AUTHORITY, (b"te", b"gzip")]),
    ("te with more than trailers", &[METHOD, SCHEME, PATH, AUTHORITY, (b"te", b"trailers, gzip")]),
    ("upper case in a name", &[METHOD, SCHEME, PATH, AUTHORITY, (b"X-A", b"1")]),
    ("a space in a name", &[METHOD, SCHEME, PATH, AUTHORITY, (b"x a", b"1")]),
    ("a colon in a name", &[METHOD, SCHEME, PATH, AUTHORITY, (b"x:a", b"1")]),
    ("a line in a name", &[METHOD, SCHEME, PATH, AUTHORITY, (b"x\r\na", b"1")]),
    ("no name", &[METHOD, SCHEME, PATH, AUTHORITY, (b"", b"1")]),
    ("a CR in a value", &[METHOD, SCHEME, PATH, AUTHORITY, (b"a", b"1\rb")]),
    ("an LF in a value", &[METHOD, SCHEME, PATH, AUTHORITY, (b"a", b"1\nb")]),
    ("a line in a value", &[METHOD, SCHEME, PATH, AUTHORITY, (b"a", b"1\r\nhost: x")]),
    (
        "a whole request in a value",
        &[METHOD, SCHEME, PATH, AUTHORITY, (b"a", b"1\r\n\r\nGET / HTTP/1.1\r\n\r\n")],
    ),
    ("a NUL in a value", &[METHOD, SCHEME, PATH, AUTHORITY, (b"a", b"1\0")]),
    ("a value that begins with a space", &[METHOD, SCHEME, PATH, AUTHORITY, (b"a", b" 1")]),
    ("a value that ends with a tab", &[METHOD, SCHEME, PATH, AUTHORITY, (b"a", b"1\t")]),
    ("a length without a body", &[POST, SCHEME, PATH, AUTHORITY, (b"content-length", b"5")]),
    ("a length that is no number", &[POST, SCHEME, PATH, AUTHORITY, (b"content-length", b"+0")]),
    ("an empty length", &[POST, SCHEME, PATH, AUTHORITY, (b"content-length", b"")]),
    (
        "two equal lengths",
        &[POST, SCHEME, PATH, AUTHORITY, (b"content-length", b"0"), (b"content-length", b"0")],
    ),
    (
        "two lengths that differ",
        &[POST, SCHEME, PATH, AUTHORITY, (b"content-length", b"0"), (b"content-length", b"1")],
    ),
    ("a list of lengths", &[POST, SCHEME, PATH, AUTHORITY, (b"content-length", b"0, 0")]),
    (
        "an expectation that nobody knows",
        &[METHOD, SCHEME, PATH, AUTHORITY, (b"expect", b"200-ok")],
    ),
    ("plain CONNECT", &[(b":method", b"CONNECT"), AUTHORITY]),
];

/// What follows the head of a POST.
type Rest = fn() -> Vec<u8>;

/// Bodies that are not what their head says, with what the head has beside the pseudo-headers.
const BODIES: &[(&str, Fields, Rest)] = &[
    ("longer than it says", &[(b"content-length", b"3")], || frame(DATA, END_STREAM, 1, b"hello")),
    ("longer than nothing", &[(b"content-length", b"0")], || frame(DATA, END_STREAM, 1, b"hello")),
    ("shorter than it says", &[(b"content-length", b"9")], || frame(DATA, END_STREAM, 1, b"hello")),
    ("shorter, ended by trailers", &[(b"content-length", b"9")], || {
        let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[(b"a", b"1")]));
        [frame(DATA, 0, 1, b"hello"), trailers].concat()
    }),
    ("a framing header in trailers", &[], || {
        let fields: Fields = &[(b"transfer-encoding", b"chunked")];
        let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields));
        [frame(DATA, 0, 1, b"hello"), trailers].concat()
    }),
    ("a line in a trailer", &[], || {
        let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[(b"a", b"1\r\nb: 2")]));
        [frame(DATA, 0, 1, b"hello"), trailers].concat()
    }),
    ("a second head that does not end it", &[], || {
        let head = frame(HEADERS, END_HEADERS, 1, &block(&[(b"a", b"1")]));
        [frame(DATA, 0, 1, b"hello"), head].concat()
    }),
    ("a frame within the head", &[], || {
        let begun = frame(HEADERS, 0, 3, &block(&get("/bad")));
        [begun, frame(DATA, END_STREAM, 1, b"hello")].concat()
    }),
    ("a broken block", &[], || {
        frame(HEADERS, END_HEADERS | END_STREAM, 3, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
    }),
    ("an even stream", &[], || frame(HEADERS, END_HEADERS | END_STREAM, 2, &block(&get("/bad")))),
    ("a continuation of nothing", &[], || {
        frame(CONTINUATION, END_HEADERS, 1, &block(&[(b"a", b"1")]))
    }),
    ("a settings frame of odd length", &[], || frame(SETTINGS, 0, 0, &[0; 5])),
];

fn refused(end: &StreamEnd) -> bool {
    match end {
        StreamEnd::Answered(status, _) => matches!(status, 400 | 431),
        StreamEnd::Reset(_) | StreamEnd::Gone(_) => true,
    }
}

#[test]
fn what_breaks_the_rules_is_refused_and_reaches_nobody() {
    let upstream = Upstream::saying("ok");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut faults = Vec::new();
    for (name, fields) in HEADS {
        let mut client = Frames::connect(gate.address());
        client.send_head(1, END_STREAM, fields);
        let end = client.end_of(1);
        let mut after = Frames::connect(gate.address());
        after.send_get(1, "/after");
        assert_eq!(after.end_of(1), StreamEnd::Answered(200, b"ok".into()), "after {name}");
        let requests = upstream.take_requests();
        let targets: Vec<_> = requests.iter().map(|request| request.target().to_owned()).collect();
        if !refused(&end) || targets != ["/after"] {
            faults.push(format!("{name}: {end:?}, and {targets:?} arrived"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_body_that_is_not_what_its_head_says_never_becomes_a_request() {
    let upstream = Upstream::saying("ok");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut faults = Vec::new();
    for (name, more, rest) in BODIES {
        let mut client = Frames::connect(gate.address());
        let head = [&[POST, SCHEME, PATH, AUTHORITY], *more].concat();
        client.send_head(1, 0, &head);
        client.try_send(&rest()).ok();
        let end = client.end_of(1);
        drop(client);
        let mut after = Frames::connect(gate.address());
        after.send_get(1, "/after");
        assert_eq!(after.end_of(1), StreamEnd::Answered(200, b"ok".into()), "after {name}");
        let requests = upstream.log().requests;
        let whole: Vec<_> = requests.iter().map(|request| request.target().to_owned()).collect();
        if !refused(&end) || whole.iter().any(|target| target != "/after") {
            faults.push(format!("{name}: {end:?}, and {whole:?} arrived"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_request_arrives_as_it_was_meant() {
    let upstream = Upstream::saying("ok");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = Frames::connect(gate.address());
    client.send_head(
        1,
        END_STREAM,
        &[
            METHOD,
            SCHEME,
            (b":path", b"/a//b/../%2e%2F;x?y=%20&z={}|"),
            (b":authority", b"Example.test:8080"),
            (b"cookie", b"a=1"),
            (b"x-a", b"1"),
            (b"cookie", b"b=2"),
            (b"x-a", b"2"),
            (b"te", b"trailers"),
            (b"host", b"example.test:8080"),
        ],
    );
    assert_eq!(client.end_of(1), StreamEnd::Answered(200, b"ok".into()));
    let request = upstream.take_requests().remove(0);
    assert_eq!(request.first_line, "GET /a//b/../%2e%2F;x?y=%20&z={}| HTTP/1.1");
    assert_eq!(request.headers.only("host"), Some("Example.test:8080"));
    assert_eq!(request.headers.only("cookie"), Some("a=1; b=2"));
    assert_eq!(request.headers.all("x-a"), ["1", "2"]);
    assert_eq!(request.headers.only("te"), Some("trailers"));
    assert_eq!(request.headers.only("x-forwarded-host"), Some("Example.test:8080"));
    assert_eq!(request.headers.only("x-forwarded-proto"), Some("http"));
    assert!(request.headers.all("content-length").is_empty());
}

#[test]
fn bodies_are_framed_anew() {
    let upstream = Upstream::answering(|request| ok(&request.body.len().to_string()));
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = Frames::connect(gate.address());
    let pseudo = [POST, SCHEME, PATH, AUTHORITY];
    client.send_head(1, 0, &[&pseudo[..], &[(b"content-length", b"5")]].concat());
    client.send(&frame(DATA, END_STREAM, 1, b"hello"));
    assert_eq!(client.end_of(1), StreamEnd::Answered(200, b"5".into()));
    client.send_head(3, 0, &pseudo);
    client.send(&frame(DATA, 0, 3, b"hel"));
    client.send(&frame(DATA, 0, 3, b"lo"));
    client.send(&frame(DATA, END_STREAM, 3, b""));
    assert!(matches!(client.end_of(3), StreamEnd::Answered(200, _)));
    client.send_head(5, END_STREAM, &[&pseudo[..], &[(b"content-length", b"0")]].concat());
    assert!(matches!(client.end_of(5), StreamEnd::Answered(200, _)));
    client.send_head(7, END_STREAM, &pseudo);
    assert!(matches!(client.end_of(7), StreamEnd::Answered(200, _)));
    let requests = upstream.take_requests();
    let framed = |at: usize, name| requests[at].headers.all(name).join(",");
    let framings: Vec<_> =
        (0..4).map(|at| (framed(at, "content-length"), framed(at, "transfer-encoding"))).collect();
    // Some servers want to know of a POST how long it is, though the stream's end says it.
    let expected = [("5", ""), ("", "chunked"), ("0", ""), ("0", "")];
    let expected = expected.map(|(length, coding)| (length.to_owned(), coding.to_owned()));
    assert_eq!(framings, expected);
    assert_eq!(requests[0].body, b"hello");
    assert_eq!(requests[1].body, b"hello");
}

/// The library leaves pseudo-headers in trailers out without a word.
#[test]
fn trailers_of_a_request_arrive_without_what_frames_or_routes() {
    let upstream = Upstream::saying("ok");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = Frames::connect(gate.address());
    client.send_head(1, 0, &[POST, SCHEME, PATH, AUTHORITY, (b"trailer", b"x-sum")]);
    client.send(&frame(DATA, 0, 1, b"hello"));
    let fields = [(&b":path"[..], &b"/other"[..]), (b"x-sum", b"1"), (b"host", b"evil")];
    client.send_head(1, END_STREAM, &fields);
    assert_eq!(client.end_of(1), StreamEnd::Answered(200, b"ok".into()));
    let request = upstream.take_requests().remove(0);
    assert_eq!((request.target(), &request.body[..]), ("/bad", &b"hello"[..]));
    let log = String::from_utf8(upstream.log().bytes.concat()).unwrap();
    assert!(log.ends_with("0\r\nx-sum: 1\r\n\r\n"), "{log}");
}

#[test]
fn trailers_of_an_answer_reach_the_client() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                  5\r\nhello\r\n0\r\nx-sum: 1\r\nhost: evil\r\n\r\n";
    let upstream = Upstream::answering(move |_| answer.into());
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = Frames::connect(gate.address());
    client.send_get(1, "/");
    assert_eq!(client.end_of(1), StreamEnd::Answered(200, b"hello".into()));
    let last = client.seen.last().unwrap();
    assert_eq!((last.kind, last.flags & END_STREAM), (HEADERS, END_STREAM));
    assert!(!last.payload.windows(4).any(|part| part == b"evil"));
}

#[test]
fn an_answer_that_breaks_off_is_reset_and_not_ended() {
    let upstream = Upstream::scripted(|peer| {
        if peer.request().is_some() {
            peer.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").ok();
            peer.close();
        }
    });
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = Frames::connect(gate.address());
    client.send_get(1, "/");
    // The library may take back what it has not sent yet.
    let end = client.end_of(1);
    let broken = [StreamEnd::Reset(2), StreamEnd::Answered(200, b"hello".into())];
    assert!(broken.contains(&end), "{end:?}");
    let ended =
        client.seen.iter().any(|frame| frame.kind != SETTINGS && frame.flags & END_STREAM != 0);
    assert!(!ended, "it looks complete: {:?}", client.seen);
}

#[test]
fn a_preface_may_come_in_pieces_and_other_bytes_are_http_1() {
    let upstream = Upstream::saying("ok");
    let gate = Gate::start(&Setup::to(upstream.address()));
    for cut in 1..PREFACE.len() {
        let mut client = Frames::connect_silent(gate.address());
        client.send(&PREFACE[..cut]);
        client.send(&[&PREFACE[cut..], &frame(SETTINGS, 0, 0, &[])].concat());
        client.send_get(1, "/");
        assert_eq!(client.end_of(1), StreamEnd::Answered(200, b"ok".into()), "cut at {cut}");
    }
    let mut client = gate.client();
    client.send("PR");
    client.send("OPFIND / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.answer().text(), "ok");
    let mut client = gate.client();
    client.send("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    assert_eq!(client.answer().status(), 400);
}

#[test]
fn a_listener_speaks_only_what_it_is_told_to() {
    let upstream = Upstream::saying("ok");
    let setup = Setup::to(upstream.address())
        .listener("protocols = [\"http/1.1\"]")
        .listener("protocols = [\"h2\"]");
    let gate = Gate::start(&setup);
    let mut client = gate.client();
    client.send(PREFACE);
    assert_eq!(client.answer().status(), 400);
    let mut client = Frames::connect(gate.addresses[1]);
    client.send_get(1, "/");
    assert_eq!(client.end_of(1), StreamEnd::Answered(200, b"ok".into()));
    let mut client = Frames::connect_silent(gate.addresses[1]);
    client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let end = client.end();
    assert!(matches!(end, None | Some(1)), "{end:?}");
}

#[test]
fn a_greeting_that_http_1_follows_is_none() {
    let upstream = Upstream::saying("ok");
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = Frames::connect_silent(gate.address());
    client.send(&[PREFACE, b"GET /second HTTP/1.1\r\nhost: a\r\n\r\n"].concat());
    client.end();
    let mut after = Frames::connect(gate.address());
    after.send_get(1, "/after");
    assert_eq!(after.end_of(1), StreamEnd::Answered(200, b"ok".into()));
    assert_eq!(upstream.log().targets(), ["/after"]);
}

#[test]
fn an_early_hint_is_left_out_and_the_answer_comes() {
    let hint = b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n".to_vec();
    let upstream = Upstream::answering(move |_| [hint.clone(), ok("body")].concat());
    let gate = Gate::start(&Setup::to(upstream.address()));
    let mut client = Frames::connect(gate.address());
    for stream in [1, 3] {
        client.send_get(stream, "/");
        assert_eq!(client.end_of(stream), StreamEnd::Answered(200, b"body".into()));
    }
}
