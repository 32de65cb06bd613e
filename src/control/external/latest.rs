//! The last answer of a metric's server, and what it is worth by now. Pure: the time is an argument.

use std::time::Duration;

use crate::domain::Moment;

/// A number is worth something for this many intervals.
const FRESH_INTERVALS: u32 = 3;

/// What one query brought.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Response {
    /// One number, which may be infinite.
    Number(f64),
    /// An answer that holds no number.
    None(String),
    /// No answer.
    Silence(String),
}

/// A metric's number, or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub struct ExternalReading {
    /// The number in the unit's base, or why it is missing.
    pub value: Result<f64, String>,
    /// Since when it is known.
    pub age: Option<Duration>,
}

/// What is known of a metric.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Latest {
    answer: Option<(Moment, Result<f64, String>)>,
    /// Why the server has not answered since.
    silence: Option<String>,
}

impl Latest {
    /// Takes what a query brought that was sent at `asked_at`.
    pub(super) fn take(&mut self, asked_at: Moment, response: Response) {
        let answer = match response {
            Response::Silence(why) => {
                self.silence = Some(why);
                return;
            }
            Response::Number(number) => Ok(number),
            Response::None(why) => Err(why),
        };
        *self = Self { answer: Some((asked_at, answer)), silence: None };
    }

    /// What it is worth at `now`.
    pub(super) fn reading(&self, now: Moment, interval: Duration) -> ExternalReading {
        let age = self.answer.as_ref().map(|(at, _)| now.since(*at));
        let stale = age.is_some_and(|age| age > interval * FRESH_INTERVALS);
        let silence = self.silence.as_deref().unwrap_or("the server takes its time");
        let value = match (&self.answer, age) {
            (None, _) | (Some(_), None) => Err(self.silence.as_deref().map_or_else(
                || "not answered yet".to_owned(),
                |why| format!("never answered: {why}"),
            )),
            (Some(_), Some(age)) if stale => {
                Err(format!("the last answer is {} s old: {silence}", age.as_secs()))
            }
            (Some((_, value)), Some(_)) => value.clone(),
        };
        ExternalReading { value, age }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn a_number_stands_for_three_intervals_of_silence() {
        let mut latest = Latest::default();
        assert_eq!(latest.reading(at(0), INTERVAL).value, Err("not answered yet".into()));
        latest.take(at(1), Response::Silence("refused".into()));
        let reading = latest.reading(at(2), INTERVAL);
        assert_eq!((reading.value, reading.age), (Err("never answered: refused".into()), None));
        latest.take(at(10), Response::Number(0.5));
        latest.take(at(20), Response::Silence("refused".into()));
        let reading = latest.reading(at(40), INTERVAL);
        assert_eq!((reading.value, reading.age), (Ok(0.5), Some(Duration::from_secs(30))));
        let stale = latest.reading(at(41), INTERVAL);
        assert_eq!(stale.value, Err("the last answer is 31 s old: refused".into()));
        latest.take(at(42), Response::Number(f64::INFINITY));
        assert_eq!(latest.reading(at(43), INTERVAL).value, Ok(f64::INFINITY));
    }

    #[test]
    fn an_answer_without_a_number_takes_it_away_at_once() {
        let mut latest = Latest::default();
        latest.take(at(1), Response::Number(0.5));
        latest.take(at(2), Response::None("no series".into()));
        let reading = latest.reading(at(3), INTERVAL);
        assert_eq!(reading.value, Err("no series".into()));
        assert_eq!(reading.age, Some(Duration::from_secs(1)));
    }
}
