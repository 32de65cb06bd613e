//! The rollout: a machine that goes forward while the evidence is good and turns back at once when it is not.
//!
//! [`State`] with [`State::step`] is the machine: input in, effects out. [`Engine`] feeds it: counters and the time in, and
//! out of them windows, conditions, verdict, and again effects. Neither does anything by itself.

mod effect;
mod engine;
mod errand;
mod input;
mod moves;
mod state;
mod step;

#[cfg(test)]
mod tests;

pub use effect::{Effect, News, NewsKind};
pub use engine::{Engine, SetFault};
pub use errand::{Errand, Errands, Progress};
pub use input::{Command, Input, Refused, Ticket, Verb};
pub use state::{Hold, PauseCause, Phase, State, Stay};
