//! Hooks at a rollback and at promotion, and the run that comes after them.

use super::{super::TICK, *};
use crate::control::CommandError;

fn hook(on: &str, script: &str) -> String {
    format!(
        "[[rollout.api.hook]]\non = \"{on}\"\nname = \"undo\"\nexec = [\"/bin/sh\", \"-c\", {script:?}]\ntimeout = \"50s\"\n"
    )
}

/// Until a rung of the ladder may end: a script that waits for a file in the folder of `house`.
fn waits_for_a_file(house: &House) -> (String, std::path::PathBuf) {
    let file = house.path().with_file_name("go on");
    (format!("until [ -e {:?} ]; do sleep 0.02; done", file.display().to_string()), file)
}

/// Promote hooks hold nobody up: one may still be at work when the next run begins.
#[tokio::test]
async fn a_hook_that_ends_under_the_next_run_is_told() {
    let house = house("");
    let (script, file) = waits_for_a_file(&house);
    house.write(ALL_BLUE, &format!("{}{}", plan("blue", "green", ""), hook("promote", &script)));
    let running = house.start(FakeDataPlane::default());
    running.verb(Verb::Start).await;
    running.told(EventKind::RolloutAdvanced).await;
    running.verb(Verb::Promote).await;
    running.verb(Verb::Rollback).await;
    running.verb(Verb::Start).await;
    std::fs::write(file, "").unwrap();
    running.told(EventKind::HookEnded).await;
    assert_eq!(running.handle.status().rollouts[0].run, 2);
}

/// A rung may undo what the next run builds upon.
#[tokio::test]
async fn no_run_begins_while_the_ladder_of_the_last_one_is_climbed() {
    let house = house("");
    let (script, file) = waits_for_a_file(&house);
    house.write(ALL_BLUE, &format!("{}{}", plan("blue", "green", ""), hook("rollback", &script)));
    let running = house.start(FakeDataPlane::default());
    running.verb(Verb::Start).await;
    running.told(EventKind::RolloutAdvanced).await;
    running.verb(Verb::Rollback).await;
    let refused = running.handle.operate(wish("api", Verb::Start)).await.unwrap_err();
    assert!(matches!(refused, CommandError::Conflict { .. }), "{refused}");
    for part in ["ladder still runs: rung undo", "of 50s at most", "wait for its end", "events"] {
        assert!(refused.to_string().contains(part), "{refused}");
    }
    let status = running.handle.status().rollouts.remove(0);
    assert!(status.fits.is_empty() && status.missing[0].contains("rung undo"), "{status:?}");
    std::fs::write(file, "").unwrap();
    running.told(EventKind::HookEnded).await;
    running.verb(Verb::Start).await;
    assert_eq!(running.handle.status().rollouts[0].run, 2);
}

/// The next release, which begins by itself, may come while the ladder of the last is climbed, under another name even.
#[tokio::test]
async fn a_plan_that_begins_by_itself_waits_for_the_ladder_on_its_route() {
    for name in ["rollout.api", "rollout.anew"] {
        let house = house("");
        let (script, file) = waits_for_a_file(&house);
        let first = format!("{}{}", plan("blue", "green", ""), hook("rollback", &script));
        house.write(ALL_BLUE, &first);
        let running = house.start(FakeDataPlane::default());
        running.verb(Verb::Start).await;
        running.told(EventKind::RolloutAdvanced).await;
        running.verb(Verb::Rollback).await;
        let (baseline, canary) =
            if name == "rollout.api" { ("green", "blue") } else { ("blue", "green") };
        let next = plan(baseline, canary, "auto_start = true").replace("rollout.api", name);
        house.write(ALL_BLUE, &next);
        running.handle.reload("uid:1").await.unwrap();
        let mut ticks = tokio::time::interval(TICK);
        for _ in 0..5 {
            ticks.tick().await;
        }
        let begun = |kinds: &[EventKind]| {
            kinds.iter().filter(|kind| **kind == EventKind::RolloutStarted).count()
        };
        assert_eq!(begun(&running.kinds().await), 1, "{name} began under the ladder");
        std::fs::write(file, "").unwrap();
        running.told(EventKind::HookEnded).await;
        running.told_times(EventKind::RolloutAdvanced, 2).await;
    }
}

/// Whoever takes the section out of the file under a run has not taken the way back out.
#[tokio::test]
async fn the_ladder_is_climbed_also_when_the_file_no_longer_has_the_rollout() {
    let house = house("");
    let text = format!("{}{}", plan("blue", "green", ""), hook("rollback", "true"));
    house.write(ALL_BLUE, &text);
    let running = house.start(FakeDataPlane::default());
    running.verb(Verb::Start).await;
    running.told(EventKind::RolloutAdvanced).await;
    house.write(ALL_BLUE, "");
    running.handle.reload("uid:1").await.unwrap();
    running.told(EventKind::RolloutPlanDiffers).await;
    running.verb(Verb::Rollback).await;
    running.told(EventKind::HookEnded).await;
}
