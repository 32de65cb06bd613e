//! Configuration: text to a checked [`Config`], or all that is wrong with it.
//!
//! `load` reads the file, `substitute` puts the environment in, `reader` walks the TOML tree by the
//! keys of `raw`, and `validate` says what the keys mean together. Nothing else makes a [`Config`].

mod collection;
mod defaults;
mod diff;
mod edge;
mod error;
mod explain;
mod facts;
mod fallback;
mod fault;
mod health_check;
mod json_path;
mod leaf;
mod load;
mod mirror;
pub mod model;
mod outside;
mod patterns;
mod raw;
mod reader;
mod resilience;
mod rollout;
mod route;
mod schema;
mod section;
mod source;
mod substitute;
mod tls;
mod units;
mod validate;
mod warning;
mod words;

#[cfg(test)]
mod tests;

pub use diff::{Change, diff};
pub use error::ConfigErrors;
pub use explain::explain;
pub use fault::Fault;
pub use json_path::JsonPath;
pub use load::{Loaded, Unchecked, load, parse};
pub use model::Config;
pub use schema::schema;
pub use warning::{Warning, warnings};
