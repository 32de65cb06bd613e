//! Resolves the names of endpoints again and again, so that nobody looks one up on a request's way.
//!
//! The system's resolver does the work (files, DNS, search domains), all A and AAAA records are used. A look-up that fails
//! keeps the last good answer; the second one in a row is an event, and so is the first one that works again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{net::lookup_host, sync::Semaphore, task::AbortHandle};

use crate::{
    config::Config,
    domain::{BackendName, Location},
    lifecycle::{Tasks, clock},
    routing::{Endpoint, EndpointId, Table},
    telemetry::{Event, EventKind, EventSink},
};

/// Look-ups at once: each holds a thread.
const AT_ONCE: usize = 16;

/// One look-up.
const PATIENCE: Duration = Duration::from_secs(5);

/// After a failed look-up the next one comes no later than this.
const RETRY: Duration = Duration::from_secs(1);

/// Names of endpoints under watch; cheap to clone.
#[derive(Debug, Clone)]
pub struct Resolver(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    tasks: Tasks,
    events: EventSink,
    turns: Semaphore,
    running: Mutex<HashMap<EndpointId, Running>>,
}

/// A name and the task that resolves it, which ends with this value.
#[derive(Debug)]
struct Running {
    every: Duration,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Resolver {
    /// No names yet.
    pub(super) fn new(tasks: Tasks, events: EventSink) -> Self {
        let turns = Semaphore::new(AT_ONCE);
        Self(Arc::new(Shared { tasks, events, turns, running: Mutex::default() }))
    }

    /// Resolves the names in `table` as `config` has it from now on, and no others. Needs a runtime.
    pub(super) fn configure(&self, config: &Config, table: &Table) {
        let mut wanted = HashMap::new();
        for backend in table.backends() {
            let known = config.backends.iter().find(|known| known.name == backend.name);
            let Some(every) = known.map(|known| known.resolve_every) else { continue };
            let named = backend.endpoints.iter().filter(|endpoint| endpoint.address().is_name());
            wanted.extend(named.map(|e| (e.id(), (backend.name.clone(), e.clone(), every))));
        }
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|id, now| wanted.get(id).is_some_and(|(_, _, every)| *every == now.every));
        for (id, (backend, endpoint, every)) in wanted {
            running.entry(id).or_insert_with(|| self.run(backend, endpoint, every));
        }
    }

    fn run(&self, backend: BackendName, endpoint: Arc<Endpoint>, every: Duration) -> Running {
        let shared = self.0.clone();
        let make = move || resolve(shared.clone(), backend.clone(), endpoint.clone(), every);
        Running { every, task: self.0.tasks.keep("resolver", make).abort_handle() }
    }
}

/// Resolves one name for ever.
async fn resolve(
    shared: Arc<Shared>,
    backend: BackendName,
    endpoint: Arc<Endpoint>,
    every: Duration,
) {
    let mut failures = 0_u32;
    let mut told = false;
    loop {
        let begun = clock::now();
        let found = look_up(&shared, &endpoint).await;
        failures = if found.is_ok() { 0 } else { failures.saturating_add(1) };
        let next = if failures == 0 { every } else { every.min(RETRY) };
        // One lost packet is no news, unless nothing else is known.
        let is_news = failures > 1 || endpoint.addresses().known().is_none();
        if told == found.is_ok() && (told || is_news) {
            told = !told;
            let subject = format!("{backend}/{}", endpoint.address());
            shared.events.report(news(subject, &endpoint, found));
        }
        clock::sleep_until(begun + next).await;
    }
}

async fn look_up(shared: &Shared, endpoint: &Endpoint) -> Result<(), String> {
    let address = endpoint.address();
    let Location::Network { host, port } = address.location() else { return Ok(()) };
    let found = {
        let _turn = shared.turns.acquire().await;
        match tokio::time::timeout(PATIENCE, lookup_host((host, port))).await {
            Ok(Ok(found)) => Ok(found.collect::<Vec<_>>()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        }
    };
    let found = found.and_then(|found| match found.is_empty() {
        true => Err("the name has no address".to_owned()),
        false => Ok(found),
    });
    match found {
        Ok(found) => {
            if endpoint.addresses().set(found) {
                tracing::debug!(endpoint = %address, "its name has other addresses now");
            }
            Ok(())
        }
        Err(why) => {
            endpoint.addresses().fail();
            Err(why)
        }
    }
}

fn news(subject: String, endpoint: &Endpoint, found: Result<(), String>) -> Event {
    let (kind, message) = match (found, endpoint.addresses().known()) {
        (Ok(()), known) => {
            let count = known.map_or(0, |known| known.len());
            let message = format!("the name is resolved again, to {count} addresses");
            (EventKind::ResolveRecovered, message)
        }
        (Err(why), Some(known)) => {
            let count = known.len();
            let message = format!("{why}; the last good answer, {count} addresses, stays in use");
            (EventKind::ResolveFailed, message)
        }
        (Err(why), None) => {
            (EventKind::ResolveFailed, format!("{why}; no address is known, so requests fail"))
        }
    };
    Event::new(kind, clock::wall_millis(), subject, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{routing::Peer, telemetry::Recorder};

    fn shared() -> (Arc<Shared>, tokio::sync::mpsc::Receiver<Event>) {
        let (events, inbox) = EventSink::new(Arc::new(Recorder::new(1)));
        (Resolver::new(Tasks::new(|failure| panic!("{failure}")), events).0, inbox)
    }

    #[tokio::test]
    async fn a_name_gets_its_addresses_and_one_that_fails_is_told_once() {
        let (shared, mut inbox) = shared();
        let resolver = Resolver(shared);
        let local = Arc::new(Endpoint::new("localhost:80".parse().unwrap(), 1));
        let nowhere = Arc::new(Endpoint::new("nowhere.invalid:80".parse().unwrap(), 1));
        let backend = BackendName::new("blue").unwrap();
        let every = Duration::from_millis(5);
        let _local = resolver.run(backend.clone(), local.clone(), every);
        let known = local.addresses().resolved().await.unwrap();
        let local = |peer: &Peer| match peer {
            Peer::Tcp(address) => address.ip().is_loopback() && address.port() == 80,
            Peer::Unix(_) => false,
        };
        assert!(known.iter().all(local));

        let _nowhere = resolver.run(backend, nowhere.clone(), every);
        assert!(nowhere.addresses().resolved().await.is_none());
        let event = inbox.recv().await.unwrap();
        assert_eq!(event.kind, EventKind::ResolveFailed);
        assert_eq!(event.subject, "blue/nowhere.invalid:80");
        // Later look-ups fail alike, and are no news.
        while nowhere.addresses().fail() < 5 {
            tokio::time::sleep(every).await;
        }
        assert!(inbox.try_recv().is_err());
    }
}
