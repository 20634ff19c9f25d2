//! The three runs as a picture: plain SVG, without a library, the same bytes on every platform (nothing but whole numbers
//! is drawn). It has its own background, and follows the reader's light or dark scheme where it is asked for.

use std::fmt::Write as _;

use super::{
    Campaign, Terms,
    afternoon::{Minute, Run, Way},
};

const WIDTH: u64 = 860;
const LEFT: u64 = 64;
const RIGHT: u64 = 16;
/// The first panel's top; the title and the legend are above it.
const TOP: u64 = 92;
/// The drawn part of a panel.
const HEIGHT: u64 = 130;
/// From one panel's top to the next one's: there is a heading between them.
const APART: u64 = HEIGHT + 44;

/// Colours by their role; the dark ones are the same hues, lighter. Orange and blue differ for every kind of colour
/// vision, and the lines differ in width as well.
const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#24292f}.h{font-weight:600;font-size:13px}.t{font-weight:600;font-size:15px}\
.e{text-anchor:end}.m{text-anchor:middle}.b{fill:#fff}.g{stroke:#d0d7de}.r{fill:#57606a;fill-opacity:.16}\
polyline,.l{fill:none;stroke-linejoin:round}.d{stroke:#bc4c00;stroke-width:4}.i{stroke:#0969da;stroke-width:1.6}\
.c{stroke:#57606a;stroke-dasharray:6 4}.p{stroke:#57606a;stroke-dasharray:2 3}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.b{fill:#0d1117}.g{stroke:#30363d}.r{fill:#8b949e;fill-opacity:.25}\
.d{stroke:#f0883e}.i{stroke:#58a6ff}.c,.p{stroke:#8b949e}}";

/// The span and the scale that all panels share.
struct Axes {
    minutes: u64,
    /// Logins a second at the top of a panel; what is above is cut off, and said.
    most: u64,
}

impl Axes {
    /// As long as anything happens, in whole hours; twice the capacity high.
    fn new(terms: &Terms, runs: &[Run]) -> Self {
        let is_eventful = |minute: &Minute| minute.rung > 0 || minute.is_above_slo;
        let eventful = runs.iter().filter_map(|run| run.minutes.iter().rposition(is_eventful)).max();
        // A quarter of an hour more, so that what comes after is seen.
        let minutes = u64::try_from(eventful.unwrap_or(0)).unwrap_or(0) + 15;
        Self { minutes: minutes.div_ceil(60) * 60, most: u64::from(terms.capacity.max(1)) * 2 }
    }

    /// In tenths of a pixel.
    fn x(&self, half_minutes: u64) -> u64 {
        LEFT * 10 + (WIDTH - LEFT - RIGHT) * 10 * half_minutes.min(self.minutes * 2) / (self.minutes * 2)
    }

    /// In tenths of a pixel below the panel's top, of so many a minute.
    fn y(&self, a_minute: u64) -> u64 {
        HEIGHT * 10 - HEIGHT * 10 * a_minute.min(self.most * 60) / (self.most * 60)
    }
}

/// Tenths of a pixel as SVG has them.
fn px(tenths: u64) -> String {
    if tenths.is_multiple_of(10) {
        format!("{}", tenths / 10)
    } else {
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

/// Draws the runs, one panel each, over the same time.
pub fn svg(terms: &Terms, campaign: &Campaign, runs: &[Run]) -> String {
    let axes = Axes::new(terms, runs);
    let panels = (TOP..).step_by(usize::try_from(APART).unwrap_or(1)).zip(runs);
    let mut out = head(campaign, runs.len());
    for (top, run) in panels {
        panel(&mut out, &axes, terms, top, run);
    }
    out.push_str("</svg>\n");
    out
}

/// Writing to a `String` cannot fail.
macro_rules! draw {
    ($out:expr, $($words:tt)*) => {
        writeln!($out, $($words)*).expect("a String takes what it is given")
    };
}

fn head(campaign: &Campaign, panels: usize) -> String {
    let height = TOP + APART * u64::try_from(panels).unwrap_or(0);
    let title = format!("The same campaign to {} phones, sent in three ways", grouped(campaign.phones));
    let mut out = String::new();
    draw!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\">"
    );
    draw!(out, "<title>{title}: what the login backend is asked for, and how many it lets in</title>");
    draw!(out, "<style>{STYLE}</style>");
    draw!(out, "<rect class=\"b\" width=\"{WIDTH}\" height=\"{height}\"/>");
    draw!(out, "<text class=\"t\" x=\"{LEFT}\" y=\"26\">{title}</text>");
    let legend = [
        ("d", "attempts to log in"),
        ("i", "let in"),
        ("c", "what the backend can do"),
        ("p", "what its owners declare"),
    ];
    for (x, (class, name)) in [LEFT, LEFT + 170, LEFT + 264, LEFT + 466].into_iter().zip(legend) {
        draw!(
            out,
            "<path class=\"l {class}\" d=\"M{x} 46h26\"/><text x=\"{}\" y=\"50\">{name}</text>",
            x + 33
        );
    }
    let x = LEFT + 660;
    draw!(out, "<rect class=\"r\" x=\"{x}\" y=\"40\" width=\"26\" height=\"12\"/>");
    draw!(out, "<text x=\"{}\" y=\"50\">phones ring</text>", x + 33);
    out
}

fn panel(out: &mut String, axes: &Axes, terms: &Terms, top: u64, run: &Run) {
    draw!(out, "<g transform=\"translate(0 {top})\">");
    draw!(out, "<text class=\"h\" x=\"{LEFT}\" y=\"-8\">{}</text>", heading(run));
    let ringing = run.minutes.iter().rposition(|minute| minute.rung > 0).map_or(0, |last| last + 1);
    let until = axes.x(u64::try_from(ringing).unwrap_or(0) * 2) - LEFT * 10;
    draw!(out, "<rect class=\"r\" x=\"{LEFT}\" width=\"{}\" height=\"{HEIGHT}\"/>", px(until));
    scales(out, axes);
    for (class, rate) in [("c", terms.capacity), ("p", terms.declared)] {
        let y = px(axes.y(u64::from(rate) * 60));
        draw!(out, "<path class=\"l {class}\" d=\"M{LEFT} {y}H{}\"/>", WIDTH - RIGHT);
    }
    line(out, axes, "d", run, |minute| minute.attempts);
    line(out, axes, "i", run, |minute| minute.let_in);
    cut_off(out, axes, run);
    draw!(out, "</g>");
}

/// Says what is above the panel's top, beside where it comes down.
fn cut_off(out: &mut String, axes: &Axes, run: &Run) {
    let last = run.minutes.iter().rposition(|minute| minute.attempts > axes.most * 60);
    let peak = run.minutes.iter().map(|minute| minute.attempts).max();
    if let (Some(last), Some(peak)) = (last, peak) {
        let x = px(axes.x(u64::try_from(last).unwrap_or(0) * 2 + 1) + 240);
        draw!(
            out,
            "<text x=\"{x}\" y=\"14\">cut off here: up to {}/s for a minute</text>",
            grouped(peak / 60)
        );
    }
}

fn heading(run: &Run) -> String {
    match run.way {
        Way::Unpaced => {
            format!("Unpaced: {} a second, as fast as the providers take it", grouped(run.fastest.into()))
        }
        Way::Capped => format!("Capped: {} a second, safe in the busiest hour", grouped(run.fastest.into())),
        Way::Feedback => {
            format!(
                "Feedback on the headroom that is declared: up to {} a second",
                grouped(run.fastest.into())
            )
        }
    }
}

fn scales(out: &mut String, axes: &Axes) {
    for quarter in [0, 2, 4] {
        let value = axes.most * quarter / 4;
        let y = axes.y(value * 60);
        draw!(out, "<path class=\"l g\" d=\"M{LEFT} {}H{}\"/>", px(y), WIDTH - RIGHT);
        let unit = if quarter == 4 { "/s" } else { "" };
        draw!(out, "<text class=\"e\" x=\"{}\" y=\"{}\">{value}{unit}</text>", LEFT - 6, px(y + 40));
    }
    // Six marks or so, whatever the span: half hours up to three hours.
    let every = (axes.minutes / 6).max(1);
    for minute in (0..=axes.minutes).step_by(usize::try_from(every).unwrap_or(1)) {
        let (x, y) = (px(axes.x(minute * 2)), HEIGHT + 16);
        let place = if minute == axes.minutes { "e" } else { "m" };
        draw!(out, "<path class=\"l g\" d=\"M{x} {HEIGHT}v4\"/>");
        draw!(out, "<text class=\"{place}\" x=\"{x}\" y=\"{y}\">{minute} min</text>");
    }
}

fn line(out: &mut String, axes: &Axes, class: &str, run: &Run, value: impl Fn(&Minute) -> u64) {
    let shown = run.minutes.iter().take(usize::try_from(axes.minutes).unwrap_or(0));
    // A minute's value stands in its middle. What lies on one level is one stroke.
    let points: Vec<(u64, u64)> =
        (1..).step_by(2).map(|at| axes.x(at)).zip(shown.map(|m| axes.y(value(m)))).collect();
    let is_needed = |at: &usize| {
        let level = points[*at].1;
        let before = at.checked_sub(1).and_then(|at| points.get(at));
        let after = points.get(at + 1);
        [before, after].iter().any(|near| near.is_none_or(|near| near.1 != level))
    };
    let needed = (0..points.len()).filter(is_needed);
    let drawn: Vec<_> = needed.map(|at| format!("{},{}", px(points[at].0), px(points[at].1))).collect();
    draw!(out, "<polyline class=\"{class}\" points=\"{}\"/>", drawn.join(" "));
}

/// With a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::bank::afternoon::play;

    #[test]
    fn the_picture_in_the_repository_is_what_the_default_run_draws() {
        let (terms, campaign) = (Terms::default(), Campaign::to(1_000_000));
        let drawn = svg(&terms, &campaign, &play(terms, campaign, 1));
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/afternoon.svg");
        let kept = std::fs::read_to_string(file).expect("the picture is in the repository");
        assert!(drawn == kept, "draw it anew: bellwether afternoon --plot deploy/afternoon.svg");
        assert!(kept.len() < 60_000, "{} bytes", kept.len());
    }

    #[test]
    fn what_is_higher_than_a_panel_is_cut_and_said() {
        let minute = |attempts| Minute { attempts, let_in: 0, rung: 0, is_above_slo: true };
        let run = Run {
            way: Way::Unpaced,
            fastest: 4_000,
            minutes: vec![minute(0), minute(60 * 1_234), minute(60 * 400)],
            peak_utilisation: 6.17,
            rung_after: None,
            seen: super::super::Seen::default(),
        };
        let drawn = svg(&Terms::default(), &Campaign::to(1), &[run]);
        assert!(drawn.contains("up to 1,234/s for a minute"), "{drawn}");
        // The bottom in the first minute; the top in the others, drawn as one stroke.
        assert!(drawn.contains("class=\"d\" points=\"70.5,130 83.5,0 96.5,0\""), "{drawn}");
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([7, 1_000, 1_234_567].map(grouped), ["7", "1,000", "1,234,567"]);
        assert_eq!([10, 705].map(px), ["1", "70.5"]);
    }
}
