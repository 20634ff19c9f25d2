//! A rollout of the tests' own.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::{
    api::wire::{
        ApprovalView, AudienceInWords, GuardState, GuardView, HaltView, Opens, PhoneText, Preview,
        PreviewFinding, PreviewGuard, PreviewStage, RolloutList, RolloutSummary, RolloutView, RungMeanwhile,
        StageView, Truncated, Waits,
    },
    model::{Pause, RolloutState},
};

fn at(text: &str) -> Timestamp {
    format!("2026-11-21T{text}Z").parse().expect("an instant")
}

pub(super) fn now() -> Timestamp {
    at("12:00:00")
}

pub(super) fn summary() -> RolloutSummary {
    RolloutSummary {
        campaign: "8b1e6c0a-7d52-8f3e-9a41-2c5d7e9f0b13".to_owned(),
        producer: "marketing".to_owned(),
        job: "news-2026-11-21".to_owned(),
        app: "pl.example.bank".to_owned(),
        audience: "customers-pl".to_owned(),
        state: RolloutState::Running,
        pause: None,
        cause: None,
        stage: Some(2),
        stages: 4,
        frozen: 4_213_007,
        epoch: 1,
        received_at: at("11:00:00"),
        changed_at: at("11:57:00"),
        expires_at: at("20:00:00"),
        finished_at: None,
    }
}

pub(super) fn list() -> RolloutList {
    let halted = RolloutSummary {
        campaign: "0f3a9d1c-5e77-8a20-b1c4-66d0e2f48a95".to_owned(),
        job: "a-job-with-a-name-that-is-as-long-as-names-of-jobs-may-be-in-this-world".to_owned(),
        state: RolloutState::Halted,
        cause: Some("halted by piotr: the text is wrong".to_owned()),
        stage: None,
        changed_at: at("02:00:00"),
        finished_at: Some(at("02:00:00")),
        ..summary()
    };
    let pending = RolloutSummary { state: RolloutState::PendingApproval, stage: None, ..summary() };
    RolloutList { rollouts: vec![summary(), pending, halted] }
}

pub(super) fn stage(number: u32, takes: &str, devices: u64, done: u64, max_rate: Option<u32>) -> StageView {
    StageView {
        stage: number,
        takes: takes.to_owned(),
        devices: Some(devices),
        done,
        outcomes: BTreeMap::new(),
        bake_ms: 600_000,
        manual_gate: false,
        gate: "auto".to_owned(),
        health: None,
        max_rate,
        opened_at: None,
        sent_at: None,
    }
}

pub(super) fn view() -> RolloutView {
    let staff = StageView {
        outcomes: BTreeMap::from([("accepted".to_owned(), 148), ("token_gone".to_owned(), 2)]),
        opened_at: Some(at("11:30:00")),
        sent_at: Some(at("11:30:02")),
        health: Some(crate::api::wire::StageHealth::Inconclusive),
        ..stage(1, "staff", 150, 150, None)
    };
    let first = StageView {
        outcomes: BTreeMap::from([("accepted".to_owned(), 400)]),
        opened_at: Some(at("11:57:00")),
        health: Some(crate::api::wire::StageHealth::Pass),
        ..stage(2, "1 %", 42_130, 400, Some(100))
    };
    RolloutView {
        summary: summary(),
        plan: "cautious".to_owned(),
        digest: Some("c0ffee".repeat(10) + "abcd"),
        requester: None,
        approvals_needed: 3,
        approvals: vec![
            ApprovalView {
                by: "ada".to_owned(),
                at: at("11:05:00"),
                digest: "c0ffee".to_owned(),
                reason: Some("looks right on my phone".to_owned()),
                until: at("23:00:00"),
                voided_at: None,
                voided_by: None,
            },
            ApprovalView {
                by: "ben".to_owned(),
                at: at("11:06:00"),
                digest: "c0ffee".to_owned(),
                reason: None,
                until: at("23:00:00"),
                voided_at: Some(at("11:10:00")),
                voided_by: Some(
                    "policy-changed: the policy in force is not the one that was approved".to_owned(),
                ),
            },
        ],
        barred: vec!["marketing-lead".to_owned()],
        waits: Some(Waits {
            why: "a stage is being sent".to_owned(),
            until: Some(at("20:00:00")),
            on_people: false,
        }),
        stages_view: vec![
            staff,
            first,
            stage(3, "10 %", 379_171, 0, Some(1_000)),
            stage(4, "100 %", 3_791_556, 0, Some(2_000)),
        ],
        findings: Vec::new(),
        proven: None,
        pace: None,
        late_tail: None,
        after_halt: 0,
        halts: Vec::new(),
        related: Vec::new(),
        guards: Vec::new(),
    }
}

/// A halt in force, with words that would move a cursor.
pub(in crate::cli) fn halt() -> HaltView {
    HaltView {
        scope: "all".to_owned(),
        by: "anna".to_owned(),
        reason: "wrong text \u{1b}[2J".to_owned(),
        at: at("11:59:00"),
        lift_asked_by: None,
    }
}

/// The same, paused at a gate.
pub(super) fn at_gate() -> RolloutView {
    let mut view = view();
    view.summary.state = RolloutState::Paused;
    view.summary.pause = Some(Pause::Gate);
    view.waits =
        Some(Waits { why: "a person must open the next stage".to_owned(), until: None, on_people: true });
    view
}

/// The same, over.
pub(super) fn over(state: RolloutState) -> RolloutView {
    let mut view = view();
    view.summary.state = state;
    view.waits = None;
    view
}

/// The same, frozen and waiting for people.
pub(super) fn pending() -> RolloutView {
    let mut view = view();
    view.summary.state = RolloutState::PendingApproval;
    view.summary.stage = None;
    view.waits = Some(Waits {
        why: "people must approve it".to_owned(),
        until: Some(at("20:00:00")),
        on_people: true,
    });
    view.approvals.clear();
    view
}

fn text(locale: Option<&str>, title: &str, body: &[&str], cut: bool) -> PhoneText {
    let shown = |body: &[&str], cut| Truncated {
        title: Some(title.to_owned()),
        body: body.iter().map(|line| (*line).to_owned()).collect(),
        cut,
    };
    PhoneText { locale: locale.map(str::to_owned), ios: shown(body, false), android: shown(&body[..1], cut) }
}

fn guard(name: &str, pause: Option<f64>, halt: Option<f64>) -> PreviewGuard {
    let rung = |stage, devices, all| RungMeanwhile { stage, devices, all };
    PreviewGuard {
        name: name.to_owned(),
        side: "above".to_owned(),
        pause,
        halt,
        for_seconds: if pause.is_some() { 30.0 } else { 0.0 },
        no_data: "pause".to_owned(),
        lag_seconds: 110.0,
        lag: "15 s until the scrape, 60 s for the query's window, 5 s until the look, 30 s for it to last"
            .to_owned(),
        rung_meanwhile: vec![
            rung(1, 150, true),
            rung(2, 42_130, true),
            rung(3, 379_171, true),
            rung(4, 220_000, false),
        ],
    }
}

/// A guard that says so, with words that would move a cursor.
pub(super) fn says(state: GuardState, told: &str) -> GuardView {
    GuardView {
        name: "login-p99".to_owned(),
        state,
        does: (state != GuardState::Fine).then(|| "pause".to_owned()),
        value: Some(0.6),
        read_at: Some(at("11:59:55")),
        beyond_since: None,
        blind_since: None,
        told: format!("login-p99 {told}\u{1b}[2J"),
    }
}

/// The same, paused because of what a guard says.
pub(super) fn guarded(state: GuardState, told: &str) -> RolloutView {
    let mut view = view();
    view.summary.state = RolloutState::Paused;
    view.summary.pause = Some(Pause::NoData);
    view.guards =
        vec![says(state, told), GuardView { name: "transfers".to_owned(), ..says(GuardState::Fine, "is 3") }];
    let why = format!("{}; it goes on by itself once that is over", view.guards[0].told);
    view.waits = Some(Waits { why, until: None, on_people: false });
    view
}

/// The same, of a campaign that our own systems would not take.
pub(super) fn above_capacity() -> Preview {
    let mut preview = preview();
    preview.opens = Opens { capacity: Some(120), accept_peak: Some(160), ..preview.opens };
    preview.stages[2].rate_within = Some(7_134);
    preview.stages[3].rate_within = Some(1_503);
    preview
}

pub(super) fn preview() -> Preview {
    let stage = |number, takes: &str, devices, rate, sending_seconds, gate: &str| PreviewStage {
        stage: number,
        takes: takes.to_owned(),
        devices,
        rate,
        sending_seconds,
        bake_seconds: 600.0,
        gate: gate.to_owned(),
        peak_per_second: 159.5,
        rate_within: None,
    };
    Preview {
        rollout: pending(),
        intent: "production".to_owned(),
        texts: vec![
            text(None, "Nowa aplikacja", &["Nowa aplikacja banku jest gotowa.", "Zobacz, co nowego."], true),
            text(Some("he"), "הבנק", &["שלום, האפליקציה החדשה מוכנה"], false),
            text(Some("ja"), "銀行", &["新しいアプリの準備ができました。"], false),
        ],
        audience: AudienceInWords {
            name: "customers-pl".to_owned(),
            class: "production".to_owned(),
            description: Some("Every customer in Poland".to_owned()),
            selects: vec![
                "the country is PL".to_owned(),
                "the platform is ios or android".to_owned(),
                "opened the app within the last 90 days".to_owned(),
            ],
            frozen: 4_213_007,
            at_most: 4_300_000,
        },
        stages: vec![
            stage(1, "staff", 150, 23_200.0, 0.006, "manual"),
            stage(2, "1 %", 42_130, 23_200.0, 1.8, "auto"),
            stage(3, "10 %", 379_171, 23_200.0, 16.3, "manual"),
            stage(4, "100 %", 3_791_556, 2_000.0, 1_895.8, "auto"),
        ],
        opens: Opens {
            peak_per_second: 159.5,
            stage: 4,
            assumed: "8 % of those who are rung open the app, half of them within 90 s".to_owned(),
            capacity: Some(300),
            accept_peak: None,
        },
        guards: vec![guard("login-p99", Some(0.5), Some(0.8)), guard("transfers", None, Some(12.0))],
        findings: vec![PreviewFinding {
            rule: "environment".to_owned(),
            field: "app".to_owned(),
            problem: "note: some of these phones have a development build; register them as such".to_owned(),
        }],
        drift: vec!["-max_devices = 4_500_000".to_owned(), "+max_devices = 4_300_000".to_owned()],
    }
}
