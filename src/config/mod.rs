//! Configuration: text to a checked [`Config`].

pub mod model;

pub use model::Config;
