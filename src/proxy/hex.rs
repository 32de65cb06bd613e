//! Numbers as hexadecimal digits.

/// The digits of `number` in lower case, the highest first. All at once, since every request has some.
pub(super) fn digits(number: u64) -> [u8; 16] {
    let mut text = [0; 16];
    let (high, low) = text.split_at_mut(8);
    high.copy_from_slice(&half(number >> 32));
    low.copy_from_slice(&half(number & 0xffff_ffff));
    text
}

/// The digits of a number below 2^32.
const fn half(number: u64) -> [u8; 8] {
    const fn each(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    // Each digit gets a byte of its own.
    let pairs = (number | number << 16) & 0x0000_ffff_0000_ffff;
    let bytes = (pairs | pairs << 8) & 0x00ff_00ff_00ff_00ff;
    let values = (bytes | bytes << 4) & each(0x0f);
    let letters = (values + each(6)) >> 4 & each(1);
    (values + each(b'0') + letters * (b'a' - b'0' - 10) as u64).to_be_bytes()
}

/// The number that `digits` spell, 32 of them at most; lower case alone, as the headers' grammars have it.
pub(super) fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn they_are_what_the_library_would_write(number in 0u64..=u64::MAX, shift in 0u32..64) {
            for number in [number >> shift, 0, u64::MAX, 0x0123_4567_89ab_cdef] {
                let text = String::from_utf8(digits(number).to_vec()).unwrap();
                proptest::prop_assert_eq!(super::number(text.as_bytes()), Some(number.into()));
                proptest::prop_assert_eq!(text, format!("{number:016x}"));
            }
        }
    }
}
