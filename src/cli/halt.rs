//! `bellwether halt` and `unhalt`: break-glass, straight into the ledger.

use std::path::Path;

use anyhow::{Context, bail};

use super::{Exit, exit::With, ledger, output};
use crate::{
    audience::Policy,
    ledger::HaltScope,
    model::{AppId, OperatorName},
};

/// What `halt` understands.
#[derive(Debug, clap::Args)]
pub(super) struct HaltArgs {
    #[command(flatten)]
    what: What,
    /// Why; it stands in the audit log
    #[arg(long)]
    reason: String,
}

/// What `unhalt` understands.
#[derive(Debug, clap::Args)]
pub(super) struct UnhaltArgs {
    #[command(flatten)]
    what: What,
}

#[derive(Debug, clap::Args)]
struct What {
    /// Write into the ledger directly (the only way until the operators' API runs)
    #[arg(long, required = true)]
    ledger: bool,
    /// Everything
    #[arg(long, conflicts_with = "app", required_unless_present = "app")]
    all: bool,
    /// One app
    #[arg(long, value_name = "APP")]
    app: Option<AppId>,
    /// Who you are; it stands in the audit log
    #[arg(long = "by", value_name = "NAME", env = "USER")]
    by: Option<OperatorName>,
}

impl What {
    fn scope(&self) -> HaltScope {
        self.app.clone().map_or(HaltScope::All, HaltScope::App)
    }

    fn operator(&self) -> anyhow::Result<&OperatorName> {
        match &self.by {
            Some(name) => Ok(name),
            None => bail!("say who you are with --by NAME; it stands in the audit log"),
        }
    }
}

/// A typo in an emergency must not look like a halt. A policy that cannot be read does not stand in its way.
fn refuse_unknown_app(config: &Path, scope: &HaltScope) -> anyhow::Result<()> {
    let HaltScope::App(app) = scope else { return Ok(()) };
    let Ok(policy) = Policy::load(&ledger::configuration(config)?.policy) else { return Ok(()) };
    if policy.app(app).is_none() {
        let known: Vec<_> = policy.apps().map(|app| app.id.to_string()).collect();
        let message =
            format!("no app {app} in the policy, so nothing is halted; known: {}", known.join(", "));
        return Err(With(Exit::NotFound, message).into());
    }
    Ok(())
}

/// Sets a halt.
pub(super) async fn halt(config: &Path, args: HaltArgs) -> anyhow::Result<Exit> {
    let (scope, by) = (args.what.scope(), args.what.operator()?);
    refuse_unknown_app(config, &scope)?;
    let ledger = ledger::open(config).await?;
    ledger.set_halt(&scope, by.as_str(), &args.reason).await.context("the halt is NOT set")?;
    output::remark(&format!(
        "halted: {scope}. Nothing new is sent; jobs wait until `bellwether unhalt` or their expiry."
    ));
    Ok(Exit::Ok)
}

/// Lifts a halt.
pub(super) async fn unhalt(config: &Path, args: UnhaltArgs) -> anyhow::Result<Exit> {
    let (scope, by) = (args.what.scope(), args.what.operator()?);
    let ledger = ledger::open(config).await?;
    if ledger.clear_halt(&scope, by.as_str()).await.context("the halt is NOT lifted")? {
        output::remark(&format!("no longer halted: {scope}. Waiting jobs go on within 30 seconds."));
        Ok(Exit::Ok)
    } else {
        output::remark(&format!("{scope} was not halted"));
        Ok(Exit::NotFound)
    }
}
