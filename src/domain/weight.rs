//! Shares of traffic: exact, in basis points.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::BackendName;

/// A share of a route's requests in basis points: 0 to 10 000, where 100 is one percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Weight(u16);

/// Why a number is no weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightError {
    /// Below 0 or above 100 percent.
    OutOfRange(String),
    /// More than two decimals.
    TooFine(String),
    /// No number at all.
    NotANumber(String),
}

impl fmt::Display for WeightError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange(given) => write!(f, "a share of {given} % is not between 0 and 100 %"),
            Self::TooFine(given) => {
                write!(f, "a share of {given} % has more than two decimals; the finest is 0.01 %")
            }
            Self::NotANumber(given) => write!(f, "{given:?} is no percentage such as 12.5"),
        }
    }
}

impl std::error::Error for WeightError {}

impl Weight {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One in five.
    pub const FIFTH: Self = Self(2_000);
    /// Ten percent.
    pub const TENTH: Self = Self(1_000);
    /// One percent.
    pub const HUNDREDTH: Self = Self(100);
    /// Five percent.
    pub const TWENTIETH: Self = Self(500);
    /// Half of everything.
    pub const HALF: Self = Self(5_000);
    /// Everything.
    pub const FULL: Self = Self(10_000);

    /// A weight of `basis_points`, or `None` above 10 000.
    pub const fn from_basis_points(basis_points: u16) -> Option<Self> {
        if basis_points <= 10_000 { Some(Self(basis_points)) } else { None }
    }

    /// A weight of `percent`, 0 to 100 with at most two decimals.
    ///
    /// # Errors
    /// [`WeightError`] outside the range, with a finer share, or for NaN.
    pub fn from_percent(percent: f64) -> Result<Self, WeightError> {
        if percent.is_nan() {
            return Err(WeightError::NotANumber(percent.to_string()));
        }
        if !(0.0..=100.0).contains(&percent) {
            return Err(WeightError::OutOfRange(percent.to_string()));
        }
        let points = percent * 100.0;
        if (points - points.round()).abs() > 1e-6 {
            return Err(WeightError::TooFine(percent.to_string()));
        }
        // In 0..=10 000 by the check above, so the cast is exact.
        Ok(Self(points.round() as u16))
    }

    /// Basis points, 0 to 10 000.
    pub const fn basis_points(self) -> u16 {
        self.0
    }

    /// Percent, 0.0 to 100.0.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// Share, 0.0 to 1.0.
    pub fn share(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        match rest {
            0 => write!(f, "{whole}"),
            r if r % 10 == 0 => write!(f, "{whole}.{}", r / 10),
            r => write!(f, "{whole}.{r:02}"),
        }
    }
}

impl FromStr for Weight {
    type Err = WeightError;

    /// Percent as text: `12.5` or `12.5%`.
    fn from_str(text: &str) -> Result<Self, WeightError> {
        let number = text.trim().trim_end_matches('%').trim_end();
        let percent = number.parse().map_err(|_| WeightError::NotANumber(text.to_owned()))?;
        Self::from_percent(percent)
    }
}

impl Serialize for Weight {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 % 100 {
            0 => serializer.serialize_u16(self.0 / 100),
            _ => serializer.serialize_f64(self.percent()),
        }
    }
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_percent(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The division of a route's requests: each backend once, weights that sum to exactly 100 percent.
///
/// Kept in the order of the names, whatever the order they were written in, so that the same weights give every key the
/// same backend. The *last* backend owns the lowest buckets: in `{ blue = 90, green = 10 }` green owns buckets 0 to 999,
/// and growing green only takes from blue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split(Vec<(BackendName, Weight)>);

/// Why shares are no split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitError {
    /// The weights sum to something other than 10 000 basis points.
    Sum(u32),
    /// A backend is named twice.
    Twice(BackendName),
    /// No backend at all.
    Empty,
}

impl fmt::Display for SplitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sum(points) => {
                write!(f, "the weights sum to {}, not to 100", f64::from(*points) / 100.0)
            }
            Self::Twice(name) => write!(f, "backend {name} is named twice"),
            Self::Empty => f.write_str("a split needs at least one backend"),
        }
    }
}

impl std::error::Error for SplitError {}

impl Split {
    /// Checks the shares and keeps them in the order of their names.
    ///
    /// # Errors
    /// [`SplitError`] when the sum is off, a backend comes twice, or there is none.
    pub fn new(mut shares: Vec<(BackendName, Weight)>) -> Result<Self, SplitError> {
        if shares.is_empty() {
            return Err(SplitError::Empty);
        }
        shares.sort();
        if let Some(pair) = shares.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(SplitError::Twice(pair[0].0.clone()));
        }
        let sum = shares.iter().map(|(_, weight)| u32::from(weight.basis_points())).sum();
        if sum == 10_000 { Ok(Self(shares)) } else { Err(SplitError::Sum(sum)) }
    }

    /// The split of a route whose requests go to no backend at all.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// The shares in the order of their backends' names; they sum to 100, or there are none.
    pub fn shares(&self) -> &[(BackendName, Weight)] {
        &self.0
    }

    /// The weight of `backend`; `None` when the split does not name it.
    pub fn weight(&self, backend: &BackendName) -> Option<Weight> {
        self.0.iter().find(|(name, _)| name == backend).map(|(_, weight)| *weight)
    }
}

impl Serialize for Split {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, weight)| (name, weight)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(shares: &[(&str, f64)]) -> Result<Split, SplitError> {
        let named = |(name, percent): &(&str, f64)| {
            (BackendName::new(name).unwrap(), Weight::from_percent(*percent).unwrap())
        };
        Split::new(shares.iter().map(named).collect())
    }

    #[test]
    fn percent_keeps_two_decimals_and_no_more() {
        assert_eq!(Weight::from_percent(0.01).unwrap().basis_points(), 1);
        assert_eq!(Weight::from_percent(33.33).unwrap().basis_points(), 3333);
        assert!(matches!(Weight::from_percent(0.001), Err(WeightError::TooFine(_))));
        assert!(matches!(Weight::from_percent(100.01), Err(WeightError::OutOfRange(_))));
        assert!(matches!(Weight::from_percent(f64::NAN), Err(WeightError::NotANumber(_))));
    }

    #[test]
    fn every_weight_survives_its_own_text() {
        for points in 0..=10_000 {
            let weight = Weight::from_basis_points(points).unwrap();
            assert_eq!(weight.to_string().parse::<Weight>().unwrap(), weight);
            let json = serde_json::to_string(&weight).unwrap();
            assert_eq!(serde_json::from_str::<Weight>(&json).unwrap(), weight);
        }
    }

    #[test]
    fn a_split_sums_to_exactly_one_hundred() {
        assert!(split(&[("blue", 66.67), ("green", 33.33)]).is_ok());
        assert_eq!(split(&[("blue", 90.0), ("green", 9.99)]), Err(SplitError::Sum(9_999)));
        assert_eq!(split(&[]), Err(SplitError::Empty));
        assert!(matches!(split(&[("a", 50.0), ("a", 50.0)]), Err(SplitError::Twice(_))));
    }
}
