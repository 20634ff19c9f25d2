//! The preview, as an approver reads it: the phones in boxes, then whom it reaches, how, and what speaks against it.

use unicode_width::UnicodeWidthStr as _;

use super::{
    guards, peak,
    table::{devices, halts, named, related, state},
};
use crate::{
    api::wire::{PaceView, PlanPreview, Preview, PreviewStage, Truncated},
    cli::output::{Paint, table, visible, wrapped},
};

/// Columns inside a box: an iPhone's lines have 40, an Android phone's 49.
const IPHONE: usize = 40;
const ANDROID: usize = 49;

/// The whole of it.
pub(super) fn preview(preview: &Preview, paint: Paint) -> String {
    let mut parts = Vec::new();
    if preview.texts.is_empty() {
        parts.push("The text of this campaign is forgotten; only its digest is kept.".to_owned());
    }
    for text in &preview.texts {
        let locale = text.locale.as_deref().map_or_else(|| "default text".to_owned(), visible);
        parts.push(phone(&format!("iPhone, locked: {locale}"), IPHONE, &text.ios));
        parts.push(phone(&format!("Android: {locale}"), ANDROID, &text.android));
    }
    parts.push(audience(preview));
    parts.push(stages(&preview.stages));
    parts.extend(preview.rollout.pace.as_ref().map(|pace| named("pace", &begins(pace))));
    parts.push(peak::estimate(&preview.opens, &preview.rollout.summary.app));
    parts.push(guards::previewed(&preview.guards));
    parts.push(findings(preview));
    if !preview.drift.is_empty() {
        let mut lines = vec!["The policy changed since this campaign was cleared:".to_owned()];
        lines.extend(preview.drift.iter().map(|line| visible(line)));
        parts.push(lines.join("\n"));
    }
    // Last: it is what stands above the question.
    parts.extend(peak::warning(&preview.opens, &preview.stages, paint));
    parts.join("\n\n")
}

/// A plan, before there is a campaign.
pub(in crate::cli) fn planned(planned: &PlanPreview, paint: Paint) -> String {
    let head = [
        named("audience", &format!("{} of {}", visible(&planned.audience), visible(&planned.app))),
        named("reaches", &format!("{} now", devices(planned.devices))),
        named("plan", &visible(&planned.plan)),
    ];
    let mut parts = vec![
        head.join("\n"),
        stages(&planned.stages),
        peak::estimate(&planned.opens, &planned.app),
        guards::previewed(&planned.guards),
    ];
    parts.extend(peak::warning(&planned.opens, &planned.stages, paint));
    parts.join("\n\n")
}

/// A phone: what it shows, in a box.
fn phone(name: &str, columns: usize, text: &Truncated) -> String {
    let title = format!("┌ {name} ");
    let mut lines = vec![format!("{title}{}┐", "─".repeat((columns + 3).saturating_sub(title.width())))];
    lines.extend(text.title.iter().chain(&text.body).map(|line| boxed(line, columns)));
    let foot = if text.cut { " cut here ┘" } else { "┘" };
    lines.push(format!("└{}{foot}", "─".repeat((columns + 3).saturating_sub(foot.width()))));
    lines.join("\n")
}

/// A line within its box. What runs from right to left is isolated (Unicode Annex 9), or a terminal that turns it would turn the
/// box with it.
fn boxed(line: &str, columns: usize) -> String {
    let line = visible(line);
    let pad = " ".repeat(columns.saturating_sub(line.width()));
    let line = if line.chars().any(runs_leftwards) { format!("\u{2068}{line}\u{2069}") } else { line };
    format!("│ {line}{pad} │")
}

/// Hebrew, Arabic, Syriac, Thaana and their neighbours, with their presentation forms.
fn runs_leftwards(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}' | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

fn audience(preview: &Preview) -> String {
    let audience = &preview.audience;
    let summary = &preview.rollout.summary;
    let mut lines = vec![
        named("campaign", &visible(&summary.campaign)),
        named(
            "job",
            &format!("{}/{}, {}", visible(&summary.producer), visible(&summary.job), preview.intent),
        ),
        named("state", &state(&preview.rollout)),
    ];
    lines.extend(related(&preview.rollout));
    lines.extend(halts(&preview.rollout));
    lines.push(named(
        "audience",
        &format!("{} ({}) of {}", visible(&audience.name), visible(&audience.class), visible(&summary.app)),
    ));
    lines.extend(audience.description.iter().map(|text| named("", &visible(text))));
    lines.extend(audience.selects.iter().map(|line| named("", &format!("- {}", visible(line)))));
    lines.push(named(
        "reaches",
        &format!("{}; at most {} of the audience may be", devices(audience.frozen), audience.at_most),
    ));
    let given = preview.rollout.approvals.iter().filter(|approval| approval.voided_at.is_none()).count();
    lines.push(named("approvals", &format!("{given} of {}", preview.rollout.approvals_needed)));
    lines.join("\n")
}

/// How the rates above are come to, and from where.
fn begins(pace: &PaceView) -> String {
    let PaceView { signal, min, max, .. } = pace;
    match signal {
        Some(signal) => format!(
            "each stage begins at {min}/s, and goes up to {max}/s as {} allows; the times above are the shortest",
            visible(signal)
        ),
        None => format!("it follows no signal, and goes at {min}/s"),
    }
}

fn stages(stages: &[PreviewStage]) -> String {
    let last = stages.len();
    let row = |(place, stage): (usize, &PreviewStage)| {
        vec![
            stage.stage.to_string(),
            crate::cli::output::shortened(&visible(&stage.takes), 20),
            stage.devices.to_string(),
            format!("{:.0}/s", stage.rate),
            seconds(stage.sending_seconds),
            seconds(stage.bake_seconds),
            if place + 1 == last { "-".to_owned() } else { stage.gate.clone() },
        ]
    };
    let rows: Vec<_> = stages.iter().enumerate().map(row).collect();
    table(&["stage", "takes", "devices", "rate", "sending", "watched", "then"], &rows)
}

fn findings(preview: &Preview) -> String {
    if preview.findings.is_empty() {
        return "The guard has nothing against it.".to_owned();
    }
    let lines = preview.findings.iter().map(|finding| {
        let text = format!("- {} ({}): {}", finding.rule, visible(&finding.field), visible(&finding.problem));
        wrapped(&text, 2)
    });
    let lines: Vec<String> = std::iter::once("The guard says:".to_owned()).chain(lines).collect();
    lines.join("\n")
}

/// A time in the two largest units that it has.
pub(super) fn seconds(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole seconds of a time that is not negative; beyond what a u64 holds it is cut"
    )]
    let whole = seconds.max(0.0).ceil() as u64;
    let pair = |large: u64, unit: &str, small: u64, below: &str| {
        if small == 0 { format!("{large} {unit}") } else { format!("{large} {unit} {small} {below}") }
    };
    match whole {
        0..=59 => format!("{whole} s"),
        60..=3_599 => pair(whole / 60, "min", whole % 60, "s"),
        3_600..=86_399 => pair(whole / 3_600, "h", whole % 3_600 / 60, "min"),
        _ => pair(whole / 86_400, "d", whole % 86_400 / 3_600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};
    use crate::cli::output::COLUMNS;

    #[test]
    fn a_rate_that_follows_a_signal_is_no_promise_of_speed() {
        let mut paced = samples::preview();
        let pace = PaceView {
            signal: Some("headroom".to_owned()),
            min: 50,
            max: 2_000,
            per_second: 50,
            headroom: None,
        };
        paced.rollout.pace = Some(pace.clone());
        let told = preview(&paced, Paint::NONE);
        assert!(
            told.contains("each stage begins at 50/s, and goes up to 2000/s as headroom allows"),
            "{told}"
        );
        assert_eq!(begins(&PaceView { signal: None, ..pace }), "it follows no signal, and goes at 50/s");
    }

    #[test]
    fn an_approver_sees_the_phones_the_audience_the_stages_and_what_speaks_against_it() {
        let shown = preview(&samples::preview(), Paint::NONE);
        for line in shown.lines() {
            assert!(line.width() <= COLUMNS, "{} columns: {line}", line.width());
        }
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn an_approver_is_told_of_a_halt_in_force() {
        let mut halted = samples::preview();
        halted.rollout.halts.push(samples::halt());
        let shown = preview(&halted, Paint::NONE);
        assert!(
            shown.contains("\nhalted     all since 2026-11-21T11:59:00Z, by anna: wrong text"),
            "{shown}"
        );
    }

    #[test]
    fn a_box_keeps_its_edges_whatever_is_in_it() {
        let text = |body: &str| Truncated { title: None, body: vec![body.to_owned()], cut: false };
        for body in ["plain", "東京都", "שלום", "👨‍👩‍👧", "e\u{301}"] {
            let drawn = phone("x", IPHONE, &text(body));
            let widths: Vec<usize> = drawn.lines().map(unicode_width::UnicodeWidthStr::width).collect();
            assert!(widths.iter().all(|width| *width == IPHONE + 4), "{widths:?}\n{drawn}");
        }
        assert!(phone("x", IPHONE, &text("\u{1b}[2J\u{202e}")).contains("\\u{1b}[2J\\u{202e}"));
    }

    #[test]
    fn a_forgotten_text_is_said_to_be() {
        let mut forgotten = samples::preview();
        forgotten.texts.clear();
        forgotten.findings.clear();
        let shown = preview(&forgotten, Paint::NONE);
        assert!(shown.starts_with("The text of this campaign is forgotten"), "{shown}");
        assert!(shown.contains("The guard has nothing against it."), "{shown}");
    }

    #[test]
    fn times_have_two_units_at_most() {
        let told = [0.006, 59.0, 60.0, 1_895.8, 7_260.0, 90_000.0].map(seconds);
        assert_eq!(told, ["1 s", "59 s", "1 min", "31 min 36 s", "2 h 1 min", "1 d 1 h"]);
    }
}
