//! Names that operators write in the configuration, and the small numbers that stand for them on a request's way.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// Longest name accepted; names become metric labels and paths of the admin API.
const MAX_NAME: usize = 64;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidName {
    /// The text as it was written.
    pub given: String,
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no name: use 1 to {MAX_NAME} letters, digits, '-', '_' or '.', and begin with a letter or digit",
            self.given
        )
    }
}

impl std::error::Error for InvalidName {}

fn checked(text: &str) -> Result<Arc<str>, InvalidName> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
    let begins_well = text.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if begins_well && text.len() <= MAX_NAME && text.bytes().all(plain) {
        Ok(text.into())
    } else {
        Err(InvalidName { given: text.chars().take(2 * MAX_NAME).collect() })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and keeps `text`: 1 to 64 of `[A-Za-z0-9._-]`, beginning with a letter or digit.
            ///
            /// # Errors
            /// [`InvalidName`] with the text as it was given.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                checked(text).map(Self)
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }
    };
}

name! {
    /// Name of a route, as the configuration gives it.
    RouteName
}
name! {
    /// Name of a backend, as the configuration gives it.
    BackendName
}
name! {
    /// Name of a rollout, as the configuration gives it.
    RolloutName
}
name! {
    /// Name of a rollout's step, as the configuration gives it.
    StepName
}
name! {
    /// Name of a metric from outside, as the configuration gives it.
    MetricName
}
name! {
    /// Name of a sink of notifications, as the configuration gives it.
    SinkName
}

/// The counters of one (route, backend) pair; an index into every worker's shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u32);
