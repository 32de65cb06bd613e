//! An upstream that does what its script says and keeps every byte that reached it.

use std::{
    io::{self, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    PATIENCE,
    message::{Broken, Message, Reader},
};

/// What reached an upstream so far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Log {
    /// Bytes by connection, in the order of accept.
    pub(crate) bytes: Vec<Vec<u8>>,
    /// Complete requests, in the order of their end.
    pub(crate) requests: Vec<Message>,
    /// Connections that the proxy ended.
    pub(crate) ended: usize,
    /// Connections that a script closed itself.
    pub(crate) closed: usize,
    /// What was not a proper request.
    pub(crate) faults: Vec<String>,
}

impl Log {
    pub(crate) fn targets(&self) -> Vec<&str> {
        self.requests.iter().map(Message::target).collect()
    }
}

#[derive(Default)]
struct Shared {
    log: Mutex<Log>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("no test panics while it holds the log")
    }

    fn note(&self, change: impl FnOnce(&mut Log)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

/// A listening upstream. Its threads end with the test process.
pub(crate) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Upstream {
    /// Runs `script` for each connection, in a thread of its own; the connection closes when the script returns.
    pub(crate) fn scripted(script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared::default());
        let (script, log) = (Arc::new(script), Arc::clone(&shared));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut peer = Peer::new(stream, Arc::clone(&log));
                let script = Arc::clone(&script);
                std::thread::spawn(move || script(&mut peer));
            }
        });
        Self { address, shared }
    }

    /// Answers each request with its own body.
    pub(crate) fn echoing() -> Self {
        Self::answering(|request| {
            let length = request.body.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            [head.as_bytes(), &request.body].concat()
        })
    }

    /// Answers each whole request with what `answer` makes of it, and keeps the connection.
    pub(crate) fn answering(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::scripted(move |peer| {
            while let Some(request) = peer.request() {
                if peer.write(answer(&request)).is_err() {
                    return;
                }
            }
        })
    }

    /// Answers each whole request with 200 and `body`.
    pub(crate) fn saying(body: &str) -> Self {
        let answer = ok(body);
        Self::answering(move |_| answer.clone())
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn log(&self) -> Log {
        self.shared.lock().clone()
    }

    /// Forgets the requests so far, and gives them. Fails if one of them was not proper.
    pub(crate) fn take_requests(&self) -> Vec<Message> {
        let mut log = self.shared.lock();
        assert!(log.faults.is_empty(), "the upstream got {:?}", log.faults);
        std::mem::take(&mut log.requests)
    }

    /// Waits until the log fits.
    pub(crate) fn wait_until(&self, what: &str, fits: impl Fn(&Log) -> bool) -> Log {
        let (log, timeout) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), PATIENCE, |log| !fits(log))
            .expect("no test panics while it holds the log");
        assert!(!timeout.timed_out(), "waited {PATIENCE:?} in vain: {what}; {log:?}");
        log.clone()
    }
}

/// One connection from the proxy, as a script sees it.
pub(crate) struct Peer {
    stream: TcpStream,
    reader: Reader,
    shared: Arc<Shared>,
    /// Place of this connection in the order of accept, from 0.
    pub(crate) number: usize,
    end_noted: bool,
}

impl Peer {
    fn new(stream: TcpStream, shared: Arc<Shared>) -> Self {
        stream.set_nodelay(true).expect("a connected socket");
        let mut number = 0;
        shared.note(|log| {
            number = log.bytes.len();
            log.bytes.push(Vec::new());
        });
        let recorder = Arc::clone(&shared);
        let copy = stream.try_clone().expect("a connected socket");
        let on_bytes = move |bytes: &[u8]| {
            recorder.note(|log| log.bytes[number].extend_from_slice(bytes));
        };
        let reader = Reader::new(copy, on_bytes);
        Self { stream, reader, shared, number, end_noted: false }
    }

    /// The next whole request; `None` when the proxy ended the connection, or sent something else.
    pub(crate) fn request(&mut self) -> Option<Message> {
        let result = self.reader.request();
        let request = self.noted(result)?;
        self.shared.note(|log| log.requests.push(request.clone()));
        Some(request)
    }

    /// The next request's head alone; its body is not waited for. It is not in the log's requests.
    pub(crate) fn head(&mut self) -> Option<Message> {
        let result = self.reader.request_head();
        self.noted(result)
    }

    fn noted(&mut self, result: Result<Option<Message>, Broken>) -> Option<Message> {
        match result {
            Ok(Some(request)) => return Some(request),
            Ok(None) | Err(Broken::Cut(_)) => self.note_end(),
            Err(Broken::Malformed(why)) => self.shared.note(|log| log.faults.push(why)),
        }
        None
    }

    fn note_end(&mut self) {
        if !std::mem::replace(&mut self.end_noted, true) {
            self.shared.note(|log| log.ended += 1);
        }
    }

    pub(crate) fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Reads and records until the proxy ends the connection.
    pub(crate) fn until_closed(&mut self) {
        while self.reader.some_bytes().is_ok_and(|bytes| !bytes.is_empty()) {}
        self.note_end();
    }

    /// Closes the connection now; what has been written still arrives.
    pub(crate) fn close(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Both).ok();
        self.shared.note(|log| log.closed += 1);
    }

    /// Makes the close at the script's end a reset.
    pub(crate) fn reset_at_end(&mut self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("a connected socket");
    }
}

/// Agrees to open the WebSocket that `request` asks for, with its key answered if it has one (RFC 6455 §4.2.2).
pub(crate) fn opening(request: &Message) -> String {
    let accept = request.headers.only("sec-websocket-key").map_or_else(String::new, |key| {
        let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        format!("sec-websocket-accept: {}\r\n", STANDARD.encode(hash))
    });
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n{accept}\r\n"
    )
}

/// A plain 200 with `body`.
pub(crate) fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// An address that refuses connections until a gate listens there: bound, so that no other program of this machine gets it
/// by chance, and willing to share.
pub(crate) struct Reserved {
    _socket: socket2::Socket,
    pub(crate) address: SocketAddr,
}

impl Reserved {
    pub(crate) fn bind() -> Self {
        use socket2::{Domain, Socket, Type};
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("a fresh socket");
        socket.set_reuse_port(true).expect("a fresh socket");
        let any_port: SocketAddr = ([127, 0, 0, 1], 0).into();
        socket.bind(&any_port.into()).expect("a free port");
        let address = socket.local_addr().ok().and_then(|address| address.as_socket());
        Self { address: address.expect("a bound socket"), _socket: socket }
    }
}
