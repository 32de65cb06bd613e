//! What mirrored requests may take of a worker: so many at once, and so many bytes.

use std::{cell::Cell, rc::Rc};

use crate::proxy::room::{Room, Store};

/// Bytes of bodies and answers that all copies of a worker may hold together.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// The copies of one worker.
pub(in crate::proxy) struct Desk {
    under_way: Cell<u32>,
    held: Rc<Store>,
}

impl Default for Desk {
    fn default() -> Self {
        Self { under_way: Cell::default(), held: Store::new(MOST_BYTES) }
    }
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
    pub(super) fn room(&self) -> Room {
        self.held.room()
    }
}

/// One copy under way; gives its place back when dropped.
pub(super) struct Seat(Rc<Desk>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_bounded_and_come_back_and_room_is_of_one_store() {
        let desk = Rc::<Desk>::default();
        let seats: Vec<_> = (0..3).map_while(|_| desk.seat(2)).collect();
        assert_eq!(seats.len(), 2);
        drop(seats);
        assert!(desk.seat(1).is_some());
        let (mut one, mut other) = (desk.room(), desk.room());
        assert!(one.grow(MOST_BYTES) && !other.grow(1));
    }
}
