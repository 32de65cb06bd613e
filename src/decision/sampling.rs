//! Which requests are traced.

use crate::domain::Weight;

/// Whether a request is traced: as its caller says, where the caller is one whose word counts (`told`); else by chance,
/// `share` of them, with `draw` any 64 random bits of Tidegate's own. A caller whose word does not count has no say in
/// either direction: nobody outside decides what the tracing costs, or what it does not see.
pub fn is_sampled(told: Option<bool>, share: Weight, draw: u64) -> bool {
    told.unwrap_or_else(|| draw % 10_000 < u64::from(share.basis_points()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_whose_word_counts_decides() {
        for share in [Weight::ZERO, Weight::HALF, Weight::FULL] {
            assert!(is_sampled(Some(true), share, 9_999));
            assert!(!is_sampled(Some(false), share, 0));
        }
    }

    #[test]
    fn else_exactly_the_share_is_drawn() {
        for share in [Weight::ZERO, Weight::HUNDREDTH, Weight::HALF, Weight::FULL] {
            let drawn = (0..10_000).filter(|draw| is_sampled(None, share, *draw)).count();
            assert_eq!(drawn, usize::from(share.basis_points()));
        }
        assert!(is_sampled(None, Weight::FULL, u64::MAX));
        assert!(!is_sampled(None, Weight::ZERO, u64::MAX));
    }
}
