//! The load: sessions that come back again and again at a steady rate, over kept connections, with their cookies.
//!
//! Each connection serves sessions of its own, one request after the other, so that a session never has two requests under
//! way and its cookie is issued once.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    body::Bytes,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::watch};

use super::{
    backstage::{Backstage, Stop},
    sample::SESSION_COOKIE,
    side::Side,
    tally::Tally,
};
use crate::{domain::Moment, lifecycle::clock};

const CONNECTIONS: usize = 16;
/// Longest answer read; those of the sample servers have six bytes.
const MAX_ANSWER: usize = 4 << 10;

/// How much load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Volume {
    /// Sessions that take turns.
    pub(super) sessions: usize,
    /// Requests a second, all together.
    pub(super) requests_per_s: u32,
}

/// Running load.
#[derive(Debug)]
pub(super) struct Load {
    tally: Arc<Mutex<Tally>>,
    rate: watch::Sender<u32>,
    thread: Backstage,
}

impl Load {
    /// Begins to ask `proxy`.
    pub(super) fn start(proxy: SocketAddr, volume: Volume) -> io::Result<Self> {
        let tally = Arc::new(Mutex::new(Tally::new(volume.sessions)));
        let shared = tally.clone();
        let rate = watch::Sender::new(volume.requests_per_s);
        let rates = rate.subscribe();
        let work = async move |stop: Stop| {
            let lane = |index| {
                let pace = Pace::new(index, rates.clone());
                Lane::new(index, proxy, volume.sessions, &shared).drive(pace, stop.clone())
            };
            future::join_all((0..CONNECTIONS).map(lane)).await;
        };
        Ok(Self { tally, rate, thread: Backstage::start("load", work)? })
    }

    /// Asks that often from now on.
    pub(super) fn set_rate(&self, requests_per_s: u32) {
        self.rate.send_replace(requests_per_s);
    }

    /// Asks no more, and waits for the answers to what was asked.
    pub(super) async fn end(&self) {
        self.thread.end().await;
    }

    /// What the sessions got so far.
    pub(super) fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }
}

/// One connection at a time, and the sessions that use it.
struct Lane<'t> {
    proxy: SocketAddr,
    visitors: Vec<Visitor>,
    next: usize,
    tally: &'t Mutex<Tally>,
}

/// When a lane asks: the lanes take turns, so that together they keep the rate.
struct Pace {
    index: u32,
    rates: watch::Receiver<u32>,
    next: Moment,
}

impl Pace {
    fn new(index: usize, rates: watch::Receiver<u32>) -> Self {
        let mut pace = Self { index: index as u32, rates, next: clock::now() };
        pace.begin();
        pace
    }

    /// Between two requests of all lanes.
    fn between(&mut self) -> Duration {
        Duration::from_secs(1) / (*self.rates.borrow_and_update()).max(1)
    }

    fn begin(&mut self) {
        self.next = clock::now() + self.between() * self.index;
    }

    /// Waits for the next turn.
    async fn turn(&mut self) {
        loop {
            tokio::select! {
                () = clock::sleep_until(self.next) => break,
                Ok(()) = self.rates.changed() => self.begin(),
            }
        }
        // What was missed is not made up for.
        self.next = self.next.max(clock::now()) + self.between() * CONNECTIONS as u32;
    }
}

/// A session with its cookies.
struct Visitor {
    session: usize,
    cookies: String,
}

impl<'t> Lane<'t> {
    fn new(index: usize, proxy: SocketAddr, sessions: usize, tally: &'t Mutex<Tally>) -> Self {
        let own = (index..sessions).step_by(CONNECTIONS);
        let visitor = |session| Visitor { session, cookies: format!("{SESSION_COOKIE}={session}") };
        Self { proxy, visitors: own.map(visitor).collect(), next: 0, tally }
    }

    async fn drive(mut self, mut pace: Pace, mut stop: Stop) {
        loop {
            let (sender, connection) = match connect(self.proxy).await {
                Ok(pair) => pair,
                Err(error) => {
                    self.fail(format!("cannot connect: {error}"));
                    tokio::select! {
                        () = stop.asked() => return,
                        () = pace.turn() => continue,
                    }
                }
            };
            // The connection ends with its sender; what went wrong with it, the visitor who was there has noted.
            let (stopped, _) =
                future::join(self.ask(sender, &mut pace, &mut stop), connection).await;
            if stopped {
                return;
            }
        }
    }

    /// Lets the visitors ask in turn until the connection ends, or the load, which it tells.
    async fn ask(&mut self, mut sender: Sender, pace: &mut Pace, stop: &mut Stop) -> bool {
        loop {
            tokio::select! {
                biased;
                () = stop.asked() => return true,
                () = pace.turn() => {}
            }
            if sender.ready().await.is_err() {
                return false;
            }
            let Some(visitor) = self.visitors.get_mut(self.next) else { return true };
            let begin = clock::now();
            match visitor.visit(&mut sender).await {
                Ok(side) => {
                    let latency = clock::now().since(begin);
                    lock(self.tally).answered(visitor.session, side, latency);
                }
                Err(why) => self.fail(why),
            }
            self.next = (self.next + 1) % self.visitors.len();
        }
    }

    fn fail(&self, why: String) {
        let session = self.visitors.get(self.next).map_or(usize::MAX, |visitor| visitor.session);
        lock(self.tally).failed(session, why);
    }
}

fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

type Sender = SendRequest<Empty<Bytes>>;
type Connection = http1::Connection<TokioIo<TcpStream>, Empty<Bytes>>;

async fn connect(proxy: SocketAddr) -> io::Result<(Sender, Connection)> {
    let stream = TcpStream::connect(proxy).await?;
    stream.set_nodelay(true)?;
    http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)
}

impl Visitor {
    /// Asks once, keeps the cookie that comes, and tells who answered.
    async fn visit(&mut self, sender: &mut Sender) -> Result<Side, String> {
        let request = Request::get("/")
            .header(header::HOST, "demo.example")
            .header(header::COOKIE, &self.cookies)
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| format!("cut short: {error}"))?.to_bytes();
        if parts.status != StatusCode::OK {
            let text = String::from_utf8_lossy(&body);
            return Err(format!(
                "{}: {}",
                parts.status,
                text.lines().nth(1).unwrap_or(&text).trim()
            ));
        }
        for line in parts.headers.get_all(header::SET_COOKIE) {
            if let Some(pair) = line.to_str().ok().and_then(|line| line.split(';').next()) {
                self.cookies = format!("{SESSION_COOKIE}={}; {pair}", self.session);
            }
        }
        Side::named(&body).ok_or_else(|| "an answer of neither sample server".to_owned())
    }
}
