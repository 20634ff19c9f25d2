//! What a person lets happen to a rollout, by the operators' API.

use serde_json::json;

use super::{
    Campaign, json,
    source::{client, id_by_api},
    table,
};
use crate::{
    api::wire::{REASON_CHARS, ReasonBody, RolloutView},
    cli::{
        Exit, Output,
        output::{self},
    },
};

/// What most verbs understand.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Asked {
    /// The campaign: its id, or PRODUCER/JOB
    pub(super) campaign: Campaign,
    /// Why; it stands in the audit log
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(super) reason: Option<String>,
    /// Say what would be asked, and ask nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// What a verb understands that nobody takes back: it needs a reason.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Reasoned {
    /// The campaign: its id, or PRODUCER/JOB
    pub(super) campaign: Campaign,
    /// Why; it stands in the audit log
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(super) reason: String,
    /// Say what would be asked, and ask nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl From<Reasoned> for Asked {
    fn from(args: Reasoned) -> Self {
        let Reasoned { campaign, reason, dry_run } = args;
        Self { campaign, reason: Some(reason), dry_run }
    }
}

/// Says what a person means: not nothing, and not a book.
pub(super) fn reason(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("is empty; say why in a few words".to_owned());
    }
    match text.chars().count() {
        count if count > REASON_CHARS => {
            Err(format!("has {count} characters; say it in at most {REASON_CHARS}"))
        }
        _ => Ok(text.to_owned()),
    }
}

/// Which verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Reject,
    Start,
    Pause,
    Resume,
    Promote,
    Abort,
}

impl Verb {
    const fn word(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::Abort => "abort",
        }
    }
}

/// Asks for it.
pub(super) async fn run(output: Output, verb: Verb, args: &Asked) -> anyhow::Result<Exit> {
    let body = ReasonBody { reason: args.reason.clone() };
    if args.dry_run {
        would_ask(output, &args.campaign.to_string(), verb.word(), &body)?;
        return Ok(Exit::Ok);
    }
    let client = client(&format!("rollout {}", verb.word()))?;
    let id = id_by_api(&client, &args.campaign).await?;
    let view: RolloutView = client.post(&format!("rollouts/{id}/{}", verb.word()), &body).await?;
    print(output, verb.word(), &view)?;
    Ok(Exit::Ok)
}

/// Says what would be asked.
pub(super) fn would_ask(
    output: Output,
    campaign: &str,
    verb: &str,
    body: &impl serde::Serialize,
) -> anyhow::Result<()> {
    let (path, body) = (format!("/api/v1/rollouts/{campaign}/{verb}"), serde_json::to_value(body)?);
    match output {
        Output::Json | Output::Yaml => {
            output.print(&json!({ "dry_run": true, "method": "POST", "path": path, "body": body }))
        }
        Output::Table => output::line(&would(&path, &body)),
    }
}

fn would(path: &str, body: &serde_json::Value) -> String {
    format!(
        "would ask: POST {}\n{}\nnothing was sent",
        output::visible(path),
        output::visible(&body.to_string())
    )
}

/// Says what came of a verb.
pub(super) fn print(output: Output, verb: &str, view: &RolloutView) -> anyhow::Result<()> {
    match output {
        Output::Json | Output::Yaml => output.print(&json::rollout(view)),
        Output::Table => output::line(&came_of(verb, view)),
    }
}

fn came_of(verb: &str, view: &RolloutView) -> String {
    let mut lines = vec![table::named("done", verb), table::named("state", &table::state(view))];
    if let Some(waits) = &view.waits {
        lines.push(table::named("waits", &output::visible(&waits.why)));
    }
    let given = view.approvals.iter().filter(|approval| approval.voided_at.is_none()).count();
    if verb == "approve" {
        lines.push(table::named("approvals", &format!("{given} of {}", view.approvals_needed)));
    }
    lines.extend(table::proven(view).filter(|_| verb == "prove"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};

    #[test]
    fn a_reason_says_something_and_fits() {
        assert!(reason("the text is wrong").is_ok());
        insta::assert_snapshot!(reason("  ").expect_err("empty"), @"is empty; say why in a few words");
        insta::assert_snapshot!(
            reason(&"ż".repeat(1_001)).expect_err("long"), @"has 1001 characters; say it in at most 1000"
        );
        assert!(reason(&"ż".repeat(1_000)).is_ok(), "counted in characters");
    }

    #[test]
    fn a_verb_says_what_came_of_it_and_what_is_waited_for_now() {
        insta::assert_snapshot!(came_of("start", &samples::view()), @r"
        done       start
        state      running, stage 2 of 4, since 2026-11-21T11:57:00Z
        waits      a stage is being sent
        ");
        insta::assert_snapshot!(came_of("approve", &samples::view()), @r"
        done       approve
        state      running, stage 2 of 4, since 2026-11-21T11:57:00Z
        waits      a stage is being sent
        approvals  1 of 3
        ");
    }

    #[test]
    fn a_dry_run_shows_the_request() {
        let told = would("/api/v1/rollouts/m/j\u{1b}/start", &json!({ "reason": "\u{202e}" }));
        insta::assert_snapshot!(told, @r#"
        would ask: POST /api/v1/rollouts/m/j\u{1b}/start
        {"reason":"\u{202e}"}
        nothing was sent
        "#);
    }
}
