//! The channel between a process and its successor: packets of words, some with descriptors.
//!
//! ```text
//!   predecessor                                     successor, its standard input the channel
//!      │── Sockets, one descriptor for each name ──────►│
//!      │── Begin ──────────────────────────────────────►│ reads and checks its configuration
//!      │◄──────────────────────────────────── Prepared ─│
//!      │ writes its state and lets go of the file       │
//!      │── Released ───────────────────────────────────►│ opens the state, accepts clients
//!      │◄─────────────────────────────────────── Ready ─│
//!      │── Yours ──────────────────────────────────────►│ judges, answers operators
//!      │ drains                                         │
//!      │── Event, for what still happens to it ────────►│ keeps it
//! ```
//! Whichever side ends closes the channel, and the other goes on alone.

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{io::Interest, net::UnixStream};

/// Descriptors in one packet; the kernel takes 253.
pub const MOST_DESCRIPTORS: usize = 200;
/// Bytes of one packet: names of that many sockets.
const MOST_BYTES: usize = 64 * 1024;

/// What the two say to each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Word {
    /// One descriptor comes with it for each name.
    Sockets(Vec<SocketName>),
    /// All sockets have been passed.
    Begin,
    /// The configuration is good; the state is wanted.
    Prepared,
    /// The state has been written, and its file is free.
    Released {
        /// Backend and address of each endpoint that an operator took out.
        drained: Vec<(String, String)>,
    },
    /// Clients are accepted.
    Ready,
    /// All is the successor's.
    Yours,
    /// Something that happened to the predecessor, as the audit trail has it.
    Event(Value),
}

/// What a passed descriptor is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketName {
    /// Where the log goes: the successor's standard error leads to its predecessor until it is ready.
    Log,
    /// Accepts clients; by the address that the configuration gives.
    Listener(SocketAddr),
    /// Accepts operators at this path.
    Admin {
        /// The socket's file.
        path: PathBuf,
        /// The service manager made it, and removes its file.
        lent: bool,
    },
    /// Accepts operators at this address.
    AdminListen(SocketAddr),
}

/// One end.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Both ends; neither outlives an exec by itself.
    ///
    /// # Errors
    /// The system's.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None)?;
        Ok((Self(ours), theirs))
    }

    /// The end that this process was started with.
    pub const fn of(end: OwnedFd) -> Self {
        Self(end)
    }

    /// [`Channel::hear`] fails after so long without a word.
    ///
    /// # Errors
    /// The system's.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        socket2::SockRef::from(&self.0).set_read_timeout(Some(patience))
    }

    /// Sends one word.
    ///
    /// # Errors
    /// The system's; when the other side has ended.
    pub fn say(&self, word: &Word, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(self.0.as_fd(), word, descriptors)
    }

    /// Waits for the next word, blocking; `None` when the other side has ended.
    ///
    /// # Errors
    /// The system's, and for what is no word.
    pub fn hear(&self) -> io::Result<Option<(Word, Vec<OwnedFd>)>> {
        receive(self.0.as_fd())
    }
}

/// An end that a runtime waits on.
#[derive(Debug, Clone)]
pub struct Listening(Arc<UnixStream>);

impl Listening {
    /// Waits by the present runtime.
    ///
    /// # Errors
    /// The system's.
    pub fn on(channel: Channel) -> io::Result<Self> {
        // The runtime's streams wait for any kind of unix socket; bytes go through `Channel` alone.
        let socket = std::os::unix::net::UnixStream::from(channel.0);
        socket.set_nonblocking(true)?;
        Ok(Self(Arc::new(UnixStream::from_std(socket)?)))
    }

    /// [`Channel::say`]; there is room for all that one side says before it listens.
    ///
    /// # Errors
    /// As there.
    pub fn say(&self, word: &Word, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        send(self.0.as_fd(), word, descriptors)
    }

    /// [`Channel::hear`], without descriptors. Safe to drop while it waits.
    ///
    /// # Errors
    /// As there.
    pub async fn hear(&self) -> io::Result<Option<Word>> {
        loop {
            self.0.readable().await?;
            match self.0.try_io(Interest::READABLE, || receive(self.0.as_fd())) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                heard => return heard.map(|heard| heard.map(|(word, _)| word)),
            }
        }
    }
}

fn send(socket: BorrowedFd<'_>, word: &Word, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(word)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors in one packet"));
    }
    let parts = [IoSlice::new(&bytes)];
    rustix::net::sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(Word, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MOST_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let received =
        rustix::net::recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::other("a packet was cut short; are there descriptors left?"));
    }
    let word = serde_json::from_slice(&bytes[..received.bytes])?;
    Ok(Some((word, descriptors)))
}

/// The process that started this one.
pub fn parent() -> Option<i32> {
    rustix::process::getppid().map(|id| id.as_raw_nonzero().get())
}

/// Puts nothing in the place of standard input, of which there is a copy.
///
/// # Errors
/// The system's.
pub fn leave_stdin() -> io::Result<()> {
    Ok(rustix::stdio::dup2_stdin(File::open("/dev/null")?)?)
}

/// Lets standard error lead to where `log` does.
///
/// # Errors
/// The system's.
pub fn become_stderr(log: &OwnedFd) -> io::Result<()> {
    Ok(rustix::stdio::dup2_stderr(log)?)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn words_and_sockets_cross_and_an_end_is_heard() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::of(theirs);
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let names = vec![SocketName::Listener(address); MOST_DESCRIPTORS];
        let sockets = vec![socket.as_fd(); MOST_DESCRIPTORS];
        ours.say(&Word::Sockets(names.clone()), &sockets).unwrap();
        ours.say(&Word::Begin, &[]).unwrap();
        let (word, descriptors) = theirs.hear().unwrap().unwrap();
        assert_eq!((word, descriptors.len()), (Word::Sockets(names), MOST_DESCRIPTORS));
        let passed = TcpListener::from(descriptors.into_iter().next().unwrap());
        assert_eq!(passed.local_addr().unwrap(), address);
        assert_eq!(theirs.hear().unwrap().unwrap().0, Word::Begin);

        let ours = Listening::on(ours).unwrap();
        theirs.say(&Word::Prepared, &[]).unwrap();
        assert_eq!(ours.hear().await.unwrap(), Some(Word::Prepared));
        drop(theirs);
        assert_eq!(ours.hear().await.unwrap(), None);
        assert!(ours.say(&Word::Yours, &[]).is_err());
    }

    #[test]
    fn silence_and_nonsense_are_faults() {
        let (ours, theirs) = Channel::pair().unwrap();
        ours.set_patience(Duration::from_millis(1)).unwrap();
        assert_eq!(ours.hear().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        rustix::net::send(&theirs, b"hello", SendFlags::empty()).unwrap();
        assert_eq!(ours.hear().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
