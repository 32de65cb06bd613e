//! Line charts as SVG that stands in a page: no script, no outside font, colours from the page's variables.

use std::fmt::Write as _;

use super::{html::escape, words};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 210.0;
/// Room for the labels of the two axes.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 28.0;
/// More points than this are not told apart.
const MOST_POINTS: usize = 600;
const HORIZONTAL_LINES: u32 = 4;
const VERTICAL_LINES: u64 = 6;

/// One line: its class in the page's style, its name, and its points by time; a gap where there is no value.
pub(super) struct Line<'a> {
    pub(super) class: &'static str,
    pub(super) name: &'a str,
    pub(super) points: Vec<(u64, Option<f64>)>,
}

/// What happened at one moment.
pub(super) struct Mark {
    pub(super) at_ms: u64,
    pub(super) text: String,
}

/// A chart.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    pub(super) unit: &'a str,
    pub(super) lines: Vec<Line<'a>>,
    pub(super) marks: &'a [Mark],
    /// Draw each value until the next one comes, as for weights.
    pub(super) stepped: bool,
    /// Lowest upper end of the vertical axis.
    pub(super) at_least: f64,
}

impl Chart<'_> {
    /// The chart as `<figure>`; without any value, a sentence says so.
    pub(super) fn svg(&self) -> String {
        let title = escape(self.title);
        let points = self.lines.iter().flat_map(|line| &line.points);
        let (mut first, mut last, mut top) = (u64::MAX, 0, self.at_least);
        for (at, value) in points {
            (first, last) = (first.min(*at), last.max(*at));
            top = value.filter(|value| value.is_finite()).map_or(top, |value| top.max(value));
        }
        if first > last {
            return format!(
                "<figure><figcaption>{title}</figcaption><p>No samples yet.</p></figure>\n"
            );
        }
        let area = Area { first, last: last.max(first + 1), top: rounded_up(top) };
        let mut svg = format!(
            "<figure><figcaption>{title}{}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{title}\">\n",
            self.legend()
        );
        self.draw_grid(&mut svg, &area);
        for mark in self.marks.iter().filter(|mark| (first..=last).contains(&mark.at_ms)) {
            let x = area.x(mark.at_ms);
            // Writing to a text cannot fail.
            let _ = writeln!(
                svg,
                "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"><title>{}</title></line>",
                HEIGHT - BOTTOM,
                escape(&mark.text)
            );
        }
        for line in &self.lines {
            let path = self.path(line, &area);
            let _ = writeln!(svg, "<path class=\"{}\" d=\"{path}\"/>", line.class);
        }
        svg + "</svg></figure>\n"
    }

    fn legend(&self) -> String {
        let entry = |line: &Line<'_>| {
            format!(" <span class=\"{}\"><b></b>{}</span>", line.class, escape(line.name))
        };
        self.lines.iter().map(entry).collect()
    }

    fn draw_grid(&self, svg: &mut String, area: &Area) {
        let right = WIDTH - RIGHT;
        for part in 0..=HORIZONTAL_LINES {
            let value = area.top * f64::from(part) / f64::from(HORIZONTAL_LINES);
            let y = area.y(value);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}{}</text>",
                LEFT - 6.0,
                y + 4.0,
                words::number(value),
                escape(self.unit)
            );
        }
        for part in 0..=VERTICAL_LINES {
            let at = area.first + (area.last - area.first) * part / VERTICAL_LINES;
            let anchor = match part {
                0 => "start",
                VERTICAL_LINES => "end",
                _ => "middle",
            };
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">+{}</text>",
                area.x(at),
                HEIGHT - 8.0,
                words::millis(at - area.first)
            );
        }
    }

    fn path(&self, line: &Line<'_>, area: &Area) -> String {
        let mut path = String::new();
        let mut pen_down = false;
        for (at, value) in thinned(&line.points) {
            let Some(value) = value.filter(|value| value.is_finite()) else {
                pen_down = false;
                continue;
            };
            let (x, y) = (area.x(at), area.y(value));
            let _ = match (pen_down, self.stepped) {
                (false, _) => write!(path, "M{x:.1} {y:.1}"),
                (true, false) => write!(path, "L{x:.1} {y:.1}"),
                (true, true) => write!(path, "H{x:.1}V{y:.1}"),
            };
            pen_down = true;
        }
        path
    }
}

/// What the axes cover.
struct Area {
    first: u64,
    last: u64,
    top: f64,
}

impl Area {
    fn x(&self, at: u64) -> f64 {
        let share = (at - self.first) as f64 / (self.last - self.first) as f64;
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (value / self.top).clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }
}

/// Of several points in a row that fall together, the highest: a peak must not get lost.
fn thinned(points: &[(u64, Option<f64>)]) -> Vec<(u64, Option<f64>)> {
    let together = points.len().div_ceil(MOST_POINTS).max(1);
    let highest = |points: &[(u64, Option<f64>)]| {
        let value = |point: &(u64, Option<f64>)| point.1.unwrap_or(f64::NEG_INFINITY);
        points.iter().copied().max_by(|a, b| value(a).total_cmp(&value(b)))
    };
    points.chunks(together).filter_map(highest).collect()
}

/// The next of 1, 2, 2.5, 5 and 10 times a power of ten.
fn rounded_up(top: f64) -> f64 {
    if !(top.is_finite() && top > 0.0) {
        return 1.0;
    }
    let power = 10f64.powf(top.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|step| *step >= top).unwrap_or(top)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(u64, Option<f64>)>, stepped: bool) -> String {
        let lines = vec![Line { class: "canary", name: "green <new>", points }];
        let marks = [Mark { at_ms: 1_500, text: "step \"two\"".to_owned() }];
        Chart { title: "Errors", unit: "%", lines, marks: &marks, stepped, at_least: 1.0 }.svg()
    }

    #[test]
    fn a_gap_in_the_values_is_a_gap_in_the_line() {
        let svg = chart(vec![(1_000, Some(1.0)), (1_500, None), (2_000, Some(0.0))], false);
        assert!(svg.contains("d=\"M64.0 12.0M848.0 182.0\""), "{svg}");
        assert!(svg.contains("green &lt;new&gt;") && svg.contains("step &quot;two&quot;"), "{svg}");
    }

    #[test]
    fn weights_hold_until_they_change() {
        let svg = chart(vec![(1_000, Some(0.0)), (2_000, Some(100.0))], true);
        assert!(svg.contains("d=\"M64.0 182.0H848.0V12.0\""), "{svg}");
    }

    #[test]
    fn nothing_to_draw_is_said() {
        assert!(chart(Vec::new(), false).contains("No samples yet."));
        let svg = chart(vec![(5, Some(f64::NAN))], false);
        assert!(!svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn a_peak_outlives_the_thinning() {
        let mut points: Vec<_> = (0..10_000).map(|at| (at, Some(0.0))).collect();
        points[4_321].1 = Some(7.0);
        let thin = thinned(&points);
        assert!(thin.len() <= MOST_POINTS && thin.contains(&(4_321, Some(7.0))));
    }

    #[test]
    fn axes_end_at_round_numbers() {
        let ends = [0.0, 0.03, 1.0, 1.1, 24.0, 26.0, 99.0, f64::INFINITY].map(rounded_up);
        assert_eq!(ends, [1.0, 0.05, 1.0, 2.0, 25.0, 50.0, 100.0, 1.0]);
    }
}
