//! What can happen to a new version, and how a rollout of it should end.

use std::{fmt, str::FromStr};

use super::sample::Fault;

/// A story that the demo plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scenario {
    /// Green is as good as blue.
    #[default]
    Healthy,
    /// Green answers every fifth request with 500.
    Errors,
    /// Green takes 300 ms.
    Slow,
    /// Green is gone: connections are refused.
    Down,
    /// As `Errors`, but clients get blue's answer instead.
    Masked,
    /// Hardly anybody asks; later, many do.
    Thin,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Self; 6] =
        [Self::Healthy, Self::Errors, Self::Slow, Self::Down, Self::Masked, Self::Thin];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Errors => "errors",
            Self::Slow => "slow",
            Self::Down => "down",
            Self::Masked => "masked",
            Self::Thin => "thin",
        }
    }

    /// What goes wrong with green, once it has a second step's share.
    pub(super) const fn fault(self) -> Option<Fault> {
        match self {
            Self::Healthy | Self::Thin => None,
            Self::Errors | Self::Masked => Some(Fault::Errors),
            Self::Slow => Some(Fault::Slow),
            Self::Down => Some(Fault::Down),
        }
    }

    /// Whether clients get blue's answer where green fails.
    pub(super) const fn falls_back(self) -> bool {
        matches!(self, Self::Masked)
    }

    /// The phase in which its rollout should end.
    pub(super) const fn end(self) -> &'static str {
        match self.fault() {
            None => "promoted",
            Some(_) => "rolled_back",
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|known| known.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no such scenario; there are {names}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_known_by_its_name() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.name().parse(), Ok(scenario));
        }
        assert!("sunny".parse::<Scenario>().unwrap_err().contains("healthy, errors"));
    }
}
