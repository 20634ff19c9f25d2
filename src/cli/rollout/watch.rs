//! `rollout watch`: how a campaign goes, live on a terminal; elsewhere a line for each change.

mod bars;

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use super::{
    Campaign, Source, boxes,
    eta::{Eta, Seen, done, eta},
    json,
    table::{in_force, second, standing},
};
use crate::{
    api::{
        client::ClientError,
        wire::{Code, GuardState, HaltView, RolloutView},
    },
    cli::{Exit, Output, output},
    clock::Clock,
    ledger::LedgerError,
    model::{Pause, RolloutState},
};

/// How often is looked: a person sees a second, and a look costs the ledger a few milliseconds.
const EVERY: Duration = Duration::from_secs(1);

/// How often a line is written while nothing changes but the count: a log of an hour stays readable.
const PROGRESS: Duration = Duration::from_secs(10);

/// Follows a campaign until it is over.
pub(super) async fn run(source: &Source, output: Output, campaign: &Campaign) -> anyhow::Result<Exit> {
    let (clock, id) = (Clock::system(), source.id(campaign).await?);
    let is_live = output == Output::Table && io::stdout().is_terminal() && io::stderr().is_terminal();
    let mut shown = if is_live { Shown::Bars(bars::Bars::default()) } else { Shown::Lines(Lines::default()) };
    let (mut seen, mut view) = (Seen::default(), source.view(id).await?);
    loop {
        let now = clock.monotonic();
        seen.add(now, done(&view));
        let rate = seen.per_second();
        let line = Line { view: &view, rate, eta: eta(&view, rate, clock.now()), at: clock.now() };
        match &mut shown {
            Shown::Bars(bars) => bars.show(&line),
            Shown::Lines(lines) => {
                if lines.is_news(&view, now) {
                    print(output, &line)?;
                }
            }
        }
        if let Some(exit) = over(view.summary.state) {
            if let Shown::Bars(bars) = &shown {
                bars.end();
                output::line(&line.to_string())?;
            }
            return Ok(exit);
        }
        tokio::time::sleep(EVERY).await;
        match source.view(id).await {
            Ok(next) => view = next,
            Err(error) if may_pass(&error) => {
                output::remark(&output::visible(&format!("{error}; still watching")));
            }
            Err(error) => return Err(error),
        }
    }
}

enum Shown {
    Bars(bars::Bars),
    Lines(Lines),
}

/// How it ended; `None` while it goes on.
fn over(state: RolloutState) -> Option<Exit> {
    match state {
        RolloutState::Completed => Some(Exit::Ok),
        RolloutState::Halted | RolloutState::Aborted | RolloutState::Rejected | RolloutState::Expired => {
            Some(Exit::Halted)
        }
        RolloutState::Draft
        | RolloutState::PendingApproval
        | RolloutState::Approved
        | RolloutState::Running
        | RolloutState::Baking
        | RolloutState::Paused => None,
    }
}

/// Who watches at night is not to be woken by a restart of what they ask.
fn may_pass(error: &anyhow::Error) -> bool {
    if let Some(error) = error.downcast_ref::<LedgerError>() {
        return !error.is_about_the_request();
    }
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Unreachable { .. } | ClientError::TooSlow { .. }) => true,
        Some(ClientError::Problem(problem)) => matches!(problem.code, Code::Unavailable | Code::TooMany),
        _ => false,
    }
}

/// What was said last.
#[derive(Default)]
struct Lines {
    said: Option<(Said, Instant)>,
    done: u64,
}

/// What is worth a line when it changes.
#[derive(PartialEq)]
struct Said {
    state: RolloutState,
    pause: Option<Pause>,
    stage: Option<u32>,
    cause: Option<String>,
    why: Option<String>,
    approvals: usize,
    halts: Vec<HaltView>,
    guards: Vec<(String, GuardState)>,
}

impl Lines {
    /// Whether a line is due; remembers that it was said.
    fn is_news(&mut self, view: &RolloutView, now: Instant) -> bool {
        let summary = &view.summary;
        // Where a number is in the way, what is waited for has it in its words: each reading would be a line.
        let all_fine = view.guards.iter().all(|guard| guard.state == GuardState::Fine);
        let next = Said {
            state: summary.state,
            pause: summary.pause,
            stage: summary.stage,
            cause: summary.cause.clone(),
            why: view.waits.as_ref().map(|waits| waits.why.clone()).filter(|_| all_fine),
            approvals: approvals(view),
            halts: view.halts.clone(),
            guards: view.guards.iter().map(|guard| (guard.name.clone(), guard.state)).collect(),
        };
        let done = done(view);
        let is_news = match &self.said {
            None => true,
            Some((said, at)) => {
                *said != next || (done != self.done && now.saturating_duration_since(*at) >= PROGRESS)
            }
        };
        if is_news {
            (self.said, self.done) = (Some((next, now)), done);
        }
        is_news
    }
}

fn approvals(view: &RolloutView) -> usize {
    view.approvals.iter().filter(|approval| approval.voided_at.is_none()).count()
}

fn print(output: Output, line: &Line<'_>) -> anyhow::Result<()> {
    match output {
        Output::Table => output::line(&line.to_string()),
        // One object a line, one document a change: whoever reads knows where each ends.
        Output::Json => output::line(&json::rollout(line.view).to_string()),
        Output::Yaml => {
            output::line("---")?;
            output.print(&json::rollout(line.view))
        }
    }
}

/// How it goes, in one line.
pub(super) struct Line<'v> {
    view: &'v RolloutView,
    rate: f64,
    eta: Eta,
    at: jiff::Timestamp,
}

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", second(self.at), self.told())
    }
}

impl Line<'_> {
    /// The line, without its time.
    fn told(&self) -> String {
        let summary = &self.view.summary;
        let mut parts =
            vec![format!("{}: {} of {} devices", standing(self.view), done(self.view), summary.frozen)];
        if summary.state == RolloutState::Running {
            parts.push(format!("{:.0}/s", self.rate));
        }
        parts.extend(summary.cause.as_deref().map(output::visible));
        parts.extend(self.view.halts.iter().map(|halt| format!("halted: {}", in_force(halt))));
        let guards = self.view.guards.iter().filter(|guard| guard.state != GuardState::Fine);
        let guards: Vec<_> = guards.map(|guard| output::visible(&guard.told)).collect();
        // What is waited for may say it already.
        let waits = self.view.waits.as_ref().map(|waits| output::visible(&waits.why)).unwrap_or_default();
        parts.extend(guards.into_iter().filter(|told| !waits.contains(told)));
        parts.extend(self.view.waits.as_ref().map(|waits| output::visible(&waits.why)));
        if summary.state == RolloutState::PendingApproval {
            parts.push(format!("{} of {} approvals", approvals(self.view), self.view.approvals_needed));
        }
        match self.eta {
            Eta::Done(left) => parts.push(format!("about {} left", boxes::seconds(left))),
            Eta::Gate(stage, left) => {
                parts.push(format!("about {} to the gate behind stage {stage}", boxes::seconds(left)));
            }
            Eta::Unknown => {}
        }
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};

    fn line(view: &RolloutView, rate: f64) -> String {
        Line { view, rate, eta: eta(view, rate, samples::now()), at: samples::now() }.to_string()
    }

    #[test]
    fn a_line_says_where_it_stands_how_fast_and_what_it_waits_for() {
        let mut halted = samples::over(RolloutState::Halted);
        halted.summary.cause = Some("halted by piotr: \u{1b}[2Jthe text is wrong".to_owned());
        let lines = [
            line(&samples::pending(), 0.0),
            line(&samples::view(), 100.0),
            line(&samples::at_gate(), 0.0),
            line(&halted, 0.0),
            line(&samples::over(RolloutState::Completed), 0.0),
        ];
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn a_change_is_a_line_and_a_count_is_one_every_ten_seconds() {
        let clock = Clock::manual(samples::now(), 1);
        let begin = clock.monotonic();
        let at = |second| begin + Duration::from_secs(second);
        let (mut lines, mut view) = (Lines::default(), samples::view());
        assert!(lines.is_news(&view, at(0)));
        assert!(!lines.is_news(&view, at(20)), "nothing changed");
        view.stages_view[1].done += 1;
        assert!(lines.is_news(&view, at(21)));
        view.stages_view[1].done += 1;
        assert!(!lines.is_news(&view, at(22)), "only the count");
        assert!(lines.is_news(&view, at(31)));
        view.approvals.pop();
        assert!(!lines.is_news(&view, at(32)), "that approval was void");
        view.summary.state = RolloutState::Baking;
        assert!(lines.is_news(&view, at(32)));
        view.halts.push(samples::halt());
        assert!(lines.is_news(&view, at(32)) && line(&view, 0.0).contains("halted: all since "));
    }

    #[test]
    fn a_guard_that_is_not_fine_is_told_once_and_each_of_its_readings_is_no_line() {
        let above = |number: &str| samples::guarded(GuardState::Breached, &format!("is {number}, above 0.5"));
        let told = line(&above("0.6"), 0.0);
        assert!(told.contains(" paused (login-p99 beyond its bound), stage 2 of 4: "), "{told}");
        assert_eq!(told.matches("login-p99 is 0.6, above 0.5").count(), 1, "{told}");
        let mut baking = samples::view();
        baking.guards = vec![samples::says(GuardState::Waiting, "is 0.6, above 0.5, since 11:58")];
        assert!(line(&baking, 0.0).contains("; login-p99 is 0.6, above 0.5, since 11:58"));
        assert!(!line(&baking, 0.0).contains('\u{1b}'));

        let now = Clock::manual(samples::now(), 1).monotonic();
        let mut lines = Lines::default();
        assert!(lines.is_news(&above("0.6"), now));
        assert!(!lines.is_news(&above("0.7"), now), "the next reading");
        assert!(lines.is_news(&samples::guarded(GuardState::Blind, "cannot be read"), now));
    }

    #[test]
    fn it_ends_with_how_the_campaign_ended() {
        for state in RolloutState::ALL {
            assert_eq!(over(state).is_some(), state.is_terminal(), "{state}");
        }
        assert_eq!(over(RolloutState::Completed), Some(Exit::Ok));
        assert_eq!(over(RolloutState::Aborted), Some(Exit::Halted));
    }

    #[test]
    fn a_restart_is_waited_out_and_a_no_is_not() {
        use crate::api::wire::Problem;
        let problem = |code| anyhow::Error::from(ClientError::Problem(Box::new(Problem::new(code, ""))));
        assert!(may_pass(&problem(Code::Unavailable)) && may_pass(&problem(Code::TooMany)));
        assert!(!may_pass(&problem(Code::NotAllowed)) && !may_pass(&anyhow::anyhow!("no")));
        assert!(may_pass(&ClientError::TooSlow { url: String::new() }.into()));
    }
}
