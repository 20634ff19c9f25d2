//! Guards, for people: what each stops and how late, before a rollout; what each says, during it.

use super::{boxes::seconds, table::named};
use crate::{
    api::wire::{GuardState, GuardView, PreviewGuard, RolloutView, RungMeanwhile},
    cli::output::{Colour, Paint, visible},
    model::Pause,
};

/// Each guard of a plan, and how many phones ring before it sees a harm.
pub(super) fn previewed(guards: &[PreviewGuard]) -> String {
    if guards.is_empty() {
        return named("guards", "none: the plan watches no number of our own systems");
    }
    let lines = guards.iter().enumerate().flat_map(|(place, guard)| {
        let name = if place == 0 { "guards" } else { "" };
        [named(name, &stops(guard)), named("", &late(guard)), named("", &meanwhile(guard))]
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn stops(guard: &PreviewGuard) -> String {
    let bound = |does: &str, bound: Option<f64>| {
        bound.map(|bound| format!("{does} {} {bound}", visible(&guard.side)))
    };
    let bounds: Vec<_> =
        [bound("pauses", guard.pause), bound("halts", guard.halt)].into_iter().flatten().collect();
    let lasting = if guard.for_seconds > 0.0 {
        format!("for {}", seconds(guard.for_seconds))
    } else {
        "at one reading".to_owned()
    };
    format!(
        "{} {} {lasting}; {}s without a number",
        visible(&guard.name),
        bounds.join(", "),
        visible(&guard.no_data)
    )
}

fn late(guard: &PreviewGuard) -> String {
    format!("sees a harm after {} at the most: {}", seconds(guard.lag_seconds), visible(&guard.lag))
}

fn meanwhile(guard: &PreviewGuard) -> String {
    let rung = |rung: &RungMeanwhile| {
        let all = if rung.all { "all " } else { "" };
        format!("{all}{} of stage {}", rung.devices, rung.stage)
    };
    let rung: Vec<_> = guard.rung_meanwhile.iter().map(rung).collect();
    format!("phones that ring meanwhile: {}", rung.join(", "))
}

/// What each guard says now, a line each, in the colour that it deserves.
pub(super) fn standing(view: &RolloutView, paint: Paint) -> impl Iterator<Item = String> {
    view.guards.iter().enumerate().map(move |(place, guard)| {
        let name = if place == 0 { "guards" } else { "" };
        let painted = |line: &str| paint.with(colour(guard.state), line);
        named(name, &said(guard)).lines().map(painted).collect::<Vec<_>>().join("\n")
    })
}

fn said(guard: &GuardView) -> String {
    let does = guard.does.as_ref().map(|does| format!(" ({does}s)")).unwrap_or_default();
    format!("{}{}", visible(&guard.told), visible(&does))
}

const fn colour(state: GuardState) -> Colour {
    match state {
        GuardState::Fine => Colour::Green,
        GuardState::Waiting | GuardState::Blind => Colour::Yellow,
        GuardState::Breached => Colour::Red,
    }
}

/// Why it is paused, in a word or two. A number that is there and beyond its bound is no want of data.
pub(super) fn pause(view: &RolloutView) -> Option<String> {
    let why = view.summary.pause?;
    let is_beyond = |guard: &&GuardView| matches!(guard.state, GuardState::Breached | GuardState::Waiting);
    let beyond: Vec<_> = view.guards.iter().filter(is_beyond).map(|guard| visible(&guard.name)).collect();
    match why {
        Pause::Manual => None,
        Pause::NoData if !beyond.is_empty() => Some(format!("{} beyond its bound", beyond.join(", "))),
        _ => Some(why.as_str().replace('_', " ")),
    }
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::{super::samples, *};
    use crate::cli::output::COLUMNS;

    #[test]
    fn an_approver_sees_what_stops_it_and_how_late() {
        let told = previewed(&samples::preview().guards);
        assert!(told.lines().all(|line| line.width() <= COLUMNS), "{told}");
        insta::assert_snapshot!(told, @r"
        guards     login-p99 pauses above 0.5, halts above 0.8 for 30 s; pauses without
                   a number
                   sees a harm after 1 min 50 s at the most: 15 s until the scrape, 60 s
                   for the query's window, 5 s until the look, 30 s for it to last
                   phones that ring meanwhile: all 150 of stage 1, all 42130 of stage 2,
                   all 379171 of stage 3, 220000 of stage 4
                   transfers halts above 12 at one reading; pauses without a number
                   sees a harm after 1 min 50 s at the most: 15 s until the scrape, 60 s
                   for the query's window, 5 s until the look, 30 s for it to last
                   phones that ring meanwhile: all 150 of stage 1, all 42130 of stage 2,
                   all 379171 of stage 3, 220000 of stage 4
        ");
        assert_eq!(previewed(&[]), "guards     none: the plan watches no number of our own systems");
    }

    #[test]
    fn what_a_guard_says_is_coloured_and_not_obeyed() {
        let breached =
            samples::guarded(GuardState::Breached, "is 0.6, above 0.5, since 2026-11-21T11:58:00Z");
        let told: Vec<_> = standing(&breached, Paint::NONE).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        guards     login-p99 is 0.6, above 0.5, since 2026-11-21T11:58:00Z\u{1b}[2J
                   (pauses)
                   login-p99 is 3\u{1b}[2J
        ");
        let painted: Vec<_> = standing(&breached, Paint::ALWAYS).collect();
        assert!(painted[0].starts_with("\u{1b}[31m") && painted[1].starts_with("\u{1b}[32m"), "{painted:?}");
    }

    #[test]
    fn a_number_beyond_its_bound_is_no_want_of_data() {
        let why = |state| pause(&samples::guarded(state, "says so"));
        assert_eq!(why(GuardState::Breached).as_deref(), Some("login-p99 beyond its bound"));
        assert_eq!(why(GuardState::Waiting).as_deref(), Some("login-p99 beyond its bound"));
        assert_eq!(why(GuardState::Blind).as_deref(), Some("no data"));
        assert_eq!(pause(&samples::at_gate()).as_deref(), Some("gate"));
        assert_eq!(pause(&samples::view()), None);
    }
}
