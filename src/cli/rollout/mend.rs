//! `rollout correct` and `rollout supersede`: other words to those whom a campaign reached.

use std::path::PathBuf;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    super::campaign::{read, submitted},
    Campaign,
    source::{client, id_by_api},
    table,
};
use crate::{
    api::wire::{MendBody, ReachedView, SubmittedView},
    cli::{Exit, Output, output},
    model::{Mend, Notification},
};

/// What both verbs understand.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The campaign that is over: its id, or PRODUCER/JOB
    campaign: Campaign,
    /// The notification, as JSON, or a job that has one; standard input if it is absent or `-`
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Nothing is sent after this; if it is absent, it lasts for as long as the other's words did
    #[arg(long, value_name = "INSTANT")]
    expires_at: Option<Timestamp>,
    /// Say how many phones it would be, and send nothing
    #[arg(long)]
    dry_run: bool,
}

/// Asks for it.
pub(super) async fn run(output: Output, how: Mend, args: &Args) -> anyhow::Result<Exit> {
    let client = client(&format!("rollout {}", how.as_str()))?;
    // A mistake in the words is told before anything is asked.
    let notification = words(&read(args.file.as_deref())?)?;
    let id = id_by_api(&client, &args.campaign).await?;
    if args.dry_run {
        let reached: ReachedView = client.get(&format!("rollouts/{id}/reached")).await?;
        match output {
            Output::Json | Output::Yaml => output.print(&reached)?,
            Output::Table => output::line(&would(how, &reached))?,
        }
        return Ok(if reached.settled { Exit::Ok } else { Exit::Waits });
    }
    let body = MendBody { notification, expires_at: args.expires_at };
    let made: SubmittedView = client.post(&format!("rollouts/{id}/{}", how.as_str()), &body).await?;
    submitted(output, &made)
}

/// The notification of a file: the whole of it, or of a job only that.
fn words(bytes: &[u8]) -> anyhow::Result<Notification> {
    let mut json: Value = serde_json::from_slice(bytes).context("this is no JSON")?;
    let notification = match json.get_mut("notification") {
        Some(notification) => notification.take(),
        None => json,
    };
    serde_path_to_error::deserialize(notification).context("this is no notification")
}

fn would(how: Mend, reached: &ReachedView) -> String {
    let ReachedView { accepted, unknown, devices, settled, .. } = reached;
    let mut lines = vec![
        table::named("would", &format!("{} {}", how.as_str(), table::devices(*devices))),
        table::named("of these", &format!("{accepted} accepted, {unknown} unknown")),
    ];
    if !settled {
        lines.push(table::named("but", "it is not over yet, or its last answers are not in"));
    }
    lines.push("nothing was sent".to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_a_notification_or_those_of_a_job() {
        let bare = words(br#"{"title": "Bank", "body": "Sorry"}"#).expect("a notification");
        let of_job =
            words(br#"{"v": 1, "notification": {"title": "Bank", "body": "Sorry"}}"#).expect("a job");
        assert_eq!(bare, of_job);
        let told = |text: &str| format!("{:#}", words(text.as_bytes()).expect_err("no notification"));
        insta::assert_snapshot!(told(r#"{"title": "Bank"}"#), @"this is no notification: missing field `body`");
        insta::assert_snapshot!(
            told(r#"{"body": "Sorry", "titel": "Bank"}"#).split(", expected").next().unwrap_or_default(),
            @"this is no notification: titel: unknown field `titel`"
        );
    }

    #[test]
    fn a_dry_run_says_how_many_phones() {
        let mut reached = ReachedView {
            campaign: "c".to_owned(),
            accepted: 41_200,
            unknown: 7,
            devices: 41_207,
            settled: true,
        };
        insta::assert_snapshot!(would(Mend::Correct, &reached), @r"
        would      correct 41207 devices
        of these   41200 accepted, 7 unknown
        nothing was sent
        ");
        reached.settled = false;
        insta::assert_snapshot!(would(Mend::Supersede, &reached), @r"
        would      supersede 41207 devices
        of these   41200 accepted, 7 unknown
        but        it is not over yet, or its last answers are not in
        nothing was sent
        ");
    }
}
