//! From text to a condition: the grammar first, then names and units.

use std::{ops::Range, time::Duration};

use winnow::{
    LocatingSlice, ModalResult, Parser,
    ascii::{digit1, multispace0},
    combinator::{alt, cut_err, delimited, eof, opt, preceded, repeat, separated, terminated},
    error::{StrContext, StrContextValue},
    token::take_while,
};

use super::{
    Comparison, Condition, ConditionFault, Factor, Gauge, MAX_CONDITION, Metric, Number, Side,
    Sign, Term, Unit,
    metric::ExternalUnit,
    number::{SUFFIXES, Suffix},
};
use crate::domain::{MetricName, duration::parse_duration, nearest};

/// The metrics from outside that a condition may name.
#[derive(Debug, Clone, Copy)]
pub enum Externals<'e> {
    /// They were checked before.
    Unchecked,
    /// Exactly these, with their units.
    Known(&'e [(MetricName, Unit)]),
}

/// Most numbers and metrics of one condition.
const MAX_FACTORS: usize = 32;

type Text<'t> = LocatingSlice<&'t str>;

/// A word of the text and where it stands.
#[derive(Debug, Clone, PartialEq)]
struct Placed<T> {
    value: T,
    place: Range<usize>,
}

/// A factor before its names are looked up.
#[derive(Debug, Clone, PartialEq)]
enum Written<'t> {
    Number(&'t str),
    Name { name: Placed<&'t str>, window: Option<Placed<&'t str>> },
}

type WrittenTerm<'t> = Vec<(Sign, Vec<Placed<Written<'t>>>)>;

/// The condition that `text` says.
pub(super) fn parse(text: &str, externals: Externals<'_>) -> Result<Condition, ConditionFault> {
    let too_long = || {
        let message =
            format!("a condition has at most {MAX_CONDITION} bytes, a space around each operator");
        ConditionFault::new("", 0..0, message)
    };
    if text.len() > MAX_CONDITION {
        return Err(too_long());
    }
    let (left, comparison, right) = condition
        .parse(LocatingSlice::new(text))
        .map_err(|error| syntax(text, error.offset(), error.inner().context()))?;
    if left.iter().chain(&right).map(|(_, factors)| factors.len()).sum::<usize>() > MAX_FACTORS {
        let message = format!("a condition has at most {MAX_FACTORS} numbers and metrics");
        return Err(ConditionFault::new(text, 0..text.len(), message));
    }
    let names = Names { text, externals };
    let (left, left_unit) = names.term(left)?;
    let (right, right_unit) = names.term(right)?;
    names.same_unit(&left_unit, &right_unit, "compared with")?;
    let condition = Condition { left, comparison, right };
    // A plan is kept as it is written, and has to be read again.
    if condition.to_string().len() > MAX_CONDITION { Err(too_long()) } else { Ok(condition) }
}

fn condition<'t>(
    input: &mut Text<'t>,
) -> ModalResult<(WrittenTerm<'t>, Comparison, WrittenTerm<'t>)> {
    let end = cut_err(eof).context(expected("an operator or the end"));
    (preceded(multispace0, term), cut_err(comparison), terminated(cut_err(term), end))
        .parse_next(input)
}

fn comparison(input: &mut Text<'_>) -> ModalResult<Comparison> {
    let symbol = alt((
        "<=".value(Comparison::AtMost),
        ">=".value(Comparison::AtLeast),
        "==".value(Comparison::Equal),
        "<".value(Comparison::Below),
        ">".value(Comparison::Above),
    ));
    terminated(symbol, multispace0)
        .context(expected("a comparison: one of < <= > >= =="))
        .parse_next(input)
}

fn term<'t>(input: &mut Text<'t>) -> ModalResult<WrittenTerm<'t>> {
    let sign = alt(('+'.value(Sign::Plus), '-'.value(Sign::Minus)));
    let more = repeat(0.., (terminated(sign, multispace0), cut_err(product)));
    let (first, mut rest): (_, WrittenTerm<'t>) = (product, more).parse_next(input)?;
    rest.insert(0, (Sign::Plus, first));
    Ok(rest)
}

fn product<'t>(input: &mut Text<'t>) -> ModalResult<Vec<Placed<Written<'t>>>> {
    separated(1.., factor, ('*', multispace0)).parse_next(input)
}

fn factor<'t>(input: &mut Text<'t>) -> ModalResult<Placed<Written<'t>>> {
    let place = |(value, place)| Placed { value, place };
    terminated(alt((number, name)).with_span().map(place), multispace0)
        .context(expected("a metric or a number"))
        .parse_next(input)
}

/// Digits with whatever letters stick to them; `1m30s` as well as `0.05%`.
fn number<'t>(input: &mut Text<'t>) -> ModalResult<Written<'t>> {
    let rest = take_while(0.., |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '%'));
    (digit1, rest).take().map(Written::Number).parse_next(input)
}

/// A minus belongs to names from outside alone; elsewhere it subtracts.
fn name<'t>(input: &mut Text<'t>) -> ModalResult<Written<'t>> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    let outside = ("external.", take_while(1.., move |c: char| plain(c) || c == '-')).take();
    let own = (take_while(1, |c: char| c.is_ascii_alphabetic()), take_while(0.., plain)).take();
    let inside = take_while(1.., |c: char| c.is_ascii_alphanumeric());
    let inside = inside.with_span().context(expected("a duration such as 5m"));
    let close = ']'.context(expected("a closing bracket"));
    let window = opt(delimited('[', cut_err(inside), cut_err(close)));
    let place = |(value, place)| Placed { value, place };
    (alt((outside, own)).with_span().map(place), window.map(|window| window.map(place)))
        .map(|(name, window)| Written::Name { name, window })
        .parse_next(input)
}

fn expected(what: &'static str) -> StrContext {
    StrContext::Expected(StrContextValue::Description(what))
}

fn syntax<'c>(
    text: &str,
    offset: usize,
    context: impl Iterator<Item = &'c StrContext>,
) -> ConditionFault {
    let what = context.fold(None, |found, context| match context {
        StrContext::Expected(what) => found.or(Some(what.to_string())),
        StrContext::Label(_) | _ => found,
    });
    let what = what.unwrap_or_else(|| "something else".to_owned());
    let rest = text.get(offset..).unwrap_or_default();
    let end = rest.find(char::is_whitespace).map_or(text.len(), |at| offset + at);
    let found = match rest.get(..end - offset) {
        None | Some("") => "the end".to_owned(),
        Some(word) => format!("{word:?}"),
    };
    ConditionFault::new(text, offset..end, format!("expected {what}, found {found}"))
        .hint("a condition compares two terms, as in \"p95 < 1.2 * baseline.p95\"")
}

/// Looks names and units up, with the text for the faults.
struct Names<'t> {
    text: &'t str,
    externals: Externals<'t>,
}

impl Names<'_> {
    fn term(&self, written: WrittenTerm<'_>) -> Result<(Term, Placed<Unit>), ConditionFault> {
        let mut products = Vec::with_capacity(written.len());
        let mut whole: Option<Placed<Unit>> = None;
        for (sign, factors) in written {
            let (factors, unit) = self.product(factors)?;
            whole = Some(match whole {
                None => unit,
                Some(before) => self.same_unit(&before, &unit, "added to")?,
            });
            products.push((sign, factors));
        }
        let whole = whole.unwrap_or(Placed { value: Unit::Plain, place: 0..0 });
        Ok((Term(products), whole))
    }

    fn product(
        &self,
        written: Vec<Placed<Written<'_>>>,
    ) -> Result<(Vec<Factor>, Placed<Unit>), ConditionFault> {
        let mut factors = Vec::with_capacity(written.len());
        let mut whole: Option<Placed<Unit>> = None;
        for Placed { value, place } in written {
            let factor = match value {
                Written::Number(number) => Factor::Number(self.number(number, &place)?),
                Written::Name { name, window } => Factor::Gauge(self.gauge(&name, window)?),
            };
            let unit = match &factor {
                Factor::Number(number) => number.unit(),
                Factor::Gauge(gauge) => gauge.metric.unit(),
            };
            whole = Some(match whole {
                None => Placed { value: unit, place },
                Some(before) => Placed {
                    value: before.value.times(unit).ok_or_else(|| {
                        let (a, b) = (before.value.described(), unit.described());
                        self.fault(place.clone(), format!("{a} cannot be multiplied by {b}"))
                    })?,
                    place: before.place.start..place.end,
                },
            });
            factors.push(factor);
        }
        let whole = whole.unwrap_or(Placed { value: Unit::Plain, place: 0..0 });
        Ok((factors, whole))
    }

    fn same_unit(
        &self,
        a: &Placed<Unit>,
        b: &Placed<Unit>,
        verb: &str,
    ) -> Result<Placed<Unit>, ConditionFault> {
        if let Some(value) = a.value.beside(b.value) {
            return Ok(Placed { value, place: a.place.start..b.place.end });
        }
        let named = |unit: &Placed<Unit>| {
            let text = self.text.get(unit.place.clone()).unwrap_or_default();
            format!("{text} is {}", unit.value.described())
        };
        let message = format!("{} and cannot be {verb}: {}", named(b), named(a));
        let plain = if a.value == Unit::Plain { a.value } else { b.value };
        let fault = self.fault(b.place.clone(), message);
        Err(match (plain, a.value.stronger(b.value)) {
            (Unit::Plain, Unit::Share) => fault.hint("write a share in percent: 5%"),
            (Unit::Plain, Unit::Duration) => fault.hint("give the unit: 150ms, 2s"),
            (Unit::Plain, Unit::Bytes) => fault.hint("give the unit: 512MiB, 2GB"),
            (_, wanted) => {
                fault.hint(format!("both sides must have one unit, such as {}", wanted.described()))
            }
        })
    }

    fn number(&self, text: &str, place: &Range<usize>) -> Result<Number, ConditionFault> {
        let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (digits, letters) = text.split_at(end);
        let suffix = SUFFIXES.iter().find(|suffix| suffix.text == letters);
        if let (Some(suffix), Ok(amount)) = (suffix, digits.parse::<f64>()) {
            return Ok(Number::new(amount, suffix));
        }
        let millis = SUFFIXES.iter().find(|suffix| suffix.text == "ms");
        if let (Some(millis), Some(duration)) = (millis, parse_duration(text)) {
            return Ok(Number::new(duration.as_millis() as f64, millis));
        }
        let known: Vec<_> = SUFFIXES.iter().map(|suffix: &Suffix| suffix.text).skip(1).collect();
        let fault = self.fault(place.clone(), format!("{text:?} is no number with a unit"));
        Err(fault.hint(format!("known units: {}", known.join(" "))))
    }

    fn gauge(
        &self,
        name: &Placed<&str>,
        window: Option<Placed<&str>>,
    ) -> Result<Gauge, ConditionFault> {
        let (side, plain) = match name.value.strip_prefix("baseline.") {
            Some(plain) => (Side::Baseline, plain),
            None => (Side::Canary, name.value),
        };
        let metric = match plain.strip_prefix("external.") {
            Some(outside) => self.external(outside, name)?,
            None => Metric::of_name(plain).ok_or_else(|| self.unknown(plain, name))?,
        };
        if side == Side::Baseline && !metric.has_sides() {
            let message = format!("{metric} is not measured on the baseline");
            return Err(self.fault(name.place.clone(), message).hint(format!("write {metric}")));
        }
        Ok(Gauge { side, window: self.window(&metric, window)?, metric })
    }

    fn window(
        &self,
        metric: &Metric,
        window: Option<Placed<&str>>,
    ) -> Result<Option<Duration>, ConditionFault> {
        let Some(Placed { value, place }) = window else { return Ok(None) };
        if !metric.is_windowed() {
            let message = format!("{metric} is a value of the moment and has no window");
            return Err(self.fault(place, message).hint(format!("write {metric}")));
        }
        let window = parse_duration(value).filter(|window| *window >= SHORTEST_WINDOW);
        match window.filter(|window| *window <= LONGEST_WINDOW) {
            Some(window) => Ok(Some(window)),
            None => Err(self
                .fault(place, format!("{value:?} is no window"))
                .hint("a window is a duration from 1s to 7d, such as 5m")),
        }
    }

    fn external(&self, name: &str, at: &Placed<&str>) -> Result<Metric, ConditionFault> {
        let parsed = MetricName::new(name)
            .map_err(|error| self.fault(at.place.clone(), error.to_string()))?;
        let known = match self.externals {
            Externals::Unchecked => {
                return Ok(Metric::External(parsed, ExternalUnit(Unit::Unknown)));
            }
            Externals::Known(known) => known,
        };
        if let Some((name, unit)) = known.iter().find(|(known, _)| *known == parsed) {
            return Ok(Metric::External(name.clone(), ExternalUnit(*unit)));
        }
        let fault = self.fault(at.place.clone(), format!("there is no section [metric.{parsed}]"));
        Err(match nearest(name, known.iter().map(|(name, _)| name.as_str())) {
            Some(meant) => fault.hint(format!("did you mean external.{meant}?")),
            None => fault.hint(format!("add [metric.{parsed}] with its query and unit")),
        })
    }

    fn unknown(&self, plain: &str, at: &Placed<&str>) -> ConditionFault {
        let fault = self.fault(at.place.clone(), format!("there is no metric {plain:?}"));
        match nearest(plain, Metric::NAMES.iter().copied()) {
            Some(meant) => fault.hint(format!("did you mean {meant}?")),
            None => fault.hint(format!("known: {}, external.NAME", Metric::NAMES.join(", "))),
        }
    }

    fn fault(&self, place: Range<usize>, message: String) -> ConditionFault {
        ConditionFault::new(self.text, place, message)
    }
}

/// Windows are made of ticks of a tenth of a second.
const SHORTEST_WINDOW: Duration = Duration::from_secs(1);

/// Beyond it a window's snapshots would be kept too coarse.
const LONGEST_WINDOW: Duration = Duration::from_hours(7 * 24);
