//! `bellwether audience`: the policy's audiences, offline; and whom they find in the registry.

mod count;
mod explain;
mod list;

use std::path::{Path, PathBuf};

use super::{Exit, Output, exit::With, ledger, output};
use crate::{
    audience::{self, Policy},
    model::AudienceName,
};

/// What can be asked about audiences.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Audience {
    /// Check the policy folder; needs no service, so it fits the CI of whoever keeps the files
    Check {
        /// The folder; the configuration's otherwise
        folder: Option<PathBuf>,
    },
    /// Every audience of the policy
    List,
    /// One audience, as its file says
    Show {
        /// Its name
        name: AudienceName,
    },
    /// How many devices and people a campaign would be frozen to now
    Count {
        /// The audience's name
        name: AudienceName,
        /// Say first, at once, how many devices about
        #[arg(long)]
        estimate: bool,
    },
    /// Who is in an audience, who is left out and why, how it is read, and what changed since its last freeze
    Explain {
        /// The audience's name
        name: AudienceName,
    },
}

/// Runs the verb.
pub(super) async fn run(config: &Path, output: Output, verb: &Audience) -> anyhow::Result<Exit> {
    match verb {
        Audience::Check { folder } => {
            let folder = folder.clone().map_or_else(|| policy_folder(config), Ok)?;
            match audience::check(&folder) {
                Ok(summary) => output::line(&summary).map(|()| Exit::Ok),
                Err(problems) => {
                    output::remark(&problems.to_string());
                    Ok(Exit::Error)
                }
            }
        }
        Audience::List => list::list(&policy(config)?, output),
        Audience::Show { name } => list::show(named(&policy(config)?, name)?, output),
        Audience::Count { name, estimate } => {
            let policy = policy(config)?;
            let audience = named(&policy, name)?;
            count::run(&ledger::open(config).await?, audience, output, *estimate).await
        }
        Audience::Explain { name } => {
            let policy = policy(config)?;
            let audience = named(&policy, name)?;
            explain::run(&ledger::open(config).await?, audience, output).await
        }
    }
}

pub(super) fn policy_folder(config: &Path) -> anyhow::Result<PathBuf> {
    if config.exists() { Ok(ledger::configuration(config)?.policy) } else { Ok(PathBuf::from("audiences")) }
}

fn policy(config: &Path) -> anyhow::Result<Policy> {
    Ok(Policy::load(&policy_folder(config)?)?)
}

/// The audience, or exit code 5.
fn named<'p>(policy: &'p Policy, name: &AudienceName) -> anyhow::Result<&'p audience::Audience> {
    let unknown = || {
        With(Exit::NotFound, format!("there is no audience {name}; `bellwether audience list` shows them"))
    };
    policy.audience(name).ok_or_else(|| unknown().into())
}

/// What every answer about an audience begins with.
fn heading(audience: &audience::Audience) -> String {
    format!("{} ({} audience of {})", audience.name, audience.class, audience.app())
}
