//! Do the endpoints answer as they should?

use super::{Builtin, Evidence, Finding, errors, holds, stops};
use crate::control::preflight::evidence::{Brief, Sample, SideEvidence};

pub(super) const CHECKS: &[Builtin] = &[
    stops("canary endpoints in use", |e| in_use(&e.canary)),
    stops("baseline endpoints in use", |e| in_use(&e.baseline)),
    stops("canary endpoints are well", |e| well(e, &e.canary)),
    holds("baseline endpoints are well", |e| well(e, &e.baseline)),
    stops("canary names resolve", |e| resolve(&e.canary)),
    stops("baseline names resolve", |e| resolve(&e.baseline)),
    stops("canary accepts connections", |e| connect(&e.canary)),
    stops("baseline accepts connections", |e| connect(&e.baseline)),
    stops("canary answers without errors", |e| answers(e, |sample| &sample.canary)),
    holds("baseline answers without errors", |e| answers(e, |sample| &sample.baseline)),
    holds("both sides answer with the same status", same_status),
    holds("both sides answer with the same content type", same_content_type),
    holds("the route is reached through the listener", listener),
];

fn in_use(side: &SideEvidence) -> Finding {
    let (all, used) = (side.endpoints.len(), side.in_use().count());
    match used {
        0 => Finding::fail(
            format!("none of {all} endpoints of {} takes requests", side.name),
            format!("tidegate endpoint {} ADDRESS ready", side.name),
        ),
        _ if used < all => Finding::warn(
            format!("{used} of {all} endpoints of {} take requests", side.name),
            "bring the others back before they are needed",
        ),
        _ => Finding::pass(format!("all {all} endpoints of {} take requests", side.name)),
    }
}

fn well(evidence: &Evidence, side: &SideEvidence) -> Finding {
    let ill = side.in_use().filter_map(|endpoint| {
        endpoint.ill.as_ref().map(|why| format!("{} is {why}", endpoint.address))
    });
    let ill: Vec<_> = ill.collect();
    if !ill.is_empty() {
        let mend =
            "mend it, or drain the endpoint; a check that asks for the wrong thing also looks so";
        return Finding::fail(ill.join("; "), mend);
    }
    let mut backends = evidence.config.backends.iter();
    let backend = backends.find(|backend| backend.name.as_str() == side.name);
    Finding::pass(match backend.and_then(|backend| backend.health_check.as_ref()) {
        Some(check) => format!("by their checks: {check}"),
        None => format!(
            "as far as requests tell; [backend.{}.health_check] would find out without them",
            side.name
        ),
    })
}

fn resolve(side: &SideEvidence) -> Finding {
    let results = side.endpoints.iter().map(|endpoint| (&endpoint.address, &endpoint.resolved));
    match errors(results).as_str() {
        "" => {
            let found =
                side.endpoints.iter().filter_map(|endpoint| endpoint.resolved.as_ref().ok());
            Finding::pass(format!("to {} addresses", found.sum::<usize>()))
        }
        why => Finding::fail(why, "mend the name, or the name server that this machine asks"),
    }
}

fn connect(side: &SideEvidence) -> Finding {
    let results = side.in_use().map(|endpoint| (&endpoint.address, &endpoint.connected));
    match errors(results).as_str() {
        "" => {
            let times = side.in_use().filter_map(|endpoint| endpoint.connected.as_ref().ok());
            match times.max() {
                Some(slowest) => Finding::pass(format!("within {} ms", slowest.as_millis())),
                None => Finding::Moot,
            }
        }
        why => Finding::fail(why, format!("start {}, or drain the endpoint", side.name)),
    }
}

type Answers = Vec<(String, Result<Brief, String>)>;

fn answers(evidence: &Evidence, side: fn(&Sample) -> &Answers) -> Finding {
    if evidence.samples.iter().all(|sample| side(sample).is_empty()) {
        return Finding::Moot;
    }
    let all = evidence.samples.iter().flat_map(|sample| {
        side(sample).iter().map(move |(who, answer)| {
            let checked = answer.clone().and_then(|brief| match brief.status {
                500.. => Err(format!("status {}", brief.status)),
                status => Ok(status),
            });
            (format!("{who}{}", sample.path), checked)
        })
    });
    let all: Vec<_> = all.collect();
    match errors(all.iter().map(|(who, answer)| (who, answer))).as_str() {
        "" => {
            let statuses: std::collections::BTreeSet<_> =
                all.iter().filter_map(|(_, answer)| answer.as_ref().ok()).collect();
            let statuses: Vec<_> = statuses.iter().map(ToString::to_string).collect();
            let (asked, statuses) = (all.len(), statuses.join(", "));
            Finding::pass(format!("{asked} requests, status {statuses}"))
        }
        why => Finding::fail(why, "see the log of that backend"),
    }
}

/// The first pair of answers, one of each side, for which `part` differs.
fn first_difference(
    evidence: &Evidence,
    part: fn(&Brief) -> Option<String>,
) -> Option<(String, String, String)> {
    evidence.samples.iter().find_map(|sample| {
        let good = |answers: &Answers| {
            answers.iter().filter_map(|(_, answer)| answer.clone().ok()).collect::<Vec<_>>()
        };
        let (blue, green) = (good(&sample.baseline), good(&sample.canary));
        let pairs = blue.iter().flat_map(|one| green.iter().map(move |two| (part(one), part(two))));
        let shown = |part: Option<String>| part.unwrap_or_else(|| "none".to_owned());
        let mut differing = pairs.filter(|(one, two)| one != two);
        differing.next().map(|(one, two)| (sample.path.clone(), shown(one), shown(two)))
    })
}

fn same_status(evidence: &Evidence) -> Finding {
    if !evidence.has_comparable_answers() {
        return Finding::Moot;
    }
    match first_difference(evidence, |brief| Some(brief.status.to_string())) {
        Some((path, blue, green)) => Finding::fail(
            format!(
                "{path}: {blue} of {}, {green} of {}",
                evidence.baseline.name, evidence.canary.name
            ),
            "users would see the difference: is it meant?",
        ),
        None => Finding::pass(format!("at {} paths", evidence.samples.len())),
    }
}

fn same_content_type(evidence: &Evidence) -> Finding {
    if !evidence.has_comparable_answers() {
        return Finding::Moot;
    }
    match first_difference(evidence, |brief| brief.content_type.clone()) {
        Some((path, blue, green)) => Finding::warn(
            format!(
                "{path}: {blue:?} of {}, {green:?} of {}",
                evidence.baseline.name, evidence.canary.name
            ),
            "clients may not read it: is it meant?",
        ),
        None => Finding::pass(format!("at {} paths", evidence.samples.len())),
    }
}

fn listener(evidence: &Evidence) -> Finding {
    match &evidence.listener {
        Ok(brief) if brief.status < 500 => Finding::pass(format!("status {}", brief.status)),
        Ok(brief) => Finding::fail(
            format!("status {}", brief.status),
            "ask it as a client would, and see tidegate_errors_total for the reason",
        ),
        Err(why) => Finding::fail(why, "is the listener bound to an address of this machine?"),
    }
}
