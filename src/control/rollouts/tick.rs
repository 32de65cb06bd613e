//! Ten times a second: counters and the time go into each rollout's machine, and what it wants is done.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::{self, FutureExt as _};

use super::{drive::Drive, process_meter::ProcessLoad};
use crate::{
    control::{Controller, checks::RunningChecks},
    decision::{judge::Sample, rollout::Phase},
    domain::{BackendName, MirrorDepth, Moment, Queue, RolloutName},
    lifecycle::clock,
    routing::{Guard, Table},
    telemetry::{Event, EventKind, Recorder},
};

/// Time between two looks at the evidence.
pub(in crate::control) const TICK: Duration = Duration::from_millis(100);

impl Controller {
    /// Whether any rollout has to be looked at.
    pub(in crate::control) fn has_busy_rollouts(&self) -> bool {
        self.drives.values().any(Drive::is_busy)
    }

    /// Looks at every rollout that is under way.
    pub(in crate::control) fn tick_rollouts(&mut self) {
        let busy = self.drives.iter().filter(|(_, drive)| drive.is_busy());
        let names: Vec<_> = busy.map(|(name, _)| name.clone()).collect();
        for name in &names {
            self.tick_rollout(name);
        }
        if !names.is_empty() {
            self.show_rollouts();
        }
    }

    fn tick_rollout(&mut self, name: &RolloutName) {
        let begins = |drive: &&Drive| matches!(drive.state().phase, Phase::Idle);
        if let Some(drive) = self.drives.get(name).filter(begins)
            && (self.rival(name).is_some()
                || self.ladder_in_the_way(name, &drive.plan().route).is_some())
        {
            return;
        }
        self.begin_checks(name);
        let now = clock::now();
        let table = self.publisher.current();
        let load = self.process.load();
        let external = self.outside.metrics.read(now);
        let external =
            external.into_iter().filter_map(|(name, reading)| Some((name, reading.value.ok()?)));
        let external: BTreeMap<_, _> = external.collect();
        let Some(drive) = self.drives.get_mut(name) else { return };
        let sample = Sample { external, ..drive.observe(&self.recorder, &table, load) };
        let idle = !drive.state().phase.is_running();
        let effects = drive.engine.tick(now, &sample);
        if idle && drive.state().phase.is_running() {
            let config = self.config.borrow().clone();
            self.begin_run(name, &config);
        }
        self.carry_out(name, effects);
        self.tend_checks(name);
        self.tend_lease(name);
        self.sample(name, now);
        self.tell_last_byte(name, now);
    }

    fn sample(&mut self, name: &RolloutName, now: Moment) {
        let Some(drive) = self.drives.get_mut(name) else { return };
        if !drive.state().phase.is_running() {
            return;
        }
        let baseline = self.recorder.totals(drive.baseline.series);
        let canary = self.recorder.totals(drive.canary.series);
        let weight = drive.state().weight().unwrap_or_default();
        let taken = drive.sampler.take(now, clock::wall_millis(), weight, (&baseline, &canary));
        if let Some(sample) = taken
            && !self.store.keep_sample(name.clone(), drive.number, sample)
        {
            self.recorder.overflow(Queue::State);
        }
    }

    /// Says when the last byte of a canary that was called back has gone out.
    fn tell_last_byte(&mut self, name: &RolloutName, now: Moment) {
        let Some(drive) = self.drives.get_mut(name) else { return };
        let Some(recalled_at) = drive.recalled_at else { return };
        if drive.guard.in_flight() > 0 {
            return;
        }
        drive.recalled_at = None;
        let canary = &drive.plan().canary;
        let message = match drive.guard.last_byte().filter(|last| *last > recalled_at) {
            Some(last) => format!(
                "the last byte from {canary} went out {} ms after all traffic was called back",
                last.since(recalled_at).as_millis()
            ),
            None => {
                format!("no request was under way at {canary} when all traffic was called back")
            }
        };
        let age_ms = u64::try_from(now.since(recalled_at).as_millis()).unwrap_or(0);
        let at_ms =
            clock::wall_millis().saturating_sub(drive.guard.last_byte().map_or(0, |last| {
                u64::try_from(now.since(last).as_millis()).unwrap_or(0).min(age_ms)
            }));
        self.audit.keep(Event::new(EventKind::RolloutLastByte, at_ms, name.as_str(), message));
    }

    /// Ends when the data plane calls: a canary failed so often in a row, or its budget is spent.
    pub(in crate::control) fn alarm(&self) -> impl Future<Output = ()> + use<> {
        let running = self.drives.values().filter(|drive| drive.state().phase.is_running());
        let guards: Vec<Arc<Guard>> = running.map(|drive| drive.guard.clone()).collect();
        async move {
            if guards.is_empty() {
                return future::pending().await;
            }
            let calls = guards.iter().map(|guard| guard.alarmed().boxed());
            future::select_all(calls).await;
        }
    }
}

impl Drive {
    /// Whether answers of the canary are compared with the baseline's before clients see any.
    fn is_mirrored(&self, table: &Table) -> bool {
        let plan = self.plan();
        let route = table.routes().iter().find(|route| route.name == plan.route);
        route.and_then(|route| route.mirror.as_ref()).is_some_and(|mirror| {
            let compares = mirror.rules.compare > MirrorDepth::Off;
            compares && mirror.rules.to == plan.canary
        })
    }

    /// What is measured at this moment.
    fn observe(&self, recorder: &Recorder, table: &Table, load: ProcessLoad) -> Sample {
        let healthy = |name: &BackendName| {
            let backend = table.backends().iter().find(|backend| backend.name == *name)?;
            Some(backend.usable(clock::now()) as u64)
        };
        Sample {
            canary: recorder.totals(self.canary.judged),
            baseline: recorder.totals(self.baseline.judged),
            failures_in_a_row: self.guard.failures_in_row().into(),
            canary_endpoints: healthy(&self.plan().canary),
            baseline_endpoints: healthy(&self.plan().baseline),
            checks_failed: self.during.as_ref().map_or(Some(0), RunningChecks::failed),
            is_mirrored: self.is_mirrored(table),
            process_memory: load.memory_bytes,
            process_cpu: load.cpu_share,
            external: BTreeMap::new(),
            spent: self.spent(),
        }
    }
}
