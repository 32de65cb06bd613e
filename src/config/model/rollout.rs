//! A rollout as the rest of Tidegate sees it: its plan, and what is called on its way.

use super::{Check, Hook};
use crate::domain::Plan;

/// `[rollout.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// Name, steps and limits; its route and backends exist, and no other rollout has the route.
    pub plan: Plan,
    /// Synthetic transactions, by unique name.
    pub checks: Vec<Check>,
    /// Programs and addresses, in the order of the file.
    pub hooks: Vec<Hook>,
}
