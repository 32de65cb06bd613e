//! Where an endpoint's connections go: its own address, or all those that its name has.
//!
//! A name stays one endpoint, however many addresses it has: it is drained, checked and ejected as one. Its connections begin at
//! one address after the other, and where one does not take it the next is tried. The control plane resolves the name again and
//! again; nobody looks it up on a request's way.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use crate::domain::{EndpointAddress, Location};

/// Most addresses of one name that are used.
pub const MAX_ADDRESSES: usize = 64;

/// Addresses of an endpoint; those of a name may change.
#[derive(Debug)]
pub struct Addresses {
    known: ArcSwapOption<Vec<Peer>>,
    /// Counts the changes.
    generation: AtomicU32,
    /// Look-ups that found nothing, since the last one that did.
    failures: AtomicU32,
    /// Connections so far.
    turns: AtomicU32,
    heard: Notify,
}

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// By TCP.
    Tcp(SocketAddr),
    /// At a unix socket's path.
    Unix(Arc<Path>),
}

/// Where a connection leads, and since which change of the addresses that is known to be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The other end.
    pub peer: Peer,
    /// [`Addresses::generation`] at that time.
    pub generation: u32,
}

impl Addresses {
    /// The addresses of `address`: itself, or none yet if it is a name.
    pub(super) fn new(address: &EndpointAddress) -> Self {
        let fixed = match address.location() {
            Location::Network { host, port } => {
                host.parse::<IpAddr>().ok().map(|ip| Peer::Tcp(SocketAddr::new(ip, port)))
            }
            Location::Unix(path) => Some(Peer::Unix(path.into())),
        };
        Self {
            known: ArcSwapOption::new(fixed.map(|peer| Arc::new(vec![peer]))),
            generation: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            turns: AtomicU32::new(0),
            heard: Notify::new(),
        }
    }

    /// All of them; `None` until a name has been resolved. Never empty.
    pub fn known(&self) -> Option<Arc<Vec<Peer>>> {
        self.known.load_full()
    }

    /// All of them, waited for until the first look-up has ended; `None` when it found nothing.
    pub async fn resolved(&self) -> Option<Arc<Vec<Peer>>> {
        loop {
            let mut heard = pin!(self.heard.notified());
            heard.as_mut().enable();
            match self.known() {
                None if self.failures.load(Relaxed) == 0 => heard.await,
                known => return known,
            }
        }
    }

    /// Takes what a look-up found; true if it is something else than before. Nothing found leaves what is known.
    pub fn set(&self, found: Vec<SocketAddr>) -> bool {
        let mut found: Vec<_> = found.into_iter().map(Peer::Tcp).collect();
        found.sort_unstable();
        found.dedup();
        found.truncate(MAX_ADDRESSES);
        if found.is_empty() {
            self.fail();
            return false;
        }
        let news = self.known().is_none_or(|known| *known != found);
        if news {
            self.known.store(Some(Arc::new(found)));
            self.generation.fetch_add(1, Relaxed);
        }
        self.failures.store(0, Relaxed);
        self.heard.notify_waiters();
        news
    }

    /// A look-up found nothing; gives how many have in a row.
    pub fn fail(&self) -> u32 {
        let failures = self.failures.fetch_add(1, Relaxed).saturating_add(1);
        self.heard.notify_waiters();
        failures
    }

    /// The place at which the next connection begins.
    pub fn next_turn(&self) -> usize {
        self.turns.fetch_add(1, Relaxed) as usize
    }

    /// Counts the changes of the addresses.
    pub fn generation(&self) -> u32 {
        self.generation.load(Relaxed)
    }

    /// Whether what leads `home` still leads to this endpoint. Costs nothing until the addresses change.
    pub fn has(&self, home: &mut Home) -> bool {
        let generation = self.generation();
        if home.generation == generation {
            return true;
        }
        let leads = self.known().is_none_or(|known| known.contains(&home.peer));
        if leads {
            home.generation = generation;
        }
        leads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Addresses {
        Addresses::new(&text.parse().unwrap())
    }

    fn at(last: u8) -> SocketAddr {
        ([127, 0, 0, last], 80).into()
    }

    fn tcp(last: u8) -> Peer {
        Peer::Tcp(at(last))
    }

    #[test]
    fn an_address_is_known_and_a_name_is_not() {
        assert_eq!(*addresses("127.0.0.7:80").known().unwrap(), [tcp(7)]);
        let six = Peer::Tcp("[::1]:80".parse().unwrap());
        assert_eq!(*addresses("[::1]:80").known().unwrap(), [six]);
        let socket = Peer::Unix(Path::new("/run/app.sock").into());
        assert_eq!(*addresses("unix:/run/app.sock").known().unwrap(), [socket]);
        assert!(addresses("app.internal:80").known().is_none());
    }

    #[test]
    fn a_failure_keeps_the_last_good_answer() {
        let name = addresses("app.internal:80");
        assert!(name.set(vec![at(2), at(1), at(2)]));
        assert!(!name.set(vec![at(1), at(2)]), "the order is no news");
        assert_eq!((name.fail(), name.fail()), (1, 2));
        assert!(!name.set(Vec::new()));
        assert_eq!(*name.known().unwrap(), [tcp(1), tcp(2)]);
        name.set(vec![at(1)]);
        assert_eq!(name.fail(), 1, "they count in a row");
    }

    #[test]
    fn a_connection_is_at_home_for_as_long_as_its_address_is_named() {
        let name = addresses("app.internal:80");
        name.set(vec![at(1), at(2)]);
        let home = |peer| Home { peer, generation: name.generation() };
        let (mut one, mut two) = (home(tcp(1)), home(tcp(2)));
        name.set(vec![at(2), at(3)]);
        assert!(!name.has(&mut one) && name.has(&mut two));
        assert!(!name.has(&mut one), "asking again makes it no truer");
    }

    #[tokio::test]
    async fn who_waits_hears_the_answer_and_also_that_there_is_none() {
        let name = addresses("app.internal:80");
        let (known, _) = tokio::join!(name.resolved(), async { name.set(vec![at(1)]) });
        assert_eq!(*known.unwrap(), [tcp(1)]);
        let unknown = addresses("nowhere.internal:80");
        let (known, _) = tokio::join!(unknown.resolved(), async { unknown.fail() });
        assert!(known.is_none() && unknown.resolved().await.is_none());
    }
}
