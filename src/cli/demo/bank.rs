//! The bank of the demo: its phones, its providers, its ledger, and the service between them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    app::{Fleet, Roles},
    audience::Policy,
    clock::Clock,
    config::Config,
    dispatch::control::Control,
    intake::{EmbeddedConfig, EmbeddedProducer, Intake},
    ledger::{Asked, Ledger, Verb},
    metrics::Metrics,
    model::{
        AppId, Attributes, CampaignId, Digest, Environment, JobKey, Lane, Locale, NewDevice, OperatorName,
        Phone, Platform, ProducerId, Tags, Token, UserId,
    },
    simulator::{NewPhone, RecordDetail, Simulator, SimulatorConfig, bank::Terms},
};

use super::{
    output,
    policy::{self, APP, PEOPLE},
};

/// Devices of one import statement.
const IMPORT: usize = 5_000;

/// Everything that runs during the demo.
pub(super) struct Bank {
    pub(super) simulator: Simulator,
    pub(super) ledger: Arc<Ledger>,
    pub(super) producer: EmbeddedProducer,
    /// Testers with the tokens of their phones.
    pub(super) testers: Vec<(UserId, Token)>,
    /// The phones of our own people, one each.
    pub(super) people: Vec<Token>,
    /// The phones of the customers whom the campaign to them is for.
    pub(super) newest: Vec<Token>,
    policy: Digest,
    stop: CancellationToken,
    service: JoinHandle<anyhow::Result<()>>,
    folder: Folder,
    clock: Clock,
}

enum Folder {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }
}

impl Bank {
    /// Starts providers, ledger and service, and registers the phones with both sides.
    pub(super) async fn open(phones: u64, folder: Option<&Path>, clock: Clock) -> anyhow::Result<Self> {
        let folder = match folder {
            Some(path) => Folder::Kept(path.to_owned()),
            None => Folder::Temporary(TempDir::new().context("cannot make a temporary folder")?),
        };
        let quiet = SimulatorConfig {
            detail: RecordDetail::Compact,
            inspect_port: Some(0),
            login: Some(Terms::default()),
            ..SimulatorConfig::quiet(clock.clone())
        };
        let simulator = Simulator::start(quiet).await.context("the simulators do not start")?;
        let config = configuration(&simulator, folder.path())?;
        let login = simulator.inspect_endpoint().context("the simulators cannot be looked at")?;
        let policy = Arc::new(policy::of_the_demo(&login)?);
        let ledger = open_ledger(&config).await?;
        let (now, mut newest) = (clock.now(), Vec::new());
        let customers = (0..phones).map(|number| {
            let device = device(&simulator, number, now)?;
            let is_newest = device.app_version.as_deref() == Some("5.2.1");
            if is_newest && device.country.as_deref() == Some("PL") {
                newest.push(device.token.clone());
            }
            Ok(device)
        });
        simulator.register_synthetic(phones + PEOPLE);
        import(&ledger, customers, phones).await?;
        let people = register_people(&simulator, &ledger, phones, now).await?;
        let testers = register_testers(&simulator, &ledger, &policy).await?;
        let stop = CancellationToken::new();
        let (intake, producer) = Intake::embedded(EmbeddedConfig::default(), clock.clone(), stop.clone());
        let (control, metrics) = (Control::embedded(), Metrics::new());
        let in_force = policy.hash();
        let fleet =
            Fleet::new(&config, policy, Arc::clone(&ledger), control, metrics, clock.clone(), stop.clone())?;
        let service = tokio::spawn(fleet.run(Roles::all(), intake));
        Ok(Self {
            simulator,
            ledger,
            producer,
            testers,
            people,
            newest,
            policy: in_force,
            stop,
            service,
            folder,
            clock,
        })
    }

    /// Enqueues a job as `producer` would.
    pub(super) async fn enqueue(
        &self,
        producer: &str,
        job: &serde_json::Value,
        lane: Lane,
    ) -> anyhow::Result<JobKey> {
        let producer = ProducerId::parse(producer)?;
        let key = JobKey { producer: producer.clone(), id: job["id"].as_str().unwrap_or_default().parse()? };
        self.producer.enqueue(producer, Bytes::from(job.to_string()), lane).await?;
        Ok(key)
    }

    /// A person's approval of exactly this.
    pub(super) fn approval(&self, digest: Digest) -> Verb {
        Verb::Approve { digest, policy: self.policy, holds: Duration::from_hours(24), peak: None }
    }

    /// A person lets something happen to a rollout.
    pub(super) async fn says(
        &self,
        campaign: CampaignId,
        by: &str,
        verb: Verb,
        reason: Option<&str>,
    ) -> anyhow::Result<()> {
        let by = OperatorName::parse(by)?;
        self.ledger.verb(campaign, &Asked { verb, by: &by, reason }).await??;
        Ok(())
    }

    /// When a campaign that is enqueued now, and is worth something for so long, is worthless.
    pub(super) fn expiry(&self, worth: SignedDuration) -> Timestamp {
        self.clock.now().checked_add(worth).unwrap_or(Timestamp::MAX)
    }

    /// True as long as the service has not ended, early and for whatever reason.
    pub(super) fn is_serving(&self) -> bool {
        !self.service.is_finished()
    }

    /// Waits until every job that was enqueued has come to its end.
    pub(super) async fn settled(&self) -> anyhow::Result<()> {
        let mut record = self.producer.record();
        record.wait_for(|record| record.unsettled() == 0).await.context("the service ended early")?;
        Ok(())
    }

    /// Says how to look around, and waits for Ctrl-C.
    pub(super) async fn keep_until_interrupted(&self) -> anyhow::Result<()> {
        let config = self.folder.path().join("bellwether.toml");
        output::remark(&format!(
            "kept running; Ctrl-C ends it. In another terminal, for example:\n  \
             bellwether --config {config} job show cards code-00001\n  \
             bellwether --config {config} device show --user user-000001\n  \
             bellwether --config {config} halt --ledger --all --by you --reason trying",
            config = config.display()
        ));
        tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")
    }

    /// Drains the service and stops the providers.
    pub(super) async fn close(self) {
        self.stop.cancel();
        if !matches!(self.service.await, Ok(Ok(()))) {
            output::remark("the service did not end in an orderly way");
        }
        self.simulator.shutdown().await;
    }
}

/// The configuration that a real service would have, with the simulators as its providers.
fn configuration(simulator: &Simulator, folder: &Path) -> anyhow::Result<Config> {
    let files = simulator.write_credentials(folder).context("cannot write the throw-away keys")?;
    let text = format!(
        r#"# Written by `bellwether demo`.
[ledger]
url = "sqlite:{ledger}"
[amqp]
url = "amqp://localhost"  # not used: the demo has its own intake
[downstream]
every_seconds = 1
[providers."{APP}".apns]
key_file = "{apns_key}"
key_id = "{key_id}"
endpoint = "{apns}"
ca_file = "{ca}"
[providers."{APP}".fcm]
service_account_file = "{service_account}"
endpoint = "{fcm}"
ca_file = "{ca}"
"#,
        ledger = folder.join("ledger.db").display(),
        apns_key = files.apns_key.display(),
        key_id = simulator.credentials().apns_key_id,
        apns = simulator.apns_endpoint(),
        fcm = simulator.fcm_endpoint(),
        service_account = files.service_account.display(),
        ca = files.ca.display(),
    );
    let file = folder.join("bellwether.toml");
    std::fs::write(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
    // The environment of whoever tries the demo must not lead it to a real ledger.
    Ok(Config::parse(&file, &text, |_| None)?)
}

async fn open_ledger(config: &Config) -> anyhow::Result<Arc<Ledger>> {
    let ledger = super::super::ledger::open_any(config).await?;
    ledger.migrate().await.context("cannot prepare the embedded ledger")?;
    Ok(Arc::new(ledger))
}

/// The registration of a synthetic phone.
fn device(simulator: &Simulator, number: u64, now: Timestamp) -> anyhow::Result<NewDevice> {
    let line = simulator.synthetic(number).device(APP);
    let platform = match number % 2 {
        0 => Platform::Ios,
        _ => Platform::Android,
    };
    Ok(NewDevice {
        user: UserId::parse(&line.user_id)?,
        app: AppId::parse(APP)?,
        platform,
        environment: Environment::Production,
        token: Token::parse(&line.token).context("the simulator made a token that is none")?,
        country: Some(line.country.to_owned()),
        language: Some(Locale::parse(line.language)?),
        timezone: Some(line.timezone.to_owned()),
        app_version: Some(line.app_version.to_owned()),
        last_seen_at: Some(now),
        tags: Tags::default(),
        attributes: Attributes::default(),
    })
}

async fn import(
    ledger: &Ledger,
    devices: impl Iterator<Item = anyhow::Result<NewDevice>>,
    count: u64,
) -> anyhow::Result<()> {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len}")?;
    let progress = ProgressBar::new(count).with_style(style).with_message("registering phones");
    let mut batch = Vec::with_capacity(IMPORT);
    for device in devices {
        batch.push(device?);
        if batch.len() == IMPORT {
            ledger.import(std::mem::take(&mut batch)).await.context("cannot register phones")?;
            progress.inc(IMPORT as u64);
        }
    }
    ledger.import(batch).await.context("cannot register phones")?;
    progress.finish_and_clear();
    Ok(())
}

/// One phone for each of our own people, the synthetic ones after those of the customers.
async fn register_people(
    simulator: &Simulator,
    ledger: &Ledger,
    after: u64,
    now: Timestamp,
) -> anyhow::Result<Vec<Token>> {
    let mut devices = Vec::new();
    for (number, user) in (after..).zip(policy::people()) {
        devices.push(NewDevice { user: UserId::parse(&user)?, ..device(simulator, number, now)? });
    }
    let tokens = devices.iter().map(|device| device.token.clone()).collect();
    ledger.import(devices).await.context("cannot register our own people's phones")?;
    Ok(tokens)
}

/// One phone for each registered tester of the policy, known to both the provider and the registry.
async fn register_testers(
    simulator: &Simulator,
    ledger: &Ledger,
    policy: &Policy,
) -> anyhow::Result<Vec<(UserId, Token)>> {
    let app = AppId::parse(APP)?;
    let mut testers = Vec::new();
    let mut devices = Vec::new();
    for user in policy.testers(&app).iter() {
        // 64 hexadecimal digits, as an iPhone's token has.
        let token = Digest::of(user.as_str().as_bytes()).to_string();
        simulator.register([NewPhone::new(crate::simulator::Platform::Ios, token.clone())]);
        let token = Token::parse(&token).context("a digest is a token")?;
        let phone = Phone {
            app: app.clone(),
            platform: Platform::Ios,
            environment: Environment::Production,
            token: token.clone(),
        };
        devices.push(phone.of(user.clone()));
        testers.push((user.clone(), token));
    }
    ledger.import(devices).await.context("cannot register the testers' phones")?;
    Ok(testers)
}
