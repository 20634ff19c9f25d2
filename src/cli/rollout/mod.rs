//! `bellwether rollout`: which campaigns there are, how each stands, and what a person lets happen to it.
//!
//! Looking works with the operators' API (`BELLWETHER_URL`) or, without it, with the ledger itself. Steering goes by the API
//! alone: it knows who is asking, and what they may ask.

mod approve;
mod boxes;
mod campaign;
mod eta;
mod finding;
mod guards;
mod json;
mod mend;
mod peak;
mod prove;
mod show;
mod source;
mod status;
mod table;
mod verbs;
mod watch;

#[cfg(test)]
pub(super) mod samples;

use std::path::Path;

use super::{Exit, Output, api::or_the_ledger, campaign::submitted};
use crate::{
    api::wire::{Nothing, SubmittedView},
    model::Mend,
};

pub(super) use boxes::planned;
pub(super) use campaign::Campaign;
pub(super) use finding::{Args as FindingArgs, accept as accept_finding};
pub(super) use prove::prove;
pub(super) use show::show;
pub(super) use source::{Source, client, id_by_api};
pub(super) use table::in_force;
pub(super) use verbs::Reasoned;

/// What can be asked about rollouts, and of them.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Rollout {
    /// The latest rollouts, the newest first
    List {
        /// Only those that are not over
        #[arg(long)]
        live: bool,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        last: u32,
        /// Only those that are older than this campaign: the next page
        #[arg(long, value_name = "ID")]
        before: Option<uuid::Uuid>,
    },
    /// One campaign: its stages, and how many of its devices ended how
    Show {
        /// The campaign: its id, or PRODUCER/JOB
        campaign: Campaign,
    },
    /// Follow a campaign until it is over: 0 if it is completed, 6 if it was stopped
    Watch {
        /// The campaign: its id, or PRODUCER/JOB
        campaign: Campaign,
    },
    /// Wait for a campaign, for scripts: 0 it is so, 6 it was stopped, 7 it waits for people, 8 it takes too long
    Status(status::Args),
    /// Approve exactly what is shown, by typing its count of devices and its audience
    Approve(approve::Args),
    /// Refuse a campaign for good
    Reject(Reasoned),
    /// Start an approved campaign
    Start(verbs::Asked),
    /// Let nothing more leave until somebody says otherwise
    Pause(verbs::Asked),
    /// Go on where it was paused
    Resume(verbs::Asked),
    /// Open the next stage
    Promote(verbs::Asked),
    /// Give a campaign up for good
    Abort(Reasoned),
    /// Make a new campaign, with approvals of its own, of those whom one that is over was not sent to
    Retry {
        /// The campaign that is over: its id, or PRODUCER/JOB
        campaign: Campaign,
    },
    /// Make a new campaign, with other words, of exactly those whom one that is over was, or may have been, sent to
    Correct(mend::Args),
    /// The same, in place of the other's words on the phones that still show them
    Supersede(mend::Args),
}

/// Runs the verb.
pub(super) async fn run(config: &Path, output: Output, verb: Rollout) -> anyhow::Result<Exit> {
    use verbs::Verb;
    match verb {
        Rollout::List { live, last, before } => {
            show::list(&Source::open(config).await?, output, live, last, before).await.map_err(or_the_ledger)
        }
        Rollout::Show { campaign } => {
            show(&Source::open(config).await?, output, &campaign).await.map_err(or_the_ledger)
        }
        Rollout::Watch { campaign } => {
            watch::run(&Source::open(config).await?, output, &campaign).await.map_err(or_the_ledger)
        }
        Rollout::Status(args) => {
            status::run(&Source::open(config).await?, output, &args).await.map_err(or_the_ledger)
        }
        Rollout::Approve(args) => approve::run(output, &args).await,
        Rollout::Reject(args) => verbs::run(output, Verb::Reject, &args.into()).await,
        Rollout::Start(args) => verbs::run(output, Verb::Start, &args).await,
        Rollout::Pause(args) => verbs::run(output, Verb::Pause, &args).await,
        Rollout::Resume(args) => verbs::run(output, Verb::Resume, &args).await,
        Rollout::Promote(args) => verbs::run(output, Verb::Promote, &args).await,
        Rollout::Abort(args) => verbs::run(output, Verb::Abort, &args.into()).await,
        Rollout::Correct(args) => mend::run(output, Mend::Correct, &args).await,
        Rollout::Supersede(args) => mend::run(output, Mend::Supersede, &args).await,
        Rollout::Retry { campaign } => {
            let client = client("rollout retry")?;
            let id = id_by_api(&client, &campaign).await?;
            let retried: SubmittedView = client.post(&format!("rollouts/{id}/retry"), &Nothing {}).await?;
            submitted(output, &retried)
        }
    }
}
