//! The control plane: owns the weights and the configuration, and alone writes the table.

mod audit;
mod hand_split;
mod store;

pub use audit::Audit;
pub use hand_split::{HandSplit, HandSplits, Superseded};
pub use store::{Kept, Store, StoreError};
