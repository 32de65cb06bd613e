//! Reading from a connection whom it comes from, by the PROXY protocol, and not a byte of what follows.

use std::net::SocketAddr;

use tokio::{io::AsyncReadExt as _, net::TcpStream};

use super::proxy_header::{LONGEST_LINE, MOST, Parsed, parse};

/// The client that the connection's header names; `None` where that is the peer itself.
///
/// # Errors
/// Without a good header; the caller sees to the time.
pub(super) async fn read(stream: &mut TcpStream) -> Result<Option<SocketAddr>, ()> {
    let mut header = vec![0; LONGEST_LINE];
    let mut length = 0;
    loop {
        let surely = match parse(&header[..length]) {
            Parsed::Complete { client, .. } => return Ok(client),
            Parsed::Malformed(_) => return Err(()),
            Parsed::Partial(more) => more,
        };
        let more = match header.first() {
            Some(b'P') if length > 0 => rest_of_line(stream, LONGEST_LINE - length).await?,
            _ => surely,
        };
        let end = (length + more).min(MOST);
        if header.len() < end {
            header.resize(end, 0);
        }
        match stream.read(&mut header[length..end]).await {
            Ok(count @ 1..) => length += count,
            Ok(_) | Err(_) => return Err(()),
        }
    }
}

/// How many of the bytes that have come belong to the line: a byte at a time would cost a call each.
async fn rest_of_line(stream: &TcpStream, most: usize) -> Result<usize, ()> {
    let mut ahead = [0; LONGEST_LINE];
    let count = stream.peek(&mut ahead[..most]).await.map_err(|_| ())?;
    let line = memchr::memchr(b'\n', &ahead[..count]).map_or(count, |end| end + 1);
    if line == 0 { Err(()) } else { Ok(line) }
}
