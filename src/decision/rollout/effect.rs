//! What a rollout wants done, in this order.

use super::{Errand, State, Ticket};
use crate::domain::{HookPoint, NotificationKind, Severity, StepName, Weight};

/// One thing to be done. Effects are carried out in their order; none waits for another but where it says so.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Give the canary this share and the baseline the rest, at once.
    SetWeight(Weight),
    /// Requests that the canary has not answered move to the baseline, its tunnels are closed.
    RecallCanary,
    /// Make this state durable and answer with `Persisted` or `PersistFailed`: a move forward waits for it.
    Persist {
        /// For the answer.
        ticket: Ticket,
        /// What to write: where the move leads.
        state: Box<State>,
    },
    /// Make the present state durable when it can be; nothing waits for it.
    Checkpoint,
    /// Run hooks or checks and answer with `Done`.
    Run(Errand),
    /// Call the hooks of a point; nothing waits for them.
    CallHooks(HookPoint),
    /// For the audit trail and, where it has a [`NewsKind::notification`], the sinks.
    Tell(Box<News>),
}

/// Something that has happened to a rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct News {
    /// What.
    pub kind: NewsKind,
    /// How much it matters.
    pub severity: Severity,
    /// Whose doing; `None` is Tidegate's own.
    pub actor: Option<String>,
    /// The step, where there is one.
    pub step: Option<StepName>,
    /// The canary's weight after it.
    pub weight: Weight,
    /// State before, for a change.
    pub before: Option<String>,
    /// State after, for a change.
    pub after: Option<String>,
    /// The same for people.
    pub message: String,
    /// The condition of an alert; empty for the other kinds.
    pub rule: String,
}

macro_rules! news {
    ($($(#[$doc:meta])* $kind:ident = $label:literal, $notification:expr, $severity:ident;)*) => {
        /// What has happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum NewsKind {
            $($(#[$doc])* $kind,)*
        }

        impl NewsKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// The word for it in the audit trail.
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$kind => $label,)*
                }
            }

            /// What the sinks are told, if anything.
            pub const fn notification(self) -> Option<NotificationKind> {
                match self {
                    $(Self::$kind => $notification,)*
                }
            }

            /// How much it matters, unless an alert says otherwise.
            pub const fn severity(self) -> Severity {
                match self {
                    $(Self::$kind => Severity::$severity,)*
                }
            }
        }
    };
}

news! {
    /// The rollout has begun with its checks.
    Started = "rollout_started", Some(NotificationKind::Started), Info;
    /// A step has begun.
    Advanced = "rollout_advanced", Some(NotificationKind::Advanced), Info;
    /// A step's time is served and something is missing.
    Held = "rollout_held", Some(NotificationKind::Held), Warning;
    /// A step waits for an operator.
    GateReached = "rollout_gate_reached", Some(NotificationKind::Held), Info;
    /// An operator wants to go on, whatever is missing.
    AdvanceAsked = "rollout_advance_asked", None, Info;
    /// Nothing moves by itself but a rollback.
    Paused = "rollout_paused", Some(NotificationKind::Paused), Warning;
    /// A pause is over.
    Resumed = "rollout_resumed", Some(NotificationKind::Resumed), Info;
    /// All traffic is on the canary for good.
    Promoted = "rollout_promoted", Some(NotificationKind::Promoted), Info;
    /// All traffic is on the baseline.
    RolledBack = "rollout_rolled_back", Some(NotificationKind::RolledBack), Critical;
    /// The rollout ended before the canary got any traffic.
    Failed = "rollout_failed", Some(NotificationKind::Failed), Critical;
    /// The process started anew and the rollout goes on where it was.
    Continued = "rollout_continued", None, Info;
    /// Nobody looked for a while; that time does not count.
    Unwatched = "rollout_unwatched", None, Warning;
    /// A threshold was changed by hand.
    ThresholdSet = "rollout_threshold_set", None, Info;
    /// An alert's condition has come true.
    AlertRaised = "rollout_alert_raised", Some(NotificationKind::Alert), Warning;
    /// An alert's condition is true no longer.
    AlertResolved = "rollout_alert_resolved", Some(NotificationKind::Resolved), Info;
    /// A move could not be made durable; nothing goes forward.
    NotWritten = "rollout_not_written", Some(NotificationKind::Alert), Critical;
}
