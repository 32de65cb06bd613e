//! A server that can be killed and started again at the same address, as a process is: its listener goes, and every
//! connection is reset in the middle of whatever it was doing.

use std::{
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::SeqCst},
    },
    thread::JoinHandle,
    time::Duration,
};

use std::io::Write as _;

use crate::support::message::Reader;

/// A server that lives until it is killed, and again after it is started.
pub(crate) struct Mortal {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    life: Option<(TcpListener, JoinHandle<()>)>,
}

#[derive(Default)]
struct Shared {
    dead: AtomicBool,
    answered: AtomicU64,
    /// Status of every answer.
    status: AtomicU16,
    connections: Mutex<Vec<TcpStream>>,
}

impl Mortal {
    /// Answers 200 to whatever comes.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared::default());
        shared.status.store(200, SeqCst);
        let mut server = Self { address, shared, life: None };
        server.live(listener);
        server
    }

    /// Requests answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(SeqCst)
    }

    /// Answers with `status` from now on.
    pub(crate) fn say(&self, status: u16) {
        self.shared.status.store(status, SeqCst);
    }

    pub(crate) fn kill(&mut self) {
        let Some((listener, thread)) = self.life.take() else { return };
        self.shared.dead.store(true, SeqCst);
        // Ends the accept that waits.
        socket2::SockRef::from(&listener).shutdown(Shutdown::Both).expect("a listener");
        thread.join().expect("no server panics");
        drop(listener);
        for stream in self.shared.connections.lock().expect("no server panics").drain(..) {
            let socket = socket2::SockRef::from(&stream);
            socket.set_linger(Some(Duration::ZERO)).ok();
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    pub(crate) fn restart(&mut self) {
        use socket2::{Domain, Socket, Type};
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("a fresh socket");
        socket.bind(&self.address.into()).expect("its own port");
        socket.listen(128).expect("a bound socket");
        self.shared.dead.store(false, SeqCst);
        self.live(socket.into());
    }

    fn live(&mut self, listener: TcpListener) {
        let (accepting, shared) = (listener.try_clone().expect("a listener"), self.shared.clone());
        let thread = std::thread::spawn(move || {
            for stream in accepting.incoming().map_while(Result::ok) {
                let copy = stream.try_clone().expect("an open socket");
                shared.connections.lock().expect("no server panics").push(copy);
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        self.life = Some((listener, thread));
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) {
    stream.set_nodelay(true).ok();
    let mut reader = Reader::new(stream.try_clone().expect("an open socket"), |_| {});
    while let Ok(Some(_)) = reader.request() {
        let status = shared.status.load(SeqCst);
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nhi");
        if shared.dead.load(SeqCst) {
            return;
        }
        // Before the answer is there, or a client that has it could find it uncounted.
        shared.answered.fetch_add(1, SeqCst);
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
