//! What mirrored requests may take of a worker: so many at once, and so many bytes.

use std::{cell::Cell, rc::Rc};

/// Bytes of bodies and answers that all copies of a worker may hold together.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// The copies of one worker.
#[derive(Default)]
pub(in crate::proxy) struct Desk {
    under_way: Cell<u32>,
    held: Cell<usize>,
}

impl Desk {
    /// A seat for one more copy, if there are fewer than `most`.
    pub(super) fn seat(self: &Rc<Self>, most: u32) -> Option<Seat> {
        let under_way = self.under_way.get();
        (under_way < most).then(|| {
            self.under_way.set(under_way + 1);
            Seat(self.clone())
        })
    }

    /// Room for bytes; none yet.
    pub(super) fn room(self: &Rc<Self>) -> Room {
        Room { desk: self.clone(), bytes: 0 }
    }
}

/// One copy under way; gives its place back when dropped.
pub(super) struct Seat(Rc<Desk>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
    }
}

/// Bytes that a copy holds; gives them back when dropped.
pub(super) struct Room {
    desk: Rc<Desk>,
    bytes: usize,
}

impl Room {
    /// Takes room for `more`; false if there is none.
    #[must_use]
    pub(super) fn grow(&mut self, more: usize) -> bool {
        let held = self.desk.held.get() + more;
        let fits = held <= MOST_BYTES;
        if fits {
            self.desk.held.set(held);
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
        self.desk.held.set(self.desk.held.get() - less);
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
    fn seats_and_room_are_bounded_and_come_back() {
        let desk = Rc::<Desk>::default();
        let seats: Vec<_> = (0..3).map_while(|_| desk.seat(2)).collect();
        assert_eq!(seats.len(), 2);
        drop(seats);
        assert!(desk.seat(1).is_some());
        let (mut one, mut other) = (desk.room(), desk.room());
        assert!(one.grow(MOST_BYTES - 1) && other.grow(1) && !other.grow(1));
        one.shrink(1);
        assert!(other.grow(1));
        drop(one);
        assert!(other.grow(MOST_BYTES - 2));
    }
}
