//! `bellwether policy`: which policy is in force, what a folder would change, and putting it in force, by two people.

use std::{
    io::{self, BufRead as _, IsTerminal as _},
    path::{Path, PathBuf},
};

use super::{Exit, Output, api, audience::policy_folder, exit::With, output};
use crate::{
    api::wire::{PolicyActivated, PolicyBody, PolicyDiff, PolicyStanding, PolicyView},
    audience::Policy as Rules,
};

/// Digits of the hash that a person types.
const TYPED: usize = 8;

/// What can be done with policies.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Policy {
    /// The policy in force, and the one that is proposed
    Show,
    /// What the folder would change, as `diff -u` says it
    Diff {
        /// The folder; the configuration's otherwise
        folder: Option<PathBuf>,
    },
    /// Propose the folder, or put in force what another person has proposed: 7 if another person is needed
    Activate {
        /// The folder; the configuration's otherwise
        folder: Option<PathBuf>,
    },
}

/// Runs the verb.
pub(super) async fn run(config: &Path, output: Output, verb: &Policy) -> anyhow::Result<Exit> {
    match verb {
        Policy::Show => show(output, &api::client()?.get("policy").await?),
        Policy::Diff { folder } => {
            let body = read(config, folder.as_deref())?;
            let told: PolicyDiff = api::client()?.post("policy/diff", &body).await?;
            match output {
                Output::Table => print_diff(&told.diff)?,
                Output::Json | Output::Yaml => output.print(&told)?,
            }
            Ok(Exit::Ok)
        }
        Policy::Activate { folder } => activate(output, &read(config, folder.as_deref())?).await,
    }
}

/// The folder's files, if they are a policy.
fn read(config: &Path, folder: Option<&Path>) -> anyhow::Result<PolicyBody> {
    let folder = folder.map_or_else(|| policy_folder(config), |folder| Ok(folder.to_owned()))?;
    let rules = Rules::load(&folder).map_err(|problems| With(Exit::Refused, problems.to_string()))?;
    Ok(PolicyBody { files: rules.files().to_vec() })
}

fn show(output: Output, view: &PolicyView) -> anyhow::Result<Exit> {
    match output {
        Output::Table => output::line(&shown(view))?,
        Output::Json | Output::Yaml => output.print(view)?,
    }
    Ok(Exit::Ok)
}

fn shown(view: &PolicyView) -> String {
    let standing = |word: &str, known: &PolicyStanding| {
        let by = output::visible(&known.by);
        format!("{word:<10}{}\n{:10}by {by}, {}", output::visible(&known.policy), "", known.since)
    };
    let mut lines = match &view.in_force {
        Some(known) => vec![standing("in force", known)],
        None => vec!["in force  none yet; the first service brings its own".to_owned()],
    };
    if let Some(known) = &view.proposed {
        lines.push(standing("proposed", known));
        lines.push("          another person puts it in force with `bellwether policy activate`".to_owned());
    }
    if view.in_force.as_ref().is_none_or(|known| known.policy != view.loaded) {
        lines.push(format!("loaded    {}", output::visible(&view.loaded)));
        lines.push("          by the process that answers; it takes and sends nothing".to_owned());
    }
    for known in &view.shadow {
        let (rule, app) = (output::visible(&known.rule), output::visible(&known.app));
        lines.push(format!("shadow    {rule} for {app}, since {}", known.since));
        if known.too_long {
            lines.push(
                "          longer than 14 days: let it decide, or say in the policy why it is not wanted"
                    .to_owned(),
            );
        }
    }
    lines.join("\n")
}

fn print_diff(diff: &[String]) -> anyhow::Result<()> {
    if diff.is_empty() {
        output::remark("this is the policy in force");
    }
    diff.iter().try_for_each(|line| output::line(&output::visible(line)))
}

/// Shows what would change, asks whoever sits at a terminal, and says what came of it.
async fn activate(output: Output, body: &PolicyBody) -> anyhow::Result<Exit> {
    let client = api::client()?;
    let told: PolicyDiff = client.post("policy/diff", body).await?;
    match output {
        Output::Table => print_diff(&told.diff)?,
        // Standard output is for what came of it.
        Output::Json | Output::Yaml => {
            told.diff.iter().for_each(|line| output::remark(&output::visible(line)));
        }
    }
    if io::stdin().is_terminal() && !told.diff.is_empty() {
        asked(&told.policy)?;
    }
    let done: PolicyActivated = client.post("policy/activate", body).await?;
    if matches!(output, Output::Json | Output::Yaml) {
        output.print(&done)?;
    }
    let policy = output::visible(&done.policy);
    if done.in_force {
        output::remark(&format!(
            "in force: {policy}. Restart every process that was started with another: it takes and sends nothing."
        ));
        return Ok(Exit::Ok);
    }
    output::remark(&format!(
        "proposed: {policy}. It comes into force when another person runs `bellwether policy activate` with the same files."
    ));
    Ok(Exit::Waits)
}

fn asked(policy: &str) -> anyhow::Result<()> {
    let begins: String = policy.chars().take(TYPED).collect();
    output::remark(&format!("To have this in force, type {begins} (or nothing, to leave it):"));
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    if line.trim() == begins {
        return Ok(());
    }
    Err(With(Exit::Error, "nothing is changed".to_owned()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::wire::ShadowView;

    fn standing(policy: &str, by: &str) -> PolicyStanding {
        let since = jiff::Timestamp::from_second(1_790_000_000).expect("an instant");
        PolicyStanding { policy: policy.repeat(32), by: by.to_owned(), since }
    }

    #[test]
    fn what_is_in_force_is_shown_and_what_waits_and_that_the_process_has_another() {
        let mut view = PolicyView {
            in_force: Some(standing("ab", "bellwether")),
            proposed: None,
            shadow: Vec::new(),
            loaded: "ab".repeat(32),
        };
        insta::assert_snapshot!(shown(&view), @r"
        in force  abababababababababababababababababababababababababababababababab
                  by bellwether, 2026-09-21T14:13:20Z
        ");
        view.proposed = Some(standing("cd", "ada\u{1b}"));
        view.loaded = "cd".repeat(32);
        insta::assert_snapshot!(shown(&view), @r"
        in force  abababababababababababababababababababababababababababababababab
                  by bellwether, 2026-09-21T14:13:20Z
        proposed  cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd
                  by ada\u{1b}, 2026-09-21T14:13:20Z
                  another person puts it in force with `bellwether policy activate`
        loaded    cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd
                  by the process that answers; it takes and sends nothing
        ");
    }

    #[test]
    fn a_rule_in_shadow_is_shown_with_its_beginning_and_too_long_a_shadow_is_told() {
        let shadow = |rule: &str, too_long: bool| ShadowView {
            app: "pl.example.bank".to_owned(),
            rule: rule.to_owned(),
            since: jiff::Timestamp::from_second(1_790_000_000).expect("an instant"),
            too_long,
        };
        let view = PolicyView {
            in_force: Some(standing("ab", "ada")),
            proposed: None,
            shadow: vec![shadow("contagion", true), shadow("staging-link", false)],
            loaded: "ab".repeat(32),
        };
        insta::assert_snapshot!(shown(&view));
    }
}
