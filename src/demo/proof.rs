//! `demo --once`: changes the weights under load, and holds what the sample servers saw against what was asked for.
//!
//! The unit is the session. With N sessions and a share p of them wanted on green, the number that green's server sees is
//! binomial; it fits when it lies within five standard deviations √(N·p·(1−p)) of N·p, which chance alone misses less than
//! once in a hundred thousand runs.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Error,
    cast::Cast,
    side::{Side, Sides},
    tally::Tally,
    view,
};
use crate::lifecycle::clock;

/// Sessions in a proof.
pub(super) const SESSIONS: usize = 1_000;
/// Where the weights begin, and where they are put, in percent of green.
const GREEN_PERCENTS: [u8; 2] = [10, 50];
const SIGMAS: f64 = 5.0;
/// Requests of each session that a look at the servers spans.
const REQUESTS_EACH: u64 = 2;
/// Time between two looks at how far the sessions have come.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Longest wait for the sessions to have had their turns.
const PATIENCE: Duration = Duration::from_secs(60);

/// The weights with that much on green.
pub(super) fn percents(green: u8) -> Sides<u8> {
    Sides::of(|side| match side {
        Side::Blue => 100 - green,
        Side::Green => green,
    })
}

/// The weights that a proof begins with.
pub(super) fn first_percents() -> Sides<u8> {
    percents(GREEN_PERCENTS[0])
}

/// Lets the demo run, changes the weights midway, and tells whether all was as it should be.
pub(super) async fn prove(cast: &Cast) -> Result<bool, Error> {
    let [first, second] = GREEN_PERCENTS;
    view::print(&format!(
        "{SESSIONS} sessions, weights {}/{first}, then {}/{second} by the admin socket\n",
        100 - first,
        100 - second
    ))?;
    let before = look(cast).await?;
    cast.operator.split(percents(second)).await?;
    // What was under way when the weights changed went by the old ones: it is waited for, and not looked at.
    pass(cast, 2).await?;
    cast.take_sessions();
    let after = look(cast).await?;
    let mut findings = before.findings(first);
    findings.extend(after.findings(second));
    findings.push(movement(&before, &after));
    findings.push(failures(&cast.load.tally()));
    let mut text = String::new();
    for finding in &findings {
        let mark = if finding.holds { "ok    " } else { "WRONG " };
        text.push_str(&format!("{mark}{}\n", finding.text));
    }
    view::print(&text)?;
    Ok(findings.iter().all(|finding| finding.holds))
}

/// Something that was looked at, and whether it is as it should be.
#[derive(Debug)]
struct Finding {
    holds: bool,
    text: String,
}

/// The sessions that each server saw.
#[derive(Debug)]
struct Seen(Sides<BTreeMap<u32, u64>>);

async fn look(cast: &Cast) -> Result<Seen, Error> {
    pass(cast, REQUESTS_EACH).await?;
    Ok(Seen(cast.take_sessions()))
}

/// Waits until every session has had that many answers more.
async fn pass(cast: &Cast, answers: u64) -> Result<(), Error> {
    let (begin, start) = (cast.load.tally(), clock::now());
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let done = cast.load.tally().sessions_ahead(&begin, answers);
        if done == SESSIONS {
            return Ok(());
        }
        if clock::now().since(start) > PATIENCE {
            return Err(Error::Slow { seconds: PATIENCE.as_secs(), done, wanted: SESSIONS });
        }
    }
}

impl Seen {
    fn findings(&self, green_percent: u8) -> Vec<Finding> {
        let (blue, green) = (&self.0[Side::Blue], &self.0[Side::Green]);
        let both = blue.keys().filter(|session| green.contains_key(session)).count();
        let all = blue.len() + green.len() - both;
        let share = f64::from(green_percent) / 100.0;
        let mean = SESSIONS as f64 * share;
        let bound = SIGMAS * (mean * (1.0 - share)).sqrt();
        let weights = format!("{}/{green_percent}", 100 - green_percent);
        let fits = all == SESSIONS && (green.len() as f64 - mean).abs() <= bound;
        vec![
            Finding {
                holds: fits,
                text: format!(
                    "at {weights} green saw {} of {all} sessions; wanted {mean:.0} ± {bound:.0}",
                    green.len()
                ),
            },
            Finding {
                holds: both == 0,
                text: format!("at {weights} {both} sessions were seen on both sides; wanted 0"),
            },
        ]
    }
}

/// Growing green takes sessions from blue, and never the other way.
fn movement(before: &Seen, after: &Seen) -> Finding {
    let count = |from: Side| {
        let (was, is) = (&before.0[from], &after.0[from.other()]);
        was.keys().filter(|session| is.contains_key(session)).count()
    };
    let (to_green, to_blue) = (count(Side::Blue), count(Side::Green));
    Finding {
        holds: to_blue == 0,
        text: format!("{to_green} sessions went to green, {to_blue} back to blue; wanted 0 back"),
    }
}

fn failures(tally: &Tally) -> Finding {
    let why = tally.first_failure.as_ref().map(|why| format!(", the first: {why}"));
    Finding {
        holds: tally.failures == 0,
        text: format!(
            "{} of {} requests failed{}; wanted 0",
            tally.failures,
            tally.requests(),
            why.unwrap_or_default()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sessions below `green` went to green, the others to blue.
    fn seen(green: usize) -> Seen {
        let list = |range: std::ops::Range<usize>| range.map(|at| (at as u32, 2)).collect();
        Seen(Sides::of(|side| match side {
            Side::Blue => list(green..SESSIONS),
            Side::Green => list(0..green),
        }))
    }

    fn hold(findings: &[Finding]) -> Vec<bool> {
        findings.iter().map(|finding| finding.holds).collect()
    }

    #[test]
    fn a_split_fits_within_five_deviations() {
        // √(1000 · 0.1 · 0.9) · 5 is 47.4.
        for (green, fits) in [(100, true), (147, true), (148, false), (53, true), (52, false)] {
            assert_eq!(hold(&seen(green).findings(10)), [fits, true], "{green}");
        }
    }

    #[test]
    fn a_session_on_both_sides_or_on_none_is_found() {
        let mut twice = seen(100);
        twice.0[Side::Blue].insert(0, 1);
        assert_eq!(hold(&twice.findings(10)), [true, false]);
        let mut lost = seen(100);
        lost.0[Side::Blue].remove(&500);
        assert_eq!(hold(&lost.findings(10)), [false, true]);
    }

    #[test]
    fn a_session_that_goes_back_is_found() {
        assert!(movement(&seen(100), &seen(500)).holds);
        assert!(!movement(&seen(500), &seen(100)).holds);
    }

    #[test]
    fn a_failed_request_is_found() {
        let mut tally = Tally::new(1);
        assert!(failures(&tally).holds);
        tally.failed(0, "503".to_owned());
        let finding = failures(&tally);
        assert!(!finding.holds);
        assert_eq!(finding.text, "1 of 1 requests failed, the first: 503; wanted 0");
    }
}
