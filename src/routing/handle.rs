//! How a table gets from the one who writes it to the many who read it.
//!
//! The publisher is not `Clone`: weights have one owner. A worker checks one pointer per request and, when it has changed,
//! takes its own reference once; requests then share that through a count of the thread's own, so that no request writes
//! memory another worker reads.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    ops::Deref,
    rc::Rc,
    sync::Arc,
};

use arc_swap::{ArcSwap, Cache};

use super::{Affinity, Table};
use crate::{decision::sequence::Sequence, domain::RouteName};

/// The one writer of tables.
#[derive(Debug)]
pub struct TablePublisher {
    current: Arc<ArcSwap<Table>>,
}

impl TablePublisher {
    /// Publishes `first`.
    pub fn new(first: Table) -> Self {
        Self { current: Arc::new(ArcSwap::from_pointee(first)) }
    }

    /// Replaces the table; requests that begin after this returns see `next`.
    pub fn publish(&mut self, next: Table) {
        self.current.store(Arc::new(next));
    }

    /// The table in force.
    pub fn current(&self) -> Arc<Table> {
        self.current.load_full()
    }

    /// A handle for looking, on any thread.
    pub fn view(&self) -> TableView {
        TableView(self.current.clone())
    }
}

/// Looks at the table in force, away from a request's way.
#[derive(Debug, Clone)]
pub struct TableView(Arc<ArcSwap<Table>>);

impl TableView {
    /// The table in force.
    pub fn current(&self) -> Arc<Table> {
        self.0.load_full()
    }

    /// A worker's reader; stays on its thread.
    pub fn reader(&self) -> TableReader {
        let mut cache = Cache::new(self.0.clone());
        let local = LocalTable::new(cache.load().clone(), &HashMap::new());
        TableReader { cache, local }
    }
}

/// A worker's way to the table in force.
#[derive(Debug)]
pub struct TableReader {
    cache: Cache<Arc<ArcSwap<Table>>, Arc<Table>>,
    local: LocalTable,
}

impl TableReader {
    /// The table in force, to be used for one request from begin to end.
    pub fn load(&mut self) -> LocalTable {
        let current = self.cache.load();
        if !Arc::ptr_eq(current, &self.local.0.table) {
            self.local = LocalTable::new(current.clone(), &self.local.sequences_by_route());
        }
        self.local.clone()
    }
}

/// A table with what one worker remembers beside it.
#[derive(Debug, Clone)]
pub struct LocalTable(Rc<Local>);

#[derive(Debug)]
struct Local {
    table: Arc<Table>,
    /// One per route; `None` where a key decides.
    sequences: Box<[Option<Rc<RefCell<Sequence>>>]>,
    /// One per backend: whose turn it is, for round robin.
    turns: Box<[Cell<u64>]>,
}

impl LocalTable {
    fn new(table: Arc<Table>, known: &HashMap<RouteName, Rc<RefCell<Sequence>>>) -> Self {
        let sequence = |route: &Arc<super::Route>| match route.affinity {
            Affinity::None => Some(known.get(&route.name).cloned().unwrap_or_default()),
            Affinity::Cookie { .. }
            | Affinity::AppCookie { .. }
            | Affinity::Header { .. }
            | Affinity::ClientIp => None,
        };
        let sequences = table.routes().iter().map(sequence).collect();
        let turns = table.backends().iter().map(|_| Cell::new(0)).collect();
        Self(Rc::new(Local { table, sequences, turns }))
    }

    fn sequences_by_route(&self) -> HashMap<RouteName, Rc<RefCell<Sequence>>> {
        let named = self.0.table.routes().iter().zip(&self.0.sequences);
        named
            .filter_map(|(route, sequence)| Some((route.name.clone(), sequence.clone()?)))
            .collect()
    }

    /// The sequence of a route without affinity.
    pub fn sequence(&self, route: usize) -> Option<&RefCell<Sequence>> {
        self.0.sequences[route].as_deref()
    }

    /// Counts the turns of a backend.
    pub fn next_turn(&self, backend: usize) -> u64 {
        let turn = self.0.turns[backend].get();
        self.0.turns[backend].set(turn.wrapping_add(1));
        turn
    }
}

impl Deref for LocalTable {
    type Target = Table;
    fn deref(&self) -> &Table {
        &self.0.table
    }
}
