//! Bytes that are near.

/// Where the first `wanted` is in `bytes`.
///
/// The lines of a head are short, and their names shorter: within a few words of eight bytes nothing is gained by a search that
/// first has to look what the machine offers, and that is called rather than inlined. What is farther off is left to one.
#[inline]
pub(super) fn find(wanted: u8, bytes: &[u8]) -> Option<usize> {
    const WORD: usize = 8;
    const NEAR: usize = 5 * WORD;
    let pattern = u64::from_ne_bytes([wanted; WORD]);
    let (words, rest) = bytes.as_chunks::<WORD>();
    for (place, word) in words.iter().take(NEAR / WORD).enumerate() {
        let zeros = zero_bytes(u64::from_le_bytes(*word) ^ pattern);
        if zeros != 0 {
            return Some(place * WORD + (zeros.trailing_zeros() / u8::BITS) as usize);
        }
    }
    let from = bytes.len() - rest.len();
    let (from, found) = if from <= NEAR {
        (from, rest.iter().position(|byte| *byte == wanted))
    } else {
        (NEAR, memchr::memchr(wanted, &bytes[NEAR..]))
    };
    Some(from + found?)
}

/// The highest bit of each byte that is zero; of the bytes above the first one, others may be set too.
const fn zero_bytes(word: u64) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    word.wrapping_sub(ONES) & !word & HIGHS
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn it_finds_what_a_plain_search_finds(
            bytes in proptest::collection::vec(0u8..4, 0..80),
            fill in 0u8..=255,
            length in 0usize..80,
        ) {
            for wanted in 0..4 {
                proptest::prop_assert_eq!(find(wanted, &bytes), memchr::memchr(wanted, &bytes));
            }
            // Far off, and beside bytes that differ in one bit.
            let mut far = vec![fill; length];
            far.extend_from_slice(&bytes);
            let wanted = fill ^ 1;
            proptest::prop_assert_eq!(find(wanted, &far), memchr::memchr(wanted, &far));
        }
    }
}
