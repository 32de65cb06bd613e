//! Checks that run as long as the canary has traffic.

use super::*;
use crate::control::{EndpointVerb, SetEndpoint, status::ReloadOutcome};

/// Asks every endpoint of the canary for `status`, all the time.
fn check(status: u16) -> String {
    format!(
        "[[rollout.api.check]]\nname = \"front\"\nstage = [\"during\"]\ntarget = \"canary\"\ninterval = \"20ms\"\n\
         request = {{ path = \"/\" }}\nexpect = {{ status = \"{status}\" }}\n"
    )
}

impl Running {
    /// Waits until the check has been told to have ended `how`.
    async fn checked(&self, how: &str) {
        let mut latest = self.handle.audit().latest();
        let waited = async {
            loop {
                let told = self.handle.audit().read(Some(0), 100).await;
                if told.iter().any(|event| event.message.contains(how)) {
                    return;
                }
                latest.changed().await.unwrap();
            }
        };
        assert!(tokio::time::timeout(PATIENCE, waited).await.is_ok(), "no {how:?}");
    }
}

/// What has not run yet has not passed.
#[tokio::test]
async fn a_step_without_time_waits_for_its_checks_all_the_same() {
    let house = house("");
    let quick = plan("blue", "green", "").replace(
        "weight = 20\nhold = \"1h\"",
        "weight = 0\nhold = \"0s\"\nrequire = [\"checks_failed < 1\"]",
    );
    house.write(ALL_BLUE, &format!("{quick}{}", check(500)));
    let running = house.start(FakeDataPlane::default());
    running.verb(Verb::Start).await;
    running.checked("check front of stage during: FAILED").await;
    running.comes_to("holding").await;
    assert_eq!(running.split(), shares(100, 0));
}

#[tokio::test]
async fn endpoints_that_come_are_asked_and_those_taken_out_are_not() {
    let house = house("");
    let text = format!("{}{}", plan("blue", "green", ""), check(200));
    house.write(ALL_BLUE, &text);
    let running = house.start(FakeDataPlane::default());
    running.verb(Verb::Start).await;
    running.checked("check front of stage during: passed").await;
    let whole = std::fs::read_to_string(house.path()).unwrap();
    let (before, after) = whole.split_once("[backend.green]\nendpoints = [").unwrap();
    let dead = "127.0.0.1:1";
    let more = format!("{before}[backend.green]\nendpoints = [\"{dead}\", {after}");
    std::fs::write(house.path(), more).unwrap();
    let reloaded = running.handle.reload("uid:1").await.unwrap();
    assert_eq!(reloaded.outcome, ReloadOutcome::Applied, "{reloaded:?}");
    running.checked("check front of stage during: FAILED").await;
    let wish = SetEndpoint {
        backend: "green".to_owned(),
        address: dead.to_owned(),
        verb: EndpointVerb::Drain,
        actor: "uid:1".to_owned(),
        reason: None,
    };
    running.handle.set_endpoint(wish).await.unwrap();
    let passes = async {
        let last = async || running.handle.report("api").await?.checks.pop();
        while last().await.is_none_or(|check| !check.ok) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, passes).await.is_ok());
}
