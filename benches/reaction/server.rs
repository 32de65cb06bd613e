//! A server that answers until it is told to fail or to be gone, and notes when requests reach it.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfine\n";
const BAD: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 4\r\n\r\nbad\n";

/// How it answers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mood {
    /// With 500.
    Failing,
}

#[derive(Default)]
struct Shared {
    failing: AtomicBool,
    gone: AtomicBool,
    last: Mutex<Option<Instant>>,
    open: Mutex<Vec<TcpStream>>,
}

/// A running server; its threads end with the process.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let shared = Arc::new(Shared::default());
        let own = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if own.gone.load(SeqCst) {
                    return;
                }
                let kept = stream.try_clone().expect("a connected socket");
                own.open.lock().expect("no thread panics with it").push(kept);
                let own = own.clone();
                thread::spawn(move || serve(stream, &own));
            }
        });
        Self { address, shared }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set_mood(&self, mood: Mood) {
        match mood {
            Mood::Failing => self.shared.failing.store(true, SeqCst),
        }
    }

    /// Gone with its connections, as a process that was killed.
    pub(crate) fn stop(&self) {
        self.shared.gone.store(true, SeqCst);
        // Wakes the thread that accepts, which then lets go of the listener.
        drop(TcpStream::connect(self.address));
        for stream in self.shared.open.lock().expect("no thread panics with it").drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    /// When the newest request came.
    pub(crate) fn last_request(&self) -> Option<Instant> {
        *self.shared.last.lock().expect("no thread panics with it")
    }

    pub(crate) fn await_request(&self, patience: Duration) {
        let begin = Instant::now();
        while self.last_request().is_none() {
            assert!(begin.elapsed() < patience, "no request comes");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) {
    stream.set_nodelay(true).ok();
    let mut buffer = [0; 4096];
    // The load's requests are small and come one at a time: what is read at once is one request.
    while let Ok(1..) = stream.read(&mut buffer) {
        *shared.last.lock().expect("no thread panics with it") = Some(Instant::now());
        let answer = if shared.failing.load(SeqCst) { BAD } else { GOOD };
        if stream.write_all(answer).is_err() {
            return;
        }
    }
}
