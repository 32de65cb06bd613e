//! How a table gets from the one who writes it to the many who read it.
//!
//! The publisher is not `Clone`: weights have one owner. A worker checks one pointer per request and, when it has changed,
//! takes its own reference once; requests then share that through a count of the thread's own, so that no request writes
//! memory another worker reads.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
    ops::Deref,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use arc_swap::{ArcSwap, Cache};

use super::{Allowance, Bell, RetryAllowance, Route, Table};
use crate::{
    decision::sequence::Sequence,
    domain::{Moment, RouteName},
};

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
        let reader = TableReader { cache, local, bell: Bell::default() };
        reader.listen();
        reader
    }
}

/// A worker's way to the table in force.
#[derive(Debug)]
pub struct TableReader {
    cache: Cache<Arc<ArcSwap<Table>>, Arc<Table>>,
    local: LocalTable,
    bell: Bell,
}

impl TableReader {
    /// The table in force, to be used for one request from begin to end.
    pub fn load(&mut self) -> LocalTable {
        let current = self.cache.load();
        if !Arc::ptr_eq(current, &self.local.0.table) {
            self.local = LocalTable::new(current.clone(), &self.local.sequences_by_route());
            self.listen();
        }
        self.local.clone()
    }

    /// Rings when a rollout whose table was loaded here is recalled.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    fn listen(&self) {
        let rollouts = self.local.routes().iter().filter_map(|route| route.rollout.as_ref());
        rollouts.for_each(|rollout| rollout.guard.listen(&self.bell));
    }
}

/// A table with what one worker remembers beside it.
#[derive(Debug, Clone)]
pub struct LocalTable(Rc<Local>);

#[derive(Debug)]
struct Local {
    table: Arc<Table>,
    /// One per route, made when a request comes that no key decides.
    sequences: Box<[OnceCell<Rc<RefCell<Sequence>>>]>,
    /// One per route: how many more fallbacks it may have. Begins anew with each table, which comes seldom.
    allowances: Box<[Allowance]>,
    /// One per route: how many more retries it may have.
    retries: Box<[RetryAllowance]>,
    /// One per backend: whose turn it is, for round robin.
    turns: Box<[Cell<u64>]>,
    /// One per backend: requests under way at the other workers, and when that was added up.
    others: Box<[Cell<(u32, Moment)>]>,
}

impl LocalTable {
    fn new(table: Arc<Table>, known: &HashMap<RouteName, Rc<RefCell<Sequence>>>) -> Self {
        let sequence = |route: &Arc<Route>| match known.get(&route.name) {
            Some(sequence) => OnceCell::from(sequence.clone()),
            None => OnceCell::new(),
        };
        let backends = table.backends().len();
        Self(Rc::new(Local {
            sequences: table.routes().iter().map(sequence).collect(),
            allowances: table.routes().iter().map(|_| Allowance::default()).collect(),
            retries: table.routes().iter().map(|_| RetryAllowance::default()).collect(),
            turns: vec![Cell::new(0); backends].into(),
            others: vec![Cell::new((0, Moment::default())); backends].into(),
            table,
        }))
    }

    fn sequences_by_route(&self) -> HashMap<RouteName, Rc<RefCell<Sequence>>> {
        let named = self.0.table.routes().iter().zip(&self.0.sequences);
        named.filter_map(|(route, cell)| Some((route.name.clone(), cell.get()?.clone()))).collect()
    }

    /// The sequence of a route, for requests that no key decides.
    pub fn sequence(&self, route: usize) -> &RefCell<Sequence> {
        self.0.sequences[route].get_or_init(Rc::default)
    }

    /// How many more fallbacks a route may have.
    pub fn allowance(&self, route: usize) -> &Allowance {
        &self.0.allowances[route]
    }

    /// How many more retries a route may have.
    pub fn retries(&self, route: usize) -> &RetryAllowance {
        &self.0.retries[route]
    }

    /// Whether the backend may take one more request from `worker`.
    ///
    /// The limit is one for all workers. Their counts are added up for each request where it is small; where it is large,
    /// once a millisecond, so that a request reads no memory that other workers write.
    pub fn has_room(&self, backend: usize, worker: usize, now: Moment) -> bool {
        const SMALL: u32 = 128;
        const FRESH: Duration = Duration::from_millis(1);
        let live = &self.0.table.backends()[backend];
        let own = live.in_flight.of(worker);
        let (mut others, mut at) = self.0.others[backend].get();
        if live.max_in_flight <= SMALL || now.since(at) >= FRESH {
            (others, at) = (live.in_flight.total().saturating_sub(own), now);
            self.0.others[backend].set((others, at));
        }
        own.saturating_add(others) < live.max_in_flight
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
