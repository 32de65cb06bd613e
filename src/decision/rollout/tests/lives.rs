//! Random lives of random plans: weights stay within the plan, and the way back is always open.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    super::{state::Target, *},
    baking, cause, command, tick, weights,
};
use crate::domain::{
    HookPoint, Plan, StepName, Verdict, Weight,
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
                deadline: if deadline < 1_000 {
                    Limit::Off
                } else {
                    Limit::At(Span(Duration::from_secs(deadline)))
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn weights_stay_within_the_plan_and_every_running_phase_turns_back(plan in plans(), moves in prop::collection::vec(moves(), 1..80)) {
        let mut state = State::idle(plan);
        let mut open: Vec<Effect> = Vec::new();
        let mut weight = Weight::ZERO;
        let mut forced = false;
        for next in moves {
            let input = match next {
                Move::Input(input) => input,
                Move::Answer(good) if !open.is_empty() => match (open.remove(0), good) {
                    (Effect::Persist { ticket, .. }, true) => Input::Persisted(ticket),
                    (Effect::Persist { ticket, .. }, false) => Input::PersistFailed { ticket, why: "full".into() },
                    (Effect::Run(errand), passed) => Input::Done { errand, passed, detail: "x".into() },
                    _ => continue,
                },
                Move::Answer(_) => continue,
            };
            if input == Input::Restarted {
                open.clear();
            }
            let by_hand = matches!(&input, Input::Command(command) if matches!(command.verb, Verb::Advance | Verb::Promote | Verb::Start));
            let doubt = matches!(&input, Input::Tick { verdict: Verdict::Inconclusive(_), .. });
            let before = state.clone();
            let Ok(effects) = state.step(input.clone()) else {
                prop_assert_eq!(&before, &state);
                continue;
            };
            forced |= by_hand;
            for set in weights(&effects) {
                let planned = state.plan.steps.iter().map(|step| step.weight);
                prop_assert!(set == Weight::ZERO || set == Weight::FULL || planned.clone().any(|w| w == set));
                if set > weight {
                    prop_assert!(matches!(input, Input::Persisted(_)), "{input:?} raised the weight");
                }
                prop_assert_eq!(Some(set), state.weight());
                weight = set;
            }
            if doubt && !forced && state.plan.on_thin_traffic == OnThinTraffic::Hold {
                prop_assert!(!effects.iter().any(|effect| matches!(effect, Effect::Persist { .. } | Effect::Run(Errand::Hooks { point: HookPoint::BeforeStep | HookPoint::AfterStep, .. })) ), "went on in doubt");
            }
            prop_assert!(state.is_sound());
            if state.phase.is_running() {
                let mut back = state.clone();
                let undone = back.step(command(Verb::Rollback)).unwrap();
                prop_assert_eq!(weights(&undone), vec![Weight::ZERO]);
                let waits = undone.iter().any(|effect| matches!(effect, Effect::Persist { .. }));
                prop_assert!(!waits);
            }
            if let Some(stay) = state.phase.stay() && !forced && let Some(old) = before.phase.stay() {
                prop_assert!(stay.step <= old.step || before.left() == Some(Duration::ZERO), "cut short");
            }
            open.extend(effects.into_iter().filter(|effect| matches!(effect, Effect::Persist { .. } | Effect::Run(_))));
        }
    }

    #[test]
    fn what_is_kept_leads_where_the_move_leads(step in 0..2usize) {
        let mut state = baking();
        let effects = state.begin_move(Target::Step(step), None, String::new());
        let [Effect::Persist { ticket, state: kept }] = effects.as_slice() else { panic!("{effects:?}") };
        let kept = kept.clone();
        state.step(Input::Persisted(*ticket)).unwrap();
        prop_assert_eq!(&state.phase, &kept.phase);
        prop_assert_eq!(state.weight(), kept.weight());
    }
}
