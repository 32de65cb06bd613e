//! What the machine tells, as events and notifications.

use crate::{
    decision::rollout::{News, NewsKind},
    domain::{Notification, RolloutName},
    telemetry::{Event, EventKind, SELF_ACTOR},
};

/// The entry in the audit trail.
pub(super) fn event(rollout: &RolloutName, news: &News, at_ms: u64) -> Event {
    let event = Event::new(kind(news.kind), at_ms, rollout.as_str(), news.message.as_str());
    let json = |text: &Option<String>| text.as_ref().map(|text| text.as_str().into());
    event
        .by(news.actor.as_deref().unwrap_or(SELF_ACTOR))
        .with_change(json(&news.before), json(&news.after))
}

/// What sinks are told of it, if anything; `reasons` are those of the verdict.
pub(super) fn notification(
    rollout: &RolloutName,
    news: &News,
    reasons: Vec<String>,
    at_ms: u64,
) -> Option<Notification> {
    Some(Notification {
        kind: news.kind.notification()?,
        severity: news.severity,
        rollout: rollout.clone(),
        step: news.step.as_ref().map(ToString::to_string),
        weight: news.weight,
        message: news.message.clone(),
        rule: news.rule.clone(),
        reasons,
        at_ms,
    })
}

const fn kind(news: NewsKind) -> EventKind {
    match news {
        NewsKind::Started => EventKind::RolloutStarted,
        NewsKind::Advanced => EventKind::RolloutAdvanced,
        NewsKind::Held => EventKind::RolloutHeld,
        NewsKind::GateReached => EventKind::RolloutGateReached,
        NewsKind::AdvanceAsked => EventKind::RolloutAdvanceAsked,
        NewsKind::Paused => EventKind::RolloutPaused,
        NewsKind::Resumed => EventKind::RolloutResumed,
        NewsKind::Promoted => EventKind::RolloutPromoted,
        NewsKind::RolledBack => EventKind::RolloutRolledBack,
        NewsKind::Failed => EventKind::RolloutFailed,
        NewsKind::Continued => EventKind::RolloutContinued,
        NewsKind::Unwatched => EventKind::RolloutUnwatched,
        NewsKind::ThresholdSet => EventKind::RolloutThresholdSet,
        NewsKind::AlertRaised => EventKind::RolloutAlertRaised,
        NewsKind::AlertResolved => EventKind::RolloutAlertResolved,
        NewsKind::NotWritten => EventKind::RolloutNotWritten,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trail_calls_news_by_their_own_words() {
        for news in NewsKind::ALL {
            assert_eq!(kind(*news).label(), news.label());
        }
    }
}
