//! `bellwether halt` and `unhalt`: through the operators' API, or as break-glass straight into the ledger.

use std::{path::Path, time::Duration};

use anyhow::{Context, bail};
use tokio::time::timeout;

use super::{
    Exit, api,
    exit::{With, advised},
    ledger, output,
    rollout::Campaign,
};
use crate::{
    api::{
        client::{Client, TOKEN_VARIABLE, URL_VARIABLE},
        wire::{HaltBody, HaltSet, LiftBody, Lifted, fitting_reason},
    },
    app,
    audience::Policy,
    config::Config,
    dispatch::control::ControlMessage,
    intake,
    ledger::{HaltScope, Ledger, LedgerError},
    model::{AppId, AudienceName, OperatorName},
};

/// What `halt` understands.
#[derive(Debug, clap::Args)]
pub(super) struct HaltArgs {
    #[command(flatten)]
    what: What,
    /// Why; it stands in the audit log. Line breaks become spaces, and after 1,000 characters it is cut
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
    /// Break-glass: write into the ledger directly, also while the operators' API is away
    #[arg(long)]
    ledger: bool,
    #[command(flatten)]
    scope: Scope,
    /// Who you are, with --ledger; it stands in the audit log
    #[arg(long = "by", value_name = "NAME", env = "USER")]
    by: Option<OperatorName>,
}

/// Exactly one of these.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Scope {
    /// Everything
    #[arg(long)]
    all: bool,
    /// One app
    #[arg(long, value_name = "APP")]
    app: Option<AppId>,
    /// Campaigns to one audience
    #[arg(long, value_name = "AUDIENCE")]
    audience: Option<AudienceName>,
    /// One campaign: its id, or PRODUCER/JOB
    #[arg(long, value_name = "CAMPAIGN")]
    campaign: Option<Campaign>,
}

/// What holds while the ledger is away, and what to do.
const LEDGER_AWAY: &str = "if that is away, nothing new is sent meanwhile: repeat it until it is answered";

impl What {
    /// What is halted. A campaign that nobody knows is an error: a typo in an emergency must not look like a halt.
    async fn scope(&self, ledger: &Ledger) -> anyhow::Result<HaltScope> {
        if let Some(campaign) = &self.scope.campaign {
            return Ok(HaltScope::Campaign(campaign.find(ledger).await?.0.id));
        }
        Ok(self.named())
    }

    /// The same as it was typed: the API looks a campaign up itself, in the request that halts it and is never limited.
    fn typed(&self) -> String {
        match &self.scope.campaign {
            Some(campaign) => format!("campaign:{campaign}"),
            None => self.named().to_string(),
        }
    }

    fn named(&self) -> HaltScope {
        let Scope { all: _, app, audience, campaign: _ } = &self.scope;
        let app = app.clone().map(HaltScope::App);
        app.or_else(|| audience.clone().map(HaltScope::Audience)).unwrap_or(HaltScope::All)
    }

    /// Where it goes: the API, unless the ledger is named.
    fn client(&self) -> anyhow::Result<Option<Client>> {
        match self.ledger {
            true => Ok(None),
            false if api::is_configured() => Ok(Some(api::client()?)),
            false => bail!(
                "{URL_VARIABLE} is not set: set it and {TOKEN_VARIABLE}, or write into the ledger directly with --ledger"
            ),
        }
    }

    /// What to do when the API is not there: the way past it, and what holds without either.
    fn way_out(&self, verb: &str, error: anyhow::Error) -> anyhow::Error {
        if !api::is_away(&error) {
            return error;
        }
        let scope = match self.typed().split_once(':') {
            Some((what, which)) => format!("--{what} {which}"),
            None => "--all".to_owned(),
        };
        let reason = if verb == "halt" { " --reason TEXT" } else { "" };
        let advice = format!(
            "break-glass: where the service's configuration is, `bellwether {verb} --ledger {scope}{reason} --by YOU` writes \
             into the ledger directly ({LEDGER_AWAY})"
        );
        advised(&error, &advice)
    }

    fn operator(&self) -> anyhow::Result<&OperatorName> {
        match &self.by {
            Some(name) => Ok(name),
            None => bail!("say who you are with --by NAME; it stands in the audit log"),
        }
    }
}

/// A typo in an emergency must not look like a halt. A policy that cannot be read does not stand in its way.
fn refuse_unknown(config: &Config, scope: &HaltScope) -> anyhow::Result<()> {
    let (what, known) = match scope {
        // A campaign was found in the ledger.
        HaltScope::All | HaltScope::Campaign(_) => return Ok(()),
        HaltScope::App(app) => {
            let Ok(policy) = Policy::load(&config.policy) else { return Ok(()) };
            if policy.app(app).is_some() {
                return Ok(());
            }
            (format!("app {app} in the policy"), names(policy.apps().map(|app| &app.id)))
        }
        HaltScope::Audience(audience) => {
            let Ok(policy) = Policy::load(&config.policy) else { return Ok(()) };
            if policy.audience(audience).is_some() {
                return Ok(());
            }
            let known = names(policy.audiences().map(|audience| &audience.name));
            (format!("audience {audience} in the policy"), known)
        }
    };
    Err(With(Exit::NotFound, format!("no {what}, so nothing is halted; known: {known}")).into())
}

fn names<T: ToString>(names: impl Iterator<Item = T>) -> String {
    names.map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

/// How long the command waits for a broker, once the halt is on record.
const TELL_WITHIN: Duration = Duration::from_secs(1);

/// Tells every process at once, if the broker is there. The halt is on record already.
async fn tell(config: &Config, scope: &HaltScope) -> Result<(), String> {
    let broker = app::rabbitmq_config(config).map_err(|error| error.to_string())?;
    let message = ControlMessage::Halted(scope.clone()).to_json();
    match timeout(TELL_WITHIN, intake::say_once(&broker, message.as_bytes())).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", TELL_WITHIN.as_secs())),
    }
}

/// What to do when the ledger itself is away.
fn not_set(error: anyhow::Error) -> anyhow::Error {
    if error.downcast_ref::<LedgerError>().is_none() {
        return error;
    }
    let advice =
        "the halt is NOT set. While the ledger is away nothing new is sent; repeat it until it is answered";
    advised(&error, advice)
}

/// Sets a halt.
pub(super) async fn halt(config: &Path, args: HaltArgs) -> anyhow::Result<Exit> {
    let reason = fitting_reason(&args.reason);
    if let Some(client) = args.what.client()? {
        let body = HaltBody { scope: args.what.typed(), reason };
        let set = client.post::<_, HaltSet>("halts", &body).await;
        let set = set.map_err(|error| args.what.way_out("halt", error.into()))?;
        output::remark(&format!("halted: {}. {}", set.scope, meaning(&set.scope, set.rollouts)));
        return Ok(Exit::Ok);
    }
    let by = args.what.operator()?;
    let settings = ledger::configuration(config)?;
    let ledger = ledger::open(config).await.map_err(not_set)?;
    let scope = args.what.scope(&ledger).await?;
    refuse_unknown(&settings, &scope)?;
    let ended = ledger.set_halt(&scope, by.as_str(), &args.reason).await.context("the halt is NOT set")?;
    let told = tell(&settings, &scope).await;
    output::remark(&format!("halted: {scope}. {}", meaning(&scope.to_string(), ended)));
    if let Err(why) = told {
        output::remark(&format!(
            "The broker could not pass it on ({why}): processes read it in the ledger, within a second."
        ));
    }
    Ok(Exit::Ok)
}

/// What a halt means for what is under way, and for what waits.
fn meaning(scope: &str, ended: u64) -> String {
    let campaigns = match ended {
        0 => "No campaign was under way or waiting.".to_owned(),
        1 => "1 campaign that was under way or waiting is over for good.".to_owned(),
        ended => format!("{ended} campaigns that were under way or waiting are over for good."),
    };
    match scope.split(':').next() {
        Some("all" | "app") => format!(
            "{campaigns} Nothing new is sent: direct jobs, and campaigns that arrive from now on, wait until \
             `bellwether unhalt` or their expiry."
        ),
        Some("audience") => {
            format!(
                "{campaigns} Campaigns to it that arrive from now on wait until `bellwether unhalt` or their expiry."
            )
        }
        _ => campaigns,
    }
}

/// Lifts a halt.
pub(super) async fn unhalt(config: &Path, args: UnhaltArgs) -> anyhow::Result<Exit> {
    if let Some(client) = args.what.client()? {
        let lifted = client.post::<_, Lifted>("halts/lift", &LiftBody { scope: args.what.typed() }).await;
        let lifted = lifted.map_err(|error| args.what.way_out("unhalt", error.into()))?;
        return Ok(told(&lifted));
    }
    let by = args.what.operator()?;
    let ledger = ledger::open(config).await?;
    let scope = args.what.scope(&ledger).await?;
    if ledger.clear_halt(&scope, by.as_str()).await.context("the halt is NOT lifted")? {
        output::remark(&format!(
            "no longer halted: {scope}. What waits goes on within 30 seconds; campaigns that the halt ended stay over."
        ));
        Ok(Exit::Ok)
    } else {
        output::remark(&format!("{scope} was not halted"));
        Ok(Exit::NotFound)
    }
}

fn told(lifted: &Lifted) -> Exit {
    if lifted.lifted {
        output::remark(&format!(
            "no longer halted: {}. What waits goes on within 30 seconds; campaigns that the halt ended stay over.",
            lifted.scope
        ));
        return Exit::Ok;
    }
    output::remark(&format!(
        "still halted: {}. You have asked to lift it; another person must run the same command.",
        lifted.scope
    ));
    Exit::Waits
}
