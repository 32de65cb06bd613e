//! Heads good and bad, whole and in parts.

use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 256, lines: 4 };

fn request(text: &str) -> Result<(Option<usize>, Framing), ErrorReason> {
    let mut head = Head::new(Side::Downstream, LIMITS);
    let taken = head.push(text.as_bytes()).map_err(|fault| fault.reason())?;
    Ok((taken, head.framing()))
}

#[test]
fn a_plain_head_ends_where_its_empty_line_ends() {
    let head = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_eq!(request(head), Ok((Some(head.len()), Framing::Absent)));
    assert_eq!(request(&format!("{head}more")), Ok((Some(head.len()), Framing::Absent)));
    assert_eq!(request(&format!("\r\n{head}")), Ok((Some(head.len() + 2), Framing::Absent)));
    assert_eq!(request(&head[..head.len() - 1]), Ok((None, Framing::Absent)));
}

#[test]
fn framing_is_one_thing_said_once() {
    let with =
        |lines: &str| request(&format!("POST / HTTP/1.1\r\n{lines}\r\n\r\n")).map(|(_, f)| f);
    assert_eq!(with("Content-Length: 12"), Ok(Framing::Length(12)));
    assert_eq!(with("transfer-encoding:\tChunked "), Ok(Framing::Chunked));
    for bad in [
        "content-length: 1\r\ncontent-length: 1",
        "content-length: 1\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 1",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: ,chunked",
        "transfer-encoding:",
        "content-length:",
        "content-length: +1",
        "content-length: 1, 1",
        "content-length: 0x10",
        "content-length: 1234567890123456789",
    ] {
        assert_eq!(with(bad), Err(ErrorReason::MalformedRequest), "{bad}");
    }
}

#[test]
fn lines_that_parsers_read_differently_are_refused() {
    for bad in [
        "GET / HTTP/1.1\nhost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n\n",
        "GET / HTTP/1.1\r\nhost: a\rb: c\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\0\r\n\r\n",
        "GET /#x HTTP/1.1\r\n\r\n",
        "GET /\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n",
    ] {
        assert_eq!(request(bad), Err(ErrorReason::MalformedRequest), "{bad:?}");
    }
}

#[test]
fn bytes_and_lines_are_bounded() {
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(300));
    assert_eq!(request(&long), Err(ErrorReason::HeadTooLarge));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(5));
    assert_eq!(request(&many), Err(ErrorReason::HeadTooLarge));
    let enough = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(4));
    assert!(request(&enough).is_ok());
}

#[test]
fn a_word_that_says_nothing_is_left_out() {
    let left = |text: &str| {
        let mut head = Head::new(Side::Downstream, LIMITS);
        assert_eq!(head.push(text.as_bytes()).unwrap(), Some(text.len()));
        String::from_utf8(head.bytes().to_vec()).unwrap()
    };
    let plain = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_eq!(left("GET / HTTP/1.1\r\nConnection: Keep-Alive\r\nhost: a\r\n\r\n"), plain);
    assert_eq!(left("GET / HTTP/1.1\r\nhost: a\r\nconnection:keep-alive\r\n\r\n"), plain);
    for kept in [
        "GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        "GET / HTTP/1.1\r\nconnection: keep-alive, x-a\r\n\r\n",
        "GET / HTTP/1.1\r\nconnection: close\r\n\r\n",
    ] {
        assert_eq!(left(kept), kept);
    }
}

/// Whoever waits for an answer, or for its rest, and every idle connection, has a head.
#[test]
fn what_follows_a_head_takes_no_room_and_a_large_one_gives_its_own_back() {
    let limits = HeadLimits { bytes: 64 * 1024, lines: 100 };
    let mut head = Head::new(Side::Upstream, limits);
    let text = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(30_000));
    assert_eq!(head.push(text.as_bytes()), Ok(Some(19)));
    assert!(head.bytes.capacity() <= 4096, "{}", head.bytes.capacity());
    head.clear();
    let large = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "x".repeat(60_000));
    assert_eq!(head.push(large.as_bytes()), Ok(Some(large.len())));
    assert_eq!(head.bytes(), large.as_bytes());
    head.clear();
    assert!(head.bytes.capacity() <= 4096, "{}", head.bytes.capacity());
}

#[test]
fn an_answer_tells_its_status() {
    let mut head = Head::new(Side::Upstream, LIMITS);
    assert!(head.push(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap().is_some());
    assert_eq!(head.status(), 204);
    for bad in ["HTTP/2 200 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 099 No", "hello"] {
        let mut head = Head::new(Side::Upstream, LIMITS);
        assert!(head.push(format!("{bad}\r\n\r\n").as_bytes()).is_err(), "{bad}");
    }
}

proptest::proptest! {
    #[test]
    fn how_the_bytes_arrive_changes_nothing(
        text in concat!(
            "(GET|P) /[a#]? HTTP/1\\.[01]\r?\n",
            "((a|content-length|transfer-encoding): ?(1|chunked|x)?\r?\n){0,5}\r?\n?x{0,3}",
        ),
        cut in 0usize..200,
    ) {
        let whole = Head::new(Side::Downstream, LIMITS).push(text.as_bytes()).map_err(|e| e.reason());
        let cut = cut.min(text.len());
        let mut head = Head::new(Side::Downstream, LIMITS);
        let parts = head.push(&text.as_bytes()[..cut]).map_err(|e| e.reason());
        let parts = match parts {
            Ok(None) => head.push(&text.as_bytes()[cut..]).map_err(|e| e.reason()).map(|n| n.map(|n| n + cut)),
            done => done,
        };
        proptest::prop_assert_eq!(whole, parts);
    }
}
