//! What one turn of a client's connection writes leaves in one piece. Under TLS each write makes a record, and records can be
//! counted.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use rustls::{ClientConnection, pki_types::ServerName};

use crate::support::{
    PATIENCE,
    frames::{DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, block, frame, get},
    gate::Gate,
    setup::Setup,
    tls::Authority,
    upstream::Upstream,
};

/// A client under TLS that sees records.
struct Counting {
    tcp: TcpStream,
    session: ClientConnection,
    /// Read, and no whole record yet.
    rest: Vec<u8>,
}

impl Counting {
    fn connect(gate: &Gate, authority: &Authority, protocol: &[u8]) -> Self {
        let mut config = (*authority.client()).clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let mut session = ClientConnection::new(config.into(), name).unwrap();
        let mut tcp = TcpStream::connect_timeout(&gate.address(), PATIENCE).unwrap();
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut tcp).unwrap();
        }
        Self { tcp, session, rest: Vec::new() }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.session.writer().write_all(bytes).unwrap();
        self.session.complete_io(&mut self.tcp).unwrap();
    }

    /// How many records an answer takes, up to where it `ends`.
    fn records(&mut self, ends: impl Fn(&[u8]) -> bool) -> usize {
        const HEAD: usize = 5;
        let (mut records, mut text, mut buffer) = (0, Vec::new(), [0; 16 * 1024]);
        while !ends(&text) {
            let length = self
                .rest
                .get(3..HEAD)
                .map(|at| HEAD + usize::from(at[0]) * 256 + usize::from(at[1]));
            let Some(length) = length.filter(|length| *length <= self.rest.len()) else {
                let count = self.tcp.read(&mut buffer).unwrap();
                assert!(count > 0, "the connection ended within {text:?}");
                self.rest.extend_from_slice(&buffer[..count]);
                continue;
            };
            let record: Vec<_> = self.rest.drain(..length).collect();
            self.session.read_tls(&mut &record[..]).unwrap();
            let state = self.session.process_new_packets().unwrap();
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            self.session.reader().read_exact(&mut plain).unwrap();
            text.extend(plain);
            records += 1;
        }
        records
    }
}

/// A gate under TLS, in front of an upstream that answers with `answer`.
fn gate(authority: &Authority, answer: String) -> Gate {
    authority.sign("own", &["localhost"]);
    let upstream = Upstream::answering(move |_| answer.clone().into_bytes());
    Gate::start(&Setup::to(upstream.address()).listener(&authority.certificate("own")))
}

fn chunked(chunks: usize, size: usize, trailers: &str) -> String {
    let chunk = format!("{size:x}\r\n{}\r\n", "x".repeat(size));
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    format!("{head}{}0\r\n{trailers}\r\n", chunk.repeat(chunks))
}

#[test]
fn many_small_parts_of_a_body_leave_together() {
    let authority = Authority::new();
    let gate = gate(&authority, chunked(40, 30, ""));
    let mut client = Counting::connect(&gate, &authority, b"http/1.1");
    for round in 0..3 {
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let records = client.records(|text| text.ends_with(b"\r\n0\r\n\r\n"));
        // What TLS says after the handshake comes before the first answer.
        assert!(round == 0 || records == 1, "{records} records in round {round}");
    }
}

#[test]
fn head_body_and_trailers_of_a_stream_leave_together() {
    let authority = Authority::new();
    let gate = gate(&authority, chunked(1, 1024, "x-sum: 1\r\n"));
    let mut client = Counting::connect(&gate, &authority, b"h2");
    client.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
    for round in 0..3 {
        let stream = 2 * round + 1;
        client.send(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&get("/"))));
        let records = client.records(|text| has_ended(text, stream));
        assert!(round == 0 || records == 1, "{records} records in round {round}");
    }
}

/// Whether the stream's last frame is in `bytes`, which are whole frames and the begin of another one.
fn has_ended(mut bytes: &[u8], stream: u32) -> bool {
    while let [a, b, c, kind, flags, _, _, _, number, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        if rest.len() < length {
            return false;
        }
        let ends = matches!(*kind, DATA | HEADERS) && flags & END_STREAM != 0;
        if ends && u32::from(*number) == stream {
            return true;
        }
        bytes = &rest[length..];
    }
    false
}
