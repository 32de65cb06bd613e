//! Whether an endpoint is healthy, from the results of its checks.
//!
//! The first result decides at once: an endpoint that nobody has looked at yet takes requests, and one that is dead when
//! the process begins should not do so for long. After that it takes several in a row, so that one lost packet changes nothing.

/// Results of an endpoint's checks so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streak {
    known: Option<bool>,
    /// Results in a row that say otherwise.
    against: u32,
}

impl Streak {
    /// An endpoint of which `known` is known: whether it is healthy, if anything is.
    pub const fn new(known: Option<bool>) -> Self {
        Self { known, against: 0 }
    }

    /// Takes one result; gives whether the endpoint is healthy if that is news.
    pub fn take(&mut self, good: bool, healthy_after: u32, unhealthy_after: u32) -> Option<bool> {
        if self.known == Some(good) {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        let needed = match (self.known, good) {
            (None, _) => 1,
            (Some(_), true) => healthy_after,
            (Some(_), false) => unhealthy_after,
        };
        if self.against < needed {
            return None;
        }
        *self = Self::new(Some(good));
        Some(good)
    }

    /// Results in a row that say otherwise than what is known.
    pub const fn against(&self) -> u32 {
        self.against
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of results written as `+` and `-`, with `.` where nothing is news.
    fn news(known: Option<bool>, results: &str) -> String {
        let mut streak = Streak::new(known);
        let sign = |news: Option<bool>| news.map_or('.', |good| if good { '+' } else { '-' });
        results.chars().map(|result| sign(streak.take(result == '+', 2, 3))).collect()
    }

    #[test]
    fn the_first_result_decides_and_then_it_takes_several_in_a_row() {
        assert_eq!(news(None, "+--+---+++"), "+.....-.+.");
        assert_eq!(news(None, "-+-++---"), "-...+..-");
    }

    #[test]
    fn what_is_known_already_is_no_news() {
        assert_eq!(news(Some(true), "+++---"), ".....-");
        assert_eq!(news(Some(false), "--+-++"), ".....+");
    }
}
