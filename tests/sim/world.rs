//! A world for one rollout: traffic in numbers, a disk that may be full, hooks that may fail. `promises` are what it is held to.

mod promises;

use std::{collections::BTreeMap, time::Duration};

use tidegate::{
    decision::{
        judge::{Sample, Spent},
        rollout::{Command, Effect, Engine, Errand, News, NewsKind, Phase, State, Ticket, Verb},
        stats::{Totals, bucket_index},
    },
    domain::{MetricName, MirrorResult, Moment, Plan, Weight},
};

use self::promises::Settling;

/// These worlds are looked at more seldom than a real one, but not as seldom as when they stop.
pub(crate) const SELDOM: Duration = Duration::from_secs(60);

/// How one side does at present.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Health {
    /// Share of attempts that fail.
    pub(crate) errors: f64,
    /// Latency of nineteen in twenty.
    pub(crate) latency: Duration,
    /// Endpoints that take requests.
    pub(crate) endpoints: u64,
    /// Share of answers from a cache.
    pub(crate) cache_hits: f64,
    /// Share of attempts that the baseline answers in its place.
    pub(crate) fallbacks: f64,
    /// Share of mirrored answers that differ.
    pub(crate) differences: f64,
}

impl Health {
    pub(crate) const GOOD: Self = Self {
        errors: 0.000_2,
        latency: Duration::from_millis(50),
        endpoints: 2,
        cache_hits: 0.9,
        fallbacks: 0.0,
        differences: 0.001,
    };
}

/// What surrounds the rollout.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    /// Requests a second, both sides together.
    pub(crate) rps: f64,
    pub(crate) canary: Health,
    pub(crate) baseline: Health,
    pub(crate) checks_failed: u64,
    /// Share of the requests that a mirror gets.
    pub(crate) mirrored: f64,
    pub(crate) process_memory: u64,
    pub(crate) external: BTreeMap<MetricName, f64>,
    /// Whether state can be written.
    pub(crate) disk: bool,
    /// Whether hooks and checks go well.
    pub(crate) errands: bool,
}

impl Weather {
    pub(crate) fn fair(rps: f64) -> Self {
        Self {
            rps,
            canary: Health::GOOD,
            baseline: Health::GOOD,
            checks_failed: 0,
            mirrored: 0.0,
            process_memory: 100_000_000,
            external: BTreeMap::new(),
            disk: true,
            errands: true,
        }
    }
}

/// One rollout in its world.
pub(crate) struct World {
    pub(crate) weather: Weather,
    engine: Engine,
    now: Moment,
    /// The canary's share in the data plane.
    weight: Weight,
    /// The state as the disk has it.
    durable: State,
    /// A write that the disk refused and that is made up for when it can be.
    unwritten: bool,
    canary: Side,
    baseline: Side,
    in_a_row: u64,
    spent: Spent,
    /// Questions without an answer yet.
    pub(crate) open: Vec<Question>,
    /// Time at the present step, pauses left out, as this world counts it.
    served: Duration,
    /// An operator meddled with the present step.
    meddled: bool,
    /// Time has passed in which nobody looked.
    stopped: bool,
    settling: Settling,
    news: Vec<News>,
}

/// What the rollout waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Question {
    Errand(Errand),
    /// A write that is over, well or not, and of which the rollout does not know yet.
    Write(Ticket, bool),
}

/// Counters of one side with the fractions that a count cannot hold.
#[derive(Debug, Clone, Default)]
struct Side {
    totals: Totals,
    attempts: f64,
    failures: f64,
}

impl Side {
    /// Counts `attempts` of a side in `health`; gives how many failed.
    fn count(&mut self, attempts: f64, health: &Health) -> u64 {
        self.attempts += attempts;
        self.failures += attempts * health.errors;
        let whole = self.attempts.floor();
        let bad = self.failures.floor().min(whole);
        self.attempts -= whole;
        self.failures -= bad;
        let (all, bad) = (whole as u64, bad as u64);
        self.totals.success += all - bad;
        self.totals.failure += bad;
        self.totals.fallbacks += (whole * health.fallbacks) as u64;
        self.totals.cache_answers += all;
        self.totals.cache_hits += (whole * health.cache_hits) as u64;
        let slow = all / 25;
        let latencies = &mut self.totals.total.histogram;
        latencies.add(bucket_index(health.latency), all - slow);
        latencies.add(bucket_index(health.latency * 2), slow);
        self.totals.total.sum_us += all * health.latency.as_micros() as u64;
        bad
    }
}

impl Side {
    /// Compares the answers to `copies` of the other side's requests.
    fn compare(&mut self, copies: f64, differences: f64) {
        let (all, differing) = (copies as u64, (copies * differences) as u64);
        self.totals.comparisons[MirrorResult::Same.index()] += all - differing;
        self.totals.comparisons[MirrorResult::Different.index()] += differing;
    }
}

impl World {
    pub(crate) fn new(plan: Plan, weather: Weather) -> Self {
        let state = State::idle(plan);
        Self {
            weather,
            durable: state.clone(),
            engine: Engine::new(state).looked_at_every(SELDOM),
            now: Moment::default(),
            weight: Weight::ZERO,
            unwritten: false,
            canary: Side::default(),
            baseline: Side::default(),
            in_a_row: 0,
            spent: Spent::default(),
            open: Vec::new(),
            served: Duration::ZERO,
            meddled: false,
            stopped: false,
            settling: Settling::default(),
            news: Vec::new(),
        }
    }

    /// A world that is looked at as often as a real one.
    pub(crate) fn watched(plan: Plan, weather: Weather) -> Self {
        let engine = Engine::new(State::idle(plan.clone()));
        Self { engine, ..Self::new(plan, weather) }
    }

    pub(crate) fn state(&self) -> &State {
        self.engine.state()
    }

    pub(crate) fn phase(&self) -> &Phase {
        &self.engine.state().phase
    }

    pub(crate) fn has_heard(&self, kind: NewsKind) -> bool {
        self.news.iter().any(|news| news.kind == kind)
    }

    pub(crate) fn news(&self) -> &[News] {
        &self.news
    }

    /// The process is stopped, or its machine: time passes, what was under way ends late and badly, and nobody looks.
    pub(crate) fn stop(&mut self, span: Duration) {
        self.now = self.now + span;
        self.stopped = true;
        let late = Health { errors: 0.5, latency: span, ..Health::GOOD };
        if self.weight > Weight::ZERO {
            self.spent.bad_responses += self.canary.count(4.0, &late);
        }
        self.baseline.count(4.0, &late);
    }

    /// Time passes with the traffic that it brings; questions stay open.
    pub(crate) fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        let all = self.weather.rps * span.as_secs_f64();
        let share = self.weight.share();
        let bad = self.canary.count(all * share, &self.weather.canary);
        self.baseline.count(all * (1.0 - share), &self.weather.baseline);
        let copies = all * self.weather.mirrored.min(1.0 - share);
        self.canary.compare(copies, self.weather.canary.differences);
        self.spent.bad_responses += bad;
        self.in_a_row = if self.weather.canary.errors >= 1.0 { self.in_a_row + bad } else { 0 };
        let (was, step) = (self.phase().clone(), self.step());
        let unwatched = std::mem::take(&mut self.stopped);
        let serves =
            matches!(was, Phase::Baking(_) | Phase::Holding { .. } | Phase::AwaitingGate(_));
        if serves && !unwatched {
            self.served += span;
        }
        let (sample, clocks) = (self.sample(), self.state().clocks.clone());
        let effects = self.engine.tick(self.now, &sample);
        if unwatched {
            self.settling = Settling::default();
            self.check_clocks(&clocks);
        }
        self.check_doubt(&was, &effects);
        self.check_settling(&was, &effects);
        if self.unwritten && self.weather.disk {
            self.write_down();
        }
        self.carry_out(effects);
        self.check(step);
        let verdict = &self.engine.judgement().verdict;
        let failed = verdict.level() < 0 && self.phase().is_running();
        let paused = matches!(self.phase(), Phase::Paused { .. });
        assert!(!failed || paused, "it goes on in spite of {verdict:?}");
    }

    fn sample(&self) -> Sample {
        Sample {
            canary: self.canary.totals.clone(),
            baseline: self.baseline.totals.clone(),
            failures_in_a_row: self.in_a_row,
            canary_endpoints: Some(self.weather.canary.endpoints),
            baseline_endpoints: Some(self.weather.baseline.endpoints),
            checks_failed: Some(self.weather.checks_failed),
            is_mirrored: self.weather.mirrored > 0.0,
            process_memory: Some(self.weather.process_memory),
            process_cpu: Some(0.2),
            external: self.weather.external.clone(),
            spent: self.spent,
        }
    }

    /// Answers every open question as the weather is.
    pub(crate) fn answer(&mut self) {
        while let Some(question) = self.open.pop() {
            self.answer_one(question);
        }
    }

    pub(crate) fn answer_one(&mut self, question: Question) {
        let step = self.step();
        let effects = match question {
            Question::Errand(errand) => {
                self.engine.done(errand, self.weather.errands, "as the weather is")
            }
            Question::Write(ticket, true) => self.engine.persisted(ticket),
            Question::Write(ticket, false) => self.engine.persist_failed(ticket, "disk full"),
        };
        self.carry_out(effects);
        self.check(step);
    }

    /// An operator wants something; whether it fits.
    pub(crate) fn command(&mut self, verb: Verb) -> bool {
        let (step, was_running) = (self.step(), self.phase().is_running());
        let command = Command { verb, actor: "operator".into(), reason: "simulated".into() };
        let Ok(effects) = self.engine.command(command) else { return false };
        self.meddled |= matches!(verb, Verb::Advance | Verb::Promote);
        if verb == Verb::Start {
            self.spent = Spent::default();
        }
        self.carry_out(effects);
        self.check(step);
        let down = verb == Verb::Rollback;
        assert!(!down || self.weight == Weight::ZERO, "a rollback left {} %", self.weight);
        assert!(!down || !was_running || matches!(self.phase(), Phase::RolledBack { .. }));
        true
    }

    /// An operator changes a threshold; whether it is taken.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> bool {
        let unchecked = tidegate::domain::condition::Externals::Unchecked;
        let Ok((_, effects)) = self.engine.set(key, value, "operator", "", unchecked) else {
            return false;
        };
        self.meddled = true;
        self.carry_out(effects);
        true
    }

    /// The process is killed and starts anew with what the disk has; its counters begin at nothing.
    pub(crate) fn restart(&mut self) {
        let text = serde_json::to_string(&self.durable).unwrap();
        let kept: State = serde_json::from_str(&text).unwrap();
        assert!(kept.is_sound(), "{text}");
        let (weight, before) = (kept.weight(), kept.clone());
        let (engine, effects) = Engine::resume(kept);
        self.engine = engine.looked_at_every(SELDOM);
        self.open.clear();
        self.canary = Side::default();
        self.baseline = Side::default();
        self.in_a_row = 0;
        self.spent = before.spent;
        self.served = before.phase.stay().map_or(Duration::ZERO, |stay| stay.served);
        self.meddled |= before.phase.stay().is_some_and(|stay| stay.hurried);
        self.stopped = false;
        self.weight = Weight::ZERO;
        self.unwritten = false;
        for effect in &effects {
            if let Effect::SetWeight(weight) = effect {
                self.weight = *weight;
            }
        }
        self.carry_out(effects);
        assert_eq!(self.weight, weight.unwrap_or_default(), "another weight than the kept one");
        let now = self.state();
        assert_eq!(now.phase.label(), before.phase.label(), "another phase than the kept one");
        assert_eq!(now.left(), before.left(), "another time served than the kept one");
        assert_eq!((&now.plan, &now.clocks), (&before.plan, &before.clocks));
        assert_eq!(now.spent, before.spent, "another budget spent than the kept one");
    }

    fn step(&self) -> Option<usize> {
        self.phase().stay().map(|stay| stay.step)
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::SetWeight(weight) => self.set_weight(weight),
                Effect::Persist { ticket, state } => {
                    if self.weather.disk {
                        self.durable = *state;
                    }
                    self.open.push(Question::Write(ticket, self.weather.disk));
                }
                Effect::Checkpoint => self.write_down(),
                Effect::Run(errand) => self.open.push(Question::Errand(errand)),
                Effect::Tell(news) => self.news.push(*news),
                Effect::RecallCanary => assert_eq!(self.weight, Weight::ZERO, "recalled too soon"),
                Effect::CallHooks(_) => {}
            }
        }
        // A life of thousands of ticks tells much; only the last of it is looked at.
        self.news.drain(..self.news.len().saturating_sub(1_000));
    }

    fn write_down(&mut self) {
        self.unwritten = !self.weather.disk;
        if self.weather.disk {
            self.durable = self.engine.state().clone();
        }
    }

    fn set_weight(&mut self, weight: Weight) {
        let plan = &self.state().plan;
        let planned = plan.steps.iter().any(|step| step.weight == weight);
        let end = weight == Weight::ZERO || weight == Weight::FULL;
        assert!(planned || end, "{weight} % is not in the plan");
        if weight > self.weight {
            let kept = self.durable.weight().unwrap_or_default();
            assert!(weight <= kept, "{weight} % in the data plane, {kept} % on the disk");
        }
        self.weight = weight;
        // Attempts of another weight are not counted with those of this one.
        self.canary = Side::default();
        self.baseline = Side::default();
        self.in_a_row = 0;
        self.settling = Settling::default();
    }
}
