//! How much work a client of HTTP/2 may make without asking for anything.
//!
//! Frames that carry no request and no body cost the peer that sends them next to nothing, and so do requests that are
//! taken back at once. Each connection has a budget for both, which grows with time and with real work done. Frame headers
//! are counted as they come from the socket: the library does not tell.

use std::cell::Cell;

use crate::{
    domain::{Moment, Queue},
    lifecycle::clock,
};

/// Frames of control that may come at once; and how many more each second.
const CONTROL: u32 = 2_000;
const CONTROL_A_SECOND: u32 = 200;
/// What a part of a body, in either direction, or a request earns.
const EARNED: u32 = 4;

/// Requests that may be taken back at once; and how many more each second. One that was answered gives one back.
const RESETS: u32 = 200;
const RESETS_A_SECOND: u32 = 20;

const PREFACE: u32 = 24;
const FRAME_HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;

/// What is left to a connection.
pub(in crate::proxy) struct Budget {
    control: Cell<u32>,
    resets: Cell<u32>,
    filled: Cell<Moment>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            control: Cell::new(CONTROL),
            resets: Cell::new(RESETS),
            filled: Cell::new(Moment::default()),
        }
    }
}

impl Budget {
    /// A request or a part of a body has come or gone.
    pub(in crate::proxy) fn earn(&self) {
        self.control.set((self.control.get() + EARNED).min(CONTROL));
    }

    /// A request has got its answer.
    pub(in crate::proxy) fn answered(&self) {
        self.resets.set((self.resets.get() + 1).min(RESETS));
    }

    fn spend(&self, from: &Cell<u32>, queue: Queue) -> Result<(), Queue> {
        if from.get() == 0 {
            self.fill(clock::now());
        }
        from.set(from.get().checked_sub(1).ok_or(queue)?);
        Ok(())
    }

    /// Looked at only when something is used up: so an honest connection never asks for the time.
    fn fill(&self, now: Moment) {
        let seconds = now.since(self.filled.get()).as_secs().min(60);
        if seconds == 0 {
            return;
        }
        self.filled.set(now);
        // At most 60 seconds' worth.
        let seconds = seconds as u32;
        let grown = |cell: &Cell<u32>, rate: u32, most: u32| {
            cell.set((cell.get() + seconds * rate).min(most));
        };
        grown(&self.control, CONTROL_A_SECOND, CONTROL);
        grown(&self.resets, RESETS_A_SECOND, RESETS);
    }

    fn take(&self, kind: u8, length: u32, flags: u8) -> Result<(), Queue> {
        match kind {
            DATA if length > 0 || flags & END_STREAM != 0 => self.earn(),
            HEADERS => self.earn(),
            RST_STREAM => return self.spend(&self.resets, Queue::Http2Resets),
            _ => return self.spend(&self.control, Queue::Http2Control),
        }
        Ok(())
    }
}

/// Follows the frames of a connection as they come.
pub(in crate::proxy) struct FrameScanner {
    /// Bytes of the preface or a payload still to come.
    skip: u32,
    head: [u8; FRAME_HEAD],
    /// Bytes of `head` that are there.
    filled: usize,
    /// Number of the last stream that the client opened.
    last_stream: u32,
    /// Kind of the last frame that began.
    last_kind: u8,
}

impl FrameScanner {
    pub(in crate::proxy) const fn new() -> Self {
        let head = [0; FRAME_HEAD];
        Self { skip: PREFACE, head, filled: 0, last_stream: 0, last_kind: HEADERS }
    }

    /// The last stream that the client opened; 0 for none.
    pub(in crate::proxy) const fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// What a client sends that sends too much of it, judged by the last frame.
    pub(in crate::proxy) const fn likely_excess(&self) -> Queue {
        const CONTINUATION: u8 = 9;
        match self.last_kind {
            DATA => Queue::Http2Control,
            CONTINUATION => Queue::Http2Heads,
            _ => Queue::Http2Resets,
        }
    }

    /// Counts the frames that begin in `input`.
    ///
    /// # Errors
    /// What the client has used up.
    pub(in crate::proxy) fn scan(
        &mut self,
        mut input: &[u8],
        budget: &Budget,
    ) -> Result<(), Queue> {
        while !input.is_empty() {
            let skipped = input.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            // No more than `skip`, which is a u32.
            self.skip -= skipped as u32;
            input = &input[skipped..];
            let taken = input.len().min(FRAME_HEAD - self.filled);
            self.head[self.filled..self.filled + taken].copy_from_slice(&input[..taken]);
            self.filled += taken;
            input = &input[taken..];
            if self.filled == FRAME_HEAD {
                self.filled = 0;
                self.begin_frame(budget)?;
            }
        }
        Ok(())
    }

    fn begin_frame(&mut self, budget: &Budget) -> Result<(), Queue> {
        let [a, b, c, kind, flags, d, e, f, g] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]);
        (self.skip, self.last_kind) = (length, kind);
        if kind == HEADERS {
            let stream = u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff;
            self.last_stream = self.last_stream.max(stream);
        }
        budget.take(kind, length, flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream][..], payload].concat()
    }

    fn opened() -> (FrameScanner, Budget) {
        let (mut scanner, budget) = (FrameScanner::new(), Budget::default());
        scanner.scan(&[b'x'; PREFACE as usize], &budget).unwrap();
        // Time stands still, however long the test takes.
        budget.filled.set(Moment::from_nanos(u64::MAX));
        (scanner, budget)
    }

    #[test]
    fn pings_are_counted_however_they_are_cut() {
        for size in [1, 2, 9, 16, 17, 1_000] {
            let (mut scanner, budget) = opened();
            let pings = frame(PING, 0, 0, &[0; 8]).repeat(100);
            pings.chunks(size).for_each(|part| scanner.scan(part, &budget).unwrap());
            assert_eq!(budget.control.get(), CONTROL - 100, "in parts of {size}");
        }
    }

    #[test]
    fn what_is_used_up_ends_it() {
        let (mut scanner, budget) = opened();
        let ping = frame(PING, 0, 0, &[0; 8]);
        let used = (0..=CONTROL).find_map(|_| scanner.scan(&ping, &budget).err());
        assert_eq!(used, Some(Queue::Http2Control));
        let (mut scanner, budget) = opened();
        let reset = frame(RST_STREAM, 0, 1, &[0; 4]);
        let used = (0..=RESETS).find_map(|_| scanner.scan(&reset, &budget).err());
        assert_eq!(used, Some(Queue::Http2Resets));
    }

    #[test]
    fn work_and_time_fill_it_again() {
        let (mut scanner, budget) = opened();
        budget.control.set(0);
        budget.resets.set(0);
        scanner.scan(&frame(DATA, 0, 1, b"x"), &budget).unwrap();
        scanner.scan(&frame(HEADERS, 4, 3, b"x"), &budget).unwrap();
        assert_eq!((budget.control.get(), scanner.last_stream()), (2 * EARNED, 3));
        budget.answered();
        budget.filled.set(Moment::default());
        budget.fill(Moment::default() + std::time::Duration::from_secs(2));
        assert_eq!(budget.resets.get(), 1 + 2 * RESETS_A_SECOND);
        assert_eq!(budget.control.get(), 2 * EARNED + 2 * CONTROL_A_SECOND);
    }

    #[test]
    fn an_empty_part_is_no_work_unless_it_is_the_last() {
        let (mut scanner, budget) = opened();
        budget.control.set(10);
        scanner.scan(&frame(DATA, 0, 1, b""), &budget).unwrap();
        assert_eq!(budget.control.get(), 9);
        scanner.scan(&frame(DATA, END_STREAM, 1, b""), &budget).unwrap();
        assert_eq!(budget.control.get(), 9 + EARNED);
    }
}
