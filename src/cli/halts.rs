//! `bellwether halts`: what is halted now, by whom and why.

use std::path::Path;

use super::{
    Exit, Output, api, ledger,
    output::{self, indented, wrapped},
    rollout::in_force,
};
use crate::api::{views, wire::HaltList};

/// Shows the halts in force.
pub(super) async fn run(config: &Path, format: Output) -> anyhow::Result<Exit> {
    let list = if api::is_configured() {
        api::client()?.get("halts").await.map_err(|error| api::or_the_ledger(error.into()))?
    } else {
        views::halt_list(&ledger::open(config).await?).await?
    };
    match format {
        Output::Json | Output::Yaml => format.print(&list.halts)?,
        Output::Table => output::line(&shown(&list))?,
    }
    Ok(Exit::Ok)
}

fn shown(list: &HaltList) -> String {
    if list.halts.is_empty() {
        return "nothing is halted".to_owned();
    }
    let mut lines = Vec::new();
    for halt in &list.halts {
        lines.push(wrapped(&in_force(halt), 2));
        if let Some(first) = &halt.lift_asked_by {
            let asked = format!("{} asked to lift it; another person must, too", output::visible(first));
            lines.push(indented(&asked, 2));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::rollout::samples;

    #[test]
    fn halts_are_shown_with_who_asked_to_lift_them() {
        let asked = crate::api::wire::HaltView { lift_asked_by: Some("lena".to_owned()), ..samples::halt() };
        let list = HaltList { halts: vec![samples::halt(), asked] };
        insta::assert_snapshot!(shown(&list), @r"
        all since 2026-11-21T11:59:00Z, by anna: wrong text \u{1b}[2J
        all since 2026-11-21T11:59:00Z, by anna: wrong text \u{1b}[2J
          lena asked to lift it; another person must, too
        ");
        assert_eq!(shown(&HaltList { halts: Vec::new() }), "nothing is halted");
    }
}
