//! `rollout approve`: shows what it is about, and takes an approval of exactly that.
//!
//! A person types how many devices it reaches and whom they belong to. Whoever does not know that has not looked; there is no
//! flag that says yes to whatever it may be.

use std::io::{self, BufRead as _, IsTerminal as _};

use super::{
    Campaign, boxes, peak,
    source::{client, id_by_api},
    verbs,
};
use crate::{
    api::wire::{ApproveBody, Preview, RolloutView},
    cli::{
        Exit, Output,
        exit::With,
        output::{self, Paint},
    },
    model::RolloutState,
};

/// What `approve` understands.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The campaign: its id, or PRODUCER/JOB
    campaign: Campaign,
    /// Where there is no terminal to type it: how many devices it reaches
    #[arg(long, value_name = "N", requires = "confirm_audience")]
    confirm_count: Option<u64>,
    /// Where there is no terminal to type it: whom they belong to
    #[arg(long, value_name = "AUDIENCE", requires = "confirm_count")]
    confirm_audience: Option<String>,
    /// Where the peak of app opens is above what our own systems take: the peak that you accept, a second
    #[arg(long, value_name = "N")]
    accept_peak: Option<u64>,
    /// What to say to it; it stands in the audit log
    #[arg(long, value_name = "TEXT", value_parser = verbs::reason)]
    reason: Option<String>,
    /// Show what would be approved, and approve nothing
    #[arg(long)]
    dry_run: bool,
}

/// What a person typed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Typed {
    count: u64,
    audience: String,
}

/// Shows it, asks, and approves.
pub(super) async fn run(output: Output, args: &Args) -> anyhow::Result<Exit> {
    let client = client("rollout approve")?;
    let id = id_by_api(&client, &args.campaign).await?;
    let preview: Preview = client.get(&format!("rollouts/{id}/preview")).await?;
    match output {
        Output::Table => output::line(&boxes::preview(&preview, Paint::stdout()))?,
        // Standard output is for what came of it.
        Output::Json | Output::Yaml => output::remark(&boxes::preview(&preview, Paint::stderr())),
    }
    let digest = digest(&preview)?;
    if args.dry_run {
        let summary = &preview.rollout.summary;
        let typed = Typed { count: summary.frozen, audience: summary.audience.clone() };
        let body = body(digest, typed, preview.opens.accept_peak, args.reason.clone());
        verbs::would_ask(output, &id.to_string(), "approve", &body)?;
        return Ok(Exit::Ok);
    }
    let given = args.confirm_count.zip(args.confirm_audience.clone());
    let given = given.map(|(count, audience)| Typed { count, audience });
    if let Some(said) = complete(&preview) {
        if let Some(typed) = &given {
            compare(&preview, typed)?;
        }
        // What was wanted is so; that this person wanted it as well changes nothing, and is not on record.
        output::remark(&said);
        return Ok(Exit::Ok);
    }
    let typed = match given {
        Some(typed) => typed,
        None => asked()?,
    };
    compare(&preview, &typed)?;
    let accept_peak = peak::accepted(&preview.opens, args.accept_peak)?;
    let body = body(digest, typed, accept_peak, args.reason.clone());
    let view: RolloutView = client.post(&format!("rollouts/{id}/approve"), &body).await?;
    verbs::print(output, "approve", &view)?;
    Ok(Exit::Ok)
}

/// What to say of one that needs no approval any more; `None` while it does, and once it is over.
fn complete(preview: &Preview) -> Option<String> {
    let RolloutView { summary, approvals_needed, .. } = &preview.rollout;
    let waits = matches!(summary.state, RolloutState::Draft | RolloutState::PendingApproval);
    (!waits && !summary.state.is_terminal()).then(|| {
        format!("nothing to approve: it has all its approvals ({approvals_needed} of {approvals_needed}), and is {}", summary.state)
    })
}

/// What an approval is bound to.
fn digest(preview: &Preview) -> Result<String, With> {
    let missing = || {
        let message = "its audience is still being frozen, so nobody can say yet what it reaches; \
             wait with `bellwether rollout watch`, then approve";
        With(Exit::Waits, message.to_owned())
    };
    preview.rollout.digest.clone().ok_or_else(missing)
}

fn body(digest: String, typed: Typed, accept_peak: Option<u64>, reason: Option<String>) -> ApproveBody {
    ApproveBody { digest, count: typed.count, audience: typed.audience, accept_peak, reason }
}

/// Asks the person at the terminal.
fn asked() -> anyhow::Result<Typed> {
    if !io::stdin().is_terminal() {
        let message = "there is no terminal to type at; \
             give what you were shown with --confirm-count N --confirm-audience NAME";
        return Err(With(Exit::Usage, message.to_owned()).into());
    }
    output::remark(
        "To approve this, type how many devices it reaches, and its audience (or nothing, to leave it):",
    );
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(read(&line)?)
}

/// Reads `4213007 customers-pl`.
fn read(line: &str) -> Result<Typed, With> {
    let mut words = line.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (None, ..) => Err(With(Exit::Error, "nothing was typed, and nothing is approved".to_owned())),
        (Some(count), Some(audience), None) if count.parse::<u64>().is_ok() => {
            Ok(Typed { count: count.parse().unwrap_or_default(), audience: audience.to_owned() })
        }
        _ => {
            let message = "nothing is approved: type the count, a space and the audience, as in `1200 staff`";
            Err(With(Exit::Error, message.to_owned()))
        }
    }
}

/// Somebody who types something else means something else.
fn compare(preview: &Preview, typed: &Typed) -> Result<(), With> {
    let summary = &preview.rollout.summary;
    if (typed.count, typed.audience.as_str()) == (summary.frozen, summary.audience.as_str()) {
        return Ok(());
    }
    let message = format!(
        "nothing is approved: you said {} {}, and this is {} {}; look at it again",
        typed.count,
        output::visible(&typed.audience),
        summary.frozen,
        output::visible(&summary.audience)
    );
    Err(With(Exit::Stale, message))
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};

    fn typed(count: u64, audience: &str) -> Typed {
        Typed { count, audience: audience.to_owned() }
    }

    fn said(refused: Result<impl std::fmt::Debug, With>) -> String {
        let With(exit, message) = refused.expect_err("must be refused");
        format!("{exit:?}: {message}")
    }

    #[test]
    fn i8_the_digest_that_was_shown_is_what_is_approved() {
        let preview = samples::preview();
        let digest = digest(&preview).expect("it is frozen");
        assert_eq!(Some(&digest), preview.rollout.digest.as_ref());
        let sent = body(digest.clone(), typed(1, "a"), None, None);
        assert_eq!((sent.digest, sent.count, sent.audience.as_str()), (digest, 1, "a"));
    }

    #[test]
    fn what_is_not_frozen_cannot_be_approved() {
        let mut preview = samples::preview();
        preview.rollout.digest = None;
        insta::assert_snapshot!(said(digest(&preview)), @"Waits: its audience is still being frozen, so nobody can say yet what it reaches; wait with `bellwether rollout watch`, then approve");
    }

    #[test]
    fn what_has_all_its_approvals_needs_no_more() {
        let standing = |state| {
            let mut preview = samples::preview();
            preview.rollout.summary.state = state;
            complete(&preview)
        };
        insta::assert_snapshot!(standing(RolloutState::Approved).expect("it has all"), @"nothing to approve: it has all its approvals (3 of 3), and is approved");
        assert!(standing(RolloutState::Running).is_some());
        for state in [RolloutState::Draft, RolloutState::PendingApproval, RolloutState::Aborted] {
            assert_eq!(standing(state), None, "{state}");
        }
    }

    #[test]
    fn only_the_count_and_the_audience_approve() {
        let preview = samples::preview();
        assert!(compare(&preview, &read(" 4213007  customers-pl \n").expect("both")).is_ok());
        insta::assert_snapshot!(said(compare(&preview, &typed(4_213_008, "customers-pl"))), @"Stale: nothing is approved: you said 4213008 customers-pl, and this is 4213007 customers-pl; look at it again");
        insta::assert_snapshot!(said(compare(&preview, &typed(4_213_007, "sta\u{1b}ff"))), @r"Stale: nothing is approved: you said 4213007 sta\u{1b}ff, and this is 4213007 customers-pl; look at it again");
        insta::assert_snapshot!(said(read("\n")), @"Error: nothing was typed, and nothing is approved");
        for line in
            ["yes", "y", "4213007", "customers-pl 4213007", "4213007 customers-pl !", "-1 customers-pl"]
        {
            assert!(said(read(line)).starts_with("Error: nothing is approved: type the count"), "{line}");
        }
    }
}
