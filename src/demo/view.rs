//! The demo as a person sees it: a table that is drawn again in its place on a terminal, one line at a time elsewhere.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    net::SocketAddr,
    time::Duration,
};

use super::{
    picture::{Picture, SidePicture},
    scenario::Scenario,
    side::{Side, Sides},
};
use crate::domain::is_steering;

/// Cursor home; after each line, clear its rest; at the end, clear what is below.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K\n";
const CLEAR_BELOW: &str = "\x1b[J";
const CLEAR_ALL: &str = "\x1b[2J";
const PLAIN: &str = "\x1b[0m";
const STRIP_CELLS: usize = 50;
/// Longest text from elsewhere that is shown.
const MAX_FOREIGN: usize = 80;

/// What never changes while the demo runs.
#[derive(Debug)]
pub(super) struct Frame {
    /// Where clients can connect.
    pub(super) proxy: SocketAddr,
    /// The program, as a shell finds it.
    pub(super) program: String,
    /// The option that names the admin socket.
    pub(super) socket: String,
    /// The configuration file.
    pub(super) config: String,
    /// What is played.
    pub(super) scenario: Scenario,
}

/// Shows pictures.
#[derive(Debug)]
pub(super) struct View {
    frame: Frame,
    redraws: bool,
    colours: bool,
}

impl View {
    /// On standard output.
    ///
    /// # Errors
    /// When nobody reads it.
    pub(super) fn open(frame: Frame) -> io::Result<Self> {
        let redraws = io::stdout().is_terminal();
        let colours = redraws && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        let view = Self { frame, redraws, colours };
        print(&if redraws { CLEAR_ALL.to_owned() } else { view.frame.banner() })?;
        Ok(view)
    }

    /// Shows how things stand.
    ///
    /// # Errors
    /// When nobody reads it.
    pub(super) fn show(&self, picture: &Picture) -> io::Result<()> {
        if !self.redraws {
            return print(&line(picture));
        }
        let table = self.frame.table(picture, self.colours).replace('\n', CLEAR_LINE);
        print(&format!("{HOME}{table}{CLEAR_BELOW}"))
    }
}

/// Writes to standard output at once.
///
/// # Errors
/// When nobody reads it.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

impl Frame {
    fn banner(&self) -> String {
        let Self { proxy, program, socket, config, scenario } = self;
        format!(
            "tidegate demo: {scenario}; listening on http://{proxy}/, configuration {config}\n\
             turn back by hand: {program} rollback demo {socket}\n"
        )
    }

    fn table(&self, picture: &Picture, colours: bool) -> String {
        let Self { proxy, program, socket, config, scenario } = self;
        let mut out = format!(
            "Tidegate demo: {scenario}   up {}s   {} requests   {}\n\n",
            picture.elapsed.as_secs(),
            picture.requests,
            failures(picture),
        );
        // Writing to a text cannot fail.
        let _ = match picture.wanted {
            Some(wanted) => writeln!(out, "  wanted  {}", strip(wanted, colours)),
            None => writeln!(out, "  wanted  the route is gone from the configuration"),
        };
        let seen = Sides::of(|side| picture.sides[side].seen.unwrap_or(0.0));
        let _ = writeln!(out, "  seen    {}", strip(seen, colours));
        let _ = writeln!(
            out,
            "\n  {:<7}{:>8}{:>8}{:>12}{:>11}{:>11}{:>11}",
            "side", "wanted", "seen", "requests/s", "p50", "p95", "sessions"
        );
        for side in Side::ALL {
            row(&mut out, side, picture, colours);
        }
        let moves = picture.moves;
        let _ = writeln!(
            out,
            "\n  sessions that changed sides: {} blue → green, {} green → blue",
            moves[Side::Green],
            moves[Side::Blue],
        );
        out.push_str(&plan(picture));
        let _ = write!(
            out,
            "\nIn a second terminal:\n\
             \x20 {program} pause demo {socket}\n\
             \x20 {program} rollback demo {socket}\n\
             \x20 {program} status --watch {socket}\n\
             \x20 {program} report demo {socket}\n\
             \x20 curl -i http://{proxy}/\n\
             \x20 edit {config}\n\
             \nCtrl-C ends the demo.\n"
        );
        out
    }
}

/// How the rollout stands, in two lines.
fn plan(picture: &Picture) -> String {
    let Some(rollout) = &picture.rollout else {
        return match &picture.set_by {
            Some(actor) => format!("\n  no rollout; split set by {}\n", foreign(actor)),
            None => "\n  no rollout; split as configured\n".to_owned(),
        };
    };
    let steps = rollout.steps.iter().enumerate().map(|(at, step)| {
        let (name, weight) = (&step.name, step.weight);
        if at + 1 == rollout.step_number {
            format!("[{name} {weight}%]")
        } else {
            format!("{name} {weight}%")
        }
    });
    let steps: Vec<_> = steps.collect();
    let left = if rollout.left_s > 0.0 {
        format!(", {:.0} s to go", rollout.left_s.ceil())
    } else {
        String::new()
    };
    format!(
        "\n  rollout  {}   {}{left}\n           {}\n",
        steps.join(" → "),
        rollout.phase,
        foreign(&rollout.because)
    )
}

fn row(out: &mut String, side: Side, picture: &Picture, colours: bool) {
    let SidePicture { seen, requests_per_s, p50, p95, sessions } = picture.sides[side];
    let wanted = percent(picture.wanted.map(|wanted| wanted[side]));
    let (begin, end) = if colours { (colour(side), PLAIN) } else { ("", "") };
    let _ = writeln!(
        out,
        "  {begin}{:<7}{end}{wanted:>8}{:>8}{requests_per_s:>12.1}{:>11}{:>11}{sessions:>11}",
        side.name(),
        percent(seen),
        millis(p50),
        millis(p95),
    );
}

/// One line that says what the table says.
fn line(picture: &Picture) -> String {
    let pair = |of: &dyn Fn(Side) -> String| format!("{}/{}", of(Side::Blue), of(Side::Green));
    let wanted = pair(&|side| percent(picture.wanted.map(|wanted| wanted[side])));
    let seen = pair(&|side| percent(picture.sides[side].seen));
    let mut out = format!(
        "{:>4}s  wanted {wanted}  seen {seen}  {}",
        picture.elapsed.as_secs(),
        failures(picture)
    );
    for side in Side::ALL {
        let SidePicture { requests_per_s, p50, p95, .. } = picture.sides[side];
        let name = side.name();
        // Writing to a text cannot fail.
        let _ =
            write!(out, "  {name} {requests_per_s:.0}/s p50 {} p95 {}", millis(p50), millis(p95));
    }
    if let Some(rollout) = &picture.rollout {
        let step = rollout.step.as_deref().unwrap_or("-");
        let _ = write!(out, "  rollout {} at {step}", rollout.phase);
    }
    out + "\n"
}

fn failures(picture: &Picture) -> String {
    match (picture.failures, &picture.first_failure) {
        (0, _) | (_, None) => format!("{} errors", picture.failures),
        (count, Some(first)) => format!("{count} errors, the first: {}", foreign(first)),
    }
}

/// A strip of cells, divided as the shares are; one cell at least for what is not nothing.
fn strip(shares: Sides<f64>, colours: bool) -> String {
    let green = shares[Side::Green];
    let mut cells = (green * STRIP_CELLS as f64).round() as usize;
    if green > 0.0 {
        cells = cells.max(1);
    }
    if shares[Side::Blue] > 0.0 {
        cells = cells.min(STRIP_CELLS - 1);
    }
    let (blue, green) = ("█".repeat(STRIP_CELLS - cells), "▒".repeat(cells));
    if !colours {
        return blue + &green;
    }
    let green = green.replace('▒', "█");
    format!("{}{blue}{}{green}{PLAIN}", colour(Side::Blue), colour(Side::Green))
}

const fn colour(side: Side) -> &'static str {
    match side {
        Side::Blue => "\x1b[34m",
        Side::Green => "\x1b[32m",
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |share| format!("{:.1}%", share * 100.0))
}

fn millis(latency: Option<Duration>) -> String {
    latency.map_or("-".to_owned(), |latency| format!("{:.2} ms", latency.as_secs_f64() * 1_000.0))
}

/// Text from elsewhere, short and harmless to a terminal.
fn foreign(text: &str) -> String {
    text.chars().take(MAX_FOREIGN).map(|c| if is_steering(c) { '�' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        let side = |side| SidePicture {
            seen: Some(if side == Side::Green { 0.102 } else { 0.898 }),
            requests_per_s: if side == Side::Green { 20.4 } else { 179.6 },
            p50: Some(Duration::from_micros(420)),
            p95: (side == Side::Blue).then_some(Duration::from_micros(1_310)),
            sessions: if side == Side::Green { 31 } else { 269 },
        };
        Picture {
            elapsed: Duration::from_secs(12),
            wanted: Some(Sides::of(|side| if side == Side::Green { 0.1 } else { 0.9 })),
            set_by: None,
            rollout: None,
            sides: Sides::of(side),
            requests: 2_400,
            failures: 0,
            first_failure: None,
            moves: Sides::default(),
        }
    }

    #[test]
    fn the_table_shows_both_sides_and_how_to_change_them() {
        let frame = Frame {
            proxy: ([127, 0, 0, 1], 8080).into(),
            program: "tidegate".to_owned(),
            socket: "--socket /run/a.sock".to_owned(),
            config: "/run/t.toml".to_owned(),
            scenario: Scenario::Healthy,
        };
        let blue = "█".repeat(45);
        let green = "▒".repeat(5);
        let expected = format!(
            "\
Tidegate demo: healthy   up 12s   2400 requests   0 errors

  wanted  {blue}{green}
  seen    {blue}{green}

  side     wanted    seen  requests/s        p50        p95   sessions
  blue      90.0%   89.8%       179.6    0.42 ms    1.31 ms        269
  green     10.0%   10.2%        20.4    0.42 ms          -         31

  sessions that changed sides: 0 blue → green, 0 green → blue

  no rollout; split as configured

In a second terminal:
  tidegate pause demo --socket /run/a.sock
  tidegate rollback demo --socket /run/a.sock
  tidegate status --watch --socket /run/a.sock
  tidegate report demo --socket /run/a.sock
  curl -i http://127.0.0.1:8080/
  edit /run/t.toml

Ctrl-C ends the demo.
"
        );
        assert_eq!(frame.table(&picture(), false), expected);
    }

    #[test]
    fn a_line_says_it_in_short() {
        let failed = Picture {
            failures: 2,
            first_failure: Some("503: \u{1b}[2J".to_owned()),
            wanted: None,
            ..picture()
        };
        assert_eq!(
            line(&failed),
            "  12s  wanted -/-  seen 89.8%/10.2%  2 errors, the first: 503: �[2J  \
             blue 180/s p50 0.42 ms p95 1.31 ms  green 20/s p50 0.42 ms p95 -\n"
        );
    }

    #[test]
    fn a_little_is_not_shown_as_nothing() {
        let cells = |green: f64| {
            let shares = Sides::of(|side| if side == Side::Green { green } else { 1.0 - green });
            strip(shares, false).chars().filter(|c| *c == '▒').count()
        };
        assert_eq!([0.0, 0.0001, 0.5, 0.9999, 1.0].map(cells), [0, 1, 25, 49, 50]);
    }
}
