//! The guards of a plan: how late each sees a harm, and what each says of a rollout now.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use crate::{
    api::wire::{GuardState, GuardView, PreviewGuard, PreviewStage, RungMeanwhile},
    audience::WhenBlind,
    dispatch::outlook::judged,
    ledger::SeenDownstream,
    rollout::{
        FrozenPlan, Judged,
        downstream::{FrozenDownstream, Judgement, Lag, Looks, Number},
    },
};

/// What each guard of a plan stops, and how many phones ring before it does.
pub(super) fn previewed(plan: &FrozenPlan, stages: &[PreviewStage], looks: Looks) -> Vec<PreviewGuard> {
    let shown = |guard: &FrozenDownstream| {
        let lag = guard.lag(looks);
        PreviewGuard {
            name: guard.name.clone(),
            side: guard.beyond.to_string(),
            pause: guard.pause.map(Number::get),
            halt: guard.halt.map(Number::get),
            for_seconds: Duration::from_millis(guard.hold_ms).as_secs_f64(),
            no_data: no_data(guard).to_owned(),
            lag_seconds: lag.whole().as_secs_f64(),
            lag: in_words(&lag),
            rung_meanwhile: stages.iter().map(|stage| rung(stage, &lag)).collect(),
        }
    };
    plan.downstream.iter().map(shown).collect()
}

const fn no_data(guard: &FrozenDownstream) -> &'static str {
    match guard.no_data {
        WhenBlind::Pause => "pause",
        WhenBlind::Halt => "halt",
    }
}

fn in_words(lag: &Lag) -> String {
    let Lag { scrape, window, look, hold } = lag;
    let parts = [(scrape, "until the scrape"), (window, "for the query's window"), (look, "until the look")];
    let last = (hold, "for it to last");
    let parts = parts.into_iter().chain([last]).filter(|(time, _)| !time.is_zero());
    parts.map(|(time, what)| format!("{} s {what}", time.as_secs_f64())).collect::<Vec<_>>().join(", ")
}

/// As many as are sent at the stage's rate while the guard has not seen it yet; never more than there are.
fn rung(stage: &PreviewStage, lag: &Lag) -> RungMeanwhile {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate times a time is not negative; beyond what a u64 holds it is cut, and then bounded"
    )]
    let sent = (stage.rate * lag.whole().as_secs_f64()).ceil() as u64;
    RungMeanwhile { stage: stage.stage, devices: sent.min(stage.devices), all: sent >= stage.devices }
}

/// What each guard of a plan says now, by what was seen of its number.
pub(super) fn standing(
    plan: &FrozenPlan,
    seen: &BTreeMap<String, SeenDownstream>,
    now: Timestamp,
) -> Vec<GuardView> {
    let shown = |judged: Judged<'_>| {
        let Judged { guard, judgement } = judged;
        let Some(SeenDownstream { watched, stale_after }) = seen.get(&guard.name) else {
            return unread(guard);
        };
        let last = watched.last();
        let mut told = judgement.of(guard).to_string();
        if let (Judgement::Blind { .. }, Some((at, value))) = (judgement, last) {
            told = format!("{told}; it was {value} at {at:.0}");
        }
        let blind = watched.blind_since(now, *stale_after);
        if let (Judgement::Breached { .. } | Judgement::Waiting { .. }, Some(since)) = (judgement, blind) {
            told = format!("{told}; it cannot be read, since {since:.0}");
        }
        let (state, halts, since) = match judgement {
            Judgement::Fine { .. } => (GuardState::Fine, None, None),
            Judgement::Waiting { halts, since, .. } => (GuardState::Waiting, Some(halts), Some(since)),
            Judgement::Breached { halts, since, .. } => (GuardState::Breached, Some(halts), Some(since)),
            Judgement::Blind { halts, .. } => (GuardState::Blind, Some(halts), watched.beyond_since()),
        };
        GuardView {
            name: guard.name.clone(),
            state,
            does: halts.map(|halts| if halts { "halt" } else { "pause" }.to_owned()),
            value: last.map(|(_, value)| value.get()),
            read_at: last.map(|(at, _)| at),
            beyond_since: since,
            blind_since: blind,
            told,
        }
    };
    judged(plan, seen, now).into_iter().map(shown).collect()
}

/// What has not been read yet. Since when is for the first look to say.
fn unread(guard: &FrozenDownstream) -> GuardView {
    GuardView {
        name: guard.name.clone(),
        state: GuardState::Blind,
        does: Some(no_data(guard).to_owned()),
        value: None,
        read_at: None,
        beyond_since: None,
        blind_since: None,
        told: format!("{} has not been read yet", guard.name),
    }
}

/// Why nothing widens, if that is for a guard to say: each that is not fine, by its name and number.
pub(super) fn in_the_way(guards: &[GuardView]) -> Option<String> {
    let told: Vec<&str> = guards
        .iter()
        .filter(|guard| guard.state != GuardState::Fine)
        .map(|guard| guard.told.as_str())
        .collect();
    (!told.is_empty()).then(|| format!("{}; it goes on by itself once that is over", told.join("; ")))
}
