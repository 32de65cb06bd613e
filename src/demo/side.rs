//! Blue or green, and things of which there is one for each.

use std::ops::{Index, IndexMut};

/// One of the two sample servers; its name is its backend's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The version that everybody knows.
    Blue,
    /// The new one.
    Green,
}

impl Side {
    /// Both, in the order in which they are shown.
    pub(super) const ALL: [Self; 2] = [Self::Blue, Self::Green];

    /// Name of the backend, and what its server answers.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }

    /// The side whose server answered `text`.
    pub(super) fn named(text: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|side| side.name().as_bytes() == text.trim_ascii_end())
    }

    /// The side across.
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }
}

/// Something of each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sides<T>([T; 2]);

impl<T> Sides<T> {
    /// What `make` makes for each side.
    pub(super) fn of(make: impl FnMut(Side) -> T) -> Self {
        Self(Side::ALL.map(make))
    }

    /// What `make` makes for each side, if it can for both.
    pub(super) fn try_of<E>(mut make: impl FnMut(Side) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self([make(Side::Blue)?, make(Side::Green)?]))
    }
}

impl<T> Index<Side> for Sides<T> {
    type Output = T;
    fn index(&self, side: Side) -> &T {
        let [blue, green] = &self.0;
        match side {
            Side::Blue => blue,
            Side::Green => green,
        }
    }
}

impl<T> IndexMut<Side> for Sides<T> {
    fn index_mut(&mut self, side: Side) -> &mut T {
        let [blue, green] = &mut self.0;
        match side {
            Side::Blue => blue,
            Side::Green => green,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_known_by_its_answer() {
        for side in Side::ALL {
            assert_eq!(Side::named(format!("{}\n", side.name()).as_bytes()), Some(side));
            assert_eq!(Sides::of(|each| each)[side], side);
            assert_eq!(side.other().other(), side);
        }
        assert_eq!(Side::named(b"bluegreen"), None);
    }
}
