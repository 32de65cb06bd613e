//! Memory that the requests of one worker may hold together for one purpose.

use std::{cell::Cell, rc::Rc};

/// So many bytes, in the hands of whoever took room.
pub(super) struct Store {
    most: usize,
    held: Cell<usize>,
}

impl Store {
    /// A store of `most` bytes.
    pub(super) fn new(most: usize) -> Rc<Self> {
        Rc::new(Self { most, held: Cell::new(0) })
    }

    /// Room in it; none yet.
    pub(super) fn room(self: &Rc<Self>) -> Room {
        Room { store: self.clone(), bytes: 0 }
    }
}

/// Bytes of a store; gives them back when dropped.
pub(super) struct Room {
    store: Rc<Store>,
    bytes: usize,
}

impl Room {
    /// Takes room for `more`; false if there is none.
    #[must_use]
    pub(super) fn grow(&mut self, more: usize) -> bool {
        let held = self.store.held.get().saturating_add(more);
        let fits = held <= self.store.most;
        if fits {
            self.store.held.set(held);
            self.bytes += more;
        }
        fits
    }

    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back the room of `less`, which was taken.
    pub(super) fn shrink(&mut self, less: usize) {
        self.bytes -= less;
        self.store.held.set(self.store.held.get() - less);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_and_comes_back() {
        let store = Store::new(10);
        let (mut one, mut other) = (store.room(), store.room());
        assert!(one.grow(9) && other.grow(1) && !other.grow(1));
        one.shrink(1);
        assert!(other.grow(1) && !other.grow(usize::MAX));
        drop(one);
        assert!(other.grow(8) && !other.grow(1));
    }
}
