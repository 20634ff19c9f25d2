//! Every pair of state and event, and what it comes to: a change of the table is seen in review.

use std::fmt::Write as _;

use super::*;

fn states() -> Vec<(String, Rollout)> {
    let pending = |at, approved: &[&str]| {
        let approved = approved.iter().map(|by| name(by)).collect();
        Rollout::PendingApproval(Pending { electorate: electorate(2), approved, at })
    };
    let approved = |started, at| Rollout::Approved(Approved { started, at });
    let baking = |stage, promoted| Rollout::Baking(Baking { stage, promoted });
    let mut states = vec![
        ("draft".to_owned(), Rollout::Draft),
        ("pending, nobody yet".to_owned(), pending(Held::Start, &[])),
        ("pending, bob".to_owned(), pending(Held::Start, &["bob"])),
        ("pending midway, bob".to_owned(), pending(Held::Running(0), &["bob"])),
        ("approved".to_owned(), approved(false, Held::Start)),
        ("approved midway".to_owned(), approved(false, Held::Baking(0))),
        ("started".to_owned(), approved(true, Held::Start)),
        ("running 0".to_owned(), Rollout::Running(0)),
        ("baking 0, manual gate".to_owned(), baking(0, false)),
        ("baking 0, promoted".to_owned(), baking(0, true)),
        ("baking 1, the last".to_owned(), baking(1, false)),
        (
            "paused before the start".to_owned(),
            Rollout::Paused(Paused { why: Pause::Manual, at: Held::Start }),
        ),
        (
            "paused while running".to_owned(),
            Rollout::Paused(Paused { why: Pause::ProviderDown, at: Held::Running(1) }),
        ),
    ];
    states.extend(Pause::ALL.map(|why| {
        (format!("paused while baking: {why}"), Rollout::Paused(Paused { why, at: Held::Baking(0) }))
    }));
    let ends = [Ending::Completed, Ending::Halted, Ending::Aborted, Ending::Rejected, Ending::Expired];
    states.extend(ends.map(|ending| (format!("over: {ending:?}"), Rollout::Over(ending))));
    states
}

fn events() -> Vec<(String, RolloutEvent)> {
    let mut events = vec![
        ("frozen, nobody must approve".to_owned(), RolloutEvent::Frozen(electorate(0))),
        ("frozen, two must approve".to_owned(), RolloutEvent::Frozen(electorate(2))),
        ("the author approves".to_owned(), RolloutEvent::Approve(name("author"))),
        ("ada approves".to_owned(), RolloutEvent::Approve(name("ada"))),
        ("bob approves".to_owned(), RolloutEvent::Approve(name("bob"))),
        ("reject".to_owned(), RolloutEvent::Reject),
        ("void".to_owned(), RolloutEvent::Void(electorate(2))),
        ("start".to_owned(), RolloutEvent::Start),
        ("open 0".to_owned(), RolloutEvent::Open(0)),
        ("open 1".to_owned(), RolloutEvent::Open(1)),
        ("open 2".to_owned(), RolloutEvent::Open(2)),
        ("sent".to_owned(), RolloutEvent::Sent),
        ("gate".to_owned(), RolloutEvent::Gate),
        ("a person resumes".to_owned(), RolloutEvent::Resume { by_itself: false }),
        ("resume by itself".to_owned(), RolloutEvent::Resume { by_itself: true }),
        ("promote".to_owned(), RolloutEvent::Promote { reasoned: false }),
        ("promote with a reason".to_owned(), RolloutEvent::Promote { reasoned: true }),
        ("complete".to_owned(), RolloutEvent::Complete),
        ("expire".to_owned(), RolloutEvent::Expire),
        ("halt".to_owned(), RolloutEvent::Halt),
        ("abort".to_owned(), RolloutEvent::Abort),
    ];
    events.extend(Pause::ALL.map(|why| (format!("pause: {why}"), RolloutEvent::Pause(why))));
    events
}

/// Where it stands, in a line.
fn line(rollout: &Rollout) -> String {
    match rollout {
        Rollout::PendingApproval(Pending { electorate, approved, at }) => {
            format!("PendingApproval({} of {}, {at:?})", approved.len(), electorate.people)
        }
        Rollout::Approved(Approved { started, at }) => format!("Approved(started: {started}, {at:?})"),
        Rollout::Baking(Baking { stage, promoted }) => format!("Baking({stage}, promoted: {promoted})"),
        Rollout::Paused(Paused { why, at }) => format!("Paused({why}, {at:?})"),
        other => format!("{other:?}"),
    }
}

#[test]
fn every_pair_of_state_and_event_is_in_the_table() {
    let (plan, mut table) = (plan(true), String::new());
    for (state, rollout) in states() {
        let _ = writeln!(table, "{state}");
        for (event, happens) in events() {
            let answer = match rollout.clone().on(happens, &plan) {
                Ok(moved) => {
                    format!("{}{}", line(&moved.rollout), if moved.new_epoch { ", new epoch" } else { "" })
                }
                Err(refused) => format!("no: {:?}", refused.because),
            };
            let _ = writeln!(table, "  {event:<28} {answer}");
        }
    }
    insta::assert_snapshot!("table", table);
}
