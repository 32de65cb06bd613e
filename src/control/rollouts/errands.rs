//! Hooks and checks: begun when the machine asks for them, reported when they end.
//!
//! They run as tasks of their own. What they wait for holds up a move forward at most, never a rollback.

use super::{
    carry::{MoveAnswer, Reply, Word},
    drive::Drive,
    ladder::Ladder,
};
use crate::{
    config::model::{Check, Hook, Rollout},
    control::{
        Controller,
        checks::{CheckTargets, RunningChecks, run_stage},
        hooks::{HookContext, run_hooks},
        preflight::{self, Subject},
        report::{CheckRun, HookRun},
    },
    decision::rollout::Errand,
    domain::{CheckResult, CheckStage, HookPoint, HookResult, RolloutName},
    lifecycle::clock,
    telemetry::{Event, EventKind},
};

/// Hooks of one point; the configuration allows fewer.
const MAX_HOOKS: usize = 1_024;
/// Of what a hook wrote, so many bytes go into the audit trail.
const TOLD_OUTPUT: usize = 2 << 10;

impl Controller {
    /// Begins an errand; when there is nothing to be done, gives its end at once.
    pub(super) fn run_errand(&mut self, name: &RolloutName, errand: Errand) -> Option<MoveAnswer> {
        let written = self.written(name);
        match errand {
            Errand::Checks(stage) => {
                let (checks, hooks) =
                    written.map(|rollout| (rollout.checks, rollout.hooks)).unwrap_or_default();
                self.run_checks(name, stage, checks, hooks)
            }
            Errand::Hooks { point, step } => {
                let hooks = written.map(|rollout| rollout.hooks).unwrap_or_default();
                if hooks.iter().any(|hook| hook.point == point) {
                    self.spawn_hooks(name, hooks, point, step, Some(errand));
                    return None;
                }
                Some(MoveAnswer::Done { errand, passed: true, detail: String::new() })
            }
        }
    }

    /// Calls the hooks of a point; nothing waits for them.
    pub(super) fn call_hooks(&mut self, name: &RolloutName, point: HookPoint) {
        let hooks = self.written(name).map(|rollout| rollout.hooks).unwrap_or_default();
        if point == HookPoint::Rollback
            && let Some(drive) = self.drives.get_mut(name)
        {
            let route = drive.plan().route.clone();
            drive.ladder = Some(Ladder::of(route, &hooks, clock::now()));
        }
        if hooks.iter().any(|hook| hook.point == point) {
            self.spawn_hooks(name, hooks, point, None, None);
        }
    }

    /// Its section in the file, or the one that the file had last.
    fn written(&self, name: &RolloutName) -> Option<Rollout> {
        let config = self.config.borrow();
        let written = config.rollouts.iter().find(|known| known.plan.name == *name);
        written.or_else(|| self.drives.get(name)?.written.as_ref()).cloned()
    }

    fn run_checks(
        &mut self,
        name: &RolloutName,
        stage: CheckStage,
        checks: Vec<Check>,
        hooks: Vec<Hook>,
    ) -> Option<MoveAnswer> {
        let errand = Errand::Checks(stage);
        let drive = self.drives.get(name)?;
        let before_start = if stage == CheckStage::Pre { self.own_handle() } else { None };
        if before_start.is_none() && !checks.iter().any(|check| check.stages.contains(&stage)) {
            return Some(MoveAnswer::Done { errand, passed: true, detail: String::new() });
        }
        let plan = drive.plan().clone();
        let targets = CheckTargets::of(
            &plan,
            &self.config.borrow(),
            &self.publisher.current(),
            self.standing.borrow().listener,
        );
        let (number, rollout) = (drive.number, name.clone());
        let (replies, outbound) = (self.replies.clone(), self.outside.outbound.clone());
        self.outside.tasks.spawn("rollout checks", async move {
            let results = match before_start {
                Some(handle) => {
                    let subject = Subject { plan: &plan, checks: &checks, hooks: &hooks };
                    preflight::before_start(subject, &handle).await
                }
                None => run_stage(&checks, stage, &targets, &outbound).await,
            };
            let failed: Vec<_> = results
                .iter()
                .filter(|result| result.counts_as_failed())
                .map(|result| format!("{}: {}", result.name, result.detail))
                .collect();
            let (passed, detail) = (failed.is_empty(), failed.join("; "));
            let done = MoveAnswer::Done { errand, passed, detail };
            let words = results.into_iter().map(Word::Checked).chain([Word::Answer(done)]);
            for word in words {
                // Without a receiver the process is ending.
                let _ = replies.send(Reply { rollout: rollout.clone(), number, word }).await;
            }
        });
        None
    }

    /// Calls hooks one after the other; the end of `errand`, if there is one, is told at the end.
    fn spawn_hooks(
        &mut self,
        name: &RolloutName,
        hooks: Vec<Hook>,
        point: HookPoint,
        step: Option<usize>,
        errand: Option<Errand>,
    ) {
        let Some(drive) = self.drives.get(name) else { return };
        let context = drive.hook_context(step);
        let (number, rollout) = (drive.number, name.clone());
        let (replies, outbound) = (self.replies.clone(), self.outside.outbound.clone());
        let running = self.hooks.clone();
        self.outside.tasks.spawn("rollout hooks", async move {
            let _running = running;
            let (told, mut results) = tokio::sync::mpsc::channel(MAX_HOOKS);
            let mut failed = String::new();
            let calls = async {
                let told = told;
                run_hooks(&hooks, point, &context, &outbound, |result| {
                    // There is room for each of them.
                    let _ = told.try_send(result);
                })
                .await
            };
            let passing_on = async {
                while let Some(result) = results.recv().await {
                    if result.holds() {
                        failed = format!("{}: {}", result.name, result.detail);
                    }
                    let word = Word::Called(result);
                    let _ = replies.send(Reply { rollout: rollout.clone(), number, word }).await;
                }
            };
            let (holds, ()) = futures_util::future::join(calls, passing_on).await;
            if let Some(errand) = errand {
                let done = MoveAnswer::Done { errand, passed: !holds, detail: failed };
                let word = Word::Answer(done);
                let _ = replies.send(Reply { rollout, number, word }).await;
            }
        });
    }

    /// Keeps how a hook ended.
    pub(super) fn note_hook(&mut self, name: &RolloutName, result: HookResult) {
        let is_rung = result.point == HookPoint::Rollback;
        let run = self.tell_hook(name, result);
        if let Some(drive) = self.drives.get_mut(name) {
            drive.log.remember_hook(run);
            if let Some(ladder) = drive.ladder.as_mut().filter(|_| is_rung) {
                ladder.rung_ended(clock::now());
            }
        }
        self.checkpoint(name);
        if is_rung {
            self.drop_forgotten();
        }
    }

    /// Tells how a hook ended.
    pub(super) fn tell_hook(&mut self, name: &RolloutName, result: HookResult) -> HookRun {
        let how = if result.ok { "done" } else { "FAILED" };
        let level = result.level.map_or_else(String::new, |level| format!(" of level {level}"));
        let message = format!(
            "hook {}{level} at {}: {how} after {:.1} s of {:.0} s: {}",
            result.name,
            result.point.label(),
            result.took.as_secs_f64(),
            result.budget.as_secs_f64(),
            result.detail
        );
        let run = HookRun {
            name: result.name,
            on: result.point.label().to_owned(),
            level: result.level.unwrap_or(0),
            ok: result.ok,
            took_ms: millis(result.took),
            budget_ms: millis(result.budget),
            output: ending(&result.output),
        };
        let event = Event::new(EventKind::HookEnded, clock::wall_millis(), name.as_str(), message);
        self.audit.keep(event.with_change(None, serde_json::to_value(&run).ok()));
        run
    }

    /// Keeps how a check ended.
    pub(super) fn note_check(&mut self, name: &RolloutName, result: CheckResult) {
        let how = if result.passed { "passed" } else { "FAILED" };
        let message = format!(
            "check {} of stage {}: {how} after {} ms: {}",
            result.name,
            result.stage.label(),
            result.took.as_millis(),
            result.detail
        );
        let run = check_run(result);
        let event = Event::new(EventKind::CheckEnded, clock::wall_millis(), name.as_str(), message);
        self.audit.keep(event.with_change(None, serde_json::to_value(&run).ok()));
        if let Some(drive) = self.drives.get_mut(name) {
            drive.log.remember_check(run);
        }
    }

    /// Begins with the checks of the stage `during` where the canary has come to a step; before the first look at it, which
    /// then knows that they have not run yet.
    pub(super) fn begin_checks(&mut self, name: &RolloutName) {
        let begins =
            |drive: &&Drive| drive.during.is_none() && drive.state().phase.stay().is_some();
        if self.drives.get(name).filter(begins).is_none() {
            return;
        }
        let checks = self.written(name).map(|rollout| rollout.checks).unwrap_or_default();
        let Some(drive) = self.drives.get_mut(name) else { return };
        let targets = CheckTargets::of(
            drive.plan(),
            &self.config.borrow(),
            &self.publisher.current(),
            self.standing.borrow().listener,
        );
        let whom = (&targets, &self.publisher.view());
        let (tasks, outbound) = (&self.outside.tasks, &self.outside.outbound);
        drive.during = Some(RunningChecks::start(&checks, whom, tasks, outbound));
    }

    /// Keeps what changes in the checks of the stage `during`, which end when the canary has traffic no longer.
    pub(super) fn tend_checks(&mut self, name: &RolloutName) {
        let Some(drive) = self.drives.get_mut(name) else { return };
        if drive.state().phase.stay().is_none() {
            drive.during = None;
            return;
        }
        let results = drive.during.as_ref().map(RunningChecks::results).unwrap_or_default();
        let news: Vec<_> = results.into_iter().filter(|result| drive.log.is_news(result)).collect();
        for result in news {
            self.note_check(name, result);
        }
    }
}

impl Drive {
    fn hook_context(&self, step: Option<usize>) -> HookContext {
        let (plan, state) = (self.plan(), self.state());
        let planned = step.and_then(|step| plan.steps.get(step));
        HookContext {
            rollout: plan.name.clone(),
            route: plan.route.clone(),
            baseline: plan.baseline.clone(),
            canary: plan.canary.clone(),
            step: planned.map(|step| &step.name).or(state.step_name()).map(ToString::to_string),
            weight: planned.map_or(state.weight().unwrap_or_default(), |step| step.weight),
            reason: self.log.because.clone(),
        }
    }
}

fn check_run(result: CheckResult) -> CheckRun {
    CheckRun {
        name: result.name,
        category: result.category.label().to_owned(),
        stage: result.stage.label().to_owned(),
        ok: result.passed,
        detail: result.detail,
        took_ms: millis(result.took),
    }
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The end of a long text: it says how it went.
fn ending(text: &str) -> String {
    let from = text.len().saturating_sub(TOLD_OUTPUT);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[from..].to_owned()
}
