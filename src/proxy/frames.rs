//! Where one frame of a WebSocket ends and the next begins (RFC 6455 §5.2): heads are counted, payloads passed over.
//!
//! Nothing else is read of a tunnel. A frame of Tidegate's own may be sent between two frames, and nowhere else.

/// Says that the service restarts (1012): the client should come again, and will meet the baseline.
pub(super) const CLOSE_FOR_RESTART: [u8; 4] = [0x88, 0x02, 0x03, 0xf4];

/// Two bytes, and the longest length and mask that may follow.
const LONGEST_HEAD: usize = 14;

/// A place in a stream of frames, at its beginning at first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Frames {
    head: [u8; LONGEST_HEAD],
    /// Bytes of a head that have passed.
    had: usize,
    /// Bytes of a payload that have not.
    left: u64,
}

impl Frames {
    /// Whether every frame that has begun has ended.
    pub(super) const fn is_between(&self) -> bool {
        self.had == 0 && self.left == 0
    }

    /// Passes over `bytes`.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.pass_one(bytes)..];
        }
    }

    /// How many of `bytes` belong to the frame that has begun, or begins with them.
    pub(super) fn rest(mut self, bytes: &[u8]) -> usize {
        self.pass_one(bytes)
    }

    /// Passes over `bytes` up to the end of a frame; returns how many that were.
    fn pass_one(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        if self.left == 0 {
            for byte in bytes {
                self.head[self.had] = *byte;
                self.had += 1;
                passed += 1;
                if let Some(length) = self.payload_length() {
                    (self.had, self.left) = (0, length);
                    break;
                }
            }
        }
        let rest = (bytes.len() - passed) as u64;
        let payload = rest.min(self.left);
        self.left -= payload;
        // No more than `bytes` has, so the cast is exact.
        passed + payload as usize
    }

    /// What a whole head says of its payload; `None` while more of it must come.
    fn payload_length(&self) -> Option<u64> {
        let head = &self.head[..self.had];
        let second = *head.get(1)?;
        let (short, mask) = (second & 0x7f, if second & 0x80 == 0 { 0 } else { 4 });
        let wide = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if head.len() < 2 + wide + mask {
            return None;
        }
        let digits = &head[2..2 + wide];
        let length = digits.iter().fold(0, |sum: u64, digit| sum << 8 | u64::from(*digit));
        Some(if wide == 0 { short.into() } else { length })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(payload: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut bytes = vec![0x82];
        match payload {
            0..=125 => bytes.push(mask | payload as u8),
            126..=0xffff => {
                bytes.push(mask | 126);
                bytes.extend((payload as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend((payload as u64).to_be_bytes());
            }
        }
        bytes.extend(vec![0xff; if masked { 4 } else { 0 } + payload]);
        bytes
    }

    #[test]
    fn a_frame_ends_with_its_last_byte_and_not_before() {
        for (payload, masked) in [(0, false), (0, true), (125, false), (126, true), (70_000, false)]
        {
            let bytes = frame(payload, masked);
            let mut frames = Frames::default();
            frames.pass(&bytes[..bytes.len() - 1]);
            assert!(!frames.is_between(), "{payload} {masked}");
            let last = bytes[bytes.len() - 1];
            assert_eq!(frames.rest(&[last, 0xff, 0xff]), 1, "{payload} {masked}");
            frames.pass(&[last]);
            assert!(frames.is_between(), "{payload} {masked}");
        }
    }

    #[test]
    fn a_length_beyond_all_bounds_never_ends() {
        let mut frames = Frames::default();
        frames.pass(&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255]);
        frames.pass(&[0; 10_000]);
        assert!(!frames.is_between());
    }

    proptest! {
        #[test]
        fn however_the_bytes_come_frames_end_where_they_end(
            sizes in prop::collection::vec((0usize..300, any::<bool>()), 1..8),
            cut in 1usize..50,
        ) {
            let stream: Vec<u8> = sizes.iter().flat_map(|(size, mask)| frame(*size, *mask)).collect();
            let mut ends = vec![0];
            for (size, mask) in &sizes {
                ends.push(ends.last().unwrap() + frame(*size, *mask).len());
            }
            let mut frames = Frames::default();
            let mut at = 0;
            for part in stream.chunks(cut) {
                let next = *ends.iter().find(|end| **end > at).unwrap();
                prop_assert_eq!(frames.rest(part), part.len().min(next - at));
                frames.pass(part);
                at += part.len();
                prop_assert_eq!(frames.is_between(), ends.contains(&at), "at {}", at);
            }
        }
    }
}
