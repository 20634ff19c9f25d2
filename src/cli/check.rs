//! `bellwether check`: one line for each thing that must be right, and an exit code.

use std::path::Path;

use secrecy::ExposeSecret;

use super::{Exit, exit::causes, ledger, output};
use crate::{
    api::server, app, audience::Policy, clock::Clock, config::Config, deliver::Deliver, dispatch::Webhook,
    ledger::Ledger,
};

/// Checks everything that can be checked, even when something before it failed.
pub(super) async fn run(config: &Path) -> anyhow::Result<Exit> {
    let mut report = Report { failed: false };
    let settings = |config: &Config| {
        let (streams, lease) = (config.worker.streams, config.worker.lease.as_secs());
        format!("worker: {streams} streams, claims of {lease} s")
    };
    let Some(config) = report.note("configuration", ledger::configuration(config), settings)? else {
        return Ok(Exit::Error);
    };
    let policy = Policy::load(&config.policy).map_err(Into::into);
    let policy = report.note("policy", policy, |policy| format!("hash {}", policy.hash()))?;
    report.note("operators' API", server::check(&config.api), Clone::clone)?;
    check_ledger(&mut report, &config, policy.as_ref()).await?;
    report.note("broker", app::probe_broker(&config).await, Clone::clone)?;
    if config.notify.webhook.is_some() {
        // Nothing is posted: people would look for what waits.
        let webhook = Webhook::open(&config.notify, Clock::system()).map_err(Into::into);
        report.note("webhook", webhook, |_| "configured".to_owned())?;
    }
    if let Some(policy) = policy {
        let deliver = app::deliver_config(&config, &policy)
            .and_then(|config| Ok(Deliver::new(config, Clock::system())?));
        if let Some(deliver) = report.note("credentials", deliver, |_| "readable".to_owned())? {
            for check in deliver.check().await {
                let name = format!("{} {} {}", check.provider, check.app, check.endpoint);
                report.note(&name, check.result.map_err(Into::into), |()| "answers".to_owned())?;
            }
        }
    }
    Ok(if report.failed { Exit::Error } else { Exit::Ok })
}

async fn check_ledger(report: &mut Report, config: &Config, policy: Option<&Policy>) -> anyhow::Result<()> {
    let opened = Ledger::connect(config.ledger_url.expose_secret(), app::ledger_options(config)).await;
    let Some(ledger) = report.note("ledger", opened.map_err(Into::into), |_| "answers".to_owned())? else {
        return Ok(());
    };
    let schema = match ledger.schema_is_current().await {
        Ok(true) => Ok(()),
        Ok(false) => Err(anyhow::anyhow!("is not this version's; run `bellwether migrate`")),
        Err(error) => Err(error.into()),
    };
    let current = report.note("schema", schema, |()| "current".to_owned())?;
    if let (Some(()), Some(policy)) = (current, policy) {
        let in_force = is_in_force(policy, &ledger).await;
        report.note("policy in force", in_force, Clone::clone)?;
    }
    Ok(())
}

/// Whether a service would work with this policy.
async fn is_in_force(policy: &Policy, ledger: &Ledger) -> anyhow::Result<String> {
    match ledger.policy_in_force().await? {
        None => Ok("none yet; the first service brings this one".to_owned()),
        Some(known) if known.hash == policy.hash() => Ok(format!("this one, since {}", known.since)),
        Some(known) => anyhow::bail!(
            "is {}, another than the folder's: a service takes and sends nothing before two people have run \
             `bellwether policy activate`, or the folder is as it was",
            known.hash
        ),
    }
}

struct Report {
    failed: bool,
}

impl Report {
    /// Prints a line for one check; gives back what was checked, if it is right.
    fn note<T>(
        &mut self,
        what: &str,
        result: anyhow::Result<T>,
        detail: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<Option<T>> {
        match result {
            Ok(value) => {
                let detail = detail(&value);
                output::line(format!("ok      {what}  {detail}").trim_end())?;
                Ok(Some(value))
            }
            Err(error) => {
                self.failed = true;
                output::line(&format!("FAILED  {what}  {}", causes(&error)))?;
                Ok(None)
            }
        }
    }
}
