//! Requests to servers of the test's own.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};

use super::*;

/// Answers each connection with the next of `answers`, the last of them for ever, and gives the requests.
#[allow(clippy::disallowed_methods, reason = "a panic here fails the test that waits for it")]
pub(in crate::control) async fn server(
    answers: Vec<String>,
) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, requests) = mpsc::channel(64);
    tokio::spawn(async move {
        for turn in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !is_whole(&request) {
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(count) => request.extend_from_slice(&buffer[..count]),
                }
            }
            let answer = &answers[turn.min(answers.len() - 1)];
            // Who has gone reads nothing more.
            stream.write_all(answer.as_bytes()).await.ok();
            sender.send(String::from_utf8_lossy(&request).into_owned()).await.ok();
        }
    });
    (address, requests)
}

fn is_whole(request: &[u8]) -> bool {
    let Some(at) = request.windows(4).position(|part| part == b"\r\n\r\n") else {
        return false;
    };
    let (head, body) = (String::from_utf8_lossy(&request[..at]), &request[at + 4..]);
    let head = head.to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    length.is_none_or(|length| body.len() >= length.parse().unwrap())
}

/// A whole answer with a body.
pub(in crate::control) fn answer(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    )
}

fn get(url: &str) -> Outgoing<'_> {
    Outgoing {
        method: Method::GET,
        url,
        headers: HeaderMap::new(),
        body: Vec::new(),
        timeout: Duration::from_secs(20),
    }
}

#[tokio::test]
async fn an_answer_is_read_whole_and_a_redirect_is_one() {
    let moved = answer(302, "location: http://127.0.0.1:1/\r\n", "elsewhere");
    let (address, mut requests) = server(vec![moved]).await;
    let outbound = Outbound::default();
    let answer = outbound.ask(get(&format!("http://{address}/a?b=c"))).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (302, &b"elsewhere"[..]));
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("user-agent: tidegate/"), "{request}");
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "a panic here fails the test that waits for it")]
async fn an_endpoint_on_a_unix_socket_is_asked_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !is_whole(&request) {
            stream.read_buf(&mut request).await.unwrap();
        }
        stream.write_all(answer(200, "", "by socket").as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    let address = format!("unix:{}", path.display()).parse().unwrap();
    let place = Place { address: &address, tls: None, protocol: BackendProtocol::Http1 };
    let answer = Outbound::default().ask_at(place, "/a?b=c", get("")).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"by socket"[..]));
    let request = server.await.unwrap();
    assert!(request.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("host: localhost\r\n"), "{request}");
}

#[tokio::test]
async fn an_endless_answer_and_a_silent_server_are_given_up() {
    let endless = answer(200, "", &"x".repeat(MAX_ANSWER + 1));
    let (address, _requests) = server(vec![endless]).await;
    let outbound = Outbound::default();
    let error = outbound.ask(get(&format!("http://{address}/"))).await.unwrap_err();
    assert_eq!(error, OutboundError::TooLong);

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let timeout = Duration::from_millis(30);
    let error = outbound.ask(Outgoing { timeout, ..get(&url) }).await.unwrap_err();
    assert_eq!(error, OutboundError::Timeout(timeout));
}

#[tokio::test]
async fn an_error_says_why_and_not_where() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url = format!("http://{closed}/secret");
    let error = Outbound::default().ask(get(&url)).await.unwrap_err().to_string();
    assert!(error.contains("refused") && !error.contains("secret"), "{error}");
}

#[tokio::test]
async fn a_secret_is_the_text_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    assert!(read_secret(&path).await.unwrap_err().contains("No such file"));
    std::fs::write(&path, " \n").unwrap();
    assert!(read_secret(&path).await.unwrap_err().ends_with("it is empty"));
    std::fs::write(&path, "abc\n").unwrap();
    assert_eq!(read_secret(&path).await.unwrap(), "abc");
}
