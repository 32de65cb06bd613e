//! A backend's endpoints as a request sees them: which one takes it, and what its end says about that one.
//!
//! Three looks, each less particular: endpoints that take requests, those that start slowly taken by chance; all that take
//! requests; and, where the caller asks for it, all that no operator has drained. The last one is for a backend whose
//! endpoints are all unhealthy: a try may help, and an error was certain (ADR 11).

use super::{Backend, availability::Ejection};
use crate::{
    decision::{
        outlier::Fleet,
        pick::{Candidates, pick, remix},
    },
    domain::{Balance, Class, Moment, Outcome},
};

/// Who looks for an endpoint.
#[derive(Debug, Clone, Copy)]
pub struct Asking {
    /// Whose counters: a worker compares what it sent itself, and so reads no other worker's cache lines.
    pub worker: usize,
    /// The moment.
    pub now: Moment,
    /// What [`pick`] takes for the backend's balance.
    pub number: u64,
    /// The one that will not do, having failed the request already.
    pub tried: Option<usize>,
}

/// Which endpoints will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Full,
    Usable,
    NotDrained,
}

/// A backend's endpoints in one look.
struct Seen<'b> {
    backend: &'b Backend,
    asking: Asking,
    look: Look,
}

impl Backend {
    /// The endpoint for a request; `None` when none takes requests.
    pub fn pick(&self, asking: Asking) -> Option<usize> {
        self.look(asking, Look::Full).or_else(|| self.look(asking, Look::Usable))
    }

    /// The endpoint for a request that would not be served otherwise; `None` when all are drained.
    pub fn pick_any(&self, asking: Asking) -> Option<usize> {
        self.look(asking, Look::NotDrained)
    }

    fn look(&self, asking: Asking, look: Look) -> Option<usize> {
        let seen = Seen { backend: self, asking, look };
        pick(self.balance, &seen, asking.number, asking.tried)
    }

    /// Endpoints that take requests.
    pub fn usable(&self, now: Moment) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.is_usable(now)).count()
    }

    /// An attempt of `worker` at the endpoint at `place` has ended. Gives the ejection that this leads to, or would have.
    pub fn note(
        &self,
        place: usize,
        worker: usize,
        outcome: &Outcome,
        now: Moment,
    ) -> Option<Ejection> {
        let (endpoint, class) = (&self.endpoints[place], outcome.class);
        if self.balance == Balance::Ewma && class != Class::Excluded {
            let latency = outcome.first_byte.unwrap_or(outcome.total);
            endpoint.latency().note(worker, latency, class == Class::Failure, now);
        }
        let rules = self.ejection.rules.as_ref()?;
        let availability = endpoint.availability();
        match class {
            Class::Success => availability.succeeded(),
            Class::Excluded => {}
            Class::Failure => {
                let failures = availability.failed(rules.consecutive_failures, now)?;
                let slow_start = self.ejection.slow_start;
                return self.bench.alone(|| {
                    let fleet = self.fleet(place, now);
                    availability.judge(rules, slow_start, fleet, failures, now)
                });
            }
        }
        None
    }

    fn fleet(&self, place: usize, now: Moment) -> Fleet {
        let ejected = |at: &usize| self.endpoints[*at].availability().is_ejected(now);
        let other = |at: &usize| *at != place && self.endpoints[*at].is_usable(now);
        let all = self.endpoints.len();
        let (ejected, others) = ((0..all).filter(ejected).count(), (0..all).filter(other).count());
        Fleet { all, ejected, others }
    }
}

impl Candidates for Seen<'_> {
    fn len(&self) -> usize {
        self.backend.endpoints.len()
    }

    fn usable(&self, at: usize) -> bool {
        let endpoint = &self.backend.endpoints[at];
        let (availability, Asking { now, number, .. }) = (endpoint.availability(), self.asking);
        let is_full = |max| endpoint.in_flight().total() >= max;
        if self.backend.endpoint_max_in_flight.is_some_and(is_full) {
            return false;
        }
        match self.look {
            Look::Full => {
                // Mixed once more than a key's weight is, which would else choose among the same.
                let bits = || (remix(remix(number ^ endpoint.key())) >> 32) as u32;
                availability.is_usable(now)
                    && availability.takes(now, self.backend.ejection.slow_start, bits)
            }
            Look::Usable => availability.is_usable(now),
            Look::NotDrained => !availability.is_drained(),
        }
    }

    fn load(&self, at: usize) -> u64 {
        let (endpoint, Asking { worker, now, .. }) = (&self.backend.endpoints[at], self.asking);
        let in_flight = endpoint.in_flight().of(worker);
        match self.backend.balance {
            Balance::LeastInFlight | Balance::RoundRobin | Balance::Hash => in_flight.into(),
            Balance::Ewma => endpoint.latency().of(worker).cost(in_flight, now) as u64,
        }
    }

    fn key(&self, at: usize) -> u64 {
        self.backend.endpoints[at].key()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        config::model,
        decision::outlier::{Limit, Ruling},
        domain::{BackendName, EjectionRules, Weight},
        routing::{Bench, Endpoint, Health, WorkerGauge},
    };

    const SLOW_START: Duration = Duration::from_secs(10);

    fn backend(endpoints: usize) -> Backend {
        let endpoint =
            |n| Arc::new(Endpoint::new(format!("127.0.0.1:{}", n + 1).parse().unwrap(), 2));
        Backend {
            name: BackendName::new("blue").unwrap(),
            endpoints: (0..endpoints).map(endpoint).collect(),
            protocol: model::BackendProtocol::Http1,
            balance: Balance::LeastInFlight,
            in_flight: Arc::new(WorkerGauge::new(2)),
            max_in_flight: 100,
            endpoint_max_in_flight: None,
            pool_idle: 1,
            pool_idle_timeout: Duration::from_secs(1),
            cache_status_header: None,
            tls: None,
            ejection: model::Ejection {
                rules: Some(EjectionRules {
                    consecutive_failures: 3,
                    base_time: Duration::from_secs(10),
                    max_time: Duration::from_secs(60),
                    max_share: Weight::HALF,
                }),
                slow_start: Some(SLOW_START),
            },
            bench: Bench::default(),
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    fn asking(now: Moment, number: u64) -> Asking {
        Asking { worker: 0, now, number: remix(number), tried: None }
    }

    fn picks(backend: &Backend, now: Moment) -> Vec<usize> {
        let mut hits = vec![0; backend.endpoints.len()];
        for number in 0..4_000 {
            hits[backend.pick(asking(now, number)).unwrap()] += 1;
        }
        hits
    }

    fn end(backend: &Backend, place: usize, class: Class, ms: u64, now: Moment) -> Option<Ruling> {
        let total = Duration::from_millis(ms);
        let outcome = Outcome { class, blame: None, status: None, first_byte: None, total };
        backend.note(place, 0, &outcome, now).map(|told| told.ruling)
    }

    fn fail(backend: &Backend, place: usize, now: Moment) -> Option<Ruling> {
        (0..3).find_map(|_| end(backend, place, Class::Failure, 1, now))
    }

    fn ill(backend: &Backend, place: usize) {
        let health = Health { healthy: false, why: "refused".to_owned() };
        backend.endpoints[place].availability().set_health(Some(health));
    }

    #[test]
    fn the_only_endpoint_stays_and_it_is_said() {
        let one = backend(1);
        assert_eq!(fail(&one, 0, at(0)), Some(Ruling::Spare(Limit::LastOne)));
        assert_eq!(one.usable(at(0)), 1);
    }

    #[test]
    fn of_two_endpoints_one_goes_and_the_other_stays() {
        let two = backend(2);
        assert_eq!(fail(&two, 0, at(0)), Some(Ruling::Eject));
        assert_eq!(fail(&two, 1, at(0)), Some(Ruling::Spare(Limit::LastOne)));
        assert_eq!(picks(&two, at(5)), [0, 4_000]);
    }

    #[test]
    fn of_ten_endpoints_half_may_go_and_an_unhealthy_one_is_none_that_is_left() {
        let ten = backend(10);
        let rulings: Vec<_> = (0..6).map(|place| fail(&ten, place, at(0)).unwrap()).collect();
        assert_eq!(rulings[..5], [Ruling::Eject; 5]);
        assert_eq!(rulings[5], Ruling::Spare(Limit::MaxShare));
        let two = backend(2);
        ill(&two, 1);
        assert_eq!(fail(&two, 0, at(0)), Some(Ruling::Spare(Limit::LastOne)));
    }

    #[test]
    fn successes_between_failures_keep_it_in() {
        let two = backend(2);
        for _ in 0..10 {
            for class in [Class::Failure, Class::Failure, Class::Success, Class::Excluded] {
                assert!(end(&two, 0, class, 1, at(0)).is_none());
            }
        }
        assert_eq!(two.usable(at(0)), 2);
    }

    #[test]
    fn what_comes_back_gets_little_at_first() {
        let two = backend(2);
        fail(&two, 0, at(0));
        let share = |seconds| picks(&two, at(seconds))[0] as f64 / 4_000.0;
        let shares = [10, 15, 20].map(share);
        // Between two idle endpoints it is drawn half as often as it is looked at.
        for (got, wanted) in shares.into_iter().zip([0.05, 0.25, 0.5]) {
            assert!((got - wanted).abs() < 0.05, "{shares:?}");
        }
    }

    #[test]
    fn alone_it_gets_all_even_when_it_starts_slowly() {
        let two = backend(2);
        fail(&two, 0, at(0));
        ill(&two, 1);
        assert_eq!(picks(&two, at(10)), [4_000, 0]);
    }

    #[test]
    fn the_endpoint_that_answers_sooner_gets_more() {
        let two = Backend { balance: Balance::Ewma, ..backend(2) };
        end(&two, 0, Class::Success, 200, at(1));
        end(&two, 1, Class::Success, 10, at(1));
        assert_eq!(picks(&two, at(1)), [0, 4_000]);
        // Until so many wait there that they cost as much.
        (0..20).for_each(|_| two.endpoints[1].in_flight().enter(0));
        assert_eq!(picks(&two, at(1)), [4_000, 0]);
    }

    #[test]
    fn keys_come_back_one_by_one_to_an_endpoint_that_starts_slowly() {
        let two = Backend { balance: Balance::Hash, ..backend(2) };
        let home = |seconds, key| two.pick(Asking { number: remix(key), ..asking(at(seconds), 0) });
        let keys: Vec<_> = (0..4_000).filter(|key| home(0, *key) == Some(0)).collect();
        fail(&two, 0, at(0));
        assert!(keys.iter().all(|key| home(9, *key) == Some(1)));
        let back = |seconds| keys.iter().filter(|key| home(seconds, **key) == Some(0)).count();
        let shares = [10, 15, 20].map(|seconds| back(seconds) as f64 / keys.len() as f64);
        for (got, wanted) in shares.into_iter().zip([0.1, 0.5, 1.0]) {
            assert!((got - wanted).abs() < 0.05, "{shares:?}");
        }
    }

    #[test]
    fn a_full_endpoint_leaves_the_rest_to_others() {
        let two = Backend { endpoint_max_in_flight: Some(2), ..backend(2) };
        (0..2).for_each(|worker| two.endpoints[0].in_flight().enter(worker));
        assert_eq!(picks(&two, at(0)), [0, 4_000]);
        (0..2).for_each(|worker| two.endpoints[1].in_flight().enter(worker));
        assert_eq!((two.pick(asking(at(0), 1)), two.usable(at(0))), (None, 2));
    }

    #[test]
    fn unhealthy_endpoints_are_for_those_who_ask_for_any() {
        let three = backend(3);
        (0..2).for_each(|place| ill(&three, place));
        three.endpoints[2].set_drained(true);
        assert_eq!(three.pick(asking(at(0), 1)), None);
        let any: Vec<_> = (0..100).filter_map(|n| three.pick_any(asking(at(0), n))).collect();
        assert!(any.len() == 100 && any.contains(&0) && any.contains(&1) && !any.contains(&2));
    }
}
