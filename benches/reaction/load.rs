//! Clients that ask at a steady rate over kept connections, and note when an answer is bad.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

const CLIENTS: u32 = 20;
const RATE: u32 = 500;

/// Running load. It ends when the value is dropped.
pub(crate) struct Load {
    bad: Arc<Mutex<Vec<Instant>>>,
    over: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(proxy: SocketAddr) -> Self {
        let (bad, over) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let begin = Instant::now();
        let client = |index| {
            let (bad, over) = (bad.clone(), over.clone());
            let first = begin + Duration::from_secs(1) / RATE * index;
            thread::spawn(move || ask(proxy, first, &bad, &over))
        };
        let threads = (0..CLIENTS).map(client).collect();
        Self { bad, over, threads }
    }

    /// When bad answers came, in their order.
    pub(crate) fn bad_answers(&self) -> Vec<Instant> {
        let mut bad = self.bad.lock().expect("no thread panics with it").clone();
        bad.sort();
        bad
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().expect("a client does not panic");
        }
    }
}

fn ask(proxy: SocketAddr, first: Instant, bad: &Mutex<Vec<Instant>>, over: &AtomicBool) {
    let mut stream = TcpStream::connect(proxy).expect("the proxy listens");
    stream.set_nodelay(true).expect("a connected socket");
    let mut next = first;
    let mut answer = [0; 4096];
    while !over.load(SeqCst) {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next += Duration::from_secs(1) / RATE * CLIENTS;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n").expect("the proxy takes it");
        // An answer is small, and sent in one piece.
        let count = stream.read(&mut answer).expect("the proxy answers");
        if !answer[..count].starts_with(b"HTTP/1.1 200") {
            bad.lock().expect("no thread panics with it").push(Instant::now());
        }
    }
}
