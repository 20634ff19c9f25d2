//! Rollouts for people: within 80 columns, text from outside made safe.

use jiff::Timestamp;

use super::guards;
use crate::{
    api::wire::{
        ApprovalView, HaltView, PaceView, RelatedView, RolloutList, RolloutSummary, RolloutView, StageView,
    },
    cli::output::{COLUMNS, Colour, Paint, indented, shortened, table, visible},
    model::RolloutState,
};

/// Where the values begin, behind their names.
const VALUES: usize = 11;

/// Many rollouts, two lines each: what is copied and compared, and below it which job it is.
pub(super) fn list(list: &RolloutList, now: Timestamp, paint: Paint) -> String {
    if list.rollouts.is_empty() {
        return "no rollouts".to_owned();
    }
    let row = |line: &RolloutSummary| {
        vec![
            visible(&line.campaign),
            line.state.to_string(),
            line.stage.map_or_else(|| "-".to_owned(), |stage| format!("{stage}/{}", line.stages)),
            line.frozen.to_string(),
            ago(line.changed_at, now),
        ]
    };
    let rows: Vec<_> = list.rollouts.iter().map(row).collect();
    let text = table(&["campaign", "state", "stage", "devices", "since"], &rows);
    let mut lines = text.lines().map(str::to_owned);
    let mut told: Vec<String> = lines.next().into_iter().collect();
    for (line, summary) in lines.zip(&list.rollouts) {
        told.push(painted(&line, summary.state, paint));
        told.push(shortened(&format!("  {}", job_of(summary)), COLUMNS));
    }
    told.join("\n")
}

/// Which job, for whom, and why it stands where it does.
fn job_of(line: &RolloutSummary) -> String {
    let cause = line.cause.as_ref().map(|cause| format!(": {}", visible(cause))).unwrap_or_default();
    format!("{}/{} to {}{cause}", visible(&line.producer), visible(&line.job), visible(&line.audience))
}

/// One rollout, whole.
pub(super) fn rollout(view: &RolloutView, paint: Paint) -> String {
    let summary = &view.summary;
    let mut lines = vec![
        named("campaign", &visible(&summary.campaign)),
        named(
            "job",
            &format!(
                "{}/{}, plan {}",
                visible(&summary.producer),
                visible(&summary.job),
                visible(&view.plan)
            ),
        ),
        named(
            "to",
            &format!(
                "{} of {}, {}",
                visible(&summary.audience),
                visible(&summary.app),
                devices(summary.frozen)
            ),
        ),
        painted(&named("state", &state(view)), summary.state, paint),
    ];
    if let Some(cause) = &summary.cause {
        lines.push(named("because", &visible(cause)));
    }
    lines.extend(related(view));
    lines.extend(halts(view));
    if let Some(waits) = &view.waits {
        let until = waits.until.map(|until| format!(", until {}", second(until))).unwrap_or_default();
        lines.push(named("waits", &format!("{}{until}", visible(&waits.why))));
    }
    lines.extend(guards::standing(view, paint));
    lines.extend(findings(view));
    lines.extend(proven(view));
    if view.approvals_needed > 0 || !view.approvals.is_empty() {
        lines.push(named("approvals", &approvals(view)));
        lines.extend(view.approvals.iter().map(|approval| named("", &approved(approval))));
    }
    lines.extend(view.pace.as_ref().map(|pace| named("pace", &paced(pace))));
    if let Some(tail) = &view.late_tail {
        lines.push(named(
            "late tail",
            &format!("{}, the first at {}", devices(tail.devices), second(tail.due_at)),
        ));
    }
    if view.after_halt > 0 {
        let said = format!(
            "{} requests were on the wire when the halt was heard, and ended after it",
            view.after_halt
        );
        lines.push(named("halt", &said));
    }
    lines.push(named("expires", &second(summary.expires_at)));
    lines.push(String::new());
    lines.push(stages(&view.stages_view));
    lines.join("\n")
}

/// What it came of, or what came of it: how, which job, and the id to ask for.
pub(super) fn related(view: &RolloutView) -> impl Iterator<Item = String> {
    view.related.iter().map(relation)
}

fn relation(other: &RelatedView) -> String {
    let job = format!("{}/{}", visible(&other.producer), visible(&other.job));
    named("related", &format!("{} {job}, {}", other.how.in_words(), visible(&other.campaign)))
}

/// The halts in force that keep it from starting, a line each.
pub(super) fn halts(view: &RolloutView) -> impl Iterator<Item = String> {
    let line = |halt| format!("{}; nothing starts until it is lifted", in_force(halt));
    view.halts.iter().map(move |halt| named("halted", &line(halt)))
}

/// A halt in force: what, since when, by whom and why.
pub(in crate::cli) fn in_force(halt: &HaltView) -> String {
    let (scope, by, reason) = (visible(&halt.scope), visible(&halt.by), visible(&halt.reason));
    format!("{scope} since {}, by {by}: {reason}", second(halt.at))
}

/// In which state, where in the plan, and since when.
pub(super) fn state(view: &RolloutView) -> String {
    format!("{}, since {}", standing(view), second(view.summary.changed_at))
}

/// In which state, and where in the plan.
pub(super) fn standing(view: &RolloutView) -> String {
    let line = &view.summary;
    let pause = guards::pause(view).map(|why| format!(" ({why})")).unwrap_or_default();
    let stage = line.stage.map(|stage| format!(", stage {stage} of {}", line.stages)).unwrap_or_default();
    format!("{}{pause}{stage}", line.state)
}

/// What the guard had to say, each by the number by which it is accepted.
fn findings(view: &RolloutView) -> impl Iterator<Item = String> {
    view.findings.iter().map(|finding| {
        let name = format!("finding {}", finding.number);
        let what =
            format!("{} ({}): {}", visible(&finding.field), visible(&finding.rule), visible(&finding.reason));
        let stands = match (&finding.accepted_by, &finding.accepted_reason) {
            (Some(by), Some(reason)) => format!("; accepted by {}: {}", visible(by), visible(reason)),
            _ if finding.holds => "; HOLDS it until somebody has accepted it".to_owned(),
            _ => String::new(),
        };
        named(&name, &format!("{what}{stands}"))
    })
}

/// Who has looked at a test, and what they say of it.
pub(super) fn proven(view: &RolloutView) -> Option<String> {
    let proven = view.proven.as_ref()?;
    let said = format!("by {}, {}: {}", visible(&proven.by), second(proven.at), visible(&proven.reason));
    Some(named("proven", &said))
}

/// How fast it goes, and by what.
fn paced(pace: &PaceView) -> String {
    let PaceView { signal, min, max, per_second, headroom } = pace;
    let bounds = format!("{per_second}/s, between {min}/s and {max}/s");
    let Some(signal) = signal else { return format!("{bounds}, by no signal") };
    let said = headroom.map_or_else(|| "cannot be read".to_owned(), |headroom| format!("says {headroom}"));
    format!("{bounds}; {} {said}", visible(signal))
}

fn approvals(view: &RolloutView) -> String {
    let given = view.approvals.iter().filter(|approval| approval.voided_at.is_none()).count();
    let barred: Vec<String> = view.barred.iter().map(|name| visible(name)).collect();
    let not = if barred.is_empty() { String::new() } else { format!("; not by {}", barred.join(", ")) };
    format!("{given} of {}{not}", view.approvals_needed)
}

fn approved(approval: &ApprovalView) -> String {
    let said = approval.reason.as_ref().map(|said| format!(": {}", visible(said))).unwrap_or_default();
    let void =
        approval.voided_by.as_ref().map(|why| format!(" (void: {})", visible(why))).unwrap_or_default();
    format!("{} at {}{said}{void}", visible(&approval.by), second(approval.at))
}

fn stages(stages: &[StageView]) -> String {
    let row = |stage: &StageView| {
        let took = stage.opened_at.zip(stage.sent_at).map(|(opened, sent)| ago(opened, sent));
        vec![
            stage.stage.to_string(),
            shortened(&visible(&stage.takes), 22),
            stage.devices.map_or_else(|| "-".to_owned(), |devices| devices.to_string()),
            stage.done.to_string(),
            stage.opened_at.map_or_else(|| "-".to_owned(), second),
            took.unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let rows: Vec<_> = stages.iter().map(row).collect();
    let text = table(&["stage", "takes", "devices", "done", "opened", "sent in"], &rows);
    let mut lines = text.lines().map(str::to_owned);
    let mut told: Vec<String> = lines.next().into_iter().collect();
    for (line, stage) in lines.zip(stages) {
        told.push(line);
        let counts: Vec<String> =
            stage.outcomes.iter().map(|(name, count)| format!("{count} {}", visible(name))).collect();
        if !counts.is_empty() {
            let health = stage.health.map(|health| format!("; {}", health.in_words())).unwrap_or_default();
            told.push(named("", &format!("{}{health}", counts.join(", "))));
        }
    }
    told.join("\n")
}

/// A name and its value, in as many lines as that needs.
pub(super) fn named(name: &str, value: &str) -> String {
    format!("{name:VALUES$}{}", &indented(value, VALUES)[VALUES..])
}

pub(super) fn devices(count: u64) -> String {
    if count == 1 { "1 device".to_owned() } else { format!("{count} devices") }
}

/// An instant to the second: nobody steers by less.
pub(super) fn second(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// From then until now, in its largest unit.
pub(super) fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..=59 => format!("{seconds} s"),
        60..=3_599 => format!("{} min", seconds / 60),
        3_600..=86_399 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Colours the word of the state where it stands in a line.
fn painted(line: &str, state: RolloutState, paint: Paint) -> String {
    let colour = match state {
        RolloutState::Completed | RolloutState::Running | RolloutState::Baking => Colour::Green,
        RolloutState::Draft
        | RolloutState::PendingApproval
        | RolloutState::Approved
        | RolloutState::Paused => Colour::Yellow,
        RolloutState::Halted | RolloutState::Aborted | RolloutState::Rejected | RolloutState::Expired => {
            Colour::Red
        }
    };
    line.replacen(state.as_str(), &paint.with(colour, state.as_str()), 1)
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr as _;

    use super::super::samples;
    use super::*;
    use crate::api::wire::Relation;

    fn fits(text: &str) {
        for line in text.lines() {
            assert!(line.width() <= COLUMNS, "{} columns: {line}", line.width());
        }
    }

    #[test]
    fn a_list_is_two_lines_a_rollout() {
        let told = list(&samples::list(), samples::now(), Paint::NONE);
        fits(&told);
        insta::assert_snapshot!(told);
        let empty = RolloutList { rollouts: Vec::new() };
        assert_eq!(list(&empty, samples::now(), Paint::NONE), "no rollouts");
    }

    #[test]
    fn a_rollout_says_where_it_stands_and_for_whom_it_waits() {
        let told = rollout(&samples::view(), Paint::NONE);
        fits(&told);
        insta::assert_snapshot!(told);
    }

    #[test]
    fn a_halt_in_force_is_shown_with_what_it_keeps_from_starting() {
        let view = RolloutView { halts: vec![samples::halt()], ..samples::pending() };
        let told = rollout(&view, Paint::NONE);
        fits(&told);
        let lines: Vec<&str> = told.lines().skip_while(|line| !line.starts_with("halted ")).take(3).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        halted     all since 2026-11-21T11:59:00Z, by anna: wrong text \u{1b}[2J;
                   nothing starts until it is lifted
        waits      people must approve it, until 2026-11-21T20:00:00Z
        ");
    }

    #[test]
    fn the_other_campaign_is_named_on_either_side() {
        let other = |how| RelatedView {
            how,
            campaign: "6f1c9a34-6d0a-8d3e-9b5c-0d9d5b8a7e11".to_owned(),
            producer: "marketing".to_owned(),
            job: "news\u{1b}[2J".to_owned(),
        };
        let related = vec![other(Relation::Corrects), other(Relation::SupersededBy)];
        let told = rollout(&RolloutView { related, ..samples::pending() }, Paint::NONE);
        fits(&told);
        let lines: Vec<&str> =
            told.lines().skip_while(|line| !line.starts_with("related ")).take(4).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        related    corrects marketing/news\u{1b}[2J,
                   6f1c9a34-6d0a-8d3e-9b5c-0d9d5b8a7e11
        related    superseded by marketing/news\u{1b}[2J,
                   6f1c9a34-6d0a-8d3e-9b5c-0d9d5b8a7e11
        ");
    }

    #[test]
    fn hostile_words_are_shown_and_not_obeyed() {
        let mut view = samples::view();
        view.summary.cause = Some(format!("\u{1b}[2J\u{202e}{}", "drop table rollout; ".repeat(20)));
        view.approvals[0].reason = Some("\u{7}\r\nstate      completed".to_owned());
        view.summary.job = "j\u{9b}31m".to_owned();
        let told = rollout(&view, Paint::NONE);
        fits(&told);
        assert!(told.chars().all(|c| c == '\n' || !c.is_control()), "{told:?}");
        insta::assert_snapshot!(told);
    }

    #[test]
    fn a_state_is_coloured_and_an_id_is_not() {
        let painted = painted("f5d0 halted because it was halted", RolloutState::Halted, Paint::ALWAYS);
        assert_eq!(painted, "f5d0 \u{1b}[31mhalted\u{1b}[0m because it was halted");
    }

    #[test]
    fn ages_have_one_unit() {
        let at = |seconds| Timestamp::from_second(seconds).expect("an instant");
        let ages = [5, 65, 7_300, 200_000].map(|seconds| ago(at(0), at(seconds)));
        assert_eq!(ages, ["5 s", "1 min", "2 h", "2 d"]);
        assert_eq!(ago(at(9), at(0)), "0 s", "clocks differ");
    }
}
