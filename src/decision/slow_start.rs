//! How much of its share an endpoint gets that has just come back: little at first, and more as time goes by.

use std::time::Duration;

/// An endpoint gets no less than this share of what it would get otherwise: enough to get warm, and to be found out again.
const LEAST: f64 = 0.1;

/// Whether an endpoint whose full share is `left` away, of a `whole` slow start, takes a request with these fresh or
/// hashed `bits`. What it takes with some bits it also takes with them later.
pub fn takes(left: Duration, whole: Duration, bits: u32) -> bool {
    let passed = 1.0 - left.as_secs_f64() / whole.as_secs_f64().max(f64::EPSILON);
    f64::from(bits) < passed.max(LEAST) * (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(left_ms: u64) -> f64 {
        let (left, whole) = (Duration::from_millis(left_ms), Duration::from_secs(10));
        let taken = (0..=u16::MAX).filter(|n| takes(left, whole, u32::from(*n) << 16)).count();
        taken as f64 / 65_536.0
    }

    #[test]
    fn the_share_grows_from_a_tenth_to_all() {
        let shares = [10_000, 9_500, 7_500, 5_000, 1_000, 0].map(share);
        for (got, wanted) in shares.into_iter().zip([0.1, 0.1, 0.25, 0.5, 0.9, 1.0]) {
            assert!((got - wanted).abs() < 0.001, "{got} {wanted}");
        }
    }

    #[test]
    fn a_slow_start_cut_short_by_a_reload_keeps_within_bounds() {
        assert!(takes(Duration::from_secs(60), Duration::from_secs(10), 0));
        assert!(!takes(Duration::from_secs(60), Duration::from_secs(10), u32::MAX));
        assert!(takes(Duration::ZERO, Duration::ZERO, u32::MAX));
    }
}
