//! `bellwether audience`: the policy files, offline.

use std::path::{Path, PathBuf};

use super::{Exit, ledger, output};
use crate::audience;

/// What can be asked about audiences.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Audience {
    /// Check the policy folder; needs no service, so it fits the CI of whoever keeps the files
    Check {
        /// The folder; the configuration's otherwise
        folder: Option<PathBuf>,
    },
}

/// Runs the verb.
pub(super) fn run(config: &Path, verb: &Audience) -> anyhow::Result<Exit> {
    match verb {
        Audience::Check { folder } => {
            let folder = match folder {
                Some(folder) => folder.clone(),
                None if config.exists() => ledger::configuration(config)?.policy,
                None => PathBuf::from("audiences"),
            };
            match audience::check(&folder) {
                Ok(summary) => output::line(&summary).map(|()| Exit::Ok),
                Err(problems) => {
                    output::remark(&problems.to_string());
                    Ok(Exit::Error)
                }
            }
        }
    }
}
