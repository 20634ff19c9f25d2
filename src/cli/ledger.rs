//! Opening the ledger for a command.

use std::path::Path;

use anyhow::Context;
use secrecy::ExposeSecret;

use super::exit::{Exit, With};
use crate::{app, audience::Policy, config::Config, ledger::Ledger};

/// Reads the configuration, with the process's environment.
pub(super) fn configuration(file: &Path) -> anyhow::Result<Config> {
    Ok(Config::load(file, |name| std::env::var(name).ok())?)
}

/// Opens the ledger that the configuration names, and refuses a schema that is not this version's.
pub(super) async fn open(file: &Path) -> anyhow::Result<Ledger> {
    let ledger = open_any(&configuration(file)?).await?;
    if !ledger.schema_is_current().await.context("cannot read the ledger's schema version")? {
        let message = "the ledger's schema is not this version's; run `bellwether migrate`".to_owned();
        return Err(With(Exit::Error, message).into());
    }
    Ok(ledger)
}

/// Opens the ledger whatever its schema.
pub(super) async fn open_any(config: &Config) -> anyhow::Result<Ledger> {
    Ledger::connect(config.ledger_url.expose_secret(), app::ledger_options(config))
        .await
        .context("cannot open the ledger; `bellwether check` says what answers and what does not")
}

/// Reads the policy that the configuration names.
pub(super) fn policy(file: &Path) -> anyhow::Result<Policy> {
    let folder = configuration(file)?.policy;
    Policy::load(&folder).with_context(|| format!("cannot use the policy in {}", folder.display()))
}
