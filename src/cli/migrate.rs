//! `bellwether migrate`.

use std::path::Path;

use anyhow::Context;

use super::{Exit, ledger, output};

/// What `migrate` understands.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Brings the schema up to date.
pub(super) async fn run(config: &Path, _args: &Args) -> anyhow::Result<Exit> {
    let ledger = ledger::open_any(&ledger::configuration(config)?).await?;
    ledger
        .migrate()
        .await
        .context("the schema cannot be brought up to date; run this as the role that owns the database")?;
    output::remark("the ledger's schema is up to date");
    Ok(Exit::Ok)
}
