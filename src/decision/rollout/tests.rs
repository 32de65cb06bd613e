//! The machine, held against every input in every phase; `lives` has random ones.

mod engine;
mod lives;

use std::time::Duration;

use super::*;
use crate::domain::{
    CheckStage, HookPoint, Verdict, Weight,
    plan::{Limit, OnFailure, OnThinTraffic, Span, tests::plan},
    verdict::{Cause, CauseKind, Lack},
};

const MINUTE: Duration = Duration::from_mins(1);

fn cause() -> Cause {
    Cause::new(CauseKind::Rule, "error_rate > 10%")
}

fn tick(elapsed: Duration, verdict: Verdict) -> Input {
    Input::Tick { elapsed, verdict }
}

fn command(verb: Verb) -> Input {
    Input::Command(Command { verb, actor: "uid:1000".into(), reason: "because".into() })
}

fn weights(effects: &[Effect]) -> Vec<Weight> {
    let weight = |effect: &Effect| {
        if let Effect::SetWeight(weight) = effect { Some(*weight) } else { None }
    };
    effects.iter().filter_map(weight).collect()
}

fn news(effects: &[Effect]) -> Vec<NewsKind> {
    let kind =
        |effect: &Effect| if let Effect::Tell(news) = effect { Some(news.kind) } else { None };
    effects.iter().filter_map(kind).collect()
}

/// Carries out what a machine asks for, as a world in which everything goes well.
fn go_well(state: &mut State, effects: Vec<Effect>) -> Vec<Effect> {
    let mut all = effects.clone();
    let mut open = effects;
    while !open.is_empty() {
        let mut next = Vec::new();
        for effect in open {
            next.extend(match effect {
                Effect::Persist { ticket, .. } => state.step(Input::Persisted(ticket)).unwrap(),
                Effect::Run(errand) => {
                    let done = Input::Done { errand, passed: true, detail: String::new() };
                    state.step(done).unwrap()
                }
                Effect::SetWeight(_)
                | Effect::RecallCanary
                | Effect::Checkpoint
                | Effect::CallHooks(_)
                | Effect::Tell(_) => Vec::new(),
            });
        }
        all.extend(next.clone());
        open = next;
    }
    all
}

fn well(state: &mut State, input: Input) -> Vec<Effect> {
    let effects = state.step(input).unwrap();
    go_well(state, effects)
}

/// A rollout at its first step.
fn baking() -> State {
    let mut state = State::idle(plan());
    well(&mut state, command(Verb::Start));
    assert_eq!(state.phase, Phase::Baking(Stay::at(0)));
    state
}

fn gated() -> State {
    let mut state = baking();
    state.plan.steps[0].gate = true;
    well(&mut state, tick(10 * MINUTE, Verdict::Pass));
    assert!(matches!(state.phase, Phase::AwaitingGate(_)));
    state
}

fn holding() -> State {
    let mut state = baking();
    well(&mut state, tick(10 * MINUTE, Verdict::Inconclusive(Lack::Criteria)));
    assert!(matches!(state.phase, Phase::Holding { why: Hold::Lack(Lack::Criteria), .. }));
    state
}

fn paused() -> State {
    let mut state = baking();
    well(&mut state, command(Verb::Pause));
    state
}

fn ended(phase: Phase) -> State {
    State { phase, ..baking() }
}

/// One state of each phase.
fn every_phase() -> Vec<State> {
    let mut checking = State::idle(plan());
    checking.step(command(Verb::Start)).unwrap();
    vec![
        State::idle(plan()),
        checking,
        baking(),
        holding(),
        gated(),
        paused(),
        ended(Phase::Promoted),
        ended(Phase::RolledBack { cause: cause(), step: Some(0) }),
        ended(Phase::Failed { cause: cause() }),
    ]
}

fn every_input() -> Vec<(&'static str, Input)> {
    let errand = Errand::Checks(CheckStage::Pre);
    let done = |passed| Input::Done { errand, passed, detail: "x".into() };
    let mut inputs = vec![
        ("pass", tick(MINUTE, Verdict::Pass)),
        ("lack", tick(MINUTE, Verdict::Inconclusive(Lack::Criteria))),
        ("fail", tick(MINUTE, Verdict::Fail(cause()))),
        ("done", done(true)),
        ("not done", done(false)),
        ("persisted", Input::Persisted(Ticket(1_000))),
        ("not persisted", Input::PersistFailed { ticket: Ticket(1_000), why: "full".into() }),
        ("restarted", Input::Restarted),
    ];
    inputs.extend(Verb::ALL.map(|verb| (verb.word(), command(verb))));
    inputs
}

/// The phase after each input in each phase, by its letter: Idle, Checking, Baking, Holding, at a Gate, pauSed, Promoted,
/// Rolled back, Failed; `-` where a command is refused.
const GRID: &[(&str, &str)] = &[
    // pass, lack, fail, done, not done, persisted, not persisted, restarted;
    // start, pause, resume, advance, promote, rollback
    ("idle", "IIIIIIII C-----"),
    ("checking", "CCFCFCCC -----R"),
    ("baking", "BBRBBBBB -S-HBR"),
    ("holding", "HHRHHHHH -S-HHR"),
    ("awaiting_gate", "GGRGGGGG -S-HGR"),
    ("paused", "SSRSSSSS --B-SR"),
    ("promoted", "PPPPPPPP -----R"),
    ("rolled_back", "RRRRRRRR C-----"),
    ("failed", "FFFFFFFF C-----"),
];

const fn letter(phase: &Phase) -> char {
    match phase {
        Phase::Idle => 'I',
        Phase::Checking { .. } => 'C',
        Phase::Baking(_) => 'B',
        Phase::Holding { .. } => 'H',
        Phase::AwaitingGate(_) => 'G',
        Phase::Paused { .. } => 'S',
        Phase::Promoted => 'P',
        Phase::RolledBack { .. } => 'R',
        Phase::Failed { .. } => 'F',
    }
}

#[test]
fn every_input_in_every_phase() {
    let phases = every_phase();
    assert_eq!(phases.len(), Phase::LABELS.len());
    for (state, (phase, expected)) in phases.into_iter().zip(GRID) {
        assert_eq!(state.phase.label(), *phase);
        let expected = expected.chars().filter(|letter| *letter != ' ');
        for ((name, input), expected) in every_input().into_iter().zip(expected) {
            let place = format!("{name} in {phase}");
            let (mut after, is_command) = (state.clone(), matches!(input, Input::Command(_)));
            let found = match after.step(input) {
                Ok(effects) => {
                    let most = state.weight().unwrap_or(Weight::FULL);
                    let raised = weights(&effects).iter().any(|weight| *weight > most);
                    assert!(!raised, "{place} raises a weight without waiting");
                    letter(&after.phase)
                }
                Err(refused) => {
                    assert!(is_command, "{place} is refused");
                    assert_eq!(after, state, "{place} changed something");
                    assert_eq!(refused.fits, state.fitting(), "{place}");
                    '-'
                }
            };
            assert_eq!(found, expected, "{place}");
        }
    }
}

#[test]
fn a_healthy_canary_is_promoted() {
    let mut state = baking();
    assert_eq!(state.weight(), Weight::from_basis_points(1_000));
    well(&mut state, tick(9 * MINUTE, Verdict::Pass));
    assert_eq!(state.left(), Some(MINUTE));
    well(&mut state, tick(MINUTE, Verdict::Pass));
    let told = well(&mut state, tick(Duration::ZERO, Verdict::Pass));
    let told = [told, well(&mut state, tick(Duration::ZERO, Verdict::Pass))].concat();
    assert_eq!(weights(&told), [Weight::FULL], "{told:?}");
    assert_eq!(news(&told), [NewsKind::Advanced]);
    let mut told = well(&mut state, tick(10 * MINUTE, Verdict::Pass));
    for _ in 0..3 {
        told.extend(well(&mut state, tick(Duration::ZERO, Verdict::Pass)));
    }
    assert_eq!(state.phase, Phase::Promoted);
    assert_eq!(news(&told), [NewsKind::Promoted]);
    assert!(told.contains(&Effect::Run(Errand::Checks(CheckStage::Post))));
    assert!(told.contains(&Effect::CallHooks(HookPoint::Promote)));
}

#[test]
fn a_move_waits_until_it_is_durable() {
    let mut state = holding();
    let mut last = Vec::new();
    for _ in 0..5 {
        let effects = state.step(tick(Duration::ZERO, Verdict::Pass)).unwrap();
        for effect in &effects {
            if let Effect::Run(errand) = effect {
                let done = Input::Done { errand: *errand, passed: true, detail: String::new() };
                state.step(done).unwrap();
            }
        }
        if !effects.is_empty() {
            last = effects;
        }
    }
    let [Effect::Persist { ticket, state: kept }] = last.as_slice() else { panic!("{last:?}") };
    assert!(matches!(state.phase, Phase::Holding { why: Hold::Writing, .. }), "{:?}", state.phase);
    assert_eq!(kept.phase, Phase::Baking(Stay::at(1)));
    assert!(!kept.is_moving() && state.is_moving());
    let mut failed = state.clone();
    let told =
        failed.step(Input::PersistFailed { ticket: *ticket, why: "disk full".into() }).unwrap();
    assert_eq!(news(&told), [NewsKind::NotWritten]);
    assert!(matches!(failed.phase, Phase::Holding { why: Hold::NotWritten, .. }));
    assert_eq!(failed.step(tick(MINUTE / 60, Verdict::Pass)).unwrap(), []);
    let again = failed.step(tick(5 * MINUTE, Verdict::Pass)).unwrap();
    assert!(matches!(again.as_slice(), [Effect::Persist { .. }]), "{again:?}");
    let mut doubtful = state.clone();
    let told = doubtful.step(tick(MINUTE, Verdict::Inconclusive(Lack::Traffic))).unwrap();
    assert!(told.contains(&Effect::Checkpoint), "what is kept is set right: {told:?}");
    assert_eq!(doubtful.step(Input::Persisted(*ticket)).unwrap(), []);
    assert_eq!(doubtful.step_name(), state.step_name());
    assert_eq!(weights(&state.step(Input::Persisted(*ticket)).unwrap()), [Weight::FULL]);
}

#[test]
fn a_rollback_sets_the_weight_before_all_else_and_waits_for_nothing() {
    for mut state in [baking(), holding(), gated(), paused()] {
        let told = state.step(tick(MINUTE, Verdict::Fail(cause()))).unwrap();
        assert_eq!(
            told[..3],
            [Effect::SetWeight(Weight::ZERO), Effect::RecallCanary, Effect::Checkpoint]
        );
        assert_eq!(news(&told), [NewsKind::RolledBack]);
        assert_eq!(told[4..], [Effect::CallHooks(HookPoint::Rollback)]);
        assert_eq!(state.phase, Phase::RolledBack { cause: cause(), step: Some(0) });
    }
}

#[test]
fn on_failure_pause_freezes_once() {
    let mut state = baking();
    state.plan.on_failure = OnFailure::Pause;
    let told = state.step(tick(MINUTE, Verdict::Fail(cause()))).unwrap();
    assert_eq!((news(&told), weights(&told)), (vec![NewsKind::Paused], vec![]));
    assert_eq!(state.step(tick(MINUTE, Verdict::Fail(cause()))).unwrap(), []);
    assert_eq!(state.weight(), Weight::from_basis_points(1_000));
}

#[test]
fn thin_traffic_goes_on_only_where_the_plan_says_so() {
    let thin = || tick(10 * MINUTE, Verdict::Inconclusive(Lack::Traffic));
    let mut state = baking();
    well(&mut state, thin());
    assert!(matches!(state.phase, Phase::Holding { why: Hold::Lack(Lack::Traffic), .. }));
    let mut state = baking();
    state.plan.on_thin_traffic = OnThinTraffic::Advance;
    (0..4).for_each(|_| drop(well(&mut state, thin())));
    assert_eq!(state.weight(), Some(Weight::FULL));
}

#[test]
fn a_failed_hook_holds_until_an_operator_tries_again() {
    let mut state = holding();
    let run = state.step(tick(MINUTE, Verdict::Pass)).unwrap();
    let hook = Errand::Hooks { point: HookPoint::AfterStep, step: Some(0) };
    assert_eq!(run, [Effect::Run(hook)]);
    let failed = Input::Done { errand: hook, passed: false, detail: "exit code 1".into() };
    let told = state.step(failed).unwrap();
    assert_eq!(news(&told), [NewsKind::Held]);
    assert_eq!(state.step(tick(60 * MINUTE, Verdict::Pass)).unwrap(), []);
    assert!(matches!(state.phase, Phase::Holding { why: Hold::ErrandFailed, .. }));
    let told = state.step(command(Verb::Advance)).unwrap();
    assert!(told.contains(&Effect::Run(hook)), "{told:?}");
}

#[test]
fn failed_checks_are_asked_again_by_themselves() {
    let mut state = baking();
    state.phase = Phase::Baking(Stay::at(1));
    well(&mut state, tick(10 * MINUTE, Verdict::Pass));
    let mut run = state.step(tick(Duration::ZERO, Verdict::Pass)).unwrap();
    if run.is_empty() {
        run = state.step(tick(Duration::ZERO, Verdict::Pass)).unwrap();
    }
    let checks = Errand::Checks(CheckStage::Post);
    let failed = Input::Done { errand: checks, passed: false, detail: "404".into() };
    let told = state.step(failed).unwrap();
    assert_eq!(news(&told), [NewsKind::Held], "{run:?}");
    assert_eq!(state.step(tick(MINUTE / 4, Verdict::Pass)).unwrap(), []);
    let again = state.step(tick(MINUTE / 4, Verdict::Pass)).unwrap();
    assert_eq!(again, [Effect::Run(checks)]);
}

#[test]
fn a_failed_check_before_the_first_step_ends_the_rollout_without_traffic() {
    let mut state = State::idle(plan());
    let told = state.step(command(Verb::Start)).unwrap();
    assert_eq!(weights(&told), [Weight::ZERO]);
    let errand = Errand::Checks(CheckStage::Pre);
    assert_eq!(told.last(), Some(&Effect::Run(errand)));
    let told = state.step(Input::Done { errand, passed: false, detail: "health: 500".into() });
    assert_eq!(news(&told.unwrap()), [NewsKind::Failed]);
    let Phase::Failed { cause } = &state.phase else { panic!("{:?}", state.phase) };
    assert_eq!(cause.to_string(), "check: health: 500");
}

#[test]
fn the_deadline_fails_once_and_counts_pauses() {
    let mut state = paused();
    state.plan.deadline = Limit::At(Span(30 * MINUTE));
    assert_eq!(state.step(tick(30 * MINUTE, Verdict::Pass)).unwrap(), []);
    let told = state.clone().step(tick(MINUTE, Verdict::Pass)).unwrap();
    assert_eq!(news(&told), [NewsKind::RolledBack]);
    state.plan.on_failure = OnFailure::Pause;
    state.step(tick(MINUTE, Verdict::Pass)).unwrap();
    state.step(command(Verb::Resume)).unwrap();
    state.step(tick(MINUTE, Verdict::Pass)).unwrap();
    assert!(matches!(state.phase, Phase::Baking(_)), "{:?}", state.phase);
}

#[test]
fn after_a_restart_it_stands_where_what_was_kept_stood() {
    for state in every_phase() {
        let kept = serde_json::to_string(&state).unwrap();
        let mut back: State = serde_json::from_str(&kept).unwrap();
        assert!(back.is_sound());
        let told = back.step(Input::Restarted).unwrap();
        assert_eq!(weights(&told), state.weight().into_iter().collect::<Vec<_>>());
        assert_eq!(back.phase.label(), state.phase.label());
        assert_eq!((back.left(), back.elapsed), (state.left(), state.elapsed));
    }
}

#[test]
fn promotion_by_hand_is_durable_first_and_survives_bad_evidence() {
    let mut state = paused();
    let told = state.step(command(Verb::Promote)).unwrap();
    let [Effect::Persist { ticket, state: kept }] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(kept.phase, Phase::Promoted);
    state.step(tick(MINUTE, Verdict::Inconclusive(Lack::Source))).unwrap();
    let told = state.step(Input::Persisted(*ticket)).unwrap();
    assert_eq!(weights(&told), [Weight::FULL]);
    assert_eq!(news(&told), [NewsKind::Promoted]);
    let back = state.step(command(Verb::Rollback)).unwrap();
    assert_eq!(weights(&back), [Weight::ZERO], "the baseline is the way back");
}
