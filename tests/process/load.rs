//! Load for tests that look at what a change does to traffic, and lean upstreams that bear it.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::support::{client::Client, upstream::ok};

/// An upstream that answers bodiless requests with its name and keeps nothing but their number.
pub(crate) struct Lean {
    pub(crate) address: SocketAddr,
    answered: Arc<AtomicU64>,
    mood: Arc<Mood>,
}

/// What a lean upstream does instead of answering well.
#[derive(Default)]
struct Mood {
    fails: AtomicBool,
    hangs: AtomicBool,
}

impl Lean {
    pub(crate) fn saying(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answered = Arc::new(AtomicU64::new(0));
        let mood = Arc::<Mood>::default();
        let (counter, switch) = (Arc::clone(&answered), Arc::clone(&mood));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (counter, switch) = (Arc::clone(&counter), Arc::clone(&switch));
                std::thread::spawn(move || answer_all(stream, &ok(name), &counter, &switch));
            }
        });
        Self { address, answered, mood }
    }

    /// Answers with 500 from now on, or no longer.
    pub(crate) fn set_failing(&self, fails: bool) {
        self.mood.fails.store(fails, Relaxed);
    }

    /// Takes requests and says nothing from now on.
    pub(crate) fn hang(&self) {
        self.mood.hangs.store(true, Relaxed);
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }
}

/// Answers each empty line, which is where a bodiless request ends.
fn answer_all(mut stream: TcpStream, good: &[u8], counter: &AtomicU64, mood: &Mood) {
    let bad = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
    stream.set_nodelay(true).unwrap();
    let end = b"\r\n\r\n";
    let (mut block, mut matched) = ([0; 16 * 1024], 0);
    while let Ok(count @ 1..) = stream.read(&mut block) {
        for byte in &block[..count] {
            matched = match *byte {
                byte if byte == end[matched] => matched + 1,
                b'\r' => 1,
                _ => 0,
            };
            if matched == end.len() {
                matched = 0;
                counter.fetch_add(1, Relaxed);
                if mood.hangs.load(Relaxed) {
                    continue;
                }
                let answer = if mood.fails.load(Relaxed) { &bad[..] } else { good };
                if stream.write_all(answer).is_err() {
                    return;
                }
            }
        }
    }
}

/// A blue and a green one.
pub(crate) fn pair() -> (Lean, Lean) {
    (Lean::saying("blue"), Lean::saying("green"))
}

/// Which of the keys go to green, asked over four connections with many requests under way on each.
pub(crate) fn green_keys(
    address: SocketAddr,
    keys: Range<u32>,
    lines: impl Fn(u32) -> String + Sync,
) -> Vec<bool> {
    const THREADS: u32 = 4;
    let share = keys.len().div_ceil(THREADS as usize) as u32;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let begin = keys.start + thread * share;
                let part = begin.min(keys.end)..(begin + share).min(keys.end);
                let lines = &lines;
                scope.spawn(move || green_keys_on_one_connection(address, part, lines))
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

pub(crate) fn green_keys_on_one_connection(
    address: SocketAddr,
    keys: Range<u32>,
    lines: &impl Fn(u32) -> String,
) -> Vec<bool> {
    let mut client = Client::connect(address);
    let all: Vec<_> = keys.collect();
    let mut sides = Vec::with_capacity(all.len());
    for some in all.chunks(32) {
        let request = |key: &u32| format!("GET / HTTP/1.1\r\nhost: test\r\n{}\r\n", lines(*key));
        client.send(some.iter().map(request).collect::<String>());
        for key in some {
            let answer = client.answer();
            assert_eq!(answer.status(), 200, "key {key}: {answer:?}");
            sides.push(answer.body == b"green");
        }
    }
    sides
}

/// The header line that names a session to the route's affinity.
pub(crate) fn sid(key: u32) -> String {
    format!("cookie: sid={key}\r\n")
}

/// Constant load until it is finished.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Tally>>,
}

/// What a load saw.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) answered: u64,
    pub(crate) faults: Vec<String>,
}

impl Load {
    /// Two kept connections, and one client with a new connection for each request.
    pub(crate) fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let kept = (0..2).map(|_| (true, Arc::clone(&stop)));
        let fresh = std::iter::once((false, Arc::clone(&stop)));
        let threads = kept
            .chain(fresh)
            .map(|(keeps, stop)| std::thread::spawn(move || ask_until(&stop, address, keeps)))
            .collect();
        Self { stop, threads }
    }

    /// Ends the load; fails if a single request did.
    pub(crate) fn finish(self) -> u64 {
        let whole = self.end();
        let (failed, first) = (whole.faults.len(), whole.faults.first());
        assert_eq!(failed, 0, "{failed} failed, {} were answered: {first:?}", whole.answered);
        whole.answered
    }

    /// Ends the load, whatever became of it.
    pub(crate) fn end(self) -> Tally {
        self.stop.store(true, Relaxed);
        let mut whole = Tally::default();
        for thread in self.threads {
            let part = thread.join().unwrap();
            whole.answered += part.answered;
            whole.faults.extend(part.faults);
        }
        whole
    }
}

fn ask_until(stop: &AtomicBool, address: SocketAddr, keeps: bool) -> Tally {
    let mut tally = Tally::default();
    let mut kept = None;
    let lines = if keeps { "" } else { "connection: close\r\n" };
    while !stop.load(Relaxed) {
        let asked = kept
            .take()
            .map_or_else(|| Client::try_connect(address), Ok)
            .map_err(|error| format!("connecting: {error}"))
            .and_then(|mut client| client.try_get("/", lines).map(|answer| (client, answer)));
        match asked {
            Ok((client, answer)) if answer.status() == 200 => {
                tally.answered += 1;
                // A draining process says with its last answer that there is none to come.
                if keeps && answer.headers.only("connection") != Some("close") {
                    kept = Some(client);
                } else if !keeps {
                    // New connections at a steady pace, so that the machine's ports last.
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            Ok((_, answer)) => tally.faults.push(answer.first_line),
            Err(fault) => tally.faults.push(format!("kept {keeps}: {fault}")),
        }
    }
    tally
}
