//! A client that sends whatever bytes a test wants, and reads answers strictly.

use std::{
    io::Write as _,
    net::{Shutdown, SocketAddr, TcpStream},
};

use super::{
    PATIENCE,
    message::{Message, Reader},
};

/// One connection to a listener.
pub(crate) struct Client {
    stream: TcpStream,
    reader: Reader,
    /// Informational responses seen so far.
    pub(crate) interim: Vec<Message>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("the listener accepts")
    }

    pub(crate) fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let reader = Reader::new(stream.try_clone()?, |_| {});
        Ok(Self { stream, reader, interim: Vec::new() })
    }

    /// The socket itself, for options and for writes that may fail.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub(crate) fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the connection takes the bytes");
    }

    /// Says that nothing more will be sent, while answers are still read.
    pub(crate) fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("an open connection");
    }

    /// The final answer to a request with `method`.
    pub(crate) fn answer_to(&mut self, method: &str) -> Message {
        let interim = &mut self.interim;
        let answer = self.reader.response(method, |message| interim.push(message.clone()));
        answer.unwrap_or_else(|broken| panic!("the answer to {method} is {broken}"))
    }

    pub(crate) fn answer(&mut self) -> Message {
        self.answer_to("GET")
    }

    /// Sends a GET for `path` on this connection and gives the answer.
    pub(crate) fn get(&mut self, path: &str) -> Message {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
        self.answer()
    }

    /// Sends a GET with more header lines; says what went wrong instead of failing.
    pub(crate) fn try_get(&mut self, path: &str, lines: &str) -> Result<Message, String> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\n{lines}\r\n");
        self.stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        self.reader.response("GET", |_| {}).map_err(|broken| broken.to_string())
    }

    /// Fails unless the server has closed, or closes now, without another byte.
    pub(crate) fn assert_closed(&mut self) {
        if let Err(fault) = self.reader.is_at_end() {
            panic!("the connection should be closed: {fault}");
        }
    }
}
