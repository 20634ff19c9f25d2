//! `bellwether check`: one line for each thing that must be right, and an exit code.

use std::path::Path;

use futures_util::future::join_all;
use secrecy::ExposeSecret;

use super::{Exit, exit::causes, ledger, output};
use crate::{
    api::server,
    app,
    audience::Policy,
    clock::Clock,
    config::Config,
    deliver::Deliver,
    dispatch::{Probes, Webhook},
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
        let probes = Probes::open(&config.downstream).map_err(Into::into);
        if let Some(probes) = report.right("downstream", probes)? {
            check_numbers(&mut report, &policy, &probes).await?;
        }
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

/// What each signal and each guard of the policy reads now. One without a number is warned of, and no failure: many have none
/// while nothing happens, and a rollout under it waits.
async fn check_numbers(report: &mut Report, policy: &Policy, probes: &Probes) -> anyhow::Result<()> {
    let signals = policy.signals().map(|(name, probe)| (format!("signal {name}"), probe));
    let guards = policy.plans().flat_map(|plan| {
        plan.downstream.iter().map(move |guard| (format!("guard {} {}", plan.name, guard.name), &guard.probe))
    });
    // All at once: one that does not answer takes the whole of its time.
    let numbers = signals.chain(guards).map(async |(what, probe)| (what, probes.read(probe).await));
    for (what, number) in join_all(numbers).await {
        match number {
            Ok(number) => report.note(&what, Ok(number), f64::to_string).map(drop)?,
            Err(why) => output::line(&format!("warn    {what}  {why}"))?,
        }
    }
    Ok(())
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
    /// Prints a line only if it is wrong.
    fn right<T>(&mut self, what: &str, result: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            wrong => self.note(what, wrong, |_| String::new()),
        }
    }

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
