//! Builds tables and puts them in force; the only part of the control plane that does.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::{
    HandSplits,
    candidate::{Secrets, secret_file},
};
use crate::{
    config::{Config, model::Route},
    domain::{RouteName, Split},
    lifecycle::clock,
    routing::{self, BuildError, Ingredients, RolloutTraffic, Table, TablePublisher, TableView},
    telemetry::Recorder,
};

/// What tables are made of, whatever the configuration.
#[derive(Debug)]
pub(super) struct Materials {
    /// Key of cookies on routes without one of their own.
    pub(super) cookie_secret: Vec<u8>,
    pub(super) recorder: Arc<Recorder>,
    /// Data-plane threads.
    pub(super) workers: usize,
}

/// The owner of the table in force.
#[derive(Debug)]
pub(super) struct Publisher {
    materials: Materials,
    tables: TablePublisher,
    /// Routes that a rollout owns, and how.
    owned: BTreeMap<RouteName, RolloutTraffic>,
}

impl Publisher {
    /// Publishes the first table.
    pub(super) fn new(
        materials: Materials,
        config: &Config,
        secrets: &Secrets,
        hand: &HandSplits,
    ) -> Result<Self, BuildError> {
        let first = build(&materials, config, secrets, hand, None)?;
        show_series(&materials.recorder, &first);
        Ok(Self { materials, tables: TablePublisher::new(first), owned: BTreeMap::new() })
    }

    /// The table for `config` with the splits of `hand`, going on from the one in force; nothing has changed yet. Of the
    /// routes that rollouts own, those in `kept` stay theirs.
    pub(super) fn build(
        &self,
        config: &Config,
        secrets: &Secrets,
        hand: &HandSplits,
        kept: &HashSet<RouteName>,
    ) -> Result<Table, BuildError> {
        let table = build(&self.materials, config, secrets, hand, Some(&self.tables.current()))?;
        let mut owned = self.owned.iter().filter(|(name, _)| kept.contains(*name));
        owned.try_fold(table, |table, (name, traffic)| match place(&table, name) {
            Some(at) => table.with_rollout(at, traffic),
            None => Ok(table),
        })
    }

    /// Hands `route` to a rollout, or moves the traffic of the one that owns it; in force on return.
    ///
    /// # Errors
    /// [`BuildError`] when the route has gone, or a backend; nothing has changed then.
    pub(super) fn hand_over(
        &mut self,
        route: &RouteName,
        traffic: RolloutTraffic,
    ) -> Result<(), BuildError> {
        let table = self.tables.current();
        if let Some(at) = place(&table, route) {
            self.publish(table.with_rollout(at, &traffic)?);
        }
        self.owned.insert(route.clone(), traffic);
        Ok(())
    }

    /// Takes `route` back from its rollout, and splits it by `split`; in force on return.
    pub(super) fn take_back(&mut self, route: &RouteName, split: Split) {
        let table = self.tables.current();
        if self.owned.remove(route).is_some()
            && let Some(at) = place(&table, route)
        {
            self.publish(table.with_split(at, split));
        }
    }

    /// No longer holds `route` for its rollout; whoever has it now publishes its split.
    pub(super) fn forget(&mut self, route: &RouteName) {
        self.owned.remove(route);
    }

    /// Tables built from now on issue and know cookies by `secret`.
    pub(super) fn set_cookie_secret(&mut self, secret: Vec<u8>) {
        self.materials.cookie_secret = secret;
    }

    /// Puts `table` in force.
    pub(super) fn publish(&mut self, table: Table) {
        show_series(&self.materials.recorder, &table);
        self.tables.publish(table);
    }

    /// The table in force.
    pub(super) fn current(&self) -> Arc<Table> {
        self.tables.current()
    }

    /// For looking.
    pub(super) fn view(&self) -> TableView {
        self.tables.view()
    }
}

fn place(table: &Table, route: &RouteName) -> Option<usize> {
    table.routes().iter().position(|known| known.name == *route)
}

fn build(
    materials: &Materials,
    config: &Config,
    secrets: &Secrets,
    hand: &HandSplits,
    previous: Option<&Table>,
) -> Result<Table, BuildError> {
    let splits = hand.iter().map(|(route, hand)| (route.clone(), hand.split.clone())).collect();
    let mut secret = |route: &Route| match secret_file(route) {
        Some(file) => {
            secrets.cookies.get(file).cloned().ok_or_else(|| "its key was not read".to_owned())
        }
        None => Ok(materials.cookie_secret.clone()),
    };
    let mut series = |route: &_, backend: &_| {
        materials.recorder.series(route, backend).map_err(|error| error.to_string())
    };
    let mut fallbacks = |route: &_, from: &_, to: &_| {
        materials.recorder.fallback(route, from, to).map_err(|error| error.to_string())
    };
    let mut mirrors = |route: &_, backend: &_| {
        materials.recorder.mirror(route, backend).map_err(|error| error.to_string())
    };
    let ingredients = Ingredients {
        splits: &splits,
        secret: &mut secret,
        series: &mut series,
        fallbacks: &mut fallbacks,
        mirrors: &mut mirrors,
        previous,
        pages: &secrets.pages,
        tls: &secrets.tls,
        workers: materials.workers,
        now: clock::now(),
    };
    routing::build(config, ingredients)
}

/// Lets `/metrics` show the counters of `table`, and no others.
fn show_series(recorder: &Recorder, table: &Table) {
    let targets = table.routes().iter().flat_map(|route| &route.targets);
    let mirrors = table.routes().iter().filter_map(|route| route.mirror.as_ref());
    let live = targets.map(|target| target.series).chain(mirrors.map(|mirror| mirror.series));
    let live: HashSet<_> = live.collect();
    recorder.retain(&live);
}
