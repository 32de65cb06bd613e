//! Builds tables and puts them in force; the only part of the control plane that does.

use std::{collections::HashSet, sync::Arc};

use super::{
    HandSplits,
    candidate::{Secrets, secret_file},
};
use crate::{
    config::{Config, model::Route},
    routing::{self, BuildError, Ingredients, Table, TablePublisher, TableView},
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
        Ok(Self { materials, tables: TablePublisher::new(first) })
    }

    /// The table for `config` with the splits of `hand`, going on from the one in force; nothing has changed yet.
    pub(super) fn build(
        &self,
        config: &Config,
        secrets: &Secrets,
        hand: &HandSplits,
    ) -> Result<Table, BuildError> {
        build(&self.materials, config, secrets, hand, Some(&self.tables.current()))
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

fn build(
    materials: &Materials,
    config: &Config,
    secrets: &Secrets,
    hand: &HandSplits,
    previous: Option<&Table>,
) -> Result<Table, BuildError> {
    let splits = hand.iter().map(|(route, hand)| (route.clone(), hand.split.clone())).collect();
    let mut secret = |route: &Route| match secret_file(route) {
        Some(file) => secrets.get(file).cloned().ok_or_else(|| "its key was not read".to_owned()),
        None => Ok(materials.cookie_secret.clone()),
    };
    let mut series = |route: &_, backend: &_| {
        materials.recorder.series(route, backend).map_err(|error| error.to_string())
    };
    let mut fallbacks = |route: &_, from: &_, to: &_| {
        materials.recorder.fallback(route, from, to).map_err(|error| error.to_string())
    };
    let ingredients = Ingredients {
        splits: &splits,
        secret: &mut secret,
        series: &mut series,
        fallbacks: &mut fallbacks,
        previous,
        workers: materials.workers,
    };
    routing::build(config, ingredients)
}

/// Lets `/metrics` show the counters of `table`, and no others.
fn show_series(recorder: &Recorder, table: &Table) {
    let targets = table.routes().iter().flat_map(|route| &route.targets);
    let live: HashSet<_> = targets.map(|target| target.series).collect();
    recorder.retain(&live);
}
