//! Copies of requests: what reaches the mirror, and that no client ever waits for it or fails by it.

use std::collections::BTreeSet;

use crate::support::{
    client::Client,
    gate::Gate,
    message::Message,
    setup::{NONE, Setup},
    upstream::{Log, Reserved, Upstream, ok},
};

pub(crate) const OUTCOMES: &str = "tidegate_mirror_requests_total";
pub(crate) const RESULTS: &str = "tidegate_mirror_comparisons_total";
pub(crate) const MARK: &str = "x-tidegate-mirror";

/// A mirror of everything to `green`, with more lines.
pub(crate) fn mirror(lines: &str) -> String {
    format!("{NONE}\n[route.mirror]\nto = \"green\"\nshare = \"100%\"\n{lines}\n")
}

/// All requests to `blue`, copied to `green`.
pub(crate) fn setup(blue: std::net::SocketAddr, green: std::net::SocketAddr, lines: &str) -> Setup {
    Setup::blue_green((blue, green), 0, &mirror(lines))
}

pub(crate) fn start(blue: &Upstream, green: &Upstream, lines: &str) -> Gate {
    Gate::start(&setup(blue.address(), green.address(), lines))
}

/// Every method that the tests use.
pub(crate) const WRITES: &str = "methods = [\"GET\", \"POST\", \"PUT\"]\n";

/// Takes requests and never answers.
fn silent() -> Upstream {
    Upstream::scripted(|peer| {
        peer.request();
        peer.until_closed();
    })
}

/// Takes heads and reads no further.
fn deaf() -> Upstream {
    Upstream::scripted(|peer| {
        peer.head();
        std::thread::park();
    })
}

fn received(log: &Log) -> usize {
    log.bytes.iter().map(Vec::len).sum()
}

/// A request without its mark, which must be there or not.
pub(crate) fn unmarked(mut request: Message, marked: bool) -> Message {
    assert_eq!(request.headers.only(MARK), marked.then_some("1"), "{request:?}");
    request.headers.0.retain(|(name, _)| name != MARK);
    request
}

#[test]
fn a_copy_is_the_request_and_a_mark() {
    let (blue, green) = (Upstream::saying("blue"), Upstream::saying("green"));
    let gate = start(&blue, &green, WRITES);
    let mut client = gate.client();
    let cases = [
        (
            "GET",
            "/a%2Fb?c=%20&d HTTP/1.1\r\nhost: a.example\r\ncookie: a=1\r\nX-Odd: 1\r\nx-odd: 2\r\n\r\n",
        ),
        (
            "GET",
            "/ HTTP/1.1\r\nhost: a\r\nconnection: x-hop\r\nx-hop: 1\r\nx-request-id: mine\r\n\r\n",
        ),
        ("POST", "/ HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"),
        ("POST", "/ HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"),
        (
            "PUT",
            "/ HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
             3\r\nabc\r\n2\r\nde\r\n0\r\nx-sum: 5\r\n\r\n",
        ),
        ("POST", "/ HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ];
    for (number, (method, rest)) in (1..).zip(cases) {
        client.send(format!("{method} {rest}"));
        assert_eq!(client.answer_to(method).text(), "blue");
        green.wait_until("the copy is there", |log| log.requests.len() == 1);
        let (sent, copied) = (blue.take_requests(), green.take_requests());
        let [sent, copied] = [(sent, false), (copied, true)]
            .map(|(mut requests, marked)| unmarked(requests.pop().unwrap(), marked));
        assert_eq!(sent, copied);
        gate.await_count(OUTCOMES, &[("outcome", "answered")], number);
    }
    assert_eq!(green.log().bytes.len(), 1, "copies share a pooled connection");
}

#[test]
fn a_mirror_that_never_answers_delays_nobody() {
    let (blue, green) = (Upstream::saying("blue"), silent());
    let gate = start(&blue, &green, "compare = \"body\"");
    let mut client = gate.client();
    for number in 1..=3 {
        assert_eq!(client.get("/").text(), "blue");
        green.wait_until("the copy is there", |log| log.requests.len() == number);
    }
    assert_eq!(green.log().ended, 0, "none of them has been given up");
    assert_eq!(gate.metric(OUTCOMES, &[]), 0.0);
}

#[test]
fn a_mirror_that_takes_no_byte_of_a_body_loses_its_copy() {
    const SIZE: usize = 48 * 1024 * 1024;
    let (blue, green) = (Upstream::saying("blue"), deaf());
    let lines = format!("{WRITES}max_body = \"1GiB\"");
    let gate = start(&blue, &green, &lines);
    let mut client = gate.client();
    client.send(format!("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: {SIZE}\r\n\r\n"));
    let block = vec![b'x'; 1024 * 1024];
    (0..SIZE / block.len()).for_each(|_| client.send(&block));
    assert_eq!(client.answer_to("PUT").text(), "blue");
    assert_eq!(blue.take_requests()[0].body.len(), SIZE);
    gate.await_count(OUTCOMES, &[("outcome", "slow")], 1);
}

/// An outcome, the mirror that leads to it, and more lines.
type Case = (&'static str, fn() -> Upstream, &'static str);

#[test]
fn every_end_of_a_copy_is_counted_and_none_is_the_clients() {
    let blue = Upstream::saying("blue");
    let refusing = Reserved::bind();
    let cases: [Case; 4] = [
        ("late", silent, "timeout = \"500ms\""),
        ("failed", || Upstream::scripted(|peer| drop(peer.request())), ""),
        ("failed", || Upstream::answering(|_| b"garbage\r\n\r\n".to_vec()), ""),
        (
            "failed",
            || {
                Upstream::scripted(|peer| {
                    peer.request();
                    peer.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab").ok();
                })
            },
            "",
        ),
    ];
    for (outcome, green, lines) in cases {
        let green = green();
        let gate = start(&blue, &green, lines);
        assert_eq!(gate.client().get("/").text(), "blue", "{outcome}");
        gate.await_count(OUTCOMES, &[("outcome", outcome)], 1);
        let log = green.wait_until("the copy has come", |log| !log.bytes.is_empty());
        assert_eq!(log.bytes.len(), 1, "a copy is never sent again");
    }
    let gate = Gate::start(&setup(blue.address(), refusing.address, "compare = \"status\""));
    assert_eq!(gate.client().get("/").text(), "blue");
    gate.await_count(OUTCOMES, &[("outcome", "failed")], 1);
    gate.await_count(RESULTS, &[("result", "different")], 1);
    assert_eq!(gate.metric("tidegate_errors_total", &[]), 0.0);
}

#[test]
fn what_is_too_large_is_not_copied_or_not_to_its_end() {
    let (blue, green) = (Upstream::saying("blue"), Upstream::saying("green"));
    let gate = start(&blue, &green, &format!("{WRITES}max_body = \"4B\""));
    let mut client = gate.client();
    client.send("POST /known HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(client.answer_to("POST").text(), "blue");
    gate.await_count(OUTCOMES, &[("outcome", "too_large")], 1);
    client.send(
        "POST /unknown HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhell\r\n",
    );
    green.wait_until("the copy has begun", |log| received(log) > 0);
    client.send("1\r\no\r\n0\r\n\r\n");
    assert_eq!(client.answer_to("POST").text(), "blue");
    gate.await_count(OUTCOMES, &[("outcome", "too_large")], 2);
    let log = green.wait_until("it has been cut off", |log| log.ended == 1);
    assert!(log.requests.is_empty(), "half a body never looks whole: {log:?}");
    let bodies: Vec<_> = blue.take_requests().iter().map(Message::text).collect();
    assert_eq!(bodies, ["hello", "hello"]);
}

#[test]
fn copies_beyond_the_bound_are_left_out_and_counted() {
    let (blue, green) = (Upstream::saying("blue"), silent());
    let gate = start(&blue, &green, "max_in_flight = 2");
    let mut client = gate.client();
    (0..5).for_each(|_| assert_eq!(client.get("/").text(), "blue"));
    gate.await_count(OUTCOMES, &[("outcome", "no_room")], 3);
    gate.await_count("tidegate_overflow_total", &[("queue", "mirror")], 3);
    green.wait_until("two are under way", |log| log.requests.len() == 2);
}

#[test]
fn a_long_upload_is_copied_in_bounded_memory() {
    const BLOCK: usize = 256 * 1024;
    const BLOCKS: usize = 96;
    // What the allocator keeps of buffers that come and go; the body is twice as large.
    const LEEWAY: u64 = 12 * 1024 * 1024;
    let (blue, green) = (Upstream::saying("blue"), Upstream::saying("green"));
    let gate = start(&blue, &green, &format!("{WRITES}max_body = \"1GiB\""));
    let mut client = gate.client();
    assert_eq!(client.get("/").text(), "blue");
    green.wait_until("the copy is there", |log| log.requests.len() == 1);
    let before = (gate.memory("VmHWM"), received(&blue.log()), received(&green.log()));
    client.send("PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    let block = [format!("{BLOCK:x}\r\n").into_bytes(), vec![b'x'; BLOCK], b"\r\n".into()].concat();
    for number in 1..=BLOCKS {
        client.send(&block);
        green.wait_until("it has come", |log| received(log) >= before.2 + number * BLOCK);
        blue.wait_until("it has come", |log| received(log) >= before.1 + number * BLOCK);
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.answer_to("PUT").text(), "blue");
    green.wait_until("the copy is whole", |log| log.requests.len() == 2);
    assert_eq!(green.take_requests()[1].body, blue.take_requests()[1].body);
    let grown = gate.memory("VmHWM").saturating_sub(before.0);
    assert!(grown < LEEWAY, "{grown} bytes for {} of body", BLOCK * BLOCKS);
}

#[test]
fn a_client_that_leaves_within_its_body_leaves_no_whole_copy() {
    let (blue, green) = (Upstream::saying("blue"), Upstream::saying("green"));
    let gate = start(&blue, &green, WRITES);
    let mut client = gate.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhel");
    green.wait_until("the copy has begun", |log| received(log) > 0);
    drop(client);
    gate.await_count(OUTCOMES, &[("outcome", "cut")], 1);
    let log = green.wait_until("it has been cut off", |log| log.ended == 1);
    assert!(log.requests.is_empty(), "{log:?}");
}

#[test]
fn only_what_the_mirror_wants_is_copied() {
    let blue = Upstream::answering(|request| match request.headers.has("upgrade") {
        true => b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n".to_vec(),
        false => ok("blue"),
    });
    let green = Upstream::saying("green");
    let tables = "[[route.override]]\nquery = \"side\"\nequals = \"green\"\nbackend = \"green\"\n\
                  [[route.override]]\nquery = \"side\"\nequals = \"blue\"\nbackend = \"blue\"\n";
    let tables = format!("{tables}{}", mirror(""));
    let sides = (blue.address(), green.address());
    let setup = Setup::blue_green(sides, 0, &tables);
    let gate = Gate::start(&setup.listener("trusted_proxies = [\"127.0.0.2/32\"]"));
    let mut client = gate.client();
    let ask = |client: &mut Client, text: &str| {
        client.send(text);
        client.answer_to(text.split(' ').next().unwrap())
    };
    ask(&mut client, "POST /write HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx");
    ask(&mut client, "GET /?side=blue HTTP/1.1\r\nhost: a\r\n\r\n");
    ask(&mut client, "GET /?side=green HTTP/1.1\r\nhost: a\r\n\r\n");
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\n";
    ask(&mut client, &format!("GET /upgrade HTTP/1.1\r\nhost: a\r\n{upgrade}\r\n"));
    // A stranger's mark is no mark.
    let forged = format!("{MARK}: 1\r\n");
    ask(&mut client, &format!("GET /forged HTTP/1.1\r\nhost: a\r\n{forged}\r\n"));
    let log = green.wait_until("the copy is there", |log| log.targets().contains(&"/forged"));
    assert_eq!(log.targets(), ["/?side=green", "/forged"]);
    let marked: Vec<_> = blue.take_requests().iter().map(|r| r.headers.has(MARK)).collect();
    assert_eq!(marked, [false; 4]);
}

#[test]
fn a_copy_is_not_copied_again_and_keeps_its_mark() {
    let (blue, green) = (Upstream::saying("blue"), Upstream::saying("green"));
    let trusting = "trusted_proxies = [\"127.0.0.0/8\"]";
    let gate = Gate::start(&setup(blue.address(), green.address(), "").listener(trusting));
    let mut client = gate.client();
    client.try_get("/copy", &format!("{MARK}: 1\r\n")).unwrap();
    client.get("/plain");
    green.wait_until("the copy is there", |log| !log.requests.is_empty());
    assert_eq!(green.log().targets(), ["/plain"]);
    unmarked(blue.take_requests().remove(0), true);
}

#[test]
fn whole_sessions_are_copied_by_their_share() {
    const SESSIONS: usize = 200;
    let (blue, green) = (Upstream::saying("blue"), Upstream::saying("green"));
    let tables = "[route.affinity]\nby = \"header\"\nname = \"x-user\"\n\
                  [route.mirror]\nto = \"green\"\nshare = \"25%\"\nmax_in_flight = 1000\n";
    let gate = Gate::start(&Setup::blue_green((blue.address(), green.address()), 0, tables));
    let mut client = gate.client();
    for turn in 0..2 {
        for user in 0..SESSIONS {
            client.try_get(&format!("/{user}-{turn}"), &format!("x-user: u{user}\r\n")).unwrap();
        }
    }
    let highest = |request: &&Message| {
        let bucket = request.headers.only("x-tidegate-bucket").unwrap();
        bucket.parse::<u32>().unwrap() >= 7_500
    };
    let asked = blue.take_requests();
    let wanted: BTreeSet<_> = asked.iter().filter(highest).map(Message::target).collect();
    let log = green.wait_until("all copies are there", |log| log.requests.len() >= wanted.len());
    assert_eq!(log.targets().into_iter().collect::<BTreeSet<_>>(), wanted);
    gate.await_count(OUTCOMES, &[], wanted.len() as u64);
    let copied = wanted.len();
    // Within three standard deviations of a quarter; the keys are the same in each run.
    assert!((32..=68).contains(&(copied / 2)), "{copied} of {}", 2 * SESSIONS);
}
