//! The open connections of a worker: a drain waits for them, and those that are idle are looked through in parts.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::{Rc, Weak},
};

use tokio::sync::Notify;

use super::downstream::Downstream;

/// Parts that take turns. So thousands that fall idle together are not all woken at once, and the allocator, which gives memory
/// back when more is freed a little later, gets its occasion.
pub(super) const PARTS: usize = 10;
/// Connections in a row that belong to one part: those that came together share the allocator's pages, of which only an empty one
/// can be given back.
const ROW: u64 = 64;

/// Which connections are open.
#[derive(Debug, Default)]
pub(super) struct Registry {
    parts: [RefCell<HashMap<u64, Weak<Downstream>>>; PARTS],
    came: Cell<u64>,
    open: Cell<usize>,
    emptied: Notify,
}

impl Registry {
    /// Makes a connection known for as long as what is returned lives.
    pub(super) fn register(self: &Rc<Self>) -> Registration {
        let id = self.came.get();
        self.came.set(id + 1);
        self.open.set(self.open.get() + 1);
        Registration { registry: self.clone(), id }
    }

    /// Lets all that are open do something.
    pub(super) fn each(&self, act: impl Fn(&Downstream)) {
        (0..PARTS).for_each(|part| self.each_of(part, &act));
    }

    /// The same for one of the [`PARTS`].
    pub(super) fn each_of(&self, part: usize, act: impl Fn(&Downstream)) {
        // What they do may end one of them.
        let open: Vec<_> = self.parts[part].borrow().values().filter_map(Weak::upgrade).collect();
        open.iter().for_each(|downstream| act(downstream));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.get() == 0
    }

    /// Waits until the last one has ended.
    pub(super) async fn emptied(&self) {
        self.emptied.notified().await;
    }

    fn part_of(&self, id: u64) -> &RefCell<HashMap<u64, Weak<Downstream>>> {
        &self.parts[(id / ROW % PARTS as u64) as usize]
    }
}

/// Keeps a connection known.
pub(super) struct Registration {
    registry: Rc<Registry>,
    id: u64,
}

impl Registration {
    /// Lets drains and sweeps reach the connection.
    pub(super) fn show(&self, downstream: &Rc<Downstream>) {
        let mut part = self.registry.part_of(self.id).borrow_mut();
        part.insert(self.id, Rc::downgrade(downstream));
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let registry = &self.registry;
        registry.part_of(self.id).borrow_mut().remove(&self.id);
        registry.open.set(registry.open.get() - 1);
        if registry.is_empty() {
            registry.emptied.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drain_waits_for_the_last() {
        let registry = Rc::new(Registry::default());
        let (one, other) = (registry.register(), registry.register());
        drop(other);
        assert!(!registry.is_empty());
        drop(one);
        registry.emptied().await;
        assert!(registry.is_empty());
    }

    #[test]
    fn those_that_came_together_are_looked_at_together() {
        let registry = Registry::default();
        let row = ROW * 3;
        assert!(
            (row..row + ROW)
                .all(|id| std::ptr::eq(registry.part_of(id), &raw const registry.parts[3]))
        );
        let next = registry.part_of(ROW * PARTS as u64);
        assert!(std::ptr::eq(next, &raw const registry.parts[0]));
    }
}
