//! `rollout status`: waits, so that a script can go on when a campaign has come so far.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{Campaign, Source, show};
use crate::{
    api::wire::RolloutView,
    cli::{Exit, Output, output},
    model::{Pause, RolloutState},
};

/// How often is looked: a stage of a plan takes minutes, and a look costs the ledger a few milliseconds.
const EVERY: Duration = Duration::from_secs(1);

/// What `status` understands.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The campaign: its id, or PRODUCER/JOB
    campaign: Campaign,
    /// How long to wait, such as 90s, 10m or 2h
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time)]
    timeout: Duration,
    /// For what
    #[arg(long = "for", value_name = "WHAT", value_enum, default_value_t)]
    goal: Goal,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Goal {
    /// Everyone has their final outcome
    #[default]
    Completed,
    /// Enough people have approved it
    Approved,
    /// It waits at a gate, or has passed every one
    Gate,
}

fn time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; write a number and s, m or h, such as 10m");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

/// Waits, and says with which exit code.
pub(super) async fn run(source: &Source, output: Output, args: &Args) -> anyhow::Result<Exit> {
    let id = source.id(&args.campaign).await?;
    let mut last = source.view(id).await?;
    let waited = timeout(args.timeout, async {
        loop {
            if let Some(exit) = judge(&last, args.goal) {
                return anyhow::Ok(exit);
            }
            sleep(EVERY).await;
            last = source.view(id).await?;
        }
    });
    let ended = waited.await;
    let exit = match ended {
        Ok(exit) => exit?,
        Err(_) => Exit::Timeout,
    };
    show::print(output, &last)?;
    if let Some(said) = said(exit, &last, args) {
        output::remark(&said);
    }
    Ok(exit)
}

/// What is to be said beside the exit code.
fn said(exit: Exit, view: &RolloutView, args: &Args) -> Option<String> {
    let why = view.waits.as_ref().map(|waits| output::visible(&waits.why)).unwrap_or_default();
    match exit {
        Exit::Waits => {
            Some(format!("it waits for people: {why}; see `bellwether rollout --help` for the verbs"))
        }
        Exit::Timeout => Some(format!("not so within {} s: {why}", args.timeout.as_secs())),
        Exit::Halted => Some(format!("it is over: {}", view.summary.state)),
        _ => None,
    }
}

/// Whether the wait is over, and how. A script that waits for one thing is not to wait until somebody does another.
fn judge(view: &RolloutView, goal: Goal) -> Option<Exit> {
    let summary = &view.summary;
    let is_over = summary.state.is_terminal();
    if summary.state == RolloutState::Completed {
        return Some(Exit::Ok);
    }
    if is_over {
        return Some(Exit::Halted);
    }
    let for_people = view.waits.as_ref().is_some_and(|waits| waits.on_people);
    match (goal, summary.state) {
        // Approving is what is waited for.
        (Goal::Approved, RolloutState::Draft | RolloutState::PendingApproval) => None,
        (Goal::Approved, _) => Some(Exit::Ok),
        (Goal::Gate, RolloutState::Paused) if summary.pause == Some(Pause::Gate) => Some(Exit::Ok),
        (Goal::Gate | Goal::Completed, _) => for_people.then_some(Exit::Waits),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};

    #[test]
    fn a_script_is_told_as_soon_as_nothing_more_will_come_by_itself() {
        use Goal::{Approved, Completed, Gate};
        let (running, gate, pending) = (samples::view(), samples::at_gate(), samples::pending());
        let completed = samples::over(RolloutState::Completed);
        let halted = samples::over(RolloutState::Halted);
        let aborted = samples::over(RolloutState::Aborted);
        for (view, goal, exit) in [
            (&running, Completed, None),
            (&running, Approved, Some(Exit::Ok)),
            (&running, Gate, None),
            (&gate, Completed, Some(Exit::Waits)),
            (&gate, Approved, Some(Exit::Ok)),
            (&gate, Gate, Some(Exit::Ok)),
            (&pending, Completed, Some(Exit::Waits)),
            (&pending, Approved, None),
            (&pending, Gate, Some(Exit::Waits)),
            (&completed, Completed, Some(Exit::Ok)),
            (&completed, Gate, Some(Exit::Ok)),
            (&halted, Completed, Some(Exit::Halted)),
            (&aborted, Approved, Some(Exit::Halted)),
        ] {
            assert_eq!(judge(view, goal), exit, "{} for {goal:?}", view.summary.state);
        }
    }

    #[test]
    fn times_are_written_with_their_unit() {
        assert_eq!(time("10m"), Ok(Duration::from_mins(10)));
        assert_eq!(time("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(time("2h"), Ok(Duration::from_hours(2)));
        for wrong in ["", "10", "m", "-1s", "1d", "1.5h", "5ż"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
        insta::assert_snapshot!(time("soon").expect_err("no time"), @r#""soon" is no time; write a number and s, m or h, such as 10m"#);
    }
}
