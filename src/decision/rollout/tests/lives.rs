//! Random lives of random plans: weights stay within the plan, and the way back is always open.

use std::time::Duration;

use proptest::prelude::*;

use super::{super::*, cause, command, tick, weights};
use crate::domain::{
    Plan, StepName, Verdict, Weight,
    plan::{Limit, OnFailure, OnThinTraffic, Span, Step, tests::plan},
    verdict::Lack,
};

/// Any plan of up to five rising steps.
fn plans() -> impl Strategy<Value = Plan> {
    let step = (0..=10_000u16, 0..600u64, any::<bool>());
    (prop::collection::vec(step, 1..5), any::<bool>(), any::<bool>(), 0..3_000u64).prop_map(
        |(mut steps, thin, pause, deadline)| {
            steps.sort_unstable();
            let step = |(at, (points, hold_s, gate)): (usize, (u16, u64, bool))| Step {
                name: StepName::new(&format!("s{at}")).unwrap(),
                weight: Weight::from_basis_points(points).unwrap(),
                hold: Duration::from_secs(hold_s),
                gate,
                require: Vec::new(),
            };
            Plan {
                steps: steps.into_iter().enumerate().map(step).collect(),
                on_thin_traffic: if thin { OnThinTraffic::Advance } else { OnThinTraffic::Hold },
                on_failure: if pause { OnFailure::Pause } else { OnFailure::Rollback },
                deadline: match deadline {
                    0..1_000 => Limit::Off,
                    late => Limit::At(Span(Duration::from_secs(late))),
                },
                ..plan()
            }
        },
    )
}

/// Any input; answers refer to the oldest open question.
#[derive(Debug, Clone)]
enum Move {
    Input(Input),
    Answer(bool),
}

fn moves() -> impl Strategy<Value = Move> {
    let verdict = prop_oneof![
        6 => Just(Verdict::Pass),
        2 => prop::sample::select(vec![Lack::Traffic, Lack::Criteria, Lack::Source, Lack::Budget])
            .prop_map(Verdict::Inconclusive),
        1 => Just(Verdict::Fail(cause())),
    ];
    let tick = (0..400u64, verdict).prop_map(|(s, verdict)| tick(Duration::from_secs(s), verdict));
    prop_oneof![
        8 => tick.prop_map(Move::Input),
        3 => prop::sample::select(Verb::ALL.to_vec()).prop_map(|verb| Move::Input(command(verb))),
        8 => prop::bool::weighted(0.9).prop_map(Move::Answer),
        1 => Just(Move::Input(Input::Restarted)),
    ]
}

/// A life under way: the machine, what it waits for, and what was seen of it.
struct Life {
    state: State,
    open: Vec<Effect>,
    weight: Weight,
    /// An operator let the present step go on.
    hurried: bool,
}

impl Life {
    fn new(plan: Plan) -> Self {
        let (weight, open) = (Weight::ZERO, Vec::new());
        Self { state: State::idle(plan), open, weight, hurried: false }
    }

    /// The input that `next` stands for; an answer goes to the oldest question.
    fn input(&mut self, next: Move) -> Option<Input> {
        let good = match next {
            Move::Input(input) => return Some(input),
            Move::Answer(_) if self.open.is_empty() => return None,
            Move::Answer(good) => good,
        };
        match (self.open.remove(0), good) {
            (Effect::Persist { ticket, .. }, true) => Some(Input::Persisted(ticket)),
            (Effect::Persist { ticket, .. }, false) => {
                Some(Input::PersistFailed { ticket, why: "full".into() })
            }
            (Effect::Run(errand), passed) => {
                Some(Input::Done { errand, passed, detail: "x".into() })
            }
            (
                Effect::SetWeight(_)
                | Effect::RecallCanary
                | Effect::Checkpoint
                | Effect::CallHooks(_)
                | Effect::Tell(_),
                _,
            ) => None,
        }
    }

    fn step(&mut self, input: &Input) {
        if *input == Input::Restarted {
            self.open.clear();
        }
        let before = self.state.clone();
        let Ok(effects) = self.state.step(input.clone()) else {
            assert_eq!(before, self.state, "a refusal changed something");
            return;
        };
        self.hurried |= matches!(input, Input::Command(command)
            if matches!(command.verb, Verb::Advance | Verb::Promote));
        self.check_weights(input, &effects);
        self.check_doubt(&before, input, &effects);
        self.check_way_back();
        let place = |state: &State| state.phase.stay().map(|stay| stay.step);
        let (was, is) = (place(&before), place(&self.state));
        if let (Some(was), Some(is)) = (was, is)
            && was != is
        {
            assert_eq!(is, was + 1, "a step was left out");
            assert!(self.hurried || before.left() == Some(Duration::ZERO), "a hold was cut short");
        }
        if was != is {
            self.hurried = false;
        }
        let asks = |effect: &Effect| matches!(effect, Effect::Persist { .. } | Effect::Run(_));
        self.open.extend(effects.into_iter().filter(asks));
        assert!(self.state.is_sound());
    }

    fn check_weights(&mut self, input: &Input, effects: &[Effect]) {
        for set in weights(effects) {
            let planned = self.state.plan.steps.iter().any(|step| step.weight == set);
            assert!(
                planned || set == Weight::ZERO || set == Weight::FULL,
                "{set} % is not planned"
            );
            let raised = set > self.weight;
            let after_restart = *input == Input::Restarted;
            let durable = matches!(input, Input::Persisted(_)) || after_restart;
            assert!(!raised || durable, "{input:?} raised the weight");
            assert_eq!(Some(set), self.state.weight());
            self.weight = set;
        }
    }

    /// A tick in doubt begins nothing at a step that would lead forward.
    fn check_doubt(&self, before: &State, input: &Input, effects: &[Effect]) {
        let doubt = matches!(input, Input::Tick { verdict: Verdict::Inconclusive(_), .. });
        let free = self.hurried || self.state.plan.on_thin_traffic == OnThinTraffic::Advance;
        if doubt && !free && before.phase.stay().is_some() {
            let forward =
                |effect: &Effect| matches!(effect, Effect::Persist { .. } | Effect::Run(_));
            assert!(!effects.iter().any(forward), "{effects:?} in doubt");
        }
    }

    /// Whatever runs can be turned back in one step that waits for nothing.
    fn check_way_back(&self) {
        if self.state.phase.is_running() {
            let undone = self.state.clone().step(command(Verb::Rollback)).unwrap();
            assert_eq!(undone.first(), Some(&Effect::SetWeight(Weight::ZERO)));
            let waits = |effect: &Effect| matches!(effect, Effect::Persist { .. } | Effect::Run(_));
            assert!(!undone.iter().any(waits), "{undone:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn weights_stay_within_the_plan_and_whatever_runs_can_turn_back(
        plan in plans(),
        moves in prop::collection::vec(moves(), 1..120),
    ) {
        let mut life = Life::new(plan);
        life.step(&command(Verb::Start));
        for next in moves {
            if let Some(input) = life.input(next) {
                life.step(&input);
            }
        }
    }
}
